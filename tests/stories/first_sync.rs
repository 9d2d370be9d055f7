//! The main job: the first sync, the second, what they show.

use crate::support::Pair;
use crate::support::values::intervals_go_as_text;

#[test]
fn the_first_sync_copies_all_up_to_end_tm_and_the_second_only_the_last_partition() {
    let pair = Pair::new();
    pair.persons(100);
    let first = pair.copied("'persons', '20170301', 5");
    assert_eq!(first, ["persons_201701", "persons_201702", "persons_201703"]);
    pair.same_rows("persons", "born < '2017-04-01'");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM persons WHERE born >= '2017-04-01'"),
        "0"
    );
    assert_eq!(
        pair.target
            .text("SELECT end_tm FROM sync_table WHERE table_name = 'persons'"),
        "20170301"
    );

    assert_eq!(pair.copied("'persons', '20170301', 5"), ["persons_201703"]);
    assert_eq!(
        pair.copied("'persons', '20170401'"),
        ["persons_201703", "persons_201704"]
    );
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170401");
}

#[test]
fn a_copied_partition_is_the_sources_and_nothing_else() {
    let pair = Pair::new();
    pair.persons(50);
    pair.target
        .sql("INSERT INTO persons VALUES (-1, 'left over', '2017-01-05', NULL)");
    pair.copied("'persons', '20170228'");
    pair.same_rows("persons", "born < '2017-03-01'");
    // Emptied over there, empty here.
    pair.source.sql("DELETE FROM persons_201702");
    pair.copied("'persons', '20170228'");
    assert_eq!(pair.target.text("SELECT count(*) FROM persons_201702"), "0");
}

#[test]
fn every_value_a_warehouse_has_arrives_unchanged() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (a bigint, b varchar(64), c date, d timestamptz, e numeric(12,2), f float8, g text, h bytea,
                         i int[], j jsonb, k uuid, l interval, m char(5), n boolean, o inet, p time, q timestamp)",
    );
    pair.source.sql(
        r#"INSERT INTO t VALUES
          (1, 'ünïcödé 漢字', '2017-01-01', '2017-01-01 12:00+05', 1.10, 0.1, E'tab\tnewline\nreturn\rbackslash\\ \\N \\.', '\x00ff', '{1,NULL,3}',
           '{"a": [1, 2]}', '00000000-0000-0000-0000-000000000001', '1 mon 2 days 03:04:05.6', 'ab', true, '10.0.0.1/8', '12:34:56.789', 'infinity'),
          (NULL, '', 'infinity', '-infinity', 'NaN', 'Infinity', '', '', '{}', 'null', NULL, NULL, '', false, '::1', NULL, '4713-01-01 BC')"#,
    );
    pair.source
        .sql("INSERT INTO t (a, f, g) SELECT g, random(), repeat(chr(256 + g), g) FROM generate_series(1, 500) g");
    pair.copied("'t', '20170101'");
    let format = if intervals_go_as_text(&pair) { "text" } else { "binary" };
    assert_eq!(pair.target.text("SELECT format FROM cgpsync_run"), format);
    pair.same_rows("t", "true");
    // The same through COPY's text format, which a differing column type asks for.
    pair.target.sql("ALTER TABLE t ALTER a TYPE numeric");
    pair.copied("'t', '20170101'");
    assert_eq!(
        pair.target
            .text("SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1"),
        "text"
    );
    pair.same_rows("t", "true");
}

#[test]
fn a_notice_for_each_unit_counts_up_to_the_whole() {
    let pair = Pair::new();
    pair.persons(10);
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, "'persons', '20170301'")
        .expect("the sync succeeds");
    let notices = notices.lock().expect("a lock");
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(
        notices[2].contains("persons_20170") && notices[2].contains("10 rows"),
        "{notices:?}"
    );
    assert!(
        notices[2].contains("bytes in") && notices[2].ends_with("(3 of 3)"),
        "{notices:?}"
    );
}

#[test]
fn the_run_and_its_units_are_on_record() {
    let pair = Pair::new();
    pair.persons(10);
    pair.copied("'persons', '20170201', parallelism => 2");
    let run = "SELECT concat_ws(' ', table_name, status, source, source_table, end_tm, parallelism, units, rows, role_name, format,
                                bytes > 0, finished_at > started_at) FROM cgpsync_run";
    assert_eq!(
        pair.target.text(run),
        "persons done src \"public\".\"persons\" 20170201 2 2 20 postgres binary t t"
    );
    let units = "SELECT concat_ws(' ', unit, partition, status, rows, source_relation, bytes > 0, worker_pid > 0,
                                  finished_at > started_at) FROM cgpsync_run_partition ORDER BY partition::text";
    let units = pair.target.list(units);
    assert_eq!(units.len(), 2);
    assert!(
        units[1].ends_with("persons_201702 done 10 \"public\".\"persons_201702\" t t t"),
        "{units:?}"
    );
}

