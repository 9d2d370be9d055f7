//! Comparing both sides: what is equal is called equal however it prints, what is not is found, and nothing changes.

use crate::support::clock::Clock;
use crate::support::cluster::GATE;
use crate::support::comparing::{Said, said, try_verify, verify};
use crate::support::{Pair, SOON, cancel_impatiently, poll};
use postgres::NoTls;

/// Only this partition could not be compared, with this SQLSTATE; the others match.
fn fails_alone(rows: &[Said], partition: &str, code: &str) {
    for (name, matches, error) in rows {
        let is_it = name.as_deref() == Some(partition);
        // A HINT may follow it.
        let has_code = error.as_ref().is_some_and(|text| text.contains(&format!(" [{code}]")));
        assert_eq!((*matches, has_code), ((!is_it).then_some(true), is_it), "{rows:?}");
    }
    assert!(rows.iter().any(|row| row.0.as_deref() == Some(partition)), "{rows:?}");
}

/// The partitions that do not match.
fn differing(pair: &Pair, arguments: &str) -> Vec<String> {
    let rows = verify(pair, arguments).into_iter().filter(|row| !row.1);
    rows.map(|row| row.0).collect()
}

#[test]
fn one_changed_value_and_missing_and_doubled_rows_are_found_where_they_are() {
    let pair = Pair::new();
    pair.persons(50);
    pair.copied("'persons', '20171231'");
    assert_eq!(verify(&pair, "'persons', method => 'checksum'").len(), 12);
    assert_eq!(differing(&pair, "'persons', method => 'checksum'"), [""; 0]);
    pair.target.sql(
        "UPDATE persons SET note = 'other' WHERE id = 7 AND born < '2017-02-01'; DELETE FROM persons_201703 WHERE id = 1;
         INSERT INTO persons_201704 SELECT * FROM persons_201704 WHERE id = 1;
         DELETE FROM persons_201705 WHERE id = 1; INSERT INTO persons_201705 SELECT * FROM persons_201705 WHERE id = 2",
    );
    assert_eq!(
        differing(&pair, "'persons'"),
        ["persons_201703", "persons_201704"],
        "counts"
    );
    assert_eq!(
        differing(&pair, "'persons', method => 'checksum', parallelism => 5"),
        ["persons_201701", "persons_201703", "persons_201704", "persons_201705"]
    );
    let found = verify(&pair, "'persons', '20170331', '20170301'");
    assert_eq!(found, [("persons_201703".to_owned(), false, 50, 49)]);
}

#[test]
fn end_tm_and_since_choose_partitions_and_the_remembered_point_is_the_default() {
    let pair = Pair::new();
    pair.persons(5);
    let names = |arguments: &str| -> Vec<String> { verify(&pair, arguments).into_iter().map(|row| row.0).collect() };
    assert_eq!(names("'persons'").len(), 12, "nothing is remembered");
    pair.copied("'persons', '20170310'");
    assert_eq!(
        names("'persons'"),
        ["persons_201701", "persons_201702", "persons_201703"]
    );
    assert_eq!(names("'persons', since => '20170301'"), ["persons_201703"]);
    assert_eq!(
        names("'persons', '201711', since => '20171015'"),
        ["persons_201710", "persons_201711"]
    );
    assert_eq!(names("'persons_201709'"), ["persons_201709"]);
}

#[test]
fn a_source_that_is_not_partitioned_is_compared_by_slices() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (k timestamptz, v text); INSERT INTO t SELECT timestamptz '2017-01-01 00:00:00+00' + g * interval '1 hour', g FROM generate_series(0, 999) g");
    pair.target.sql(
        "CREATE TABLE t (k timestamptz, v text) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01 00:00:00+00') TO ('2017-02-01 00:00:00+00');
         CREATE TABLE t_2 PARTITION OF t DEFAULT",
    );
    pair.copied("'t', '20170301'");
    let all = "'t', method => 'checksum'";
    assert_eq!(
        verify(&pair, all),
        [("t_1".into(), true, 744, 744), ("t_2".into(), true, 256, 256)]
    );
    pair.source.sql("UPDATE t SET v = 'x' WHERE v = '900'");
    assert_eq!(differing(&pair, all), ["t_2"]);
    let read = "SELECT DISTINCT source_relation || (source_filter IS NOT NULL) FROM cgpsync_verify('t')";
    assert_eq!(pair.target.list(read), ["\"public\".\"t\"true"]);
}

