//! TLS: what each sslmode makes of each source, and runs over it. Who gets in is told in tls_login.rs.

use crate::support::clock::Clock;
use crate::support::cluster::listener;
use crate::support::pki::Authority;
use crate::support::proxy::Proxy;
use crate::support::secured::{GOOD, configure, options, outcome_as, pair, present, rules};
use crate::support::{Pair, SOON, needs, poll};
use postgres::NoTls;
use std::io::{Read, Write};
use std::time::Duration;

/// Protocol number that asks for TLS, and the one that cancels.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const CANCEL_REQUEST: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

fn outcome(pair: &Pair) -> String {
    outcome_as(pair, "postgres")
}

/// Asserts what comes of each sslmode: `TLS`, `plain`, or part of the error.
fn modes(pair: &Pair, source: &str, more: &str, expected: [(&str, &str); 6]) {
    for (mode, expected) in expected {
        options(pair, &format!(", sslmode '{mode}' {more}"));
        let outcome = outcome(pair);
        let fits = match expected {
            "TLS" | "plain" => outcome == expected,
            _ => outcome.starts_with("08001|could not connect to server \"src\"|") && outcome.contains(expected),
        };
        assert!(fits, "{source}, {mode}{more}: {outcome} instead of {expected}");
    }
}

#[test]
fn every_sslmode_against_every_kind_of_source() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let stranger = Authority::new();
    let pair = pair(&authority, "");
    let roots = format!(", sslrootcert '{}'", authority.root());
    let all = |verify_ca, verify_full| {
        [
            ("disable", "plain"),
            ("allow", "plain"),
            ("prefer", "TLS"),
            ("require", "TLS"),
            ("verify-ca", verify_ca),
            ("verify-full", verify_full),
        ]
    };
    // Without roots nothing is verified, but the two modes that must verify are an error.
    options(&pair, ", sslmode 'verify-ca'");
    assert!(outcome(&pair).starts_with("22023|server \"src\": sslmode \"verify-ca\" needs option sslrootcert|"));
    let verified = |source: &str, expected: [(&str, &str); 6]| modes(&pair, source, &roots, expected);
    verified("a good certificate", all("TLS", "TLS"));

    present(
        &pair,
        &authority.issue("elsewhere", "DNS:elsewhere.example,DNS:other.example"),
    );
    let elsewhere =
        "Server certificate for \"elsewhere.example\" (and 1 other name) does not match host name \"localhost\".";
    verified("a certificate for another host", all("TLS", elsewhere));
    present(&pair, &authority.issue("localhost", ""));
    verified("a common name only", all("TLS", "TLS"));

    // As in libpq: prefer goes on without TLS, and require verifies where there are roots.
    let refused = |reason| {
        [
            ("disable", "plain"),
            ("allow", "plain"),
            ("prefer", "plain"),
            ("require", reason),
            ("verify-ca", reason),
            ("verify-full", reason),
        ]
    };
    present(&pair, &authority.issue_expired("source", GOOD));
    verified(
        "an expired certificate",
        refused("Certificate verify failed: certificate has expired."),
    );
    options(&pair, &roots);
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("SELECT count(*) FROM cgpsync_plan('t', '1')")
        .expect("a plan");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(
        notices.contains("without TLS") && notices.contains("certificate has expired"),
        "{notices}"
    );
    present(&pair, &stranger.issue("source", GOOD));
    let unknown = "Certificate verify failed: unable to get local issuer certificate.";
    verified("an unknown issuer", refused(unknown));
    options(&pair, ", sslmode 'require'");
    assert_eq!(outcome(&pair), "TLS", "require without roots");
    options(&pair, ", sslrootcert 'system'");
    assert!(outcome(&pair).contains(unknown), "the system trusts no stranger");

    configure(&pair, &[("ssl", "off")]);
    let none = "The source does not support TLS, but sslmode requires it.";
    verified(
        "no TLS",
        [
            ("disable", "plain"),
            ("allow", "plain"),
            ("prefer", "plain"),
            ("require", none),
            ("verify-ca", none),
            ("verify-full", none),
        ],
    );
    options(&pair, "");
    assert_eq!(outcome(&pair), "plain", "prefer is the default");
}

