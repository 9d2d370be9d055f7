//! How long it takes from a signal until nothing of a run is left on either side. `SILENCE_TRIES=50 make test ARGS='silence --nocapture'`
//! prints median and worst; without, a try each.

use crate::support::clock::Clock;
use crate::support::{Pair, SOON, poll};
use std::time::{Duration, Instant};

const HERE: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync %'";
const THERE: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";

fn count(client: &mut postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).expect("a count").get(0)
}

/// One run of four workers in the middle of copying, ended by `signal`, which is given the caller's and the coordinator's process.
fn time_to_silence(pair: &Pair, signal: &dyn Fn(&mut postgres::Client, i32, i32)) -> Duration {
    let (mut target, mut source) = (pair.target.connect(), pair.source.connect());
    let run = pair.sync_in_background("'persons', '20171231', 4, source_table => 'slow'");
    poll("four workers are copying", SOON, || {
        count(
            &mut target,
            "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 0",
        ) == 4
    });
    let coordinator = target
        .query_one(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync coordinator'",
            &[],
        )
        .expect("a coordinator")
        .get(0);
    let (begun, clock) = (Instant::now(), Clock::start());
    signal(&mut target, run.pid, coordinator);
    while count(&mut target, HERE) > 0 || count(&mut source, THERE) > 0 {
        assert!(begun.elapsed() < SOON, "it does not end");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let (silence, promised) = (begun.elapsed(), clock.elapsed());
    assert!(promised < Duration::from_secs(2), "{promised:?}");
    run.join().expect_err("it was ended");
    silence
}

#[test]
fn silence_comes_within_two_seconds_of_any_signal() {
    let pair = Pair::new();
    pair.persons(2000);
    pair.source.sql(
        "CREATE VIEW slow AS SELECT id, name, born, note || COALESCE(pg_sleep(0.01)::text, '') AS note FROM persons",
    );
    let tries = std::env::var("SILENCE_TRIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let call = |sql: &'static str| {
        move |target: &mut postgres::Client, pid: i32| {
            target.execute(sql, &[&pid]).expect("a signal");
        }
    };
    let terminate = call("SELECT pg_terminate_backend($1)");
    let cancel = call("SELECT pg_cancel_backend($1)");
    type Signal<'a> = &'a dyn Fn(&mut postgres::Client, i32, i32);
    let signals: [(&str, Signal<'_>); 4] = [
        ("cgpsync_cancel", &|target, _, _| {
            target
                .query("SELECT cgpsync_cancel(max(run_id)) FROM cgpsync_run", &[])
                .map(|_| ())
                .expect("a cancel");
        }),
        ("cancel of the caller", &|target, caller, _| cancel(target, caller)),
        ("termination of the caller", &|target, caller, _| {
            terminate(target, caller)
        }),
        ("termination of the coordinator", &|target, _, coordinator| {
            terminate(target, coordinator)
        }),
    ];
    for (name, signal) in signals {
        let mut times: Vec<_> = (0..tries).map(|_| time_to_silence(&pair, signal)).collect();
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{name:<32} median {:>4} ms, worst {:>4} ms of {tries}",
            median.as_millis(),
            worst.as_millis()
        );
    }
}
