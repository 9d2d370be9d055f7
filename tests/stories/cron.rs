//! Nights with pg_cron, the real one, in both of its ways to run a job. Its clock has minutes, so one minute has to pass; all that can
//! happen at once happens in it. More nights are restarts of the server: jobs scheduled for `@reboot` begin with it.

use crate::support::cluster::{Cluster, GATE};
use crate::support::{Pair, needs, poll, readme};
use std::time::Duration;

/// Longest wait for pg_cron's next minute and what begins with it.
const A_NIGHT: Duration = Duration::from_secs(85);

/// A pair whose target has pg_cron; jobs are background workers there, or connections.
fn with_pg_cron(background_workers: &str, slots: u32) -> Pair {
    let conf = format!(
        "shared_preload_libraries = 'pg_cron'\ncron.use_background_workers = {background_workers}\n\
         max_worker_processes = {slots}"
    );
    let mut pair = Pair::with("", &conf);
    // Where this cluster's socket is, over which nobody is asked for a password, is known only now.
    let socket = pair.target.dir.display().to_string();
    pair.target.sql(&format!("ALTER SYSTEM SET cron.host = '{socket}'"));
    restart(&mut pair.target);
    pair.target.sql("CREATE EXTENSION pg_cron");
    pair
}

fn restart(cluster: &mut Cluster) {
    cluster.stop("INT");
    cluster.boot();
}

/// What the README has to say about pg_cron, as SQL: the schedule, the grants, and the statement for several tables.
fn recipes() -> [&'static str; 3] {
    readme::blocks("From pg_cron and psql", "sql")
        .try_into()
        .expect("three blocks")
}

/// A night that never comes by itself.
const NEVER: &str = "0 0 31 2 *";

fn schedule(target: &Cluster, job: &str, command: &str) {
    target.sql(&format!(
        "SELECT cron.schedule('{job}', '{NEVER}', $job${command}$job$)"
    ));
}

/// The latest outcome of a job: status, and what it returned.
fn outcome(target: &Cluster, job: &str) -> (String, String) {
    let latest = |column: &str| {
        target.text(&format!(
            "SELECT {column} FROM cron.job_run_details JOIN cron.job USING (jobid) WHERE jobname = '{job}'
             ORDER BY runid DESC LIMIT 1"
        ))
    };
    (latest("status"), latest("return_message"))
}

/// Waits until `jobs` runs have ended, all in all. In a background worker a NOTICE counts as a success until its ERROR is read (pg_cron 1.4).
fn until_ended(target: &Cluster, jobs: &str) {
    poll("the jobs have ended", A_NIGHT, || {
        target.text(
            "SELECT count(*) FROM cron.job_run_details
             WHERE status = 'failed' OR status = 'succeeded' AND COALESCE(return_message, '') !~ '^(NOTICE|WARNING): '",
        ) == jobs
    });
}

fn remembered(target: &Cluster, table: &str) -> String {
    target.text(&format!("SELECT end_tm FROM sync_table WHERE table_name = '{table}'"))
}

/// Tables of the first night, beside persons.
fn tables(pair: &Pair) {
    pair.both(
        "CREATE TABLE customers (born date) PARTITION BY RANGE (born);
         CREATE TABLE customers_old PARTITION OF customers FOR VALUES FROM (MINVALUE) TO ('2017-01-01');
         CREATE TABLE customers_new PARTITION OF customers FOR VALUES FROM ('2017-01-01') TO (MAXVALUE);
         CREATE TABLE orders (LIKE customers) PARTITION BY RANGE (born);
         CREATE TABLE orders_all PARTITION OF orders FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
         CREATE TABLE broken (i int);
         CREATE TABLE busy (i int)",
    );
    pair.source.sql(&format!(
        "INSERT INTO customers VALUES ('2016-05-05'), ('2017-05-05');
         INSERT INTO orders VALUES ('2017-01-01');
         INSERT INTO broken VALUES (0);
         CREATE VIEW gated AS SELECT g AS i FROM generate_series(1, 1) g, LATERAL (SELECT {GATE} WHERE g > 0) s",
    ));
    pair.target.sql(
        "ALTER TABLE orders ADD CONSTRAINT recent CHECK (born > '2017-01-01');
         ALTER TABLE broken ADD CONSTRAINT positive CHECK (i > 0)",
    );
}

/// One minute in which everything is scheduled at once.
fn the_first_night(pair: &Pair) {
    let target = &pair.target;
    let [nightly, _, several] = recipes();
    pair.persons(5);
    tables(pair);
    target.sql(nightly);
    target.sql(&format!("UPDATE cron.job SET schedule = '{NEVER}'"));
    schedule(target, "several", several);
    schedule(target, "broken", "SELECT * FROM cgpsync_sync('broken', '20170101')");
    let busy = "SELECT * FROM cgpsync_sync('busy', '20170101', source_table => 'gated')";
    schedule(target, "busy 1", busy);
    schedule(
        target,
        "busy 2",
        "CALL cgpsync('busy', '20170101', source_table => 'gated')",
    );
    let today = || target.text("SELECT to_char(now(), 'YYYYMMDD')");
    let evening = today();
    let gate = pair.source.close_gate();
    target.sql("UPDATE cron.job SET schedule = '* * * * *'");
    poll("every job has begun", A_NIGHT, || {
        target.text("SELECT count(*) FROM cron.job_run_details") == "5"
    });
    target.sql(&format!("UPDATE cron.job SET schedule = '{NEVER}'"));
    poll(
        "of two jobs for one table, one was not held up by the other",
        A_NIGHT,
        || target.text("SELECT count(*) FROM cgpsync_run WHERE table_name = 'busy' AND status = 'failed'") == "1",
    );
    drop(gate);
    until_ended(target, "5");

    assert_eq!(outcome(target, "nightly persons").0, "succeeded");
    pair.same_rows("persons", "true");
    let end_tm = remembered(target, "persons");
    assert!(end_tm == evening || end_tm == today(), "{end_tm}");

    let (status, message) = outcome(target, "broken");
    assert_eq!(status, "failed");
    assert!(
        message.contains("1 of 1 partitions of broken failed: broken"),
        "{message}"
    );
    assert!(message.contains("violates check constraint \"positive\""), "{message}");

    let (status, message) = outcome(target, "several");
    assert_eq!(status, "failed");
    assert!(message.contains("not synced: orders, dw.items"), "{message}");
    assert!(
        message.contains("orders: 1 of 1 partitions of orders failed: orders_all"),
        "{message}"
    );
    assert!(message.contains("dw.items: schema \"dw\" does not exist"), "{message}");
    pair.same_rows("customers", "true");
    assert_eq!(remembered(target, "orders"), "");
    two_at_once(target);
}

