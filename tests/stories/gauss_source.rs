//! Copying from openGauss, which a PostgreSQL plays with the fixture's catalogs and the relay of `support::gauss`.

use crate::support::cluster::Cluster;
use crate::support::gauss::{self, Asks, Gauss};
use postgres::NoTls;

/// What the COPYs read that were heard since the last question: from FROM on.
fn copies(gauss: &Gauss) -> Vec<String> {
    let heard = gauss.heard();
    gauss.ask(Asks::Sha256, 2_048);
    let copies = heard.iter().filter_map(|sql| {
        let (_, from) = sql.split_once("COPY (SELECT ")?.1.split_once(" FROM ")?;
        let (from, _) = from.split_once(") TO STDOUT")?;
        Some(from.replace("\"public\".", "").replace('"', ""))
    });
    let mut copies: Vec<String> = copies.collect();
    copies.sort();
    copies
}

/// An action that runs `sql` on the cluster.
fn change(cluster: &Cluster, sql: &'static str) -> impl FnOnce() + Send + 'static {
    let config = cluster.config();
    move || {
        let mut client = config.connect(NoTls).expect("a connection");
        client.batch_execute(sql).expect(sql);
    }
}

type Texts = &'static [&'static str];

const G_RANGE: &str = "CREATE TABLE g_range (id int, created timestamp(0), note text) PARTITION BY RANGE (created)";

