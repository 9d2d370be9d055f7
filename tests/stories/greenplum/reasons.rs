//! What cannot be exchanged is truncated, with the reason; and who may do neither is told.

use crate::support::greenplum::{Clusters, words};

/// What is done to a leaf, a word of the reason, and what undoes it.
const REASONS: &[(&str, &str, &str)] = &[
    (
        "CREATE VIEW january AS SELECT id FROM persons_1_prt_1",
        "view",
        "DROP VIEW january",
    ),
    (
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER noted BEFORE INSERT ON persons_1_prt_1 FOR EACH ROW EXECUTE PROCEDURE noted()",
        "trigger",
        "DROP TRIGGER noted ON persons_1_prt_1; DROP FUNCTION noted()",
    ),
    (
        "CREATE FUNCTION of_leaf(persons_1_prt_1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "of_leaf",
        "DROP FUNCTION of_leaf(persons_1_prt_1)",
    ),
    (
        "CREATE RULE aside AS ON DELETE TO persons_1_prt_1 DO ALSO NOTIFY aside",
        "aside",
        "DROP RULE aside ON persons_1_prt_1",
    ),
];

const JANUARY: &str = "'persons', '20170115', 1, since => '20170101'";

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn what_hangs_on_a_leaf_is_a_reason_to_truncate() {
    let clusters = Clusters::persons("reasons", 1000);
    for (round, (change, reason, undo)) in REASONS.iter().enumerate() {
        clusters.target.sql(change);
        clusters
            .source
            .sql(&format!("UPDATE persons SET note = 'round {round}'"));
        let before = clusters.target.portrait();
        let error = clusters.refused(&format!("{JANUARY}, replace => 'exchange'"));
        assert_eq!(error.code().code(), "0A000", "{change}: {error:?}");
        assert!(
            words(&error).contains("cannot be exchanged") && words(&error).contains(reason),
            "{change}: {error:?}"
        );
        let (_, notices) = clusters.told(JANUARY);
        assert!(
            notices.contains("truncated") && notices.contains(reason),
            "{change}: {notices}"
        );
        assert_eq!(clusters.ways(), "truncate");
        let told = clusters
            .between
            .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1");
        assert!(told.contains(reason), "{told}");
        clusters.same_rows("persons", "born < '2017-02-01'");
        assert_eq!(clusters.target.portrait(), before);
        clusters.target.sql(undo);
        clusters.told(JANUARY);
        assert_eq!(clusters.ways(), "exchange", "{undo}");
    }
}

/// What reads the root has the root's OID, which stays.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn what_hangs_on_the_root_is_none() {
    let clusters = Clusters::persons("on_root", 1000);
    clusters
        .target
        .sql("CREATE VIEW all_of_them AS SELECT * FROM persons; PREPARE q AS SELECT 1");
    let (_, notices) = clusters.told("'persons', '20170630', 2");
    clusters.all_exchanged();
    assert_eq!(
        clusters.target.content("all_of_them", "true"),
        clusters.source.content("persons", "true"),
        "{notices}"
    );
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_role_that_is_no_owner_truncates_and_one_without_rights_is_told() {
    let clusters = Clusters::persons("rights", 1000);
    let loader = clusters.target.create_role("loader");
    clusters.map("dr", &loader);
    let schema = &clusters.schema;
    clusters
        .target
        .sql(&format!("GRANT USAGE ON SCHEMA {schema} TO {loader}"));
    let error = clusters.refused(JANUARY);
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(
        words(&error).contains("server \"dr\"") && words(&error).contains("GRANT INSERT, TRUNCATE ON"),
        "{error:?}"
    );
    clusters
        .target
        .sql(&format!("GRANT INSERT, TRUNCATE ON persons TO {loader}"));
    let (_, notices) = clusters.told(JANUARY);
    assert!(notices.contains("truncated") && notices.contains(&loader), "{notices}");
    assert_eq!(clusters.ways(), "truncate");
    clusters.same_rows("persons", "born < '2017-02-01'");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn an_owner_that_is_no_superuser_exchanges_and_creates() {
    let clusters = Clusters::persons("owner", 1000);
    let loader = clusters.target.create_role("loader");
    clusters.map("dr", &loader);
    let schema = &clusters.schema;
    clusters.target.sql(&format!(
        "GRANT USAGE, CREATE ON SCHEMA {schema} TO {loader}; ALTER TABLE persons DROP PARTITION FOR (date '2017-06-05');
         CREATE INDEX persons_name ON persons (name); ALTER TABLE persons OWNER TO {loader}"
    ));
    let reader = clusters.source.create_role("reader");
    clusters.map("prod", &reader);
    clusters.source.sql(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {reader}; GRANT SELECT ON persons TO {reader}"
    ));
    let (units, notices) = clusters.told("'persons', '20170630', 3");
    assert_eq!(units.len(), 6, "{units:?} {notices}");
    clusters.all_exchanged();
    clusters.same_rows("persons", "true");
    let owners = "SELECT string_agg(DISTINCT tableowner::text, ' ') FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(clusters.target.text(owners), loader);
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_source_that_may_not_be_read_is_told() {
    let clusters = Clusters::persons("unread", 10);
    let reader = clusters.source.create_role("reader");
    clusters.map("prod", &reader);
    let schema = &clusters.schema;
    clusters
        .source
        .sql(&format!("GRANT USAGE ON SCHEMA {schema} TO {reader}"));
    let error = clusters.refused(JANUARY);
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert_eq!(clusters.target.content("persons", "true"), "0 0");
}
