//! Transactions of our background processes, and subtransactions. SQL functions run inside their caller's transaction and never begin one.

use super::{backend, report};
use crate::error::Result;
use pgrx::pg_sys;

/// Runs `f` in a transaction of its own. Its search_path is pg_catalog, which keeps statements with the extension owner's privileges, and the
/// casts of plan and catalog, away from objects of the caller's making. Commits on Ok, aborts on Err, on an ERROR of the server and on a
/// panic, and gives the error. Only for processes without a client (no transaction is open when it is called).
pub fn transaction<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    transaction_without_snapshot(|| {
        take_snapshot();
        f()
    })
}

/// The same, but that it has no snapshot before `f` takes one: who waits for those with an older snapshot than theirs, as CREATE INDEX
/// CONCURRENTLY does, waits for the end of each of their transactions, also where that has given its snapshot up meanwhile. So whoever waits for a lock of theirs must not have
/// had one. No SQL before that.
pub fn transaction_without_snapshot<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = report::catch(|| {
        // SAFETY: a background process outside any transaction; the order is postgres.c's for a simple statement.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            // Whatever the role or the database has made the default: before the first snapshot, as a serializable, read-only, deferrable
            // transaction waits with it for all others, of which the caller may be one.
            pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32;
            pg_sys::XactReadOnly = false;
            pg_sys::XactDeferrable = false;
        }
        backend::pin_path();
        let value = f()?;
        // SAFETY: the snapshot that `f` has taken is on top again: SPI pops its own.
        unsafe {
            if pg_sys::ActiveSnapshotSet() {
                pg_sys::PopActiveSnapshot();
            }
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

/// Takes the snapshot of a transaction that was begun without one.
pub fn take_snapshot() {
    // SAFETY: inside a transaction of ours; its end pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
}

/// Runs `f`, a look, with a snapshot that is gone afterwards, in a transaction that has none.
pub fn with_snapshot<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    take_snapshot();
    let result = f();
    // SAFETY: taken above; SPI has popped its own.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// Runs `f` in a subtransaction: what it did is undone on Err, and the transaction goes on as if it had never been tried. An error that ended
/// the work as a whole, such as a cancel, is the caller's to pass on.
pub fn subtransaction<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    in_subtransaction(f, true)
}

/// Runs `f`, which only looks, in a subtransaction that is undone: its locks go when it ends, those on catalogs too, instead of staying to the
/// end of the transaction. Not while parallel workers are at work, when the server allows no subtransaction.
pub fn look<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    in_subtransaction(f, false)
}

fn in_subtransaction<T>(f: impl FnOnce() -> Result<T>, keep: bool) -> Result<T> {
    // SAFETY: inside a transaction. The order is PL/pgSQL's for a block with EXCEPTION (pl_exec.c, exec_stmt_block): memory context and
    // resource owner are put back on both ways out; an abort also closes what SPI and snapshots were opened within.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = report::catch(|| {
            let value = f()?;
            if keep {
                pg_sys::ReleaseCurrentSubTransaction();
            }
            Ok(value)
        });
        if result.is_err() || !keep {
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

/// Runs `f`, which waits for locks, without the snapshot of this transaction: CREATE INDEX CONCURRENTLY and the like, which hold such a lock,
/// wait for whoever has an older snapshot than theirs. Where each waited for the other the server would end one of them, and that could be
/// them; though who has seen this transaction's snapshot before will wait for its end. Afterwards it has a new one. Only in transactions of [`transaction`], where its snapshot is on top; no SQL in `f`.
pub fn without_snapshot(f: impl FnOnce()) {
    // SAFETY: the snapshot pushed by `transaction` is on top, as SPI pops its own; an error in between ends the transaction, which expects none.
    unsafe { pg_sys::PopActiveSnapshot() };
    f();
    take_snapshot();
}
