//! New storage for a table in place: the pieces of TRUNCATE and REINDEX, called one by one because those commands lock readers out from
//! their first moment on. Everything here is transactional: the new files are this transaction's alone until it commits, and gone if it
//! aborts; all others read the old ones meanwhile, since their view of pg_class is the committed one.
//!
//! Nothing here checks privileges: the caller has.

use super::wait;
use crate::error::{Error, Result};
use pgrx::pg_sys;

/// Whom a lock keeps out.
#[derive(Debug, Clone, Copy)]
pub enum Against {
    /// who drops, detaches or alters it, as a reader's lock does: ACCESS SHARE
    Removal,
    /// VACUUM and whoever changes storage: SHARE UPDATE EXCLUSIVE
    Vacuum,
    /// writers too: SHARE ROW EXCLUSIVE
    Writers,
    /// readers too: ACCESS EXCLUSIVE
    Everybody,
}

/// Locks a relation until the transaction ends. One that is gone does no harm: the lock is on the OID. Leaves with an error when
/// lock_timeout is over. The snapshot that the server keeps for its own looks into catalogs does not outlast the wait: see
/// [`super::xact::without_snapshot`].
pub fn lock(oid: u32, against: Against) {
    let mode = match against {
        Against::Removal => pg_sys::AccessShareLock,
        Against::Vacuum => pg_sys::ShareUpdateExclusiveLock,
        Against::Writers => pg_sys::ShareRowExclusiveLock,
        Against::Everybody => pg_sys::AccessExclusiveLock,
    };
    // SAFETY: inside a transaction; the snapshot is taken anew when it is needed; LockRelationOid takes any OID.
    unsafe {
        pg_sys::InvalidateCatalogSnapshot();
        pg_sys::LockRelationOid(pg_sys::Oid::from(oid), mode as i32);
    }
}

/// Locks a relation against its removal, if nobody is in the way. False when somebody is.
pub fn try_lock(oid: u32) -> bool {
    // SAFETY: inside a transaction; takes any OID, and does not wait.
    unsafe { pg_sys::ConditionalLockRelationOid(pg_sys::Oid::from(oid), pg_sys::AccessShareLock as i32) }
}

/// Gives back the lock against writers, of the two that the caller holds: the one against VACUUM stays.
pub fn let_writers_in(oid: u32) {
    // SAFETY: inside the transaction that locked it, outside of any subtransaction.
    unsafe { pg_sys::UnlockRelationOid(pg_sys::Oid::from(oid), pg_sys::ShareRowExclusiveLock as i32) };
}

/// A relation, open and locked by the caller for as long as this lives.
struct Open(pg_sys::Relation);

