//! All sessions of a run reach the server that it has planned with.

use crate::support::Pair;
use crate::support::cluster::{Cluster, listener};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Passes on what comes, until it ends.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// A door that leads to each of two servers in turn, beginning with the first.
fn door(ports: [u16; 2]) -> u16 {
    let listener = listener();
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for (here, port) in listener.incoming().flatten().zip(ports.into_iter().cycle()) {
            let there = TcpStream::connect(("127.0.0.1", port)).expect("a server");
            let ends = |from: &TcpStream, to: &TcpStream| {
                (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"))
            };
            for (from, to) in [ends(&here, &there), ends(&there, &here)] {
                std::thread::spawn(move || pump(from, to));
            }
        }
    });
    port
}

#[test]
fn an_address_with_two_servers_is_an_error_that_names_both() {
    let pair = Pair::new();
    pair.persons(20);
    let other = Cluster::source("");
    other.sql(
        "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born);
         DO $$ BEGIN FOR m IN 1..12 LOOP
           EXECUTE format('CREATE TABLE persons_2017%s PARTITION OF persons FOR VALUES FROM (%L) TO (%L)', lpad(m::text, 2, '0'),
                          make_date(2017, m, 1), make_date(2017, m, 1) + interval '1 month');
         END LOOP; END $$",
    );
    pair.create_server("door", door([pair.source.port, other.port]));
    let error = pair
        .sync("'persons', '20171231', 4, source => 'door'")
        .expect_err("two servers");
    assert_eq!(error.code().code(), "08004", "{error:?}");
    let told = error.detail().unwrap_or_default();
    for port in [pair.source.port, other.port] {
        assert!(told.contains(&format!("port {port}")), "{told}");
    }
    assert!(
        error.hint().is_some_and(|hint| hint.contains("host and port")),
        "{error:?}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sync_table"), "0");
    pair.all_gone();
    // What has come is of the server that was planned with.
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM persons_201701 HAVING count(*) NOT IN (0, 20)"),
        ""
    );
    let mut client = pair.target.connect();
    let error = client
        .query("SELECT * FROM cgpsync_verify('persons', source => 'door')", &[])
        .expect_err("two servers");
    let code = error.code().expect("an error of the server").code().to_owned();
    assert_eq!(code, "08004", "{error:?}");
}

#[test]
fn sessions_dial_the_address_that_the_first_has_reached() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql("ALTER SERVER src OPTIONS (SET host 'localhost')");
    pair.copied("'persons', '20170331', 3");
    let peer = pair.target.text("SELECT source_peer FROM cgpsync_run");
    assert!(
        [
            format!("127.0.0.1:{}", pair.source.port),
            format!("[::1]:{}", pair.source.port)
        ]
        .contains(&peer),
        "{peer}"
    );
    let server = pair.target.text("SELECT source_server FROM cgpsync_run");
    assert!(
        server.contains(&format!("port {}, started 20", pair.source.port)),
        "{server}"
    );
}

#[test]
fn a_server_that_leads_back_to_the_table_itself_is_refused_and_to_another_one_is_not() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100);
         CREATE TABLE other (id int); INSERT INTO other SELECT generate_series(1, 9); INSERT INTO t VALUES (50);
         CREATE VIEW back AS SELECT id FROM t",
    );
    pair.create_server("me", pair.target.port);
    let mut client = pair.target.connect();
    client
        .batch_execute("SET statement_timeout = '15s'; SET cgpsync.lock_timeout = 0")
        .expect("settings");
    for arguments in [
        "'t', '1'",
        "'t', '1', source_table => 't_1'",
        "'t_1', '1', source_table => 't'",
    ] {
        for replace in ["swap", "truncate"] {
            let arguments = format!("{arguments}, source => 'me', replace => '{replace}'");
            let error = pair.sync_as(&mut client, &arguments).expect_err(&arguments);
            assert_eq!(error.code().code(), "22023", "{arguments}: {error:?}");
        }
    }
    // By way of a view it is the same table: swapped it can be, but what is read cannot be truncated.
    let error = pair
        .sync_as(
            &mut client,
            "'t', '1', source => 'me', source_table => 'back', replace => 'truncate'",
        )
        .expect_err("it would wait for its own reader");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    pair.sync_as(
        &mut client,
        "'t', '1', source => 'me', source_table => 'back', replace => 'swap'",
    )
    .expect("a sync");
    assert_eq!(pair.target.text("SELECT string_agg(id::text, ',') FROM t"), "50");
    pair.sync_as(
        &mut client,
        "'t', '1', source => 'me', source_table => 'other', since => '0'",
    )
    .expect("another table");
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "9");
}

#[test]
fn a_source_that_was_restarted_is_no_other_server() {
    for shared in ["on", "off"] {
        let mut pair = Pair::new();
        pair.persons(2000);
        pair.target.sql(&format!(
            "ALTER SERVER src OPTIONS (ADD shared_snapshot '{shared}'); ALTER ROLE postgres SET cgpsync.max_rate = '300kB';
             ALTER ROLE postgres SET cgpsync.max_retries = 500"
        ));
        let run = pair.sync_in_background("'persons', '20171231', 2");
        pair.until_copying();
        pair.source.stop("INT");
        pair.source.boot();
        assert_eq!(run.join(), Ok(12), "{shared}");
        pair.same_rows("persons", "true");
    }
}
