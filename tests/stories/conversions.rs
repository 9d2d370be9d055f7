//! Types that differ between the sides convert by their text; what does not fit is an error that names its place.

use crate::support::Pair;
use crate::support::values::{format_of_last_run, literal};

#[test]
fn types_that_differ_convert_by_their_text() {
    let pair = Pair::new();
    // Type there, type here, value there, the value here as text.
    let cases = [
        ("int", "bigint", "-2147483648", "-2147483648"),
        ("bigint", "int", "2147483647", "2147483647"),
        ("int", "numeric(12,2)", "7", "7.00"),
        ("numeric(12,2)", "float8", "0.10", "0.1"),
        ("float4", "float8", "0.1", "0.1"),
        ("varchar(10)", "text", "a\tb", "a\tb"),
        ("text", "varchar(3)", "abc", "abc"),
        ("varchar", "char(5)", "ab", "ab"),
        ("date", "timestamp", "2017-02-01", "2017-02-01 00:00:00"),
        ("date", "timestamptz", "2017-02-01", "2017-02-01 00:00:00+00"),
        ("timestamp", "date", "2017-02-01 23:59:59", "2017-02-01"),
        (
            "timestamptz",
            "timestamp",
            "2017-02-01 12:00:00+05",
            "2017-02-01 07:00:00",
        ),
        ("text", "date", "2017-02-01", "2017-02-01"),
        ("varchar", "date", "20170201", "2017-02-01"),
        ("date", "text", "0001-01-01 BC", "0001-01-01 BC"),
        (
            "timestamptz",
            "text",
            "2017-02-01 12:00:00+05",
            "2017-02-01 07:00:00+00",
        ),
        ("text", "bool", "yes", "true"),
        ("bool", "text", "true", "t"),
        ("text", "jsonb", "{\"b\":1,\"a\":2}", "{\"a\": 2, \"b\": 1}"),
        ("json", "jsonb", "{\"a\":1,\"a\":2}", "{\"a\": 2}"),
        ("jsonb", "text", "{\"a\":1}", "{\"a\": 1}"),
        (
            "text",
            "uuid",
            "{FFFFFFFF-ffff-ffff-ffff-ffffffffffff}",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ),
        ("int[]", "bigint[]", "[0:1]={1,NULL}", "[0:1]={1,NULL}"),
        ("text", "int[]", "{1,2}", "{1,2}"),
        ("inet", "text", "10.0.0.1/8", "10.0.0.1/8"),
        ("text", "bytea", "\\x41", "\\x41"),
        ("interval", "text", "1 day -00:00:01", "1 day -00:00:01"),
        ("regclass", "text", "pg_class", "pg_class"),
        ("int", "text", "1", "1"),
    ];
    let columns = |side: fn(&(&'static str, &'static str, &'static str, &'static str)) -> &'static str| -> String {
        let one = cases
            .iter()
            .enumerate()
            .map(|(at, case)| format!("c{at} {}", side(case)));
        one.collect::<Vec<_>>().join(", ")
    };
    pair.source.sql(&format!("CREATE TABLE t ({})", columns(|case| case.0)));
    pair.target.sql(&format!("CREATE TABLE t ({})", columns(|case| case.1)));
    let values: Vec<String> = cases.iter().map(|case| literal(case.2)).collect();
    pair.source.sql(&format!(
        "INSERT INTO t VALUES ({}); INSERT INTO t VALUES (NULL)",
        values.join(", ")
    ));
    for cluster in [&pair.source, &pair.target] {
        cluster.sql("ALTER DATABASE postgres SET TimeZone = 'UTC'");
    }
    pair.copied("'t', '20170101'");
    for (at, (there, here, _, expected)) in cases.iter().enumerate() {
        let value = pair
            .target
            .text(&format!("SELECT c{at}::text FROM t WHERE c0 IS NOT NULL"));
        assert_eq!(value, *expected, "{there} to {here}");
    }
}

#[test]
fn times_convert_in_the_time_zone_of_the_database_here() {
    let pair = Pair::new();
    pair.source.sql(
        "ALTER DATABASE postgres SET TimeZone = 'Asia/Kolkata'; ALTER DATABASE postgres SET DateStyle = 'German, DMY';
         ALTER DATABASE postgres SET IntervalStyle = 'iso_8601'",
    );
    pair.target.sql(
        "ALTER DATABASE postgres SET TimeZone = 'America/St_Johns'; ALTER DATABASE postgres SET DateStyle = 'SQL, MDY';
         ALTER DATABASE postgres SET IntervalStyle = 'sql_standard'",
    );
    pair.source.sql(
        "CREATE TABLE t (same timestamptz, local timestamptz, day timestamptz, zoned timestamp, shown timestamptz, span interval, d date);
         INSERT INTO t SELECT v, v, v, '2017-07-01 12:00:00', v, '-1 day 02:03:04', '2017-07-01'
         FROM (SELECT timestamptz '2017-07-01 00:00:00+00' AS v) s",
    );
    pair.target.sql(
        "CREATE TABLE t (same timestamptz, local timestamp, day date, zoned timestamptz, shown text, span text, d text)",
    );
    pair.copied("'t', '20170101'");
    assert_eq!(format_of_last_run(&pair), "text");
    assert_eq!(
        pair.target.text(
            "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SELECT concat_ws(', ', same, local, day, zoned, shown, span, d) FROM t"
        ),
        "2017-07-01 00:00:00+00, 2017-06-30 21:30:00, 2017-06-30, 2017-07-01 14:30:00+00, 2017-06-30 21:30:00-02:30, \
         -1 days +02:03:04, 2017-07-01"
    );
}

