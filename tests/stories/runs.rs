//! Runs that outlive the session which began them: start, wait, cancel, prune.

use crate::support::clock::Clock;
use crate::support::{Pair, SOON, poll};
use std::time::Duration;

/// A table whose copy takes as long as the source sleeps: `rows` tenths of a second.
fn slow(pair: &Pair, rows: u32) {
    pair.both("CREATE TABLE slow (i int)");
    pair.source.sql(&format!(
        "CREATE VIEW crawling AS SELECT g AS i FROM generate_series(1, {rows}) g, LATERAL (SELECT pg_sleep(0.1) WHERE g > 0) s"
    ));
    pair.target.sql("INSERT INTO slow VALUES (0)");
}

const START: &str = "SELECT cgpsync_start('slow', '20170101', source_table => 'crawling')";

fn start(pair: &Pair) -> i64 {
    let mut client = pair.target.connect();
    let begun = Clock::start();
    // If it waited for the run, which takes longer, it should say so.
    client
        .batch_execute("SET statement_timeout = '20s'")
        .expect("a setting");
    let run_id = client.query_one(START, &[]).expect("a run").get(0);
    let took = begun.elapsed();
    println!("started in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    run_id
}

fn error_of(client: &mut postgres::Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).map(|_| ()).expect_err(sql);
    let error = error.as_db_error().expect("an error of the server");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[test]
fn a_started_run_outlives_its_session_and_another_one_waits_for_it() {
    let pair = Pair::new();
    slow(&pair, 15);
    // Nothing can be shown while somebody reads it.
    let mut reader = pair.target.connect();
    reader.batch_execute("BEGIN; SELECT FROM slow").expect("a reader");
    let run_id = start(&pair);
    let mut other = pair.target.connect();
    let (code, message) = error_of(&mut other, &format!("SELECT * FROM cgpsync_wait({run_id}, '200 ms')"));
    assert_eq!(code, "57014");
    assert!(message.contains(&format!("run {run_id} is still on")), "{message}");
    reader.batch_execute("COMMIT").expect("the end");
    let rows = other
        .query(
            "SELECT partition::text, status, rows FROM cgpsync_wait($1, interval '1 minute')",
            &[&run_id],
        )
        .expect("it ends well");
    assert_eq!(rows.len(), 1);
    let row = (
        rows[0].get::<_, &str>(0),
        rows[0].get::<_, &str>(1),
        rows[0].get::<_, i64>(2),
    );
    assert_eq!(row, ("slow", "done", 15));
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170101");
    // What has ended long ago gives the same answer.
    let again = other
        .query("SELECT * FROM cgpsync_wait($1)", &[&run_id])
        .expect("the same");
    assert_eq!(again.len(), 1);
}

#[test]
fn waiting_for_a_failed_run_raises_its_error() {
    let pair = Pair::new();
    slow(&pair, 1);
    pair.target.sql("ALTER TABLE slow ADD CHECK (i < 1)");
    let run_id = start(&pair);
    let (code, message) = error_of(
        &mut pair.target.connect(),
        &format!("SELECT * FROM cgpsync_wait({run_id})"),
    );
    assert_eq!(code, "23514", "{message}");
    assert!(message.contains("1 of 1 partitions of slow failed"), "{message}");
    let (code, message) = error_of(&mut pair.target.connect(), "SELECT * FROM cgpsync_wait(4711)");
    assert_eq!((code.as_str(), message.as_str()), ("42704", "run 4711 does not exist"));
}

#[test]
fn start_and_wait_in_one_statement() {
    let pair = Pair::new();
    pair.persons(5);
    let units = pair
        .target
        .text("SELECT count(*) FROM cgpsync_wait(cgpsync_start('persons', '20170301'))");
    assert_eq!(units, "3");
    pair.same_rows("persons", "born < '2017-04-01'");
}

#[test]
fn a_table_that_is_being_synced_cannot_be_started_again() {
    let pair = Pair::new();
    slow(&pair, 600);
    let run_id = start(&pair);
    let (code, message) = error_of(&mut pair.target.connect(), START);
    assert_eq!(code, "55006");
    assert!(message.contains(&format!("by run {run_id}")), "{message}");
    assert_eq!(pair.target.text(&format!("SELECT cgpsync_cancel({run_id})")), "t");
}

#[test]
fn cancel_ends_everything_within_two_seconds() {
    let pair = Pair::new();
    slow(&pair, 600);
    let run_id = start(&pair);
    poll("the source is at work", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'")
            == "1"
    });
    let begun = Clock::start();
    assert_eq!(pair.target.text(&format!("SELECT cgpsync_cancel({run_id})")), "t");
    pair.all_gone_within_two_seconds(begun);
    assert_eq!(
        pair.target
            .text(&format!("SELECT status FROM cgpsync_run WHERE run_id = {run_id}")),
        "cancelled"
    );
    assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
    assert_eq!(pair.target.text(&format!("SELECT cgpsync_cancel({run_id})")), "f");
    let (code, message) = error_of(
        &mut pair.target.connect(),
        &format!("SELECT * FROM cgpsync_wait({run_id})"),
    );
    assert_eq!(code, "57P01", "{message}");
    assert_eq!(
        error_of(&mut pair.target.connect(), "SELECT cgpsync_cancel(4711)").0,
        "42704"
    );
}

#[test]
fn other_roles_can_neither_wait_for_a_run_nor_cancel_it() {
    let pair = Pair::new();
    slow(&pair, 600);
    pair.target.sql("CREATE ROLE stranger LOGIN");
    let run_id = start(&pair);
    let mut stranger = pair.target.connect_as("stranger");
    for call in ["cgpsync_wait", "cgpsync_cancel"] {
        assert_eq!(
            error_of(&mut stranger, &format!("SELECT {call}({run_id})")).0,
            "42704",
            "{call}"
        );
    }
    let seen = stranger
        .query_one("SELECT count(*) FROM cgpsync_progress", &[])
        .expect("a count");
    assert_eq!(seen.get::<_, i64>(0), 0);
    assert_eq!(pair.target.text(&format!("SELECT cgpsync_cancel({run_id})")), "t");
}

#[test]
fn pruning_forgets_old_runs_of_the_role_but_not_what_says_which_table_is_synced() {
    let pair = Pair::new();
    pair.persons(1);
    for _ in 0..3 {
        pair.copied("'persons', '20170101'");
    }
    let days_ago = "UPDATE cgpsync_run SET finished_at = finished_at - interval '100 days'";
    pair.target.sql(days_ago);
    pair.target.sql("CREATE ROLE stranger LOGIN");
    let mut stranger = pair.target.connect_as("stranger");
    let count = |row: postgres::Row| row.get::<_, i64>(0);
    assert_eq!(
        count(stranger.query_one("SELECT cgpsync_prune()", &[]).expect("a count")),
        0
    );
    assert_eq!(pair.target.text("SELECT cgpsync_prune('101 days')"), "0");
    assert_eq!(pair.target.text("SELECT cgpsync_prune()"), "2");
    assert_eq!(
        pair.target
            .text("SELECT count(*) || ' ' || count(DISTINCT run_id) FROM cgpsync_run_partition"),
        "1 1"
    );
    // The table is known still: only the partition that may have grown is copied.
    assert_eq!(pair.copied("'persons', '20170201'").len(), 2);
}
