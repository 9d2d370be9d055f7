//! Several hosts for one server, as in libpq: which of them a session is on, and what becomes of a run whose source fails over.

use crate::support::cluster::{Cluster, free_port};
use crate::support::{Pair, SOON, poll};

/// A pair and a standby of its source, which has all of it.
fn with_standby(conf: &str) -> (Pair, Cluster) {
    let pair = Pair::with("", conf);
    pair.persons(50);
    pair.both("CREATE TABLE t (i int)");
    pair.source.sql("INSERT INTO t VALUES (1)");
    let standby = pair.source.standby();
    let position = pair.source.text("SELECT pg_current_wal_lsn()");
    poll("the standby has replayed all", SOON, || {
        standby.text(&format!("SELECT pg_last_wal_replay_lsn() >= '{position}'")) == "t"
    });
    (pair, standby)
}

/// Sets the options of server `src`, of which `host` and `port` are there.
fn set(pair: &Pair, ports: &str, attributes: &str) {
    let hosts = ports.split(',').map(|_| "127.0.0.1").collect::<Vec<_>>().join(",");
    pair.target.sql(&format!(
        "DROP SERVER src CASCADE;
         CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '{hosts}', port '{ports}', dbname 'postgres'{attributes});
         CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret')"
    ));
}

/// The port of the server that the last run has read.
fn reached(pair: &Pair) -> String {
    pair.target
        .text("SELECT substring(source_peer, '[0-9]+$') FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
}

#[test]
fn a_session_is_on_the_first_server_that_is_what_is_asked_for() {
    let (pair, standby) = with_standby("");
    let (primary, standby_port, nobody) = (pair.source.port, standby.port, free_port());
    for (ports, attributes, expected) in [
        (format!("{nobody},{primary}"), "", primary),
        (format!("{standby_port},{primary}"), "", standby_port),
        (
            format!("{standby_port},{primary}"),
            ", target_session_attrs 'read-write'",
            primary,
        ),
        (
            format!("{standby_port},{primary}"),
            ", target_session_attrs 'primary'",
            primary,
        ),
        (
            format!("{primary},{standby_port}"),
            ", target_session_attrs 'standby'",
            standby_port,
        ),
        (
            format!("{primary},{standby_port}"),
            ", target_session_attrs 'read-only'",
            standby_port,
        ),
        (
            format!("{primary},{standby_port}"),
            ", target_session_attrs 'prefer-standby'",
            standby_port,
        ),
        (
            format!("{primary},{nobody}"),
            ", target_session_attrs 'prefer-standby'",
            primary,
        ),
    ] {
        set(&pair, &ports, attributes);
        assert_eq!(pair.copied("'t'"), ["t"], "{ports}{attributes}");
        assert_eq!(reached(&pair), expected.to_string(), "{ports}{attributes}");
    }
    // Each session of a run goes where the first one went.
    set(
        &pair,
        &format!("{primary},{standby_port}"),
        ", load_balance_hosts 'random'",
    );
    let mut seen = std::collections::HashSet::new();
    for _ in 0..40 {
        pair.copied("'t'");
        seen.insert(reached(&pair));
        if seen.len() == 2 {
            break;
        }
    }
    assert_eq!(seen.len(), 2, "both are used");
    set(
        &pair,
        &format!("{standby_port},{primary}"),
        ", target_session_attrs 'primary'",
    );
    pair.copied("'persons', '20171231', 3");
    pair.same_rows("persons", "true");
}

#[test]
fn what_no_server_of_the_list_is_says_so_of_each_and_the_way_out_works() {
    let (pair, standby) = with_standby("cgpsync.max_retries = 0");
    let (primary, nobody) = (pair.source.port, free_port());
    set(
        &pair,
        &format!("{},{nobody}", standby.port),
        ", target_session_attrs 'read-write'",
    );
    let error = pair.sync("'t'").expect_err("no primary");
    assert_eq!(error.code().code(), "08001", "{error:?}");
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains(&format!(
            "port {}: the source is a standby, and target_session_attrs is \"read-write\"",
            standby.port
        )) && detail.contains(&format!("port {nobody}: ")),
        "{detail}"
    );
    set(
        &pair,
        &format!("{},{primary}", standby.port),
        ", target_session_attrs 'read-write'",
    );
    pair.copied("'t'");
    set(&pair, &primary.to_string(), ", target_session_attrs 'standby'");
    let error = pair.sync("'t'").expect_err("a primary");
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains("host 'a,b'") && hint.contains("target_session_attrs"),
        "{hint}"
    );
    // A password that is wrong here is wrong there: the next one is not asked.
    set(&pair, &format!("{primary},{}", standby.port), "");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'wrong')");
    let error = pair.sync("'t'").expect_err("a wrong password");
    assert_eq!(error.code().code(), "28P01", "{error:?}");
    assert!(!standby.log().contains("password authentication failed"));
    let error = pair
        .target
        .connect()
        .batch_execute("ALTER SERVER src OPTIONS (SET port '1,2,x')")
        .expect_err("no port");
    assert_eq!(error.code().expect("a code").code(), "22023");
    pair.target.sql("ALTER SERVER src OPTIONS (SET port '1,2,3')");
    let error = pair.sync("'t'").expect_err("three ports for two hosts");
    assert!(error.message().contains("3 ports do not go with 2 hosts"), "{error:?}");
    pair.target.sql(&format!(
        "ALTER SERVER src OPTIONS (SET port '{primary}', SET host '127.0.0.1');
         ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'secret')"
    ));
    pair.copied("'t'");
}

#[test]
fn a_run_whose_source_fails_over_goes_on_in_a_new_snapshot_and_says_so() {
    let (mut pair, standby) = with_standby("cgpsync.max_retries = 500");
    set(
        &pair,
        &format!("{},{}", pair.source.port, standby.port),
        ", target_session_attrs 'read-write'",
    );
    let mut holder = pair.source.connect();
    holder
        .batch_execute("BEGIN; LOCK TABLE persons_201705")
        .expect("a lock");
    let run = pair.sync_in_background("'persons', '20171231', 1");
    poll("some partitions are done and some are not", SOON, || {
        pair.target.text("SELECT count(*) FILTER (WHERE status = 'done') BETWEEN 1 AND 11 AND count(*) FILTER (WHERE status = 'copying') = 1 FROM cgpsync_run_partition") == "t"
    });
    pair.source.stop("QUIT");
    standby.sql("SELECT pg_promote()");
    assert_eq!(run.join(), Ok(12));
    let said = pair.target.text("SELECT message FROM cgpsync_run");
    assert!(
        said.contains("the source is another server now") && said.contains("are read in a new one"),
        "{said}"
    );
    assert_eq!(reached(&pair), standby.port.to_string());
    assert_eq!(pair.target.text("SELECT count(*) FROM persons"), "600");
    // The point is the same database's, wherever it is now.
    assert_eq!(pair.copied("'persons', '20171231'"), ["persons_201712"]);
}
