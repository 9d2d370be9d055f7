//! Logging in to openGauss, which a relay plays (`support::gauss`): its logins are its own, and so is the protocol that has to be asked for.

use crate::support::Pair;
use crate::support::clock::Clock;
use crate::support::cluster::{Cluster, GATE};
use crate::support::gauss::{self, Asks, Gauss, Stored, hex, other_client, plain_md5, unhex};
use crate::support::proxy::Proxy;
use postgres::NoTls;
use std::process::Command;

/// A table that is synced to see whether somebody gets in.
fn scene() -> (Pair, Gauss) {
    let (pair, gauss) = gauss::pair();
    pair.both("CREATE TABLE t (i int)");
    pair.source.sql("INSERT INTO t SELECT generate_series(1, 10)");
    (pair, gauss)
}

/// All that a refused call says.
fn refused(pair: &Pair, what: &str) -> (String, String) {
    let error = pair.sync("'t', '20170101'").expect_err(what);
    let text = format!(
        "{} / {} / {}",
        error.message(),
        error.detail().unwrap_or_default(),
        error.hint().unwrap_or_default()
    );
    (error.code().code().to_owned(), text)
}

/// Password, random code, token, iterations, ServerKey, StoredKey, server signature; answers to code 10, 13 and, with salt 01020304, 11. From the
/// server's own functions; those to code 10 from py-opengauss, too.
const VECTORS: [[&str; 10]; 3] = [
    [
        "Reader@123",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "0a1b2c3d",
        "10000",
        "5b070a1f818e7f4a17347d35a1d5087b8a673bad86b416ab998a4c1afd50b028",
        "bbc70f36d345bec33bbe7e4b6ff799cfcce498d1c71453e1aaf4729c0a37a57f",
        "5fd40464d14cb85133155805af0aa38b43431aa71b8d5d0cc99dbb473a156738",
        "427d4a01a092eb19573010b8733b6415c4c578363314b41ee04237e4c3ee27d0",
        "69496d2409b529826d8c6835ce056c6d84f1d69bed69a66f921aef1d4ffdd5e3",
        "md587e3b4cdd1e1e8a57512c8e01fe49526",
    ],
    [
        "Reader@123",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "0a1b2c3d",
        "2048",
        "7f1e12aef4d64796f5646ce6854b3974ef1845daa34d44e0d762b091ea57b248",
        "a72f9336c2611e907d8a29193dfbc17d6d2d1ba4733ec8abc277fdfad52ff21e",
        "b1f8f84a2a71ce8387f6430ecae45a7b5768f95076b7a80063d632eab1ae2e66",
        "a0591ced9a850c1e20cd3e8ec7d596e2ecdcee68b9256702a4012e21dad40752",
        "94c966cd10f34da423e1f59261f541d19fbb12e4fbdb260ffb363a9e023d2069",
        "md5aed9b2979216c2f6a926e9de1c32a2e3",
    ],
    [
        "päss wörd 1",
        "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "ffffffff",
        "50000",
        "bd9511b26063f28904c7614528fa16bea432e0319f4d17e2cd9b377d48994a8b",
        "88564e7d2e8be7df3f8ae6143422e7782ef568e987258a03c929d681d385eafc",
        "5edab922c7b753f20f2af973ab7324fbed6a9a73617d9cb6b5d8a0f02ba3ec46",
        "3f3dea77e0f6f0491a2e7281bec95456ab36601da18ff93247a669e77e2c2a1d",
        "83eb5072a22630602660c8c4eab11bc3da6279d9e42985dedeaaf93c329a186f",
        "md58630d074fabae5ddeef66d9f57e6c2e2",
    ],
];

