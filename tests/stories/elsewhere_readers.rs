//! Readers of a table over there whose partitions are exchanged: whatever they are, they see the old rows or the new ones.

use crate::support::swapped::{self, How, Readers, SYNC, TABLE_IS_WHOLE, ask, look, old_snapshot};
use crate::support::trio::Trio;
use crate::support::{SOON, poll};
use std::time::Duration;

fn with_events() -> Trio {
    let trio = Trio::new();
    swapped::editions(&trio.pair.source);
    swapped::table(&trio.there);
    trio.attach("events");
    replace(&trio);
    trio
}

/// Brings the next version, by an exchange; gives it.
fn replace(trio: &Trio) -> String {
    swapped::advance(&trio.pair);
    trio.pair.copied(&format!("{SYNC}, source => 'src'"));
    let ways = "SELECT DISTINCT way FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";
    assert_eq!(trio.pair.target.list(ways), ["exchange"]);
    trio.text("SELECT max(version) FROM events")
}

#[test]
fn no_reader_there_sees_an_empty_partition_or_a_mix_of_rows_or_waits_for_the_load() {
    let trio = with_events();
    // Another installation may have none.
    let has_checks =
        trio.text("SELECT count(*) FROM pg_available_extensions WHERE name IN ('amcheck', 'pg_visibility')") == "2";
    if has_checks {
        swapped::checks(&trio.there);
    }
    let readers = Readers::start(&trio.there, &[How::Simple, How::Prepared, How::Anew, How::Indexed]);
    for round in 2..6 {
        assert_eq!(replace(&trio), round.to_string());
        readers.until_each_has_read(3);
    }
    let longest = readers.finish();
    // Far less than a load takes that somebody would have to wait for; the figure is the bench's.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    if has_checks {
        swapped::is_sound(&trio.there, "events");
    }
    trio.same_rows("events", "true");
}

#[test]
fn a_snapshot_from_before_the_exchange_sees_the_new_rows_whole() {
    let trio = with_events();
    for way in ["exchange", "truncate"] {
        let mut old = old_snapshot(&trio.there);
        swapped::advance(&trio.pair);
        let done = trio
            .pair
            .copied(&format!("{SYNC}, source => 'src', replace => '{way}'"));
        assert_eq!(done.len(), 2);
        assert_eq!(ask(&mut old, &look("events")), TABLE_IS_WHOLE, "{way}");
        let version = trio.text("SELECT max(version) FROM events");
        assert_eq!(ask(&mut old, "SELECT min(version) FROM events"), version, "{way}");
        assert_eq!(ask(&mut old, "SELECT min(version) FROM events_0"), version, "{way}");
    }
}

#[test]
fn a_prepared_statement_of_another_session_goes_on() {
    let trio = with_events();
    let mut other = trio.there.connect();
    let statement = other
        .prepare("SELECT count(*) || ' ' || max(version) FROM events WHERE k = $1")
        .expect("a statement");
    for version in 2..9 {
        let answer: String = other.query_one(&statement, &[&3]).expect("rows").get(0);
        assert_eq!(answer, format!("20 {}", version - 1));
        assert_eq!(replace(&trio), version.to_string());
    }
}

#[test]
fn who_has_a_table_far_above_locked_is_waited_for_as_for_the_parent() {
    let trio = Trio::new();
    trio.both(
        "CREATE TABLE t (i int, l int) PARTITION BY RANGE (i);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10) PARTITION BY LIST (l);
         CREATE TABLE t_1_1 PARTITION OF t_1 FOR VALUES IN (1)",
    );
    trio.pair
        .source
        .sql("INSERT INTO t SELECT g % 10, 1 FROM generate_series(1, 100) g");
    trio.attach("t");
    let mut holder = trio.there.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE ONLY t_1 IN ROW EXCLUSIVE MODE")
        .expect("a lock on the parent");
    let run = trio.pair.sync_in_background("'t', '9', 1, source => 'src'");
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '%'::regclass";
    poll("it waits for the parent", SOON, || {
        trio.text(&waits.replace('%', "t_1")) != "0"
    });
    // What sessions keep of the bounds above it is void.
    holder.batch_execute("GRANT SELECT ON t_1 TO PUBLIC").expect("a change");
    let mut above = trio.there.connect();
    above
        .batch_execute("BEGIN; LOCK TABLE ONLY t IN ACCESS EXCLUSIVE MODE")
        .expect("a lock far above");
    holder.batch_execute("COMMIT").expect("the first lock goes");
    poll("it waits for the table far above", SOON, || {
        trio.text(&waits.replace('%', "t")) != "0"
    });
    // For longer than an attempt lasts: one is given up, and another one begins.
    for is_waiting in [false, true] {
        poll("the next attempt", SOON, || {
            (trio.text(&waits.replace('%', "t")) != "0") == is_waiting
        });
    }
    above.batch_execute("COMMIT").expect("the other lock goes");
    run.join().expect("it waits");
    trio.same_rows("t", "true");
    let attempts = "SELECT max(attempts) FROM cgpsync_run_partition";
    assert_eq!(trio.pair.target.text(attempts), "1");
}
