//! Names that need quotes, wherever there is a name.

use crate::support::greenplum::Clusters;

const TABLE: &str =
    "CREATE TABLE \"Order \"\"Lines\" (\"Id\" int, \"When it'; was\" date NOT NULL, \"select\" text, \"Ünï\" text)
    DISTRIBUTED BY (\"Id\", \"select\") PARTITION BY RANGE (\"When it'; was\") SUBPARTITION BY LIST (\"select\")
    (PARTITION \"Jan 1\"\"x\" START (date '2016-01-01') END (date '2016-02-01')
       (SUBPARTITION \"A b\" VALUES ('a''b', 'x\"y'), DEFAULT SUBPARTITION \"The Rest\"),
     PARTITION \"Feb\" START (date '2016-02-01') END (date '2016-03-01')
       (SUBPARTITION \"A b\" VALUES ('a''b', 'x\"y'), DEFAULT SUBPARTITION \"The Rest\"),
     DEFAULT PARTITION \"Other'; \"
       (SUBPARTITION \"A b\" VALUES ('a''b', 'x\"y'), DEFAULT SUBPARTITION \"The Rest\"))";

const ROWS: &str = "INSERT INTO \"Order \"\"Lines\" SELECT g, date '2016-01-01' + g % 70, (ARRAY['a''b', 'x\"y', 'b', E'\\\\'])[1 + g % 4], 'ü' || g
                    FROM generate_series(1, 2000) g";

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn names_that_need_quotes_are_quoted() {
    let clusters = Clusters::new("Odd \"Schema'");
    clusters.both(TABLE);
    clusters.target.sql(
        "CREATE INDEX \"An 'Index\" ON \"Order \"\"Lines\" (\"Ünï\"); COMMENT ON TABLE \"Order \"\"Lines_1_prt_Feb_2_prt_A b\" IS 'a \"comment''s\" \\';
         COMMENT ON COLUMN \"Order \"\"Lines_1_prt_Feb_2_prt_A b\".\"Ünï\" IS 'ü'; ALTER TABLE \"Order \"\"Lines_1_prt_Feb_2_prt_A b\" ALTER \"Ünï\" SET STATISTICS 7",
    );
    clusters.source.sql(ROWS);
    clusters.attach("\"Order \"\"Lines\"");
    let before = clusters.target.portrait();
    for way in ["auto", "truncate"] {
        let arguments = format!("'\"Order \"\"Lines\"', '20160331', 2, since => '20160101', replace => '{way}'");
        let (units, notices) = clusters.told(&arguments);
        assert_eq!(units.len(), 6, "{units:?} {notices}");
        clusters.same_rows("\"Order \"\"Lines\"", "true");
        assert_eq!(clusters.target.portrait(), before);
        if way == "auto" {
            clusters.all_exchanged_beside_a_default();
        }
    }
    let verified = "SELECT bool_and(matches) || ' ' || count(*) FROM cgpsync_verify('\"Order \"\"Lines\"', method => 'checksum', source => 'prod')";
    assert_eq!(clusters.between.text(verified), "true 6");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_partition_with_such_a_name_is_created() {
    let clusters = Clusters::new("Odd \"Names'");
    let table = |more: &str| {
        format!(
            "CREATE TABLE \"T 1\" (id int, \"D\" date) DISTRIBUTED BY (id) PARTITION BY RANGE (\"D\")
             (PARTITION \"Jan 'x\" START (date '2016-01-01') END (date '2016-02-01'){more})"
        )
    };
    clusters.source.sql(&table(
        ", PARTITION \"Feb \"\"y\" START (date '2016-02-01') END (date '2016-03-01')",
    ));
    clusters.target.sql(&table(""));
    clusters
        .source
        .sql("INSERT INTO \"T 1\" SELECT g, date '2016-01-01' + g % 60 FROM generate_series(1, 600) g");
    clusters.attach("\"T 1\"");
    clusters.copied("'\"T 1\"', '20160229', 2");
    clusters.same_rows("\"T 1\"", "true");
    clusters.same_portraits();
}
