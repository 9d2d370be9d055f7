//! The fixtures themselves: a source that pretends must answer what the real one answers. The expected texts were
//! printed by a Greenplum 6.24.3.

use crate::support::cluster::Cluster;
use crate::support::fixture;
use postgres::{Client, SimpleQueryMessage};
use std::io::Read;

/// A session as the extension's own are: every name is looked up in pg_catalog alone.
fn pinned(cluster: &Cluster) -> Client {
    let mut client = cluster.connect();
    client
        .batch_execute("SET search_path = pg_catalog; SET TimeZone = 'UTC'")
        .expect("settings");
    client
}

/// The rows of a query, columns parted by bars, NULLs empty.
fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{e:?} in: {sql}"));
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|i| row.get(i).unwrap_or(""));
            Some(cells.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.iter().filter_map(line).collect()
}

fn copied(client: &mut Client, sql: &str) -> usize {
    let mut text = String::new();
    let mut reader = client.copy_out(sql).expect("a copy");
    reader.read_to_string(&mut text).expect("its rows");
    text.lines().count()
}

/// SQLSTATE of a statement that must fail.
fn refused(client: &mut Client, sql: &str) -> String {
    let error = client.batch_execute(sql).expect_err(sql);
    error.code().expect("an error of the server").code().to_owned()
}

/// The query of the old tool's view, for one table.
fn view_query(table: &str) -> String {
    format!(
        "SELECT pp.parrelid::regclass table_name, pr1.parchildrelid::regclass child_tbl_name, pr1.parname, \
         pr1.parruleord, \
         pg_get_expr(pr1.parrangestart,pr1.parchildrelid), pg_get_expr(pr1.parrangeend,pr1.parchildrelid), \
         substring(parrangeend,'consttype ([0-9]+)')::integer::regtype FROM pg_partition pp, pg_partition_rule pr1 \
         WHERE pp.paristemplate = false AND pr1.paroid = pp.oid AND pp.parkind = 'r' \
         AND pp.parrelid = '{table}'::regclass \
         ORDER BY pp.parlevel, pr1.parruleord, pr1.parchildrelid::regclass::text"
    )
}

#[test]
fn classic_catalogs_answer_like_a_real_greenplum_6() {
    let cluster = Cluster::start("");
    fixture::greenplum6(&cluster);
    let mut client = cluster.connect();
    client.batch_execute("SET TimeZone = 'UTC'").expect("a setting");

    let sections = include_str!("../fixtures/greenplum6_view.txt").split("\n# ").skip(1);
    let mut all = 0;
    for section in sections {
        let (table, expected) = section.split_once('\n').unwrap_or((section, ""));
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(rows(&mut client, &view_query(table)), expected, "{table}");
        all += expected.len();
    }
    assert_eq!(all, 91);

    let expected: Vec<&str> = include_str!("../fixtures/greenplum6_partitions.txt").lines().collect();
    let partitions = "select schemaname, tablename, partitiontablename, partitionname, parentpartitiontablename, \
        partitiontype, partitionlevel, partitionrank, partitionposition, partitionisdefault, partitionrangestart, \
        partitionstartinclusive, partitionrangeend, \
        partitionendinclusive, partitioneveryclause, partitionlistvalues from pg_partitions \
        where tablename in ('p_varchar','p_int','p_ts','p_range_odd','p_list','p_two','p_mixed') order by 2,7,9,3";
    assert_eq!(rows(&mut client, partitions), expected);
    let counts = "SELECT (SELECT count(*) FROM pg_partition_rule), (SELECT count(*) FROM pg_partitions), \
        (SELECT count(*) FROM pg_partition_templates)";
    assert_eq!(rows(&mut client, counts), ["112|106|6"]);
    let boundary =
        "select partitionboundary from pg_partitions where tablename='persons' order by partitionrank limit 1";
    assert_eq!(
        rows(&mut client, boundary),
        ["START ('2016-01-01'::date) END ('2016-02-01'::date) EVERY ('1 mon'::interval)"]
    );
}

#[test]
fn open_bounds_are_the_empty_string_not_null() {
    let cluster = Cluster::start("");
    fixture::greenplum6(&cluster);
    let sql = "select parchildrelid::regclass, parisdefault, parrangestart::text, parrangestart is null, \
        pg_get_expr(parrangestart,parchildrelid) is null, pg_get_expr(parrangestart,parchildrelid) = '', \
        pg_get_expr(parrangeend,parchildrelid) is null, pg_get_expr(parrangeend,parchildrelid) = '', \
        parrangestartincl, parrangeendincl from pg_partition_rule \
        where parchildrelid in ('p_range_odd_1_prt_low'::regclass,'p_range_odd_1_prt_high'::regclass, \
        'p_varchar_1_prt_other'::regclass) order by 1";
    let tree = "({CONST :consttype 1082 :consttypmod -1 :constcollid 0 :constlen 4 :constbyval true \
        :constisnull false :location -1 :constvalue 4 [ 65 24 0 0 0 0 0 0 ]})";
    assert_eq!(
        rows(&mut cluster.connect(), sql),
        [
            "p_varchar_1_prt_other|t|<>|f|f|t|f|t|f|f".to_owned(),
            "p_range_odd_1_prt_low|f|<>|f|f|t|f|f|f|t".to_owned(),
            format!("p_range_odd_1_prt_high|f|{tree}|f|f|f|f|t|f|f"),
        ]
    );
}