#[test]
fn partitions_are_read_by_their_names_whatever_they_are_divided_by() {
    let (pair, gauss) = gauss::pair();
    pair.source.sql(
        "INSERT INTO g_range VALUES (-1, NULL, 'no key'); INSERT INTO g_two_columns VALUES (3, NULL), (10, NULL), (19, NULL);
         CREATE TABLE g_both (a int, b int);
         SELECT og_fixture.partition_by('g_both', 'range', '{a,b}');
         SELECT og_fixture.add_partition('g_both', 'low', 'range', '{10,5}');
         SELECT og_fixture.add_partition('g_both', 'high', 'range', '{NULL,NULL}');
         INSERT INTO g_both VALUES (NULL, NULL), (NULL, 1), (1, NULL), (10, NULL), (20, NULL), (1, 1), (10, 4), (10, 5), (30, 1);
         CREATE TABLE g_below (id int, created timestamp(0) NOT NULL);
         SELECT og_fixture.partition_by('g_below', 'range', '{created}');
         SELECT og_fixture.add_partition('g_below', 'p1', 'range', '{2017-01-01}', sub_columns => '{id}');
         SELECT og_fixture.add_partition('g_below', 'pmax', 'range', '{NULL}', sub_columns => '{id}');
         SELECT og_fixture.add_partition('g_below', 'p1_0', 'hash', '{0}', 'p1');
         SELECT og_fixture.add_partition('g_below', 'p1_1', 'hash', '{1}', 'p1');
         SELECT og_fixture.add_partition('g_below', 'pmax_0', 'hash', '{0}', 'pmax');
         INSERT INTO g_below SELECT g, timestamp '2016-12-01' + g * interval '1 day' FROM generate_series(0, 60) g",
    );
    pair.target.sql(&format!(
        "{G_RANGE};
         CREATE TABLE g_range_rest PARTITION OF g_range DEFAULT;
         CREATE TABLE g_interval (id int, created timestamp(0)) PARTITION BY RANGE (created);
         CREATE TABLE g_varchar (id int, dt varchar(64), v text) PARTITION BY RANGE (dt);
         CREATE TABLE g_list (id int, region varchar(10)) PARTITION BY LIST (region);
         CREATE TABLE g_list_rest PARTITION OF g_list DEFAULT;
         CREATE TABLE g_two_columns (a int, b int) PARTITION BY RANGE (a, b);
         CREATE TABLE g_two_columns_rest PARTITION OF g_two_columns DEFAULT;
         CREATE TABLE g_both (a int, b int) PARTITION BY RANGE (a, b);
         CREATE TABLE g_both_rest PARTITION OF g_both DEFAULT;
         CREATE TABLE g_two (id int, created timestamp(0), region varchar(10)) PARTITION BY RANGE (created);
         CREATE TABLE g_below (id int, created timestamp(0) NOT NULL) PARTITION BY RANGE (created);
         CREATE TABLE g_hash (id int, v text) PARTITION BY HASH (id);
         CREATE TABLE g_hash_0 PARTITION OF g_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE g_hash_1 PARTITION OF g_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    ));
    // Table, end_tm, what is read.
    let tables: [(&str, &str, Texts); 9] = [
        (
            "g_range",
            "2020",
            &[
                "PARTITION (p2016)",
                "PARTITION (p2017)",
                "PARTITION (pmax) WHERE (created IS NOT NULL)",
                "PARTITION (pmax) WHERE (created IS NULL)",
            ],
        ),
        (
            "g_interval",
            "2017",
            &["PARTITION (p1)", "PARTITION (sys_p1)", "PARTITION (sys_p2)"],
        ),
        ("g_varchar", "2016", &["PARTITION (p201601)", "PARTITION (p201602)"]),
        ("g_list", "x", &["PARTITION (eu)", "PARTITION (other)"]),
        (
            "g_two_columns",
            "1000",
            &[
                "PARTITION (p1) WHERE (a IS NOT NULL AND b IS NOT NULL)",
                "PARTITION (p2) WHERE (a IS NOT NULL AND b IS NOT NULL)",
                "WHERE (a IS NULL OR b IS NULL)",
            ],
        ),
        (
            "g_both",
            "1000",
            &[
                "PARTITION (high) WHERE (a IS NOT NULL AND b IS NOT NULL)",
                "PARTITION (low) WHERE (a IS NOT NULL AND b IS NOT NULL)",
                "WHERE (a IS NULL OR b IS NULL)",
            ],
        ),
        // What is one table here is read with all that is below it there.
        ("g_two", "2018", &["PARTITION (p2016)", "PARTITION (p2017)"]),
        ("g_below", "2018", &["PARTITION (p1)", "PARTITION (pmax)"]),
        ("g_hash", "x", &["", ""]),
    ];
    for (table, end, wanted) in tables {
        pair.copied(&format!("'{table}', '{end}'"));
        pair.same_rows(table, "true");
        let wanted: Vec<String> = wanted
            .iter()
            .map(|part| format!("{table} {part}").trim_end().to_owned())
            .collect();
        assert_eq!(copies(&gauss), wanted);
        let verify = format!("SELECT bool_and(matches) FROM cgpsync_verify('{table}', '{end}')");
        assert_eq!(pair.target.text(&verify), "t", "{table}");
    }
    // One that an interval has made reaches no further down than that.
    assert_eq!(
        pair.target.list(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname ~ '^g_interval_sys_p.$'
             ORDER BY relname"
        ),
        [
            "FOR VALUES FROM ('2016-02-01 00:00:00') TO ('2016-03-01 00:00:00')",
            "FOR VALUES FROM ('2016-04-01 00:00:00') TO ('2016-05-01 00:00:00')"
        ]
    );
    assert_eq!(pair.target.text("SELECT note FROM g_range_rest"), "no key");
    // Rows that have no place here keep the point where it is.
    pair.target.sql("DROP TABLE g_range_rest; DELETE FROM sync_table");
    let (_, notices) = pair.told("'g_range', '2020'");
    assert!(
        notices.contains("\"public\".\"g_range\" PARTITION (\"pmax\") with (\"created\" IS NULL)"),
        "{notices}"
    );
    assert_eq!(pair.remembered("g_range"), "");
}