#[test]
fn bad_arguments_get_clear_errors() {
    let pair = Pair::new();
    pair.persons(1);
    let mut client = pair.target.connect();
    for (arguments, code, words) in [
        ("'persons', method => 'guess'", "22023", "method \"guess\""),
        ("NULL", "22023", "table_name"),
        ("'nothing'", "42P01", "nothing"),
        (
            "'persons', source_table => 'nothing'",
            "42P01",
            "\"public\".\"nothing\" does not exist on server",
        ),
        ("'persons', source => 'nowhere'", "42704", "nowhere"),
        ("'persons', parallelism => 0", "22023", "parallelism"),
        (
            "'persons', 'gestern'",
            "22023",
            "end_tm \"gestern\" cannot be read as date",
        ),
        ("'persons', '201701', since => '201703'", "22023", "earlier than since"),
        ("'cgpsync_run_id_seq'", "42809", "a sequence"),
    ] {
        let error = try_verify(&mut client, arguments).expect_err(arguments);
        assert_eq!(error.code().code(), code, "{arguments}: {error:?}");
        assert!(error.message().contains(words), "{arguments}: {error:?}");
    }
}

#[test]
fn nothing_is_written_and_a_standby_or_a_read_only_transaction_will_do() {
    let mut pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20171231'");
    let state = "SELECT (SELECT count(*) FROM cgpsync_run) || ' ' || (SELECT count(*) FROM cgpsync_run_partition)";
    let before = pair.target.text(state);
    let mut client = pair.target.connect();
    for begin in [
        "BEGIN READ ONLY",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "BEGIN",
    ] {
        client.batch_execute(begin).expect("a transaction");
        let rows = try_verify(&mut client, "'persons', method => 'checksum'").expect("a comparison");
        assert!(rows.len() == 12 && rows.iter().all(|row| row.1), "{rows:?}");
        let locks = "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'";
        let modes: Vec<String> = client
            .query(locks, &[])
            .expect("locks")
            .iter()
            .map(|r| r.get(0))
            .collect();
        assert_eq!(modes, ["AccessShareLock"]);
        let writes = client.query_one("SELECT pg_current_xact_id_if_assigned() IS NOT NULL", &[]);
        assert!(!writes.expect("an answer").get::<_, bool>(0));
        client.batch_execute("COMMIT").expect("a commit");
    }
    assert_eq!(pair.target.text(state), before);
    pair.target.stop("INT");
    std::fs::write(pair.target.dir.join("standby.signal"), "").expect("a file");
    pair.target.boot();
    assert_eq!(differing(&pair, "'persons', method => 'checksum'"), [""; 0]);
}

#[test]
fn it_takes_select_and_no_policy_may_hide_rows() {
    let pair = Pair::new();
    pair.persons(5);
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON persons TO reader");
    pair.target.sql(
        "CREATE ROLE auditor LOGIN; GRANT USAGE ON FOREIGN SERVER src TO auditor;
         CREATE USER MAPPING FOR auditor SERVER src OPTIONS (user 'reader', password 'r')",
    );
    pair.copied("'persons', '20171231'");
    let mut client = pair.target.connect_as("auditor");
    let rows = said(&mut client, "'persons'");
    let is_denied = |error: &str| {
        error.contains("permission denied for table persons_20") && error.contains("[42501] Hint: GRANT SELECT")
    };
    assert!(
        rows.len() == 12
            && rows
                .iter()
                .all(|row| row.1.is_none() && row.2.as_deref().is_some_and(is_denied)),
        "{rows:?}"
    );
    pair.target
        .sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor");
    assert_eq!(try_verify(&mut client, "'persons'").expect("a comparison").len(), 12);
    pair.target
        .sql("ALTER TABLE persons_201703 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON persons_201703 USING (id = 1)");
    fails_alone(&said(&mut client, "'persons'"), "persons_201703", "42501");
    pair.target.sql("REVOKE USAGE ON FOREIGN SERVER src FROM auditor");
    assert_eq!(
        try_verify(&mut client, "'persons'")
            .expect_err("no USAGE")
            .code()
            .code(),
        "42501"
    );
}

