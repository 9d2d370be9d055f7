//! cgpsync_create_table: an empty table as the source's, which a sync then fills.

use crate::support::Pair;
use postgres::Client;
use postgres::error::DbError;

/// Creates a table, in the name of the session's role; gives its name and the NOTICEs.
fn create(pair: &Pair, arguments: &str) -> (String, String) {
    let (mut client, notices) = pair.target.connect_with_notices();
    let table = call(&mut client, arguments).expect("the table is created");
    let notices = notices.lock().expect("a lock").join("\n");
    (table, notices)
}

fn call(client: &mut Client, arguments: &str) -> Result<String, Box<DbError>> {
    match client.query_one(&format!("SELECT cgpsync_create_table({arguments})::text"), &[]) {
        Ok(row) => Ok(row.get(0)),
        Err(error) => Err(Box::new(error.as_db_error().expect("an error of the server").clone())),
    }
}

fn refused(pair: &Pair, arguments: &str, code: &str) -> String {
    let error = call(&mut pair.target.connect(), arguments).expect_err(arguments);
    assert_eq!(error.code().code(), code, "{error:?}");
    format!(
        "{} {} {}",
        error.message(),
        error.detail().unwrap_or(""),
        error.hint().unwrap_or("")
    )
}

/// Partitions with their parents, keys and bounds.
const TREE: &str = "SELECT string_agg(t.relid::text || ' of ' || COALESCE(t.parentrelid::text, '-') || ' by ' ||
        COALESCE(pg_get_partkeydef(t.relid), '-') || ' ' || COALESCE(pg_get_expr(c.relpartbound, c.oid), '-'), E'\n' ORDER BY t.relid::regclass::text)
    FROM pg_class r, pg_partition_tree(r.oid) t JOIN pg_class c ON c.oid = t.relid WHERE r.relname = ";

/// Columns as they print, defaults and NOT NULL included.
const COLUMNS: &str = "SELECT string_agg(concat_ws(' ', quote_ident(attname), format_type(atttypid, atttypmod), attnotnull,
        (SELECT collname FROM pg_collation l WHERE l.oid = attcollation), pg_get_expr(adbin, adrelid)), E'\n' ORDER BY attnum)
    FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND relname = ";

/// Indexes of a table and its partitions, without those that partitions have from above.
const INDEXES: &str = "SELECT string_agg(pg_get_indexdef(indexrelid) || ' ' || COALESCE(pg_get_constraintdef(k.oid), '-'), E'\n' ORDER BY i.relname)
    FROM pg_class r, pg_partition_tree(r.oid) t JOIN pg_index x ON indrelid = t.relid JOIN pg_class i ON i.oid = indexrelid
    LEFT JOIN pg_constraint k ON conindid = indexrelid AND contype IN ('p', 'u') WHERE NOT i.relispartition AND r.relname = ";

