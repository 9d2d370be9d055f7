//! What cannot be exchanged over there is truncated, with the reason; what must not be waited for is not.

use crate::support::cluster::GATE;
use crate::support::trio::Trio;
use crate::support::{SOON, poll};

/// What is done to a partition, what the NOTICE says of it, and what undoes it.
const REASONS: &[(&str, &str, &str)] = &[
    (
        "CREATE VIEW january AS SELECT id FROM persons_201701",
        "view public.january depends on it",
        "DROP VIEW january",
    ),
    (
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER noted BEFORE INSERT ON persons_201701 FOR EACH ROW EXECUTE FUNCTION noted()",
        "trigger noted",
        "DROP TRIGGER noted ON persons_201701",
    ),
    (
        "ALTER TABLE persons_201701 ENABLE ROW LEVEL SECURITY",
        "row-level security",
        "ALTER TABLE persons_201701 DISABLE ROW LEVEL SECURITY",
    ),
    (
        "ALTER TABLE persons_201701 FORCE ROW LEVEL SECURITY",
        "row-level security",
        "ALTER TABLE persons_201701 NO FORCE ROW LEVEL SECURITY",
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false);
         INSERT INTO pg_subscription_rel SELECT oid, 'persons_201701'::regclass, 'r', '0/0' FROM pg_subscription",
        "belongs to an extension or a subscription",
        "ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s",
    ),
    ("CREATE PUBLICATION p FOR ALL TABLES", "is published", "DROP PUBLICATION p"),
    (
        "CREATE TABLE names (name varchar(64) PRIMARY KEY); INSERT INTO names SELECT 'name ' || g FROM generate_series(1, 30) g;
         ALTER TABLE persons_201701 ADD CONSTRAINT named FOREIGN KEY (name) REFERENCES names",
        "foreign key",
        "ALTER TABLE persons_201701 DROP CONSTRAINT named",
    ),
    (
        "CREATE TABLE persons_rest PARTITION OF persons DEFAULT; INSERT INTO persons VALUES (1, 'old', '2016-01-01')",
        "default partition",
        "DROP TABLE persons_rest",
    ),
    (
        "CREATE STATISTICS together ON id, name FROM persons_201701",
        "statistics object public.together depends on it",
        "DROP STATISTICS together",
    ),
    (
        "CREATE FUNCTION of(persons_201701) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function public.of(public.persons_201701) depends on it",
        "DROP FUNCTION of(persons_201701)",
    ),
    (
        "CREATE INDEX whole ON persons_201701 ((persons_201701 IS NULL))",
        "index \"whole\"",
        "DROP INDEX whole",
    ),
    (
        "CREATE INDEX persons_idx ON ONLY persons (name)",
        "an index of the table above it has none of it as yet",
        "DROP INDEX persons_idx",
    ),
    (
        "CREATE ROLE a; CREATE ROLE b; GRANT SELECT ON persons_201701 TO a WITH GRANT OPTION;
         SET ROLE a; GRANT SELECT ON persons_201701 TO b; RESET ROLE",
        "somebody else than its owner has granted",
        "REVOKE ALL ON persons_201701 FROM a CASCADE",
    ),
];

#[test]
fn what_cannot_be_exchanged_is_truncated_and_the_reason_is_told() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    for (run, (change, reason, undo)) in REASONS.iter().enumerate() {
        trio.there.sql(change);
        pair.source.sql(&format!("UPDATE persons SET note = 'run {run}'"));
        let arguments = "'persons', '20170115', 1, source => 'src', since => '20170101'";
        let error = pair
            .sync(&format!("{arguments}, replace => 'exchange'"))
            .expect_err(change);
        assert_eq!(error.code().code(), "0A000", "{change}: {error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("cannot be exchanged: ") && detail.contains(reason),
            "{change}: {detail}"
        );
        let (_, notices) = pair.told(arguments);
        assert!(
            notices.contains("truncated, so that readers wait: ") && notices.contains(reason),
            "{change}: {notices}"
        );
        trio.same_rows("persons", "born < '2017-02-01' AND born > '2017-01-01'");
        trio.there.sql(undo);
        let (_, notices) = pair.told(arguments);
        assert!(!notices.contains("truncated"), "{undo}: {notices}");
    }
}

