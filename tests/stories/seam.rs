//! A target is asked the same questions wherever it is: a table that a foreign table stands for gets the plan that it gets in its own database.

use crate::support::{Pair, SOON, poll};

/// What a plan says, and what is said on the way.
struct Told {
    lines: Vec<String>,
    notices: Vec<String>,
}

fn plan(pair: &Pair, database: &str, arguments: &str) -> Told {
    let (mut client, notices) = pair.target.connect_with_notices_to(database);
    let sql = format!("SELECT p::text FROM cgpsync_plan({arguments}, source => 'src') p ORDER BY partition");
    let rows = client
        .query(&sql, &[])
        .unwrap_or_else(|error| panic!("{database}: {arguments}: {error:?}"));
    let lines = rows.iter().map(|row| row.get(0)).collect();
    let notices = std::mem::take(&mut *notices.lock().expect("a lock"));
    Told { lines, notices }
}

/// A database beside the target's own, with the extension, the source, and the target as a foreign server `dr`.
fn beside(pair: &Pair) {
    pair.target.sql("CREATE DATABASE beside");
    pair.target.sql_in(
        "beside",
        &format!(
            "CREATE EXTENSION cgpsync;
             CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
             CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret');
             CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
             CREATE USER MAPPING FOR postgres SERVER dr OPTIONS (user 'postgres', password 'secret')",
            pair.source.port, pair.target.port
        ),
    );
}

/// Tables of the target, with the arguments that they are planned with.
const CALLS: &[&str] = &[
    "'persons', '20170310'",
    "'persons', '20170310', since => '20170201', create_missing => false",
    "'persons', '20170310', vanished => 'drop'",
    "'regions', NULL",
    "'moods', NULL",
    "'codes', 'm'",
    "'instants', '2017-02-01 00:00:00+00'",
    "'hashed', NULL",
    "'plain', NULL",
    "'filled', '20170310', columns => ARRAY['born', 'id']",
];

fn tables(pair: &Pair) {
    pair.persons(3);
    // Months that only one side has, in the middle and at the end, with rows and without.
    pair.target
        .sql("DROP TABLE persons_201703; INSERT INTO persons VALUES (1, 'kept', '2017-01-02')");
    pair.source.sql("DROP TABLE persons_201701, persons_201702");
    pair.both(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
         CREATE TABLE regions (r text, born date NOT NULL) PARTITION BY LIST (r);
         CREATE TABLE regions_eu PARTITION OF regions FOR VALUES IN ('de', 'fr') PARTITION BY RANGE (born);
         CREATE TABLE regions_eu_1 PARTITION OF regions_eu FOR VALUES FROM ('2017-01-01') TO ('2017-07-01');
         CREATE TABLE regions_rest PARTITION OF regions DEFAULT;
         CREATE TABLE moods (m mood, i int) PARTITION BY LIST (m);
         CREATE TABLE moods_up PARTITION OF moods FOR VALUES IN ('happy', 'ok');
         CREATE TABLE codes (c text COLLATE \"C\" NOT NULL, i int) PARTITION BY RANGE (c);
         CREATE TABLE codes_1 PARTITION OF codes FOR VALUES FROM (MINVALUE) TO ('k');
         CREATE TABLE instants (t timestamptz NOT NULL) PARTITION BY RANGE (t);
         CREATE TABLE instants_1 PARTITION OF instants FOR VALUES FROM ('2017-01-01 00:00:00+02') TO ('2017-02-01 00:00:00+02');
         CREATE TABLE hashed (i int) PARTITION BY HASH (i);
         CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE plain (i int, n numeric(10, 2));
         CREATE TABLE filled (id int, born date NOT NULL, at timestamptz DEFAULT '2017-01-01') PARTITION BY RANGE (born);
         CREATE TABLE filled_1 PARTITION OF filled FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')",
    );
    pair.target.sql(
        "CREATE TABLE regions_eu_2 PARTITION OF regions_eu FOR VALUES FROM ('2017-07-01') TO ('2018-01-01');
         CREATE TABLE moods_sad PARTITION OF moods FOR VALUES IN ('sad');
         CREATE TABLE codes_2 PARTITION OF codes FOR VALUES FROM ('k') TO (MAXVALUE);
         CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         ALTER TABLE filled_1 ALTER at SET DEFAULT '2018-01-01'; ALTER TABLE plain ALTER n TYPE numeric(8, 1)",
    );
    pair.source.sql(
        "CREATE TABLE codes_2 PARTITION OF codes FOR VALUES FROM ('k') TO ('x');
         CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 4, REMAINDER 1);
         INSERT INTO regions VALUES ('de', '2017-02-01'), ('us', '2017-02-01'); INSERT INTO moods VALUES ('ok', 1);
         INSERT INTO codes VALUES ('a', 1), ('l', 2); INSERT INTO instants VALUES ('2017-01-10'); ANALYZE",
    );
}

