//! The same rows into two tables that are alike, once by COPY and once by pages of our own making, and what differs.

use super::Pair;
use super::dice::Dice;
use super::swapped::{is_sound, major};
use super::values::format_of_last_run;
use postgres::error::DbError;

/// The tables of the target, and cgpsync.page_writer for each.
pub const TABLES: [(&str, &str); 2] = [("by_copy", "off"), ("by_pages", "on")];

/// Types of columns, with values as expressions; `n` is the row's number.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false", "n % 3 = 0"]),
    ("smallint", &["-32768", "32767", "0", "n % 32768"]),
    ("int", &["-2147483648", "2147483647", "n"]),
    (
        "bigint",
        &["-9223372036854775808", "9223372036854775807", "n * 4294967296"],
    ),
    ("oid", &["0", "4294967295", "n"]),
    ("real", &["'NaN'", "'-Infinity'", "-0.0", "n / 3.0", "1e-40"]),
    ("float8", &["'NaN'", "'Infinity'", "-0.0", "n / 7.0", "2.2e-310"]),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "'NaN'",
            "-1e-20",
            "1e300",
            "n / 7.0",
            "n * 10000",
            "12345678901234567890.123456789",
            "0.0000000000000000000000000000000000000000000000000000000000000000000001",
            "-n",
            "10000",
            "99999999.9999",
        ],
    ),
    (
        "numeric(14,2)",
        &["0", "'NaN'", "-0.01", "999999999999.99", "n / 100.0", "n", "10000.10"],
    ),
    ("numeric(6,6)", &["0.999999", "-0.000001", "0"]),
    ("numeric(20)", &["99999999999999999999", "-n", "0"]),
    (
        "text",
        &[
            "''",
            "'a'",
            "'ünïcödé 漢字 \u{1f418}'",
            "repeat('x', n % 300)",
            "repeat('ab', 63)",
            "md5(n::text)",
            "E'\\x01\\t\\n\\\\'",
        ],
    ),
    ("varchar", &["''", "repeat('ä', n % 200)"]),
    ("varchar(7)", &["''", "'ünïcödé'", "'abc    '", "left(md5(n::text), 7)"]),
    ("char(5)", &["''", "'ab'", "'äöüß€'", "'abcde'"]),
    ("char(200)", &["''", "'ab'", "repeat('\u{1f418}', 150)"]),
    ("bpchar", &["'a  '", "''"]),
    (
        "bytea",
        &["''", "'\\x00ff00'", "decode(repeat(md5(n::text), n % 9), 'hex')"],
    ),
    (
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "date '2000-01-01' + n",
        ],
    ),
    ("time", &["'00:00'", "'24:00'", "'12:34:56.789012'"]),
    ("timetz", &["'00:00+14'", "'23:59:59.999999-13:30'"]),
    (
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'294276-12-31 23:59:59.999999'",
            "timestamp '2000-01-01' + n * interval '1 s'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'infinity'",
            "'4713-01-01 00:00+00 BC'",
            "timestamptz '2010-01-01 00:00+00' - n * interval '1.000001 s'",
        ],
    ),
    (
        "timestamptz(3)",
        &[
            "'infinity'",
            "timestamptz '2010-01-01 00:00+00' + n * interval '1.001 s'",
        ],
    ),
    ("timestamp(0)", &["timestamp '2010-01-01' + n * interval '1 s'"]),
    (
        "uuid",
        &["'00000000-0000-0000-0000-000000000000'", "md5(n::text)::uuid"],
    ),
    ("json", &["'null'", "'{\"a\": [1, 2,   \"ü\"]}'"]),
    ("jsonb", &["'null'", "jsonb_build_object('n', n, 'a', ARRAY[n, 2])"]),
    ("inet", &["'10.0.0.1/8'", "'::1'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit(5)", &["B'10101'"]),
    ("varbit", &["B''", "B'1'", "repeat('10', n % 90)::varbit"]),
    (
        "int[]",
        &["'{}'", "'{1,NULL,3}'", "'[2:3][0:1]={{1,2},{3,4}}'", "ARRAY[n, n + 1]"],
    ),
    ("text[]", &["ARRAY['a', NULL, 'ü', repeat('y', n % 150)]"]),
    ("float8[]", &["ARRAY['NaN'::float8, n]"]),
    ("numeric(8,2)[]", &["ARRAY[n / 100.0, NULL]"]),
    ("point", &["point(n, -n)"]),
    ("int4range", &["'empty'", "int4range(n, n + 5)", "'(,)'"]),
    ("tsvector", &["''", "to_tsvector('simple', 'a b ' || n)"]),
    ("\"char\"", &["'x'"]),
    ("name", &["'a name'", "repeat('n', 63)"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("interval", &["'1 mon 2 days 03:04:05.6'", "n * interval '-1 h'"]),
];

/// Values that a page has no room for.
const WIDE: &[&str] = &[
    "repeat('wide ', 2000)",
    "(SELECT string_agg(md5((n * i)::text), '') FROM generate_series(1, 60 + n % 40) i)",
    "(SELECT string_agg(md5((n * i)::text), '') FROM generate_series(1, 500) i)",
];

fn pick<T: Clone>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.below(of.len() as u64) as usize].clone()
}

