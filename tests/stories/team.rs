//! One big partition is loaded by several processes, as one: all of it or nothing.

use crate::support::clock::Clock;
use crate::support::{Background, Pair, SOON, poll, swapped};

/// Rows of the source's big partition. Its pages are a tenth full, so that it is big without taking long.
const ROWS: u32 = 120_000;

const TABLE: &str = "CREATE TABLE big (id int NOT NULL, d date, t text, doubled int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (d);
     CREATE TABLE big_2017 PARTITION OF big FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')";

/// Both sides have the table, the target with an old row.
fn big(pair: &Pair) {
    pair.both(TABLE);
    pair.source.sql(&format!(
        "ALTER TABLE big_2017 SET (fillfactor = 10);
         INSERT INTO big SELECT g, date '2017-01-01' + g % 365, 'text of row ' || g FROM generate_series(1, {ROWS}) g"
    ));
    pair.target.sql("INSERT INTO big VALUES (0, '2017-01-01', 'old')");
}

fn assert_old(pair: &Pair) {
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big"), "old");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
}

/// How many processes loaded the partition `name` last.
fn processes(pair: &Pair, name: &str) -> i32 {
    let processes = pair.target.text(&format!(
        "SELECT processes FROM cgpsync_run_partition WHERE partition = '{name}' ORDER BY run_id DESC LIMIT 1"
    ));
    processes.parse().expect("a number")
}

/// Takes the big partition a quarter of a minute.
const SLOW: &str = "300kB";

/// A sync at a pace of `max_rate`, with all its processes at work.
fn caught_loading(pair: &Pair, max_rate: &str) -> Background {
    pair.target
        .sql(&format!("ALTER ROLE postgres SET cgpsync.max_rate = '{max_rate}'"));
    let run = pair.sync_in_background("'big', '20171231', 3");
    poll("everybody is loading", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 0")
            == "3"
    });
    run
}

#[test]
fn a_big_partition_is_loaded_by_as_many_as_are_free() {
    let pair = Pair::new();
    big(&pair);
    pair.both(
        "ALTER TABLE big ADD PRIMARY KEY (id, d); CREATE INDEX ON big (substr(t, 1, 20));
         CREATE INDEX big_2017_hash ON big_2017 USING hash (id)",
    );
    // Some values that are kept out of line, on pages of several processes.
    pair.both("ALTER TABLE big ALTER t SET STORAGE EXTERNAL");
    pair.source
        .sql("UPDATE big SET t = repeat(t, 300) WHERE id % 100 = 0; ANALYZE big");
    swapped::checks(&pair.target);
    pair.target.sql(
        "CREATE VIEW counters AS SELECT n_tup_ins, n_live_tup, n_dead_tup FROM pg_stat_all_tables WHERE relname = 'big_2017'",
    );
    pair.sync("'big', '20171231', 3").expect("a sync");
    pair.same_rows("big", "true");
    assert_eq!(processes(&pair, "big_2017"), 3);
    swapped::is_sound(&pair.target, "big_2017");
    // The old row was one that was inserted, too.
    assert_eq!(
        pair.target
            .text("SELECT concat_ws(' ', n_tup_ins, n_dead_tup) FROM counters"),
        format!("{} 0", ROWS + 1)
    );
    // Everything counts once, at any time.
    assert_eq!(pair.target.text("SELECT rows FROM cgpsync_run"), ROWS.to_string());
    assert!(!pair.target.log().contains("WARNING"), "{}", pair.target.log());
}

#[test]
fn each_of_them_counts_the_rows_of_other_hash_partitions_that_it_leaves_out() {
    let pair = Pair::with("", "track_activities = off");
    big(&pair);
    pair.target.sql(
        "CREATE TABLE hashed (id int NOT NULL, d date, t text) PARTITION BY HASH (id);
         CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    );
    pair.source
        .sql("ALTER TABLE big DETACH PARTITION big_2017; ALTER TABLE big_2017 DROP doubled");
    assert_eq!(pair.copied("'hashed', source_table => 'big_2017'"), ["hashed_0"]);
    assert!(processes(&pair, "hashed_0") > 1);
    pair.target
        .sql("CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1)");
    // Here one may be done before the other has a seat to give.
    pair.copied("'hashed', source_table => 'big_2017'");
    let figures = |table: &str| format!("SELECT count(*) || ' ' || sum(id) || ' ' || sum(length(t)) FROM {table}");
    assert_eq!(
        pair.target.text(&figures("hashed")),
        pair.source.text(&figures("big_2017"))
    );
}

