//! The password of a mapping is in no log, view, message, process title or table, whatever fails.

use crate::support::proxy::Proxy;
use crate::support::{Pair, SOON, poll};

const PASSWORD: &str = "vErY-seCret_pa55";

/// Calls that end in every kind of failure, and some that succeed: server, and the call.
fn calls() -> Vec<(&'static str, &'static str)> {
    let sync = "cgpsync_sync('persons', '20170201', source => 'SERVER')";
    vec![
        ("good", sync),
        ("good", "cgpsync_plan('persons', '20170201', source => 'SERVER')"),
        ("good", "cgpsync_verify('persons', '20170201', source => 'SERVER')"),
        ("good", "cgpsync_create_table('persons', 'other', 'SERVER')"),
        ("good", "cgpsync_sync('persons', 'no date', source => 'SERVER')"),
        (
            "good",
            "cgpsync_sync('persons', '20170201', source => 'SERVER', source_table => 'nothing')",
        ),
        ("good", "cgpsync_sync('closed', '20170201', source => 'SERVER')"),
        ("wrong_user", sync),
        ("wrong_database", sync),
        ("wrong_port", sync),
        ("wrong_host", sync),
        ("wrong_password", sync),
        ("flaky", sync),
    ]
}

#[test]
fn no_log_view_message_or_table_shows_a_password() {
    let pair = Pair::with(
        "log_statement = all\nlog_min_messages = debug5",
        "log_statement = all\nlog_min_messages = debug5\nlog_min_error_statement = debug5\ncgpsync.max_retries = 1\n\
         client_min_messages = debug1\nlog_parameter_max_length_on_error = -1",
    );
    pair.persons(200);
    pair.both("CREATE TABLE closed (i int)");
    pair.source.sql(&format!(
        "INSERT INTO closed VALUES (1); CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    ));
    pair.target.sql("ALTER TABLE closed ADD CHECK (i < 0)");
    let proxy = Proxy::start(pair.source.port);
    let port = pair.source.port;
    // The statements that hold the password are the user's own, and in the log because of log_statement: written over another connection
    // setting, so that all that is left is ours.
    let mut client = pair.target.connect();
    client
        .batch_execute("SET log_statement = none; SET log_min_messages = fatal; SET log_min_error_statement = panic")
        .expect("settings");
    for (server, host, port, dbname, user, password) in [
        ("good", "127.0.0.1", port, "postgres", "reader", PASSWORD),
        ("wrong_user", "127.0.0.1", port, "postgres", "nobody", PASSWORD),
        ("wrong_database", "127.0.0.1", port, "nothing", "reader", PASSWORD),
        ("wrong_port", "127.0.0.1", 1, "postgres", "reader", PASSWORD),
        (
            "wrong_host",
            "no.such.host.invalid",
            port,
            "postgres",
            "reader",
            PASSWORD,
        ),
        (
            "wrong_password",
            "127.0.0.1",
            port,
            "postgres",
            "reader",
            "vErY-seCret_pa55-of-another",
        ),
        ("flaky", "127.0.0.1", proxy.port, "postgres", "reader", PASSWORD),
    ] {
        client
            .batch_execute(&format!(
                "CREATE SERVER {server} FOREIGN DATA WRAPPER cgpsync OPTIONS (host '{host}', port '{port}', dbname '{dbname}');
                 CREATE USER MAPPING FOR postgres SERVER {server} OPTIONS (user '{user}', password '{password}')"
            ))
            .expect("a server");
    }
    drop(client);
    let mut told = String::new();
    for (server, call) in calls() {
        if server == "flaky" {
            proxy.cut_after(5_000);
        }
        let (mut client, notices) = pair.target.connect_with_notices();
        let sql = format!("SELECT * FROM {}", call.replace("SERVER", server));
        match client.simple_query(&sql) {
            Ok(_) => assert_eq!(server, "good", "{sql}"),
            Err(error) => told += &format!("{error:?}\n"),
        }
        told += &notices.lock().expect("a lock").join("\n");
    }
    assert!(
        told.contains("password authentication failed") && told.contains("check constraint"),
        "{told}"
    );
    assert!(!told.contains(PASSWORD), "an error or a NOTICE shows it");

    pair.source
        .sql("CREATE VIEW crawling AS SELECT i FROM closed, LATERAL (SELECT pg_sleep(60) WHERE i > 0) s; GRANT SELECT ON crawling TO reader");
    let run = pair.sync_in_background("'closed', '20170201', source => 'good', source_table => 'crawling'");
    poll("the source is at work", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'")
            == "1"
    });
    let ps = std::process::Command::new("ps")
        .args(["-ewwo", "args"])
        .output()
        .expect("ps runs");
    let ps = String::from_utf8_lossy(&ps.stdout).into_owned();
    assert!(ps.contains("cgpsync worker"), "{ps}");
    assert!(!ps.contains(PASSWORD), "a process title shows it");
    for cluster in [&pair.target, &pair.source] {
        let shown =
            cluster.text("SELECT string_agg(a::text, ' ') FROM pg_stat_activity a WHERE pid <> pg_backend_pid()");
        assert!(!shown.contains(PASSWORD), "pg_stat_activity shows it");
    }
    let history = pair.target.text(
        "SELECT (SELECT string_agg(r::text, ' ') FROM cgpsync_run r) || (SELECT string_agg(p::text, ' ') FROM cgpsync_run_partition p)
                || (SELECT string_agg(g::text, ' ') FROM cgpsync_progress g)",
    );
    assert!(
        history.contains("good") && !history.contains(PASSWORD),
        "the history shows it"
    );
    run.cancel.cancel_query(postgres::NoTls).expect("a cancel");
    run.join().expect_err("cancelled");
    let log = pair.target.log();
    assert!(log.contains("DEBUG:  CommitTransaction"), "debug5 is on");
    assert!(!log.contains(PASSWORD), "the target's log shows it");
    assert!(
        !pair
            .source
            .log()
            .lines()
            .any(|line| line.contains(PASSWORD) && !line.contains("CREATE ROLE reader")),
        "the source's log shows it"
    );
}
