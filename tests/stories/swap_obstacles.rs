//! What cannot be swapped is truncated, and says why; what can be neither is TRUNCATE's error.

use crate::support::swapped::{self, PARTITIONS, ROWS};
use crate::support::{Pair, SOON, needs, poll};

const WAYS: &str =
    "SELECT DISTINCT way FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";

fn with_events(conf: &str) -> Pair {
    let pair = Pair::with("", conf);
    swapped::events(&pair);
    pair
}

/// Syncs, asserts that everything was truncated, with a NOTICE for each partition that has `reason`.
fn truncates(pair: &Pair, reason: &str) {
    let (mut client, notices) = pair.target.connect_with_notices();
    pair.sync_as(&mut client, swapped::SYNC).expect("the sync succeeds");
    assert_eq!(pair.target.list(WAYS), ["truncate"]);
    let notices = notices.lock().expect("a lock").join("\n");
    for partition in ["events_0", "events_1"] {
        let words = format!("{partition}: truncated, so that readers wait: {reason}");
        assert!(notices.contains(&words), "{notices}");
    }
    pair.same_rows("events", "true");
    refuses_to_swap(pair, reason);
}

/// Who asks for a swap and nothing else gets the reason as an error.
fn refuses_to_swap(pair: &Pair, reason: &str) {
    let before = pair.target.text("SELECT pg_relation_filepath('events_0')");
    let error = pair
        .sync(&format!("{}, replace => 'swap'", swapped::SYNC))
        .expect_err("cannot be swapped");
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains(&format!("cannot be swapped: {reason}"))),
        "{error:?}"
    );
    let hint = pair
        .target
        .text("SELECT error_hint FROM cgpsync_run_partition WHERE status = 'failed' LIMIT 1");
    assert!(hint.contains("replace => 'truncate'"), "{hint}");
    assert_eq!(pair.target.text("SELECT pg_relation_filepath('events_0')"), before);
    pair.same_rows("events", "true");
}

#[test]
fn the_argument_replace_chooses_the_way() {
    let pair = with_events("");
    for (argument, way) in [
        ("auto", "swap, pages"),
        ("swap", "swap, pages"),
        ("truncate", "truncate"),
    ] {
        swapped::advance(&pair);
        let (mut client, notices) = pair.target.connect_with_notices();
        pair.sync_as(&mut client, &format!("{}, replace => '{argument}'", swapped::SYNC))
            .expect("the sync succeeds");
        assert_eq!(pair.target.list(WAYS), [way]);
        assert!(!notices.lock().expect("a lock").join("\n").contains("truncated"));
        pair.same_rows("events", "true");
    }
    for nonsense in ["nonsense", "", "SWAP"] {
        let error = pair
            .sync(&format!("{}, replace => '{nonsense}'", swapped::SYNC))
            .expect_err("no such way");
        assert_eq!(error.code().code(), "22023");
        assert!(error.message().contains(&format!("not \"{nonsense}\"")), "{error:?}");
    }
    assert_eq!(
        pair.target
            .text("SELECT cgpsync_start('events', '19', since => '0', replace => 'truncate')"),
        "4"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_wait(4)"), "2");
    assert_eq!(pair.target.list(WAYS), ["truncate"]);
}

#[test]
fn what_test_decoding_shows_is_truncated_first() {
    if needs::lacks_module("test_decoding") {
        return;
    }
    let pair = with_events("wal_level = logical");
    swapped::replace(&pair);
    pair.target
        .sql("SELECT pg_create_logical_replication_slot('watch', 'test_decoding')");
    swapped::advance(&pair);
    truncates(&pair, "it is decoded logically");
    let stream = pair.target.list(
        "SELECT split_part(data, ':', 1) || split_part(data, ':', 2) FROM pg_logical_slot_get_changes('watch', NULL, NULL)
         WHERE data LIKE 'table public.events%'",
    );
    for partition in ["events_0", "events_1"] {
        let own: Vec<&String> = stream.iter().filter(|line| line.contains(partition)).collect();
        assert_eq!(own.len(), ROWS + 1, "{partition}");
        assert!(own[0].ends_with(" TRUNCATE"), "{}", own[0]);
        assert!(own[1..].iter().all(|line| line.ends_with(" INSERT")));
    }
    // Nobody watches any more.
    pair.target.sql("SELECT pg_drop_replication_slot('watch')");
    swapped::replace(&pair);
    // A slot of another database is no reason either.
    pair.target.sql("CREATE DATABASE elsewhere");
    pair.target
        .connect_to("elsewhere")
        .batch_execute("SELECT pg_create_logical_replication_slot('far', 'test_decoding')")
        .expect("a slot");
    swapped::replace(&pair);
}

#[test]
fn what_is_published_to_a_slot_is_truncated_first() {
    let pair = with_events("wal_level = logical");
    pair.target
        .sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput'); CREATE TABLE unlike (i int); CREATE PUBLICATION p FOR TABLE unlike");
    swapped::replace(&pair);
    let reason = "it is decoded logically, and a swap shows no TRUNCATE there";
    for publication in [
        "FOR TABLE events",
        "FOR TABLE events WITH (publish_via_partition_root)",
        "FOR TABLE events_0, events_1",
        "FOR ALL TABLES",
        "FOR ALL TABLES WITH (publish_via_partition_root)",
        "FOR TABLES IN SCHEMA public",
    ] {
        if publication.contains("SCHEMA") && swapped::major(&pair.target) < 15 {
            continue;
        }
        pair.target
            .sql(&format!("DROP PUBLICATION p; CREATE PUBLICATION p {publication}"));
        swapped::advance(&pair);
        truncates(&pair, reason);
    }
}

#[test]
fn a_subscriber_has_the_same_rows_after_every_sync() {
    let pair = with_events("wal_level = logical");
    let subscriber = &pair.source;
    pair.target.sql("CREATE PUBLICATION p FOR TABLE events");
    subscriber.sql("CREATE DATABASE copy");
    let mut client = subscriber.connect_to("copy");
    client
        .batch_execute(
            "CREATE TABLE events (id int, k int, version int, note text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
             CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (10); CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (10) TO (20)",
        )
        .expect("a table");
    client
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} user=postgres dbname=postgres' PUBLICATION p",
            pair.target.dir.display(),
            pair.target.port
        ))
        .expect("a subscription");
    for _ in 0..2 {
        swapped::advance(&pair);
        pair.copied(swapped::SYNC);
        assert_eq!(pair.target.list(WAYS), ["truncate"]);
        let version = pair.target.text("SELECT max(version) FROM events");
        let all = format!("SELECT count(*) || ' ' || count(*) FILTER (WHERE version = {version}) FROM events");
        poll("the subscriber has it", SOON, || {
            let both = (PARTITIONS * ROWS).to_string();
            swapped::ask(&mut client, &all) == format!("{both} {both}")
        });
    }
    client.batch_execute("DROP SUBSCRIPTION s").expect("the end");
}