#[test]
fn those_that_run_out_of_small_partitions_help_with_the_big_one() {
    let pair = Pair::with("", "cgpsync.max_rate = '500kB'");
    big(&pair);
    pair.both("CREATE TABLE big_2016 PARTITION OF big FOR VALUES FROM ('2016-01-01') TO ('2017-01-01')");
    pair.source
        .sql("INSERT INTO big SELECT g, date '2016-01-01', 'small' FROM generate_series(1, 100) g; ANALYZE big");
    pair.sync("'big', '20171231', 2").expect("a sync");
    pair.same_rows("big", "true");
    assert_eq!(processes(&pair, "big_2016"), 1);
    assert_eq!(processes(&pair, "big_2017"), 2);
}

#[test]
fn one_bad_row_in_any_piece_fails_the_partition_and_leaves_the_old_rows() {
    for bad in [1, ROWS / 2, ROWS] {
        let pair = Pair::new();
        big(&pair);
        pair.target.sql(&format!(
            "ALTER TABLE big ADD CONSTRAINT no_bad_row CHECK (id <> {bad})"
        ));
        let error = pair.sync("'big', '20171231', 3").expect_err("a bad row");
        assert_eq!(error.code().code(), "23514", "{error:?}");
        assert!(
            error
                .detail()
                .is_some_and(|d| d.contains("no_bad_row") && d.contains("COPY big_2017")),
            "{error:?}"
        );
        pair.all_gone_within_two_seconds(Clock::start());
        assert_old(&pair);
    }
}

#[test]
fn a_cancel_ends_all_of_them() {
    let pair = Pair::new();
    big(&pair);
    let run = caught_loading(&pair, SLOW);
    let start = Clock::start();
    pair.target.sql("SELECT cgpsync_cancel(max(run_id)) FROM cgpsync_run");
    pair.all_gone_within_two_seconds(start);
    let helpers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
    assert_eq!(pair.target.text(helpers), "0");
    assert!(run.join().is_err());
    assert_old(&pair);
}

#[test]
fn a_helper_that_is_terminated_ends_the_run_with_the_old_rows() {
    let pair = Pair::new();
    big(&pair);
    let run = caught_loading(&pair, SLOW);
    let start = Clock::start();
    pair.target
        .sql("SELECT pg_terminate_backend(max(pid)) FROM pg_stat_activity WHERE backend_type = 'parallel worker'");
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().is_err());
    assert_old(&pair);
}

#[test]
fn a_connection_that_one_of_them_loses_costs_an_attempt_of_all() {
    let pair = Pair::with("", "cgpsync.retry_delay = '100ms'");
    big(&pair);
    // More than sockets hold, so that a session that is lost is missed.
    pair.source
        .sql("ALTER TABLE big_2017 SET (fillfactor = 100); UPDATE big SET t = repeat(t, 40)");
    pair.source.sql("VACUUM FULL big");
    let run = caught_loading(&pair, "8MB");
    poll("a session is lost", SOON, || {
        pair.source.text(
            "SELECT pg_terminate_backend(max(pid)) FROM pg_stat_activity
             WHERE query LIKE 'COPY%' AND application_name LIKE 'cgpsync%' AND wait_event = 'ClientWrite'",
        ) == "t"
    });
    assert_eq!(run.join(), Ok(1));
    pair.same_rows("big", "true");
    assert_eq!(pair.target.text("SELECT attempts FROM cgpsync_run_partition"), "2");
}

#[test]
fn a_crash_leaves_the_old_rows() {
    let mut pair = Pair::new();
    big(&pair);
    let run = caught_loading(&pair, SLOW);
    pair.target.kill_postmaster(SOON);
    assert!(run.join().is_err());
    pair.target.boot();
    pair.target.sql("ALTER ROLE postgres RESET ALL");
    assert_old(&pair);
    pair.sync("'big', '20171231', 3").expect("a sync");
    pair.same_rows("big", "true");
}

#[test]
fn helpers_that_get_no_connection_are_done_without() {
    // So slow that nobody has left before all have tried to connect.
    let pair = Pair::with("", "cgpsync.max_rate = '1MB'");
    big(&pair);
    // For the coordinator, the worker and one more.
    pair.source.sql(
        "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 3; GRANT SELECT ON ALL TABLES IN SCHEMA public TO few",
    );
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'few', SET password 'few')");
    pair.sync("'big', '20171231', 4").expect("a sync");
    pair.same_rows("big", "true");
    assert_eq!(processes(&pair, "big_2017"), 2);
    let message = pair.target.text("SELECT message FROM cgpsync_run");
    assert!(
        message.contains("big_2017: loaded with a helper less: ") && message.contains("[53300]"),
        "{message}"
    );
}

