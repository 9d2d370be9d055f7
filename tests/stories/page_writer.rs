//! Partitions whose pages are our own: nothing tells them from those that COPY with FREEZE would have left.

use crate::support::cluster::command;
use crate::support::dice::{Dice, number, rounds};
use crate::support::two_ways;
use crate::support::{Pair, needs, swapped};

/// What looks into pages, where the installation has it.
fn examined(pair: &Pair) {
    swapped::checks(&pair.target);
    if !needs::lacks_module("pageinspect") {
        pair.target.sql("CREATE EXTENSION pageinspect");
    }
}

/// Random tables, `PAGES_ROUNDS` of them, from `PAGES_SEED` on.
fn play(pair: &Pair, stream: u64, cases: usize) {
    examined(pair);
    let first = number("PAGES_SEED").unwrap_or(stream * 1000);
    for seed in (first..).take(rounds("PAGES_ROUNDS", cases)) {
        let mut dice = Dice::new(seed);
        let rows = [0, 1, 7, 300, 3000][dice.below(5) as usize];
        println!("seed {seed}: {}", two_ways::make(pair, &mut dice, rows));
        two_ways::sync_both(pair, "");
        two_ways::are_alike(pair);
        let there = pair.source.text("SELECT count(*) FROM t");
        assert_eq!(pair.target.text("SELECT count(*) FROM by_pages"), there);
        two_ways::are_sound(pair);
    }
}

/// Does something to the checksums of a cluster that is not running: check, enable or disable.
fn checksums(pair: &Pair, what: &str) {
    let done = command("pg_checksums")
        .arg(format!("--{what}"))
        .arg("-D")
        .arg(&pair.target.dir)
        .status();
    assert!(done.expect("pg_checksums runs").success(), "{what}");
}

/// Has the target run with checksums, or without. 18 has them where nobody says anything.
fn set_checksums(pair: &mut Pair, to: &str) {
    if pair.target.text("SHOW data_checksums") != to {
        pair.target.stop("INT");
        checksums(pair, if to == "on" { "enable" } else { "disable" });
        pair.target.boot();
    }
}

#[test]
fn nothing_tells_pages_of_ours_from_those_of_copy() {
    let mut pair = Pair::new();
    set_checksums(&mut pair, "on");
    play(&pair, 1, 12);
    let dumped = command("pg_dump")
        .args(["-U", "postgres", "-p", &pair.target.port.to_string(), "-h"])
        .arg(&pair.target.dir)
        .args(["--data-only", "-t", "by_pages", "-f", "/dev/null"])
        .status();
    assert!(dumped.expect("pg_dump runs").success());
    pair.target.stop("INT");
    checksums(&pair, "check");
}

#[test]
fn nor_without_checksums_and_without_a_log() {
    let mut pair = Pair::with("", "wal_level = minimal\nmax_wal_senders = 0");
    set_checksums(&mut pair, "off");
    play(&pair, 2, 6);
}

/// What COPY loads in any case, with words of the reason that the plan gives: statements for `one` of the target's tables, and the way back.
const OBSTACLES: &[(&str, &str, &str)] = &[
    (
        "ALTER TABLE one ADD CHECK (v <> 'x')",
        "CHECK",
        "ALTER TABLE one DROP CONSTRAINT one_v_check",
    ),
    ("ALTER TABLE one SET UNLOGGED", "unlogged", "ALTER TABLE one SET LOGGED"),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER one_t BEFORE INSERT ON one FOR EACH ROW EXECUTE FUNCTION f()",
        "triggers",
        "DROP TRIGGER one_t ON one",
    ),
    (
        "CREATE TRIGGER one_s AFTER INSERT ON one FOR EACH STATEMENT EXECUTE FUNCTION f()",
        "triggers",
        "DROP TRIGGER one_s ON one",
    ),
    (
        "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(1, 9);
         ALTER TABLE one ADD CONSTRAINT one_f FOREIGN KEY (id) REFERENCES other",
        "foreign keys",
        "ALTER TABLE one DROP CONSTRAINT one_f",
    ),
    (
        "ALTER TABLE one ADD more int GENERATED ALWAYS AS (id + 1) STORED",
        "value of their own",
        "ALTER TABLE one DROP more",
    ),
    (
        "CREATE DOMAIN short AS text CHECK (length(VALUE) < 99); ALTER TABLE one ALTER v TYPE short",
        "as text",
        "ALTER TABLE one ALTER v TYPE text",
    ),
    (
        "ALTER TABLE one ALTER id TYPE numeric",
        "as text",
        "ALTER TABLE one ALTER id TYPE int",
    ),
];

