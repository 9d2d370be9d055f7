//! Columns that are not copied are filled as an INSERT through the table of the call fills them.

use crate::support::swapped::major;
use crate::support::{Pair, SOON, poll};

/// Columns with defaults of every kind, and without; `v` and `k` are the source's.
const COLUMNS: &str = r"k date, v int, id int GENERATED ALWAYS AS IDENTITY,
    hostile text DEFAULT E'ro\\ot\t\n\r\\N \\.', number int DEFAULT nextval('numbers'), none text,
    empty text DEFAULT '', of_domain seven, other_domain seven DEFAULT 9, list text[] DEFAULT ARRAY['a,b', E'\\', NULL],
    doc jsonb DEFAULT '{\x22a\x22: \x22\\n\x22}', bytes bytea DEFAULT '\x00ff', at timestamptz DEFAULT clock_timestamp(),
    unique_one uuid DEFAULT gen_random_uuid(), cut varchar(3) DEFAULT 'abc', price numeric(8, 2) DEFAULT 1.005,
    twice int GENERATED ALWAYS AS (v * 2) STORED";

/// What only a partition's own INSERTs are to get.
const OWN: &str = "ALTER hostile SET DEFAULT 'own', ALTER number DROP DEFAULT, ALTER none SET DEFAULT 'own', ALTER empty DROP DEFAULT,
    ALTER of_domain SET DEFAULT 8, ALTER other_domain DROP DEFAULT, ALTER list DROP DEFAULT, ALTER doc SET DEFAULT '1',
    ALTER bytes DROP DEFAULT, ALTER at SET DEFAULT '2001-01-01', ALTER unique_one DROP DEFAULT, ALTER cut SET DEFAULT 'own',
    ALTER price SET DEFAULT 2";

/// Schema `name` with the table: a partition made here, one attached with other columns' places,
/// one of two levels, all with defaults of their own but the last.
fn make(pair: &Pair, name: &str) {
    let columns = COLUMNS.replace(r"\x22", "\"");
    // Before 17 a partition does not share the identity, and has to have a value from somewhere.
    let own_ids = match major(&pair.target) < 17 {
        true => "ALTER TABLE ONLY t_3 ALTER id SET DEFAULT -3; ALTER TABLE t_1 ALTER id SET DEFAULT -1;",
        false => "",
    };
    // Backwards, with a dropped column, and without what only a table of its own can have.
    let backwards: Vec<&str> = vec![
        "twice int GENERATED ALWAYS AS (v * 2) STORED",
        "price numeric(8, 2)",
        "cut varchar(3)",
        "unique_one uuid",
        "at timestamptz",
        "bytes bytea",
        "doc jsonb",
        "dead int",
        "list text[]",
        "other_domain seven",
        "of_domain seven",
        "empty text",
        "none text",
        "number int",
        "hostile text",
        "id int NOT NULL",
        "v int",
        "k date",
    ];
    pair.target.sql(&format!(
        "CREATE SCHEMA {name}; SET search_path = {name}; CREATE SEQUENCE numbers; CREATE DOMAIN seven AS int DEFAULT 7;
         CREATE TABLE t ({columns}) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 ({}); ALTER TABLE t_2 DROP dead;
         ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2017-03-01') TO ('2017-05-01') PARTITION BY RANGE (k);
         CREATE TABLE t_3_1 PARTITION OF t_3 FOR VALUES FROM ('2017-03-01') TO ('2017-04-01');
         CREATE TABLE t_3_2 PARTITION OF t_3 FOR VALUES FROM ('2017-04-01') TO ('2017-05-01');
         {own_ids} ALTER TABLE t_1 {OWN}; ALTER TABLE t_3_1 {OWN}; ALTER TABLE ONLY t_3 ALTER hostile SET DEFAULT 'middle'",
        backwards.join(", ")
    ));
}

/// What the defaults gave, but for values that differ from row to row: those are counted.
fn filled(pair: &Pair, table: &str) -> String {
    pair.target.text(&format!(
        "SELECT count(*) || ' ' || md5(string_agg(concat_ws('|', k, v, hostile, none IS NULL, empty, of_domain, other_domain, list, doc, bytes,
                                                            cut, price, twice), ';' ORDER BY v))
                || ' ids ' || count(DISTINCT id) || ' ' || min(id) || '-' || max(id)
                || ' numbers ' || count(DISTINCT number) || ' ' || min(number) || '-' || max(number)
                || ' of their own ' || count(DISTINCT unique_one) || ' recent ' || bool_and(at > now() - interval '1 hour')
         FROM {table}"
    ))
}

#[test]
fn columns_that_are_left_out_get_the_defaults_of_the_table_that_the_call_names() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE SCHEMA dw; CREATE TABLE dw.t (v int, k date);
         INSERT INTO dw.t SELECT g, date '2017-01-01' + g % 120 FROM generate_series(1, 3000) g",
    );
    for (named, replace) in [("t", "swap"), ("t", "truncate"), ("t_3", "auto"), ("t_1", "auto")] {
        pair.target
            .sql("DROP SCHEMA IF EXISTS model CASCADE; DROP SCHEMA IF EXISTS dw CASCADE; TRUNCATE sync_table");
        make(&pair, "dw");
        make(&pair, "model");
        pair.source.sql("DROP VIEW IF EXISTS dw.part");
        let part = match named {
            "t_1" => "k < '2017-02-01'",
            "t_3" => "k >= '2017-03-01'",
            _ => "true",
        };
        pair.source
            .sql(&format!("CREATE VIEW dw.part AS SELECT * FROM dw.t WHERE {part}"));
        pair.copied(&format!(
            "'dw.{named}', '201704', 2, columns => '{{k,v}}', source_table => 'dw.part', replace => '{replace}'"
        ));
        pair.target.sql(&format!(
            "INSERT INTO model.{named} (k, v) SELECT k, v FROM dw.t ORDER BY v"
        ));
        assert_eq!(filled(&pair, "dw.t"), filled(&pair, "model.t"), "{named} {replace}");
        let bytes = "SELECT sum(bytes) FROM cgpsync_run_partition JOIN (SELECT max(run_id) AS run_id FROM cgpsync_run) r USING (run_id)";
        let sent = pair.source.text("SELECT sum(length(k::text || v) + 2) FROM dw.part");
        let format = if named == "t_1" { "binary" } else { "text" };
        assert_eq!(
            pair.target
                .text("SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
            format,
            "{named}"
        );
        if format == "text" {
            assert_eq!(pair.target.text(bytes), sent);
        }
    }
}

