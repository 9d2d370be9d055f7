//! Partitions that only the source has, and partitions that it has no more.

use crate::support::greenplum::{Clusters, PERSONS, births, words};

/// Months of the target, a clause behind them, and its storage.
fn target(clusters: &Clusters, months: &str, storage: &str) {
    clusters.target.sql(&format!(
        "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) {storage} DISTRIBUTED BY (id) PARTITION BY RANGE (born) ({months})"
    ));
    clusters.source.sql(PERSONS);
    clusters.source.sql(&births(3000));
    clusters.attach("persons");
}

const TWO_MONTHS: &str = "START (date '2017-01-01') END (date '2017-03-01') EVERY (INTERVAL '1 month')";

/// Storage, encodings, distribution, owner and grants of the leaf that has the rows of a day.
fn kind_of_leaf(clusters: &Clusters, day: &str) -> String {
    let storage = match clusters.target.version {
        6 => "c.relstorage::text",
        _ => "(SELECT amname::text FROM pg_am m WHERE m.oid = c.relam)",
    };
    clusters.target.text(&format!(
        "SELECT concat_ws(' ', {storage}, c.reloptions, pg_get_table_distributedby(c.oid), pg_get_userbyid(c.relowner), c.relacl,
                          (SELECT string_agg(e.attoptions::text, ' ' ORDER BY attnum) FROM pg_attribute_encoding e WHERE attrelid = c.oid),
                          (SELECT string_agg(substring(pg_get_indexdef(indexrelid), 'USING .*'), ' ' ORDER BY 1) FROM pg_index WHERE indrelid = c.oid))
         FROM pg_class c WHERE c.oid = (SELECT DISTINCT tableoid FROM persons WHERE born = '{day}')"
    ))
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn they_are_added_with_the_storage_of_their_neighbours() {
    for (story, storage) in [
        ("added_heap", ""),
        (
            "added_rows",
            "WITH (appendonly = true, compresstype = zlib, compresslevel = 5)",
        ),
        (
            "added_columns",
            "WITH (appendonly = true, orientation = column, compresstype = zstd, compresslevel = 3)",
        ),
    ] {
        let clusters = Clusters::new(story);
        target(&clusters, TWO_MONTHS, storage);
        let reader = clusters.target.create_role("reader");
        clusters.target.sql(&format!(
            "CREATE INDEX ON persons (name); GRANT SELECT ON persons TO {reader}"
        ));
        let (units, notices) = clusters.told("'persons', '20170415', 2");
        assert_eq!(units.len(), 4, "{units:?} {notices}");
        assert_eq!(notices.matches("created partition").count(), 2, "{notices}");
        clusters.all_exchanged();
        clusters.same_rows("persons", "born < '2017-05-01'");
        assert_eq!(
            kind_of_leaf(&clusters, "2017-04-05"),
            kind_of_leaf(&clusters, "2017-01-05"),
            "{story}"
        );
        assert_eq!(clusters.target.leaves().split(' ').count(), 4);
        // From there on as any other.
        assert_eq!(clusters.copied("'persons', '20170515', 2").len(), 2);
        clusters.same_rows("persons", "born < '2017-06-01'");
        clusters.nothing_is_left();
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_default_partition_is_split_for_them() {
    for (story, storage) in [
        ("split_heap", ""),
        (
            "split_columns",
            "WITH (appendonly = true, orientation = column, compresstype = zlib)",
        ),
    ] {
        let clusters = Clusters::new(story);
        target(&clusters, &format!("{TWO_MONTHS}, DEFAULT PARTITION rest"), storage);
        clusters.target.sql(
            "INSERT INTO persons VALUES (1, 'old', '2017-03-05', 'of March'), (2, 'old', '2017-06-05', 'of June'), (3, 'kept', '2019-01-01', 'of later')",
        );
        let (_, notices) = clusters.told("'persons', '20170315', 2");
        assert!(notices.contains("created partition"), "{notices}");
        clusters.same_rows("persons", "born < '2017-04-01'");
        // The source has no default partition: what is in that of the target is not the source's to say before its range is due.
        let rest = if clusters.target.version == 6 {
            "persons_1_prt_rest"
        } else {
            "ONLY persons_1_prt_rest"
        };
        let stray = format!("SELECT count(*) FROM {rest} WHERE born < '2017-04-01'");
        assert_eq!(clusters.target.text(&stray), "0", "{notices}");
        assert_eq!(
            kind_of_leaf(&clusters, "2017-03-05"),
            kind_of_leaf(&clusters, "2017-01-05"),
            "{story}"
        );
        clusters.told("'persons', '20170630', 2");
        clusters.same_rows("persons", "born < '2017-07-01'");
        assert_eq!(clusters.target.leaves().split(' ').count(), 7);
        clusters.nothing_is_left();
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn they_bring_the_partitions_below_them() {
    let clusters = Clusters::new("below");
    let table = |months: &str, last: &str| {
        format!(
            "CREATE TABLE deep (id int, d date, region text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) SUBPARTITION BY LIST (region)
             SUBPARTITION TEMPLATE (SUBPARTITION eu VALUES ('de', 'fr'), SUBPARTITION us VALUES ('us'), DEFAULT SUBPARTITION others)
             (START (date '2016-01-01') END (date '{months}') EVERY (INTERVAL '1 month'){last})"
        )
    };
    clusters.source.sql(&table("2016-05-01", ""));
    clusters.source.sql(
        "INSERT INTO deep SELECT g, date '2016-01-01' + g % 120, (ARRAY['de', 'us', 'jp', NULL])[1 + g % 4] FROM generate_series(1, 2000) g",
    );
    clusters.target.sql(&table("2016-03-01", ""));
    clusters.attach("deep");
    let (units, notices) = clusters.told("'deep', '20160430', 2");
    assert_eq!(units.len(), 12, "{units:?} {notices}");
    clusters.same_rows("deep", "true");
    assert_eq!(clusters.target.leaves().split(' ').count(), 12);
    // A default partition that has partitions itself cannot be split on 6, so its rows stay there where that is allowed.
    clusters.target.sql(&format!(
        "DROP TABLE deep; {}",
        table("2016-03-01", ", DEFAULT PARTITION rest")
    ));
    clusters
        .target
        .sql("INSERT INTO deep VALUES (0, '2016-03-03', 'de'), (0, '2020-01-01', 'kept')");
    if clusters.target.version == 6 {
        let error = clusters.refused("'deep', '20160430', 2, since => '20160101'");
        assert_eq!(error.code().code(), "0A000", "{error:?}");
        assert!(words(&error).contains("create_missing => false"), "{error:?}");
        clusters.told("'deep', '20160430', 2, since => '20160101', create_missing => false");
        clusters.same_rows("deep", "d < '2016-05-01'");
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_list_gets_a_partition_for_values_that_are_new() {
    let clusters = Clusters::new("new_values");
    let table = "CREATE TABLE places (id int, region text) DISTRIBUTED BY (id) PARTITION BY LIST (region) (PARTITION eu VALUES ('de', 'fr'), PARTITION us VALUES ('us'))";
    clusters.both(table);
    clusters
        .source
        .sql("ALTER TABLE places ADD PARTITION asia VALUES ('jp', 'cn')");
    clusters
        .source
        .sql("INSERT INTO places SELECT g, (ARRAY['de', 'us', 'jp', 'cn'])[1 + g % 4] FROM generate_series(1, 1000) g");
    clusters.attach("places");
    clusters.told("'places', NULL, 2");
    clusters.same_rows("places", "true");
    assert_eq!(
        clusters.target.leaves(),
        "places_1_prt_asia places_1_prt_eu places_1_prt_us"
    );
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn without_create_missing_they_are_listed() {
    let clusters = Clusters::new("listed");
    target(&clusters, TWO_MONTHS, "");
    let before = clusters.target.portrait();
    let (units, notices) = clusters.told("'persons', '20170415', 2, create_missing => false");
    assert_eq!(units.len(), 2, "{units:?}");
    assert!(
        notices.contains("partitions that only the source has")
            && notices.contains("persons_1_prt_3")
            && notices.contains("persons_1_prt_4"),
        "{notices}"
    );
    assert_eq!(clusters.target.portrait(), before);
    assert_eq!(clusters.remembered(), "");
    let planned =
        "SELECT string_agg(action, ' ' ORDER BY action) FROM cgpsync_plan('persons', '20170415', source => 'prod')";
    assert_eq!(clusters.between.text(planned), "copy copy create create");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn what_the_source_has_no_more_is_kept_emptied_or_dropped() {
    let clusters = Clusters::persons("vanished", 3000);
    clusters.copied("'persons', '20170630', 2");
    let february = "born >= '2017-02-01' AND born < '2017-03-01'";
    let had = clusters.target.content("persons", february);
    clusters
        .source
        .sql("ALTER TABLE persons DROP PARTITION FOR (date '2017-01-05'); ALTER TABLE persons DROP PARTITION FOR (date '2017-02-05')");
    let again = "'persons', '20170630', 2, since => '20170101'";
    let (units, notices) = clusters.told(&format!("{again}, vanished => 'keep'"));
    assert!(
        units.contains(&("persons_1_prt_2".to_owned(), "skipped".to_owned())) && notices.contains("persons_1_prt_2"),
        "{units:?} {notices}"
    );
    assert_eq!(clusters.target.content("persons", february), had);
    clusters.told(&format!("{again}, vanished => 'empty'"));
    clusters.same_rows("persons", "true");
    assert_eq!(clusters.target.leaves().split(' ').count(), 6);
    clusters
        .target
        .sql("INSERT INTO persons VALUES (1, 'late', '2017-02-05', '')");
    let (_, notices) = clusters.told(&format!("{again}, vanished => 'drop'"));
    assert!(notices.contains("dropped partition"), "{notices}");
    clusters.same_rows("persons", "true");
    assert!(!clusters.target.leaves().contains("persons_1_prt_2"), "{notices}");
}
