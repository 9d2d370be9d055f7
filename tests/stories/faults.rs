//! Networks, sources and servers that die in the middle: a partition is the old one or the complete new one.

use crate::support::cluster::kill;
use crate::support::proxy::Proxy;
use crate::support::{Background, Pair, SOON, poll};
use std::time::Duration;

fn big(pair: &Pair) {
    pair.both("CREATE TABLE big (i int, t text)");
    pair.source
        .sql("INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 60000) g");
    pair.target.sql("INSERT INTO big VALUES (0, 'old')");
}

/// A sync of big from a source that takes a minute for it, in the middle of loading.
fn caught_copying(pair: &Pair) -> Background {
    pair.source
        .sql("CREATE VIEW slow AS SELECT i, t || COALESCE(pg_sleep(0.001)::text, '') AS t FROM big");
    let run = pair.sync_in_background("'big', '20170101', source_table => 'slow'");
    pair.until_copying();
    run
}

fn assert_old(pair: &Pair) {
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big"), "old");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
}

#[test]
fn a_connection_cut_anywhere_never_passes_for_the_end_of_the_data() {
    let pair = Pair::new();
    big(&pair);
    let proxy = Proxy::start(pair.source.port);
    pair.create_server("flaky", proxy.port);
    for bytes in [10_000, 300_000, 5_000_000, 30_000_000] {
        proxy.cut_after(bytes);
        let error = pair
            .sync("'big', '20170101', source => 'flaky'")
            .expect_err("the connection breaks");
        assert_eq!(&error.code().code()[..2], "08", "{error:?}");
        assert_old(&pair);
        proxy.heal();
    }
    pair.sync("'big', '20170101', source => 'flaky'")
        .expect("the network is back");
    pair.same_rows("big", "true");
}

#[test]
fn a_source_error_in_mid_stream_rolls_the_unit_back() {
    let pair = Pair::new();
    big(&pair);
    // The last row cannot be computed.
    pair.source
        .sql("CREATE VIEW bad AS SELECT i, repeat('y', 1000 / (60000 - i)) AS t FROM big ORDER BY i");
    let error = pair
        .sync("'big', '20170101', source_table => 'bad'")
        .expect_err("a division by zero");
    assert_eq!(error.code().code(), "22012");
    assert!(
        error.detail().is_some_and(|d| d.contains("division by zero")),
        "{error:?}"
    );
    assert_old(&pair);
}

/// Where there is no first row, the end or the error arrives together with the answer to the COPY.
#[test]
fn an_end_or_error_before_the_first_row_is_noticed_in_either_format() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (i int); CREATE VIEW bad AS SELECT 1 / (g - 1) AS i FROM generate_series(1, 9) g");
    for (here, format) in [("int", "binary"), ("bigint", "text")] {
        pair.target.sql(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (i {here}); INSERT INTO t VALUES (1)"
        ));
        let error = pair
            .sync("'t', '20170101', source_table => 'bad'")
            .expect_err("a division by zero");
        assert_eq!(error.code().code(), "22012", "{format}: {error:?}");
        assert_eq!(
            pair.target.text("SELECT string_agg(i::text, ',') FROM t"),
            "1",
            "{format}"
        );
        pair.copied("'t', '20170101'");
        assert_eq!(pair.target.text("SELECT count(*) FROM t"), "0", "{format}");
        let format_used = "SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1";
        assert_eq!(pair.target.text(format_used), format);
    }
}

#[test]
fn notices_of_the_source_between_rows_do_no_harm() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE FUNCTION loud(i int) RETURNS int LANGUAGE plpgsql AS
           $$ BEGIN RAISE WARNING '%', repeat('row ', i); SET application_name = 'loud'; RETURN i; END $$;
         CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 500);
         CREATE VIEW noisy AS SELECT loud(i) AS i FROM t; CREATE VIEW silent AS SELECT i FROM t WHERE loud(i) < 0",
    );
    for here in ["int", "bigint"] {
        pair.target
            .sql(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (i {here})"));
        pair.copied("'t', '20170101', source_table => 'noisy'");
        pair.same("SELECT count(*) || ' ' || sum(i) FROM t");
        pair.copied("'t', '20170101', source_table => 'silent'");
        assert_eq!(pair.target.text("SELECT count(*) FROM t"), "0");
    }
}

#[test]
fn a_source_session_killed_in_mid_copy_is_an_error() {
    let pair = Pair::with("", "cgpsync.max_retries = 0");
    big(&pair);
    let run = caught_copying(&pair);
    pair.source
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'");
    let error = run.join().expect_err("terminated");
    assert!(error.starts_with("57P01") || error.starts_with("08"), "{error}");
    assert_old(&pair);
}

