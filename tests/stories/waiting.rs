//! A call that waits for its run keeps nobody waiting; where it cannot help that, it says so and ends.

use crate::support::clock::Clock;
use crate::support::cluster::GATE;
use crate::support::{Background, Pair, SOON, poll};
use postgres::Client;
use std::time::Duration;

/// How soon a call must have noticed that it waits for itself.
const NOTICED: Duration = Duration::from_secs(5);

/// A table whose rows come from behind a gate, which this closes; a second partition that is free.
fn gated(pair: &Pair) -> Client {
    pair.both(
        "CREATE TABLE t (id int, k int) PARTITION BY LIST (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)",
    );
    pair.source.sql(&format!(
        "INSERT INTO t SELECT g, 1 + g % 2 FROM generate_series(1, 100) g;
         CREATE VIEW gated AS SELECT id, k FROM t UNION ALL SELECT 0, 1 FROM (SELECT {GATE}) g"
    ));
    pair.source.close_gate()
}

/// A run whose worker waits at the gate.
fn at_the_gate(pair: &Pair) -> Background {
    let run = pair.sync_in_background("'t', '1', 1, source_table => 'gated'");
    pair.source.until_at_gate(1);
    run
}

#[test]
fn what_a_waiting_call_looks_at_is_not_locked() {
    let pair = Pair::new();
    let gate = gated(&pair);
    let run = at_the_gate(&pair);
    let held = format!(
        "SELECT string_agg(DISTINCT concat_ws(' ', locktype, relation::regclass), ',') FROM pg_locks
         WHERE pid = {} AND locktype <> 'virtualxid'",
        run.pid
    );
    let mut without = 0;
    poll("it holds nothing but for moments", SOON, || {
        without += u32::from(pair.target.text(&format!("SELECT ({held}) IS NULL")) == "t");
        without == 10
    });
    // Each of them wants a lock that nobody else may have, on something that the call and its run look at all the time.
    for statement in [
        "REINDEX TABLE cgpsync_run",
        "VACUUM FULL cgpsync_run",
        "VACUUM FULL cgpsync_run_partition",
        "VACUUM FULL pg_class",
        "VACUUM FULL pg_attribute",
        "VACUUM FULL pg_proc",
        "REINDEX TABLE pg_class",
        "BEGIN; LOCK TABLE sync_table IN ACCESS EXCLUSIVE MODE; COMMIT",
    ] {
        let mut client = pair.target.connect();
        client
            .batch_execute("SET statement_timeout = '15s'")
            .expect("a setting");
        for part in statement.split("; ") {
            client
                .batch_execute(part)
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    assert!(!run.is_finished());
    drop(gate);
    assert_eq!(run.join(), Ok(2));
}

#[test]
fn a_circle_through_others_is_noticed_and_its_processes_are_named() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql("CREATE TABLE between (i int)");
    let mut caller = pair.target.connect();
    caller
        .batch_execute("SET cgpsync.lock_timeout = 0; SET cgpsync.swap_timeout = 0; CREATE TABLE mine (i int)")
        .expect("a table");
    // The run will wait for the first, that one for the second, and that one for the caller.
    let (mut first, mut second) = (pair.target.connect(), pair.target.connect());
    let pid = |client: &mut Client| -> i32 { client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0) };
    let pids = [pid(&mut first), pid(&mut second)];
    first
        .batch_execute("BEGIN; SELECT count(*) FROM persons_201701")
        .expect("a reader");
    second.batch_execute("BEGIN; LOCK TABLE between").expect("a lock");
    caller.batch_execute("BEGIN; LOCK TABLE mine").expect("a lock");
    let first = std::thread::spawn(move || first.batch_execute("LOCK TABLE between"));
    let second = std::thread::spawn(move || second.batch_execute("LOCK TABLE mine"));
    poll("both wait", SOON, || {
        pair.target.text("SELECT count(*) FROM pg_locks WHERE NOT granted") == "2"
    });
    let since = Clock::start();
    let error = pair
        .sync_as(&mut caller, "'persons', '20170101'")
        .expect_err("it would wait for itself");
    let took = since.elapsed();
    assert!(took < NOTICED, "{took:?}");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    for pid in pids {
        assert!(detail.contains(&format!("held by process {pid}")), "{detail}");
    }
    assert!(detail.ends_with("held by this session."), "{detail}");
    drop(caller);
    first.join().expect("a thread").expect("it gets its lock");
    second.join().expect("a thread").expect("it gets its lock");
    pair.all_gone();
}

