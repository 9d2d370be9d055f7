//! A procedure's own transactions: what it does between two commits is a transaction, and in between it holds nothing.

use crate::error::{Error, Result, sqlstate};
use pgrx::pg_sys;

/// A procedure that may commit.
#[derive(Debug)]
pub struct Procedure(());

impl Procedure {
    /// Of the call `context`. An error where it may not commit: in a transaction block, in a function, or in a block that catches errors.
    pub fn begin(context: pg_sys::FunctionCallInfo) -> Result<Procedure> {
        // SAFETY: the server passes the call, and a CALL has its context (functioncmds.c, ExecuteCallStmt).
        let (may_commit, is_within) = unsafe {
            let context = (*context).context;
            let is_call = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_CallContext;
            let may_commit = is_call && !(*context.cast::<pg_sys::CallContext>()).atomic;
            (may_commit, pg_sys::IsSubTransaction())
        };
        if !may_commit || is_within {
            return Err(Error::new(
                sqlstate::ACTIVE_SQL_TRANSACTION,
                "CALL cgpsync cannot run inside a transaction block",
            )
            .detail("It commits while it waits for the run, so as to hold no snapshot and no lock.")
            .hint("Call it as a statement of its own, or use cgpsync_sync() or cgpsync_start() there."));
        }
        // SAFETY: inside a transaction; `end` closes the level, and the abort after an error does.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        Ok(Procedure(()))
    }

    /// Ends the transaction and begins the next.
    pub fn commit(&self) {
        // SAFETY: connected by `begin`, which has made sure that this may be. The second call begins a transaction on servers whose first
        // one does not yet, and does nothing on others (spi.c).
        unsafe {
            pg_sys::SPI_commit();
            pg_sys::SPI_start_transaction();
        }
    }

    /// The procedure is over.
    pub fn end(self) {
        // SAFETY: connected by `begin`.
        unsafe { pg_sys::SPI_finish() };
    }
}
