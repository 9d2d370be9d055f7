//! CALL cgpsync(…): what the function does, for those who may wait for hours and whom nobody must wait for.

use crate::support::clock::Clock;
use crate::support::cluster::GATE;
use crate::support::{Pair, SOON, poll};
use postgres::{Client, NoTls};

/// The source reads behind a gate, which this closes.
fn gated(pair: &Pair) -> Client {
    pair.both("CREATE TABLE t (id int)");
    pair.source.sql(&format!(
        "INSERT INTO t SELECT generate_series(1, 10);
         CREATE VIEW gated AS SELECT id FROM t UNION ALL SELECT 11 FROM (SELECT {GATE}) g"
    ));
    pair.source.close_gate()
}

/// The SQLSTATE of a statement that must fail.
fn refused(client: &mut Client, sql: &str) -> String {
    let error = client.simple_query(sql).expect_err(sql);
    error.code().expect("an error of the server").code().to_owned()
}

#[test]
fn it_does_what_the_function_does_and_says_so() {
    let pair = Pair::new();
    pair.persons(5);
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("CALL cgpsync('persons', '20170201', 2)")
        .expect("a sync");
    pair.same_rows("persons", "born < '2017-03-01'");
    assert_eq!(pair.remembered("persons"), "20170201");
    let told = notices.lock().expect("a lock").join("\n");
    assert!(told.contains("persons_201701: 5 rows"), "{told}");
    assert!(told.contains("run 1 is done: 10 rows in 2 of 2 partitions"), "{told}");
    // Names of arguments, and the error of a run that fails.
    assert_eq!(
        refused(&mut client, "CALL cgpsync('persons', '20170101', source => 'nope')"),
        "42704"
    );
    pair.source.sql("DROP TABLE persons");
    assert_eq!(refused(&mut client, "CALL cgpsync('persons', '20170301')"), "42P01");
    assert_eq!(
        pair.target
            .text("SELECT string_agg(status, ' ' ORDER BY run_id) FROM cgpsync_run"),
        "done failed"
    );
    pair.all_gone();
}

#[test]
fn it_commits_so_it_is_a_statement_of_its_own_or_of_a_procedure() {
    let pair = Pair::new();
    pair.persons(5);
    let mut client = pair.target.connect();
    let call = "CALL cgpsync('persons', '20170101')";
    client.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(refused(&mut client, call), "25001");
    client.batch_execute("ROLLBACK").expect("its end");
    assert_eq!(refused(&mut client, &format!("SELECT 1; {call}")), "25001");
    let function = format!("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {call}; END $$; SELECT f()");
    assert_eq!(refused(&mut client, &function), "25001");
    let caught = format!("DO $$ BEGIN {call}; EXCEPTION WHEN division_by_zero THEN NULL; END $$");
    assert_eq!(refused(&mut client, &caught), "25001");
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_run"), "0");
    client
        .batch_execute(
            "CREATE PROCEDURE nightly() LANGUAGE plpgsql AS $$ BEGIN
               FOR i IN 1..2 LOOP CALL cgpsync('persons', format('20170%s01', i)); END LOOP; END $$",
        )
        .expect("a procedure");
    client.batch_execute("CALL nightly()").expect("two runs");
    client
        .batch_execute(&format!("DO $$ BEGIN {call}; END $$"))
        .expect_err("before the point");
    assert_eq!(pair.remembered("persons"), "20170201");
}

#[test]
fn operators_of_the_callers_own_are_not_called_though_it_has_no_search_path_of_its_own() {
    let pair = Pair::new();
    pair.persons(5);
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute(
            "CREATE SCHEMA mine;
             CREATE FUNCTION mine.same(a name, b name) RETURNS bool LANGUAGE plpgsql AS
               $$ BEGIN RAISE NOTICE 'planted'; RETURN true; END $$;
             CREATE OPERATOR mine.= (LEFTARG = name, RIGHTARG = name, FUNCTION = mine.same);
             CREATE FUNCTION mine.same(a oid, b oid) RETURNS bool LANGUAGE plpgsql AS
               $$ BEGIN RAISE NOTICE 'planted'; RETURN true; END $$;
             CREATE OPERATOR mine.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mine.same);
             CREATE FUNCTION mine.told() RETURNS bigint LANGUAGE plpgsql AS
               $$ BEGIN RAISE NOTICE 'planted'; RETURN 1; END $$;
             CREATE VIEW mine.cgpsync_run AS SELECT mine.told() AS run_id;
             SET search_path = mine, pg_catalog, public",
        )
        .expect("an operator");
    client
        .batch_execute("SELECT extname = 'x' FROM pg_extension")
        .expect("a query");
    let planted = |notices: &[String]| notices.iter().filter(|line| line.contains("planted")).count();
    let before = planted(&notices.lock().expect("a lock"));
    assert!(before > 0, "it is called where it may be");
    client
        .batch_execute("CALL public.cgpsync('public.persons', '20170201', 2)")
        .expect("a sync");
    assert_eq!(planted(&notices.lock().expect("a lock")), before);
    pair.same_rows("persons", "born < '2017-03-01'");
}

#[test]
fn while_it_waits_it_holds_neither_snapshot_nor_lock_whatever_the_isolation_level() {
    for level in ["read committed", "repeatable read", "serializable"] {
        let pair = Pair::new();
        let gate = gated(&pair);
        let mut client = pair.target.connect();
        client
            .batch_execute(&format!("SET default_transaction_isolation = '{level}'"))
            .expect("a setting");
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let call = std::thread::spawn(move || client.batch_execute("CALL cgpsync('t', '1', source_table => 'gated')"));
        pair.source.until_at_gate(1);
        // It looks now and then, with a snapshot for as long as that takes; most of the time it has none.
        let mut without = 0;
        poll("it holds nothing", SOON, || {
            let held = pair.target.text(&format!(
                "SELECT concat_ws(' ', a.backend_xmin, a.backend_xid, (
                   SELECT string_agg(l.locktype, ',') FROM pg_locks l WHERE l.pid = a.pid AND l.locktype <> 'virtualxid'))
                 FROM pg_stat_activity a WHERE a.pid = {pid}"
            ));
            without += u32::from(held.is_empty());
            without == 10
        });
        drop(gate);
        call.join().expect("a thread").expect("a sync");
        assert_eq!(pair.target.text("SELECT count(*) FROM t"), "11", "{level}");
    }
}

#[test]
fn a_cancel_or_the_end_of_its_session_ends_the_run() {
    let pair = Pair::new();
    let _gate = gated(&pair);
    for end in ["cancel", "terminate"] {
        let mut client = pair.target.connect();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let call = std::thread::spawn(move || client.batch_execute("CALL cgpsync('t', '1', source_table => 'gated')"));
        pair.source.until_at_gate(1);
        let since = Clock::start();
        match end {
            "cancel" => cancel.cancel_query(NoTls).expect("a request"),
            _ => pair.target.sql(&format!("SELECT pg_terminate_backend({pid})")),
        }
        assert!(call.join().expect("a thread").is_err());
        pair.all_gone_within_two_seconds(since);
        assert_eq!(
            pair.target
                .text("SELECT status FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
            "cancelled"
        );
    }
}
