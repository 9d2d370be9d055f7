//! A table on another server, which a foreign table here stands for, is synced as one of this database is.

use crate::support::trio::Trio;
use crate::support::{SOON, poll};

#[test]
fn a_table_on_another_server_is_synced_up_to_a_point_and_on_from_there() {
    let trio = Trio::persons(50);
    let pair = &trio.pair;
    let (units, notices) = pair.told("'persons', '20170315', 2, source => 'src'");
    assert_eq!(units.len(), 3, "{units:?} {notices}");
    assert_eq!(units[0], ("persons_201701".to_owned(), "done".to_owned()));
    trio.same_rows("persons", "born < '2017-04-01'");
    assert_eq!(
        trio.text("SELECT count(*) FROM persons WHERE born >= '2017-04-01'"),
        "0"
    );
    assert_eq!(pair.remembered("persons"), "20170315");
    let ways = "SELECT string_agg(DISTINCT way, ',') FROM cgpsync_run_partition";
    assert_eq!(pair.target.text(ways), "exchange", "{notices}");
    let analyzed = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_stats WHERE attname = 'id' AND tablename LIKE 'persons%'";
    assert_eq!(
        trio.text(analyzed),
        "persons persons_201701 persons_201702 persons_201703"
    );
    // The source is the only other server of the wrapper; what is closed is left alone.
    pair.source.sql("UPDATE persons SET note = 'changed'");
    assert_eq!(
        pair.copied("'persons', '20170401'"),
        ["persons_201703", "persons_201704"]
    );
    assert_eq!(trio.text("SELECT count(*) FROM persons WHERE note = 'changed'"), "100");
    let verified = "SELECT string_agg(partition || ' ' || matches, ', ' ORDER BY partition)
                    FROM cgpsync_verify('persons', '20170401', since => '20170101', source => 'src', method => 'checksum')";
    assert_eq!(
        pair.target.text(verified),
        "persons_201701 false, persons_201702 false, persons_201703 true, persons_201704 true"
    );
}

/// What a partition is, but for its OID and the numbers of its files.
const PORTRAIT: &str = "
    SELECT concat_ws(E'\\n',
      (SELECT concat_ws(' ', pg_get_userbyid(c.relowner), (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a), c.reloptions, c.relreplident, c.relpersistence, t.spcname,
                        obj_description(c.oid, 'pg_class'), pg_get_expr(c.relpartbound, c.oid))
       FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = o.oid),
      (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attstorage,
                                   NULLIF(attstattarget, -1), attacl, attgenerated, attidentity, col_description(attrelid, attnum),
                                   pg_get_expr(adbin, adrelid)), E'\\n' ORDER BY attname)
       FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = o.oid AND attnum > 0 AND NOT attisdropped),
      (SELECT string_agg(concat_ws(' ', conname, contype, pg_get_constraintdef(oid), conislocal, obj_description(oid, 'pg_constraint')), E'\\n' ORDER BY conname)
       FROM pg_constraint WHERE conrelid = o.oid AND contype <> 'n'),
      (SELECT string_agg(concat_ws(' ', pg_get_indexdef(indexrelid), indisclustered, indisreplident, t.spcname, obj_description(indexrelid, 'pg_class'),
                                   (SELECT i.inhparent::regclass FROM pg_inherits i WHERE i.inhrelid = indexrelid)), E'\\n' ORDER BY r.relname)
       FROM pg_index JOIN pg_class r ON r.oid = indexrelid LEFT JOIN pg_tablespace t ON t.oid = r.reltablespace WHERE indrelid = o.oid))
    FROM (SELECT 'odd.\"Part 1\"'::regclass::oid AS oid) o";

