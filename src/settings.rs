//! cgpsync.*: all but the cap on parallelism can be set by anyone at any time. A run takes the values of the session that calls it.

use crate::error::Result;
use crate::pg::analyze::Choice;
use crate::pg::{backend, spi};
use crate::plan::replace::Analyze;
use crate::plan::retry::Retries;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// No default: with a single server of our wrapper there is nothing to set, with several none is the obvious one.
static SOURCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Whoever comes after a waiting lock waits with it: short, as it is tried again.
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5_000);
/// libpq's own default is to wait for ever, which nobody wants at night.
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10);

/// With the delays below about four minutes: a restart of the source, and most readers.
static MAX_RETRIES: GucSetting<i32> = GucSetting::<i32>::new(10);
static RETRY_DELAY: GucSetting<i32> = GucSetting::<i32>::new(1_000);
static MAX_RETRY_DELAY: GucSetting<i32> = GucSetting::<i32>::new(60_000);
/// A reader that takes longer holds a lock that nobody should have to guess; the rows loaded are kept waiting, and writers with them.
static SWAP_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(600_000);
/// Long enough for the run before it, as when several begin in the same minute.
static SLOT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(3_600_000);
/// Plans for new rows made with the statistics of the old ones are the usual surprise of the next morning.
static ANALYZE: GucSetting<Choice> = GucSetting::<Choice>::new(Choice::On);
/// Off is for who does not trust it: everything is loaded by COPY.
static PAGE_WRITER: GucSetting<bool> = GucSetting::<bool>::new(true);
static MAX_RATE: GucSetting<i32> = GucSetting::<i32>::new(0);
/// For administrators: every worker is a slot here and a connection there.
static MAX_PARALLELISM: GucSetting<i32> = GucSetting::<i32>::new(PARALLELISM_LIMIT);

/// The cap had a value before it was defined here, maybe by an option of the client.
static WAS_GIVEN: AtomicBool = AtomicBool::new(false);
/// Name of the cap.
const CAP: &CStr = c"cgpsync.max_parallelism";

/// Workers at most, whatever is set. More connections than this would not make any source faster.
pub const PARALLELISM_LIMIT: i32 = 256;

/// Defines the settings.
pub fn init() {
    init_replacing();
    GucRegistry::define_string_guc(
        c"cgpsync.source",
        c"Foreign server that is the source of a sync which names none.",
        c"When it is empty too, the only server of foreign-data wrapper cgpsync is taken.",
        &SOURCE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cgpsync.lock_timeout",
        c"Longest wait of a worker for a lock on a partition, here and on the source.",
        c"A partition that cannot be locked in time is tried again later. 0 waits for ever.",
        &LOCK_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"cgpsync.connect_timeout",
        c"Longest time to open a connection to the source.",
        c"Applies to servers without an option connect_timeout of their own.",
        &CONNECT_TIMEOUT,
        1,
        3600,
        GucContext::Userset,
        GucFlags::UNIT_S,
    );
    init_retries();
    init_limits();
    // A misspelt name would otherwise be a setting that nobody reads.
    backend::reserve_settings(c"cgpsync");
}

