//! Keys that the two servers order or compare otherwise: every row arrives where an INSERT here would put it.

use crate::support::{Pair, needs};
use postgres::Client;

/// Each partition's values here, in the order of the partitions' names.
fn places(pair: &Pair, table: &str, column: &str) -> String {
    pair.target.text(&format!(
        "SELECT string_agg(p || ' ' || vs, '; ' ORDER BY p COLLATE \"C\")
         FROM (SELECT tableoid::regclass::text AS p, string_agg({column}::text, ' ' ORDER BY {column}::text COLLATE \"C\") AS vs
               FROM {table} GROUP BY 1) s"
    ))
}

#[test]
fn labels_in_another_order_are_named() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TYPE mood AS ENUM ('a', 'c', 'd', 'e', 'b', 'x');
         CREATE TABLE e (k mood, v int); INSERT INTO e SELECT unnest(ARRAY['a', 'b', 'c', 'd', 'e']::mood[]), 1;
         CREATE TABLE f (k mood, v int) PARTITION BY RANGE (k);
         CREATE TABLE f_1 PARTITION OF f FOR VALUES FROM ('a') TO ('e');
         CREATE TABLE f_2 PARTITION OF f FOR VALUES FROM ('e') TO ('x');
         INSERT INTO f SELECT * FROM e",
    );
    pair.target.sql("CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e')");
    for table in ["e", "f"] {
        pair.target.sql(&format!(
            "CREATE TABLE {table} (k mood, v int) PARTITION BY RANGE (k);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM ('a') TO ('c');
             CREATE TABLE {table}_2 PARTITION OF {table} FOR VALUES FROM ('c') TO ('e')"
        ));
        pair.copied(&format!("'{table}', 'd'"));
        assert_eq!(places(&pair, table, "k"), format!("{table}_1 a b; {table}_2 c d"));
        assert_eq!(pair.remembered(table), "d");
        // There is no place for the last one.
        let said = pair.told(&format!("'{table}', 'e', create_missing => false")).1;
        assert!(said.contains("will not be remembered"), "{said}");
        assert_eq!(pair.remembered(table), "d");
        pair.target.sql(&format!(
            "CREATE TABLE {table}_3 PARTITION OF {table} FOR VALUES FROM ('e') TO (MAXVALUE)"
        ));
        pair.copied(&format!("'{table}', 'e'"));
        pair.same_rows(table, "true");
    }
    // A label that is missing here is an error that names it.
    pair.source.sql("INSERT INTO e VALUES ('x', 1)");
    let error = pair.sync("'e', 'e'").expect_err("there is no such label here");
    assert!(
        error.detail().is_some_and(|detail| detail.contains("\"x\"")),
        "{error:?}"
    );
}

#[test]
fn a_collation_of_the_same_name_may_be_another() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.source.sql(
        "CREATE COLLATION mine (provider = libc, locale = 'C');
         CREATE TABLE u (k text COLLATE mine, v int); INSERT INTO u VALUES ('a', 1), ('B', 2), ('m', 3), ('co-op', 4), ('cooper', 5)",
    );
    pair.target.sql("CREATE COLLATION mine (provider = icu, locale = 'en')");
    let partitions = "CREATE TABLE @ (k text COLLATE mine, v int) PARTITION BY RANGE (k);
         CREATE TABLE @_a PARTITION OF @ FOR VALUES FROM ('a') TO ('cooo');
         CREATE TABLE @_k PARTITION OF @ FOR VALUES FROM ('cooo') TO ('zzzz')";
    pair.target.sql(&partitions.replace('@', "u"));
    pair.copied("'u', 'zz'");
    assert_eq!(places(&pair, "u", "k"), "u_a B a co-op; u_k cooper m");
    // With equal bounds over there, too.
    pair.source.sql(&partitions.replace('@', "w").replace("'a'", "'B'"));
    pair.target.sql(&partitions.replace('@', "w").replace("'a'", "'B'"));
    pair.source.sql("INSERT INTO w SELECT * FROM u");
    pair.copied("'w', 'zz', create_missing => false");
    assert_eq!(places(&pair, "w", "k"), "w_a B co-op; w_k cooper m");
    // A row that has no place here holds the point back: 'a' is below B.
    assert_eq!(pair.remembered("w"), "");
}