#[test]
fn what_has_a_say_in_a_row_is_left_to_copy_and_the_plan_says_so() {
    let pair = Pair::new();
    pair.both("CREATE TABLE one (id int, v text)");
    pair.source
        .sql("INSERT INTO one SELECT g, 'v' || g FROM generate_series(1, 9) g");
    let reason = || pair.target.text("SELECT reason FROM cgpsync_plan('one', '20170101')");
    let by_pages = |arguments: &str| {
        pair.copied(&format!("'one', '20170101'{arguments}"));
        pair.same("SELECT md5(string_agg(id || ' ' || v, ',' ORDER BY id)) FROM one");
        two_ways::way(&pair)
    };
    for (there, words, back) in OBSTACLES {
        assert!(!reason().contains("COPY"), "{}", reason());
        assert_eq!(by_pages(""), "swap, pages");
        pair.target.sql(there);
        assert!(
            reason().contains("; loaded by COPY: ") && reason().contains(words),
            "{words}: {}",
            reason()
        );
        assert_eq!(by_pages(""), "swap", "{words}");
        pair.target.sql(back);
    }
    // A default is none of a column that is copied, and a unique constraint that is looked at later is one of an index.
    pair.target
        .sql("ALTER TABLE one ALTER v SET DEFAULT 'x', ADD CONSTRAINT one_u UNIQUE (id) DEFERRABLE INITIALLY DEFERRED");
    assert_eq!(by_pages(""), "swap, pages");
    // Who truncates keeps indexes up.
    assert_eq!(by_pages(", replace => 'truncate'"), "truncate");
    pair.target.sql("ALTER TABLE one DROP CONSTRAINT one_u");
    assert_eq!(by_pages(", replace => 'truncate'"), "truncate, pages");
    pair.target.sql("ALTER ROLE postgres SET cgpsync.page_writer = off");
    assert!(!reason().contains("COPY"), "nobody wants pages");
    assert_eq!(by_pages(""), "swap");
}

#[test]
fn what_may_be_decoded_is_left_to_copy_whoever_has_a_slot() {
    let pair = Pair::with("", "wal_level = logical");
    pair.both("CREATE TABLE one (id int, v text)");
    let way = || {
        pair.copied("'one', '20170101'");
        two_ways::way(&pair)
    };
    assert_eq!(way(), "swap, pages");
    // A slot of a standby would not be seen here.
    pair.target.sql("CREATE PUBLICATION p FOR TABLE one");
    assert_eq!(way(), "swap");
    pair.target
        .sql("CREATE TABLE other (id int); ALTER PUBLICATION p SET TABLE other");
    pair.target
        .sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    assert_eq!(way(), "swap, pages");
    pair.target.sql("SELECT pg_drop_replication_slot('s')");
    if !needs::lacks_module("test_decoding") {
        pair.target
            .sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')");
        assert_eq!(way(), "truncate");
    }
}

#[test]
fn a_column_that_is_left_out_gets_its_types_default() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE one AS SELECT 1 AS id");
    pair.target
        .sql("CREATE DOMAIN fresh AS text DEFAULT 'new' NOT NULL; CREATE TABLE one (id int, d fresh)");
    pair.copied("'one', '20170101'");
    assert_eq!(two_ways::way(&pair), "swap");
    assert_eq!(pair.target.text("SELECT d FROM one"), "new");
}

#[test]
fn every_row_is_where_its_partition_bounds_say() {
    let pair = Pair::new();
    let keys = [
        "k smallint",
        "k int",
        "k bigint",
        "k timestamp",
        "k timestamptz",
        "k date",
        "k text",
        "k numeric",
    ];
    for (number, key) in keys.iter().enumerate() {
        let value = |n: u32| match key.split(' ').nth(1) {
            Some("text") => format!("'{n}'"),
            Some(time @ ("timestamp" | "timestamptz" | "date")) => format!("{time} '2017-01-0{n}'"),
            Some(other) => format!("{n}::{other}"),
            None => unreachable!("a type"),
        };
        let (list, range) = (format!("l{number}"), format!("r{number}"));
        pair.target.sql(&format!(
            "CREATE TABLE {range} ({key}, v int) PARTITION BY RANGE (k);
             CREATE TABLE {range}_a PARTITION OF {range} FOR VALUES FROM ({a}) TO ({b}) PARTITION BY LIST (v);
             CREATE TABLE {range}_a1 PARTITION OF {range}_a FOR VALUES IN (1, 3); CREATE TABLE {range}_a2 PARTITION OF {range}_a DEFAULT;
             CREATE TABLE {range}_b PARTITION OF {range} FOR VALUES FROM ({b}) TO ({c});
             CREATE TABLE {list} ({key}, v int) PARTITION BY LIST (k);
             CREATE TABLE {list}_a PARTITION OF {list} FOR VALUES IN ({a}); CREATE TABLE {list}_n PARTITION OF {list} FOR VALUES IN (NULL, {b})",
            a = value(1),
            b = value(2),
            c = value(3),
        ));
        pair.source.sql(&format!(
            "CREATE TABLE {range} AS SELECT k, v FROM (VALUES ({a}), ({b})) k(k), generate_series(1, 200) g, (VALUES (1), (2), (3), (NULL)) v(v);
             CREATE TABLE {list} AS SELECT k, v FROM (VALUES ({a}), ({b}), (NULL)) k(k), generate_series(1, 200) v",
            a = value(1),
            b = value(2),
        ));
        for table in [list, range] {
            let end = if key.contains("text") || key.contains("numeric") || key.contains("int") {
                "9"
            } else {
                "20170131"
            };
            pair.copied(&format!("'{table}', '{end}'"));
            assert_eq!(
                pair.target.text("SELECT string_agg(DISTINCT way, ' ') FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)"),
                "swap, pages",
                "{table}"
            );
            pair.same_rows(&table, "true");
        }
    }
}
