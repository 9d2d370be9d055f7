//! What a call is refused or ended for, and the way out: each error's hint is followed, and the call then succeeds.

use crate::support::cluster::GATE;
use crate::support::{Pair, SOON, needs, poll};
use postgres::{Client, SimpleQueryMessage};
use std::thread::JoinHandle;

/// SQLSTATE, and pieces of the message and of the hint.
type Refusal = (&'static str, &'static str, &'static str);

/// An error that somebody meets, and the way its hint leads to. `PORT` is the source's.
#[derive(Default)]
struct Way {
    /// what leads to the error, on the target
    before: &'static str,
    call: &'static str,
    refused: Refusal,
    /// what the hint says, on the other server
    there: &'static str,
    /// the same on the target
    here: &'static str,
    /// the call with what the hint says; empty: the same call
    again: &'static str,
    /// the single value that it gives
    gives: &'static str,
}

/// The value of the first row; empty for NULL and where there is none.
fn run(session: &mut Client, sql: &str) -> Result<String, postgres::Error> {
    let messages = session.simple_query(sql)?;
    let value = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
        _ => None,
    });
    Ok(value.unwrap_or_default())
}

fn gives(session: &mut Client, sql: &str, value: &str) {
    let given = run(session, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(given, value, "{sql}");
}

fn is_refused<T: std::fmt::Debug>(what: &str, result: Result<T, postgres::Error>, (code, message, hint): Refusal) {
    let error = result.expect_err(what);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{what}: {error:?}"));
    // Which one of two it is may depend on the moment.
    assert!(
        code.split(' ').any(|code| error.code().code() == code),
        "{what}: {error:?}"
    );
    assert!(error.message().contains(message), "{what}: {error:?}");
    assert!(
        error.hint().is_some_and(|text| text.contains(hint)),
        "{what}: {error:?}"
    );
}

/// Goes all of them, one after the other, in one session; `database` is the other server's.
fn go(pair: &Pair, session: &mut Client, database: &str, ways: &[Way]) {
    let port = pair.source.port.to_string();
    for way in ways {
        let call = way.call.replace("PORT", &port);
        run(session, &way.before.replace("PORT", &port)).unwrap_or_else(|error| panic!("before {call}: {error:?}"));
        let result = run(session, &call);
        is_refused(&call, result, way.refused);
        if !way.there.is_empty() {
            pair.source.sql_in(database, way.there);
        }
        run(session, &way.here.replace("PORT", &port)).unwrap_or_else(|error| panic!("after {call}: {error:?}"));
        let again = if way.again.is_empty() {
            call
        } else {
            way.again.replace("PORT", &port)
        };
        gives(session, &again, way.gives);
    }
}

#[test]
fn what_an_argument_is_refused_for_its_hint_mends() {
    let pair = Pair::new();
    pair.persons(3);
    pair.both(
        "CREATE TABLE numbers (k int, v text) PARTITION BY RANGE (k);
         CREATE TABLE numbers_1 PARTITION OF numbers FOR VALUES FROM (0) TO (10);
         CREATE TABLE sums (a int, b int) PARTITION BY RANGE ((a + b));
         CREATE TABLE sums_1 PARTITION OF sums FOR VALUES FROM (0) TO (10)",
    );
    pair.source.sql(
        "INSERT INTO numbers SELECT g, g FROM generate_series(1, 4) g; INSERT INTO sums VALUES (1, 1), (2, 2);
         CREATE TABLE \"a b\" AS SELECT 1 AS i; CREATE TABLE unlike (there int)",
    );
    pair.target
        .sql("CREATE TABLE odd (i int); CREATE TABLE unlike (here int)");
    let same = |call, refused, again, gives| Way {
        call,
        refused,
        again,
        gives,
        ..Way::default()
    };
    let ways = [
        same(
            "SELECT sum(rows) FROM cgpsync_sync('persons', '201713')",
            ("22023", "end_tm \"201713\" is not a year or a month", "days YYYYMMDD"),
            "SELECT sum(rows) FROM cgpsync_sync('persons', '20170131')",
            "3",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('persons', '31.13.2017')",
            ("22023", "end_tm \"31.13.2017\" cannot be read as date", "20170201"),
            "SELECT sum(rows) FROM cgpsync_sync('persons', '20170131')",
            "3",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('persons', '20170120')",
            (
                "22023",
                "\"20170131\", up to which the table is synced",
                "since => '...'",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('persons', '20170120', since => '20170101')",
            "3",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('persons', '20170201', since => '20170301')",
            (
                "22023",
                "end_tm \"20170201\" is earlier than since \"20170301\"",
                "end_tm => '...'",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('persons', end_tm => '20170331', since => '20170301')",
            "3",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers', 'today')",
            (
                "22023",
                "end_tm \"today\" is a day, and the partition key is none",
                "as a value of the key",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9')",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers')",
            (
                "22023",
                "end_tm is needed for a partition key of type int",
                "Pass the point",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9')",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', replace => 'exchange')",
            ("22023", "no way for a table of this database", "replace => 'swap'"),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', replace => 'swap')",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', vanished => 'delete')",
            (
                "22023",
                "vanished must be keep, empty or drop",
                "empty and drop follow it",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', vanished => 'empty')",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', columns => '{}')",
            ("22023", "columns must not be empty", "Leave it out"),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9')",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', columns => ARRAY['K'])",
            ("42703", "columns names some that do not exist", "in lower case"),
            "SELECT sum(rows) FROM cgpsync_sync('numbers', '9', columns => ARRAY['k'])",
            "4",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('odd', '1', source_table => 'a b')",
            (
                "22023",
                "source_table \"a b\" is not a table name",
                "with double quotes",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('odd', '1', source_table => '\"a b\"')",
            "1",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('odd', '1')",
            (
                "42P01",
                "source table \"public\".\"odd\" does not exist",
                "Name it with source_table",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('odd', '1', source_table => '\"a b\"')",
            "1",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_sync('sums', '9')",
            (
                "0A000",
                "only RANGE partitioning on plain columns",
                "partitions one by one",
            ),
            "SELECT sum(rows) FROM cgpsync_sync('sums_1', '9')",
            "2",
        ),
        same(
            "SELECT bool_and(matches) FROM cgpsync_verify('persons', method => 'md5')",
            ("22023", "method \"md5\" is neither", "a checksum finds changed values"),
            "SELECT bool_and(matches) FROM cgpsync_verify('persons', method => 'checksum')",
            "t",
        ),
        same(
            "SELECT bool_and(matches) FROM cgpsync_verify('persons', since => '20170301')",
            (
                "22023",
                "the remembered end_tm \"20170131\" is earlier than since",
                "end_tm => '...'",
            ),
            "SELECT bool_and(matches) FROM cgpsync_verify('persons', end_tm => '20170331', since => '20170301')",
            "t",
        ),
        same(
            "SELECT bool_and(matches) FROM cgpsync_verify('unlike', method => 'checksum')",
            ("42804", "no column in common", "method => 'count'"),
            "SELECT bool_and(matches) FROM cgpsync_verify('unlike', method => 'count')",
            "t",
        ),
        same(
            "SELECT sum(rows) FROM cgpsync_wait(4711)",
            ("42704", "run 4711 does not exist", "cgpsync_run"),
            "SELECT sum(rows) FROM cgpsync_wait((SELECT max(run_id) FROM cgpsync_run
                 WHERE role_name = current_user AND table_name = 'numbers' AND status = 'done'))",
            "4",
        ),
    ];
    go(&pair, &mut pair.target.connect(), "postgres", &ways);
}

#[test]
fn what_is_in_the_way_of_a_table_its_hint_clears_away() {
    let pair = Pair::new();
    pair.persons(3);
    pair.source.sql(
        "CREATE TABLE sums (a int, b int) PARTITION BY RANGE ((a + b));
         CREATE TABLE sums_1 PARTITION OF sums FOR VALUES FROM (0) TO (10); INSERT INTO sums VALUES (1, 1), (2, 2)",
    );
    let ways = [
        Way {
            before: "DROP SERVER src CASCADE",
            call: "SELECT sum(rows) FROM cgpsync_sync('persons', '20170131')",
            refused: ("42704", "there is no source server", "CREATE SERVER"),
            here: "CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port 'PORT', dbname 'postgres');
                   CREATE USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (user 'postgres', password 'secret')",
            gives: "3",
            ..Way::default()
        },
        // The detached table keeps its name, so the new partition has another one.
        Way {
            before: "DROP TABLE persons_201703; CREATE FOREIGN DATA WRAPPER others;
                     CREATE SERVER others FOREIGN DATA WRAPPER others;
                     CREATE FOREIGN TABLE persons_201703 PARTITION OF persons
                         FOR VALUES FROM ('2017-03-01') TO ('2017-04-01') SERVER others",
            call: "SELECT sum(rows) FROM cgpsync_sync('persons', '20170331')",
            refused: ("42809", "persons_201703\" is a foreign table", "DETACH PARTITION"),
            here: "ALTER TABLE persons DETACH PARTITION persons_201703",
            gives: "9",
            ..Way::default()
        },
        Way {
            before: "DROP TABLE persons_201704; CREATE VIEW persons_201704 AS SELECT 1;
                     DO $$ BEGIN FOR n IN 1..99 LOOP
                       EXECUTE format('CREATE TYPE persons_201704_%s AS ()', n); END LOOP; END $$",
            call: "SELECT sum(rows) FROM cgpsync_sync('persons', '20170430')",
            refused: ("42P07", "no name that begins with \"persons_201704\" is free", "Rename relations"),
            here: "ALTER VIEW persons_201704 RENAME TO aside",
            gives: "6",
            ..Way::default()
        },
        Way {
            before: "UPDATE sync_table SET end_tm = 'soon' WHERE table_name = 'persons'",
            call: "SELECT sum(rows) FROM cgpsync_sync('persons', '20170131')",
            refused: ("22023", "the remembered end_tm \"soon\" cannot be read as date", "sync_table"),
            here: "DELETE FROM sync_table WHERE table_name = 'persons'",
            gives: "3",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_create_table('sums')",
            refused: ("0A000", "partitioning of source table", "by hand"),
            here: "CREATE TABLE sums (a int, b int)",
            again: "SELECT sum(rows) FROM cgpsync_sync('sums', '1')",
            gives: "2",
            ..Way::default()
        },
    ];
    go(&pair, &mut pair.target.connect(), "postgres", &ways);
}

#[test]
fn what_a_server_or_a_table_elsewhere_is_refused_for_its_hint_mends() {
    let pair = Pair::new();
    // Another database of the source is the server that is written.
    pair.source.sql("CREATE DATABASE far");
    pair.source.sql(
        "CREATE ROLE writer LOGIN PASSWORD 'w'; CREATE TABLE \"a b\" (i int); INSERT INTO \"a b\" VALUES (1), (2);
         CREATE SCHEMA dw; CREATE TABLE dw.t (i int); CREATE TABLE plain (i int);
         CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE felt (m mood)",
    );
    pair.source.sql_in(
        "far",
        "CREATE TABLE \"a b\" (i int); REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    );
    let mut session = pair.target.connect();
    let before = "CREATE FOREIGN DATA WRAPPER others; CREATE SERVER others FOREIGN DATA WRAPPER others;
         CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port 'PORT', dbname 'far');
         CREATE USER MAPPING FOR CURRENT_USER SERVER dr OPTIONS (user 'postgres', password 'secret');
         CREATE SERVER poor FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port 'PORT', dbname 'far');
         CREATE USER MAPPING FOR CURRENT_USER SERVER poor OPTIONS (user 'writer', password 'w');
         CREATE SCHEMA dw; CREATE TYPE mood AS ENUM ('sad', 'ok')";
    let ways = [
        Way {
            before,
            call: "SELECT cgpsync_attach('a b', 'dr', 'far_one')",
            refused: (
                "22023",
                "target_table \"a b\" is not a table name",
                "with double quotes",
            ),
            again: "SELECT cgpsync_attach('\"a b\"', 'dr', 'far_one')",
            gives: "far_one",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_attach('\"a b\"', 'dr', 'far two')",
            refused: (
                "22023",
                "local_table \"far two\" is not a table name",
                "with double quotes",
            ),
            again: "SELECT cgpsync_attach('\"a b\"', 'dr', '\"far two\"')",
            gives: "\"far two\"",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_attach('\"a b\"', 'new', 'far_three')",
            refused: ("42704", "server \"new\" does not exist", "CREATE SERVER"),
            here:
                "CREATE SERVER new FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port 'PORT', dbname 'far');
                   CREATE USER MAPPING FOR CURRENT_USER SERVER new OPTIONS (user 'postgres', password 'secret')",
            gives: "far_three",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_attach('\"a b\"', 'others', 'far_four')",
            refused: ("42809", "server \"others\" is of another wrapper", "CREATE SERVER"),
            here:
                "CREATE SERVER made FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port 'PORT', dbname 'far');
                   CREATE USER MAPPING FOR CURRENT_USER SERVER made OPTIONS (user 'postgres', password 'secret')",
            again: "SELECT cgpsync_attach('\"a b\"', 'made', 'far_four')",
            gives: "far_four",
            ..Way::default()
        },
        Way {
            call: "SELECT sum(rows)
                    FROM cgpsync_sync('far_one', '1', source => 'src', source_table => '\"a b\"', replace => 'swap')",
            refused: ("22023", "no way for a table on another server", "replace => 'exchange'"),
            again: "SELECT sum(rows)
                    FROM cgpsync_sync('far_one', '1', source => 'src', source_table => '\"a b\"', replace => 'exchange')",
            gives: "2",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_create_table('dw.t', source => 'src', target => 'dr')",
            refused: (
                "3F000",
                "cannot create table \"dw\".\"t\" on server \"dr\"",
                "Create the schema there",
            ),
            there: "CREATE SCHEMA dw",
            gives: "dw.t",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_attach('t', 'dr', 'far_five')",
            refused: ("42P01", "\"t\"", "with its schema"),
            again: "SELECT cgpsync_attach('dw.t', 'dr', 'far_five')",
            gives: "dw.far_five",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_create_table('felt', source => 'src', target => 'dr')",
            refused: (
                "42704",
                "cannot create table \"public\".\"felt\" on server \"dr\"",
                "Create the type",
            ),
            there: "CREATE TYPE mood AS ENUM ('sad', 'ok')",
            gives: "felt",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_create_table('plain', source => 'src', target => 'poor')",
            refused: (
                "42501",
                "cannot create table \"public\".\"plain\" on server \"poor\"",
                "CREATE on the schema there",
            ),
            there: "CREATE ROLE maker LOGIN PASSWORD 'm'; GRANT CREATE ON SCHEMA public TO maker",
            here: "ALTER USER MAPPING FOR CURRENT_USER SERVER poor OPTIONS (SET user 'maker', SET password 'm')",
            gives: "plain",
            ..Way::default()
        },
        Way {
            call: "SELECT cgpsync_import_config('[1]')",
            refused: ("22023", "config must be a JSON object", "as it is"),
            again: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}')"#,
            gives: "cgpsync_source",
            ..Way::default()
        },
        Way {
            call: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d"}')"#,
            refused: ("22023", "config has no \"user\"", "host, dbname and user"),
            again: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}')"#,
            gives: "cgpsync_source",
            ..Way::default()
        },
        Way {
            call: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}', target => 'written')"#,
            refused: ("22023", "config has no \"destination_host\"", "Leave out target"),
            again: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}')"#,
            gives: "cgpsync_source",
            ..Way::default()
        },
        Way {
            call: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}', 'others')"#,
            refused: ("42710", "server \"others\" already exists", "Pass another name"),
            again: r#"SELECT cgpsync_import_config('{"host": "h", "dbname": "d", "user": "u"}', 'mine')"#,
            gives: "mine",
            ..Way::default()
        },
    ];
    go(&pair, &mut session, "far", &ways);
    assert_eq!(pair.source.text_in("far", "SELECT count(*) FROM \"a b\""), "2");
    if needs::lacks_module("dblink") {
        return;
    }
    let dblink = Way {
        before: "CREATE EXTENSION dblink;
                 CREATE SERVER db FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '127.0.0.1', port 'PORT', dbname 'far');
                 CREATE USER MAPPING FOR CURRENT_USER SERVER db OPTIONS (user 'postgres', password 'secret')",
        call: "SELECT cgpsync_attach('\"a b\"', 'db', 'far_six')",
        refused: (
            "0A000",
            "a foreign table of dblink_fdw stands for",
            "Leave out local_table",
        ),
        again: "SELECT cgpsync_attach('\"a b\"', 'db')",
        gives: "\"a b\"",
        ..Way::default()
    };
    go(&pair, &mut session, "far", &[dblink]);
}

