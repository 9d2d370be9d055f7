//! Rights that nobody has given: a plain role would get those of whoever reads values of its types. `mallory` is such a role, and the source
//! does what she wants. Whoever runs her function makes her a superuser.

use crate::support::{Notices, Pair};
use postgres::Client;

/// Her function, and what it is called by: checks of domains, alone and within other types, and casts.
const TRAPS: &str = "CREATE ROLE mallory LOGIN; CREATE SCHEMA m AUTHORIZATION mallory; GRANT ALL ON SCHEMA public TO mallory;
    SET ROLE mallory;
    CREATE FUNCTION m.f(anyelement) RETURNS bool LANGUAGE plpgsql AS $$BEGIN
      EXECUTE 'ALTER ROLE mallory SUPERUSER'; RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END$$;
    CREATE DOMAIN m.evil AS int CHECK (m.f(value));
    CREATE DOMAIN m.words AS text CHECK (m.f(value));
    CREATE DOMAIN m.above AS m.evil;
    CREATE TYPE m.pair AS (a int, b m.evil);
    CREATE TYPE m.span AS RANGE (subtype = m.evil);
    CREATE TYPE m.mood AS ENUM ('bad', 'good');
    CREATE FUNCTION m.f2(int, int) RETURNS bool LANGUAGE sql AS 'SELECT m.f(1)';
    CREATE OPERATOR m.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = m.f2);
    RESET ROLE";

/// The same on the source, without anything in it.
const NAMES: &str = "CREATE SCHEMA m; CREATE DOMAIN m.evil AS int; CREATE DOMAIN m.words AS text; CREATE DOMAIN m.above AS m.evil;
    CREATE TYPE m.pair AS (a int, b m.evil); CREATE TYPE m.span AS RANGE (subtype = m.evil); CREATE TYPE m.mood AS ENUM ('bad', 'good');
    CREATE FUNCTION m.f2(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
    CREATE OPERATOR m.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = m.f2)";

fn has_won(pair: &Pair) -> bool {
    pair.target
        .text("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")
        == "t"
}

/// What the call gives: its first value, or the error's SQLSTATE; and the notices.
fn ask(client: &mut Client, notices: &Notices, sql: &str) -> (String, String) {
    notices.lock().expect("a lock").clear();
    let answer = match client.query(sql, &[]) {
        Ok(rows) => rows.first().map(|row| row.get(0)).unwrap_or_default(),
        Err(error) => error.code().expect("a server's error").code().to_owned(),
    };
    (answer, notices.lock().expect("a lock").join("\n"))
}

#[test]
fn a_superuser_who_creates_a_table_like_the_sources_runs_nobodys_code() {
    let pair = Pair::new();
    pair.target.sql(TRAPS);
    pair.source.sql(NAMES);
    let check = "is not copied: it names something that is not built in";
    let (array, here, row) = ("ARRAY(integer)", "without the checks of m.", "VALUES (2)");
    // What the source has, and its row; the type of the first column or the error that comes of it, and what is told.
    let cases = [
        (
            "CREATE TABLE @ (id int, CHECK (array[id] <> '{1}'::m.evil[]::int[]))",
            row,
            "integer",
            check,
        ),
        (
            "CREATE TABLE @ (id int, CHECK (id > 0 OR '(1,1)'::m.pair IS NULL))",
            row,
            "integer",
            check,
        ),
        (
            "CREATE TABLE @ (id int, CHECK ('[1,2]'::m.span IS NOT NULL))",
            row,
            "integer",
            check,
        ),
        (
            "CREATE TABLE @ (id int, CHECK (id OPERATOR(m.===) 1))",
            row,
            "integer",
            check,
        ),
        (
            "CREATE TABLE @ (x m.evil[], CHECK (x <> '{1}'))",
            "VALUES ('{2}')",
            array,
            "is not copied",
        ),
        (
            "CREATE TABLE @ (x m.mood, CHECK (x <> 'bad'))",
            "VALUES ('good')",
            "m.mood",
            "is not copied",
        ),
        (
            "CREATE TABLE @ (x m.evil DEFAULT 1)",
            row,
            "integer",
            "default of column \"x\" is not copied: it is a value of m.evil of role mallory: 1",
        ),
        (
            "CREATE TABLE @ (x m.evil[] DEFAULT '{1}')",
            "VALUES ('{2}')",
            array,
            "column \"x\" is integer[] here, without the checks of m.evil",
        ),
        ("CREATE TABLE @ (x m.words DEFAULT 'a')", "VALUES ('b')", "text", here),
        ("CREATE TABLE @ (x m.above DEFAULT 1)", row, "integer", here),
        (
            "CREATE TABLE @ (x m.mood DEFAULT 'bad')",
            "VALUES ('bad')",
            "m.mood",
            "default of column \"x\" is not copied: it is a value of m.mood",
        ),
        (
            "CREATE TABLE @ (k m.evil) PARTITION BY LIST (k); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN (2)",
            row,
            "integer",
            here,
        ),
        (
            "CREATE TABLE @ (k m.above) PARTITION BY RANGE (k); CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (1) TO (5)",
            row,
            "integer",
            here,
        ),
        (
            "CREATE TABLE @ (k m.mood) PARTITION BY LIST (k); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN ('bad')",
            "VALUES ('bad')",
            "m.mood",
            "",
        ),
        (
            "CREATE TABLE @ (x m.pair DEFAULT '(1,1)')",
            "VALUES ('(1,1)')",
            "42501",
            "",
        ),
        ("CREATE TABLE @ (x m.pair[])", "VALUES ('{}')", "42501", ""),
        (
            "CREATE TABLE @ (k m.span) PARTITION BY LIST (k); CREATE TABLE @_1 PARTITION OF @ FOR VALUES IN ('[1,2)')",
            "VALUES ('[1,2)')",
            "42501",
            "",
        ),
    ];
    let (mut client, notices) = pair.target.connect_with_notices();
    for (number, (sql, row, expected, told)) in cases.into_iter().enumerate() {
        let name = format!("a{number}");
        pair.source.sql(&sql.replace('@', &name));
        pair.source.sql(&format!("INSERT INTO {name} {row}"));
        let (answer, noticed) = ask(
            &mut client,
            &notices,
            &format!("SELECT cgpsync_create_table('{name}')::text"),
        );
        assert!(!has_won(&pair), "{sql}");
        assert!(noticed.contains(told), "{sql}: {noticed}");
        if expected == "42501" {
            assert_eq!(answer, expected, "{sql}");
            continue;
        }
        assert_eq!(answer, name, "{sql}: {noticed}");
        assert_eq!(
            pair.target.text(&format!(
                "SELECT CASE WHEN t.typelem <> 0 THEN format('ARRAY(%s)', format_type(t.typelem, NULL)) ELSE format_type(t.oid, NULL) END
                 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE attrelid = '{name}'::regclass AND attnum = 1"
            )),
            expected,
            "{sql}: {noticed}"
        );
        // The rows run nothing either.
        let (answer, noticed) = ask(
            &mut client,
            &notices,
            &format!("SELECT status FROM cgpsync_sync('{name}', '3')"),
        );
        assert_eq!(answer, "done", "{sql}: {noticed}");
        assert!(!has_won(&pair), "{sql}, synced");
    }
}

