//! How many rows a COPY's WHERE has left out. CopyFrom does not say; it only shows the number in
//! pg_stat_progress_copy.
//!
//! That place belongs to the process, and what a trigger runs may write there too. A command that
//! shows progress begins with zeroes in all figures (backend_progress.c,
//! pgstat_progress_start_command). So a mark, put where COPY and the others put nothing, tells at
//! the end whether there was such a command: without the mark the number is not believed. With it
//! the number is COPY's own: it writes its own count, not an increment, with each row that it
//! leaves out, and nobody else writes that figure without having begun a command. The end of a
//! command, which also comes with each subtransaction that fails in a trigger, leaves the figures.
//! So a trigger can make the number unknown, which is an error, and cannot make it wrong.

use pgrx::pg_sys;

/// The last figure; the server's commands use less than 17.
const MARK_AT: i32 = pg_sys::PGSTAT_NUM_PROGRESS_PARAM as i32 - 1;
const MARK: i64 = 0x6367_7073_796e_6302;

/// Runs `load`, which catches errors, with progress shown even if track_activities is off.
pub fn reporting<T>(load: impl FnOnce() -> T) -> T {
    // SAFETY: a plain variable of this process, which only this thread touches. `load` catches what is
    // raised, so that every way out but the end of the process leads here, and the variable is put
    // back. Without the setting an abort leaves the command in the process's entry
    // (pgstat_progress_end_command looks at it too), so it is ended before.
    unsafe {
        let before = pg_sys::pgstat_track_activities;
        pg_sys::pgstat_track_activities = true;
        let result = load();
        if !before {
            pg_sys::pgstat_progress_end_command();
        }
        pg_sys::pgstat_track_activities = before;
        result
    }
}

/// Marks the figures of the command that has just begun.
pub fn mark() {
    // SAFETY: writes one of this process's figures; MARK_AT is one of them.
    unsafe { pg_sys::pgstat_progress_update_param(MARK_AT, MARK) };
}

/// How many rows the marked COPY has left out so far. None where another command has written there
/// since.
#[cfg(not(feature = "pg13"))]
pub fn left_out() -> Option<u64> {
    // SAFETY: this process's own entry, set at its start and written by nobody else.
    let figures = unsafe { pg_sys::MyBEEntry.as_ref()?.st_progress_param };
    if figures.get(MARK_AT as usize) != Some(&MARK) {
        return None;
    }
    // pg_stat_progress_copy.tuples_excluded
    u64::try_from(*figures.get(pg_sys::PROGRESS_COPY_TUPLES_EXCLUDED as usize)?).ok()
}

/// Its COPY from a callback takes no condition, and shows no such number.
#[cfg(feature = "pg13")]
pub fn left_out() -> Option<u64> {
    None
}
