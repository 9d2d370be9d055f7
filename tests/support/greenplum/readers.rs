//! Readers of a table whose partitions are replaced, version by version.

use super::Greenplum;
use crate::support::clock::Clock;
use crate::support::swapped::until_each_has_read;
use postgres::{Client, SimpleQueryMessage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What [`look`] finds in a table of two partitions, each complete and of one version.
pub const WHOLE: &str = "2 true";

/// A query of a table with 200 rows in each of the partitions of ten keys.
pub fn look(table: &str) -> String {
    format!(
        "SELECT count(*) || ' ' || COALESCE(bool_and(n = 200 AND low = high), false)
         FROM (SELECT k / 10, count(*), min(version), max(version) FROM {table} GROUP BY 1) p (part, n, low, high)"
    )
}

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
enum How {
    /// a text at a time
    Simple,
    /// one statement, prepared before the first exchange
    Prepared,
    /// a new connection for each query
    Anew,
    /// in transactions of two queries
    Twice,
}

/// Wrong answers and errors, and how long the slowest answer took.
type Seen = (Vec<String>, Duration);

/// Readers at work.
pub struct Readers {
    stop: Arc<AtomicBool>,
    counts: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Readers {
    /// Starts one of each kind.
    pub fn start(cluster: &Greenplum, table: &str) -> Readers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = Readers {
            stop,
            counts: Vec::new(),
            threads: Vec::new(),
        };
        for how in [How::Simple, How::Prepared, How::Anew, How::Twice] {
            let (stop, count, cluster) = (readers.stop.clone(), Arc::new(AtomicUsize::new(0)), cluster.clone());
            readers.counts.push(count.clone());
            let sql = look(table);
            readers
                .threads
                .push(std::thread::spawn(move || read(&cluster, how, &sql, &stop, &count)));
        }
        readers.until_each_has_read(1);
        readers
    }

    /// Waits until each has got `more` answers.
    pub fn until_each_has_read(&self, more: usize) {
        until_each_has_read(&self.counts, more);
    }

    /// Stops them; asserts that none has seen anything odd. The longest that any query took.
    pub fn finish(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        let seen: Vec<Seen> = self
            .threads
            .into_iter()
            .map(|t| t.join().expect("a reader ends"))
            .collect();
        let wrong: BTreeSet<&String> = seen.iter().flat_map(|(wrong, _)| wrong).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        seen.iter().map(|(_, longest)| *longest).max().unwrap_or_default()
    }
}

fn read(cluster: &Greenplum, how: How, sql: &str, stop: &AtomicBool, count: &AtomicUsize) -> Seen {
    let mut client = cluster.connect();
    let statement = client.prepare(sql).expect("a statement");
    let (mut wrong, mut longest) = (Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let begun = Clock::start();
        let answers = match how {
            How::Simple => simple(&mut client, sql),
            How::Prepared => client
                .query(&statement, &[])
                .map(|rows| rows.iter().map(|row| row.get(0)).collect()),
            How::Anew => simple(&mut cluster.connect(), sql),
            How::Twice => simple(&mut client, &format!("BEGIN; {sql}; {sql}; COMMIT")),
        };
        longest = longest.max(begun.elapsed());
        match answers {
            Ok(answers) if !answers.is_empty() && answers.iter().all(|answer: &String| answer == WHOLE) => {}
            Ok(answers) => wrong.push(format!("{how:?}: {answers:?}")),
            Err(error) => {
                wrong.push(format!("{how:?}: {error:?}"));
                client = cluster.connect();
            }
        }
        count.fetch_add(1, Ordering::SeqCst);
        // On a busy machine, readers that never rest would be all that an exchange could wait for.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    (wrong, longest)
}

fn simple(client: &mut Client, sql: &str) -> Result<Vec<String>, postgres::Error> {
    let messages = client.simple_query(sql)?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}
