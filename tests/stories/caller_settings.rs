//! What a role's own settings, and the function that it calls from, must not change: what happens, and what it is told of that.

use crate::support::cluster::GATE;
use crate::support::swapped::major;
use crate::support::{Pair, SOON, poll};
use postgres::Client;

/// `loader` and `other`, which may both sync and call for each other; `loader` may be `other`.
fn pair() -> Pair {
    let pair = Pair::new();
    pair.persons(3);
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    for role in ["loader", "other"] {
        pair.target.sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER src TO {role};
             GRANT SELECT, INSERT, TRUNCATE ON ALL TABLES IN SCHEMA public TO {role};
             CREATE USER MAPPING FOR {role} SERVER src OPTIONS (user 'reader', password 'r')"
        ));
    }
    pair.target.sql("GRANT other TO loader");
    pair
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client
        .query_one(sql, &[])
        .unwrap_or_else(|e| panic!("{e:?} in: {sql}"))
        .get(0)
}

/// Every call that reads cgpsync's own tables, in a session that is told of what it may not see by an error.
fn every_call(pair: &Pair, client: &mut Client, what: &str) {
    let units = pair.sync_as(client, "'persons', '20170101'").expect(what);
    assert_eq!(units, [("persons_201701".to_owned(), "done".to_owned())], "{what}");
    let gate = pair.source.close_gate();
    let run = number(
        client,
        "SELECT cgpsync_start('slow', '20170301', source_table => 'gated')",
    );
    pair.source.until_at_gate(1);
    poll("it is shown", SOON, || {
        number(client, "SELECT count(*) FROM cgpsync_progress WHERE workers > 0") == 1
    });
    assert_eq!(
        number(client, &format!("SELECT cgpsync_cancel({run})::int::bigint")),
        1,
        "{what}"
    );
    drop(gate);
    let error = client
        .batch_execute(&format!("SELECT FROM cgpsync_wait({run})"))
        .expect_err("it was cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57P01"), "{what}: {error:?}");
    assert_eq!(
        number(client, "SELECT count(*) FROM cgpsync_verify('persons', '20170101')"),
        1,
        "{what}"
    );
    // It is not told of another's.
    let foreign = pair
        .target
        .text("SELECT cgpsync_start('persons', '20170101', since => '20170101')");
    pair.target.sql(&format!("SELECT FROM cgpsync_wait({foreign})"));
    let error = client
        .batch_execute(&format!("SELECT FROM cgpsync_wait({foreign})"))
        .expect_err("another's run");
    assert_eq!(error.code().map(|code| code.code()), Some("42704"), "{what}: {error:?}");
}

fn with_a_gate(pair: &Pair) {
    pair.source.sql(&format!(
        "CREATE VIEW gated AS SELECT g AS i FROM generate_series(1, 1) g, LATERAL (SELECT {GATE} WHERE g > 0) s;
         GRANT SELECT ON gated TO reader"
    ));
    pair.target
        .sql("CREATE TABLE slow (i int); GRANT INSERT, TRUNCATE ON slow TO loader");
}

#[test]
fn row_security_off_hides_no_run_from_its_caller() {
    let pair = pair();
    with_a_gate(&pair);
    let mut client = pair.target.connect_as("loader");
    client.batch_execute("SET row_security = off").expect("a setting");
    every_call(&pair, &mut client, "SET");
    pair.target
        .sql("ALTER ROLE loader SET row_security = off; DELETE FROM sync_table");
    every_call(&pair, &mut pair.target.connect_as("loader"), "ALTER ROLE");
    // What it asks of a table itself is PostgreSQL's to answer.
    let error = client
        .batch_execute("SELECT FROM cgpsync_run")
        .expect_err("a policy applies");
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    // Nor do grants: what the calls say does not depend on them.
    pair.target
        .sql("REVOKE SELECT ON cgpsync_run, cgpsync_run_partition FROM PUBLIC");
    pair.sync_as(&mut client, "'persons', '20170101', since => '20170101'")
        .expect("it is told how it went");
}

