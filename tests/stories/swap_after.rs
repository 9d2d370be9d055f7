//! After the load: statistics, visibility map and counters are those of the new rows.

use crate::support::swapped::{self, ROWS, SYNC, ask, major};
use crate::support::{Pair, SOON, needs, poll};

const WAYS: [&str; 2] = ["swap", "truncate"];

fn with_events() -> Pair {
    let pair = Pair::new();
    swapped::events(&pair);
    pair.target
        .sql("CREATE TABLE plain PARTITION OF events FOR VALUES FROM (20) TO (30)");
    pair.source
        .sql("INSERT INTO rows SELECT g, 20 + g % 10, 'more and more ' || g FROM generate_series(1, 2000) g");
    swapped::checks(&pair.target);
    pair
}

fn sync(pair: &Pair, way: &str) {
    swapped::advance(pair);
    pair.copied(&format!("'events', '29', 3, since => '0', replace => '{way}'"));
}

#[test]
fn a_replaced_partition_is_analyzed() {
    let pair = with_events();
    for way in WAYS {
        let before = pair.target.text("SELECT clock_timestamp()");
        sync(&pair, way);
        let analyzed = format!(
            "SELECT count(*) FROM pg_stat_all_tables WHERE relname IN ('events_0', 'events_1', 'plain') AND last_analyze > '{before}'"
        );
        poll("each is analyzed", SOON, || pair.target.text(&analyzed) == "3");
        assert_eq!(
            pair.target.list(
                "SELECT relname || ' ' || reltuples FROM pg_class WHERE relname IN ('events_0', 'plain') ORDER BY 1"
            ),
            [format!("events_0 {ROWS}"), "plain 2000".to_owned()],
            "{way}"
        );
        // Of the new rows, not of those before.
        let version = pair.target.text("SELECT max(version) FROM events");
        assert_eq!(
            pair.target
                .text("SELECT most_common_vals FROM pg_stats WHERE tablename = 'events_0' AND attname = 'version'"),
            format!("{{{version}}}"),
            "{way}"
        );
        pair.target
            .sql("INSERT INTO events_0 VALUES (-1, 1, 99, 'stray'); DELETE FROM events_0 WHERE id < 100");
    }
}

#[test]
fn without_the_setting_or_the_right_to_it_nothing_is_analyzed_and_nothing_said() {
    let pair = with_events();
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT INSERT, TRUNCATE, SELECT ON events, events_0, events_1, plain TO loader;
         GRANT USAGE ON FOREIGN SERVER src TO loader; CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'postgres', password 'secret');
         ALTER ROLE postgres SET cgpsync.analyze_partitions = off",
    );
    let analyzed = "SELECT count(*) FROM pg_stat_all_tables WHERE relname IN ('events_0', 'events_1', 'plain') AND last_analyze IS NOT NULL";
    for role in ["loader", "postgres"] {
        for way in WAYS {
            let mut client = pair.target.connect_as(role);
            let sql = format!("SELECT count(*) FROM cgpsync_sync('events', '29', 3, since => '0', replace => '{way}')");
            assert_eq!(ask(&mut client, &sql), "3", "{role}");
            assert_eq!(pair.target.text(analyzed), "0", "{role}");
            assert_eq!(
                pair.target
                    .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
                "",
                "{role}"
            );
            // What an index build knows is known all the same; since 18, only where autovacuum is on.
            let known = if way == "swap" && major(&pair.target) < 18 {
                ROWS.to_string()
            } else {
                "-1".to_owned()
            };
            assert_eq!(
                pair.target
                    .text("SELECT reltuples FROM pg_class WHERE relname = 'events_0'"),
                known,
                "{way}"
            );
        }
    }
    assert!(!pair.target.log().contains("permission denied"));
    assert!(!pair.target.log().contains("skipping"));
}

