//! Constraints that are NOT VALID let rows be that break them, and a copy brings such rows.

use crate::support::trio::Trio;
use crate::support::{Pair, swapped};

/// What the catalogs say of constraints and triggers of tables in schema public.
const RULES: &str = "SELECT string_agg(format('%s %s %s %s %s', conrelid::regclass, conname, contype, convalidated,
       (SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgconstraint = c.oid)), ', ' ORDER BY conrelid, conname)
       || (SELECT string_agg(relname || relchecks, ' ' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p'))
     FROM pg_constraint c WHERE connamespace = 'public'::regnamespace";

fn tables(pair: &Pair) {
    pair.both(
        "CREATE TABLE t (id int, day date NOT NULL, qty int) PARTITION BY RANGE (day);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE refers (i int)",
    );
    pair.source.sql(
        "INSERT INTO t SELECT g, '2017-01-05', g FROM generate_series(1, 99) g; INSERT INTO t VALUES (100, '2017-01-06', -1);
         INSERT INTO refers VALUES (7)",
    );
    pair.both("ALTER TABLE t ADD CONSTRAINT t_qty CHECK (qty > 0) NOT VALID");
    pair.target.sql(
        "ALTER TABLE t ADD CONSTRAINT t_id CHECK (id > 0); CREATE INDEX ON t (qty);
         CREATE TABLE referred (i int PRIMARY KEY);
         ALTER TABLE refers ADD CONSTRAINT refers_i FOREIGN KEY (i) REFERENCES referred NOT VALID",
    );
}

#[test]
fn its_owner_loads_rows_that_break_one_and_it_is_what_it_was() {
    let pair = Pair::new();
    tables(&pair);
    let before = pair.target.text(RULES);
    for replace in ["swap", "truncate"] {
        let (_, told) = pair.told(&format!("'t', '20170228', since => '20170101', replace => '{replace}'"));
        let said = "constraints that are NOT VALID are left out while rows are loaded: \"t_qty\"";
        assert_eq!(told.matches(said).count(), 1, "{told}");
        pair.same_rows("t", "true");
        pair.told(&format!("'refers', replace => '{replace}'"));
        assert_eq!(pair.target.text("SELECT i FROM refers"), "7");
        assert_eq!(pair.target.text(RULES), before, "{replace}");
    }
    for row in ["t VALUES (1, '2017-01-01', -4)", "refers VALUES (8)"] {
        let refused = pair.target.connect().batch_execute(&format!("INSERT INTO {row}"));
        let error = refused.expect_err("new rows are checked");
        assert!(
            ["23514", "23503"].contains(&error.code().expect("a code").code()),
            "{error:?}"
        );
    }
    swapped::checks(&pair.target);
    swapped::is_sound(&pair.target, "t_1");
    // One that is valid is checked as ever, and a failure leaves all as it was.
    pair.source.sql("INSERT INTO t VALUES (-3, '2017-01-06', 1)");
    let error = pair.sync("'t', '20170228', since => '20170101'").expect_err("t_id");
    assert_eq!(error.code().code(), "23514");
    assert_eq!(pair.target.text(RULES), before);
    // Rows that have come to keep it can make it valid.
    pair.target
        .sql("DELETE FROM t WHERE qty < 0; ALTER TABLE t VALIDATE CONSTRAINT t_qty");
}

#[test]
fn others_are_told_that_it_is_not_valid_and_who_may() {
    let pair = Pair::new();
    tables(&pair);
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE owners; ALTER TABLE t OWNER TO owners; ALTER TABLE t_1 OWNER TO owners; ALTER TABLE t_2 OWNER TO owners;
         CREATE ROLE loader LOGIN; GRANT INSERT, TRUNCATE ON t, t_1, t_2 TO loader; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
    let mut loader = pair.target.connect_as("loader");
    let error = pair
        .sync_as(&mut loader, "'t', '20170228'")
        .expect_err("a row breaks it");
    assert_eq!(error.code().code(), "23514", "{error:?}");
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("Constraint \"t_qty\" is NOT VALID here") && detail.contains("rights of the table's owner"),
        "{detail}"
    );
    pair.target.sql("GRANT owners TO loader");
    pair.sync_as(&mut loader, "'t', '20170228'").expect("now it may");
    assert_eq!(pair.target.text("SELECT count(*) FROM t"), "100");
}

#[test]
fn a_domains_is_named_and_the_way_out_works() {
    let pair = Pair::new();
    pair.both("CREATE DOMAIN positive AS int; CREATE TABLE d (i positive)");
    pair.source.sql("INSERT INTO d VALUES (-1)");
    pair.target
        .sql("ALTER DOMAIN positive ADD CONSTRAINT above CHECK (VALUE > 0) NOT VALID");
    let error = pair.sync("'d'").expect_err("a value breaks it");
    assert_eq!(error.code().code(), "23514", "{error:?}");
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("ALTER DOMAIN public.positive DROP CONSTRAINT \"above\""),
        "{detail}"
    );
    pair.target
        .sql("ALTER DOMAIN public.positive DROP CONSTRAINT \"above\"");
    pair.copied("'d'");
    pair.target
        .sql("ALTER DOMAIN positive ADD CONSTRAINT above CHECK (VALUE > 0) NOT VALID");
    assert_eq!(pair.target.text("SELECT i FROM d"), "-1");
}

