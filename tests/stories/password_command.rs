//! A program gives the password: run anew for each connection, without a shell, and by nobody's wish but a superuser's.

use crate::support::{Pair, SOON, clock::Clock, poll};
use postgres::error::DbError;
use std::time::Duration;

/// A table, and a mapping that has no password of its own.
fn pair() -> Pair {
    let pair = Pair::with("", "cgpsync.max_retries = 0");
    pair.both("CREATE TABLE t (i int)");
    pair.source
        .sql("INSERT INTO t VALUES (1); CREATE ROLE expiring LOGIN SUPERUSER PASSWORD 'tok3n-1'");
    pair.target.sql(
        "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'expiring', DROP password);
         ALTER SERVER src OPTIONS (ADD password_command '/bin/true')",
    );
    pair
}

fn command(pair: &Pair, command: &str) {
    pair.target.sql(&format!(
        "ALTER SERVER src OPTIONS (SET password_command $command${command}$command$)"
    ));
}

fn refused(pair: &Pair, words: &str) -> Box<DbError> {
    let error = pair.sync("'t'").expect_err(words);
    assert_eq!(error.code().code(), "38000", "{error:?}");
    assert!(
        error.detail().is_some_and(|detail| detail.contains(words)),
        "{words}: {error:?}"
    );
    error
}

#[test]
fn it_is_asked_anew_for_each_connection_and_what_it_prints_is_seen_by_nobody() {
    let pair = pair();
    let (script, asked) = (pair.target.dir.join("token"), pair.target.dir.join("asked"));
    let give = |token: &str| {
        let text = format!(
            "#!/bin/sh\necho >>'{}'\necho about a token >&2\necho '{token}'\n",
            asked.display()
        );
        std::fs::write(&script, text).expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("it can be run");
    };
    give("tok3n-1");
    command(&pair, &format!("'{}' --for 'some one'", script.display()));
    pair.copied("'t'");
    let times = || std::fs::read_to_string(&asked).expect("a file").lines().count();
    // The run's keeper and its worker.
    assert_eq!(times(), 2);
    pair.source.sql("ALTER ROLE expiring PASSWORD 'tok3n-2'");
    let error = pair.sync("'t'").expect_err("it has expired");
    assert_eq!(error.code().code(), "28P01", "{error:?}");
    give("tok3n-2");
    pair.copied("'t'");
    let log = pair.target.log();
    assert!(
        log.contains("about a token") && !log.contains("tok3n-"),
        "what it says besides is in the log"
    );
    // The mapping's own password goes before it.
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD password 'tok3n-2')");
    let before = times();
    pair.copied("'t'");
    assert_eq!(times(), before);
}

#[test]
fn what_gives_no_password_says_why_and_no_shell_reads_it() {
    let pair = pair();
    refused(&pair, "it printed nothing");
    command(&pair, "/bin/false");
    refused(&pair, "exit status: 1");
    command(&pair, "/nowhere/to/be found");
    refused(&pair, "No such file or directory");
    command(&pair, "/usr/bin/seq 20000");
    refused(&pair, "more than 64 kB");
    command(&pair, "/bin/echo $(id) ; touch /tmp/never");
    let error = pair.sync("'t'").expect_err("the words are the password");
    assert_eq!(error.code().code(), "28P01", "{error:?}");
    command(&pair, "/bin/sleep 40");
    let call = pair.sync_in_background("'t'");
    let sleeping = || {
        std::fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"/bin/sleep\x0040\0"))
    };
    poll("it is asked", SOON, sleeping);
    let clock = Clock::start();
    call.cancel.cancel_query(postgres::NoTls).expect("a cancel");
    assert!(call.join().is_err());
    poll("it is gone with the call", SOON, || !sleeping());
    pair.all_gone_within_two_seconds(clock);
    let begun = std::time::Instant::now();
    refused(&pair, "longer than 10 s");
    assert!(begun.elapsed() >= Duration::from_secs(10) && !sleeping());
    let refused = pair
        .target
        .connect()
        .batch_execute("ALTER SERVER src OPTIONS (SET password_command '/bin/echo ''a')");
    assert_eq!(refused.expect_err("a quote").code().expect("a code").code(), "22023");
    command(&pair, "/bin/echo tok3n-1");
    pair.copied("'t'");
}

#[test]
fn only_a_superuser_sets_it_on_a_server_that_a_superuser_owns() {
    let pair = pair();
    command(&pair, "/bin/echo tok3n-1");
    pair.target.sql(
        "CREATE ROLE plain LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER cgpsync TO plain; GRANT USAGE ON FOREIGN SERVER src TO plain;
         GRANT INSERT, TRUNCATE ON t TO plain; CREATE USER MAPPING FOR plain SERVER src OPTIONS (user 'expiring')",
    );
    let mut plain = pair.target.connect_as("plain");
    // A plain role connects with it: the source asks for the password.
    pair.sync_as(&mut plain, "'t'").expect("its night");
    for statement in [
        "CREATE SERVER mine FOREIGN DATA WRAPPER cgpsync OPTIONS (host 'h', password_command '/bin/true')",
        "DROP USER MAPPING FOR plain SERVER src; CREATE USER MAPPING FOR plain SERVER src OPTIONS (password_command '/bin/true')",
    ] {
        let error = plain.batch_execute(statement).expect_err(statement);
        assert_eq!(error.code().expect("a code").code(), "42501", "{error:?}");
    }
    pair.target.sql("ALTER SERVER src OWNER TO plain");
    let error = plain
        .batch_execute("ALTER SERVER src OPTIONS (SET host 'elsewhere.example')")
        .expect_err("its owner");
    assert_eq!(error.code().expect("a code").code(), "42501", "{error:?}");
    let error = pair.sync_as(&mut plain, "'t'").expect_err("its owner is no superuser");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("ALTER SERVER \"src\" OWNER TO")),
        "{error:?}"
    );
    pair.target
        .sql("ALTER SERVER src OWNER TO postgres; GRANT USAGE ON FOREIGN SERVER src TO plain");
    pair.sync_as(&mut plain, "'t'").expect("its night");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD password 'x', ADD password_command '/bin/true')");
    let error = pair.sync("'t'").expect_err("both");
    assert_eq!(error.code().code(), "22023", "{error:?}");
    pair.target.sql(
        "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (DROP password, SET password_command '/bin/echo tok3n-1')",
    );
    pair.copied("'t'");
}
