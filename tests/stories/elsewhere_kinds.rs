//! Every kind of table over there: partitioned in every way, or not at all.

use crate::support::trio::Trio;

/// The ways that units were replaced in by the last run.
fn ways(trio: &Trio) -> String {
    trio.pair.target.text(
        "SELECT string_agg(partition || ' ' || way, ', ' ORDER BY partition) FROM cgpsync_run_partition
         WHERE run_id = (SELECT max(run_id) FROM cgpsync_run) AND status = 'done'",
    )
}

#[test]
fn partitions_of_every_kind_are_exchanged() {
    let trio = Trio::new();
    let pair = &trio.pair;
    trio.both(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
         CREATE TABLE regions (r text, born date NOT NULL, m mood) PARTITION BY LIST (r);
         CREATE TABLE regions_eu PARTITION OF regions FOR VALUES IN ('de', 'fr') PARTITION BY RANGE (born);
         CREATE TABLE regions_eu_1 PARTITION OF regions_eu FOR VALUES FROM ('2017-01-01') TO ('2017-07-01');
         CREATE TABLE regions_eu_2 PARTITION OF regions_eu FOR VALUES FROM ('2017-07-01') TO (MAXVALUE);
         CREATE TABLE regions_null PARTITION OF regions FOR VALUES IN (NULL);
         CREATE TABLE moods (m mood, i int) PARTITION BY LIST (m);
         CREATE TABLE moods_up PARTITION OF moods FOR VALUES IN ('happy', 'ok');
         CREATE TABLE moods_rest PARTITION OF moods DEFAULT;
         CREATE TABLE hashed (i int PRIMARY KEY, t text) PARTITION BY HASH (i);
         CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE pairs (a int, b int) PARTITION BY RANGE (a, b);
         CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES FROM (0, 0) TO (5, 5);
         CREATE TABLE pairs_2 PARTITION OF pairs FOR VALUES FROM (5, 5) TO (9, MAXVALUE)",
    );
    pair.source.sql(
        "INSERT INTO regions SELECT (ARRAY['de', 'fr', NULL])[g % 3 + 1], date '2017-01-01' + g, 'ok' FROM generate_series(1, 300) g;
         INSERT INTO moods SELECT (ARRAY['sad', 'ok', 'happy', NULL])[g % 4 + 1]::mood, g FROM generate_series(1, 100) g;
         INSERT INTO hashed SELECT g, 'row ' || g FROM generate_series(1, 500) g;
         INSERT INTO pairs SELECT g % 10, g % 7 FROM generate_series(1, 400) g WHERE (g % 10, g % 7) < (9, 100) AND (g % 10, g % 7) >= (0, 0)",
    );
    for (table, end, exchanged) in [
        (
            "regions",
            "'20171231'",
            "regions_eu_1 exchange, regions_eu_2 exchange, regions_null exchange",
        ),
        ("moods", "NULL", "moods_rest exchange, moods_up exchange"),
        ("hashed", "NULL", "hashed_0 exchange, hashed_1 exchange"),
        ("pairs", "'9'", "pairs_1 exchange, pairs_2 exchange"),
    ] {
        trio.attach(table);
        let (_, notices) = pair.told(&format!("'{table}', {end}, 2, source => 'src'"));
        let ways = ways(&trio);
        // The default partition is looked through where it holds rows, which here depends on who comes first.
        let ways = ways.replace("moods_up truncate", "moods_up exchange");
        assert_eq!(ways, exchanged, "{notices}");
        trio.same_rows(table, "true");
    }
    assert_eq!(
        trio.text("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%cgpsync%'"),
        "0"
    );
}

