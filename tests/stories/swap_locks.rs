//! A loaded partition waits for the lock that shows it: patiently, without keeping others for long, and not for ever.

use crate::support::cluster::GATE;
use crate::support::swapped::{self, How, Readers, SYNC, ask};
use crate::support::{Background, Pair, SOON, poll};
use postgres::Client;
use std::time::{Duration, Instant};

fn with_events(conf: &str) -> Pair {
    let pair = Pair::with("", conf);
    swapped::events(&pair);
    swapped::replace(&pair);
    swapped::advance(&pair);
    pair
}

/// A transaction that has read the first partition.
fn long_reader(pair: &Pair) -> Client {
    let mut client = pair.target.connect();
    client
        .batch_execute("BEGIN; SELECT count(*) FROM events_0")
        .expect("a reader");
    client
}

fn versions(pair: &Pair) -> Vec<String> {
    pair.target
        .list("SELECT tableoid::regclass || ' ' || string_agg(DISTINCT version::text, ',') FROM events GROUP BY tableoid ORDER BY 1")
}

#[test]
fn a_long_reader_delays_the_swap_and_others_read_on() {
    let pair = with_events("");
    let mut reader = long_reader(&pair);
    let run = swapped::until_first_waits(&pair);
    let others = Readers::start(&pair.target, &[How::Simple]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        others.until_each_has_read(2);
    }
    assert!(!run.is_finished());
    assert_eq!(ask(&mut reader, "SELECT DISTINCT version FROM events_0"), "1");
    // Attempts of the first three seconds take 40 ms or so.
    let longest = others.finish();
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    swapped::all_swapped(&pair);
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
    assert_eq!(pair.target.text("SELECT max(attempts) FROM cgpsync_run_partition"), "1");
}

#[test]
fn a_reader_beyond_swap_timeout_is_named_and_nothing_is_loaded_twice() {
    let pair = with_events("");
    let mut reader = long_reader(&pair);
    let pid = ask(&mut reader, "SELECT pg_backend_pid()");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.swap_timeout = '1s'")
        .expect("a setting");
    let error = pair.sync_as(&mut client, SYNC).expect_err("the reader stays");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains(&format!("Processes that hold a lock on it or its parents: {pid}.")),
        "{detail}"
    );
    let row = "SELECT concat_ws(' ', status, attempts, error_hint) FROM cgpsync_run_partition WHERE run_id = 2 AND partition LIKE '%events_0'";
    let row = pair.target.text(row);
    assert!(
        row.starts_with("failed 1 ") && row.contains("cgpsync.swap_timeout"),
        "{row}"
    );
    assert_eq!(versions(&pair), ["events_0 1", "events_1 2"]);
    reader.batch_execute("COMMIT").expect("the end");
    pair.copied(SYNC);
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
}

#[test]
fn a_reader_that_goes_on_to_write_neither_fails_nor_stops_the_swap() {
    let pair = with_events("deadlock_timeout = '100ms'");
    for write in [
        "UPDATE events_0 SET version = -1 WHERE id = 20",
        "DELETE FROM events WHERE k = 3",
        "INSERT INTO events VALUES (0, 0, -1, '')",
    ] {
        let mut reader = long_reader(&pair);
        let run = swapped::until_first_waits(&pair);
        reader.batch_execute(write).expect("the write");
        assert!(!run.is_finished());
        reader.batch_execute("COMMIT").expect("the end");
        assert_eq!(run.join(), Ok(2), "{write}");
        // As if the write had come before the load.
        pair.same_rows("events", "true");
        assert_eq!(pair.target.text("SELECT max(attempts) FROM cgpsync_run_partition"), "1");
        swapped::advance(&pair);
    }
    assert!(!pair.target.log().contains("deadlock detected"));
}

