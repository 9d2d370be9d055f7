//! Tables of which the catalogs tell more, or less, than one would think.

use crate::support::greenplum::{Clusters, words};
use crate::support::{SOON, poll};

const MONTHS: &str = "(PARTITION p1 START (date '2016-01-01') END (date '2016-02-01'), DEFAULT PARTITION oth)";
const DAYS: &str = "INSERT INTO df SELECT g, date '2016-01-01' + g % 60, 'new' FROM generate_series(1, 6000) g";

/// Whoever splits a default partition changes what it may hold, and nothing that its own bound says.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_default_partition_that_is_split_meanwhile_is_not_what_was_planned() {
    for replace in ["exchange", "truncate"] {
        let clusters = Clusters::new(&format!("split_{replace}"));
        clusters.both(&format!(
            "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS}"
        ));
        clusters.source.sql(DAYS);
        clusters.attach("df");
        let mut other = clusters.target.connect();
        other
            .batch_execute("BEGIN; LOCK TABLE df IN ACCESS SHARE MODE")
            .expect("a lock");
        let run = clusters.in_background(&format!("'df', '20170101', 2, replace => '{replace}'"), "");
        poll("both partitions wait", SOON, || {
            clusters.between.text("SELECT workers FROM cgpsync_progress") == "2"
        });
        other
            .batch_execute(
                "ALTER TABLE df SPLIT DEFAULT PARTITION START ('2016-02-01') END ('2016-03-01') INTO (PARTITION p2, DEFAULT PARTITION); COMMIT",
            )
            .expect("a split");
        let ended = run.join();
        let within = "SELECT count(*) FROM df_1_prt_oth WHERE d >= '2016-02-01' AND d < '2016-03-01'";
        if clusters.target.version == 6 {
            assert!(
                ended.as_ref().is_err_and(|error| error.contains("df_1_prt_oth")),
                "{replace}: {ended:?}"
            );
            assert_eq!(clusters.target.text(within), "0", "{replace}");
        }
        clusters.told("'df', '20170101', 2, since => '19000101'");
        clusters.same_rows("df", "true");
        assert_eq!(clusters.target.text(within), "0", "{replace}");
    }
}

/// A role for which a table has no rows of its partitions.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_role_that_inherits_nothing_reads_all_rows() {
    let clusters = Clusters::new("inherits");
    if clusters.source.version != 6 {
        return crate::support::needs::note("the source has no sql_inheritance");
    }
    let reader = clusters.source.create_role("reader");
    clusters.map("prod", &reader);
    clusters.source.sql(&format!(
        "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS};
         ALTER ROLE {reader} SET sql_inheritance = off; GRANT USAGE ON SCHEMA {} TO {reader}; GRANT SELECT ON df TO {reader}; {DAYS}",
        clusters.schema
    ));
    clusters.target.sql(
        "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d)
         (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'), DEFAULT PARTITION oth)",
    );
    clusters.attach("df");
    clusters.told("'df', '20170101', 2");
    clusters.same_rows("df", "true");
    assert_eq!(clusters.target.text("SELECT count(*) FROM df"), "6000");
}

/// What is not copied is filled as the table fills it, whatever a partition has for INSERTs of its own.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_leaf_with_another_default_is_filled_as_its_table() {
    let clusters = Clusters::new("filled");
    clusters.source.sql(&format!(
        "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS}; {DAYS}"
    ));
    clusters.target.sql(&format!(
        "CREATE TABLE df (id int, d date, v text, x int DEFAULT 7) DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS};
         CREATE TABLE other (id int, d date, v text, x int DEFAULT 11) DISTRIBUTED BY (id);
         ALTER TABLE df EXCHANGE PARTITION p1 WITH TABLE other; DROP TABLE other"
    ));
    clusters.attach("df");
    clusters.told("'df', '20170101', 2");
    assert_eq!(
        clusters
            .target
            .text("SELECT count(*) || ' ' || min(x) || ' ' || max(x) FROM df"),
        "6000 7 7"
    );
    if clusters.target.version == 6 {
        let error = clusters.refused("'df', '20170101', 2, since => '19000101', replace => 'truncate'");
        assert_eq!(error.code().code(), "0A000", "{error:?}");
        assert!(words(&error).contains("other defaults"), "{error:?}");
        assert_eq!(clusters.target.text("SELECT count(*) FROM df"), "6000");
    }
}

/// The last partition of a level goes with the one above it.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_month_that_has_vanished_is_dropped_with_all_below_it() {
    let clusters = Clusters::new("months_gone");
    let table = |first: &str| {
        format!(
            "CREATE TABLE deep (id int, d date, r text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) SUBPARTITION BY LIST (r)
             SUBPARTITION TEMPLATE (SUBPARTITION a VALUES ('a'), SUBPARTITION b VALUES ('b'))
             ({first} PARTITION p2 START (date '2016-02-01') END (date '2016-03-01'))"
        )
    };
    clusters.source.sql(&table(""));
    clusters.target.sql(&table(
        "PARTITION p1 START (date '2016-01-01') END (date '2016-02-01'),",
    ));
    let rows = "INSERT INTO deep SELECT g, date '2016-02-01' + g % 29, 'a' FROM generate_series(1, 100) g";
    clusters.source.sql(rows);
    clusters.target.sql("INSERT INTO deep VALUES (1, '2016-01-05', 'a')");
    clusters.attach("deep");
    clusters.told("'deep', '20170101', 2, vanished => 'drop'");
    clusters.same_rows("deep", "true");
    assert_eq!(clusters.target.leaves(), "deep_1_prt_p2_2_prt_a deep_1_prt_p2_2_prt_b");
}

