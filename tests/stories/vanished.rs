//! Partitions that the source has dropped or detached, and rows there that no partition here takes.

use crate::support::Pair;
use postgres::error::DbError;

/// Monthly partitions `name_1`, `name_2` … of 2017 from `months`.
fn months(name: &str, months: &[u32]) -> String {
    let one = |m: &u32| {
        let next = if *m == 12 {
            "2018-01-01".to_owned()
        } else {
            format!("2017-{:02}-01", m + 1)
        };
        format!("CREATE TABLE {name}_{m} PARTITION OF {name} FOR VALUES FROM ('2017-{m:02}-01') TO ('{next}');")
    };
    months.iter().map(one).collect()
}

/// `t` with January to March on both sides, synced up to the end of March; 10 rows a month.
fn three_months() -> Pair {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (k date NOT NULL, v int) PARTITION BY RANGE (k)");
    pair.both(&months("t", &[1, 2, 3]));
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-05' + 31 * (g % 3), g FROM generate_series(0, 29) g");
    pair.copied("'t', '20170331'");
    pair
}

fn count(pair: &Pair, table: &str) -> String {
    pair.target.text(&format!("SELECT count(*) FROM {table}"))
}

fn fails(pair: &Pair, arguments: &str) -> Box<DbError> {
    pair.sync(arguments).expect_err("the call fails")
}

fn actions(pair: &Pair, arguments: &str) -> Vec<String> {
    pair.target.list(&format!(
        "SELECT partition || ' ' || action FROM cgpsync_plan({arguments}) ORDER BY 1"
    ))
}

#[test]
fn what_the_source_has_dropped_keeps_its_rows_and_is_named_once() {
    let pair = three_months();
    pair.source.sql("DROP TABLE t_1");
    for arguments in ["'t', '20170331', since => '20170101'", "'t', '20170331'"] {
        assert_eq!(actions(&pair, arguments), ["t_1 vanished", "t_2 copy", "t_3 copy"]);
        let (units, notices) = pair.told(arguments);
        assert_eq!(units[0], ("t_1".to_owned(), "skipped".to_owned()));
        assert_eq!(count(&pair, "t_1"), "10", "{arguments}");
        let line = "rows kept of partitions that the source no longer has (1): t_1;";
        assert_eq!(notices.matches("t_1").count(), 1, "{notices}");
        assert!(notices.contains(line), "{notices}");
        assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170331");
        // As after a restore elsewhere.
        pair.target.sql("DELETE FROM sync_table");
    }
    assert_eq!(
        pair.target
            .text("SELECT concat_ws(' ', matches, target_rows, source_relation) FROM cgpsync_verify('t') WHERE partition = 't_1'"),
        "10",
        "neither equal nor different"
    );
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_verify('t') WHERE NOT matches"),
        "0"
    );
}

#[test]
fn a_partition_that_is_there_and_empty_empties_ours() {
    let pair = three_months();
    pair.source.sql("TRUNCATE t_2");
    pair.copied("'t', '20170331', since => '20170101'");
    assert_eq!(count(&pair, "t_2"), "0");
    pair.same_rows("t", "true");
}

#[test]
fn the_partition_that_holds_the_point_is_kept_too_and_so_is_all_where_none_is_left() {
    let pair = three_months();
    pair.both(&months("t", &[4]));
    pair.source.sql("DROP TABLE t_3");
    pair.copied("'t', '20170405'");
    assert_eq!(count(&pair, "t_3"), "10");
    pair.source.sql("DROP TABLE t_1, t_2, t_4");
    pair.target.sql("INSERT INTO t VALUES ('2017-04-01', 99)");
    pair.copied("'t', '20170405', since => '20170101'");
    assert_eq!(count(&pair, "t"), "31");
}

#[test]
fn partitions_made_ahead_are_copied_as_they_are_there() {
    let pair = three_months();
    pair.target.sql(&months("t", &[4, 5]));
    // Above the highest bound over there nothing has vanished.
    assert_eq!(pair.copied("'t', '20170520'"), ["t_3", "t_4", "t_5"]);
}

