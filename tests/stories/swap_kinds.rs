//! Every kind of column, index, constraint and table is swapped; what refuses the new rows leaves the old ones.

use crate::support::swapped::{self, all_swapped, is_sound};
use crate::support::{Pair, SOON, poll};

const COUNT: &str = "SELECT count(*) FROM t";

/// `t`, the same columns on both sides, with `rows` rows there and a row `(0, 'old')` here. `more` is the target's alone.
fn pair_with(columns: &str, rows: &str, more: &str) -> Pair {
    let pair = Pair::new();
    pair.both(&format!("CREATE TABLE t ({columns})"));
    pair.target.sql(more);
    pair.target.sql("INSERT INTO t (i, v) VALUES (0, 'old')");
    pair.source.sql(&format!("INSERT INTO t {rows}"));
    swapped::checks(&pair.target);
    pair
}

/// Syncs `t` by a swap, twice, and compares.
fn swaps(pair: &Pair) {
    for _ in 0..2 {
        pair.copied("'t'");
        all_swapped(pair);
        pair.same_rows("t", "true");
        is_sound(&pair.target, "t");
    }
}

/// Asserts that the sync fails with `code`, and that the old row is still there, indexed and all.
fn refused(pair: &Pair, code: &str, words: &str) {
    let files = "SELECT string_agg(pg_relation_filepath(oid), ' ' ORDER BY oid) FROM pg_class
                 WHERE oid = 't'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 't'::regclass)";
    let before = pair.target.text(files);
    let mut client = pair.target.connect();
    client.batch_execute("SET cgpsync.max_retries = 0").expect("a setting");
    let error = pair
        .sync_as(&mut client, "'t', replace => 'swap'")
        .expect_err("refused");
    assert_eq!(error.code().code(), code, "{error:?}");
    assert!(error.detail().is_some_and(|d| d.contains(words)), "{error:?}");
    assert_eq!(pair.target.text("SELECT string_agg(v, ',') FROM t"), "old");
    assert_eq!(pair.target.text(files), before);
    is_sound(&pair.target, "t");
}

#[test]
fn every_kind_of_index_is_built_anew() {
    let pair = pair_with(
        "i int, v text, a int[], p point, b box, r int4range, d date",
        "SELECT g, 'v' || g, ARRAY[g, g % 7], point(g, -g), box(point(g, g), point(g + 1, g + 1)), int4range(g * 10, g * 10 + 5), date '2017-01-01' + g
         FROM generate_series(1, 4000) g",
        "CREATE INDEX t_btree ON t (v DESC NULLS LAST, i); CREATE INDEX t_hash ON t USING hash (v); CREATE INDEX t_gin ON t USING gin (a);
         CREATE INDEX t_gist ON t USING gist (b); CREATE INDEX t_spgist ON t USING spgist (p);
         CREATE INDEX t_brin ON t USING brin (d) WITH (pages_per_range = 2, autosummarize = off);
         CREATE INDEX t_expression ON t (upper(v)); CREATE INDEX t_partial ON t (i) WHERE i % 2 = 0; CREATE UNIQUE INDEX t_include ON t (i) INCLUDE (v);
         ALTER TABLE t ADD CONSTRAINT t_deferrable UNIQUE (i, v) DEFERRABLE INITIALLY DEFERRED, ADD CONSTRAINT t_apart EXCLUDE USING gist (r WITH &&),
                       ADD CONSTRAINT t_apart_later EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY DEFERRED",
    );
    swaps(&pair);
    for (index, condition, expected) in [
        ("t_btree", "v > 'v3998' AND v < 'v3999z'", "1"),
        ("t_hash", "v = 'v77'", "1"),
        ("t_gin", "a @> '{77}'", "1"),
        ("t_gist", "b && box '((5.2,5.2),(5.4,5.4))'", "1"),
        ("t_spgist", "p <@ box '((0,-10.5),(10.5,0))'", "10"),
        ("t_brin", "d = '2017-02-01'", "1"),
        ("t_expression", "upper(v) = 'V77'", "1"),
        ("t_partial", "i % 2 = 0 AND i < 10", "4"),
        ("t_apart", "r @> 105", "0"),
        ("t_apart", "r @> 102", "1"),
        ("t_apart_later", "r @> 102", "1"),
        ("t_include", "i = 77", "1"),
        ("t_deferrable", "i = 77 AND v = 'v77'", "1"),
    ] {
        let mut client = pair.target.connect();
        // The planner has no other one.
        let alone = format!(
            "BEGIN; SET enable_seqscan = off; UPDATE pg_index SET indisvalid = indexrelid = '{index}'::regclass WHERE indrelid = 't'::regclass"
        );
        client.batch_execute(&alone).expect("settings");
        let plan = client
            .query(&format!("EXPLAIN {COUNT} WHERE {condition}"), &[])
            .expect("a plan");
        let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
        assert!(plan.contains(index), "{index}: {plan}");
        assert_eq!(
            swapped::ask(&mut client, &format!("{COUNT} WHERE {condition}")),
            expected,
            "{index}"
        );
    }
    // They guard what comes later.
    for (row, code) in [
        ("(1, 'x')", "23505"),
        ("(9999, 'x', NULL, NULL, NULL, '[10,11]')", "23P01"),
    ] {
        let error = pair
            .target
            .connect()
            .batch_execute(&format!("INSERT INTO t VALUES {row}"))
            .expect_err("refused");
        assert_eq!(error.code().map(|c| c.code()), Some(code), "{row}");
    }
}

