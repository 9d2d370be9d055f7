//! Whatever ends a call that writes a table on another server, within two seconds nothing of the run is left here, over there or on the source.

use crate::support::clock::Clock;
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;
use crate::support::trio::Trio;
use crate::support::{Background, SOON, poll};
use postgres::NoTls;

/// How a run is ended, from outside.
#[derive(Debug, Clone, Copy)]
enum End {
    CtrlC,
    Cancel,
    Terminate,
}

const ENDS: [End; 3] = [End::CtrlC, End::Cancel, End::Terminate];

/// Eight megabytes of the source in one partition, of which the target has an old row.
fn tables(trio: &Trio) {
    trio.both("CREATE TABLE t (i int, v text) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10000)");
    trio.pair
        .source
        .sql("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 8000) g");
    trio.there.sql("INSERT INTO t VALUES (0, 'old')");
    trio.attach("t");
}

/// With what `between` says for the server with the extension.
fn trio(between: &str) -> Trio {
    let trio = Trio::with("", between, "");
    tables(&trio);
    trio
}

/// Slow enough to be caught in the middle.
const SLOWLY: &str = "cgpsync.max_rate = '1MB'";

fn begin(trio: &Trio, more: &str) -> Background {
    trio.pair
        .sync_in_background(&format!("'t', '10000', 1, source => 'src'{more}"))
}

fn until_waiting(trio: &Trio) {
    poll("the worker's session waits for a lock", SOON, || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%' AND wait_event_type = 'Lock'";
        trio.text(waiting) == "1"
    });
}

/// Ends the run, and asserts that in time nothing is left: of its sessions, on `servers`.
fn end_it(trio: &Trio, run: Background, end: End, servers: &[&Cluster]) {
    let here = &trio.pair.target;
    let id = here.text("SELECT max(run_id) FROM cgpsync_run");
    let start = Clock::start();
    match end {
        End::CtrlC => run.cancel.cancel_query(NoTls).expect("a cancel request"),
        End::Cancel => here.sql(&format!("SELECT cgpsync_cancel({id})")),
        End::Terminate => here
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cgpsync coordinator'"),
    }
    trio.pair.gone_within_two_seconds(start, servers);
    let error = run.join().expect_err("it was ended");
    assert!(error.starts_with("57"), "{end:?}: {error}");
    let rows = format!(
        "SELECT r.status || ' ' || p.status FROM cgpsync_run r JOIN cgpsync_run_partition p USING (run_id) WHERE run_id = {id}"
    );
    assert_eq!(here.text(&rows), "cancelled cancelled", "{end:?}");
}

/// The target is as it was, and free.
fn assert_untouched(trio: &Trio) {
    assert_eq!(trio.text("SELECT string_agg(v, ',') FROM t"), "old");
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%cgpsync%'";
    assert_eq!(trio.text(left), "0");
    assert_eq!(
        trio.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
        "0"
    );
}

#[test]
fn in_the_middle_of_the_copy() {
    let trio = trio(SLOWLY);
    for end in ENDS {
        for more in ["", ", replace => 'truncate'"] {
            let run = begin(&trio, more);
            trio.until_copying();
            end_it(&trio, run, end, &[&trio.pair.source, &trio.there]);
            assert_untouched(&trio);
        }
    }
}

#[test]
fn waiting_for_a_lock_over_there() {
    let trio = trio("");
    let mut holder = trio.there.connect();
    // An exchange tries for the parent again and again; a TRUNCATE waits for the partition.
    for (table, more) in [("t", ""), ("t_1", ", replace => 'truncate'")] {
        holder
            .batch_execute(&format!("BEGIN; LOCK TABLE ONLY {table} IN ACCESS SHARE MODE"))
            .expect("a lock");
        for end in ENDS {
            let run = begin(&trio, more);
            until_waiting(&trio);
            end_it(&trio, run, end, &[&trio.pair.source, &trio.there]);
        }
        holder.batch_execute("COMMIT").expect("the end");
        assert_untouched(&trio);
    }
}

/// Neither end answers: trying to tell both has to take no longer than telling one.
#[test]
fn with_both_networks_silent() {
    let trio = trio(SLOWLY);
    let networks = [("src", &trio.pair.source), ("dr", &trio.there)].map(|(server, cluster)| {
        let proxy = Proxy::start(cluster.port);
        let port = format!("ALTER SERVER {server} OPTIONS (SET port '{}')", proxy.port);
        trio.pair.target.sql(&port);
        proxy
    });
    for end in ENDS {
        let run = begin(&trio, "");
        trio.until_copying();
        networks.iter().for_each(Proxy::freeze);
        end_it(&trio, run, end, &[]);
        networks.iter().for_each(Proxy::heal);
        poll("its sessions have ended", SOON, || {
            let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'";
            [&trio.pair.source, &trio.there]
                .iter()
                .all(|server| server.text(sessions) == "0")
        });
        assert_untouched(&trio);
    }
}

/// What cannot be reached is not told; it notices when the network is back, or by its keepalives.
#[test]
fn with_a_target_that_takes_nothing_any_more() {
    let trio = trio(SLOWLY);
    let proxy = Proxy::start(trio.there.port);
    trio.pair
        .target
        .sql(&format!("ALTER SERVER dr OPTIONS (SET port '{}')", proxy.port));
    for end in ENDS {
        let run = begin(&trio, "");
        trio.until_copying();
        proxy.freeze();
        end_it(&trio, run, end, &[&trio.pair.source]);
        proxy.heal();
        poll("its sessions have ended", SOON, || {
            trio.text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%'") == "0"
        });
        assert_untouched(&trio);
    }
    trio.pair.target.sql("ALTER SYSTEM SET cgpsync.max_rate = 0");
    trio.pair.target.sql("SELECT pg_reload_conf()");
    trio.pair.copied("'t', '10000', source => 'src'");
    trio.same_rows("t", "true");
}