#[test]
fn a_function_with_its_owners_rights_syncs_as_its_owner() {
    let pair = pair();
    pair.target.sql(
        "GRANT CREATE ON SCHEMA public TO loader; CREATE ROLE anybody LOGIN; SET ROLE loader;
         CREATE FUNCTION nightly() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET row_security = off
           AS $$ SELECT count(*) FROM cgpsync_sync('persons', '20170101') $$;
         CREATE FUNCTION begun() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET row_security = off
           AS $$ SELECT cgpsync_start('persons', '20170201') $$;
         CREATE FUNCTION waited(bigint) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET row_security = off
           AS $$ SELECT count(*) FROM cgpsync_wait($1) $$",
    );
    let mut client = pair.target.connect_as("anybody");
    assert_eq!(number(&mut client, "SELECT nightly()"), 1);
    let run = number(&mut client, "SELECT begun()");
    // The run is the owner's, not the caller's.
    let error = client
        .batch_execute(&format!("SELECT FROM cgpsync_wait({run})"))
        .expect_err("not its own");
    assert_eq!(error.code().map(|code| code.code()), Some("42704"));
    assert_eq!(number(&mut client, &format!("SELECT waited({run})")), 2);
    assert_eq!(
        pair.target
            .list("SELECT role_name || ' ' || status FROM cgpsync_run ORDER BY run_id"),
        ["loader done", "loader done"]
    );
    assert_eq!(number(&mut client, "SELECT count(*) FROM cgpsync_run"), 0);
}

#[test]
fn a_run_acts_as_the_role_that_calls_also_where_that_begins_its_sessions_as_another() {
    let pair = pair();
    pair.target.sql(
        "CREATE TABLE seen (who text); GRANT INSERT ON seen TO loader, other;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER TRUNCATE ON persons_201701 EXECUTE FUNCTION note();
         ALTER ROLE loader SET role = other; ALTER ROLE loader SET exit_on_error = on",
    );
    let mut client = pair.target.connect_as("loader");
    for (role, expected) in [("NONE", "loader"), ("other", "other")] {
        client
            .batch_execute(&format!("SET exit_on_error = off; SET ROLE {role}"))
            .expect("a role");
        pair.sync_as(&mut client, "'persons', '20170101', since => '20170101'")
            .expect("it runs");
        assert_eq!(
            pair.target.text("SELECT string_agg(who, ' ') FROM seen"),
            expected,
            "as {role}"
        );
        assert_eq!(
            pair.target
                .text("SELECT role_name FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
            expected
        );
        pair.target.sql("TRUNCATE seen");
    }
}

#[test]
fn a_sessions_wish_for_quotes_does_not_hide_the_remembered_point() {
    let pair = pair();
    pair.copied("'persons', '20170101'");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET quote_all_identifiers = on")
        .expect("a setting");
    let rows = client
        .query("SELECT partition FROM cgpsync_verify('persons')", &[])
        .expect("it compares");
    let partitions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(partitions, ["persons_201701"], "up to the point");
    client
        .batch_execute("DROP TABLE persons; SELECT cgpsync_create_table('persons')")
        .expect("a new table");
    assert_eq!(pair.remembered("persons"), "", "it begins empty");
}

#[test]
fn a_setting_that_does_not_exist_is_told() {
    let pair = Pair::new();
    pair.persons(1);
    // What was made up before the library was there, by the client, a role or a database.
    pair.target
        .sql("CREATE ROLE typist LOGIN SUPERUSER; ALTER ROLE typist SET cgpsync.lock_timout = '1s'; ALTER ROLE typist SET cgpsync.max_retries = 3");
    let (mut client, notices) = pair.target.connect_with_notices_as("typist");
    client
        .batch_execute("SELECT count(*) FROM cgpsync_plan('persons', '20170101', source => 'src')")
        .expect_err("it has no user mapping");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("cgpsync.lock_timout"), "{notices}");
    assert!(!notices.contains("max_retries"), "{notices}");
    assert_eq!(
        number(&mut client, "SELECT current_setting('cgpsync.max_retries')::bigint"),
        3
    );
    if major(&pair.target) < 15 {
        return;
    }
    let error = client
        .batch_execute("SET cgpsync.retry_dealy = '1s'")
        .expect_err("there is none of that name");
    assert_eq!(error.code().map(|code| code.code()), Some("42602"), "{error:?}");
    client
        .batch_execute("SET cgpsync.retry_delay = '1s'")
        .expect("there is one");
}
