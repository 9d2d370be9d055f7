//! The lock of a run: one at a time for a table, for what is above it and for what is below it.
//!
//! A run holds its own table in EXCLUSIVE mode and each partitioned table above in ROW EXCLUSIVE
//! mode. These two conflict with each other, and the second does not conflict with itself: so runs
//! of siblings go side by side, and a run above or below another one is refused.
//!
//! No SQL takes these locks. Their tag is of a type that the server keeps for modules (lock.h,
//! LOCKTAG_USERLOCK), so a role that may only connect cannot be in the way of a run, as it could be
//! with the advisory lock of the same numbers.

use super::backend;
use pgrx::pg_sys;

/// `pg_locks.classid` of these locks: "cgps". `objid` is the table's OID.
pub const CLASS: u32 = 0x6367_7073;

/// `pg_locks.objsubid`.
const KIND: u16 = 2;

/// What a run has to do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// the table that it was called for
    Named,
    /// a partitioned table above that one
    Above,
}

impl Part {
    fn mode(self) -> i32 {
        match self {
            Part::Named => pg_sys::ExclusiveLock as i32,
            Part::Above => pg_sys::RowExclusiveLock as i32,
        }
    }
}

fn tag(table: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: backend::database(),
        locktag_field2: CLASS,
        locktag_field3: table,
        locktag_field4: KIND,
        locktag_type: pg_sys::LockTagType::LOCKTAG_USERLOCK as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Takes the locks of a run on `table`, whose parents from the top are `above`, for the life of
/// this process: all of them, or none, without waiting. False when another process has one that is
/// in the way.
pub fn try_run(table: u32, above: &[u32]) -> bool {
    let wanted = above.iter().map(|parent| (*parent, Part::Above));
    let wanted: Vec<(u32, Part)> = wanted.chain([(table, Part::Named)]).collect();
    // From the top: of two runs that meet, one has the topmost lock that both want, and goes on.
    for (at, (table, part)) in wanted.iter().enumerate() {
        if !try_lock(*table, *part) {
            wanted[..at]
                .iter()
                .rev()
                .for_each(|(table, part)| unlock(*table, *part));
            return false;
        }
    }
    true
}

fn try_lock(table: u32, part: Part) -> bool {
    // SAFETY: LockAcquire takes any tag of a known lock method and copies it. A lock of the session
    // in the method of users is let go by LockRelease or at the exit of the process (postinit.c,
    // ShutdownPostgres), and not at the end of a transaction, whichever way it ends (proc.c,
    // ProcReleaseLocks). It does not wait.
    let result = unsafe { pg_sys::LockAcquire(&tag(table), part.mode(), true, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn unlock(table: u32, part: Part) {
    // SAFETY: taken by `try_lock` in this process, for the session.
    unsafe { pg_sys::LockRelease(&tag(table), part.mode(), true) };
}