#[test]
fn every_kind_of_partitioning_is_created_and_synced() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE by_range (id int, d date NOT NULL, v text) PARTITION BY RANGE (d);
         CREATE TABLE by_range_low PARTITION OF by_range FOR VALUES FROM (MINVALUE) TO ('2017-01-01');
         CREATE TABLE by_range_2017 PARTITION OF by_range FOR VALUES FROM ('2017-01-01') TO ('2018-01-01');
         CREATE TABLE by_range_rest PARTITION OF by_range DEFAULT;
         INSERT INTO by_range SELECT g, date '2016-06-01' + g, 'v' || g FROM generate_series(1, 900) g;
         CREATE TABLE by_list (region text, v int) PARTITION BY LIST (region);
         CREATE TABLE by_list_a PARTITION OF by_list FOR VALUES IN ('it''s', NULL, 'NULL');
         CREATE TABLE by_list_b PARTITION OF by_list FOR VALUES IN ('b');
         INSERT INTO by_list VALUES ('it''s', 1), (NULL, 2), ('NULL', 3), ('b', 4);
         CREATE TABLE by_hash (id int, v int) PARTITION BY HASH (id);
         CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO by_hash SELECT g, g FROM generate_series(1, 100) g;
         CREATE TABLE by_two (a int, b varchar(8), v int) PARTITION BY RANGE (a, b);
         CREATE TABLE by_two_0 PARTITION OF by_two FOR VALUES FROM (0, MINVALUE) TO (10, 'm');
         CREATE TABLE by_two_1 PARTITION OF by_two FOR VALUES FROM (10, 'm') TO (20, MAXVALUE);
         INSERT INTO by_two SELECT g, 'k', g FROM generate_series(0, 20) g;
         CREATE TABLE deep (\"a\"\"b\" timestamptz NOT NULL, region text, v numeric(12,2)) PARTITION BY RANGE (\"a\"\"b\");
         CREATE TABLE \"Deep 1\" PARTITION OF deep FOR VALUES FROM ('2017-01-01 00:00+00') TO ('2018-01-01 00:00+00') PARTITION BY LIST (region);
         CREATE TABLE \"Deep 1 eu\" PARTITION OF \"Deep 1\" FOR VALUES IN ('de', 'fr');
         CREATE TABLE \"Deep 1 rest\" PARTITION OF \"Deep 1\" DEFAULT PARTITION BY HASH (v);
         CREATE TABLE \"Deep 1 rest 0\" PARTITION OF \"Deep 1 rest\" FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE TABLE deep_2 PARTITION OF deep FOR VALUES FROM ('2018-01-01 00:00+00') TO (MAXVALUE);
         INSERT INTO deep SELECT timestamptz '2017-11-01' + g * interval '1 day', (ARRAY['de', 'us'])[1 + g % 2], g / 3.0 FROM generate_series(1, 200) g;
         CREATE TABLE plain (id int, v text); INSERT INTO plain SELECT g, 'v' || g FROM generate_series(1, 50) g",
    );
    for table in ["by_range", "by_list", "by_hash", "by_two", "deep", "plain"] {
        let (name, notices) = create(&pair, &format!("'{table}'"));
        assert_eq!((name.as_str(), notices.as_str()), (table, ""), "{table}");
        pair.same(&format!("{TREE}'{table}'"));
        pair.same(&format!("{COLUMNS}'{table}'"));
        assert_eq!(pair.target.text(&format!("SELECT count(*) FROM {table}")), "0");
        let end = if table == "by_two" { "20" } else { "20190101" };
        pair.copied(&format!("'{table}', '{end}'"));
        pair.same_rows(table, "true");
    }
    // Twins all over: no partition needs a filter.
    assert_eq!(
        pair.target
            .text("SELECT count(source_filter) || ' of ' || count(*) FROM cgpsync_run_partition WHERE source_relation !~ 'by_hash'"),
        "0 of 11"
    );
}

