//! A worker's memory does not grow with what it copies.

use crate::support::Pair;
use std::time::Duration;

/// The highest private memory of any worker while `run` goes on, in kB.
fn peak_of_workers(pair: &Pair, arguments: &str) -> u64 {
    let run = pair.sync_in_background(arguments);
    let mut client = pair.target.connect();
    let mut peak = 0;
    loop {
        let row = client.query_one("SELECT count(finished_at) FROM cgpsync_run", &[]);
        if row.expect("a count").get::<_, i64>(0) > 0 || run.is_finished() {
            break;
        }
        let rows = client.query(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync worker'",
            &[],
        );
        for row in rows.expect("pids") {
            let pid: i32 = row.get(0);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
            let kb = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(kb.unwrap_or(0));
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    run.join().expect("the sync succeeds");
    peak
}

#[test]
fn two_gigabytes_pass_through_a_few_megabytes() {
    let pair = Pair::with(
        "wal_level = minimal\nmax_wal_senders = 0",
        "wal_level = minimal\nmax_wal_senders = 0",
    );
    pair.both("CREATE TABLE big (i int, t text)");
    // STORAGE EXTERNAL and values of 4 kB: no time is lost in compressing them.
    pair.source.sql(
        "BEGIN; ALTER TABLE big ALTER t SET STORAGE EXTERNAL; TRUNCATE big;
         INSERT INTO big SELECT g, repeat('0123456789abcdef', 256) FROM generate_series(1, 500000) g; COMMIT",
    );
    pair.target.sql("ALTER TABLE big ALTER t SET STORAGE EXTERNAL");
    let peak = peak_of_workers(&pair, "'big', '20170101'");
    assert_eq!(
        pair.target
            .text("SELECT count(*) || ' ' || sum(length(t)::bigint) FROM big"),
        "500000 2048000000"
    );
    println!("peak private memory of the worker: {peak} kB");
    assert!(peak > 0 && peak < 64 * 1024, "{peak} kB");
}

#[test]
fn a_value_of_a_hundred_megabytes_costs_a_few_times_itself() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int, b bytea); ALTER TABLE t ALTER b SET STORAGE EXTERNAL");
    pair.source
        .sql("INSERT INTO t SELECT 1, decode(repeat('00112233445566778899aabbccddeeff', 6553600), 'hex')");
    let peak = peak_of_workers(&pair, "'t', '20170101'");
    pair.same("SELECT length(b) || md5(b) FROM t");
    println!("peak private memory of the worker: {peak} kB");
    // COPY itself holds the field and the datum.
    assert!(peak > 0 && peak < 400 * 1024, "{peak} kB");
}