#[test]
fn the_sources_rules_decide_between_tls_and_none() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    rules(&pair, "hostssl all all all scram-sha-256");
    options(&pair, ", sslmode 'allow'");
    assert_eq!(outcome(&pair), "TLS");
    options(&pair, ", sslmode 'disable'");
    let refused = outcome(&pair);
    assert!(
        refused.starts_with("28000|") && refused.contains("no encryption"),
        "{refused}"
    );
    // What the source says about the password is worth more than that it has no rule for the second attempt.
    options(&pair, "");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'wrong')");
    let refused = outcome(&pair);
    assert!(refused.starts_with("28P01|"), "{refused}");
    rules(&pair, "hostnossl all all all scram-sha-256");
    let refused = outcome(&pair);
    assert!(
        refused.starts_with("28P01|") && refused.contains("With TLS: "),
        "{refused}"
    );
    options(&pair, "");
    assert_eq!(outcome(&pair), "plain");
    options(&pair, ", sslmode 'require'");
    let refused = outcome(&pair);
    assert!(
        refused.starts_with("28000|") && refused.contains("SSL encryption"),
        "{refused}"
    );
}

#[test]
fn names_addresses_versions_and_revoked_sources() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "ssl_max_protocol_version = 'TLSv1.2'");
    let full = format!(", sslmode 'verify-full', sslrootcert '{}'", authority.root());
    // The name is what is verified, the address where the connection goes.
    options(&pair, &full);
    pair.target
        .sql("ALTER SERVER src OPTIONS (SET host 'db.example', ADD hostaddr '127.0.0.1')");
    assert!(outcome(&pair).contains("does not match host name \"db.example\""));
    present(&pair, &authority.issue("x", "DNS:*.example"));
    assert_eq!(outcome(&pair), "TLS");
    pair.target.sql("ALTER SERVER src OPTIONS (DROP host)");
    assert!(outcome(&pair).contains("needs option host"));

    options(&pair, ", sslmode 'require', ssl_min_protocol_version 'TLSv1.3'");
    let refused = outcome(&pair);
    assert!(
        refused.contains("protocol version") && refused.contains("ssl_min_protocol_version"),
        "{refused}"
    );

    let revoked = authority.issue("source", GOOD);
    let list = authority.revoke(&[&revoked]);
    options(&pair, &format!("{full}, sslcrl '{list}'"));
    present(&pair, &authority.issue("source", GOOD));
    assert_eq!(outcome(&pair), "TLS");
    present(&pair, &revoked);
    assert!(outcome(&pair).contains("Certificate verify failed: certificate revoked."));
    // What cannot be verified is not skipped.
    for (option, missing) in [
        ("sslcrl", "certificate revocation list file"),
        ("sslrootcert", "root certificate file"),
    ] {
        let roots = match option {
            "sslcrl" => full.clone(),
            _ => ", sslmode 'prefer'".to_owned(),
        };
        options(&pair, &format!("{roots}, {option} '/nowhere'"));
        let refused = outcome(&pair);
        assert!(
            refused.starts_with("22023|server \"src\": ") && refused.contains(missing),
            "{refused}"
        );
    }
    options(&pair, ", sslmode 'prefer', sslrootcert 'system'");
    assert!(outcome(&pair).contains("weak sslmode \"prefer\""));
    options(&pair, ", sslmode 'require'");
    pair.target.sql(&format!(
        "ALTER SERVER src OPTIONS (SET host '{}')",
        pair.source.dir.display()
    ));
    assert!(outcome(&pair).contains("cannot be had on a Unix socket"));
}

