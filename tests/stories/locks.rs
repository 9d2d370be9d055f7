//! Locks, slots and runs that meet.

use crate::support::clock::Clock;
use crate::support::cluster::GATE;
use crate::support::{Pair, SOON, poll};
use std::time::Duration;

#[test]
fn a_unit_locked_by_someone_else_fails_after_lock_timeout_and_keeps_its_rows() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target
        .sql("INSERT INTO persons VALUES (0, 'old', '2017-01-01', NULL)");
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT * FROM persons_201701")
        .expect("a reader");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.lock_timeout = '300ms'")
        .expect("a setting");
    let error = pair
        .sync_as(&mut client, "'persons', '20170201', replace => 'truncate'")
        .expect_err("locked");
    assert_eq!(error.code().code(), "55P03");
    assert!(
        error.message().contains("persons_201701") && !error.message().contains("persons_201702"),
        "{error:?}"
    );
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    let holders = format!("Processes that hold a lock on it or its parents: {pid}.");
    assert!(error.detail().is_some_and(|d| d.contains(&holders)), "{error:?}");
    assert_eq!(pair.target.text("SELECT name FROM persons_201701"), "old");
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(
        pair.copied("'persons', '20170201'"),
        ["persons_201701", "persons_201702"]
    );
}

#[test]
fn of_those_that_have_the_partition_locked_the_runs_own_are_not_named() {
    let pair = Pair::new();
    pair.persons(5);
    // More than the source keeps back, so that the worker of February is loading when it waits at the gate.
    // lock_timeout is that of the worker over there too, and the gate a lock.
    pair.source.sql(&format!(
        "CREATE FUNCTION gate() RETURNS void LANGUAGE plpgsql SET lock_timeout = 0 AS 'BEGIN PERFORM {GATE}; END';
         CREATE VIEW gated AS SELECT id, name, born, note FROM persons WHERE born < '2017-02-01'
         UNION ALL SELECT g, 'x', date '2017-02-01', repeat('x', 100) FROM generate_series(1, 1000) g
         UNION ALL SELECT g, 'y', date '2017-02-01', NULL FROM generate_series(1, 1) g, LATERAL (SELECT gate() WHERE g > 0) s"
    ));
    let gate = pair.source.close_gate();
    let mut reader = pair.target.connect();
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    reader
        .batch_execute("BEGIN; SELECT * FROM persons_201701")
        .expect("a reader");
    pair.target
        .sql("ALTER ROLE postgres SET cgpsync.lock_timeout = '3s'; ALTER ROLE postgres SET cgpsync.max_retries = 0");
    let run = pair.sync_in_background("'persons', '20170201', 2, source_table => 'gated', replace => 'truncate'");
    pair.source.until_at_gate(1);
    poll("January has failed", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE status = 'failed'")
            == "1"
    });
    let detail = pair
        .target
        .text("SELECT error_detail FROM cgpsync_run_partition WHERE status = 'failed'");
    assert!(detail.contains(&format!("or its parents: {pid}.")), "{detail}");
    drop(gate);
    assert!(run.join().is_err_and(|error| error.starts_with("55P03")));
}

#[test]
fn a_lock_of_the_calling_transaction_is_detected_instead_of_waiting_for_ever() {
    let pair = Pair::new();
    pair.persons(5);
    for statement in [
        "SELECT count(*) FROM persons_201702",
        "LOCK TABLE persons IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE cgpsync_run IN ACCESS EXCLUSIVE MODE",
        "INSERT INTO sync_table VALUES ('persons', '20170101')",
    ] {
        let mut client = pair.target.connect();
        client
            .batch_execute(&format!("SET cgpsync.lock_timeout = 0; BEGIN; {statement}"))
            .expect("a lock");
        let start = Clock::start();
        let error = pair
            .sync_as(&mut client, "'persons', '20170301'")
            .expect_err("it would wait for itself");
        assert_eq!(error.code().code(), "55006", "{statement}: {error:?}");
        assert!(
            error.message().contains("calling transaction holds a lock"),
            "{error:?}"
        );
        assert!(error.hint().is_some_and(|h| h.contains("Commit first")), "{error:?}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{statement}: {took:?}");
        drop(client);
        pair.all_gone_within_two_seconds(Clock::start());
    }
    assert_eq!(pair.copied("'persons', '20170301', since => '20170101'").len(), 3);
}

#[test]
fn a_table_created_by_the_calling_transaction_cannot_be_synced_yet() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE t (i int)");
    let mut client = pair.target.connect();
    client.batch_execute("BEGIN; CREATE TABLE t (i int)").expect("a table");
    let error = pair
        .sync_as(&mut client, "'t', '20170101'")
        .expect_err("nobody else sees it");
    assert_eq!(error.code().code(), "42P01");
    assert!(
        error.hint().is_some_and(|h| h.contains("Commit the transaction")),
        "{error:?}"
    );
}

/// A source's view that gives its row when nobody has the gate closed.
fn gated(pair: &Pair) {
    pair.source.sql(&format!(
        "CREATE VIEW gated AS SELECT g AS i FROM generate_series(1, 1) g, LATERAL (SELECT {GATE} WHERE g > 0) s"
    ));
}

