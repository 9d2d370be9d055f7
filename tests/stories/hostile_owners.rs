//! The owner of a table, or of a type in it, against whoever reads the table, and against cgpsync's own processes. `mallory` is a plain role:
//! whoever runs her function makes her a superuser.

use crate::support::fake::{Fake, Lie};
use crate::support::scene::LEVELS;
use crate::support::{Pair, SOON, poll};
use postgres::Client;

/// Her function, and others' way to it: what the planner computes, what a type reads, what a search_path finds.
const TRAPS: &str = "CREATE ROLE mallory LOGIN; CREATE ROLE alice LOGIN; CREATE SCHEMA m AUTHORIZATION mallory; GRANT USAGE ON SCHEMA m TO PUBLIC;
    CREATE SCHEMA a AUTHORIZATION alice; GRANT USAGE ON SCHEMA a TO PUBLIC;
    SET ROLE mallory; CREATE TABLE m.log (who text); GRANT INSERT ON m.log TO PUBLIC;
    CREATE FUNCTION m.run() RETURNS bool LANGUAGE plpgsql AS $$BEGIN
      IF current_user <> 'mallory' THEN
        BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
        INSERT INTO m.log VALUES (current_user);
      END IF;
      RETURN true; END$$;
    RESET ROLE";

/// Roles that have run her function, and whether it has made her a superuser.
fn victims(pair: &Pair) -> String {
    pair.target
        .text("SELECT concat_ws(' ', (SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'), (SELECT string_agg(DISTINCT who, ' ') FROM m.log))")
}

const NOBODY: &str = "f";

fn traps() -> Pair {
    let pair = Pair::new();
    pair.target.sql(TRAPS);
    pair.source
        .sql("CREATE SCHEMA m; CREATE ROLE reader LOGIN SUPERUSER PASSWORD 'r'");
    pair.target.sql(
        "GRANT USAGE ON FOREIGN SERVER src TO mallory, alice;
         CREATE USER MAPPING FOR mallory SERVER src OPTIONS (user 'reader', password 'r');
         CREATE USER MAPPING FOR alice SERVER src OPTIONS (user 'reader', password 'r')",
    );
    pair
}

/// What comes of it does not matter.
fn call(client: &mut Client, sql: &str) {
    match client.batch_execute(sql) {
        Ok(()) => {}
        Err(error) => println!("{sql}: {error}"),
    }
}

/// So that the stories below can fail.
#[test]
fn the_traps_are_traps() {
    let pair = traps();
    assert_eq!(victims(&pair), NOBODY);
    pair.target.sql("SELECT m.run()");
    assert_eq!(victims(&pair), "t postgres");
}

#[test]
fn what_a_tables_indexes_and_statistics_call_is_not_run_by_a_superuser_who_verifies() {
    let pair = traps();
    pair.both("CREATE TABLE m.u (k int, v int)");
    pair.target.sql(
        "ALTER TABLE m.u OWNER TO mallory; GRANT SELECT ON m.u TO alice; SET ROLE mallory;
         CREATE FUNCTION m.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
         CREATE INDEX ON m.u ((v + m.f(1))); CREATE INDEX ON m.u (v) WHERE m.f(2) = 2;
         CREATE OR REPLACE FUNCTION m.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM m.run(); RETURN $1; END'",
    );
    for who in ["postgres", "alice"] {
        let mut client = pair.target.connect_as(who);
        for method in ["count", "checksum"] {
            let sql = format!("SELECT count(*) FROM cgpsync_verify('m.u', '1', method => '{method}') WHERE matches");
            assert_eq!(client.query_one(&sql, &[]).expect("a comparison").get::<_, i64>(0), 1);
            assert_eq!(victims(&pair), NOBODY, "{who} {method}");
        }
        call(&mut client, "SELECT * FROM cgpsync_plan('m.u', '1')");
        assert_eq!(victims(&pair), NOBODY, "{who} plans");
    }
    // What the caller may not read stays unread, though its owner may.
    pair.target
        .sql("REVOKE SELECT ON m.u FROM alice; GRANT INSERT ON m.u TO alice");
    let errors = "SELECT string_agg(error, ';') FROM cgpsync_verify('m.u', '1')";
    let alices_error = || -> String {
        let mut alice = pair.target.connect_as("alice");
        alice.query_one(errors, &[]).expect("a row").get(0)
    };
    let error = alices_error();
    assert!(error.contains("permission denied for table u [42501]"), "{error}");
    pair.target.sql("GRANT SELECT ON m.u TO alice; ALTER TABLE m.u ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON m.u TO alice USING (v = 1)");
    let error = alices_error();
    assert!(
        error.contains("row-level security") && error.contains("[42501]"),
        "{error}"
    );
}

