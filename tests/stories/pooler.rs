//! A source behind a pooler. In transaction mode everything is exact, and its connections are afterwards as they were before; what cannot keep
//! a transaction together is refused before anything is replaced.

use crate::support::clock::Clock;
use crate::support::cluster::GATE;
use crate::support::fake::Lie;
use crate::support::pki::Authority;
use crate::support::pooler::{Pooler, lacks_pooler};
use crate::support::proxy::Proxy;
use crate::support::scene::{COPY, PLAN, SYNC, TEXT, VERIFY, scene};
use crate::support::{Pair, SOON, poll};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const BUSY: &str = "default_pool_size = 8\nmin_pool_size = 4\nignore_startup_parameters = extra_float_digits";

/// A role whose settings are not those that a copy needs, and tables that it reads. The server `pool` reaches them through the pooler.
fn readers_tables(pair: &Pair, pooler: &Pooler) {
    pair.source.sql(
        "CREATE ROLE reader LOGIN PASSWORD 'r'; ALTER ROLE reader SET extra_float_digits = 0;
         ALTER ROLE reader SET \"DateStyle\" = 'SQL, DMY'; ALTER ROLE reader SET search_path = public;
         CREATE TABLE t (id int, x float8, at date) PARTITION BY RANGE (id);
         DO $$ BEGIN FOR i IN 0..19 LOOP
           EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', i, i * 50, (i + 1) * 50);
         END LOOP; END $$;
         INSERT INTO t SELECT g, 1.0 / 3 + g, date '2017-01-01' + g % 28 FROM generate_series(0, 999) g;
         CREATE TABLE hidden (id int, tenant text);
         INSERT INTO hidden SELECT g, CASE WHEN g % 2 = 0 THEN 'mine' ELSE 'theirs' END FROM generate_series(1, 1000) g;
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
         CREATE POLICY mine ON hidden FOR SELECT TO reader USING (tenant = 'mine');
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    pair.target.sql(&format!(
        "CREATE TABLE t (id int, x numeric, at text) PARTITION BY RANGE (id);
         CREATE TABLE hidden (id int, tenant text); INSERT INTO hidden VALUES (0, 'old');
         CREATE SERVER pool FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
         CREATE USER MAPPING FOR postgres SERVER pool OPTIONS (user 'reader', password 'r')",
        pooler.port
    ));
}

/// What the processes of a server are doing.
const DOING: &str =
    "SELECT string_agg(concat_ws(' ', backend_type, state, wait_event_type, wait_event, left(query, 60)), '; ')
    FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync%' OR backend_type = 'client backend'";

/// In place of a startup message's version (pqcomm.h, CANCEL_REQUEST_CODE).
const CANCEL_REQUEST: [u8; 4] = [4, 210, 22, 46];

/// What is asked of each connection of the pool.
const SETTINGS: &str = "SELECT concat_ws(' ', current_setting('search_path'), current_setting('statement_timeout'),
    current_setting('DateStyle'), current_setting('extra_float_digits'), current_setting('row_security'), current_setting('client_encoding'),
    current_setting('TimeZone'), current_setting('jit', true), (SELECT count(*) FROM pg_prepared_statements),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' AND relation IS DISTINCT FROM 'pg_locks'::regclass))";

/// What clients of the pool find, on all of its connections.
fn found(pooler: &Pooler) -> BTreeSet<String> {
    let found = (0..24).map(|_| {
        let mut client = pooler.connect("reader", "r");
        let rows = client.simple_query(SETTINGS).expect("settings");
        rows.iter()
            .find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .expect("a row")
    });
    found.collect()
}

#[test]
fn in_transaction_mode_the_copy_is_exact_and_connections_stay_as_they_were() {
    if lacks_pooler() {
        return;
    }
    let pair = Pair::new();
    let mut pooler = Pooler::start(&pair.source, "transaction", BUSY);
    readers_tables(&pair, &pooler);
    let before = found(&pooler);
    assert_eq!(before.len(), 1, "{before:?}");
    // Others are busy on the pooler meanwhile.
    let over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let (over, mut client) = (over.clone(), pooler.connect("reader", "r"));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    client
                        .batch_execute("BEGIN; SELECT count(*) FROM t; COMMIT")
                        .expect("a query");
                }
            })
        })
        .collect();
    for round in 1..=3 {
        assert_eq!(
            pair.copied("'t', '1000', 4, source => 'pool', since => '0'").len(),
            20,
            "{round}"
        );
        assert_eq!(
            pair.target
                .text("SELECT concat(count(*), ' ', sum(x), ' ', min(at)) FROM t"),
            pair.source.text(
                "SET extra_float_digits = 1; SELECT concat(count(*), ' ', sum(x::text::numeric), ' ', min(at)) FROM t"
            ),
            "{round}"
        );
        let error = pair.sync("'hidden', '1', source => 'pool'").expect_err("a policy");
        assert_eq!(error.code().code(), "42501", "{error:?}");
        assert_eq!(pair.target.list("SELECT tenant FROM hidden"), ["old"]);
        let matches = "SELECT count(*) FROM cgpsync_verify('t', '1000', source => 'pool') WHERE matches";
        assert_eq!(pair.target.text(matches), "20");
        assert_eq!(
            pair.target
                .text("SELECT count(*) FROM cgpsync_plan('t', '1000', source => 'pool', since => '0')"),
            "20"
        );
    }
    pair.target.sql("CREATE SCHEMA other");
    let made = pair
        .target
        .text("SELECT cgpsync_create_table('t', 'other.t', 'pool')::text");
    assert_eq!(made, "other.t");
    over.store(true, Ordering::Relaxed);
    others
        .into_iter()
        .for_each(|other| other.join().expect("no other one was disturbed"));
    assert_eq!(found(&pooler), before);
    assert!(pooler.is_up());
}