#[test]
fn so_does_a_not_null_where_there_is_such_a_thing() {
    let pair = Pair::new();
    if swapped::major(&pair.target) < 18 {
        return;
    }
    pair.both("CREATE TABLE n (i int)");
    pair.source.sql("INSERT INTO n VALUES (1), (NULL)");
    pair.target.sql("ALTER TABLE n ADD CONSTRAINT n_i NOT NULL i NOT VALID");
    for replace in ["swap", "truncate"] {
        pair.copied(&format!("'n', replace => '{replace}'"));
        assert_eq!(pair.target.text("SELECT count(*) FROM n"), "2");
        assert_eq!(
            pair.target
                .text("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'n'::regclass AND attname = 'i'"),
            "t"
        );
    }
    let error = pair
        .target
        .connect()
        .batch_execute("INSERT INTO n VALUES (NULL)")
        .expect_err("new rows are checked");
    assert_eq!(error.code().expect("a code").code(), "23502");
}

#[test]
fn on_another_server_it_is_left_out_of_an_exchange_and_named_by_a_truncate() {
    let trio = Trio::persons(3);
    trio.pair
        .source
        .sql("UPDATE persons SET note = 'odd' WHERE id = 2 AND born < '2017-02-01'");
    trio.there.sql(
        "ALTER TABLE persons ADD CONSTRAINT even CHECK (note <> 'odd') NOT VALID;
         COMMENT ON CONSTRAINT even ON persons_201701 IS 'as it was'",
    );
    let rule = "SELECT pg_get_constraintdef(oid) || ' ' || obj_description(oid, 'pg_constraint') || coninhcount
                FROM pg_constraint WHERE conrelid = 'persons_201701'::regclass AND conname = 'even'";
    let before = trio.text(rule);
    let (_, told) = trio.pair.told("'persons', '20170101', source => 'src'");
    assert!(
        told.contains("NOT VALID are left out while rows are loaded: \"even\""),
        "{told}"
    );
    trio.same_rows("persons", "born < '2017-02-01'");
    assert_eq!(trio.text(rule), before);
    let call = "'persons', '20170101', source => 'src', since => '20170101', replace => 'truncate'";
    let error = trio.pair.sync(call).expect_err("it is truncated with its constraints");
    assert_eq!(error.code().code(), "23514", "{error:?}");
    let detail = error.detail().expect("a detail");
    assert!(
        detail.contains("NOT VALID there") && detail.contains("Drop constraint \"even\" there"),
        "{detail}"
    );
    trio.there.sql("ALTER TABLE persons DROP CONSTRAINT \"even\"");
    trio.pair.copied(call);
    trio.there
        .sql("ALTER TABLE persons ADD CONSTRAINT even CHECK (note <> 'odd') NOT VALID");
    trio.same_rows("persons", "born < '2017-02-01'");
}
