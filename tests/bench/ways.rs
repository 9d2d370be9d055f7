//! The ways to fill a table with the rows of another cluster's.

use crate::ground::{Ground, file, run, sql, text};
use crate::sets::{Set, parallel};
use crate::support::cluster::Cluster;
use std::time::{Duration, Instant};

/// Longest time that any way may take.
const LIMIT: Duration = Duration::from_secs(3600);

/// One way; `key` is its name in WAYS, `label` in the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
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
    Bare,
}

/// What WAYS may name.
pub const KEYS: &[&str] = &[
    "old",
    "binary",
    "fdw",
    "pgcopydb",
    "logical",
    "cgpsync",
    "unanalyzed",
    "copied",
    "truncate",
    "tls",
    "floors",
    "bare",
];

impl Way {
    pub fn key(self) -> &'static str {
        match self {
            Way::Old => "old",
            Way::Binary => "binary",
            Way::Fdw => "fdw",
            Way::Pgcopydb => "pgcopydb",
            Way::Logical => "logical",
            Way::Cgpsync => "cgpsync",
            Way::Unanalyzed => "unanalyzed",
            Way::Copied | Way::CopiedUnanalyzed => "copied",
            Way::Truncate => "truncate",
            Way::Tls => "tls",
            Way::SourceFloor | Way::TargetFloor => "floors",
            Way::Bare => "bare",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Way::Old => "old: TRUNCATE, `psql` text pipe",
            Way::Binary => "`psql` binary pipe",
            Way::Fdw => "postgres_fdw INSERT … SELECT",
            Way::Pgcopydb => "pgcopydb clone",
            Way::Logical => "logical replication, first sync",
            Way::Cgpsync => "**cgpsync**",
            Way::Unanalyzed => "**cgpsync**, analyze_partitions = off",
            Way::Copied => "**cgpsync**, page_writer = off",
            Way::CopiedUnanalyzed => "**cgpsync**, page_writer = off, analyze_partitions = off",
            Way::Truncate => "**cgpsync**, truncate",
            Way::Tls => "**cgpsync** over TLS",
            Way::SourceFloor => "floor: source COPY TO /dev/null",
            Way::TargetFloor => "floor: target COPY FROM file",
            Way::Bare => "bare TRUNCATE + COPY FROM file, a transaction each",
        }
    }

    /// Whether it is cgpsync, which must not fail.
    pub fn is_ours(self) -> bool {
        use Way::*;
        matches!(self, Cgpsync | Unanalyzed | Copied | CopiedUnanalyzed | Truncate | Tls)
    }

    /// What the data set must have for it; not measured.
    pub fn set_up(self, ground: &Ground, set: &Set) -> Result<(), String> {
        match self {
            Way::Fdw => foreign_tables(ground, set),
            Way::TargetFloor | Way::Bare => on_each(ground, &ground.source, set, |name| {
                let to = file(ground, &format!("{name}.bin"));
                format!("COPY (SELECT * FROM {name}) TO '{to}' (FORMAT binary)")
            }),
            _ => Ok(()),
        }
    }

    /// Brings both sides to where it can begin: the target's table is there and empty. Not measured.
    pub fn prepare(self, ground: &Ground, set: &Set) -> Result<(), String> {
        let there = text(&ground.target, "SELECT to_regclass('bench') IS NOT NULL")? == "t";
        match (self, there) {
            (Way::Pgcopydb, true) => sql(&ground.target, "DROP TABLE bench")?,
            (Way::Pgcopydb, false) => {}
            (_, true) => sql(&ground.target, "TRUNCATE bench")?,
            (_, false) => {
                for statement in set.definition() {
                    sql(&ground.target, &statement)?;
                }
            }
        }
        sql(ground.ours(), "DELETE FROM sync_table")?;
        if self == Way::Logical {
            sql(&ground.source, "CREATE PUBLICATION bench FOR TABLE bench")?;
        }
        ground.checkpoint()
    }

    /// The work that is measured.
    pub fn run(self, ground: &Ground, set: &Set) -> Result<(), String> {
        match self {
            Way::Old => ground.each(
                &set.partitions(),
                "$T -c \"TRUNCATE $1\"
                 $S -c \"COPY (SELECT * FROM $1) TO STDOUT\" | $T -c \"COPY $1 FROM STDIN\"",
            ),
            Way::Binary => ground.each(&set.partitions(), BINARY_PIPE),
            Way::Fdw => ground.each(
                &set.partitions(),
                "$T -1 -c \"TRUNCATE $1\" -c \"INSERT INTO $1 SELECT * FROM remote.$1\"",
            ),
            Way::Pgcopydb => pgcopydb(ground),
            Way::Logical => subscribe(ground, set),
            Way::Cgpsync => sync(ground, set, "src", ""),
            Way::Unanalyzed => with_off(ground, set, &["analyze_partitions"]),
            Way::Copied => with_off(ground, set, &["page_writer"]),
            Way::CopiedUnanalyzed => with_off(ground, set, &["analyze_partitions", "page_writer"]),
            Way::Truncate => sync(ground, set, "src", ", replace => 'truncate'"),
            Way::Tls => sync(ground, set, "src_tls", ""),
            Way::SourceFloor => on_each(ground, &ground.source, set, |name| {
                format!("COPY (SELECT * FROM {name}) TO '/dev/null' (FORMAT binary)")
            }),
            Way::TargetFloor => on_each(ground, &ground.target, set, |name| copy_from_file(ground, name)),
            Way::Bare => on_each(ground, &ground.target, set, |name| {
                format!("BEGIN; TRUNCATE {name}; {}; COMMIT", copy_from_file(ground, name))
            }),
        }
    }

    /// Removes what it leaves besides the rows; not measured.
    pub fn clean_up(self, ground: &Ground) -> Result<(), String> {
        match self {
            Way::Logical => {
                sql(&ground.target, "DROP SUBSCRIPTION IF EXISTS bench")?;
                sql(&ground.source, "DROP PUBLICATION IF EXISTS bench")
            }
            Way::Pgcopydb => {
                let _ = std::fs::remove_dir_all(ground.files.join("pgcopydb"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the rows have come; not measured.
    pub fn verify(self, ground: &Ground, set: &Set) -> Result<(), String> {
        if self == Way::SourceFloor {
            return Ok(());
        }
        let count = text(&ground.target, "SELECT count(*) FROM bench")?;
        match count == set.total().to_string() {
            true => Ok(()),
            false => Err(format!("{count} rows came instead of {}", set.total())),
        }
    }
}

/// One session and one transaction on each side.
pub const BINARY_PIPE: &str = "$S -c \"COPY (SELECT * FROM ${2:-$1}) TO STDOUT (FORMAT binary)\" \\
    | $T -1 -c \"TRUNCATE $1\" -c \"COPY $1 FROM STDIN (FORMAT binary)\"";

fn copy_from_file(ground: &Ground, name: &str) -> String {
    let from = file(ground, &format!("{name}.bin"));
    format!("COPY {name} FROM '{from}' (FORMAT binary)")
}

/// Runs a statement for each partition on open sessions, so that nothing is measured but what the server does.
fn on_each(ground: &Ground, cluster: &Cluster, set: &Set, statement: impl Fn(&str) -> String) -> Result<(), String> {
    let statements = set.partitions().iter().map(|name| statement(name)).collect();
    parallel(ground, cluster, statements)
}

/// A sync with settings of cgpsync that are off.
fn with_off(ground: &Ground, set: &Set, settings: &[&str]) -> Result<(), String> {
    let each = |words: &dyn Fn(&str) -> String| {
        let statement = |name: &&str| sql(ground.ours(), &format!("ALTER ROLE postgres {}", words(name)));
        settings.iter().try_for_each(statement)
    };
    each(&|name| format!("SET cgpsync.{name} = off"))?;
    let result = sync(ground, set, "src", "");
    each(&|name| format!("RESET cgpsync.{name}"))?;
    result
}

/// A sync of everything with cgpsync; `more` are further arguments.
pub fn sync(ground: &Ground, set: &Set, server: &str, more: &str) -> Result<(), String> {
    let statement = format!(
        "SELECT count(*) FROM cgpsync_sync('bench', {}, {}, '{server}'{more})",
        set.end_tm(),
        ground.parallelism
    );
    text(ground.ours(), &statement).map(|_| ())
}

/// A foreign table for each partition, in schema remote.
fn foreign_tables(ground: &Ground, set: &Set) -> Result<(), String> {
    let columns = text(
        &ground.source,
        "SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = 'bench'::regclass AND attnum > 0 AND NOT attisdropped",
    )?;
    let create = |name: &String| {
        format!(
            "DROP FOREIGN TABLE IF EXISTS remote.{name};
             CREATE FOREIGN TABLE remote.{name} ({columns}) SERVER fdw OPTIONS (schema_name 'public')"
        )
    };
    let statements: Vec<String> = set.partitions().iter().map(create).collect();
    sql(&ground.target, &statements.join(";\n"))
}

fn pgcopydb(ground: &Ground) -> Result<(), String> {
    let jobs = ground.parallelism.to_string();
    let uri = |port: u16| format!("postgres://postgres:secret@127.0.0.1:{port}/postgres?sslmode=disable");
    let mut command = ground.tool("pgcopydb");
    command
        .args(["clone", "--table-jobs", &jobs, "--index-jobs", &jobs, "--dir"])
        .arg(ground.files.join("pgcopydb"))
        .args(["--skip-large-objects", "--skip-extensions", "--no-owner", "--no-acl"])
        .args(["--source", &uri(ground.source.port)])
        .args(["--target", &uri(ground.target.port)]);
    run(&mut command)
}

/// Subscribes, and waits until the first copy of every table is there.
fn subscribe(ground: &Ground, set: &Set) -> Result<(), String> {
    sql(
        &ground.target,
        &format!(
            "CREATE SUBSCRIPTION bench CONNECTION '{}' PUBLICATION bench WITH (copy_data = true)",
            ground.source_conninfo()
        ),
    )?;
    let mut client = ground.target.try_connect().ok_or("the target takes no connection")?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let count = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate IN ('r', 's')";
        let row = client.query_one(count, &[]).map_err(|e| e.to_string())?;
        if row.get::<_, i64>(0) == set.partitions().len() as i64 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the first sync does not end".to_owned());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