#[test]
fn code_of_the_callers_that_leaves_a_search_path_behind_borrows_nothing_from_cgpsyncs_owner() {
    let pair = traps();
    pair.source.sql(
        "CREATE TABLE t (k int, v int) PARTITION BY RANGE (k); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (10);
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t VALUES (1, 1), (11, 2);
         CREATE DOMAIN m.d AS text; CREATE TABLE cc (k m.d) PARTITION BY LIST (k); CREATE TABLE cc_1 PARTITION OF cc FOR VALUES IN ('x')",
    );
    let mut mallory = pair.target.connect_as("mallory");
    mallory
        .batch_execute(
            "CREATE FUNCTION m.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM m.run(); RETURN pg_catalog.now(); END';
             CREATE FUNCTION m.eq(text, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM m.run(); RETURN pg_catalog.texteq($1, $2); END';
             CREATE OPERATOR m.= (LEFTARG = text, RIGHTARG = text, FUNCTION = m.eq);
             CREATE FUNCTION m.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2000-01-01'::timestamptz$$;
             CREATE VIEW m.pg_class AS SELECT oid, 1::oid AS relfilenode, 'p'::\"char\" AS relpersistence FROM pg_catalog.pg_class;
             CREATE TABLE m.t (k int, v int) PARTITION BY RANGE (k); CREATE TABLE m.t_1 PARTITION OF m.t FOR VALUES FROM (1) TO (10);
             CREATE TABLE m.t_2 PARTITION OF m.t FOR VALUES FROM (10) TO (20);
             CREATE FUNCTION m.trg() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
               PERFORM set_config('search_path', 'm, pg_catalog', false); RETURN new; END$$;
             CREATE TRIGGER a BEFORE INSERT ON m.t FOR EACH ROW EXECUTE FUNCTION m.trg();
             CREATE FUNCTION m.path(text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN
               PERFORM set_config('search_path', 'm, pg_catalog', false); RETURN true; END$$;
             CREATE DOMAIN m.d AS text CHECK (m.path(value)); CREATE TYPE m.c AS (x m.d);
             CREATE TABLE m.p (k m.c) PARTITION BY LIST (k); CREATE TABLE m.p1 PARTITION OF m.p FOR VALUES IN (row('x')::m.c)",
        )
        .expect("her own objects");
    // Her own session has such a path by now, too.
    mallory
        .batch_execute("RESET ALL; SELECT * FROM cgpsync_sync('m.t', '20', 1, source_table => 'public.t')")
        .expect("a sync");
    assert_eq!(pair.target.text("SELECT count(*) FROM m.t"), "2");
    assert_eq!(victims(&pair), NOBODY);
    // Nor is a unit known by what was found there.
    let recorded = "SELECT count(*) FROM cgpsync_run_partition p JOIN pg_class c ON c.oid = p.relation
                    WHERE p.file_number = c.relfilenode AND p.server_start = pg_postmaster_start_time()";
    assert_eq!(pair.target.text(recorded), "2");
    for sql in [
        "SELECT cgpsync_create_table('cc', 'm.cc')",
        "SELECT * FROM cgpsync_plan('m.p', source_table => 'public.cc')",
        "SELECT * FROM cgpsync_verify('m.p', source_table => 'public.cc')",
        "SELECT * FROM cgpsync_sync('m.p', source_table => 'public.cc')",
        "SELECT * FROM cgpsync_sync('m.cc', source_table => 'public.cc')",
    ] {
        mallory.batch_execute("RESET ALL").expect("a session");
        call(&mut mallory, sql);
        assert_eq!(victims(&pair), NOBODY, "{sql}");
    }
}

#[test]
fn a_type_that_takes_the_place_of_a_keys_while_the_source_is_asked_is_not_read() {
    let pair = traps();
    pair.source.sql(
        "CREATE TYPE e AS ENUM ('lo', 'hi'); CREATE TABLE t (k e) PARTITION BY LIST (k);
         CREATE TABLE t_lo PARTITION OF t FOR VALUES IN ('lo'); CREATE TABLE t_hi PARTITION OF t FOR VALUES IN ('hi')",
    );
    pair.target.sql(
        "SET ROLE mallory; CREATE TYPE m.e AS ENUM ('lo', 'hi'); CREATE TABLE m.t (k m.e) PARTITION BY LIST (k);
         CREATE TABLE m.t_lo PARTITION OF m.t FOR VALUES IN ('lo')",
    );
    for sql in [
        "SELECT * FROM cgpsync_plan('m.t', source_table => 'public.t')",
        "SELECT * FROM cgpsync_verify('m.t', source_table => 'public.t', method => 'checksum')",
    ] {
        let mut gate = pair.source.connect();
        gate.batch_execute("BEGIN; LOCK TABLE pg_partitioned_table IN ACCESS EXCLUSIVE MODE")
            .expect("a lock");
        let mut client = pair.target.connect();
        let caller = std::thread::spawn(move || call(&mut client, sql));
        poll("the source is being asked", SOON, || {
            pair.source
                .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pg_partitioned_table'::regclass")
                == "1"
        });
        pair.target
            .sql("SET ROLE mallory; ALTER TYPE m.e RENAME TO e_old; CREATE DOMAIN m.e AS text CHECK (m.run())");
        gate.batch_execute("ROLLBACK").expect("the lock goes");
        caller.join().expect("the call ends");
        assert_eq!(victims(&pair), NOBODY, "{sql}");
        pair.target
            .sql("SET ROLE mallory; DROP DOMAIN m.e; ALTER TYPE m.e_old RENAME TO e");
    }
}

#[test]
fn what_is_left_in_a_sessions_temporary_schema_is_no_type_for_a_check() {
    let pair = traps();
    pair.source
        .sql("CREATE SCHEMA a; CREATE TYPE ec AS (x text); CREATE TABLE a.q (k int, CONSTRAINT c CHECK (k > 0))");
    let fake = Fake::start(pair.source.port);
    pair.create_server("fake", fake.port);
    pair.target.sql(
        "CREATE USER MAPPING FOR alice SERVER fake OPTIONS (user 'reader', password 'r'); GRANT USAGE ON FOREIGN SERVER fake TO alice;
         SET ROLE mallory;
         CREATE FUNCTION m.nice() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN
           CREATE DOMAIN pg_temp.ed AS text CHECK (m.run()); CREATE TYPE pg_temp.ec AS (x pg_temp.ed);
           GRANT USAGE ON TYPE pg_temp.ed, pg_temp.ec TO PUBLIC; RETURN 1; END$$",
    );
    for check in [
        "(ec '(1)' IS NOT NULL)",
        "('1'::ed IS NOT NULL)",
        "(CAST('{1}' AS _ed) IS NOT NULL)",
        "(\"ed\" '1' IS NOT NULL)",
    ] {
        fake.tell(vec![("k.convalidated", Lie::value(3, check.as_bytes()))]);
        let mut alice = pair.target.connect_as("alice");
        call(&mut alice, "SELECT m.nice()");
        call(&mut alice, "SELECT cgpsync_create_table('a.q', source => 'fake')");
        assert_eq!(victims(&pair), NOBODY, "{check}");
        assert_eq!(
            pair.target
                .text("SELECT count(*) FROM pg_constraint WHERE conname = 'c'"),
            "0"
        );
        pair.target.sql("DROP TABLE a.q");
    }
}

#[test]
fn bounds_of_deeper_levels_and_of_expressions_are_no_values_of_her_domains_either() {
    let pair = traps();
    pair.target
        .sql("SET ROLE mallory; CREATE DOMAIN m.d AS text CHECK (m.run())");
    pair.source.sql(
        "CREATE DOMAIN m.d AS text;
         CREATE TABLE t (k int, l int, c m.d) PARTITION BY RANGE (k);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10) PARTITION BY RANGE (l);
         CREATE TABLE t1a PARTITION OF t1 FOR VALUES FROM (1) TO (10);
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (l);
         CREATE TABLE t2a PARTITION OF t2 FOR VALUES FROM (1) TO (10) PARTITION BY LIST (c);
         CREATE TABLE t2ax PARTITION OF t2a FOR VALUES IN ('chosen by the source');
         CREATE TABLE e (k text) PARTITION BY LIST ((k::m.d)); CREATE TABLE e1 PARTITION OF e FOR VALUES IN ('x');
         CREATE TABLE e2 PARTITION OF e FOR VALUES IN ('y');
         CREATE TABLE f (k m.d) PARTITION BY LIST ((COALESCE(k, k))); CREATE TABLE f1 PARTITION OF f FOR VALUES IN ('x')",
    );
    pair.target.sql(
        "CREATE TABLE t (k int, l int, c m.d) PARTITION BY RANGE (k);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10) PARTITION BY RANGE (l);
         CREATE TABLE t1a PARTITION OF t1 FOR VALUES FROM (1) TO (10);
         CREATE TABLE f (k m.d) PARTITION BY LIST ((COALESCE(k, k)));
         CREATE TABLE m.e (k text) PARTITION BY LIST ((k::m.d)); ALTER TABLE m.e OWNER TO mallory",
    );
    for call in ["'t', '15'", "'f'", "'m.e', source_table => 'public.e'"] {
        match pair.sync(call) {
            Ok(units) => println!("{call}: {units:?}"),
            Err(error) => println!("{call}: {error:?}"),
        }
        assert_eq!(victims(&pair), NOBODY, "{call}");
    }
    let error = pair.sync("'t', '15'").expect_err("her domain");
    assert_eq!(error.code().code(), "42501", "{error:?}");
}

#[test]
fn an_expression_of_hers_is_not_called_on_the_source_in_the_callers_name() {
    let pair = traps();
    pair.source.sql(
        "CREATE SCHEMA adm; CREATE TABLE adm.called (n int);
         CREATE FUNCTION adm.wipe(int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'wiped'; END$$;
         CREATE TABLE x (k int) PARTITION BY LIST (k); CREATE TABLE x1 PARTITION OF x FOR VALUES IN (1); INSERT INTO x VALUES (1)",
    );
    pair.target.sql(
        "CREATE SCHEMA adm AUTHORIZATION mallory; SET ROLE mallory;
         CREATE FUNCTION adm.wipe(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
         CREATE TABLE m.x (k int) PARTITION BY LIST ((adm.wipe(k))); CREATE TABLE m.x1 PARTITION OF m.x FOR VALUES IN (1)",
    );
    for sql in [
        "SELECT * FROM cgpsync_plan('m.x', source_table => 'public.x')",
        "SELECT * FROM cgpsync_verify('m.x', source_table => 'public.x')",
    ] {
        call(&mut pair.target.connect(), sql);
    }
    assert!(!pair.source.log().contains("wiped"), "{}", pair.source.log());
}

#[test]
fn what_the_source_calls_a_type_is_not_sql_here() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k int8) PARTITION BY RANGE (k); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10);
         INSERT INTO t VALUES (1)",
    );
    pair.target.sql(
        "CREATE TABLE t (k int4) PARTITION BY RANGE (k); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10)",
    );
    let fake = Fake::start(pair.source.port);
    pair.create_server("fake", fake.port);
    let word = "int8+(SELECT 0 FROM pg_catalog.lo_from_bytea(0, 'from the source') o)";
    for sql in [
        "SELECT * FROM cgpsync_plan('t', '5', source => 'fake')",
        "SELECT * FROM cgpsync_verify('t', '5', source => 'fake')",
        "SELECT * FROM cgpsync_sync('t', '5', source => 'fake')",
    ] {
        fake.tell(vec![(LEVELS, Lie::value(6, word.as_bytes()))]);
        call(&mut pair.target.connect(), sql);
        assert_eq!(
            pair.target.text("SELECT count(*) FROM pg_largeobject_metadata"),
            "0",
            "{sql}"
        );
    }
}