/// Makes `t` on the source, filled with random rows of random columns, and the target's two tables for it. Returns what was made, for who is to
/// read about a failure.
pub fn make(pair: &Pair, dice: &mut Dice, rows: u64) -> String {
    let intervals = !super::values::intervals_go_as_text(pair);
    let types: Vec<_> = TYPES
        .iter()
        .filter(|(name, _)| intervals || *name != "interval")
        .collect();
    let mut columns = vec![("id".to_owned(), "int".to_owned(), "n".to_owned())];
    for at in 0..1 + dice.below(17) {
        let (name, values) = pick(dice, &types);
        columns.push((format!("c{at}"), (*name).to_owned(), one_of(dice, values, name)));
    }
    if dice.below(2) == 0 {
        columns.push(("wide".to_owned(), "text".to_owned(), one_of(dice, WIDE, "text")));
    }
    let list = |of: &dyn Fn(&(String, String, String)) -> String| columns.iter().map(of).collect::<Vec<_>>().join(", ");
    let (defined, values) = (
        list(&|(name, kind, _)| format!("{name} {kind}")),
        list(&|(_, _, value)| value.clone()),
    );
    let source = format!("CREATE TABLE t ({defined})");
    pair.source.sql("DROP TABLE IF EXISTS t");
    pair.source.sql(&source);
    pair.source.sql(&format!(
        "SELECT setseed(0.5); INSERT INTO t SELECT {values} FROM generate_series(1, {rows}) n"
    ));
    let mut made = format!("{source}; INSERT INTO t SELECT {values} FROM generate_series(1, {rows}) n;");
    let fillfactor = pick(dice, &[100, 100, 90, 50, 10]);
    let target = pick(dice, &["", ", toast_tuple_target = 4000", ", toast_tuple_target = 128"]);
    // The columns stand in another order here, with some between them that are gone, and some that came later.
    let cut = dice.below(columns.len() as u64) as usize;
    let (later, first) = columns.split_at(cut);
    let first: Vec<String> = first
        .iter()
        .map(|(name, kind, _)| format!("gone_{name} numeric, {name} {kind}"))
        .collect();
    let storage = pick(dice, &["", "EXTERNAL", "PLAIN", "MAIN"]);
    for (table, _) in TABLES {
        let mut here = format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({}) WITH (fillfactor = {fillfactor}{target});",
            first.join(", ")
        );
        for (name, _, _) in &columns[cut..] {
            here += &format!("ALTER TABLE {table} DROP COLUMN gone_{name};");
        }
        for (name, kind, _) in later {
            here += &format!("ALTER TABLE {table} ADD {name} {kind};");
        }
        if let (Some((name, _, _)), false) = (columns.iter().find(|(_, kind, _)| kind == "text"), storage.is_empty()) {
            // A plain value must fit the page.
            if name != "wide" || storage != "PLAIN" {
                here += &format!("ALTER TABLE {table} ALTER {name} SET STORAGE {storage};");
            }
        }
        here += &format!("CREATE UNIQUE INDEX {table}_id ON {table} (id); INSERT INTO {table} (id) VALUES (-1)");
        pair.target.sql(&here);
        made += &here;
    }
    made
}

/// An expression that gives one of the values, or NULL, by chance.
fn one_of(dice: &mut Dice, values: &[&str], kind: &str) -> String {
    let nulls = pick(dice, &[0, 0, 10, 50, 97]);
    let branches: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("WHEN {at} THEN ({value})::{kind}"))
        .collect();
    format!(
        "CASE WHEN random() * 100 >= {nulls} THEN CASE floor(random() * {})::int {} END END",
        values.len(),
        branches.join(" ")
    )
}

/// Syncs `t`, or what `arguments` say of it, into one of the tables.
pub fn sync(pair: &Pair, (table, setting): (&str, &str), arguments: &str) -> Result<(), Box<DbError>> {
    let mut client = pair.target.connect();
    client
        .batch_execute(&format!("SET cgpsync.page_writer = {setting}"))
        .expect("a setting");
    pair.sync_as(
        &mut client,
        &format!("'{table}', '20170101', source_table => 'public.t'{arguments}"),
    )
    .map(|_| ())
}

/// What the last run has recorded of its unit.
pub fn way(pair: &Pair) -> String {
    pair.target
        .text("SELECT way FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)")
}

