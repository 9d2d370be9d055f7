//! Checksums: equal values are equal whatever type, encoding and setting they live under, and no changed value escapes.

use crate::support::comparing::{said, try_verify, verify};
use crate::support::{Pair, needs};

/// A table of many types: column, type, a value.
const TYPES: &[(&str, &str, &str)] = &[
    ("b", "bool", "true"),
    ("i2", "int2", "-7"),
    ("i8", "int8", "9223372036854775807"),
    ("f4", "float4", "'1.1'"),
    ("f8", "float8", "'0.1'::float8 + '0.2'::float8"),
    ("nan", "float8", "'infinity'::float8 - 'infinity'::float8"),
    ("zero", "float8", "'-0'"),
    ("n", "numeric", "'1.500'"),
    ("n2", "numeric(10,2)", "'-12345.67'"),
    ("t", "text", "'tab\tnew\nline äöü 漢 😀 \\N'"),
    ("v", "varchar(20)", "'été'"),
    ("c", "char(8)", "'ab'"),
    ("c1", "\"char\"", "'x'"),
    ("nm", "name", "'a name'"),
    ("by", "bytea", "'\\x00ff10'"),
    ("d", "date", "'2017-01-31'"),
    ("di", "date", "'infinity'"),
    ("ti", "time", "'23:59:59.999999'"),
    ("tz", "timetz", "'12:00:00+05:30'"),
    ("ts", "timestamp", "'4713-01-01 00:00:00 BC'"),
    ("tt", "timestamptz", "'2017-03-26 01:30:00.123456+00'"),
    ("iv", "interval", "'1 year 2 mons -3 days 04:05:06.789'"),
    ("u", "uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("bi", "bit(5)", "'10101'"),
    ("vb", "varbit", "'1100111'"),
    ("ip", "inet", "'192.168.0.1'"),
    ("ci", "cidr", "'10.0.0.0/8'"),
    ("ma", "macaddr", "'08:00:2b:01:02:03'"),
    ("m", "money", "'12.34'"),
    ("po", "point", "'(1.5,2.5)'"),
    ("pg", "polygon", "'((0,0),(1,1),(2,0.1))'"),
    ("j", "json", "'{\"b\": 1,  \"a\": \"ä\"}'"),
    ("jb", "jsonb", "'{\"b\": 1, \"a\": [1.50, \"ä\"]}'"),
    ("x", "xml", "'<a>ä</a>'"),
    ("tv", "tsvector", "'a:1 fat:2 cat:3'"),
    ("tq", "tsquery", "'fat & cat'"),
    ("ia", "int4[]", "'{{1,2},{3,NULL}}'"),
    ("ta", "text[]", "'{a,\"ä \\\"q\\\"\",NULL,\"\"}'"),
    ("fa", "float8[]", "'[0:1]={0.1,1e-300}'"),
    ("tta", "timestamptz[]", "'{2017-03-26 01:30:00+00}'"),
    ("ba", "bytea[]", "ARRAY['\\x00ff'::bytea]"),
    ("r", "int4range", "'[1,5)'"),
    ("tr", "tstzrange", "'[2017-01-01 00:00:00+00,2017-02-01 00:00:00+00)'"),
    ("nr", "numrange", "'[1.0,2.50]'"),
    ("o", "oid", "4294967295"),
    ("rc", "regclass", "'pg_class'"),
    ("ls", "pg_lsn", "'16/B374D848'"),
    ("en", "mood", "'sad'"),
    (
        "co",
        "pair",
        "ROW(1, 'a b', '2017-01-01 00:00:00+00'::timestamptz, '\\x00ff'::bytea, 0.1::float8)",
    ),
    ("dm", "positive", "3"),
    ("dz", "zip", "'ab'"),
];

const TYPES_DDL: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE pair AS (a int, b text, c timestamptz, d bytea, e float8);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN zip AS char(5);";

/// Makes the table; its columns but `id`.
fn wide(pair: &Pair) -> Vec<&'static str> {
    pair.source.sql("CREATE TYPE shifts_the_oids AS ENUM ()");
    let has_xml = !needs::lacks_xml(&[&pair.source, &pair.target]);
    let types = || TYPES.iter().filter(|(_, kind, _)| *kind != "xml" || has_xml);
    let columns: Vec<String> = types().map(|(name, kind, _)| format!("\"{name}\" {kind}")).collect();
    let values: Vec<&str> = types().map(|(_, _, value)| *value).collect();
    pair.both(&format!(
        "{TYPES_DDL} CREATE TABLE wide (id int, {})",
        columns.join(", ")
    ));
    pair.source.sql(&format!(
        "INSERT INTO wide VALUES (1, {}); INSERT INTO wide (id) VALUES (2)",
        values.join(", ")
    ));
    types().map(|(name, _, _)| *name).collect()
}

