//! Bad input gets a clear error, at once, and nothing is lost.

use crate::support::{Pair, needs};

/// SQLSTATE and message of a call that must fail.
fn fails(pair: &Pair, arguments: &str) -> (String, String) {
    let error = pair.sync(arguments).expect_err("the call fails");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[test]
fn only_tables_can_be_synced() {
    let pair = Pair::new();
    pair.target.sql(
        "CREATE VIEW a_view AS SELECT 1; CREATE MATERIALIZED VIEW a_matview AS SELECT 1; CREATE SEQUENCE a_sequence;
         CREATE TABLE t (i int PRIMARY KEY); CREATE FOREIGN DATA WRAPPER others; CREATE SERVER others FOREIGN DATA WRAPPER others; CREATE FOREIGN TABLE a_foreign (i int) SERVER others",
    );
    assert_eq!(fails(&pair, "'nothing', '20170101'").0, "42P01");
    assert_eq!(fails(&pair, "NULL, '20170101'").0, "22023");
    for (relation, kind) in [
        ("a_view", "a view"),
        ("a_matview", "a materialized view"),
        ("a_sequence", "a sequence"),
        ("a_foreign", "a foreign table"),
        ("t_pkey", "an index"),
    ] {
        let (code, message) = fails(&pair, &format!("'{relation}', '20170101'"));
        assert_eq!(code, "42809");
        assert!(message.contains(kind), "{message}");
    }
    let mut client = pair.target.connect();
    client.batch_execute("CREATE TEMP TABLE mine (i int)").expect("a table");
    let error = pair.sync_as(&mut client, "'mine', '20170101'").expect_err("temporary");
    assert!(error.message().contains("temporary table"), "{error:?}");
}

#[test]
fn system_catalogs_and_the_extensions_own_tables_are_no_targets() {
    let pair = Pair::new();
    // What a superuser may write to, and others have as a partition.
    pair.target.sql(
        "CREATE TABLE of_user (table_name text, end_tm text) PARTITION BY LIST (table_name);
         CREATE TABLE below PARTITION OF of_user FOR VALUES IN ('x') PARTITION BY LIST (end_tm);
         ALTER TABLE sync_table DROP CONSTRAINT sync_table_pkey; ALTER TABLE sync_table ALTER table_name DROP NOT NULL;
         ALTER TABLE below ATTACH PARTITION sync_table DEFAULT;
         CREATE TABLE information_schema.mine (i int); CREATE TABLE mine (t text)",
    );
    let toast = pair
        .target
        .text("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'mine'::regclass");
    for (relation, kept) in [
        ("pg_catalog.pg_description", "\"pg_description\" is a system catalog"),
        ("pg_authid", "\"pg_authid\" is a system catalog"),
        ("pg_database", "\"pg_database\" is a system catalog"),
        ("pg_largeobject", "\"pg_largeobject\" is a system catalog"),
        (
            "information_schema.sql_features",
            "\"sql_features\" is a system catalog",
        ),
        ("information_schema.mine", "\"mine\" is a system catalog"),
        (&toast, "is a system catalog"),
        ("sync_table", "\"sync_table\" is one of cgpsync's own tables"),
        ("cgpsync_run", "\"cgpsync_run\" is one of cgpsync's own tables"),
        (
            "cgpsync_run_partition",
            "\"cgpsync_run_partition\" is one of cgpsync's own tables",
        ),
        ("of_user", "\"sync_table\" is one of cgpsync's own tables"),
        ("below", "\"sync_table\" is one of cgpsync's own tables"),
    ] {
        for function in ["cgpsync_sync", "cgpsync_plan", "cgpsync_verify", "cgpsync_start"] {
            let error = pair
                .target
                .connect()
                .query(&format!("SELECT * FROM {function}('{relation}')"), &[])
                .expect_err("no target");
            let error = error.as_db_error().expect("an error of the server");
            assert_eq!(error.code().code(), "42501", "{function} {relation}: {error:?}");
            assert!(error.message().starts_with("permission denied: "), "{error:?}");
            assert!(error.message().ends_with(kept), "{error:?}");
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("that users have created")),
                "{error:?}"
            );
        }
    }
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_run"), "0");
}