/// Syncs into both, each its way.
pub fn sync_both(pair: &Pair, arguments: &str) {
    for (table, setting) in TABLES {
        sync(pair, (table, setting), arguments).expect("it succeeds");
        assert_eq!(format_of_last_run(pair), "binary");
        let expected = if setting == "on" { ", pages" } else { "" };
        assert!(
            way(pair).ends_with(expected) && way(pair).contains(',') == (setting == "on"),
            "{}",
            way(pair)
        );
    }
}

/// Asserts that the tables differ in nothing but the order of their rows.
pub fn are_alike(pair: &Pair) {
    let of = |sql: &str| TABLES.map(|(table, _)| pair.target.text(&sql.replace("$t", table)));
    let alike = |what: &str, sql: &str| {
        let [copy, pages] = of(sql);
        assert_eq!(copy, pages, "{what}");
        copy
    };
    let rows = alike(
        "rows",
        "SELECT count(*) || ' ' || md5(COALESCE(string_agg(t::text, '|' ORDER BY t::text), '')) FROM $t t",
    );
    let of_numbers = |sql: &str| of(sql).map(|size| size.parse::<f64>().expect("a number"));
    let [copy, pages] = of_numbers("SELECT pg_table_size('$t') - pg_relation_size('$t')");
    assert!(
        (copy - pages).abs() <= (copy * 0.02).max(65536.0),
        "{copy} and {pages} bytes besides"
    );
    if super::needs::lacks_module("pageinspect") {
        return;
    }
    // Since 16 COPY may leave pages at the end that nobody has used.
    let pages =
        "(SELECT n, get_raw_page('$t', n::int) AS raw FROM generate_series(0, pg_relation_size('$t') / 8192 - 1) n
                  WHERE (page_header(get_raw_page('$t', n::int))).pagesize > 0) p";
    let [copy, ours] = of_numbers(&format!("SELECT count(*) FROM {pages}"));
    assert!(
        (copy - ours).abs() <= (copy * 0.02).max(1.0),
        "{copy} and {ours} pages, {rows} rows"
    );
    let sizes = of_numbers("SELECT pg_relation_size('$t') / 8192");
    assert!(sizes[1] == ours, "no page is left unused");
    alike(
        "tuples",
        &format!(
            "SELECT md5(COALESCE(string_agg(x, '|' ORDER BY x), '')) FROM (
               SELECT concat_ws(' ', lp_flags, lp_len, t_xmax, t_field3, t_infomask2, t_infomask, t_hoff, t_bits,
                                CASE WHEN t_infomask & 4 = 0 THEN md5(t_data) END) AS x
               FROM {pages}, heap_page_items(raw)) i"
        ),
    );
    let header = format!(
        "SELECT DISTINCT concat_ws(' ', flags, special, pagesize, version, prune_xid) FROM {pages}, page_header(raw)"
    );
    if major(&pair.target) > 13 {
        alike(
            "headers of pages",
            &format!("SELECT string_agg(x, '|') FROM ({header}) h(x)"),
        );
    }
    let astray =
        format!("SELECT count(*) FROM {pages}, heap_page_items(raw) WHERE t_ctid <> format('(%s,%s)', n, lp)::tid");
    assert_eq!(of(&astray), ["0", "0"]);
}

/// Asserts that the tables are sound, that index-only scans read no page of them, and that whatever may come afterwards finds them so.
pub fn are_sound(pair: &Pair) {
    for (table, _) in TABLES {
        is_sound(&pair.target, table);
        if table == "by_pages" && !super::needs::lacks_module("pg_visibility") {
            let hidden = format!(
                "SELECT count(*) FROM pg_visibility('{table}') WHERE NOT (all_visible AND all_frozen AND pd_all_visible)"
            );
            assert_eq!(pair.target.text(&hidden), "0", "{table}");
        }
        let mut client = pair.target.connect();
        let explain = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)";
        client
            .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            .expect("settings");
        let plan: Vec<String> = client
            .query(&format!("{explain} SELECT count(id) FROM {table} WHERE id > 0"), &[])
            .expect("a plan")
            .iter()
            .map(|row| row.get(0))
            .collect();
        if major(&pair.target) > 13 || table == "by_pages" {
            assert!(
                plan.iter().any(|line| line.trim() == "Heap Fetches: 0"),
                "{table}: {plan:?}"
            );
        }
        pair.target.sql(&format!("VACUUM (DISABLE_PAGE_SKIPPING) {table}"));
        is_sound(&pair.target, table);
        pair.target.sql(&format!(
            "UPDATE {table} SET id = -id WHERE id % 3 = 0; DELETE FROM {table} WHERE id % 5 = 0"
        ));
        pair.target.sql(&format!("VACUUM (FREEZE) {table}"));
        is_sound(&pair.target, table);
    }
}