fn init_replacing() {
    GucRegistry::define_int_guc(
        c"cgpsync.swap_timeout",
        c"Longest time that a loaded partition waits for readers to let go, before it is given up.",
        c"It is tried with short locks that readers hardly notice, then with longer ones, up to cgpsync.lock_timeout each. 0 tries for ever.",
        &SWAP_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_enum_guc(
        c"cgpsync.analyze_partitions",
        c"Whether partitions are analyzed once they are replaced (leaves), and with them the tables above them (all, on).",
        c"Only what the calling role may analyze.",
        &ANALYZE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"cgpsync.page_writer",
        c"Whether pages of partitions are written by cgpsync, where that can be done, rather than by COPY.",
        c"A partition with triggers, foreign keys, CHECK constraints, domains or columns that have a value of their own is loaded by COPY in any case.",
        &PAGE_WRITER,
        GucContext::Userset,
        GucFlags::default(),
    );
}

fn init_retries() {
    GucRegistry::define_int_guc(
        c"cgpsync.max_retries",
        c"How often a partition is tried again after a failure that may pass.",
        c"Lost connections, restarts of the source, too many connections or too little memory there, locks, deadlocks and serialization failures.",
        &MAX_RETRIES,
        0,
        1_000_000,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cgpsync.retry_delay",
        c"Time before a partition is tried again.",
        c"Doubles with each attempt; up to half of it is taken away at random.",
        &RETRY_DELAY,
        1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"cgpsync.max_retry_delay",
        c"Longest time between two attempts.",
        c"",
        &MAX_RETRY_DELAY,
        1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
}

fn init_limits() {
    // What is loaded with the server sees no client's options: those are refused when it connects.
    WAS_GIVEN.store(
        !backend::is_preloading() && backend::has_setting(CAP),
        Ordering::Relaxed,
    );
    GucRegistry::define_int_guc(
        c"cgpsync.max_rate",
        c"Bytes that a run takes from the source in a second, at most.",
        c"All workers of the run together. 0: as fast as it goes.",
        &MAX_RATE,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_BYTE,
    );
    GucRegistry::define_int_guc(
        CAP,
        c"Workers of a run, whatever its call asks for.",
        c"",
        &MAX_PARALLELISM,
        1,
        PARALLELISM_LIMIT,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"cgpsync.worker_slot_timeout",
        c"Longest wait of a call for background worker slots of this server.",
        c"A run needs two to begin, and goes on with as many more as there are. 0 waits for ever.",
        &SLOT_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
}

/// cgpsync.source; None when empty.
pub fn source() -> Option<String> {
    SOURCE
        .get()
        .and_then(|s| s.into_string().ok())
        .filter(|s| !s.is_empty())
}

/// cgpsync.lock_timeout in milliseconds; 0: none.
pub fn lock_timeout_ms() -> i32 {
    LOCK_TIMEOUT.get()
}

/// cgpsync.swap_timeout in milliseconds; 0: none.
pub fn swap_timeout_ms() -> i32 {
    SWAP_TIMEOUT.get()
}

/// cgpsync.worker_slot_timeout in milliseconds; 0: none.
pub fn slot_timeout_ms() -> i32 {
    SLOT_TIMEOUT.get()
}

/// cgpsync.analyze_partitions.
pub fn analyze() -> Analyze {
    match ANALYZE.get() {
        Choice::On | Choice::All | Choice::True | Choice::Yes | Choice::One => Analyze::All,
        Choice::Leaves => Analyze::Leaves,
        Choice::Off | Choice::False | Choice::No | Choice::Zero => Analyze::Off,
    }
}

/// cgpsync.page_writer.
pub fn page_writer() -> bool {
    PAGE_WRITER.get()
}

/// cgpsync.connect_timeout.
pub fn connect_timeout() -> Duration {
    Duration::from_secs(CONNECT_TIMEOUT.get().max(1) as u64)
}

/// cgpsync.max_retries and the delays.
pub fn retries() -> Retries {
    Retries {
        max: MAX_RETRIES.get().max(0) as u32,
        delay_ms: RETRY_DELAY.get().max(1) as u64,
        max_delay_ms: MAX_RETRY_DELAY.get().max(1) as u64,
    }
}

/// cgpsync.max_rate in bytes per second; 0: none.
pub fn max_rate() -> u64 {
    MAX_RATE.get().max(0) as u64
}

/// cgpsync.max_parallelism of a session; None where it is not known. A value that a plain role's client passes when it connects (PGOPTIONS) is
/// kept until the library is there, in the place of the administrator's; then it is refused, and the default is left.
pub fn max_parallelism_here() -> Result<Option<i32>> {
    if WAS_GIVEN.load(Ordering::Relaxed) {
        let rows = spi::execute(
            "SELECT FROM pg_catalog.pg_settings WHERE name = $1 AND source = 'default'",
            &[Some(&CAP.to_string_lossy())],
        )?;
        if !rows.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(max_parallelism()))
}

/// cgpsync.max_parallelism, as it is in this process.
pub fn max_parallelism() -> i32 {
    MAX_PARALLELISM.get()
}
