//! Whatever dies in the middle of a load: the old rows are there, nothing of the new ones is, and the next call finishes.

use crate::support::greenplum::Clusters;
use crate::support::{Background, SOON, poll};
use postgres::NoTls;
use std::time::Duration;

const SYNC: &str = "'loads', '1000', 1, since => '0'";

/// Some megabytes in one partition, an old row of it on the target, and little to get through at a time.
fn loads(story: &str) -> Clusters {
    let clusters = Clusters::with(story, "cgpsync.max_rate = '1MB'");
    clusters.both(
        "CREATE TABLE loads (i int, v text) DISTRIBUTED BY (i) PARTITION BY RANGE (i) (START (0) END (10000) EVERY (5000));
         CREATE INDEX loads_i ON loads (i)",
    );
    clusters
        .source
        .sql("INSERT INTO loads SELECT g, repeat('x', 1000) FROM generate_series(1, 4000) g");
    clusters.target.sql("INSERT INTO loads VALUES (1, 'old')");
    clusters.attach("loads");
    clusters
}

/// Starts a run and waits until the target has taken rows of it.
fn until_loading(clusters: &Clusters, arguments: &str) -> Background {
    let run = clusters.in_background(arguments, "");
    poll("rows are on their way", SOON, || {
        run.is_finished()
            || clusters
                .between
                .text("SELECT COALESCE(max(bytes_done), 0) > 200000 FROM cgpsync_progress")
                == "t"
    });
    assert!(!run.is_finished(), "{:?}", run.join());
    run
}

const SESSIONS: &str = "pg_stat_activity WHERE application_name LIKE 'cgpsync run%'";

fn until_gone(clusters: &Clusters) {
    poll("its sessions are gone", SOON, || {
        [&clusters.source, &clusters.target]
            .iter()
            .all(|cluster| cluster.text(&format!("SELECT count(*) FROM {SESSIONS}")) == "0")
    });
}

/// Asserts that it is all the old rows or all the new ones, as the call has said, and that another call finishes.
fn is_whole(clusters: &Clusters, ended: Result<usize, String>, what: &str) {
    until_gone(clusters);
    match &ended {
        Ok(_) => clusters.same_rows("loads", "true"),
        Err(_) => assert_eq!(
            clusters.target.text("SELECT string_agg(v, ',') FROM loads"),
            "old",
            "{what}: {ended:?}"
        ),
    }
    clusters.nothing_is_left();
    let mut client = clusters.between.connect();
    client.batch_execute("SET cgpsync.max_rate = 0").expect("a setting");
    let units = clusters
        .sync_as(&mut client, SYNC)
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(units.len(), 1, "{what}: {units:?}");
    clusters.same_rows("loads", "true");
    clusters.nothing_is_left();
    clusters
        .target
        .sql("TRUNCATE loads; INSERT INTO loads VALUES (1, 'old')");
}

/// Both ways to replace a partition.
const WAYS: [&str; 2] = ["exchange", "truncate"];

fn in_each_way(story: &str, end: impl Fn(&Clusters)) {
    let clusters = loads(story);
    for way in WAYS {
        let run = until_loading(&clusters, &format!("{SYNC}, replace => '{way}'"));
        end(&clusters);
        let ended = run.join();
        is_whole(&clusters, ended, way);
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn the_worker_here() {
    in_each_way("worker", |clusters| {
        let ended =
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'cgpsync worker'";
        assert_eq!(clusters.between.text(ended), "1");
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn the_coordinator_here() {
    in_each_way("coordinator", |clusters| {
        let ended =
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'cgpsync coordinator'";
        assert_eq!(clusters.between.text(ended), "1");
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn the_loading_session_of_the_target() {
    in_each_way("backend", |clusters| {
        let ended = format!("SELECT count(pg_terminate_backend(pid)) FROM {SESSIONS} AND query LIKE 'COPY%'");
        assert_eq!(clusters.target.text(&ended), "1");
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn every_session_of_the_target() {
    in_each_way("backends", |clusters| {
        clusters
            .target
            .text(&format!("SELECT count(pg_terminate_backend(pid)) FROM {SESSIONS}"));
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn processes_of_the_targets_segments() {
    in_each_way("segments", |clusters| {
        let session = clusters
            .target
            .text(&format!("SELECT max(sess_id) FROM {SESSIONS} AND query LIKE 'COPY%'"));
        clusters.target.text(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM gp_dist_random('pg_stat_activity') WHERE sess_id = {session}"
        ));
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn the_session_of_the_source() {
    in_each_way("source", |clusters| {
        clusters
            .source
            .text(&format!("SELECT count(pg_terminate_backend(pid)) FROM {SESSIONS}"));
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn the_server_between() {
    let mut clusters = loads("server");
    for way in WAYS {
        let run = until_loading(&clusters, &format!("{SYNC}, replace => '{way}'"));
        clusters.between.kill_all();
        let ended = run.join();
        assert!(ended.is_err(), "{ended:?}");
        clusters.between.boot();
        is_whole(&clusters, ended, way);
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_cancel_ends_all_within_two_seconds() {
    let clusters = loads("cancelled");
    for way in WAYS {
        let run = until_loading(&clusters, &format!("{SYNC}, replace => '{way}'"));
        let begun = std::time::Instant::now();
        run.cancel.cancel_query(NoTls).expect("a cancel request");
        until_gone(&clusters);
        let took = begun.elapsed();
        let ended = run.join();
        assert!(
            ended.as_ref().is_err_and(|error| error.starts_with("57014")),
            "{ended:?}"
        );
        assert!(took < Duration::from_secs(2), "{took:?}");
        is_whole(&clusters, ended, way);
    }
}
