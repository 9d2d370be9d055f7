//! The server is killed in the middle of a swap, or of its commit, with checkpoints all the while. Each partition is the old one or the new one, and
//! sound, there and on a standby.

use crate::support::call::Call;
use crate::support::cluster::Cluster;
use crate::support::dice::{Dice, rounds};
use crate::support::swapped::{self, ROWS, SYNC};
use crate::support::{Pair, SOON, poll};
use postgres::NoTls;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A call that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Checkpoints, one after the other, while the server is there to make them.
struct Checkpoints {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    fn begin(target: &Cluster) -> Checkpoints {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, config) = (stop.clone(), target.config());
        let thread = std::thread::spawn(move || {
            let Ok(mut client) = config.connect(NoTls) else {
                return;
            };
            while !stopped.load(Ordering::SeqCst) && client.batch_execute("CHECKPOINT").is_ok() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Checkpoints { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("they end");
    }
}

/// Kills at random moments of a call, from its beginning to after its end. Gives the pair as it is then.
fn kill_and_look(conf: &str, stream: u64) -> Pair {
    let mut pair = Pair::with("", conf);
    swapped::events(&pair);
    swapped::checks(&pair.target);
    swapped::replace(&pair);
    let call = Call::start(&pair.target, SYNC);
    let begun = call.begun;
    call.join(LIMIT).expect("the call ends").expect("it succeeds");
    let span = begun.elapsed();
    let mut dice = Dice::new(stream);
    let mut seen = [0, 0];
    for round in 0..rounds("FAULTS_KILLS", 10) {
        let old = pair.target.text("SELECT max(version) FROM events");
        swapped::advance(&pair);
        let new = pair.source.text("SELECT max(version) FROM edition");
        let checkpoints = Checkpoints::begin(&pair.target);
        let call = Call::start(&pair.target, SYNC);
        call.until(span.mul_f64((5 + dice.below(110)) as f64 / 100.0));
        if round % 3 == 2 {
            // An immediate stop.
            pair.target.stop("QUIT");
        } else {
            let stubborn = pair.target.kill_all();
            assert_eq!(stubborn, 0);
        }
        checkpoints.end();
        pair.target.boot();
        let done = pair.target.list(
            "SELECT substring(partition, 'events_\\d') FROM cgpsync_run_partition WHERE status = 'done' AND run_id = (SELECT max(run_id) FROM cgpsync_run)",
        );
        for partition in ["events_0", "events_1"] {
            let now = pair.target.text(&format!(
                "SELECT concat_ws(' ', count(*), min(version), max(version)) FROM {partition}"
            ));
            let is_new = now == format!("{ROWS} {new} {new}");
            assert!(
                is_new || now == format!("{ROWS} {old} {old}"),
                "round {round}: {partition} holds {now}, not {old} or {new}"
            );
            // A crash before the run is on record leaves the run before as the last one, which has done both.
            let on_record = pair
                .target
                .text("SELECT status FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
                != "done";
            assert!(
                !on_record || done.contains(&partition.to_owned()) == is_new,
                "round {round}: {partition}: {now}, done are {done:?}"
            );
            seen[usize::from(is_new)] += 1;
        }
        swapped::is_sound(&pair.target, "events");
        drop(call);
        // Both are of one version again.
        pair.copied(SYNC);
        swapped::by_pages(&pair);
        pair.same_rows("events", "true");
    }
    println!("old and new partitions after kills: {seen:?}");
    swapped::is_sound(&pair.target, "events");
    pair
}

#[test]
fn a_crash_at_any_moment_leaves_old_rows_or_new_ones() {
    kill_and_look("wal_level = replica", 21);
}

#[test]
fn and_so_it_does_where_new_files_are_not_logged() {
    kill_and_look("wal_level = minimal\nmax_wal_senders = 0\nwal_skip_threshold = 0", 22);
}

#[test]
fn a_standby_that_has_followed_through_crashes_is_the_same_when_it_is_promoted() {
    let pair = kill_and_look("wal_level = logical", 23);
    let standby = pair.target.standby();
    for _ in 0..3 {
        swapped::replace(&pair);
        swapped::by_pages(&pair);
    }
    let rows = "SELECT sum(hashtextextended(e::text, 0)::numeric) FROM events e";
    let here = pair.target.text(rows);
    poll("the standby has it all", SOON, || standby.text(rows) == here);
    standby.sql("SELECT pg_promote()");
    swapped::is_sound(&standby, "events");
    assert_eq!(standby.text(rows), here);
    standby.sql("UPDATE events SET version = version + 1");
    standby.sql("VACUUM events");
    swapped::is_sound(&standby, "events");
}