#[test]
fn end_tm_must_be_readable() {
    let pair = Pair::new();
    pair.persons(1);
    for end in ["gestern", "20171301", "201713", "2017-02-30", ""] {
        let (code, message) = fails(&pair, &format!("'persons', '{end}'"));
        assert_eq!(code, "22023", "{end}: {message}");
        assert!(message.contains("end_tm"), "{end}: {message}");
    }
    let (_, message) = fails(&pair, "'persons', '20170101', since => 'x'");
    assert!(message.contains("since \"x\" cannot be read as date"), "{message}");
}

#[test]
fn parallelism_has_limits() {
    let pair = Pair::new();
    pair.persons(1);
    for parallelism in [0, -1, 100_000] {
        let (code, message) = fails(&pair, &format!("'persons', '20170101', {parallelism}"));
        assert_eq!(code, "22023");
        assert!(message.contains("parallelism must be between 1 and"), "{message}");
    }
}

#[test]
fn the_source_must_be_clear() {
    let pair = Pair::new();
    pair.persons(1);
    let (code, message) = fails(&pair, "'persons', '20170101', source => 'nowhere'");
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("42704", "server \"nowhere\" does not exist")
    );
    pair.create_server("second", pair.source.port);
    let error = pair.sync("'persons', '20170101'").expect_err("two servers");
    assert!(error.message().contains("several source servers"), "{error:?}");
    assert!(error.detail().is_some_and(|d| d.contains("second, src")), "{error:?}");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET cgpsync.source = 'second'")
        .expect("a setting");
    pair.sync_as(&mut client, "'persons', '20170101'")
        .expect("the setting decides");
    pair.target
        .sql("DROP USER MAPPING FOR postgres SERVER src; DROP SERVER second CASCADE");
    let error = pair.sync("'persons', '20170101'").expect_err("no mapping");
    assert!(error.message().contains("no user mapping"), "{error:?}");
    assert!(
        error.hint().is_some_and(|h| h.contains("CREATE USER MAPPING")),
        "{error:?}"
    );
    pair.target.sql("DROP SERVER src");
    let error = pair.sync("'persons', '20170101'").expect_err("no server");
    assert!(error.hint().is_some_and(|h| h.contains("CREATE SERVER")), "{error:?}");
}

#[test]
fn a_connection_that_fails_says_why_and_never_the_password() {
    let pair = Pair::new();
    pair.persons(1);
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'wrong-but-secret')");
    let error = pair.sync("'persons', '20170101'").expect_err("a wrong password");
    assert_eq!(error.code().code(), "28P01");
    assert!(error.message().contains("password authentication failed"), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-but-secret"));
    pair.target.sql(
        "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'secret');
                     ALTER SERVER src OPTIONS (SET dbname 'nothing')",
    );
    assert_eq!(fails(&pair, "'persons', '20170101'").0, "3D000");
    pair.target.sql("ALTER SERVER src OPTIONS (SET port '1')");
    let (code, message) = fails(&pair, "'persons', '20170101'");
    assert_eq!(code, "08001");
    assert!(message.contains("could not connect to server \"src\""), "{message}");
    pair.target
        .sql("ALTER SERVER src OPTIONS (SET host 'no.such.host.invalid')");
    assert_eq!(fails(&pair, "'persons', '20170101'").0, "08001");
    assert!(!pair.target.log().contains("wrong-but-secret"));
}

#[test]
fn the_source_table_must_be_there_and_readable() {
    let pair = Pair::new();
    pair.persons(1);
    let (code, message) = fails(&pair, "'persons', '20170101', source_table => 'nothing'");
    assert_eq!(code, "42P01");
    assert!(
        message.contains("source table \"public\".\"nothing\" does not exist on server \"src\""),
        "{message}"
    );
    assert_eq!(fails(&pair, "'persons', '20170101', source_table => 'a b'").0, "22023");
    pair.source.sql("CREATE ROLE reader LOGIN PASSWORD 'r'");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'reader', SET password 'r')");
    let (code, message) = fails(&pair, "'persons', '20170101'");
    assert_eq!(code, "42501");
    assert!(message.contains("permission denied for source table"), "{message}");
    // SELECT on the parent alone is enough: the partitions are read through it.
    pair.source.sql("GRANT SELECT ON persons TO reader");
    assert_eq!(pair.copied("'persons', '20170101'"), ["persons_201701"]);
    pair.same_rows("persons_201701", "true");
}