#[test]
fn bytes_are_what_a_source_is_asked_for_by_a_key_in_c() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.source.sql(
        "CREATE TABLE t (k text COLLATE \"en-US-x-icu\", d date);
         INSERT INTO t VALUES ('a', '2017-01-01'), ('B', '2017-01-02'), ('Z', '2017-02-01'), ('é', '2017-02-02'), ('z', '2017-02-03')",
    );
    pair.target.sql(
        "CREATE TABLE t (k text COLLATE \"C\", d text COLLATE \"C\") PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('A') TO ('a');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('a') TO (MAXVALUE);
         CREATE TABLE d (k text, d text COLLATE \"C\") PARTITION BY RANGE (d);
         CREATE TABLE d_1 PARTITION OF d FOR VALUES FROM ('2017-01') TO ('2017-02');
         CREATE TABLE d_2 PARTITION OF d FOR VALUES FROM ('2017-02') TO ('2017-03')",
    );
    pair.copied("'t', '~'");
    assert_eq!(places(&pair, "t", "k"), "t_1 B Z; t_2 a z é");
    let filters =
        "SELECT count(*) FROM cgpsync_run_partition WHERE source_filter LIKE '%COLLATE \"C\"%' AND NOT filter_here";
    assert_eq!(pair.target.text(filters), "2");
    // What is no text over there is compared as the text that arrives.
    pair.copied("'d', '2017-02-28', source_table => 't'");
    assert_eq!(places(&pair, "d", "k"), "d_1 B a; d_2 Z z é");
}

#[test]
fn strings_that_are_equal_here_alone_are_named() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    let folding = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    pair.target.sql(folding);
    pair.source.sql(
        "CREATE COLLATION ci (provider = icu, locale = 'und');
         CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('eu', 1), ('EU', 2), ('us', 3), (NULL, 4);
         CREATE TABLE n (k text COLLATE ci, v int) PARTITION BY LIST (k);
         CREATE TABLE n_eu PARTITION OF n FOR VALUES IN ('eu');
         CREATE TABLE \"n_EU\" PARTITION OF n FOR VALUES IN ('EU');
         INSERT INTO n VALUES ('eu', 1), ('EU', 2)",
    );
    for table in ["t", "n"] {
        pair.target.sql(&format!(
            "CREATE TABLE {table} (k text COLLATE ci, v int) PARTITION BY LIST (k);
             CREATE TABLE {table}_eu PARTITION OF {table} FOR VALUES IN ('eu', NULL);
             CREATE TABLE {table}_us PARTITION OF {table} FOR VALUES IN ('us')"
        ));
        pair.copied(&format!("'{table}', '20170101'"));
        pair.same_rows(table, "true");
        assert_eq!(pair.remembered(table), "20170101");
    }
    // And the other way round: equal over there, two partitions here.
    pair.source.sql(
        "CREATE COLLATION fold (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE o (k text COLLATE fold, v int); INSERT INTO o VALUES ('eu', 1), ('EU', 2)",
    );
    pair.target.sql(
        "CREATE TABLE o (k text, v int) PARTITION BY LIST (k);
         CREATE TABLE o_1 PARTITION OF o FOR VALUES IN ('eu'); CREATE TABLE o_2 PARTITION OF o FOR VALUES IN ('EU')",
    );
    pair.copied("'o', '20170101'");
    assert_eq!(places(&pair, "o", "k"), "o_1 eu; o_2 EU");
}

