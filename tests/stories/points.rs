//! The remembered point: what it means, in which form it is kept, and that it never runs ahead of the source.

use crate::support::{Pair, SOON, needs, poll};

/// Hourly partitions of `h` from 22:00 UTC of the last day of February 2017 on, and a row in each but the last five.
fn hours(pair: &Pair) {
    pair.both("CREATE TABLE h (ts timestamptz, v int) PARTITION BY RANGE (ts)");
    pair.both(
        "DO $$ DECLARE at timestamptz := '2017-02-28 22:00+00'; BEGIN
           FOR i IN 0..30 LOOP
             EXECUTE format('CREATE TABLE h_%s PARTITION OF h FOR VALUES FROM (%L) TO (%L)', i, at + i * interval '1 hour',
                            at + (i + 1) * interval '1 hour');
           END LOOP; END $$",
    );
    pair.source
        .sql("INSERT INTO h SELECT timestamptz '2017-02-28 22:30+00' + g * interval '1 hour', g FROM generate_series(0, 25) g");
}

#[test]
fn an_instant_is_remembered_whatever_time_zones_the_roles_have() {
    let pair = Pair::new();
    hours(&pair);
    pair.target.sql(
        "CREATE ROLE eu LOGIN SUPERUSER; ALTER ROLE eu SET timezone = 'UTC';
         CREATE ROLE us LOGIN SUPERUSER; ALTER ROLE us SET timezone = 'America/New_York';
         CREATE USER MAPPING FOR eu SERVER src OPTIONS (user 'postgres', password 'secret');
         CREATE USER MAPPING FOR us SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let as_role = |role: &str, arguments: &str| {
        let mut client = pair.target.connect_as(role);
        pair.sync_as(&mut client, arguments).expect("the sync succeeds").len()
    };
    assert_eq!(as_role("eu", "'h', '20170301'"), 3);
    assert_eq!(pair.remembered("h"), "2017-03-01 00:00:00+00");
    as_role("us", "'h', '20170303'");
    assert_eq!(pair.remembered("h"), "2017-03-03 05:00:00+00");
    pair.same_rows("h", "true");
}

#[test]
fn bare_digits_of_before_mean_the_earliest_instant() {
    let pair = Pair::new();
    hours(&pair);
    pair.copied("'h', '20170303'");
    pair.target.sql(
        "UPDATE sync_table SET end_tm = '20170301'; UPDATE cgpsync_run SET end_tm = '20170301', remembered = NULL",
    );
    // In New York that was 05:00 UTC, in Kiritimati 10:00 of the day before: all of these come again.
    assert_eq!(pair.copied("'h', '2017-03-01 06:30+00'").len(), 9);
    assert_eq!(pair.remembered("h"), "2017-03-01 06:30:00+00");
}

#[test]
fn days_are_remembered_as_digits_and_others_as_their_type_prints() {
    let pair = Pair::new();
    let keys = [
        ("date", "2017", "20171231"),
        ("date", "2017-02-03", "20170203"),
        ("timestamp", "201702", "2017-02-28 23:59:59.999999"),
        ("timestamptz", "2017-02-01 12:00+02", "2017-02-01 10:00:00+00"),
        ("text", "201702", "20170228"),
        ("varchar(8)", "2017-02-03", "20170203"),
        ("int", "2017", "20171231"),
        ("char(10)", "20170203", "20170203"),
        ("numeric", "20170203.50", "20170203.50"),
    ];
    for (at, (key, end, form)) in keys.iter().enumerate() {
        let table = format!("t{at}");
        pair.both(&format!(
            "CREATE TABLE {table} (k {key}) PARTITION BY RANGE (k);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM ('20170101') TO ('20180101')"
        ));
        assert_eq!(pair.copied(&format!("'{table}', '{end}'")).len(), 1, "{key} {end}");
        assert_eq!(pair.remembered(&table), *form, "{key} {end}");
        // What is remembered is read again as what it was.
        pair.copied(&format!("'{table}', '{end}'"));
        assert_eq!(pair.remembered(&table), *form, "{key} {end}");
    }
}

#[test]
fn words_become_the_day_they_mean_and_are_refused_where_there_are_no_days() {
    let pair = Pair::new();
    for (table, key, bounds) in [
        ("days", "text", "FROM ('20170101') TO ('99999999')"),
        ("numbers", "int", "FROM (0) TO (99999999)"),
        ("words", "text", "FROM ('a') TO ('zz')"),
        ("small", "int", "FROM (1) TO (100)"),
    ] {
        pair.both(&format!(
            "CREATE TABLE {table} (k {key}, v int) PARTITION BY RANGE (k);
             CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES {bounds}"
        ));
    }
    pair.both("CREATE TABLE numbers_2 PARTITION OF numbers FOR VALUES FROM (99999999) TO (MAXVALUE)");
    let days = || {
        let days = "SELECT to_char(current_date - 1, 'YYYYMMDD')";
        (pair.target.text(days), pair.remembered("days"))
    };
    // Midnight may come in between.
    let before = days().0;
    pair.copied("'days', 'Yesterday'");
    let (after, stored) = days();
    assert!(stored == before || stored == after, "{stored}");
    for arguments in [
        "'days', 'infinity'",
        "'words', 'tomorrow'",
        "'small', 'today'",
        "'words', ' NOW '",
    ] {
        let error = pair.sync(arguments).expect_err("no day");
        assert_eq!(error.code().code(), "22023", "{arguments}: {error:?}");
    }
    assert_eq!(pair.remembered("words"), "");
    // A word is no day of a table without a key either.
    pair.both("CREATE TABLE whole (v int)");
    pair.copied("'whole', 'yesterday'");
    assert!(
        pair.remembered("whole").starts_with("20"),
        "{}",
        pair.remembered("whole")
    );
}

#[test]
fn a_sentinel_among_the_bounds_does_not_make_dates_numbers() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE k (k int, v int) PARTITION BY RANGE (k);
         CREATE TABLE k_1 PARTITION OF k FOR VALUES FROM (20170101) TO (20170201);
         CREATE TABLE k_x PARTITION OF k FOR VALUES FROM (20170201) TO (99999999)",
    );
    pair.source.sql("INSERT INTO k VALUES (20170105, 1), (20170205, 2)");
    assert_eq!(pair.copied("'k', '201702'"), ["k_1", "k_x"]);
    assert_eq!(pair.remembered("k"), "20170228");
    pair.same_rows("k", "true");
}

