//! The remembered point passes no row of the source that has no place here, and no partition here that
//! nobody has filled.

use crate::support::Pair;

/// Runs a sync; the line that says why the point stays.
fn held(pair: &Pair, arguments: &str) -> String {
    let (_, notices) = pair.told(arguments);
    let line = notices.lines().find(|line| line.contains("will not be remembered"));
    line.unwrap_or("").to_owned()
}

#[test]
fn a_branch_that_only_the_source_has_is_created_and_filled_behind_the_point_too() {
    let pair = Pair::new();
    let branch = |r: &str| {
        format!(
            "CREATE TABLE t_{r} PARTITION OF t FOR VALUES IN ('{r}') PARTITION BY RANGE (k);
             CREATE TABLE t_{r}_1 PARTITION OF t_{r} FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
             CREATE TABLE t_{r}_2 PARTITION OF t_{r} FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
             CREATE TABLE t_{r}_3 PARTITION OF t_{r} FOR VALUES FROM ('2017-03-01') TO ('2017-04-01');"
        )
    };
    let rows =
        |r: &str| format!("INSERT INTO t SELECT '{r}', date '2017-01-05' + 31 * m, m FROM generate_series(0, 2) m;");
    pair.both("CREATE TABLE t (r text, k date, v int) PARTITION BY LIST (r)");
    pair.both(&branch("eu"));
    pair.source.sql(&rows("eu"));
    pair.copied("'t', '20170210'");
    pair.source.sql(&(branch("us") + &rows("us")));
    assert_eq!(pair.copied("'t', '20170210'"), ["t_eu_2", "t_us_1", "t_us_2"]);
    pair.same_rows("t", "k < '2017-03-01'");
    pair.source.sql(&(branch("it") + &rows("it")));
    pair.copied("'t', '20170310', since => '20170301'");
    pair.same_rows("t", "r = 'it'");
    // A run that ends between the two, as a killed one does, leaves partitions that the next call fills.
    pair.source.sql(&(branch("fr") + &rows("fr")));
    pair.target.sql(&branch("fr"));
    assert_eq!(
        pair.copied("'t', '20170310'"),
        [
            "t_eu_2", "t_eu_3", "t_fr_1", "t_fr_2", "t_fr_3", "t_it_2", "t_it_3", "t_us_2", "t_us_3"
        ]
    );
    pair.same_rows("t", "true");
}

#[test]
fn without_create_missing_the_point_stays_for_a_list_value_and_for_a_part_of_a_range() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE t (r text, k date) PARTITION BY LIST (r);
         CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (k);
         CREATE TABLE t_eu_1 PARTITION OF t_eu FOR VALUES FROM ('2017-01-01') TO ('2017-03-01');
         CREATE TABLE w (k date) PARTITION BY RANGE (k)",
    );
    pair.source.sql(
        "CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY RANGE (k);
         CREATE TABLE t_us_1 PARTITION OF t_us FOR VALUES FROM ('2017-01-01') TO ('2017-03-01');
         CREATE TABLE w_2017 PARTITION OF w FOR VALUES FROM ('2017-01-01') TO ('2018-01-01');
         INSERT INTO w SELECT date '2017-01-15' + 30 * g FROM generate_series(0, 4) g",
    );
    // Nobody is left out yet.
    assert_eq!(held(&pair, "'t', '20170131', create_missing => false"), "");
    pair.source.sql("INSERT INTO t VALUES ('us', '2017-02-05')");
    let line = held(&pair, "'t', '20170228', create_missing => false");
    assert!(line.contains("\"t_us_1\""), "{line}");
    assert_eq!(pair.remembered("t"), "20170131");
    pair.target.sql(
        "CREATE TABLE w_1 PARTITION OF w FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE w_2 PARTITION OF w FOR VALUES FROM ('2017-02-01') TO ('2017-03-01')",
    );
    let line = held(&pair, "'w', '201704', create_missing => false");
    assert!(line.contains("\"w_2017\""), "{line}");
    assert_eq!(pair.remembered("w"), "");
    // What lies after the end is left out on purpose.
    assert_eq!(held(&pair, "'w', '20170310', create_missing => false"), "");
    assert_eq!(pair.remembered("w"), "20170310");
}