#[test]
fn a_source_server_that_crashes_is_an_error() {
    let mut pair = Pair::new();
    big(&pair);
    let run = caught_copying(&pair);
    pair.source.stop("QUIT");
    run.join().expect_err("the source is gone");
    assert_old(&pair);
}

#[test]
fn kill_9_of_a_worker_leaves_the_old_rows_and_the_next_call_finishes_the_job() {
    let pair = Pair::new();
    big(&pair);
    let run = caught_copying(&pair);
    let pid = pair
        .target
        .text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync worker'");
    kill("KILL", pid.parse().expect("a pid"));
    run.join().expect_err("the server restarts");
    // The postmaster throws everybody out and recovers.
    poll("the server has recovered", SOON, || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.target.connect())).is_ok()
    });
    assert_old(&pair);
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "running");
    pair.copied("'big', '20170101'");
    pair.same_rows("big", "true");
    let first = "SELECT r.status || ' ' || p.status || ' ' || r.error_message FROM cgpsync_run r JOIN cgpsync_run_partition p USING (run_id)
                 WHERE run_id = 1";
    // Whether it was begun is a note that a crash may swallow.
    assert!(
        [
            "failed failed the processes of the run are gone",
            "failed cancelled the processes of the run are gone"
        ]
        .contains(&pair.target.text(first).as_str())
    );
}

#[test]
fn a_trigger_that_skips_rows_is_not_a_complete_copy() {
    let pair = Pair::new();
    big(&pair);
    pair.target.sql(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.i = 7 THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER skip BEFORE INSERT ON big FOR EACH ROW EXECUTE FUNCTION skip()",
    );
    let error = pair.sync("'big', '20170101'").expect_err("a row is missing");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("60000 rows were sent and 59999 loaded")),
        "{error:?}"
    );
    assert_old(&pair);
}

#[test]
fn rows_outside_the_partition_are_refused() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k int) PARTITION BY RANGE (k); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    );
    // The same range over there, but the rows are changed on the way by nobody; a source that lies is played by a rule-less view.
    pair.source.sql("CREATE VIEW lies AS SELECT 5 AS k UNION ALL SELECT 50");
    pair.target.sql("CREATE TABLE u (k int CHECK (k < 10))");
    let error = pair
        .sync("'u', '5', source_table => 'lies'")
        .expect_err("a row does not fit");
    assert_eq!(error.code().code(), "23514");
}

/// The worker waits for as long as the story holds a lock.
const PATIENT: &str = "cgpsync.lock_timeout = '1min'";

