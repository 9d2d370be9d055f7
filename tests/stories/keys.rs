//! Partition keys of every type, and sources that are partitioned alike, differently or not at all.

use crate::support::{Pair, needs};

/// Type, four ascending bounds, end_tm inside the second of three partitions, and a value for each partition.
const KEYS: &[(&str, [&str; 4], &str, [&str; 3])] = &[
    (
        "date",
        ["2017-01-01", "2017-02-01", "2017-03-01", "2017-04-01"],
        "20170215",
        ["2017-01-31", "2017-02-01", "2017-03-31"],
    ),
    (
        "timestamp",
        ["2017-01-01", "2017-02-01", "2017-03-01", "2017-04-01"],
        "20170215",
        ["2017-01-31 23:59:59.999999", "2017-02-01", "2017-03-05"],
    ),
    (
        "timestamptz",
        [
            "2017-01-01 00:00+03",
            "2017-02-01 00:00+03",
            "2017-03-01 00:00+03",
            "2017-04-01 00:00+03",
        ],
        "2017-02-15 12:00+03",
        ["2017-01-31 23:59:59+03", "2017-02-01 00:00+03", "2017-03-05"],
    ),
    ("smallint", ["-100", "-5", "20", "300"], "7", ["-6", "-5", "299"]),
    ("integer", ["-100", "9", "10", "300"], "9", ["-6", "9", "10"]),
    (
        "bigint",
        ["-10000000000", "9", "10000000000", "20000000000"],
        "1000000000",
        ["8", "9", "10000000000"],
    ),
    (
        "numeric(12,2)",
        ["-1.50", "9.25", "10.5", "100"],
        "9.99",
        ["9.24", "9.25", "10.50"],
    ),
    (
        "double precision",
        ["-1e10", "0.1", "9.5", "1e300"],
        "0.2",
        ["0.09", "0.1", "1e299"],
    ),
    ("text", ["a", "it's", "m", "z"], "k", ["ha", "j", "\\x"]),
    (
        "varchar(64)",
        ["20170101", "20170201", "20170301", "20170401"],
        "20170215",
        ["20170131", "20170201", "20170331"],
    ),
    (
        "char(8)",
        ["20170101", "20170201", "20170301", "20170401"],
        "201702",
        ["20170131", "20170201", "20170331"],
    ),
];

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn partitions(table: &str, bounds: &[&str]) -> String {
    let one = |(i, pair): (usize, &[&str])| {
        format!(
            "CREATE TABLE {table}_{} PARTITION OF {table} FOR VALUES FROM ({}) TO ({});",
            i + 1,
            literal(pair[0]),
            literal(pair[1])
        )
    };
    bounds.windows(2).enumerate().map(one).collect()
}

#[test]
fn every_key_type_reads_its_twin_partition_or_the_slice() {
    let pair = Pair::new();
    for (number, (type_name, bounds, end, values)) in KEYS.iter().enumerate() {
        for partitioned in [true, false] {
            let table = format!("t{number}_{partitioned}");
            let columns = format!("(v int, k {type_name})");
            pair.target
                .sql(&format!("CREATE TABLE {table} {columns} PARTITION BY RANGE (k)"));
            pair.target.sql(&partitions(&table, bounds));
            if partitioned {
                pair.source
                    .sql(&format!("CREATE TABLE {table} {columns} PARTITION BY RANGE (k)"));
                pair.source.sql(&partitions(&table, bounds));
            } else {
                pair.source.sql(&format!("CREATE TABLE {table} {columns}"));
            }
            // Backslashes sort after upper-case letters in C and so into the third partition only as a letter does.
            let values = values.map(|v| literal(if v == "\\x" { "n\\x" } else { v }));
            for (i, value) in values.iter().enumerate() {
                pair.source.sql(&format!(
                    "INSERT INTO {table} SELECT g + {i}, {value} FROM generate_series(1, 3) g"
                ));
            }
            let copied = pair.copied(&format!("'{table}', {}", literal(end)));
            assert_eq!(copied, [format!("{table}_1"), format!("{table}_2")], "{type_name}");
            let kept = format!("k < {}::{type_name}", literal(bounds[2]));
            pair.same_rows(&table, &kept);
            assert_eq!(
                pair.target.text(&format!("SELECT count(*) FROM {table}")),
                "6",
                "{type_name}"
            );
            let filters = pair.target.text("SELECT count(source_filter) FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)");
            assert_eq!(filters, if partitioned { "0" } else { "2" }, "{type_name}");
            // Again: only the partition that holds the remembered end_tm.
            assert_eq!(
                pair.copied(&format!("'{table}', {}", literal(end))),
                [format!("{table}_2")],
                "{type_name}"
            );
        }
    }
}