#[test]
fn in_session_mode_it_works_as_without() {
    if lacks_pooler() {
        return;
    }
    let pair = Pair::new();
    let pooler = Pooler::start(&pair.source, "session", BUSY);
    readers_tables(&pair, &pooler);
    let before = found(&pooler);
    assert_eq!(pair.copied("'t', '1000', 4, source => 'pool'").len(), 20);
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "1000");
    assert_eq!(found(&pooler), before);
}

#[test]
fn in_statement_mode_it_is_refused() {
    if lacks_pooler() {
        return;
    }
    let pair = Pair::new();
    let pooler = Pooler::start(&pair.source, "statement", BUSY);
    readers_tables(&pair, &pooler);
    let error = pair
        .sync("'hidden', '1', source => 'pool'")
        .expect_err("no transactions");
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("pool_mode")), "{error:?}");
    assert_eq!(pair.target.list("SELECT tenant FROM hidden"), ["old"]);
}

/// Something that shares out the statements of a transaction, or keeps settings to itself.
#[test]
fn what_does_not_keep_a_transaction_in_one_session_is_refused_before_anything_is_replaced() {
    let scene = scene();
    let refused = ("0A000", "does not keep a transaction in one session");
    let settings = "pg_catalog.current_setting('row_security')";
    let row_security = |values: &mut Vec<Option<Vec<u8>>>| {
        let last = values.iter().rposition(|value| value.as_deref() == Some(b"off"));
        values[last.expect("a value")] = Some(b"on".to_vec());
    };
    for sql in [SYNC, TEXT, PLAN, VERIFY] {
        scene.fails("a setting", sql, vec![(settings, Lie::rows(row_security))], refused);
    }
    // Which process has answered, after the rows have been read.
    let process = Lie::rows(|values| {
        if values.len() == 1 {
            values[0] = Some(b"1".to_vec());
        }
    });
    for sql in [SYNC, TEXT, VERIFY] {
        let after = "; SELECT CAST(pg_catalog.pg_backend_pid() AS text)";
        scene.fails("another process", sql, vec![(after, process.clone())], refused);
    }
    assert!(scene.call(TEXT, vec![(COPY, Lie::ask("COPY", "COPY"))]).is_ok());
    scene.end();
}

#[test]
fn a_cancel_stops_its_own_statement_and_the_pooler_does_not_fall_over() {
    if lacks_pooler() {
        return;
    }
    let pair = Pair::new();
    cancels(&pair, Pooler::start(&pair.source, "transaction", BUSY));
}

/// Saying goodbye on a connection with TLS is leaving, too.
#[test]
fn nor_does_a_pooler_with_tls() {
    if lacks_pooler() {
        return;
    }
    let authority = Authority::new();
    let issued = authority.issue("pooler", "");
    let tls = format!(
        "{BUSY}\nclient_tls_sslmode = allow\nclient_tls_key_file = {}\nclient_tls_cert_file = {}",
        issued.key, issued.certificate
    );
    let pair = Pair::new();
    cancels(&pair, Pooler::start(&pair.source, "transaction", &tls));
}