#[test]
fn long_values_are_stored_apart_or_compressed_as_the_columns_say() {
    let pair = pair_with(
        "i int, v text, external text, main text, plain bytea",
        "SELECT g, repeat('compressible', 10 * g), repeat(md5(g::text), g), repeat('x', g * 50), decode(repeat(md5(g::text), g), 'hex')
         FROM generate_series(1, 300) g",
        "ALTER TABLE t ALTER external SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN",
    );
    swaps(&pair);
    assert_eq!(
        pair.target
            .text("SELECT bool_and(pg_column_size(external) = length(external)) FROM t WHERE length(external) > 3000"),
        "t"
    );
    assert_ne!(
        pair.target
            .text("SELECT count(*) FROM t WHERE pg_column_size(v) < length(v) / 5"),
        "0"
    );
    let toast = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 't'";
    let size = pair.target.text(toast);
    pair.copied("'t'");
    assert_eq!(
        pair.target.text(toast),
        size,
        "the old long values are gone with the old rows"
    );
}

#[test]
fn generated_identity_and_defaulted_columns_get_their_values() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (i int, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g");
    pair.target.sql(
        "CREATE TABLE t (gone text, i int, twice int GENERATED ALWAYS AS (i * 2) STORED, v text, n bigint GENERATED ALWAYS AS IDENTITY, s serial,
                         gone_too int, made date DEFAULT '2017-01-01');
         CREATE INDEX ON t (twice); ALTER TABLE t DROP gone, DROP gone_too;
         INSERT INTO t (i, v) VALUES (0, 'old'); ALTER TABLE t ADD late text DEFAULT 'fast', ADD last int",
    );
    swapped::checks(&pair.target);
    for last in [501, 1001] {
        pair.copied("'t', columns => '{i,v}'");
        all_swapped(&pair);
        assert_eq!(
            pair.target.text("SELECT count(*) FROM t WHERE twice = i * 2 AND v = 'v' || i AND made = '2017-01-01' AND late = 'fast' AND last IS NULL"),
            "500"
        );
        assert_eq!(
            pair.target
                .text("SELECT max(n) || ' ' || max(s) || ' ' || count(DISTINCT n) FROM t"),
            format!("{last} {last} 500")
        );
        is_sound(&pair.target, "t");
    }
}

