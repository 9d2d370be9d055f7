//! Every type, and every awkward value, arrives as it was: through COPY's binary format and through its text format.

use crate::support::swapped::major;
use crate::support::values::{format_of_last_run, intervals_go_as_text, literal};
use crate::support::{Pair, needs};
use std::fmt::Write;

/// Values of every built-in type that a column may have, as literals. Types that refuse all input can only be NULL.
#[rustfmt::skip]
const SAMPLES: &[(&str, &[&str])] = &[
    ("aclitem", &["postgres=r/postgres", "=r/postgres"]),
    ("bit", &["1", "0"]),
    ("bool", &["true", "false"]),
    ("box", &["(1,2),(-3,-4)", "(Infinity,1e300),(-Infinity,-1e-300)"]),
    ("bpchar", &["", "a", "two  ", "\u{1f418}"]),
    ("bytea", &["", "\\x00", "\\x00ff5c0a0d09", "\\x5c4e"]),
    ("char", &["", "a", "\\", " "]),
    ("cid", &["0", "4294967295"]),
    ("cidr", &["0.0.0.0/0", "10.1.0.0/16", "2001:db8::/32", "::/0"]),
    ("circle", &["<(1,2),3>", "<(-0,0),0>"]),
    ("date", &["2017-02-01", "0001-01-01", "4713-11-24 BC", "5874897-12-31", "infinity", "-infinity"]),
    ("float4", &["0", "-0", "0.1", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity"]),
    ("float8", &["0", "-0", "0.1", "5e-324", "2.2250738585072014e-308", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity"]),
    ("gtsvector", &[]),
    ("inet", &["127.0.0.1", "10.1.2.3/8", "::ffff:1.2.3.4/128", "fe80::1/64"]),
    ("int2", &["-32768", "32767", "0"]),
    ("int2vector", &["1 2 3", "", "-32768"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("interval", &["0", "1 year 2 mons -3 days 04:05:06.789", "-1 mons +1 day", "178000000 years", "00:00:00.000001"]),
    ("json", &["{}", "{\"a\" : 1, \"a\":  2}", "null", "\"\\u00fc \\\\ \\n\"", "[1e400, \"\u{1f418}\"]"]),
    ("jsonb", &["{}", "{\"a\": [1, null, \"x\\ty\"]}", "null", "\"\"", "1e400", "\"\u{1f418}\""]),
    ("jsonpath", &["$", "strict $.a[*] ? (@ > 1)", "$.\"a b\".**{2 to last}"]),
    ("line", &["{1,2,3}", "{0,-1,1e300}"]),
    ("lseg", &["[(1,2),(3,4)]"]),
    ("macaddr", &["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("money", &["0", "-92233720368547758.08", "92233720368547758.07", "1234.56"]),
    ("name", &["", "a b", "sixty three bytes is the most a name holds, the rest is cut off", "\u{fc}"]),
    ("numeric", &["0", "0.000", "-1", "123456789012345678901234567890.000000000000000000001", "1e131071", "1e-16383", "NaN"]),
    ("oid", &["0", "4294967295"]),
    ("oidvector", &["1 4294967295", ""]),
    ("path", &["[(1,2),(3,4)]", "((1,2),(3,4))", "((0,0))"]),
    ("pg_brin_bloom_summary", &[]),
    ("pg_brin_minmax_multi_summary", &[]),
    ("pg_dependencies", &[]),
    ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    ("pg_mcv_list", &[]),
    ("pg_ndistinct", &[]),
    ("pg_node_tree", &[]),
    ("pg_snapshot", &["10:20:10,14,15", "1:1:"]),
    ("point", &["(1,2)", "(-0,1e-300)", "(NaN,Infinity)"]),
    ("polygon", &["((0,0),(1,1),(1,0))"]),
    ("refcursor", &["a cursor", ""]),
    ("regclass", &["pg_class", "mine", "\"Not Mine\".\"it's\"", "0"]),
    ("regcollation", &["\"C\"", "0"]),
    ("regconfig", &["simple", "english"]),
    ("regdatabase", &["postgres", "template1", "0"]),
    ("regdictionary", &["simple"]),
    ("regnamespace", &["public", "\"Not Mine\""]),
    ("regoper", &["pg_catalog.||/"]),
    ("regoperator", &["+(integer,integer)", "-(none,bigint)"]),
    ("regproc", &["now", "my_function"]),
    ("regprocedure", &["abs(integer)", "my_function(mine)"]),
    ("regrole", &["postgres", "\"Some One\""]),
    ("regtype", &["integer", "timestamp with time zone", "mine[]", "0"]),
    ("text", &["", " ", "\\N", "\\.", "\\", "\\\\x41", "NULL", "null", "a\tb", "a\nb", "a\r\nb",
               "\u{8}\u{c}\u{b}\u{1}\u{7f}", "{\"}", "it's; --",
               "\u{fc}\u{df}\u{20ac}\u{1f418}\u{10ffff}", "e\u{301}", "\u{feff}", "\u{2028}"]),
    ("tid", &["(0,0)", "(4294967295,65535)"]),
    ("time", &["00:00:00", "23:59:59.999999", "24:00:00"]),
    ("timestamp", &["2017-02-01 12:00:00.000001", "0001-01-01", "4713-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999",
                    "infinity", "-infinity"]),
    ("timestamptz", &["2017-02-01 12:00:00.000001+05:30", "2017-03-26 02:30:00+01", "2017-10-29 02:30:00+02", "0001-01-01 00:00:00+00",
                      "4713-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "1883-11-18 12:00:00-04:56:02",
                      "infinity", "-infinity"]),
    ("timetz", &["00:00:00+00", "24:00:00-15:59:59", "12:34:56.789+15:59"]),
    ("tsquery", &["", "'a' & !'b c' <3> 'd':*AB", "'it''s' | '\\\\'"]),
    ("tsvector", &["", "'a':1A,2 'b c':3 '\u{1f418}' 'it''s' '\\\\'"]),
    ("txid_snapshot", &["10:20:10,14,15"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("varbit", &["", "101", "000000001"]),
    ("varchar", &["", "x", "  "]),
    ("xid", &["0", "4294967295"]),
    ("xid8", &["0", "18446744073709551615"]),
    ("xml", &["<a/>", "<?xml version=\"1.0\" encoding=\"LATIN1\"?><a b=\"&amp;\u{fc}\">x\n</a>", "a fragment <b/>", "<!DOCTYPE a><a/>", ""]),
    ("datemultirange", &["{}", "{[2017-01-01,2017-02-01),[2018-01-01,)}"]),
    ("daterange", &["empty", "(,)", "[2017-01-01,infinity)", "[2017-01-01,)"]),
    ("int4multirange", &["{}", "{(,1),[5,7)}"]),
    ("int4range", &["empty", "[1,10)", "(,5)"]),
    ("int8multirange", &["{[1,2)}"]),
    ("int8range", &["[-9223372036854775808,9223372036854775807)"]),
    ("nummultirange", &["{[1.5,2.5],(3,NaN)}"]),
    ("numrange", &["[1.50,2.5]", "(,)"]),
    ("tsmultirange", &["{[\"2017-01-01 00:00:00\",infinity]}"]),
    ("tsrange", &["[\"0001-01-01 00:00:00 BC\",\"2017-01-01 00:00:00.000001\"]"]),
    ("tstzmultirange", &["{[\"2017-01-01 00:00:00+05\",)}"]),
    ("tstzrange", &["[\"2017-01-01 00:00:00+05\",\"294276-12-31 23:59:59+00\")"]),
];

/// Values that only later servers read: first version, type, literal.
const LATER: &[(u32, &str, &str)] = &[
    (14, "numeric", "Infinity"),
    (14, "numeric", "-Infinity"),
    (17, "interval", "infinity"),
    (17, "interval", "-infinity"),
];

/// Types whose binary form is missing, cannot be read back or means something else on another server, and so go as text.
fn is_text_only(name: &str) -> bool {
    name.starts_with("reg")
        || matches!(
            name,
            "money" | "aclitem" | "tsquery" | "gtsvector" | "int2vector" | "oidvector"
        )
}

/// Column definitions, and rows of literals for them, padded with NULL.
struct Columns {
    definitions: Vec<String>,
    values: Vec<Vec<String>>,
}

impl Columns {
    /// A column of each type that is built in on both sides, and one of its array type, of those `wanted`. Fails for a type without samples.
    fn of_built_in_types(pair: &Pair, wanted: impl Fn(&str) -> bool) -> Columns {
        let version = major(&pair.source).min(major(&pair.target));
        let built_in = "SELECT concat_ws(' ', t.typname, t.typdelim, t.typarray <> 0) FROM pg_type t
             WHERE t.oid < 10000 AND t.typtype::text IN ('b', 'r', 'm') AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
             ORDER BY t.oid";
        let here = pair.target.list(built_in);
        let mut types = pair.source.list(built_in);
        types.retain(|line| here.contains(line));
        if needs::lacks_xml(&[&pair.source, &pair.target]) {
            types.retain(|line| !line.starts_with("xml "));
        }
        let mut columns = Columns {
            definitions: Vec::new(),
            values: Vec::new(),
        };
        for line in types {
            let [name, delimiter, has_array] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("a strange type: {line}");
            };
            let samples = SAMPLES.iter().find(|(of, _)| *of == name);
            let (_, samples) = samples.unwrap_or_else(|| panic!("type {name} needs samples here"));
            if !wanted(name) {
                continue;
            }
            let later = LATER.iter().filter(|(from, of, _)| *of == name && *from <= version);
            let samples: Vec<&str> = samples
                .iter()
                .copied()
                .chain(later.map(|(_, _, value)| *value))
                .collect();
            columns.add(&format!("is_{name}"), &format!("pg_catalog.\"{name}\""), &samples);
            if has_array == "t" {
                let arrays = arrays(&samples, delimiter);
                let arrays: Vec<&str> = arrays.iter().map(String::as_str).collect();
                columns.add(&format!("has_{name}"), &format!("pg_catalog.\"{name}\"[]"), &arrays);
            }
        }
        columns
    }

    fn add(&mut self, name: &str, sql_type: &str, samples: &[&str]) {
        self.definitions.push(format!("{name} {sql_type}"));
        self.values.push(samples.iter().map(|s| literal(s)).collect());
    }

    /// CREATE TABLE. `key` is the type of a column that numbers the rows: one that differs between the sides forces text.
    fn create(&self, table: &str, key: &str) -> String {
        format!("CREATE TABLE {table} (k {key}, {})", self.definitions.join(", "))
    }

    /// INSERT of all values; the last row is all NULL.
    fn insert(&self, table: &str) -> String {
        let rows = self.values.iter().map(Vec::len).max().unwrap_or(0) + 1;
        let mut sql = String::new();
        for row in 0..rows {
            let values: Vec<&str> = self
                .values
                .iter()
                .map(|values| values.get(row).map_or("NULL", String::as_str))
                .collect();
            writeln!(sql, "INSERT INTO {table} VALUES ({row}, {});", values.join(", ")).expect("a string grows");
        }
        sql
    }

    /// Asserts that each column holds the same on both sides, as the type's output function prints it under the same settings.
    fn assert_same(&self, pair: &Pair, table: &str) {
        let queries: Vec<String> = self
            .definitions
            .iter()
            .filter_map(|definition| definition.split(' ').next())
            .map(|name| {
                format!(
                    "SELECT '{name} ' || count(*) || ' ' || count({name}) || ' '
                         || md5(string_agg(CASE num_nulls({name}) WHEN 1 THEN 'none' ELSE format('%s', {name}) END, ' | ' ORDER BY k))
                     FROM public.{table}"
                )
            })
            .collect();
        let sql = format!(
            "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';
             SET extra_float_digits = 3; SET lc_monetary = 'C'; SET search_path = pg_catalog; {}",
            queries.join(" UNION ALL ")
        );
        let (here, there) = (pair.target.list(&sql), pair.source.list(&sql));
        assert_eq!(here.len(), self.definitions.len());
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there);
        }
    }
}

/// Arrays of `samples`: all of them with a NULL, none, several dimensions whose bounds are not 1, only NULL.
fn arrays(samples: &[&str], delimiter: &str) -> Vec<String> {
    let quoted: Vec<String> = samples
        .iter()
        .map(|s| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    let mut arrays = vec!["{}".to_owned()];
    if let [first, .., last] | [first @ last] = &quoted[..] {
        arrays.push(format!("{{{}{delimiter}NULL}}", quoted.join(delimiter)));
        arrays.push(format!(
            "[2:3][-1:0]={{{{{first}{delimiter}NULL}}{delimiter}{{{last}{delimiter}{first}}}}}"
        ));
        arrays.push("{NULL}".to_owned());
    }
    arrays
}

/// Objects that values of reg types name; on the target with other OIDs than on the source.
fn objects(pair: &Pair) {
    pair.target
        .sql("CREATE TABLE other (a int); CREATE TYPE another AS ENUM ('x')");
    pair.both(
        "CREATE TABLE mine (a int); CREATE SCHEMA \"Not Mine\"; CREATE TABLE \"Not Mine\".\"it's\" (a int); CREATE ROLE \"Some One\";
         CREATE FUNCTION my_function(mine) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
}

#[test]
fn every_built_in_type_arrives_as_it_was_in_binary_and_in_text() {
    let pair = Pair::new();
    objects(&pair);
    let all = Columns::of_built_in_types(&pair, |_| true);
    let binary = Columns::of_built_in_types(&pair, |name| {
        let as_text = is_text_only(name) || (name == "interval" && intervals_go_as_text(&pair));
        !as_text
    });
    pair.both(&binary.create("in_binary", "int"));
    pair.source.sql(&binary.insert("in_binary"));
    pair.copied("'in_binary', '20170101'");
    assert_eq!(format_of_last_run(&pair), "binary");
    binary.assert_same(&pair, "in_binary");

    pair.source.sql(&all.create("in_text", "int"));
    pair.target.sql(&all.create("in_text", "bigint"));
    pair.source.sql(&all.insert("in_text"));
    pair.copied("'in_text', '20170101'");
    assert_eq!(format_of_last_run(&pair), "text");
    all.assert_same(&pair, "in_text");

    // None of the others is taken for portable.
    for definition in all.definitions.iter().filter(|d| !binary.definitions.contains(d)) {
        pair.both(&format!("DROP TABLE IF EXISTS one; CREATE TABLE one ({definition})"));
        pair.copied("'one', '20170101'");
        assert_eq!(format_of_last_run(&pair), "text", "{definition}");
    }
}

#[test]
fn settings_of_roles_and_databases_do_not_change_a_value() {
    let pair = Pair::new();
    objects(&pair);
    let all = Columns::of_built_in_types(&pair, |_| true);
    pair.source.sql(&all.create("t", "int"));
    pair.target.sql(&all.create("t", "bigint"));
    pair.source.sql(&all.insert("t"));
    let set = |settings: &[(&str, &str)]| -> String {
        let sql = settings
            .iter()
            .map(|(name, value)| format!("ALTER ROLE postgres SET {name} = {value};"));
        sql.collect()
    };
    pair.source.sql(&set(&[
        ("DateStyle", "'SQL, DMY'"),
        ("TimeZone", "'Asia/Kolkata'"),
        ("IntervalStyle", "'sql_standard'"),
        ("bytea_output", "'escape'"),
        ("extra_float_digits", "-15"),
        ("search_path", "\"Not Mine\""),
        ("xmlbinary", "'hex'"),
        ("standard_conforming_strings", "off"),
        ("quote_all_identifiers", "on"),
        ("client_encoding", "'LATIN1'"),
        ("default_transaction_isolation", "'serializable'"),
    ]));
    pair.target.sql(&set(&[
        ("DateStyle", "'German'"),
        ("TimeZone", "'America/St_Johns'"),
        ("IntervalStyle", "'iso_8601'"),
        ("array_nulls", "off"),
        ("xmloption", "'document'"),
        ("search_path", "\"Not Mine\""),
        ("standard_conforming_strings", "off"),
        ("quote_all_identifiers", "on"),
        ("client_encoding", "'LATIN1'"),
        ("bytea_output", "'escape'"),
    ]));
    // Where the machine has a locale with a decimal comma, money is written otherwise than C writes it.
    let comma = pair.target.text(
        "SELECT collcollate FROM pg_collation WHERE collprovider = 'c' AND collcollate ~ '^(de|fr|it|es)_.*\\.(utf8|UTF-8)$' LIMIT 1",
    );
    if !comma.is_empty() {
        pair.target.sql(&set(&[("lc_monetary", &format!("'{comma}'"))]));
    }
    pair.target
        .connect()
        .batch_execute("SELECT * FROM public.cgpsync_sync('public.t', '20170101')")
        .expect("the sync succeeds");
    pair.both("ALTER ROLE postgres RESET ALL");
    assert_eq!(format_of_last_run(&pair), "text");
    all.assert_same(&pair, "t");
}

#[test]
fn types_of_the_users_own_arrive_by_their_text() {
    let pair = Pair::new();
    // Other OIDs there, and labels that sort differently.
    pair.source
        .sql("CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \"fine\"', '')");
    pair.target
        .sql("CREATE TYPE another AS ENUM ('x'); CREATE TYPE mood AS ENUM ('', 'it''s \"fine\"', 'more', 'ok', 'sad')");
    pair.both(
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN words AS text[];
         CREATE TYPE pair AS (a int, \"B b\" text, m mood); CREATE TYPE nested AS (p pair, ps pair[], w words);
         CREATE TYPE moods AS RANGE (subtype = text);",
    );
    let mut columns = Columns {
        definitions: Vec::new(),
        values: Vec::new(),
    };
    columns.add("e", "mood", &["sad", "ok", "it's \"fine\"", ""]);
    columns.add("es", "mood[]", &["{sad,NULL,\"\"}", "{}"]);
    columns.add("d", "positive", &["1"]);
    columns.add("ds", "positive[]", &["{1,2,NULL}"]);
    columns.add("w", "words", &["{a,\"b c\",NULL,\"NULL\"}"]);
    columns.add("p", "pair", &["(1,\"a\"\"b\\\\, \t\n)\",ok)", "(,,)", "(,\"\",)"]);
    columns.add("ps", "pair[]", &["{\"(1,x,sad)\",NULL,\"(,,)\"}"]);
    columns.add(
        "n",
        "nested",
        &["(\"(1,\"\"x y\"\",)\",\"{\"\"(2,z,ok)\"\",NULL}\",\"{a,b}\")", "(,,)"],
    );
    columns.add("r", "moods", &["[a,b)", "empty", "(,)", "[\"a,b\",\"c\\\\d\"]"]);
    let available = "SELECT name::text FROM pg_available_extensions";
    let there = pair.source.list(available);
    let mut available = pair.target.list(available);
    available.retain(|name| there.contains(name));
    for (extension, sql_type, samples) in [
        (
            "hstore",
            "hstore",
            &["", "\"a\"=>\"1\", \"b c\"=>NULL, \"\\\\\"=>\"\\t\""][..],
        ),
        ("citext", "citext", &["MiXed", ""][..]),
        ("cube", "cube", &["(1,2),(3,4)", "(1e-300)"][..]),
        ("ltree", "ltree", &["a.b.c", ""][..]),
        ("seg", "seg", &["1.0 .. 2.50", "> 3"][..]),
        ("isn", "isbn13", &["978-0-393-04002-9"][..]),
    ] {
        if available.iter().any(|name| name == extension) {
            pair.both(&format!("CREATE EXTENSION {extension}"));
            columns.add(&format!("x_{extension}"), sql_type, samples);
            let arrays = arrays(samples, ",");
            let arrays: Vec<&str> = arrays.iter().map(String::as_str).collect();
            columns.add(&format!("xs_{extension}"), &format!("{sql_type}[]"), &arrays);
        }
    }
    pair.both(&columns.create("own", "int"));
    pair.source.sql(&columns.insert("own"));
    pair.copied("'own', '20170101'");
    assert_eq!(format_of_last_run(&pair), "text");
    columns.assert_same(&pair, "own");
}

#[test]
fn long_values_arrive_whole() {
    let pair = Pair::new();
    let ddl = |key: &str| format!("CREATE TABLE t (k {key}, t text, b bytea, j jsonb, a int[], s text)");
    pair.both(&ddl("int"));
    pair.both(&ddl("int").replace("TABLE t ", "TABLE as_text "));
    pair.target.sql("ALTER TABLE as_text ALTER k TYPE bigint");
    // A megabyte that compresses, one that does not, one of backslashes that doubles on the way, and multibyte characters at every
    // alignment to a buffer's end.
    pair.source.sql(
        "CREATE FUNCTION noise(bytes int) RETURNS bytea LANGUAGE sql AS
           $$ SELECT string_agg(decode(md5(g::text), 'hex'), '' ORDER BY g) FROM generate_series(1, bytes / 16) g $$;
         INSERT INTO t SELECT g, repeat(chr(128024) || chr(252) || 'x', 150000 + g), noise(1048576),
             jsonb_build_object('n', encode(noise(600000), 'base64')), array(SELECT generate_series(1, 100000)),
             repeat(E'\\\\', 1048576) FROM generate_series(1, 3) g;
         INSERT INTO as_text SELECT * FROM t",
    );
    for (table, format) in [("t", "binary"), ("as_text", "text")] {
        pair.copied(&format!("'{table}', '20170101'"));
        assert_eq!(format_of_last_run(&pair), format);
        pair.same_rows(table, "true");
    }
}