/// A view whose every part asks for `wait` on the source before it gives a row, and a table of four partitions here.
fn slow(pair: &Pair, wait: &str) {
    pair.source.sql(&format!(
        "CREATE VIEW crawling AS SELECT s.k FROM (SELECT 1 AS k, {wait} OFFSET 0) s"
    ));
    pair.target.sql(
        "CREATE TABLE t (k int) PARTITION BY RANGE (k);
         DO $$ BEGIN FOR i IN 0..3 LOOP
           EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
         END LOOP; END $$;
         INSERT INTO t VALUES (1)",
    );
}

#[test]
fn the_sources_units_run_side_by_side() {
    let pair = Pair::new();
    slow(&pair, GATE);
    let gate = pair.source.close_gate();
    let mut client = pair.target.connect();
    let compare = "'t', source_table => 'crawling', parallelism => 4";
    let call = std::thread::spawn(move || try_verify(&mut client, compare));
    pair.source.until_at_gate(4);
    drop(gate);
    let rows = call.join().expect("the thread ends").expect("a comparison");
    assert!(rows.len() == 4 && rows.iter().all(|row| row.1), "{rows:?}");
}

#[test]
fn all_of_the_source_is_read_in_one_snapshot() {
    let pair = Pair::with("log_statement = all", "");
    slow(&pair, GATE);
    let gate = pair.source.close_gate();
    pair.source.sql(
        "CREATE TABLE rows (k int); INSERT INTO rows VALUES (1);
         CREATE VIEW creeping AS SELECT r.k FROM crawling c, rows r",
    );
    let mut client = pair.target.connect();
    let compare = "'t', source_table => 'creeping', parallelism => 2";
    let call = std::thread::spawn(move || try_verify(&mut client, compare));
    pair.source.until_at_gate(2);
    // Two of the four partitions are asked for after this.
    pair.source.sql("INSERT INTO rows SELECT generate_series(0, 3)");
    drop(gate);
    let rows = call.join().expect("the thread ends").expect("a comparison");
    assert!(rows.len() == 4 && rows.iter().all(|row| row.1), "{rows:?}");
    assert_eq!(
        pair.source.log().matches("SET TRANSACTION SNAPSHOT").count(),
        1,
        "the second session joins"
    );
}

#[test]
fn a_source_that_cannot_share_a_snapshot_is_compared_without() {
    let pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20171231'");
    pair.source.sql(
        "CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
         REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC",
    );
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'reader', SET password 'r')");
    let (mut client, notices) = pair.target.connect_with_notices();
    let rows = try_verify(&mut client, "'persons', method => 'checksum'").expect("a comparison");
    assert!(rows.len() == 12 && rows.iter().all(|row| row.1), "{rows:?}");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("server \"src\" cannot share a snapshot"), "{notices}");
}

/// Starts a comparison that waits for the locks of `here` while `meanwhile` happens on the source; then `here` is committed.
fn interrupted(pair: &Pair, begin: &str, here: &str, meanwhile: &str) -> Vec<Said> {
    let mut holder = pair.target.connect();
    holder.batch_execute(&format!("BEGIN; {here}")).expect("a lock");
    let mut client = pair.target.connect();
    client.batch_execute(begin).expect("a transaction");
    let call = std::thread::spawn(move || said(&mut client, "'persons', method => 'checksum'"));
    poll("the comparison waits", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            == "1"
    });
    pair.source.sql(meanwhile);
    holder.batch_execute("COMMIT").expect("a commit");
    call.join().expect("the thread ends")
}

