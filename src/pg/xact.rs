//! Transactions of our background processes, and subtransactions. SQL functions run inside their caller's transaction and never begin one.

use super::{backend, report};
use crate::error::Result;
use pgrx::pg_sys;

/// Runs `f` in a transaction of its own. Its search_path is pg_catalog, which keeps statements with the extension owner's privileges, and the
/// casts of plan and catalog, away from objects of the caller's making. Commits on Ok, aborts on Err, on an ERROR of the server and on a
/// panic, and gives the error. Only for processes without a client (no transaction is open when it is called).
pub fn transaction<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = report::catch(|| {
        // SAFETY: a background process outside any transaction; the order is postgres.c's for a simple statement.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        backend::pin_path();
        let value = f()?;
        // SAFETY: the snapshot pushed above is on top again: SPI pops its own.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(value)
    });
    if result.is_err() {
        // SAFETY: valid in any transaction state, also when the error came before the start or out of the commit.
        unsafe { pg_sys::AbortOutOfAnyTransaction() };
    }
    // SAFETY: outside a transaction now; sends the table counters of what was just done.
    unsafe { pg_sys::pgstat_report_stat(true) };
    result
}

/// Runs `f` in a subtransaction: what it did is undone on Err, and the transaction goes on as if it had never been tried. An error that ended
/// the work as a whole, such as a cancel, is the caller's to pass on.
pub fn subtransaction<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: inside a transaction. The order is PL/pgSQL's for a block with EXCEPTION (pl_exec.c, exec_stmt_block): memory context and
    // resource owner are put back on both ways out; an abort also closes what SPI and snapshots were opened within.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = report::catch(|| {
            let value = f()?;
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(value)
        });
        if result.is_err() {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// The same, where a refusal is an answer: None. A cancel is an error all the same.
pub fn unless_refused<T>(f: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    match subtransaction(f) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_cancel() => Err(error),
        Err(_) => Ok(None),
    }
}
