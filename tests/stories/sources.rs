//! Sources of every family: their catalogs, their snapshots, what they refuse. The fixtures play them, see `support::fixture`.

use crate::support::fixture::{self, GREENPLUM_7_ALPHA};
use crate::support::{Pair, SOON, poll};

/// Tables of greenplum6.md as a target has them before the first sync: the partitions are to come from the source.
const GREENPLUM_TARGET: &str = "
    CREATE TABLE persons (id int, name varchar(64), created date, amount numeric(12,2), note text) PARTITION BY RANGE (created);
    CREATE TABLE p_varchar (id int, dt varchar(64), v text) PARTITION BY RANGE (dt);
    CREATE TABLE p_varchar_rest PARTITION OF p_varchar DEFAULT;
    CREATE TABLE p_int (id int, k int, v text) PARTITION BY RANGE (k);
    CREATE TABLE p_int_rest PARTITION OF p_int DEFAULT;
    CREATE TABLE p_ts (id int, ts timestamp, v text) PARTITION BY RANGE (ts);
    CREATE TABLE p_range_odd (id int, d date) PARTITION BY RANGE (d);
    CREATE TABLE p_list (id int, region varchar(10), v text) PARTITION BY LIST (region);
    CREATE TABLE p_list_rest PARTITION OF p_list DEFAULT;
    CREATE TABLE p_two (id int, d date, region text, v text) PARTITION BY RANGE (d);
    CREATE TABLE p_two_rest PARTITION OF p_two DEFAULT;
    CREATE TABLE p_two_rr (id int, d date, k int) PARTITION BY RANGE (d);
    CREATE TABLE p_two_rr_1 PARTITION OF p_two_rr FOR VALUES FROM ('2016-01-01') TO ('2016-02-01') PARTITION BY RANGE (k);
    CREATE TABLE p_two_rr_1_rest PARTITION OF p_two_rr_1 DEFAULT;
    CREATE TABLE p_aoco (id int, d date, amount numeric(12,2), v text) PARTITION BY RANGE (d);
    CREATE TABLE p_mixed (id int, d date, v text) PARTITION BY RANGE (d);
    CREATE TABLE p_bigint (id int, k bigint) PARTITION BY RANGE (k);
    CREATE TABLE p_tstz (id int, k timestamptz) PARTITION BY RANGE (k);
    CREATE TABLE p_char8 (id int, k char(8)) PARTITION BY RANGE (k);
    CREATE TABLE p_text (id int, k text) PARTITION BY RANGE (k);
    CREATE TABLE p_numeric (id int, k numeric(12,2)) PARTITION BY RANGE (k);
    CREATE SCHEMA \"Odd Schema\";
    CREATE TABLE \"Odd Schema\".\"Order Lines\" (id int, \"When\" date) PARTITION BY RANGE (\"When\");
    CREATE TABLE p_int_neg (id int, k int) PARTITION BY RANGE (k);
    CREATE TABLE p_float (id int, k float8) PARTITION BY RANGE (k)";

/// Each with an end_tm behind its last partition.
const GREENPLUM_ENDS: &[(&str, &str)] = &[
    ("persons", "2018"),
    ("p_varchar", "20160501"),
    ("p_int", "2000"),
    ("p_ts", "2016"),
    ("p_range_odd", "20200101"),
    ("p_list", "x"),
    ("p_two", "2017"),
    ("p_two_rr", "2016"),
    ("p_aoco", "2016"),
    ("p_mixed", "2016"),
    ("p_bigint", "100000000000"),
    ("p_tstz", "2016"),
    ("p_char8", "20170101"),
    ("p_text", "zzz"),
    ("p_numeric", "100"),
    ("\"Odd Schema\".\"Order Lines\"", "2016"),
    ("p_int_neg", "100"),
    ("p_float", "100"),
];

fn greenplum6() -> Pair {
    let pair = Pair::new();
    fixture::greenplum6(&pair.source);
    pair
}

