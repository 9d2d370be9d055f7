//! Upgrades of the extension: every released version, with what it had recorded, becomes the same as a fresh installation.

use crate::support::Pair;
use crate::support::cluster::{Cluster, Side};
use crate::support::swapped::major;
use std::path::Path;

/// Everything that can be said of the extension's objects, a line each.
const OBJECTS: &str = "
WITH own AS (
  SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'cgpsync'),
 relations AS (SELECT c.* FROM pg_class c JOIN own ON own.classid = 'pg_class'::regclass AND own.objid = c.oid)
SELECT i.type || ' ' || i.identity FROM own, pg_identify_object(classid, objid, 0) i
UNION ALL
SELECT 'function ' || pg_get_functiondef(p.oid) || concat_ws('|', p.proacl::text, p.proparallel, p.procost, p.prosrc, obj_description(p.oid, 'pg_proc'))
FROM pg_proc p JOIN own ON own.classid = 'pg_proc'::regclass AND own.objid = p.oid
UNION ALL
SELECT concat_ws('|', 'relation', relname, relkind, relacl::text, reloptions::text, relrowsecurity, relforcerowsecurity, relpersistence,
                 obj_description(oid, 'pg_class'), CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END)
FROM relations
UNION ALL
SELECT concat_ws('|', 'column', r.relname, row_number() OVER (PARTITION BY r.oid ORDER BY attnum), attname, format_type(atttypid, atttypmod), attnotnull,
                 pg_get_expr(d.adbin, d.adrelid), attacl::text, attstorage, attcompression, col_description(r.oid, attnum))
FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT concat_ws('|', 'constraint', r.relname, conname, pg_get_constraintdef(c.oid), convalidated)
FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
UNION ALL
SELECT concat_ws('|', 'index', pg_get_indexdef(indexrelid), indisvalid) FROM relations r JOIN pg_index i ON i.indrelid = r.oid
UNION ALL
SELECT concat_ws('|', 'policy', tablename, policyname, permissive, roles, cmd, qual, with_check)
FROM pg_policies WHERE tablename IN (SELECT relname FROM relations)
UNION ALL
SELECT concat_ws('|', 'dumped', c.relname, condition)
FROM pg_extension e, unnest(extconfig, extcondition) AS x(relation, condition), pg_class c
WHERE e.extname = 'cgpsync' AND c.oid = x.relation
UNION ALL
SELECT concat_ws('|', 'version', extversion, extrelocatable) FROM pg_extension WHERE extname = 'cgpsync'
ORDER BY 1";

fn objects(cluster: &Cluster, database: &str) -> Vec<String> {
    let old = major(cluster) < 14;
    let sql = match old {
        true => OBJECTS.replace("attcompression, ", ""),
        false => OBJECTS.to_owned(),
    };
    let rows = cluster
        .connect_to(database)
        .query(&sql, &[])
        .expect("a list of objects");
    rows.iter().map(|row| row.get(0)).collect()
}

/// An operator that fits better than the server's own where one is written without its schema.
const PLANTED: &str = "CREATE FUNCTION boom(float8, int4) RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR = (LEFTARG = float8, RIGHTARG = int4, FUNCTION = boom)";

/// How many operators that are not the server's own the views use.
fn foreign_operators(client: &mut postgres::Client) -> i64 {
    let sql =
        "SELECT count(*) FROM pg_depend WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_operator'::regclass
               AND refobjid >= 16384";
    client.query_one(sql, &[]).expect("a count").get(0)
}

/// A call of each function that has other arguments or another result than it once had.
const CALLS: [&str; 5] = [
    "cgpsync_sync('persons', '201703')",
    "cgpsync_start('persons', '201703')",
    "cgpsync_plan('persons', '201703')",
    "cgpsync_wait(1)",
    "cgpsync_verify('persons')",
];

/// Versions whose installation scripts are kept.
fn released() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/released");
    let files = std::fs::read_dir(directory).expect("released versions");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("its name"));
    let versions = names.filter_map(|name| Some(name.strip_prefix("cgpsync--")?.strip_suffix(".sql")?.to_owned()));
    let versions: Vec<String> = versions.collect();
    assert!(!versions.is_empty());
    versions
}