/// A source that says `answer` to the first eight bytes; gives what else it is sent.
fn imposter(answer: &'static [u8]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = listener();
    let port = listener.local_addr().expect("an address").port();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut request = [0; 8];
        client.read_exact(&mut request).expect("a request");
        assert_eq!(request, SSL_REQUEST);
        client.write_all(answer).expect("an answer");
        let mut rest = Vec::new();
        let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = client.read_to_end(&mut rest);
        rest
    });
    (port, thread)
}

#[test]
fn nothing_is_told_to_a_source_that_evades_tls() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    let cleartext_request = b"R\0\0\0\x08\0\0\0\x03";
    let injected = b"SR\0\0\0\x08\0\0\0\x03";
    let refused = b"N";
    let error = b"ESFATAL\0C28000\0Mgive me your password\0\0";
    for mode in ["require", "prefer"] {
        for answer in [&cleartext_request[..], &injected[..], &error[..], &refused[..]] {
            if mode == "prefer" && (answer == refused || answer == injected) {
                // prefer tells all to whoever answers N or has a bad handshake, as libpq does.
                continue;
            }
            let (port, thread) = imposter(answer);
            options(&pair, &format!(", sslmode '{mode}'"));
            pair.target.sql(&format!(
                "ALTER SERVER src OPTIONS (SET host '127.0.0.1', SET port '{port}')"
            ));
            let outcome = outcome(&pair);
            assert!(outcome.starts_with("08"), "{outcome}");
            assert!(!outcome.contains("give me your password"), "{outcome}");
            let sent = thread.join().expect("the imposter ends");
            // A ClientHello at most, which is a handshake record (22).
            assert!(sent.is_empty() || sent[0] == 22, "{sent:?}");
            assert!(!sent.windows(6).any(|w| w == b"secret"), "{sent:?}");
        }
    }
}

#[test]
fn a_sync_over_tls_copies_the_same_rows_in_binary_and_in_text() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    pair.persons(20_000);
    pair.both("CREATE TABLE wide (t text)");
    pair.source.sql(
        "INSERT INTO wide SELECT repeat(md5(g::text), 40 * g % 4001) FROM generate_series(1, 200) g;
         CREATE TABLE texts (i int, t text);
         INSERT INTO texts SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 12000) g",
    );
    pair.target.sql("CREATE TABLE texts (i bigint, t text)");
    options(
        &pair,
        &format!(", sslmode 'verify-full', sslrootcert '{}'", authority.root()),
    );
    let last_format = "SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1";
    assert_eq!(pair.copied("'persons', '20171231'").len(), 12);
    assert_eq!(pair.target.text(last_format), "binary");
    pair.same_rows("persons", "true");
    pair.copied("'wide', '1'");
    pair.same_rows("wide", "true");
    pair.copied("'texts', '1'");
    assert_eq!(pair.target.text(last_format), "text");
    pair.same("SELECT count(*) || ' ' || sum(hashtext(i::text || t)) FROM texts");
    let rows = pair
        .target
        .list("SELECT matches FROM cgpsync_verify('persons', method => 'checksum')");
    assert!(
        rows.len() == 12 && rows.iter().all(|matches| matches == "t"),
        "{rows:?}"
    );
    let log = pair.source.log();
    let ours = log
        .lines()
        .filter(|line| line.contains("connection authorized") && line.contains("application_name=cgpsync"));
    assert!(
        ours.clone().count() >= 10 && ours.clone().all(|line| line.contains("SSL enabled")),
        "{log}"
    );
    assert!(
        !log.contains("unexpected eof") && !log.contains("SSL error"),
        "every session says goodbye: {log}"
    );
}

