//! What the extension keeps, and how it comes and goes.

use crate::support::Pair;
use crate::support::cluster::command;

/// Dumps the target's database with `arguments`, and restores it as another one, which is made as `database` says.
fn restore(pair: &Pair, arguments: &[&str], database: &str) {
    let (dir, port) = (pair.target.dir.display().to_string(), pair.target.port.to_string());
    let place = ["-h", &dir, "-p", &port, "-U", "postgres"];
    let dump = command("pg_dump").args(place).args(arguments).arg("postgres").output();
    let dump = dump.expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = pair.target.dir.join("dump.sql");
    std::fs::write(&file, dump.stdout).expect("a file");
    pair.target.sql(&format!("CREATE DATABASE {database}"));
    let psql = command("psql")
        .args(place)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"])
        .arg(&file)
        .output()
        .expect("psql runs");
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
}

#[test]
fn a_restore_elsewhere_keeps_history_and_points_and_goes_on_from_there() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql("CREATE SCHEMA staging; CREATE TABLE staging.t (i int)");
    pair.source.sql("CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
    pair.copied("'persons', '20170301'");
    pair.copied("'staging.t', source_table => 't'");
    // Without the schema of a synced table; and with OIDs that are other tables' there.
    restore(&pair, &["-N", "staging"], "copy");
    let there = |sql: &str| pair.target.text_in("copy", sql);
    assert_eq!(
        there("SELECT string_agg(run_id || status || table_name, ' ' ORDER BY run_id) FROM cgpsync_run"),
        "1donepersons 2donestaging.t"
    );
    assert_eq!(there("SELECT nextval('cgpsync_run_id_seq')"), "3");
    pair.target.sql_in(
        "copy",
        "CREATE USER MAPPING IF NOT EXISTS FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let due = "SELECT string_agg(partition, ' ') FROM cgpsync_plan('persons', '20170301') WHERE action = 'copy'";
    assert_eq!(
        there(due),
        "persons_201703",
        "the point is that of the table of this name"
    );
    assert_eq!(
        there("SELECT string_agg(partition, ' ') FROM cgpsync_sync('persons', '20170301')"),
        "persons_201703"
    );
    assert_eq!(
        there("SELECT string_agg(DISTINCT COALESCE(relation::regclass::text, 'none'), ' ') FROM cgpsync_run"),
        "none persons"
    );
    // A partition that was emptied since is due, as before.
    pair.target.sql_in("copy", "TRUNCATE persons_201701");
    assert_eq!(
        there("SELECT string_agg(partition, ' ' ORDER BY 1) FROM cgpsync_sync('persons', '20170301')"),
        "persons_201701 persons_201703"
    );
    // A table of the name that was dropped with its schema is another one.
    pair.target
        .sql_in("copy", "CREATE SCHEMA staging; CREATE TABLE staging.t (i int)");
    assert_eq!(
        there("SELECT rows FROM cgpsync_sync('staging.t', source_table => 't')"),
        "1"
    );
}

#[test]
fn every_object_has_a_comment() {
    let pair = Pair::new();
    let silent = pair.target.list(
        "SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cgpsync')
           AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_foreign_data_wrapper'::regclass)
           AND obj_description(d.objid, d.classid::regclass::name) IS NULL
         UNION ALL
         SELECT attrelid::regclass || '.' || attname FROM pg_attribute a JOIN pg_depend d ON d.objid = a.attrelid AND d.classid = 'pg_class'::regclass
         WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cgpsync') AND a.attnum > 0 AND NOT attisdropped
           AND col_description(attrelid, attnum) IS NULL
           AND attrelid <> 'cgpsync_run_id_seq'::regclass",
    );
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn it_works_in_a_schema_of_its_own_and_goes_without_a_trace() {
    let pair = Pair::new();
    pair.target
        .sql("DROP EXTENSION cgpsync CASCADE; CREATE SCHEMA \"Sync\"; CREATE EXTENSION cgpsync SCHEMA \"Sync\"");
    pair.create_server("src", pair.source.port);
    pair.persons(5);
    let rows = pair
        .target
        .list("SELECT partition FROM \"Sync\".cgpsync_sync('persons', '20170101')");
    assert_eq!(rows, ["persons_201701"]);
    assert_eq!(pair.target.text("SELECT end_tm FROM \"Sync\".sync_table"), "20170101");
    pair.target.sql("DROP EXTENSION cgpsync CASCADE");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM pg_class WHERE relname LIKE 'cgpsync%'"),
        "0"
    );
}

#[test]
fn nothing_is_preloaded() {
    let pair = Pair::new();
    assert_eq!(pair.target.text("SHOW shared_preload_libraries"), "");
    pair.persons(1);
    let mut client = pair.target.connect();
    pair.sync_as(&mut client, "'persons', '20170101'")
        .expect("the sync succeeds");
    // The first call has loaded the library into this session.
    let row = client.query_one("SHOW cgpsync.swap_timeout", &[]).expect("a setting");
    assert_eq!(row.get::<_, String>(0), "10min");
}