#[test]
fn where_there_is_no_partition_yet_the_sources_bounds_say_what_a_year_is() {
    let pair = Pair::new();
    pair.both("CREATE TABLE k (k text, l text, v int) PARTITION BY LIST (l)");
    pair.both("CREATE TABLE k_a PARTITION OF k FOR VALUES IN ('a') PARTITION BY RANGE (k)");
    pair.source.sql(
        "CREATE TABLE k_a_1 PARTITION OF k_a FOR VALUES FROM ('20170101') TO ('20170201');
         INSERT INTO k VALUES ('20170105', 'a', 1)",
    );
    assert_eq!(pair.copied("'k', '2017'"), ["k_a_1"]);
    assert_eq!(pair.remembered("k"), "20171231");
    pair.same_rows("k", "true");
}

/// `p`, partitioned by days: from the day before yesterday to the day after tomorrow.
fn days(pair: &Pair, key: &str) {
    pair.both(&format!("CREATE TABLE p (k {key}, v int) PARTITION BY RANGE (k)"));
    pair.both(
        "DO $$ BEGIN
           FOR i IN -2..2 LOOP
             EXECUTE format('CREATE TABLE p_%s PARTITION OF p FOR VALUES FROM (%L) TO (%L)', i + 2, current_date + i, current_date + i + 1);
           END LOOP; END $$",
    );
}

