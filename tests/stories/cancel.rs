//! Whatever ends a call, within two seconds nothing of the run is left on either side and unfinished units are as they were.

use crate::support::clock::Clock;
use crate::support::proxy::Proxy;
use crate::support::{Background, Pair, SOON, cancel_impatiently, poll};
use postgres::NoTls;
use std::time::Duration;

/// A table big enough to be caught in the middle: one unit of some 150 MB, with an old row here.
fn big(pair: &Pair) {
    pair.both("CREATE TABLE big (i int, t text)");
    pair.source
        .sql("INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 150000) g");
    pair.target.sql("INSERT INTO big VALUES (0, 'old')");
}

/// The source takes seconds for each row: the run is caught waiting for it.
fn slow(pair: &Pair) {
    pair.both("CREATE TABLE slow (i int)");
    pair.source.sql("CREATE VIEW crawling AS SELECT g AS i FROM generate_series(1, 100) g, LATERAL (SELECT pg_sleep(1) WHERE g > 0) s");
    pair.target.sql("INSERT INTO slow VALUES (0)");
}

fn start_slow(pair: &Pair) -> Background {
    slow(pair);
    let run = pair.sync_in_background("'slow', '20170101', source_table => 'crawling'");
    poll("the source is at work", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'")
            == "1"
    });
    run
}

fn pid_of(pair: &Pair, backend_type: &str) -> String {
    pair.target.text(&format!(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync {backend_type}' LIMIT 1"
    ))
}

fn terminate(pair: &Pair, pid: &str) {
    assert_eq!(pair.target.text(&format!("SELECT pg_terminate_backend({pid})")), "t");
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_the_source() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().expect_err("cancelled").starts_with("57014"));
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
    assert_eq!(
        pair.target.text("SELECT status || error_message FROM cgpsync_run"),
        "cancelledthe call was cancelled, or its session ended"
    );
    assert_eq!(
        pair.target.text("SELECT status FROM cgpsync_run_partition"),
        "cancelled"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
}

#[test]
fn ctrl_c_again_and_again_is_ctrl_c() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    cancel_impatiently(&run.cancel);
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().expect_err("cancelled").starts_with("57014"));
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "cancelled");
}

#[test]
fn ctrl_c_in_the_middle_of_loading() {
    let pair = Pair::new();
    big(&pair);
    // It would take minutes, at full speed: nothing waits for anything.
    pair.source
        .sql("CREATE VIEW long AS SELECT i, repeat('x', 1000) AS t FROM (SELECT generate_series(1, 50000000) AS i) g");
    let run = pair.sync_in_background("'big', '20170101', source_table => 'public.long'");
    pair.until_copying();
    let start = Clock::start();
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().expect_err("cancelled").starts_with("57014"));
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big"), "old");
}

#[test]
fn statement_timeout_ends_the_run() {
    let pair = Pair::new();
    slow(&pair);
    let mut client = pair.target.connect();
    client
        .batch_execute("SET statement_timeout = '500ms'")
        .expect("a setting");
    let start = Clock::start();
    let error = pair
        .sync_as(&mut client, "'slow', '20170101', source_table => 'crawling'")
        .expect_err("a timeout");
    assert_eq!(error.code().code(), "57014");
    assert!(error.message().contains("statement timeout"), "{error:?}");
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    pair.all_gone();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
}

#[test]
fn terminating_the_caller_ends_the_run() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    terminate(&pair, &run.pid.to_string());
    pair.all_gone_within_two_seconds(start);
    run.join().expect_err("terminated");
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "cancelled");
}

#[test]
fn terminating_the_coordinator_ends_the_run() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    terminate(&pair, &pid_of(&pair, "coordinator"));
    pair.all_gone_within_two_seconds(start);
    let error = run.join().expect_err("terminated");
    assert!(error.starts_with("57P01") && error.contains("coordinator"), "{error}");
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "cancelled");
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
}

#[test]
fn terminating_a_worker_ends_the_run() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    terminate(&pair, &pid_of(&pair, "worker"));
    pair.all_gone_within_two_seconds(start);
    let error = run.join().expect_err("terminated");
    assert!(error.contains("worker"), "{error}");
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
}

#[test]
fn terminating_twice_at_once_is_terminating_once() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    let pid = pid_of(&pair, "coordinator");
    let start = Clock::start();
    pair.target.sql(&format!(
        "SELECT pg_terminate_backend({pid}), pg_terminate_backend({pid})"
    ));
    pair.all_gone_within_two_seconds(start);
    run.join().expect_err("terminated");
    assert_eq!(pair.target.text("SELECT status FROM cgpsync_run"), "cancelled");
}

