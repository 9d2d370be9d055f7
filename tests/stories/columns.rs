//! Columns go by name.

use crate::support::Pair;

#[test]
fn order_dropped_columns_defaults_and_generated_columns_do_not_matter() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (gone int, \"select\" text, b int, \"a\"\"b\" text, total int GENERATED ALWAYS AS (b * 2) STORED);
         ALTER TABLE t DROP gone; INSERT INTO t SELECT 'x' || g, g, 'q' || g FROM generate_series(1, 100) g",
    );
    pair.target.sql(
        "CREATE TABLE t (\"a\"\"b\" text, dead1 int, b int, dead2 text, loaded text DEFAULT 'by cgpsync', id int GENERATED ALWAYS AS IDENTITY,
                         \"select\" text, total int GENERATED ALWAYS AS (b * 2) STORED);
         ALTER TABLE t DROP dead1; ALTER TABLE t DROP dead2",
    );
    pair.copied("'t', '20170101'");
    pair.same("SELECT string_agg(\"a\"\"b\" || b || \"select\" || total, ',' ORDER BY b) FROM t");
    assert_eq!(
        pair.target
            .text("SELECT count(DISTINCT id) FROM t WHERE loaded = 'by cgpsync'"),
        "100"
    );
}

#[test]
fn what_does_not_fit_is_listed_at_once() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE t (a int, there1 int, there2 int)");
    pair.target.sql("CREATE TABLE t (a int, here1 int, here2 int)");
    let error = pair.sync("'t', '20170101'").expect_err("four differences");
    assert_eq!(error.code().code(), "42804");
    let detail = error.detail().expect("a detail");
    for column in ["here1", "here2", "there1", "there2"] {
        assert!(detail.contains(column), "{detail}");
    }
}

#[test]
fn differing_types_go_as_text_and_are_announced() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (a int, m mood, r regclass);
                     INSERT INTO t VALUES (1, 'sad', 'pg_class'), (NULL, 'ok', NULL)",
    );
    pair.target.sql("CREATE TABLE t (a bigint, m text, r regclass)");
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'t', '20170101'").expect("the sync succeeds");
    pair.same("SELECT string_agg(concat_ws(',', a, m, r), ';' ORDER BY a) FROM t");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(
        notices.contains("column \"a\" is bigint here and integer on the source"),
        "{notices}"
    );
}

#[test]
fn a_value_that_cannot_be_read_names_partition_line_and_column() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (a text, b text); INSERT INTO t VALUES ('1', 'x'), ('2', 'y'), ('three', 'z')");
    pair.target
        .sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (0, 'old')");
    let error = pair.sync("'t', '20170101'").expect_err("three is no number");
    assert_eq!(error.code().code(), "22P02");
    let detail = error.detail().expect("a detail");
    assert!(error.message().ends_with("failed: t"), "{error:?}");
    assert!(detail.contains("COPY t, line 3, column a: \"three\""), "{detail}");
    assert_eq!(pair.target.text("SELECT b FROM t"), "old");
}

#[test]
fn constraints_and_a_full_row_of_hostile_names() {
    let pair = Pair::new();
    let name = "\"we\"\"ird; DROP TABLE x; --'\"";
    let ddl = format!(
        "CREATE SCHEMA {name}; CREATE TABLE {name}.{name} ({name} int) PARTITION BY RANGE ({name});
         CREATE TABLE {name}.\"%s\nnew\" PARTITION OF {name}.{name} FOR VALUES FROM (0) TO (10)"
    );
    pair.both(&ddl);
    pair.source.sql(&format!(
        "INSERT INTO {name}.{name} SELECT g % 10 FROM generate_series(1, 30) g"
    ));
    let call = format!("'{}', '5'", format!("{name}.{name}").replace('\'', "''"));
    assert_eq!(pair.copied(&call).len(), 1);
    pair.same_rows(&format!("{name}.{name}"), "true");

    pair.target
        .sql(&format!("ALTER TABLE {name}.{name} ADD CHECK ({name} < 9) NOT VALID"));
    let error = pair.sync(&call).expect_err("the check fails");
    assert_eq!(error.code().code(), "23514");
    assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {name}.{name}")), "30");
}
