//! cgpsync.*: all can be set by anyone at any time. A run takes the values of the session that calls it.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;
use std::time::Duration;

/// No default: with a single server of our wrapper there is nothing to set, with several none is the obvious one.
static SOURCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// A minute outlasts an interactive query, and a nightly job that waits longer should say whom it waits for.
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
/// libpq's own default is to wait for ever, which nobody wants at night.
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10);

/// Defines the settings.
pub fn init() {
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
        c"Longest wait of a worker for the lock on a partition.",
        c"A partition that cannot be locked in time fails and keeps its rows. 0 waits for ever.",
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

/// cgpsync.connect_timeout.
pub fn connect_timeout() -> Duration {
    Duration::from_secs(CONNECT_TIMEOUT.get().max(1) as u64)
}