#[test]
fn a_list_value_that_is_gone_keeps_its_rows_on_any_level() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (r text, k date, v int) PARTITION BY LIST (r);
         CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('de', 'fr') PARTITION BY RANGE (k);
         CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE t_eu_2 PARTITION OF t_eu FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY RANGE (k);
         CREATE TABLE t_us_1 PARTITION OF t_us FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source.sql(
        "INSERT INTO t SELECT r, date '2017-01-05' + 31 * m, m FROM unnest('{de,fr}'::text[]) r, generate_series(0, 1) m;
         INSERT INTO t VALUES ('us', '2017-01-09', 7)",
    );
    pair.copied("'t', '20170228'");
    pair.source.sql("DROP TABLE t_us; DROP TABLE t_eu_1");
    pair.copied("'t', '20170228', since => '20170101'");
    assert_eq!(count(&pair, "t_us_1"), "1");
    assert_eq!(count(&pair, "t_eu_1"), "2");
    // One of the two values of a partition: what is there is copied only if nothing is lost by it.
    pair.source.sql(
        "CREATE TABLE de AS SELECT * FROM t WHERE r = 'de'; DROP TABLE t_eu;
         CREATE TABLE t_de PARTITION OF t FOR VALUES IN ('de') PARTITION BY RANGE (k);
         CREATE TABLE t_de_1 PARTITION OF t_de FOR VALUES FROM ('2017-01-01') TO ('2017-03-01');
         INSERT INTO t SELECT * FROM de",
    );
    let error = fails(&pair, "'t', '20170228'");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.detail().unwrap_or("").contains("vanished"), "{error:?}");
    assert_eq!(count(&pair, "t_eu_2"), "2");
    pair.copied("'t', '20170228', vanished => 'empty'");
    assert_eq!(count(&pair, "t_eu_2"), "1");
}

#[test]
fn another_nesting_of_the_levels_hides_nothing() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (r text, k date, v int) PARTITION BY RANGE (k)");
    pair.source.sql(&months("t", &[1, 2]));
    pair.target.sql(
        "CREATE TABLE t (r text, k date, v int) PARTITION BY LIST (r);
         CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (k);
         CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY RANGE (k)",
    );
    pair.target.sql(&months("t_eu", &[1, 2]));
    pair.target.sql(&months("t_us", &[1, 2]));
    pair.source
        .sql("INSERT INTO t SELECT r, date '2017-01-05' + 31 * m, m FROM unnest('{eu,us}'::text[]) r, generate_series(0, 1) m");
    pair.copied("'t', '20170228'");
    pair.same_rows("t", "true");
    pair.source.sql("DROP TABLE t_1");
    pair.copied("'t', '20170228', since => '20170101'");
    assert_eq!(count(&pair, "t"), "4");
}

#[test]
fn a_part_that_has_vanished_keeps_a_coarser_partition_from_being_replaced() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE t (k date, v int) PARTITION BY RANGE (k)");
    pair.source.sql(&months("t", &[1, 2, 3]));
    pair.target.sql(
        "CREATE TABLE t (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_q1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-04-01');
         CREATE TABLE whole (k date, v int)",
    );
    pair.source
        .sql("INSERT INTO t SELECT date '2017-01-05' + 31 * (g % 3), g FROM generate_series(0, 29) g");
    let whole = "'whole', '20170331', source_table => 't'";
    pair.copied("'t', '20170331'");
    pair.copied(whole);
    pair.source.sql("DROP TABLE t_1");
    for (table, arguments) in [
        ("t", "'t', '20170331', replace => 'truncate'"),
        ("t", "'t', '20170331'"),
        ("whole", whole),
    ] {
        let error = fails(&pair, arguments);
        assert_eq!(error.code().code(), "55000", "{error:?}");
        assert_eq!(count(&pair, table), "30");
        let hint = pair
            .target
            .text("SELECT error_hint FROM cgpsync_run_partition ORDER BY run_id DESC LIMIT 1");
        assert!(hint.contains("vanished => 'empty'"), "{hint}");
    }
    pair.copied("'t', '20170331', vanished => 'empty'");
    assert_eq!(count(&pair, "t"), "20");
    // With nothing to lose there is nothing in the way.
    pair.target.sql("DELETE FROM whole WHERE k < '2017-02-01'");
    pair.copied(whole);
    assert_eq!(count(&pair, "whole"), "20");
}

