//! Readers of a partition that is replaced: whatever they are, they see the old rows or the new ones.

use crate::support::swapped::{self, How, PART_IS_WHOLE, Readers, TABLE_IS_WHOLE, ask, look, old_snapshot};
use crate::support::{Pair, SOON, poll};

const ALL_WAYS: [How; 4] = [How::Simple, How::Prepared, How::Anew, How::Indexed];

fn with_events(conf: &str) -> Pair {
    let pair = Pair::with("", conf);
    swapped::events(&pair);
    swapped::replace(&pair);
    pair
}

#[test]
fn no_reader_sees_an_empty_partition_or_a_mix_of_rows() {
    let pair = with_events("");
    swapped::checks(&pair.target);
    let readers = Readers::start(&pair.target, &ALL_WAYS);
    for round in 2..6 {
        assert_eq!(swapped::replace(&pair), round.to_string());
        readers.until_each_has_read(3);
    }
    readers.finish();
    swapped::is_sound(&pair.target, "events");
    pair.same_rows("events", "true");
}

#[test]
fn no_reader_of_a_standby_does_either() {
    let pair = with_events("");
    swapped::checks(&pair.target);
    let standby = pair.target.standby();
    let readers = Readers::start(&standby, &ALL_WAYS);
    for _ in 0..3 {
        let version = swapped::replace(&pair);
        poll("the standby has it", SOON, || {
            standby.text("SELECT min(version) FROM events") == version
        });
        readers.until_each_has_read(3);
    }
    readers.finish();
    swapped::is_sound(&standby, "events");
}

#[test]
fn a_snapshot_from_before_the_swap_sees_the_new_rows_whole() {
    // Where a standby's old snapshot would keep it from following, the primary keeps what it needs.
    let pair = with_events("hot_standby_feedback = on\nwal_receiver_status_interval = 1");
    let standby = pair.target.standby();
    let mut sessions = vec![old_snapshot(&pair.target), old_snapshot(&standby)];
    let mut serializable = pair.target.connect();
    serializable
        .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM pg_class")
        .expect("a snapshot");
    sessions.push(serializable);
    swapped::replace(&pair);
    let version = swapped::replace(&pair);
    poll("the standby has it", SOON, || {
        standby.text("SELECT min(version) FROM events") == version
    });
    for client in &mut sessions {
        assert_eq!(ask(client, &look("events_0")), PART_IS_WHOLE);
        assert_eq!(ask(client, &look("events")), TABLE_IS_WHOLE);
        client
            .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            .expect("settings");
        assert_eq!(ask(client, &look("events_0 WHERE version >= 0")), PART_IS_WHOLE);
        assert_eq!(ask(client, "SELECT max(version) FROM events"), version);
        client.batch_execute("COMMIT").expect("the end");
    }
}

#[test]
fn a_stable_function_that_was_called_before_the_swap_sees_the_rows_whole() {
    let pair = with_events("");
    pair.target.sql(&format!(
        "CREATE FUNCTION look() RETURNS text STABLE LANGUAGE plpgsql AS $f$
         BEGIN PERFORM pg_advisory_xact_lock(1); RETURN ({}); END $f$",
        look("events_0")
    ));
    let gate = pair.target.close_gate();
    let mut client = pair.target.connect();
    let answer = std::thread::spawn(move || ask(&mut client, "SELECT look()"));
    pair.target.until_at_gate(1);
    swapped::replace(&pair);
    drop(gate);
    assert_eq!(answer.join().expect("an answer"), PART_IS_WHOLE);
}

#[test]
fn a_cursor_that_was_opened_before_keeps_its_rows_and_the_swap_waits_for_it() {
    let pair = with_events("");
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT version FROM events_0; FETCH 10 FROM c")
        .expect("a cursor");
    swapped::advance(&pair);
    let run = pair.sync_in_background(swapped::SYNC);
    poll("the swap waits", SOON, || {
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE run_id = 2 AND status = 'done'")
            == "1"
    });
    let rows = reader.query("FETCH ALL FROM c", &[]).expect("the other rows");
    assert_eq!(rows.len(), swapped::ROWS - 10);
    assert!(rows.iter().all(|row| row.get::<_, i32>(0) == 1));
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    pair.same_rows("events", "true");
}