fn partition_reads(pair: &Pair, run: i64) -> Vec<String> {
    pair.target.list(&format!(
        "SELECT partition || ' <- ' || source_relation || COALESCE(' where ' || source_filter, '')
         FROM cgpsync_run_partition WHERE run_id = {run} ORDER BY partition"
    ))
}

#[test]
fn every_classic_partitioning_of_greenplum_6_arrives_in_declarative_partitions() {
    let pair = greenplum6();
    pair.target.sql(GREENPLUM_TARGET);
    for (table, end) in GREENPLUM_ENDS {
        pair.sync(&format!("'{table}', '{end}'"))
            .unwrap_or_else(|e| panic!("{table}: {e:?}"));
        pair.same_rows(table, "true");
    }
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE source_filter IS NOT NULL"),
        "0",
        "each partition found the source's own"
    );
    assert_eq!(
        pair.target
            .text("SELECT string_agg(DISTINCT (snapshot IS NOT NULL)::text || format, ' ') FROM cgpsync_run"),
        "truebinary"
    );
}

#[test]
fn exclusive_starts_and_inclusive_ends_become_half_open_ranges() {
    let pair = greenplum6();
    pair.target.sql(GREENPLUM_TARGET);
    pair.copied("'p_range_odd', '20200101'");
    assert_eq!(
        pair.target.list(
            "SELECT partition_name || ' ' || partitionrangestart || ' ' || partitionrangeend
             FROM v_gp_range_partition_meta WHERE table_name = 'p_range_odd'::regclass ORDER BY partitionposition"
        ),
        [
            "p_range_odd_1_prt_low  20160102",
            "p_range_odd_1_prt_mid 20160102 20170101",
            "p_range_odd_1_prt_high 20170101 "
        ]
    );
}

#[test]
fn two_levels_are_read_where_the_levels_meet() {
    let pair = greenplum6();
    pair.target.sql(GREENPLUM_TARGET);
    pair.copied("'p_two', '2017'");
    // One level here: the source's intermediate partitions, which COPY by name would find empty.
    let reads = partition_reads(&pair, 1);
    assert!(
        reads.contains(&"p_two_1_prt_2 <- \"public\".\"p_two_1_prt_2\"".to_owned()),
        "{reads:?}"
    );
    pair.same_rows("p_two", "true");
    // Two levels here with a sibling that is missing there: the nearest relation with the condition.
    pair.target.sql(
        "DROP TABLE p_two_1_prt_2;
         CREATE TABLE p_two_jan PARTITION OF p_two FOR VALUES FROM ('2016-01-01') TO ('2016-02-01') PARTITION BY LIST (region);
         CREATE TABLE p_two_jan_de PARTITION OF p_two_jan FOR VALUES IN ('de');
         CREATE TABLE p_two_jan_rest PARTITION OF p_two_jan DEFAULT",
    );
    pair.copied("'p_two', '2017', since => '20160101', create_missing => false");
    let reads = partition_reads(&pair, 2);
    assert!(
        reads
            .iter()
            .any(|read| read.starts_with("p_two_jan_de <- \"public\".\"p_two_1_prt_2\" where")),
        "{reads:?}"
    );
    pair.same_rows("p_two", "true");
}

#[test]
fn a_reader_of_a_greenplum_table_who_may_not_read_its_partitions_gets_all_rows_through_it() {
    let pair = greenplum6();
    pair.target.sql(GREENPLUM_TARGET);
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'secret'; GRANT SELECT ON p_two, persons TO reader");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'reader')");
    for (table, end) in [("p_two", "2017"), ("persons", "2018")] {
        pair.copied(&format!("'{table}', '{end}'"));
        pair.same_rows(table, "true");
    }
    let reads = partition_reads(&pair, 1);
    assert!(
        reads.iter().all(|read| read.contains("<- \"public\".\"p_two\" where")),
        "{reads:?}"
    );
}

