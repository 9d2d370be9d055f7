//! Every example of the README runs: here, or in the story that is about the same thing.

use crate::support::trio::Trio;
use crate::support::{Pair, readme};

/// Blocks that other stories run, and how many of each language: psql.rs, cron.rs, config.rs, the last here below; commands of this project are what
/// CI runs.
const ELSEWHERE: &[(&str, &str, usize)] = &[
    ("Two commands", "sh", 1),
    ("A target that cannot load extensions", "sql", 1),
    ("From pg_cron and psql", "sql", 3),
    ("From pg_cron and psql", "sh", 1),
    ("Coming from the old command-line tool", "sql", 1),
    ("Coming from the old command-line tool", "sh", 2),
];
/// The block of its section, from 0, that psql.rs runs.
const WATCHING: (&str, usize) = ("At night: start, watch, cancel", 1);
/// The one that needs a target on another server.
const BETWEEN: (&str, usize) = ("Recipes", 0);

/// A source with `persons` and `dw.persons`, read by reader; a target with nothing.
fn scene() -> Pair {
    let pair = Pair::new();
    pair.persons(20);
    pair.target
        .sql("DROP EXTENSION cgpsync CASCADE; DROP TABLE persons; CREATE SCHEMA stage");
    pair.source.sql(
        "CREATE ROLE reader LOGIN PASSWORD 'secret'; CREATE SCHEMA dw; GRANT USAGE ON SCHEMA dw TO reader;
         CREATE TABLE dw.persons (LIKE public.persons); GRANT SELECT ON persons, dw.persons TO reader",
    );
    pair
}

/// What psql prints when it is given the block as it stands, but for names of machines, the password, and the number of a run.
fn type_in(pair: &Pair, block: &str, run: &str) -> String {
    let script = block
        .replace("(42", &format!("({run}"))
        .replace("source.example", "127.0.0.1")
        .replace("'5432'", &format!("'{}'", pair.source.port))
        .replace("dbname 'dw'", "dbname 'postgres'")
        .replace("'…'", "'secret'");
    let file = pair.target.dir.join("block.sql");
    std::fs::write(&file, script).expect("a file");
    let psql = format!("psql -X -q -At -v ON_ERROR_STOP=1 -f '{}'", file.display());
    let output = readme::sh(&pair.target, "postgres", &psql).output().expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{block}\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_example_is_run_by_some_story() {
    for (section, language, count) in ELSEWHERE {
        assert_eq!(readme::blocks(section, language).len(), *count, "{section}");
    }
    assert_eq!(
        readme::examples().filter(|(_, language, _)| *language == "sh").count(),
        4
    );

    let pair = scene();
    let mut run = 0;
    let start = readme::blocks("Start with your own servers", "sql")[0];
    type_in(&pair, start, "");
    pair.same_rows("persons", "born < '2017-03-01'");
    let mut seen = 0;
    let mut last_section = "";
    for (section, language, block) in readme::examples() {
        seen = if section == last_section && language == "sql" {
            seen + 1
        } else {
            0
        };
        last_section = section;
        let is_elsewhere = ELSEWHERE
            .iter()
            .any(|(of, in_language, _)| *of == section && *in_language == language);
        if language != "sql" || is_elsewhere || block == start || [WATCHING, BETWEEN].contains(&(section, seen)) {
            continue;
        }
        if block.contains("cgpsync_create_table('persons')") {
            pair.target.sql("DROP TABLE persons");
        }
        if block.contains("cgpsync_wait(42)") {
            let (begin, rest) = block.split_once('\n').expect("more lines");
            type_in(&pair, begin, "");
            let id = pair.target.text("SELECT max(run_id) FROM cgpsync_run");
            type_in(&pair, rest, &id);
        } else {
            type_in(&pair, block, "");
        }
        run += 1;
    }
    assert!(run >= 8, "{run}");
    // What the recipe for a first load has left.
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_run WHERE status <> 'done'"),
        "0"
    );
}

/// `persons` on a source, read by reader, and on a target, owned by loader; between them a server with nothing.
fn both_ends() -> Trio {
    let trio = Trio::persons(20);
    trio.pair.target.sql("DROP EXTENSION cgpsync CASCADE");
    trio.pair
        .source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'secret'; GRANT SELECT ON persons TO reader");
    trio.there.sql(
        "CREATE ROLE loader LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO loader;
         DO $$ DECLARE t text; BEGIN
           FOR t IN SELECT c.oid::regclass FROM pg_class c WHERE c.relname LIKE 'persons%' AND c.relkind IN ('r', 'p') LOOP
             EXECUTE format('ALTER TABLE %s OWNER TO loader', t);
           END LOOP; END $$",
    );
    trio
}

/// Asserts that it is synced up to February, by exchange.
fn is_synced(trio: &Trio) {
    assert_eq!(trio.pair.remembered("persons"), "20170201");
    trio.same_rows("persons", "born < '2017-03-01'");
    assert_eq!(
        trio.pair
            .target
            .text("SELECT string_agg(DISTINCT way, ',') FROM cgpsync_run_partition"),
        "exchange"
    );
}

/// A PostgreSQL plays the Greenplums: the lines are the same.
#[test]
fn the_first_recipe_leads_from_nothing_to_a_sync() {
    let trio = both_ends();
    let pair = &trio.pair;
    let (section, at) = BETWEEN;
    let block = readme::blocks(section, "sql")[at];
    assert!(block.lines().count() <= 10, "{block}");
    let script = block
        .replace(
            "'prod-coordinator.example'",
            &format!("'127.0.0.1', port '{}'", pair.source.port),
        )
        .replace(
            "'dr-coordinator.example'",
            &format!("'127.0.0.1', port '{}'", trio.there.port),
        );
    type_in(pair, &script, "");
    is_synced(&trio);
}

#[test]
fn an_old_config_brings_both_ends() {
    let trio = both_ends();
    let pair = &trio.pair;
    pair.target.sql("CREATE EXTENSION cgpsync");
    let config = format!(
        r#"{{"host": "127.0.0.1", "port": {}, "dbname": "postgres", "user": "reader", "password": "secret",
            "destination_host": "127.0.0.1", "destination_port": {}, "destination_dbname": "postgres",
            "destination_user": "loader", "destination_password": "secret"}}"#,
        pair.source.port, trio.there.port
    );
    let place = pair.target.dir.with_extension("old-tool");
    std::fs::create_dir_all(&place).expect("a directory");
    std::fs::write(place.join("config.json"), config).expect("a file");
    let block = readme::blocks("Coming from the old command-line tool", "sh")[1];
    let mut psql = readme::sh(&pair.target, "postgres", block);
    let output = psql.current_dir(&place).output().expect("sh runs");
    std::fs::remove_dir_all(&place).expect("the directory goes");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What the old tool has copied, and how far it came.
    trio.there
        .sql("INSERT INTO persons SELECT 1, 'old', m, '' FROM generate_series(timestamp '2017-01-01', '2017-12-01', '1 month') m");
    pair.target.sql("INSERT INTO sync_table VALUES ('persons', '20170131')");
    assert_eq!(
        pair.copied("'persons', '20170201', source => 'prod'"),
        ["persons_201701", "persons_201702"]
    );
    is_synced(&trio);
}
