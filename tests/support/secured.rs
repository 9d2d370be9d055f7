//! A source with TLS, and what comes of a connection to it.

use super::pki::{Authority, Issued};
use super::{Pair, SOON, poll};

/// Names of the source's certificate.
pub const GOOD: &str = "DNS:localhost,IP:127.0.0.1";

/// A source with TLS and an empty table on both sides.
pub fn pair(authority: &Authority, conf: &str) -> Pair {
    let issued = authority.issue("source", GOOD);
    let pair = Pair::with(
        &format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nlog_connections = on\n{conf}",
            issued.certificate, issued.key
        ),
        "",
    );
    pair.both("CREATE TABLE t (i int)");
    pair
}

/// The source's settings from now on, in new sessions.
pub fn configure(pair: &Pair, settings: &[(&str, &str)]) {
    let mut client = pair.source.connect();
    for (name, value) in settings {
        client
            .batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))
            .expect("a setting");
    }
    client.batch_execute("SELECT pg_reload_conf()").expect("a reload");
    let (name, value) = settings.last().expect("a setting");
    poll("the settings are there", SOON, || {
        pair.source.text(&format!("SHOW {name}")) == *value
    });
}

/// Lets the source show this certificate.
pub fn present(pair: &Pair, issued: &Issued) {
    configure(
        pair,
        &[
            ("ssl", "on"),
            ("ssl_key_file", &issued.key),
            ("ssl_cert_file", &issued.certificate),
        ],
    );
}

/// The source's rules for connections from outside.
pub fn rules(pair: &Pair, lines: &str) {
    let text = format!("local all all trust\n{lines}\n");
    std::fs::write(pair.source.dir.join("pg_hba.conf"), text).expect("a file");
    pair.source.sql("SELECT pg_reload_conf()");
}

/// Server src with these options besides host, port and database.
pub fn options(pair: &Pair, options: &str) {
    pair.target.sql(&format!(
        "DROP SERVER src CASCADE;
         CREATE SERVER src FOREIGN DATA WRAPPER cgpsync
             OPTIONS (host 'localhost', port '{}', dbname 'postgres' {options});
         CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret')",
        pair.source.port
    ));
}

/// How a session of `role` connects: `TLS`, `plain`, or SQLSTATE, message, DETAIL and HINT of its error.
pub fn outcome_as(pair: &Pair, role: &str) -> String {
    let before = pair.source.log().len();
    let mut client = pair.target.connect_as(role);
    if let Err(error) = client.batch_execute("SELECT count(*) FROM cgpsync_plan('t', '1')") {
        let e = error.as_db_error().expect("an error of the server");
        return [
            e.code().code(),
            e.message(),
            e.detail().unwrap_or(""),
            e.hint().unwrap_or(""),
        ]
        .join("|");
    }
    let log = pair.source.log().split_off(before);
    let line = log.lines().rfind(|line| line.contains("application_name=cgpsync"));
    match line.expect("the source logs the connection").contains("SSL enabled") {
        true => "TLS".to_owned(),
        false => "plain".to_owned(),
    }
}
