//! How long readers wait while the partition they read is replaced, and whether they ever see anything but the old rows
//! or the new ones.

use crate::ground::{Ground, run, sql, text};
use crate::sets::parallel;
use crate::settings::Settings;
use crate::ways::BINARY_PIPE;
use postgres::{Client, SimpleQueryMessage};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Upper ends of the histogram's columns, in ms; the last column has no end.
pub const EDGES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// Queries that a replacement is asked to be seen by; it is repeated until there have been as many.
const ENOUGH: u64 = 10_000;
/// What a reader leaves to the others between two queries.
const PAUSE: Duration = Duration::from_millis(2);
/// Queries of a reader that come before the others begin to count.
const WARM: u32 = 20;
/// Rows of a query.
const WIDTH: i64 = 20;
/// Rows of the partition at SCALE 1, about 1 GB without its indexes.
const ROWS: u64 = 6_000_000;
/// Rows of the table that is not replaced.
const OTHER_ROWS: u64 = 100_000;

/// Latencies of one kind of reader in one phase.
#[derive(Clone, Default)]
pub struct Histogram {
    pub counts: [u64; EDGES.len() + 1],
    /// ms
    pub longest: f64,
    pub queries: u64,
    /// queries with an error
    pub errors: u64,
    /// queries that saw no row, some of them, or two versions
    pub wrong: u64,
    /// the first of these, in words
    pub complaint: Option<String>,
}

impl Histogram {
    fn add(&mut self, ms: f64) {
        let column = EDGES.iter().position(|edge| ms < *edge).unwrap_or(EDGES.len());
        self.counts[column] += 1;
        self.longest = self.longest.max(ms);
        self.queries += 1;
    }

    fn merge(&mut self, other: Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.longest = self.longest.max(other.longest);
        self.queries += other.queries;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.complaint = self.complaint.take().or(other.complaint);
    }
}

/// The kinds: of statement, and what it names.
pub const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// What a kind is called.
pub fn kind_name((prepared, parent): (bool, bool)) -> String {
    let statement = if prepared { "prepared" } else { "simple" };
    let relation = if parent { "parent" } else { "partition" };
    format!("{statement}, {relation}")
}

/// What the readers have met while something was going on.
pub struct Phase {
    pub name: String,
    /// in the order of `KINDS`
    pub kinds: Vec<Histogram>,
    /// seconds of each replacement
    pub seconds: Vec<f64>,
    /// whether cgpsync was at work, whose readers must see nothing wrong
    pub is_ours: bool,
}

impl Phase {
    pub fn longest(&self) -> f64 {
        self.kinds.iter().fold(0.0, |longest, kind| kind.longest.max(longest))
    }

    pub fn queries(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.queries).sum()
    }

    /// Errors and wrong answers, in words.
    pub fn complaints(&self) -> Option<String> {
        let bad: u64 = self.kinds.iter().map(|kind| kind.errors + kind.wrong).sum();
        let first = self.kinds.iter().find_map(|kind| kind.complaint.clone());
        (bad > 0).then(|| format!("{bad} queries, the first: {}", first.unwrap_or_default()))
    }
}

/// All phases; names of those that the target is worked out from.
pub struct Readers {
    pub phases: Vec<Phase>,
    pub rows: u64,
    pub heap: String,
}

pub const SWAP: &str = "cgpsync, swap";
pub const OTHER: &str = "another table, while cgpsync replaces";

/// What readers and the one who started them tell each other.
#[derive(Default)]
struct Signals {
    /// readers that are warm, or have failed
    ready: AtomicUsize,
    stop: AtomicBool,
}

/// Reads ranges of a table until told to stop. `rows` are the ids there are.
fn read(mut client: Client, (table, rows): (&str, u64), prepared: bool, seed: u64, signals: &Signals) -> Histogram {
    let mut histogram = Histogram::default();
    let select = format!("SELECT count(*), min(version), max(version) FROM {table} WHERE id >=");
    let statement = match prepare(&mut client, &select, prepared) {
        Ok(statement) => statement,
        Err(error) => {
            histogram.errors += 1;
            histogram.complaint = Some(error.to_string());
            signals.ready.fetch_add(1, Ordering::SeqCst);
            return histogram;
        }
    };
    let mut at = seed;
    let mut warm = 0;
    while !signals.stop.load(Ordering::SeqCst) {
        at = at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let id = ((at >> 33) % (rows - WIDTH as u64)) as i64;
        let begun = Instant::now();
        let answer = match &statement {
            Some(statement) => client
                .query_one(statement, &[&id, &(id + WIDTH)])
                .map(|row| (row.get::<_, i64>(0), row.get(1), row.get(2))),
            None => simple(&mut client, &format!("{select} {id} AND id < {}", id + WIDTH)),
        };
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        // A new session's first queries read catalogs, which is not what is asked here.
        if warm < WARM {
            warm += 1;
            if warm == WARM {
                signals.ready.fetch_add(1, Ordering::SeqCst);
            }
            continue;
        }
        match answer {
            Ok((count, first, last)) if count == WIDTH && first == last => histogram.add(ms),
            Ok((count, first, last)) => {
                histogram.add(ms);
                histogram.wrong += 1;
                let saw = format!("{count} rows of versions {first:?} to {last:?}");
                histogram.complaint.get_or_insert(saw);
            }
            Err(error) => {
                histogram.errors += 1;
                histogram.complaint.get_or_insert(error.to_string());
                if client.is_closed() {
                    break;
                }
            }
        }
        std::thread::park_timeout(PAUSE);
    }
    histogram
}

