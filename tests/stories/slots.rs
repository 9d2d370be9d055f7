//! Slots for background workers: a run takes its coordinator's and a worker's together, and waits for them.

use crate::support::{Pair, SOON, poll};

/// Slots of which the server itself has one, for its launcher of logical replication.
fn with_slots(number: u32, timeout: &str) -> Pair {
    Pair::with(
        "",
        &format!("max_worker_processes = {number}\ncgpsync.worker_slot_timeout = '{timeout}'"),
    )
}

/// A table to be locked on the source, so that its run lasts.
fn slow(pair: &Pair) {
    pair.both("CREATE TABLE slow (i int)");
    pair.source.sql("INSERT INTO slow VALUES (1)");
}

#[test]
fn without_slots_in_time_the_error_names_both_settings_and_either_helps() {
    let mut pair = with_slots(2, "300ms");
    pair.persons(1);
    let error = pair
        .sync("'persons', '20170101'")
        .expect_err("a coordinator and no worker");
    assert_eq!(error.code().code(), "53400");
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains("max_worker_processes") && hint.contains("cgpsync.worker_slot_timeout"),
        "{hint}"
    );
    // Nothing was begun that somebody would have to clear away.
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_run"), "0");
    pair.target.sql("ALTER SYSTEM SET max_worker_processes = 3");
    pair.target.stop("INT");
    pair.target.boot();
    assert_eq!(pair.copied("'persons', '20170101'").len(), 1);
    pair.target.sql("ALTER SYSTEM SET max_worker_processes = 1");
    pair.target.stop("INT");
    pair.target.boot();
    let error = pair.sync("'persons', '20170101'").expect_err("there can never be two");
    assert_eq!(error.code().code(), "53400");
}

#[test]
fn a_run_waits_for_slots_shows_it_and_goes_on_when_there_are_some() {
    let pair = with_slots(3, "60s");
    slow(&pair);
    pair.persons(1);
    let mut holder = pair.source.connect();
    holder.batch_execute("BEGIN; LOCK TABLE slow").expect("a lock");
    let first = pair.sync_in_background("'slow'");
    poll("the first run copies", SOON, || {
        pair.target.text("SELECT count(*) FROM cgpsync_progress") == "1"
    });
    let second = pair.sync_in_background("'persons', '20170101'");
    let waiting = "SELECT table_name || ' ' || status || ' ' || regexp_replace(waiting[1], '\\d+', 'N') FROM cgpsync_progress WHERE run_id IS NULL";
    let shown = "persons waiting process N: waiting for two background worker slots";
    poll("the second call is seen to wait", SOON, || {
        pair.target.list(waiting) == [shown]
    });
    // A third one can be cancelled at once, and leaves nothing.
    let third = pair.sync_in_background("'persons', '20170201'");
    poll("the third call waits", SOON, || pair.target.list(waiting).len() == 2);
    third.cancel.cancel_query(postgres::NoTls).expect("a cancel");
    assert!(third.join().is_err_and(|error| error.contains("canceling")));
    assert_eq!(pair.target.list(waiting), [shown]);
    // A plain role sees its own.
    pair.target.sql("CREATE ROLE nobody LOGIN");
    let mut nobody = pair.target.connect_as("nobody");
    let seen = nobody.query("SELECT FROM cgpsync_progress", &[]).expect("rows");
    assert!(seen.is_empty());
    holder.batch_execute("COMMIT").expect("the end");
    assert_eq!(first.join(), Ok(1));
    assert_eq!(second.join(), Ok(1));
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_progress"), "0");
}

#[test]
fn jobs_that_begin_together_all_end_well_with_the_default_number_of_slots() {
    let pair = with_slots(8, "120s");
    pair.persons(20);
    let tables: Vec<String> = (0..6).map(|number| format!("copy{number}")).collect();
    for table in &tables {
        pair.target.sql(&format!(
            "CREATE TABLE {table} (LIKE persons) PARTITION BY RANGE (born);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
             CREATE TABLE {table}_2 PARTITION OF {table} FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')"
        ));
    }
    let calls: Vec<_> = tables
        .iter()
        .map(|table| pair.sync_in_background(&format!("'{table}', '20170228', 5, source_table => 'persons'")))
        .collect();
    for call in calls {
        assert_eq!(call.join(), Ok(2));
    }
    assert_eq!(
        pair.target
            .text("SELECT string_agg(DISTINCT status, ' ') FROM cgpsync_run"),
        "done"
    );
    pair.all_gone();
}

#[test]
fn a_run_that_began_with_fewer_workers_gets_more_when_slots_are_free() {
    let pair = with_slots(5, "60s");
    slow(&pair);
    pair.persons(3);
    let mut holder = pair.source.connect();
    holder.batch_execute("BEGIN; LOCK TABLE slow").expect("a lock");
    let first = pair.sync_in_background("'slow'");
    poll("the first run has its slots", SOON, || {
        pair.target.text("SELECT count(*) FROM cgpsync_progress") == "1"
    });
    let mut gates = pair.source.connect();
    let months = (1..=12)
        .map(|month| format!("persons_2017{month:02}"))
        .collect::<Vec<_>>()
        .join(", ");
    gates
        .batch_execute(&format!("BEGIN; LOCK TABLE {months}"))
        .expect("locks");
    let second = pair.sync_in_background("'persons', '20171231', 3");
    let workers =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker' AND query LIKE 'run 2:%'";
    poll("it runs with one worker", SOON, || pair.target.text(workers) == "1");
    holder.batch_execute("COMMIT").expect("the end");
    assert_eq!(first.join(), Ok(1));
    poll("it has got two more", SOON, || pair.target.text(workers) == "3");
    gates.batch_execute("COMMIT").expect("the end");
    assert_eq!(second.join(), Ok(12));
    pair.all_gone();
}

#[test]
fn with_fewer_slots_than_asked_for_it_goes_on_and_says_so() {
    let pair = with_slots(4, "60s");
    pair.persons(5);
    let (units, told) = pair.told("'persons', '20171231', 6");
    assert_eq!(units.len(), 12);
    assert!(told.contains("running with 2 of 6 workers"), "{told}");
    pair.same_rows("persons", "true");
}
