//! Readers of the table while its partitions are exchanged.

use crate::support::greenplum::readers::{Readers, WHOLE, look};
use crate::support::greenplum::{Clusters, words};
use crate::support::{SOON, poll};
use postgres::{Client, SimpleQueryMessage};
use std::time::{Duration, Instant};

const SYNC: &str = "'events', '19', 2, since => '0'";

/// Two partitions of 200 rows, which have a version.
fn events(story: &str, storage: &str) -> Clusters {
    let clusters = Clusters::new(story);
    let table = |storage: &str| {
        format!(
            "CREATE TABLE events (id int, k int NOT NULL, version int, note text) {storage} DISTRIBUTED BY (id)
             PARTITION BY RANGE (k) (START (0) END (20) EVERY (10)); CREATE INDEX events_id ON events (id)"
        )
    };
    clusters.source.sql(&table(""));
    clusters.target.sql(&table(storage));
    clusters
        .source
        .sql("INSERT INTO events SELECT g, g % 20, 1, repeat('note', 20) FROM generate_series(1, 400) g");
    clusters
        .target
        .sql("CREATE TABLE other AS SELECT 1 AS one DISTRIBUTED RANDOMLY");
    clusters.attach("events");
    clusters.copied(SYNC);
    clusters
}

/// Brings the next version.
fn replace(clusters: &Clusters, way: &str) -> String {
    clusters.source.sql("UPDATE events SET version = version + 1");
    let units = clusters.copied(&format!("{SYNC}, replace => '{way}'"));
    assert_eq!(units.len(), 2);
    clusters.target.text("SELECT max(version) FROM events")
}

fn ask(client: &mut Client, sql: &str) -> String {
    let rows = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

fn are_never_deceived(story: &str, storage: &str) {
    let clusters = events(story, storage);
    let readers = Readers::start(&clusters.target, "events");
    for round in 2..8 {
        assert_eq!(replace(&clusters, "exchange"), round.to_string());
        readers.until_each_has_read(2);
    }
    let longest = readers.finish();
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    clusters.same_rows("events", "true");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn they_see_old_rows_or_new_ones_and_no_error() {
    are_never_deceived("read_heap", "");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn they_do_so_of_append_optimized_columns() {
    are_never_deceived("read_columns", "WITH (appendonly = true, orientation = column)");
}

/// Waiting is all that a TRUNCATE may do to them.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn they_wait_for_a_truncate_and_see_no_gap() {
    let clusters = events("read_truncated", "");
    let readers = Readers::start(&clusters.target, "events");
    for round in 2..5 {
        assert_eq!(replace(&clusters, "truncate"), round.to_string());
        readers.until_each_has_read(2);
    }
    readers.finish();
    clusters.same_rows("events", "true");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_snapshot_from_before_sees_the_new_rows_whole() {
    let clusters = events("old_snapshot", "");
    for way in ["exchange", "truncate"] {
        let mut old = clusters.target.connect();
        old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other")
            .expect("a snapshot, on the segments, too");
        let version = replace(&clusters, way);
        assert_eq!(ask(&mut old, &look("events")), WHOLE, "{way}");
        assert_eq!(ask(&mut old, "SELECT min(version) FROM events"), version, "{way}");
        assert_eq!(
            ask(&mut old, "SELECT min(version) FROM events_1_prt_1"),
            version,
            "{way}"
        );
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_prepared_statement_goes_on() {
    let clusters = events("prepared", "");
    let mut other = clusters.target.connect();
    let statement = other
        .prepare("SELECT count(*) || ' ' || max(version) FROM events WHERE k = $1")
        .expect("a statement");
    for version in 2..9 {
        let answer: String = other.query_one(&statement, &[&3]).expect("rows").get(0);
        assert_eq!(answer, format!("20 {}", version - 1));
        assert_eq!(replace(&clusters, "exchange"), version.to_string());
    }
}

/// A session that has the root locked; its pid.
fn holder(clusters: &Clusters) -> (Client, String) {
    let mut client = clusters.target.connect();
    let pid = ask(&mut client, "SELECT pg_backend_pid()");
    client
        .batch_execute("BEGIN; SELECT count(*) FROM events")
        .expect("a lock");
    (client, pid)
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn one_that_has_the_root_locked_for_long_is_named() {
    let clusters = events("held", "");
    let (_holder, pid) = holder(&clusters);
    clusters.source.sql("UPDATE events SET version = 2");
    let mut client = clusters.between.connect();
    client
        .batch_execute("SET cgpsync.swap_timeout = '1s'; SET cgpsync.max_retries = 0")
        .expect("settings");
    let error = clusters.sync_as(&mut client, SYNC).expect_err("the root is locked");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    assert!(
        words(&error).contains(&pid) && words(&error).contains("server \"dr\""),
        "{pid}: {error:?}"
    );
    assert!(!words(&error).contains("truncated"), "{error:?}");
    assert_eq!(clusters.target.text("SELECT max(version) FROM events"), "1");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn one_that_lets_go_of_the_root_is_waited_for_and_no_other_waits_long() {
    let clusters = events("let_go", "");
    let (mut holder, _) = holder(&clusters);
    clusters.source.sql("UPDATE events SET version = 2");
    let run = clusters.in_background(SYNC, "");
    let attempts = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'events'::regclass";
    poll("it tries to lock the root", SOON, || {
        run.is_finished() || clusters.target.text(attempts) != "0"
    });
    // Others read beside the attempts.
    let until = Instant::now() + Duration::from_secs(3);
    let mut other = clusters.target.connect();
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        let begun = Instant::now();
        assert_eq!(ask(&mut other, &look("events")), WHOLE);
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(!run.is_finished(), "{:?}", run.join());
    holder.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    clusters.all_exchanged();
    assert_eq!(clusters.last_run("max(attempts)", "true"), "1");
    clusters.same_rows("events", "true");
}

/// Who maintains catalogs would wait for the load, and everybody else for him. What CREATE TABLE writes it keeps locked.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_load_keeps_no_catalog_locked() {
    let clusters = Clusters::with("catalogs", "cgpsync.max_rate = '500kB'");
    clusters.both("CREATE TABLE events (id int, k int, note text, version int) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (START (0) END (20) EVERY (10))");
    clusters
        .source
        .sql("INSERT INTO events SELECT g, g % 20, repeat('x', 1000) FROM generate_series(1, 2000) g");
    clusters.attach("events");
    let locked = "SELECT COALESCE(string_agg(DISTINCT c.relname, ', '), '') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                  JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE l.gp_segment_id = -1 AND a.application_name LIKE 'cgpsync run%' AND l.mode = 'AccessShareLock' AND n.nspname = 'pg_catalog'";
    for more in ["", ", columns => ARRAY['id', 'k', 'note']"] {
        let run = clusters.in_background(&format!("'events', '19', 1, since => '0'{more}"), "");
        poll("the target takes rows", SOON, || {
            clusters
                .target
                .text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync run%' AND query LIKE 'COPY%'")
                != "0"
        });
        assert_eq!(clusters.target.text(locked), "", "{more}");
        assert_eq!(clusters.source.text(locked), "", "{more}");
        run.join().expect("the run succeeds");
    }
}
