//! Columns whose values may become others on the way: told before, or refused.

use crate::support::{Pair, SOON, needs, poll};

/// The one line of these that names columns whose values may change.
fn changes(lines: &str) -> &str {
    let told: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("values may change"))
        .collect();
    assert_eq!(told.len(), 1, "{lines}");
    told[0]
}

fn refused(pair: &Pair, arguments: &str) -> String {
    let error = pair.sync(arguments).expect_err("the types differ");
    assert_eq!(error.code().code(), "42804", "{error:?}");
    format!("{} ({})", error.message(), error.detail().unwrap_or_default())
}

#[test]
fn a_smaller_modifier_is_told_in_notice_and_plan_and_refused_if_strict() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (id int, price numeric(18,6), at timestamp, t time(6), d interval, a numeric(18,6)[], code varchar(20));
         INSERT INTO t SELECT g, g + 0.123456, timestamp '2017-01-01' + g * interval '1.234567 s',
           time '10:00' + g * interval '0.654321 s', g * interval '1.5 s', ARRAY[g + 0.123456], 'x' FROM generate_series(1, 100) g",
    );
    pair.target.sql(
        "CREATE TABLE t (id bigint, price numeric(18,2), at timestamp(0), t time(0), d interval(0), a numeric(18,2)[], code varchar(30))",
    );
    let lines = pair.told("'t', '20170131'").1;
    let told = changes(&lines);
    for column in [
        "column \"price\" is numeric(18,2) here and numeric(18,6) on the source",
        "column \"at\" is timestamp(0) without time zone here and timestamp without time zone on the source",
        "\"t\" is time(0)",
        "\"d\" is interval(0)",
        "\"a\" is numeric(18,2)[]",
    ] {
        assert!(told.contains(column), "{column}: {lines}");
    }
    assert!(!told.contains("\"id\"") && !told.contains("\"code\""), "{lines}");
    assert_eq!(pair.target.text("SELECT sum(price) FROM t"), "5062.00");
    let plan = pair.target.text("SELECT reason FROM cgpsync_plan('t', '20170131')");
    assert!(
        plan.ends_with("values of \"price\", \"at\", \"t\", \"d\", \"a\" may change"),
        "{plan}"
    );
    let history = pair
        .target
        .text("SELECT message FROM cgpsync_run WHERE message LIKE '%values may change%'");
    assert!(history.contains("\"price\""), "{history}");
    let error = refused(&pair, "'t', '20170131', strict => true");
    assert!(
        error.contains("\"price\", \"at\"") && error.contains("numeric(18,6) on the source"),
        "{error}"
    );
    // What the hint says helps.
    pair.copied("'t', '20170131', strict => true, columns => ARRAY['id', 'code']");
    pair.target.sql(
        "ALTER TABLE t ALTER price TYPE numeric(20,6), ALTER at TYPE timestamp, ALTER t TYPE time, ALTER d TYPE interval,
                       ALTER a TYPE numeric[]",
    );
    pair.copied("'t', '20170131', strict => true");
    pair.same("SELECT concat_ws(' ', sum(price), max(at), max(t), max(d), max(a)) FROM t");
}