#[test]
fn an_analyze_that_somebody_holds_up_is_left_out() {
    let pair = with_events();
    sync(&pair, "swap");
    let analyzed = "SELECT analyze_count FROM pg_stat_all_tables WHERE relname = 'events_0'";
    poll("it is analyzed", SOON, || pair.target.text(analyzed) == "1");
    // A reader keeps the swap waiting until somebody else has asked for the lock that ANALYZE needs.
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM events_0")
        .expect("a reader");
    let run = swapped::until_first_waits(&pair);
    let mut holder = pair.target.connect();
    let holding = std::thread::spawn(move || {
        holder
            .batch_execute("BEGIN; LOCK TABLE events_0 IN SHARE UPDATE EXCLUSIVE MODE")
            .expect("the lock");
        holder
    });
    poll("somebody waits", SOON, || {
        pair.target.text(
            "SELECT count(*) FROM pg_locks
             WHERE relation = 'events_0'::regclass AND mode = 'ShareUpdateExclusiveLock' AND NOT granted",
        ) == "1"
    });
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    drop(holding.join().expect("the thread ends"));
    poll("the other one is analyzed again", SOON, || {
        pair.target
            .text("SELECT analyze_count FROM pg_stat_all_tables WHERE relname = 'events_1'")
            == "2"
    });
    assert_eq!(pair.target.text(analyzed), "1");
}

#[test]
fn the_visibility_map_is_complete_and_nothing_has_to_be_frozen() {
    if needs::lacks_module("pg_visibility") {
        return;
    }
    let pair = with_events();
    if major(&pair.target) < 14 {
        // COPY FREEZE leaves the map to VACUUM there.
        return;
    }
    for way in WAYS {
        sync(&pair, way);
        for table in ["events_0", "events_1", "plain"] {
            swapped::is_sound(&pair.target, table);
            let map = format!(
                "SELECT concat_ws(' ', c.relpages > 0, c.relallvisible = c.relpages, m.all_visible = c.relpages, m.all_frozen = c.relpages)
                 FROM pg_class c, pg_visibility_map_summary('{table}') m WHERE c.oid = '{table}'::regclass"
            );
            assert_eq!(pair.target.text(&map), "t t t t", "{way} {table}");
        }
        let mut client = pair.target.connect();
        client
            .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            .expect("settings");
        let plan = client
            .query(
                "EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(version) FROM events_0 WHERE version >= 0",
                &[],
            )
            .expect("a plan");
        let plan: String = plan.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
        assert!(
            plan.contains("Index Only Scan") && plan.contains("Heap Fetches: 0"),
            "{way}: {plan}"
        );
        // Nothing is left for an aggressive VACUUM, not even a page to write.
        let age =
            "SELECT max(age(relfrozenxid)) < 1000 FROM pg_class WHERE relname IN ('events_0', 'events_1', 'plain')";
        assert_eq!(pair.target.text(age), "t", "{way}");
    }
}

#[test]
fn counters_of_the_statistics_are_those_of_the_new_rows() {
    let pair = with_events();
    for round in 0..4 {
        sync(&pair, WAYS[round / 2]);
        let counters = "SELECT string_agg(concat_ws(' ', relname, n_live_tup, n_dead_tup, n_mod_since_analyze), ', ' ORDER BY relname)
                        FROM pg_stat_all_tables WHERE relname IN ('events_0', 'plain')";
        let expected = format!("events_0 {ROWS} 0 0, plain 2000 0 0");
        poll(
            &format!(
                "the counters are right in round {round}: {}",
                pair.target.text(counters)
            ),
            SOON,
            || pair.target.text(counters) == expected,
        );
    }
    // One that fails counts nothing.
    pair.target.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
         CREATE TRIGGER refuses BEFORE INSERT ON events_0 FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    swapped::advance(&pair);
    pair.sync(SYNC).expect_err("refused");
    poll("n_live_tup is still right", SOON, || {
        pair.target
            .text("SELECT n_live_tup FROM pg_stat_all_tables WHERE relname = 'events_0'")
            == ROWS.to_string()
    });
}