#[test]
fn rows_of_a_default_partition_and_of_a_source_without_any_hold_the_point_too() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE z (k date) PARTITION BY RANGE (k);
         CREATE TABLE z_1 PARTITION OF z FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source.sql(
        "CREATE TABLE z_d PARTITION OF z DEFAULT; CREATE TABLE flat (k date, r text);
         INSERT INTO z VALUES ('2017-01-05'), ('2017-03-05'); INSERT INTO flat TABLE z",
    );
    pair.target.sql(
        "CREATE TABLE flat (k date, r text) PARTITION BY RANGE (k);
         CREATE TABLE flat_1 PARTITION OF flat FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source.sql("ALTER TABLE flat ALTER k TYPE timestamp");
    for table in ["z", "flat"] {
        let line = held(&pair, &format!("'{table}', '20170310'"));
        assert!(
            line.contains(if table == "z" { "\"z_d\"" } else { "\"flat\"" }),
            "{line}"
        );
        assert_eq!(pair.remembered(table), "");
        assert_eq!(held(&pair, &format!("'{table}', '20170304'")), "");
        assert_eq!(
            held(&pair, &format!("'{table}', '20170310', since => '20170306'")),
            "",
            "as the call says"
        );
        let verify = format!(
            "SELECT concat_ws(' ', partition, matches, source_rows) FROM cgpsync_verify('{table}') WHERE NOT matches"
        );
        assert_eq!(pair.target.text(&verify), "f 1", "{table}");
    }
    // A key that is NULL has no place either, whatever is remembered.
    pair.source.sql("INSERT INTO flat VALUES (NULL, 'x')");
    assert!(held(&pair, "'flat', '20170310'").contains("IS NULL"));
    pair.target.sql("DELETE FROM sync_table");
    assert!(held(&pair, "'flat', '20170304'").contains("IS NULL"));
    // A key with an operator class of its own here.
    pair.target.sql(
        "CREATE TABLE o (k date, r text) PARTITION BY LIST (r text_pattern_ops);
         CREATE TABLE o_x PARTITION OF o FOR VALUES IN ('x')",
    );
    pair.source.sql("UPDATE flat SET r = 'x'");
    assert_eq!(held(&pair, "'o', '20170304', source_table => 'flat'"), "");
    pair.source.sql("UPDATE flat SET r = 'y' WHERE k IS NULL");
    assert!(held(&pair, "'o', '20170304', source_table => 'flat'").contains("\"flat\""));
}

#[test]
fn a_table_that_is_created_begins_without_a_point() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target
        .sql("DROP TABLE persons; INSERT INTO sync_table VALUES ('persons', '20171231'), ('other', '20170101')");
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("SELECT cgpsync_create_table('persons')")
        .expect("a table");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("20171231, is forgotten"), "{notices}");
    pair.copied("'persons', '20171231'");
    pair.same_rows("persons", "true");
    assert_eq!(pair.remembered("other"), "20170101");
}

#[test]
fn a_point_taken_over_is_not_believed_of_partitions_that_nobody_has_filled() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql("INSERT INTO sync_table VALUES ('persons', '20171215'); INSERT INTO persons VALUES (1, 'mine', '2017-03-03', '')");
    assert_eq!(
        pair.target
            .text("SELECT reason FROM cgpsync_plan('persons', '20171231') WHERE partition = 'persons_201701'"),
        "closed before, but no run has loaded it and it is empty"
    );
    let copied = pair.copied("'persons', '20171231'");
    assert_eq!(copied.len(), 11, "all but the one that has rows: {copied:?}");
    assert_eq!(pair.target.text("SELECT count(*) FROM persons_201703"), "1");
    // From then on they are closed.
    pair.source
        .sql("DELETE FROM persons WHERE born < '2017-02-01'; INSERT INTO persons VALUES (9, 'late', '2017-01-01', '')");
    assert_eq!(pair.copied("'persons', '20171231'"), ["persons_201712"]);
}

