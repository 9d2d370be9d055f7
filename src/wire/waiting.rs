//! What a process shows of itself while a server lets a statement wait. A server with segments has queues that no lock tells of.

use crate::pg::backend;
use std::time::{Duration, Instant};

/// What is answered sooner is not worth showing.
const PROMPT: Duration = Duration::from_secs(1);

/// A statement that is waited for. Its end ends what is shown.
pub struct Waiting<'a> {
    server: Option<&'a str>,
    since: Instant,
    is_shown: bool,
}

impl<'a> Waiting<'a> {
    /// Of `server`; None: nothing is shown.
    pub fn new(server: Option<&'a str>) -> Waiting<'a> {
        Waiting {
            server,
            since: Instant::now(),
            is_shown: false,
        }
    }

    /// To be called now and then.
    pub fn look(&mut self) {
        if let Some(server) = self.server.filter(|_| !self.is_shown && self.since.elapsed() >= PROMPT) {
            backend::show_waiting(&format!(
                "waiting for server \"{server}\", as for a lock or a place in a resource queue or group"
            ));
            self.is_shown = true;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            backend::show_waited();
        }
    }
}

/// True for statements that a server answers at once unless it lets them wait. Others have work to do over there.
pub fn is_prompt(sql: &str) -> bool {
    let word = sql.trim_start().split([' ', ';']).next().unwrap_or("");
    [
        "SELECT",
        "WITH",
        "BEGIN",
        "SAVEPOINT",
        "SET",
        "SHOW",
        "LOCK",
        "COMMIT",
        "COPY",
    ]
    .contains(&word)
}
