//! Checksums of columns whose types differ: a value that has become another one is found, one that is the same is not.

use crate::support::Pair;
use crate::support::comparing::said;
use crate::support::values::literal;
use postgres::Client;

const COMPARE: &str = "'t', method => 'checksum'";

/// What a comparison of `t` says; it has one unit.
fn matches(client: &mut Client, what: &str) -> bool {
    let rows = said(client, COMPARE);
    match &rows[..] {
        [(Some(_), Some(matches), None)] => *matches,
        _ => panic!("{what}: {rows:?}"),
    }
}

/// `t` with a column `v` of these types and a row on the source.
fn tables(pair: &Pair, there: &str, here: &str, value: &str) {
    pair.both("DROP TABLE IF EXISTS t");
    pair.source.sql(&format!(
        "CREATE TABLE t (id int, v {there}); INSERT INTO t VALUES (1, {value}), (2, NULL)"
    ));
    pair.target.sql(&format!("CREATE TABLE t (id int, v {here})"));
}

/// A value is copied into another type: then it matches or not, and another value here never does.
fn copied_into(pair: &Pair, client: &mut Client, case: (&str, &str, &str, bool, &str)) {
    let (there, here, value, expected, other) = case;
    let what = format!("{value} of {there} as {here}");
    tables(pair, there, here, value);
    pair.copied("'t', '20170101'");
    assert_eq!(matches(client, &what), expected, "{what}");
    if !other.is_empty() {
        let change = format!("BEGIN; UPDATE t SET v = {other} WHERE id = 1");
        client.batch_execute(&change).expect("a change");
        assert!(!matches(client, &what), "{what}, then {other}");
        client.batch_execute("ROLLBACK").expect("a rollback");
    }
    let change = "BEGIN; UPDATE t SET v = NULL";
    client.batch_execute(change).expect("a change");
    assert!(!matches(client, &what), "{what}, then NULL");
    client.batch_execute("ROLLBACK").expect("a rollback");
}

#[test]
fn a_smaller_modifier_is_no_excuse_for_another_value() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE DOMAIN amount AS numeric(18,6); CREATE TYPE priced AS (name text, price numeric(18,6));
         CREATE TYPE span AS RANGE (subtype = amount)",
    );
    pair.target.sql(
        "CREATE DOMAIN amount AS numeric(18,2); CREATE TYPE priced AS (name text, price numeric(18,2));
         CREATE TYPE span AS RANGE (subtype = amount)",
    );
    let mut client = pair.target.connect();
    // Type there, type here, a value that is rounded, one that is not.
    for (there, here, rounded, kept) in [
        ("numeric(18,6)", "numeric(18,2)", "1.123456", "1.120000"),
        ("numeric", "numeric(18,2)", "1.125", "100"),
        (
            "timestamp(6)",
            "timestamp(0)",
            "'2017-01-01 00:00:01.234567'",
            "'2017-01-01 00:00:01'",
        ),
        (
            "timestamptz",
            "timestamptz(3)",
            "'2017-01-01 00:00:01.234567+00'",
            "'2017-01-01 00:00:01.234+00'",
        ),
        ("time(6)", "time(0)", "'10:00:00.654321'", "'10:00:01'"),
        (
            "interval",
            "interval(0)",
            "'1 day 00:00:01.5'",
            "'1 mon 1 day 00:00:02'",
        ),
        (
            "numeric(18,6)[]",
            "numeric(18,2)[]",
            "'{1.1,2.123456}'",
            "'[0:2]={1.12,NULL,100}'",
        ),
        (
            "timestamp[]",
            "timestamp(0)[]",
            "'{2017-01-01 00:00:01.5}'",
            "'{2017-01-01 00:00:01}'",
        ),
        ("amount", "amount", "0.123456", "0.12"),
        ("amount[]", "amount[]", "'{0.123456}'", "'{0.12}'"),
        ("priced", "priced", "ROW('1.50', 0.123456)", "ROW('1.50', 0.12)"),
        (
            "priced[]",
            "priced[]",
            "'{\"(a,0.123456)\"}'",
            "'{\"(a,0.12)\",NULL,\"(,)\"}'",
        ),
        ("span", "span", "'[0.1,0.123456)'", "'[0.1,0.12)'"),
    ] {
        copied_into(&pair, &mut client, (there, here, rounded, false, ""));
        copied_into(&pair, &mut client, (there, here, kept, true, ""));
    }
    // A row of nothing but NULLs is not NULL, and text within keeps its zeros.
    tables(&pair, "priced", "priced", "ROW(NULL, NULL)");
    pair.copied("'t', '20170101'");
    assert!(matches(&mut client, "nulls"));
    pair.target.sql("UPDATE t SET v = NULL");
    assert!(!matches(&mut client, "no row"));
    tables(&pair, "priced", "priced", "ROW('1.50', 1)");
    pair.target.sql("INSERT INTO t VALUES (1, ROW('1.5', 1)), (2, NULL)");
    assert!(!matches(&mut client, "text"));
}