fn cancels(pair: &Pair, mut pooler: Pooler) {
    readers_tables(pair, &pooler);
    pair.source.sql(&format!(
        "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM {GATE}; RETURN $1; END';
         CREATE VIEW gated AS SELECT slow(id) AS id FROM t; GRANT SELECT ON gated TO reader"
    ));
    pair.target.sql("CREATE TABLE gated (id int)");
    let over = Arc::new(AtomicBool::new(false));
    let (ended, mut client) = (over.clone(), pooler.connect("reader", "r"));
    let other = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            client
                .batch_execute("SELECT count(*) FROM t a, t b")
                .expect("nobody cancels this");
        }
    });
    for round in 0..12 {
        let gate = pair.source.close_gate();
        let run = pair.sync_in_background("'gated', '1', source => 'pool'");
        pair.source.until_at_gate(1);
        run.cancel.cancel_query(postgres::NoTls).expect("a cancel");
        let error = run.join().expect_err("cancelled");
        assert!(error.starts_with("57014"), "{round}: {error}");
        // The pooler's own connections to the source stay.
        poll("no process of the run is left", Duration::from_secs(2), || {
            pair.target
                .text("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync %'")
                == "0"
        });
        // The statement over there has ended too.
        poll("nobody waits at the gate", SOON, || {
            pair.source
                .text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'")
                == "0"
        });
        drop(gate);
        assert!(pooler.is_up(), "{round}");
    }
    // A failure of this side, when the source has nothing to do any more, cancels nothing over there.
    let proxy = Proxy::start(pooler.port);
    pair.target.sql(&format!(
        "ALTER SERVER pool OPTIONS (SET port '{}', ADD sslmode 'disable');
         CREATE TABLE narrow (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        proxy.port
    ));
    pair.source
        .sql("CREATE VIEW doubled AS SELECT 1 AS id FROM t LIMIT 2; GRANT SELECT ON doubled TO reader");
    for _ in 0..5 {
        let error = pair.sync("'narrow', '1', source => 'pool', source_table => 'doubled'");
        assert_eq!(error.expect_err("a constraint").code().code(), "23505");
    }
    let is_cancel = |opening: &Vec<u8>| opening.get(4..8) == Some(&CANCEL_REQUEST);
    let openings = proxy.openings();
    assert!(openings.len() >= 10, "{}", openings.len());
    assert_eq!(openings.iter().filter(|opening| is_cancel(opening)).count(), 0);
    over.store(true, Ordering::Relaxed);
    other.join().expect("no other one was disturbed");
    assert!(pooler.is_up());
}

#[test]
fn a_pool_that_is_too_small_is_named_and_a_worker_less_will_do() {
    if lacks_pooler() {
        return;
    }
    let pair = Pair::with("", "cgpsync.connect_timeout = 1\ncgpsync.max_retries = 1");
    let pooler = Pooler::start(&pair.source, "transaction", "default_pool_size = 2");
    readers_tables(&pair, &pooler);
    // One worker has the connection for as long as the gate is closed.
    pair.target.sql(&format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM {GATE}; RETURN new; END';
         DO $$ BEGIN FOR i IN 0..19 LOOP
           EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', i, i * 50, (i + 1) * 50);
         END LOOP; END $$;
         CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait()"
    ));
    let gate = pair.target.close_gate();
    let run = pair.sync_in_background("'t', '1000', 3, source => 'pool'");
    let said = "SELECT count(*) FROM cgpsync_run WHERE message LIKE '%running with a worker less: server \"pool\" does not answer within 6 s [53300]%'";
    let begun = Clock::start();
    while pair.target.text(said) != "1" {
        // It has failed once on a busy machine: what the run says then tells why.
        let state = "SELECT concat_ws(' ', status, message, (SELECT string_agg(concat_ws(' ', status, error_message), ', ') FROM cgpsync_run_partition)) FROM cgpsync_run";
        assert!(
            begun.elapsed() < 2 * SOON,
            "no worker gives way: {}; here: {}; there: {}",
            pair.target.text(state),
            pair.target.text(DOING),
            pair.source.text(DOING)
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    drop(gate);
    assert_eq!(run.join().expect("the others do its work"), 20);
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "1000");
    pair.target.sql("DELETE FROM sync_table; DROP TRIGGER wait ON t");
    drop(pooler);
    // With the run's own session only, nobody can read; that is found out once, not for each partition.
    let pooler = Pooler::start(&pair.source, "transaction", "default_pool_size = 1");
    pair.target
        .sql(&format!("ALTER SERVER pool OPTIONS (SET port '{}')", pooler.port));
    let began = Clock::start();
    let error = pair
        .sync("'t', '1000', 2, source => 'pool'")
        .expect_err("no connection is left");
    assert_eq!(error.code().code(), "53300", "{error:?}");
    assert!(error.message().contains("20 of 20 partitions"), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "1000");
}