#[test]
fn each_kind_of_target_is_told_its_own_way() {
    let trio = Trio::persons(2);
    let pair = &trio.pair;
    pair.target.sql("CREATE TABLE here (i int)");
    for (table, way, other) in [("persons", "swap", "exchange"), ("here", "exchange", "swap")] {
        let error = pair
            .sync(&format!("'{table}', '20170115', source => 'src', replace => '{way}'"))
            .expect_err(way);
        assert_eq!(error.code().code(), "22023", "{error:?}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains(&format!("'{other}'")), "{hint}");
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_run"), "0");
}

#[test]
fn who_holds_the_parent_for_long_is_named_and_nothing_is_truncated() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    let mut holder = trio.there.connect();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    holder
        .batch_execute("BEGIN; INSERT INTO persons VALUES (1, 'mine', '2017-12-31')")
        .expect("a lock on the parent");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.swap_timeout = '500ms'; SET cgpsync.max_retries = 0")
        .expect("settings");
    let error = pair
        .sync_as(&mut client, "'persons', '20170115', 1, source => 'src'")
        .expect_err("the parent is locked");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains(&format!("server \"dr\": {pid}.")) && !detail.contains("truncated"),
        "{detail}"
    );
    assert_eq!(trio.text("SELECT count(*) FROM persons"), "0");
    // Readers of other partitions go on beside the attempts.
    let run = pair.sync_in_background("'persons', '20170115', 1, source => 'src'");
    let attempts = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    poll("it tries to lock the parent", SOON, || trio.text(attempts) != "0");
    trio.there
        .sql("SET statement_timeout = '5s'; SELECT count(*) FROM persons WHERE born = '2017-05-01'");
    holder.batch_execute("ROLLBACK").expect("the end");
    assert_eq!(run.join(), Ok(1));
    trio.same_rows("persons", "born < '2017-02-01'");
}

#[test]
fn a_role_that_does_not_own_the_table_there_truncates_and_one_that_may_not_write_it_is_told() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    trio.there.sql("CREATE ROLE loader LOGIN PASSWORD 'secret'");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER dr OPTIONS (SET user 'loader')");
    let arguments = "'persons', '20170115', 1, source => 'src'";
    let error = pair.sync(arguments).expect_err("no right");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains("server \"dr\"") && detail.contains("GRANT INSERT, TRUNCATE ON"),
        "{detail}"
    );
    trio.there.sql("GRANT INSERT, TRUNCATE ON persons_201701 TO loader");
    let (_, notices) = pair.told(arguments);
    assert!(
        notices.contains("truncated, so that readers wait: role \"loader\""),
        "{notices}"
    );
    trio.same_rows("persons", "born < '2017-02-01'");
}

#[test]
fn a_partition_that_is_truncated_keeps_no_other_from_being_exchanged() {
    let trio = Trio::persons(100);
    let pair = &trio.pair;
    trio.there.sql(&format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM {GATE}; RETURN NEW; END';
         CREATE TRIGGER waits BEFORE INSERT ON persons_201701 FOR EACH ROW EXECUTE FUNCTION wait()"
    ));
    let gate = trio.there.close_gate();
    let run = pair.sync_in_background("'persons', '20170215', 2, source => 'src'");
    trio.there.until_at_gate(1);
    let states = "SELECT string_agg(partition || ' ' || status, ', ' ORDER BY partition) FROM cgpsync_run_partition";
    poll("February is done while January is loaded", SOON, || {
        pair.target.text(states) == "persons_201701 copying, persons_201702 done"
    });
    let progress =
        "SELECT units_done || ' of ' || units_total || ', ' || workers || ', ' || (percent > 0) FROM cgpsync_progress";
    assert_eq!(pair.target.text(progress), "1 of 2, 1, true");
    drop(gate);
    assert_eq!(run.join(), Ok(2));
    trio.same_rows("persons", "born < '2017-03-01'");
}

#[test]
fn an_index_where_the_role_may_create_none_is_a_reason_to_truncate() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    trio.there.create_tablespace("space");
    trio.there.sql(
        "CREATE ROLE loader LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO loader;
         ALTER TABLE persons OWNER TO loader; ALTER TABLE persons_201701 OWNER TO loader;
         CREATE INDEX named ON persons_201701 (name) TABLESPACE space",
    );
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER dr OPTIONS (SET user 'loader')");
    let (_, notices) = pair.told("'persons', '20170115', 1, source => 'src'");
    assert!(
        notices.contains("truncated, so that readers wait: index \"named\""),
        "{notices}"
    );
    trio.same_rows("persons", "born < '2017-02-01'");
    let place =
        "SELECT spcname FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.relname = 'named'";
    assert_eq!(trio.text(place), "space");
}

