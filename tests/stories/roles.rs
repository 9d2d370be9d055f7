//! Plain roles: they sync their own tables, with their own privileges, and nothing more.

use crate::support::Pair;

fn plain_role(pair: &Pair) {
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
}

#[test]
fn a_plain_role_with_insert_and_truncate_syncs_and_its_workers_run_as_it() {
    let pair = Pair::new();
    pair.persons(5);
    plain_role(&pair);
    let mut client = pair.target.connect_as("loader");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("no privileges");
    assert_eq!(error.code().code(), "42501");
    assert!(error.detail().is_some_and(|d| d.contains("INSERT")), "{error:?}");
    pair.target.sql(
        "GRANT INSERT, TRUNCATE ON persons_201701 TO loader;
                     CREATE TABLE seen (who text);
                     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                       $$ BEGIN INSERT INTO public.seen VALUES (session_user); RETURN NULL; END $$;
                     CREATE TRIGGER note AFTER TRUNCATE ON persons_201701 EXECUTE FUNCTION note()",
    );
    pair.sync_as(&mut client, "'persons', '20170101'")
        .expect("enough privileges");
    pair.same_rows("persons_201701", "true");
    assert_eq!(pair.target.text("SELECT who FROM seen"), "loader");
    assert_eq!(
        pair.target
            .text("SELECT role_name FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
        "loader"
    );
}

#[test]
fn it_needs_usage_on_the_server_and_a_password_of_its_own() {
    let pair = Pair::new();
    pair.persons(5);
    plain_role(&pair);
    let mut client = pair.target.connect_as("loader");
    pair.target.sql("REVOKE USAGE ON FOREIGN SERVER src FROM loader");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("no USAGE");
    assert_eq!(error.code().code(), "42501");
    pair.target.sql(
        "GRANT USAGE ON FOREIGN SERVER src TO loader; ALTER USER MAPPING FOR loader SERVER src OPTIONS (DROP password)",
    );
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("no password");
    assert_eq!(error.code().code(), "2F003");
}

#[test]
fn it_sees_its_own_runs_and_can_forge_none() {
    let pair = Pair::new();
    pair.persons(5);
    plain_role(&pair);
    pair.copied("'persons', '20170101'");
    let mut client = pair.target.connect_as("loader");
    pair.sync_as(&mut client, "'persons', '20170101'")
        .expect_err("no privileges");
    let count = |client: &mut postgres::Client, table: &str| -> i64 {
        client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .expect("a count")
            .get(0)
    };
    assert_eq!(count(&mut client, "cgpsync_run"), 1);
    assert_eq!(count(&mut client, "cgpsync_run_partition"), 1);
    assert_eq!(count(&mut client, "sync_table"), 1);
    for statement in [
        "UPDATE cgpsync_run SET status = 'done'",
        "DELETE FROM cgpsync_run_partition",
        "UPDATE sync_table SET end_tm = '2020'",
        "SELECT nextval('cgpsync_run_id_seq')",
    ] {
        let error = client.batch_execute(statement).expect_err("denied");
        assert_eq!(error.code().map(|c| c.code()), Some("42501"), "{statement}");
    }
}

#[test]
fn objects_planted_in_the_search_path_are_not_used() {
    let pair = Pair::new();
    pair.persons(5);
    plain_role(&pair);
    pair.target.sql(
        "GRANT INSERT, TRUNCATE ON ALL TABLES IN SCHEMA public TO loader; CREATE SCHEMA evil AUTHORIZATION loader;
         ALTER ROLE loader SET search_path = evil, public, pg_catalog",
    );
    let mut client = pair.target.connect_as("loader");
    client
        .batch_execute(
            "CREATE FUNCTION evil.boom(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
             CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.boom);
             CREATE FUNCTION evil.pg_try_advisory_lock(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
             CREATE FUNCTION evil.count(*) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        )
        .ok();
    pair.sync_as(&mut client, "'persons', '20170101'")
        .expect("the sync succeeds");
}

#[test]
fn a_role_without_login_gets_a_clear_error() {
    let pair = Pair::new();
    pair.persons(1);
    pair.target.sql("CREATE ROLE owner NOLOGIN");
    let mut client = pair.target.connect();
    client.batch_execute("SET ROLE owner").expect("a role");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("no login");
    assert_eq!(error.code().code(), "28000");
    assert!(error.hint().is_some_and(|h| h.contains("LOGIN")), "{error:?}");
}

#[test]
fn row_level_security_is_refused_on_either_side_rather_than_bypassed() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    pair.source.sql("INSERT INTO t VALUES (1), (2)");
    plain_role(&pair);
    pair.target.sql("GRANT INSERT, TRUNCATE ON t TO loader");
    let mut client = pair.target.connect_as("loader");
    pair.sync_as(&mut client, "'t', '20170101'").expect("the sync succeeds");
    pair.source
        .sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (i = 1)");
    let error = pair
        .sync_as(&mut client, "'t', '20170101'")
        .expect_err("rows are hidden there");
    assert_eq!(error.code().code(), "42501");
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "2");
    pair.source.sql("ALTER TABLE t DISABLE ROW LEVEL SECURITY");
    pair.target
        .sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true)");
    let error = pair.sync_as(&mut client, "'t', '20170101'").expect_err("a policy here");
    assert_eq!(error.code().code(), "0A000");
}

#[test]
fn a_password_that_nobody_asked_for_is_no_authentication() {
    let pair = Pair::new();
    pair.persons(5);
    plain_role(&pair);
    pair.target.sql(
        "GRANT INSERT, TRUNCATE ON ALL TABLES IN SCHEMA public TO loader;
                     ALTER USER MAPPING FOR loader SERVER src OPTIONS (SET user 'postgres', SET password 'made up')",
    );
    let hba = pair.source.dir.join("pg_hba.conf");
    std::fs::write(&hba, "local all all trust\nhost all all 127.0.0.1/32 trust\n").expect("a file");
    pair.source.sql("SELECT pg_reload_conf()");
    let mut client = pair.target.connect_as("loader");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("the source lets anybody in");
    assert_eq!(error.code().code(), "2F003");
    // A superuser may go without.
    pair.copied("'persons', '20170101'");
}

#[test]
fn the_settings_of_a_role_do_not_change_what_is_copied() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k float8, v text) PARTITION BY RANGE (k);
               CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0.123456789012) TO (0.123456789013)",
    );
    pair.source.sql("INSERT INTO t VALUES (0.1234567890125, 'äöü漢')");
    pair.target.sql("ALTER ROLE postgres SET client_encoding = 'LATIN1'; ALTER ROLE postgres SET extra_float_digits = -10;
                     ALTER ROLE postgres SET default_transaction_read_only = on; ALTER ROLE postgres SET datestyle = 'German';
                     ALTER ROLE postgres SET default_transaction_isolation = 'serializable'");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET client_encoding = 'UTF8'; SET default_transaction_read_only = off")
        .expect("settings");
    let units = pair.sync_as(&mut client, "'t', '1'").expect("the sync succeeds");
    assert_eq!(units, [("t_1".to_owned(), "done".to_owned())]);
    let text: String = client.query_one("SELECT v FROM t", &[]).expect("a row").get(0);
    assert_eq!(text, "äöü漢");
}
