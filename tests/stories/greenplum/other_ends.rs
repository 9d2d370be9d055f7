//! How a Greenplum source is read: whole leaves as the segments send them, anything else by a query.

use crate::support::greenplum::{CONTENT, Clusters, PERSONS, births};
use crate::support::{SOON, poll};

/// A table of the server between, which is the target then.
fn local(story: &str, conf: &str, partitions: &str) -> Clusters {
    let clusters = Clusters::with(story, conf);
    clusters.source.sql(PERSONS);
    clusters.source.sql(&births(20000));
    clusters.between.sql(&format!(
        "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born); {partitions}"
    ));
    clusters
}

const MONTHS: &str = "CREATE TABLE p1 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
    CREATE TABLE p2 PARTITION OF persons FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')";

fn same_here(clusters: &Clusters, table: &str, filter: &str) {
    let here = clusters
        .between
        .text(&format!("SELECT {CONTENT} FROM {table} t WHERE {filter}"));
    assert_eq!(here, clusters.source.content(table, filter), "{table} {filter}");
    assert_ne!(here, "0 0", "{table} {filter}");
}

/// The statement by which a run reads the source.
fn reading(clusters: &Clusters) -> String {
    let mut statement = String::new();
    poll("it reads", SOON, || {
        let sql = "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'cgpsync run%' AND query LIKE 'COPY%' LIMIT 1";
        statement = clusters.source.text(sql);
        !statement.is_empty()
    });
    statement
}

/// Syncs the first month, which is a leaf of the source's.
fn a_leaf_is_read_by_its_name(clusters: &Clusters) {
    let run = clusters.in_background("'persons', '20170115', 1", "");
    let statement = reading(clusters);
    assert!(
        statement.contains("persons_1_prt_1") && !statement.starts_with("COPY (SELECT"),
        "{statement}"
    );
    run.join().expect("a sync");
}