#[test]
fn a_far_end_does_not_close_what_is_still_being_filled() {
    for (key, ends) in [
        ("date", ["infinity", "99991231", "2099"]),
        ("timestamp", ["infinity", "99991231", "209901"]),
        ("timestamptz", ["infinity", "99991231", "tomorrow"]),
    ] {
        let pair = Pair::new();
        days(&pair, key);
        let (mut client, notices) = pair.target.connect_with_notices();
        for (at, end) in ends.into_iter().enumerate() {
            notices.lock().expect("a lock").clear();
            let begun = pair.source.text("SELECT now()");
            pair.sync_as(&mut client, &format!("'p', '{end}'"))
                .expect("the sync succeeds");
            let text = pair.remembered("p");
            let in_time = format!("SELECT '{text}'::{key} BETWEEN '{begun}'::timestamptz::{key} AND now()::{key}");
            assert_eq!(pair.target.text(&in_time), "t", "{key} {end}: {text}");
            let said = notices.lock().expect("a lock").join("\n");
            let expected = format!("lies after the source's present: {text} is remembered");
            assert!(said.contains(&expected), "{key} {end}: {said}");
            // Rows come to the current period, and partitions to come.
            pair.source.sql(&format!("INSERT INTO p SELECT now()::{key}, {at}"));
            pair.sync_as(&mut client, "'p'")
                .expect("without an end there is no step back");
            pair.same_rows("p", "true");
        }
        let new = "CREATE TABLE p_new PARTITION OF p FOR VALUES FROM (date 'today' + 3) TO (date 'today' + 4)";
        pair.source.sql(&new.replace("date 'today'", "current_date"));
    }
}

#[test]
fn times_in_other_forms_are_not_closed_before_their_time_either() {
    let pair = Pair::new();
    for (key, format, unit) in [
        ("numeric(8,0)", "YYYYMMDD", "1 day"),
        ("name", "YYYYMMDD", "1 day"),
        ("text", "YYYY-MM-DD", "1 day"),
        ("int", "YYYYMM", "1 month"),
        ("bigint", "YYYYMMDDHH24", "1 hour"),
        ("char(14)", "YYYYMMDDHH24MISS", "1 hour"),
    ] {
        pair.both("DROP TABLE IF EXISTS p");
        pair.both(&format!("CREATE TABLE p (k {key}, v int) PARTITION BY RANGE (k)"));
        let at = |steps: i32| format!("to_char(date_trunc('hour', now()) + {steps} * interval '{unit}', '{format}')");
        let create = format!(
            "DO $$ BEGIN
               EXECUTE format('CREATE TABLE p_0 PARTITION OF p FOR VALUES FROM (%L) TO (%L)', {}, {});
               EXECUTE format('CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (%L) TO (%L)', {}, {});
             END $$",
            at(-1),
            at(0),
            at(0),
            at(2)
        );
        pair.both(&create);
        let insert = format!("INSERT INTO p SELECT ({})::{key}, 1", at(0));
        pair.source.sql(&insert);
        let end = pair.target.text(&format!("SELECT {}", at(1)));
        pair.copied(&format!("'p', '{end}'"));
        assert!(pair.remembered("p") < end, "{key} {format}: {}", pair.remembered("p"));
        pair.source.sql(&insert);
        pair.copied(&format!("'p', '{end}'"));
        pair.same_rows("p", "true");
    }
}

#[test]
fn a_point_from_before_the_bounds_told_days_is_no_later_than_its_run() {
    let pair = Pair::new();
    pair.source.sql("CREATE TABLE p (k int, v int)");
    pair.target
        .sql("CREATE TABLE p (k int, v int) PARTITION BY RANGE (k); CREATE TABLE p_d PARTITION OF p DEFAULT");
    let insert = "INSERT INTO p VALUES (to_char(current_date, 'YYYYMMDD')::int, 1)";
    pair.source.sql(insert);
    // Nothing says yet that these numbers are days.
    pair.copied("'p', '20991231'");
    assert_eq!(pair.remembered("p"), "20991231");
    pair.target.sql(
        "DROP TABLE p_d;
         DO $$ BEGIN EXECUTE format('CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (%L) TO (%L)', to_char(current_date - 40, 'YYYYMMDD'),
                                    to_char(current_date + 3, 'YYYYMMDD')); END $$",
    );
    pair.copied("'p'");
    pair.source.sql(insert);
    pair.copied("'p'");
    pair.same_rows("p", "true");
    assert!(pair.remembered("p").as_str() < "20990101");
}