type Answer = (i64, Option<i32>, Option<i32>);

fn prepare(client: &mut Client, select: &str, prepared: bool) -> Result<Option<postgres::Statement>, postgres::Error> {
    if !prepared {
        return Ok(None);
    }
    // As after many executions: the plan is kept, so nothing but its locks says that the table has changed.
    client.batch_execute("SET plan_cache_mode = force_generic_plan")?;
    client.prepare(&format!("{select} $1 AND id < $2")).map(Some)
}

fn simple(client: &mut Client, statement: &str) -> Result<Answer, postgres::Error> {
    let messages = client.simple_query(statement)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let number = |at| row.get(at).and_then(|text| text.parse::<i64>().ok());
            let version = |at| number(at).map(|version| version as i32);
            Some((number(0).unwrap_or(0), version(1), version(2)))
        }
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

/// Two readers of each kind on `table` and its partition, while `work` goes on; its seconds.
fn watch(
    ground: &Ground,
    (table, rows): (&str, u64),
    work: impl FnOnce() -> Result<(), String>,
) -> Result<(Vec<Histogram>, f64), String> {
    let signals = Signals::default();
    let partition = format!("{table}_0000");
    let connect = |_| ground.target.try_connect().ok_or("the target takes no connection");
    let clients: Vec<Client> = (0..2 * KINDS.len()).map(connect).collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, client) in clients.into_iter().enumerate() {
            let (prepared, parent) = KINDS[number % KINDS.len()];
            let relation = (if parent { table } else { &partition }, rows);
            let signals = &signals;
            threads.push(scope.spawn(move || read(client, relation, prepared, number as u64 + 1, signals)));
        }
        while signals.ready.load(Ordering::SeqCst) < threads.len() {
            std::thread::park_timeout(PAUSE);
        }
        let start = Instant::now();
        let outcome = work();
        let seconds = start.elapsed().as_secs_f64();
        signals.stop.store(true, Ordering::SeqCst);
        let mut kinds = vec![Histogram::default(); KINDS.len()];
        for (number, thread) in threads.into_iter().enumerate() {
            let histogram = thread.join().map_err(|_| "a reader ended early".to_owned())?;
            kinds[number % KINDS.len()].merge(histogram);
        }
        outcome.map(|()| (kinds, seconds))
    })
}

/// The stage: tables, and which version the next replacement brings.
struct Stage<'a> {
    ground: &'a Ground,
    rows: u64,
    version: u32,
}

const COLUMNS: &str =
    "id bigint NOT NULL, version int NOT NULL, day date, amount numeric(12,2), note text, remark text";

