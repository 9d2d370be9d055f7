//! Every kind of storage: a leaf is of the same afterwards.

use crate::support::greenplum::Clusters;

const MONTHS: &str = "(START (date '2016-01-01') END (date '2016-04-01') EVERY (INTERVAL '1 month'))";

/// A table with its storage, on both sides, 4,000 rows on the source.
fn with(story: &str, columns: &str, storage: &str, partitions: &str) -> Clusters {
    let clusters = Clusters::new(story);
    clusters.both(&format!(
        "CREATE TABLE kept (id int, d date NOT NULL, {columns}) {storage} DISTRIBUTED BY (id) PARTITION BY RANGE (d) {partitions}"
    ));
    clusters.source.sql(
        "INSERT INTO kept SELECT g, date '2016-01-01' + g % 91, repeat('abc', g % 20), g / 100.0 FROM generate_series(1, 4000) g",
    );
    clusters.attach("kept");
    clusters
}

/// Both ways leave it as it was, but for the rows.
fn is_kept(clusters: &Clusters) {
    let before = clusters.target.portrait();
    for way in ["auto", "truncate", "exchange"] {
        clusters
            .target
            .sql("INSERT INTO kept VALUES (-1, '2016-01-05', 'old', 1), (-2, '2016-03-05', 'old', 1)");
        let (units, notices) = clusters.told(&format!(
            "'kept', '20160331', 2, since => '20160101', replace => '{way}'"
        ));
        assert_eq!(units.len(), 3, "{notices}");
        assert_eq!(clusters.ways(), way.replace("auto", "exchange"), "{notices}");
        clusters.same_rows("kept", "true");
        assert_eq!(clusters.target.portrait(), before, "{way}");
    }
    clusters.well_distributed("kept", "id");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn append_optimized_rows() {
    let storage = "WITH (appendonly = true, compresstype = zlib, compresslevel = 5)";
    let clusters = with("ao_rows", "v text, n numeric(12,2)", storage, MONTHS);
    clusters
        .target
        .sql("CREATE INDEX kept_v ON kept (v); CREATE INDEX kept_n ON kept USING bitmap (n)");
    is_kept(&clusters);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn append_optimized_rows_with_zstd() {
    let storage =
        "WITH (appendonly = true, compresstype = zstd, compresslevel = 3, blocksize = 65536, checksum = false)";
    is_kept(&with("ao_zstd", "v text, n numeric(12,2)", storage, MONTHS));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn columns_with_an_encoding_of_their_own() {
    let storage = "WITH (appendonly = true, orientation = column, compresstype = zstd, compresslevel = 3)";
    let columns = "v text ENCODING (compresstype = zlib, compresslevel = 9, blocksize = 65536), n numeric(12,2) ENCODING (compresstype = none)";
    let clusters = with("ao_columns", columns, storage, MONTHS);
    clusters.target.sql("CREATE INDEX kept_v ON kept (v)");
    is_kept(&clusters);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn columns_with_run_lengths() {
    let storage = "WITH (appendonly = true, orientation = column, compresstype = rle_type, compresslevel = 2)";
    is_kept(&with("ao_lengths", "v text, n numeric(12,2)", storage, MONTHS));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn another_storage_in_each_partition() {
    let partitions = "(
      PARTITION cold START (date '2016-01-01') END (date '2016-02-01') WITH (appendonly = true, orientation = column, compresstype = zstd),
      PARTITION warm START (date '2016-02-01') END (date '2016-03-01') WITH (appendonly = true, orientation = row, compresstype = zlib),
      PARTITION hot START (date '2016-03-01') END (date '2016-04-01') WITH (fillfactor = 70))";
    is_kept(&with("mixed", "v text, n numeric(12,2)", "", partitions));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn storage_that_differs_between_the_clusters() {
    let clusters = Clusters::new("unlike");
    let table = |storage: &str| {
        format!(
            "CREATE TABLE kept (id int, d date NOT NULL, v text, n numeric(12,2)) {storage} DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS}"
        )
    };
    clusters
        .source
        .sql(&table("WITH (appendonly = true, orientation = column)"));
    clusters.target.sql(&table(""));
    clusters.source.sql(
        "INSERT INTO kept SELECT g, date '2016-01-01' + g % 91, repeat('abc', g % 20), g / 100.0 FROM generate_series(1, 4000) g",
    );
    clusters.attach("kept");
    is_kept(&clusters);
}