#[test]
fn a_cancelled_run_ends_within_two_seconds_and_its_requests_are_encrypted() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    pair.both("CREATE TABLE slow (i int)");
    pair.source
        .sql("CREATE VIEW crawling AS SELECT g AS i FROM generate_series(1, 100) g, LATERAL (SELECT pg_sleep(1) WHERE g > 0) s");
    pair.target.sql("INSERT INTO slow VALUES (0)");
    let proxy = Proxy::start(pair.source.port);
    for mode in ["verify-full", "prefer"] {
        options(
            &pair,
            &format!(", sslmode '{mode}', sslrootcert '{}'", authority.root()),
        );
        pair.target
            .sql(&format!("ALTER SERVER src OPTIONS (SET port '{}')", proxy.port));
        let run = pair.sync_in_background("'slow', '20170101', source_table => 'crawling'");
        poll("the source is at work", SOON, || {
            pair.source
                .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'")
                == "1"
        });
        let connections = proxy.openings().len();
        let start = Clock::start();
        run.cancel.cancel_query(NoTls).expect("a cancel request");
        pair.all_gone_within_two_seconds(start);
        assert!(run.join().expect_err("cancelled").starts_with("57014"));
        assert_eq!(pair.target.text("SELECT sum(i) FROM slow"), "0");
        let openings = proxy.openings();
        assert!(
            openings.len() > connections,
            "cancel requests are connections of their own"
        );
        assert!(openings.iter().all(|first| first == &SSL_REQUEST), "{openings:?}");
    }
    // The same run without TLS, to know that the proxy would tell.
    options(&pair, ", sslmode 'disable'");
    pair.target
        .sql(&format!("ALTER SERVER src OPTIONS (SET port '{}')", proxy.port));
    let run = pair.sync_in_background("'slow', '20170101', source_table => 'crawling'");
    poll("the source is at work", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'PgSleep'")
            == "1"
    });
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    assert!(run.join().expect_err("cancelled").starts_with("57014"));
    poll("the cancel request is plain", SOON, || {
        proxy.openings().contains(&CANCEL_REQUEST.to_vec())
    });
}

#[test]
fn a_run_tells_its_caller_once_that_prefer_goes_on_without_tls() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let stranger = Authority::new();
    let pair = pair(&authority, "");
    pair.persons(3);
    options(&pair, &format!(", sslmode 'prefer', sslrootcert '{}'", stranger.root()));
    let times = |text: &str| text.matches("goes on without TLS").count();
    let (units, notices) = pair.told("'persons', '20171231', 3");
    assert_eq!(units.len(), 12);
    assert_eq!(times(&notices), 1, "{notices}");
    assert!(
        notices.contains("the connection goes on without TLS, as sslmode is \"prefer\": Certificate verify failed"),
        "{notices}"
    );
    let message = pair.target.text("SELECT message FROM cgpsync_run");
    assert_eq!(times(&message), 1, "{message}");
    assert!(
        message.lines().any(|line| line.starts_with("WARNING: the connection")),
        "{message}"
    );
    pair.target.sql("CREATE SCHEMA elsewhere");
    // What runs in the caller's own backend says it there, also once.
    for call in [
        "SELECT count(*) FROM cgpsync_plan('persons', '20171231')",
        "SELECT count(*) FROM cgpsync_verify('persons', '20171231', parallelism => 3)",
        "SELECT cgpsync_create_table('persons', 'elsewhere.persons')",
        "SELECT FROM cgpsync_wait(cgpsync_start('persons', '20171231', since => '20171201'))",
    ] {
        let (mut client, notices) = pair.target.connect_with_notices();
        client.batch_execute(call).expect(call);
        let told = times(&notices.lock().expect("a lock").join("\n"));
        // A run that goes on by itself may not have connected yet.
        assert!(told == 1 || (told == 0 && call.contains("_start")), "{call}: {told}");
    }
    // Nobody has asked for more than is to be had.
    options(&pair, ", sslmode 'prefer'");
    assert_eq!(times(&pair.told("'persons', '20171231', since => '20171201'").1), 0);
}
