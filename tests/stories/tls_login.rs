//! Who gets in over TLS: passwords bound to the channel or not, client certificates, and what a plain role may use of them.

use crate::support::pki::{Authority, Issued, owned};
use crate::support::secured::{configure, options, outcome_as, pair, rules};
use crate::support::{Pair, needs};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// A role of the target's with a mapping that has these options.
fn plain_role(pair: &Pair, mapping: &str) {
    pair.target.sql(&format!(
        "DO $$ BEGIN IF to_regrole('loader') IS NULL THEN CREATE ROLE loader LOGIN; END IF; END $$;
         GRANT USAGE ON FOREIGN SERVER src TO loader;
         GRANT SELECT, INSERT, TRUNCATE ON t TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS ({mapping})"
    ));
}

#[test]
fn every_kind_of_password_with_and_without_channel_binding() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    pair.source.sql(
        "SET password_encryption = 'md5'; CREATE ROLE five LOGIN PASSWORD 'secret';
         SET password_encryption = 'scram-sha-256'; CREATE ROLE clear LOGIN PASSWORD 'secret';
         GRANT SELECT ON t TO five, clear",
    );
    rules(
        &pair,
        "host all five all md5\nhost all clear all password\nhost all all all scram-sha-256",
    );
    for (user, binding, mode, works) in [
        ("postgres", "require", "require", true),
        ("postgres", "prefer", "require", true),
        ("postgres", "disable", "require", true),
        ("postgres", "require", "disable", false),
        ("five", "prefer", "require", true),
        ("five", "require", "require", false),
        ("clear", "prefer", "require", true),
        ("clear", "require", "require", false),
    ] {
        options(&pair, &format!(", sslmode '{mode}', channel_binding '{binding}'"));
        pair.target.sql(&format!(
            "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user '{user}')"
        ));
        let outcome = outcome_as(&pair, "postgres");
        let expected = match works {
            true => outcome == "TLS",
            false => outcome.starts_with("08001|") && outcome.contains("channel binding"),
        };
        assert!(expected, "{user}, {binding}, {mode}: {outcome}");
    }
}

#[test]
fn a_client_certificate_gets_a_plain_role_in() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, &format!("ssl_ca_file = '{}'", authority.root()));
    pair.source.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    rules(&pair, "hostssl all reader all cert\nhost all all all scram-sha-256");
    let good = authority.issue("reader", "");
    let revoked = authority.issue("reader", "");
    let stranger = Authority::new();
    options(&pair, ", sslmode 'require'");
    let mapping = |issued: &Issued| {
        format!(
            "user 'reader', sslcert '{}', sslkey '{}'",
            issued.certificate, issued.key
        )
    };
    plain_role(&pair, &mapping(&good));
    assert_eq!(outcome_as(&pair, "loader"), "TLS");
    // Worker and coordinator log in with it too.
    let mut client = pair.target.connect_as("loader");
    pair.source.sql("INSERT INTO t VALUES (1), (2)");
    pair.sync_as(&mut client, "'t', '1'").expect("the sync succeeds");
    pair.same_rows("t", "true");

    configure(&pair, &[("ssl_crl_file", &authority.revoke(&[&revoked]))]);
    assert_eq!(outcome_as(&pair, "loader"), "TLS");
    let again = |mapping: &str| {
        pair.target.sql("DROP USER MAPPING FOR loader SERVER src");
        plain_role(&pair, mapping);
        outcome_as(&pair, "loader")
    };
    let refused = again(&mapping(&revoked));
    assert!(
        refused.starts_with("08001|could not connect to server \"src\"|TLS: "),
        "{refused}"
    );
    assert!(
        refused.contains("certificate revoked") && refused.contains("sslcert"),
        "{refused}"
    );
    let refused = again(&mapping(&stranger.issue("reader", "")));
    assert!(
        refused.contains("unknown ca") && refused.contains("does not accept the client certificate"),
        "{refused}"
    );
    let refused = again("user 'reader', password 'p'");
    assert!(
        refused.starts_with("28000|") && refused.contains("requires a valid client certificate"),
        "{refused}"
    );

    // Keys: encrypted, unreadable, somebody else's.
    let encrypted = authority.encrypted(&good.key, "open sesame");
    let with_key =
        |key: &str, more: &str| format!("user 'reader', sslcert '{}', sslkey '{key}' {more}", good.certificate);
    assert_eq!(again(&with_key(&encrypted, ", sslpassword 'open sesame'")), "TLS");
    for wrong in ["", ", sslpassword 'hunter2'"] {
        let refused = again(&with_key(&encrypted, wrong));
        assert!(
            refused.starts_with("22023|") && refused.contains("could not load private key file"),
            "{refused}"
        );
        assert!(
            refused.contains("sslpassword") && !refused.contains("hunter2"),
            "{refused}"
        );
    }
    let refused = again(&with_key(&revoked.key, ""));
    assert!(
        refused.contains("certificate does not match private key file"),
        "{refused}"
    );
    let refused = again(&with_key("/nowhere", ""));
    assert!(
        refused.contains("could not read private key file \"/nowhere\""),
        "{refused}"
    );
    assert!(again(&format!("user 'reader', sslcert '{}'", good.certificate)).contains("need each other"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, &format!("ssl_ca_file = '{}'", authority.root()));
    pair.source.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    rules(&pair, "hostssl all reader all cert");
    let issued = authority.issue("reader", "");
    options(&pair, ", sslmode 'require'");
    plain_role(
        &pair,
        &format!(
            "user 'reader', sslcert '{}', sslkey '{}'",
            issued.certificate, issued.key
        ),
    );
    let key = Path::new(&issued.key);
    for mode in [0o640, 0o604, 0o610, 0o644] {
        owned(key, mode);
        let refused = outcome_as(&pair, "loader");
        assert!(
            refused.starts_with("22023|server \"src\": private key file"),
            "{mode:o}: {refused}"
        );
        assert!(
            refused.contains("has group or world access") && refused.contains("0600"),
            "{refused}"
        );
    }
    owned(key, 0o400);
    assert_eq!(outcome_as(&pair, "loader"), "TLS");
    // Root's keys may be lent to a group; only root can make one.
    let Ok(group) = std::env::var("CGPSYNC_TEST_GID") else {
        return;
    };
    chown(key, Some(0), Some(group.parse().expect("a gid"))).expect("an owner");
    for (mode, works) in [(0o640, true), (0o644, false), (0o660, false)] {
        std::fs::set_permissions(key, PermissionsExt::from_mode(mode)).expect("permissions");
        assert_eq!(outcome_as(&pair, "loader") == "TLS", works, "{mode:o}");
    }
}

