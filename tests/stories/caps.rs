//! cgpsync.max_parallelism is the administrator's, whatever a client says when it connects.

use crate::support::{Notices, Pair};
use postgres::{Client, NoTls};
use std::sync::{Arc, Mutex};

/// A pair whose administrator allows two workers; `loader` may sync and compare.
fn pair() -> Pair {
    let pair = Pair::with("", "cgpsync.max_parallelism = 2");
    pair.persons(3);
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         GRANT SELECT, INSERT, TRUNCATE ON ALL TABLES IN SCHEMA public TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
    pair
}

/// A session of `role` with options as PGOPTIONS has them. It has not used cgpsync yet.
fn session(pair: &Pair, role: &str, options: &str) -> (Client, Notices) {
    let notices: Notices = Arc::new(Mutex::new(Vec::new()));
    let sink = notices.clone();
    let mut config = pair.target.config();
    config
        .user(role)
        .options(options)
        .notice_callback(move |notice| sink.lock().expect("a lock").push(notice.message().to_owned()));
    (config.connect(NoTls).expect("a connection"), notices)
}

/// What was said of parallelism since the last time.
fn said(notices: &Notices) -> Vec<String> {
    let all = std::mem::take(&mut *notices.lock().expect("a lock"));
    all.into_iter().filter(|text| text.contains("parallelism is")).collect()
}

const VERIFY: &str = "SELECT count(*) FROM cgpsync_verify('persons', '20171231', parallelism => 5)";

#[test]
fn a_clients_options_do_not_get_round_the_cap() {
    let pair = pair();
    for options in [
        "",
        "-c cgpsync.max_parallelism=7",
        "-c cgpsync.max_parallelism=256",
        "--cgpsync.max-parallelism=7",
        "-c CGPSYNC.Max_Parallelism=7",
    ] {
        let (mut client, notices) = session(&pair, "loader", options);
        pair.sync_as(&mut client, "'persons', '20171231', 200")
            .expect("it runs");
        let told = said(&notices);
        assert_eq!(told.len(), 1, "{options}: {told:?}");
        assert!(
            told[0].contains("parallelism is 2, not 200: cgpsync.max_parallelism allows no more"),
            "{options}: {told:?}"
        );
        assert_eq!(
            pair.target.text(
                "SELECT parallelism || ' ' || (message LIKE '%parallelism is 2, not 200%') FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"
            ),
            "2 true",
            "{options}"
        );
        client.batch_execute(VERIFY).expect("it compares");
        let told = said(&notices);
        // Without a process that no client's options reach, the cap is not known.
        let expected = if options.is_empty() {
            "is 2, not 5"
        } else {
            "is 1, not 5"
        };
        assert!(
            told.len() == 1 && told[0].contains(expected),
            "{options}: {told:?} instead of {expected}"
        );
    }
}

#[test]
fn a_run_that_goes_on_by_itself_is_told_of_too() {
    let pair = pair();
    let (mut client, notices) = session(&pair, "loader", "");
    client
        .batch_execute("SELECT FROM cgpsync_wait(cgpsync_start('persons', '20170101', 3))")
        .expect("it runs");
    assert_eq!(said(&notices).len(), 1);
    client
        .batch_execute("SELECT FROM cgpsync_plan('persons', '20170101', 200)")
        .expect("a plan");
    assert_eq!(said(&notices), Vec::<String>::new(), "a plan has no workers");
}

#[test]
fn a_superusers_own_value_counts() {
    let pair = pair();
    let (mut client, notices) = session(&pair, "postgres", "-c cgpsync.max_parallelism=4");
    pair.sync_as(&mut client, "'persons', '20171231', 5").expect("it runs");
    client.batch_execute(VERIFY).expect("it compares");
    let told = said(&notices);
    assert!(
        told.len() == 2 && told.iter().all(|text| text.contains("is 4, not 5")),
        "{told:?}"
    );
}
