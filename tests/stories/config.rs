//! Coming from the old command-line tool: its config.json, its sync_table. The README's own lines are what runs here.

use crate::support::cluster::Cluster;
use crate::support::{Pair, needs, readme};
use std::process::Output;

/// Logs everything a server can log, and has the extensions that show statements look into functions too.
const TALKATIVE: &str = "shared_preload_libraries = 'auto_explain,pg_stat_statements'\n\
                         auto_explain.log_min_duration = 0\nauto_explain.log_nested_statements = on\n\
                         pg_stat_statements.track = 'all'\nlog_min_messages = debug5\nlog_min_error_statement = debug5\nlog_statement = 'all'\n\
                         log_min_duration_statement = 0\nlog_error_verbosity = verbose\ndebug_print_parse = on\n\
                         debug_print_rewritten = on\ndebug_print_plan = on\n\
                         log_parameter_max_length = -1\nlog_parameter_max_length_on_error = -1";

/// The first block of `language` in the README's section on the old tool.
fn readme_block(language: &str) -> &'static str {
    readme::blocks("Coming from the old command-line tool", language)[0]
}

/// Runs the README's line where `file` is the config.json.
fn import_file(target: &Cluster, user: &str, file: &str) -> Output {
    let place = target.dir.with_extension("old-tool");
    std::fs::create_dir_all(&place).expect("a directory");
    std::fs::write(place.join("config.json"), file).expect("a file");
    let output = readme::sh(target, user, readme_block("sh"))
        .current_dir(&place)
        .output()
        .expect("sh runs");
    std::fs::remove_dir_all(&place).expect("the directory goes");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config(port: u16, user: &str, password: &str) -> String {
    format!(
        "{{\"host\": \"127.0.0.1\", \"port\": {port}, \"dbname\": \"postgres\", \"user\": \"{user}\", \"password\": \"{password}\"}}"
    )
}

fn options(pair: &Pair) -> (String, String) {
    let server = "SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'cgpsync_source'";
    let mapping = "SELECT umoptions FROM pg_user_mappings WHERE srvname = 'cgpsync_source' AND usename = 'postgres'";
    (pair.target.text(server), pair.target.text(mapping))
}

#[test]
fn the_old_file_makes_a_source_that_works_and_no_log_shows_the_password() {
    if needs::lacks_module("pg_stat_statements") {
        return;
    }
    let pair = Pair::with("", TALKATIVE);
    pair.target.sql("DROP SERVER src CASCADE");
    pair.persons(5);
    pair.source.sql(
        r#"CREATE ROLE reader LOGIN PASSWORD E'hunter2 "q"\\1 ''s'' $x$, \u00e9';
           GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"#,
    );
    let file = format!(
        "{{\n\t\"host\": \"127.0.0.1\",\n\n  \"user\": \"reader\",\n  \"port\": {},\n  \
         \"password\": \"hunter2 \\\"q\\\"\\\\1 's' $x$, é\",\n  \"dbname\": \"postgres\",\n  \
         \"destination_host\": \"127.0.0.1\",\n  \"destination_user\": \"postgres\",\n  \"destination_port\": {},\n  \
         \"destination_password\": \"hunter3\",\n  \"destination_dbname\":\"postgres\"\n}}",
        pair.source.port, pair.target.port
    );
    for line_end in ["\n", "\r\n"] {
        let output = import_file(&pair.target, "postgres", &file.replace('\n', line_end));
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("cgpsync_source"));
        assert_eq!(text(&output.stderr), "");
    }
    assert_eq!(pair.copied("'persons', '20170101'"), ["persons_201701"]);
    pair.same_rows("persons_201701", "true");
    let log = pair.target.log();
    assert!(log.contains("cgpsync_import_config") && log.contains("CREATE TEMP TABLE config"));
    assert!(!log.contains("hunter"), "a password is in the log");
    pair.target.sql("CREATE EXTENSION pg_stat_statements");
    let shown = |like: &str| {
        let sql = format!("SELECT count(*) > 0 FROM pg_stat_statements WHERE query LIKE '{like}'");
        pair.target.text(&sql)
    };
    assert_eq!(shown("%cgpsync_import_config%"), "t");
    assert_eq!(shown("%hun%ter%"), "f");
}

