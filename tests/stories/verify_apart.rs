//! Comparing what only this server can tell apart, and what cannot be read at all.

use crate::support::comparing::{Said, said, try_verify};
use crate::support::{Pair, SOON, poll};

const CHECKSUM: &str = "method => 'checksum'";

fn compared(pair: &Pair, arguments: &str) -> Vec<Said> {
    said(&mut pair.target.connect(), arguments)
}

/// Partitions with what is said of them.
fn told(rows: &[Said]) -> Vec<(&str, Option<bool>)> {
    rows.iter().map(|row| (row.0.as_deref().unwrap_or(""), row.1)).collect()
}

#[test]
fn a_unit_that_the_source_cannot_give_leaves_the_others_alone() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE numbers (k int); INSERT INTO numbers SELECT generate_series(0, 3);
         CREATE VIEW t AS SELECT k, 6 / (k - 2) AS v FROM numbers",
    );
    pair.target.sql(
        "CREATE TABLE t (k int, v int) PARTITION BY RANGE (k);
         DO $$ BEGIN FOR i IN 0..3 LOOP
           EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
         END LOOP; END $$;
         INSERT INTO t VALUES (0, -3), (1, 6), (3, 6)",
    );
    for parallelism in [1, 4] {
        let (mut client, notices) = pair.target.connect_with_notices();
        let rows = said(&mut client, &format!("'t', {CHECKSUM}, parallelism => {parallelism}"));
        assert_eq!(
            told(&rows),
            [
                ("t_0", Some(true)),
                ("t_1", Some(false)),
                ("t_2", None),
                ("t_3", Some(true))
            ]
        );
        let error = rows[2].2.as_deref().expect("an error");
        assert_eq!(error, "server \"src\": division by zero [22012]");
        let notices = notices.lock().expect("a lock").join("\n");
        assert!(notices.contains("1 not compared, see column error: t_2"), "{notices}");
    }
    pair.source.sql("DELETE FROM numbers WHERE k <> 2");
    pair.target.sql("DELETE FROM t WHERE k = 1");
    assert_eq!(
        pair.target.text(&format!(
            "SELECT concat_ws(' ', matches, source_rows, target_rows, target_checksum, error)
             FROM cgpsync_verify('t', since => '2', end_tm => '2', {CHECKSUM})"
        )),
        "0 0 server \"src\": division by zero [22012]"
    );
}

#[test]
fn what_has_been_read_is_locked_no_longer() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (k int) PARTITION BY LIST (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)",
    );
    pair.source.sql(
        "INSERT INTO t SELECT 1 FROM generate_series(1, 5000); INSERT INTO t VALUES (2); ANALYZE t_1; ANALYZE t_2",
    );
    pair.copied("'t', 'x'");
    let mut holder = pair.source.connect();
    holder.batch_execute("BEGIN; LOCK TABLE t_2").expect("a lock");
    let mut client = pair.target.connect();
    let call = std::thread::spawn(move || said(&mut client, "'t', parallelism => 1"));
    poll("the second one waits", SOON, || {
        pair.source
            .text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't_2'::regclass")
            == "1"
    });
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 't_1'::regclass";
    assert_eq!(pair.source.text(locks), "0");
    holder.batch_execute("COMMIT").expect("a commit");
    let rows = call.join().expect("the thread ends");
    assert_eq!(told(&rows), [("t_1", Some(true)), ("t_2", Some(true))]);
}

/// Months, in each some HASH partitions: as many as told, here and there.
fn months(pair: &Pair, there: u32, here: u32) {
    for (cluster, modulus) in [(&pair.source, there), (&pair.target, here)] {
        cluster.sql(&format!(
            "CREATE TABLE t (id int, day date) PARTITION BY RANGE (day);
             DO $$ BEGIN FOR m IN 1..3 LOOP
               EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%L) TO (%L) PARTITION BY HASH (id)',
                              m, make_date(2017, m, 1), make_date(2017, m + 1, 1));
               FOR r IN 0..{modulus} - 1 LOOP
                 EXECUTE format('CREATE TABLE t_%s_%s PARTITION OF t_%s FOR VALUES WITH (MODULUS {modulus}, REMAINDER %s)', m, r, m, r);
               END LOOP;
             END LOOP; END $$"
        ));
    }
    pair.source
        .sql("INSERT INTO t SELECT g, date '2017-01-01' + g % 90 FROM generate_series(1, 900) g");
}