#[test]
fn whether_a_partition_holds_vanished_rows_is_not_asked_in_its_owners_name_with_anothers_type() {
    let pair = traps();
    pair.source.sql(
        "CREATE DOMAIN d AS int; CREATE TYPE r AS RANGE (subtype = d); CREATE TABLE t (k r) PARTITION BY LIST (k);
         CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('[1,2)')",
    );
    pair.target.sql(
        "SET ROLE mallory; CREATE FUNCTION m.check() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
         CREATE DOMAIN m.d AS int CHECK (m.check()); CREATE TYPE m.r AS RANGE (subtype = m.d);
         SET ROLE alice; CREATE TABLE a.t (k m.r) PARTITION BY LIST (k);
         CREATE TABLE a.t1 PARTITION OF a.t FOR VALUES IN ('[1,2)', '[5,6)'); INSERT INTO a.t VALUES ('[1,2)');
         GRANT SELECT, INSERT, TRUNCATE ON a.t, a.t1 TO mallory;
         SET ROLE mallory; CREATE OR REPLACE FUNCTION m.check() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN m.run(); END'",
    );
    let mut mallory = pair.target.connect_as("mallory");
    call(
        &mut mallory,
        "SELECT * FROM cgpsync_sync('a.t', source_table => 'public.t', create_missing => false)",
    );
    assert_eq!(victims(&pair), NOBODY);
}