#[test]
fn where_a_call_may_not_be_made_its_hint_says_where_it_may() {
    const SYNC: &str = "SELECT sum(rows) FROM cgpsync_sync('persons', '20170131')";
    let pair = Pair::new();
    pair.persons(3);
    pair.target.sql(
        "CREATE ROLE nobody NOLOGIN;
         CREATE MATERIALIZED VIEW planned AS SELECT action FROM cgpsync_plan('persons', '20170131') WITH NO DATA",
    );
    let ways = [
        Way {
            before: "SET ROLE nobody",
            call: SYNC,
            refused: (
                "28000",
                "role \"nobody\" is not permitted to log in",
                "a role with LOGIN",
            ),
            here: "RESET ROLE",
            gives: "3",
            ..Way::default()
        },
        Way {
            before: "SET default_transaction_read_only = on",
            call: "CALL cgpsync('persons', '20170131')",
            refused: (
                "25006",
                "in a read-only transaction",
                "default_transaction_read_only = off",
            ),
            here: "SET default_transaction_read_only = off",
            gives: "",
            ..Way::default()
        },
        Way {
            before: "BEGIN READ ONLY",
            call: SYNC,
            refused: ("25006", "in a read-only transaction", "BEGIN READ WRITE"),
            here: "ROLLBACK; BEGIN READ WRITE",
            gives: "3",
            ..Way::default()
        },
        Way {
            before: "COMMIT",
            call: "REFRESH MATERIALIZED VIEW planned",
            refused: (
                "42501",
                "within a security-restricted operation",
                "a statement of its own",
            ),
            again: "SELECT count(*) FROM cgpsync_plan('persons', '20170131') WHERE action = 'copy'",
            gives: "1",
            ..Way::default()
        },
        Way {
            before: "BEGIN; SELECT count(*) FROM persons_201701",
            call: SYNC,
            refused: (
                "55006",
                "the calling transaction holds a lock that the run needs",
                "Commit first",
            ),
            here: "COMMIT",
            gives: "3",
            ..Way::default()
        },
    ];
    let mut session = pair.target.connect();
    session
        .batch_execute("SET cgpsync.lock_timeout = 0; SET cgpsync.swap_timeout = 0; CREATE TABLE mine (i int)")
        .expect("settings");
    go(&pair, &mut session, "postgres", &ways);

    // The same by way of another session, which has read the partition and waits for this one.
    session.batch_execute("BEGIN; LOCK TABLE mine").expect("a lock");
    let mut other = pair.target.connect();
    other
        .batch_execute("BEGIN; SELECT count(*) FROM persons_201701")
        .expect("a reader");
    let other = std::thread::spawn(move || other.batch_execute("LOCK TABLE mine; COMMIT"));
    poll("it waits", SOON, || {
        pair.target.text("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"
    });
    let refusal = (
        "55006",
        "a lock that a process needs for which the run waits",
        "Commit first",
    );
    is_refused(SYNC, run(&mut session, SYNC), refusal);
    run(&mut session, "COMMIT").expect("the end");
    gives(&mut session, SYNC, "3");
    other.join().expect("a thread").expect("it gets its lock");

    let standby = pair.target.standby();
    let refusal = ("25006", "cannot sync on a standby server", "Call on the primary");
    is_refused(SYNC, run(&mut standby.connect(), SYNC), refusal);
    gives(&mut session, SYNC, "3");

    // A database of another encoding, and one that is as the hint says.
    pair.target
        .sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    pair.target
        .sql("CREATE DATABASE good ENCODING 'UTF8' TEMPLATE template0");
    let sync = "SELECT sum(rows) FROM cgpsync_sync('persons_201701', '1')";
    for database in ["latin", "good"] {
        let (mut session, notices) = pair.target.connect_with_notices_to(database);
        let setup = format!(
            "CREATE EXTENSION cgpsync; CREATE TABLE persons_201701 (id bigint, name varchar(64), born date, note text);
             CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
             CREATE USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (user 'postgres', password 'secret')",
            pair.source.port
        );
        session.batch_execute(&setup).expect("an extension");
        // It is said before servers and mappings are made.
        let said = notices.lock().expect("a lock").join("\n");
        assert_eq!(
            said.contains("cannot sync into this database"),
            database == "latin",
            "{said}"
        );
        match database {
            "latin" => is_refused(
                database,
                run(&mut session, sync),
                ("0A000", "database encoding LATIN1", "UTF8"),
            ),
            _ => gives(&mut session, sync, "3"),
        }
    }
}

/// Begins a call in a thread; its session and its end come back.
fn begin(mut session: Client, call: &str) -> JoinHandle<(Client, Result<String, postgres::Error>)> {
    let call = call.to_owned();
    std::thread::spawn(move || {
        let result = run(&mut session, &call);
        (session, result)
    })
}

#[test]
fn a_call_that_would_wait_for_itself_is_made_with_call_and_goes_on() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (id int, k int) PARTITION BY LIST (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)",
    );
    pair.source.sql(&format!(
        "INSERT INTO t SELECT g, 1 + g % 2 FROM generate_series(1, 100) g;
         CREATE VIEW gated AS SELECT id, k FROM t UNION ALL SELECT 0, k FROM generate_series(1, 2) k, (SELECT {GATE}) g"
    ));
    let mut session = pair.target.connect();
    session
        .batch_execute("SET cgpsync.lock_timeout = 0")
        .expect("a setting");
    let refusal = (
        "55006",
        "a process that waits for the calling statement",
        "CALL cgpsync(...)",
    );
    for (call, refused) in [
        (
            "SELECT * FROM cgpsync_sync('t', '1', 1, source_table => 'gated')",
            Some(refusal),
        ),
        ("CALL cgpsync('t', '1', 1, source_table => 'gated')", None),
    ] {
        let gate = pair.source.close_gate();
        let under_way = begin(session, call);
        pair.source.until_at_gate(1);
        // The worker is at one partition; this has the other one and waits for whoever has a snapshot, as a SELECT has.
        let pending = "SELECT partition FROM cgpsync_run_partition WHERE status = 'pending'";
        let index = format!("CREATE INDEX CONCURRENTLY ON {} (id)", pair.target.text(pending));
        let index = begin(pair.target.connect(), &index);
        if refused.is_some() {
            poll("it waits", SOON, || {
                let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid'";
                pair.target.text(waiting) == "1"
            });
        }
        drop(gate);
        let result;
        (session, result) = under_way.join().expect("a thread");
        match refused {
            Some(refusal) => is_refused(call, result, refusal),
            None => assert_eq!(result.expect(call), ""),
        }
        let (_, index) = index.join().expect("a thread");
        index.expect("an index");
        pair.all_gone();
    }
    pair.same("SELECT count(*) FROM t WHERE id > 0");
}

