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
/// The same of a call that waits for slots.
const WAITING: u16 = 3;

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
    tag_of(backend::database(), table, KIND)
}

fn tag_of(database: u32, table: u32, kind: u16) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database,
        locktag_field2: CLASS,
        locktag_field3: table,
        locktag_field4: kind,
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
    acquire(&tag(table), part.mode())
}

fn acquire(tag: &pg_sys::LOCKTAG, mode: i32) -> bool {
    // SAFETY: LockAcquire takes any tag of a known lock method and copies it. A lock of the session
    // in the method of users is let go by LockRelease or at the exit of the process (postinit.c,
    // ShutdownPostgres), and not at the end of a transaction, whichever way it ends (proc.c,
    // ProcReleaseLocks). It does not wait.
    let result = unsafe { pg_sys::LockAcquire(tag, mode, true, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn unlock(table: u32, part: Part) {
    release(&tag(table), part.mode());
}

fn release(tag: &pg_sys::LOCKTAG, mode: i32) {
    // SAFETY: taken by `acquire` in this process, for the session.
    unsafe { pg_sys::LockRelease(tag, mode, true) };
}

/// Shows in `pg_locks`, for the life of this, that a call for a table waits for slots; and to every run of the server that some call does.
#[derive(Debug)]
pub struct Waiting {
    table: u32,
    is_told: bool,
}

impl Waiting {
    /// The call waits from now on.
    pub fn begin(table: u32) -> Waiting {
        // Nobody takes it in another mode.
        acquire(&tag_of(backend::database(), table, WAITING), pg_sys::ShareLock as i32);
        Waiting { table, is_told: false }
    }

    /// Takes what [`someone_waits`] looks at, unless it has it: that look has it for a moment.
    pub fn tell_all(&mut self) {
        if !self.is_told {
            self.is_told = acquire(&everywhere(), pg_sys::ShareLock as i32);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        release(
            &tag_of(backend::database(), self.table, WAITING),
            pg_sys::ShareLock as i32,
        );
        if self.is_told {
            release(&everywhere(), pg_sys::ShareLock as i32);
        }
    }
}

/// Whether any call of this server waits for slots.
pub fn someone_waits() -> bool {
    let is_free = acquire(&everywhere(), pg_sys::ExclusiveLock as i32);
    if is_free {
        release(&everywhere(), pg_sys::ExclusiveLock as i32);
    }
    !is_free
}

/// Of all databases.
fn everywhere() -> pg_sys::LOCKTAG {
    tag_of(0, 0, WAITING)
}
