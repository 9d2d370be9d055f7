//! Every partitioning a target may have, from sources that have the same, another or none. `routing.rs` compares random ones; here is
//! what is read from where, and which leaves a run takes.

use crate::support::Pair;

/// The units of the last run as `partition relation how`: = the whole relation, ~ those rows that a condition tells there, # those that the
/// target tells.
fn reads(pair: &Pair) -> Vec<String> {
    pair.target.list(
        "SELECT partition || ' ' || CASE WHEN filter_here THEN '#' WHEN source_filter IS NULL THEN '=' ELSE '~' END
                || replace(source_relation, '\"', '')
         FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run) ORDER BY 1",
    )
}

/// Fails unless every row of `table` is in the leaf that an INSERT into a table partitioned alike chooses.
fn routed(pair: &Pair, table: &str) {
    pair.same_rows(table, "true");
    // An UPDATE that moves a row to another partition would find it where it is.
    let wrong = format!(
        "WITH moved AS (DELETE FROM {table} RETURNING tableoid AS was, {table}.*),
              put AS (INSERT INTO {table} SELECT k, r, v FROM moved RETURNING tableoid AS is_in, v)
         SELECT count(*) FROM moved JOIN put USING (v) WHERE was <> is_in"
    );
    assert_eq!(pair.target.text(&wrong), "0", "{table}");
}

fn hashed(table: &str, modulus: u32) -> String {
    let one = |r: u32| {
        format!("CREATE TABLE {table}_{r} PARTITION OF {table} FOR VALUES WITH (MODULUS {modulus}, REMAINDER {r});")
    };
    let parts: String = (0..modulus).map(one).collect();
    format!("CREATE TABLE {table} (k date, r text, v int) PARTITION BY HASH (r, v); {parts}")
}

const ROWS: &str = "SELECT date '2017-01-01' + g % 90, (ARRAY['de', 'us', 'it''s', NULL])[1 + g % 4], g FROM generate_series(1, 400) g";

#[test]
fn hash_partitions_are_read_from_their_like_or_told_apart_here() {
    let pair = Pair::new();
    pair.target.sql(&hashed("t", 3));
    for (source, expected) in [
        (
            hashed("t", 3),
            ["t_0 =public.t_0", "t_1 =public.t_1", "t_2 =public.t_2"],
        ),
        (hashed("t", 4), ["t_0 #public.t", "t_1 #public.t", "t_2 #public.t"]),
        (
            "CREATE TABLE t (k date, r text, v int)".to_owned(),
            ["t_0 #public.t", "t_1 #public.t", "t_2 #public.t"],
        ),
    ] {
        pair.source.sql("DROP TABLE IF EXISTS t");
        pair.source.sql(&source);
        pair.source.sql(&format!("INSERT INTO t {ROWS}"));
        pair.copied("'t'");
        assert_eq!(reads(&pair), expected, "{source}");
        routed(&pair, "t");
    }
}

#[test]
fn rows_of_other_hash_partitions_do_not_hide_those_that_a_trigger_skips() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000); CREATE TABLE empty (id int)");
    pair.target.sql(
        "CREATE TABLE t (id int) PARTITION BY HASH (id);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE other (id int);
         INSERT INTO t VALUES (0)",
    );
    let of_trigger = |body: &str| {
        pair.target.sql(&format!(
            "CREATE OR REPLACE FUNCTION of_trigger() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN {body}; RETURN new; END $$;
             CREATE OR REPLACE TRIGGER of_t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION public.of_trigger()"
        ));
    };
    let skip = "IF new.id % 10 = 0 THEN RETURN NULL; END IF";
    // The number of rows left out is kept where the server shows progress: others write there too,
    // and it can be turned off.
    let nested = "IF new.id % 100 = 1 THEN ANALYZE public.other; END IF";
    let failing = "BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END";
    for (tracks, body, complaint) in [
        ("on", skip.to_owned(), Some("of other partitions, and")),
        ("off", skip.to_owned(), Some("of other partitions, and")),
        ("on", format!("{failing}; {skip}"), Some("of other partitions, and")),
        ("on", format!("{skip}; {nested}"), Some("is not known")),
        ("on", nested.to_owned(), Some("is not known")),
        ("off", nested.to_owned(), Some("is not known")),
        ("on", failing.to_owned(), None),
        ("off", "NULL".to_owned(), None),
    ] {
        pair.target
            .sql(&format!("ALTER ROLE postgres SET track_activities = {tracks}"));
        of_trigger(&body);
        let Some(complaint) = complaint else {
            pair.copied("'t'");
            pair.same("SELECT count(*) || ' ' || sum(id) FROM t");
            pair.copied("'t', source_table => 'empty'");
            pair.target
                .sql("ALTER TABLE t DISABLE TRIGGER of_t; INSERT INTO t VALUES (0)");
            pair.target.sql("ALTER TABLE t ENABLE TRIGGER of_t");
            continue;
        };
        let error = pair.sync("'t'").expect_err("rows are missing");
        assert_eq!(error.code().code(), "08P01", "{body}: {error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("1000 rows were sent") && detail.contains(complaint),
            "{body}: {error:?}"
        );
        assert!(detail.contains("trigger"), "{body}: {error:?}");
        assert_eq!(pair.target.text("SELECT count(*) || ' ' || sum(id) FROM t"), "1 0");
        // Nothing of the COPY is left where it was shown.
        assert_eq!(pair.target.text("SELECT count(*) FROM pg_stat_progress_copy"), "0");
    }
}

