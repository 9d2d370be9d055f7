//! Every distribution, with and without partitions, with and without keys.

use crate::support::greenplum::Clusters;

const MONTHS: &str =
    "PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))";

/// Asserts that a table with a view over it, its grants and comment, is the same table after both ways but for its rows.
fn is_replaced(clusters: &Clusters, table: &str, end: &str, units: usize) {
    let before = clusters.target.portrait();
    for way in ["exchange", "truncate", "auto"] {
        let (done, notices) = clusters.told(&format!("'{table}', {end}, 2, since => '19000101', replace => '{way}'"));
        assert_eq!(done.len(), units, "{notices}");
        assert_eq!(clusters.ways(), way.replace("auto", "exchange"), "{notices}");
        clusters.same_rows(table, "true");
        assert_eq!(clusters.target.portrait(), before, "{table} {way}");
        clusters.source.sql(&format!("DELETE FROM {table} WHERE id % 11 = 3"));
    }
    clusters.nothing_is_left();
}

fn with(story: &str, table: &str, rows: &str) -> Clusters {
    let clusters = Clusters::new(story);
    clusters.both(&format!("CREATE TABLE spread {table}"));
    clusters.source.sql(&format!("INSERT INTO spread {rows}"));
    clusters.target.sql(&format!(
        "INSERT INTO spread {}",
        rows.replace("(1, 2000)", "(90000, 90009)")
    ));
    clusters.attach("spread");
    clusters
}

const ROWS: &str = "SELECT g, date '2016-01-01' + g % 60, 'v' || g FROM generate_series(1, 2000) g";

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn randomly() {
    let clusters = with(
        "randomly",
        &format!("(id int, d date, v text) DISTRIBUTED RANDOMLY {MONTHS}"),
        ROWS,
    );
    is_replaced(&clusters, "spread", "'20160301'", 2);
    let segments = clusters.target.text("SELECT count(DISTINCT gp_segment_id) FROM spread");
    let all = "SELECT count(*) FROM gp_segment_configuration WHERE content >= 0 AND role = 'p'";
    assert_eq!(segments, clusters.target.text(all));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn by_several_columns() {
    let clusters = with(
        "several",
        &format!("(id int, d date, v text) DISTRIBUTED BY (v, id) {MONTHS}"),
        ROWS,
    );
    is_replaced(&clusters, "spread", "'20160301'", 2);
    clusters.well_distributed("spread", "id");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn by_the_key_of_the_partitions() {
    let clusters = with(
        "by_the_key",
        &format!("(id int, d date, v text) DISTRIBUTED BY (d) {MONTHS}"),
        ROWS,
    );
    is_replaced(&clusters, "spread", "'20160301'", 2);
    clusters.well_distributed("spread", "id");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn replicated() {
    let clusters = with(
        "replicated",
        "(id int PRIMARY KEY, d date, v text) DISTRIBUTED REPLICATED",
        ROWS,
    );
    is_replaced(&clusters, "spread", "NULL", 1);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_primary_key_over_partitions() {
    let table = format!("(id int, d date, v text, PRIMARY KEY (id, d)) DISTRIBUTED BY (id) {MONTHS}");
    let clusters = with("primary", &table, ROWS);
    is_replaced(&clusters, "spread", "'20160301'", 2);
    clusters.well_distributed("spread", "id");
    let twice = "INSERT INTO spread SELECT * FROM spread LIMIT 1";
    let error = clusters.target.connect().batch_execute(twice).expect_err("a key");
    assert_eq!(error.code().map(|code| code.code()), Some("23505"));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_unique_constraint_over_partitions() {
    let table = format!("(id int, d date, v text, CONSTRAINT once UNIQUE (id, d)) DISTRIBUTED BY (id) {MONTHS}");
    is_replaced(&with("unique", &table, ROWS), "spread", "'20160301'", 2);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_without_partitions() {
    let clusters = with("plain", "(id int, d date, v text) DISTRIBUTED BY (id)", ROWS);
    let reader = clusters.target.create_role("reader");
    clusters.target.sql(&format!(
        "CREATE INDEX spread_v ON spread (v); CREATE INDEX spread_d ON spread USING bitmap (d); COMMENT ON TABLE spread IS 'kept';
         COMMENT ON COLUMN spread.v IS 'kept'; ALTER TABLE spread ALTER v SET STATISTICS 99; GRANT SELECT ON spread TO {reader};
         GRANT UPDATE (v) ON spread TO {reader}"
    ));
    is_replaced(&clusters, "spread", "NULL", 1);
    clusters.well_distributed("spread", "id");
    clusters.target.sql("CREATE VIEW seen AS SELECT * FROM spread");
    let error = clusters.refused("'spread', NULL, replace => 'exchange'");
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    let (_, notices) = clusters.told("'spread', NULL");
    assert_eq!(clusters.ways(), "truncate");
    assert!(notices.contains("view") && notices.contains("seen"), "{notices}");
    clusters.same_rows("spread", "true");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_without_partitions_with_a_primary_key() {
    let table =
        "(id int, d date NOT NULL, v text DEFAULT 'none', CONSTRAINT \"Key\" PRIMARY KEY (id)) DISTRIBUTED BY (id)";
    let clusters = with("plain_key", table, ROWS);
    is_replaced(&clusters, "spread", "NULL", 1);
    clusters.well_distributed("spread", "id");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_table_without_partitions_in_columns() {
    let table = "(id int, d date, v text ENCODING (compresstype = zlib)) WITH (appendonly = true, orientation = column) DISTRIBUTED RANDOMLY";
    is_replaced(&with("plain_columns", table, ROWS), "spread", "NULL", 1);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_column_that_counts_by_itself() {
    let clusters = with("serial", "(id int, d date, v text, n serial) DISTRIBUTED BY (id)", ROWS);
    let columns = "columns => ARRAY['id', 'd', 'v']";
    // The sequence belongs to the column of that very table.
    for way in ["auto", "truncate"] {
        clusters.copied(&format!("'spread', NULL, {columns}, replace => '{way}'"));
        assert_eq!(clusters.ways(), "truncate");
        let counted = "SELECT count(*) || ' ' || count(DISTINCT n) FROM spread";
        assert_eq!(clusters.target.text(counted), "2000 2000", "{way}");
        // It goes on counting, and is still the column's.
        clusters.target.sql("INSERT INTO spread (id) VALUES (0)");
        let owned = "SELECT pg_get_serial_sequence('spread', 'n')";
        assert!(clusters.target.text(owned).ends_with("spread_n_seq"), "{way}");
    }
}