#[test]
fn a_failed_import_shows_no_password_and_leaves_nothing() {
    if needs::lacks_module("pg_stat_statements") {
        return;
    }
    let pair = Pair::with("", TALKATIVE);
    pair.target.sql(
        "CREATE ROLE plain LOGIN; CREATE FOREIGN DATA WRAPPER other; CREATE SERVER cgpsync_source FOREIGN DATA WRAPPER other",
    );
    let good = config(5432, "hunter2", "hunter2");
    let fails = |user: &str, file: &str, expected: &str| {
        let output = import_file(&pair.target, user, file);
        let told = text(&output.stderr) + &text(&output.stdout);
        assert!(!output.status.success(), "{expected}");
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("hunter"), "{told}");
    };
    fails("postgres", &good, "server \"cgpsync_source\" already exists");
    pair.target.sql("DROP SERVER cgpsync_source");
    fails("plain", &good, "permission denied for foreign-data wrapper cgpsync");
    fails("plain", &good, "USAGE on foreign-data wrapper \"cgpsync\"");
    fails("postgres", &good.replace("5432", "\"hunter2\""), "config key \"port\"");
    fails("postgres", &good.replace('}', ",}"), "config is not valid JSON");
    fails(
        "postgres",
        &good.replace("\"hunter2\"}", "[\"hunter2\"]}"),
        "config key \"password\"",
    );
    fails("postgres", "", "config must not be null");
    // Whatever goes wrong after the checks, the password is in nobody's hands by then.
    pair.target.sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
         CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('CREATE USER MAPPING') EXECUTE FUNCTION refuse()",
    );
    fails("postgres", &good, "not today");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM pg_foreign_server WHERE srvname = 'cgpsync_source'"),
        "0"
    );
    assert!(!pair.target.log().contains("hunter"), "a password is in the log");
}

#[test]
fn importing_again_sets_the_connection_anew_and_keeps_the_rest() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE TABLE commands (tag text);
         GRANT INSERT ON commands TO public;
         CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.commands SELECT command_tag FROM pg_event_trigger_ddl_commands(); END $$;
         CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()",
    );
    let import = |json: &str| {
        pair.target
            .text(&format!("SELECT cgpsync_import_config('{json}'::jsonb)"))
    };
    assert_eq!(import(&config(5432, "reader", "one")), "cgpsync_source");
    let first = options(&pair);
    assert_eq!(first.0, "{host=127.0.0.1,port=5432,dbname=postgres}");
    assert_eq!(first.1, "{user=reader,password=one}");
    assert_eq!(import(&config(5432, "reader", "one")), "cgpsync_source");
    assert_eq!(options(&pair), first);
    assert_eq!(
        pair.target.list("SELECT tag FROM commands"),
        ["CREATE SERVER", "CREATE USER MAPPING", "CREATE USER MAPPING"]
    );
    pair.target
        .sql("ALTER SERVER cgpsync_source OPTIONS (ADD sslmode 'disable', ADD hostaddr '10.0.0.9', DROP dbname)");
    import(&config(5433, "other", "").replace("127.0.0.1", "there"));
    assert_eq!(
        options(&pair),
        (
            "{host=there,port=5433,sslmode=disable,dbname=postgres}".to_owned(),
            "{user=other}".to_owned()
        )
    );
    // The server's users bring passwords of their own, and cannot bend the server.
    pair.target
        .sql("CREATE ROLE plain LOGIN; GRANT USAGE ON FOREIGN SERVER cgpsync_source TO plain");
    let mut client = pair.target.connect_as("plain");
    let mut import = |port| {
        let json = config(port, "plain", "mine").replace("127.0.0.1", "there");
        client.query_one(&format!("SELECT cgpsync_import_config('{json}')::text"), &[])
    };
    let row = import(5433).expect("a mapping");
    assert_eq!(row.get::<_, String>(0), "cgpsync_source");
    let error = import(5434).expect_err("not the owner");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "42501");
    assert!(error.hint().is_some_and(|h| h.contains("ownership")), "{error:?}");
}

#[test]
fn a_server_can_have_another_name_but_not_one_that_is_taken() {
    let pair = Pair::new();
    pair.target
        .sql("CREATE FOREIGN DATA WRAPPER other; CREATE SERVER taken FOREIGN DATA WRAPPER other");
    let mut client = pair.target.connect();
    let mut import =
        |arguments: &str| match client.query_one(&format!("SELECT cgpsync_import_config({arguments})::text"), &[]) {
            Ok(row) => row.get::<_, String>(0),
            Err(error) => error.code().expect("an error of the server").code().to_owned(),
        };
    let json = config(5432, "reader", "p");
    assert_eq!(import(&format!("'{json}', 'Old \"one\"'")), "Old \"one\"");
    assert_eq!(import(&format!("'{json}'::jsonb, server => 'src'")), "src");
    assert_eq!(import(&format!("'{json}', 'taken'")), "42710");
    assert_eq!(import(&format!("'{json}', ''")), "22023");
    assert_eq!(import(&format!("'{json}', NULL")), "22023");
    assert_eq!(import("NULL::jsonb"), "22023");
    assert_eq!(import("'[]'::jsonb"), "22023");
    client
        .batch_execute("SET default_transaction_read_only = on")
        .expect("a setting");
    let error = client
        .batch_execute(&format!("SELECT cgpsync_import_config('{json}')"))
        .expect_err("read-only");
    assert_eq!(error.code().map(|c| c.code()), Some("25006"));
}

