//! Names that a terminal would obey: wherever the source, or another role, gets its words before somebody's eyes they are one harmless line.

use crate::error::{tame, tame_whole};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::support::Pair;

/// Sets a title, forges a line, turns the direction of writing.
const WILD: &str = "m\u{1b}]0;owned\u{7}\nNOTICE:  all is well\u{202e}\u{9b}2J";

/// Asserts that there is nothing in it for a terminal.
fn assert_tame(what: &str, text: &str) {
    for line in text.split('\n') {
        assert_eq!(tame_whole(line), line, "{what}");
    }
}

/// All rows of a query, each as one text.
fn rows(pair: &Pair, query: &str) -> Vec<String> {
    let rows = pair.target.list(&format!("SELECT format('%s', q) FROM ({query}) q"));
    assert!(!rows.is_empty(), "{query}");
    rows
}

/// A source whose partition has such a name, and an empty table here that lacks it.
fn prepare(pair: &Pair) {
    pair.both("CREATE TABLE t (d date, v text) PARTITION BY RANGE (d)");
    pair.source.sql(&format!(
        "CREATE TABLE {} PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         INSERT INTO t VALUES ('2017-01-01', 'a'), ('2017-01-31', 'b')",
        quote_ident(WILD)
    ));
}

#[test]
fn a_partition_of_the_source_is_shown_and_created_under_a_harmless_name() {
    let pair = Pair::new();
    prepare(&pair);
    let plan = "SELECT * FROM cgpsync_plan('t', '2017-01-31')";
    let planned = rows(&pair, plan);
    assert!(planned.len() == 1 && planned[0].contains("owned"), "{planned:?}");
    assert_tame("the plan", &planned[0]);

    let (units, notices) = pair.told("'t', '2017-01-31'");
    assert_eq!(units.len(), 1);
    assert!(notices.contains("owned"), "{notices}");
    assert_tame("the NOTICEs", &notices);
    assert!(!notices.lines().any(|line| line.starts_with("NOTICE:")), "{notices}");
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target
            .text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"),
        tame(WILD)
    );
    // The name that is shown leads to it.
    assert_eq!(
        pair.target
            .text(&format!("SELECT {}::regclass::oid <> 0", quote_literal(&units[0].0))),
        "t"
    );
}

#[test]
fn what_is_on_record_is_harmless_and_the_partition_is_still_read_by_its_own_name() {
    let pair = Pair::new();
    prepare(&pair);
    pair.copied("'t', '2017-01-31'");
    pair.source.sql("INSERT INTO t VALUES ('2017-01-15', 'c')");
    // Again, with what is on record.
    assert_eq!(pair.copied("'t', '2017-01-31', since => '2017-01-01'").len(), 1);
    pair.same_rows("t", "true");
    for query in [
        "SELECT * FROM cgpsync_run",
        "SELECT * FROM cgpsync_run_partition",
        "SELECT * FROM v_gp_range_partition_meta",
        "SELECT * FROM cgpsync_verify('t', '2017-01-31')",
        "SELECT * FROM cgpsync_plan('t', '2017-01-31')",
    ] {
        rows(&pair, query).iter().for_each(|row| assert_tame(query, row));
    }
    assert_eq!(
        pair.target
            .list("SELECT matches::text FROM cgpsync_verify('t', '2017-01-31', method => 'checksum')"),
        ["true"]
    );
}

#[test]
fn a_run_that_failed_is_resumed_by_the_partitions_own_name() {
    let pair = Pair::new();
    prepare(&pair);
    pair.source.sql(
        "CREATE TABLE last PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         INSERT INTO t VALUES ('2017-02-01', 'wrong')",
    );
    // The one with the name is created and filled, the other cannot be filled.
    pair.target.sql(
        "CREATE TABLE last PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         ALTER TABLE last ADD CHECK (v <> 'wrong')",
    );
    let error = pair.sync("'t', '2017-02-28'").expect_err("a row that is not allowed");
    assert_eq!(error.code().code(), "23514");
    pair.target.sql("ALTER TABLE last DROP CONSTRAINT last_v_check");
    assert_eq!(pair.copied("'t', '2017-02-28'"), ["last"], "the other is done");
    pair.same_rows("t", "true");
}

#[test]
fn an_error_about_the_source_is_one_harmless_line() {
    let pair = Pair::new();
    pair.target.sql("CREATE TABLE t (a int, b int)");
    pair.source.sql(&format!("CREATE TABLE {} (a int)", quote_ident(WILD)));
    let argument = quote_literal(&quote_ident(WILD));
    let error = pair
        .sync(&format!("'t', '20170101', source_table => {argument}"))
        .expect_err("a column is missing");
    for text in [Some(error.message()), error.detail(), error.hint()]
        .into_iter()
        .flatten()
    {
        assert_tame("the error", text);
    }
    assert!(!error.message().contains('\n'), "{error:?}");
    for query in [
        "SELECT * FROM cgpsync_run",
        "SELECT source_table, error_message FROM cgpsync_run",
    ] {
        rows(&pair, query).iter().for_each(|row| assert_tame(query, row));
    }
}

#[test]
fn what_another_role_calls_with_is_harmless_to_who_reads_the_history() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (a int)");
    pair.copied(&format!("'t', {}", quote_literal(WILD)));
    rows(&pair, "SELECT * FROM cgpsync_run")
        .iter()
        .for_each(|row| assert_tame("the run", row));
    assert_eq!(pair.remembered("t"), tame(WILD).trim());
}

#[test]
fn a_new_table_has_harmless_names_but_for_its_columns() {
    let pair = Pair::new();
    let wild = quote_ident(WILD);
    pair.source.sql(&format!(
        "CREATE TABLE t (d date, {wild} text, CONSTRAINT {wild} CHECK ({wild} <> 'x')) PARTITION BY RANGE (d);
         CREATE TABLE {wild} PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE INDEX {} ON t (d);
         INSERT INTO t VALUES ('2017-01-01', 'a')",
        quote_ident(&format!("i{WILD}"))
    ));
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("SELECT cgpsync_create_table('t')")
        .expect("a table");
    for name in pair.target.list(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '%cgpsync%'
         UNION ALL SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass",
    ) {
        assert_tame("a name", &name);
    }
    assert_eq!(
        pair.target
            .text("SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 2"),
        WILD,
        "rows are matched by the columns' names"
    );
    pair.sync_as(&mut client, "'t', '2017-01-31'").expect("it is copied");
    pair.same_rows("t", "true");
    let notices = notices.lock().expect("a lock").join("\n");
    assert_tame("the NOTICEs", &notices);
}