#[test]
fn copy_of_an_intermediate_partition_gives_nothing_and_a_query_gives_its_rows() {
    let cluster = Cluster::start("");
    fixture::greenplum6(&cluster);
    let mut client = cluster.connect();
    assert_eq!(copied(&mut client, "COPY p_two_1_prt_2 TO STDOUT"), 0);
    assert_eq!(
        copied(&mut client, "COPY (SELECT * FROM p_two_1_prt_2) TO STDOUT"),
        6200
    );
    assert_eq!(copied(&mut client, "COPY (SELECT * FROM p_two) TO STDOUT"), 20000);
    let leaves = "SELECT (SELECT count(*) FROM p_list_1_prt_eu), (SELECT count(*) FROM p_list_1_prt_us), \
        (SELECT count(*) FROM p_list_1_prt_other), (SELECT count(*) FROM p_two_1_prt_outlying_2_prt_other_regions)";
    assert_eq!(rows(&mut client, leaves), ["8572|5714|5714|600"]);
    let tree = "SELECT c.relhassubclass, p.parlevel, r.parruleord, r.parchildrelid::regclass FROM pg_partition_rule r \
        JOIN pg_partition p ON p.oid = r.paroid JOIN pg_class c ON c.oid = r.parchildrelid \
        WHERE p.parrelid = 'p_two_rr'::regclass AND r.parruleord = 1 ORDER BY 4";
    assert_eq!(
        rows(&mut client, tree),
        [
            "t|0|1|p_two_rr_1_prt_1",
            "f|1|1|p_two_rr_1_prt_1_2_prt_kx",
            "f|1|1|p_two_rr_1_prt_2_2_prt_kx"
        ]
    );
}

#[test]
fn a_greenplum_of_any_release_lacks_what_its_postgresql_lacks() {
    for (release, postgres) in [("5.28.0", "8.3.23"), ("6.20.0", "9.4.26"), ("6.24.3", "9.4.26")] {
        let cluster = Cluster::start("");
        fixture::greenplum(&cluster, release);
        cluster.sql("CREATE ROLE reader LOGIN");
        let mut client = cluster.connect_as("reader");
        client.batch_execute("SET search_path = pg_catalog").expect("a setting");
        let version = rows(&mut client, "SELECT version()").remove(0);
        let said = format!("PostgreSQL {postgres} (Greenplum Database {release} build dev) on x86_64-");
        assert!(version.starts_with(&said), "{version}");
        assert_eq!(
            rows(&mut client, "SELECT setting FROM pg_settings WHERE name = 'gp_role'"),
            ["dispatch"]
        );
        assert_eq!(rows(&mut client, "SELECT current_setting('gp_role')"), ["dispatch"]);
        assert_eq!(
            rows(
                &mut client,
                "SELECT setting FROM pg_settings WHERE name = 'server_version'"
            ),
            [postgres]
        );
        assert_eq!(
            rows(
                &mut client,
                "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
            ),
            [""; 0]
        );
        assert_eq!(refused(&mut client, "SELECT current_setting('gp_role', true)"), "42883");
        assert_eq!(refused(&mut client, "SELECT current_setting('row_security')"), "42704");
        assert_eq!(
            refused(&mut client, "SELECT count(*) FROM pg_partitioned_table"),
            "42P01"
        );
        let snapshots = rows(
            &mut client,
            "SELECT count(*) FROM pg_proc WHERE proname = 'pg_export_snapshot'",
        );
        assert_eq!(snapshots, [if release.starts_with('5') { "0" } else { "1" }]);
        for catalog in [
            "pg_partition",
            "pg_partition_rule",
            "pg_partitions",
            "pg_partition_templates",
            "pg_partition_columns",
        ] {
            assert_eq!(rows(&mut client, &format!("SELECT * FROM {catalog}")), [""; 0]);
        }
    }
}

#[test]
fn greenplum_7_has_declarative_catalogs_and_no_classic_ones() {
    let cluster = Cluster::start("");
    fixture::greenplum7(&cluster, fixture::GREENPLUM_7_ALPHA);
    let mut client = pinned(&cluster);
    assert_eq!(rows(&mut client, "SELECT version()"), [fixture::GREENPLUM_7_ALPHA]);
    let settings = "SELECT name, setting FROM pg_settings WHERE name IN ('gp_role', 'server_version_num') ORDER BY 1";
    assert_eq!(
        rows(&mut client, settings),
        ["gp_role|dispatch", "server_version_num|120000"]
    );
    assert_eq!(rows(&mut client, "SELECT count(*) FROM pg_partitioned_table"), ["0"]);
    assert_eq!(refused(&mut client, "SELECT count(*) FROM pg_partitions"), "42P01");
}