#[test]
fn a_statement_that_waits_for_the_callers_snapshot_is_noticed_and_goes_on() {
    let pair = Pair::new();
    let gate = gated(&pair);
    pair.target.sql("INSERT INTO t VALUES (0, 2)");
    let mut caller = pair.target.connect();
    caller.batch_execute("SET cgpsync.lock_timeout = 0").expect("a setting");
    // The worker is at the first partition; this one has the second and waits for whoever has a snapshot.
    let call = std::thread::spawn(move || {
        let error = caller
            .batch_execute("SELECT * FROM cgpsync_sync('t', '1', 1, source_table => 'gated')")
            .expect_err("it would wait for itself");
        error.as_db_error().expect("an error of the server").clone()
    });
    pair.source.until_at_gate(1);
    let mut other = pair.target.connect();
    let index = std::thread::spawn(move || other.batch_execute("CREATE INDEX CONCURRENTLY t_2_id ON t_2 (id)"));
    poll("it waits", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid'")
            == "1"
    });
    let since = Clock::start();
    drop(gate);
    let error = call.join().expect("a thread");
    let took = since.elapsed();
    assert!(took < NOTICED, "{took:?}");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("CALL cgpsync")),
        "{error:?}"
    );
    index.join().expect("a thread").expect("an index");
    assert_eq!(
        pair.target
            .text("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_2_id'::regclass"),
        "t"
    );
    pair.all_gone();
}

#[test]
fn an_index_that_is_built_concurrently_is_never_ended_for_a_run() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (id int)");
    pair.both("INSERT INTO t SELECT generate_series(1, 100)");
    pair.target.sql(&format!(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM {GATE}; RETURN i; END $$"
    ));
    let gate = pair.target.close_gate();
    let mut other = pair.target.connect();
    let index = std::thread::spawn(move || other.batch_execute("CREATE INDEX CONCURRENTLY t_slow ON t (slow(id))"));
    pair.target.until_at_gate(1);
    // It has the table, and will wait for all who have a snapshot by then. The worker waits for it.
    pair.target.sql("SELECT cgpsync_start('t', '1')");
    poll("the worker waits", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'")
            == "1"
    });
    drop(gate);
    index.join().expect("a thread").expect("an index");
    pair.target.sql("SELECT count(*) FROM cgpsync_wait(1)");
    assert_eq!(
        pair.target
            .text("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_slow'::regclass"),
        "t"
    );
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "done");
}

#[test]
fn a_run_starts_whatever_transactions_are_by_default() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql(
        "ALTER ROLE postgres SET default_transaction_isolation = 'serializable';
         ALTER ROLE postgres SET default_transaction_read_only = on;
         ALTER ROLE postgres SET default_transaction_deferrable = on",
    );
    // Such a transaction waits for all others that are serializable and may write; this is one.
    let mut client = pair.target.connect();
    client
        .batch_execute("SET statement_timeout = '15s'; BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE NOT DEFERRABLE")
        .expect("a transaction");
    let units = pair.sync_as(&mut client, "'persons', '20170101'").expect("a sync");
    assert_eq!(units.len(), 1);
}

#[test]
fn who_drops_the_extension_does_not_wait_for_a_run_which_says_what_ended_it() {
    let pair = Pair::new();
    let _gate = gated(&pair);
    pair.target.sql("INSERT INTO t VALUES (7, 1)");
    let run = at_the_gate(&pair);
    let mut client = pair.target.connect();
    client
        .batch_execute("SET statement_timeout = '15s'; DROP EXTENSION cgpsync CASCADE")
        .expect("it is dropped");
    let error = run.join().expect_err("there is nothing to record it in");
    // The call may not have looked at its run before.
    assert!(
        error.contains("was dropped while it was at work") || error.contains("is not installed"),
        "{error}"
    );
    pair.all_gone();
    assert_eq!(pair.target.text("SELECT string_agg(id::text, ',') FROM t"), "7");
}