#[test]
fn what_only_one_process_may_load_is_loaded_by_one() {
    for (what, sql) in [
        (
            "a trigger",
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER nothing BEFORE INSERT ON big_2017 FOR EACH ROW EXECUTE FUNCTION nothing()",
        ),
        (
            "a foreign key",
            "CREATE TABLE days (d date PRIMARY KEY); INSERT INTO days SELECT date '2017-01-01' + g FROM generate_series(0, 364) g;
             ALTER TABLE big ADD FOREIGN KEY (d) REFERENCES days",
        ),
        (
            "a check by a function that is not parallel safe",
            "CREATE FUNCTION fine(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
             ALTER TABLE big ADD CHECK (fine(id))",
        ),
        ("no parallel workers", "ALTER ROLE postgres SET max_parallel_workers = 0"),
    ] {
        let pair = Pair::new();
        big(&pair);
        pair.target.sql(sql);
        pair.sync("'big', '20171231', 3").expect(what);
        pair.same_rows("big", "true");
        assert_eq!(processes(&pair, "big_2017"), 1, "{what}");
    }
    let pair = Pair::with("", "wal_level = minimal\nmax_wal_senders = 0");
    big(&pair);
    pair.sync("'big', '20171231', 3").expect("a sync");
    pair.same_rows("big", "true");
    assert_eq!(processes(&pair, "big_2017"), 1, "wal_level = minimal");
    pair.sync("'big', '20171231', 3, replace => 'truncate', since => '20161231'")
        .expect("a sync");
    pair.same_rows("big", "true");
    assert_eq!(processes(&pair, "big_2017"), 1, "truncated");
}

#[test]
fn whether_one_process_must_load_it_is_told_from_all_that_a_row_sets_off() {
    let pair = Pair::new();
    big(&pair);
    pair.source.sql("ALTER TABLE big ADD a int[] DEFAULT '{1,2}'");
    pair.target.sql(
        "ALTER TABLE big ADD a int[]; CREATE SEQUENCE s; CREATE TABLE seen (v text);
         CREATE FUNCTION sees(v text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
           IF v LIKE '%000' THEN INSERT INTO public.seen VALUES (v); END IF; RETURN true; END $$;
         CREATE DOMAIN inner_one AS text CHECK (sees(VALUE)); CREATE DOMAIN outer_one AS inner_one;
         CREATE DOMAIN counted AS int CHECK (sees(VALUE::text)); CREATE DOMAIN small AS int CHECK (VALUE < 1000000)",
    );
    let check = |sql: &str| {
        (
            format!("ALTER TABLE big ADD CONSTRAINT c {sql}"),
            "ALTER TABLE big DROP CONSTRAINT c".to_owned(),
        )
    };
    let kind = |column: &str, kind: &str, before: &str| {
        let alter = |kind: &str| format!("ALTER TABLE big ALTER {column} TYPE {kind}");
        (alter(kind), alter(before))
    };
    for ((change, undo), is_shared) in [
        // Safe, and said to be.
        (
            check("CHECK (length(t) > 0 AND d >= '2017-01-01' AND (id IN (0, 1) OR id <> -1 OR a IS NULL))"),
            true,
        ),
        (
            check("CHECK (CASE WHEN id > 5 THEN t ~ 'text' ELSE COALESCE(t, 'x') <> '' END)"),
            true,
        ),
        (kind("a", "small[]", "int[]"), true),
        // A function that the server was delivered with, of which pg_depend knows nothing.
        (check("CHECK (nextval('s') > 0)"), false),
        (kind("t", "outer_one", "text"), false),
        (kind("a", "counted[]", "int[]"), false),
        // What a conversion by way of text calls is not named.
        (check("CHECK (id::text <> 'x')"), false),
    ] {
        pair.target.sql(&change);
        pair.sync("'big', '20171231', 3, since => '20161231'").expect(&change);
        pair.same("SELECT count(*) || ' ' || sum(id) || ' ' || sum(length(t)) || ' ' || sum(a[2]) FROM big");
        assert_eq!(processes(&pair, "big_2017") > 1, is_shared, "{change}");
        pair.target.sql(&undo);
    }
}

#[test]
fn a_helper_that_gets_no_lock_over_there_fails_the_partition_and_nobody_hangs() {
    let pair = Pair::with(
        "",
        "cgpsync.max_rate = '400kB'\ncgpsync.max_retries = 0\ncgpsync.lock_timeout = '500ms'",
    );
    big(&pair);
    pair.both("CREATE TABLE big_2016 PARTITION OF big FOR VALUES FROM ('2016-01-01') TO ('2017-01-01')");
    pair.source
        .sql("INSERT INTO big SELECT 1, '2016-05-05', 'x'; ANALYZE big");
    // The small partition is done when this reader lets it, and its seat is a helper's then.
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM big_2016")
        .expect("a reader");
    let run = pair.sync_in_background("'big', '20171231', 2, since => '20151231'");
    pair.until_copying();
    let mut other = pair.source.connect();
    let lock = std::thread::spawn(move || other.batch_execute("BEGIN; LOCK TABLE big_2017; COMMIT"));
    poll("it waits behind the worker", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'big_2017'::regclass")
            == "1"
    });
    reader.batch_execute("COMMIT").expect("the end");
    poll("the run has ended", SOON, || run.is_finished());
    let error = run.join().expect_err("nobody gets behind that lock");
    assert!(error.starts_with("55P03"), "{error}");
    pair.all_gone();
    lock.join().expect("a thread").expect("a lock");
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big_2017"), "old");
}

