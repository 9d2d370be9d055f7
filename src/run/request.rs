//! What a call asks for.

use crate::error::{Error, Result, Side};
use crate::pg::{backend, background, xact};
use crate::plan::replace::{Analyze, Replace};
use crate::plan::retry::{self, Retries};
use crate::plan::vanished::Vanished;
use crate::targets::Access;
use crate::targets::loading::Limits;
use crate::wire::endpoint::Endpoint;
use crate::wire::mapping;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Arguments of a call, as SQL gives them.
#[derive(Debug)]
pub struct Call {
    /// OID of the target table
    pub table: u32,
    /// None: today
    pub end_tm: Option<String>,
    /// workers
    pub parallelism: i32,
    /// foreign server
    pub source: Option<String>,
    /// overrides the remembered end_tm
    pub since: Option<String>,
    /// name on the source
    pub source_table: Option<String>,
    /// create here the partitions that only the source has
    pub create_missing: bool,
    /// names of columns; None: every column of the target
    pub columns: Option<Vec<Option<String>>>,
    /// auto, swap or truncate
    pub replace: String,
    /// keep, empty or drop
    pub vanished: String,
    /// a column whose values may change is an error
    pub strict: bool,
}

impl Call {
    /// A call for `table` with every default.
    pub fn of(table: u32) -> Call {
        Call {
            table,
            end_tm: None,
            parallelism: 3,
            source: None,
            since: None,
            source_table: None,
            create_missing: true,
            columns: None,
            replace: "auto".to_owned(),
            vanished: "keep".to_owned(),
            strict: false,
        }
    }
}

/// The library's version. Both ends of a hand-over must have one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a call asks for: handed to the coordinator and kept in cgpsync_run.arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// of the library that has made it
    #[serde(default)]
    pub version: String,
    /// OID of the target table
    pub table: u32,
    /// as given; None: today
    pub end_tm: Option<String>,
    /// workers at most
    pub parallelism: i32,
    /// cgpsync.max_parallelism of the calling session; None: a client's option has hidden it there
    pub max_parallelism: Option<i32>,
    /// foreign server
    pub source: String,
    /// as given
    pub since: Option<String>,
    /// as given; None: the target's schema and name
    pub source_table: Option<String>,
    /// create here the partitions that only the source has
    pub create_missing: bool,
    /// columns to copy; None: every column of the target
    pub columns: Option<Vec<String>>,
    /// the caller's order of day, month and year in dates: DMY, MDY or YMD
    pub date_order: String,
    /// cgpsync.lock_timeout, milliseconds
    pub lock_timeout_ms: i32,
    /// cgpsync.connect_timeout, seconds
    pub connect_timeout_s: u64,
    /// cgpsync.max_retries and delays
    pub retries: Retries,
    /// cgpsync.max_rate, bytes per second; 0: none
    pub max_rate: u64,
    /// how a unit is replaced
    pub replace: Replace,
    /// cgpsync.swap_timeout, milliseconds
    pub swap_timeout_ms: i32,
    /// cgpsync.worker_slot_timeout, milliseconds
    #[serde(default)]
    pub slot_timeout_ms: i32,
    /// cgpsync.analyze_partitions
    pub analyze: Analyze,
    /// cgpsync.page_writer
    #[serde(default)]
    pub page_writer: bool,
    /// what becomes of a partition here whose range the source has no partition for any more
    pub vanished: Vanished,
    /// a column whose values may change is an error
    pub strict: bool,
}

impl Request {
    /// Reads what a caller has handed over; None where its library is of another version, whatever that asks for.
    pub fn handed_over(bytes: &[u8]) -> Result<Option<Request>> {
        let broken = |error: serde_json::Error| Error::internal(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(broken)?;
        if value.get("version").and_then(serde_json::Value::as_str) != Some(VERSION) {
            return Ok(None);
        }
        serde_json::from_value(value).map(Some).map_err(broken)
    }

    /// From here to the end of the transaction, waits for a lock are limited as the caller wants it.
    pub fn limit_lock_waits(&self) -> Result<()> {
        backend::set_config("lock_timeout", &self.lock_timeout_ms.to_string(), true)
    }

    /// The error of a wait for slots that began then, if it has lasted as long as the caller lets it.
    pub fn check_slot_wait(&self, begin: Instant) -> Result<()> {
        let limit = Duration::from_millis(self.slot_timeout_ms.max(0) as u64);
        match !limit.is_zero() && begin.elapsed() >= limit {
            true => Err(background::no_slot().detail(format!("None was for {:.1} s.", begin.elapsed().as_secs_f64()))),
            false => Ok(()),
        }
    }

    /// How long a unit may make others wait.
    pub fn limits(&self) -> Limits {
        let milliseconds = |ms: i32| Duration::from_millis(ms.max(0) as u64);
        Limits {
            attempt: milliseconds(self.lock_timeout_ms),
            total: milliseconds(self.swap_timeout_ms),
        }
    }

    /// Limit for opening a connection, where the server has none of its own.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }

    /// How a target on another server is reached.
    pub fn access(&self) -> Access {
        Access {
            connect_timeout: self.connect_timeout(),
            lock_timeout_ms: self.lock_timeout_ms,
            limits: self.limits(),
        }
    }

    /// Where the source is. Inside a transaction.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let mut endpoint = xact::look(|| mapping::endpoint(&self.source, Side::Source, self.connect_timeout()))?;
        endpoint.patience = self.limits().attempt;
        Ok(endpoint)
    }

    /// How long to wait after attempt number `attempt` has failed with `error`; None when there is to be no other one.
    pub fn next_attempt(&self, error: &Error, attempt: u32) -> Option<Duration> {
        let again = retry::is_transient(error);
        again.then(|| self.retries.delay_after(attempt, random())).flatten()
    }
}

/// In [0, 1).
pub fn random() -> f64 {
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

/// One line of a run's message: what failed and when it is tried again.
pub fn retry_remark(error: &Error, attempt: u32, delay: Duration) -> String {
    format!(
        "attempt {attempt} failed: {} [{}]; the next one in {:.1} s",
        error.message.replace('\n', " "),
        error.sqlstate,
        delay.as_secs_f64()
    )
}

/// The last error, and how many there were.
pub fn after_attempts(error: Error, attempt: u32) -> Error {
    if attempt <= 1 {
        return error;
    }
    let text = format!("This was attempt {attempt}; the ones before failed too.");
    error.more_detail(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_hands_over_is_not_read() {
        let of = |json: &str| Request::handed_over(json.as_bytes());
        assert!(
            of(r#"{"table": 1}"#).is_ok_and(|request| request.is_none()),
            "0.2.0 said none"
        );
        assert!(of(r#"{"version": "9.9.9", "columns": 7}"#).is_ok_and(|request| request.is_none()));
        assert!(of(&format!(r#"{{"version": "{VERSION}"}}"#)).is_err());
        assert!(of("{").is_err());
    }
}