#[test]
fn a_point_that_ran_ahead_counts_as_the_start_of_its_run() {
    let pair = Pair::new();
    days(&pair, "date");
    pair.copied("'p', 'infinity'");
    // As 0.2.0 left it.
    pair.target.sql(
        "UPDATE sync_table SET end_tm = '99991231';
         UPDATE cgpsync_run SET end_tm = '99991231', remembered = NULL, point = NULL",
    );
    pair.source.sql("INSERT INTO p VALUES (current_date, 1)");
    pair.copied("'p'");
    pair.same_rows("p", "true");
    assert_ne!(pair.remembered("p"), "99991231");
    // Of several runs with that point the first one closed what came after it.
    pair.target.sql(
        "UPDATE sync_table SET end_tm = '99991231';
         UPDATE cgpsync_run SET end_tm = '99991231', remembered = NULL, point = NULL;
         UPDATE cgpsync_run SET started_at = started_at - interval '1 day' WHERE run_id = (SELECT min(run_id) FROM cgpsync_run)",
    );
    pair.source.sql("INSERT INTO p VALUES (current_date - 1, 3)");
    pair.copied("'p'");
    pair.same_rows("p", "true");
    // One that no run has left is no later than now.
    pair.target
        .sql("DELETE FROM cgpsync_run; UPDATE sync_table SET end_tm = '20991231'");
    pair.source.sql("INSERT INTO p VALUES (current_date, 2)");
    pair.copied("'p'");
    pair.same_rows("p", "true");
}

#[test]
fn a_failed_run_with_a_far_end_closes_nothing_either() {
    let pair = Pair::new();
    days(&pair, "date");
    pair.target
        .sql("ALTER TABLE p_0 ADD CONSTRAINT forbidden CHECK (v < 0); ALTER TABLE p_2 ADD CHECK (v IS NOT NULL)");
    pair.source
        .sql("INSERT INTO p VALUES (current_date - 2, 1), (current_date, 1)");
    pair.sync("'p', 'infinity'").expect_err("a CHECK fails");
    pair.target.sql("ALTER TABLE p_0 DROP CONSTRAINT forbidden");
    pair.source.sql("INSERT INTO p VALUES (current_date, 2)");
    let copied = pair.copied("'p', 'infinity'");
    assert!(
        copied.contains(&"p_2".to_owned()) && !copied.contains(&"p_1".to_owned()),
        "{copied:?}"
    );
    pair.same_rows("p", "true");
}

#[test]
fn today_is_the_roles_and_not_the_sessions() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE d (d date) PARTITION BY RANGE (d); CREATE TABLE d_1 PARTITION OF d FOR VALUES FROM ('2017-01-01') TO ('2099-01-01')",
    );
    // Zones in which it is never the same day.
    pair.target.sql("ALTER ROLE postgres SET timezone = 'Etc/GMT+12'");
    let today = "SELECT to_char(now() AT TIME ZONE 'Etc/GMT+12', 'YYYYMMDD')";
    let mut client = pair.target.connect();
    client
        .batch_execute("SET timezone = 'Pacific/Kiritimati'")
        .expect("a setting");
    let before = pair.target.text(today);
    pair.sync_as(&mut client, "'d'").expect("the sync succeeds");
    let stored = pair.remembered("d");
    assert!(
        stored == before || stored == pair.target.text(today),
        "{stored} is not {before}"
    );
    // A client's own zone at the start of its session is the session's as well.
    let mut config = pair.target.config();
    config.options("-c timezone=Pacific/Kiritimati");
    let mut client = config.connect(postgres::NoTls).expect("a session");
    pair.sync_as(&mut client, "'d'").expect("the sync succeeds");
    let ends: Vec<String> = client
        .query("SELECT DISTINCT reason FROM cgpsync_plan('d')", &[])
        .expect("a plan")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let today = pair.target.text(today);
    assert!(
        ends.iter().all(|reason| reason.contains(&today)),
        "{ends:?}, today is {today}"
    );
}

#[test]
fn the_earlier_of_both_sides_days_is_the_present() {
    let pair = Pair::new();
    days(&pair, "date");
    pair.source.sql("ALTER ROLE postgres SET timezone = 'Etc/GMT+12'");
    pair.target
        .sql("ALTER ROLE postgres SET timezone = 'Pacific/Kiritimati'");
    let today = "SELECT to_char(now() AT TIME ZONE 'Etc/GMT+12', 'YYYYMMDD')";
    let before = pair.source.text(today);
    pair.copied("'p', 'infinity'");
    let stored = pair.remembered("p");
    assert!(
        stored == before || stored == pair.source.text(today),
        "{stored} is not {before}"
    );
}

