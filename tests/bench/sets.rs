//! The data: one table `bench` at a time, partitioned by day, with rows on the source alone.

use crate::ground::{Ground, explain, sql, text};
use crate::settings::Settings;
use crate::support::cluster::Cluster;
use crate::ways::Way;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A data set; its partitions are `bench_0000` and so on.
pub struct Set {
    pub name: &'static str,
    pub what: &'static str,
    pub ways: Vec<Way>,
    /// column definitions
    columns: String,
    /// what a row has in them: `g` is its number, `first` the partition's first day, `days` the number of its days
    values: String,
    indexes: &'static [&'static str],
    /// rows of each partition
    rows: Vec<u64>,
    /// days of each partition
    days: u32,
}

/// Names of all sets, in the order they are run; the last three have code of their own.
pub const NAMES: &[&str] = &[
    "plain", "indexed", "wide", "toasted", "one_big", "single", "many", "plan", "readers", "remote",
];

/// Partitions that one transaction creates: its session keeps a description of all there are from before each of them.
const CHUNK: usize = 200;

const PLAIN_COLUMNS: &str =
    "id bigint NOT NULL, name varchar(64), day date NOT NULL, at timestamptz, amount numeric(14,2),
    ratio float8, note text, remark text";
const PLAIN_VALUES: &str =
    "g, 'name ' || g, first + (g % days)::int, timestamptz '2010-01-01 00:00+00' + g * interval '1 second',
    (g * 37 % 10000000) / 100.0, g / 7.0::float8, md5(g::text), 'a remark about number ' || g";

/// Sixty columns, most of them without a value.
fn wide() -> (String, String) {
    let kinds = [
        ("int", "(g % 100000)::int"),
        ("text", "'value ' || g"),
        ("numeric", "g / 100.0"),
        (
            "timestamptz",
            "timestamptz '2010-01-01 00:00+00' + g * interval '1 minute'",
        ),
        ("float8", "g / 3.0::float8"),
        ("boolean", "g % 2 = 0"),
    ];
    let (mut columns, mut values) = (
        "id bigint NOT NULL, day date NOT NULL".to_owned(),
        "g, first + (g % days)::int".to_owned(),
    );
    for (number, (kind, value)) in (1..=58).zip(kinds.iter().cycle()) {
        columns += &format!(", c{number} {kind}");
        values += &format!(", CASE WHEN (g + {number}) % 4 = 0 THEN {value} END");
    }
    (columns, values)
}

/// Every set at the given scale, but for those with code of their own.
pub fn all(settings: &Settings) -> Vec<Set> {
    use Way::*;
    let months = vec![settings.scaled(500_000); 14];
    let set = |name, what, ways: &[Way], rows: Vec<u64>| Set {
        name,
        what,
        ways: ways.to_vec(),
        columns: PLAIN_COLUMNS.to_owned(),
        values: PLAIN_VALUES.to_owned(),
        indexes: &[],
        rows,
        days: 28,
    };
    let few = [
        Old,
        Binary,
        Cgpsync,
        Unanalyzed,
        Copied,
        CopiedUnanalyzed,
        SourceFloor,
        TargetFloor,
    ];
    let (wide_columns, wide_values) = wide();
    let mut uneven = vec![settings.scaled(3_000_000)];
    uneven.resize(12, settings.scaled(50_000));
    vec![
        set(
            "plain",
            "14 partitions, 8 columns, no index",
            &[
                Old,
                Binary,
                Fdw,
                Pgcopydb,
                Logical,
                Cgpsync,
                Unanalyzed,
                Copied,
                CopiedUnanalyzed,
                Truncate,
                Tls,
                SourceFloor,
                TargetFloor,
            ],
            months.clone(),
        ),
        Set {
            indexes: &["ADD PRIMARY KEY (id, day)", "(at)", "(name)"],
            ..set(
                "indexed",
                "the same with a primary key and two indexes",
                &[
                    Old,
                    Binary,
                    Fdw,
                    Pgcopydb,
                    Logical,
                    Cgpsync,
                    Unanalyzed,
                    Copied,
                    CopiedUnanalyzed,
                    Truncate,
                ],
                months,
            )
        },
        Set {
            columns: wide_columns,
            values: wide_values,
            ..set(
                "wide",
                "60 columns, three quarters of the values NULL",
                &few,
                vec![settings.scaled(100_000); 14],
            )
        },
        Set {
            columns: "id bigint NOT NULL, day date NOT NULL, body text".to_owned(),
            values: "g, first + (g % days)::int,
                     (SELECT string_agg(translate(encode(sha512((g || '.' || n)::bytea), 'base64'), E'\\n', ''), '')
                      FROM generate_series(1, 24) n)"
                .to_owned(),
            ..set(
                "toasted",
                "texts of 2 kB that do not compress, out of line",
                &few,
                vec![settings.scaled(15_000); 14],
            )
        },
        set("one_big", "one big partition and eleven small ones", &few, uneven),
        set(
            "single",
            "all rows of plain in one partition",
            &[Cgpsync, Unanalyzed, Copied, CopiedUnanalyzed, SourceFloor, TargetFloor],
            vec![settings.scaled(500_000) * 14],
        ),
        Set {
            days: 1,
            ..set(
                "many",
                "many small partitions of 50 rows",
                &[Old, Binary, Cgpsync, Unanalyzed, Truncate, Bare],
                vec![50; settings.scaled(2000).max(100) as usize],
            )
        },
    ]
}

