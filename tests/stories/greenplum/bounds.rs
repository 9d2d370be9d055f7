//! LIST with NULL and without names, RANGE with exclusive and inclusive ends, and keys of every type.

use crate::support::greenplum::Clusters;

/// Name, columns with partitions, rows, and the end to sync up to.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const LISTS: &[Kind] = &[
    (
        "unnamed",
        "(id int, k varchar(10)) DISTRIBUTED BY (id) PARTITION BY LIST (k) (VALUES ('de', 'it''s'), VALUES ('us', NULL), DEFAULT PARTITION other)",
        "SELECT g, (ARRAY['de', 'it''s', 'us', 'jp', NULL])[1 + g % 5] FROM generate_series(1, 1000) g",
        "NULL",
    ),
    (
        "numbers",
        "(id int, k int) DISTRIBUTED BY (id) PARTITION BY LIST (k) (PARTITION few VALUES (1, 2, -3), PARTITION none VALUES (NULL))",
        "SELECT g, (ARRAY[1, 2, -3, NULL])[1 + g % 4] FROM generate_series(1, 1000) g",
        "NULL",
    ),
    (
        "days",
        "(id int, k date) DISTRIBUTED BY (id) PARTITION BY LIST (k) (PARTITION one VALUES ('2016-01-01', '2016-01-03'), DEFAULT PARTITION rest)",
        "SELECT g, date '2016-01-01' + g % 5 FROM generate_series(1, 1000) g",
        "NULL",
    ),
];

const RANGES: &[Kind] = &[
    (
        "odd_ends",
        "(id int, k date) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           PARTITION low END (date '2016-01-01') INCLUSIVE,
           PARTITION mid START (date '2016-01-01') EXCLUSIVE END (date '2016-12-31') INCLUSIVE,
           PARTITION high START (date '2016-12-31') EXCLUSIVE)",
        "SELECT g, date '2015-06-01' + g FROM generate_series(1, 1000) g",
        "'20190101'",
    ),
    (
        "gaps",
        "(id int, k int) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           PARTITION a START (0) EXCLUSIVE END (10) INCLUSIVE, PARTITION b START (20) END (30), PARTITION c START (30) END (31))",
        "SELECT g, g % 10 + 1 + 20 * (g % 2) FROM generate_series(1, 1000) g",
        "'1000'",
    ),
    (
        "integers",
        "(id int, k int, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (START (-100) END (1000) EVERY (100), DEFAULT PARTITION other)",
        "SELECT g, g % 1200 - 150, 'v' || g FROM generate_series(1, 3000) g",
        "'1000'",
    ),
    (
        "bigints",
        "(id int, k bigint) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (START (-10000000000) END (10000000000) EVERY (10000000000))",
        "SELECT g, (g - 500)::bigint * 20000000 FROM generate_series(1, 900) g",
        "'10000000000'",
    ),
    (
        "moments",
        "(id int, k timestamp) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           START (timestamp '2016-01-01 00:00:00') INCLUSIVE END (timestamp '2016-01-04 00:00:00') EXCLUSIVE EVERY (INTERVAL '1 day'))",
        "SELECT g, timestamp '2016-01-01' + g * interval '100.5 seconds' FROM generate_series(0, 2500) g",
        "'20160104'",
    ),
    (
        "instants",
        "(id int, k timestamptz) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           START (timestamptz '2016-01-01 00:00:00+00') END (timestamptz '2016-01-03 00:00:00+00') EVERY (INTERVAL '1 day'))",
        "SELECT g, timestamptz '2016-01-01 00:00:00+00' + g * interval '1 minute' FROM generate_series(0, 2879) g",
        "'2016-01-03 00:00:00+00'",
    ),
    (
        "digits",
        "(id int, k varchar(64)) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           PARTITION p201601 START ('20160101'::varchar(64)) END ('20160201'::varchar(64)),
           PARTITION p201602 START ('20160201'::varchar(64)) END ('20160301'::varchar(64)), DEFAULT PARTITION other)",
        "SELECT g, to_char(date '2016-01-01' + g % 120, 'YYYYMMDD') FROM generate_series(1, 2000) g",
        "'20160430'",
    ),
    (
        "padded",
        "(id int, k char(8)) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (
           PARTITION a START ('20160101') END ('20160201'), PARTITION b START ('20160201') END ('20160301'))",
        "SELECT g, to_char(date '2016-01-01' + g % 60, 'YYYYMMDD') FROM generate_series(1, 600) g",
        "'20160229'",
    ),
    (
        "words",
        "(id int, k text) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (PARTITION a START ('a''b') END ('m'), PARTITION b START ('m') END ('z'))",
        "SELECT g, chr(98 + g % 20) FROM generate_series(1, 600) g",
        "'y'",
    ),
    (
        "fractions",
        "(id int, k numeric(12,2)) DISTRIBUTED BY (id) PARTITION BY RANGE (k) (START (0) END (10) EVERY (2.5))",
        "SELECT g, (g % 1000) / 100.0 FROM generate_series(1, 600) g",
        "'9.99'",
    ),
];

/// All leaves of each are exchanged, and hold what the source's hold.
fn are_synced(story: &str, kinds: &[Kind]) {
    let clusters = Clusters::new(story);
    for (name, table, rows, end) in kinds {
        clusters.both(&format!("CREATE TABLE {name} {table}"));
        clusters.source.sql(&format!("INSERT INTO {name} {rows}"));
        clusters.attach(name);
        let before = clusters.target.portrait();
        let (_, notices) = clusters.told(&format!("'{name}', {end}, 2"));
        clusters.same_rows(name, "true");
        assert_ne!(clusters.target.content(name, "true"), "0 0");
        clusters.all_exchanged_beside_a_default();
        assert_eq!(clusters.target.portrait(), before, "{name} {notices}");
        assert!(!notices.contains("may change"), "{name} {notices}");
    }
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn lists() {
    are_synced("lists", LISTS);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn ranges() {
    are_synced("ranges", RANGES);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_point_within_the_keys_takes_what_begins_before_it() {
    let clusters = Clusters::new("within");
    for (name, end, taken) in [
        ("integers", "'150'", 4),
        ("digits", "'201601'", 2),
        ("moments", "'20160102'", 2),
        ("odd_ends", "'20160101'", 1),
    ] {
        let (_, table, rows, _) = RANGES.iter().find(|kind| kind.0 == name).expect("a kind");
        clusters.both(&format!("CREATE TABLE {name} {table}"));
        clusters.source.sql(&format!("INSERT INTO {name} {rows}"));
        clusters.attach(name);
        let units = clusters.copied(&format!("'{name}', {end}, 2"));
        assert_eq!(units.len(), taken, "{name} {units:?}");
    }
    let taken = clusters.target.content("integers", "k >= -100 AND k < 200");
    assert_eq!(taken, clusters.source.content("integers", "k >= -100 AND k < 200"));
    assert_eq!(clusters.target.content("integers", "k >= 200 AND k < 1000"), "0 0");
}