#[test]
fn its_own_types_are_read_as_what_they_are_here() {
    let (pair, _gauss) = gauss::pair();
    pair.source.sql(
        "CREATE TABLE own (k smalldatetime NOT NULL, t tinyint DEFAULT 7, n nvarchar2, c clob, b blob, r raw);
         UPDATE pg_attribute SET atttypmod = 14 WHERE attrelid = 'own'::regclass AND attname = 'n';
         SELECT og_fixture.partition_by('own', 'range', '{k}');
         SELECT og_fixture.add_partition('own', 'january', 'range', '{\"2024-02-01 00:00:00\"}');
         SELECT og_fixture.add_partition('own', 'rest', 'range', '{NULL}');
         INSERT INTO own VALUES ('2024-01-31 23:59', 255, 'née', 'long', '00ff', 'DEADBEEF'), ('2024-02-01', 0, '', '', '', NULL),
                                ('2024-03-01', NULL, NULL, NULL, NULL, NULL)",
    );
    let all = "SELECT concat_ws(' ', k, t, n, c, b, r, num_nulls(t, n, c, b, r)) FROM own ORDER BY k";
    let rows = [
        "2024-01-31 23:59:00 255 née long \\x00ff \\xdeadbeef 0",
        "2024-02-01 00:00:00 0   \\x 1",
        "2024-03-01 00:00:00 5",
    ];
    let matches = |partitions: usize| {
        let verified = pair.target.list("SELECT matches FROM cgpsync_verify('own', '2024')");
        assert_eq!(verified, vec!["t"; partitions]);
    };
    pair.target.sql("SELECT cgpsync_create_table('own')");
    assert_eq!(
        pair.target.list(
            "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid))
             FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = 'own'::regclass AND attnum > 0 ORDER BY attnum"
        ),
        [
            "k timestamp without time zone",
            "t smallint '7'::smallint",
            "n character varying(10)",
            "c text",
            "b bytea",
            "r bytea"
        ]
    );
    assert_eq!(
        pair.copied("'own', '2024', strict => true"),
        ["own_january", "own_rest"]
    );
    assert_eq!(pair.target.list(all), rows);
    matches(2);
    // As text, where the types here are others.
    pair.target
        .sql("DROP TABLE own; CREATE TABLE own (k timestamp, t int, n text, c varchar(20), b bytea, r text)");
    pair.copied("'own', '2024'");
    assert_eq!(pair.target.list(all), rows);
}

#[test]
fn a_bound_that_may_be_two_days_is_what_its_rows_say() {
    let (pair, _gauss) = gauss::pair();
    for (table, style, bound) in [
        ("sure", "MDY", "01/02/2024"),
        ("unsure", "DMY", "01/02/2024"),
        ("none", "DMY", "31/12/2024"),
    ] {
        pair.source.sql(&format!(
            "SET datestyle = 'ISO, {style}'; CREATE TABLE {table} (d timestamp(0) NOT NULL);
             SELECT og_fixture.partition_by('{table}', 'range', '{{d}}');
             SELECT og_fixture.add_partition('{table}', 'first', 'range', '{{{bound}}}');
             SELECT og_fixture.add_partition('{table}', 'last', 'range', '{{2025-01-01}}');
             INSERT INTO {table} SELECT timestamp '2023-12-25' + g * interval '1 day' FROM generate_series(0, 90) g"
        ));
        pair.target.sql(&format!(
            "CREATE TABLE {table} (d timestamp(0) NOT NULL) PARTITION BY RANGE (d)"
        ));
    }
    pair.copied("'sure', '2024'");
    pair.same_rows("sure", "true");
    let bound = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = '";
    assert_eq!(
        pair.target.text(&format!("{bound}sure_last'")),
        "FOR VALUES FROM ('2024-01-02 00:00:00') TO ('2025-01-01 00:00:00')"
    );
    for (table, text, detail) in [
        (
            "unsure",
            "01/02/2024",
            "30 rows of the partition are not within it, with \"d\" from 2024-01-02 00:00:00 to 2024-01-31 00:00:00.",
        ),
        ("none", "31/12/2024", "date/time field value out of range"),
    ] {
        let error = pair.sync(&format!("'{table}', '2024'")).expect_err(text);
        assert_eq!(
            (error.code().code(), error.message()),
            (
                "22008",
                &*format!("bound '{text}' of \"public\".\"{table}\" PARTITION (\"first\") cannot be told for sure")
            )
        );
        assert!(
            error.detail().is_some_and(|found| found.contains(detail)),
            "{:?}",
            error.detail()
        );
        let create = format!("SELECT cgpsync_create_table('{table}', 'public.other')");
        let refused = pair.target.connect().batch_execute(&create).expect_err(text);
        assert_eq!(refused.code().map(|code| code.code()), Some("22008"));
    }
    pair.source
        .sql("UPDATE pg_partition SET boundaries = '{now}' WHERE relname = 'last' AND parentid = 'sure'::regclass");
    let error = pair.sync("'sure', '2024'").expect_err("a bound that moves");
    assert_eq!(error.code().code(), "22008");
    assert_eq!(error.detail(), Some("It is another time each time that it is read."));
    // What the hint says helps.
    pair.source.sql("ALTER ROLE postgres SET datestyle = 'ISO, DMY'");
    for table in ["unsure", "none"] {
        pair.copied(&format!("'{table}', '2024'"));
        pair.same_rows(table, "true");
    }
    assert_eq!(
        pair.target.text(&format!("{bound}unsure_last'")),
        "FOR VALUES FROM ('2024-02-01 00:00:00') TO ('2025-01-01 00:00:00')"
    );
}

