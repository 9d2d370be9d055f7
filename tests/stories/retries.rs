//! What may pass is tried again, and the rest is not; limits of both sides are kept.

use crate::support::clock::Clock;
use crate::support::proxy::Proxy;
use crate::support::{Background, Pair, SOON, poll};
use std::time::{Duration, Instant};

/// Attempts that follow one another fast enough for a story, and slowly enough for a restart.
const QUICK: &str = "cgpsync.retry_delay = '100ms'\ncgpsync.max_retry_delay = '500ms'\ncgpsync.max_retries = 400";

fn big(pair: &Pair) {
    pair.both("CREATE TABLE big (i int, t text)");
    pair.source
        .sql("INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g");
    pair.target.sql("INSERT INTO big VALUES (0, 'old')");
}

/// A sync of big that takes the source some twenty seconds, in the middle of it.
fn caught_copying(pair: &Pair) -> Background {
    pair.source.sql(
        "CREATE OR REPLACE VIEW slow AS
         SELECT i, t || COALESCE(pg_sleep(current_setting('story.pace')::float8)::text, '') AS t FROM big;
         ALTER ROLE postgres SET story.pace = '0.001'",
    );
    let run = pair.sync_in_background("'big', '20170101', source_table => 'slow'");
    pair.until_copying();
    run
}

/// Makes the view of a run that is under way faster for new sessions, and so for its next attempt.
fn hurry(pair: &Pair) {
    pair.source.sql("ALTER ROLE postgres SET story.pace = '0'");
}

fn attempts(pair: &Pair) -> i32 {
    let attempts = pair.target.text("SELECT max(attempts) FROM cgpsync_run_partition");
    attempts.parse().expect("a number")
}

fn run_message(pair: &Pair) -> String {
    pair.target
        .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
}

#[test]
fn a_lost_connection_is_tried_again_and_the_run_says_so() {
    let pair = Pair::with("", QUICK);
    big(&pair);
    let proxy = Proxy::start(pair.source.port);
    pair.create_server("flaky", proxy.port);
    proxy.cut_after(3_000_000);
    let run = pair.sync_in_background("'big', '20170101', source => 'flaky'");
    poll("an attempt has failed", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE status = 'pending' AND attempts > 0")
            != "0"
    });
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big"), "old");
    // Else the snapshot could be there still.
    poll("the source has noticed", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'")
            == "0"
    });
    proxy.heal();
    assert_eq!(run.join(), Ok(1));
    pair.same_rows("big", "true");
    assert!(attempts(&pair) > 1);
    let message = run_message(&pair);
    assert!(
        message.contains("big: attempt 1 failed: ") && message.contains("[08006]"),
        "{message}"
    );
    assert!(
        message.contains("snapshot was lost: partitions from here on are read in a new one"),
        "{message}"
    );
    let unit = pair
        .target
        .text("SELECT status || ' ' || message FROM cgpsync_run_partition");
    assert!(unit.starts_with("done attempt "), "{unit}");
}

#[test]
fn a_source_that_restarts_in_the_middle_does_not_fail_the_run() {
    let mut pair = Pair::with("", QUICK);
    pair.persons(2000);
    pair.source.sql(
        "CREATE VIEW slow AS SELECT id, name, born, note || COALESCE(pg_sleep(0.001)::text, '') AS note FROM persons",
    );
    let run = pair.sync_in_background("'persons', '20171231', 4, source_table => 'slow'");
    pair.until_copying();
    pair.source.stop("INT");
    pair.source.boot();
    assert_eq!(run.join(), Ok(12));
    pair.same_rows("persons", "true");
    assert!(attempts(&pair) > 1);
    let message = run_message(&pair);
    assert!(message.contains("read in a new one"), "{message}");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20171231");
}

#[test]
fn a_terminated_source_session_is_tried_again_and_a_cancelled_one_fails_at_once() {
    let pair = Pair::with("", QUICK);
    big(&pair);
    for (function, state) in [("pg_terminate_backend", None), ("pg_cancel_backend", Some("57014"))] {
        let run = caught_copying(&pair);
        hurry(&pair);
        pair.source.sql(&format!(
            "SELECT {function}(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND pid <> pg_backend_pid()"
        ));
        match state {
            None => assert_eq!(run.join(), Ok(1)),
            Some(state) => assert!(run.join().expect_err("cancelled there").starts_with(state)),
        }
    }
    let attempts = pair
        .target
        .list("SELECT attempts FROM cgpsync_run_partition ORDER BY run_id");
    assert_eq!(attempts, ["2", "1"]);
}