#[test]
fn hash_partitions_that_the_source_has_not_alike_are_compared_together() {
    let pair = Pair::new();
    months(&pair, 2, 3);
    pair.copied("'t', '20170331'");
    let all = format!("'t', {CHECKSUM}");
    let alike = [("t_1", Some(true)), ("t_2", Some(true)), ("t_3", Some(true))];
    assert_eq!(told(&compared(&pair, &all)), alike);
    assert_eq!(told(&compared(&pair, "'t'")), alike, "counts");
    assert_eq!(told(&compared(&pair, "'t', '20170228', '20170201'")), alike[1..2]);
    pair.target
        .sql("UPDATE t SET id = -id WHERE day = '2017-02-03' AND id = 33");
    let expected = [("t_1", Some(true)), ("t_2", Some(false)), ("t_3", Some(true))];
    assert_eq!(told(&compared(&pair, &all)), expected);
    let rows = "SELECT string_agg(concat_ws(' ', partition, source_rows, target_rows), ', ') FROM cgpsync_verify('t')";
    assert_eq!(pair.target.text(rows), "t_1 310 310, t_2 280 280, t_3 310 310");
    // Half of them are alike: each of those is compared for itself, and all together again.
    pair.target.sql(
        "DROP TABLE t_1_0, t_1_1, t_1_2;
         CREATE TABLE t_1_0 PARTITION OF t_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1_1 PARTITION OF t_1 FOR VALUES WITH (MODULUS 4, REMAINDER 1);
         CREATE TABLE t_1_3 PARTITION OF t_1 FOR VALUES WITH (MODULUS 4, REMAINDER 3)",
    );
    pair.copied("'t', '20170331', since => '20170101'");
    let both = [
        ("t_1", Some(true)),
        ("t_1_0", Some(true)),
        ("t_2", Some(true)),
        ("t_3", Some(true)),
    ];
    assert_eq!(told(&compared(&pair, &all)), both);
    pair.target
        .sql("DELETE FROM t_1_3 WHERE id = (SELECT min(id) FROM t_1_3)");
    assert_eq!(
        told(&compared(&pair, &all))[..2],
        [("t_1", Some(false)), ("t_1_0", Some(true))]
    );
}

#[test]
fn ranges_below_a_hash_are_compared_range_by_range() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (id int, day date); INSERT INTO t SELECT g, date '2017-01-01' + g % 59 FROM generate_series(1, 590) g");
    pair.target.sql(
        "CREATE TABLE t (id int, day date) PARTITION BY HASH (id);
         DO $$ BEGIN FOR r IN 0..1 LOOP
           EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER %s) PARTITION BY RANGE (day)', r, r);
           FOR m IN 1..2 LOOP
             EXECUTE format('CREATE TABLE t_%s_%s PARTITION OF t_%s FOR VALUES FROM (%L) TO (%L)',
                            r, m, r, make_date(2017, m, 1), make_date(2017, m + 1, 1));
           END LOOP;
         END LOOP; END $$",
    );
    pair.copied("'t', '20170131'");
    // February is not here yet, and not asked for.
    assert_eq!(told(&compared(&pair, &format!("'t', {CHECKSUM}"))), [("t", Some(true))]);
    let both = format!("'t', '20170228', {CHECKSUM}");
    let mut all = told(&compared(&pair, &both))
        .iter()
        .map(|row| row.1)
        .collect::<Vec<_>>();
    all.sort();
    assert_eq!(all, [Some(false), Some(true)]);
    pair.copied("'t', '20170228'");
    assert_eq!(told(&compared(&pair, &both)), [("t", Some(true)), ("t", Some(true))]);
}