/// Of two jobs for one table, one did the work, and the other names it.
fn two_at_once(target: &Cluster) {
    let mut outcomes = [outcome(target, "busy 1"), outcome(target, "busy 2")];
    outcomes.sort();
    let [(lost, message), (won, _)] = outcomes;
    assert_eq!((lost.as_str(), won.as_str()), ("failed", "succeeded"));
    let run = target.text("SELECT run_id FROM cgpsync_run WHERE table_name = 'busy' AND status = 'done'");
    assert!(
        message.contains(&format!("table busy is being synced already by run {run}")),
        "{message}"
    );
}

/// Night by night the point moves on; a night that fails leaves it, and the next one catches up.
fn more_nights(pair: &mut Pair) {
    pair.target.sql(
        "CREATE TABLE calendar (day text); INSERT INTO calendar VALUES ('20170131');
         DELETE FROM sync_table; TRUNCATE persons; DELETE FROM cron.job",
    );
    let command = "SELECT * FROM cgpsync_sync('persons', (SELECT day FROM calendar))";
    pair.target
        .sql(&format!("SELECT cron.schedule('daily', '@reboot', $${command}$$)"));
    for (day, status, point, months) in [
        ("20170131", "succeeded", "20170131", "1"),
        ("20170201", "succeeded", "20170201", "2"),
        ("20170301", "failed", "20170201", "2"),
        ("20170302", "succeeded", "20170302", "3"),
    ] {
        let march = match status {
            "failed" => "ADD CONSTRAINT closed CHECK (false)",
            _ => "DROP CONSTRAINT IF EXISTS closed",
        };
        pair.target.sql(&format!(
            "UPDATE calendar SET day = '{day}'; ALTER TABLE persons_201703 {march}; DELETE FROM cron.job_run_details"
        ));
        restart(&mut pair.target);
        until_ended(&pair.target, "1");
        let (ended, message) = outcome(&pair.target, "daily");
        assert_eq!(ended, status, "{day}: {message}");
        assert_eq!(remembered(&pair.target, "persons"), point, "{day}");
        let copied = "SELECT count(DISTINCT date_trunc('month', born)) FROM persons";
        assert_eq!(pair.target.text(copied), months, "{day}");
    }
    pair.same_rows("persons", "born < '2017-04-01'");
}

/// Both ways wait for the same minute.
#[test]
fn pg_cron_runs_syncs_at_night_over_connections_and_in_background_workers() {
    if needs::lacks_module("pg_cron") {
        return;
    }
    let ways = ["off", "on"].map(|background_workers| {
        let nights = move || {
            let mut pair = with_pg_cron(background_workers, 40);
            the_first_night(&pair);
            more_nights(&mut pair);
        };
        let thread = std::thread::Builder::new().name(format!("cron.use_background_workers = {background_workers}"));
        thread.spawn(nights).expect("a thread")
    });
    for way in ways {
        way.join().expect("all is well; if not, a thread has told what is not");
    }
}

#[test]
fn three_jobs_of_a_plain_role_that_begin_together_end_well_with_the_default_number_of_slots() {
    if needs::lacks_module("pg_cron") {
        return;
    }
    let mut pair = with_pg_cron("off", 8);
    let [_, grants, _] = recipes();
    pair.source.sql("CREATE ROLE reader LOGIN PASSWORD 'r'");
    pair.persons(10);
    pair.source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader; GRANT SELECT ON persons TO loader; CREATE SCHEMA loader AUTHORIZATION loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
    pair.target.sql(grants);
    let mut loader = pair.target.connect_as("loader");
    for table in ["one", "two", "three"] {
        let sql = format!(
            "CREATE TABLE loader.{table} (LIKE persons) PARTITION BY RANGE (born);
             SELECT cron.schedule('{table}', '@reboot', $$CALL cgpsync('loader.{table}', '20171231', 5, source_table => 'persons')$$)"
        );
        loader.batch_execute(&sql).expect(table);
    }
    loader
        .batch_execute("SELECT cron.schedule_in_database('elsewhere', '0 0 31 2 *', 'SELECT 1', 'template1')")
        .expect("a job in another database");
    drop(loader);
    restart(&mut pair.target);
    until_ended(&pair.target, "3");
    for table in ["one", "two", "three"] {
        let (status, message) = outcome(&pair.target, table);
        assert_eq!(status, "succeeded", "{table}: {message}");
        assert_eq!(pair.target.text(&format!("SELECT count(*) FROM loader.{table}")), "120");
    }
}
