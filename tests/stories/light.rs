//! What a run holds on the source: a snapshot, and locks of what is being read just now.

use crate::support::{Pair, SOON, poll};
use postgres::Client;

/// Three days, of which the first is the biggest and so the first to be copied; the second is locked over there, so that a run waits for it.
fn days(pair: &Pair) -> Client {
    pair.both(
        "CREATE TABLE days (id int, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2017-01-01') TO ('2017-01-02');
         CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2017-01-02') TO ('2017-01-03');
         CREATE TABLE days_3 PARTITION OF days FOR VALUES FROM ('2017-01-03') TO ('2017-01-04')",
    );
    pair.source.sql(
        "INSERT INTO days SELECT g, '2017-01-01' FROM generate_series(1, 9000) g;
         INSERT INTO days SELECT g, '2017-01-02' FROM generate_series(1, 6000) g;
         INSERT INTO days SELECT g, '2017-01-03' FROM generate_series(1, 3000) g; ANALYZE days",
    );
    let mut other = pair.source.connect();
    other.batch_execute("BEGIN; LOCK TABLE days_2").expect("a lock");
    other
}

fn until_it_waits_over_there(pair: &Pair) {
    poll("it waits for the second day", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'days_2'::regclass")
            == "1"
    });
}

/// Locks that sessions of ours have over there.
fn held(pair: &Pair) -> String {
    pair.source.text(
        "SELECT string_agg(DISTINCT a.application_name || ' ' || l.relation::regclass, ', ')
         FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE a.application_name LIKE 'cgpsync%' AND l.granted AND l.locktype = 'relation'",
    )
}

#[test]
fn a_partition_that_is_done_can_be_truncated_detached_or_dropped_over_there() {
    for change in [
        "TRUNCATE days_1",
        "ALTER TABLE days DETACH PARTITION days_1; DROP TABLE days_1",
        "DROP TABLE days_1",
        "ALTER TABLE days_1 SET (fillfactor = 50)",
    ] {
        let pair = Pair::new();
        let mut other = days(&pair);
        let run = pair.sync_in_background("'days', '20170103', 1");
        until_it_waits_over_there(&pair);
        assert_eq!(held(&pair), "", "{change}");
        pair.source.sql(&format!("SET lock_timeout = '10s'; {change}"));
        assert!(!run.is_finished());
        other.batch_execute("ROLLBACK").expect("the end");
        assert_eq!(run.join(), Ok(3), "{change}");
        assert_eq!(pair.target.text("SELECT count(*) FROM days"), "18000", "{change}");
    }
}

#[test]
fn the_runs_snapshot_ends_when_the_last_partition_has_begun() {
    let pair = Pair::new();
    drop(days(&pair));
    pair.target.sql("ALTER ROLE postgres SET cgpsync.max_rate = '40kB'");
    let run = pair.sync_in_background("'days', '20170103', 2");
    poll("nothing is left to begin", SOON, || {
        pair.target
            .text("SELECT count(*) FILTER (WHERE status = 'pending') || ' ' || count(*) FROM cgpsync_run_partition")
            == "0 3"
    });
    // Those that read, and no other one that keeps what they are in.
    poll("the session that held the snapshot is gone", SOON, || {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
        let copying = "SELECT count(*) FROM cgpsync_run_partition WHERE status = 'copying'";
        let (sessions, copying) = (pair.source.text(sessions), pair.target.text(copying));
        assert_ne!(copying, "0", "it is over");
        sessions == copying
    });
    assert_eq!(run.join(), Ok(3));
    pair.same_rows("days", "true");
}