#[test]
fn a_table_of_a_second_database_is_planned_through_a_session_as_through_spi() {
    // What COPY loads is told of tables that something else may load.
    let pair = Pair::with("", "cgpsync.page_writer = off");
    beside(&pair);
    tables(&pair);
    for call in CALLS {
        let name = call.split('\'').nth(1).expect("a name");
        pair.target.sql_in(
            "beside",
            &format!("CREATE FOREIGN TABLE IF NOT EXISTS {name} (a int) SERVER dr"),
        );
        let (here, there) = (plan(&pair, "postgres", call), plan(&pair, "beside", call));
        assert!(!here.lines.is_empty(), "{call}");
        assert_eq!(here.lines, there.lines, "{call}");
        assert_eq!(here.notices, there.notices, "{call}");
    }
    let all = plan(&pair, "postgres", "'persons', '20170310'").lines.join("\n");
    for word in ["vanished", "create", "skip", "copy"] {
        assert!(all.contains(word), "{word}: {all}");
    }
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cgpsync plan'";
    assert_eq!(pair.target.text(sessions), "0");
    // By another name.
    pair.target.sql_in(
        "beside",
        "CREATE FOREIGN TABLE people (a int) SERVER dr OPTIONS (schema_name 'public', table_name 'persons')",
    );
    assert_eq!(
        plan(
            &pair,
            "beside",
            "'people', '20170310', source_table => 'public.persons'"
        )
        .lines
        .join("\n"),
        all
    );
}

/// Whatever its catalogs say, that server runs nothing on the source.
#[test]
fn what_a_target_elsewhere_says_is_not_asked_of_the_source() {
    let pair = Pair::new();
    beside(&pair);
    pair.both(
        "CREATE TABLE folded (s text) PARTITION BY LIST (lower(s)); CREATE TABLE folded_a PARTITION OF folded FOR VALUES IN ('a');
         CREATE TYPE pair AS (a int, b int);
         CREATE TABLE pairs (p pair) PARTITION BY LIST (p); CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES IN ('(1,2)');
         INSERT INTO folded VALUES ('A'); INSERT INTO pairs VALUES ('(1,2)')",
    );
    for name in ["folded", "pairs"] {
        pair.target
            .sql_in("beside", &format!("CREATE FOREIGN TABLE {name} (a int) SERVER dr"));
        let mut client = pair.target.connect_to("beside");
        let error = client
            .batch_execute(&format!("SELECT cgpsync_plan('{name}', source => 'src')"))
            .expect_err(name);
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "0A000", "{error:?}");
        assert!(error.message().contains("server \"dr\" is partitioned by"), "{error:?}");
        assert_eq!(
            pair.target.text(&format!("SELECT action FROM cgpsync_plan('{name}')")),
            "copy"
        );
    }
    // Nor is a partition waited for that somebody has locked, and what may not be read is not taken to be empty.
    pair.persons(1);
    pair.source.sql("DROP TABLE persons_201701");
    pair.target
        .sql("INSERT INTO persons VALUES (1, 'kept', '2017-01-02'); CREATE ROLE looker LOGIN PASSWORD 'secret'");
    pair.target.sql_in(
        "beside",
        "CREATE FOREIGN TABLE persons (a int) SERVER dr; ALTER USER MAPPING FOR postgres SERVER dr OPTIONS (SET user 'looker')",
    );
    let mut holder = pair.target.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE persons_201701 IN ACCESS EXCLUSIVE MODE")
        .expect("a lock");
    let first =
        "SELECT action FROM cgpsync_plan('persons', '20170301', source => 'src') WHERE partition = 'persons_201701'";
    assert_eq!(pair.target.text_in("beside", first), "vanished");
    holder.batch_execute("ROLLBACK").expect("the lock goes");
    assert_eq!(pair.target.text_in("beside", first), "vanished");
}