#[test]
fn a_trigger_on_truncate_fires() {
    let pair = with_events("");
    pair.target.sql(
        "CREATE TABLE fired (t text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.fired VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
         CREATE TRIGGER t AFTER TRUNCATE ON events_0 EXECUTE FUNCTION note();
         CREATE TRIGGER t AFTER TRUNCATE ON events_1 EXECUTE FUNCTION note()",
    );
    truncates(&pair, "it has a TRUNCATE trigger");
    assert_eq!(
        pair.target.list("SELECT t FROM fired ORDER BY 1"),
        ["events_0", "events_1"]
    );
    pair.target
        .sql("ALTER TABLE events_0 DISABLE TRIGGER t; ALTER TABLE events_1 DISABLE TRIGGER t");
    swapped::replace(&pair);
    assert_eq!(pair.target.text("SELECT count(*) FROM fired"), "2");
}

#[test]
fn what_other_tables_refer_to_is_an_error_in_every_way() {
    let pair = with_events("");
    swapped::replace(&pair);
    pair.target.sql(
        "CREATE TABLE refers (id int, k int, FOREIGN KEY (id, k) REFERENCES events_0 (id, k)); INSERT INTO refers SELECT id, k FROM events_0 LIMIT 1",
    );
    let before = pair.target.text("SELECT min(version) || ' ' || count(*) FROM events_0");
    for replace in ["auto", "swap", "truncate"] {
        swapped::advance(&pair);
        let error = pair
            .sync(&format!("{}, replace => '{replace}'", swapped::SYNC))
            .expect_err("referenced");
        assert_eq!(error.code().code(), "0A000", "{replace}: {error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains("cannot truncate a table referenced in a foreign key constraint")
                && detail.contains("refers"),
            "{replace}: {detail}"
        );
        assert!(!detail.contains("events_1:"), "the other one is replaced: {detail}");
        assert_eq!(
            pair.target.text("SELECT min(version) || ' ' || count(*) FROM events_0"),
            before
        );
    }
    // An empty one that refers counts as well: it may get a row at any moment.
    pair.target.sql("TRUNCATE refers");
    pair.sync(swapped::SYNC).expect_err("still referenced");
    pair.target.sql("DROP TABLE refers");
    swapped::replace(&pair);
}
