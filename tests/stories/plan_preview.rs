//! cgpsync_plan: what would be done, and nothing done.

use crate::support::Pair;

#[test]
fn the_plan_names_every_partition_with_action_and_reason_and_touches_nothing() {
    let pair = Pair::new();
    pair.persons(10);
    pair.target.sql("DROP TABLE persons_201703");
    pair.source.sql("ANALYZE");
    pair.copied("'persons', '20170110'");
    let plan = pair.target.list(
        "SELECT concat_ws(' ', partition, action, source_relation, range_start, format, snapshot)
         FROM cgpsync_plan('persons', '20170310') WHERE partition < 'persons_201705'",
    );
    assert_eq!(
        plan,
        [
            "persons_201701 copy \"public\".\"persons_201701\" 2017-01-01 binary shared",
            "persons_201702 copy \"public\".\"persons_201702\" 2017-02-01 binary shared",
            "persons_201703 create \"public\".\"persons_201703\" 2017-03-01 binary shared",
            "persons_201704 skip 2017-04-01 binary shared",
        ]
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_run"), "1");
    assert_eq!(pair.target.text("SELECT to_regclass('persons_201703') IS NULL"), "t");
    assert_eq!(
        pair.target
            .text("SELECT reason FROM cgpsync_plan('persons', '20170310') WHERE partition = 'persons_201704'"),
        "begins after 20170310"
    );
    assert_eq!(
        pair.target
            .text("SELECT action FROM cgpsync_plan('persons', '20170310', create_missing => false) WHERE partition = 'persons_201703'"),
        "missing"
    );
    assert_eq!(
        pair.target.text(
            "SELECT estimated_bytes > 0 FROM cgpsync_plan('persons', '20170310') WHERE partition = 'persons_201702'"
        ),
        "t"
    );
}

#[test]
fn a_plan_works_where_nothing_may_be_written_and_leaves_settings_alone() {
    let pair = Pair::new();
    pair.persons(1);
    let mut client = pair.target.connect();
    client
        .batch_execute("SET default_transaction_read_only = on; SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'")
        .expect("settings");
    let rows = client
        .query(
            "SELECT count(*), current_setting('DateStyle') || current_setting('TimeZone') FROM cgpsync_plan('persons', '20170101')",
            &[],
        )
        .expect("a plan");
    assert_eq!(rows[0].get::<_, i64>(0), 12);
    assert_eq!(rows[0].get::<_, String>(1), "German, DMYAsia/Tokyo");
}