#[test]
fn types_that_differ_match_where_the_value_leads_back() {
    let pair = Pair::new();
    pair.both("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)");
    pair.target.sql("ALTER ROLE postgres SET TimeZone = 'Europe/Berlin'");
    let mut client = pair.target.connect();
    // Type there, type here, value, whether it matches, another value here.
    for (there, here, value, expected, other) in [
        ("int", "bigint", "5", true, "4294967301"),
        ("bigint", "int", "5", true, "6"),
        ("int", "numeric(12,2)", "5", true, "5.01"),
        ("int", "float8", "5", true, "5.5"),
        ("bigint", "float8", "9007199254740993", false, ""),
        ("numeric", "float8", "0.1", true, "0.2"),
        ("float8", "numeric", "'1e300'", true, "1"),
        ("float8", "numeric(10,2)", "1.239", false, ""),
        ("float8", "int", "3", true, "4"),
        ("float4", "float8", "0.1", true, "0.1::float4"),
        ("float8", "float4", "0.1", false, ""),
        ("float8", "float4", "0.5", true, "0.25"),
        ("float8", "float4", "'NaN'", true, "'Infinity'"),
        (
            "timestamptz",
            "timestamp",
            "'2017-07-01 00:00:00+00'",
            true,
            "'2017-07-01 00:00:00'",
        ),
        ("timestamptz", "timestamp", "'infinity'", true, "'-infinity'"),
        // This hour comes twice.
        ("timestamptz", "timestamp", "'2017-10-29 00:30:00+00'", false, ""),
        (
            "timestamp",
            "timestamptz",
            "'2017-07-01 00:00:00'",
            true,
            "'2017-07-01 00:00:00+00'",
        ),
        // This one does not come.
        ("timestamp", "timestamptz", "'2017-03-26 02:30:00'", false, ""),
        ("date", "timestamp", "'2017-07-01'", true, "'2017-07-01 12:00'"),
        ("date", "timestamp", "'0044-03-15 BC'", true, "'infinity'"),
        ("timestamp", "date", "'2017-07-01 00:00'", true, "'2017-07-02'"),
        ("timestamp", "date", "'2017-07-01 12:00'", false, ""),
        ("date", "timestamptz", "'2017-07-01'", true, "'2017-07-01 00:00+00'"),
        ("timestamptz", "date", "'2017-07-01 00:00+02'", true, "'2017-06-30'"),
        ("timestamptz", "date", "'2017-07-01 00:00+00'", false, ""),
        ("time", "interval", "'10:00'", true, "'1 day 10:00'"),
        ("text", "int", "'17'", true, "18"),
        ("text", "int", "'017'", false, ""),
        ("int", "bool", "1", true, "false"),
        ("smallint", "bool", "0", true, "true"),
        ("bigint", "bool", "1", true, "false"),
        (
            "macaddr",
            "macaddr8",
            "'08:00:2b:01:02:03'",
            true,
            "'08:00:2b:01:02:04'",
        ),
        ("numeric", "money", "5.25", true, "5.26"),
        ("text", "bool", "'true'", true, "false"),
        ("text", "bool", "'f'", true, "true"),
        ("bool", "text", "true", true, "'true'"),
        (
            "text",
            "timestamptz",
            "'2017-07-01 12:00:00+02'",
            true,
            "'2017-07-01 12:00:00+01'",
        ),
        ("text", "varchar(5)", "'ab'", true, "'AB'"),
        ("text", "char(5)", "'ab'", true, "'abc'"),
        ("char(8)", "varchar", "'ab'", true, "'ab'"),
        ("char(3)", "char(5)", "'ab'", true, "'abc'"),
        ("inet", "text", "'10.0.0.1'", true, "'10.0.0.1/32'"),
        ("cidr", "inet", "'10.0.0.1'", true, "'10.0.0.1/31'"),
        ("bit(3)", "varbit", "'101'", true, "'1010'"),
        ("jsonb", "json", "'{\"a\":1}'", true, "'{\"a\":1}'"),
        ("json", "jsonb", "'{\"a\": 1}'", true, "'{\"a\": 2}'"),
        ("json", "jsonb", "'{\"a\":1,\"a\":2}'", false, ""),
        ("mood", "text", "'sad'", true, "'ok'"),
        ("text", "mood", "'sad'", true, "'ok'"),
        ("int", "positive", "3", true, "4"),
        ("positive", "bigint", "3", true, "4"),
        ("int[]", "bigint[]", "'[0:1]={1,NULL}'", true, "'{1,NULL}'"),
        ("positive[]", "int[]", "'{1,2}'", true, "'{2,1}'"),
        (
            "text[]",
            "varchar(9)[]",
            "'{a,NULL,\"NULL\",\"\"}'",
            true,
            "'{a,NULL,NULL,\"\"}'",
        ),
        ("int4range", "numrange", "'[1,5)'", true, "'[1,5]'"),
        ("int4range", "int8range", "'empty'", true, "'[1,2)'"),
        ("int4multirange", "int8multirange", "'{[1,2),[5,6)}'", true, "'{[1,6)}'"),
    ] {
        if there.contains("multirange") && pair.target.text("SHOW server_version_num").as_str() < "140000" {
            continue;
        }
        copied_into(&pair, &mut client, (there, here, value, expected, other));
    }
}