#[test]
fn the_wrapper_knows_its_options() {
    let pair = Pair::new();
    let refuses = |sql: &str, code: &str, words: &str| {
        let error = pair.target.connect().batch_execute(sql).expect_err("refused");
        let error = error.as_db_error().expect("an error of the server").clone();
        assert_eq!(error.code().code(), code, "{error:?}");
        assert!(format!("{error:?}").contains(words), "{error:?}");
    };
    refuses(
        "CREATE SERVER x FOREIGN DATA WRAPPER cgpsync OPTIONS (hots 'a')",
        "HV00D",
        "Valid options in this context are: host,",
    );
    refuses(
        "CREATE SERVER x FOREIGN DATA WRAPPER cgpsync OPTIONS (password 'a')",
        "HV00D",
        "It belongs in the USER MAPPING",
    );
    refuses("ALTER SERVER src OPTIONS (SET port '99999')", "22023", "port");
    refuses(
        "ALTER SERVER src OPTIONS (ADD sslmode 'verify')",
        "22023",
        "verify-full",
    );
    refuses(
        "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD host 'a')",
        "HV00D",
        "user, password",
    );
    refuses(
        "ALTER FOREIGN DATA WRAPPER cgpsync OPTIONS (ADD host 'a')",
        "HV00D",
        "no valid options",
    );
}

#[test]
fn servers_of_postgres_fdw_serve_as_well() {
    if needs::lacks_module("postgres_fdw") {
        return;
    }
    let pair = Pair::new();
    pair.persons(5);
    pair.target.sql(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER pg FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres', fetch_size '100');
         CREATE USER MAPPING FOR PUBLIC SERVER pg OPTIONS (user 'postgres', password 'secret')",
        pair.source.port
    ));
    assert_eq!(pair.copied("'persons', '20170101', source => 'pg'"), ["persons_201701"]);
    pair.target.sql("ALTER SERVER pg OPTIONS (ADD sslmode 'require')");
    assert_eq!(fails(&pair, "'persons', '20170101', source => 'pg'").0, "08001");
    pair.target
        .sql("ALTER SERVER pg OPTIONS (DROP sslmode, ADD gssencmode 'require')");
    assert_eq!(fails(&pair, "'persons', '20170101', source => 'pg'").0, "0A000");
}

#[test]
fn a_standby_or_a_read_only_transaction_is_refused() {
    let pair = Pair::new();
    pair.persons(1);
    let mut client = pair.target.connect();
    client.batch_execute("BEGIN READ ONLY").expect("a transaction");
    let error = pair
        .sync_as(&mut client, "'persons', '20170101'")
        .expect_err("read-only");
    assert_eq!(error.code().code(), "25006");
    let mut pair = pair;
    pair.target.stop("INT");
    std::fs::write(pair.target.dir.join("standby.signal"), "").expect("a file");
    pair.target.boot();
    let error = pair.sync("'persons', '20170101'").expect_err("a standby");
    assert_eq!(error.code().code(), "25006");
    assert!(error.message().contains("standby"), "{error:?}");
}

#[test]
fn a_range_key_that_means_nothing_outside_is_refused() {
    let pair = Pair::new();
    pair.both("CREATE TABLE e (a int, b int) PARTITION BY RANGE ((a + b))");
    assert_eq!(fails(&pair, "'e', '1'").0, "0A000");
}

#[test]
fn parents_of_inheriting_tables_are_refused() {
    let pair = Pair::new();
    pair.both("CREATE TABLE parent (i int); CREATE TABLE child () INHERITS (parent)");
    let (code, message) = fails(&pair, "'parent', '1'");
    assert_eq!(code, "42809");
    assert!(message.contains("inheriting tables"), "{message}");
    pair.copied("'child', '1'");
}

#[test]
fn a_target_database_that_is_not_utf8_is_refused() {
    let pair = Pair::new();
    pair.target
        .sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let mut client = pair.target.connect_to("latin");
    client
        .batch_execute("CREATE EXTENSION cgpsync; CREATE TABLE t (i int)")
        .expect("an extension");
    let error = pair.sync_as(&mut client, "'t', '1'").expect_err("LATIN1");
    assert_eq!(error.code().code(), "0A000");
    assert!(error.message().contains("LATIN1"), "{error:?}");
}
