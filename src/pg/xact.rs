//! Transactions of our background processes. SQL functions run inside their caller's and never use this.

use super::report;
use crate::error::Result;
use pgrx::pg_sys;

/// Runs `f` in a transaction of its own: commits on Ok, aborts on Err, on an ERROR of the server and on a panic, and gives the
/// error. Only for processes without a client (no transaction is open when it is called).
pub fn transaction<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = report::catch(|| {
        // SAFETY: a background process outside any transaction; the order is postgres.c's for a simple statement.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
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