#[test]
fn types_with_an_equality_of_their_own_are_named() {
    let pair = Pair::new();
    if needs::lacks_module("citext") {
        return;
    }
    pair.both("CREATE EXTENSION citext");
    pair.source.sql(
        "CREATE TABLE a (k text, v int); INSERT INTO a VALUES ('eu', 1), ('EU', 2), ('us', 3);
         CREATE TABLE b (k citext, v int); INSERT INTO b SELECT * FROM a",
    );
    for source in ["a", "b"] {
        pair.target.sql(&format!(
            "CREATE TABLE l{source} (k citext, v int) PARTITION BY LIST (k);
             CREATE TABLE l{source}_eu PARTITION OF l{source} FOR VALUES IN ('eu');
             CREATE TABLE l{source}_us PARTITION OF l{source} FOR VALUES IN ('us');
             CREATE TABLE r{source} (k citext, v int) PARTITION BY RANGE (k);
             CREATE TABLE r{source}_1 PARTITION OF r{source} FOR VALUES FROM ('a') TO ('f');
             CREATE TABLE r{source}_2 PARTITION OF r{source} FOR VALUES FROM ('f') TO (MAXVALUE)"
        ));
        pair.copied(&format!("'l{source}', '1', source_table => '{source}'"));
        assert_eq!(
            places(&pair, &format!("l{source}"), "k"),
            format!("l{source}_eu EU eu; l{source}_us us")
        );
        pair.copied(&format!("'r{source}', 'z', source_table => '{source}'"));
        assert_eq!(
            places(&pair, &format!("r{source}"), "k"),
            format!("r{source}_1 EU eu; r{source}_2 us")
        );
    }
}

#[test]
fn a_key_that_rounds_is_read_as_it_arrives() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k timestamp(6), v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         INSERT INTO t VALUES ('2017-01-05 10:00:00.4', 1), ('2017-01-31 23:59:59.7', 2), ('2017-02-05', 3);
         CREATE TABLE n (k numeric(10,4), v int); INSERT INTO n VALUES (1.9949, 1), (1.9951, 2), (2.5, 3);
         CREATE TABLE l (k timestamp, v int) PARTITION BY LIST (k);
         CREATE TABLE l_1 PARTITION OF l FOR VALUES IN ('2017-01-01 00:00'); CREATE TABLE l_d PARTITION OF l DEFAULT;
         INSERT INTO l VALUES ('2017-01-01 00:00', 1), ('2017-01-01 13:00', 2), ('2017-01-02 13:00', 3);
         CREATE TABLE f (k float4, v int); INSERT INTO f VALUES (0.1, 1), (0.7, 2), (0.3, 3);
         CREATE TABLE z (k timestamp, v int); INSERT INTO z VALUES ('2017-01-31 23:59:59.7', 1), ('2017-01-05', 2);
         CREATE TABLE d (k timestamp, v int); INSERT INTO d VALUES ('2017-01-31 23:59:59.7', 1), ('2017-02-01', 2)",
    );
    pair.target.sql(
        "CREATE TABLE t (k timestamp(0), v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE n (k numeric(10,2), v int) PARTITION BY RANGE (k);
         CREATE TABLE n_1 PARTITION OF n FOR VALUES FROM (1) TO (2); CREATE TABLE n_2 PARTITION OF n FOR VALUES FROM (2) TO (3);
         CREATE TABLE l (k date, v int) PARTITION BY LIST (k);
         CREATE TABLE l_1 PARTITION OF l FOR VALUES IN ('2017-01-01'); CREATE TABLE l_2 PARTITION OF l FOR VALUES IN ('2017-01-02');
         CREATE TABLE f (k float8, v int) PARTITION BY RANGE (k);
         CREATE TABLE f_1 PARTITION OF f FOR VALUES FROM (0) TO (0.7); CREATE TABLE f_2 PARTITION OF f FOR VALUES FROM (0.7) TO (1);
         CREATE TABLE z (k timestamptz(0), v int) PARTITION BY RANGE (k);
         CREATE TABLE z_1 PARTITION OF z FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE z_2 PARTITION OF z FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE d (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE d_1 PARTITION OF d FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE d_2 PARTITION OF d FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')",
    );
    for (table, end, expected) in [
        ("t", "201702", "t_1 1; t_2 2 3"),
        ("n", "2.9", "n_1 1; n_2 2 3"),
        ("l", "20170101", "l_1 1 2; l_2 3"),
        ("f", "0.9", "f_1 1 3; f_2 2"),
        ("z", "201702", "z_1 2; z_2 1"),
        ("d", "201702", "d_1 1; d_2 2"),
    ] {
        pair.copied(&format!("'{table}', '{end}'"));
        assert_eq!(places(&pair, table, "v"), expected);
    }
    assert_eq!(pair.remembered("t"), "2017-02-28 23:59:59.999999");
    // Indexes and partitions over there serve: the bare column is compared, too.
    let bare = "SELECT count(*) FROM cgpsync_run_partition WHERE partition ~ '^[tnzd]_' AND source_filter LIKE '%\"k\" >= CAST(%'";
    assert_eq!(pair.target.text(bare), "8");
}

