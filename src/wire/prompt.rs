//! Statements that a server answers at once, unless something lets them wait: a pooler whose connections are all taken, or a queue of the server's own.

use super::refusals::queued;
use super::session::Session;
use crate::error::{Error, Result, sqlstate};
use crate::row::Row;
use std::time::{Duration, Instant};

impl Session {
    /// Runs statements which the server answers at once, unless a pooler has no server for them and keeps them waiting. They have longer than
    /// a connection, as the first statements have Greenplum start processes on all of its segments, and may wait in a queue.
    pub(super) fn query_promptly(&mut self, sql: &str) -> Result<Vec<Row>> {
        let limit = self.link.endpoint.connect_timeout.saturating_mul(6);
        let deadline = Instant::now().checked_add(limit);
        let result = self.link.ask(sql, deadline);
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        result.map_err(|error| match error.sqlstate.as_str() {
            sqlstate::CANNOT_CONNECT if is_late && !error.is_remote() => Error {
                side: self.side(),
                ..self.kept_waiting(limit)
            },
            _ => error,
        })
    }

    /// The same, where the server itself may have a queue: it is waited for no longer than a lock is.
    pub(super) fn query_in_turn(&mut self, sql: &str) -> Result<Vec<Row>> {
        let patience = self.link.endpoint.patience;
        if patience.is_zero() || !self.link.may_queue {
            return self.query_promptly(sql);
        }
        let deadline = Instant::now() + patience;
        let result = self.link.ask(sql, Some(deadline));
        result.map_err(|error| match error.sqlstate.as_str() {
            sqlstate::CANNOT_CONNECT if Instant::now() >= deadline && !error.is_remote() => Error {
                side: self.side(),
                ..queued(self.name(), patience)
            },
            _ => error,
        })
    }

    fn kept_waiting(&self, limit: Duration) -> Error {
        let name = self.name();
        Error::new(
            sqlstate::TOO_MANY_CONNECTIONS,
            format!("server \"{name}\" does not answer within {} s", limit.as_secs()),
        )
        .detail("It lets statements wait, as a pooler does whose connections are all taken, or a queue that is full.")
        .hint("Make room there, or raise connect_timeout: sync with parallelism n takes up to n + 1 connections, verify up to n.")
    }
}
