//! Names and values that look like something else, on both sides and through every function. What a terminal would obey: terminals.rs.

use crate::error::tame;
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::support::Pair;
use crate::support::cluster::Cluster;
use postgres::Client;

/// Of tables, partitions, columns, schemas, servers, roles, databases; passwords, bounds, values and points of time.
const NAMES: [&str; 14] = [
    "\"; DROP TABLE x; --",
    "a\"b",
    "a'b",
    "%s %d %n",
    "äöüßäöüßäöüßäöüßäöüßäöüßäöüßäöü!",
    "two\nlines\r\tand more",
    "back\\slash\\",
    "\\'; DROP TABLE x; --",
    "'); DROP TABLE x; --",
    "$1 $$ $a$",
    "a.b",
    "{NULL,\"x\"}",
    "select",
    "@.x",
];

struct Names {
    /// as it is
    name: &'static str,
    /// as an identifier, and of the table
    ident: String,
    table: String,
    /// as a literal
    literal: String,
    /// another one, as odd
    other: String,
}

impl Names {
    fn new(name: &'static str) -> Names {
        let ident = quote_ident(name);
        Names {
            name,
            table: format!("{ident}.{ident}"),
            ident,
            literal: quote_literal(name),
            other: format!("z{}", name.chars().skip(1).collect::<String>()),
        }
    }
}

fn run(client: &mut Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql) {
        panic!("{error:?} in: {sql}");
    }
}

/// The first column of a query whose arguments are text.
fn texts(client: &mut Client, sql: &str, arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<_> = arguments
        .iter()
        .map(|a| a as &(dyn postgres::types::ToSql + Sync))
        .collect();
    match client.query(sql, &arguments) {
        Ok(rows) => rows
            .iter()
            .map(|row| row.get::<_, Option<String>>(0).unwrap_or_default())
            .collect(),
        Err(error) => panic!("{error:?} in: {sql} with {arguments:?}"),
    }
}

/// A role and a database of that name, with a table of that name in a schema of that name, by LIST of that value; and one by RANGE.
fn prepare(source: &Cluster, n: &Names) {
    let Names {
        ident, table, literal, ..
    } = n;
    source.sql(&format!("CREATE ROLE {ident} LOGIN PASSWORD {literal}"));
    source.sql(&format!("CREATE DATABASE {ident} OWNER {ident}"));
    let mut there = source.connect_to(n.name);
    run(
        &mut there,
        &format!(
            "CREATE TABLE x (); CREATE SCHEMA {ident} AUTHORIZATION {ident}; SET ROLE {ident};
             CREATE TABLE {table} (id int, {ident} text DEFAULT {literal}, CONSTRAINT {ident} CHECK ({ident} <> 'never' OR {ident} = {literal}))
               PARTITION BY LIST ({ident});
             CREATE TABLE {ident}.first PARTITION OF {table} FOR VALUES IN ({literal}, NULL);
             INSERT INTO {table} VALUES (1, {literal}), (2, NULL), (3, {literal});
             CREATE TABLE {ident}.ranged (id int, {ident} text);
             INSERT INTO {ident}.ranged SELECT g, CASE g % 3 WHEN 0 THEN {literal} WHEN 1 THEN {literal} || 'x' ELSE ' ' END
             FROM generate_series(1, 30) g"
        ),
    );
}

#[test]
fn names_and_values_mean_nothing_but_themselves() {
    let pair = Pair::new();
    pair.target.sql("CREATE TABLE x ()");
    for name in NAMES {
        let n = Names::new(name);
        assert!(name.len() <= 63);
        prepare(&pair.source, &n);
        let Names {
            ident, table, literal, ..
        } = &n;
        pair.target.sql(&format!(
            "CREATE ROLE {ident} LOGIN; CREATE SCHEMA {ident} AUTHORIZATION {ident}; GRANT USAGE ON FOREIGN DATA WRAPPER cgpsync TO {ident}"
        ));
        let mut here = pair.target.connect_as(name);
        // What a session says of strings must not matter.
        run(
            &mut here,
            "SET standard_conforming_strings = off; SET escape_string_warning = off; SET quote_all_identifiers = on",
        );
        let config = serde_json::json!({
            "host": "127.0.0.1", "port": pair.source.port, "dbname": name, "user": name, "password": name
        });
        let server = texts(
            &mut here,
            "SELECT cgpsync_import_config($1::text, $2::text::name)::text",
            &[&config.to_string(), name],
        );
        assert_eq!(server, [name]);
        let create = "SELECT cgpsync_create_table($1::text, source => $2::text::name)::oid::text";
        let made = texts(&mut here, create, &[table, name]);
        let its_name = "SELECT relname::text FROM pg_class WHERE oid = $1::text::oid";
        assert_eq!(texts(&mut here, its_name, &[&made[0]]), [name]);

        first_table(&pair, &mut here, &n);
        second_table(&pair, &mut here, &n);

        let views = "SELECT format('%s', p) FROM cgpsync_progress p UNION ALL SELECT format('%s', v) FROM v_gp_range_partition_meta v
                     UNION ALL SELECT format('%s', r) FROM cgpsync_run r UNION ALL SELECT format('%s', u) FROM cgpsync_run_partition u";
        assert!(texts(&mut here, views, &[]).len() > 6);
        let synced = "SELECT end_tm FROM sync_table WHERE table_name = $1";
        let shown = texts(&mut here, "SELECT quote_ident($1) || '.' || quote_ident($1)", &[name]);
        // quote_all_identifiers is the session's own wish; the table's name there is what people write.
        run(&mut here, "SET quote_all_identifiers = off");
        let plain = texts(&mut here, "SELECT quote_ident($1) || '.' || quote_ident($1)", &[name]);
        assert!(
            [&shown[0], &plain[0]]
                .iter()
                .any(|t| texts(&mut here, synced, &[t]) == [tame(name).trim()]),
            "{name}"
        );
        assert!(literal.len() >= name.len());
    }
    pair.target.sql("TABLE x");
    assert_eq!(
        pair.target.text(
            "SELECT count(DISTINCT role_name) || ' ' || count(*) FILTER (WHERE status <> 'done') FROM cgpsync_run"
        ),
        format!("{} 0", NAMES.len())
    );
}