#[test]
fn a_missing_partition_is_created_where_values_are_rounded() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k timestamp, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         INSERT INTO t VALUES ('2017-01-05', 1), ('2017-01-31 23:59:59.9', 2), ('2017-02-28 23:59:59.3', 3)",
    );
    pair.target
        .sql("CREATE TABLE t (k timestamp(0), v int) PARTITION BY RANGE (k)");
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .query("SELECT * FROM cgpsync_plan('t', '201702')", &[])
        .expect("a plan");
    let said = notices.lock().expect("a lock").join("\n");
    assert!(!said.contains("will not be remembered"), "{said}");
    let said = pair.told("'t', '201702'").1;
    assert!(said.contains("created partition"), "{said}");
    assert_eq!(places(&pair, "t", "v"), "t_1 1; t_2 2 3");
    assert_eq!(pair.remembered("t"), "2017-02-28 23:59:59.999999");
}

#[test]
fn a_rounded_key_tells_what_has_vanished_still() {
    let pair = Pair::new();
    for (side, key) in [(&pair.source, "timestamp"), (&pair.target, "timestamp(0)")] {
        side.sql(&format!(
            "CREATE TABLE t (k {key}, v int) PARTITION BY RANGE (k);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
             CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
             CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2017-03-01') TO ('2017-04-01');
             CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO ('2017-05-01')"
        ));
    }
    pair.source
        .sql("INSERT INTO t VALUES ('2017-01-05', 1), ('2017-02-05', 2), ('2017-03-05', 3)");
    pair.copied("'t', '201704'");
    pair.source.sql("DROP TABLE t_1");
    let again = "'t', '201704', since => '20170101'";
    assert_eq!(pair.copied(again), ["t_2", "t_3", "t_4"]);
    assert_eq!(places(&pair, "t", "v"), "t_1 1; t_2 2; t_3 3");
    // A neighbour's row that is rounded into it is one of its rows, and does not cost it the others.
    pair.source
        .sql("DROP TABLE t_3; INSERT INTO t VALUES ('2017-02-28 23:59:59.9', 4)");
    let error = pair.sync(again).expect_err("March has vanished but for a row");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert_eq!(places(&pair, "t", "v"), "t_1 1; t_2 2; t_3 3");
    pair.copied(&format!("{again}, vanished => 'empty'"));
    assert_eq!(places(&pair, "t", "v"), "t_2 2; t_3 4");
    // And one without a place here holds the point back.
    pair.target.sql("DROP TABLE t_3; DELETE FROM sync_table");
    pair.copied("'t', '2017-03-15', since => '20170101', create_missing => false");
    assert_eq!(pair.remembered("t"), "");
}

#[test]
fn a_neighbours_row_is_looked_for_where_a_level_below_has_vanished() {
    let pair = Pair::new();
    for (side, key) in [(&pair.source, "timestamp"), (&pair.target, "timestamp(0)")] {
        side.sql(&format!(
            "CREATE TABLE t (k {key}, l text, v int) PARTITION BY RANGE (k);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01') PARTITION BY LIST (l);
             CREATE TABLE t_1_a PARTITION OF t_1 FOR VALUES IN ('a');
             CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('2017-02-01') TO ('2017-03-01') PARTITION BY LIST (l);
             CREATE TABLE t_2_a PARTITION OF t_2 FOR VALUES IN ('a');
             CREATE TABLE t_2_x PARTITION OF t_2 DEFAULT"
        ));
    }
    pair.source
        .sql("INSERT INTO t VALUES ('2017-01-05', 'a', 1), ('2017-02-05', 'a', 2)");
    pair.copied("'t', '20170228'");
    pair.source
        .sql("DROP TABLE t_2_a; INSERT INTO t VALUES ('2017-01-31 23:59:59.9', 'a', 3)");
    let again = "'t', '20170228', since => '20170101'";
    let error = pair.sync(again).expect_err("February has vanished but for a row");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert_eq!(places(&pair, "t", "v"), "t_1_a 1; t_2_a 2");
    pair.copied(&format!("{again}, vanished => 'empty'"));
    assert_eq!(places(&pair, "t", "v"), "t_1_a 1; t_2_a 3");
}