#[test]
fn no_value_here_is_too_much_for_the_sources_type() {
    let pair = Pair::new();
    pair.target.sql("ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo'");
    let mut client = pair.target.connect();
    for (there, here, value, other) in [
        ("smallint", "bigint", "1", "9223372036854775807"),
        ("int", "numeric", "1", "1e1000"),
        ("int", "float8", "1", "1e300"),
        ("int", "text", "1", "'one'"),
        ("float4", "float8", "1", "1e300"),
        ("float8", "numeric", "1", "1e1000"),
        ("float8", "numeric", "'Infinity'", "'NaN'"),
        ("date", "timestamp", "'2017-01-01'", "'294276-12-31 23:59:59'"),
        ("timestamp", "timestamptz", "'2017-01-01'", "'294276-12-31 23:00:00+00'"),
        (
            "timestamptz",
            "timestamp",
            "'2017-01-01 00:00+00'",
            "'4713-01-01 00:00 BC'",
        ),
        ("timestamp", "date", "'2017-01-01'", "'5874897-12-31'"),
        ("timestamp", "text", "'2017-01-01'", "'soon'"),
        ("time", "interval", "'10:00'", "'100 years'"),
        ("int[]", "numeric[]", "'{1}'", "'{1e1000}'"),
        ("json", "text", "'1'", "'{'"),
        ("cidr", "inet", "'10.0.0.0/8'", "'10.0.0.1/8'"),
        (
            "macaddr",
            "macaddr8",
            "'08:00:2b:01:02:03'",
            "'08:00:2b:01:02:03:04:05'",
        ),
        (
            "macaddr8",
            "macaddr",
            "'08:00:2b:01:02:03:04:05'",
            "'08:00:2b:01:02:03'",
        ),
    ] {
        tables(&pair, there, here, value);
        pair.target
            .sql(&format!("INSERT INTO t VALUES (1, {other}), (2, NULL)"));
        assert!(!matches(&mut client, other), "{other} for {value} of {there}");
    }
}