#[test]
fn when_the_holder_of_the_snapshot_is_lost_units_to_do_are_read_in_a_new_one() {
    let pair = Pair::with("", QUICK);
    pair.persons(1000);
    pair.source.sql(
        "CREATE VIEW slow AS SELECT id, name, born, note || COALESCE(pg_sleep(0.0005)::text, '') AS note FROM persons",
    );
    let run = pair.sync_in_background("'persons', '20171231', 2, source_table => 'slow'");
    pair.until_copying();
    let first = pair.target.text("SELECT snapshot FROM cgpsync_run");
    pair.source.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name ~ '^cgpsync run [0-9]+$' AND state = 'idle in transaction'",
    );
    pair.source
        .sql("UPDATE persons SET note = 'changed since' WHERE born >= '2017-12-01'");
    assert_eq!(run.join(), Ok(12));
    assert_ne!(pair.target.text("SELECT snapshot FROM cgpsync_run"), first);
    assert!(run_message(&pair).contains("read in a new one"));
    pair.same_rows("persons", "born < '2017-12-01'");
}

#[test]
fn an_outage_of_the_source_costs_units_that_were_not_begun_no_attempt() {
    let mut pair = Pair::with("", QUICK);
    pair.both(
        "CREATE TABLE many (k int, t text) PARTITION BY RANGE (k);
         DO $$ BEGIN FOR i IN 0..59 LOOP
           EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', i, i, i + 1); END LOOP; END $$",
    );
    pair.source.sql(
        "INSERT INTO many SELECT g % 60, g FROM generate_series(1, 6000) g;
         CREATE VIEW slow AS SELECT k, t || COALESCE(pg_sleep(0.002)::text, '') AS t FROM many",
    );
    let run = pair.sync_in_background("'many', '60', 2, source_table => 'slow'");
    // Its few rows arrive at once when a partition ends, too shortly before the next one to be seen at the target.
    poll("the source is being read", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE 'COPY%'")
            != "0"
    });
    pair.source.stop("QUIT");
    poll("workers have noticed", SOON, || {
        run_message(&pair).matches("waiting for the source").count() > 4
    });
    pair.source.boot();
    assert_eq!(run.join(), Ok(60));
    pair.same_rows("many", "true");
    let begun_twice = pair
        .target
        .text("SELECT count(*) FILTER (WHERE attempts > 1) || ' ' || max(attempts) FROM cgpsync_run_partition");
    assert!(["1 2", "2 2"].contains(&begun_twice.as_str()), "{begun_twice}");
    assert!(run_message(&pair).lines().count() < 60, "{}", run_message(&pair));
}

#[test]
fn a_new_snapshot_is_not_read_with_the_plan_of_a_table_that_has_changed() {
    let pair = Pair::with("", QUICK);
    pair.persons(1000);
    let (mut holder, mut second) = (pair.source.connect(), pair.source.connect());
    let lock = "BEGIN; LOCK TABLE persons_201711 IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(lock).expect("a lock");
    // Has the lock next, so that the run still waits when the change is there and its sessions are ended.
    let second = std::thread::spawn(move || {
        second.batch_execute(lock).expect("a lock");
        second
    });
    let waiting = |processes: &str| {
        poll("all wait for the lock", SOON, || {
            pair.source.text("SELECT count(*) FROM pg_locks WHERE NOT granted") == processes
        });
    };
    waiting("1");
    let run = pair.sync_in_background("'persons', '20171231', 1");
    waiting("2");
    // What an administrator does while the run waits: another table in a partition's place, and the run's sessions ended.
    holder
        .batch_execute(
            "ALTER TABLE persons DETACH PARTITION persons_201711;
             CREATE TABLE persons_fixed PARTITION OF persons FOR VALUES FROM ('2017-11-01') TO ('2017-12-01'); COMMIT",
        )
        .expect("a change");
    let mut second = second.join().expect("the thread ends");
    second
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'; COMMIT",
        )
        .expect("the end of the run's sessions");
    let error = run.join().expect_err("it has changed");
    assert!(error.starts_with("55006"), "{error}");
    // Those that were still to do, of which that one is the first.
    assert_eq!(
        pair.target.list(
            "SELECT partition || ': ' || error_message FROM cgpsync_run_partition WHERE status = 'failed' ORDER BY 1 LIMIT 1"
        ),
        ["persons_201711: the connection that held the run's snapshot was lost, and the source table has changed since"]
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    pair.sync("'persons', '20171231'").expect("it plans anew");
    pair.same_rows("persons", "true");
}

