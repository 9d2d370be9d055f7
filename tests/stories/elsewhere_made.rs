//! What is made for a table over there: the table itself, what stands for it here, and servers from the old tool's file.

use crate::support::readme;
use crate::support::trio::Trio;

#[test]
fn a_table_like_the_sources_is_made_over_there_and_attached() {
    let trio = Trio::new();
    let pair = &trio.pair;
    pair.source.sql(
        "CREATE TABLE visits (id bigint NOT NULL, day date NOT NULL, place text DEFAULT 'here', n int, CONSTRAINT positive CHECK (n > 0),
                              PRIMARY KEY (id, day, place)) PARTITION BY RANGE (day);
         CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2017-02-01') TO ('2017-03-01') PARTITION BY LIST (place);
         CREATE TABLE visits_2_here PARTITION OF visits_2 FOR VALUES IN ('here'); CREATE TABLE visits_2_rest PARTITION OF visits_2 DEFAULT;
         CREATE INDEX visits_place_idx ON visits (place);
         CREATE FUNCTION odd(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; ALTER TABLE visits ADD CONSTRAINT odd CHECK (odd(n));
         INSERT INTO visits SELECT g, date '2017-01-01' + g % 50, CASE WHEN g % 2 = 0 THEN 'here' ELSE 'there' END, g FROM generate_series(1, 200) g",
    );
    let (mut client, notices) = pair.target.connect_with_notices();
    let made = client
        .query_one(
            "SELECT cgpsync_create_table('visits', source => 'src', target => 'dr')::text",
            &[],
        )
        .expect("a table");
    assert_eq!(made.get::<_, String>(0), "visits");
    let notices = notices.lock().expect("a lock").join("\n");
    assert!(notices.contains("CHECK constraint \"odd\" is not copied"), "{notices}");
    let shape = "SELECT string_agg(concat_ws(' ', c.relname, c.relkind, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
                   (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ', ' ORDER BY conname) FROM pg_constraint
                    WHERE conrelid = c.oid AND conname <> 'odd' AND contype IN ('p', 'c'))), E'\\n' ORDER BY c.relname)
                 FROM pg_class c WHERE c.relname LIKE 'visits%'";
    assert_eq!(trio.text(shape), pair.source.text(shape));
    assert_eq!(
        pair.target
            .text("SELECT relkind::text || ' ' || count(*) OVER () FROM pg_class WHERE relname LIKE 'visits%'"),
        "f 1"
    );
    assert_eq!(pair.copied("'visits', '20170228', 2, source => 'src'").len(), 3);
    trio.same_rows("visits", "true");
    // Once more it is there already, and nothing has been changed.
    let again = client.batch_execute(
        "DROP FOREIGN TABLE visits; SELECT cgpsync_create_table('visits', source => 'src', target => 'dr')",
    );
    let again = again.expect_err("it is there");
    let again = again.as_db_error().expect("an error of the server");
    assert_eq!(again.code().code(), "42P07", "{again:?}");
    assert!(
        again.hint().is_some_and(|hint| hint.contains("cgpsync_attach(")),
        "{again:?}"
    );
    pair.target
        .sql("DROP FOREIGN TABLE IF EXISTS visits; SELECT cgpsync_attach('visits', 'dr')");
}

