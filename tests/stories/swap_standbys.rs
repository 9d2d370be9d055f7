//! Swaps that have to reach a synchronous standby.

use crate::support::clock::Clock;
use crate::support::cluster::kill;
use crate::support::swapped::{self, How, Readers};
use crate::support::{Pair, SOON, poll};
use std::time::Duration;

/// The pid of a standby's WAL receiver, whose stop is a dead network's.
fn receiver(standby: &crate::support::cluster::Cluster) -> u32 {
    let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
    poll("the standby receives", SOON, || !standby.text(pid).is_empty());
    standby.text(pid).parse().expect("a pid")
}

#[test]
fn readers_are_not_kept_waiting_while_the_load_waits_for_a_synchronous_standby() {
    let pair = Pair::with("", "wal_sender_timeout = 0");
    swapped::events(&pair);
    swapped::replace(&pair);
    let standby = pair.target.standby();
    pair.target.set_synchronous_standbys("*");
    poll("it is synchronous", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'")
            == "1"
    });
    for level in ["on", "remote_apply", "remote_write"] {
        pair.target.sql(&format!(
            "SET synchronous_commit = local; ALTER ROLE postgres SET synchronous_commit = {level}"
        ));
        let version = swapped::replace(&pair);
        poll("the standby has it", SOON, || {
            standby.text("SELECT min(version) FROM events") == version
        });
        let stopped = receiver(&standby);
        kill("STOP", stopped);
        swapped::advance(&pair);
        let run = pair.sync_in_background(swapped::SYNC);
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker' AND wait_event = 'SyncRep'";
        poll("both loads wait for the standby", SOON, || {
            pair.target.text(waiting) == "2"
        });
        // One locks while it waits for the commit of the last record of all, which is sent when the standby is back; none of them locks now.
        let readers = Readers::start(&pair.target, &[How::Simple]);
        readers.until_each_has_read(20);
        let longest = readers.finish();
        assert!(longest < Duration::from_secs(5), "{level}: {longest:?}");
        assert_eq!(
            pair.target.text("SELECT max(version) FROM events"),
            version,
            "not before the standby has it"
        );
        assert!(!run.is_finished());
        kill("CONT", stopped);
        assert_eq!(run.join(), Ok(2));
        swapped::all_swapped(&pair);
        assert_eq!(
            pair.target.text("SELECT min(version)::text FROM events"),
            (version.parse::<i32>().expect("a number") + 1).to_string()
        );
    }
}

#[test]
fn a_cancel_while_the_load_waits_for_a_standby_that_is_gone_ends_it_and_readers_never_wait() {
    let pair = Pair::new();
    swapped::events(&pair);
    let version = swapped::replace(&pair);
    pair.target.set_synchronous_standbys("nobody");
    swapped::advance(&pair);
    let run = pair.sync_in_background(swapped::SYNC);
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker' AND wait_event = 'SyncRep'";
    poll("both loads wait for the standby", SOON, || {
        pair.target.text(waiting) == "2"
    });
    let readers = Readers::start(&pair.target, &[How::Simple, How::Indexed]);
    readers.until_each_has_read(10);
    let begun = Clock::start();
    run.cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(begun);
    readers.until_each_has_read(3);
    let longest = readers.finish();
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(run.join().is_err_and(|error| error.starts_with("57014")));
    assert_eq!(pair.target.text("SELECT DISTINCT version FROM events"), version);
    assert_eq!(
        pair.target.text("SELECT status FROM cgpsync_run WHERE run_id = 2"),
        "cancelled"
    );
}