#[test]
fn equal_rows_match_whatever_both_servers_are_set_to_and_any_changed_value_is_found() {
    let pair = Pair::new();
    let columns = wide(&pair);
    pair.copied("'wide', '20170101'");
    let settings = |all: [&str; 5]| {
        let names = [
            "DateStyle",
            "TimeZone",
            "extra_float_digits",
            "bytea_output",
            "IntervalStyle",
        ];
        let set = names
            .iter()
            .zip(all)
            .map(|(n, v)| format!("ALTER DATABASE postgres SET {n} = '{v}'"));
        set.collect::<Vec<_>>().join(";")
    };
    pair.source
        .sql(&settings(["German", "Asia/Tokyo", "-5", "escape", "iso_8601"]));
    pair.target
        .sql(&settings(["SQL, DMY", "America/New_York", "0", "hex", "sql_standard"]));
    let mut client = pair.target.connect();
    client
        .batch_execute("SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'Postgres, MDY'; SET client_encoding = 'LATIN1'; SET bytea_output = 'escape'")
        .expect("settings");
    for method in ["count", "checksum"] {
        let rows = try_verify(&mut client, &format!("'wide', method => '{method}'")).expect("a comparison");
        assert_eq!(rows, [("wide".to_owned(), true, 2, 2)], "{method}");
    }
    let shown = client.query_one(
        "SELECT current_setting('TimeZone') || current_setting('DateStyle')",
        &[],
    );
    assert_eq!(
        shown.expect("settings").get::<_, String>(0),
        "Asia/KolkataPostgres, MDY"
    );
    // A transaction sees its own changes, so each can be undone.
    for column in columns {
        for change in [
            format!("UPDATE wide SET \"{column}\" = NULL WHERE id = 1"),
            format!("UPDATE wide SET \"{column}\" = (SELECT w.\"{column}\" FROM wide w WHERE id = 1) WHERE id = 2"),
        ] {
            client.batch_execute(&format!("BEGIN; {change}")).expect("a change");
            let rows = try_verify(&mut client, "'wide', method => 'checksum'").expect("a comparison");
            assert_eq!(rows, [("wide".to_owned(), false, 2, 2)], "{change}");
            client.batch_execute("ROLLBACK").expect("a rollback");
        }
    }
}

#[test]
fn a_source_in_another_encoding_matches() {
    let pair = Pair::new();
    let texts = "CREATE TABLE t (a text, b char(5), c text[], d json, e name); INSERT INTO t VALUES ('äöü', 'é', '{ß}', '\"ñ\"', 'ø')";
    for (encoding, name) in [("LATIN1", "latin"), ("SQL_ASCII", "ascii")] {
        pair.source.sql(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ));
        pair.source.connect_to(name).batch_execute(texts).expect("a table");
    }
    pair.target.sql(texts);
    for name in ["latin", "ascii"] {
        pair.target
            .sql(&format!("ALTER SERVER src OPTIONS (SET dbname '{name}')"));
        assert_eq!(
            verify(&pair, "'t', method => 'checksum'"),
            [("t".into(), true, 1, 1)],
            "{name}"
        );
    }
    let latin_byte = "SET client_encoding = 'SQL_ASCII'; UPDATE t SET a = E'\\xe4'";
    pair.source
        .connect_to("ascii")
        .batch_execute(latin_byte)
        .expect("a byte");
    let rows = said(&mut pair.target.connect(), "'t', method => 'checksum'");
    let [(Some(_), None, Some(error))] = &rows[..] else {
        panic!("{rows:?}")
    };
    assert!(error.ends_with("[22021]"), "{error}");
}

#[test]
fn columns_of_one_side_and_what_is_converted_are_named() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE t (a int, p pair, gone int);
         INSERT INTO t VALUES (1, ROW(1, 2), 1); CREATE VIEW v AS SELECT a, CAST(p AS text) AS p FROM t",
    );
    pair.target
        .sql("CREATE TABLE t (a bigint, p jsonb, extra text DEFAULT 'x'); INSERT INTO t VALUES (1, '[1, 2]')");
    let (mut client, notices) = pair.target.connect_with_notices();
    // What a composite prints is no jsonb, neither for the copy nor here.
    let rows = said(&mut client, "'t', method => 'checksum'");
    assert!(
        rows[0].1.is_none() && rows[0].2.as_ref().is_some_and(|e| e.ends_with("[22P02]")),
        "{rows:?}"
    );
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(
        notices.contains("\"extra\" is missing on the source, \"gone\" is missing here"),
        "{notices}"
    );
    assert!(
        notices.contains("no cast leads back to the source's type, so what the copy makes of it is compared: \"p\""),
        "{notices}"
    );
}