#[test]
fn a_day_here_has_all_of_its_hours_on_the_source() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE one (k timestamp, v int);
         INSERT INTO one VALUES ('2017-01-05', 1), ('2017-01-10 06:00', 2);
         CREATE TABLE two (k timestamp, i int, v int) PARTITION BY RANGE (k, i);
         CREATE TABLE two_1 PARTITION OF two FOR VALUES FROM ('2017-01-01', MINVALUE) TO ('2017-01-05', 5);
         CREATE TABLE two_2 PARTITION OF two FOR VALUES FROM ('2017-01-05', 5) TO ('2017-01-20', 0);
         INSERT INTO two VALUES ('2017-01-04 10:00', 9, 1), ('2017-01-05 06:00', 1, 2), ('2017-01-05', 7, 3), ('2017-01-05 07:00', 8, 4);
         CREATE TABLE listed (k timestamp, v int);
         INSERT INTO listed VALUES ('2017-01-01 06:00', 1), ('2017-01-02', 2), ('2017-01-02 23:00', 3)",
    );
    pair.target.sql(
        "CREATE TABLE one (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE one_1 PARTITION OF one FOR VALUES FROM ('2017-01-01') TO ('2017-01-10');
         CREATE TABLE two (k date, i int, v int) PARTITION BY RANGE (k, i);
         CREATE TABLE two_1 PARTITION OF two FOR VALUES FROM ('2017-01-01', MINVALUE) TO ('2017-01-05', 5);
         CREATE TABLE two_2 PARTITION OF two FOR VALUES FROM ('2017-01-05', 5) TO ('2017-01-20', 0);
         CREATE TABLE listed (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE listed_1 PARTITION OF listed FOR VALUES FROM ('2017-01-01') TO ('2017-01-03') PARTITION BY LIST (k);
         CREATE TABLE listed_1_1 PARTITION OF listed_1 FOR VALUES IN ('2017-01-01');
         CREATE TABLE listed_1_2 PARTITION OF listed_1 FOR VALUES IN ('2017-01-02')",
    );
    // The last day ends with its last hour, whose row has no place yet.
    let said = pair.told("'one', '20170110'").1;
    assert!(said.contains("no partition here"), "{said}");
    assert_eq!(pair.remembered("one"), "");
    pair.target
        .sql("CREATE TABLE one_2 PARTITION OF one FOR VALUES FROM ('2017-01-10') TO ('2017-01-20')");
    pair.copied("'one', '20170110'");
    assert_eq!(places(&pair, "one", "v"), "one_1 1; one_2 2");
    assert_eq!(pair.remembered("one"), "20170110");
    pair.copied("'two', '20170105'");
    assert_eq!(places(&pair, "two", "v"), "two_1 1 2; two_2 3 4");
    assert_eq!(pair.remembered("two"), "20170105");
    pair.copied("'listed', '20170102'");
    assert_eq!(places(&pair, "listed", "v"), "listed_1_1 1; listed_1_2 2 3");
    assert_eq!(pair.remembered("listed"), "20170102");
}

