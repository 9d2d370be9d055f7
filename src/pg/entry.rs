//! Where the server enters our processes. What they do is registered when the library is loaded, so that the fence knows nothing of it.

use super::background::{self, Birth};
use super::helper;
use crate::error::{Error, Result};
use pgrx::{pg_guard, pg_sys};
use std::sync::OnceLock;

/// What each kind of process does.
#[derive(Debug, Clone, Copy)]
pub struct Acts {
    /// of `cgpsync coordinator`. Errors have been recorded by the time it returns
    pub coordinator: fn(Birth),
    /// of `cgpsync worker`, likewise
    pub worker: fn(Birth),
    /// of a helper: takes its task, gives its answer
    pub helper: fn(&[u8]) -> Result<Vec<u8>>,
    /// how a helper's error is told as an answer
    pub failed: fn(&Error) -> Vec<u8>,
}

static ACTS: OnceLock<Acts> = OnceLock::new();

/// Says what the processes do. The server loads the library, and so calls this, before it enters any of them.
pub fn register(acts: Acts) {
    ACTS.get_or_init(|| acts);
}

/// Entry point of `cgpsync coordinator`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cgpsync_coordinator_main(_argument: pg_sys::Datum) {
    let birth = background::initialize();
    if let Some(acts) = ACTS.get() {
        (acts.coordinator)(birth);
    }
}

/// Entry point of `cgpsync worker`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cgpsync_worker_main(_argument: pg_sys::Datum) {
    let birth = background::initialize();
    if let Some(acts) = ACTS.get() {
        (acts.worker)(birth);
    }
}

/// Entry point of a helper, called by the server's ParallelWorkerMain within the leader's transaction.
///
/// # Safety
/// `toc` is that of the leader's parallel context.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn cgpsync_helper_main(_segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) {
    if let Some(acts) = ACTS.get() {
        // SAFETY: the server calls this with the leader's table of contents.
        unsafe { helper::run(toc, acts.helper, acts.failed) };
    }
}