#[test]
fn columns_that_were_dropped_anywhere_confuse_nobody() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE p (k int, x int, y text, z date); INSERT INTO p SELECT g % 20, g, 'y' || g, date '2017-01-01' + g FROM generate_series(1, 1000) g");
    pair.target.sql(
        "CREATE TABLE p (a1 text, k int, a2 int, x int, y text, a3 date) PARTITION BY RANGE (k);
         ALTER TABLE p DROP a1, DROP a2, DROP a3; ALTER TABLE p ADD z date;
         CREATE TABLE p_0 (z date, b1 int, y text, b2 text, x int, k int, b3 int); INSERT INTO p_0 VALUES ('2000-01-01', 1, 'old', 'old', 1, 5, 1);
         ALTER TABLE p_0 DROP b1, DROP b2, DROP b3; ALTER TABLE p ATTACH PARTITION p_0 FOR VALUES FROM (0) TO (10);
         CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (10) TO (20); CREATE INDEX ON p (x, y)",
    );
    swapped::checks(&pair.target);
    for _ in 0..2 {
        pair.copied("'p', '19', since => '0'");
        all_swapped(&pair);
        pair.same("SELECT sum(hashtextextended(ROW(k, x, y, z)::text, 0)::numeric) FROM p");
        is_sound(&pair.target, "p");
        pair.target.sql("ALTER TABLE p DROP y; ALTER TABLE p ADD y text");
    }
}

#[test]
fn unlogged_tables_tables_without_indexes_and_empty_ones_are_swapped() {
    let rows = "SELECT g, 'v' || g FROM generate_series(1, 1000) g";
    for more in [
        "ALTER TABLE t SET UNLOGGED; CREATE INDEX ON t (v); CREATE INDEX ON t USING gin (v) WHERE false",
        "ALTER TABLE t SET UNLOGGED",
        "",
        "CREATE INDEX ON t (i)",
    ] {
        let more = more.replace(
            "CREATE INDEX ON t USING gin (v) WHERE false",
            "CREATE INDEX ON t USING gist (point(i, i))",
        );
        let mut pair = pair_with("i int, v text", rows, &more);
        swaps(&pair);
        pair.source.sql("DELETE FROM t");
        swaps(&pair);
        pair.source.sql("INSERT INTO t VALUES (1, 'one')");
        swaps(&pair);
        // An unlogged table is empty after a crash, and its init forks must be there for that.
        pair.target.stop("QUIT");
        pair.target.boot();
        let left = if more.contains("UNLOGGED") { "0" } else { "1" };
        assert_eq!(pair.target.text(COUNT), left, "{more}");
        swaps(&pair);
    }
}

#[test]
fn rows_that_a_constraint_refuses_leave_the_old_ones() {
    let rows = "SELECT g % 999, 'v' || g FROM generate_series(1, 1000) g";
    for (more, code, words) in [
        ("ALTER TABLE t ADD PRIMARY KEY (i)", "23505", "t_pkey"),
        (
            "CREATE UNIQUE INDEX t_late ON t ((i + 1)) WHERE i < 5",
            "23505",
            "t_late",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT t_later UNIQUE (i) DEFERRABLE INITIALLY DEFERRED",
            "23505",
            "t_later",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT t_apart EXCLUDE USING hash (i WITH =)",
            "23P01",
            "t_apart",
        ),
        ("ALTER TABLE t ADD CONSTRAINT t_few CHECK (i < 900)", "23514", "t_few"),
        (
            "CREATE TABLE ref (i int PRIMARY KEY); INSERT INTO ref SELECT generate_series(0, 900); ALTER TABLE t ADD CONSTRAINT t_ref FOREIGN KEY (i) REFERENCES ref",
            "23503",
            "t_ref",
        ),
        (
            "CREATE TABLE ref (i int PRIMARY KEY); INSERT INTO ref SELECT generate_series(0, 900);
             ALTER TABLE t ADD CONSTRAINT t_ref FOREIGN KEY (i) REFERENCES ref DEFERRABLE INITIALLY DEFERRED",
            "23503",
            "t_ref",
        ),
        (
            "CREATE INDEX t_fails ON t ((1 / (i - 77)))",
            "22012",
            "division by zero",
        ),
    ] {
        refused(&pair_with("i int, v text", rows, more), code, words);
    }
    let pair = pair_with("i int, v text", "VALUES (1, 'one'), (2, NULL)", "");
    pair.target.sql("ALTER TABLE t ALTER v SET NOT NULL");
    // Known from the catalogs alone, if the column may be null there, or when the row comes.
    refused(&pair, "23502", "null value in column \"v\"");
}