#[test]
fn rows_come_to_their_place_where_clocks_change() {
    let pair = Pair::new();
    pair.target.sql("ALTER ROLE postgres SET TimeZone = 'America/New_York'");
    // The hour from two to three is skipped: what is written in it is an hour later.
    let march = |side: &str, cut: &str| {
        format!(
            "CREATE TABLE march (k {side}, v int) PARTITION BY RANGE (k);
             CREATE TABLE march_1 PARTITION OF march FOR VALUES FROM ('2017-03-01') TO ('{cut}');
             CREATE TABLE march_2 PARTITION OF march FOR VALUES FROM ('{cut}') TO ('2017-04-01')"
        )
    };
    pair.source.sql(&format!(
        "{};
         INSERT INTO march VALUES ('2017-03-12 02:30', 1), ('2017-03-12 02:10', 2), ('2017-03-12 03:10', 3), ('2017-03-12 01:30', 4)",
        march("timestamp", "2017-03-12 03:00")
    ));
    for (cut, expected) in [
        ("2017-03-12 07:15+00", "march_1 2 3 4; march_2 1"),
        // The same bound as over there.
        ("2017-03-12 07:00+00", "march_1 4; march_2 1 2 3"),
    ] {
        pair.target.sql("DROP TABLE IF EXISTS march; DELETE FROM sync_table");
        pair.target
            .connect()
            .batch_execute(&march("timestamptz", cut))
            .expect("a table");
        pair.copied("'march', '201703'");
        assert_eq!(places(&pair, "march", "v"), expected, "{cut}");
    }
    // The one from one to two comes twice.
    pair.source.sql(
        "CREATE TABLE november (k timestamptz, v int) PARTITION BY RANGE (k);
         CREATE TABLE november_1 PARTITION OF november FOR VALUES FROM ('2017-11-01 04:00+00') TO ('2017-11-05 06:00+00');
         CREATE TABLE november_2 PARTITION OF november FOR VALUES FROM ('2017-11-05 06:00+00') TO ('2017-12-01 05:00+00');
         INSERT INTO november VALUES ('2017-11-05 05:10+00', 1), ('2017-11-05 06:10+00', 2), ('2017-11-05 04:40+00', 3)",
    );
    pair.target
        .sql("CREATE TABLE november (k timestamp, v int) PARTITION BY RANGE (k)");
    pair.copied("'november', '201711'");
    assert_eq!(places(&pair, "november", "v"), "november_1 3; november_2 1 2");
    assert_eq!(pair.remembered("november"), "2017-11-30 23:59:59.999999");
    // A day begins with the first of two midnights.
    pair.target.sql("ALTER ROLE postgres SET TimeZone = 'America/Havana'");
    pair.source.sql(
        "CREATE TABLE days (k timestamptz, v int);
         INSERT INTO days VALUES ('2017-11-05 03:30+00', 1), ('2017-11-05 04:30+00', 2), ('2017-11-05 05:30+00', 3)",
    );
    pair.target.sql(
        "CREATE TABLE days (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE days_4 PARTITION OF days FOR VALUES FROM ('2017-11-04') TO ('2017-11-05');
         CREATE TABLE days_5 PARTITION OF days FOR VALUES FROM ('2017-11-05') TO ('2017-11-06')",
    );
    pair.copied("'days', '20171105'");
    assert_eq!(places(&pair, "days", "v"), "days_4 1; days_5 2 3");
}

#[test]
fn numbers_of_the_source_are_named_where_they_are_text_here() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.source
        .sql("CREATE TABLE t (k int, v int); INSERT INTO t VALUES (20170105, 1)");
    pair.target.sql(
        "CREATE TABLE t (k text COLLATE \"de-x-icu\", v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('20170101') TO ('20170201')",
    );
    pair.copied("'t', '20170205'");
    assert_eq!(pair.remembered("t"), "20170205");
    // No partition is due, and yet the source has to be asked.
    pair.source.sql("INSERT INTO t VALUES (20170206, 2)");
    let said = pair.told("'t', '20170207'").1;
    assert!(said.contains("'20170206'"), "{said}");
    assert_eq!(pair.remembered("t"), "20170205");
    pair.target
        .sql("CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('20170201') TO ('20170301')");
    pair.copied("'t', '20170207'");
    assert_eq!(places(&pair, "t", "v"), "t_1 1; t_2 2");
    assert_eq!(pair.remembered("t"), "20170207");
}

#[test]
fn a_default_partition_gets_the_values_that_no_other_takes_here() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.source.sql(
        "CREATE TABLE t (k text COLLATE \"C\", h int, v int);
         INSERT INTO t VALUES ('b', 1, 1), ('B', 2, 2), ('y', 3, 3), (NULL, 4, 4), ('Y', 5, 5)",
    );
    pair.target.sql(
        "CREATE TABLE t (k text COLLATE \"en-US-x-icu\", h int, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('a') TO ('m') PARTITION BY HASH (h);
         CREATE TABLE t_1_0 PARTITION OF t_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1_1 PARTITION OF t_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE t_d PARTITION OF t DEFAULT",
    );
    pair.copied("'t', 'zz'");
    pair.same_rows("t", "true");
    assert_eq!(
        pair.target.text("SELECT string_agg(v::text, ' ' ORDER BY v) FROM t_d"),
        "3 4 5"
    );
}

