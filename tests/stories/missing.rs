//! Partitions that only the source has: created on the way, or listed.

use crate::support::Pair;

/// Monthly partitions of 2017 on the source with rows in each; the target has the table without any.
fn only_the_source_has_partitions() -> Pair {
    let pair = Pair::new();
    pair.persons(10);
    pair.target.sql(
        "DROP TABLE persons;
         CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born);
         CREATE INDEX ON persons (id)",
    );
    pair
}

fn partitions(pair: &Pair) -> String {
    pair.target
        .text("SELECT COALESCE(string_agg(relid::regclass::text, ' ' ORDER BY 1), '') FROM (SELECT relid FROM pg_partition_tree('persons') WHERE isleaf AND level > 0 ORDER BY relid::regclass::text) p(relid)")
}

fn fails(pair: &Pair, arguments: &str) -> (String, String, String) {
    let error = pair.sync(arguments).expect_err("the call fails");
    (
        error.code().code().to_owned(),
        error.message().to_owned(),
        error.hint().unwrap_or("").to_owned(),
    )
}

#[test]
fn partitions_up_to_end_tm_are_created_with_a_notice_each_and_no_others() {
    let pair = only_the_source_has_partitions();
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'persons', '20170310'").expect("a sync");
    assert_eq!(partitions(&pair), "persons_201701 persons_201702 persons_201703");
    pair.same_rows("persons", "born < '2017-04-01'");
    let notices = notices.lock().expect("a lock").join("\n");
    assert_eq!(notices.matches("created partition").count(), 3, "{notices}");
    assert!(
        notices.contains("created partition persons_201702 as the source has it"),
        "{notices}"
    );
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'persons_2017%'"),
        "3",
        "indexes come with them"
    );
    // What lies before the remembered point is not brought back.
    pair.target.sql("DROP TABLE persons_201701");
    pair.copied("'persons', '20170405'");
    assert_eq!(partitions(&pair), "persons_201702 persons_201703 persons_201704");
}

#[test]
fn without_create_missing_they_are_listed() {
    let pair = only_the_source_has_partitions();
    pair.target
        .sql("CREATE TABLE persons_201701 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')");
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'persons', '20170310', create_missing => false")
        .expect("a sync");
    assert_eq!(partitions(&pair), "persons_201701");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(
        notices.contains(
            "partitions that only the source has: \"public\".\"persons_201702\", \"public\".\"persons_201703\""
        ),
        "{notices}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
}

#[test]
fn where_its_name_is_taken_a_partition_gets_a_number() {
    let pair = only_the_source_has_partitions();
    pair.target
        .sql("CREATE TABLE persons_201702 (i int); CREATE TYPE persons_201702_1 AS ENUM ('a')");
    let (_, told) = pair.told("'persons', '20170310'");
    let said = "created partition persons_201702_2 as the source has persons_201702, whose name is taken here";
    assert!(told.contains(said), "{told}");
    assert_eq!(partitions(&pair), "persons_201701 persons_201702_2 persons_201703");
    pair.same_rows("persons", "born < '2017-04-01'");
    // The next night finds it by its bounds.
    assert_eq!(pair.copied("'persons', '20170310'"), ["persons_201703"]);
    assert_eq!(pair.copied("'persons', '20170310', since => '20170201'").len(), 2);
}

#[test]
fn rows_in_the_default_partition_are_an_error_that_says_what_to_do() {
    let pair = only_the_source_has_partitions();
    pair.target.sql(
        "CREATE TABLE persons_rest PARTITION OF persons DEFAULT;
         INSERT INTO persons VALUES (1, 'kept', '2017-02-05', '')",
    );
    let (code, message, hint) = fails(&pair, "'persons', '20170310'");
    assert_eq!(code, "23514", "{message}");
    assert!(
        hint.contains("default partition") && hint.contains("create_missing => false"),
        "{hint}"
    );
    assert_eq!(pair.target.text("SELECT name FROM persons"), "kept");
}

#[test]
fn rows_of_later_partitions_stay_out_of_the_default_partition() {
    let pair = only_the_source_has_partitions();
    pair.target
        .sql("CREATE TABLE persons_rest PARTITION OF persons DEFAULT");
    pair.copied("'persons', '20170310'");
    assert_eq!(pair.target.text("SELECT count(*) FROM persons_rest"), "0");
    // Or the next month could not be created.
    pair.copied("'persons', '20170410'");
    pair.same_rows("persons", "born < '2017-05-01'");
}

#[test]
fn a_partition_that_overlaps_and_has_rows_without_a_place_is_an_error() {
    let pair = only_the_source_has_partitions();
    pair.target
        .sql("CREATE TABLE persons_half PARTITION OF persons FOR VALUES FROM ('2017-02-10') TO ('2017-03-01')");
    let (code, message, hint) = fails(&pair, "'persons', '20170310'");
    assert_eq!(code, "42P17");
    assert!(message.contains("persons_201702"), "{message}");
    assert!(hint.contains("create_missing => false"), "{hint}");
    assert_eq!(partitions(&pair), "persons_half");
    // Without such rows it is none.
    pair.source.sql("DELETE FROM persons_201702 WHERE born < '2017-02-10'");
    pair.copied("'persons', '20170310'");
    pair.same_rows("persons", "born < '2017-04-01'");
}

#[test]
fn a_role_that_may_not_create_them_is_told() {
    let pair = only_the_source_has_partitions();
    pair.target.sql(
        "CREATE ROLE loader LOGIN PASSWORD 'secret'; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let mut client = pair.target.connect_as("loader");
    let error = pair
        .sync_as(&mut client, "'persons', '20170310'")
        .expect_err("no right");
    assert_eq!(error.code().code(), "42501");
    assert!(error.hint().unwrap_or("").contains("owner"), "{error:?}");
    assert_eq!(partitions(&pair), "");
}
