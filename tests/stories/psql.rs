//! From psql scripts: what a shell gets to see. The README's own lines are what runs here.

use crate::support::{Pair, SOON, poll, readme};
use std::process::{Output, Stdio};

/// Runs a script of the shell against the target.
fn sh(pair: &Pair, script: &str) -> Output {
    readme::sh(&pair.target, "postgres", script).output().expect("sh runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `persons`, of which January and February can be copied, but March cannot.
fn persons_until_march(pair: &Pair) {
    pair.persons(10);
    pair.target
        .sql("ALTER TABLE persons_201703 ADD CONSTRAINT closed CHECK (false)");
}

/// Runs SQL with psql, as an argument or as a script.
fn psql(pair: &Pair, arguments: &str, sql: &str) -> Output {
    sh(pair, &psql_script(arguments, sql))
}

fn psql_script(arguments: &str, sql: &str) -> String {
    format!("psql -X -v ON_ERROR_STOP=1 {arguments} <<'SQL'\n{sql}\nSQL\n")
}

#[test]
fn a_script_ends_with_status_3_if_a_partition_failed_and_with_0_if_all_are_done() {
    let pair = Pair::new();
    persons_until_march(&pair);
    let sync = |end_tm: &str| format!("SELECT * FROM cgpsync_sync('persons', '{end_tm}');");
    let goes_on = "\\echo the script goes on";
    let good = psql(&pair, "-q", &format!("{}\n{goes_on}", sync("20170201")));
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("the script goes on"));
    let bad = psql(&pair, "-q", &format!("{}\n{goes_on}", sync("20170301")));
    assert_eq!(bad.status.code(), Some(3));
    assert!(!text(&bad.stdout).contains("the script goes on"));
    assert!(
        text(&bad.stderr).contains("1 of 2 partitions of persons failed: persons_201703"),
        "{}",
        text(&bad.stderr)
    );
    assert_eq!(pair.target.text("SELECT end_tm FROM sync_table"), "20170201");
    // As an argument.
    let argument = |end_tm: &str| psql(&pair, &format!("-c \"{}\"", sync(end_tm)), "").status.code();
    assert_eq!((argument("20170201"), argument("20170301")), (Some(0), Some(1)));
}

#[test]
fn the_readmes_script_prints_one_line_or_says_why_not() {
    let pair = Pair::new();
    persons_until_march(&pair);
    let script = readme::blocks("From pg_cron and psql", "sh")[0];
    let output = sh(&pair, script);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "2 partitions, 20 rows\n");
    assert_eq!(text(&output.stderr), "");
    let output = sh(&pair, &script.replace("20170201", "20170331"));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "");
    let told = text(&output.stderr);
    assert!(told.contains("ERROR:") && !told.contains("NOTICE:"), "{told}");
    assert_eq!(told.matches("WARNING:").count(), 1, "{told}");
}

#[test]
fn only_client_min_messages_silences_notices() {
    let pair = Pair::new();
    persons_until_march(&pair);
    let count = |level: &str, end_tm: &str| {
        let sql = format!("SELECT * FROM cgpsync_sync('persons', '{end_tm}', since => '20170101');");
        let output = psql(&pair, "-q", &format!("{level}\n{sql}"));
        let told = text(&output.stderr);
        ["NOTICE:", "WARNING:", "ERROR:"].map(|word| told.matches(word).count())
    };
    assert_eq!(count("", "20170201"), [2, 0, 0]);
    assert_eq!(count("", "20170301"), [2, 1, 1]);
    assert_eq!(count("SET client_min_messages = warning;", "20170301"), [0, 1, 1]);
    assert_eq!(count("SET client_min_messages = error;", "20170301"), [0, 0, 1]);
}