/// Holds the target's first partition for a while, so that the source can change between the run's snapshot and its COPY.
fn run_behind_a_lock(pair: &Pair, change: &str) -> Result<usize, String> {
    let mut holder = pair.target.connect();
    holder.batch_execute("BEGIN; LOCK TABLE first").expect("a lock");
    let run = pair.sync_in_background("'halves', '100', 1");
    poll("the worker waits for the first partition", SOON, || {
        pair.target.text("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"
    });
    pair.source.sql(change);
    holder.batch_execute("COMMIT").expect("the end");
    run.join()
}

fn two_partitions(pair: &Pair) {
    pair.both(
        "CREATE TABLE halves (k int, t text) PARTITION BY RANGE (k);
         CREATE TABLE first PARTITION OF halves FOR VALUES FROM (0) TO (10);
         CREATE TABLE second PARTITION OF halves FOR VALUES FROM (10) TO (20)",
    );
    // The larger one goes first.
    pair.source.sql(
        "INSERT INTO halves SELECT g % 10, repeat('x', 100) FROM generate_series(1, 5000) g;
                     INSERT INTO halves VALUES (15, 'there'); ANALYZE halves",
    );
    pair.target.sql("INSERT INTO halves VALUES (15, 'old')");
}

#[test]
fn a_source_partition_reloaded_during_the_run_is_not_taken_for_empty() {
    let pair = Pair::with("", PATIENT);
    two_partitions(&pair);
    let error = run_behind_a_lock(
        &pair,
        "BEGIN; TRUNCATE second; INSERT INTO halves VALUES (15, 'new'); COMMIT",
    );
    let error = error.expect_err("the old snapshot sees nothing in the new file");
    assert!(error.starts_with("40001") && error.contains("second"), "{error}");
    assert_eq!(pair.target.text("SELECT t FROM second"), "old");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    pair.copied("'halves', '100', 1");
    pair.same_rows("halves", "true");
}

#[test]
fn a_source_partition_replaced_by_another_of_its_name_is_noticed() {
    let pair = Pair::with("", PATIENT);
    two_partitions(&pair);
    let swap = "CREATE TABLE fresh (k int, t text); INSERT INTO fresh VALUES (15, 'new');
                BEGIN; ALTER TABLE halves DETACH PARTITION second; ALTER TABLE second RENAME TO gone; ALTER TABLE fresh RENAME TO second;
                ALTER TABLE halves ATTACH PARTITION second FOR VALUES FROM (10) TO (20); COMMIT";
    let error = run_behind_a_lock(&pair, swap).expect_err("another table");
    assert!(error.starts_with("40001"), "{error}");
    assert_eq!(pair.target.text("SELECT t FROM second"), "old");
}

#[test]
fn a_partition_renamed_while_the_worker_waits_is_not_confused_with_its_successor() {
    let pair = Pair::with("", PATIENT);
    pair.both("CREATE TABLE n (i int)");
    pair.source.sql("INSERT INTO n VALUES (1)");
    pair.target
        .sql("INSERT INTO n VALUES (0); CREATE TABLE bystander (i int); INSERT INTO bystander VALUES (7)");
    let mut holder = pair.target.connect();
    holder.batch_execute("BEGIN; LOCK TABLE n").expect("a lock");
    let run = pair.sync_in_background("'n', '1'");
    poll("the worker waits", SOON, || {
        pair.target.text("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"
    });
    holder
        .batch_execute("ALTER TABLE n RENAME TO n_before; ALTER TABLE bystander RENAME TO n; COMMIT")
        .expect("a rename");
    let _ = run.join();
    assert_eq!(pair.target.text("SELECT i FROM n"), "7", "the bystander keeps its rows");
    let rows = pair.target.list("SELECT i FROM n_before");
    assert!(rows == ["0"] || rows == ["1"], "old or complete: {rows:?}");
}

#[test]
fn a_partition_detached_before_its_turn_keeps_its_rows() {
    let pair = Pair::with("", PATIENT);
    two_partitions(&pair);
    let mut holder = pair.target.connect();
    holder.batch_execute("BEGIN; LOCK TABLE first").expect("a lock");
    let run = pair.sync_in_background("'halves', '100', 1");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    poll("the worker waits for the first partition", SOON, || {
        pair.target.text(waiting) == "1"
    });
    let mut other = pair.target.connect();
    let detach = std::thread::spawn(move || other.batch_execute("ALTER TABLE halves DETACH PARTITION second"));
    poll("the change is done or waits too", SOON, || {
        detach.is_finished() || pair.target.text(waiting) == "2"
    });
    holder.batch_execute("COMMIT").expect("the end");
    let error = run.join().expect_err("one partition is none any more");
    assert!(error.starts_with("55006") && error.contains("second"), "{error}");
    detach.join().expect("the thread ends").expect("it is detached");
    assert_eq!(pair.target.text("SELECT t FROM second"), "old");
    pair.same_rows("first", "true");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
}

#[test]
fn many_small_runs_in_a_row_all_succeed() {
    let pair = Pair::new();
    pair.persons(1);
    let mut client = pair.target.connect();
    for _ in 0..40 {
        let units = pair.sync_as(&mut client, "'persons', '20170401', 4, since => '20170101'");
        assert_eq!(units.expect("the sync succeeds").len(), 4);
    }
}

/// The source is asked whether rows of a partition would have no place here. That question must leave no lock behind in the session that
/// holds the snapshot: a change that waits for it would hold up the workers, for which that session waits.
#[test]
fn a_change_of_the_source_that_waits_does_not_hold_up_the_run() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k int) PARTITION BY RANGE (k);
         CREATE TABLE wide PARTITION OF t FOR VALUES FROM (0) TO (30);
         INSERT INTO t SELECT g % 20 FROM generate_series(1, 1000) g",
    );
    pair.target.sql(
        "CREATE TABLE t (k int) PARTITION BY RANGE (k);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    );
    // The workers wait for the table until the change waits for its partition.
    let mut holder = pair.source.connect();
    holder.batch_execute("BEGIN; LOCK TABLE ONLY t").expect("a lock");
    let run = pair.sync_in_background("'t', '50'");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name";
    poll("the workers wait", SOON, || {
        pair.source.text(&format!("{waiting} LIKE 'cgpsync%'")) == "2"
    });
    let mut other = pair.source.connect();
    let change = std::thread::spawn(move || {
        other.batch_execute("SET lock_timeout = '15s'; ALTER TABLE wide SET (fillfactor = 50); TRUNCATE wide")
    });
    poll("the change is done or waits", SOON, || {
        change.is_finished() || pair.source.text(&format!("{waiting} NOT LIKE 'cgpsync%'")) == "1"
    });
    holder.batch_execute("COMMIT").expect("the end");
    poll("the run has ended", Duration::from_secs(10), || run.is_finished());
    change.join().expect("the thread ends").expect("the change is done");
}
