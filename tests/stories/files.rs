//! Options that name files: what is no regular file of a reasonable size is refused at once, whoever names it, and no process is left with it.

use crate::support::clock::Clock;
use crate::support::cluster::story_dir;
use crate::support::pki::Authority;
use crate::support::secured::{options, outcome_as, pair, present};
use crate::support::{Pair, needs};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn fifo(path: &Path) -> String {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success());
    path.display().to_string()
}

/// Asserts that a plan, in the role's own process, and a sync, in a coordinator, are refused within two seconds; how.
fn refused(pair: &Pair, options: &str) -> String {
    let mut client = pair.target.connect_as("snoop");
    let renew = format!(
        "DROP SERVER IF EXISTS mine CASCADE;
         CREATE SERVER mine FOREIGN DATA WRAPPER cgpsync
             OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres', {options});
         CREATE USER MAPPING FOR snoop SERVER mine OPTIONS (user 'postgres', password 'secret')",
        pair.source.port
    );
    client.batch_execute(&renew).expect("a server");
    let mut outcomes = Vec::new();
    for call in ["plan", "sync"] {
        let start = Clock::start();
        let sql = format!("SELECT * FROM cgpsync_{call}('t', '1', source => 'mine')");
        let error = client.batch_execute(&sql).expect_err("it is refused");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{call}, {options}: {took:?}");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "22023", "{options}: {error:?}");
        outcomes.push(format!("{}|{}", error.message(), error.detail().unwrap_or_default()));
        pair.all_gone_within_two_seconds(start);
    }
    assert!(
        outcomes[1].contains("server \"mine\": ") && outcomes[0].contains("server \"mine\": "),
        "{outcomes:?}"
    );
    outcomes.remove(0)
}

#[test]
fn what_is_no_file_is_refused_at_once_and_leaves_no_process() {
    let authority = Authority::new();
    let mut pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    pair.target.sql(
        "CREATE ROLE snoop LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER cgpsync TO snoop;
         GRANT SELECT, INSERT, TRUNCATE ON t TO snoop",
    );
    let dir = story_dir();
    let pipe = fifo(&dir.join("fifo"));
    let long = dir.join("long").display().to_string();
    std::fs::write(&long, vec![b'x'; (1 << 20) + 1]).expect("a file");
    let lists = dir.join("lists").display().to_string();
    std::fs::create_dir(&lists).expect("a directory");
    fifo(&Path::new(&lists).join("0123abcd.r0"));
    let issued = authority.issue("client", "");
    let roots = format!("sslrootcert '{}'", authority.root());
    let named = |option: &str, file: &str| match option {
        "sslrootcert" => format!("sslrootcert '{file}'"),
        "sslcert" => format!("sslcert '{file}', sslkey '{}'", issued.key),
        "sslkey" => format!("sslcert '{}', sslkey '{file}'", issued.certificate),
        other => format!("{roots}, {other} '{file}'"),
    };
    for option in ["sslrootcert", "sslcrl", "sslcert", "sslkey"] {
        let is_refused = |file: &str, how: &str| {
            let error = refused(&pair, &named(option, file));
            assert!(
                error.contains(file) && error.contains(how),
                "{option} '{file}': {error}"
            );
        };
        is_refused(&pipe, "is not a regular file");
        is_refused("/dev/urandom", "is not a regular file");
        is_refused(&dir.display().to_string(), "is not a regular file");
        is_refused("/nowhere", "No such file or directory");
        // A key that others may read is not read at all.
        is_refused(&long, if option == "sslkey" { "access" } else { "is too long" });
    }
    // What a process of the server has open: the pipe that tells it of the postmaster's end is among these.
    for fd in 3..8 {
        refused(&pair, &named("sslrootcert", &format!("/proc/self/fd/{fd}")));
    }
    let fifo_of_directory = refused(&pair, &named("sslcrldir", &lists));
    assert!(
        fifo_of_directory.contains("0123abcd.r0\" is not a regular file"),
        "{fifo_of_directory}"
    );
    let no_directory = refused(&pair, &named("sslcrldir", &pipe));
    assert!(no_directory.contains("Not a directory"), "{no_directory}");
    let none = refused(&pair, &named("sslcrl", &authority.root()));
    assert!(none.contains("holds no certificate revocation list"), "{none}");
    let start = Clock::start();
    pair.target.stop("INT");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn roots_and_revocation_lists_may_be_many() {
    if needs::lacks_tls() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = pair(&authority, "");
    let revoked = authority.issue("revoked", "DNS:localhost");
    let read = |file: String| std::fs::read_to_string(file).expect("a file");
    let (list, other_list) = (authority.revoke(&[&revoked]), stranger.revoke(&[]));
    let roots = story_dir().join("roots.crt").display().to_string();
    std::fs::write(&roots, read(stranger.root()) + &read(authority.root())).expect("a file");
    let lists = story_dir().join("lists");
    std::fs::create_dir(&lists).expect("a directory");
    std::fs::copy(&other_list, lists.join("0123abcd.r0")).expect("a file");
    symlink(&list, lists.join("0123abcd.r1")).expect("a link");
    let full = format!(", sslmode 'verify-full', sslrootcert '{roots}'");
    let both = story_dir().join("both.crl").display().to_string();
    std::fs::write(&both, read(other_list) + &read(list)).expect("a file");
    for of_revocation in [
        format!("sslcrldir '{}'", lists.display()),
        format!("sslcrl '{both}'"),
        format!("sslcrl '{both}', sslcrldir '{}'", lists.display()),
    ] {
        options(&pair, &format!("{full}, {of_revocation}"));
        present(&pair, &authority.issue("source", "DNS:localhost"));
        assert_eq!(outcome_as(&pair, "postgres"), "TLS", "{of_revocation}");
        present(&pair, &revoked);
        let outcome = outcome_as(&pair, "postgres");
        assert!(outcome.contains("certificate revoked"), "{of_revocation}: {outcome}");
    }
    // Who wants revocation looked at and has no list of the issuer's verifies nobody.
    std::fs::remove_file(lists.join("0123abcd.r1")).expect("it was there");
    options(&pair, &format!("{full}, sslcrldir '{}'", lists.display()));
    present(&pair, &authority.issue("source", "DNS:localhost"));
    let outcome = outcome_as(&pair, "postgres");
    assert!(outcome.contains("unable to get certificate CRL"), "{outcome}");
}

#[test]
fn a_key_that_takes_long_to_decrypt_ends_with_connect_timeout_or_a_cancel() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let mut pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    let issued = authority.issue("client", "");
    let key = authority.laborious(&issued.key);
    pair.target.sql(&format!(
        "ALTER SERVER src OPTIONS (ADD sslcert '{}', ADD sslkey '{key}', ADD connect_timeout '1');
         ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD sslpassword 'x')",
        issued.certificate
    ));
    let start = Clock::start();
    let error = pair.sync("'t', '1'").expect_err("a timeout");
    assert_eq!(error.code().code(), "22023", "{error:?}");
    assert!(
        error.detail().is_some_and(|detail| detail.contains("within 1 s")),
        "{error:?}"
    );
    let mut client = pair.target.connect();
    pair.target.sql("ALTER SERVER src OPTIONS (SET connect_timeout '60')");
    client
        .batch_execute("SET statement_timeout = '200ms'")
        .expect("a setting");
    let error = client
        .batch_execute("SELECT * FROM cgpsync_plan('t', '1')")
        .expect_err("a timeout");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
    // The work may still be under way.
    pair.target.stop("INT");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