#[test]
fn a_partition_that_is_being_detached_is_not_attached_again() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    // Without it DETACH would add one, and the partition be another one by that.
    trio.there
        .sql("ALTER TABLE persons_201701 ADD CHECK (born >= '2017-01-01' AND born < '2017-02-01')");
    let mut holder = trio.there.connect();
    holder
        .batch_execute("BEGIN; INSERT INTO persons VALUES (1, 'mine', '2017-12-31')")
        .expect("a lock on the parent");
    let run = pair.sync_in_background("'persons', '20170115', 1, source => 'src'");
    let attempts = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    poll("it tries to lock the parent", SOON, || trio.text(attempts) != "0");
    let mut owner = trio.there.connect();
    owner.batch_execute("SET statement_timeout = '3s'").expect("a setting");
    owner
        .batch_execute("ALTER TABLE persons DETACH PARTITION persons_201701 CONCURRENTLY")
        .expect_err("it waits for the holder");
    let pending = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'persons_201701'::regclass";
    assert_eq!(trio.text(pending), "t");
    holder.batch_execute("ROLLBACK").expect("the end");
    let error = run.join().expect_err("it is no partition any more");
    assert!(error.contains("55006"), "{error}");
    assert_eq!(trio.text(pending), "t");
}

/// Of NOT NULL, which is a constraint since 18, and of keys with periods.
#[test]
fn constraints_of_18_are_kept() {
    let trio = Trio::new();
    if trio.text("SELECT current_setting('server_version_num')::int >= 180000") == "f" {
        return;
    }
    let pair = &trio.pair;
    trio.there.sql(
        "CREATE TABLE t (i int CONSTRAINT given NOT NULL, k int, v int GENERATED ALWAYS AS (i * 2) VIRTUAL, d daterange, r int4range,
                         CONSTRAINT hoped CHECK (k > 0) NOT ENFORCED, PRIMARY KEY (i)) PARTITION BY RANGE (i);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000);
         ALTER TABLE t_1 ADD CONSTRAINT own CHECK (k < 10000) NOT VALID, ADD UNIQUE NULLS NOT DISTINCT (i) INCLUDE (k) WITH (fillfactor = 77),
           ADD UNIQUE (r, d WITHOUT OVERLAPS) WITH (fillfactor = 55)",
    );
    pair.source.sql(
        "CREATE TABLE t (i int, k int, d daterange, r int4range);
         INSERT INTO t SELECT g, g, '[2017-01-01,2018-01-01)', int4range(g, g + 1) FROM generate_series(1, 100) g",
    );
    trio.attach("t");
    let all = "SELECT string_agg(concat_ws(' ', conname, pg_get_constraintdef(k.oid), conislocal, convalidated, conenforced,
                                           obj_description(k.oid, 'pg_constraint'), c.reloptions), ', ' ORDER BY conname)
               FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = conindid WHERE conrelid = 't_1'::regclass";
    for (change, way) in [
        ("SELECT", "exchange"),
        ("ALTER TABLE t_1 ADD CONSTRAINT alone NOT NULL k NO INHERIT", "truncate"),
        ("ALTER TABLE t_1 DROP CONSTRAINT alone", "exchange"),
        ("ALTER TABLE t_1 ADD CONSTRAINT late NOT NULL k NOT VALID", "truncate"),
        ("ALTER TABLE t_1 VALIDATE CONSTRAINT late", "exchange"),
        ("COMMENT ON CONSTRAINT given ON t_1 IS 'a comment'", "truncate"),
    ] {
        trio.there.sql(change);
        let before = trio.text(all);
        assert_eq!(pair.copied("'t', '999', 1, source => 'src', since => '0'"), ["t_1"]);
        assert_eq!(trio.text(all), before, "{change}");
        let last = "SELECT way FROM cgpsync_run_partition ORDER BY run_id DESC LIMIT 1";
        assert_eq!(pair.target.text(last), way, "{change}");
    }
}
