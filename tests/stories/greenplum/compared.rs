//! cgpsync_verify between two Greenplum clusters.

use crate::support::greenplum::Clusters;

fn verify(clusters: &Clusters, arguments: &str) -> Vec<(String, Option<bool>)> {
    let sql = format!("SELECT partition::text, matches FROM cgpsync_verify({arguments}, source => 'prod') ORDER BY 1");
    let rows = clusters
        .between
        .connect()
        .query(&sql, &[])
        .unwrap_or_else(|error| panic!("{error:?}"));
    let bare = |name: String| name.rsplit('.').next().unwrap_or_default().to_owned();
    rows.iter().map(|row| (bare(row.get(0)), row.get(1))).collect()
}

/// The partitions that do not match.
fn differ(clusters: &Clusters, arguments: &str) -> Vec<String> {
    let all = verify(clusters, arguments);
    assert!(all.iter().all(|(_, matches)| matches.is_some()), "{all:?}");
    let differ = all.into_iter().filter(|(_, matches)| *matches == Some(false));
    differ.map(|(partition, _)| partition).collect()
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn what_differs_is_found_and_only_that() {
    let clusters = Clusters::persons("compared", 3000);
    clusters.copied("'persons', '20170430', 2");
    assert_eq!(verify(&clusters, "'persons', method => 'checksum'").len(), 4);
    assert_eq!(differ(&clusters, "'persons', method => 'checksum'"), [""; 0]);
    assert_eq!(differ(&clusters, "'persons'"), [""; 0]);
    clusters
        .target
        .sql("UPDATE persons SET note = 'another' WHERE id = (SELECT min(id) FROM persons WHERE born = '2017-02-03')");
    assert_eq!(
        differ(&clusters, "'persons', method => 'checksum'"),
        ["persons_1_prt_2"]
    );
    assert_eq!(differ(&clusters, "'persons'"), [""; 0]);
    clusters
        .target
        .sql("INSERT INTO persons VALUES (0, 'more', '2017-03-03')");
    assert_eq!(differ(&clusters, "'persons'"), ["persons_1_prt_3"]);
    clusters.copied("'persons', '20170331', 2, since => '20170201'");
    assert_eq!(differ(&clusters, "'persons', method => 'checksum'"), [""; 0]);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn values_of_every_kind_are_the_same_and_compare_so() {
    let clusters = Clusters::new("values");
    clusters.both(
        "CREATE TABLE kinds (id int, d date NOT NULL, b bool, s smallint, l bigint, r real, f float8, n numeric, m numeric(20,5), c char(5), v varchar(20), t text,
           bytes bytea, ts timestamp, tz timestamptz, tm time, iv interval, i inet, a int[], ta text[], bits bit(8), vb varbit, u uuid, j json)
         DISTRIBUTED BY (id) PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
    );
    clusters.source.sql(
        "INSERT INTO kinds SELECT g, date '2016-01-01' + g % 60, g % 2 = 0, g, g * 10000000000, g / 3.0::real, g / 7.0::float8, g / 7.0, g / 7.0, 'c' || g % 10, 'v' || g,
           E'text\\t\\n\\\\ ü ' || g, decode(md5(g::text), 'hex'), timestamp '2016-01-01' + g * interval '1.001 s', timestamptz '2016-01-01 00:00+00' + g * interval '1 h',
           time '00:00' + g * interval '1 min', g * interval '1 day 3 h', ('10.0.0.' || g % 250)::inet, ARRAY[g, NULL, 2], ARRAY['a''b', NULL, '\"', ''], (g % 256)::bit(8),
           B'101', md5(g::text)::uuid, '{\"a\": 1}' FROM generate_series(1, 500) g;
         INSERT INTO kinds (id, d, f, r, n, ts, t) VALUES (0, '2016-01-01', 'NaN', '-Infinity', 'NaN', 'infinity', '')",
    );
    clusters.attach("kinds");
    let (units, notices) = clusters.told("'kinds', '20160229', 2, strict => true");
    assert_eq!(units.len(), 2, "{notices}");
    clusters.same_rows("kinds", "true");
    assert_eq!(differ(&clusters, "'kinds', method => 'checksum'"), [""; 0]);
    let format = "SELECT string_agg(DISTINCT format, ' ') FROM cgpsync_plan('kinds', '20160229', since => '20160101', source => 'prod')";
    assert_eq!(clusters.between.text(format), "binary");
}