#[test]
fn hash_partitions_of_a_source_in_another_encoding_are_compared() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let ddl = "CREATE TABLE t (id int, k text COLLATE \"C\" NOT NULL) PARTITION BY HASH (k);
               CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
               CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
               CREATE TYPE kind AS ENUM ('a', 'b', 'c', 'd');
               CREATE TABLE e (id int, k kind NOT NULL) PARTITION BY HASH (k);
               CREATE TABLE e_0 PARTITION OF e FOR VALUES WITH (MODULUS 2, REMAINDER 0);
               CREATE TABLE e_1 PARTITION OF e FOR VALUES WITH (MODULUS 2, REMAINDER 1);";
    pair.source
        .connect_to("latin")
        .batch_execute(&format!(
            "{ddl} INSERT INTO t SELECT g, 'caf' || chr(233) || g FROM generate_series(1, 200) g;
             INSERT INTO e SELECT g, (enum_range(NULL::kind))[1 + g % 4] FROM generate_series(1, 80) g"
        ))
        .expect("tables");
    pair.target.sql(ddl);
    pair.target.sql("ALTER SERVER src OPTIONS (SET dbname 'latin')");
    for table in ["t", "e"] {
        pair.copied(&format!("'{table}', '20170131'"));
        let compare = format!("'{table}', {CHECKSUM}");
        assert_eq!(told(&compared(&pair, &compare)), [(table, Some(true))]);
        pair.target.sql(&format!("UPDATE {table} SET id = 0 WHERE id = 7"));
        assert_eq!(told(&compared(&pair, &compare)), [(table, Some(false))]);
    }
}

#[test]
fn rows_of_partitions_that_are_not_compared_prove_no_difference() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (region text, day date);
         INSERT INTO t SELECT (ARRAY['Eu', 'US'])[1 + g % 2], date '2017-01-01' + g % 31 FROM generate_series(1, 310) g",
    );
    // Which region is which, only this server knows; and the ranges overlap.
    pair.target.sql(
        "CREATE TABLE t (region text, day date) PARTITION BY LIST (lower(region));
         CREATE TABLE eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (day);
         CREATE TABLE eu_1 PARTITION OF eu FOR VALUES FROM ('2017-01-01') TO ('2017-01-15');
         CREATE TABLE eu_2 PARTITION OF eu FOR VALUES FROM ('2017-01-15') TO ('2017-02-01');
         CREATE TABLE us PARTITION OF t FOR VALUES IN ('us') PARTITION BY RANGE (day);
         CREATE TABLE us_1 PARTITION OF us FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.copied("'t', '20170110'");
    let rows = compared(&pair, &format!("'t', '20170110', {CHECKSUM}"));
    assert_eq!(told(&rows), [("t", None)]);
    let error = rows[0].2.as_deref().unwrap_or("");
    assert!(error.contains("partitions that are not compared"), "{error}");
    pair.copied("'t', '20170131'");
    for end in ["20170110", "20170131"] {
        let rows = compared(&pair, &format!("'t', '{end}', {CHECKSUM}"));
        assert_eq!(told(&rows), [("t", Some(true))], "{end}");
    }
    pair.target.sql("UPDATE us SET region = 'us' WHERE day = '2017-01-02'");
    assert_eq!(
        told(&compared(&pair, &format!("'t', {CHECKSUM}"))),
        [("t", Some(false))]
    );
}

#[test]
fn a_session_that_is_lost_ends_the_call() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE numbers (k int); INSERT INTO numbers SELECT generate_series(0, 1);
         CREATE VIEW t AS SELECT k, pg_terminate_backend(pg_backend_pid()) AS v FROM numbers WHERE k > 0 UNION ALL SELECT 0, true",
    );
    pair.target.sql(
        "CREATE TABLE t (k int, v bool) PARTITION BY LIST (k);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES IN (0); CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)",
    );
    let mut client = pair.target.connect();
    let error = try_verify(&mut client, &format!("'t', {CHECKSUM}")).expect_err("a lost session");
    assert_eq!(error.code().code(), "57P01", "{error:?}");
    assert!(
        error.message().starts_with("partition \"public\".\"t_1\": "),
        "{error:?}"
    );
}