#[test]
fn a_closed_partition_that_was_emptied_is_due_again() {
    let pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20171231'");
    pair.target.sql("TRUNCATE persons_201702");
    pair.target.sql("VACUUM FULL persons_201703");
    assert_eq!(
        pair.copied("'persons', '20171231'"),
        ["persons_201702", "persons_201712"]
    );
    pair.same_rows("persons", "true");
    // The source has none for it any more: there is nothing to fetch and nothing to say.
    pair.target.sql("TRUNCATE persons_201701");
    pair.source.sql("DROP TABLE persons_201701");
    assert_eq!(pair.copied("'persons', '20171231'"), ["persons_201712"]);
}

#[test]
fn unlogged_partitions_are_due_again_after_a_crash() {
    let mut pair = Pair::new();
    pair.persons(5);
    pair.target.sql("ALTER TABLE persons_201702 SET UNLOGGED");
    pair.copied("'persons', '20171231'");
    pair.target.kill_all();
    pair.target.boot();
    assert_eq!(pair.target.text("SELECT count(*) FROM persons_201702"), "0");
    assert_eq!(
        pair.copied("'persons', '20171231'"),
        ["persons_201702", "persons_201712"]
    );
    pair.same_rows("persons", "true");
    // The server goes on as the same one when only one of its processes is killed.
    let victim: i32 = pair.target.text("SELECT pg_backend_pid()").parse().expect("a pid");
    assert!(victim > 0);
    let session = pair.target.connect();
    let pid = pair
        .target
        .text("SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state = 'idle'");
    crate::support::cluster::kill("KILL", pid.parse().expect("a pid"));
    drop(session);
    crate::support::poll("its rows are gone", crate::support::SOON, || {
        let Some(mut client) = pair.target.try_connect() else {
            return false;
        };
        let rows = client.query("SELECT count(*) FROM persons_201702", &[]);
        rows.is_ok_and(|rows| rows[0].get::<_, i64>(0) == 0)
    });
    assert_eq!(
        pair.copied("'persons', '20171231'"),
        ["persons_201702", "persons_201712"]
    );
}

#[test]
fn the_point_belongs_to_the_source_it_was_taken_from() {
    let pair = Pair::new();
    pair.persons(5);
    pair.source
        .sql("CREATE TABLE others (LIKE persons) PARTITION BY RANGE (born)");
    pair.source
        .sql("CREATE TABLE others_2017 PARTITION OF others FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')");
    pair.source
        .sql("INSERT INTO others SELECT id + 100, name, born, note FROM persons");
    pair.copied("'persons', '20170331'");
    let other = "'persons', '20170415', source_table => 'others'";
    let error = pair.sync(other).expect_err("another source table");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.hint().unwrap_or("").contains("since"), "{error:?}");
    assert!(error.detail().unwrap_or("").contains("\"others\""), "{error:?}");
    let plan = pair
        .target
        .connect()
        .batch_execute(&format!("SELECT cgpsync_plan({other})"));
    assert_eq!(plan.expect_err("as a run").code().expect("a code").code(), "55000");
    // The point of the new source is its own, even if it is an earlier one.
    pair.copied("'persons', '20170215', source_table => 'others', since => '20170101'");
    assert_eq!(pair.remembered("persons"), "20170215");
    pair.copied(other);
    assert_eq!(
        pair.sync("'persons', '20170430'")
            .expect_err("the first one again")
            .code()
            .code(),
        "55000"
    );
    // The same database at another address is the same source.
    pair.create_server("again", pair.source.port);
    pair.target.sql("ALTER SERVER again OPTIONS (SET host 'localhost')");
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(
        &mut client,
        "'persons', '20170430', source_table => 'others', source => 'again'",
    )
    .expect("a sync");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("localhost"), "{notices}");
    // Another database is not.
    pair.source.sql("CREATE DATABASE copy TEMPLATE template0");
    pair.target.sql("ALTER SERVER again OPTIONS (SET dbname 'copy')");
    let mut copy = pair.source.connect_to("copy");
    copy.batch_execute("CREATE TABLE others (id bigint, name varchar(64), born date NOT NULL, note text)")
        .expect("a table");
    let error = pair
        .sync("'persons', '20170430', source_table => 'others', source => 'again'")
        .expect_err("another database");
    assert_eq!(error.code().code(), "55000", "{error:?}");
}
