//! A role in a resource queue that others keep busy.

use crate::support::greenplum::{Clusters, words};
use crate::support::{SOON, poll};
use postgres::Client;

/// `persons` of a role whose queue lets one statement through at a time.
fn queued(story: &str) -> (Clusters, String) {
    let clusters = Clusters::persons(story, 1000);
    let loader = clusters.target.create_role("loader");
    clusters.map("dr", &loader);
    let schema = &clusters.schema;
    let queue = format!("{loader}_queue");
    // Superusers pass it by.
    clusters
        .target
        .sql(&format!("CREATE RESOURCE QUEUE {queue} WITH (ACTIVE_STATEMENTS = 1)"));
    clusters.target.sql(&format!(
        "ALTER ROLE {loader} RESOURCE QUEUE {queue}; GRANT USAGE, CREATE ON SCHEMA {schema} TO {loader}; ALTER TABLE persons OWNER TO {loader}"
    ));
    (clusters, loader)
}

/// A statement in the role's queue that does not end by itself.
fn busy(clusters: &Clusters, role: &str) -> Client {
    let mut client = clusters.target.connect_as(role);
    client
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM persons; FETCH 1 FROM c")
        .expect("a place in the queue");
    client
}

/// Waits until the run waits in the queue, and says so.
fn until_progress_tells(clusters: &Clusters) {
    poll("progress tells of the queue", SOON, || {
        clusters
            .between
            .text("SELECT count(*) FROM cgpsync_progress p WHERE p::text LIKE '%resource queue%'")
            == "1"
    });
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_queue_that_stays_busy_is_a_lock_not_had() {
    let (clusters, loader) = queued("queue_busy");
    if clusters.target.text("SHOW gp_resource_manager") != "queue" {
        return crate::support::needs::note("the target has no resource queues");
    }
    let _busy = busy(&clusters, &loader);
    let run = clusters.in_background(
        "'persons', '20170115', 1",
        "SET cgpsync.lock_timeout = '2s'; SET cgpsync.max_retries = 0",
    );
    until_progress_tells(&clusters);
    let error = run.join().expect_err("the queue is busy");
    assert!(
        error.starts_with("55P03") && error.contains("resource queue"),
        "{error}"
    );
    assert_eq!(clusters.target.content("persons", "true"), "0 0");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_queue_that_gets_free_in_time_is_waited_for() {
    let (clusters, loader) = queued("queue_freed");
    if clusters.target.text("SHOW gp_resource_manager") != "queue" {
        return crate::support::needs::note("the target has no resource queues");
    }
    let mut busy = busy(&clusters, &loader);
    let run = clusters.in_background("'persons', '20170215', 1", "");
    until_progress_tells(&clusters);
    busy.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    clusters.all_exchanged();
    clusters.same_rows("persons", "born < '2017-03-01'");
}

/// One place is enough for a run, whose sessions take turns.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn more_workers_than_places_take_turns() {
    let (clusters, _) = queued("queue_shared");
    assert_eq!(clusters.copied("'persons', '20170630', 4").len(), 6);
    clusters.same_rows("persons", "true");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_queue_of_the_source_counts_as_well() {
    let clusters = Clusters::persons("queue_source", 1000);
    let reader = clusters.source.create_role("reader");
    clusters.map("prod", &reader);
    let (schema, queue) = (&clusters.schema, format!("{reader}_queue"));
    clusters
        .source
        .sql(&format!("CREATE RESOURCE QUEUE {queue} WITH (ACTIVE_STATEMENTS = 1)"));
    clusters.source.sql(&format!(
        "ALTER ROLE {reader} RESOURCE QUEUE {queue}; GRANT USAGE ON SCHEMA {schema} TO {reader}; GRANT SELECT ON persons TO {reader}"
    ));
    let mut busy = clusters.source.connect_as(&reader);
    let cursor = "BEGIN; DECLARE c CURSOR FOR SELECT * FROM persons; FETCH 1 FROM c";
    busy.batch_execute(cursor).expect("a place in the queue");
    let mut client = clusters.between.connect();
    client
        .batch_execute("SET cgpsync.lock_timeout = '2s'; SET cgpsync.max_retries = 0")
        .expect("settings");
    let error = clusters
        .sync_as(&mut client, "'persons', '20170115', 1")
        .expect_err("the queue is busy");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    assert!(words(&error).contains("server \"prod\""), "{error:?}");
    busy.batch_execute("COMMIT").expect("the end");
    clusters.copied("'persons', '20170115', 1");
    clusters.same_rows("persons", "born < '2017-02-01'");
}