#[test]
fn no_more_retries_than_allowed_and_none_for_what_will_not_pass() {
    let pair = Pair::with("", "cgpsync.retry_delay = '10ms'\ncgpsync.max_retries = 2");
    pair.persons(5);
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT * FROM persons_201701")
        .expect("a reader");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.lock_timeout = '50ms'")
        .expect("a setting");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101', replace => 'truncate'")
        .expect_err("locked");
    assert_eq!(error.code().code(), "55P03");
    assert!(error.detail().is_some_and(|d| d.contains("attempt 3")), "{error:?}");
    assert_eq!(attempts(&pair), 3);
    reader.batch_execute("COMMIT").expect("the end");
    pair.target
        .sql("ALTER TABLE persons_201702 ADD CONSTRAINT never CHECK (id < 0)");
    pair.sync("'persons', '20170201'").expect_err("a constraint");
    assert_eq!(
        pair.target
            .text("SELECT attempts FROM cgpsync_run_partition ORDER BY run_id DESC, status = 'failed' DESC LIMIT 1"),
        "1"
    );
}

#[test]
fn a_long_reader_delays_a_truncation_and_nobody_waits_behind_the_sync_for_long() {
    let pair = Pair::with("", QUICK);
    pair.persons(5);
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT * FROM persons_201701")
        .expect("a reader");
    pair.target
        .sql("ALTER ROLE postgres SET cgpsync.lock_timeout = '200ms'");
    let run = pair.sync_in_background("'persons', '20170201', replace => 'truncate'");
    poll("it has tried twice", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE attempts > 2")
            == "1"
    });
    let begun = Clock::start();
    assert_eq!(pair.target.text("SELECT count(*) FROM persons_201701"), "0");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    poll("the others go on", SOON, || {
        pair.target
            .text("SELECT status FROM cgpsync_run_partition WHERE partition = 'persons_201702'")
            == "done"
    });
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    pair.same_rows("persons", "born < '2017-03-01'");
}

#[test]
fn a_wrong_address_is_an_error_at_once_and_a_full_source_is_waited_for() {
    let pair = Pair::with("max_connections = 10\nsuperuser_reserved_connections = 0", QUICK);
    pair.persons(5);
    pair.create_server("nowhere", 1);
    let error = pair
        .sync("'persons', '20170101', source => 'nowhere'")
        .expect_err("nobody there");
    assert_eq!(error.code().code(), "08001", "{error:?}");
    assert_eq!(run_message(&pair), "", "not tried again");
    let mut crowd = Vec::new();
    poll("the source is full", SOON, || {
        crowd.extend(pair.source.try_connect());
        crowd.len() == 10
    });
    let run = pair.sync_in_background("'persons', '20170101', source => 'src'");
    poll("planning was tried", SOON, || {
        pair.target
            .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
            .contains("planning: attempt 1 failed")
    });
    crowd.clear();
    assert_eq!(run.join(), Ok(1));
}

#[test]
fn with_fewer_connections_on_the_source_than_asked_for_it_goes_on_and_says_so() {
    let pair = Pair::with("", QUICK);
    pair.persons(300);
    pair.source.sql(
        "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 3;
         CREATE VIEW slow AS SELECT id, name, born, note || COALESCE(pg_sleep(0.0005)::text, '') AS note FROM persons;
         GRANT SELECT ON persons, slow TO few",
    );
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'few', SET password 'few')");
    assert_eq!(
        pair.copied("'persons', '20171231', 6, source_table => 'slow'").len(),
        12
    );
    pair.same_rows("persons", "true");
    let message = run_message(&pair);
    assert!(
        message.contains("running with a worker less: ") && message.contains("too many connections for role"),
        "{message}"
    );
}

#[test]
fn a_run_keeps_to_its_rate_and_its_workers_to_the_cap() {
    let pair = Pair::with("", "cgpsync.max_rate = '4MB'");
    pair.both("CREATE TABLE big (i int, t text) PARTITION BY RANGE (i); CREATE TABLE big_1 PARTITION OF big FOR VALUES FROM (0) TO (5000);
               CREATE TABLE big_2 PARTITION OF big FOR VALUES FROM (5000) TO (10000)");
    pair.source
        .sql("INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(0, 9999) g");
    let begun = Instant::now();
    pair.copied("'big', '20000', 2");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(2000), "10 MB came in {took:?}");
    pair.same_rows("big", "true");
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("SET cgpsync.max_parallelism = 1; SET cgpsync.max_rate = 0")
        .expect("settings");
    pair.sync_as(&mut client, "'big', '20000', 4").expect("it runs");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("parallelism is 1, not 4"), "{notices}");
    assert_eq!(
        pair.target
            .text("SELECT parallelism FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
        "1"
    );
    pair.target.sql("CREATE ROLE plain LOGIN");
    let mut plain = pair.target.connect_as("plain");
    plain
        .batch_execute("SELECT cgpsync_prune()")
        .expect("the library is loaded");
    assert!(
        plain.batch_execute("SET cgpsync.max_parallelism = 9").is_err(),
        "the cap is the administrator's"
    );
}