#[test]
fn columns_constraints_and_indexes_come_along() {
    let pair = Pair::new();
    pair.both(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE SCHEMA dw",
    );
    pair.source.sql(
        "CREATE TABLE dw.t (
           id bigint NOT NULL, \"select\" varchar(20) DEFAULT 'it''s \\' NOT NULL, n numeric(12,2) DEFAULT 0.00, m mood DEFAULT 'it''s ok',
           p posint DEFAULT 7, c char(3) DEFAULT 'x', b bit(4), ts timestamp(3) DEFAULT '2017-01-01 00:00:00', iv interval day to second(2),
           neg int DEFAULT -1, arr text[] DEFAULT '{a,b}', s text COLLATE \"C\", quoted \"char\", k int NOT NULL,
           CONSTRAINT t_pk PRIMARY KEY (k, id) INCLUDE (n), CONSTRAINT t_n CHECK (n >= 0 AND \"select\" <> ')'),
           CONSTRAINT t_s CHECK (s ~ '^\\d*;$' OR lower(s) = ANY (ARRAY['a''b', 'c'])),
           CONSTRAINT t_u UNIQUE (k, \"select\") DEFERRABLE INITIALLY DEFERRED) PARTITION BY RANGE (k);
         CREATE TABLE dw.t_0 PARTITION OF dw.t FOR VALUES FROM (0) TO (100);
         CREATE TABLE dw.t_1 PARTITION OF dw.t FOR VALUES FROM (100) TO (200);
         ALTER TABLE dw.t_1 ADD CONSTRAINT only_here CHECK (id > 0);
         CREATE INDEX t_order ON dw.t (n DESC NULLS LAST, ts DESC, id NULLS FIRST);
         CREATE INDEX t_gin ON dw.t USING gin (arr);
         CREATE INDEX t_1_alone ON dw.t_1 USING hash (s);
         INSERT INTO dw.t (id, k, s) SELECT g, g, '7;' FROM generate_series(1, 150) g",
    );
    let (name, notices) = create(&pair, "'dw.t'");
    assert_eq!((name.as_str(), notices.as_str()), ("dw.t", ""));
    for sql in [
        format!("{COLUMNS}'t'"),
        format!("{TREE}'t'"),
        format!("{INDEXES}'t'"),
        "SELECT string_agg(conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid), E'\\n' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint
         WHERE contype = 'c' AND conrelid <> 0 AND connamespace = 'dw'::regnamespace"
            .to_owned(),
    ] {
        pair.same(&sql);
    }
    pair.copied("'dw.t', '200'");
    pair.same_rows("dw.t", "true");
    assert_eq!(
        pair.target
            .list("SELECT conname FROM pg_constraint WHERE NOT convalidated"),
        Vec::<String>::new()
    );
}

#[test]
fn what_has_no_counterpart_is_told() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE SEQUENCE seq; CREATE FUNCTION mine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE TABLE other (id int PRIMARY KEY);
         CREATE COLLATION homemade (locale = 'C');
         CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, s serial, g int GENERATED ALWAYS AS (1 + 1) STORED, at timestamptz DEFAULT now(),
           day date DEFAULT ('now'::text)::date, c text COLLATE homemade, r int REFERENCES other,
           CONSTRAINT calls CHECK (mine(r)), CONSTRAINT clock CHECK (at <= now()), CONSTRAINT kept CHECK (r > 0),
           CONSTRAINT called CHECK (nextval('seq'::regclass) > 0), CONSTRAINT rowed CHECK (ROW(r, s) > ROW(0, 0)),
           EXCLUDE USING gist (int4range(r, r) WITH &&)) WITH (fillfactor = 70);
         CREATE INDEX t_expr ON t (lower(c)); CREATE INDEX t_part ON t (s) WHERE s > 1; CREATE INDEX t_ops ON t (c text_pattern_ops);
         CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER trig BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();
         INSERT INTO other VALUES (1); INSERT INTO t (c, r) VALUES ('a', 1), ('b', NULL);
         ALTER TABLE t ADD CONSTRAINT late CHECK (s > 5) NOT VALID",
    );
    // A function of that name here must not be called by a constraint of the source's.
    pair.target.sql(
        "CREATE FUNCTION mine(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''called''; END'; CREATE SEQUENCE seq",
    );
    let (_, notices) = create(&pair, "'t'");
    for told in [
        "column \"id\" is an identity column",
        "column \"g\" is generated",
        "default of column \"s\" is not copied: nextval(",
        "default of column \"at\" is not copied: now()",
        "default of column \"day\" is not copied: ",
        "collation \"homemade\" of column \"c\" is not copied",
        "CHECK constraint \"calls\" is not copied: it names something that is not built in: public.mine(r)",
        "CHECK constraint \"clock\" is not copied: it calls ",
        "CHECK constraint \"called\" is not copied: it calls nextval(regclass)",
        "CHECK constraint \"rowed\" is not copied: it has rowcompare",
        "CHECK constraint \"late\" is not copied: rows there may break it: (s > 5)",
        "index \"t_expr\" is not copied: it is on an expression",
        "index \"t_part\" is not copied: it is partial",
        "index \"t_ops\" is not copied: it has an operator class",
        "foreign key \"t_r_fkey\" is not copied",
        "exclusion constraint \"t_int4range_excl\" is not copied",
        "trigger \"trig\" is not copied",
        "storage of t is not copied: WITH (fillfactor=70)",
    ] {
        assert!(notices.contains(told), "{told} in: {notices}");
    }
    assert_eq!(
        pair.target
            .list("SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'n'"),
        ["kept"]
    );
    pair.copied("'t', '20170101'");
    pair.same("SELECT string_agg(concat_ws(',', id, s, g, c, r), ';' ORDER BY id) FROM t");
}