#[test]
fn types_of_the_role_that_acts_and_of_superusers_are_read() {
    let pair = Pair::new();
    pair.both(
        "CREATE TYPE mood AS ENUM ('bad', 'good'); CREATE DOMAIN small AS int CHECK (value < 100);
         CREATE ROLE maker LOGIN PASSWORD 'm'; GRANT ALL ON SCHEMA public TO maker;
         SET ROLE maker; CREATE TYPE colour AS ENUM ('red'); CREATE DOMAIN digit AS int CHECK (value < 10); RESET ROLE",
    );
    pair.source.sql(
        "CREATE TABLE t (m mood DEFAULT 'good', s small DEFAULT 7, c colour DEFAULT 'red', d digit DEFAULT 3); GRANT SELECT ON t TO maker",
    );
    pair.target.sql(
        "GRANT USAGE ON FOREIGN SERVER src TO maker; CREATE USER MAPPING FOR maker SERVER src OPTIONS (user 'maker', password 'm')",
    );
    pair.target
        .connect_as("maker")
        .execute("SELECT cgpsync_create_table('t')", &[])
        .expect("a table");
    assert_eq!(
        pair.target.list(
            "SELECT format('%s %s %s', attname, format_type(atttypid, NULL), pg_get_expr(adbin, adrelid))
             FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 't'::regclass ORDER BY attnum"
        ),
        ["m mood 'good'::mood", "s small 7", "c colour 'red'::colour", "d digit 3"]
    );
}