#[test]
fn a_reader_that_writes_during_the_load_waits_for_it() {
    let pair = with_events("deadlock_timeout = '100ms'");
    pair.target.sql("UPDATE events_0 SET note = note");
    let mut writer = long_reader(&pair);
    // The last rows come when the gate opens.
    pair.source.sql(&format!(
        "CREATE FUNCTION pass(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM {GATE}; RETURN true; END';
         CREATE OR REPLACE VIEW events AS SELECT id, k, version, version || ' ' || body AS note FROM rows, edition WHERE id < 380 OR pass(id)",
    ));
    let gate = pair.source.close_gate();
    let run = pair.sync_in_background(SYNC);
    poll("it is being loaded", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE relation = 'events_0'::regclass AND mode = 'ShareRowExclusiveLock' AND granted")
            == "1"
    });
    let write = std::thread::spawn(move || writer.batch_execute("UPDATE events_0 SET version = -1; COMMIT"));
    poll("the write waits", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE relation = 'events_0'::regclass AND mode = 'RowExclusiveLock' AND NOT granted")
            == "1"
    });
    drop(gate);
    write
        .join()
        .expect("the thread ends")
        .expect("the write is no victim of a deadlock");
    assert_eq!(run.join(), Ok(2));
    let left = pair.target.text("SELECT DISTINCT version FROM events_0");
    assert_eq!(left, "2", "the writer's lock came before the swap's");
    pair.same_rows("events", "true");
}

#[test]
fn pg_dump_gets_its_rows_and_the_swap_comes_after_it() {
    let pair = with_events("");
    // It stops at the gate with all its locks held, as a dump that takes hours.
    pair.target.sql(
        "CREATE TABLE gate (i int); CREATE FUNCTION pass(int) RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN $1; END'",
    );
    let mut gate = pair.target.connect();
    gate.batch_execute("BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE")
        .expect("a gate");
    let mut dump = crate::support::cluster::command("pg_dump");
    dump.args([
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-t",
        "events*",
        "-t",
        "gate",
        "-p",
        &pair.target.port.to_string(),
        "-h",
    ])
    .arg(&pair.target.dir);
    let dump = std::thread::spawn(move || dump.output().expect("pg_dump runs"));
    poll("pg_dump waits at the gate", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted")
            == "1"
    });
    let run = pair.sync_in_background(SYNC);
    poll("both partitions are loaded or done", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE run_id = 2 AND status <> 'pending'")
            == "2"
    });
    gate.batch_execute("COMMIT").expect("the gate opens");
    let output = dump.join().expect("pg_dump ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    // Those it had locked are old ones, those it had not yet are new; each is whole.
    for partition in ["events_0", "events_1"] {
        let rows = text
            .split(&format!("COPY public.{partition} "))
            .nth(1)
            .and_then(|rest| rest.split("\n\\.").next())
            .unwrap_or_default();
        let versions: std::collections::BTreeSet<&str> =
            rows.lines().skip(1).filter_map(|row| row.split('\t').nth(2)).collect();
        assert_eq!(
            (rows.lines().count() - 1, versions.len()),
            (swapped::ROWS, 1),
            "{partition}"
        );
    }
    assert_eq!(run.join(), Ok(2));
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
}

/// Waits until a worker waits for a lock of `mode`.
fn until_load_waits(pair: &Pair, run: &Background, mode: &str) {
    let waiting = format!(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE a.backend_type = 'cgpsync worker' AND l.mode = '{mode}' AND NOT l.granted"
    );
    poll(&format!("the load waits for {mode}"), SOON, || {
        pair.target.text(&waiting) == "1"
    });
    assert!(!run.is_finished());
}

#[test]
fn the_load_waits_for_a_vacuum_of_the_partition() {
    let pair = with_events("");
    // VACUUM's lock, held for as long as the story wants.
    let mut vacuum = pair.target.connect();
    vacuum
        .batch_execute("BEGIN; LOCK TABLE events_0 IN SHARE UPDATE EXCLUSIVE MODE")
        .expect("a lock");
    let run = pair.sync_in_background(SYNC);
    until_load_waits(&pair, &run, "ShareRowExclusiveLock");
    vacuum.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
}

#[test]
fn the_load_waits_for_a_vacuum_of_the_long_values() {
    let pair = with_events("");
    let toast = pair
        .target
        .text("SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'events_0'");
    // Long enough for minutes of VACUUM, which ends when it is cancelled.
    pair.target
        .sql("UPDATE events_0 SET note = repeat(note, 200) WHERE id % 10 = 0");
    let mut vacuum = pair.target.connect();
    vacuum
        .batch_execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1; SET vacuum_cost_page_hit = 1; SET vacuum_cost_page_miss = 1")
        .expect("settings");
    let cancel = vacuum.cancel_token();
    let vacuum =
        std::thread::spawn(move || vacuum.batch_execute(&format!("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {toast}")));
    poll("VACUUM is on", SOON, || {
        pair.target.text("SELECT count(*) FROM pg_stat_progress_vacuum") == "1"
    });
    let run = pair.sync_in_background(SYNC);
    until_load_waits(&pair, &run, "ShareUpdateExclusiveLock");
    cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    vacuum.join().expect("the thread ends").expect_err("cancelled");
    assert_eq!(run.join(), Ok(2));
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
}