#[test]
fn every_released_version_becomes_the_present_one_and_goes_on_where_it_was() {
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql("CREATE DATABASE planted");
    let mut client = pair.target.connect_to("planted");
    client.batch_execute(PLANTED).expect("an operator");
    client.batch_execute("CREATE EXTENSION cgpsync").expect("a fresh one");
    assert_eq!(foreign_operators(&mut client), 0);
    let fresh = objects(&pair.target, "postgres");
    assert!(fresh.len() > 100, "{}", fresh.len());
    for version in released() {
        let database = format!("v{}", version.replace('.', "_"));
        pair.target.sql(&format!("CREATE DATABASE {database}"));
        let mut client = pair.target.connect_to(&database);
        let state = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/state-{version}.sql"));
        let state = std::fs::read_to_string(state).expect("what that version had recorded");
        client.batch_execute(PLANTED).expect("an operator");
        client
            .batch_execute(&format!("CREATE EXTENSION cgpsync VERSION '{version}'"))
            .expect("that version");
        client
            .batch_execute(&format!(
                "CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
                 CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret')",
                pair.source.port
            ))
            .expect("a server");
        client.batch_execute(&state).expect("its state");
        assert_ne!(objects(&pair.target, &database), fresh, "nothing to upgrade");

        // The package is new already, the database is not.
        for call in CALLS {
            let error = client
                .query(&format!("SELECT * FROM {call}"), &[])
                .expect_err("an old function");
            let error = error.as_db_error().expect("an error of the server");
            assert_eq!(error.code().code(), "55000", "{error:?}");
            assert_eq!(error.hint(), Some("ALTER EXTENSION cgpsync UPDATE;"));
        }

        let count = "SELECT (SELECT string_agg(concat_ws(' ', table_name, end_tm), ',') FROM sync_table) || ' '
                     || (SELECT string_agg(concat_ws(' ', run_id, status, rows), ',' ORDER BY run_id) FROM cgpsync_run) || ' '
                     || (SELECT concat_ws(' ', count(*), sum(rows), count(DISTINCT relation)) FROM cgpsync_run_partition)";
        let recorded =
            |client: &mut postgres::Client| client.query_one(count, &[]).expect("a state").get::<_, String>(0);
        let before = recorded(&mut client);
        client
            .batch_execute("ALTER EXTENSION cgpsync UPDATE")
            .expect("an upgrade");
        let upgraded = objects(&pair.target, &database);
        for (upgraded, fresh) in upgraded.iter().zip(&fresh) {
            assert_eq!(upgraded, fresh, "from {version}");
        }
        assert_eq!(upgraded.len(), fresh.len(), "from {version}");
        assert_eq!(foreign_operators(&mut client), 0, "from {version}");
        assert_eq!(recorded(&mut client), before);
        assert_eq!(before, "persons 20170201 1 done 10 2 10 2", "from {version}");

        let mut client = pair.target.connect_to(&database);
        let rows = client
            .query("SELECT partition::text FROM cgpsync_sync('persons', '20170301')", &[])
            .expect("a sync");
        let copied: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(copied, ["persons_201702", "persons_201703"]);
    }
}

/// Names, owners and privileges of the functions that the extension has, but for a new one, which has what default privileges give.
const FUNCTIONS: &str = "SELECT string_agg(concat_ws(' ', proname, proowner::regrole, (
        SELECT string_agg(a::text, ' ' ORDER BY a::text)
        FROM unnest(COALESCE(proacl, acldefault('f', proowner))) a)), E'\\n' ORDER BY proname)
    FROM pg_proc WHERE proname LIKE 'cgpsync%' AND prokind = 'f' AND proname <> 'cgpsync_attach'";