#[test]
fn an_exchange_keeps_all_that_a_partition_is() {
    let trio = Trio::new();
    let pair = &trio.pair;
    trio.there.create_tablespace("space");
    trio.there.sql(
        "CREATE ROLE owner; CREATE ROLE reader; CREATE ROLE \"odd Role\"; CREATE SCHEMA odd AUTHORIZATION owner;
         ALTER DEFAULT PRIVILEGES IN SCHEMA odd GRANT ALL ON TABLES TO PUBLIC;
         CREATE TABLE odd.t (gone int, id int NOT NULL, day date NOT NULL, v numeric(10, 2) DEFAULT 7, label text COLLATE \"C\",
           twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE odd.\"Part 1\" PARTITION OF odd.t FOR VALUES FROM ('2017-01-01') TO ('2018-01-01') WITH (fillfactor = 70);
         CREATE TABLE odd.rest PARTITION OF odd.t DEFAULT;
         ALTER TABLE odd.t DROP COLUMN gone; ALTER TABLE odd.t ADD CONSTRAINT positive CHECK (v > 0);
         CREATE INDEX label_idx ON odd.t (lower(label) text_pattern_ops) WHERE id > 0;
         CREATE INDEX \"A double\" ON odd.\"Part 1\" (lower(label) text_pattern_ops) WHERE id > 0;
         CREATE UNIQUE INDEX \"Own idx\" ON odd.\"Part 1\" (id DESC) WITH (fillfactor = 50) TABLESPACE space;
         ALTER TABLE odd.\"Part 1\" ADD CONSTRAINT own_check CHECK (label <> 'no'), ADD CONSTRAINT own_key UNIQUE (label) WITH (fillfactor = 80) DEFERRABLE INITIALLY DEFERRED,
           ALTER label SET STATISTICS 250, ALTER label SET STORAGE EXTERNAL, ALTER v SET DEFAULT 9, ALTER id SET (n_distinct = -1),
           SET (autovacuum_enabled = off, toast.autovacuum_enabled = off);
         ALTER INDEX odd.\"Part 1_pkey\" SET (fillfactor = 60);
         ALTER TABLE odd.\"Part 1\" SET TABLESPACE space; ALTER TABLE odd.\"Part 1\" CLUSTER ON \"Part 1_pkey\";
         ALTER TABLE odd.\"Part 1\" REPLICA IDENTITY USING INDEX \"Own idx\";
         COMMENT ON TABLE odd.\"Part 1\" IS 'it''s \\ odd'; COMMENT ON COLUMN odd.\"Part 1\".label IS 'a label';
         COMMENT ON INDEX odd.\"Own idx\" IS 'an index'; COMMENT ON CONSTRAINT own_check ON odd.\"Part 1\" IS 'a check';
         COMMENT ON CONSTRAINT own_key ON odd.\"Part 1\" IS 'a key';
         ALTER TABLE odd.t OWNER TO owner; ALTER TABLE odd.\"Part 1\" OWNER TO owner; ALTER TABLE odd.rest OWNER TO owner;
         REVOKE ALL ON odd.\"Part 1\" FROM PUBLIC; GRANT SELECT, INSERT ON odd.\"Part 1\" TO reader WITH GRANT OPTION;
         GRANT UPDATE (label) ON odd.\"Part 1\" TO \"odd Role\"; GRANT SELECT ON odd.\"Part 1\" TO \"odd Role\"; GRANT TRIGGER ON odd.\"Part 1\" TO PUBLIC",
    );
    pair.source.sql(
        "CREATE SCHEMA odd; CREATE TABLE odd.t (id int NOT NULL, day date NOT NULL, v numeric(10, 2), label text) PARTITION BY RANGE (day);
         CREATE TABLE odd.\"Part 1\" PARTITION OF odd.t FOR VALUES FROM ('2017-01-01') TO ('2018-01-01');
         INSERT INTO odd.t SELECT g, '2017-02-01', g, 'label ' || g FROM generate_series(1, 1000) g",
    );
    pair.target.sql("CREATE SCHEMA odd");
    trio.attach("odd.t");
    let before = trio.text(PORTRAIT);
    let oid = trio.text("SELECT 'odd.\"Part 1\"'::regclass::oid");
    for run in 1..3 {
        let (_, notices) = pair.told("'odd.t', '20171231', source => 'src', since => '20170101'");
        let way = format!("SELECT way FROM cgpsync_run_partition WHERE run_id = {run} AND partition LIKE '%Part%'");
        assert_eq!(pair.target.text(&way), "exchange", "{notices}");
        assert_eq!(trio.text(PORTRAIT), before);
    }
    assert_ne!(trio.text("SELECT 'odd.\"Part 1\"'::regclass::oid"), oid);
    assert_eq!(
        trio.text("SELECT count(*) || ' ' || sum(twice) FROM odd.t"),
        "1000 1001000"
    );
    assert_eq!(
        trio.text("SELECT count(*) FROM pg_class WHERE relname LIKE '%cgpsync%'"),
        "0"
    );
}

/// Whoever checks the bound of one holds a lock of the parent, as satisfies_hash_partition opens it.
#[test]
fn hash_partitions_do_not_wait_for_each_other() {
    let trio = Trio::new();
    trio.both(
        "CREATE TABLE hashed (i int, v text) PARTITION BY HASH (i);
         DO $$ BEGIN FOR r IN 0..3 LOOP
           EXECUTE format('CREATE TABLE hashed_%s PARTITION OF hashed FOR VALUES WITH (MODULUS 4, REMAINDER %s)', r, r);
         END LOOP; END $$",
    );
    trio.pair
        .source
        .sql("INSERT INTO hashed SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g");
    trio.attach("hashed");
    for _ in 0..3 {
        assert_eq!(trio.pair.copied("'hashed', NULL, 4, source => 'src'").len(), 4);
        trio.same_rows("hashed", "true");
    }
    let ways = "SELECT string_agg(DISTINCT way, ',') FROM cgpsync_run_partition";
    assert_eq!(trio.pair.target.text(ways), "exchange");
}

#[test]
fn a_source_without_rows_empties_the_table() {
    let trio = Trio::new();
    // What the labels of an enum are as numbers, the target tells: there are none here.
    trio.pair
        .source
        .sql("CREATE TYPE digit AS ENUM ('1', '2'); CREATE TABLE digits (i digit, v int)");
    trio.there.sql(
        "CREATE TABLE digits (i int, v int) PARTITION BY RANGE (i);
         CREATE TABLE digits_1 PARTITION OF digits FOR VALUES FROM (0) TO (10); INSERT INTO digits VALUES (1, 1)",
    );
    trio.attach("digits");
    assert_eq!(trio.pair.copied("'digits', '5', source => 'src'"), ["digits_1"]);
    assert_eq!(trio.text("SELECT count(*) FROM digits"), "0");
}

#[test]
fn who_reads_below_a_default_partition_is_waited_for() {
    let trio = Trio::new();
    trio.both(
        "CREATE TABLE t (i int) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE rest PARTITION OF t DEFAULT PARTITION BY LIST (i); CREATE TABLE rest_of_all PARTITION OF rest DEFAULT",
    );
    trio.attach("t");
    // First for t_2, which is created, then for t_1, which is exchanged.
    for change in [
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t VALUES (15)",
        "INSERT INTO t VALUES (1)",
    ] {
        trio.pair.source.sql(change);
        let mut reader = trio.there.connect();
        reader
            .batch_execute("BEGIN; SELECT FROM rest_of_all")
            .expect("a snapshot and a lock");
        let sync = trio.pair.sync_in_background("'t', '19', source => 'src', since => '0'");
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'rest_of_all'::regclass AND NOT granted";
        poll("the reader is in the way", SOON, || {
            sync.is_finished() || trio.text(waits) != "0"
        });
        reader.batch_execute("COMMIT").expect("the lock goes");
        sync.join().expect("it waits");
        trio.same_rows("t", "true");
    }
    assert_eq!(trio.text("SELECT count(*) FROM t"), "2");
    // Nothing was loaded twice for it.
    let again = "SELECT max(attempts) || ' ' || bool_or(r.message LIKE '%lock timeout%')
                 FROM cgpsync_run_partition p JOIN (SELECT run_id, COALESCE(message, '') AS message FROM cgpsync_run) r USING (run_id)";
    assert_eq!(trio.pair.target.text(again), "1 false");
}