/// A source may say anything: what it deparses is replaced by a catalog of its own making.
#[test]
fn a_hostile_source_gets_nothing_executed() {
    let pair = Pair::new();
    pair.target.sql("CREATE TABLE precious (v int)");
    pair.source.sql(
        "CREATE SCHEMA \"x); DROP TABLE precious; --\";
         CREATE TYPE \"x); DROP TABLE precious; --\".\"int); DROP TABLE precious; --\" AS ENUM ('a');
         CREATE TABLE typed (a \"x); DROP TABLE precious; --\".\"int); DROP TABLE precious; --\")",
    );
    let text = refused(&pair, "'typed'", "42704");
    assert!(text.contains("column \"a\" is of type"), "{text}");
    // Its own pg_get_expr, found through its own pg_catalog.
    pair.source.sql(
        "CREATE TABLE t (a int DEFAULT 1, b text, CONSTRAINT evil CHECK (a > 0), CONSTRAINT \"x\"\"; DROP TABLE precious; --\" CHECK (a > 0));
         ALTER FUNCTION pg_catalog.pg_get_expr(pg_node_tree, oid) RENAME TO pg_get_expr_before;
         CREATE TABLE public.said (text text); INSERT INTO said VALUES ('');
         CREATE FUNCTION pg_catalog.pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql STABLE AS 'SELECT text FROM public.said'",
    );
    for said in [
        "1; DROP TABLE precious",
        "true); DROP TABLE precious; --",
        "true), DROP COLUMN b, ADD CHECK (true",
        "$$'$$ = b); DROP TABLE precious; SELECT ('",
        "b = E'\\'' ); DROP TABLE precious; --'",
        "(SELECT count(*) FROM precious) = 0",
        "pg_sleep(100) IS NULL",
        "pg_catalog.pg_terminate_backend(pg_backend_pid())",
        "set_config('session_authorization', 'postgres', false) > ''",
    ] {
        pair.source.sql(&format!("UPDATE said SET text = $said${said}$said$"));
        let (mut client, notices) = pair.target.connect_with_notices();
        call(&mut client, "'t'").expect("the rest is created");
        let notices = notices.lock().expect("a lock").join("\n");
        assert!(
            notices.contains("CHECK constraint \"evil\" is not copied"),
            "{said}: {notices}"
        );
        assert!(
            notices.contains("default of column \"a\" is not copied"),
            "{said}: {notices}"
        );
        assert_eq!(
            pair.target.text(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped"
            ),
            "2"
        );
        pair.target.sql("TABLE precious; DROP TABLE t");
    }
}

#[test]
fn names_schemas_and_privileges_are_checked() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE SCHEMA there; CREATE TABLE there.t (k int PRIMARY KEY) PARTITION BY RANGE (k);
         CREATE TABLE there.t_0 PARTITION OF there.t FOR VALUES FROM (0) TO (10);
         CREATE VIEW there.v AS SELECT k, k::text AS label FROM there.t; INSERT INTO there.t VALUES (1), (2);
         CREATE TABLE there.odd (k int) PARTITION BY RANGE ((k + 1)); CREATE TABLE there.none ()",
    );
    assert!(refused(&pair, "NULL", "22023").contains("source_table"));
    assert!(refused(&pair, "'a b'", "22023").contains("source_table \"a b\""));
    assert!(refused(&pair, "'there.t', 'a.b.c'", "22023").contains("target_table"));
    assert!(refused(&pair, "'there.missing'", "42P01").contains("does not exist on server"));
    assert!(refused(&pair, "'there.t'", "3F000").contains("schema \"there\" does not exist"));
    assert!(refused(&pair, "'there.t', source => 'nobody'", "42704").contains("nobody"));
    assert!(refused(&pair, "'there.odd', 'public.odd'", "0A000").contains("an expression"));

    let (name, _) = create(&pair, "'there.t', 'public.\"Mine\"'");
    assert_eq!(name, "\"Mine\"");
    assert_eq!(pair.copied("'\"Mine\"', '5', source_table => 'there.t'"), ["t_0"]);
    let text = refused(&pair, "'there.t', 'public.\"Mine\"'", "42P07");
    assert!(
        text.contains("already exists") && text.contains("target_table"),
        "{text}"
    );
    // The index's name is taken: nothing of the table is left.
    let text = refused(&pair, "'there.t', 'public.u'", "42P07");
    assert!(
        text.contains("cannot create index \"t_pkey\"") && text.contains("target_table"),
        "{text}"
    );
    assert_eq!(pair.target.text("SELECT to_regclass('u')"), "");

    create(&pair, "'there.v', 'public.v'");
    assert_eq!(pair.copied("'v', '5', source_table => 'there.v'"), ["v"]);
    assert_eq!(
        pair.target.text("SELECT string_agg(label, ',' ORDER BY k) FROM v"),
        "1,2"
    );
    create(&pair, "'there.none', 'public.none'");

    pair.target.sql(
        "CREATE ROLE plain LOGIN; GRANT USAGE ON FOREIGN SERVER src TO plain; CREATE SCHEMA there; GRANT USAGE ON SCHEMA there TO plain;
         CREATE USER MAPPING FOR plain SERVER src OPTIONS (user 'postgres', password 'secret')",
    );
    let mut plain = pair.target.connect_as("plain");
    let error = call(&mut plain, "'there.t'").expect_err("no CREATE on the schema");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("CREATE")), "{error:?}");
    pair.target.sql("GRANT CREATE ON SCHEMA there TO plain");
    call(&mut plain, "'there.t'").expect("now it may");
    assert_eq!(
        pair.target
            .text("SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'there'::regnamespace"),
        "plain"
    );
    pair.sync_as(&mut plain, "'there.t', '5'").expect("its own table");
}

