//! What the extension keeps, and how it comes and goes.

use crate::support::Pair;
use crate::support::cluster::command;

#[test]
fn dump_and_restore_keep_history_and_watermarks() {
    let pair = Pair::new();
    pair.persons(5);
    pair.copied("'persons', '20170201'");
    let dump = command("pg_dump")
        .args([
            "-h",
            &pair.target.dir.display().to_string(),
            "-p",
            &pair.target.port.to_string(),
            "-U",
            "postgres",
            "postgres",
        ])
        .output()
        .expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = pair.target.dir.join("dump.sql");
    std::fs::write(&file, dump.stdout).expect("a file");
    pair.target.sql("CREATE DATABASE copy");
    let restore = command("psql")
        .args([
            "-h",
            &pair.target.dir.display().to_string(),
            "-p",
            &pair.target.port.to_string(),
            "-U",
            "postgres",
        ])
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "copy", "-f"])
        .arg(&file)
        .output()
        .expect("psql runs");
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    let shown = command("psql")
        .args(["-h", &pair.target.dir.display().to_string(), "-p", &pair.target.port.to_string(), "-U", "postgres", "-X", "-At", "-d", "copy"])
        .args(["-c", "SELECT s.*, run_id, status, (SELECT count(*) FROM cgpsync_run_partition WHERE partition::text LIKE 'persons%'), nextval('cgpsync_run_id_seq')
                      FROM sync_table s, cgpsync_run"])
        .output()
        .expect("psql runs");
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout).trim(),
        "persons|20170201|1|done|2|2"
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