#[test]
fn the_old_tools_view_prints_bare_bounds() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE d (k date) PARTITION BY RANGE (k);
         CREATE TABLE d_2 PARTITION OF d FOR VALUES FROM ('2017-02-01') TO (MAXVALUE);
         CREATE TABLE d_1 PARTITION OF d FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE d_x PARTITION OF d DEFAULT;
         CREATE TABLE v (k varchar(64)) PARTITION BY RANGE (k);
         CREATE TABLE v_1 PARTITION OF v FOR VALUES FROM (MINVALUE) TO ('20170101');
         CREATE TABLE s (k timestamp) PARTITION BY RANGE (k);
         CREATE TABLE s_1 PARTITION OF s FOR VALUES FROM ('2017-01-01 10:00:00') TO ('2017-01-02');
         CREATE TABLE l (k int) PARTITION BY LIST (k);
         CREATE TABLE l_1 PARTITION OF l FOR VALUES IN (1)",
    );
    let rows = pair.target.list(
        "SELECT concat_ws('|', table_name, child_tbl_name, partition_name, partitionposition,
                COALESCE(partitionrangestart, 'null'), COALESCE(partitionrangeend, 'null'), rangetype)
         FROM v_gp_range_partition_meta ORDER BY table_name::text, partitionposition",
    );
    assert_eq!(
        rows,
        [
            "d|d_1|d_1|1|20170101|20170201|date",
            "d|d_2|d_2|2|20170201||date",
            "d|d_x|d_x|3|null|null|date",
            "s|s_1|s_1|1|20170101100000|20170102000000|timestamp without time zone",
            "v|v_1|v_1|1||20170101|character varying",
        ]
    );
    assert_eq!(
        pair.target.text("SELECT count(*) FROM v_gp_range_partition_meta WHERE table_name = 'd'::regclass AND partitionrangestart <= '20170201'"),
        "2"
    );
}

#[test]
fn a_call_inside_a_transaction_works_and_a_rollback_does_not_undo_it() {
    let pair = Pair::new();
    pair.persons(10);
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut client = pair.target.connect();
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {isolation}; CREATE TEMP TABLE x (i int); INSERT INTO x VALUES (1)"
            ))
            .expect("a transaction with an id of its own");
        pair.sync_as(&mut client, "'persons', '20170101', since => '20170101'")
            .expect("the sync succeeds");
        client.batch_execute("ROLLBACK").expect("a rollback");
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM persons"), "10");
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170101");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_run WHERE status = 'done'"),
        "3"
    );
}

#[test]
fn several_tables_in_one_statement() {
    let pair = Pair::new();
    pair.both("CREATE TABLE a (i int); CREATE TABLE b (i int)");
    pair.source
        .sql("INSERT INTO a SELECT generate_series(1, 7); INSERT INTO b SELECT generate_series(1, 5)");
    let rows = pair.target.list(
        "SELECT partition || ' ' || rows FROM unnest(ARRAY['a', 'b']::regclass[]) t, cgpsync_sync(t, '20170101') ORDER BY 1",
    );
    assert_eq!(rows, ["a 7", "b 5"]);
}

#[test]
fn all_units_show_the_source_at_one_moment() {
    let pair = Pair::new();
    pair.persons(20000);
    // While the run goes on, every transaction on the source adds one row to each of two months.
    pair.source.sql(
        "CREATE PROCEDURE churn() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..10000000 LOOP
        INSERT INTO persons VALUES (i, 'churn', '2017-01-01', NULL), (i, 'churn', '2017-12-01', NULL); COMMIT;
        END LOOP; END $$",
    );
    let mut churner = pair.source.connect();
    let cancel = churner.cancel_token();
    let thread = std::thread::spawn(move || churner.batch_execute("CALL churn()").is_err());
    crate::support::poll("rows are being added", crate::support::SOON, || {
        pair.source
            .text("SELECT count(*) > 10 FROM persons_201701 WHERE name = 'churn'")
            == "t"
    });
    pair.copied("'persons', '20171231', 1");
    cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    assert!(
        thread.join().expect("the churner ends"),
        "the churner was still at work"
    );
    let months = pair.target.text(
        "SELECT (SELECT count(*) FROM persons_201701) = (SELECT count(*) FROM persons_201712) AND
                (SELECT count(*) FROM persons_201701 WHERE name = 'churn') > 10",
    );
    assert_eq!(months, "t");
}