#[test]
fn the_played_server_is_right_and_lets_another_client_in() {
    for vector in VECTORS {
        let [
            password,
            random,
            token,
            iterations,
            server,
            stored,
            signature,
            sha256,
            sm3,
            md5,
        ] = vector;
        let (token, iterations) = (unhex(token).expect("digits"), iterations.parse().expect("a number"));
        let role = Stored::new(password, random, iterations, false);
        assert_eq!([hex(&role.server_key), hex(&role.stored_key)], [server, stored]);
        assert_eq!(role.signature(&token), signature);
        assert!(role.is_proven(&token, sha256) && !role.is_proven(&token, sm3));
        assert_eq!(role.md5(&[1, 2, 3, 4]), md5);
        let role = Stored::new(password, random, iterations, true);
        assert!(role.is_proven(&token, sm3) && !role.is_proven(&token, sha256));
    }
    let md5 = plain_md5("reader_md5", "Reader@123", &[1, 2, 3, 4]);
    assert_eq!(md5, "md52fb18669e2f9e12cb5116415ea511e99");
    let asked = r#"SELECT "a" FROM "s"."t" PARTITION ("p""q") x, "s"."t.u" SUBPARTITION ("v") WHERE '"s"."t" PARTITION ("p")' <> "PARTITION" ("#;
    let there = r#"SELECT "a" FROM og_fixture."s.t:p""q" x, og_fixture."s.t.u:v" WHERE '"s"."t" PARTITION ("p")' <> "PARTITION" ("#;
    assert_eq!(gauss::without_partitions(asked), there);

    let Some(library) = other_client() else { return };
    let source = Cluster::source("");
    let gauss = Gauss::start(&source);
    gauss.set_password("postgres", "Reader@123");
    let ask = |password: &str| {
        let uri = format!("opengauss://postgres:{password}@127.0.0.1:{}/postgres", gauss.port);
        let script = "import sys, py_opengauss; print(py_opengauss.open(sys.argv[1]).query('SELECT 1'))";
        let mut command = Command::new("python3");
        let output = command.args(["-c", script, &uri]).env("PYTHONPATH", &library).output();
        let output = output.expect("python3 runs");
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (output.status.success(), texts.concat())
    };
    for (asks, iterations) in [(Asks::Sha256, 10_000), (Asks::Combined, 2_048), (Asks::Md5, 10_000)] {
        gauss.ask(asks, iterations);
        assert_eq!(ask("Reader@123"), (true, "[(1,)]\n".to_owned()), "{asks:?}");
        assert_eq!(gauss.connections("3.51"), 1);
    }
    let (is_in, said) = ask("Writer@123");
    assert!(
        !is_in && said.contains("Invalid username/password,login denied."),
        "{said}"
    );
}

#[test]
fn each_of_its_logins_is_answered_and_costs_one_more_connection_at_most() {
    let (pair, gauss) = scene();
    // Whether it has to be asked for its own protocol.
    for (asks, iterations, password, is_own) in [
        (Asks::Trust, 10_000, "secret", false),
        (Asks::Sha256, 10_000, "secret", true),
        (Asks::Sha256, 2_048, "päss wörd 1", true),
        (Asks::Sha256, 50_000, "Reader@123", true),
        (Asks::Combined, 10_000, "Reader@123", false),
        (Asks::Md5, 10_000, "Reader@123", false),
        (Asks::Md5OfSha256, 10_000, "Reader@123", false),
        (Asks::Sm3, 10_000, "Reader@123", true),
    ] {
        gauss.set_password("postgres", password);
        pair.target.sql(&format!(
            "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password '{password}')"
        ));
        gauss.ask(asks, iterations);
        pair.target.sql("TRUNCATE t");
        pair.copied("'t', '20170101'");
        pair.same_rows("t", "true");
        let [usual, own] = ["3.0", "3.51"].map(|protocol| gauss.connections(protocol));
        let wanted = if is_own { usual } else { 0 };
        assert!(usual > 0 && own == wanted, "{asks:?} {iterations}: {usual} and {own}");
    }
    // A role of no rights gets in by its password, and not without being asked for it.
    pair.source.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    pair.target.sql(
        "CREATE ROLE clerk LOGIN; GRANT USAGE ON FOREIGN SERVER src TO clerk; GRANT SELECT, INSERT, TRUNCATE ON t TO clerk;
         CREATE USER MAPPING FOR clerk SERVER src OPTIONS (user 'reader', password 'its own')",
    );
    gauss.set_password("reader", "its own");
    let sync = |asks| {
        gauss.ask(asks, 10_000);
        let mut client = pair.target.connect_as("clerk");
        pair.sync_as(&mut client, "'t', '20170101'")
    };
    assert!(sync(Asks::Sha256).is_ok());
    let error = sync(Asks::Trust).expect_err("nobody has asked for a password");
    assert_eq!(
        (error.code().code(), error.message()),
        ("2F003", "password is required")
    );
    // What such a session was told to end it by ends it.
    gauss.ask(Asks::Sha256, 10_000);
    pair.source.sql(&format!(
        "CREATE VIEW slow AS SELECT i FROM t WHERE (SELECT {GATE}) IS NOT NULL"
    ));
    let gate = pair.source.close_gate();
    let run = pair.sync_in_background("'t', '20170101', source => 'src', source_table => 'slow'");
    pair.source.until_at_gate(1);
    let since = Clock::start();
    run.cancel.cancel_query(NoTls).expect("a cancel request");
    pair.all_gone_within_two_seconds(since);
    assert!(run.join().is_err());
    drop(gate);
}