/// So slow that somebody can look on.
const SLOWLY: &str = "cgpsync.max_rate = '50kB'";
const FASTER: &str = "ALTER SYSTEM SET cgpsync.max_rate = 0";

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_whole_leaf_is_read_by_its_name() {
    let clusters = local("leaf_here", SLOWLY, MONTHS);
    a_leaf_is_read_by_its_name(&clusters);
    same_here(&clusters, "persons", "born < '2017-02-01'");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn so_it_is_for_a_target_elsewhere() {
    let clusters = Clusters::with("leaf_there", SLOWLY);
    clusters.both(PERSONS);
    clusters.source.sql(&births(3000));
    clusters.attach("persons");
    a_leaf_is_read_by_its_name(&clusters);
    clusters.same_rows("persons", "born < '2017-02-01'");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_part_of_a_leaf_is_read_by_a_condition() {
    let weeks = "CREATE TABLE w1 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-01-08');
                 CREATE TABLE w2 PARTITION OF persons FOR VALUES FROM ('2017-01-08') TO ('2017-02-01');
                 CREATE TABLE quarter PARTITION OF persons FOR VALUES FROM ('2017-02-01') TO ('2017-05-01')";
    let clusters = local("parts", SLOWLY, weeks);
    let run = clusters.in_background("'persons', '20170107', 1", "");
    let statement = reading(&clusters);
    assert!(statement.starts_with("COPY (SELECT"), "{statement}");
    run.join().expect("a sync");
    clusters.between.sql(FASTER);
    clusters.between.sql("SELECT pg_reload_conf()");
    assert_eq!(
        clusters.copied("'persons', '20170430', 3, since => '20170101'").len(),
        3
    );
    same_here(&clusters, "persons", "born < '2017-05-01'");
}

/// COPY of a partition that has partitions gives no rows on 6, and says nothing.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_partition_with_partitions_below_is_read_with_all_of_them() {
    let clusters = Clusters::new("inner");
    clusters.source.sql(
        "CREATE TABLE deep (id int, d date, region text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) SUBPARTITION BY LIST (region)
         SUBPARTITION TEMPLATE (SUBPARTITION eu VALUES ('de', 'fr'), SUBPARTITION us VALUES ('us'), DEFAULT SUBPARTITION others)
         (START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month'));
         INSERT INTO deep SELECT g, date '2016-01-01' + g % 91, (ARRAY['de', 'us', 'jp', NULL])[1 + g % 4] FROM generate_series(1, 3000) g",
    );
    clusters.between.sql(
        "CREATE TABLE deep (id int, d date, region text) PARTITION BY RANGE (d);
         CREATE TABLE d1 PARTITION OF deep FOR VALUES FROM ('2016-01-01') TO ('2016-02-01');
         CREATE TABLE d2 PARTITION OF deep FOR VALUES FROM ('2016-02-01') TO ('2016-03-01') PARTITION BY LIST (region);
         CREATE TABLE d2_eu PARTITION OF d2 FOR VALUES IN ('de', 'fr'); CREATE TABLE d2_rest PARTITION OF d2 DEFAULT;
         CREATE TABLE d3 PARTITION OF deep FOR VALUES FROM ('2016-03-01') TO ('2016-04-01')",
    );
    // One of them is made on the way: that of the us.
    assert_eq!(clusters.copied("'deep', '20160331', 3").len(), 5);
    same_here(&clusters, "deep", "true");
    for (here, there) in [
        ("d1", "deep_1_prt_1"),
        ("d3", "deep_1_prt_3"),
        ("d2_eu", "deep_1_prt_2_2_prt_eu"),
    ] {
        let rows = clusters.between.text(&format!("SELECT count(*) FROM {here}"));
        assert_eq!(
            rows,
            clusters.source.text(&format!("SELECT count(*) FROM {there}")),
            "{here}"
        );
    }
    // A root without partitions here is read whole.
    clusters
        .between
        .sql("DROP TABLE deep; CREATE TABLE deep (id int, d date, region text)");
    clusters.copied("'deep', '20160331', 3, since => '20160101'");
    same_here(&clusters, "deep", "true");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn tables_of_every_storage_and_distribution_are_read() {
    let clusters = Clusters::new("read");
    for (name, kind) in [
        ("heap", "DISTRIBUTED BY (id)"),
        (
            "rows",
            "WITH (appendonly = true, compresstype = zlib) DISTRIBUTED BY (id)",
        ),
        (
            "columns",
            "WITH (appendonly = true, orientation = column, compresstype = zstd) DISTRIBUTED RANDOMLY",
        ),
        ("everywhere", "DISTRIBUTED REPLICATED"),
    ] {
        clusters.source.sql(&format!(
            "CREATE TABLE {name} (gone int, id int, v text) {}; ALTER TABLE {name} DROP COLUMN gone;
             INSERT INTO {name} SELECT g, CASE WHEN g % 7 > 0 THEN 'v' || g END FROM generate_series(1, 2000) g",
            kind
        ));
        clusters
            .between
            .sql(&format!("CREATE TABLE {name} (v text, id bigint)"));
        clusters.copied(&format!("'{name}', NULL, 2"));
        let rows = |side: &str| {
            format!("SELECT count(*) || ' ' || count(v) || ' ' || sum(id) || ' ' || sum(length(v)) FROM {side}")
        };
        assert_eq!(
            clusters.between.text(&rows(name)),
            clusters.source.text(&rows(name)),
            "{name}"
        );
    }
}

/// A leaf of more than a worker's share is read by segments.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_big_leaf_is_read_in_pieces() {
    let clusters = local("pieces", "max_parallel_workers = 8", MONTHS);
    clusters.source.sql(
        "INSERT INTO persons SELECT g, 'name', '2017-01-05', repeat('x', 200) FROM generate_series(1, 400000) g; ANALYZE persons",
    );
    clusters.copied("'persons', '20170228', 3");
    same_here(&clusters, "persons", "born < '2017-03-01'");
}