#[test]
fn the_second_run_on_a_table_fails_at_once_and_names_the_first() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int); CREATE TABLE u (i int)");
    gated(&pair);
    let gate = pair.source.close_gate();
    let first = pair.sync_in_background("'t', '20170101', source_table => 'gated'");
    poll("the first run is on", SOON, || {
        pair.target.text("SELECT status FROM cgpsync_run") == "running"
    });
    let error = pair.sync("'t', '20170101'").expect_err("busy");
    assert_eq!(error.code().code(), "55006");
    assert!(error.message().contains("already by run 1"), "{error:?}");
    assert!(error.detail().is_some_and(|d| d.contains("postgres")), "{error:?}");
    // Another table is another matter.
    pair.copied("'u', '20170101'");
    drop(gate);
    assert_eq!(first.join(), Ok(1));
    pair.copied("'t', '20170101'");
}

#[test]
fn a_run_above_or_below_another_is_refused_and_one_beside_it_is_not() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (i int) PARTITION BY RANGE (i);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (i);
         CREATE TABLE t_2_1 PARTITION OF t_2 FOR VALUES FROM (10) TO (20)",
    );
    gated(&pair);
    pair.source
        .sql("CREATE VIEW gated_2 AS SELECT i + 10 AS i FROM gated; CREATE TABLE free (i int)");
    for (run, source, busy, free) in [
        ("t", "gated", &["t", "t_1", "t_2", "t_2_1"][..], &[][..]),
        ("t_1", "gated", &["t", "t_1"], &["t_2", "t_2_1"]),
        ("t_2", "gated_2", &["t", "t_2", "t_2_1"], &["t_1"]),
        ("t_2_1", "gated_2", &["t", "t_2", "t_2_1"], &["t_1"]),
    ] {
        let gate = pair.source.close_gate();
        let first = pair.sync_in_background(&format!("'{run}', '20', 1, source_table => '{source}', since => '0'"));
        pair.source.until_at_gate(1);
        let id = pair.target.text("SELECT max(run_id) FROM cgpsync_run");
        let shown = "SELECT string_agg(table_name || ' ' || run_id, ',') FROM cgpsync_progress";
        assert_eq!(pair.target.text(shown), format!("{run} {id}"));
        for table in busy {
            let error = pair
                .sync(&format!("'{table}', '20', source_table => 'free', since => '0'"))
                .expect_err("it would overlap");
            let on = if *table == run {
                String::new()
            } else {
                format!(", which is on {run}")
            };
            assert_eq!(error.code().code(), "55006", "{error:?}");
            assert_eq!(
                error.message(),
                format!("table {table} is being synced already by run {id}{on}")
            );
            assert!(error.detail().is_some_and(|d| d.contains("postgres")), "{error:?}");
        }
        for table in free {
            pair.copied(&format!("'{table}', '20', source_table => 'free', since => '0'"));
        }
        drop(gate);
        first.join().expect("the first run ends well");
        assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {run}")), "1");
    }
}

#[test]
fn nobody_who_may_only_connect_keeps_a_table_from_being_synced() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int); CREATE ROLE nobody LOGIN");
    pair.source.sql("INSERT INTO t VALUES (1)");
    let mut nobody = pair.target.connect_as("nobody");
    // The numbers that pg_locks shows of a run.
    nobody
        .batch_execute("SELECT pg_advisory_lock(1667723379, 't'::regclass::oid::int)")
        .expect("a lock");
    nobody
        .batch_execute("SELECT pg_advisory_lock((1667723379::bigint << 32) | 't'::regclass::oid::bigint)")
        .expect("another lock");
    assert_eq!(pair.copied("'t', '20170101'"), ["t"]);
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_locked_source_partition_that_is_not_needed_is_not_waited_for() {
    let pair = Pair::new();
    pair.persons(5);
    let mut holder = pair.source.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE persons_201712")
        .expect("a lock");
    assert_eq!(pair.copied("'persons', '20170101'"), ["persons_201701"]);
}

#[test]
fn a_run_does_not_outlive_its_caller_while_it_waits_for_a_standby() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.set_synchronous_standbys("nobody");
    let run = pair.sync_in_background("'persons', '20170301'");
    poll("a unit waits to be committed", SOON, || {
        pair.target.text(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker' AND wait_event = 'SyncRep'",
        ) != "0"
    });
    let start = Clock::start();
    run.cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().is_err_and(|error| error.starts_with("57014")));
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "cancelled");
}

#[test]
fn of_two_calls_at_the_same_moment_one_does_the_work_and_the_other_names_it() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    gated(&pair);
    // Between the lock and the row that tells of it are milliseconds: meeting there takes a few attempts.
    for _ in 0..30 {
        let gate = pair.source.close_gate();
        let calls = [(); 2].map(|()| pair.sync_in_background("'t', '20170101', source_table => 'gated'"));
        poll("one of them has ended", SOON, || {
            calls.iter().any(|call| call.is_finished())
        });
        drop(gate);
        let mut results = calls.map(|call| call.join());
        results.sort();
        let [done, busy] = results;
        assert_eq!(done, Ok(1));
        let busy = busy.expect_err("one at a time");
        assert!(busy.contains("table t is being synced already by run "), "{busy}");
    }
}