#[test]
fn a_default_partition_covers_what_it_holds_rows_of() {
    let pair = three_months();
    pair.source.sql(
        "CREATE TABLE old AS SELECT * FROM t_1; DROP TABLE t_1; CREATE TABLE t_d PARTITION OF t DEFAULT;
         INSERT INTO t SELECT k, v + 100 FROM old LIMIT 3",
    );
    pair.copied("'t', '20170331', since => '20170101'");
    assert_eq!(count(&pair, "t_1"), "3");
    pair.source.sql("DELETE FROM t_d");
    pair.copied("'t', '20170331', since => '20170101'");
    assert_eq!(count(&pair, "t_1"), "3");
}

#[test]
fn retention_is_mirrored_on_demand() {
    let pair = three_months();
    pair.source.sql("DROP TABLE t_1, t_2");
    pair.copied("'t', '20170331', since => '20170201', vanished => 'empty'");
    assert_eq!(
        (count(&pair, "t_1"), count(&pair, "t_2")),
        ("10".to_owned(), "0".to_owned())
    );
    let arguments = "'t', '20170331', since => '20170101', vanished => 'drop'";
    assert_eq!(actions(&pair, arguments), ["t_1 drop", "t_2 drop", "t_3 copy"]);
    let (units, notices) = pair.told(arguments);
    assert!(notices.contains("dropped partition t_1"), "{notices}");
    assert!(units.iter().all(|(_, status)| status == "done"), "{units:?}");
    assert_eq!(
        pair.target
            .text("SELECT string_agg(relname, ' ') FROM pg_class WHERE relname ~ '^t_[0-9]'"),
        "t_3"
    );
    let error = fails(&pair, "'t', '20170331', vanished => 'all'");
    assert_eq!(error.code().code(), "22023");
}

#[test]
fn what_is_no_range_of_its_own_is_emptied_and_not_dropped() {
    let pair = three_months();
    pair.target
        .sql("CREATE TABLE t_rest PARTITION OF t DEFAULT; CREATE TABLE whole (k date, v int)");
    pair.copied("'whole', '20170331', source_table => 't'");
    // A default partition that only we have, and that is empty, is no matter.
    let (units, notices) = pair.told("'t', '20170331'");
    assert!(units.contains(&("t_rest".to_owned(), "done".to_owned())), "{units:?}");
    assert!(!notices.contains("rows kept"), "{notices}");
    pair.target.sql("INSERT INTO t VALUES ('2016-05-05', 1)");
    let (units, _) = pair.told("'t', '20170331'");
    assert!(
        units.contains(&("t_rest".to_owned(), "skipped".to_owned())),
        "{units:?}"
    );
    assert_eq!(count(&pair, "t_rest"), "1");
    pair.source.sql("DROP TABLE t_1, t_2, t_3");
    pair.copied("'t', '20170331', since => '20170101', vanished => 'drop'");
    pair.copied("'whole', '20170331', source_table => 't', vanished => 'drop'");
    assert_eq!(
        (count(&pair, "t_rest"), count(&pair, "whole")),
        ("0".to_owned(), "0".to_owned())
    );
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM pg_class WHERE relname ~ '^t_[0-9]'"),
        "0"
    );
}