#[test]
fn a_snapshot_is_shared_where_the_sessions_prove_it() {
    let (pair, gauss) = gauss::pair();
    pair.target.sql(G_RANGE);
    let is_shared = || {
        pair.target
            .text("SELECT snapshot IS NOT NULL FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
    };
    let more = "INSERT INTO g_range VALUES (-1, '2016-05-05'), (-1, '2017-05-05'), (-1, '2018-05-05')";
    gauss.before("COPY (SELECT", change(&pair.source, more));
    pair.copied("'g_range', '2020'");
    assert_eq!(is_shared(), "t");
    assert_eq!(pair.target.text("SELECT count(*) FROM g_range"), "1000");
    let takes = |heard: &[String]| heard.iter().any(|sql| sql.contains("SET TRANSACTION SNAPSHOT"));
    assert!(takes(&gauss.heard()));

    // The first one to take it over says whether it is the same; this time only the next ones have another.
    let switch = change(&pair.source, "SELECT nextval('og_fixture.other_snapshots')");
    let again = gauss.clone();
    gauss.before("SET TRANSACTION SNAPSHOT", move || {
        again.before("SET TRANSACTION SNAPSHOT", switch);
    });
    let error = pair
        .sync("'g_range', '2020', 1, since => '2016'")
        .expect_err("another snapshot");
    assert_eq!(error.code().code(), "40001");
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains("gave a session another snapshot") && detail.contains("shared_snapshot 'off'"),
        "{detail}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM g_range"), "1000");

    // Now that one, too.
    let (_, notices) = pair.told("'g_range', '2020', since => '2016'");
    assert!(
        notices.contains("each partition is read in one of its own"),
        "{notices}"
    );
    assert_eq!(is_shared(), "f");
    pair.same_rows("g_range", "true");

    gauss.ask(Asks::Sha256, 2_048);
    pair.target.sql("ALTER SERVER src OPTIONS (ADD shared_snapshot 'off')");
    pair.copied("'g_range', '2020', since => '2016'");
    assert!(is_shared() == "f" && !takes(&gauss.heard()));
}

