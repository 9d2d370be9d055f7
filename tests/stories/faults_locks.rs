//! Everybody at once: runs on two tables, readers of both, and the maintenance of partitions. Nobody may be the victim of a deadlock.

use crate::support::rounds::{number, report};
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

#[test]
fn runs_readers_and_partition_maintenance_never_deadlock() {
    let pair = Pair::with("", "deadlock_timeout = '100ms'");
    tables(&pair);
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut does = |who: &'static str, statements: Vec<String>| {
        threads.push((who, repeat(&pair, &stop, statements)));
    };
    for table in TABLES {
        does(
            "run",
            vec![format!(
                "SELECT count(*) FROM cgpsync_sync('{table}', '79', 3, since => '0')"
            )],
        );
        does("reader", vec![format!("SELECT count(*), max(t) FROM {table}")]);
        // The next partition in time and out of it, as pg_partman does.
        does(
            "maintenance",
            vec![
                format!("CREATE TABLE {table}_8 PARTITION OF {table} FOR VALUES FROM (80) TO (90)"),
                format!("ALTER TABLE {table} DETACH PARTITION {table}_8"),
                format!("ALTER TABLE {table} ATTACH PARTITION {table}_8 FOR VALUES FROM (80) TO (90)"),
                format!("DROP TABLE {table}_8"),
            ],
        );
        // One that a run replaces.
        does(
            "maintenance",
            vec![
                format!("ALTER TABLE {table} DETACH PARTITION {table}_3"),
                format!("ALTER TABLE {table} ATTACH PARTITION {table}_3 FOR VALUES FROM (30) TO (40)"),
            ],
        );
    }
    does(
        "reader",
        TABLES
            .iter()
            .map(|table| format!("BEGIN; SELECT count(*) FROM {table}; SELECT count(*) FROM bees; COMMIT"))
            .collect(),
    );
    let seconds = number("FAULTS_LOCK_SECONDS").unwrap_or(4);
    std::thread::park_timeout(Duration::from_secs(seconds));
    stop.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < SOON && threads.iter().any(|(_, thread)| !thread.is_finished()) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let hung = threads.iter().filter(|(_, thread)| !thread.is_finished()).count();
    if hung > 0 {
        report(&format!("locks: everybody at once|1|0|{hung}|0|0\n"));
        panic!(
            "{hung} sessions do not end: {:?}",
            pair.target.list("SELECT query FROM pg_stat_activity")
        );
    }
    let mut ends: BTreeMap<&str, Ends> = BTreeMap::new();
    for (who, thread) in threads {
        let total = ends.entry(who).or_default();
        for (end, count) in thread.join().expect("the thread ends") {
            *total.entry(end).or_default() += count;
        }
    }
    let deadlocks = pair.target.log().matches("ERROR:  deadlock detected").count();
    println!("{ends:?}");
    let completed = ends["run"].get("ok").copied().unwrap_or(0);
    report(&format!("locks: everybody at once|{completed}|0|0|{deadlocks}|0\n"));
    let log = pair.target.log();
    let first = log
        .find("ERROR:  deadlock detected")
        .map(|at| &log[at..log.len().min(at + 1500)]);
    assert_eq!(deadlocks, 0, "{}", first.unwrap_or_default());
    assert!(completed > 0, "{ends:?}");
    poll("nobody is left", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync%'")
            == "0"
    });
    for table in TABLES {
        let _ = pair.target.connect().batch_execute(&format!(
            "ALTER TABLE {table} ATTACH PARTITION {table}_3 FOR VALUES FROM (30) TO (40)"
        ));
        pair.copied(&format!("'{table}', '79', since => '0'"));
        pair.same_rows(table, "true");
    }
}