#[test]
fn pairs_of_types_that_may_change_values_are_told_and_others_are_not() {
    let pair = Pair::new();
    // Here, on the source, a value there, and whether it may change.
    let pairs = [
        ("bigint", "int", "1", false),
        ("numeric", "int", "1", false),
        ("int", "bigint", "1", false),
        ("text", "int", "1", false),
        ("int", "text", "'007'", true),
        ("timestamp", "timestamptz", "'2017-01-01 00:00+00'", true),
        ("timestamptz", "timestamp", "'2017-01-01'", true),
        ("date", "timestamp", "'2017-01-01 10:00'", true),
        ("timestamp", "date", "'2017-01-01'", false),
        ("jsonb", "json", "'{\"a\":1}'", true),
        ("json", "jsonb", "'{\"a\":1}'", false),
        ("float4", "float8", "0.1", true),
        ("float8", "float4", "0.1", false),
        ("varchar(4)", "varchar(8)", "'ab      '", true),
        ("varchar(8)", "varchar(4)", "'ab'", false),
        ("text", "varchar(4)", "'ab'", false),
        ("varchar(4)", "text", "'ab'", true),
        ("numeric(10,2)", "int", "1", false),
        ("bit varying(8)", "bit(4)", "'1010'", false),
        ("numrange", "int4range", "'[1,3)'", false),
        ("int4range", "numrange", "'[1,3)'", true),
        ("text[]", "varchar(4)[]", "'{a}'", false),
        ("varchar(4)[]", "text[]", "'{a}'", true),
    ];
    let has_negative_scales = pair
        .target
        .text("SELECT current_setting('server_version_num')::int >= 150000")
        == "t";
    let more = [("numeric(10,-2)", "int", "160", true)]
        .into_iter()
        .filter(|_| has_negative_scales);
    let pairs: Vec<_> = pairs.into_iter().chain(more).collect();
    for (at, (here, there, value, may_change)) in pairs.iter().enumerate() {
        let table = format!("t{at}");
        pair.source.sql(&format!(
            "CREATE TABLE {table} (c {there}); INSERT INTO {table} VALUES ({value})"
        ));
        pair.target.sql(&format!("CREATE TABLE {table} (c {here})"));
        let lines = pair.told(&format!("'{table}', '20170101'")).1;
        assert_eq!(
            lines.contains("values may change"),
            *may_change,
            "{here} of {there}: {lines}"
        );
        assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {table}")), "1");
    }
}

#[test]
fn types_of_users_are_compared_by_what_they_are_made_of() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TYPE point2 AS (lat float8, lon float8);
         CREATE DOMAIN amount AS numeric(18,6); CREATE DOMAIN more AS amount;
         CREATE TYPE span AS RANGE (subtype = more);
         CREATE TYPE entry AS (name text, amount amount);
         CREATE TYPE mood AS ENUM ('b', 'a');
         CREATE TABLE exchanged (p point2); INSERT INTO exchanged VALUES (ROW(48.2, 16.4));
         CREATE TABLE nested (ps point2[]); INSERT INTO nested VALUES (ARRAY[ROW(48.2, 16.4)::point2]);
         CREATE TABLE cut (a more, b amount[], s span, l entry[]);
         INSERT INTO cut VALUES (0.123456, '{0.123456}', '[0.123456,2)', ARRAY[ROW('x', 0.123456)::entry]);
         CREATE TABLE named (m mood, a amount); INSERT INTO named VALUES ('b', 1), ('a', 2)",
    );
    pair.target.sql(
        "CREATE TYPE point2 AS (lon float8, lat float8);
         CREATE DOMAIN amount AS numeric(18,2) NOT NULL CHECK (VALUE >= 0);
         CREATE TYPE span AS RANGE (subtype = amount);
         CREATE TYPE entry AS (name text, amount amount);
         CREATE TYPE mood AS ENUM ('a', 'b', 'c');
         CREATE DOMAIN other AS numeric(18,6) CHECK (VALUE > 0);
         CREATE TABLE exchanged (p point2); INSERT INTO exchanged VALUES (ROW(1, 2));
         CREATE TABLE nested (ps point2[]);
         CREATE TABLE cut (a amount, b amount[], s span, l entry[]);
         CREATE TABLE named (m mood, a other)",
    );
    for table in ["exchanged", "nested"] {
        let error = refused(&pair, &format!("'{table}', '20170131'"));
        assert!(
            error.contains("attributes (lon, lat) here and (lat, lon) on the source"),
            "{error}"
        );
        let error = pair
            .target
            .connect()
            .simple_query(&format!("SELECT * FROM cgpsync_plan('{table}', '20170131')"))
            .expect_err("the plan says so too");
        assert_eq!(error.code().map(|code| code.code()), Some("42804"));
    }
    assert_eq!(pair.target.text("SELECT p FROM exchanged"), "(1,2)");
    // The hint's ways work.
    pair.target.sql("ALTER TABLE exchanged ALTER p TYPE text");
    pair.copied("'exchanged', '20170131'");
    assert_eq!(pair.target.text("SELECT p FROM exchanged"), "(48.2,16.4)");
    let lines = pair.told("'cut', '20170131'").1;
    for column in [
        "\"a\" is public.amount here and public.more on the source",
        "\"b\" is public.amount[], which is numeric(18,2)[] here and numeric(18,6)[] on the source",
        "\"s\" is public.span, which is range of numeric(18,2) here",
        "\"l\" is public.entry[], which is (name text, amount numeric(18,2))[] here",
    ] {
        assert!(
            lines
                .lines()
                .any(|line| line.contains("values may change") && line.contains(column)),
            "{column}: {lines}"
        );
    }
    assert_eq!(
        pair.target.text("SELECT a || ' ' || (l[1]).amount FROM cut"),
        "0.12 0.12"
    );
    let lines = pair.told("'named', '20170131'").1;
    assert!(!lines.contains("may change"), "{lines}");
    assert_eq!(
        pair.target
            .text("SELECT string_agg(m || ' ' || a, ', ' ORDER BY a) FROM named"),
        "b 1.000000, a 2.000000"
    );
}

