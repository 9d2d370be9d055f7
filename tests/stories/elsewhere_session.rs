//! The one session of a run on a target's server that lasts as long as the run: what fails in it is over, and when it is lost another takes its place.

use crate::support::cluster::Cluster;
use crate::support::trio::Trio;
use crate::support::{SOON, poll};

/// The session that holds the run's lock looks at the table when the run gets another snapshot. Whatever that look meets, it leaves no transaction
/// behind, which would hold back VACUUM over there, and be in the way of statements that come later.
#[test]
fn a_look_that_has_failed_is_over() {
    let trio = Trio::with("", "cgpsync.max_rate = '1MB'\ncgpsync.max_retries = 1000", "");
    trio.both(
        "CREATE TABLE t (i int, v text) PARTITION BY RANGE (i); CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10000);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10000) TO (20000)",
    );
    let pair = &trio.pair;
    pair.source.sql(
        "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g; INSERT INTO t VALUES (10000, 'last')",
    );
    pair.source.sql("ANALYZE t");
    trio.attach("t");
    let run = pair.sync_in_background("'t', '20000', 1, source => 'src'");
    poll("the first partition is copied", SOON, || {
        trio.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'") == "1"
    });
    pair.source.sql("ALTER TABLE t RENAME TO away");
    pair.source.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%' AND state = 'idle in transaction'",
    );
    poll("a look has failed, and is over", SOON, || {
        trio.text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%' AND state = 'idle' AND query = 'ROLLBACK'") == "1"
    });
    pair.source.sql("ALTER TABLE away RENAME TO t");
    run.join().expect("the run succeeds");
    trio.same_rows("t", "true");
}

/// The source has dropped all but the last of three partitions.
fn two_vanished() -> Trio {
    let trio = Trio::new();
    trio.both(
        "CREATE TABLE t (i int, v text) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20); CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20) TO (30);
         INSERT INTO t SELECT g, 'row' FROM generate_series(0, 29) g",
    );
    trio.pair.source.sql("DROP TABLE t_1, t_2");
    trio.attach("t");
    trio
}

const DROPPING: &str = "'t', '29', 1, since => '0', source => 'src', vanished => 'drop'";
const PARTITIONS: &str =
    "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1) FROM pg_inherits WHERE inhparent = 't'::regclass";

#[test]
fn what_cannot_be_dropped_keeps_nothing_else_from_being_done() {
    let trio = two_vanished();
    trio.there.sql("CREATE VIEW v AS SELECT * FROM t_1");
    let error = trio.pair.sync(DROPPING).expect_err("a view depends on it");
    assert_eq!(error.code().code(), "2BP01", "{error:?}");
    assert_eq!(trio.text(PARTITIONS), "t_1 t_3", "{error:?}");
    let remarks = trio.pair.target.text("SELECT message FROM cgpsync_run");
    assert!(!remarks.contains("not analyzed"), "{remarks}");
    trio.there.sql("DROP VIEW v");
    trio.pair.copied(DROPPING);
    assert_eq!(trio.text(PARTITIONS), "t_3");
}

#[test]
fn a_session_that_is_lost_before_the_last_drop_is_replaced() {
    let trio = two_vanished();
    let mut holder = trio.there.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE t_2 IN ACCESS SHARE MODE")
        .expect("a lock");
    let run = trio.pair.sync_in_background(DROPPING);
    let of_run = "FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
    poll("the partition is to be dropped", SOON, || {
        trio.text(&format!("SELECT count(*) {of_run} AND query LIKE '%LOCK TABLE%t_2%'")) == "1"
    });
    assert_eq!(
        trio.text(&format!("SELECT bool_and(pg_terminate_backend(pid)) {of_run}")),
        "t"
    );
    holder.batch_execute("COMMIT").expect("the end");
    run.join().expect("the run succeeds");
    assert_eq!(trio.text(PARTITIONS), "t_3");
}