/// What is stored otherwise than its neighbours say, or spread by another hash than its types', comes along.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_new_table_is_stored_and_spread_as_the_sources() {
    let clusters = Clusters::new("alike");
    if clusters.source.version != 6 || clusters.target.version != 6 {
        return crate::support::needs::note("6 makes a heap of what says nothing");
    }
    clusters.source.sql(
        "CREATE TABLE odd (id int, k int, d date) WITH (appendonly = true) DISTRIBUTED BY (id cdbhash_int4_ops, k)
         PARTITION BY RANGE (d) (PARTITION a START (date '2016-01-01') END (date '2016-02-01'));
         ALTER TABLE odd ADD PARTITION \"a_prt_x\" START (date '2016-02-01') END (date '2016-03-01');
         ALTER TABLE odd ADD PARTITION \"b_prt_x\" START (date '2016-03-01') END (date '2016-04-01')",
    );
    let made = format!(
        "SELECT cgpsync_create_table({}, source => 'prod', target => 'dr')",
        clusters.name("odd")
    );
    let maker = clusters.target.create_role("maker");
    clusters.map("dr", &maker);
    clusters.target.sql(&format!(
        "ALTER ROLE {maker} SET gp_use_legacy_hashops = on; GRANT USAGE, CREATE ON SCHEMA {} TO {maker}",
        clusters.schema
    ));
    clusters.between.sql(&made);
    let user = clusters.source.text("SELECT current_user");
    // The one that says nothing has to say so.
    let here = clusters.target.leaves_but_for_bounds();
    let here = here.replace(&maker, &user).replace(" {appendonly=false}", "");
    assert_eq!(here, clusters.source.leaves_but_for_bounds());
    assert!(here.contains("cdbhash_int4_ops, k)"), "{here}");
    // Nor does a sync take it for another one.
    clusters
        .source
        .sql("INSERT INTO odd SELECT g, g, date '2016-01-01' + g % 91 FROM generate_series(1, 300) g");
    clusters.copied("'odd', '20170101', 2");
    clusters.all_exchanged();
    clusters.same_rows("odd", "true");
}

/// A partition that is made is called as no other, and stores each column as the one before it.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_new_partition_has_a_name_of_its_own_and_its_neighbours_encodings() {
    let clusters = Clusters::new("encoded");
    let table = |partitions: &str| {
        format!(
            "CREATE TABLE enc (id int, d date, v text ENCODING (compresstype = zlib, compresslevel = 5)) WITH (appendonly = true, orientation = column)
             DISTRIBUTED BY (id) PARTITION BY RANGE (d) ({partitions})"
        )
    };
    let february = "START (date '2016-02-01') END (date '2016-03-01')";
    clusters.source.sql(&table(&format!(
        "PARTITION p1 START (date '2016-01-01') END (date '2016-02-01'), PARTITION p2 {february}"
    )));
    clusters
        .source
        .sql("INSERT INTO enc SELECT g, date '2016-01-01' + g % 60, 'x' FROM generate_series(1, 600) g");
    clusters.target.sql(&table(&format!("PARTITION p1 {february}")));
    clusters.attach("enc");
    let (units, notices) = clusters.told("'enc', '20170101', 2");
    assert_eq!(units.len(), 2, "{notices}");
    clusters.same_rows("enc", "true");
    let encodings = "SELECT string_agg(DISTINCT array_to_string(e.attoptions, ' '), ', ') FROM pg_attribute_encoding e
         JOIN pg_class c ON c.oid = e.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND c.relname LIKE 'enc_1_prt_%' AND e.attnum = 3";
    assert_eq!(
        clusters.target.text(encodings),
        "compresstype=zlib compresslevel=5 blocksize=32768"
    );
    if clusters.target.version == 6 {
        assert_eq!(clusters.target.leaves(), "enc_1_prt_p1 enc_1_prt_p1_1");
        assert!(
            notices.contains("created partition") && notices.contains("enc_1_prt_p1_1"),
            "{notices}"
        );
    }
}

/// A reader of the default partition alone is waited for in short attempts as well.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn who_reads_the_default_partition_is_waited_for_and_named() {
    let clusters = Clusters::new("split_late");
    clusters.source.sql(
        "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d)
         (START (date '2016-01-01') END (date '2016-03-01') EVERY (INTERVAL '1 month'))",
    );
    clusters.target.sql(&format!(
        "CREATE TABLE df (id int, d date, v text) DISTRIBUTED BY (id) PARTITION BY RANGE (d) {MONTHS}"
    ));
    clusters.attach("df");
    let mut reader = clusters.target.connect();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM df_1_prt_oth")
        .expect("a lock");
    let mut client = clusters.between.connect();
    client
        .batch_execute("SET cgpsync.swap_timeout = '1s'; SET cgpsync.max_retries = 0")
        .expect("settings");
    let error = clusters
        .sync_as(&mut client, "'df', '20170101', 1")
        .expect_err("the default partition is read");
    assert_eq!(error.code().code(), "55P03", "{error:?}");
    let pid = clusters
        .target
        .text("SELECT pid FROM pg_stat_activity WHERE query LIKE '%FROM df_1_prt_oth' AND pid <> pg_backend_pid()");
    assert!(words(&error).contains(&pid) && !pid.is_empty(), "{pid}: {error:?}");
    reader.batch_execute("COMMIT").expect("the end");
    clusters.told("'df', '20170101', 1");
    clusters.same_rows("df", "true");
}