/// By LIST: a partition that only the source has, previewed, created, copied, compared.
fn first_table(pair: &Pair, here: &mut Client, n: &Names) {
    let (name, table) = (n.name, &n.table);
    let mut there = pair.source.connect_to(name);
    let (other, other_literal) = (quote_ident(&n.other), quote_literal(&n.other));
    run(
        &mut there,
        &format!(
            "SET ROLE {0}; CREATE TABLE {0}.{other} PARTITION OF {table} FOR VALUES IN ({other_literal});
             INSERT INTO {table} VALUES (4, {other_literal})",
            n.ident
        ),
    );
    let plan = "SELECT action || ' ' || partition FROM cgpsync_plan($1::text::regclass, $2, source => $3::text::name, columns => ARRAY['id', $3])";
    let planned = texts(here, plan, &[table, name, name]);
    assert!(
        planned.len() == 2 && planned.iter().any(|line| line.starts_with("create ")),
        "{planned:?}"
    );
    let sync = "SELECT status FROM cgpsync_sync($1::text::regclass, $2, source => $3::text::name, source_table => $1)";
    assert_eq!(texts(here, sync, &[table, name, name]), ["done", "done"], "{name}");
    let created = "SELECT relname::text FROM pg_class WHERE relname = $1::text::name AND relispartition";
    let new = tame(&n.other);
    assert_eq!(texts(here, created, &[&new]), [new.as_str()]);
    let rows = format!("SELECT string_agg(t::text, E'\\n' ORDER BY id) FROM {table} t");
    assert_eq!(texts(here, &rows, &[]), texts(&mut there, &rows, &[]), "{name}");
    // What is created gets a name of one line.
    let tree = "SELECT string_agg(translate(relname, E'\\n\\r\\t', '   ') || pg_get_expr(relpartbound, oid), E'\\n' ORDER BY relname)
                FROM pg_class WHERE relispartition AND relnamespace = $1::text::regnamespace";
    run(here, "SET standard_conforming_strings = on");
    assert_eq!(
        texts(here, tree, &[&n.ident]),
        texts(&mut there, tree, &[&n.ident]),
        "{name}"
    );
    run(here, "SET standard_conforming_strings = off");
    let verify =
        "SELECT matches::text FROM cgpsync_verify($1::text::regclass, source => $2::text::name, method => 'checksum')";
    assert_eq!(texts(here, verify, &[table, name]), ["true", "true"], "{name}");
}

/// By RANGE of values that the source, which is not partitioned, has to be asked for by condition.
fn second_table(pair: &Pair, here: &mut Client, n: &Names) {
    let Names {
        name, ident, literal, ..
    } = n;
    pair.target.sql(&format!(
        "SET ROLE {ident}; CREATE TABLE {ident}.ranged (id int, {ident} text) PARTITION BY RANGE ({ident});
         CREATE TABLE {ident}.low PARTITION OF {ident}.ranged FOR VALUES FROM (MINVALUE) TO ({literal});
         CREATE TABLE {ident}.high PARTITION OF {ident}.ranged FOR VALUES FROM ({literal}) TO (MAXVALUE)"
    ));
    let table = format!("{ident}.ranged");
    let start = "SELECT cgpsync_start($1::text::regclass, $2, source => $3::text::name)::text";
    let run_id = texts(here, start, &[&table, name, name]);
    let waited = "SELECT status FROM cgpsync_wait($1::text::bigint, '1 min')";
    assert_eq!(texts(here, waited, &[&run_id[0]]), ["done", "done"], "{name}");
    let mut there = pair.source.connect_to(name);
    let rows = format!("SELECT string_agg(t::text, E'\\n' ORDER BY id) FROM {table} t");
    assert_eq!(texts(here, &rows, &[]), texts(&mut there, &rows, &[]), "{name}");
    let since = "SELECT status FROM cgpsync_sync($1::text::regclass, $2, since => $2, source => $3::text::name)";
    assert_eq!(texts(here, since, &[&table, name, name]), ["done"], "{name}");
    let failed = format!(
        "DO $do$ BEGIN PERFORM cgpsync_sync({}::regclass, source => 'no such'); END $do$",
        quote_literal(&table)
    );
    let error = here.batch_execute(&failed).expect_err("no server");
    assert!(error.code().is_some(), "{error:?}");
}