#[test]
fn no_value_looks_like_a_digest_or_like_null_or_like_two() {
    let pair = Pair::new();
    let mut client = pair.target.connect();
    let long = "convert_to(repeat('x', 1001), 'UTF8')";
    for imitation in [
        format!("decode(md5({long}), 'hex')"),
        format!("sha256({long})"),
        format!("'d'::bytea || int4send(1001) || sha256({long})"),
        format!("int4send(1001) || sha256({long})"),
        "''".to_owned(),
    ] {
        tables(&pair, "bytea", "bytea", long);
        pair.target
            .sql(&format!("INSERT INTO t VALUES (1, {imitation}), (2, NULL)"));
        assert!(!matches(&mut client, &imitation), "{imitation}");
    }
    pair.both("DROP TABLE t; CREATE TABLE t (a text, b text)");
    pair.source
        .sql("INSERT INTO t VALUES ('N', NULL), (NULL, 'N'), ('a,b', 'c'), ('', NULL)");
    for (rows, expected) in [
        ("('N', NULL), (NULL, 'N'), ('a,b', 'c'), ('', NULL)", true),
        ("('N', NULL), ('N', NULL), ('a,b', 'c'), ('', NULL)", false),
        ("('N', NULL), (NULL, 'N'), ('a', 'b,c'), ('', NULL)", false),
        ("('N', NULL), (NULL, 'N'), ('a,b', 'c'), (NULL, '')", false),
        ("('N', 'N'), (NULL, NULL), ('a,b', 'c'), ('', NULL)", false),
    ] {
        pair.target.sql(&format!("TRUNCATE t; INSERT INTO t VALUES {rows}"));
        assert_eq!(matches(&mut client, rows), expected, "{rows}");
    }
}

#[test]
fn one_nan_is_as_good_as_another_wherever_it_is() {
    let pair = Pair::new();
    let nan = "('inf'::float8 - 'inf'::float8)";
    let columns =
        |k: &str| format!("CREATE TABLE t (k {k}, a float8[], f float4[], p point, ps point[], l lseg, v float8)");
    pair.source.sql(&columns("int"));
    // A type that differs makes the rows travel as text, which has one NaN.
    pair.target.sql(&columns("bigint"));
    pair.source.sql(&format!(
        "INSERT INTO t SELECT 1, ARRAY[{nan}, 0.1], ARRAY[{nan}::float4], point({nan}, 0.1), ARRAY[point(1, {nan})],
                              lseg(point({nan}, 0), point(0, 1)), {nan}"
    ));
    pair.copied("'t', '20170101'");
    let mut client = pair.target.connect();
    assert!(matches(&mut client, "NaN"));
    for change in [
        "a[2] = 0.2",
        "f[1] = 0",
        "p = '(NaN,0.2)'",
        "ps[1] = '(NaN,NaN)'",
        "v = 0",
    ] {
        client
            .batch_execute(&format!("BEGIN; UPDATE t SET {change}"))
            .expect("a change");
        assert!(!matches(&mut client, change), "{change}");
        client.batch_execute("ROLLBACK").expect("a rollback");
    }
}

#[test]
fn fields_that_are_exchanged_differ() {
    let pair = Pair::new();
    pair.source.sql("CREATE TYPE place AS (lat float8, lon float8)");
    pair.target.sql("CREATE TYPE place AS (lon float8, lat float8)");
    tables(&pair, "place", "place", "ROW(48.2, 16.4)");
    let mut client = pair.target.connect();
    for (value, expected) in [("ROW(48.2, 16.4)", false), ("ROW(16.4, 48.2)", true)] {
        pair.target
            .sql(&format!("TRUNCATE t; INSERT INTO t VALUES (1, {value}), (2, NULL)"));
        assert_eq!(matches(&mut client, value), expected, "{}", literal(value));
    }
}