#[test]
fn the_first_column_of_a_range_key_decides_what_a_run_takes() {
    let pair = Pair::new();
    let table = "CREATE TABLE t (a int, b text, v int)";
    pair.target.sql(&format!(
        "{table} PARTITION BY RANGE (a, b);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (MINVALUE, MINVALUE) TO (10, 'm');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10, 'm') TO (20, MINVALUE);
         CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20, MINVALUE) TO (30, MAXVALUE)"
    ));
    pair.source.sql(table);
    pair.source
        .sql("INSERT INTO t VALUES (-5, 'z', 1), (10, 'a', 2), (10, 'm', 3), (19, 'a', 4), (20, '', 5), (30, 'zz', 6)");
    assert_eq!(pair.copied("'t', '9'"), ["t_1"]);
    // Both of these may hold rows with 10; the first of them also when 10 is remembered.
    assert_eq!(pair.copied("'t', '10'"), ["t_1", "t_2"]);
    assert_eq!(pair.copied("'t', '10'"), ["t_1", "t_2"]);
    assert_eq!(pair.copied("'t', '11'"), ["t_1", "t_2"]);
    assert_eq!(pair.copied("'t', '20'"), ["t_2", "t_3"]);
    // No row of the second can be at 20.
    assert_eq!(pair.copied("'t', '30'"), ["t_3"]);
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target.text("SELECT string_agg(v::text, ' ' ORDER BY v) FROM t_2"),
        "3 4"
    );
}

#[test]
fn below_list_the_uppermost_range_is_the_key() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY LIST (r);
         CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('de', 'it''s') PARTITION BY RANGE (k);
         CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_eu_2 PARTITION OF t_eu FOR VALUES FROM ('2017-02-01') TO ('2017-06-01');
         CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY RANGE (k);
         CREATE TABLE t_us_1 PARTITION OF t_us FOR VALUES FROM ('2017-01-01') TO ('2017-03-01');
         CREATE TABLE t_us_2 PARTITION OF t_us FOR VALUES FROM ('2017-03-01') TO ('2017-06-01');
         CREATE TABLE t_rest PARTITION OF t DEFAULT",
    );
    pair.source.sql(&format!("INSERT INTO t {ROWS}"));
    assert_eq!(pair.copied("'t', '201701'"), ["t_eu_1", "t_rest", "t_us_1"]);
    assert_eq!(pair.copied("'t', '201702'"), ["t_eu_1", "t_eu_2", "t_rest", "t_us_1"]);
    assert_eq!(pair.copied("'t', '201703'"), ["t_eu_2", "t_rest", "t_us_1", "t_us_2"]);
    assert!(reads(&pair).iter().all(|read| read.contains('=')));
    routed(&pair, "t");
}

#[test]
fn three_levels_from_a_source_that_has_the_first_of_them() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01') PARTITION BY LIST (r);
         CREATE TABLE t_1_de PARTITION OF t_1 FOR VALUES IN ('de') PARTITION BY HASH (v);
         CREATE TABLE t_1_de_0 PARTITION OF t_1_de FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1_de_1 PARTITION OF t_1_de FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE t_1_x PARTITION OF t_1 DEFAULT;
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-06-01')",
    );
    pair.source.sql(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE jan PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE rest PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2018-01-01')",
    );
    pair.source.sql(&format!("INSERT INTO t {ROWS}"));
    assert_eq!(pair.copied("'t', '20170131'"), ["t_1_de_0", "t_1_de_1", "t_1_x"]);
    assert_eq!(
        reads(&pair),
        ["t_1_de_0 #public.jan", "t_1_de_1 #public.jan", "t_1_x ~public.jan"]
    );
    pair.copied("'t', '20170531'");
    assert_eq!(reads(&pair).last().map(String::as_str), Some("t_2 ~public.t"));
    routed(&pair, "t");
}

