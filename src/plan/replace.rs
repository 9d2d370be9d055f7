//! How a unit's rows are replaced: which way, and how long others may be made to wait for it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The argument `replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// swap where it can be done, truncate otherwise
    Auto,
    /// new storage, which readers see when it is complete
    Swap,
    /// TRUNCATE and COPY: readers wait
    Truncate,
}

impl Replace {
    /// As written in SQL.
    pub fn parse(text: &str) -> Result<Replace> {
        match text {
            "auto" => Ok(Replace::Auto),
            "swap" => Ok(Replace::Swap),
            "truncate" => Ok(Replace::Truncate),
            _ => Err(
                Error::bad_parameter(format!("replace must be auto, swap or truncate, not \"{text}\""))
                    .hint("auto swaps, which readers don't notice, and truncates what cannot be swapped."),
            ),
        }
    }

    /// What is done with the unit `name`, where `obstacle` is a reason that keeps it from being swapped.
    pub fn way(self, name: &str, obstacle: Option<&str>) -> Result<Way> {
        match (self, obstacle) {
            (Replace::Truncate, _) | (Replace::Auto, Some(_)) => Ok(Way::Truncate),
            (_, None) => Ok(Way::Swap),
            (Replace::Swap, Some(obstacle)) => Err(Error::unsupported(format!("{name} cannot be swapped: {obstacle}"))
                .hint("Leave out replace, or pass replace => 'truncate': readers then wait for the copy.")),
        }
    }
}

/// What is analyzed when units are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Analyze {
    /// nothing
    Off,
    /// the units
    Leaves,
    /// these, and the partitioned tables above them
    All,
}

/// One of the two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// see [`Replace::Swap`]
    Swap,
    /// see [`Replace::Truncate`]
    Truncate,
}

impl Way {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Way::Swap => "swap",
            Way::Truncate => "truncate",
        }
    }
}

/// First attempt to lock a unit that is ready: what a reader's wait may be without being noticed.
const FIRST_ATTEMPT: Duration = Duration::from_millis(10);
/// Attempts of one length, before longer ones.
const ATTEMPTS_OF_A_LENGTH: u32 = 3;
/// The pause after an attempt is so many times as long: whoever had to wait behind it is let through meanwhile.
const PAUSE_FACTOR: u32 = 9;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Attempt number `attempt` (from 0) to lock a unit that is ready to be shown: how long it may wait, and the pause after it. Whoever comes
/// while it waits, waits with it; so it waits shortly, and longer only when a while of that has not been enough, up to `limit`
/// (zero: as long as it takes to double).
pub fn lock_attempt(attempt: u32, limit: Duration) -> (Duration, Duration) {
    let doublings = (attempt / ATTEMPTS_OF_A_LENGTH).min(20);
    let wait = FIRST_ATTEMPT.saturating_mul(1 << doublings);
    let wait = if limit.is_zero() { wait } else { wait.min(limit) };
    let pause = (wait * PAUSE_FACTOR).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    (wait, pause)
}

/// How long after an attempt of length `wait` there is to be another one although a long transaction has the unit: many of them may follow one
/// another without a gap.
pub fn longest_rest(wait: Duration) -> Duration {
    (wait * PAUSE_FACTOR).max(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_swaps_what_can_be_swapped_and_truncates_the_rest() {
        let way = |text: &str, obstacle| Replace::parse(text).and_then(|replace| replace.way("t", obstacle));
        assert_eq!(way("auto", None), Ok(Way::Swap));
        assert_eq!(way("auto", Some("it is odd")), Ok(Way::Truncate));
        assert_eq!(way("swap", None), Ok(Way::Swap));
        assert_eq!(way("truncate", None), Ok(Way::Truncate));
        assert_eq!(way("truncate", Some("it is odd")), Ok(Way::Truncate));
        let error = way("swap", Some("it is odd")).expect_err("an obstacle");
        assert_eq!(error.message, "t cannot be swapped: it is odd");
        assert!(way("AUTO", None).is_err());
    }

    #[test]
    fn attempts_grow_slowly_to_the_limit_and_pauses_leave_room_for_others() {
        let limit = Duration::from_secs(1);
        let attempts: Vec<_> = (0..60).map(|n| lock_attempt(n, limit)).collect();
        assert_eq!(attempts[0], (FIRST_ATTEMPT, FIRST_ATTEMPT * PAUSE_FACTOR));
        assert!(attempts.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert_eq!(attempts[59].0, limit);
        assert!(attempts.iter().all(|(wait, pause)| *pause >= *wait * 4));
        assert_eq!(lock_attempt(0, Duration::from_millis(1)).0, Duration::from_millis(1));
        // Without a limit the total is what ends it.
        assert!(lock_attempt(u32::MAX, Duration::ZERO).0 > Duration::from_secs(1000));
    }
}