#[test]
fn several_tables_in_one_statement_fail_one_by_one() {
    let pair = Pair::new();
    let several = readme::blocks("From pg_cron and psql", "sql")[2];
    pair.both("CREATE SCHEMA dw");
    for table in ["customers", "orders", "dw.items"] {
        pair.both(&format!(
            "CREATE TABLE {table} (born date) PARTITION BY RANGE (born);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')"
        ));
        pair.source.sql(&format!("INSERT INTO {table} VALUES ('2017-01-01')"));
    }
    let synced = || pair.target.list("SELECT table_name FROM sync_table ORDER BY 1");
    // The first of them, so that it could hide the others.
    pair.target
        .sql("ALTER TABLE customers ADD CONSTRAINT closed CHECK (false)");
    let output = psql(&pair, "-q", several);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("not synced: customers\n"), "{told}");
    assert!(
        told.contains("DETAIL:  customers: 1 of 1 partitions of customers failed: customers_1"),
        "{told}"
    );
    assert!(told.contains("violates check constraint \"closed\" [23514]"), "{told}");
    assert_eq!(synced(), ["dw.items", "orders"]);
    assert_eq!(pair.target.text("SELECT count(*) FROM orders, dw.items"), "1");
    pair.target.sql("ALTER TABLE customers DROP CONSTRAINT closed");
    let output = psql(&pair, "-q", several);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(synced(), ["customers", "dw.items", "orders"]);
    pair.same_rows("customers", "true");
}

#[test]
fn a_cancel_ends_the_statement_for_several_tables_and_not_just_one_of_them() {
    let pair = Pair::new();
    let several = readme::blocks("From pg_cron and psql", "sql")[2];
    pair.both("CREATE TABLE customers (born date) PARTITION BY RANGE (born)");
    pair.both("CREATE TABLE customers_1 PARTITION OF customers FOR VALUES FROM ('2017-01-01') TO ('2018-01-01')");
    pair.both("CREATE TABLE orders (LIKE customers) PARTITION BY RANGE (born)");
    let mut reader = pair.target.connect();
    reader
        .batch_execute("BEGIN; SELECT FROM customers_1")
        .expect("a reader");
    let call = psql_script("-q", several);
    let call = readme::sh(&pair.target, "postgres", &call)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    poll("it is being copied", SOON, || {
        pair.target.text("SELECT status FROM cgpsync_run_partition") == "copying"
    });
    pair.target
        .sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'psql'");
    let output = call.wait_with_output().expect("psql ends");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("canceling statement due to user request"), "{told}");
    pair.all_gone();
    assert_eq!(
        pair.target.list("SELECT table_name || ' ' || status FROM cgpsync_run"),
        ["customers cancelled"]
    );
}

#[test]
fn watch_shows_a_run_going_on() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    pair.source.sql("CREATE VIEW crawling AS SELECT g AS i FROM generate_series(1, 100) g, LATERAL (SELECT pg_sleep(0.4) WHERE g > 0) s");
    let run = pair.sync_in_background("'t', '20170101', source_table => 'crawling'");
    poll("the unit is being copied", SOON, || {
        pair.target.text("SELECT status FROM cgpsync_run_partition") == "copying"
    });
    let watch = readme::blocks("At night: start, watch, cancel", "sql")[1];
    let seen = pair.target.dir.with_extension("watch");
    let script = format!(
        "exec psql -X -q -At -v ON_ERROR_STOP=1 >'{}' <<'SQL'\n{watch}\nSQL\n",
        seen.display()
    );
    let mut psql = readme::sh(&pair.target, "postgres", &script).spawn().expect("sh runs");
    let shown = |what: &str| std::fs::read_to_string(&seen).is_ok_and(|screen| screen.contains(what));
    poll("the unit is seen to be copied", SOON, || {
        shown("t|0|1|") && shown("{\"t: ")
    });
    run.cancel.cancel_query(postgres::NoTls).expect("a cancel request");
    run.join().expect_err("cancelled");
    psql.kill().expect("psql is still watching");
    psql.wait().expect("psql ends");
    std::fs::remove_file(&seen).expect("the file goes");
}
