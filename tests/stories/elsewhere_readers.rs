//! Readers of a table over there whose partitions are exchanged: whatever they are, they see the old rows or the new ones.

use crate::support::cluster::Cluster;
use crate::support::swapped::{self, How, Readers, SYNC, TABLE_IS_WHOLE, ask, look};
use crate::support::trio::Trio;
use postgres::Client;
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

/// A session whose snapshot is taken now, and which has not read the table.
fn old_snapshot(cluster: &Cluster) -> Client {
    let mut client = cluster.connect();
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
        .expect("a snapshot");
    client
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