#[test]
fn open_ends_and_a_default_partition() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (MINVALUE) TO ('2017-01-01');
         CREATE TABLE t_mid PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-06-01')",
    );
    pair.target.sql(
        "CREATE TABLE t_high PARTITION OF t FOR VALUES FROM ('2018-01-01') TO (MAXVALUE);
         CREATE TABLE t_other PARTITION OF t DEFAULT",
    );
    pair.source.sql("CREATE TABLE t_rest PARTITION OF t DEFAULT");
    pair.source.sql(
        "INSERT INTO t SELECT d, 1 FROM generate_series(timestamp '2015-01-01', '2019-01-01', '10 days') d;
         INSERT INTO t VALUES (NULL, 2), (NULL, 3)",
    );
    assert_eq!(pair.copied("'t', '2017'"), ["t_low", "t_mid", "t_other"]);
    pair.same("SELECT count(*) FROM t WHERE k < '2018-01-01' OR k IS NULL");
    assert_eq!(pair.target.text("SELECT count(*) FROM t_other WHERE k IS NULL"), "2");
    assert_eq!(
        pair.copied("'t', '2019'"),
        ["t_high", "t_mid", "t_other"]
            .iter()
            .filter(|p| **p != "t_mid")
            .copied()
            .collect::<Vec<_>>()
    );
    pair.same_rows("t", "true");
}

#[test]
fn a_source_that_is_partitioned_differently_gives_the_same_rows() {
    let pair = Pair::new();
    pair.target.sql("CREATE TABLE t (k date, v int) PARTITION BY RANGE (k)");
    pair.target
        .sql(&partitions("t", &["2017-01-01", "2017-02-01", "2017-03-01"]));
    pair.source.sql("CREATE TABLE t (k date, v int) PARTITION BY RANGE (k)");
    pair.source
        .sql(&partitions("t", &["2016-06-01", "2017-01-15", "2017-06-01"]));
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-01' + g % 59, g FROM generate_series(1, 1000) g");
    pair.copied("'t', '20170228'");
    pair.same_rows("t", "true");
    // By another column, and under another name.
    pair.source.sql(
        "CREATE SCHEMA \"Old\"; CREATE TABLE \"Old\".\"T s\" (v int, k date) PARTITION BY LIST (v);
                     CREATE TABLE \"Old\".rest PARTITION OF \"Old\".\"T s\" DEFAULT;
                     INSERT INTO \"Old\".\"T s\" SELECT v, k FROM t",
    );
    pair.target.sql("TRUNCATE t, sync_table");
    pair.copied("'t', '20170228', source_table => '\"Old\".\"T s\"'");
    pair.same_rows("t", "true");
}

#[test]
fn partitions_are_told_apart_by_value_not_by_text() {
    let pair = Pair::new();
    pair.target
        .sql("CREATE TABLE t (k numeric, v int) PARTITION BY RANGE (k)");
    pair.target.sql(&partitions("t", &["9", "10", "100"]));
    pair.source
        .sql("CREATE TABLE t (k numeric, v int) PARTITION BY RANGE (k)");
    pair.source.sql(&partitions("t", &["9.00", "10.0", "1e2"]));
    pair.source.sql("INSERT INTO t VALUES (9.5, 1), (10, 2), (99.9, 3)");
    pair.copied("'t', '50'");
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target
            .text("SELECT count(source_filter) FROM cgpsync_run_partition"),
        "0"
    );
}

#[test]
fn hourly_partitions_of_the_last_day_belong_to_the_month() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (k timestamp) PARTITION BY RANGE (k)");
    pair.both(&partitions(
        "t",
        &[
            "2017-02-28 00:00",
            "2017-02-28 12:00",
            "2017-03-01 00:00",
            "2017-03-01 12:00",
        ],
    ));
    assert_eq!(pair.copied("'t', '201702'"), ["t_1", "t_2"]);
}

#[test]
fn left_out_end_tm_is_today_for_dates_and_an_error_for_numbers() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE d (k date) PARTITION BY RANGE (k); CREATE TABLE n (k int) PARTITION BY RANGE (k);
               CREATE TABLE i (k int) PARTITION BY RANGE (k);
               CREATE TABLE n_1 PARTITION OF n FOR VALUES FROM (1) TO (100);
               CREATE TABLE i_1 PARTITION OF i FOR VALUES FROM (20170101) TO (20180101);
               CREATE TABLE i_2 PARTITION OF i FOR VALUES FROM (20180101) TO (99990101)",
    );
    pair.both(&partitions("d", &["2017-01-01", "2018-01-01", "infinity"]));
    let begun_on = pair.target.text("SELECT current_date");
    assert_eq!(pair.copied("'d'"), ["d_1", "d_2"]);
    // Midnight may have come meanwhile.
    assert_eq!(
        pair.target.text(&format!(
            "SELECT end_tm IN (to_char(date '{begun_on}', 'YYYYMMDD'), to_char(current_date, 'YYYYMMDD')) FROM sync_table"
        )),
        "t"
    );
    assert_eq!(pair.copied("'i'"), ["i_1", "i_2"]);
    let error = pair.sync("'n'").expect_err("a number is no date");
    assert_eq!(error.code().code(), "22023");
    assert!(error.message().contains("end_tm is needed"), "{error:?}");
}