impl Stage<'_> {
    /// Makes the tables: two versions on the source, the first one on the target, and another table there.
    fn make(&self) -> Result<(), String> {
        let table = |name: &str, rows: u64| {
            format!(
                "CREATE TABLE {name} ({COLUMNS}) PARTITION BY RANGE (id);
                 CREATE TABLE {name}_0000 PARTITION OF {name} FOR VALUES FROM (0) TO ({rows});
                 CREATE TABLE {name}_0001 PARTITION OF {name} FOR VALUES FROM ({rows}) TO ({})",
                2 * rows
            )
        };
        let values = |version: u32| {
            format!(
                "g, {version}, date '2010-01-01' + (g % 3000)::int, (g * 37 % 1000000) / 100.0, md5(g::text),
                 'a remark about number ' || g || ' ' || md5((g + {version})::text) || md5((g * {version})::text)"
            )
        };
        let rows = self.rows;
        let mut work = Vec::new();
        for version in [1, 2] {
            sql(&self.ground.source, &table(&format!("version_{version}"), rows))?;
            work.push(format!(
                "INSERT INTO version_{version} SELECT {} FROM generate_series(0, {}::bigint) g",
                values(version),
                rows - 1
            ));
        }
        parallel(self.ground, &self.ground.source, work)?;
        sql(&self.ground.source, "VACUUM (FREEZE, ANALYZE)")?;
        let indexes = |name: &str| {
            format!(
                "ALTER TABLE {name} ADD PRIMARY KEY (id); CREATE INDEX ON {name} (day); CREATE INDEX ON {name} (note)"
            )
        };
        let here = [
            table("bench", rows),
            table("other", OTHER_ROWS),
            format!(
                "INSERT INTO other SELECT {} FROM generate_series(0, {}::bigint) g",
                values(1),
                OTHER_ROWS - 1
            ),
            indexes("bench"),
            indexes("other"),
        ];
        sql(&self.ground.target, &here.join(";\n"))
    }

    /// Replaces the partition by the next version with cgpsync.
    fn sync(&mut self, more: &str) -> Result<(), String> {
        self.version = 3 - self.version;
        let statement = format!(
            "SELECT string_agg(status, ' ') FROM cgpsync_sync('bench', '0', {}, 'src', since => '0',
                                              source_table => 'public.version_{}'{more})",
            self.ground.parallelism, self.version
        );
        match text(&self.ground.target, &statement)?.as_str() {
            "done" => Ok(()),
            other => Err(format!("cgpsync returned \"{other}\"")),
        }
    }

    /// Replaces it with psql.
    fn pipe(&mut self) -> Result<(), String> {
        self.version = 3 - self.version;
        let mut bash = self.ground.tool("bash");
        bash.args(["-o", "pipefail", "-ec", BINARY_PIPE, "bench", "bench_0000"])
            .arg(format!("version_{}_0000", self.version));
        run(&mut bash)
    }

    /// A phase: `work` is repeated until enough queries have met it, or it is clear that it lets none pass.
    fn phase(
        &mut self,
        name: &str,
        table: (&str, u64),
        is_ours: bool,
        work: impl Fn(&mut Self) -> Result<(), String>,
    ) -> Result<Phase, String> {
        let mut phase = Phase {
            name: name.to_owned(),
            kinds: vec![Histogram::default(); KINDS.len()],
            seconds: Vec::new(),
            is_ours,
        };
        loop {
            self.ground.checkpoint()?;
            let ground = self.ground;
            let (kinds, seconds) = watch(ground, table, || work(self))?;
            let seen: u64 = kinds.iter().map(|kind| kind.queries).sum();
            phase.seconds.push(seconds);
            phase
                .kinds
                .iter_mut()
                .zip(kinds)
                .for_each(|(kind, more)| kind.merge(more));
            eprintln!(
                "bench: readers, {name}: {seconds:.1} s, {seen} queries, longest {:.1} ms",
                phase.longest()
            );
            // Where every reader waits for the end, more of it brings few queries.
            let blocked = phase.longest() > seconds * 500.0 && phase.seconds.len() >= 3;
            if phase.queries() >= ENOUGH || blocked || phase.seconds.len() >= 20 {
                return Ok(phase);
            }
        }
    }
}

/// Plays all phases.
pub fn measure(ground: &Ground, settings: &Settings) -> Result<Readers, String> {
    let rows = settings.scaled(ROWS).max(1000);
    let mut stage = Stage {
        ground,
        rows,
        version: 2,
    };
    stage.make()?;
    stage.sync("")?;
    sql(&ground.target, "VACUUM (ANALYZE)")?;
    let heap = text(&ground.target, "SELECT pg_size_pretty(pg_relation_size('bench_0000'))")?;
    let bench = ("bench", rows);
    let mut phases = Vec::new();
    phases.push(stage.phase(SWAP, bench, true, |stage| stage.sync(""))?);
    let as_long = Duration::from_secs_f64(phases[0].seconds.iter().sum::<f64>() / phases[0].seconds.len() as f64);
    phases.push(stage.phase(OTHER, ("other", OTHER_ROWS), false, |stage| stage.sync(""))?);
    phases.push(stage.phase("nothing else going on", bench, false, |_| {
        let end = Instant::now() + as_long;
        while Instant::now() < end {
            std::thread::park_timeout(end - Instant::now().min(end));
        }
        Ok(())
    })?);
    phases.push(stage.phase("cgpsync, truncate", bench, true, |stage| {
        stage.sync(", replace => 'truncate'")
    })?);
    phases.push(stage.phase("TRUNCATE + COPY with `psql`", bench, false, Stage::pipe)?);
    ground.both("DROP TABLE IF EXISTS bench, other, version_1, version_2")?;
    Ok(Readers { phases, rows, heap })
}