#[test]
fn a_partition_that_is_tried_again_after_that_is_read_in_a_new_snapshot() {
    let pair = Pair::new();
    drop(days(&pair));
    pair.target.sql("ALTER ROLE postgres SET cgpsync.max_rate = '40kB'");
    let run = pair.sync_in_background("'days', '20170101', 1");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
    pair.until_copying();
    poll("the session that held the snapshot is gone", SOON, || {
        pair.source.text(sessions) == "1"
    });
    pair.source.sql("DELETE FROM days_1 WHERE id = 1");
    pair.source
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'");
    assert_eq!(run.join(), Ok(1));
    assert_eq!(pair.target.text("SELECT count(*) FROM days_1"), "8999");
    let message = pair.target.text("SELECT message FROM cgpsync_run");
    assert!(
        message.contains("had ended with the begin of the last partition") && message.contains("read in a new one"),
        "{message}"
    );
}

#[test]
fn a_source_that_has_changed_by_then_fails_that_partition_and_no_other() {
    let pair = Pair::new();
    drop(days(&pair));
    pair.target.sql("ALTER ROLE postgres SET cgpsync.max_rate = '40kB'");
    // The first day is not done before the other one has failed: whoever is done could copy that in the snapshot that it still has.
    let mut reader = pair.target.connect();
    reader.batch_execute("BEGIN; SELECT FROM days_1").expect("a reader");
    let run = pair.sync_in_background("'days', '20170102', 2");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
    pair.until_copying();
    // Two sessions alone may be the run's own and one worker's: each partition has its own by then.
    let reading = format!("{sessions} AND application_name ~ 'days_[12]$'");
    poll("the session that held the snapshot is gone", SOON, || {
        pair.source.text(&reading) == "2" && pair.source.text(sessions) == "2"
    });
    // A new day comes, as it does; one of the two is tried again, and the plan is not of this table.
    // Two statements sent as one are one transaction: the next attempt could come before its commit.
    pair.source
        .sql("CREATE TABLE days_4 PARTITION OF days FOR VALUES FROM ('2017-01-04') TO ('2017-01-05')");
    pair.source
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%days_2'");
    poll("the second day has failed", SOON, || {
        pair.target
            .text("SELECT status FROM cgpsync_run_partition WHERE partition = 'days_2'")
            == "failed"
    });
    reader.batch_execute("COMMIT").expect("the end");
    let error = run.join().expect_err("the second day");
    assert!(
        error.starts_with("55006") && error.contains("1 of 2 partitions"),
        "{error}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM days_1"), "9000");
    assert_eq!(pair.target.text("SELECT count(*) FROM days_2"), "0");
    pair.target.sql("ALTER ROLE postgres RESET cgpsync.max_rate");
    assert_eq!(pair.copied("'days', '20170102'"), ["days_2"]);
}

#[test]
fn verify_lets_go_of_each_partition_too() {
    let pair = Pair::new();
    let mut other = days(&pair);
    let mut client = pair.target.connect();
    let verify = std::thread::spawn(move || {
        let rows = client.query(
            "SELECT partition, error FROM cgpsync_verify('days', parallelism => 1)",
            &[],
        );
        rows.expect("a comparison").len()
    });
    until_it_waits_over_there(&pair);
    assert_eq!(held(&pair), "");
    pair.source.sql("SET lock_timeout = '10s'; TRUNCATE days_1");
    other.batch_execute("ROLLBACK").expect("the end");
    assert_eq!(verify.join().expect("a thread"), 3);
}

#[test]
fn whoever_locks_a_table_over_there_for_long_is_named() {
    let pair = Pair::new();
    let mut other = days(&pair);
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.lock_timeout = '300ms'; SET cgpsync.max_retries = 0")
        .expect("settings");
    let error = pair
        .sync_as(&mut client, "'days', '20170103', 1")
        .expect_err("the second day is locked");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    let holders = format!("Processes that hold a lock on it over there: {pid}.");
    assert!(detail.contains(&holders), "{detail}");
    let rows = client
        .query("SELECT error FROM cgpsync_verify('days') WHERE error IS NOT NULL", &[])
        .expect("the others are compared");
    assert!(rows[0].get::<_, String>(0).contains(&holders), "{rows:?}");
    assert_eq!(rows.len(), 1);
}
