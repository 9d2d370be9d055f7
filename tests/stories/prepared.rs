//! A transaction that was prepared and forgotten has locks and no process. It is named, on either side.

use crate::support::{Pair, swapped};

const SETTINGS: &str =
    "SET cgpsync.lock_timeout = '300ms'; SET cgpsync.swap_timeout = '1s'; SET cgpsync.max_retries = 1";

fn pair() -> Pair {
    let prepared = "max_prepared_transactions = 5";
    let pair = Pair::with(prepared, prepared);
    pair.both(
        "CREATE TABLE t (id int, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source
        .sql("INSERT INTO t SELECT g, '2017-01-05' FROM generate_series(1, 100) g");
    pair
}

/// Prepares `sql` as transaction `forgotten`.
fn prepare(cluster: &crate::support::cluster::Cluster, sql: &str) {
    let mut client = cluster.connect();
    for statement in ["BEGIN", sql, "PREPARE TRANSACTION 'forgotten'"] {
        client.batch_execute(statement).expect(statement);
    }
}

#[test]
fn one_that_keeps_a_partition_from_being_replaced_is_named_with_what_ends_it() {
    let pair = pair();
    // Before the load, against the lock that shows the rows, and against TRUNCATE.
    for (held, arguments) in [
        ("INSERT INTO t_1 VALUES (1, '2017-01-01')", ""),
        ("LOCK TABLE t_1 IN ACCESS SHARE MODE", ""),
        ("LOCK TABLE t_1 IN ACCESS SHARE MODE", ", replace => 'truncate'"),
        ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", ""),
    ] {
        prepare(&pair.target, held);
        let mut client = pair.target.connect();
        client.batch_execute(SETTINGS).expect("settings");
        let error = pair
            .sync_as(&mut client, &format!("'t', '20170131', since => '20170101'{arguments}"))
            .expect_err("it is locked");
        assert_eq!(error.code().code(), "55P03", "{held}: {error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("\"forgotten\" of role postgres, since 20"),
            "{held}: {detail}"
        );
        assert!(detail.contains("ROLLBACK PREPARED"), "{held}: {detail}");
        pair.target.sql("ROLLBACK PREPARED 'forgotten'");
    }
    assert_eq!(pair.copied("'t', '20170131'"), ["t_1"]);
    pair.same_rows("t", "true");
}

#[test]
fn one_that_somebody_waits_for_who_is_in_the_way_is_named_too() {
    let pair = pair();
    pair.target.sql("CREATE TABLE other (i int)");
    prepare(&pair.target, "LOCK TABLE other");
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM t_1")
        .expect("a reader");
    let reader = std::thread::spawn(move || reader.batch_execute("SELECT count(*) FROM other; COMMIT"));
    let mut client = pair.target.connect();
    client.batch_execute(SETTINGS).expect("settings");
    let error = pair.sync_as(&mut client, "'t', '20170131'").expect_err("it is read");
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains("Processes that hold a lock"), "{detail}");
    assert!(detail.contains("\"forgotten\" of role postgres"), "{detail}");
    pair.target.sql("ROLLBACK PREPARED 'forgotten'");
    reader.join().expect("a thread").expect("it goes on");
}

#[test]
fn one_of_the_source_is_not_waited_for_in_silence() {
    let pair = pair();
    prepare(&pair.source, "TRUNCATE t_1");
    let mut client = pair.target.connect();
    client.batch_execute(SETTINGS).expect("settings");
    let error = pair.sync_as(&mut client, "'t', '20170131'").expect_err("it is locked");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains("\"forgotten\" of role postgres, since 20"), "{detail}");
    let told = swapped::ask(&mut client, "SELECT error FROM cgpsync_verify('t')");
    assert!(told.contains("\"forgotten\" of role postgres"), "{told}");
    pair.source.sql("ROLLBACK PREPARED 'forgotten'");
    pair.sync_as(&mut client, "'t', '20170131'").expect("a sync");
    // And one here that keeps verify from reading.
    prepare(&pair.target, "TRUNCATE t_1");
    let told = swapped::ask(&mut client, "SELECT error FROM cgpsync_verify('t')");
    assert!(told.contains("\"forgotten\" of role postgres"), "{told}");
}
