//! Many partitions by many workers at a time.

use crate::support::greenplum::Clusters;
use crate::support::{SOON, poll};

/// Thirty days with 300 rows each; on the target an old row each.
fn days(story: &str, storage: &str) -> Clusters {
    let clusters = Clusters::new(story);
    clusters.both(&format!(
        "CREATE TABLE days (id int, d date NOT NULL, v text) {storage} DISTRIBUTED BY (id)
         PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '2016-01-31') EVERY (INTERVAL '1 day'))"
    ));
    clusters.source.sql(
        "INSERT INTO days SELECT g, date '2016-01-01' + g % 30, repeat('v', g % 100) FROM generate_series(1, 9000) g",
    );
    clusters
        .target
        .sql("INSERT INTO days SELECT -g, date '2016-01-01' + g % 30, 'old' FROM generate_series(1, 30) g");
    clusters.attach("days");
    clusters
}

/// All of it at once, each partition at its first attempt.
fn is_replaced(clusters: &Clusters, way: &str) {
    let arguments = format!("'days', '20160131', 8, since => '20160101', replace => '{way}'");
    let (units, notices) = clusters.told(&arguments);
    assert_eq!(units.len(), 30, "{notices}");
    assert_eq!(clusters.ways(), way, "{notices}");
    assert_eq!(clusters.last_run("max(attempts)", "true"), "1", "{notices}");
    assert!(!notices.contains("deadlock"), "{notices}");
    clusters.same_rows("days", "true");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn thirty_are_exchanged_by_eight() {
    let clusters = days("exchanged", "");
    is_replaced(&clusters, "exchange");
    is_replaced(&clusters, "exchange");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn thirty_are_truncated_by_eight() {
    let clusters = days("truncated_all", "");
    is_replaced(&clusters, "truncate");
    is_replaced(&clusters, "truncate");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn thirty_in_columns() {
    let clusters = days("columns_all", "WITH (appendonly = true, orientation = column)");
    is_replaced(&clusters, "exchange");
    is_replaced(&clusters, "truncate");
}

/// Who reads the root in transactions takes locks from the root down, on the coordinator and on each segment.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn readers_of_the_root_and_workers_are_in_no_deadlock() {
    let clusters = days("crowd", "");
    for way in ["exchange", "truncate"] {
        let arguments = format!("'days', '20160131', 8, since => '20160101', replace => '{way}'");
        let run = clusters.in_background(&arguments, "");
        let mut readers: Vec<_> = (0..2).map(|_| clusters.target.connect()).collect();
        poll("the run ends", SOON * 3, || {
            for reader in &mut readers {
                reader
                    .batch_execute(
                        "BEGIN; SELECT count(*) FROM days WHERE d = '2016-01-07'; SELECT count(*) FROM days; COMMIT",
                    )
                    .unwrap_or_else(|error| panic!("{way}: {error:?}"));
            }
            run.is_finished()
        });
        assert_eq!(run.join(), Ok(30), "{way}");
        clusters.same_rows("days", "true");
        clusters.source.sql("DELETE FROM days WHERE id % 5 = 0");
    }
}
