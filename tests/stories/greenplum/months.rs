//! A table by month: up to a point, on from there, and again from an earlier one.

use crate::support::greenplum::{Clusters, PERSONS, births};

const FEBRUARY: &str = "born >= '2017-02-01' AND born < '2017-03-01'";

/// All that a leaf can have of its own.
fn adorn(clusters: &Clusters) {
    let reader = clusters.target.create_role("reader");
    clusters.target.sql(&format!(
        "CREATE INDEX persons_id ON persons (id); CREATE INDEX persons_name ON persons USING bitmap (name);
         CREATE INDEX \"Own idx\" ON persons_1_prt_2 (lower(note) text_pattern_ops) WHERE id > 0;
         CREATE UNIQUE INDEX own_key ON persons_1_prt_2 (id DESC, born) WITH (fillfactor = 70);
         COMMENT ON INDEX own_key IS 'an index'; COMMENT ON TABLE persons_1_prt_2 IS 'it''s \\ February';
         COMMENT ON COLUMN persons_1_prt_2.note IS 'a note';
         ALTER TABLE persons_1_prt_2 ALTER note SET STATISTICS 250, ALTER note SET STORAGE EXTERNAL, ALTER name SET STATISTICS 0;
         ALTER TABLE persons ALTER note SET DEFAULT 'none'; ALTER TABLE persons ADD CONSTRAINT own_check CHECK (note <> 'no');
         COMMENT ON CONSTRAINT own_check ON persons_1_prt_2 IS 'a check';
         GRANT SELECT ON persons TO {reader}; GRANT INSERT ON persons_1_prt_2 TO {reader} WITH GRANT OPTION;
         GRANT UPDATE (name) ON persons_1_prt_2 TO {reader}; GRANT SELECT ON persons_1_prt_2 TO PUBLIC"
    ));
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn it_is_synced_up_to_a_point_and_on_from_there() {
    let clusters = Clusters::persons("months", 6000);
    let units = clusters.copied("'persons', '20170315', 2");
    assert_eq!(units, ["persons_1_prt_1", "persons_1_prt_2", "persons_1_prt_3"]);
    clusters.all_exchanged();
    assert_eq!(clusters.remembered(), "20170315");
    clusters.same_rows("persons", "born < '2017-04-01'");
    assert_eq!(clusters.target.content("persons", "born >= '2017-04-01'"), "0 0");
    // What is closed is left alone.
    clusters.source.sql("UPDATE persons SET note = 'changed ' || id");
    assert_eq!(
        clusters.copied("'persons', '20170415', 2"),
        ["persons_1_prt_3", "persons_1_prt_4"]
    );
    clusters.all_exchanged();
    clusters.same_rows("persons", "born >= '2017-03-01' AND born < '2017-05-01'");
    assert_eq!(
        clusters
            .target
            .content("persons", &format!("{FEBRUARY} AND note LIKE 'changed%'")),
        "0 0"
    );
    let later = "'persons', '20170228', 1, since => '20170201'";
    assert_eq!(clusters.copied(later), ["persons_1_prt_2"]);
    clusters.same_rows("persons", FEBRUARY);
    assert_eq!(clusters.remembered(), "20170415");
    clusters.well_distributed("persons", "id");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn an_exchange_keeps_all_that_a_leaf_is() {
    let clusters = Clusters::persons("adorned", 3000);
    adorn(&clusters);
    let before = clusters.target.portrait();
    for _ in 0..2 {
        let oid = clusters.target.oid("persons_1_prt_2");
        let (units, notices) = clusters.told("'persons', '20170630', 2, since => '20170101', replace => 'exchange'");
        assert_eq!(units.len(), 6, "{notices}");
        clusters.all_exchanged();
        assert_eq!(clusters.target.portrait(), before);
        assert_ne!(clusters.target.oid("persons_1_prt_2"), oid);
        clusters.same_rows("persons", "true");
    }
    // Indexes hold the new rows, and lead to them.
    let found = "SET enable_seqscan = off; SELECT count(*) FROM persons_1_prt_2 WHERE name = 'name 40'";
    let mut client = clusters.target.connect();
    let rows = client.simple_query(found).expect("rows");
    let counted = rows
        .iter()
        .any(|m| matches!(m, postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("1")));
    assert!(counted, "{rows:?}");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn truncate_brings_the_same_and_keeps_the_leaf() {
    let clusters = Clusters::persons("truncated", 3000);
    adorn(&clusters);
    clusters.target.sql(&births(100));
    let before = clusters.target.portrait();
    let oid = clusters.target.oid("persons_1_prt_2");
    clusters.copied("'persons', '20170630', 2, replace => 'truncate'");
    assert_eq!(clusters.ways(), "truncate");
    clusters.same_rows("persons", "true");
    clusters.well_distributed("persons", "id");
    assert_eq!(clusters.target.portrait(), before);
    assert_eq!(clusters.target.oid("persons_1_prt_2"), oid);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn statistics_are_there_for_leaves_and_root() {
    let clusters = Clusters::persons("analyzed", 6000);
    clusters.copied("'persons', '20170228', 2");
    let analyzed = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_stats
                    WHERE schemaname = current_schema() AND attname = 'id' AND tablename LIKE 'persons%'";
    assert_eq!(
        clusters.target.text(analyzed),
        "persons persons_1_prt_1 persons_1_prt_2"
    );
    let counted = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'persons_1_prt_1'::regclass";
    assert_eq!(
        clusters.target.text(counted),
        clusters.source.text("SELECT count(*) FROM persons_1_prt_1")
    );
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn columns_that_were_dropped_or_stand_elsewhere_are_no_matter() {
    let clusters = Clusters::new("dropped");
    clusters.source.sql(PERSONS);
    clusters.source.sql(&births(2000));
    clusters
        .source
        .sql("ALTER TABLE persons DROP COLUMN name; ALTER TABLE persons ADD COLUMN late int DEFAULT 7");
    clusters.target.sql(
        "CREATE TABLE persons (gone text, late int, note text, extra text DEFAULT 'of the table', born date NOT NULL, id bigint) DISTRIBUTED BY (id)
         PARTITION BY RANGE (born) (START (date '2017-01-01') END (date '2017-07-01') EVERY (INTERVAL '1 month'));
         ALTER TABLE persons DROP COLUMN gone; INSERT INTO persons (id, born) VALUES (1, '2017-03-03')",
    );
    clusters.attach("persons");
    let before = clusters.target.portrait();
    let columns = "columns => ARRAY['id', 'born', 'note', 'late']";
    let rows = "SELECT count(*) || ' ' || sum(id) || ' ' || count(DISTINCT note) || ' ' || sum(late) FROM persons";
    for way in ["exchange", "truncate"] {
        clusters.copied(&format!(
            "'persons', '20170630', 2, since => '20170101', {columns}, replace => '{way}'"
        ));
        assert_eq!(clusters.ways(), way);
        assert_eq!(clusters.target.text(rows), clusters.source.text(rows), "{way}");
        assert_eq!(
            clusters
                .target
                .text("SELECT string_agg(DISTINCT extra, ',') FROM persons"),
            "of the table"
        );
        assert_eq!(clusters.target.portrait(), before, "{way}");
    }
    clusters.well_distributed("persons", "id");
}