#[test]
fn what_stands_for_a_table_has_its_columns_and_any_name() {
    let trio = Trio::new();
    let pair = &trio.pair;
    trio.there.sql(
        "CREATE SCHEMA \"odd Schema\"; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE TABLE \"odd Schema\".\"T 1\" (id bigint, \"odd \"\"name\" varchar(7), m mood, p public.positive, a numeric(5, 2)[], gone int);
         ALTER TABLE \"odd Schema\".\"T 1\" DROP COLUMN gone; CREATE VIEW v AS SELECT 1 AS one",
    );
    // Whoever reads a value of it would run what that role has written.
    pair.target.sql(
        "CREATE ROLE somebody; CREATE DOMAIN positive AS int CHECK (VALUE > 0); ALTER DOMAIN positive OWNER TO somebody",
    );
    let attach = |arguments: &str| pair.target.text(&format!("SELECT cgpsync_attach({arguments})"));
    assert_eq!(attach("'\"odd Schema\".\"T 1\"', 'dr', 'public.\"My T\"'"), "\"My T\"");
    let columns =
        "SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
                   FROM pg_attribute WHERE attrelid = '\"My T\"'::regclass AND attnum > 0";
    assert_eq!(
        pair.target.text(columns),
        "id bigint, \"odd \"\"name\" character varying(7), m text, p text, a numeric(5,2)[]"
    );
    let fails = |arguments: &str| {
        let sql = format!("SELECT cgpsync_attach({arguments})");
        let error = pair.target.connect().batch_execute(&sql).expect_err(arguments);
        error
            .as_db_error()
            .expect("an error of the server")
            .code()
            .code()
            .to_owned()
    };
    assert_eq!(fails("'nothing', 'dr'"), "42P01");
    assert_eq!(fails("'v', 'dr'"), "42809");
    assert_eq!(fails("'pg_catalog.pg_class', 'dr', 'public.c'"), "42501");
    assert_eq!(fails("'\"odd Schema\".\"T 1\"', 'nobody'"), "42704");
    assert_eq!(fails("'\"odd Schema\".\"T 1\"', 'dr'"), "3F000");
    assert_eq!(fails("NULL, 'dr'"), "22023");
}

#[test]
fn the_old_tools_file_gives_both_servers() {
    let trio = Trio::persons(3);
    let pair = &trio.pair;
    let config = format!(
        "{{\"host\": \"127.0.0.1\", \"port\": {}, \"dbname\": \"postgres\", \"user\": \"postgres\", \"password\": \"secret\",
           \"destination_host\": \"127.0.0.1\", \"destination_port\": {}, \"destination_dbname\": \"postgres\",
           \"destination_user\": \"postgres\", \"destination_password\": \"secret\"}}",
        pair.source.port, trio.there.port
    );
    pair.target.sql(&format!(
        "SELECT cgpsync_import_config('{config}', 'old_source', target => 'old_target');
         SELECT cgpsync_attach('persons', 'old_target', 'old_persons')"
    ));
    let done = pair.copied("'old_persons', '20170115', source => 'old_source', source_table => 'persons'");
    assert_eq!(done, ["persons_201701"]);
    trio.same_rows("persons", "born < '2017-02-01'");
    let without = config.replace("destination_host", "nothing");
    let error = pair
        .target
        .connect()
        .batch_execute(&format!(
            "SELECT cgpsync_import_config('{without}', 'a', target => 'b')"
        ))
        .expect_err("no host");
    let error = error.as_db_error().expect("an error of the server").clone();
    assert!(
        error.code().code() == "22023" && error.message().contains("\"destination_host\""),
        "{error:?}"
    );
}

#[test]
fn the_readmes_lines_for_a_target_that_cannot_load_extensions() {
    let trio = Trio::new();
    let pair = &trio.pair;
    pair.persons(20);
    pair.target.sql("DROP EXTENSION cgpsync CASCADE; DROP TABLE persons");
    for (cluster, role) in [(&pair.source, "reader"), (&trio.there, "loader")] {
        cluster.sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO {role}"
        ));
    }
    pair.source.sql("GRANT SELECT ON persons TO reader");
    let [block] = readme::blocks("A target that cannot load extensions", "sql")[..] else {
        panic!("one block");
    };
    let script = block
        .replace("'source.example'", &format!("'127.0.0.1', port '{}'", pair.source.port))
        .replace("'target.example'", &format!("'127.0.0.1', port '{}'", trio.there.port))
        .replace("dbname 'dw'", "dbname 'postgres'")
        .replace("'…'", "'secret'");
    let file = pair.target.dir.join("block.sql");
    std::fs::write(&file, script).expect("a file");
    let psql = format!("psql -X -q -v ON_ERROR_STOP=1 -f '{}'", file.display());
    let output = readme::sh(&pair.target, "postgres", &psql).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pair.remembered("persons"), "20170201");
    trio.same_rows("persons", "born < '2017-03-01'");
    assert_eq!(
        pair.target
            .text("SELECT string_agg(DISTINCT way, ',') FROM cgpsync_run_partition"),
        "exchange"
    );
    assert_eq!(
        trio.text("SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'persons%'"),
        "loader"
    );
}