#[test]
fn it_is_the_callers_transaction() {
    let pair = Pair::new();
    pair.source
        .sql("CREATE TABLE t (k int CHECK (k > 0), at date DEFAULT now())");
    let mut client = pair.target.connect();
    client
        .batch_execute("SET standard_conforming_strings = off; SET DateStyle = 'German'")
        .expect("settings");
    client
        .batch_execute("BEGIN; SELECT cgpsync_create_table('t'); ROLLBACK")
        .expect("both work");
    assert_eq!(pair.target.text("SELECT to_regclass('t')"), "");
    client
        .batch_execute(
            "BEGIN; SAVEPOINT a; SELECT cgpsync_create_table('t'); RELEASE a; INSERT INTO t VALUES (1); COMMIT",
        )
        .expect("usable at once");
    let settings = client.query_one(
        "SELECT current_setting('DateStyle') || current_setting('search_path')",
        &[],
    );
    assert_eq!(
        settings.expect("a row").get::<_, String>(0),
        "German, DMY\"$user\", public"
    );
    let error = client
        .batch_execute("BEGIN READ ONLY; SELECT cgpsync_create_table('t', 'public.u')")
        .expect_err("read-only");
    assert_eq!(error.code().expect("a code").code(), "25006");
    pair.all_gone();
}

#[test]
fn text_ranges_keep_the_order_they_have_on_the_source() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (k text COLLATE \"POSIX\", v int) PARTITION BY RANGE (k);
         CREATE TABLE t_a PARTITION OF t FOR VALUES FROM ('A') TO ('a'); CREATE TABLE t_b PARTITION OF t FOR VALUES FROM ('a') TO ('z')",
    );
    pair.source.sql("CREATE DATABASE c TEMPLATE template0 LOCALE 'C'");
    pair.source.connect_to("c").batch_execute(
        "CREATE TABLE u (k varchar(9), v int) PARTITION BY RANGE (k); CREATE TABLE u_a PARTITION OF u FOR VALUES FROM ('A') TO ('a');
         INSERT INTO u VALUES ('B', 1)",
    ).expect("a table in another database");
    let (_, notices) = create(&pair, "'t'");
    assert_eq!(notices, "");
    pair.target.sql(&format!(
        "CREATE SERVER c FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'c');
         CREATE USER MAPPING FOR postgres SERVER c OPTIONS (user 'postgres', password 'secret')",
        pair.source.port
    ));
    let (_, notices) = create(&pair, "'u', source => 'c'");
    assert!(
        notices.contains("column \"k\" gets COLLATE \"pg_catalog\".\"C\""),
        "{notices}"
    );
    assert_eq!(
        pair.target.list("SELECT collname FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation WHERE attname = 'k' ORDER BY 1"),
        ["C", "C", "POSIX", "POSIX", "POSIX"]
    );
    assert_eq!(pair.copied("'u', 'Z', source => 'c'"), ["u_a"]);
    assert_eq!(
        pair.target.text("SELECT source_relation FROM cgpsync_run_partition"),
        "\"public\".\"u_a\""
    );
}
