//! A sync in a thread of its own, whose end is watched with a deadline.

use super::cluster::Cluster;
use postgres::{CancelToken, NoTls};
use std::time::{Duration, Instant};

/// How a call failed: SQLSTATE and message; no SQLSTATE if the connection broke.
pub type Failure = (String, String);

/// A call under way.
pub struct Call {
    pub pid: u32,
    pub cancel: CancelToken,
    pub begun: Instant,
    thread: std::thread::JoinHandle<Result<Vec<(String, String)>, Failure>>,
}

impl Call {
    /// Starts it in a session of its own.
    pub fn start(target: &Cluster, arguments: &str) -> Call {
        let mut client = target.connect();
        client
            .batch_execute("SET cgpsync.lock_timeout = '5s'")
            .expect("a setting");
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let sql = format!("SELECT substring(partition::text, '\\d+$'), status FROM cgpsync_sync({arguments})");
        let begun = Instant::now();
        let thread = std::thread::spawn(move || match client.query(&sql, &[]) {
            Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
            Err(error) => Err(error.as_db_error().map_or_else(
                || (String::new(), error.to_string()),
                |e| (e.code().code().to_owned(), format!("{} {:?}", e.message(), e.detail())),
            )),
        });
        Call {
            pid: pid as u32,
            cancel,
            begun,
            thread,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the call ends, `limit` at most after its beginning; whether it has ended.
    pub fn until(&self, limit: Duration) -> bool {
        while !self.is_finished() && self.begun.elapsed() < limit {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.is_finished()
    }

    /// Its end; None if it does not come within `limit` of its beginning.
    pub fn join(self, limit: Duration) -> Option<Result<Vec<(String, String)>, Failure>> {
        self.until(limit).then(|| self.thread.join().expect("the thread ends"))
    }
}

/// Cancels a call, as a user would.
pub fn cancel(call: &Call) {
    call.cancel.cancel_query(NoTls).expect("a cancel request");
}
