//! One run of a table at a time, whoever calls.

use crate::support::greenplum::{Clusters, refusal, words};
use crate::support::{SOON, poll};

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_second_one_is_refused_and_the_first_is_named() {
    let clusters = Clusters::persons("second", 1000);
    let schema = &clusters.schema;
    // Another database is another installation: it shares nothing with this one but the target.
    clusters.between.sql("CREATE DATABASE beside");
    let options = |server: &str| {
        let list = "SELECT string_agg(format('%s %L', option_name, option_value), ', ') FROM pg_options_to_table";
        let of_server = clusters.between.text(&format!(
            "{list}((SELECT srvoptions FROM pg_foreign_server WHERE srvname = '{server}'))"
        ));
        let of_user = clusters.between.text(&format!(
            "{list}((SELECT umoptions FROM pg_user_mappings WHERE srvname = '{server}'))"
        ));
        format!(
            "CREATE SERVER {server} FOREIGN DATA WRAPPER cgpsync OPTIONS ({of_server});
             CREATE USER MAPPING FOR postgres SERVER {server} OPTIONS ({of_user})"
        )
    };
    clusters.between.sql_in(
        "beside",
        &format!(
            "CREATE SCHEMA {schema}; CREATE EXTENSION cgpsync SCHEMA public; {}; {};
             SELECT cgpsync_attach({}, 'dr', 'public.people'); SELECT cgpsync_attach({}, 'dr', 'public.february')",
            options("prod"),
            options("dr"),
            clusters.name("persons"),
            clusters.name("persons_1_prt_2")
        ),
    );
    let mut reader = clusters.target.connect();
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM persons")
        .expect("a lock on the root");
    let run = clusters.in_background("'persons', '20170115', 1", "");
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    poll("it tries to lock the root", SOON, || {
        run.is_finished() || clusters.target.text(waits) != "0"
    });
    let first = clusters.between.text("SELECT max(run_id) FROM cgpsync_run");
    let second = |table: &str| {
        let source = clusters.name("persons");
        let sql =
            format!("SELECT cgpsync_sync('public.{table}', '20170215', source => 'prod', source_table => {source})");
        refusal(clusters.between.connect_to("beside").batch_execute(&sql))
    };
    // A partition of it as well.
    for table in ["people", "february"] {
        let error = second(table).expect_err("the first is on");
        assert_eq!(error.code().code(), "55006", "{error:?}");
        assert!(words(&error).contains(&format!("\"cgpsync run {first}\"")), "{error:?}");
    }
    let error = clusters.refused("'persons', '20170215'");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(1));
    second("people").expect("nobody is in the way");
    clusters.same_rows("persons", "born < '2017-03-01'");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn one_in_the_background_is_watched_waited_for_and_cancelled() {
    let clusters = Clusters::persons("background", 1000);
    let mut reader = clusters.target.connect();
    let lock = "BEGIN; SELECT count(*) FROM persons";
    reader.batch_execute(lock).expect("a lock on the root");
    let start = "SELECT cgpsync_start('persons', '20170215', 2, source => 'prod')";
    let run = clusters.between.text(start);
    poll("it waits with loaded partitions", SOON, || {
        clusters.between.text("SELECT workers FROM cgpsync_progress") == "2"
    });
    let progress = "SELECT units_done || ' of ' || units_total || ' ' || status FROM cgpsync_progress";
    assert_eq!(clusters.between.text(progress), "0 of 2 running");
    assert_eq!(clusters.between.text(&format!("SELECT cgpsync_cancel({run})")), "t");
    let waited = clusters
        .between
        .connect()
        .batch_execute(&format!("SELECT * FROM cgpsync_wait({run})"));
    let error = refusal(waited).expect_err("it was cancelled");
    assert_eq!(error.code().code(), "57P01", "{error:?}");
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(clusters.target.content("persons", "true"), "0 0");
    let run = clusters.between.text(start);
    let waited = format!("SELECT string_agg(status, ' ') FROM cgpsync_wait({run})");
    assert_eq!(clusters.between.text(&waited), "done done");
    clusters.same_rows("persons", "born < '2017-03-01'");
    clusters.nothing_is_left();
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_failed_one_is_resumed() {
    let clusters = Clusters::persons("resumed", 1000);
    clusters
        .target
        .sql("ALTER TABLE persons ADD CONSTRAINT few CHECK (id < 10 OR date_part('month', born) <> 2)");
    let error = clusters.refused("'persons', '20170315', 2");
    assert_eq!(error.code().code(), "23514", "{error:?}");
    assert!(
        words(&error).contains("persons_1_prt_2") && !words(&error).contains("_cgpsync"),
        "{error:?}"
    );
    clusters.target.sql("ALTER TABLE persons DROP CONSTRAINT few");
    let (units, notices) = clusters.told("'persons', '20170315', 2");
    // The third one has the end in it, so it is taken each time.
    let skipped = ("persons_1_prt_1".to_owned(), "skipped".to_owned());
    assert!(units.contains(&skipped), "{units:?} {notices}");
    clusters.same_rows("persons", "born < '2017-04-01'");
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn what_is_not_what_a_run_has_left_is_copied_again() {
    let clusters = Clusters::persons("restored", 1000);
    clusters.copied("'persons', '20170315', 2");
    assert_eq!(clusters.copied("'persons', '20170315', 2"), ["persons_1_prt_3"]);
    // As a restore of last week's backup does: another table in its place, with other rows.
    clusters.target.sql(
        "CREATE TABLE old (LIKE persons) DISTRIBUTED BY (id); INSERT INTO old VALUES (1, 'old', '2017-01-05');
         ALTER TABLE persons EXCHANGE PARTITION FOR (date '2017-01-05') WITH TABLE old; DROP TABLE old; TRUNCATE persons_1_prt_2",
    );
    let (units, notices) = clusters.told("'persons', '20170315', 2");
    assert_eq!(units.len(), 3, "{units:?} {notices}");
    clusters.same_rows("persons", "born < '2017-04-01'");
}