#[test]
fn a_plain_role_needs_a_credential_that_the_source_asks_for() {
    if needs::lacks_tls() {
        return;
    }
    let authority = Authority::new();
    let pair = pair(&authority, "");
    pair.source.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    rules(&pair, "host all all all trust");
    let issued = authority.issue("reader", "");
    let files = format!("sslcert '{}', sslkey '{}'", issued.certificate, issued.key);
    options(&pair, ", sslmode 'require'");
    // The source never asks for the certificate: it lets anybody in.
    plain_role(&pair, &format!("user 'reader', {files}"));
    assert!(outcome_as(&pair, "loader").starts_with("2F003|"));
    assert_eq!(outcome_as(&pair, "postgres"), "TLS");
    configure(&pair, &[("ssl_ca_file", &authority.root())]);
    assert_eq!(outcome_as(&pair, "loader"), "TLS");
    // Without TLS there is no certificate, and one of the server's options is the server's.
    pair.target.sql("ALTER SERVER src OPTIONS (SET sslmode 'disable')");
    assert!(outcome_as(&pair, "loader").starts_with("2F003|"));
    options(&pair, &format!(", sslmode 'require', {files}"));
    plain_role(&pair, "user 'reader'");
    assert!(outcome_as(&pair, "loader").starts_with("2F003|"));
}

#[test]
fn client_certificates_are_set_by_superusers_only() {
    if needs::lacks_tls() {
        return;
    }
    let pair = Pair::new();
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         GRANT USAGE ON FOREIGN DATA WRAPPER cgpsync TO loader",
    );
    let mut client = pair.target.connect_as("loader");
    let mut refuses = |sql: &str, code: &str| {
        let error = client.batch_execute(sql).expect_err(sql);
        assert_eq!(error.code().map(|c| c.code()), Some(code), "{sql}: {error:?}");
    };
    for option in ["sslcert", "sslkey"] {
        refuses(
            &format!("CREATE USER MAPPING FOR loader SERVER src OPTIONS ({option} '/x')"),
            "42501",
        );
    }
    pair.target
        .sql("CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'a', sslcert '/x', sslkey '/x')");
    refuses(
        "ALTER USER MAPPING FOR loader SERVER src OPTIONS (SET user 'postgres')",
        "42501",
    );
    refuses(
        "ALTER USER MAPPING FOR loader SERVER src OPTIONS (DROP sslcert)",
        "42501",
    );
    for (option, value) in [
        ("sslmode", "full"),
        ("ssl_min_protocol_version", "SSLv3"),
        ("channel_binding", "on"),
        ("sslsni", "yes"),
    ] {
        refuses(
            &format!("CREATE SERVER mine FOREIGN DATA WRAPPER cgpsync OPTIONS ({option} '{value}')"),
            "22023",
        );
    }
    // As in postgres_fdw, a server's options are its owner's affair.
    client
        .batch_execute(
            "CREATE SERVER mine FOREIGN DATA WRAPPER cgpsync OPTIONS (sslmode 'verify-full', sslrootcert 'system');
             CREATE USER MAPPING FOR loader SERVER mine OPTIONS (password 'p', sslpassword 'p')",
        )
        .expect("a server of its own");
}
