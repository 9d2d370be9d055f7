//! Two real clusters for a story, thrown away when it ends, and a network between them that can fail on demand.

pub mod breaking;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod comparing;
pub mod dice;
pub mod events;
pub mod fake;
pub mod fixture;
pub mod gate;
pub mod gauss;
pub mod greenplum;
pub mod needs;
pub mod opengauss;
pub mod partitionings;
pub mod pki;
pub mod pooler;
pub mod proxy;
pub mod readme;
pub mod rounds;
pub mod scene;
pub mod secured;
pub mod small_disk;
pub mod swapped;
pub mod trio;
pub mod two_ways;
pub mod values;

use clock::Clock;
use cluster::Cluster;
use postgres::{Client, error::DbError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen soon. Generous: two cores run three stories at a time.
pub const SOON: Duration = Duration::from_secs(20);

/// A source and a target with the extension, the server `src` and a mapping for postgres.
pub struct Pair {
    pub source: Cluster,
    pub target: Cluster,
}

impl Pair {
    /// Starts both with default settings.
    pub fn new() -> Pair {
        Pair::with("", "")
    }

    /// Starts both with more lines for postgresql.conf. What is tried again is tried soon: failing for good takes a second.
    pub fn with(source_conf: &str, target_conf: &str) -> Pair {
        // At a gate, which is a lock, a busy machine may keep others for long.
        let retries = "cgpsync.retry_delay = '20ms'\ncgpsync.max_retry_delay = '100ms'\ncgpsync.lock_timeout = '60s'";
        let pair = Pair {
            source: Cluster::source(source_conf),
            target: Cluster::start(&format!("{retries}\n{target_conf}")),
        };
        pair.target.sql("CREATE EXTENSION cgpsync");
        pair.create_server("src", pair.source.port);
        pair
    }

    /// A server of our wrapper behind `port`, with a mapping for postgres.
    pub fn create_server(&self, name: &str, port: u16) {
        self.target.sql(&format!(
            "CREATE SERVER {name} FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{port}', dbname 'postgres');
             CREATE USER MAPPING FOR postgres SERVER {name} OPTIONS (user 'postgres', password 'secret')"
        ));
    }

    /// Runs `sql` on both.
    pub fn both(&self, sql: &str) {
        self.source.sql(sql);
        self.target.sql(sql);
    }

    /// `persons`, monthly partitions of 2017, on both sides; `rows` rows a month on the source.
    pub fn persons(&self, rows: u32) {
        self.both(
            "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born);
             DO $$ DECLARE m date; BEGIN
               FOR m IN SELECT generate_series(timestamp '2017-01-01', '2017-12-01', '1 month')::date LOOP
                   EXECUTE format('CREATE TABLE persons_%s PARTITION OF persons FOR VALUES FROM (%L) TO (%L)',
                                  to_char(m, 'YYYYMM'), m, (m + interval '1 month')::date);
                 END LOOP; END $$",
        );
        self.source.sql(&format!(
            "INSERT INTO persons SELECT g, 'name ' || g, m + (g % 28), 'note ' || g
             FROM generate_series(timestamp '2017-01-01', '2017-12-01', '1 month') AS t(ts),
                  LATERAL (SELECT ts::date AS m) d, generate_series(1, {rows}) g"
        ));
    }

    /// Runs a sync; the partitions it returned with their status, or its error.
    pub fn sync(&self, arguments: &str) -> Result<Vec<(String, String)>, Box<DbError>> {
        self.sync_as(&mut self.target.connect(), arguments)
    }

    /// The same in an open session.
    pub fn sync_as(&self, client: &mut Client, arguments: &str) -> Result<Vec<(String, String)>, Box<DbError>> {
        let sql = format!("SELECT partition::text, status FROM cgpsync_sync({arguments})");
        match client.query(&sql, &[]) {
            Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
            Err(error) => Err(Box::new(error.as_db_error().expect("an error of the server").clone())),
        }
    }

    /// What a sync that must succeed returned, and what it said.
    pub fn told(&self, arguments: &str) -> (Vec<(String, String)>, String) {
        let (mut client, notices) = self.target.connect_with_notices();
        let units = self.sync_as(&mut client, arguments).expect("the sync succeeds");
        let notices = notices.lock().expect("a lock").join("\n");
        (units, notices)
    }

    /// The end_tm that is remembered for a table; empty for none.
    pub fn remembered(&self, table: &str) -> String {
        self.target
            .text(&format!("SELECT end_tm FROM sync_table WHERE table_name = '{table}'"))
    }

    /// The partitions a sync that must succeed has copied.
    pub fn copied(&self, arguments: &str) -> Vec<String> {
        let units = self.sync(arguments).expect("the sync succeeds");
        let done = units.into_iter().filter(|(_, status)| status == "done");
        done.map(|(partition, _)| partition).collect()
    }

    /// Asserts that both sides answer `sql` alike.
    pub fn same(&self, sql: &str) {
        assert_eq!(self.target.text(sql), self.source.text(sql), "{sql}");
    }

    /// Asserts that `table` holds the same rows on both sides, for rows satisfying `filter`.
    pub fn same_rows(&self, table: &str, filter: &str) {
        self.same(&format!(
            "SELECT count(*) || ' ' || COALESCE(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {table} t WHERE {filter}"
        ));
    }

    /// Starts a sync in a thread of its own.
    pub fn sync_in_background(&self, arguments: &str) -> Background {
        let mut client = self.target.connect();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let sql = format!("SELECT partition::text, status FROM cgpsync_sync({arguments})");
        let thread = std::thread::spawn(move || match client.query(&sql, &[]) {
            Ok(rows) => Ok(rows.len()),
            Err(error) => Err(error
                .as_db_error()
                .map_or_else(|| error.to_string(), |e| format!("{} {}", e.code().code(), e.message()))),
        });
        Background { pid, cancel, thread }
    }

    /// Waits until a worker is in the middle of copying.
    pub fn until_copying(&self) {
        poll("a worker is copying", SOON, || {
            self.target
                .text("SELECT count(*) FROM pg_stat_progress_copy WHERE bytes_processed > 0")
                != "0"
        });
    }

    /// Waits until no process of a run is left here and no connection of one there.
    pub fn all_gone(&self) {
        self.watch_them_go(Clock::start(), &[&self.source]);
    }

    /// Asserts that it is so within two seconds of `since`.
    pub fn all_gone_within_two_seconds(&self, since: Clock) {
        self.gone_within_two_seconds(since, &[&self.source]);
    }

    /// The same with the connections to `servers`.
    pub fn gone_within_two_seconds(&self, since: Clock, servers: &[&Cluster]) {
        let seen = self.watch_them_go(since, servers);
        let took = since.elapsed();
        assert!(took < Duration::from_secs(2), "it took {took:?}: {seen:?}");
    }

    /// Looks until nothing is left; what was there, and until when.
    fn watch_them_go(&self, since: Clock, servers: &[&Cluster]) -> Vec<(Duration, String)> {
        let here = "SELECT backend_type || ' ' || pid FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync %'";
        let there =
            "SELECT application_name || ' ' || pid FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
        let mut sides = vec![(self.target.connect(), here)];
        sides.extend(servers.iter().map(|server| (server.connect(), there)));
        let mut seen = vec![(since.elapsed(), "the first look".to_owned())];
        poll("every process of the run is gone", SOON, || {
            let mut left = Vec::new();
            for (client, sql) in &mut sides {
                let rows = client.query(*sql, &[]).expect("processes");
                left.extend(rows.iter().map(|row| row.get::<_, String>(0)));
            }
            let is_over = left.is_empty();
            seen.push((since.elapsed(), left.join(", ")));
            is_over
        });
        seen.dedup_by(|next, last| next.1 == last.1);
        seen
    }
}

/// A sync running in another thread.
pub struct Background {
    pub pid: i32,
    pub cancel: postgres::CancelToken,
    thread: std::thread::JoinHandle<Result<usize, String>>,
}

impl Background {
    /// True when the call has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Its result: number of units, or SQLSTATE and message.
    pub fn join(self) -> Result<usize, String> {
        self.thread.join().expect("the thread ends")
    }
}

/// Cancels again and again, so that a cancel meets what the one before it has begun.
pub fn cancel_impatiently(token: &postgres::CancelToken) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..30).for_each(|_| token.cancel_query(postgres::NoTls).expect("a cancel request")));
        }
    });
}

/// Polls `condition` until it holds; fails the story after `limit`.
pub fn poll(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Collects the NOTICEs and WARNINGs of a connection.
pub type Notices = Arc<Mutex<Vec<String>>>;
