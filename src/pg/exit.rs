//! What a process still has to do when it ends on a path that runs no Rust destructor: FATAL, as on termination.

use pgrx::pg_sys;
use std::cell::Cell;

thread_local! {
    static LAST_ACT: Cell<Option<fn()>> = const { Cell::new(None) };
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: core::ffi::c_int, _arg: pg_sys::Datum) {
    if let Some(act) = LAST_ACT.get() {
        act();
    }
}

/// From now on this process calls `act` when it exits, however it exits. There is one such act; calling this again changes nothing.
pub fn before_exit(act: fn()) {
    if LAST_ACT.replace(Some(act)).is_none() {
        // SAFETY: registered once in this process and never taken back: taking back is possible for the latest callback only.
        unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0)) };
    }
}
