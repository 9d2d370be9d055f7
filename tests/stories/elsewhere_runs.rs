//! Runs of a table over there: one at a time whoever calls, tried again, resumed, and aware of what others have done to it.

use crate::support::cluster::Cluster;
use crate::support::pooler::{Pooler, lacks_pooler};
use crate::support::small_disk::SmallDisk;
use crate::support::trio::Trio;
use crate::support::{SOON, poll};
use postgres::Client;

/// Somebody who reads the table over there: a run waits for him before its end.
fn held_up(trio: &Trio) -> Client {
    let mut reader = trio.there.connect();
    reader.batch_execute("BEGIN; SELECT FROM persons").expect("a reader");
    reader
}

fn until_loaded(trio: &Trio) {
    poll("it tries to lock the parent", SOON, || {
        trio.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'") != "0"
    });
}

#[test]
fn a_second_installation_is_refused_and_the_first_is_named() {
    let trio = Trio::persons(30);
    let pair = &trio.pair;
    // Another database is another installation: it shares nothing with this one but the target.
    pair.target.sql("CREATE DATABASE beside");
    pair.target.sql_in(
        "beside",
        &format!(
            "CREATE EXTENSION cgpsync;
             CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
             CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
             CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret');
             CREATE USER MAPPING FOR postgres SERVER dr OPTIONS (user 'postgres', password 'secret');
             SELECT cgpsync_attach('persons', 'dr', 'people'); SELECT cgpsync_attach('persons_201702', 'dr', 'february')",
            pair.source.port, trio.there.port
        ),
    );
    let mut reader = held_up(&trio);
    let run = pair.sync_in_background("'persons', '20170115', 1, source => 'src'");
    until_loaded(&trio);
    let holder = "SELECT pid FROM pg_stat_activity WHERE application_name = 'cgpsync run 1'";
    let holder = trio.text(holder);
    let second = |table: &str| {
        let sql =
            format!("SELECT cgpsync_sync('{table}', '20170215', source => 'src', source_table => 'public.persons')");
        let error = pair.target.connect_to("beside").batch_execute(&sql);
        error.map_err(|error| Box::new(error.as_db_error().expect("an error of the server").clone()))
    };
    // A partition of it as well.
    for table in ["people", "february"] {
        let error = second(table).expect_err("the first is on");
        assert_eq!(error.code().code(), "55006", "{error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains(&format!("process {holder} (\"cgpsync run 1\")")),
            "{detail}"
        );
    }
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(1));
    second("people").expect("nobody is in the way");
    trio.same_rows("persons", "born < '2017-03-01'");
}

#[test]
fn a_session_there_that_ends_is_replaced_and_its_partition_loaded_again() {
    let trio = Trio::persons(30);
    let pair = &trio.pair;
    let mut reader = held_up(&trio);
    let run = pair.sync_in_background("'persons', '20170215', 2, source => 'src'");
    until_loaded(&trio);
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name ";
    // The one that holds the run's lock: what is loaded waits on.
    assert_eq!(trio.text(&format!("{ended} = 'cgpsync run 1'")), "1");
    let message = "SELECT message FROM cgpsync_run";
    poll("the lock is held again", SOON, || {
        pair.target
            .text(message)
            .contains("that holds the run's lock was lost, and is replaced")
    });
    assert_eq!(pair.target.text("SELECT max(attempts) FROM cgpsync_run_partition"), "1");
    assert_eq!(trio.text(&format!("{ended} LIKE '%persons_201701\"'")), "1");
    poll("it is loaded again", SOON, || {
        pair.target.text("SELECT max(attempts) FROM cgpsync_run_partition") == "2"
    });
    reader.batch_execute("COMMIT").expect("the end");
    assert_eq!(run.join(), Ok(2));
    let message = pair.target.text(message);
    assert!(message.contains("persons_201701: attempt 1 failed"), "{message}");
    trio.same_rows("persons", "born < '2017-03-01'");
    assert_eq!(
        trio.text("SELECT count(*) FROM pg_class WHERE relname LIKE '%cgpsync%'"),
        "0"
    );
}