#[test]
fn rows_that_only_the_target_can_tell_apart_are_told_apart_there() {
    let trio = Trio::new();
    let pair = &trio.pair;
    pair.source.sql(
        "CREATE TABLE hashed (i int, t text); INSERT INTO hashed SELECT g, 'row ' || g FROM generate_series(1, 500) g",
    );
    trio.there.sql(
        "CREATE TABLE hashed (i int, t text) PARTITION BY HASH (i);
         CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    trio.attach("hashed");
    let (units, notices) = pair.told("'hashed', NULL, 2, source => 'src'");
    assert_eq!(units.len(), 2, "{units:?}");
    assert!(
        notices.contains("its rows are told from those of other partitions while they are loaded"),
        "{notices}"
    );
    trio.same_rows("hashed", "true");
}

#[test]
fn a_table_that_is_not_partitioned_is_exchanged_under_its_name() {
    let trio = Trio::new();
    let pair = &trio.pair;
    trio.both("CREATE TABLE plain (i int PRIMARY KEY, n numeric(10, 2), t text)");
    trio.there
        .sql("CREATE INDEX plain_t_idx ON plain (t); COMMENT ON TABLE plain IS 'kept'; INSERT INTO plain VALUES (-1, 1, 'old')");
    pair.source
        .sql("INSERT INTO plain SELECT g, g / 3.0, 'row ' || g FROM generate_series(1, 500) g");
    trio.attach("plain");
    for _ in 0..2 {
        assert_eq!(pair.copied("'plain', NULL, source => 'src'"), ["plain"]);
        assert_eq!(ways(&trio), "plain exchange");
        trio.same_rows("plain", "true");
    }
    let kept = "SELECT obj_description('plain'::regclass) || ' ' || string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text)
                FROM pg_index WHERE indrelid = 'plain'::regclass";
    assert_eq!(trio.text(kept), "kept plain_pkey plain_t_idx");
    trio.there.sql("CREATE VIEW seen AS SELECT * FROM plain");
    pair.source.sql("DELETE FROM plain WHERE i > 400");
    assert_eq!(pair.copied("'plain', NULL, source => 'src'"), ["plain"]);
    assert_eq!(ways(&trio), "plain truncate");
    trio.same("SELECT count(*) FROM plain");
}

#[test]
fn columns_that_are_not_copied_get_the_tables_default_and_types_may_differ() {
    let trio = Trio::new();
    let pair = &trio.pair;
    pair.source.sql(
        "CREATE TABLE filled (id int, born date NOT NULL, note varchar(20)) PARTITION BY RANGE (born);
         CREATE TABLE filled_1 PARTITION OF filled FOR VALUES FROM ('2017-01-01') TO ('2018-01-01');
         INSERT INTO filled SELECT g, '2017-02-01', 'row ' || g FROM generate_series(1, 100) g",
    );
    trio.there.sql(
        "CREATE TABLE filled (id bigint, born timestamp NOT NULL, note text, origin text DEFAULT 'of the table',
                              at timestamptz DEFAULT now(), empty int) PARTITION BY RANGE (born);
         CREATE TABLE filled_1 PARTITION OF filled FOR VALUES FROM ('2017-01-01') TO ('2018-01-01');
         ALTER TABLE filled_1 ALTER origin SET DEFAULT 'of the partition', ALTER empty SET DEFAULT 5",
    );
    trio.attach("filled");
    for way in ["exchange", "truncate"] {
        let arguments = format!(
            "'filled', '20171231', source => 'src', columns => ARRAY['note', 'id', 'born'], replace => '{way}'"
        );
        assert_eq!(pair.copied(&arguments), ["filled_1"]);
        let filled = "SELECT count(*) || ' ' || sum(id) || ' ' || string_agg(DISTINCT origin, ',') || ' ' || count(at) || ' ' || count(empty) FROM filled";
        assert_eq!(trio.text(filled), "100 5050 of the table 100 0", "{way}");
        let default = "SELECT string_agg(pg_get_expr(adbin, adrelid), ' ' ORDER BY adnum) FROM pg_attrdef WHERE adrelid = 'filled_1'::regclass";
        assert_eq!(trio.text(default), "'of the partition'::text now() 5", "{way}");
    }
}

#[test]
fn partitions_that_only_the_source_has_are_created_over_there_and_those_that_it_lost_are_dropped() {
    let trio = Trio::persons(10);
    let pair = &trio.pair;
    trio.there.sql(
        "DROP TABLE persons_201702, persons_201703; CREATE ROLE owner; ALTER TABLE persons OWNER TO owner;
         CREATE TABLE persons_rest PARTITION OF persons DEFAULT",
    );
    let (_, notices) = pair.told("'persons', '20170315', 2, source => 'src'");
    assert!(
        notices.contains("created partition persons_201702 as the source has it"),
        "{notices}"
    );
    trio.same_rows("persons", "born < '2017-04-01'");
    let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'persons_201702'";
    assert_eq!(trio.text(owner), "owner");
    pair.source.sql("DROP TABLE persons_201702");
    let (units, notices) =
        pair.told("'persons', '20170415', 2, source => 'src', since => '20170101', vanished => 'keep'");
    assert!(
        units.contains(&("persons_201702".to_owned(), "skipped".to_owned())),
        "{units:?} {notices}"
    );
    let (_, notices) = pair.told("'persons', '20170415', 2, source => 'src', since => '20170101', vanished => 'drop'");
    assert!(notices.contains("dropped partition persons_201702"), "{notices}");
    assert_eq!(trio.text("SELECT to_regclass('persons_201702')"), "");
    trio.same_rows("persons", "born < '2017-05-01'");
}

#[test]
fn what_the_role_has_set_over_there_changes_neither_rows_nor_the_table() {
    let trio = Trio::new();
    let pair = &trio.pair;
    pair.source
        .sql("CREATE TABLE t (i int, a text[]); INSERT INTO t VALUES (1, ARRAY[NULL, 'NULL', 'x']), (2, NULL)");
    trio.there.sql(
        "CREATE TABLE t (i bigint, a varchar[]); CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler",
    );
    trio.attach("t");
    trio.there.sql(
        "ALTER ROLE postgres SET array_nulls = off; ALTER ROLE postgres SET xmloption = document;
         ALTER ROLE postgres SET default_table_access_method = other; ALTER ROLE postgres SET default_tablespace = 'nowhere';
         ALTER ROLE postgres SET default_transaction_isolation = serializable; ALTER ROLE postgres SET default_transaction_read_only = on;
         ALTER ROLE postgres SET search_path = nowhere; ALTER ROLE postgres SET standard_conforming_strings = off",
    );
    for way in ["exchange", "truncate"] {
        assert_eq!(
            pair.copied(&format!("'t', NULL, source => 'src', replace => '{way}'")),
            ["t"]
        );
        let rows = "SELECT string_agg(concat_ws(' ', i, a), ', ' ORDER BY i) FROM public.t";
        assert_eq!(trio.text(rows), pair.source.text(rows), "{way}");
        let method = "SELECT amname FROM pg_class c JOIN pg_am m ON m.oid = c.relam WHERE c.oid = 'public.t'::regclass";
        assert_eq!(trio.text(method), "heap", "{way}");
    }
}