#[test]
fn partitions_of_opengauss_are_no_relations() {
    let cluster = Cluster::start("");
    fixture::opengauss(&cluster);
    let mut client = pinned(&cluster);
    let version = rows(&mut client, "SELECT version()").remove(0);
    assert!(version.starts_with("(openGauss 5.0.0 build "), "{version}");
    let partitions = "SELECT relname, parttype, partstrategy, boundaries FROM pg_partition \
        WHERE parentid = 'public.g_interval'::regclass ORDER BY oid";
    assert_eq!(
        rows(&mut client, partitions),
        [
            "g_interval|r|i|",
            "p1|p|r|{\"2016-02-01 00:00:00\"}",
            "sys_p1|p|i|{\"2016-03-01 00:00:00\"}",
            "sys_p2|p|i|{\"2016-05-01 00:00:00\"}"
        ]
    );
    let two_levels = "SELECT s.relname, s.partstrategy, s.boundaries, p.relname, p.partkey \
        FROM pg_partition s JOIN pg_partition p ON p.oid = s.parentid WHERE s.parttype = 's' ORDER BY s.oid";
    assert_eq!(
        rows(&mut client, two_levels),
        [
            "p2016_eu|l|{de,fr}|p2016|3",
            "p2016_other|l|{NULL}|p2016|3",
            "p2017_all|l|{NULL}|p2017|3"
        ]
    );
    assert_eq!(
        rows(
            &mut client,
            "SELECT relname FROM pg_class WHERE relname ~ '^(p20|sys_p)'"
        ),
        [""; 0]
    );
    assert_eq!(rows(&mut client, "SELECT count(*) FROM public.g_range"), ["1000"]);
    assert_eq!(refused(&mut client, "SELECT to_regclass('g_range')"), "42883");
    // What stands for PARTITION (name): each row is in one of them, and in that of its bounds.
    let parts = "SELECT (SELECT concat_ws(' ', count(*), min(created), max(created)) FROM og_fixture.\"public.g_range:p2016\"),
        (SELECT min(created) FROM og_fixture.\"public.g_range:p2017\"), (SELECT count(*) FROM og_fixture.\"public.g_range:pmax\")";
    assert_eq!(
        rows(&mut client, parts),
        ["366 2016-01-01 00:00:00 2016-12-31 00:00:00|2017-01-01 00:00:00|269"]
    );
    for (table, parts) in [
        ("g_list", ["eu", "other"]),
        ("g_hash", ["p0", "p1"]),
        ("g_two_columns", ["p1", "p2"]),
        ("g_two", ["p2016", "p2017"]),
    ] {
        let [first, second] = parts.map(|part| format!("og_fixture.\"public.{table}:{part}\""));
        let left = format!(
            "SELECT count(*) FROM (SELECT * FROM public.{table} EXCEPT ALL (SELECT * FROM {first} UNION ALL SELECT * FROM {second})) r"
        );
        assert_eq!(rows(&mut client, &left), ["0"], "{table}");
        let both = format!("SELECT count(*) FROM ((SELECT * FROM {first} INTERSECT SELECT * FROM {second})) r");
        assert_eq!(rows(&mut client, &both), ["0"], "{table}");
    }
    let below = "SELECT DISTINCT region FROM og_fixture.\"public.g_two:p2016_eu\" ORDER BY 1";
    assert_eq!(rows(&mut client, below), ["de", "fr"]);
    let types = "SELECT typname FROM pg_type WHERE oid IN (86, 88, 90, 3969, 5545, 9003) ORDER BY oid";
    assert_eq!(
        rows(&mut client, types),
        ["raw", "blob", "clob", "nvarchar2", "tinyint", "smalldatetime"]
    );
}

#[test]
fn before_10_children_inherit_and_the_parent_has_rows_of_its_own() {
    let cluster = Cluster::start("");
    fixture::before_10(&cluster);
    let mut client = pinned(&cluster);
    let counts = "SELECT (SELECT count(*) FROM public.measurements), (SELECT count(*) FROM ONLY public.measurements), \
        (SELECT count(*) FROM pg_inherits WHERE inhparent = 'public.measurements'::regclass), \
        (SELECT setting FROM pg_settings WHERE name = 'server_version')";
    assert_eq!(rows(&mut client, counts), ["602|2|6|9.6.24"]);
    assert_eq!(refused(&mut client, "SELECT pg_get_partkeydef(1)"), "42883");
}
