//! cgpsync_create_table with a Greenplum as its target.

use crate::support::cluster::Cluster;
use crate::support::greenplum::{Clusters, refusal, said, words};
use postgres::error::DbError;

/// Makes a table there like the source's; what was said.
fn create(clusters: &Clusters, source: &str, from: &str, table: &str) -> Result<String, Box<DbError>> {
    let (mut client, notices) = clusters.between.connect_with_notices();
    let target = clusters.name(table);
    let sql = format!("SELECT cgpsync_create_table({from}, {target}, source => '{source}', target => 'dr')");
    refusal(client.batch_execute(&sql))?;
    Ok(said(&notices))
}

/// Tables of the source, each with rows and the end to sync up to.
const TABLES: &[(&str, &str, &str, &str)] = &[
    (
        "months",
        "(id int NOT NULL, d date NOT NULL, v text DEFAULT 'none', n numeric(12,2)) DISTRIBUTED BY (id)
         PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month'))",
        "SELECT g, date '2016-01-01' + g % 91, 'v' || g, g / 100.0 FROM generate_series(1, 1000) g",
        "'20160331'",
    ),
    (
        "two_levels",
        "(id int, d date, region text, \"Odd 'name\" text) DISTRIBUTED BY (region, id)
         PARTITION BY RANGE (d) SUBPARTITION BY LIST (region)
         SUBPARTITION TEMPLATE (SUBPARTITION eu VALUES ('de', 'it''s'), SUBPARTITION us VALUES ('us', NULL), DEFAULT SUBPARTITION \"Other Regions\")
         (START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month'), DEFAULT PARTITION outlying)",
        "SELECT g, date '2016-01-01' + g % 100, (ARRAY['de', 'it''s', 'us', 'jp', NULL])[1 + g % 5], 'v' || g FROM generate_series(1, 1000) g",
        "'20161231'",
    ),
    (
        "ranges_below",
        "(id int, d date, k int) DISTRIBUTED RANDOMLY PARTITION BY RANGE (d) SUBPARTITION BY RANGE (k)
         SUBPARTITION TEMPLATE (START (0) END (20) EVERY (10), DEFAULT SUBPARTITION kx)
         (PARTITION \"Jan\" START (date '2016-01-01') END (date '2016-02-01'), PARTITION feb START (date '2016-02-01') END (date '2016-03-01'))",
        "SELECT g, date '2016-01-01' + g % 60, g % 30 FROM generate_series(1, 1000) g",
        "'20160229'",
    ),
    (
        "in_columns",
        "(id int, d date, v text ENCODING (compresstype = zlib, compresslevel = 9)) WITH (appendonly = true, orientation = column, compresstype = zstd, compresslevel = 3)
         DISTRIBUTED BY (id) PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
        "SELECT g, date '2016-01-01' + g % 60, repeat('abc', g % 20) FROM generate_series(1, 1000) g",
        "'20160229'",
    ),
    (
        "mixed",
        "(id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) (
           PARTITION cold START (date '2016-01-01') END (date '2016-02-01') WITH (appendonly = true, orientation = column, compresstype = zstd),
           PARTITION warm START (date '2016-02-01') END (date '2016-03-01') WITH (appendonly = true, orientation = row, compresstype = zlib),
           PARTITION hot START (date '2016-03-01') END (date '2016-04-01'))",
        "SELECT g, date '2016-01-01' + g % 91, 'v' || g FROM generate_series(1, 1000) g",
        "'20160331'",
    ),
    (
        "odd_ends",
        "(id int, d date) DISTRIBUTED BY (id) PARTITION BY RANGE (d) (PARTITION low END (date '2016-01-01') INCLUSIVE,
           PARTITION mid START (date '2016-01-01') EXCLUSIVE END (date '2016-12-31') INCLUSIVE, PARTITION high START (date '2016-12-31') EXCLUSIVE)",
        "SELECT g, date '2015-06-01' + g FROM generate_series(1, 1000) g",
        "'20190101'",
    ),
    (
        "regions",
        "(id int, region varchar(10)) DISTRIBUTED BY (id) PARTITION BY LIST (region) (VALUES ('de', 'fr'), PARTITION us VALUES ('us', NULL), DEFAULT PARTITION rest)",
        "SELECT g, (ARRAY['de', 'us', 'jp', NULL])[1 + g % 4] FROM generate_series(1, 1000) g",
        "NULL",
    ),
    (
        "with_key",
        "(id int, d date, v varchar(20), PRIMARY KEY (id, d)) DISTRIBUTED BY (id)
         PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
        "SELECT g, date '2016-01-01' + g % 60, 'v' || g FROM generate_series(1, 1000) g",
        "'20160229'",
    ),
    ("plain", "(id int PRIMARY KEY, v text) DISTRIBUTED BY (id)", "SELECT g, 'v' || g FROM generate_series(1, 1000) g", "NULL"),
    ("everywhere", "(id int, v text) DISTRIBUTED REPLICATED", "SELECT g, 'v' || g FROM generate_series(1, 1000) g", "NULL"),
    (
        "rows_of_plain",
        "(id int, v text) WITH (appendonly = true, compresstype = zlib) DISTRIBUTED RANDOMLY",
        "SELECT g, 'v' || g FROM generate_series(1, 1000) g",
        "NULL",
    ),
];

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_like_a_greenplums_is_made_synced_and_compared() {
    let clusters = Clusters::new("created");
    for (name, table, rows, end) in TABLES {
        clusters
            .source
            .sql(&format!("CREATE TABLE {name} {table}; INSERT INTO {name} {rows}"));
        let notices = create(&clusters, "prod", &clusters.name(name), name).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        // Catalogs of one version tell it in the same words.
        if clusters.target.version == clusters.source.version {
            assert_eq!(
                clusters.target.leaves_but_for_bounds(),
                clusters.source.leaves_but_for_bounds(),
                "{name}: {notices}"
            );
        }
        clusters.told(&format!("'{name}', {end}, 2"));
        clusters.same_rows(name, "true");
        clusters.all_exchanged_beside_a_default();
        let verified =
            format!("SELECT bool_and(matches) FROM cgpsync_verify('{name}', method => 'checksum', source => 'prod')");
        assert_eq!(clusters.between.text(&verified), "t", "{name}");
        clusters.both(&format!("DROP TABLE {name}"));
    }
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_that_is_there_already_is_left_alone() {
    let clusters = Clusters::persons("there_already", 10);
    clusters.between.sql("DROP FOREIGN TABLE persons");
    let before = clusters.target.portrait();
    let error = create(&clusters, "prod", &clusters.name("persons"), "persons").expect_err("it is there");
    assert_eq!(error.code().code(), "42P07", "{error:?}");
    assert!(words(&error).contains("cgpsync_attach("), "{error:?}");
    assert_eq!(clusters.target.portrait(), before);
}

/// A PostgreSQL as the source `pg`.
fn postgres(clusters: &Clusters, tables: &str) -> Cluster {
    let source = Cluster::source("");
    source.sql(tables);
    clusters.between.sql(&format!(
        "CREATE SERVER pg FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
         CREATE USER MAPPING FOR postgres SERVER pg OPTIONS (user 'postgres', password 'secret')",
        source.port
    ));
    source
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_like_a_postgresqls_is_distributed_by_its_primary_key() {
    let clusters = Clusters::new("from_postgres");
    let source = postgres(
        &clusters,
        "CREATE TABLE visits (id bigint, day date, place text NOT NULL, n numeric(8,2) DEFAULT 7, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         INSERT INTO visits SELECT g, date '2017-01-01' + g % 59, 'place ' || g, g FROM generate_series(1, 1000) g;
         CREATE TABLE notes (at timestamptz, note text) PARTITION BY LIST (note);
         CREATE TABLE notes_a PARTITION OF notes FOR VALUES IN ('a', NULL); CREATE TABLE notes_rest PARTITION OF notes DEFAULT;
         INSERT INTO notes SELECT timestamptz '2017-01-01 00:00+00' + g * interval '1 hour', (ARRAY['a', 'b', NULL])[1 + g % 3] FROM generate_series(1, 300) g;
         CREATE TABLE hashed (i int) PARTITION BY HASH (i); CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    );
    let by = |table: &str| {
        clusters
            .target
            .text(&format!("SELECT pg_get_table_distributedby('{table}'::regclass)"))
    };
    let arrived = |table: &str, end: &str| {
        let statement = format!(
            "SELECT count(*) FROM cgpsync_sync('{table}', {end}, 2, source => 'pg', source_table => 'public.{table}')"
        );
        assert_eq!(clusters.between.text(&statement), "2", "{table}");
        let zoned = "SET TimeZone = 'UTC'; SELECT";
        let sql = format!("{zoned} {} FROM {table} t", crate::support::greenplum::CONTENT);
        assert_eq!(clusters.target.text(&sql), source.text(&sql), "{table}");
    };
    let notices = create(&clusters, "pg", "'public.visits'", "visits").expect("a table");
    assert_eq!(by("visits"), "DISTRIBUTED BY (id, day)", "{notices}");
    arrived("visits", "'20170228'");
    clusters.well_distributed("visits", "id, day");
    let notices = create(&clusters, "pg", "'public.notes'", "notes").expect("a table");
    assert_eq!(by("notes"), "DISTRIBUTED RANDOMLY");
    assert!(notices.contains("RANDOMLY"), "{notices}");
    arrived("notes", "NULL");
    let error = create(&clusters, "pg", "'public.hashed'", "hashed").expect_err("HASH");
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    assert_eq!(
        clusters
            .target
            .text("SELECT count(*) FROM pg_tables WHERE tablename = 'hashed'"),
        "0"
    );
}