#[test]
fn autovacuum_gives_way_to_the_load() {
    let pair = with_events("autovacuum_naptime = 1\ncgpsync.lock_timeout = '15s'");
    // Slow with this table alone, so that it comes to it soon.
    pair.target.sql(
        "ALTER TABLE events_0 SET (
           autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
           toast.autovacuum_vacuum_threshold = 1, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_cost_delay = 100,
           toast.autovacuum_vacuum_cost_limit = 1);
         UPDATE events_0 SET note = note || 'x'",
    );
    pair.target.sql("ALTER SYSTEM SET autovacuum = on");
    pair.target.sql("SELECT pg_reload_conf()");
    poll("autovacuum is at it", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM %' AND (query LIKE '%events_0%' OR query LIKE '%toast%')")
            != "0"
    });
    pair.copied(SYNC);
    swapped::all_swapped(&pair);
    assert_eq!(versions(&pair), ["events_0 2", "events_1 2"]);
}

#[test]
fn whoever_has_read_and_then_alters_is_not_waited_for_without_end() {
    let pair = with_events("");
    let mut reader = long_reader(&pair);
    reader
        .batch_execute("SET statement_timeout = '15s'")
        .expect("a setting");
    let run = swapped::until_first_waits(&pair);
    // This waits for the load, and the load for this transaction. Mostly the load gives way; if it has its hand up just when the server looks for
    // deadlocks, the other one does.
    let altered = reader.batch_execute("ALTER TABLE events_0 SET (fillfactor = 90)");
    let _ = reader.batch_execute("COMMIT");
    assert_eq!(run.join(), Ok(2));
    let message = pair
        .target
        .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1");
    match altered {
        Ok(()) => assert!(
            message.contains("waits for the load to end") && message.contains("40P01"),
            "{message}"
        ),
        Err(error) => assert_eq!(error.code().map(|code| code.code()), Some("40P01"), "{error:?}"),
    }
    pair.same_rows("events", "true");
}

#[test]
fn grants_wait_for_the_load_and_never_stop_it() {
    let pair = with_events("");
    pair.target.sql("CREATE ROLE someone; CREATE ROLE sometwo");
    // One that is not committed yet when the storage is to be renewed.
    let mut early = pair.target.connect();
    early
        .batch_execute("BEGIN; GRANT SELECT ON events_0 TO someone")
        .expect("a grant");
    let run = pair.sync_in_background(SYNC);
    poll("the load has met it", SOON, || {
        run.is_finished()
            || pair.target.text(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker' AND wait_event_type = 'Lock'",
            ) == "1"
            || pair.target.text("SELECT max(attempts) > 1 FROM cgpsync_run_partition") == "t"
    });
    early.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    assert_eq!(
        pair.target
            .text("SELECT has_table_privilege('someone', 'events_0', 'SELECT')"),
        "t"
    );
    swapped::advance(&pair);
    // One that comes while it is loaded.
    let mut reader = long_reader(&pair);
    let run = swapped::until_first_waits(&pair);
    let mut late = pair.target.connect();
    let grant = std::thread::spawn(move || late.batch_execute("GRANT SELECT ON events_0 TO sometwo"));
    poll("the grant waits", SOON, || {
        grant.is_finished()
            || pair
                .target
                .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'GRANT%' AND wait_event_type = 'Lock'")
                == "1"
    });
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    let granted = grant.join().expect("the thread ends");
    let has = pair
        .target
        .text("SELECT has_table_privilege('sometwo', 'events_0', 'SELECT')");
    assert_eq!(has == "t", granted.is_ok(), "{granted:?}");
    assert_eq!(
        pair.target
            .text("SELECT has_table_privilege('someone', 'events_0', 'SELECT')"),
        "t"
    );
    pair.same_rows("events", "true");
}