/// A database in LATIN1 on the source, which the server src now leads to.
fn latin1(pair: &Pair) -> Client {
    pair.source
        .sql("CREATE DATABASE l1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    pair.target.sql("ALTER SERVER src OPTIONS (SET dbname 'l1')");
    pair.source.connect_to("l1")
}

#[test]
fn a_hash_of_characters_is_not_that_of_another_encoding() {
    let pair = Pair::new();
    let mut there = latin1(&pair);
    let tables = "CREATE TABLE c (id int, k text COLLATE \"C\" NOT NULL) PARTITION BY HASH (k);
         CREATE TABLE c_0 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE c_1 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TYPE kind AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
         CREATE TABLE e (id int, k kind NOT NULL) PARTITION BY HASH (k);
         CREATE TABLE e_0 PARTITION OF e FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE e_1 PARTITION OF e FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE n (id int, k int NOT NULL) PARTITION BY HASH (k);
         CREATE TABLE n_0 PARTITION OF n FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE n_1 PARTITION OF n FOR VALUES WITH (MODULUS 2, REMAINDER 1);";
    there.batch_execute(tables).expect("tables");
    pair.target.sql(tables);
    there
        .batch_execute(
            "INSERT INTO c SELECT g, 'caf' || chr(233) || g FROM generate_series(1, 200) g;
             INSERT INTO e SELECT g, (enum_range(NULL::kind))[1 + g % 8] FROM generate_series(1, 80) g;
             INSERT INTO n SELECT g, g FROM generate_series(1, 80) g",
        )
        .expect("rows");
    for (table, rows) in [("c", "200"), ("e", "80"), ("n", "80")] {
        pair.copied(&format!("'{table}', '20170131'"));
        assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {table}")), rows);
    }
    // A number hashes alike in every encoding.
    let whole = "SELECT string_agg(partition, ' ' ORDER BY partition) FROM cgpsync_run_partition WHERE NOT filter_here";
    assert_eq!(pair.target.text(whole), "n_0 n_1");
}

#[test]
fn characters_of_another_encoding_are_ranged_by_the_bytes_they_have_here() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE DATABASE win TEMPLATE template0 ENCODING 'WIN1252' LOCALE 'C'");
    pair.target.sql("ALTER SERVER src OPTIONS (SET dbname 'win')");
    // The euro sign is byte 80 there, before every umlaut, and comes after them all here.
    let mut there = pair.source.connect_to("win");
    there
        .batch_execute("CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('z', 1), ('€', 2), ('ü', 3)")
        .expect("rows");
    pair.target.sql(
        "CREATE TABLE t (k text COLLATE \"C\", v int) PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('a') TO ('ÿ');
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM ('ÿ') TO (MAXVALUE)",
    );
    pair.copied("'t', '€'");
    assert_eq!(places(&pair, "t", "v"), "t_1 1 3; t_2 2");
}

#[test]
fn cuts_of_a_slice_do_not_overflow() {
    let pair = Pair::new();
    for (table, from, to) in [("big", "2016-01-01", "infinity"), ("bi", "0001-01-01", "9999-12-31")] {
        pair.source.sql(&format!(
            "CREATE TABLE {table} (d date, v int) PARTITION BY RANGE (d);
             CREATE TABLE {table}_a PARTITION OF {table} FOR VALUES FROM ('{from}') TO ('{to}');
             INSERT INTO {table} SELECT date '2017-01-01' + g % 300, g FROM generate_series(1, 1000) g;
             UPDATE pg_class SET relpages = 131072 * 1024 WHERE relname = '{table}_a'"
        ));
        pair.target.sql(&format!(
            "CREATE TABLE {table} (d date, v int) PARTITION BY RANGE (d);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM ('{}') TO ('{to}')",
            if table == "big" { "2017-01-01" } else { "0001-01-02" }
        ));
        assert_eq!(pair.copied(&format!("'{table}', '2018', 3")), [format!("{table}_1")]);
        pair.same_rows(table, "true");
    }
}
