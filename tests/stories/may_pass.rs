//! What the source says that may be otherwise next time, and what is not of its saying.

use crate::support::fake::{self, Fake, Lie};
use crate::support::needs;
use crate::support::{Pair, SOON, poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An error in place of the first message that tells of a COPY, once.
fn refuses_once(code: &'static str) -> Lie {
    let is_told = Arc::new(AtomicBool::new(false));
    Lie::Change(Arc::new(move |tag, _| {
        (tag == b'H' && !is_told.swap(true, Ordering::SeqCst))
            .then(|| fake::report(b'E', &[(b'V', "ERROR"), (b'C', code), (b'M', "not now")]))
    }))
}

#[test]
fn a_source_out_of_memory_or_with_too_old_a_snapshot_is_asked_again_in_a_new_one() {
    for code in ["53200", "72000"] {
        let pair = Pair::new();
        pair.persons(20);
        let fake = Fake::start(pair.source.port);
        pair.create_server("fake", fake.port);
        fake.tell(vec![("COPY", refuses_once(code))]);
        let run = pair.sync_in_background("'persons', '20171231', 2, source => 'fake'");
        poll("it has ended", SOON, || run.is_finished());
        assert_eq!(run.join(), Ok(12), "{code}");
        pair.same_rows("persons", "true");
        let message = pair.target.text("SELECT message FROM cgpsync_run");
        assert!(
            message.contains("could not go on in the run's snapshot") && message.contains("read in a new one"),
            "{message}"
        );
    }
}

#[test]
fn an_error_that_is_about_a_server_behind_the_source_is_not_taken_for_the_loss_of_the_source() {
    let pair = Pair::new();
    if needs::lacks_module("postgres_fdw") {
        return;
    }
    pair.both("CREATE TABLE t (id int, k int) PARTITION BY LIST (k)");
    pair.both("CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)");
    pair.target.sql("CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)");
    pair.source.sql(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER behind FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
         CREATE USER MAPPING FOR postgres SERVER behind;
         CREATE FOREIGN TABLE t_2 PARTITION OF t FOR VALUES IN (2) SERVER behind;
         INSERT INTO t SELECT g, 1 FROM generate_series(1, 10) g",
    );
    let error = pair.sync("'t', '1'").expect_err("what is behind cannot be reached");
    assert_eq!(error.code().code(), "08001", "{error:?}");
    let attempts = "SELECT string_agg(partition || ' ' || status || ' ' || attempts, ', ' ORDER BY partition) FROM cgpsync_run_partition";
    assert_eq!(pair.target.text(attempts), "t_1 done 1, t_2 failed 1");
    // The hint is the source's.
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains("could not connect to server \"behind\""), "{detail}");
}

#[test]
fn how_severe_an_error_is_does_not_depend_on_the_language_of_the_source() {
    let pair = Pair::new();
    pair.persons(5);
    let fake = Fake::start(pair.source.port);
    pair.create_server("fake", fake.port);
    let refusal = fake::report(
        b'E',
        &[(b'S', "FEHLER"), (b'V', "ERROR"), (b'C', "08006"), (b'M', "nicht da")],
    );
    fake.tell(vec![("COPY", Lie::instead(b'H', refusal))]);
    let error = pair
        .sync("'persons', '20170101', source => 'fake'")
        .expect_err("what is behind");
    assert_eq!(error.code().code(), "08006", "{error:?}");
    assert_eq!(pair.target.text("SELECT attempts FROM cgpsync_run_partition"), "1");
}

#[test]
fn an_error_here_about_a_connection_of_somebodys_trigger_is_not_the_loss_of_the_source() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (id int)");
    pair.source.sql("INSERT INTO t VALUES (1)");
    pair.target.sql(
        "CREATE FUNCTION calls() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'the other one is gone' USING ERRCODE = '08006', HINT = 'Look for it.'; END $$;
         CREATE TRIGGER calls BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION calls()",
    );
    let error = pair.sync("'t', '1'").expect_err("the trigger");
    assert_eq!(error.code().code(), "08006", "{error:?}");
    assert!(
        error
            .detail()
            .is_some_and(|detail| detail.contains("Hint: Look for it.")),
        "{error:?}"
    );
    assert_eq!(pair.target.text("SELECT attempts FROM cgpsync_run_partition"), "1");
}

#[test]
fn a_hint_of_the_source_reaches_the_caller_and_the_history() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (id int)");
    pair.source.sql(
        "CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'not this one' USING HINT = 'Take another.'; END $$;
         CREATE VIEW v AS SELECT fails() AS id",
    );
    let error = pair.sync("'t', '1', source_table => 'v'").expect_err("the view");
    assert!(
        error
            .detail()
            .is_some_and(|detail| detail.contains("Hint: Take another.")),
        "{error:?}"
    );
    assert_eq!(
        pair.target.text("SELECT error_hint FROM cgpsync_run_partition"),
        "Take another."
    );
}

#[test]
fn a_run_that_has_nothing_to_say_says_nothing() {
    let pair = Pair::new();
    pair.persons(5);
    let (_, told) = pair.told("'persons', '20170101'");
    assert!(told.lines().all(|line| line.contains(" rows, ")), "{told}");
    assert_eq!(pair.target.text("SELECT message IS NULL FROM cgpsync_run"), "t");
}
