//! A resolver that does not answer: what limits a call, or ends it, ends its wait for a name, too.

use crate::support::clock::Clock;
use crate::support::cluster::{Cluster, Side, story_dir};
use crate::support::{Pair, SOON, poll};
use postgres::error::DbError;
use postgres::{CancelToken, NoTls};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

const PLAN: &str = "SELECT * FROM cgpsync_plan('t', '1', source => 'slow')";
const SYNC: &str = "SELECT * FROM cgpsync_sync('t', '1', source => 'slow')";

/// The target's resolver is dead for the host of servers `slow`, which has a minute to connect, and `impatient`, which has a second.
fn pair() -> Pair {
    let library = story_dir().join("slow_resolver.so").display().to_string();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &library])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/slow_resolver.c"))
        .arg("-ldl")
        .status();
    assert!(built.expect("cc runs").success());
    let environment = vec![("LD_PRELOAD".to_owned(), library)];
    let pair = Pair {
        source: Cluster::source(""),
        target: Cluster::start_in(Side::Target, "", environment),
    };
    pair.target.sql("CREATE EXTENSION cgpsync");
    pair.create_server("src", pair.source.port);
    for (name, timeout) in [("slow", 60), ("impatient", 1)] {
        pair.create_server(name, pair.source.port);
        pair.target.sql(&format!(
            "ALTER SERVER {name} OPTIONS (SET host 'slow.test', ADD connect_timeout '{timeout}')"
        ));
    }
    pair.both("CREATE TABLE t (i int)");
    pair.source.sql("INSERT INTO t VALUES (1)");
    pair
}

fn threads(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn until_resolving(pid: &str) {
    poll("it is resolving a name", SOON, || threads(pid) == 2);
}

/// The coordinator's process, once it waits for the resolver.
fn coordinator(pair: &Pair) -> String {
    let find = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync coordinator'";
    poll("there is a coordinator", SOON, || !pair.target.text(find).is_empty());
    let pid = pair.target.text(find);
    until_resolving(&pid);
    pid
}

/// A call in a session of its own, which waits for the resolver.
struct Plan {
    pid: String,
    cancel: CancelToken,
    thread: JoinHandle<Option<DbError>>,
}

impl Plan {
    fn start(pair: &Pair) -> Plan {
        let mut client = pair.target.connect();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let thread = std::thread::spawn(move || {
            let error = client.batch_execute(PLAN).expect_err("it is ended");
            error.as_db_error().cloned()
        });
        let pid = pid.to_string();
        until_resolving(&pid);
        Plan { pid, cancel, thread }
    }

    /// SQLSTATE of its error, at once.
    fn code(self) -> String {
        let clock = Clock::start();
        let error = self.thread.join().expect("the thread ends");
        let took = clock.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        // A session that is terminated may be closed before its last words are read.
        error.map_or_else(|| "57P01".to_owned(), |error| error.code().code().to_owned())
    }
}

#[test]
fn a_name_has_as_long_to_resolve_as_a_connection_to_open() {
    let pair = pair();
    for sql in [PLAN, SYNC] {
        let mut client = pair.target.connect();
        let start = Clock::start();
        let error = client
            .batch_execute(&sql.replace("slow", "impatient"))
            .expect_err("a timeout");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{sql}: {took:?}");
        let error = error.as_db_error().expect("the server's error");
        assert_eq!(error.code().code(), "08001", "{error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("host slow.test") && detail.contains("did not resolve within 1 s"),
            "{error:?}"
        );
        assert!(error.hint().unwrap_or_default().contains("name servers"), "{error:?}");
    }
    pair.all_gone();
    // Names that do resolve, in the same server, and errors of the resolver.
    pair.target.sql("ALTER SERVER slow OPTIONS (SET host 'localhost')");
    pair.target.sql(SYNC);
    assert_eq!(pair.target.text("SELECT sum(i) FROM t"), "1");
    pair.target
        .sql("ALTER SERVER impatient OPTIONS (SET host 'no.invalid')");
    let plan = PLAN.replace("slow", "impatient");
    let error = pair.target.connect().batch_execute(&plan).expect_err("no such host");
    let error = error.as_db_error().expect("the server's error");
    assert_eq!(error.code().code(), "08001", "{error:?}");
    assert!(
        error.detail().unwrap_or_default().contains("host no.invalid"),
        "{error:?}"
    );
}

#[test]
fn statement_timeout_ends_the_wait_for_a_name() {
    let pair = pair();
    let mut client = pair.target.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    client
        .batch_execute("SET statement_timeout = '500ms'")
        .expect("a setting");
    for sql in [PLAN, SYNC, PLAN, PLAN] {
        let start = Clock::start();
        let error = client.batch_execute(sql).expect_err("a timeout");
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1500), "{sql}: {took:?}");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
        pair.all_gone_within_two_seconds(start);
    }
    // All its calls wait for the same answer.
    assert_eq!(threads(&pid.to_string()), 2);
    client.batch_execute("RESET statement_timeout").expect("a setting");
    client
        .batch_execute(&SYNC.replace("slow", "src"))
        .expect("the session works");
    drop(client);
    poll("the session ends without waiting for its thread", SOON, || {
        threads(&pid.to_string()) == 0
    });
    assert_eq!(pair.target.text("SELECT sum(i) FROM t"), "1");
}

#[test]
fn cancels_and_terminations_end_the_wait_for_a_name() {
    let pair = pair();
    let plan = Plan::start(&pair);
    plan.cancel.cancel_query(NoTls).expect("a cancel request");
    assert_eq!(plan.code(), "57014");

    let plan = Plan::start(&pair);
    pair.target.sql(&format!("SELECT pg_terminate_backend({})", plan.pid));
    assert_eq!(plan.code(), "57P01");

    let run = pair.sync_in_background("'t', '1', source => 'slow'");
    coordinator(&pair);
    let start = Clock::start();
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(start);
    assert!(run.join().expect_err("cancelled").starts_with("57014"));

    let run = pair.sync_in_background("'t', '1', source => 'slow'");
    let pid = coordinator(&pair);
    let start = Clock::start();
    pair.target.sql(&format!("SELECT pg_terminate_backend({pid})"));
    pair.all_gone_within_two_seconds(start);
    let error = run.join().expect_err("terminated");
    assert!(error.starts_with("57P01"), "{error}");
    // Exiting with a thread that is not through has hurt nobody: a crash would have ended all sessions.
    let log = pair.target.log();
    assert!(!log.contains("was terminated by signal"), "{log}");
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_name() {
    let mut pair = pair();
    let plan = Plan::start(&pair);
    let run = pair.sync_in_background("'t', '1', source => 'slow'");
    coordinator(&pair);
    let start = Clock::start();
    pair.target.stop("INT");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    run.join().expect_err("shut down");
    assert_eq!(plan.code(), "57P01");
    let log = pair.target.log();
    assert!(!log.contains("was terminated by signal"), "{log}");
    pair.target.boot();
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "0");
}