#[test]
fn oids_that_may_name_large_objects_are_told() {
    let pair = Pair::new();
    let has_lo = !needs::lacks_module("lo");
    let kind = if has_lo { "lo" } else { "oid" };
    if has_lo {
        pair.both("CREATE EXTENSION lo");
    }
    pair.both(&format!("CREATE TABLE t (id int, doc {kind}, raw oid)"));
    pair.source
        .sql("INSERT INTO t VALUES (1, lo_from_bytea(0, 'content'), 7)");
    let lines = pair.told("'t', '20170131'").1;
    assert!(
        lines.contains("columns of OIDs: \"doc\", \"raw\"; large objects that they may name are not copied"),
        "{lines}"
    );
    let lines = pair.told("'t', '20170131', columns => ARRAY['id']").1;
    assert!(!lines.contains("large objects"), "{lines}");
}

#[test]
fn ranges_whose_bounds_are_ordered_or_written_otherwise_may_change() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    let folding = "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    let own = "CREATE TYPE whole AS RANGE (subtype = int4)";
    pair.both(own);
    pair.source.sql(
        "CREATE TYPE words AS RANGE (subtype = text, collation = \"C\"); CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd');
         CREATE TYPE moods AS RANGE (subtype = mood); CREATE TYPE alike AS RANGE (subtype = text, collation = \"C\")",
    );
    pair.target.sql(&format!(
        "{folding}; CREATE TYPE words AS RANGE (subtype = text, collation = folding); CREATE TYPE mood AS ENUM ('a', 'c', 'b', 'd');
         CREATE TYPE moods AS RANGE (subtype = mood); CREATE TYPE alike AS RANGE (subtype = text, collation = \"POSIX\")",
    ));
    // Type there, type here, a value, what becomes of it, whether that is told.
    for (there, here, value, expected, told) in [
        ("words", "words", "[A,a)", "empty", true),
        ("words[]", "words[]", "{\"[A,a)\"}", "{empty}", true),
        ("moods", "moods", "[a,b]", "[a,b]", true),
        ("whole", "int4range", "(1,2)", "empty", true),
        ("int4range", "whole", "[1,5)", "[1,5)", false),
        ("whole", "whole", "(1,2)", "(1,2)", false),
        ("alike", "alike", "[A,a)", "[A,a)", false),
        ("int4range", "numrange", "[1,5)", "[1,5)", false),
        ("daterange", "tsrange", "empty", "empty", false),
        ("tstzrange", "tstzrange", "empty", "empty", false),
    ] {
        pair.both("DROP TABLE IF EXISTS t");
        pair.source
            .sql(&format!("CREATE TABLE t (v {there}); INSERT INTO t VALUES ('{value}')"));
        pair.target.sql(&format!("CREATE TABLE t (v {here})"));
        let lines = pair.told("'t', '20170131'").1;
        let what = format!("{there} as {here}: {lines}");
        assert_eq!(lines.contains("values may change"), told, "{what}");
        assert_eq!(pair.target.text("SELECT v FROM t"), expected, "{what}");
        match told {
            true => drop(refused(&pair, "'t', '20170131', strict => true")),
            false => drop(pair.copied("'t', '20170131', strict => true")),
        }
    }
}

#[test]
fn blanks_that_a_limit_cuts_and_what_is_computed_here_are_told() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TYPE c AS (a json, b text);
         CREATE TABLE t (id int, j json, js json[], c c, n int, both_sides int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t (id, j, js, c, n) VALUES (1, '{}      ', ARRAY['{}     '::json], ROW('{}     ', 'x'), 100)",
    );
    pair.target.sql(
        "CREATE TYPE c AS (a varchar(3), b text);
         CREATE TABLE t (id int, j varchar(3), js varchar(3)[], c c, n int GENERATED ALWAYS AS (id * 3) STORED,
                         both_sides int GENERATED ALWAYS AS (id * 2) STORED)",
    );
    let lines = pair.told("'t', '20170131'").1;
    let told = changes(&lines);
    for column in [
        "\"j\" is character varying(3) here and json",
        "\"js\"",
        "\"c\" is public.c",
        "\"n\" is generated here and written",
    ] {
        assert!(told.contains(column), "{column}: {lines}");
    }
    assert!(!told.contains("both_sides"), "{lines}");
    refused(&pair, "'t', '20170131', strict => true");
    let matches = || {
        pair.target
            .text("SELECT matches FROM cgpsync_verify('t', method => 'checksum')")
    };
    assert_eq!(matches(), "f");
    // What the source has written is compared, too.
    pair.both("ALTER TABLE t DROP j, DROP js, DROP c");
    pair.copied("'t', '20170131'");
    assert_eq!(matches(), "f");
    pair.source.sql("UPDATE t SET n = 3");
    assert_eq!(matches(), "t");
}