#[test]
fn a_partition_that_is_another_one_meanwhile_is_not_taken_for_the_one_that_was_planned() {
    let (pair, gauss) = gauss::pair();
    pair.target.sql(G_RANGE);
    pair.copied("'g_range', '2020'");
    // What was begun and undone has changed nothing, though it has left its mark.
    let _ = pair
        .source
        .connect()
        .batch_execute("BEGIN; SELECT og_fixture.truncate_partition('g_range', 'p2016'); ROLLBACK");
    pair.copied("'g_range', '2020', since => '2016'");
    // In the run's snapshot, and in one of the partition's own.
    for (option, sql, code) in [
        (
            "on",
            "SELECT og_fixture.truncate_partition('g_range', 'p2016')",
            "40001",
        ),
        // Its server knows no such partition any more.
        (
            "on",
            "SELECT og_fixture.rename_partition('g_range', 'p2016', 'p16')",
            "40001",
        ),
        // Another one has its name: rows of 2017 are refused here.
        (
            "on",
            "SELECT og_fixture.rename_partition('g_range', 'p16', 'p'), og_fixture.rename_partition('g_range', 'p2017', 'p16')",
            "40001",
        ),
        (
            "off",
            "UPDATE pg_partition SET boundaries = '{2016-07-01}' WHERE relname = 'p'",
            "40001",
        ),
    ] {
        pair.target
            .sql(&format!("ALTER SERVER src OPTIONS (ADD shared_snapshot '{option}')"));
        gauss.before("COPY (SELECT", change(&pair.source, sql));
        let error = pair
            .sync("'g_range', '20161231', 1, since => '20160101'")
            .expect_err(sql);
        assert_eq!(error.code().code(), code, "{sql}: {error:?}");
        assert_eq!(pair.target.text("SELECT count(*) FROM g_range_p2016"), "366", "{sql}");
        pair.target.sql("ALTER SERVER src OPTIONS (DROP shared_snapshot)");
    }
    pair.source
        .sql("UPDATE pg_partition SET boundaries = '{2017-01-01}' WHERE relname = 'p'");
    // The next call takes it as it is.
    pair.copied("'g_range', '2020', since => '2016'");
    pair.same_rows("g_range", "true");

    // A row makes a partition of an interval table at any moment.
    pair.target
        .sql("CREATE TABLE g_interval (id int, created timestamp(0)) PARTITION BY RANGE (created)");
    let row = "SELECT og_fixture.add_partition('g_interval', 'sys_p3', 'interval', '{2016-07-01}');
               INSERT INTO g_interval VALUES (-1, '2016-06-05')";
    gauss.before("COPY (SELECT", change(&pair.source, row));
    let (_, notices) = pair.told("'g_interval', '2017'");
    assert!(
        notices.contains(
            "partitions that it had not, or not by this name, when the run began: \"g_interval\" PARTITION (\"sys_p3\"). \
             They were not read, and end_tm is not remembered"
        ),
        "{notices}"
    );
    pair.copied("'g_interval', '2017'");
    pair.same_rows("g_interval", "true");
}