#[test]
fn a_trigger_that_comes_while_the_partition_is_waited_for_is_not_run_by_several() {
    let pair = Pair::new();
    big(&pair);
    let mut other = pair.target.connect();
    other
        .batch_execute(
            "CREATE TABLE seen (v int);
             CREATE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$;
             BEGIN; CREATE TRIGGER sees BEFORE INSERT ON big_2017 FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION sees()",
        )
        .expect("a trigger");
    let run = pair.sync_in_background("'big', '20171231', 3");
    poll("it is waited for", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'big_2017'::regclass")
            == "1"
    });
    other.batch_execute("COMMIT").expect("the end");
    let error = run.join().expect_err("it is another partition now");
    assert!(error.starts_with("55006"), "{error}");
    assert_old(&pair);
    assert_eq!(pair.copied("'big', '20171231', 3"), ["big_2017"]);
    assert_eq!(pair.target.text("SELECT string_agg(v::text, ',') FROM seen"), "5");
}

#[test]
fn a_partition_that_is_nearly_all_long_values_is_big_too() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE long (id int, d date, filler char(900), t text) PARTITION BY RANGE (d);
         CREATE TABLE long_2017 PARTITION OF long FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')",
    );
    pair.source.sql(
        "ALTER TABLE long_2017 ALTER t SET STORAGE EXTERNAL;
         INSERT INTO long SELECT g, '2017-01-01', 'x', repeat(md5(g::text), 4000) FROM generate_series(1, 600) g; ANALYZE long",
    );
    // Less than a hundredth of it is in the table itself.
    assert_eq!(pair.source.text("SELECT pg_relation_size('long_2017') < 1000000"), "t");
    pair.sync("'long', '20171231', 3").expect("a sync");
    pair.same_rows("long", "true");
    assert!(processes(&pair, "long_2017") > 1);
}

#[test]
fn what_gets_defaults_of_the_table_instead_of_its_own_is_loaded_by_one() {
    let pair = Pair::new();
    big(&pair);
    pair.target
        .sql("ALTER TABLE big ADD x text DEFAULT 'of big'; ALTER TABLE big_2017 ALTER x DROP DEFAULT");
    pair.sync("'big', '20171231', 3").expect("a sync");
    pair.same("SELECT count(*) || ' ' || sum(doubled) || ' ' || sum(length(t)) FROM big");
    assert_eq!(
        pair.target.text("SELECT count(*) FROM big WHERE x = 'of big'"),
        ROWS.to_string()
    );
    assert_eq!(processes(&pair, "big_2017"), 1);
}

#[test]
fn a_slice_of_a_table_that_is_partitioned_otherwise_is_read_by_ranges_of_its_key() {
    for (column, value, ends) in [
        (
            "k date",
            "date '2017-01-01' + g % 365",
            ["2017-01-01", "2017-06-15", "2018-01-01"],
        ),
        (
            "k timestamptz",
            "timestamptz '2017-01-01' + g % 365 * interval '1 day 1 minute'",
            ["2017-01-01", "2017-06-15 12:00", "2018-01-05"],
        ),
        ("k bigint", "g", ["0", "50000", "1000000"]),
        ("k smallint", "g % 30000", ["-10", "10000", "30001"]),
    ] {
        let pair = Pair::new();
        let [from, middle, to] = ends;
        pair.both(&format!("CREATE TABLE big ({column}, t text) PARTITION BY RANGE (k)"));
        pair.target.sql(&format!(
            "CREATE TABLE big_all PARTITION OF big FOR VALUES FROM ('{from}') TO ('{to}')"
        ));
        pair.source.sql(&format!(
            "CREATE TABLE big_1 PARTITION OF big FOR VALUES FROM ('{from}') TO ('{middle}') WITH (fillfactor = 10);
             CREATE TABLE big_2 PARTITION OF big FOR VALUES FROM ('{middle}') TO ('{to}') WITH (fillfactor = 10);
             INSERT INTO big SELECT {value}, 'text of row ' || g FROM generate_series(1, 150000) g;
             ANALYZE big"
        ));
        pair.sync(&format!("'big', '{to}', 3")).expect(column);
        pair.same_rows("big", "true");
        assert!(processes(&pair, "big_all") > 1, "{column}");
    }
}