#[test]
fn list_partitions_and_several_levels_are_copied_leaf_by_leaf() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (k date, r text, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01') PARTITION BY LIST (r);
         CREATE TABLE t_1_eu PARTITION OF t_1 FOR VALUES IN ('de', 'fr');
         CREATE TABLE t_1_other PARTITION OF t_1 DEFAULT;
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01') PARTITION BY LIST (r);
         CREATE TABLE t_2_all PARTITION OF t_2 DEFAULT;
         CREATE TABLE l (r text, v int) PARTITION BY LIST (r);
         CREATE TABLE l_eu PARTITION OF l FOR VALUES IN ('de', NULL);
         CREATE TABLE l_us PARTITION OF l FOR VALUES IN ('us')",
    );
    pair.source
        .sql("CREATE TABLE t (k date, r text, v int); CREATE TABLE l (r text, v int)");
    pair.source.sql(
        "INSERT INTO t SELECT date '2017-01-01' + g % 59, (ARRAY['de', 'us', NULL])[1 + g % 3], g FROM generate_series(1, 600) g;
         INSERT INTO l VALUES ('de', 1), (NULL, 2), ('us', 3)",
    );
    assert_eq!(pair.copied("'t', '20170131'"), ["t_1_eu", "t_1_other"]);
    pair.same("SELECT count(*) FROM t WHERE k < '2017-02-01'");
    assert_eq!(pair.copied("'t', '20170228'"), ["t_1_eu", "t_1_other", "t_2_all"]);
    pair.same_rows("t", "true");
    pair.copied("'l'");
    pair.same_rows("l", "true");
}

#[test]
fn words_and_local_forms_of_dates_are_remembered_as_the_day_they_mean() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (k date) PARTITION BY RANGE (k)");
    pair.both(&partitions(
        "t",
        &["2017-03-01", "2017-04-01", "2017-05-01", "infinity"],
    ));
    let mut client = pair.target.connect();
    client
        .batch_execute("SET datestyle = 'German, DMY'")
        .expect("a setting");
    let units = pair
        .sync_as(&mut client, "'t', '03/04/2017'")
        .expect("the third of April");
    assert_eq!(units.len(), 2);
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170403");
    let begun_on = pair.target.text("SELECT to_char(current_date, 'YYYYMMDD')");
    pair.copied("'t', 'today'");
    for table in ["sync_table", "cgpsync_run WHERE run_id = 2"] {
        // Midnight may have come meanwhile.
        let today = format!("SELECT end_tm IN ('{begun_on}', to_char(current_date, 'YYYYMMDD')) FROM {table}");
        assert_eq!(pair.target.text(&today), "t", "{table}");
    }
}

#[test]
fn the_watermark_does_not_pass_rows_that_have_no_partition_here() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (k date, v int) PARTITION BY RANGE (k)");
    pair.source.sql(&partitions(
        "t",
        &["2017-01-01", "2017-02-01", "2017-03-01", "2017-04-01", "2017-05-01"],
    ));
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-01' + g % 118, g FROM generate_series(1, 500) g");
    // January and March are missing here.
    pair.target.sql(
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
                     CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO ('2017-05-01')",
    );
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'t', '20170405', create_missing => false")
        .expect("the others are copied");
    let notices = notices.lock().expect("a lock").join("\n");
    let held = notices.lines().find(|line| line.contains("will not be remembered"));
    assert!(
        held.is_some_and(|line| line.contains("\"t_3\"") && line.contains("\"t_1\"")),
        "{notices}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    pair.target
        .sql("CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2017-03-01') TO ('2017-04-01')");
    pair.copied("'t', '20170420', create_missing => false");
    pair.same_rows("t", "k >= '2017-02-01'");
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    // January is retired here: the call that says so is the way out.
    pair.copied("'t', '20170420', create_missing => false, since => '20170201'");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170420");
    // From here on it is no matter.
    pair.copied("'t', '20170421', create_missing => false");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170421");
}

#[test]
fn a_key_may_have_another_collation_than_its_column() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.both("CREATE TABLE t (k text, v int) PARTITION BY RANGE (k COLLATE \"und-x-icu\")");
    pair.both(&partitions("t", &["a", "m", "z"]));
    pair.source.sql("INSERT INTO t VALUES ('B', 1), ('q', 2)");
    pair.copied("'t', 'y'");
    pair.same_rows("t", "true");
}
