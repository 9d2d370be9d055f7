//! Partitions of partitions, made by templates, with default partitions on each level.

use crate::support::greenplum::Clusters;

/// A table, rows for it, the point to sync up to, and the number of its leaves.
struct Tree {
    name: &'static str,
    table: &'static str,
    rows: &'static str,
    end: &'static str,
    leaves: usize,
}

const BY_LIST: Tree = Tree {
    name: "range_list",
    table: "CREATE TABLE range_list (id int, d date, region text, v text) DISTRIBUTED BY (id)
            PARTITION BY RANGE (d) SUBPARTITION BY LIST (region)
            SUBPARTITION TEMPLATE (SUBPARTITION eu VALUES ('de', 'fr'), SUBPARTITION us VALUES ('us'), DEFAULT SUBPARTITION other_regions)
            (START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month'), DEFAULT PARTITION outlying)",
    rows: "INSERT INTO range_list SELECT g, date '2016-01-01' + g % 100, (ARRAY['de', 'fr', 'us', 'jp', NULL])[1 + g % 5], 'v' || g
           FROM generate_series(1, 5000) g; INSERT INTO range_list VALUES (0, NULL, 'de', 'without a day')",
    end: "20161231",
    leaves: 12,
};

const BY_RANGE: Tree = Tree {
    name: "range_range",
    table: "CREATE TABLE range_range (id int, d date, k int) DISTRIBUTED BY (id)
            PARTITION BY RANGE (d) SUBPARTITION BY RANGE (k)
            SUBPARTITION TEMPLATE (START (0) END (20) EVERY (10), DEFAULT SUBPARTITION kx)
            (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
    rows: "INSERT INTO range_range SELECT g, date '2016-01-01' + g % 60, g % 30 FROM generate_series(1, 3000) g;
           INSERT INTO range_range VALUES (0, '2016-02-02', NULL)",
    end: "20160229",
    leaves: 6,
};

const LIST_FIRST: Tree = Tree {
    name: "list_range",
    table: "CREATE TABLE list_range (id int, region text, d date) WITH (appendonly = true, orientation = column) DISTRIBUTED BY (id)
            PARTITION BY LIST (region) SUBPARTITION BY RANGE (d)
            (PARTITION eu VALUES ('de', 'fr') (SUBPARTITION early END (date '2016-01-01'), SUBPARTITION late START (date '2016-01-01')),
             PARTITION us VALUES ('us') (SUBPARTITION all_of_it START (date '2015-01-01') END (date '2017-01-01')))",
    rows: "INSERT INTO list_range SELECT g, (ARRAY['de', 'fr', 'us'])[1 + g % 3], date '2015-07-01' + g % 366 FROM generate_series(1, 3000) g",
    end: "20161231",
    leaves: 3,
};

const THREE: Tree = Tree {
    name: "three",
    table: "CREATE TABLE three (id int, d date, region text, k int) DISTRIBUTED BY (id)
            PARTITION BY RANGE (d) SUBPARTITION BY LIST (region) SUBPARTITION TEMPLATE (SUBPARTITION eu VALUES ('de'), DEFAULT SUBPARTITION rest)
            SUBPARTITION BY RANGE (k) SUBPARTITION TEMPLATE (START (0) END (20) EVERY (10), DEFAULT SUBPARTITION kx)
            (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
    rows: "INSERT INTO three SELECT g, date '2016-01-01' + g % 60, (ARRAY['de', 'fr', NULL])[1 + g % 3], g % 30 FROM generate_series(1, 3000) g",
    end: "20160229",
    leaves: 12,
};

/// Each leaf is exchanged, those of defaults included; and truncated as well.
fn is_synced(tree: &Tree) {
    let clusters = Clusters::new(tree.name);
    clusters.both(tree.table);
    clusters.source.sql(tree.rows);
    clusters.attach(tree.name);
    let before = clusters.target.portrait();
    for round in 0..2 {
        let all = format!("'{}', '{}', 2, since => '19000101'", tree.name, tree.end);
        let (units, notices) = clusters.told(&all);
        assert_eq!(units.len(), tree.leaves, "{round}: {units:?} {notices}");
        clusters.all_exchanged_beside_a_default();
        clusters.same_rows(tree.name, "true");
        assert_eq!(clusters.target.portrait(), before);
        clusters
            .source
            .sql(&format!("DELETE FROM {} WHERE id % 7 = 0", tree.name));
    }
    let again = format!(
        "'{}', '{}', 2, since => '19000101', replace => 'truncate'",
        tree.name, tree.end
    );
    assert_eq!(clusters.copied(&again).len(), tree.leaves);
    clusters.same_rows(tree.name, "true");
    assert_eq!(clusters.target.portrait(), before);
    clusters.well_distributed(tree.name, "id");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn lists_below_ranges() {
    is_synced(&BY_LIST);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn ranges_below_ranges() {
    is_synced(&BY_RANGE);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn ranges_below_lists() {
    is_synced(&LIST_FIRST);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn three_levels() {
    is_synced(&THREE);
}

/// Where the source has one level and the target two, or the other way round, rows find their leaves by conditions.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn levels_that_the_other_side_has_not() {
    let months = "START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month')";
    let flat = format!(
        "CREATE TABLE range_list (id int, d date, region text, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) ({months}, DEFAULT PARTITION outlying)"
    );
    for (number, (source, target)) in [(BY_LIST.table, flat.as_str()), (&flat, BY_LIST.table)]
        .into_iter()
        .enumerate()
    {
        let clusters = Clusters::new(&format!("unlevel_{number}"));
        clusters.source.sql(source);
        clusters.source.sql(BY_LIST.rows);
        clusters.target.sql(target);
        clusters.attach("range_list");
        clusters.told("'range_list', '20161231', 2");
        clusters.same_rows("range_list", "true");
    }
}