#[test]
fn a_superuser_who_plans_or_verifies_runs_no_cast_of_the_tables_owner() {
    let pair = Pair::new();
    pair.target.sql(TRAPS);
    pair.source.sql(NAMES);
    pair.target.sql(
        "SET ROLE mallory;
         CREATE FUNCTION m.out(m.mood) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM m.f(1); RETURN enum_out($1); END$$;
         CREATE FUNCTION m.in(text) RETURNS m.mood LANGUAGE plpgsql AS $$BEGIN PERFORM m.f(1); RETURN NULL; END$$;
         CREATE FUNCTION m.outs(m.mood[]) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM m.f(1); RETURN array_out($1); END$$;
         CREATE TYPE m.both AS (a int, t text);
         CREATE FUNCTION m.row(m.both) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM m.f(1); RETURN record_out($1); END$$;
         CREATE CAST (m.mood AS text) WITH FUNCTION m.out(m.mood) AS IMPLICIT;
         CREATE CAST (text AS m.mood) WITH FUNCTION m.in(text) AS IMPLICIT;
         CREATE CAST (m.mood[] AS text) WITH FUNCTION m.outs(m.mood[]) AS IMPLICIT;
         CREATE CAST (m.both AS text) WITH FUNCTION m.row(m.both) AS IMPLICIT;
         CREATE TABLE t (k m.mood, ks m.mood[], b m.both) PARTITION BY LIST (k);
         CREATE TABLE t_bad PARTITION OF t FOR VALUES IN ('bad');
         CREATE TABLE r (k m.mood, b m.both) PARTITION BY RANGE (k);
         CREATE TABLE r_bad PARTITION OF r FOR VALUES FROM ('bad') TO ('good');
         CREATE TABLE s (k m.span, p m.pair) PARTITION BY LIST (k);
         CREATE TABLE s_1 PARTITION OF s FOR VALUES IN ('[1,2)');
         RESET ROLE; ALTER ROLE mallory NOSUPERUSER",
    );
    pair.source.sql(
        "CREATE TYPE m.both AS (a int, t text);
         CREATE TABLE t (k text, ks text[], b m.both) PARTITION BY LIST (k); CREATE TABLE t_bad PARTITION OF t FOR VALUES IN ('bad');
         CREATE TABLE t_good PARTITION OF t FOR VALUES IN ('good');
         INSERT INTO t VALUES ('bad', '{bad,good}', '(1,x)');
         CREATE TABLE r (k m.mood, b m.both) PARTITION BY RANGE (k); CREATE TABLE r_bad PARTITION OF r FOR VALUES FROM ('bad') TO ('good');
         INSERT INTO r VALUES ('bad', '(1,x)');
         CREATE TABLE s (k m.span, p m.pair) PARTITION BY LIST (k); CREATE TABLE s_1 PARTITION OF s FOR VALUES IN ('[1,2)');
         INSERT INTO s VALUES ('[1,2)', '(1,1)')",
    );
    // The rows are put there by her, so that only reading is the superuser's.
    pair.target.sql(
        "SET ROLE mallory; INSERT INTO t VALUES ('bad', '{bad,good}', '(1,x)'); INSERT INTO r VALUES ('bad', '(1,x)'); RESET ROLE",
    );
    let (mut client, notices) = pair.target.connect_with_notices();
    for (sql, answer) in [
        (
            "SELECT string_agg(concat_ws(' ', partition, action), ', ' ORDER BY partition) FROM cgpsync_plan('t', '20170101')",
            "t_bad copy, t_good create",
        ),
        (
            "SELECT string_agg(concat_ws(' ', partition, action), ', ' ORDER BY partition) FROM cgpsync_plan('r', 'good')",
            "r_bad copy",
        ),
        (
            "SELECT string_agg(matches::text, ' ' ORDER BY partition) FROM cgpsync_verify('t', '20170101', method => 'checksum')",
            "true",
        ),
        (
            "SELECT string_agg(matches::text, ' ' ORDER BY partition) FROM cgpsync_verify('r', 'good', method => 'checksum')",
            "true",
        ),
    ] {
        let (got, told) = ask(&mut client, &notices, sql);
        assert!(!has_won(&pair), "{sql}");
        assert_eq!(got, answer, "{sql}: {told}");
    }
    // A key whose values cannot be read without running her checks is not compared: every partition is read by a condition of its own.
    for sql in [
        "SELECT action FROM cgpsync_plan('s', '20170101')",
        "SELECT matches::text FROM cgpsync_verify('s', '20170101')",
    ] {
        let (answer, told) = ask(&mut client, &notices, sql);
        assert!(!has_won(&pair), "{sql}: {answer} {told}");
        assert!(
            matches!(answer.as_str(), "copy" | "true" | "false" | ""),
            "{sql}: {answer} {told}"
        );
    }
}

/// So that the stories above can fail: each trap catches whoever steps on it.
#[test]
fn the_traps_are_traps() {
    let pair = Pair::new();
    pair.target.sql(TRAPS);
    assert!(!has_won(&pair));
    for sql in [
        "SELECT 1::m.evil",
        "SELECT '{1}'::m.evil[]",
        "SELECT 'a'::m.words",
        "SELECT 1::m.above",
        "SELECT '(1,1)'::m.pair",
        "SELECT '[1,2)'::m.span",
        "SELECT 1 OPERATOR(m.===) 1",
    ] {
        pair.target.sql(sql);
        assert!(has_won(&pair), "{sql}");
        pair.target.sql("ALTER ROLE mallory NOSUPERUSER");
    }
}

#[test]
fn a_bound_of_the_sources_is_no_value_of_somebodys_domain() {
    let pair = Pair::new();
    pair.target.sql(TRAPS);
    pair.source.sql(NAMES);
    pair.target
        .sql("CREATE TABLE t (k m.evil) PARTITION BY LIST (k); ALTER TABLE t OWNER TO mallory");
    pair.source
        .sql("CREATE TABLE t (k m.evil) PARTITION BY LIST (k); CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)");
    let error = pair.sync("'t', '20170101'").expect_err("her domain");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(error.message().contains("m.evil of role mallory"), "{error:?}");
    assert!(!has_won(&pair));
    let (mut client, notices) = pair.target.connect_with_notices();
    let plan = "SELECT action FROM cgpsync_plan('t', '20170101')";
    assert_eq!(ask(&mut client, &notices, plan).0, "create");
    assert!(!has_won(&pair));
}