#[test]
fn a_column_that_gets_another_type_here_during_a_run_is_not_loaded_as_what_it_was() {
    // Four bytes each, and other values: in COPY's binary form nothing tells them apart.
    for change in ["ALTER v TYPE real", "ALTER v TYPE bigint", "DROP COLUMN v"] {
        let pair = Pair::new();
        pair.both("CREATE TABLE t (id int, v int)");
        pair.source
            .sql("INSERT INTO t SELECT g, g FROM generate_series(1, 100) g");
        pair.target.sql("INSERT INTO t VALUES (7, 7)");
        let mut other = pair.target.connect();
        other.batch_execute("BEGIN; LOCK TABLE t").expect("a lock");
        let run = pair.sync_in_background("'t', '1'");
        poll("the worker waits for the table", SOON, || {
            pair.target
                .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass")
                == "1"
        });
        other
            .batch_execute(&format!("ALTER TABLE t {change}; COMMIT"))
            .expect("a change");
        let error = run.join().expect_err(change);
        assert!(error.starts_with("55006"), "{change}: {error}");
        assert_eq!(
            pair.target.text("SELECT string_agg(id::text, ',') FROM t"),
            "7",
            "{change}"
        );
        // The next call plans with what there is.
        if !change.contains("DROP") {
            pair.copied("'t', '1'");
            pair.same("SELECT sum(v) FROM t");
        }
    }
}