#[test]
fn a_failed_run_is_resumed() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    trio.there.sql("ALTER TABLE persons_201702 ADD CHECK (id < 10)");
    let error = pair
        .sync("'persons', '20170315', 2, source => 'src'")
        .expect_err("February's rows");
    assert_eq!(error.code().code(), "23514", "{error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains("server \"dr\": new row for relation \"persons_201702\"") && !detail.contains("_cgpsync"),
        "{detail}"
    );
    trio.there
        .sql("ALTER TABLE persons_201702 DROP CONSTRAINT persons_201702_id_check");
    let (units, _) = pair.told("'persons', '20170315', 2, source => 'src'");
    let skipped = |name: &str| (name.to_owned(), "skipped".to_owned());
    assert!(units.contains(&skipped("persons_201701")), "{units:?}");
    trio.same_rows("persons", "born < '2017-04-01'");
}

#[test]
fn what_is_not_what_a_run_has_left_is_copied_again() {
    let trio = Trio::persons(20);
    let pair = &trio.pair;
    assert_eq!(pair.copied("'persons', '20170315', 2, source => 'src'").len(), 3);
    assert_eq!(
        pair.copied("'persons', '20170315', 2, source => 'src'"),
        ["persons_201703"]
    );
    // As a restore of last week's backup does: another table in its place, with other rows.
    trio.there.sql(
        "CREATE TABLE old (LIKE persons_201701); DROP TABLE persons_201701; ALTER TABLE old RENAME TO persons_201701;
         ALTER TABLE persons ATTACH PARTITION persons_201701 FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         INSERT INTO persons VALUES (1, 'old', '2017-01-05'); TRUNCATE persons_201702",
    );
    let (units, notices) = pair.told("'persons', '20170315', 2, source => 'src'");
    assert_eq!(units.len(), 3, "{units:?}");
    assert!(
        notices.contains("2 closed partitions are not what a run has left there")
            && notices.contains("persons_201701, persons_201702"),
        "{notices}"
    );
    trio.same_rows("persons", "born < '2017-04-01'");
    // A table that was made anew has nothing of what is remembered.
    trio.there.sql(
        "CREATE TABLE anew (LIKE persons) PARTITION BY RANGE (born); DROP TABLE persons; ALTER TABLE anew RENAME TO persons;
         CREATE TABLE persons_2017 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-03-01')",
    );
    let (_, notices) = pair.told("'persons', '20170315', 2, source => 'src'");
    assert!(
        notices.contains("was made anew since it was synced up to \"20170315\": that is forgotten"),
        "{notices}"
    );
    trio.same_rows("persons", "born < '2017-04-01'");
}

#[test]
fn servers_that_cannot_be_written_say_why() {
    let trio = Trio::persons(5);
    let pair = &trio.pair;
    let sync = |server: &str| {
        pair.target.sql(&format!("DROP FOREIGN TABLE IF EXISTS other; CREATE FOREIGN TABLE other (id int) SERVER {server} OPTIONS (table_name 'persons')"));
        let error = pair
            .sync("'other', '20170115', source => 'src', source_table => 'persons'")
            .expect_err(server);
        (
            error.code().code().to_owned(),
            format!("{} {:?}", error.message(), error.hint()),
        )
    };
    let standby = trio.there.standby();
    pair.create_server("standby", standby.port);
    let (code, message) = sync("standby");
    assert!(
        code == "25006" && message.contains("server \"standby\" is a standby"),
        "{code} {message}"
    );
    // What is read-only by default is written, as a table of this database is.
    trio.there
        .sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
    assert_eq!(
        pair.copied("'persons', '20170115', source => 'src'"),
        ["persons_201701"]
    );
    let full = Cluster::source("max_connections = 4\nsuperuser_reserved_connections = 0");
    full.sql("CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text)");
    pair.create_server("busy", full.port);
    let others: Vec<_> = (0..4).map(|_| full.connect()).collect();
    pair.target.sql("ALTER ROLE postgres SET cgpsync.max_retries = 1");
    let (code, message) = sync("busy");
    assert!(
        code == "53300" && message.contains("server \"busy\""),
        "{code} {message}"
    );
    drop(others);
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER busy OPTIONS (SET password 'wrong')");
    let (code, message) = sync("busy");
    assert!(
        code == "28P01" && message.contains("server \"busy\""),
        "{code} {message}"
    );
}