#[test]
fn what_is_replaced_meanwhile_is_not_taken_for_empty() {
    let pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20171231'");
    let replace = "CREATE TEMP TABLE kept AS TABLE persons_201703; TRUNCATE persons_201703; INSERT INTO persons_201703 TABLE kept";
    for begin in [
        "BEGIN",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cgpsync_run",
    ] {
        let rows = interrupted(&pair, begin, replace, "");
        assert!(
            rows.len() == 12 && rows.iter().all(|row| row.1 == Some(true)),
            "{begin}: {rows:?}"
        );
    }
    let rows = interrupted(&pair, "", "LOCK TABLE persons_201712", "TRUNCATE persons_201703");
    fails_alone(&rows, "persons_201703", "40001");
}

/// Starts a comparison of `slow` and waits until it has three statements under way and this side waits (for `Extension`) or works (for
/// nothing); then `end`s it. Its SQLSTATE.
fn ended_early(pair: &Pair, settings: &str, waits_for: &str, end: impl FnOnce(i32, &postgres::CancelToken)) -> String {
    let mut client = pair.target.connect();
    client.batch_execute(settings).expect("settings");
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    let cancel = client.cancel_token();
    let call = std::thread::spawn(move || {
        let sql = "SELECT FROM cgpsync_verify('t', source_table => 'crawling', method => 'checksum')";
        let error = client.query(sql, &[]).expect_err("it ends early");
        error
            .as_db_error()
            .map_or_else(|| error.to_string(), |e| e.code().code().to_owned())
    });
    let there = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync verify: %' AND wait_event = 'PgSleep'";
    let here = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}");
    poll("three statements are under way", SOON, || {
        pair.source.text(there) == "3" && pair.target.text(&here) == waits_for
    });
    end(pid, &cancel);
    let start = Clock::start();
    let code = call.join().expect("the thread ends");
    pair.all_gone_within_two_seconds(start);
    code
}

#[test]
fn whatever_ends_it_nothing_is_left_on_the_source() {
    let pair = Pair::new();
    slow(&pair, "pg_sleep(60)");
    let cancel = |_, token: &postgres::CancelToken| token.cancel_query(NoTls).expect("a cancel request");
    let terminate = |pid, _: &postgres::CancelToken| pair.target.sql(&format!("SELECT pg_terminate_backend({pid})"));
    assert_eq!(ended_early(&pair, "", "Extension", cancel), "57014");
    let timed_out = |pid, _: &postgres::CancelToken| {
        poll("the timeout is over", SOON, || {
            pair.target
                .text(&format!("SELECT state FROM pg_stat_activity WHERE pid = {pid}"))
                != "active"
        });
    };
    assert_eq!(
        ended_early(&pair, "SET statement_timeout = '12s'", "Extension", timed_out),
        "57014"
    );
    // The stories' client may see the end of the connection before it looks at the server's last message.
    let terminated = |code: String| assert!(["57P01", "connection closed"].contains(&code.as_str()), "{code}");
    terminated(ended_early(&pair, "", "Extension", terminate));

    // Somebody who asks again and again, and the server does it twice by itself: for the process, and for its group.
    let impatient = |_, token: &postgres::CancelToken| cancel_impatiently(token);
    for _ in 0..3 {
        assert_eq!(ended_early(&pair, "", "Extension", impatient), "57014");
    }

    // In the middle of a statement here, too.
    pair.target
        .sql("INSERT INTO t SELECT 0 FROM generate_series(1, 3000000)");
    let alone = "SET max_parallel_workers_per_gather = 0";
    assert_eq!(ended_early(&pair, alone, "", cancel), "57014");
    terminated(ended_early(&pair, alone, "", terminate));
    assert!(
        !pair.target.log().contains("was terminated by signal"),
        "no exit was a crash"
    );
}