#[test]
fn after_whatever_has_ended_a_run_the_same_call_succeeds_as_its_hint_says() {
    const CALL: &str = "SELECT sum(rows) FROM cgpsync_sync('t', '9', 1, 'src', source_table => 'gated')";
    const PLANNED: &str = "SELECT sum(rows) FROM cgpsync_sync('p', '9', 1, 'src', source_table => 'slow_to_answer')";
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (i int) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (-10) TO (0);
         CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         GRANT INSERT, TRUNCATE ON t_1, p_1, p_2 TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
    // A function, as the run's lock_timeout would be that of the gate.
    pair.source.sql(&format!(
        "CREATE FUNCTION gate() RETURNS bool LANGUAGE plpgsql SET lock_timeout = 0 AS
           'BEGIN PERFORM {GATE}; RETURN true; END';
         CREATE TABLE plain AS SELECT 1 AS i; CREATE VIEW slow_to_answer AS SELECT i FROM plain WHERE (SELECT gate());
         CREATE VIEW gated AS SELECT g AS i FROM generate_series(1, 2) g, LATERAL (SELECT gate() WHERE g > 0) s;
         CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON gated, slow_to_answer TO reader"
    ));
    let terminate = |process: &str| {
        let pids = "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type =";
        assert_eq!(pair.target.text(&format!("{pids} 'cgpsync {process}'")), "t");
    };
    let mut session = pair.target.connect_as("loader");

    // No process of it can start.
    pair.target.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
    let refusal = (
        "38000",
        "the coordinator ended before it could record the run",
        "The server's log says why",
    );
    is_refused(CALL, run(&mut session, CALL), refusal);
    assert!(
        pair.target
            .log()
            .contains("permission denied for database \"postgres\"")
    );
    pair.target.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC");
    gives(&mut session, CALL, "2");

    // Its worker cannot start, the one that there was having ended before it had anything to do.
    let gate = pair.source.close_gate();
    let under_way = begin(session, PLANNED);
    pair.source.until_at_gate(1);
    terminate("worker");
    poll("it is gone", SOON, || {
        pair.target
            .text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker'")
            == "0"
    });
    pair.target.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
    drop(gate);
    let result;
    (session, result) = under_way.join().expect("a thread");
    let refusal = (
        "38000",
        "a worker of the run ended before its work was done",
        "The server's log",
    );
    is_refused(PLANNED, result, refusal);
    pair.target.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC");
    gives(&mut session, PLANNED, "1");

    // A partition that is due is dropped while it plans.
    pair.target.sql("DELETE FROM sync_table");
    let gate = pair.source.close_gate();
    let under_way = begin(session, PLANNED);
    pair.source.until_at_gate(1);
    pair.target.sql("DROP TABLE p_2");
    drop(gate);
    let result;
    (session, result) = under_way.join().expect("a thread");
    let refusal = (
        "55006",
        "partitions were dropped while the run was planned",
        "Run the same call again",
    );
    is_refused(PLANNED, result, refusal);
    gives(&mut session, PLANNED, "1");

    // Somebody ends its processes, or takes the extension away.
    for (process, code, message, hint) in [
        (
            "worker",
            "57014",
            "a worker of the run was cancelled or terminated",
            "run the same call again",
        ),
        (
            "coordinator",
            "57P01",
            "the coordinator of the run was terminated",
            "run the same call again",
        ),
        (
            "extension",
            "55000 42704",
            "extension \"cgpsync\"",
            "CREATE EXTENSION cgpsync",
        ),
    ] {
        let gate = pair.source.close_gate();
        let under_way = begin(pair.target.connect(), CALL);
        pair.source.until_at_gate(1);
        match process {
            "extension" => pair.target.sql("DROP EXTENSION cgpsync CASCADE"),
            _ => terminate(process),
        }
        let (mut session, result) = under_way.join().expect("a thread");
        is_refused(process, result, (code, message, hint));
        drop(gate);
        pair.all_gone();
        if process == "extension" {
            pair.target.sql("CREATE EXTENSION cgpsync");
            pair.create_server("src", pair.source.port);
        }
        gives(&mut session, CALL, "2");
    }
}