#[test]
fn a_source_that_stops_answering_does_not_keep_a_cancelled_run() {
    let pair = Pair::with("", "cgpsync.max_rate = '20MB'");
    big(&pair);
    let proxy = Proxy::start(pair.source.port);
    pair.create_server("frozen", proxy.port);
    let run = pair.sync_in_background("'big', '20170101', source => 'frozen'");
    pair.until_copying();
    proxy.freeze();
    let start = Clock::start();
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    let here = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync %'";
    poll("the processes are gone", SOON, || pair.target.text(here) == "0");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    run.join().expect_err("cancelled");
    assert_eq!(pair.target.text("SELECT string_agg(t, ',') FROM big"), "old");
}

#[test]
fn a_source_that_never_answers_a_connection_times_out() {
    let pair = Pair::new();
    pair.persons(1);
    let proxy = Proxy::start(pair.source.port);
    pair.create_server("frozen", proxy.port);
    proxy.freeze();
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.connect_timeout = '1s'")
        .expect("a setting");
    let start = Clock::start();
    let error = pair
        .sync_as(&mut client, "'persons', '20170101', source => 'frozen'")
        .expect_err("no answer");
    assert_eq!(error.code().code(), "08001");
    assert!(error.message().contains("timeout expired"), "{error:?}");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_run() {
    let mut pair = Pair::new();
    let run = start_slow(&pair);
    let start = Clock::start();
    pair.target.stop("INT");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    run.join().expect_err("shut down");
    poll("the query on the source is gone", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'")
            == "0"
    });
    pair.target.boot();
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
}

#[test]
fn pg_stat_activity_shows_what_each_process_does() {
    let pair = Pair::new();
    let run = start_slow(&pair);
    poll("both say what they do", SOON, || {
        pair.target.list(
            "SELECT backend_type || ': ' || query || ' / ' || application_name || ' / ' || usename FROM pg_stat_activity
             WHERE backend_type LIKE 'cgpsync %' ORDER BY 1",
        ) == [
            "cgpsync coordinator: run 1: 0 of 1 units finished, 1 workers / cgpsync run 1 / postgres",
            "cgpsync worker: run 1: copying public.slow / cgpsync run 1 / postgres",
        ]
    });
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    run.join().expect_err("cancelled");
}

#[test]
fn a_cancel_at_any_moment_leaves_every_partition_old_or_complete() {
    let pair = Pair::new();
    pair.persons(3000);
    let mut cancelled = 0;
    for step in 0..25 {
        pair.target
            .sql("TRUNCATE persons; DELETE FROM sync_table; DELETE FROM cgpsync_run");
        let run = pair.sync_in_background("'persons', '20171231', 2");
        // Not a wait for something: the moment of the cancel moves through the whole run, from its start to its end.
        std::thread::park_timeout(Duration::from_millis(step * 12));
        let start = Clock::start();
        run.cancel.cancel_query(NoTls).expect("a cancel request");
        let result = run.join();
        match &result {
            // It came before the call or after it, which promises nothing then.
            Ok(_) => pair.all_gone(),
            Err(_) => {
                pair.all_gone_within_two_seconds(start);
                cancelled += 1;
            }
        }
        let counts = pair.target.list(
            "SELECT DISTINCT count(p.id) FROM pg_inherits i LEFT JOIN persons p ON p.tableoid = i.inhrelid
                                       WHERE i.inhparent = 'persons'::regclass GROUP BY i.inhrelid ORDER BY 1",
        );
        assert!(counts.iter().all(|c| c == "0" || c == "3000"), "{counts:?}");
        let recorded = pair
            .target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE status = 'done'");
        let full = pair.target.text("SELECT count(DISTINCT tableoid) FROM persons");
        assert_eq!(recorded, full, "what is on record is what is there");
        let remembered = pair.target.text("SELECT count(*) FROM sync_table");
        // A cancel may come too late for the run and still in time for the call.
        assert!(remembered == "0" || full == "12", "{result:?}");
        let open = pair
            .target
            .text("SELECT count(*) FROM cgpsync_run WHERE finished_at IS NULL");
        assert_eq!(open, "0", "every run says how it ended");
    }
    assert!(cancelled > 0, "no cancel met its call");
}