/// Privileges that differ from what CREATE EXTENSION gives.
fn dumped_privileges(cluster: &Cluster) -> Vec<String> {
    let dump = Side::Target
        .command("pg_dump")
        .args(["-s", "-U", "postgres", "-p", &cluster.port.to_string(), "-h"])
        .arg(&cluster.dir)
        .arg("postgres")
        .output()
        .expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let lines = String::from_utf8_lossy(&dump.stdout).into_owned();
    let starts = |line: &str| line.starts_with("GRANT") || line.starts_with("REVOKE");
    let lines = lines
        .lines()
        .filter(|line| starts(line) && line.contains(" ON FUNCTION ") && !line.contains(".cgpsync_attach("));
    // Their arguments may differ.
    let mut lines: Vec<String> = lines
        .map(|line| match (line.find('('), line.rfind(')')) {
            (Some(from), Some(to)) => format!("{}{}", &line[..from], &line[to + 1..]),
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn who_may_call_a_function_is_the_same_after_an_upgrade_and_in_a_dump() {
    let target = Cluster::start("");
    target.sql(
        "CREATE ROLE boss SUPERUSER; CREATE ROLE nightly; CREATE ROLE \"Odd one\";
         CREATE ROLE carol; CREATE ROLE dave; CREATE ROLE erin; CREATE ROLE plain",
    );
    let mut client = target.connect();
    client
        .batch_execute(
            "CREATE SCHEMA \"an odd schema\";
             GRANT USAGE ON SCHEMA \"an odd schema\" TO nightly, carol;
             SET search_path = \"an odd schema\";
             SET ROLE boss;
             CREATE EXTENSION cgpsync SCHEMA \"an odd schema\" VERSION '0.2.0';
             RESET ROLE;
             REVOKE ALL ON FUNCTION cgpsync_sync FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION cgpsync_sync TO nightly, \"Odd one\";
             GRANT EXECUTE ON FUNCTION cgpsync_sync TO carol, erin WITH GRANT OPTION;
             SET ROLE carol; GRANT EXECUTE ON FUNCTION cgpsync_sync TO dave; RESET ROLE;
             GRANT EXECUTE ON FUNCTION cgpsync_start TO PUBLIC;
             REVOKE ALL ON FUNCTION cgpsync_verify FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION cgpsync_verify TO plain;
             REVOKE ALL ON FUNCTION cgpsync_prune FROM PUBLIC;
             ALTER FUNCTION cgpsync_wait OWNER TO postgres;
             ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO plain",
        )
        .expect("privileges");
    let functions =
        |client: &mut postgres::Client| client.query_one(FUNCTIONS, &[]).expect("a list").get::<_, String>(0);
    let before = functions(&mut client);
    let dumped = dumped_privileges(&target);
    for part in ["carol=X*/boss", "dave=X/carol", "\"Odd one\"=X/boss"] {
        assert!(before.contains(part), "{part}: {before}");
    }
    assert!(dumped.len() > 8, "{dumped:?}");

    client
        .batch_execute("ALTER EXTENSION cgpsync UPDATE")
        .expect("an upgrade");
    assert_eq!(functions(&mut client), before);
    assert_eq!(dumped_privileges(&target), dumped);
    // Who may not call the function must not get the same from the procedure.
    let same: bool = client
        .query_one(
            "SELECT array_agg(a ORDER BY a::text) FILTER (WHERE proname = 'cgpsync')
                  = array_agg(a ORDER BY a::text) FILTER (WHERE proname = 'cgpsync_sync')
             FROM pg_proc, unnest(proacl) a WHERE proname IN ('cgpsync', 'cgpsync_sync')",
            &[],
        )
        .expect("privileges")
        .get(0);
    assert!(same);
    client
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM plain;
             DROP OWNED BY plain; DROP ROLE plain",
        )
        .expect("nothing keeps the role");
}

#[test]
fn a_grant_by_a_role_that_has_lost_the_schema_comes_from_the_owner_after_an_upgrade() {
    let target = Cluster::start("");
    target.sql("CREATE ROLE carol; CREATE ROLE dave");
    let mut client = target.connect();
    client
        .batch_execute(
            "CREATE EXTENSION cgpsync VERSION '0.2.0';
             GRANT EXECUTE ON FUNCTION cgpsync_sync TO carol WITH GRANT OPTION;
             SET ROLE carol; GRANT EXECUTE ON FUNCTION cgpsync_sync TO dave; RESET ROLE;
             REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER EXTENSION cgpsync UPDATE",
        )
        .expect("an upgrade");
    let functions: String = client.query_one(FUNCTIONS, &[]).expect("a list").get(0);
    assert!(functions.contains("carol=X*/postgres dave=X/postgres"), "{functions}");
}

#[test]
fn a_view_in_the_way_of_an_upgrade_is_named_and_nothing_has_changed() {
    let target = Cluster::start("");
    let mut client = target.connect();
    client
        .batch_execute("CREATE EXTENSION cgpsync VERSION '0.2.0'")
        .expect("that version");
    for call in CALLS.iter().filter(|call| !call.contains("start")) {
        let call = call.replace("'persons'", "'pg_class'");
        client
            .batch_execute(&format!("CREATE VIEW what_we_have AS SELECT partition FROM {call}"))
            .expect("a view");
        let before = objects(&target, "postgres");
        let error = client
            .batch_execute("ALTER EXTENSION cgpsync UPDATE")
            .expect_err("a view is in the way");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "2BP01", "{error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.starts_with("view what_we_have depends on function cgpsync_"),
            "{detail}"
        );
        assert_eq!(objects(&target, "postgres"), before);
        client.batch_execute("DROP VIEW what_we_have").expect("no view");
    }
    client
        .batch_execute("ALTER EXTENSION cgpsync UPDATE")
        .expect("an upgrade");
}
