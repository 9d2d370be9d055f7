//! What is worth trying again, and when.

use crate::error::{Error, Side, sqlstate};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How failures that may pass are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// attempts after the first
    pub max: u32,
    /// milliseconds before the second attempt
    pub delay_ms: u64,
    /// milliseconds between two attempts at most
    pub max_delay_ms: u64,
}

impl Retries {
    /// How long to wait after attempt number `attempt` (from 1) has failed; None when it was the last. Doubles each time; `random`, in
    /// [0, 1), takes up to half of it away, so that workers which failed together do not come back together.
    pub fn delay_after(self, attempt: u32, random: f64) -> Option<Duration> {
        if attempt > self.max {
            return None;
        }
        let doubled = 1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let full = self.delay_ms.saturating_mul(doubled).min(self.max_delay_ms);
        Some(Duration::from_secs_f64(full as f64 / 1000.0 * (1.0 - random / 2.0)))
    }
}

/// True when the same attempt may succeed later: the connection or the source went away, it takes no more connections, or the attempt
/// met others' locks or changes. A cancel over there is somebody's will, and a broken protocol no accident.
pub fn is_transient(error: &Error) -> bool {
    if error.is_final {
        return false;
    }
    match error.sqlstate.as_str() {
        // A pooler has this one for its outages; what breaks the protocol is no server's message.
        sqlstate::PROTOCOL_VIOLATION => error.is_remote(),
        state if state.starts_with("08") => true,
        sqlstate::LOCK_NOT_AVAILABLE | sqlstate::DEADLOCK_DETECTED | sqlstate::SERIALIZATION_FAILURE => true,
        // openGauss: a partition was dropped while its server looked for it.
        sqlstate::NO_PARTITION => error.is_remote(),
        sqlstate::ADMIN_SHUTDOWN | sqlstate::CRASH_SHUTDOWN | sqlstate::CANNOT_CONNECT_NOW => error.is_remote(),
        sqlstate::TOO_MANY_CONNECTIONS | sqlstate::IDLE_SESSION_TIMEOUT => error.is_remote(),
        // Of a target that has not heard of this end for seconds while its table was locked.
        sqlstate::IDLE_IN_TRANSACTION_TIMEOUT => error.is_remote(),
        _ => is_snapshots_fault(error),
    }
}

/// True for what the source may not say in a new snapshot: what it has kept for the old one is gone, or was too much.
pub fn is_snapshots_fault(error: &Error) -> bool {
    error.side == Side::Source
        && matches!(
            error.sqlstate.as_str(),
            sqlstate::OUT_OF_MEMORY | sqlstate::SNAPSHOT_TOO_OLD
        )
}

/// True when the server is there and will take connections in a while.
pub fn is_server_busy(error: &Error) -> bool {
    error.is_remote()
        && !error.is_final
        && matches!(
            error.sqlstate.as_str(),
            sqlstate::TOO_MANY_CONNECTIONS | sqlstate::CANNOT_CONNECT_NOW
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries = Retries {
        max: 4,
        delay_ms: 1000,
        max_delay_ms: 5000,
    };

    #[test]
    fn delays_double_up_to_the_longest_and_end() {
        let full = |attempt| RETRIES.delay_after(attempt, 0.0).map(|d| d.as_millis());
        assert_eq!(
            [1, 2, 3, 4, 5].map(full),
            [Some(1000), Some(2000), Some(4000), Some(5000), None]
        );
        let half = RETRIES.delay_after(2, 0.999_999).map_or(0, |d| d.as_millis());
        assert!((1000..=1001).contains(&half), "{half}");
        let endless = Retries {
            max: u32::MAX,
            ..RETRIES
        };
        assert_eq!(endless.delay_after(200, 0.0), Some(Duration::from_secs(5)));
        assert_eq!(Retries { max: 0, ..RETRIES }.delay_after(1, 0.0), None);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let remote = |code: &str, message: &str| Error {
            side: Side::Source,
            ..Error::new(code, message)
        };
        for error in [
            Error::new("08006", "connection lost"),
            Error::new("08001", "connection refused"),
            remote("57P01", "terminating connection due to administrator command"),
            remote("57P03", "the database system is starting up"),
            remote("53300", "sorry, too many clients already"),
            remote("57P05", "terminating connection due to idle-session timeout"),
            remote("25P03", "terminating connection due to idle-in-transaction timeout"),
            remote("08P01", "server conn crashed?"),
            remote("53200", "out of memory"),
            remote("72000", "snapshot too old"),
            remote("40001", "canceling statement due to conflict with recovery"),
            Error::new("55P03", "canceling statement due to lock timeout"),
            Error::new("40P01", "deadlock detected"),
        ] {
            assert!(is_transient(&error), "{error:?}");
        }
        for error in [
            Error::new("57P01", "terminated here"),
            Error::new("57014", "cancelled here"),
            remote("57014", "canceling statement due to user request"),
            Error::new("08P01", "impossible length"),
            Error::new("53200", "out of memory"),
            Error {
                side: Side::Target,
                ..Error::new("53200", "out of memory")
            },
            remote("08001", "could not connect to server \"behind\"").final_one(),
            remote("28P01", "password authentication failed"),
            remote("42501", "permission denied"),
            remote("22023", "server \"snapshots\": invalid value for parameter"),
            Error::new("23514", "violates check constraint"),
            Error::new("53100", "could not extend file: no space left on device"),
        ] {
            assert!(!is_transient(&error), "{error:?}");
        }
    }
}
