//! A table that is replaced again and again, version by version, and those who look at it meanwhile.

use super::clock::Clock;
use super::cluster::Cluster;
use super::{Background, Pair, SOON, needs, poll};
use postgres::{Client, Config, NoTls};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Partitions of the table: `events_0` holds the keys 0 to 9, `events_1` 10 to 19.
pub const PARTITIONS: usize = 2;
/// Rows of each.
pub const ROWS: usize = 200;
/// Replaces all of it.
pub const SYNC: &str = "'events', '19', 2, since => '0'";
/// What [`look`] finds in a partition that is complete and of one version, and in the table.
pub const PART_IS_WHOLE: &str = "1 true";
pub const TABLE_IS_WHOLE: &str = "2 true";

/// A query that tells whether every partition that `relation` shows is complete, of one version, and readable down to its TOAST.
pub fn look(relation: &str) -> String {
    format!(
        "SELECT count(*) || ' ' || COALESCE(bool_and(n = {ROWS} AND low = high AND own = {ROWS}), false)
         FROM (SELECT count(*) AS n, min(version) AS low, max(version) AS high,
                      count(*) FILTER (WHERE note LIKE version || ' %' AND length(note) > 20) AS own
               FROM {relation} GROUP BY tableoid) p"
    )
}

/// `events` on both sides: there a view whose rows are all of one version, here partitions with indexes and long texts that are stored apart.
pub fn events(pair: &Pair) {
    editions(&pair.source);
    table(&pair.target);
}

/// The view.
pub fn editions(source: &Cluster) {
    source.sql(&format!(
        "CREATE TABLE edition (version int); INSERT INTO edition VALUES (0);
         CREATE TABLE rows AS SELECT g AS id, g % {keys} AS k, repeat(md5(g::text), CASE WHEN g % 10 = 0 THEN 90 ELSE 1 END) AS body
         FROM generate_series(1, {rows}) g;
         CREATE VIEW events AS SELECT id, k, version, version || ' ' || body AS note FROM rows, edition",
        keys = PARTITIONS * 10,
        rows = ROWS * PARTITIONS,
    ));
}

/// The partitions.
pub fn table(target: &Cluster) {
    target.sql(
        "CREATE TABLE events (id int NOT NULL, k int NOT NULL, version int, note text) PARTITION BY RANGE (k);
         ALTER TABLE events ALTER note SET STORAGE EXTERNAL;
         CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (10);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (10) TO (20);
         ALTER TABLE events ADD PRIMARY KEY (id, k);
         CREATE INDEX events_version ON events (version);
         CREATE INDEX events_0_own ON events_0 (note text_pattern_ops) WHERE id % 10 <> 0",
    );
}

/// The next version on the source.
pub fn advance(pair: &Pair) {
    pair.source.sql("UPDATE edition SET version = version + 1");
}

/// Brings the next version, by a swap; gives it.
pub fn replace(pair: &Pair) -> String {
    advance(pair);
    pair.copied(SYNC);
    all_swapped(pair);
    pair.target.text("SELECT max(version) FROM events")
}

/// Starts a sync and waits until the second partition is done and the first, which somebody reads, is loaded and waits to be shown: it has let
/// writers in, and keeps the lock against VACUUM. Before that moment the load would wait for whoever asks for a lock.
pub fn until_first_waits(pair: &Pair) -> Background {
    let run = pair.sync_in_background(SYNC);
    poll("the other partition is done", SOON, || {
        pair.target.text(
            "SELECT count(*) FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run) AND status = 'done'",
        ) == "1"
    });
    poll("the first partition waits to be shown", SOON, || {
        pair.target.text(
            "SELECT string_agg(DISTINCT mode, ' ') FROM pg_locks
             WHERE relation = 'events_0'::regclass AND granted AND mode <> 'AccessShareLock'",
        ) == "ShareUpdateExclusiveLock"
    });
    run
}

/// Asserts that the last run has swapped all it copied, whoever has written the pages.
pub fn all_swapped(pair: &Pair) {
    let ways = "SELECT DISTINCT split_part(way, ',', 1) FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";
    assert_eq!(pair.target.list(ways), ["swap"]);
}

/// The same where cgpsync has written the pages.
pub fn by_pages(pair: &Pair) {
    let ways = "SELECT DISTINCT way FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";
    assert_eq!(pair.target.list(ways), ["swap, pages"]);
}

/// The server's major version.
pub fn major(cluster: &Cluster) -> u32 {
    let number: u32 = cluster.text("SHOW server_version_num").parse().expect("a number");
    number / 10_000
}

