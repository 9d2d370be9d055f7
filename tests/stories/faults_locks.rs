//! Everybody at once: runs on two tables, readers of both, and the maintenance of partitions. Nobody may be the victim of a deadlock.

use crate::support::dice::number;
use crate::support::rounds::report;
use crate::support::{Pair, SOON, poll};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TABLES: [&str; 2] = ["ants", "bees"];

/// How often each end of a statement was seen: `ok` or an SQLSTATE.
type Ends = BTreeMap<String, usize>;

fn tables(pair: &Pair) {
    for table in TABLES {
        pair.both(&format!(
            "CREATE TABLE {table} (k int, t text) PARTITION BY RANGE (k);
             DO $$ BEGIN FOR i IN 0..7 LOOP
               EXECUTE format('CREATE TABLE {table}_%s PARTITION OF {table} FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10);
             END LOOP; END $$"
        ));
        if table == "bees" {
            // Where the source is no such tree, the run asks for the partitions' constraints, which takes locks as well.
            pair.source.sql("DROP TABLE bees; CREATE TABLE bees (k int, t text)");
        }
        pair.source.sql(&format!(
            "INSERT INTO {table} SELECT g % 80, repeat('x', 50) FROM generate_series(1, 16000) g"
        ));
    }
}

/// Repeats `statements` in a session of its own until told to stop.
fn repeat(pair: &Pair, stop: &Arc<AtomicBool>, statements: Vec<String>) -> std::thread::JoinHandle<Ends> {
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.lock_timeout = '5s'")
        .expect("a setting");
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut ends = Ends::new();
        while !stop.load(Ordering::SeqCst) {
            for statement in &statements {
                let end = match client.simple_query(statement) {
                    Ok(_) => "ok".to_owned(),
                    Err(error) => error.code().map_or_else(|| error.to_string(), |c| c.code().to_owned()),
                };
                *ends.entry(end).or_default() += 1;
            }
        }
        ends
    })
}

/// What each session repeats, and its name in the count.
fn sessions() -> Vec<(&'static str, Vec<String>)> {
    let mut all = Vec::new();
    for table in TABLES {
        let run = format!("SELECT count(*) FROM cgpsync_sync('{table}', '79', 3, since => '0')");
        all.push(("run", vec![run]));
        all.push(("reader", vec![format!("SELECT count(*), max(t) FROM {table}")]));
        // The next partition in time and out of it, as pg_partman does.
        let next = vec![
            format!("CREATE TABLE {table}_8 PARTITION OF {table} FOR VALUES FROM (80) TO (90)"),
            format!("ALTER TABLE {table} DETACH PARTITION {table}_8"),
            format!("ALTER TABLE {table} ATTACH PARTITION {table}_8 FOR VALUES FROM (80) TO (90)"),
            format!("DROP TABLE {table}_8"),
        ];
        all.push(("maintenance", next));
        // One that a run replaces.
        let replaced = vec![
            format!("ALTER TABLE {table} DETACH PARTITION {table}_3"),
            format!("ALTER TABLE {table} ATTACH PARTITION {table}_3 FOR VALUES FROM (30) TO (40)"),
        ];
        all.push(("maintenance", replaced));
    }
    let both = TABLES.map(|table| format!("SELECT count(*) FROM {table};"));
    all.push(("reader", vec![format!("BEGIN; {} COMMIT", both.concat())]));
    all
}

/// Lets all of them work at once for some seconds. How their statements ended, by kind of session; None for those that did not end.
fn work_at_once(pair: &Pair) -> Option<BTreeMap<&'static str, Ends>> {
    let stop = Arc::new(AtomicBool::new(false));
    let start = |(who, statements)| (who, repeat(pair, &stop, statements));
    let threads: Vec<_> = sessions().into_iter().map(start).collect();
    std::thread::park_timeout(Duration::from_secs(number("FAULTS_LOCK_SECONDS").unwrap_or(4)));
    stop.store(true, Ordering::SeqCst);
    let stopped = Instant::now();
    while threads.iter().any(|(_, thread)| !thread.is_finished()) {
        if stopped.elapsed() > SOON {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let mut ends: BTreeMap<&str, Ends> = BTreeMap::new();
    for (who, thread) in threads {
        let total = ends.entry(who).or_default();
        for (end, count) in thread.join().expect("the thread ends") {
            *total.entry(end).or_default() += count;
        }
    }
    Some(ends)
}

#[test]
fn runs_readers_and_partition_maintenance_never_deadlock() {
    let pair = Pair::with("", "deadlock_timeout = '100ms'");
    tables(&pair);
    let ends = work_at_once(&pair);
    let log = pair.target.log();
    let deadlocks: Vec<usize> = log
        .match_indices("ERROR:  deadlock detected")
        .map(|(at, _)| at)
        .collect();
    let runs: usize = ends.iter().flat_map(|ends| ends["run"].values()).sum();
    let failed = runs - ends.iter().filter_map(|ends| ends["run"].get("ok")).sum::<usize>();
    let hung = usize::from(ends.is_none());
    report(&format!(
        "locks: everybody at once|{runs}|0|{hung}|{}|{failed}\n",
        deadlocks.len()
    ));
    let ends = ends.unwrap_or_else(|| panic!("{:?}", pair.target.list("SELECT query FROM pg_stat_activity")));
    println!("{ends:?}");
    if let Some(at) = deadlocks.first() {
        panic!("{}", log[*at..].lines().take(6).collect::<Vec<_>>().join("\n"));
    }
    poll("nobody is left", SOON, || {
        let processes = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync%'";
        pair.target.text(processes) == "0"
    });
    for table in TABLES {
        // It may have been left detached.
        let attach = format!("ALTER TABLE {table} ATTACH PARTITION {table}_3 FOR VALUES FROM (30) TO (40)");
        let _ = pair.target.connect().batch_execute(&attach);
        pair.copied(&format!("'{table}', '79', since => '0'"));
        pair.same_rows(table, "true");
    }
}
