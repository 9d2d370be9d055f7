//! The source's tables change while a run is on: between two attempts of a unit, somebody detaches,
//! drops, truncates or attaches over there. The unit has the rows of the run's snapshot, or its old ones.

use crate::support::{Pair, SOON, fixture, poll};

/// Attempts that go on for as long as a story needs, and give the source's locks back soon.
const SHORT: &str = "cgpsync.lock_timeout = '50ms'\ncgpsync.max_retries = 1000";

/// Quarters there, months here: every month is a part of the table there. And a year that is divided
/// further over there.
fn scene(source_conf: &str) -> Pair {
    let pair = Pair::with(source_conf, SHORT);
    pair.source.sql(
        "CREATE TABLE t (k date, v int, w int) PARTITION BY RANGE (k);
         CREATE TABLE t_q1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-04-01');
         CREATE TABLE t_q2 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO ('2017-07-01');
         CREATE TABLE t_2018 PARTITION OF t FOR VALUES FROM ('2018-01-01') TO ('2019-01-01') PARTITION BY RANGE (k);
         CREATE TABLE t_2018a PARTITION OF t_2018 FOR VALUES FROM ('2018-01-01') TO ('2018-07-01');
         CREATE TABLE t_2018b PARTITION OF t_2018 FOR VALUES FROM ('2018-07-01') TO ('2019-01-01');
         CREATE TABLE aside (k date, v int, w int); INSERT INTO aside VALUES ('2017-08-01', 1, 1);
         INSERT INTO t SELECT date '2017-01-05', g, 1 FROM generate_series(1, 20) g;
         INSERT INTO t SELECT date '2018-01-05' + 200 * (g % 2), g, 1 FROM generate_series(1, 20) g",
    );
    pair.target.sql(
        "CREATE TABLE t (k date, v int, w int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2018 PARTITION OF t FOR VALUES FROM ('2018-01-01') TO ('2019-01-01');
         INSERT INTO t VALUES ('2017-01-01', 0, 0), ('2018-01-01', 0, 0)",
    );
    pair
}

/// Runs `change` on the source while `unit` has to wait here; SQLSTATE and message, or the number of units.
fn during(pair: &Pair, unit: &str, arguments: &str, change: &str) -> Result<usize, String> {
    let mut holder = pair.target.connect();
    holder
        .batch_execute(&format!("BEGIN; LOCK TABLE {unit} IN ROW EXCLUSIVE MODE"))
        .expect("a lock");
    let run = pair.sync_in_background(arguments);
    poll("an attempt has failed", SOON, || {
        let attempts = "SELECT count(*) FROM cgpsync_run_partition
             WHERE attempts > 0 AND status IN ('pending', 'copying') AND message IS NOT NULL
               AND run_id = (SELECT max(run_id) FROM cgpsync_run)";
        pair.target.text(attempts) != "0"
    });
    pair.source.sql(change);
    // One that had its snapshot before the change may still read what was there then: the next one has not.
    let attempts = || -> i32 {
        let attempts = "SELECT COALESCE(max(attempts), 0) FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";
        pair.target.text(attempts).parse().expect("a number")
    };
    let seen = attempts();
    poll("an attempt has begun after the change", SOON, || {
        run.is_finished() || attempts() >= seen + 2
    });
    holder.batch_execute("COMMIT").expect("the lock goes");
    run.join()
}

/// The rows of a partition here, as a number of old and new ones.
fn rows(pair: &Pair, unit: &str) -> String {
    pair.target.text(&format!(
        "SELECT count(*) FILTER (WHERE v = 0) || ' ' || count(*) FILTER (WHERE v > 0) FROM {unit}"
    ))
}

#[test]
fn what_is_not_as_planned_any_more_leaves_the_old_rows() {
    for (unit, end, change) in [
        ("t_1", "20170131", "ALTER TABLE t DETACH PARTITION t_q1"),
        ("t_1", "20170131", "TRUNCATE t_q1"),
        ("t_1", "20170131", "DROP TABLE t_q2"),
        (
            "t_1",
            "20170131",
            "ALTER TABLE t DROP COLUMN w; ALTER TABLE t ADD COLUMN w int",
        ),
        (
            "t_1",
            "20170131",
            "ALTER TABLE t RENAME w TO x; ALTER TABLE t RENAME v TO w; ALTER TABLE t RENAME x TO v",
        ),
        (
            "t_1",
            "20170131",
            "ALTER TABLE t ATTACH PARTITION aside FOR VALUES FROM ('2017-07-01') TO ('2018-01-01')",
        ),
        (
            "t_1",
            "20170131",
            "ALTER TABLE t RENAME TO was; CREATE TABLE t (k date, v int, w int)",
        ),
        ("t_2018", "20180101", "ALTER TABLE t_2018 DETACH PARTITION t_2018b"),
        ("t_2018", "20180101", "DROP TABLE t_2018a"),
    ] {
        let pair = scene("");
        let result = during(&pair, unit, &format!("'t', '{end}', since => '{end}'"), change);
        let error = result.expect_err(change);
        assert!(error.starts_with("40001"), "{change}: {error}");
        assert_eq!(rows(&pair, unit), "1 0", "{change}");
        assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0", "{change}");
        // Verify looks in the same way, and a new call takes the source as it is.
        if !change.contains("DETACH") && !change.contains("DROP TABLE t_2018a") {
            pair.copied(&format!("'t', '{end}', since => '{end}', vanished => 'empty'"));
        }
    }
}