#[test]
fn a_table_like_it_has_its_partitions_and_indexes_and_tells_what_is_left_out() {
    let (pair, gauss) = gauss::pair();
    pair.source.sql(
        "ALTER TABLE g_two ADD PRIMARY KEY (id, created, region); CREATE UNIQUE INDEX g_two_global ON g_two (id);
         CREATE INDEX g_two_created ON g_two (created DESC NULLS LAST); CREATE INDEX g_two_even ON g_two (id) WHERE id % 2 = 0;
         CREATE TABLE g_below (id int, created timestamp(0) NOT NULL);
         SELECT og_fixture.partition_by('g_below', 'range', '{created}');
         SELECT og_fixture.add_partition('g_below', 'p1', 'range', '{2017-01-01}', sub_columns => '{id}');
         SELECT og_fixture.add_partition('g_below', 'p1_0', 'hash', '{0}', 'p1');
         UPDATE pg_class SET reloptions = '{orientation=column,compression=low}' WHERE oid = 'g_below'::regclass;
         INSERT INTO g_below VALUES (1, '2016-05-05');
         CREATE TABLE g_pairs (a int, b int);
         SELECT og_fixture.partition_by('g_pairs', 'list', '{a,b}');
         SELECT og_fixture.add_partition('g_pairs', 'p1', 'list', '{\"{1,2}\"}', condition => '(a, b) = (1, 2)');
         INSERT INTO g_pairs VALUES (1, 2);
         CREATE TABLE g_years (d timestamp(0));
         SELECT og_fixture.partition_by('g_years', 'range', '{d}');
         UPDATE pg_partition SET partkeyexpr = '{FUNCEXPR}' WHERE parentid = 'g_years'::regclass;
         SELECT og_fixture.add_partition('g_years', 'p1', 'range', '{2017}', condition => 'd < ''2017-01-01''');
         INSERT INTO g_years VALUES ('2016-05-05')",
    );
    // Table; partitions, without the table's name; what is said; what is read.
    let tables: [(&str, Texts, Texts, Texts); 7] = [
        (
            "g_two",
            &[
                "_p2016 FOR VALUES FROM (MINVALUE) TO ('2017-01-01 00:00:00')",
                "_p2016_p2016_eu FOR VALUES IN ('de', 'fr')",
                "_p2016_p2016_other DEFAULT",
                "_p2017 FOR VALUES FROM ('2017-01-01 00:00:00') TO ('2018-01-01 00:00:00')",
                "_p2017_p2017_all DEFAULT",
            ],
            &[
                "index \"g_two_even\" is not copied: it is partial",
                "unique index \"g_two_global\" is not copied: it lacks column \"created\" of the partition key",
            ],
            &[
                "SUBPARTITION (p2016_eu)",
                "SUBPARTITION (p2016_other)",
                "SUBPARTITION (p2017_all)",
            ],
        ),
        (
            "g_range",
            &[
                "_p2016 FOR VALUES FROM (MINVALUE) TO ('2017-01-01 00:00:00')",
                "_p2017 FOR VALUES FROM ('2017-01-01 00:00:00') TO ('2018-01-01 00:00:00')",
                "_pmax FOR VALUES FROM ('2018-01-01 00:00:00') TO (MAXVALUE)",
            ],
            &[],
            &[
                "PARTITION (p2016)",
                "PARTITION (p2017)",
                "PARTITION (pmax) WHERE (created IS NOT NULL)",
            ],
        ),
        (
            "g_list",
            &["_eu FOR VALUES IN ('de', 'fr', 'it')", "_other DEFAULT"],
            &[],
            &["PARTITION (eu)", "PARTITION (other)"],
        ),
        (
            "g_hash",
            &[],
            &["partitioning by HASH is not copied: the table has no partitions here"],
            &[""],
        ),
        (
            "g_below",
            &["_p1 FOR VALUES FROM (MINVALUE) TO ('2017-01-01 00:00:00')"],
            &[
                "storage of \"public\".\"g_below\" is not copied: WITH (orientation=column, compression=low)",
                "subpartitions by HASH are not copied: each partition is one table here",
            ],
            &["PARTITION (p1)"],
        ),
        (
            "g_pairs",
            &[],
            &["partitioning by LIST on several columns is not copied: the table has no partitions here"],
            &[""],
        ),
        (
            "g_years",
            &[],
            &["partitioning by an expression is not copied: the table has no partitions here"],
            &[""],
        ),
    ];
    for (table, partitions, said, read) in tables {
        let (mut client, notices) = pair.target.connect_with_notices();
        let create = format!("SELECT cgpsync_create_table('{table}')");
        client.batch_execute(&create).expect(table);
        let mut notices = notices.lock().expect("a lock").clone();
        notices.sort();
        assert_eq!(notices, said, "{table}");
        let found = pair.target.list(&format!(
            "SELECT substr(relname, length('{table}') + 1) || ' ' || pg_get_expr(relpartbound, oid) FROM pg_class
             WHERE relname LIKE '{table}\\_%' AND relispartition AND relkind IN ('r', 'p') ORDER BY relname COLLATE \"C\""
        ));
        assert_eq!(found, partitions, "{table}");
        pair.copied(&format!("'{table}', '2020'"));
        pair.same_rows(table, "true");
        let read: Vec<String> = read
            .iter()
            .map(|part| format!("{table} {part}").trim_end().to_owned())
            .collect();
        assert_eq!(copies(&gauss), read);
    }
    assert_eq!(
        pair.target
            .list("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'g_two'::regclass ORDER BY 1"),
        [
            "CREATE INDEX g_two_created ON ONLY public.g_two USING btree (created DESC NULLS LAST)",
            "CREATE UNIQUE INDEX g_two_pkey ON ONLY public.g_two USING btree (id, created, region)"
        ]
    );
}