/// Asserts that every heap and every B-tree of the table and its partitions is sound and holds what it should, and that the visibility map tells the
/// truth. A standby has the extensions from its primary: [`checks`].
pub fn is_sound(cluster: &Cluster, table: &str) {
    if cluster.text("SELECT count(*) FROM pg_extension WHERE extname IN ('amcheck', 'pg_visibility')") != "2" {
        let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'";
        assert_eq!(cluster.text(available), "0", "checks() was not called");
        return;
    }
    let leaves = format!(
        "SELECT c.oid FROM pg_class c WHERE c.relkind = 'r'
         AND (c.oid = '{table}'::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree('{table}')))"
    );
    let indexes = format!(
        "SELECT x.oid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
         WHERE a.amname = 'btree' AND i.indisvalid AND (i.indrelid IN ({leaves})
           OR i.indrelid IN (SELECT reltoastrelid FROM pg_class WHERE oid IN ({leaves})))"
    );
    cluster.sql(&format!("SELECT bt_index_check(oid, true) FROM ({indexes}) i"));
    if major(cluster) >= 14 {
        let wrong = format!(
            "SELECT l.oid::regclass || ': ' || v.msg FROM ({leaves}) l, verify_heapam(l.oid::regclass, check_toast => true) v"
        );
        assert_eq!(cluster.list(&wrong), [""; 0]);
    }
    let lies = format!(
        "SELECT (SELECT count(*) FROM pg_check_visible(oid)) + (SELECT count(*) FROM pg_check_frozen(oid)) FROM ({leaves}) l"
    );
    assert!(
        cluster.list(&lies).iter().all(|n| n == "0"),
        "{table}: the visibility map"
    );
}

/// What [`is_sound`] asks. Where an installation has none of it, the story goes on without, and is noted.
pub fn checks(cluster: &Cluster) {
    if needs::lacks_module("amcheck") {
        return;
    }
    cluster.sql("CREATE EXTENSION amcheck; CREATE EXTENSION pg_visibility");
}

/// How a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// a text at a time
    Simple,
    /// one statement, prepared before the first swap
    Prepared,
    /// a new connection for each query
    Anew,
    /// through indexes
    Indexed,
}

/// What a reader has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub queries: usize,
    /// answers that are neither the old rows nor the new ones, and errors
    pub wrong: Vec<String>,
    /// as long as the machine ran
    pub longest: Duration,
}

/// Readers at work.
pub struct Readers {
    stop: Arc<AtomicBool>,
    /// queries answered, by reader
    counts: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Readers {
    /// Starts one in each way, of the first partition and of the table.
    pub fn start(cluster: &Cluster, ways: &[How]) -> Readers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = Readers {
            stop,
            counts: Vec::new(),
            threads: Vec::new(),
        };
        for &how in ways {
            for (relation, whole) in [("events_0", PART_IS_WHOLE), ("events", TABLE_IS_WHOLE)] {
                let (stop, count) = (readers.stop.clone(), Arc::new(AtomicUsize::new(0)));
                readers.counts.push(count.clone());
                let config = cluster.config();
                readers.threads.push(std::thread::spawn(move || {
                    read(&config, how, &look(relation), whole, &stop, &count)
                }));
            }
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
        let wrong: BTreeSet<&String> = seen.iter().flat_map(|s| &s.wrong).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let queries: usize = seen.iter().map(|s| s.queries).sum();
        let longest = seen.iter().map(|s| s.longest).max().unwrap_or_default();
        println!("{queries} queries, the longest {longest:?}");
        longest
    }
}

fn read(config: &Config, how: How, sql: &str, whole: &str, stop: &AtomicBool, count: &AtomicUsize) -> Seen {
    let mut client = config.connect(NoTls).expect("a connection");
    if how == How::Indexed {
        client
            .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off")
            .expect("settings");
    }
    let statement = client.prepare(sql).expect("a statement");
    let mut seen = Seen::default();
    while !stop.load(Ordering::SeqCst) {
        let begun = Clock::start();
        let answer = match how {
            How::Prepared => client.query_one(&statement, &[]).map(|row| row.get::<_, String>(0)),
            How::Anew => config
                .connect(NoTls)
                .and_then(|mut client| client.query_one(sql, &[]))
                .map(|row| row.get(0)),
            How::Simple | How::Indexed => client.simple_query(sql).map(|rows| first(&rows)),
        };
        seen.longest = seen.longest.max(begun.elapsed());
        seen.queries += 1;
        match answer {
            Ok(answer) if answer == whole => {}
            Ok(answer) => seen.wrong.push(format!("{how:?} {sql}: {answer}")),
            Err(error) => seen.wrong.push(format!("{how:?} {sql}: {error:?}")),
        }
        count.fetch_add(1, Ordering::SeqCst);
        // On a busy machine, readers that never rest would be all that a swap could wait for.
        std::thread::park_timeout(Duration::from_millis(10));
    }
    seen
}

fn first(rows: &[postgres::SimpleQueryMessage]) -> String {
    let row = rows.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

/// The single text of a query in an open session.
pub fn ask(client: &mut Client, sql: &str) -> String {
    first(&client.simple_query(sql).unwrap_or_else(|e| panic!("{e:?} in: {sql}")))
}

/// A session whose snapshot is taken now, and which has not read the table.
pub fn old_snapshot(cluster: &Cluster) -> Client {
    let mut client = cluster.connect();
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
        .expect("a snapshot");
    client
}

/// Waits until each of those who count has counted `more`.
pub fn until_each_has_read(counts: &[Arc<AtomicUsize>], more: usize) {
    let before: Vec<usize> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    poll("every reader has read", SOON, || {
        let now = counts.iter().map(|count| count.load(Ordering::SeqCst));
        now.zip(&before).all(|(now, before)| now >= before + more)
    });
}