#[test]
fn what_the_snapshot_still_shows_is_copied() {
    for change in [
        "ALTER TABLE t DETACH PARTITION t_2018",
        "DELETE FROM t_2018",
        "ALTER TABLE t ADD COLUMN more int",
        "ALTER TABLE t_2018 ATTACH PARTITION nothing DEFAULT",
    ] {
        let pair = scene("");
        let is_attached = change.contains("nothing");
        if is_attached {
            pair.source.sql("CREATE TABLE nothing (k date, v int, w int)");
        }
        let result = during(&pair, "t_2018", "'t', '20180101', since => '20180101'", change);
        if is_attached {
            assert!(result.expect_err(change).starts_with("40001"));
        } else {
            assert_eq!(result, Ok(1), "{change}");
            assert_eq!(rows(&pair, "t_2018"), "0 20", "{change}");
        }
    }
}

#[test]
fn without_a_shared_snapshot_each_unit_is_what_was_planned() {
    for (change, is_noticed) in [
        ("ALTER TABLE t_2018 DETACH PARTITION t_2018b", true),
        ("ALTER TABLE t DETACH PARTITION t_2018", true),
        ("ALTER TABLE t DROP COLUMN w; ALTER TABLE t ADD COLUMN w int", true),
        ("DROP TABLE t_2018; CREATE TABLE t_2018 (k date, v int, w int)", true),
        // Waits for the COPY of an attempt, so the next one sees it.
        ("TRUNCATE t_2018b", false),
    ] {
        let pair = scene("");
        fixture::greenplum7(&pair.source, fixture::GREENPLUM_7_ALPHA);
        let result = during(&pair, "t_2018", "'t', '20180101', since => '20180101'", change);
        if is_noticed {
            let error = result.expect_err(change);
            assert!(error.starts_with("40001"), "{change}: {error}");
            assert_eq!(rows(&pair, "t_2018"), "1 0", "{change}");
        } else {
            assert_eq!(result, Ok(1), "{change}");
            let there = pair.source.text("SELECT '0 ' || count(*) FROM t_2018");
            assert_eq!(rows(&pair, "t_2018"), there, "{change}");
        }
    }
}

#[test]
fn bounds_that_change_here_are_noticed_too() {
    let pair = scene("");
    let mut holder = pair.target.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE t_1 IN ROW EXCLUSIVE MODE")
        .expect("a lock");
    let run = pair.sync_in_background("'t', '20170131'");
    poll("an attempt has failed", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE message IS NOT NULL")
            != "0"
    });
    holder
        .batch_execute(
            "ALTER TABLE t DETACH PARTITION t_1;
             ALTER TABLE t ATTACH PARTITION t_1 FOR VALUES FROM ('2017-01-01') TO ('2017-03-01'); COMMIT",
        )
        .expect("other bounds");
    let error = run.join().expect_err("it is another partition now");
    assert!(error.starts_with("55006"), "{error}");
    assert_eq!(rows(&pair, "t_1"), "1 0");
    pair.copied("'t', '20170131'");
    assert_eq!(rows(&pair, "t_1"), "0 20");
}

/// Servers before PostgreSQL 12 show the number of a file, too, for what has none; where the story's has no such habit, it is given it.
#[test]
fn what_has_no_file_is_not_taken_for_one_that_was_replaced() {
    let pair = Pair::new();
    pair.persons(5);
    pair.source.sql(
        "CREATE VIEW seen AS SELECT * FROM persons;
         SET allow_system_table_mods = on;
         UPDATE pg_class SET relfilenode = oid WHERE oid IN ('persons'::regclass, 'seen'::regclass) AND relfilenode = 0",
    );
    pair.target.sql(
        "CREATE TABLE years (LIKE persons) PARTITION BY RANGE (born);
         CREATE TABLE y2017 PARTITION OF years FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')",
    );
    for table in ["persons", "seen"] {
        let arguments = format!("'years', '20171231', source_table => '{table}', since => '20170101'");
        assert_eq!(pair.copied(&arguments), ["y2017"], "{table}");
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM years"), "60");
}
