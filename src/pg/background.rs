//! Dynamic background workers: starting them, watching them, ending them, and how they take signals.

use crate::error::{Error, Result, sqlstate};
use pgrx::{IntoDatum, PgMemoryContexts, pg_sys};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a worker process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// plans and finishes a run
    Coordinator,
    /// copies units
    Worker,
}

impl Role {
    /// backend_type in pg_stat_activity
    pub fn backend_type(self) -> &'static str {
        match self {
            Role::Coordinator => "cgpsync coordinator",
            Role::Worker => "cgpsync worker",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Role::Coordinator => "cgpsync_coordinator_main",
            Role::Worker => "cgpsync_worker_main",
        }
    }
}

/// What a process is told at birth, in bgw_extra.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// MyDatabaseId of the parent
    pub database: u32,
    /// role to run as
    pub role: u32,
    /// the coordinator's hand-over segment, or the worker's run
    pub argument: i64,
}

/// State of a started process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// registered, no process yet
    Starting,
    /// running under this pid
    Running(i32),
    /// gone, however it ended
    Stopped,
}

/// A registered process. Dropping it leaves the process alone: see `adopt` and `super::handoff`.
#[derive(Debug, Clone, Copy)]
pub struct Handle(*mut pg_sys::BackgroundWorkerHandle);

thread_local! {
    /// Children to terminate when this process exits on a path that runs no Rust destructor (FATAL).
    static CHILDREN: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Copies `text` into a fixed C field; the server neither checks lengths nor terminates.
fn fill(field: &mut [core::ffi::c_char], text: &str) -> Result<()> {
    if text.len() >= field.len() {
        return Err(Error::internal(format!("background worker field too long: {text}")));
    }
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from as core::ffi::c_char;
    }
    Ok(())
}

/// Starts a process. `title` shows in ps. None when all worker slots are taken.
pub fn start(role: Role, birth: Birth, title: &str) -> Result<Option<Handle>> {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32,
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
        // SAFETY: set at process start.
        bgw_notify_pid: unsafe { pg_sys::MyProcPid },
        bgw_main_arg: birth.argument.into_datum().unwrap_or(pg_sys::Datum::from(0)),
        ..Default::default()
    };
    fill(
        &mut worker.bgw_name,
        &format!("{} {title}", role.backend_type())
            .chars()
            .take(40)
            .collect::<String>(),
    )?;
    fill(&mut worker.bgw_type, role.backend_type())?;
    fill(&mut worker.bgw_library_name, "cgpsync")?;
    fill(&mut worker.bgw_function_name, role.entry())?;
    fill(&mut worker.bgw_extra, &format!("{} {}", birth.database, birth.role))?;
    let mut handle = std::ptr::null_mut();
    // SAFETY: the struct is filled and terminated. The handle is allocated in the long-lived context, as it outlives the call.
    let registered = unsafe {
        PgMemoryContexts::TopMemoryContext
            .switch_to(|_| pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle))
    };
    if !registered {
        return Ok(None);
    }
    Ok(Some(Handle(handle)))
}

/// How many slots for background workers there are, used or not.
pub fn slots() -> i32 {
    // SAFETY: a setting that only a restart changes.
    unsafe { pg_sys::max_worker_processes }
}

/// The error for a run that has found no free slots in time.
pub fn no_slot() -> Error {
    Error::new(
        sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
        "no background worker slots are free",
    )
    .hint("Raise max_worker_processes, which needs a restart (a run needs one slot, and one for each worker), or cgpsync.worker_slot_timeout, or call when fewer runs are on.")
}

impl Handle {
    /// Whether it runs.
    pub fn state(self) -> State {
        let mut pid = 0;
        // SAFETY: the handle was made by `start` in this process and is never freed.
        match unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) } {
            pg_sys::BgwHandleStatus::BGWH_STARTED => State::Running(pid),
            pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED => State::Starting,
            _ => State::Stopped,
        }
    }

    /// Frees the handle itself; the process is not touched.
    pub(super) fn release(self) {
        // SAFETY: made by `start`, and the caller is its only holder.
        unsafe { pg_sys::pfree(self.0.cast()) };
    }

    /// Asks it to end: SIGTERM, or not starting at all.
    pub fn terminate(self) {
        // SAFETY: as above. The slot's generation keeps it from hitting a successor.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) };
    }
}

/// From now on this process takes `handle` with it when it exits, however it exits.
pub fn adopt(handle: Handle) {
    CHILDREN.with_borrow_mut(|children| children.push(handle));
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn end_children(_code: core::ffi::c_int, _arg: pg_sys::Datum) {
    CHILDREN.with_borrow(|children| children.iter().for_each(|child| child.terminate()));
}

/// How long after the first SIGTERM another one is taken for the same request: a shutdown, a caller that goes and a coordinator that
/// cleans up may all send theirs at once, and none of them must cut the cleaning up short.
const GRACE: Duration = Duration::from_secs(2);

/// When this process began; the clock of the handler below.
static BIRTH: OnceLock<Instant> = OnceLock::new();
/// Milliseconds after BIRTH of the first SIGTERM, at least 1; 0: none yet.
static FIRST_SIGTERM: AtomicU64 = AtomicU64::new(0);

unsafe extern "C-unwind" {
    // Declared here because a bound function is a Rust wrapper, which a signal handler must not be.
    fn StatementCancelHandler(signal: core::ffi::c_int);
    fn die(signal: core::ffi::c_int);
}

/// SIGTERM: the first one cancels the current statement, so that what unwinds can stop the query on the source and record how the
/// run ended; one that comes later than `GRACE` ends the process as in any backend. Only atomics and the clock are touched here.
unsafe extern "C-unwind" fn on_sigterm(signal: core::ffi::c_int) {
    let now = BIRTH.get().map_or(0, |birth| birth.elapsed().as_millis() as u64) + 1;
    let first = FIRST_SIGTERM.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    // SAFETY: both are the server's own handlers, made for this context.
    unsafe {
        match first {
            Ok(_) => StatementCancelHandler(signal),
            Err(first) if now - first > GRACE.as_millis() as u64 => die(signal),
            Err(_) => {}
        }
    }
}

/// True once this process was asked to end.
pub fn termination_requested() -> bool {
    FIRST_SIGTERM.load(Ordering::Relaxed) != 0
}

/// Prepares a process of ours: signals, database, identity, termination of children. The first thing an entry point does.
pub fn initialize() -> Birth {
    BIRTH.get_or_init(Instant::now);
    // SAFETY: MyBgworkerEntry is set in every background worker; bgw_extra was filled and terminated by `start`. Handlers are
    // installed before signals are unblocked (pglogical's PR 385 is why). SIGINT stays the server's StatementCancelHandler.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(on_sigterm));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(pg_sys::SIGTERM as i32, Some(on_sigterm));
        pg_sys::BackgroundWorkerUnblockSignals();
        let entry = &*pg_sys::MyBgworkerEntry;
        let extra = std::ffi::CStr::from_ptr(entry.bgw_extra.as_ptr()).to_string_lossy();
        let mut words = extra.split(' ').map(|w| w.parse::<u32>().unwrap_or(0));
        let birth = Birth {
            database: words.next().unwrap_or(0),
            role: words.next().unwrap_or(0),
            argument: entry.bgw_main_arg.value() as i64,
        };
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from_u32(birth.database),
            pg_sys::Oid::from_u32(birth.role),
            0,
        );
        pg_sys::before_shmem_exit(Some(end_children), pg_sys::Datum::from(0));
        birth
    }
}