#[test]
fn an_identity_of_the_table_counts_through_all_its_partitions() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (d date)");
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-01' + g % 59 FROM generate_series(1, 1000) g");
    pair.target.sql(
        "CREATE TABLE i (id bigint GENERATED BY DEFAULT AS IDENTITY (START 5), d date) PARTITION BY RANGE (d);
         CREATE TABLE i_1 PARTITION OF i FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE i_2 PARTITION OF i FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')",
    );
    assert_eq!(pair.copied("'i', '201702', source_table => 't'"), ["i_1", "i_2"]);
    let ids = "SELECT count(DISTINCT id) || ' ' || min(id) || ' ' || max(id) FROM i";
    assert_eq!(pair.target.text(ids), "1000 5 1004");
    pair.target.sql("INSERT INTO i (d) VALUES ('2017-01-01')");
    assert_eq!(pair.target.text(ids), "1001 5 1005");
}

#[test]
fn where_the_partitions_have_the_same_defaults_rows_go_in_binary_as_ever() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(0, 19)");
    pair.target.sql(
        "CREATE SEQUENCE s; CREATE TABLE t (i int, x text DEFAULT 'x', n int DEFAULT nextval('s'), z int) PARTITION BY RANGE (i);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    );
    let format = "SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1";
    pair.copied("'t', '20', columns => '{i}'");
    assert_eq!(pair.target.text(format), "binary");
    assert_eq!(
        pair.target.text("SELECT count(DISTINCT n) || ' ' || max(n) FROM t"),
        "20 20"
    );
    // The table's NULL is a default as well.
    pair.target.sql("ALTER TABLE t_1 ALTER z SET DEFAULT 1");
    pair.copied("'t', '20', columns => '{i}', since => '0'");
    assert_eq!(pair.target.text(format), "text");
    assert_eq!(
        pair.target.text("SELECT count(*) FROM t WHERE z IS NULL AND x = 'x'"),
        "20"
    );
}

#[test]
fn a_default_that_fails_leaves_the_old_rows_and_is_the_callers() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(0, 9)");
    pair.target.sql(
        "CREATE ROLE loader LOGIN;
         CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS
           $$ BEGIN IF current_user = 'postgres' THEN RAISE 'not for everybody'; END IF; RETURN current_user; END $$;
         CREATE TABLE t (i int, x text) PARTITION BY RANGE (i); CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10);
         ALTER TABLE ONLY t ALTER x SET DEFAULT public.who();
         INSERT INTO t VALUES (3, 'old');
         GRANT INSERT, TRUNCATE ON t_0 TO loader; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let error = pair.sync("'t', '10'").expect_err("the default fails");
    assert_eq!(error.code().code(), "P0001", "{error:?}");
    assert!(
        error.detail().is_some_and(|d| d.contains("not for everybody")),
        "{error:?}"
    );
    assert_eq!(pair.target.text("SELECT string_agg(x, ',') FROM t"), "old");
    let mut loader = pair.target.connect_as("loader");
    loader
        .query("SELECT * FROM cgpsync_sync('t', '10', columns => '{i}')", &[])
        .expect("the sync succeeds");
    assert_eq!(
        pair.target
            .text("SELECT count(*) || ' ' || min(x) || ' ' || max(x) FROM t"),
        "10 loader loader"
    );
}

#[test]
fn a_default_that_changes_after_the_plan_is_an_error() {
    let pair = Pair::new();
    pair.source.sql(&format!(
        "CREATE VIEW gated AS SELECT g AS i FROM generate_series(1, 11, 10) g, LATERAL (SELECT {} WHERE g > 0) s",
        crate::support::cluster::GATE
    ));
    pair.target.sql(
        "CREATE TABLE t (i int, x text DEFAULT 'x') PARTITION BY RANGE (i);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    );
    let gate = pair.source.close_gate();
    let run = pair.sync_in_background("'t', '20', 1, source_table => 'gated'");
    pair.source.until_at_gate(1);
    poll("the first partition is being copied", SOON, || {
        pair.target
            .text("SELECT string_agg(partition, ',') FROM cgpsync_run_partition WHERE status = 'copying'")
            == "t_0"
    });
    pair.target.sql("ALTER TABLE t_1 ALTER x SET DEFAULT 'own'");
    drop(gate);
    let error = run.join().expect_err("binary has no place for it");
    assert!(error.starts_with("55006"), "{error}");
    let message = pair
        .target
        .text("SELECT error_message FROM cgpsync_run_partition WHERE status = 'failed'");
    assert!(message.contains("t_1") && message.contains("defaults"), "{message}");
    assert_eq!(pair.copied("'t', '20', source_table => 'gated'"), ["t_1"]);
    assert_eq!(
        pair.target.text("SELECT string_agg(i || x, ',' ORDER BY i) FROM t"),
        "1x,11x"
    );
}
