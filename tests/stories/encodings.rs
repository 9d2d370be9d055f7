//! Sources whose databases have another encoding.

use crate::support::{Pair, needs};
use postgres::Client;

/// A database of encoding `encoding` on the source, which the server src now leads to.
fn database(pair: &Pair, encoding: &str) -> Client {
    pair.source.sql(&format!(
        "CREATE DATABASE other ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    ));
    pair.target.sql("ALTER SERVER src OPTIONS (SET dbname 'other')");
    pair.source.connect_to("other")
}

fn run(client: &mut Client, sql: &str) {
    client.batch_execute(sql).unwrap_or_else(|e| panic!("{e:?} in: {sql}"));
}

/// `größe`, partitioned by a word, `t`, which goes as text, and `u`, which goes in binary, in both databases.
fn create(pair: &Pair, there: &mut Client) {
    let ddl = "CREATE TABLE \"größe\" (wort text COLLATE \"C\", \"maß\" varchar(4), j jsonb, x xml) PARTITION BY RANGE (wort);
               CREATE TABLE \"größe_a\" PARTITION OF \"größe\" FOR VALUES FROM ('a') TO ('ä');
               CREATE TABLE \"größe_ä\" PARTITION OF \"größe\" FOR VALUES FROM ('ä') TO ('þ');";
    run(there, ddl);
    pair.target.sql(ddl);
    pair.target.sql(
        "CREATE TABLE t (a bigint, b text); INSERT INTO t VALUES (0, 'old');
              CREATE TABLE u (a int, b text); INSERT INTO u VALUES (0, 'old')",
    );
    run(there, "CREATE TABLE t (a int, b text); CREATE TABLE u (a int, b text)");
}

#[test]
fn umlauts_of_a_latin1_database_arrive_right() {
    let pair = Pair::new();
    if needs::lacks_xml(&[&pair.source, &pair.target]) {
        return;
    }
    let mut there = database(&pair, "LATIN1");
    create(&pair, &mut there);
    run(
        &mut there,
        "INSERT INTO \"größe\" VALUES ('übel', 'äöüß', '{\"ß\": \"é\"}', '<ü>ÿ</ü>'),
           ('b', NULL, NULL, '<?xml version=\"1.0\" encoding=\"LATIN1\"?><ä/>');
         INSERT INTO t SELECT g, chr(g) FROM generate_series(160, 255) g; INSERT INTO u SELECT * FROM t",
    );
    // The four umlauts are eight bytes here, and still four characters.
    assert_eq!(pair.copied("'\"größe\"', 'z'"), ["\"größe_a\""]);
    assert_eq!(pair.copied("'\"größe\"', 'ÿ'").len(), 2);
    assert_eq!(
        pair.target
            .text("SELECT string_agg(concat_ws(' ', tableoid::regclass, wort, maß, j, x::text), '; ') FROM größe WHERE maß IS NOT NULL"),
        "\"größe_ä\" übel äöüß {\"ß\": \"é\"} <ü>ÿ</ü>"
    );
    assert_eq!(
        pair.target.text("SELECT format('%s', x) FROM größe WHERE wort = 'b'"),
        "<ä/>"
    );
    for table in ["t", "u"] {
        pair.copied(&format!("'{table}', '20170101'"));
        let right = format!("SELECT count(*) FROM {table} WHERE b = chr(a::int)");
        assert_eq!(pair.target.text(&right), "96", "{table}");
    }
}

#[test]
fn bytes_of_an_sql_ascii_database_arrive_if_they_are_valid_here() {
    let pair = Pair::new();
    if needs::lacks_xml(&[&pair.source, &pair.target]) {
        return;
    }
    let mut there = database(&pair, "SQL_ASCII");
    create(&pair, &mut there);
    run(
        &mut there,
        "INSERT INTO \"größe\" VALUES ('übel', 'ab', '{\"ß\": \"é\"}', '<ü/>'), ('b', NULL, NULL, NULL);
         INSERT INTO t VALUES (1, 'ü'), (2, '\u{1f418}'), (3, 'a\tb'); INSERT INTO u SELECT * FROM t",
    );
    assert_eq!(pair.copied("'\"größe\"', 'ÿ'").len(), 2);
    assert_eq!(
        pair.target
            .text("SELECT string_agg(concat_ws(' ', tableoid::regclass, wort, maß, j, x::text), '; ' ORDER BY wort) FROM größe"),
        "\"größe_a\" b; \"größe_ä\" übel ab {\"ß\": \"é\"} <ü/>"
    );
    for table in ["t", "u"] {
        pair.copied(&format!("'{table}', '20170101'"));
        let all = format!("SELECT string_agg(b, ',' ORDER BY a) FROM {table}");
        assert_eq!(pair.target.text(&all), "ü,\u{1f418},a\tb", "{table}");
    }
}

#[test]
fn bytes_that_are_invalid_here_are_an_error_that_names_their_place() {
    let pair = Pair::new();
    let mut there = database(&pair, "SQL_ASCII");
    create(&pair, &mut there);
    run(
        &mut there,
        "INSERT INTO t SELECT g, 'valid ü' FROM generate_series(1, 2000) g; INSERT INTO t VALUES (2001, E'gr\\xfc\\xdfe');
         INSERT INTO t VALUES (2002, 'valid'); INSERT INTO u SELECT * FROM t;
         INSERT INTO \"größe\" VALUES ('b', 'a'), ('ü', E'\\xfc')",
    );
    // COPY's text format knows the line, the binary one the column too.
    for (table, place) in [("t", "COPY t, line 2001"), ("u", "COPY u, line 2001, column b")] {
        let error = pair.sync(&format!("'{table}', '20170101'")).expect_err("invalid bytes");
        assert_eq!(error.code().code(), "22021", "{error:?}");
        assert!(error.message().ends_with(&format!("failed: {table}")), "{error:?}");
        let detail = error.detail().expect("a detail");
        assert!(
            detail.contains(place) && detail.contains("invalid byte sequence for encoding \"UTF8\": 0xfc"),
            "{detail}"
        );
        assert_eq!(
            pair.target.text(&format!("SELECT string_agg(b, ',') FROM {table}")),
            "old"
        );
    }
    // The partition beside it is synced.
    let error = pair.sync("'\"größe\"', 'ÿ'").expect_err("invalid bytes");
    assert!(error.message().ends_with("failed: \"größe_ä\""), "{error:?}");
    assert_eq!(pair.target.text("SELECT string_agg(wort, ',') FROM größe"), "b");
}