/// Nobody has failed then but that session, and it counts as nobody's attempt.
#[test]
fn what_begins_after_it_was_replaced_relies_on_its_successor() {
    let trio = Trio::with("", "cgpsync.max_rate = '1MB'\ncgpsync.max_retries = 0", "");
    trio.both(
        "CREATE TABLE t (i int, v text) PARTITION BY RANGE (i); CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10000);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10000) TO (20000)",
    );
    trio.pair.source.sql(
        "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g; INSERT INTO t VALUES (10000, 'last')",
    );
    trio.pair.source.sql("ANALYZE t");
    trio.attach("t");
    let run = trio.pair.sync_in_background("'t', '20000', 1, source => 'src'");
    poll("the first partition is copied", SOON, || {
        trio.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'") == "1"
    });
    let holder = "FROM pg_stat_activity WHERE application_name ~ '^cgpsync run \\d+$' AND state = 'idle'";
    assert_eq!(
        trio.text(&format!("SELECT bool_and(pg_terminate_backend(pid)) {holder}")),
        "t"
    );
    run.join().expect("the run succeeds");
    trio.same_rows("t", "true");
}

/// Over there a statement goes on for as long as it takes. Its server looks now and then whether anybody still wants to know.
#[test]
fn a_statement_over_there_does_not_outlive_its_client_for_long() {
    let mut trio = Trio::new();
    trio.both("CREATE TABLE t (i int)");
    trio.pair.source.sql("INSERT INTO t VALUES (1)");
    trio.there.sql(
        "CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN i; END $$;
         CREATE INDEX ON t (slow(i))",
    );
    trio.attach("t");
    let run = trio.pair.sync_in_background("'t', '1', source => 'src'");
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
    poll("the index is built", SOON, || {
        trio.text(&format!("{ours} AND wait_event = 'PgSleep'")) == "1"
    });
    trio.pair.target.stop("QUIT");
    run.join().expect_err("the server has gone");
    poll("nobody is left over there", SOON, || trio.text(ours) == "0");
}

/// Who maintains catalogs, as by VACUUM FULL pg_class or REINDEX DATABASE, would wait for the load, and everybody else for him.
#[test]
fn a_load_keeps_no_catalog_locked() {
    let trio = Trio::with("", "cgpsync.max_rate = '1MB'", "");
    let columns = "i int, v text, note text";
    let partition = "PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10000)";
    trio.both(&format!("CREATE TABLE t ({columns} DEFAULT 'none') {partition}"));
    trio.there.sql("ALTER TABLE t_1 ALTER note SET DEFAULT 'its own'");
    trio.pair
        .source
        .sql("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 2000) g");
    trio.attach("t");
    let locked = "SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  JOIN pg_class c ON c.oid = l.relation
                  WHERE a.application_name LIKE 'cgpsync%' AND l.locktype = 'relation' AND c.relnamespace = 'pg_catalog'::regnamespace";
    for more in ["", ", columns => ARRAY['i', 'v']", ", replace => 'truncate'"] {
        let run = trio
            .pair
            .sync_in_background(&format!("'t', '10000', 1, source => 'src', since => '0'{more}"));
        trio.until_copying();
        assert_eq!(trio.text(locked), "", "{more}");
        assert_eq!(trio.pair.source.text(locked), "", "{more}");
        let mut other = trio.there.connect();
        for statement in ["SET lock_timeout = '10s'", "VACUUM FULL pg_class"] {
            other.batch_execute(statement).expect("nobody is waited for");
        }
        run.join().expect("the run succeeds");
    }
}

/// With four workers there are ten sessions, of which two find out which server they have reached.
#[test]
fn what_one_session_has_learned_of_a_server_no_other_one_asks() {
    let logged = "log_statement = 'all'";
    let trio = Trio::with(logged, "", logged);
    trio.create_persons(50);
    let synced = trio.pair.sync("'persons', '20180101', 4, source => 'src'");
    assert_eq!(synced.expect("the run succeeds").len(), 12);
    let times = |cluster: &Cluster, what: &str| cluster.log().matches(what).count();
    for cluster in [&trio.pair.source, &trio.there] {
        assert!(times(cluster, "statement: SHOW server_version") > 4);
        // The one of cgpsync_attach is the second on the target.
        let asked = times(cluster, "FROM pg_settings WHERE name IN");
        assert!((1..=2).contains(&asked), "{asked}");
    }
    // Settings are made once in a session, and what is asked of each partition is planned once.
    assert!(times(&trio.there, "statement: SAVEPOINT question; PREPARE cgpsync_describe") <= 4);
    assert_eq!(
        times(&trio.there, "statement: SAVEPOINT question; EXECUTE cgpsync_describe"),
        3 * 12
    );
    trio.same_rows("persons", "true");
}
