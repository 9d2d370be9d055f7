//! How a unit's rows are replaced: which way, and how long others may be made to wait for it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The argument `replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// swap or exchange where it can be done, truncate otherwise
    Auto,
    /// new storage, which readers see when it is complete: of a table of this database
    Swap,
    /// a new table, which takes the unit's place when it is complete: of a table on another server
    Exchange,
    /// TRUNCATE and COPY: readers wait
    Truncate,
}

impl Replace {
    /// As written in SQL.
    pub fn parse(text: &str) -> Result<Replace> {
        match text {
            "auto" => Ok(Replace::Auto),
            "swap" => Ok(Replace::Swap),
            "exchange" => Ok(Replace::Exchange),
            "truncate" => Ok(Replace::Truncate),
            _ => Err(Error::bad_parameter(format!(
                "replace must be auto, swap, exchange or truncate, not \"{text}\""
            ))
            .hint("auto swaps or exchanges, which readers don't notice, and truncates where that cannot be.")),
        }
    }

    /// Refuses the way of the other kind of target.
    pub fn check(self, is_elsewhere: bool) -> Result<()> {
        let (wrong, where_it_is, right) = match (self, is_elsewhere) {
            (Replace::Swap, true) => ("swap", "on another server", "exchange"),
            (Replace::Exchange, false) => ("exchange", "of this database", "swap"),
            _ => return Ok(()),
        };
        Err(
            Error::bad_parameter(format!("replace => '{wrong}' is no way for a table {where_it_is}"))
                .hint(format!("Pass replace => '{right}', or leave it out.")),
        )
    }

    /// What is done with the unit `name`, where `obstacle` is a reason that keeps it from being replaced in the way `unnoticed`, which readers
    /// don't notice.
    pub fn way(self, unnoticed: Way, name: &str, obstacle: Option<&str>) -> Result<Way> {
        match (self, obstacle) {
            (Replace::Truncate, _) | (Replace::Auto, Some(_)) => Ok(Way::Truncate),
            (_, None) => Ok(unnoticed),
            (Replace::Swap | Replace::Exchange, Some(obstacle)) => {
                let done = if unnoticed == Way::Swap { "swapped" } else { "exchanged" };
                Err(Error::unsupported(format!("{name} cannot be {done}: {obstacle}"))
                    .hint("Leave out replace, or pass replace => 'truncate': readers then wait for the copy."))
            }
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

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// see [`Replace::Swap`]
    Swap,
    /// see [`Replace::Exchange`]
    Exchange,
    /// see [`Replace::Truncate`]
    Truncate,
}

impl Way {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Way::Swap => "swap",
            Way::Exchange => "exchange",
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
        let way = |text: &str, obstacle| Replace::parse(text).and_then(|replace| replace.way(Way::Swap, "t", obstacle));
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
    fn each_kind_of_target_has_a_way_of_its_own() {
        let exchange = Replace::Exchange
            .way(Way::Exchange, "t", Some("it is odd"))
            .expect_err("an obstacle");
        assert_eq!(exchange.message, "t cannot be exchanged: it is odd");
        assert_eq!(Replace::Auto.way(Way::Exchange, "t", None), Ok(Way::Exchange));
        assert!(Replace::Swap.check(false).is_ok() && Replace::Exchange.check(true).is_ok());
        let hint = |replace: Replace, is_elsewhere| replace.check(is_elsewhere).expect_err("the other kind").hint;
        assert!(hint(Replace::Swap, true).is_some_and(|hint| hint.contains("'exchange'")));
        assert!(hint(Replace::Exchange, false).is_some_and(|hint| hint.contains("'swap'")));
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
