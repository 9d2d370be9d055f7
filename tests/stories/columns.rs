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

    pair.target.sql(&format!(
        "DELETE FROM {name}.{name} WHERE {name} = 9; ALTER TABLE {name}.{name} ADD CHECK ({name} < 9)"
    ));
    let error = pair.sync(&call).expect_err("the check fails");
    assert_eq!(error.code().code(), "23514");
    assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {name}.{name}")), "27");
}

#[test]
fn only_the_wanted_columns_are_copied() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (secret text, \"B b\" text, k int, note text);
         INSERT INTO t SELECT 'x', 'b' || g, g, 'n' FROM generate_series(1, 50) g",
    );
    pair.target.sql(
        "CREATE TABLE t (k int, here_only int, note text DEFAULT 'by default', \"B b\" text, twice int GENERATED ALWAYS AS (k * 2) STORED)
         PARTITION BY RANGE (k);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (100)",
    );
    // Without naming them, the differences are an error.
    let error = pair.sync("'t', '50'").expect_err("the sides differ");
    assert_eq!(error.code().code(), "42804");
    assert!(error.hint().is_some_and(|hint| hint.contains("columns")), "{error:?}");

    assert_eq!(pair.copied("'t', '50', columns => ARRAY['B b', 'k']"), ["t_0"]);
    pair.same("SELECT string_agg(\"B b\" || k, ',' ORDER BY k) FROM t");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM t WHERE note = 'by default' AND here_only IS NULL AND twice = 2 * k"),
        "50"
    );
    assert_eq!(
        pair.target
            .text("SELECT columns::text || ' ' || format FROM cgpsync_run WHERE status = 'done'"),
        "{k,\"B b\"} binary"
    );

    // A role that may read some columns there needs no more.
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'secret'; GRANT SELECT (k, note) ON t TO reader");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'reader')");
    pair.copied("'t', '50', columns => ARRAY['k', 'note']");
    pair.same("SELECT string_agg(note || k, ',' ORDER BY k) FROM t");
}

#[test]
fn wanted_columns_that_cannot_be_had_are_refused_before_anything_is_truncated() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (k int, a int, b int, g int, there int)");
    pair.target.sql(
        "CREATE DOMAIN filled AS int NOT NULL; CREATE DOMAIN by_default AS int NOT NULL DEFAULT 3;
         CREATE TABLE t (k int, a int NOT NULL, b filled, g int GENERATED ALWAYS AS (k + 1) STORED,
                         here int, d by_default) PARTITION BY RANGE (k);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (100); INSERT INTO t VALUES (1, 1, 1)",
    );
    for (columns, code, words) in [
        ("'{}'", "22023", vec!["must not be empty"]),
        ("'{k,a,k}'", "22023", vec!["\"k\" more than once"]),
        ("ARRAY['k', NULL]", "22023", vec!["null"]),
        (
            "ARRAY['k', 'a', 'K', 'here', 'there', 'ctid']",
            "42703",
            vec![
                "\"K\" is missing here and on the source",
                "\"here\" is missing on the source",
                "\"there\" is missing here",
                "ctid",
            ],
        ),
        ("'{k,a,b,g}'", "22023", vec!["\"g\" is generated"]),
        ("'{a}'", "22023", vec!["\"k\" is left out", "\"b\" is left out"]),
        ("'{k}'", "22023", vec!["\"a\" is left out", "\"b\" is left out"]),
    ] {
        let error = pair
            .sync(&format!("'t', '50', columns => {columns}"))
            .expect_err(columns);
        assert_eq!(error.code().code(), code, "{error:?}");
        let text = format!("{} {}", error.message(), error.detail().unwrap_or(""));
        for word in words {
            assert!(text.contains(word), "{columns}: {text}");
        }
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "1");
    // A default makes up for what is left out.
    pair.target
        .sql("ALTER TABLE t ALTER a SET DEFAULT 7, ALTER b SET DEFAULT 8; DELETE FROM t");
    pair.source.sql("INSERT INTO t (k) VALUES (5)");
    pair.copied("'t', '50', columns => '{k}'");
    assert_eq!(
        pair.target.text("SELECT concat_ws(',', k, a, b, g, here, d) FROM t"),
        "5,7,8,6,3"
    );
}

#[test]
fn a_failed_run_is_resumed_only_with_the_same_columns() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k int, a text, b text) PARTITION BY RANGE (k);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    );
    pair.source
        .sql("INSERT INTO t SELECT g, 'a' || g, 'b' || g FROM generate_series(0, 19) g");
    pair.target.sql("ALTER TABLE t_1 ADD CHECK (k < 15)");
    pair.sync("'t', '15', columns => '{k,a}'").expect_err("the check fails");
    pair.sync("'t', '15', columns => '{k,b}'").expect_err("the check fails");
    assert_eq!(pair.target.text("SELECT count(b) || ' ' || count(a) FROM t"), "10 0");
    pair.target.sql("ALTER TABLE t_1 DROP CONSTRAINT t_1_k_check");
    assert_eq!(pair.copied("'t', '15', columns => '{b,k}'"), ["t_1"]);
    assert_eq!(pair.target.text("SELECT count(b) || ' ' || count(a) FROM t"), "20 0");
}