#[test]
fn a_pooler_that_shares_out_its_connections_is_refused() {
    if lacks_pooler() {
        return;
    }
    let trio = Trio::persons(5);
    let pair = &trio.pair;
    // Between us and the target, and between us and the source.
    for (server, mode, more, works) in [
        ("dr", "transaction", "", false),
        ("src", "transaction", "", false),
        ("src", "transaction", "server_round_robin = 0", false),
        ("dr", "session", "", true),
        ("src", "session", "", true),
    ] {
        let behind = if server == "dr" { &trio.there } else { &pair.source };
        let pooler = Pooler::start(behind, mode, more);
        let dial = |port: u16| {
            pair.target
                .sql(&format!("ALTER SERVER {server} OPTIONS (SET port '{port}')"));
        };
        dial(pooler.port);
        // The pool has more connections than one.
        let mut others: Vec<_> = (0..3).map(|_| pooler.connect("postgres", "secret")).collect();
        for sql in ["BEGIN", "COMMIT"] {
            for other in &mut others {
                other.batch_execute(sql).expect("a transaction");
            }
        }
        drop(others);
        let until = if server == "dr" { "20170115" } else { "20170215" };
        let result = pair.sync(&format!("'persons', '{until}', 2, source => 'src'"));
        if server == "src" {
            let plan = format!("SELECT * FROM cgpsync_plan('persons', '{until}', source => 'src')");
            let planned = pair.target.connect().simple_query(&plan);
            assert_eq!(planned.is_ok(), works, "{mode} {more} {planned:?}");
        }
        match works {
            true => assert!(!result.expect("a sync").is_empty()),
            false => {
                let error = result.expect_err("sessions are none");
                let text = format!("{} {}", error.message(), error.detail().unwrap_or_default());
                assert_eq!(error.code().code(), "0A000", "{error:?}");
                assert!(
                    text.contains(&format!("server \"{server}\"")) && text.contains("A pooler shares out"),
                    "{text}"
                );
            }
        }
        dial(behind.port);
        drop(pooler);
    }
    trio.same_rows("persons", "born < '2017-03-01'");
}

#[test]
fn foreign_tables_of_other_wrappers_serve_as_well() {
    let trio = Trio::persons(5);
    let pair = &trio.pair;
    if pair
        .target
        .text("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'")
        == "0"
    {
        return;
    }
    pair.target.sql(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres', fetch_size '10');
         CREATE USER MAPPING FOR postgres SERVER there OPTIONS (user 'postgres', password 'secret');
         SELECT cgpsync_attach('persons', 'there', 'people')",
        trio.there.port
    ));
    assert_eq!(
        pair.copied("'people', '20170115', source => 'src', source_table => 'persons'"),
        ["persons_201701"]
    );
    // And it can be queried here. dblink's tables have no options.
    assert_eq!(
        pair.target.text("SELECT count(*) || ' ' || max(name) FROM people"),
        "5 name 5"
    );
}

#[test]
fn a_full_disk_over_there_leaves_the_partition_as_it_was() {
    let trio = Trio::persons(13_000);
    let pair = &trio.pair;
    let disk = match SmallDisk::mount(trio.there.dir.with_extension("small")) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: no small file system can be mounted: {reason}"),
    };
    trio.there
        .sql(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.dir.display()));
    trio.there.sql("ALTER TABLE persons_201701 SET TABLESPACE small");
    let sync = "'persons', '20170131', source => 'src', since => '20170101'";
    assert_eq!(pair.copied(sync), ["persons_201701"]);
    pair.source.sql("UPDATE persons SET note = 'changed'");
    // There is no room for the old rows and the new ones.
    let error = pair.sync(sync).expect_err("the disk is full");
    assert_eq!(error.code().code(), "53100", "{error:?}");
    assert!(
        error.detail().is_some_and(|detail| detail.contains("server \"dr\"")),
        "{error:?}"
    );
    assert_eq!(
        trio.text("SELECT count(*) FROM persons WHERE note <> 'changed'"),
        "13000"
    );
    assert_eq!(
        trio.text("SELECT count(*) FROM pg_class WHERE relname LIKE '%cgpsync%'"),
        "0"
    );
    trio.there.sql("ALTER TABLE persons_201701 SET TABLESPACE pg_default");
    trio.there.sql("DROP TABLESPACE small");
    assert_eq!(pair.copied(sync), ["persons_201701"]);
    trio.same_rows("persons", "born < '2017-02-01'");
}