impl Open {
    fn new(oid: u32) -> Open {
        // SAFETY: the caller holds a lock; an OID without relation is an error of the server.
        Open(unsafe { pg_sys::relation_open(pg_sys::Oid::from(oid), pg_sys::NoLock as i32) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // After an error the abort closes it.
        if !std::thread::panicking() {
            // SAFETY: opened in `new`; the lock stays.
            unsafe { pg_sys::relation_close(self.0, pg_sys::NoLock as i32) };
        }
    }
}

unsafe extern "C-unwind" {
    // storage/predicate.h, which the bindings leave out.
    fn CheckTableForSerializableConflictIn(relation: pg_sys::Relation);
}

/// True when a table has no row that this transaction sees. One that somebody has locked against readers, or that is no heap, is
/// not looked at: it counts as one that has rows. Nothing of a row is told, so no privilege is asked for.
pub fn is_empty(oid: u32) -> bool {
    let oid = pg_sys::Oid::from(oid);
    let mode = pg_sys::AccessShareLock as i32;
    // SAFETY: inside a transaction; the lock is not waited for, and given back at once. The scan uses a registered snapshot and is
    // ended before the relation is closed; an ERROR in between aborts the transaction, which releases all of it.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(oid, mode) {
            return false;
        }
        let relation = pg_sys::try_relation_open(oid, pg_sys::NoLock as i32);
        let mut is_empty = false;
        if !relation.is_null() {
            if (*(*relation).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID {
                is_empty = has_no_row(relation);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as i32);
        }
        pg_sys::UnlockRelationOid(oid, mode);
        is_empty
    }
}

/// # Safety
/// `relation` is an open heap, locked against its removal.
unsafe fn has_no_row(relation: pg_sys::Relation) -> bool {
    // SAFETY: per the contract; heap_getnext gives the next visible tuple or null.
    unsafe {
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        if pg_sys::RelationGetNumberOfBlocksInFork(relation, fork) == 0 {
            return true;
        }
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let scan = pg_sys::table_beginscan(relation, snapshot, 0, std::ptr::null_mut());
        let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
        let is_empty = tuple.is_null();
        pg_sys::table_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        is_empty
    }
}

/// The checks of TRUNCATE (tablecmds.c, truncate_check_activity and heap_truncate_check_FKs; ExecuteTruncateGuts): errors if this process uses the
/// table, or foreign keys of other tables refer to it; serializable transactions that have read it learn of the change.
pub fn check_can_be_emptied(oid: u32) {
    let relation = Open::new(oid);
    // SAFETY: open and locked against writers. The extern function is called at the boundary, without destructors in the closure.
    unsafe {
        pg_sys::CheckTableNotInUse(relation.0, c"cgpsync".as_ptr());
        let mut relations = pgrx::PgList::<core::ffi::c_void>::new();
        relations.push(relation.0.cast());
        pg_sys::heap_truncate_check_FKs(relations.into_pg(), false);
        let raw = relation.0;
        pg_sys::ffi::pg_guard_ffi_boundary(|| CheckTableForSerializableConflictIn(raw));
    }
}

/// Gives a table or index new, empty storage, and makes that visible to what follows in this transaction.
pub fn renew(oid: u32) {
    let relation = Open::new(oid);
    // SAFETY: open, and locked so that nobody else changes its storage. This is the step that makes COPY FREEZE possible in the same
    // subtransaction.
    unsafe {
        let persistence = (*(*relation.0).rd_rel).relpersistence;
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        pg_sys::RelationSetNewRelfilenode(relation.0, persistence);
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        pg_sys::RelationSetNewRelfilenumber(relation.0, persistence);
        pg_sys::CommandCounterIncrement();
    }
}

/// Tells the cumulative statistics that the table's rows are gone, as TRUNCATE does.
pub fn count_as_truncated(oid: u32) {
    let relation = Open::new(oid);
    // SAFETY: open; the counters take effect with the commit.
    unsafe { pg_sys::pgstat_count_truncate(relation.0) };
}

/// Tells them of rows that others have loaded for this transaction.
pub fn count_loaded(oid: u32, rows: u64) {
    let relation = Open::new(oid);
    // SAFETY: open; as above.
    unsafe { pg_sys::pgstat_count_heap_insert(relation.0, rows as pg_sys::PgStat_Counter) };
}

/// Makes this transaction see the table as one without indexes, so that COPY maintains none (ExecOpenIndices reads relhasindex). Building
/// any of them turns it back (index_update_stats).
pub fn hide_indexes(oid: u32) -> Result<()> {
    // SAFETY: the tuple is a copy; the catalog is opened for writing as CatalogTupleUpdate demands. The row is this transaction's own since
    // `renew`, so no other writer of it is lost.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::RowExclusiveLock as i32);
        let none = pg_sys::Datum::from(0);
        let tuple = pg_sys::SearchSysCacheCopy(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(pg_sys::Oid::from(oid)),
            none,
            none,
            none,
        );
        if tuple.is_null() {
            return Err(Error::internal(format!("no pg_class row for {oid}")));
        }
        let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        (*row).relhasindex = false;
        pg_sys::CatalogTupleUpdate(catalog, &mut (*tuple).t_self, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(catalog, pg_sys::RowExclusiveLock as i32);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Builds an index of the table from its rows, into storage that is new and empty. Not with parallel workers: those of a B-tree lock the
/// index against readers (nbtsort.c).
pub fn build_index(table: u32, index: u32) {
    let (table, index) = (Open::new(table), Open::new(index));
    // SAFETY: both are open and locked; index_build runs expressions as the table's owner, as REINDEX does, and checks uniqueness and
    // exclusion itself.
    unsafe {
        let info = pg_sys::BuildIndexInfo(index.0);
        pg_sys::index_build(table.0, index.0, info, true, false);
        pg_sys::CommandCounterIncrement();
    }
}

/// Less than this a commit flushes as quickly as it flushes nothing: one write to disk.
const WORTH_FLUSHING: u64 = 1 << 20;

/// Writes out what this transaction has logged so far, if `bytes` of data make that worth while, and waits for the standbys that its commit would
/// wait for: the commit, which readers wait for, then has next to nothing left to do. A cancel ends the wait for standbys without an
/// error, as in a commit.
pub fn settle(bytes: u64) {
    // SAFETY: between two statements of a transaction; the end of its last record is what its commit would flush up to, were it none itself
    // (xact.c, RecordTransactionCommit). The names are the setting's value. SyncRepWaitForLSN returns at once unless synchronous_commit
    // asks for standbys; it wants interrupts held (syncrep.c).
    unsafe {
        let names = pg_sys::SyncRepStandbyNames;
        let has_standbys = !names.is_null() && *names != 0;
        if bytes < WORTH_FLUSHING && !has_standbys {
            return;
        }
        let end = pg_sys::XactLastRecEnd;
        pg_sys::XLogFlush(end);
        wait::without_interrupts(|| pg_sys::SyncRepWaitForLSN(end, true));
    }
}