#[test]
fn what_is_no_safe_login_is_refused_and_no_password_is_told() {
    let (pair, gauss) = scene();
    let mut said = Vec::new();
    let mut refuse = |what: &str, code: &str, words: &[&str]| {
        let (found, text) = refused(&pair, what);
        assert_eq!(found, code, "{what}: {text}");
        for word in words {
            assert!(text.contains(word), "{what}: {text}");
        }
        said.push(text);
        [gauss.connections("3.0"), gauss.connections("3.51")]
    };
    for asks in [Asks::Sha256, Asks::Md5, Asks::Md5OfSha256, Asks::Sm3] {
        gauss.set_password("postgres", "Reader@123");
        gauss.ask(asks, 10_000);
        let [usual, own] = refuse(
            "another password",
            "28P01",
            &["Invalid username/password,login denied."],
        );
        let is_own = matches!(asks, Asks::Sha256 | Asks::Sm3);
        assert_eq!([usual, own], [1, usize::from(is_own)], "{asks:?}");
    }
    gauss.set_password("postgres", "secret");
    for iterations in [0, 2_047, 1_000_001, u32::MAX] {
        gauss.ask(Asks::Sha256, iterations);
        let words = ["2,048", "1,000,000 iterations", "auth_iteration_count"];
        assert_eq!(refuse("its iterations", "08P01", &words), [1, 1]);
    }
    gauss.ask(Asks::Sha256, 10_000);
    pair.target
        .sql("ALTER SERVER src OPTIONS (ADD channel_binding 'require')");
    let [_, own] = refuse("no channel binding", "08001", &["channel binding"]);
    assert!(own <= 1);
    pair.target.sql(
        "ALTER SERVER src OPTIONS (DROP channel_binding);
         ALTER USER MAPPING FOR postgres SERVER src OPTIONS (DROP password)",
    );
    refuse("no password", "08001", &["password"]);
    for text in said.into_iter().chain([pair.target.log()]) {
        assert!(!text.contains("secret") && !text.contains("Reader@123"), "{text}");
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "0");
}

#[test]
fn postgresql_never_hears_of_its_protocol() {
    let pair = Pair::new();
    pair.persons(5);
    let proxy = Proxy::start(pair.source.port);
    pair.target.sql(&format!(
        "ALTER SERVER src OPTIONS (SET port '{}', ADD sslmode 'disable')",
        proxy.port
    ));
    pair.copied("'persons', '2017'");
    pair.same_rows("persons", "true");
    let before = proxy.openings().len();
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'another')");
    let error = pair.sync("'persons', '2017'").expect_err("another password");
    assert_eq!(error.code().code(), "28P01");
    let openings = proxy.openings();
    assert_eq!(openings.len(), before + 1);
    // Its SASL has the code of openGauss' sha256.
    for opening in openings {
        assert_eq!(&opening[4..], [0, 3, 0, 0]);
    }
}