#[test]
fn a_destination_that_is_elsewhere_is_warned_of_key_by_key() {
    let pair = Pair::new();
    let (mut client, notices) = pair.target.connect_with_notices();
    let mut warned = |more: &str| {
        let json = config(5432, "reader", "hunter2").replace('}', &format!(", {more}}}"));
        notices.lock().expect("a lock").clear();
        client
            .batch_execute(&format!("SELECT cgpsync_import_config('{json}')"))
            .expect("an import");
        notices.lock().expect("a lock").clone()
    };
    let port = pair.target.port;
    for host in ["localhost", "127.0.0.1", "::1", "/tmp", ""] {
        let here = format!(
            "\"destination_host\": \"{host}\", \"destination_port\": \"{port}\", \"destination_user\": \"postgres\", \
             \"destination_dbname\": \"postgres\", \"destination_password\": \"hunter3\""
        );
        assert_eq!(warned(&here), Vec::<String>::new(), "{host}");
    }
    let elsewhere = "\"destination_host\": \"192.0.2.1\", \"destination_port\": 1, \"destination_user\": \"hunter\", \
                     \"destination_dbname\": \"hunter\", \"jobs\": 4";
    let warnings = warned(elsewhere);
    let keys = [
        "destination_host",
        "destination_port",
        "destination_dbname",
        "destination_user",
        "jobs",
    ];
    assert_eq!(warnings.len(), keys.len(), "{warnings:?}");
    for (warning, key) in warnings.iter().zip(keys) {
        assert!(warning.contains(&format!("\"{key}\"")), "{warning}");
        assert!(!warning.contains("hunter"), "{warning}");
    }
}

#[test]
fn the_old_sync_table_is_taken_over_and_the_next_call_goes_on_from_it() {
    let pair = Pair::new();
    pair.persons(5);
    pair.both("CREATE SCHEMA dw; CREATE TABLE dw.\"Orders\" (born date) PARTITION BY RANGE (born)");
    pair.target.sql(
        "DROP EXTENSION cgpsync CASCADE;
         CREATE TABLE sync_table (table_name varchar(64), end_tm varchar(64));
         CREATE INDEX sync_table_pkey ON sync_table (table_name);
         CREATE VIEW v_gp_range_partition_meta AS SELECT 'x' AS table_name;
         CREATE VIEW report AS SELECT * FROM v_gp_range_partition_meta, (SELECT end_tm FROM sync_table) s;
         INSERT INTO sync_table VALUES ('persons', '20170315'), ('public.persons ', ' 20170201 '), ('PERSONS', NULL),
           ('dw.\"Orders\"', '2017-01-02'), ('gone', '20160101'), ('never', ''), ('yearly', '2017'), ('monthly', '201702'),
           (NULL, '20170101')",
    );
    let error = pair
        .target
        .connect()
        .batch_execute("CREATE EXTENSION cgpsync")
        .expect_err("sync_table is there");
    assert_eq!(error.code().map(|c| c.code()), Some("42P07"));
    pair.target.sql(readme_block("sql"));
    assert_eq!(
        pair.target
            .list("SELECT table_name || ' ' || end_tm FROM sync_table ORDER BY table_name COLLATE \"C\""),
        ["dw.\"Orders\" 2017-01-02", "gone 20160101", "persons 20170201"]
    );
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM cgpsync_old.sync_table, cgpsync_old.v_gp_range_partition_meta"),
        "9"
    );
    pair.create_server("src", pair.source.port);
    // What the old tool has filled stays closed.
    pair.target
        .sql("INSERT INTO persons VALUES (1, 'of the old tool', '2017-01-05', '')");
    assert_eq!(
        pair.copied("'persons', '20170301'"),
        ["persons_201702", "persons_201703"]
    );
    assert_eq!(
        pair.target
            .text("SELECT end_tm FROM sync_table WHERE table_name = 'persons'"),
        "20170301"
    );
    pair.target.sql("DROP VIEW report; DROP SCHEMA cgpsync_old CASCADE");
}
