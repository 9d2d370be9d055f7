//! The README's table of privileges, row by row: what a call needs is enough, and without it the call is refused.

use crate::support::Pair;
use postgres::Client;

/// What one role of its own needs for one thing.
struct Need {
    /// as the README's table says
    what: &'static str,
    /// rights, one statement each, that are all needed
    grants: &'static [&'static str],
    /// the call
    call: &'static str,
}

/// `loader` owns nothing and has a mapping; `keeper` owns the table.
const NEEDS: &[Need] = &[
    Need {
        what: "copy partitions",
        grants: &[
            "GRANT USAGE ON FOREIGN SERVER src TO loader",
            "GRANT INSERT ON persons_201701 TO loader",
            "GRANT TRUNCATE ON persons_201701 TO loader",
        ],
        call: "SELECT * FROM cgpsync_sync('persons', '20170101')",
    },
    Need {
        what: "create missing partitions",
        grants: &["GRANT USAGE ON FOREIGN SERVER src TO loader", "GRANT keeper TO loader"],
        call: "SELECT * FROM cgpsync_sync('grown', '20170201')",
    },
    Need {
        what: "plan",
        grants: &["GRANT USAGE ON FOREIGN SERVER src TO loader"],
        call: "SELECT * FROM cgpsync_plan('persons', '20170101')",
    },
    Need {
        what: "verify",
        grants: &[
            "GRANT USAGE ON FOREIGN SERVER src TO loader",
            "GRANT SELECT ON persons_201701 TO loader",
        ],
        // What it may not read is a row that says so.
        call: "DO $$ BEGIN
                 IF EXISTS (SELECT FROM cgpsync_verify('persons', '20170101') WHERE error LIKE '%[42501]%') THEN
                   RAISE insufficient_privilege;
                 END IF;
               END $$",
    },
    Need {
        what: "create a table",
        grants: &[
            "GRANT USAGE ON FOREIGN SERVER src TO loader",
            "GRANT CREATE ON SCHEMA other TO loader",
            "GRANT USAGE ON SCHEMA other TO loader",
        ],
        call: "SELECT cgpsync_create_table('persons', 'other.persons')",
    },
    Need {
        what: "import a config.json",
        grants: &["GRANT USAGE ON FOREIGN DATA WRAPPER cgpsync TO loader"],
        call: r#"SELECT cgpsync_import_config('{"host": "h", "user": "u", "password": "p", "dbname": "d"}'::jsonb, 'mine')"#,
    },
];

fn prepare(pair: &Pair) {
    pair.persons(3);
    pair.both(
        "CREATE TABLE grown (k date) PARTITION BY RANGE (k);
         CREATE TABLE grown_1 PARTITION OF grown FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source.sql(
        "CREATE TABLE grown_2 PARTITION OF grown FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    pair.target.sql(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE SCHEMA other; CREATE ROLE keeper;
         GRANT CREATE ON SCHEMA public TO keeper; ALTER TABLE grown OWNER TO keeper; ALTER TABLE grown_1 OWNER TO keeper",
    );
}

/// `loader`, new, with some of the rights.
fn loader(pair: &Pair, grants: &[&str]) -> Client {
    pair.target.sql("CREATE ROLE loader LOGIN");
    pair.target
        .sql("CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')");
    grants.iter().for_each(|grant| pair.target.sql(grant));
    pair.target.connect_as("loader")
}

fn drop_loader(pair: &Pair) {
    pair.target
        .sql("DROP USER MAPPING FOR loader SERVER src; DROP OWNED BY loader CASCADE; DROP ROLE loader");
}

#[test]
fn what_the_readme_says_a_role_needs_is_enough_and_no_less_will_do() {
    let pair = Pair::new();
    prepare(&pair);
    for need in NEEDS {
        for left_out in 0..need.grants.len() {
            let some: Vec<&str> = need
                .grants
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != left_out)
                .map(|(_, g)| *g)
                .collect();
            let mut client = loader(&pair, &some);
            let error = client
                .simple_query(need.call)
                .map(|_| ())
                .expect_err(need.grants[left_out]);
            assert_eq!(
                error.code().map(|code| code.code()),
                Some("42501"),
                "{} without {}: {error:?}",
                need.what,
                need.grants[left_out]
            );
            drop(client);
            drop_loader(&pair);
        }
        let mut client = loader(&pair, need.grants);
        if let Err(error) = client.simple_query(need.call) {
            panic!("{}: {error:?}", need.what);
        }
        drop(client);
        drop_loader(&pair);
    }
}

#[test]
fn a_monitoring_role_sees_every_run_and_can_touch_none() {
    let pair = Pair::new();
    pair.both("CREATE TABLE slow (i int)");
    pair.source
        .sql("CREATE VIEW crawling AS SELECT g AS i FROM generate_series(1, 600) g, LATERAL (SELECT pg_sleep(0.1) WHERE g > 0) s");
    pair.target.sql("CREATE ROLE watcher LOGIN IN ROLE pg_monitor");
    let run_id = pair
        .target
        .text("SELECT cgpsync_start('slow', '20170101', source_table => 'crawling')");
    let mut watcher = pair.target.connect_as("watcher");
    for relation in ["cgpsync_run", "cgpsync_progress"] {
        let seen = watcher
            .query_one(&format!("SELECT count(*) FROM {relation}"), &[])
            .expect("a count");
        assert_eq!(seen.get::<_, i64>(0), 1, "{relation}");
    }
    for call in ["cgpsync_wait", "cgpsync_cancel"] {
        let error = watcher
            .simple_query(&format!("SELECT {call}({run_id})"))
            .map(|_| ())
            .expect_err(call);
        assert_eq!(error.code().map(|code| code.code()), Some("42704"), "{call}");
    }
    assert_eq!(pair.target.text(&format!("SELECT cgpsync_cancel({run_id})")), "t");
}

#[test]
fn a_function_of_the_readers_sees_no_row_of_another_role_in_the_progress_view() {
    let pair = Pair::new();
    pair.persons(1);
    pair.copied("'persons', '20170101'");
    pair.target.sql("CREATE ROLE stranger LOGIN");
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute(
            "SET SESSION AUTHORIZATION stranger;
             CREATE FUNCTION pg_temp.leak(t text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
               $$ BEGIN RAISE NOTICE 'seen: %', t; RETURN true; END $$;
             SELECT * FROM cgpsync_progress WHERE pg_temp.leak(table_name)",
        )
        .expect("nothing to see");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(!notices.contains("seen: persons"), "{notices}");
}

#[test]
fn functions_pin_their_search_path_and_run_with_the_callers_rights() {
    let pair = Pair::new();
    let odd = pair.target.list(
        "SELECT p.proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
         JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cgpsync'
         -- A procedure with a SET clause could not commit: it pins the path by itself.
         WHERE p.prosecdef OR p.prokind = 'f' AND NOT COALESCE(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']",
    );
    assert_eq!(odd, Vec::<String>::new());
}