/// The set whose target is on another server than the extension.
pub fn remote(settings: &Settings) -> Set {
    use Way::*;
    Set {
        name: "remote",
        what: "the rows of plain, from socket to socket: the target is on a third server",
        ways: vec![Binary, Cgpsync, Unanalyzed, SourceFloor, TargetFloor],
        columns: PLAIN_COLUMNS.to_owned(),
        values: PLAIN_VALUES.to_owned(),
        indexes: &[],
        rows: vec![settings.scaled(500_000); 14],
        days: 28,
    }
}

impl Set {
    /// Empty partitions, for planning alone.
    pub fn of_empty(partitions: usize) -> Set {
        Set {
            name: "plan",
            what: "empty partitions",
            ways: Vec::new(),
            columns: PLAIN_COLUMNS.to_owned(),
            values: String::new(),
            indexes: &[],
            rows: vec![0; partitions],
            days: 1,
        }
    }

    /// Names of the partitions.
    pub fn partitions(&self) -> Vec<String> {
        (0..self.rows.len()).map(|part| format!("bench_{part:04}")).collect()
    }

    /// Rows of all.
    pub fn total(&self) -> u64 {
        self.rows.iter().sum()
    }

    pub fn has_indexes(&self) -> bool {
        !self.indexes.is_empty()
    }

    /// First day of a partition, as an expression.
    fn first_day(&self, part: usize) -> String {
        format!("(date '2010-01-01' + {})", part * self.days as usize)
    }

    /// The end_tm that takes all of it, as an expression.
    pub fn end_tm(&self) -> String {
        format!("to_char({} - 1, 'YYYYMMDD')", self.first_day(self.rows.len()))
    }

    /// Statements that create the table.
    pub fn definition(&self) -> Vec<String> {
        let mut statements = vec![format!(
            "CREATE TABLE bench ({}) PARTITION BY RANGE (day)",
            self.columns
        )];
        for index in self.indexes {
            statements.push(match index.strip_prefix("ADD ") {
                Some(_) => format!("ALTER TABLE bench {index}"),
                None => format!("CREATE INDEX ON bench {index}"),
            });
        }
        let partitions = self.partitions();
        let created = partitions.iter().enumerate().map(|(part, name)| {
            let (first, next) = (self.first_day(part), self.first_day(part + 1));
            format!("CREATE TABLE {name} PARTITION OF bench FOR VALUES FROM ({first}) TO ({next})")
        });
        let created: Vec<String> = created.collect();
        statements.extend(created.chunks(CHUNK).map(|chunk| chunk.join(";\n")));
        statements
    }

    /// Creates the table on both sides and fills the source's, the partitions in parallel.
    pub fn make(&self, ground: &Ground) -> Result<(), String> {
        for statement in self.definition() {
            ground.both(&statement)?;
        }
        if let Some(beside) = &ground.beside {
            sql(beside, "SELECT cgpsync_attach('bench', 'dr')")?;
        }
        let mut offset = 0;
        let mut work = Vec::new();
        for (part, (rows, name)) in self.rows.iter().zip(self.partitions()).enumerate() {
            if *rows > 0 {
                work.push(format!(
                    "INSERT INTO {name} SELECT {} FROM generate_series({}::bigint, {}) g,
                     (VALUES ({}, {})) v(first, days)",
                    self.values,
                    offset + 1,
                    offset + rows,
                    self.first_day(part),
                    self.days
                ));
            }
            offset += rows;
        }
        parallel(ground, &ground.source, work)?;
        // Hint bits, visibility and statistics are there before the first way comes, which would have to write them.
        sql(&ground.source, "VACUUM (FREEZE, ANALYZE)")
    }

    /// Bytes on the source: heap, TOAST and indexes.
    pub fn bytes(&self, ground: &Ground) -> Result<f64, String> {
        let size = text(
            &ground.source,
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('bench')",
        )?;
        size.parse().map_err(|_| format!("\"{size}\" is no size"))
    }

    /// Removes it on both sides, and its files.
    pub fn remove(&self, ground: &Ground) -> Result<(), String> {
        ground.both("DROP TABLE IF EXISTS bench")?;
        let files = std::fs::read_dir(&ground.files).map_err(|e| e.to_string())?;
        for file in files.flatten() {
            let _ = std::fs::remove_file(file.path());
        }
        Ok(())
    }
}

/// Runs statements, some at a time, each on whichever open session is free.
pub fn parallel(ground: &Ground, cluster: &Cluster, work: Vec<String>) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let session = || {
        let mut client = cluster.try_connect().ok_or("the server takes no connection")?;
        while let Some(statements) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            client
                .batch_execute(statements)
                .map_err(|e| format!("{} in: {statements}", explain(&e)))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ground.parallelism).map(|_| scope.spawn(session)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a session ended early".to_owned())?)
    })
}