#[test]
fn a_value_that_does_not_fit_is_named_and_the_old_rows_stay() {
    let pair = Pair::new();
    // Type there, type here, value, SQLSTATE.
    for (there, here, value, code) in [
        ("bigint", "int", "2147483648", "22003"),
        ("text", "varchar(3)", "abcd", "22001"),
        ("varchar(10)", "varchar(3)", "abcd", "22001"),
        ("numeric", "numeric(4,2)", "100", "22003"),
        ("numeric", "int", "1.5", "22P02"),
        ("text", "date", "2017-02-30", "22008"),
        ("text", "date", "soon", "22007"),
        ("text", "jsonb", "\"\\u0000\"", "22P05"),
        ("text", "int[]", "{1", "22P02"),
        ("timestamp", "date", "294276-01-01", ""),
        ("regclass", "regclass", "only_there", "42P01"),
        ("only_mood", "mood", "there", "22P02"),
        ("int", "positive", "-1", "23514"),
        ("bit(4)", "bit(3)", "1111", "22026"),
    ] {
        pair.source.sql(
            "DROP TABLE IF EXISTS t, only_there; DROP TYPE IF EXISTS only_mood; CREATE TABLE only_there (a int);
             CREATE TYPE only_mood AS ENUM ('both', 'there')",
        );
        pair.target.sql(
            "DROP TABLE IF EXISTS t; DROP TYPE IF EXISTS mood; DROP DOMAIN IF EXISTS positive; CREATE TYPE mood AS ENUM ('both');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        );
        pair.source.sql(&format!(
            "CREATE TABLE t (k int, v {there}); INSERT INTO t SELECT g, NULL FROM generate_series(1, 9) g;
             INSERT INTO t VALUES (10, {})",
            literal(value)
        ));
        pair.target.sql(&format!(
            "CREATE TABLE t (k int, v {here}); INSERT INTO t VALUES (0, NULL)"
        ));
        let what = format!("{value} from {there} to {here}");
        if code.is_empty() {
            pair.copied("'t', '20170101'");
            assert_eq!(pair.target.text("SELECT count(*) FROM t"), "10", "{what}");
            continue;
        }
        let error = pair.sync("'t', '20170101'").expect_err(&what);
        assert_eq!(error.code().code(), code, "{what}: {error:?}");
        let detail = error.detail().unwrap_or("");
        assert!(error.message().ends_with("failed: t"), "{what}: {error:?}");
        assert!(detail.contains("COPY t, line 10, column v"), "{what}: {detail}");
        assert_eq!(
            pair.target.text("SELECT string_agg(k::text, ',') FROM t"),
            "0",
            "{what}"
        );
    }
}

#[test]
fn a_value_beyond_the_one_gigabyte_limit_is_an_error_of_the_source() {
    let pair = Pair::new();
    // Text doubles a bytea, which is then too long for any buffer. The view makes it up, so that it is never stored.
    pair.source.sql(
        "CREATE TABLE t (k bigint, b bytea); INSERT INTO t VALUES (1, 'short');
         CREATE VIEW long AS SELECT k, b FROM t UNION ALL SELECT 2, convert_to(repeat('x', 600 * 1024 * 1024), 'UTF8')",
    );
    pair.target
        .sql("CREATE TABLE t (k int, b bytea); INSERT INTO t VALUES (0, 'old')");
    let error = pair
        .sync("'t', '20170101', source_table => 'public.long'")
        .expect_err("it is too long");
    let detail = error.detail().expect("a detail");
    assert!(detail.contains("invalid memory alloc request size"), "{error:?}");
    assert!(detail.contains("Remote SQLSTATE XX000"), "{error:?}");
    assert_eq!(pair.target.text("SELECT string_agg(k::text, ',') FROM t"), "0");
    // Nothing of it is left, and the next call works. The source has much to free.
    pair.all_gone();
    pair.copied("'t', '20170101'");
    assert_eq!(pair.target.text("SELECT string_agg(k::text, ',') FROM t"), "1");
}
