//! A target with something to lose, and a source that lies to it.

use super::Pair;
use super::cluster::Cluster;
use super::fake::{Fake, Lie};
use postgres::error::DbError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time that any lie may take: every statement of it is answered wrongly, so nothing has to be copied.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Private memory that no process of the target may need, in kB: what an answer may take, twice, as it is turned into rows, and some.
pub const MEMORY: u64 = 400 * 1024;

pub const SYNC: &str = "SELECT status FROM cgpsync_sync('persons', '20170131', 2, 'fake')";
pub const TEXT: &str = "SELECT status FROM cgpsync_sync('t', '20170131', 2, 'fake')";
pub const SYNC_ELSEWHERE: &str =
    "SELECT status FROM cgpsync_sync('far', '20170131', 2, 'src', source_table => 'public.persons')";
pub const PLAN: &str = "SELECT action FROM cgpsync_plan('persons', '20170131', 2, 'fake')";
pub const VERIFY: &str = "SELECT matches FROM cgpsync_verify('persons', '20170131', source => 'fake')";
pub const CREATE: &str = "SELECT cgpsync_create_table('made', 'public.made_here', 'fake')::text";

/// What the statements that read catalogs have of their own.
pub const IDENTIFY: &str = "SELECT 'version'";
pub const FIND: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f')";
pub const TREE: &str = "pg_get_expr(c.relpartbound, 0)";
pub const LEVELS: &str = "p.partstrat";
pub const COLUMNS: &str = "SELECT a.attname, a.atttypid, format_type";
pub const EXPORT: &str = "pg_export_snapshot()";
pub const COPY: &str = "COPY (SELECT";

/// Two clusters, a liar between them, and something to lose. Or the liar is before a third one, which is written.
pub struct Scene {
    pub pair: Pair,
    pub fake: Fake,
    /// the call that succeeds while no lies are told
    sync: &'static str,
    there: Option<Cluster>,
    before: String,
    memory: Memory,
}

/// Everything that must stay as it is.
const ALL: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_class), (SELECT count(*) FROM precious), (SELECT count(*) FROM sync_table),
    (SELECT sum(hashtext(p::text)) FROM persons p), (SELECT sum(hashtext(t::text)) FROM t), (SELECT count(*) FROM pg_authid),
    (SELECT pg_postmaster_start_time()))";

/// Sets it.
pub fn scene() -> Scene {
    let pair = Pair::with("", "cgpsync.max_retries = 1");
    pair.persons(20);
    pair.source.sql(
        "CREATE TABLE t (i int, t text); INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 20) g;
         CREATE TABLE made (i int DEFAULT 1, v text CHECK (v <> 'x')); CREATE INDEX ON made (i)",
    );
    pair.target.sql(
        "CREATE TABLE t (i bigint, t text); INSERT INTO t VALUES (0, 'old'); CREATE TABLE precious AS SELECT 1 AS v;
         INSERT INTO persons SELECT -1, 'old', m::date FROM generate_series(date '2017-01-05', '2017-12-05', '1 month') m",
    );
    let fake = Fake::start(pair.source.port);
    pair.create_server("fake", fake.port);
    watched(pair, fake, SYNC, None)
}

/// The same with a target that lies: `far` stands for its table.
pub fn scene_elsewhere() -> Scene {
    let pair = Pair::with("", "cgpsync.max_retries = 1");
    pair.persons(20);
    pair.target
        .sql("CREATE TABLE precious AS SELECT 1 AS v; CREATE TABLE t AS SELECT 1 AS v");
    let there = Cluster::source("");
    there.sql(
        "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born);
         CREATE TABLE persons_201701 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    let fake = Fake::start(there.port);
    pair.create_server("fake", fake.port);
    pair.target
        .sql("SELECT cgpsync_attach('persons', 'fake', 'public.far')");
    watched(pair, fake, SYNC_ELSEWHERE, Some(there))
}

fn watched(pair: Pair, fake: Fake, sync: &'static str, there: Option<Cluster>) -> Scene {
    let before = pair.target.text(ALL);
    let memory = Memory::watch(&pair);
    Scene {
        pair,
        fake,
        sync,
        there,
        before,
        memory,
    }
}

impl Scene {
    /// Calls while the lies are told; the error, or what came of it.
    pub fn call(&self, sql: &str, lies: Vec<(&str, Lie)>) -> Result<String, Box<DbError>> {
        let name = format!(
            "{sql} with lies about {:?}",
            lies.iter().map(|(when, _)| *when).collect::<Vec<_>>()
        );
        self.fake.tell(lies);
        let mut client = self.pair.target.connect();
        let statement = sql.to_owned();
        let thread = std::thread::spawn(move || match client.query(&statement, &[]) {
            Ok(rows) => Ok(rows
                .iter()
                .map(|row| row.try_get(0).unwrap_or_default())
                .collect::<Vec<String>>()
                .join(",")),
            Err(error) => Err(Box::new(
                error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).clone(),
            )),
        });
        let began = Instant::now();
        while !thread.is_finished() {
            assert!(began.elapsed() < LIMIT, "{name} does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.fake.tell(Vec::new());
        thread.join().expect("the call ends")
    }

    /// The error of a call, which is short and tame and has left everything as it was. `expected` is its SQLSTATE and words of it.
    pub fn fails(&self, what: &str, sql: &str, lies: Vec<(&str, Lie)>, expected: (&str, &str)) -> Box<DbError> {
        let error = match self.call(sql, lies) {
            Ok(result) => panic!("{what} went well: {result}"),
            Err(error) => error,
        };
        let all = [Some(error.message()), error.detail(), error.hint()]
            .map(|text| text.unwrap_or(""))
            .join("\n");
        assert_eq!(error.code().code(), expected.0, "{what}: {all}");
        assert!(all.contains(expected.1), "{what}: {all}");
        assert!(all.len() < 8000, "{what}: {} bytes", all.len());
        assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{what}: {all:?}");
        self.is_as_before(what);
        error
    }

    /// Nothing has changed.
    pub fn is_as_before(&self, what: &str) {
        assert_eq!(self.pair.target.text(ALL), self.before, "{what}");
    }

    /// After all lies: an honest source is believed again.
    pub fn end(self) {
        assert_eq!(self.call(self.sync, Vec::new()).expect("the truth"), "done");
        let rows = "SELECT sum(hashtextextended(p::text, 0)::numeric) FROM persons_201701 p";
        let written = self.there.as_ref().unwrap_or(&self.pair.target);
        assert_eq!(written.text(rows), self.pair.source.text(rows));
        assert!(!self.pair.target.log().contains("was terminated by signal"));
        assert!(!self.pair.target.log().contains("panicked"));
        let peak = self.memory.peak();
        println!("peak private memory of a process: {peak} kB");
        assert!(peak > 0 && peak < MEMORY, "{peak} kB");
    }
}

/// The most private memory that any process of a target has had.
struct Memory {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Memory {
    fn watch(pair: &Pair) -> Memory {
        let file = std::fs::read_to_string(pair.target.dir.join("postmaster.pid")).expect("a pid file");
        let postmaster = file.lines().next().expect("a pid").to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::SeqCst) {
                let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
                for child in children.unwrap_or_default().split_whitespace() {
                    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
                    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
                    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
                    peak = peak.max(kb.unwrap_or(0));
                }
                std::thread::park_timeout(Duration::from_millis(4));
            }
            peak
        });
        Memory { stop, thread }
    }

    fn peak(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the thread ends")
    }
}

/// A value of a row.
pub fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}
