//! After a failure, the same call again finishes the job; the watermark moves only when everything is done.

use crate::support::Pair;

/// February cannot be loaded until `repair`.
fn break_february(pair: &Pair) {
    // Rows that were there before it may break a constraint only while it is NOT VALID, and then the owner's loads leave it out.
    pair.target.sql(
        "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.id >= 5 THEN RAISE check_violation USING MESSAGE = 'broken'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON persons_201702 FOR EACH ROW EXECUTE FUNCTION broken()",
    );
}

fn repair(pair: &Pair) {
    pair.target.sql("DROP TRIGGER broken ON persons_201702");
}

#[test]
fn a_failed_unit_does_not_stop_the_others_and_holds_the_watermark() {
    let pair = Pair::new();
    pair.persons(20);
    pair.target
        .sql("INSERT INTO persons VALUES (1, 'old', '2017-02-01', NULL)");
    break_february(&pair);
    let error = pair.sync("'persons', '20170401', 2").expect_err("February fails");
    assert_eq!(error.code().code(), "23514");
    assert!(error.message().contains("1 of 4 partitions"), "{error:?}");
    assert!(error.message().contains("persons_201702"), "{error:?}");
    assert!(error.hint().is_some_and(|h| h.contains("same call again")), "{error:?}");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    assert_eq!(
        pair.target.text("SELECT string_agg(name, ',') FROM persons_201702"),
        "old"
    );
    pair.same_rows("persons_201703", "true");
    let run = "SELECT status || ' ' || error_code FROM cgpsync_run";
    assert_eq!(pair.target.text(run), "failed 23514");
}

#[test]
fn the_same_call_again_copies_only_what_is_missing() {
    let pair = Pair::new();
    pair.persons(20);
    break_february(&pair);
    pair.sync("'persons', '20170401', 2").expect_err("February fails");
    repair(&pair);
    let units = pair.sync("'persons', '20170401', 2").expect("the second run succeeds");
    let status: Vec<&str> = units.iter().map(|(_, status)| status.as_str()).collect();
    // January and March lie wholly before E; April holds E, so it may have grown since.
    assert_eq!(status, ["skipped", "done", "skipped", "done"]);
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170401");
    pair.same_rows("persons", "born < '2017-05-01'");
    let message = pair
        .target
        .text("SELECT message FROM cgpsync_run_partition WHERE status = 'skipped' LIMIT 1");
    assert_eq!(message, "copied by run 1");
}

#[test]
fn what_a_failed_run_copied_is_copied_again_where_it_may_not_be_the_same() {
    let pair = Pair::new();
    pair.persons(20);
    break_february(&pair);
    pair.sync("'persons', '20170401'").expect_err("February fails");
    repair(&pair);
    // From another table over there.
    pair.source.sql("CREATE VIEW others AS SELECT * FROM persons");
    assert_eq!(pair.copied("'persons', '20170401', source_table => 'others'").len(), 4);
    // With since, which asks for it.
    break_february(&pair);
    pair.sync("'persons', '20170401', since => '20170101'")
        .expect_err("February fails");
    repair(&pair);
    assert_eq!(pair.copied("'persons', '20170401', since => '20170101'").len(), 4);
    // From another watermark: somebody has set it back.
    pair.target.sql("UPDATE sync_table SET end_tm = '20170115'");
    break_february(&pair);
    pair.sync("'persons', '20170401'").expect_err("February fails");
    repair(&pair);
    pair.target.sql("DELETE FROM sync_table");
    assert_eq!(pair.copied("'persons', '20170401'").len(), 4);
}

#[test]
fn since_copies_late_data_and_leaves_the_watermark_where_it_is() {
    let pair = Pair::new();
    pair.persons(10);
    pair.copied("'persons', '20170601'");
    pair.source
        .sql("INSERT INTO persons VALUES (0, 'late', '2017-02-14', NULL)");
    assert_eq!(
        pair.copied("'persons', '20170228', since => '20170201'"),
        ["persons_201702"]
    );
    pair.same_rows("persons", "born < '2017-07-01'");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170601");
    assert_eq!(
        pair.copied("'persons', '20170701', since => '20170615'"),
        ["persons_201706", "persons_201707"]
    );
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170701");
}

#[test]
fn an_end_before_the_remembered_one_is_an_error_that_names_both() {
    let pair = Pair::new();
    pair.persons(1);
    pair.copied("'persons', '20170601'");
    let error = pair.sync("'persons', '20170501'").expect_err("earlier");
    assert_eq!(error.code().code(), "22023");
    assert!(
        error.message().contains("20170501") && error.message().contains("20170601"),
        "{error:?}"
    );
    assert!(error.hint().is_some_and(|h| h.contains("since")), "{error:?}");
    let error = pair
        .sync("'persons', '20170501', since => '20170601'")
        .expect_err("earlier than since");
    assert!(error.message().contains("earlier than since"), "{error:?}");
}

#[test]
fn a_dropped_and_recreated_table_starts_from_nothing() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k date) PARTITION BY RANGE (k);
               CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
               CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')",
    );
    pair.copied("'t', '20170215'");
    pair.target.sql(
        "DROP TABLE t; CREATE TABLE t (k date) PARTITION BY RANGE (k);
               CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
               CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')",
    );
    assert_eq!(pair.copied("'t', '20170215'"), ["t_1", "t_2"]);
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "1");
    // And remembers again from there.
    assert_eq!(pair.copied("'t', '20170215'"), ["t_2"]);
}

#[test]
fn a_unit_that_holds_something_else_by_now_is_copied_again() {
    let pair = Pair::new();
    pair.persons(20);
    pair.source
        .sql("CREATE VIEW others AS SELECT id, 'other' AS name, born, note FROM persons");
    break_february(&pair);
    pair.sync("'persons', '20170401'").expect_err("February fails");
    pair.sync("'persons', '20170401', source_table => 'others'")
        .expect_err("February fails");
    repair(&pair);
    assert_eq!(pair.copied("'persons', '20170401'").len(), 4);
    pair.same_rows("persons", "born < '2017-05-01'");
}

#[test]
fn a_column_added_since_the_failed_run_is_copied_for_all() {
    let pair = Pair::new();
    pair.persons(20);
    break_february(&pair);
    pair.sync("'persons', '20170401'").expect_err("February fails");
    repair(&pair);
    pair.both("ALTER TABLE persons ADD z int DEFAULT 0");
    pair.source.sql("UPDATE persons SET z = 5");
    assert_eq!(pair.copied("'persons', '20170401'").len(), 4);
    pair.same_rows("persons", "born < '2017-05-01'");
}

#[test]
fn since_beyond_the_remembered_point_does_not_pass_over_what_lies_between() {
    let pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20170115'");
    assert_eq!(
        pair.copied("'persons', '20170815', since => '20170801'"),
        ["persons_201708"]
    );
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170115");
    assert_eq!(pair.copied("'persons', '20170815'").len(), 8);
}