#[test]
fn a_partition_that_cannot_be_dropped_fails_and_the_others_are_done() {
    let pair = three_months();
    pair.source.sql("DROP TABLE t_1");
    pair.target.sql("CREATE VIEW january AS SELECT * FROM t_1");
    let error = fails(&pair, "'t', '20170331', since => '20170101', vanished => 'drop'");
    assert_eq!(error.code().code(), "2BP01", "{error:?}");
    assert!(error.detail().unwrap_or("").contains("january"), "{error:?}");
    assert_eq!(count(&pair, "january"), "10");
    pair.target.sql("DROP VIEW january");
    // A plain role has no right to.
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT INSERT, TRUNCATE, SELECT ON ALL TABLES IN SCHEMA public TO loader;
         GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let mut client = pair.target.connect_as("loader");
    let error = pair
        .sync_as(&mut client, "'t', '20170331', since => '20170101', vanished => 'drop'")
        .expect_err("no right");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert_eq!(count(&pair, "t_1"), "10");
}

#[test]
fn types_that_differ_hide_neither_what_is_new_nor_what_has_vanished() {
    let pair = Pair::new();
    for (name, here, there, bounds) in [
        ("i", "bigint", "int", ["1", "10", "20", "30"]),
        ("n", "int", "numeric", ["1", "10", "20", "30"]),
        (
            "d",
            "date",
            "timestamp",
            ["'2017-01-01'", "'2017-02-01'", "'2017-03-01'", "'2017-04-01'"],
        ),
        (
            "s",
            "timestamp",
            "date",
            ["'2017-01-01'", "'2017-02-01'", "'2017-03-01'", "'2017-04-01'"],
        ),
        ("x", "text", "varchar(9)", ["'a'", "'h'", "'p'", "'z'"]),
        ("m", "money_like", "numeric", ["1", "10", "20", "30"]),
    ] {
        let part = |n: usize| {
            let (low, high) = (bounds[n], bounds[n + 1]);
            format!("CREATE TABLE {name}_{n} PARTITION OF {name} FOR VALUES FROM ({low}) TO ({high});")
        };
        if here == "money_like" {
            pair.target
                .sql("CREATE DOMAIN money_like AS numeric CHECK (value >= 0)");
        }
        pair.target.sql(&format!(
            "CREATE TABLE {name} (k {here}, v int) PARTITION BY RANGE (k); {}",
            part(1)
        ));
        pair.source.sql(&format!(
            "CREATE TABLE {name} (k {there}, v int) PARTITION BY RANGE (k); {} {}",
            part(1),
            part(2)
        ));
        pair.source.sql(&format!(
            "INSERT INTO {name} VALUES ({}, 1), ({}, 2)",
            bounds[1], bounds[2]
        ));
        let end = bounds[2].replace('\'', "");
        pair.copied(&format!("'{name}', '{end}'"));
        assert_eq!(
            count(&pair, name),
            "2",
            "{here} here and {there} there: what is new is created"
        );
        assert_eq!(
            pair.target
                .text("SELECT count(*) FROM cgpsync_run_partition WHERE source_filter IS NOT NULL"),
            "0",
            "each is read from its like"
        );
        let gone = format!(
            "DROP TABLE {name}_1; {}",
            part(0).replace(&format!("{name}_0"), "older")
        );
        pair.source.sql(&gone.replace("older", &format!("{name}_older")));
        pair.copied(&format!(
            "'{name}', '{end}', since => '{}'",
            bounds[1].replace('\'', "")
        ));
        assert_eq!(
            count(&pair, name),
            "2",
            "{here} here and {there} there: what has vanished stays"
        );
    }
}

