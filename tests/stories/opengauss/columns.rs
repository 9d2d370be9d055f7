//! Types over there and here.

use crate::support::opengauss::Lab;

/// Types of both, and those that are only over there.
const COLUMNS: &str = "id bigint NOT NULL, d date NOT NULL, ti tinyint, nv nvarchar2(10), c clob, b blob, r raw, sd smalldatetime, n number,
    n2 number(10,2), v2 varchar2(5), bp char(4), ts timestamptz, iv interval, bl boolean, f4 float4, f8 binary_double, j json, jb jsonb,
    u uuid, bt bytea, arr int[], ta text[], inet inet, bi bit(3), vb bit varying(9), tm time, ttz timetz, rd pg_catalog.date, nm name,
    xm text, tsv tsvector, na numeric[], tza timestamptz[]";

const ROWS: &str = "INSERT INTO t VALUES
    (1, '2024-01-05 10:11:12', 255, 'äöüßñ', repeat('x', 10000), 'DEADBEEF', '00ff', '2024-01-05 10:11:33',
     123456789012345678901234567890.123456789, 1.25, 'abcde', 'ab', '2024-01-01 00:00:00+08', '1 mon 2 days 03:04:05.6', true, 1.1, 1e300,
     '{\"a\":1}', '{\"b\":[1,2]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff', ARRAY[1, 2, NULL], ARRAY['a', 'b,c'],
     '10.0.0.1/24', b'101', b'11', '10:11:12.5', '10:11:12+02', '2024-05-06', 'nm', 'a\\b', 'a b:1A c', ARRAY[1.5, NULL, -0.001],
     ARRAY['2024-01-01 00:00:00+08'::timestamptz]);
    INSERT INTO t (id, d, n, f4, f8, ti, iv, ts, c, nv, v2, xm, b, r)
    VALUES (2, '2024-02-07', 'NaN', 'NaN', '-Infinity', 0, '-3 days', 'infinity', '', '', '', '', '', '');
    INSERT INTO t (id, d, ti, b) VALUES (3, '2024-02-08', 128, empty_blob()), (4, '2024-02-09', NULL, NULL)";

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn every_type_has_one_here_that_holds_its_values() {
    let lab = Lab::new("types");
    lab.source.sql(&format!(
        "CREATE TABLE t ({COLUMNS}) PARTITION BY RANGE (d)
         (PARTITION p1 VALUES LESS THAN ('2024-02-01'), PARTITION p2 VALUES LESS THAN ('2024-03-01'))"
    ));
    lab.source.sql(ROWS);
    lab.create("t");
    let types =
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = 't'::regclass AND attname IN ('ti', 'nv', 'c', 'b', 'r', 'sd', 'n', 'v2')";
    assert_eq!(
        lab.here.text(types),
        "ti smallint, nv character varying(10), c text, b bytea, r bytea, sd timestamp without time zone, n numeric, v2 character varying(5)"
    );
    let said = lab.sync("t");
    assert!(!said.contains("may change"), "{said}");
    assert_eq!(
        lab.here
            .text("SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
        "binary"
    );
    lab.is_same("t", &["id", "d", "ti", "nv", "v2", "sd", "n2", "bp", "iv", "u", "rd"]);
    let digits = "SELECT string_agg(COALESCE({}, '-'), ' ' ORDER BY id) FROM t";
    let here = lab.here.text(&digits.replace("{}", "encode(b, 'hex')"));
    let empty_is_null = lab.source.text("SELECT CASE WHEN '' IS NULL THEN 'yes' END") == "yes";
    assert_eq!(here, if empty_is_null { "deadbeef -  -" } else { "deadbeef   -" });
    assert_eq!(
        lab.here.text(&digits.replace("{}", "length(c)::text")),
        if empty_is_null { "10000 - - -" } else { "10000 0 - -" }
    );
    assert_eq!(
        lab.here
            .text("SELECT string_agg(COALESCE(ti::text, '-'), ' ' ORDER BY id) FROM t"),
        "255 0 128 -"
    );
    // Into columns of other types, as text.
    lab.here
        .sql("DROP TABLE t; CREATE TABLE t (id bigint, ti text, b bytea, c varchar, sd date)");
    let sql = format!(
        "SELECT partition FROM cgpsync_sync('{}.t', columns => ARRAY['id', 'ti', 'b', 'c', 'sd'])",
        lab.schema
    );
    lab.told(&sql);
    assert_eq!(
        lab.here
            .text("SELECT ti || ' ' || encode(b, 'hex') || ' ' || length(c) || ' ' || sd FROM t WHERE id = 1"),
        "255 deadbeef 10000 2024-01-05"
    );
}

/// A date of A format is a timestamp there, and mostly a date here.
#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn a_date_with_a_time_of_day_may_be_a_date_here() {
    let lab = Lab::new("dates");
    lab.source.sql(
        "CREATE TABLE t (id int, d date NOT NULL, e pg_catalog.date) PARTITION BY RANGE (d)
           (PARTITION p1 VALUES LESS THAN ('2024-02-01'), PARTITION p2 VALUES LESS THAN ('2024-03-01'));
         INSERT INTO t SELECT i, timestamp '2024-01-01' + (i % 60) * interval '1 day', CAST('2024-05-05' AS pg_catalog.date) FROM generate_series(1, 300) i",
    );
    lab.here.sql(
        "CREATE TABLE t (id int, d date, e date) PARTITION BY RANGE (d);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')",
    );
    let said = lab.sync("t");
    assert!(!said.contains("not remembered"), "{said}");
    lab.is_same("t", &["id", "e"]);
    assert_eq!(lab.here.text("SELECT count(*) FROM t"), "300");
}

/// Keys of types that are only over there.
#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn keys_may_be_of_its_own_types() {
    let lab = Lab::new("keys");
    for (name, kind, bounds, value) in [
        ("ti", "tinyint", ["100", "200"], "i % 200"),
        ("nv", "nvarchar2(10)", ["'m'", "'zz'"], "chr(97 + i % 26)"),
        (
            "sd",
            "smalldatetime",
            ["'2024-02-01'", "'2024-03-01'"],
            "timestamp '2024-01-01' + (i % 59) * interval '1 day'",
        ),
        ("nu", "number(10,2)", ["100.5", "200.25"], "i % 200"),
    ] {
        let made = lab.source.allows(&format!(
            "CREATE TABLE {name} (id int, k {kind} NOT NULL) PARTITION BY RANGE (k)
               (PARTITION p1 VALUES LESS THAN ({}), PARTITION p2 VALUES LESS THAN ({}))",
            bounds[0], bounds[1]
        ));
        if !made {
            crate::support::needs::note(&format!("no {kind} as a key there"));
            continue;
        }
        lab.source.sql(&format!(
            "INSERT INTO {name} SELECT i, {value} FROM generate_series(1, 500) i"
        ));
        lab.create(name);
        let said = lab.told(&format!(
            "SELECT * FROM cgpsync_sync('{}.{name}', '{}')",
            lab.schema,
            bounds[1].trim_matches('\'')
        ));
        lab.is_same(name, &["id", "k"]);
        assert!(!said.1.contains("will not be remembered"), "{}", said.1);
        let read = lab.here.text(
            "SELECT string_agg(COALESCE(source_filter, 'all'), ' ') FROM cgpsync_run_partition
             WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)",
        );
        assert_eq!(read, "all all", "{name}");
    }
}