#[test]
fn a_standby_that_lags_warns_and_holds_the_point_back() {
    let mut pair = Pair::new();
    days(&pair, "timestamptz");
    let standby = pair.source.standby();
    pair.source.sql("INSERT INTO p VALUES (now(), 1)");
    poll("the standby has it", SOON, || {
        standby.text("SELECT count(*) FROM p") == "1"
    });
    pair.target
        .sql(&format!("ALTER SERVER src OPTIONS (SET port '{}')", standby.port));
    let (mut client, notices) = pair.target.connect_with_notices();
    poll("it does not lag", SOON, || {
        standby.text("SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() FROM pg_stat_wal_receiver WHERE status = 'streaming'")
            == "t"
    });
    pair.sync_as(&mut client, "'p', 'now'").expect("a standby is a source");
    let said = || notices.lock().expect("a lock").join("\n");
    assert!(!said().contains("lags"), "{}", said());
    standby.sql("SELECT pg_wal_replay_pause()");
    poll("it is paused", SOON, || {
        standby.text("SELECT pg_get_wal_replay_pause_state()") == "paused"
    });
    let replayed = standby.text("SELECT pg_last_xact_replay_timestamp()");
    pair.target.sql("DELETE FROM sync_table");
    pair.source.sql("INSERT INTO p VALUES (now(), 2)");
    poll("it has received more", SOON, || {
        standby.text("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()") == "t"
    });
    pair.sync_as(&mut client, "'p', 'now'").expect("a standby is a source");
    assert!(
        said().contains("the source is a standby that lags: it has received") && said().contains("has replayed"),
        "{}",
        said()
    );
    let plan = client.simple_query("SELECT * FROM cgpsync_plan('p', 'now')");
    assert!(
        plan.is_ok() && said().matches("standby that lags").count() == 2,
        "{}",
        said()
    );
    let point = pair.remembered("p");
    assert_eq!(
        pair.target
            .text(&format!("SELECT '{point}'::timestamptz <= '{replayed}'::timestamptz")),
        "t"
    );
    standby.sql("SELECT pg_wal_replay_resume()");
    poll("the standby has it", SOON, || {
        standby.text("SELECT count(*) FROM p") == "2"
    });
    pair.copied("'p', 'now'");
    pair.same_rows("p", "true");
    // One whose primary is gone has all it has received, and gets nothing.
    let replayed = standby.text("SELECT pg_last_xact_replay_timestamp()");
    pair.target.sql("DELETE FROM sync_table");
    pair.source.stop("INT");
    poll("it receives nothing", SOON, || {
        standby.text("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    pair.sync_as(&mut client, "'p', 'now'").expect("a standby is a source");
    assert!(said().contains("lags: it receives nothing now"), "{}", said());
    let point = pair.remembered("p");
    assert_eq!(
        pair.target
            .text(&format!("SELECT '{point}'::timestamptz <= '{replayed}'::timestamptz")),
        "t"
    );
}

#[test]
fn a_source_of_unlike_order_of_digits_is_synced_by_a_point_in_digits() {
    let pair = Pair::new();
    if needs::lacks_icu(&[&pair.source, &pair.target]) {
        return;
    }
    pair.source.sql(
        "CREATE TABLE c (id int, k varchar(8) COLLATE \"en-US-x-icu\" NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE c_1 PARTITION OF c FOR VALUES FROM ('20170101') TO ('20170201');
         CREATE TABLE c_2 PARTITION OF c FOR VALUES FROM ('20170201') TO ('20170301');
         INSERT INTO c SELECT g, to_char(date '2017-01-01' + g % 59, 'YYYYMMDD') FROM generate_series(1, 590) g",
    );
    pair.target.sql(
        "CREATE TABLE c (id int, k varchar(8) COLLATE \"C\" NOT NULL) PARTITION BY RANGE (k);
         CREATE TABLE c_1 PARTITION OF c FOR VALUES FROM ('20170101') TO ('20170201')",
    );
    assert_eq!(pair.copied("'c', '201702'"), ["c_1", "c_2"]);
    assert_eq!(pair.remembered("c"), "20170228");
    pair.same_rows("c", "true");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_run_partition WHERE source_filter IS NOT NULL"),
        "0"
    );
}