#[test]
fn an_enum_and_an_expression_as_keys_of_lists() {
    let pair = Pair::new();
    pair.both(
        "CREATE TYPE region AS ENUM ('eu', 'us');
         CREATE TABLE e (id int, k region NOT NULL) PARTITION BY LIST (k);
         CREATE TABLE e_eu PARTITION OF e FOR VALUES IN ('eu');
         CREATE TABLE x (id int, k text NOT NULL) PARTITION BY LIST (lower(k));
         CREATE TABLE x_eu PARTITION OF x FOR VALUES IN ('eu')",
    );
    pair.source.sql(
        "ALTER TYPE region ADD VALUE 'apac' BEFORE 'us';
         CREATE TABLE x_apac PARTITION OF x FOR VALUES IN ('apac');
         INSERT INTO x VALUES (1, 'EU'), (2, 'Apac')",
    );
    pair.source
        .sql("CREATE TABLE e_apac PARTITION OF e FOR VALUES IN ('apac'); INSERT INTO e VALUES (1, 'eu'), (2, 'apac')");
    pair.copied("'x', '20170131'");
    pair.same("SELECT string_agg(k, ' ' ORDER BY k) FROM x");
    // Without the value here: an error that names it.
    let error = fails(&pair, "'e', '20170131'");
    assert!(error.message().contains("apac"), "{error:?}");
    assert!(error.hint().unwrap_or("").contains("ADD VALUE"), "{error:?}");
    let (_, notices) = pair.told("'e', '20170131', create_missing => false");
    assert!(notices.contains("e_apac"), "{notices}");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM sync_table WHERE table_name = 'e'"),
        "0"
    );
    assert_eq!(
        pair.target
            .text("SELECT concat_ws(' ', partition, matches, source_rows) FROM cgpsync_verify('e') WHERE NOT matches"),
        "f 1"
    );
    pair.target.sql("ALTER TYPE region ADD VALUE 'apac'");
    pair.copied("'e', '20170131'");
    assert_eq!(count(&pair, "e"), "2");
    pair.source.sql("DROP TABLE e_eu, x_eu");
    pair.copied("'e', '20170131'");
    pair.copied("'x', '20170131'");
    assert_eq!((count(&pair, "e"), count(&pair, "x")), ("2".to_owned(), "2".to_owned()));
}

#[test]
fn below_a_level_that_cannot_be_compared_a_range_is_gone_that_no_branch_has() {
    let pair = Pair::new();
    pair.target.sql(&format!(
        "CREATE TABLE t (k date, l text, v int) PARTITION BY RANGE (k); {}",
        months("t", &[1, 2, 3])
    ));
    pair.source.sql(&format!(
        "CREATE TABLE t (k date, l text, v int) PARTITION BY LIST (lower(l));
         CREATE TABLE a PARTITION OF t FOR VALUES IN ('a') PARTITION BY RANGE (k); {}
         CREATE TABLE b PARTITION OF t FOR VALUES IN ('b') PARTITION BY RANGE (k); {}
         INSERT INTO t VALUES ('2017-01-05', 'A', 1), ('2017-02-05', 'A', 2), ('2017-02-05', 'b', 3), ('2017-03-05', 'B', 4)",
        months("a", &[1, 2, 3]),
        months("b", &[2, 3])
    ));
    pair.copied("'t', '20170331'");
    pair.same_rows("t", "true");
    pair.source.sql("DROP TABLE a_1; DELETE FROM a_2");
    let again = "'t', '20170331', since => '20170101'";
    let (units, notices) = pair.told(again);
    assert_eq!(units[0], ("t_1".to_owned(), "skipped".to_owned()), "{units:?}");
    assert!(notices.contains("no longer has (1): t_1"), "{notices}");
    assert_eq!(count(&pair, "t_1"), "1");
    pair.copied(&format!("{again}, vanished => 'empty'"));
    pair.same_rows("t", "true");
}

#[test]
fn what_was_detached_here_meanwhile_is_not_dropped() {
    for is_renamed in [false, true] {
        let pair = three_months();
        pair.source.sql("DROP TABLE t_1");
        // The last partition to be copied waits at the gate.
        pair.target.sql(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
             CREATE TRIGGER waits BEFORE INSERT ON t_3 FOR EACH ROW EXECUTE FUNCTION wait()",
        );
        let gate = pair.target.close_gate();
        let run = pair.sync_in_background("'t', '20170331', since => '20170101', vanished => 'drop'");
        pair.target.until_at_gate(1);
        if is_renamed {
            pair.target
                .sql("ALTER TABLE t_1 RENAME TO archive_1; CREATE TABLE t_1 (i int)");
            drop(gate);
            assert_eq!(run.join(), Ok(3));
            assert_eq!(
                pair.target
                    .text("SELECT to_regclass('archive_1') IS NULL AND to_regclass('t_1') IS NOT NULL"),
                "t"
            );
            continue;
        }
        // It waits for the load's lock on the parent, and comes before the drop.
        let mut other = pair.target.connect();
        let detach = std::thread::spawn(move || other.batch_execute("ALTER TABLE t DETACH PARTITION t_1"));
        crate::support::poll("the detach waits", crate::support::SOON, || {
            pair.target.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE t DETACH%' AND wait_event_type = 'Lock'") != "0"
        });
        drop(gate);
        detach.join().expect("the thread ends").expect("detached");
        let error = run.join().expect_err("it is no partition any more");
        assert!(error.starts_with("55006"), "{error}");
        assert_eq!(count(&pair, "t_1"), "10");
    }
}