/// There is no setting over there that makes it an error.
#[test]
fn policies_that_may_hide_rows_are_an_error() {
    let (pair, gauss) = gauss::pair();
    gauss.set_password("reader", "r");
    pair.source.sql(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON g_range TO reader;
         UPDATE pg_class SET reloptions = '{orientation=row,enable_rowsecurity=true}' WHERE oid = 'g_range'::regclass",
    );
    pair.target.sql(G_RANGE);
    // Who administers the server sees all rows.
    pair.copied("'g_range', '2020'");
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'reader', SET password 'r')");
    for call in ["sync", "plan", "verify"] {
        let error = pair
            .target
            .connect()
            .batch_execute(&format!("SELECT * FROM cgpsync_{call}('g_range', '2020')"))
            .expect_err(call);
        let error = error.as_db_error().expect("a server's error");
        assert_eq!(error.code().code(), "42501", "{call}: {error:?}");
        assert!(
            error.message().contains("may hide rows from \"reader\""),
            "{call}: {error:?}"
        );
    }
    pair.source.sql("ALTER TABLE g_range OWNER TO reader");
    pair.copied("'g_range', '2020', since => '2016'");
    pair.same_rows("g_range", "true");
}

/// docs/sources.md, word for word but for where the server is.
#[test]
fn the_ten_lines_of_the_documentation_do_what_they_say() {
    const SOURCES: &str = include_str!("../../docs/sources.md");
    let (pair, gauss) = gauss::pair();
    pair.source.sql(
        "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int, day timestamp(0) NOT NULL, note nvarchar2);
         SELECT og_fixture.partition_by('sales.orders', 'interval', '{day}', '1 month');
         SELECT og_fixture.add_partition('sales.orders', 'p1', 'range', '{2024-06-01}');
         SELECT og_fixture.add_partition('sales.orders', 'sys_p1', 'interval', '{2024-07-01}');
         INSERT INTO sales.orders SELECT g, timestamp '2024-05-01' + g * interval '1 day', 'note ' || g FROM generate_series(0, 60) g",
    );
    gauss.set_password("cgpsync_reader", "secret");
    pair.source.sql(
        "CREATE ROLE cgpsync_reader LOGIN; GRANT USAGE ON SCHEMA sales TO cgpsync_reader; GRANT SELECT ON sales.orders TO cgpsync_reader",
    );
    pair.target.sql("DROP EXTENSION cgpsync CASCADE");
    let (_, lines) = SOURCES.split_once("```sql\n").expect("a block");
    let (lines, _) = lines.split_once("```").expect("its end");
    assert!(lines.lines().count() <= 10, "{lines}");
    let lines = lines
        .replace("gauss.example", "127.0.0.1")
        .replace("port '5432'", &format!("port '{}'", gauss.port))
        .replace("dbname 'dw'", "dbname 'postgres'");
    lines.lines().for_each(|line| pair.target.sql(line));
    let content = "SELECT count(*) || ' ' || sum(id) || ' ' || max(note) FROM sales.orders";
    assert_eq!(pair.target.text(content), pair.source.text(content));
    // The night after: a partition of this month, which is new, and made here.
    pair.source.sql(
        "SELECT og_fixture.add_partition('sales.orders', 'sys_p2', 'interval',
                                         ARRAY[to_char(date_trunc('month', now()) + interval '1 month', 'YYYY-MM-DD')]);
         INSERT INTO sales.orders VALUES (100, now(), 'new')",
    );
    let nightly = lines.lines().last().expect("a line");
    pair.target.sql(nightly);
    assert_eq!(pair.target.text(content), pair.source.text(content));
    assert_eq!(pair.target.text("SELECT note FROM sales.orders_sys_p2"), "new");
}