#[test]
fn old_greenplums_share_no_snapshot_and_the_run_says_so() {
    for release in ["5.28.0", "6.20.0", "6.21.0"] {
        let pair = Pair::new();
        fixture::greenplum(&pair.source, release);
        pair.source.sql(
            "CREATE TABLE t (k int, v text);
             SELECT gp_fixture.partition_by('t', 'range', 'k');
             SELECT gp_fixture.add_partitions('t', '0', '40', '10');
             SELECT gp_fixture.load('t', 'SELECT g % 40, ''v'' || g FROM generate_series(1, 1000) g')",
        );
        pair.target.sql("CREATE TABLE t (k int, v text) PARTITION BY RANGE (k)");
        let (mut client, notices) = pair.target.connect_with_notices();
        pair.sync_as(&mut client, "'t', '100'")
            .unwrap_or_else(|e| panic!("{release}: {e:?}"));
        pair.same_rows("t", "true");
        assert_eq!(pair.target.text("SELECT snapshot IS NULL FROM cgpsync_run"), "t");
        let notices = notices.lock().expect("a lock").join("\n");
        assert!(
            notices.contains("no snapshot that sessions can share"),
            "{release}: {notices}"
        );
    }
}

#[test]
fn snapshots_of_greenplum_7_and_cloudberry_are_believed_only_where_the_server_says_so() {
    for version in [
        GREENPLUM_7_ALPHA,
        "PostgreSQL 12.12 (Greenplum Database 7.1.0 build commit:a) on x86_64-pc-linux-gnu",
        "PostgreSQL 14.4 (Apache Cloudberry 2.0.0-incubating build 1) on x86_64-pc-linux-gnu",
    ] {
        let pair = Pair::new();
        fixture::greenplum7(&pair.source, version);
        pair.persons(20);
        for (option, shared) in [
            ("ADD sslsni '0'", "f"),
            ("ADD shared_snapshot 'on'", "t"),
            ("SET shared_snapshot 'off'", "f"),
        ] {
            pair.target.sql(&format!("ALTER SERVER src OPTIONS ({option})"));
            pair.copied("'persons', '2017', since => '2016'");
            pair.same_rows("persons", "true");
            assert_eq!(
                pair.target
                    .text("SELECT snapshot IS NOT NULL FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
                shared,
                "{version} {option}"
            );
        }
    }
}

#[test]
fn a_server_that_says_its_snapshots_are_not_shared_is_believed_too() {
    let pair = Pair::new();
    pair.persons(20);
    pair.target.sql("ALTER SERVER src OPTIONS (ADD shared_snapshot 'off')");
    pair.copied("'persons', '2017'");
    assert_eq!(pair.target.text("SELECT snapshot IS NULL FROM cgpsync_run"), "t");
}

#[test]
fn a_source_from_before_declarative_partitions_is_sliced() {
    let pair = Pair::new();
    fixture::before_10(&pair.source);
    pair.target.sql(
        "CREATE TABLE measurements (id int, day date NOT NULL, v text) PARTITION BY RANGE (day);
         CREATE TABLE m_1 PARTITION OF measurements FOR VALUES FROM ('2016-01-01') TO ('2016-04-01');
         CREATE TABLE m_2 PARTITION OF measurements FOR VALUES FROM ('2016-04-01') TO ('2017-04-01')",
    );
    pair.copied("'measurements', '2016'");
    pair.same_rows("measurements", "true");
}

#[test]
fn a_hot_standby_is_a_source_with_a_shared_snapshot() {
    let mut pair = Pair::new();
    pair.persons(50);
    let standby = pair.source.standby();
    pair.target
        .sql(&format!("ALTER SERVER src OPTIONS (SET port '{}')", standby.port));
    poll("the standby has all rows", SOON, || {
        standby.text("SELECT pg_is_in_recovery() AND (SELECT count(*) FROM persons) = 600") == "t"
    });
    pair.copied("'persons', '2017'");
    pair.same_rows("persons", "true");
    assert_eq!(pair.target.text("SELECT snapshot IS NOT NULL FROM cgpsync_run"), "t");
    drop(standby);
    pair.source.stop("INT");
}