#[test]
fn references_to_other_tables_are_checked_before_readers_wait() {
    let pair = pair_with(
        "i int, v text",
        "SELECT g % 900, 'v' || g FROM generate_series(1, 2000) g",
        "CREATE TABLE ref (i int PRIMARY KEY); INSERT INTO ref SELECT generate_series(0, 900);
         ALTER TABLE t ADD FOREIGN KEY (i) REFERENCES ref, ADD FOREIGN KEY (i) REFERENCES ref DEFERRABLE INITIALLY DEFERRED;
         CREATE TABLE waits (mode text);
         CREATE FUNCTION note_locks() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           INSERT INTO public.waits SELECT mode FROM pg_locks WHERE relation = 'public.t'::regclass AND pid = pg_backend_pid();
           RETURN NULL; END $f$;
         CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.i = 7) EXECUTE FUNCTION note_locks()",
    );
    pair.target.sql("TRUNCATE waits");
    swaps(&pair);
    let modes = pair.target.list("SELECT DISTINCT mode FROM waits ORDER BY 1");
    assert!(modes.contains(&"ShareRowExclusiveLock".to_owned()), "{modes:?}");
    assert!(!modes.contains(&"AccessExclusiveLock".to_owned()), "{modes:?}");
}

#[test]
fn an_index_that_was_never_finished_stays_as_it_is() {
    let pair = pair_with(
        "i int, v text",
        "SELECT g % 10, 'v' || g FROM generate_series(1, 100) g",
        "CREATE INDEX t_v ON t (v)",
    );
    pair.target.sql("INSERT INTO t VALUES (0, 'old too')");
    pair.target
        .connect()
        .batch_execute("CREATE UNIQUE INDEX CONCURRENTLY t_broken ON t (i)")
        .expect_err("not unique");
    let state = "SELECT indisvalid || ' ' || indisready || ' ' || indislive FROM pg_index WHERE indexrelid = 't_broken'::regclass";
    assert_eq!(pair.target.text(state), "false false true");
    swaps(&pair);
    assert_eq!(pair.target.text(state), "false false true");
    pair.target.sql("DROP INDEX t_v");
    swaps(&pair);
    assert_eq!(
        pair.target.text("SELECT relhasindex FROM pg_class WHERE relname = 't'"),
        "t"
    );
    // One that was waiting for others when it was cancelled takes rows, and counts for nothing else.
    pair.target.sql("DROP INDEX t_broken");
    let mut writer = pair.target.connect();
    writer
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .expect("a snapshot");
    let mut builder = pair.target.connect();
    let cancel = builder.cancel_token();
    let build = std::thread::spawn(move || builder.batch_execute("CREATE INDEX CONCURRENTLY t_waiting ON t (i)"));
    let ready = "SELECT indisready AND NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_waiting')";
    poll("it waits for old snapshots", SOON, || {
        pair.target.text(ready) == "t"
            && pair
                .target
                .text("SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for old%'")
                == "1"
    });
    cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    build.join().expect("the thread ends").expect_err("cancelled");
    writer.batch_execute("COMMIT").expect("the end");
    swaps(&pair);
    assert_eq!(pair.target.text(ready), "t");
    pair.target.sql("REINDEX INDEX t_waiting");
    is_sound(&pair.target, "t");
}
