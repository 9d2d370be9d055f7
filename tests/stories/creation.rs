//! What comes of partitions that are created: whose they are, what is on them and below them, and what an error leaves.

use crate::support::Pair;

/// Two years of quarters by region, with rows, on the source; the target has the first year.
fn two_levels() -> Pair {
    let pair = Pair::new();
    let year = |year: u32| {
        format!(
            "CREATE TABLE t_{year} PARTITION OF t FOR VALUES FROM ('{year}-01-01') TO ('{}-01-01') PARTITION BY LIST (r);
             CREATE TABLE t_{year}_eu PARTITION OF t_{year} FOR VALUES IN ('de', 'fr');
             CREATE TABLE t_{year}_rest PARTITION OF t_{year} DEFAULT;",
            year + 1
        )
    };
    pair.both("CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k)");
    pair.both(&year(2017));
    pair.source.sql(&year(2018));
    pair.source.sql(
        "INSERT INTO t SELECT date '2017-01-01' + g, (ARRAY['de', 'us', NULL])[1 + g % 3], g FROM generate_series(0, 729) g",
    );
    pair
}

/// Names of everything below `t`.
fn below_t(pair: &Pair) -> String {
    pair.target
        .text("SELECT string_agg(relid::regclass::text, ' ' ORDER BY relid::regclass::text) FROM pg_partition_tree('t') WHERE level > 0")
}

#[test]
fn they_bring_their_own_partitions_and_have_their_parents_indexes() {
    let pair = two_levels();
    pair.target
        .sql("CREATE INDEX ON t (v); CREATE UNIQUE INDEX ON t (k, r, v)");
    let copied = pair.copied("'t', '2018'");
    assert_eq!(copied, ["t_2017_eu", "t_2017_rest", "t_2018_eu", "t_2018_rest"]);
    assert_eq!(
        below_t(&pair),
        "t_2017 t_2017_eu t_2017_rest t_2018 t_2018_eu t_2018_rest"
    );
    let bounds = "SELECT string_agg(pg_get_expr(relpartbound, 0), '; ' ORDER BY relname) FROM pg_class WHERE relname LIKE 't_2018%'
                  AND relkind IN ('r', 'p')";
    pair.same(bounds);
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM pg_indexes WHERE tablename = 't_2018_eu'"),
        "2"
    );
    // Again, with nothing to create.
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'t', '2018'").expect("a sync");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(!notices.contains("created"), "{notices}");
}

#[test]
fn where_none_here_has_partitions_they_have_none_either() {
    let pair = two_levels();
    pair.target
        .sql("DROP TABLE t; CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k)");
    assert_eq!(pair.copied("'t', '2018'"), ["t_2017", "t_2018"]);
    assert_eq!(below_t(&pair), "t_2017 t_2018");
    pair.same_rows("t", "true");
}

#[test]
fn list_and_hash_partitions_are_created_as_well() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE l (r text, v int) PARTITION BY LIST (r);
         CREATE TABLE l_us PARTITION OF l FOR VALUES IN ('us', 'ca');
         CREATE TABLE h (r text, v int) PARTITION BY HASH (r)",
    );
    pair.source.sql(
        "CREATE TABLE l (r text, v int) PARTITION BY LIST (r);
         CREATE TABLE l_us PARTITION OF l FOR VALUES IN ('us', 'mx');
         CREATE TABLE \"l it's\" PARTITION OF l FOR VALUES IN ('it''s', NULL);
         CREATE TABLE h (r text, v int) PARTITION BY HASH (r);
         CREATE TABLE h_0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE h_1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO l VALUES ('us', 1), ('it''s', 2), (NULL, 3);
         INSERT INTO h SELECT g, g FROM generate_series(1, 50) g",
    );
    // Mexico would have no place, but there are no such rows.
    assert_eq!(pair.copied("'l'"), ["\"l it's\"", "l_us"]);
    pair.same_rows("l", "true");
    assert_eq!(pair.copied("'h'"), ["h_0", "h_1"]);
    pair.same_rows("h", "true");
    pair.source.sql("INSERT INTO l VALUES ('mx', 4)");
    let error = pair.sync("'l'").expect_err("now there are");
    assert_eq!(error.code().code(), "42P17");
    assert!(error.detail().is_some_and(|d| d.contains("l_us")), "{error:?}");
    pair.copied("'l', create_missing => false");
    assert_eq!(pair.target.text("SELECT count(*) FROM l"), "3");
}

#[test]
fn they_belong_to_the_owner_of_the_table_whoever_of_the_role_calls() {
    let pair = two_levels();
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE dwh; CREATE ROLE loader LOGIN IN ROLE dwh; GRANT CREATE ON SCHEMA public TO dwh;
         GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r');
         ALTER TABLE t OWNER TO dwh; ALTER TABLE t_2017 OWNER TO dwh; ALTER TABLE t_2017_eu OWNER TO dwh;
         ALTER TABLE t_2017_rest OWNER TO dwh",
    );
    let mut client = pair.target.connect_as("loader");
    pair.sync_as(&mut client, "'t', '2018'")
        .expect("a member may do all of it");
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target
            .text("SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE tablename LIKE 't\\_%'"),
        "dwh"
    );
}

#[test]
fn a_partition_is_created_whole_or_not_at_all() {
    let pair = two_levels();
    pair.source.sql(
        "CREATE TABLE t_2019 PARTITION OF t FOR VALUES FROM ('2019-01-01') TO ('2020-01-01') PARTITION BY LIST (r);
         CREATE TABLE t_2019_rest PARTITION OF t_2019 DEFAULT",
    );
    pair.target.sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
           IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%t_2019_rest') THEN RAISE 'not this one'; END IF;
         END $$;
         CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION refuse()",
    );
    let error = pair.sync("'t', '2019'").expect_err("one below it is refused");
    assert_eq!(error.code().code(), "P0001");
    assert!(error.message().contains("t_2019"), "{error:?}");
    // CONTEXT ends DETAIL, without the statement that is our own.
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("PL/pgSQL function public.refuse() line 2 at RAISE") && !detail.contains("CREATE TABLE"),
        "{detail}"
    );
    // The year before was created in a transaction of its own; nothing has been copied.
    assert_eq!(
        below_t(&pair),
        "t_2017 t_2017_eu t_2017_rest t_2018 t_2018_eu t_2018_rest"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "0");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    pair.target.sql("DROP EVENT TRIGGER refuse");
    pair.copied("'t', '2019'");
    pair.same_rows("t", "true");
}

#[test]
fn only_what_lies_between_since_and_end_tm_is_created() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k)");
    pair.source.sql(
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2017-03-01') TO ('2017-04-01');
         CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO (MAXVALUE)",
    );
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-01' + g, '', g FROM generate_series(0, 150) g");
    pair.copied("'t', '20170310', since => '20170205'");
    assert_eq!(below_t(&pair), "t_2 t_3");
    pair.same_rows("t", "k >= '2017-02-01' AND k < '2017-04-01'");
    pair.copied("'t', '20170401'");
    assert_eq!(below_t(&pair), "t_2 t_3 t_4");
}
