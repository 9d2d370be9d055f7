//! Processes that load rows into a table on behalf of this process's transaction: all of it or nothing, and nobody else sees any of it
//! before the commit.
//!
//! They are the server's own parallel workers (access/transam/README.parallel): each joins this transaction, its locks and its view of the
//! catalogs, ends with it, and passes its errors on. The server has them read only. Of writing it says: "We have the infrastructure to
//! allow parallel inserts in general except for the cases where inserts generate a new CommandId (eg. inserts into a table having a foreign
//! key column)" (heapam.c, heap_prepare_insert, since 13): the lock on a table's end is contended within a group, and the transaction
//! id is shared. What stands in the way is a check, which [`as_leader`] gets round for the time of a COPY. So the caller has made sure that
//! loading runs no triggers and no functions that write, and that everybody logs what they change (not at wal_level = minimal, where
//! the leader's new files are synced instead).

use super::report;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::sync::atomic::{AtomicU32, Ordering};

const KEY: u64 = 0x6367_7073_796e_6301;
/// Room for what a helper reports.
const ANSWER: usize = 64 * 1024;

const RUNNING: u32 = 0;
const DONE: u32 = 1;
const FAILED: u32 = 2;

/// What both sides share; the task follows it.
#[repr(C)]
struct Shared {
    state: AtomicU32,
    task_length: u32,
    answer_length: AtomicU32,
    answer: [u8; ANSWER],
}

/// A process at work.
#[derive(Debug)]
pub struct Helper {
    context: *mut pg_sys::ParallelContext,
    shared: *mut Shared,
}

/// How far a helper is.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// still at it
    Running,
    /// ended with this answer
    Done(Vec<u8>),
    /// ended with this one, which tells an error
    Failed(Vec<u8>),
}

/// Makes this process's transaction one that can have helpers; until [`leave`] it cannot change catalogs or run statements that write. It has
/// a transaction id by then.
pub fn enter() {
    // SAFETY: inside a transaction; an abort leaves the mode by itself.
    unsafe {
        pg_sys::GetCurrentTransactionId();
        pg_sys::EnterParallelMode();
    }
}

/// Ends that. No helper is left.
pub fn leave() {
    // SAFETY: entered in this transaction, all contexts destroyed.
    unsafe { pg_sys::ExitParallelMode() };
}

impl Helper {
    /// Starts a process that runs `task`: what was registered for helpers ([`super::entry`]). None when the server has no parallel worker to give.
    pub fn start(task: &[u8]) -> Result<Option<Helper>> {
        let size = size_of::<Shared>() + task.len();
        let length = u32::try_from(task.len()).map_err(|_| Error::internal("the task is too long"))?;
        // SAFETY: in parallel mode. The order is execParallel.c's (ExecInitParallelPlan). The chunk is aligned by the table of contents and
        // large enough for what is written; the state's zero is RUNNING.
        unsafe {
            let context = pg_sys::CreateParallelContext(c"cgpsync".as_ptr(), c"cgpsync_helper_main".as_ptr(), 1);
            // shm_toc_estimate_chunk and _keys, which are macros.
            (*context).estimator.space_for_chunks += size.next_multiple_of(128);
            (*context).estimator.number_of_keys += 1;
            pg_sys::InitializeParallelDSM(context);
            let shared = pg_sys::shm_toc_allocate((*context).toc, size).cast::<Shared>();
            std::ptr::write_bytes(shared.cast::<u8>(), 0, size);
            (*shared).task_length = length;
            std::ptr::copy_nonoverlapping(task.as_ptr(), shared.add(1).cast::<u8>(), task.len());
            pg_sys::shm_toc_insert((*context).toc, KEY, shared.cast());
            pg_sys::LaunchParallelWorkers(context);
            if (*context).nworkers_launched == 0 {
                pg_sys::DestroyParallelContext(context);
                return Ok(None);
            }
            Ok(Some(Helper { context, shared }))
        }
    }

    /// How far it is. An error that it could not report itself is raised by waiting, or at the next interrupt.
    pub fn report(&self) -> Report {
        // SAFETY: mapped until `destroy`, or the end of the transaction; the answer is complete once the state says so.
        unsafe {
            let shared = &*self.shared;
            let state = shared.state.load(Ordering::Acquire);
            let length = shared.answer_length.load(Ordering::Relaxed) as usize;
            let answer = || shared.answer[..length.min(ANSWER)].to_vec();
            match state {
                RUNNING => Report::Running,
                DONE => Report::Done(answer()),
                _ => Report::Failed(answer()),
            }
        }
    }

    /// Waits for its end; raises its error.
    pub fn wait(&self) {
        // SAFETY: started in this transaction, in parallel mode still. What the helper has logged counts as this process's from here on.
        unsafe { pg_sys::WaitForParallelWorkersToFinish(self.context) };
    }

    /// Forgets it. It has ended.
    pub fn destroy(self) {
        // SAFETY: as above; the memory goes with `self`.
        unsafe { pg_sys::DestroyParallelContext(self.context) };
    }
}

/// Runs `f`, a COPY into the table whose storage the leader has made anew, as if this were the leader.
pub(super) fn as_leader<T>(f: impl FnOnce() -> T) -> T {
    /// Puts the number back on every way out.
    struct Number(core::ffi::c_int);
    impl Drop for Number {
        fn drop(&mut self) {
            // SAFETY: as below.
            unsafe { pg_sys::ParallelWorkerNumber = self.0 };
        }
    }
    // SAFETY: a variable of this process that says which of the workers it is; -1 is none. Only checks read it while rows are loaded.
    let _number = unsafe {
        let number = Number(pg_sys::ParallelWorkerNumber);
        pg_sys::ParallelWorkerNumber = -1;
        number
    };
    f()
}

/// True in a helper.
pub(super) fn is_helper() -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// What a helper does: hands its task to `act`, and its answer, or what `failed` makes of its error, to the leader.
///
/// # Safety
/// `toc` is that of the leader's parallel context.
pub(super) unsafe fn run(toc: *mut pg_sys::shm_toc, act: fn(&[u8]) -> Result<Vec<u8>>, failed: fn(&Error) -> Vec<u8>) {
    // SAFETY: the leader has written the chunk before this process was started, and keeps it until this process has ended.
    let (shared, task) = unsafe {
        let shared = pg_sys::shm_toc_lookup(toc, KEY, false).cast::<Shared>();
        let task = std::slice::from_raw_parts(shared.add(1).cast::<u8>(), (*shared).task_length as usize);
        (shared, task)
    };
    let result = report::catch(|| act(task));
    let (state, answer) = match &result {
        Ok(answer) => (DONE, answer.clone()),
        Err(error) => (FAILED, failed(error)),
    };
    let length = answer.len().min(ANSWER);
    // SAFETY: the leader reads the answer after the state only.
    unsafe {
        std::ptr::copy_nonoverlapping(answer.as_ptr(), (&raw mut (*shared).answer).cast::<u8>(), length);
        (*shared).answer_length.store(length as u32, Ordering::Relaxed);
        (*shared).state.store(state, Ordering::Release);
    }
    // Nothing but an abort tidies up after an error. The server hands it to the leader as well, with less of what is known about it.
    if let Err(error) = result {
        report::raise(error);
    }
}