#[test]
fn a_default_partition_with_partitions_of_its_own_takes_what_is_left_with_null_keys() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_d PARTITION OF t DEFAULT PARTITION BY LIST (r);
         CREATE TABLE t_d_null PARTITION OF t_d FOR VALUES IN (NULL, 'de');
         CREATE TABLE t_d_rest PARTITION OF t_d DEFAULT",
    );
    pair.source.sql("CREATE TABLE t (k date, r text, v int)");
    pair.source.sql(&format!(
        "INSERT INTO t {ROWS}; INSERT INTO t VALUES (NULL, NULL, 1001), (NULL, 'de', 1002), (NULL, 'us', 1003)"
    ));
    // Whatever end_tm is.
    assert_eq!(pair.copied("'t', '20160101'"), ["t_d_null", "t_d_rest"]);
    assert_eq!(pair.copied("'t', '20170101'"), ["t_1", "t_d_null", "t_d_rest"]);
    routed(&pair, "t");
    assert_eq!(pair.target.text("SELECT count(*) FROM t_d_null WHERE k IS NULL"), "2");
    // The same tree over there, and each leaf is its like.
    pair.source.sql(
        "ALTER TABLE t RENAME TO flat;
         CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE s_d PARTITION OF t DEFAULT PARTITION BY LIST (r);
         CREATE TABLE s_d_rest PARTITION OF s_d DEFAULT;
         CREATE TABLE s_d_null PARTITION OF s_d FOR VALUES IN ('de', NULL);
         CREATE TABLE s_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         INSERT INTO t SELECT * FROM flat",
    );
    pair.copied("'t', '20170101'");
    assert_eq!(
        reads(&pair),
        [
            "t_1 =public.s_1",
            "t_d_null =public.s_d_null",
            "t_d_rest =public.s_d_rest"
        ]
    );
    routed(&pair, "t");
}

#[test]
fn a_foreign_partition_is_refused_when_it_is_due_and_no_matter_otherwise() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source
        .sql("CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-06-01')");
    pair.target
        .sql("CREATE FOREIGN TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-06-01') SERVER src");
    pair.source.sql(&format!("INSERT INTO t {ROWS}"));
    assert_eq!(pair.copied("'t', '20170115'"), ["t_1"]);
    pair.same("SELECT count(*) FROM t_1");
    let error = pair.sync("'t', '20170201'").expect_err("its rows are elsewhere");
    assert_eq!(error.code().code(), "42809");
    assert!(error.message().contains("t_2") && error.hint().is_some(), "{error:?}");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170115");
}

#[test]
fn keys_of_the_users_own_types_are_told_by_their_values() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'glad');
         CREATE TABLE l (k mood, v int) PARTITION BY LIST (k);
         CREATE TABLE l_sad PARTITION OF l FOR VALUES IN ('sad');
         CREATE TABLE l_rest PARTITION OF l DEFAULT;
         CREATE TABLE h (k mood, v int) PARTITION BY HASH (k);
         CREATE TABLE h_0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE h_1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    // An enum's hash is that of OIDs, which each server gives out by itself.
    pair.source.sql(
        "CREATE TYPE mood AS ENUM ('glad', 'sad');
         CREATE TABLE l (k mood, v int) PARTITION BY LIST (k);
         CREATE TABLE l_sad PARTITION OF l FOR VALUES IN ('sad');
         CREATE TABLE l_rest PARTITION OF l DEFAULT;
         CREATE TABLE h (k mood, v int) PARTITION BY HASH (k);
         CREATE TABLE h_0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE h_1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO l SELECT (ARRAY['sad', 'glad', NULL])[1 + g % 3]::mood, g FROM generate_series(1, 30) g;
         INSERT INTO h TABLE l",
    );
    for table in ["l", "h"] {
        pair.copied(&format!("'{table}'"));
        pair.same_rows(table, "true");
    }
    assert_eq!(
        pair.target.text("SELECT string_agg(DISTINCT k::text, ' ') FROM l_sad"),
        "sad"
    );
}