#[test]
fn who_may_not_write_a_table_elsewhere_is_told_by_whom() {
    let pair = Pair::new();
    beside(&pair);
    pair.persons(1);
    pair.target.sql_in(
        "beside",
        "CREATE FOREIGN TABLE persons (a int) SERVER dr; CREATE FOREIGN TABLE nothing (a int) SERVER dr",
    );
    let fails = |sql: &str| {
        let error = pair.target.connect_to("beside").batch_execute(sql).expect_err(sql);
        let error = error.as_db_error().expect("an error of the server");
        (error.code().code().to_owned(), error.message().to_owned())
    };
    pair.target.sql_in(
        "beside",
        "CREATE ROLE caller LOGIN PASSWORD 'secret'; GRANT USAGE ON FOREIGN SERVER src, dr TO caller",
    );
    for call in ["cgpsync_sync", "cgpsync_start"] {
        let (code, message) = fails(&format!(
            "SET ROLE caller; SELECT {call}('persons', '20170301', source => 'src')"
        ));
        assert_eq!(code, "42501", "{call}: {message}");
        assert!(
            message.contains("foreign table \"public\".\"persons\""),
            "{call}: {message}"
        );
    }
    let (code, message) = fails("SELECT cgpsync_plan('nothing', source => 'src')");
    assert_eq!(code, "42P01");
    assert_eq!(message, "there is no table \"public\".\"nothing\" on server \"dr\"");
    // The source is the only other server.
    pair.target
        .sql_in("beside", "SELECT cgpsync_plan('persons', '20170301')");
    // The target's words are told to be the target's.
    pair.target.sql_in(
        "beside",
        "ALTER USER MAPPING FOR postgres SERVER dr OPTIONS (SET user 'nobody')",
    );
    let (code, message) = fails("SELECT cgpsync_plan('persons', '20170301', source => 'src')");
    assert!(code == "28P01" && message.contains("server \"dr\""), "{code} {message}");
}

#[test]
fn a_cancel_or_the_lock_timeout_ends_what_a_plan_asks_of_a_target_elsewhere() {
    let pair = Pair::new();
    beside(&pair);
    pair.persons(1);
    pair.target
        .sql_in("beside", "CREATE FOREIGN TABLE persons (a int) SERVER dr");
    // Whoever plans waits for the partitioned table there.
    let mut holder = pair.target.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_partitioned_table IN ACCESS EXCLUSIVE MODE")
        .expect("a lock");
    let mut caller = pair.target.connect_to("beside");
    let error = caller
        .batch_execute("SET cgpsync.lock_timeout = '20ms'; SELECT cgpsync_plan('persons', '20170301', source => 'src')")
        .expect_err("it waits no longer than it may");
    assert_eq!(
        error.code().map(postgres::error::SqlState::code),
        Some("55P03"),
        "{error:?}"
    );
    caller.batch_execute("SET cgpsync.lock_timeout = 0").expect("a setting");
    let token = caller.cancel_token();
    let call =
        std::thread::spawn(move || caller.batch_execute("SELECT cgpsync_plan('persons', '20170301', source => 'src')"));
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cgpsync plan' AND wait_event_type = 'Lock'";
    poll("the plan waits over there", SOON, || {
        pair.target.text_in("beside", waits) == "1"
    });
    token.cancel_query(postgres::NoTls).expect("a cancel");
    let error = call.join().expect("the call ends").expect_err("it was cancelled");
    assert_eq!(
        error.code().map(postgres::error::SqlState::code),
        Some("57014"),
        "{error:?}"
    );
    poll("nothing is left over there", SOON, || {
        pair.target.text_in("beside", waits) == "0"
    });
    holder.batch_execute("ROLLBACK").expect("the lock goes");
}
