//! After a run the planner knows what is there: of each partition, and of the tables above, which nobody else analyzes.

use crate::support::Pair;

/// Two levels: years, and halves of the first of them.
fn levels(pair: &Pair) {
    pair.both(
        "CREATE TABLE t (customer int, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE t_2016 PARTITION OF t FOR VALUES FROM ('2016-01-01') TO ('2017-01-01') PARTITION BY RANGE (day);
         CREATE TABLE t_2016_1 PARTITION OF t_2016 FOR VALUES FROM ('2016-01-01') TO ('2016-07-01');
         CREATE TABLE t_2016_2 PARTITION OF t_2016 FOR VALUES FROM ('2016-07-01') TO ('2017-01-01');
         CREATE TABLE t_2017 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')",
    );
    pair.source
        .sql("INSERT INTO t SELECT g % 500, date '2016-01-01' + g % 700 FROM generate_series(1, 9000) g");
}

/// Tables that have statistics; with their children's where they have children.
fn analyzed(pair: &Pair) -> String {
    pair.target.text(
        "SELECT string_agg(name, ' ' ORDER BY name)
         FROM (SELECT DISTINCT (tablename || CASE WHEN inherited THEN '+' ELSE '' END) COLLATE \"C\" AS name
               FROM pg_stats WHERE schemaname = 'public') s",
    )
}

#[test]
fn roots_and_middle_levels_are_sampled_once_and_no_leaf_is_analyzed_again() {
    let pair = Pair::new();
    levels(&pair);
    pair.copied("'t', '20171231', 2");
    assert_eq!(analyzed(&pair), "t+ t_2016+ t_2016_1 t_2016_2 t_2017");
    let groups = pair
        .target
        .text("SELECT n_distinct FROM pg_stats WHERE tablename = 't' AND attname = 'customer'");
    assert_eq!(groups, "500");
    let counts = "SELECT string_agg(relname || ' ' || analyze_count, ', ' ORDER BY relname COLLATE \"C\")
                  FROM pg_stat_user_tables WHERE relname LIKE 't_201%' AND analyze_count > 0";
    // Since 14 the root and the middle level are counted, too.
    let counted = pair.target.text(counts);
    for leaf in ["t_2016_1 1", "t_2016_2 1", "t_2017 1"] {
        assert!(counted.contains(leaf), "{counted}");
    }
    assert_eq!(pair.target.text("SELECT message IS NULL FROM cgpsync_run"), "t");
}

#[test]
fn what_is_above_the_named_table_and_not_what_is_beside_it_is_sampled() {
    let pair = Pair::new();
    levels(&pair);
    pair.copied("'t_2017', '20171231'");
    assert_eq!(analyzed(&pair), "t+ t_2017");
}

#[test]
fn the_setting_says_how_much_is_analyzed_and_takes_what_it_took_before() {
    for (value, expected) in [
        ("leaves", "t_2016_1 t_2016_2 t_2017"),
        ("off", ""),
        ("no", ""),
        ("all", "t+ t_2016+ t_2016_1 t_2016_2 t_2017"),
        ("true", "t+ t_2016+ t_2016_1 t_2016_2 t_2017"),
    ] {
        let pair = Pair::new();
        levels(&pair);
        pair.target.sql(&format!(
            "ALTER ROLE postgres SET cgpsync.analyze_partitions = '{value}'"
        ));
        pair.copied("'t', '20171231'");
        assert_eq!(analyzed(&pair), expected, "{value}");
    }
    let pair = Pair::new();
    let mut client = pair.target.connect();
    client
        .batch_execute("SELECT cgpsync_prune('1 day')")
        .expect("the library");
    assert!(
        client
            .batch_execute("SET cgpsync.analyze_partitions = 'maybe'")
            .is_err()
    );
    let shown: String = client
        .query_one("SHOW cgpsync.analyze_partitions", &[])
        .expect("a setting")
        .get(0);
    assert_eq!(shown, "on");
}

#[test]
fn what_cannot_be_analyzed_is_told_and_the_run_is_done() {
    let pair = Pair::new();
    levels(&pair);
    pair.target.sql(
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER cgpsync;
         CREATE FOREIGN TABLE t_2018 PARTITION OF t FOR VALUES FROM ('2018-01-01') TO ('2019-01-01') SERVER nowhere",
    );
    let (_, told) = pair.told("'t', '20171231', source => 'src'");
    assert!(told.contains("t: not analyzed: it has foreign partitions"), "{told}");
    assert_eq!(analyzed(&pair), "t_2016+ t_2016_1 t_2016_2 t_2017");
    assert_eq!(pair.remembered("t"), "20171231");
    // Who has locked the root keeps it from being sampled, and nothing else.
    let pair = Pair::new();
    levels(&pair);
    let mut other = pair.target.connect();
    other
        .batch_execute("BEGIN; LOCK TABLE ONLY t IN SHARE UPDATE EXCLUSIVE MODE")
        .expect("a lock");
    pair.copied("'t', '20171231'");
    assert_eq!(analyzed(&pair), "t_2016+ t_2016_1 t_2016_2 t_2017");
}

#[test]
fn a_partition_that_is_locked_keeps_the_table_above_from_being_sampled_and_nothing_else() {
    let pair = Pair::new();
    levels(&pair);
    let (mut client, notices) = pair.target.connect_with_notices();
    // By the caller itself: the run has nothing to do with that partition.
    client
        .batch_execute("SET cgpsync.lock_timeout = 0; BEGIN; LOCK TABLE t_2016_2")
        .expect("a lock");
    pair.sync_as(&mut client, "'t_2017', '20171231'").expect("a sync");
    assert_eq!(analyzed(&pair), "t_2017");
    let told = notices.lock().expect("a lock").join("\n");
    assert!(told.contains("t: not analyzed: t_2016_2 is locked"), "{told}");
}