#[test]
fn a_loader_without_select_goes_on_where_nothing_is_lost() {
    let pair = three_months();
    pair.target.sql(
        "CREATE TABLE whole (k date, v int); CREATE ROLE loader LOGIN;
         GRANT INSERT, TRUNCATE ON whole TO loader; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let mut client = pair.target.connect_as("loader");
    for _ in 0..2 {
        pair.sync_as(&mut client, "'whole', '20170331', source_table => 't'")
            .expect("a sync");
        assert_eq!(count(&pair, "whole"), "30");
    }
}

#[test]
fn keys_of_several_columns_are_compared_as_they_sort_and_values_that_the_type_lacks_are_no_dead_end() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE m (a int, b int) PARTITION BY RANGE (a, b);
         CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (1, 0) TO (5, 10); INSERT INTO m VALUES (5, 1);
         CREATE TABLE n (k numeric) PARTITION BY LIST (k);
         CREATE TABLE n_1 PARTITION OF n FOR VALUES IN (1, 1.5); INSERT INTO n VALUES (1)",
    );
    pair.target.sql(
        "CREATE TABLE m (a int, b int) PARTITION BY RANGE (a, b);
         CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (1, 0) TO (5, 10);
         CREATE TABLE ahead PARTITION OF m FOR VALUES FROM (5, 10) TO (6, 0); INSERT INTO m VALUES (5, 11);
         CREATE TABLE n (k int) PARTITION BY LIST (k); CREATE TABLE n_1 PARTITION OF n FOR VALUES IN (1)",
    );
    // Above the highest bound nothing has vanished.
    assert_eq!(
        actions(&pair, "'m', '5', vanished => 'drop'"),
        ["ahead copy", "m_1 copy"]
    );
    // No row has the value that this type lacks.
    pair.copied("'n', '1'");
    pair.source.sql("INSERT INTO n VALUES (1.5)");
    assert_eq!(fails(&pair, "'n', '1'").code().code(), "42P17");
    pair.copied("'n', '1', create_missing => false");
    assert_eq!(count(&pair, "n"), "1");
}

#[test]
fn a_partition_below_another_is_gone_where_the_table_goes_on() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_q1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-04-01') PARTITION BY RANGE (k);
         CREATE TABLE t_1 PARTITION OF t_q1 FOR VALUES FROM ('2017-01-01') TO ('2017-03-01');
         CREATE TABLE t_3 PARTITION OF t_q1 FOR VALUES FROM ('2017-03-01') TO ('2017-04-01');
         CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO ('2017-05-01');
         INSERT INTO t VALUES ('2017-01-05', 1), ('2017-03-05', 3), ('2017-04-05', 4)",
    );
    pair.target.sql(
        "CREATE TABLE t (k date, v int) PARTITION BY RANGE (k);
         CREATE TABLE t_q1 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-04-01');
         CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2017-04-01') TO ('2017-05-01')",
    );
    pair.copied("'t', '201704'");
    pair.same_rows("t", "true");
    // March is the last of its quarter, and not of the table.
    pair.source.sql("DROP TABLE t_3");
    let error = fails(&pair, "'t', '201704', since => '20170101'");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert_eq!(count(&pair, "t"), "3");
    pair.copied("'t', '201704', since => '20170101', vanished => 'empty'");
    pair.same_rows("t", "true");
}
