//! Sources of other families. A server of ours is given their catalogs and says that it is one of them, so that stories
//! can sync from it. `tests/fixtures/` has the SQL, and says where a fixture differs from the real thing.

use super::cluster::Cluster;

const DISGUISE: &str = include_str!("../fixtures/disguise.sql");
const BEFORE_10: &str = include_str!("../fixtures/before_10.sql");
const BEFORE_10_TABLES: &str = include_str!("../fixtures/before_10_tables.sql");
const GREENPLUM: &str = include_str!("../fixtures/greenplum.sql");
const GREENPLUM6_TABLES: &str = include_str!("../fixtures/greenplum6_tables.sql");
const OPENGAUSS: &str = include_str!("../fixtures/opengauss.sql");
const OPENGAUSS_TABLES: &str = include_str!("../fixtures/opengauss_tables.sql");

/// Makes database postgres say that it is `version`, with `settings` over its own.
fn disguise(cluster: &Cluster, version: &str, settings: &[(&str, &str)]) {
    cluster.sql(DISGUISE);
    let version = ("version()", version);
    for (name, value) in settings.iter().chain([&version]) {
        cluster.sql(&format!("INSERT INTO fixture.setting VALUES ('{name}', '{value}')"));
    }
}

/// Greenplum 5 or 6 of a `release` such as `6.24.3`, without tables. They are declared with `gp_fixture.partition_by`,
/// `.add_partition`, `.add_partitions` and `.load`; `greenplum6_tables.sql` has examples of each kind.
pub fn greenplum(cluster: &Cluster, release: &str) {
    let (postgres, number, family) = match release.starts_with("5.") {
        true => ("8.3.23", "80323", "50000"),
        false => ("9.4.26", "90426", "60000"),
    };
    let version = format!(
        "PostgreSQL {postgres} (Greenplum Database {release} build dev) on x86_64-unknown-linux-gnu, \
         compiled by gcc (GCC) 6.4.0, 64-bit compiled on Jun 10 2023 01:57:17"
    );
    let release = format!("{release} build dev");
    disguise(
        cluster,
        &version,
        &[
            ("server_version", postgres),
            ("server_version_num", number),
            ("gp_server_version", &release),
            ("gp_server_version_num", family),
            ("gp_role", "dispatch"),
            ("gp_session_role", "dispatch"),
        ],
    );
    cluster.sql(BEFORE_10);
    cluster.sql(GREENPLUM);
    if postgres == "8.3.23" {
        // What came between PostgreSQL 8.3 and 9.4, as far as a client of a source might ask for it.
        cluster.sql(
            "SET allow_system_table_mods = on;
             INSERT INTO fixture.setting (name) VALUES ('lock_timeout'), ('bytea_output'), ('IntervalStyle');
             SELECT fixture.hide('to_regclass', 'to_regtype', 'to_regproc', 'to_regprocedure', 'pg_relation_filenode',
                                 'pg_export_snapshot', 'has_any_column_privilege', 'has_column_privilege', 'pg_collation',
                                 'pg_extension')",
        );
    }
}

/// Greenplum 6.24.3 with the tables of `greenplum6_tables.sql`: every kind of classic partitioning.
pub fn greenplum6(cluster: &Cluster) {
    greenplum(cluster, "6.24.3");
    cluster.sql(GREENPLUM6_TABLES);
}

/// A server with declarative partitioning that says it is a Greenplum 7 or a Cloudberry: `version` is the text of its
/// version(). Its exported snapshots are true ones, unlike those of early builds.
pub fn greenplum7(cluster: &Cluster, version: &str) {
    let postgres = version.split(' ').nth(1).expect("a version after the product");
    let major: String = postgres.chars().take_while(char::is_ascii_digit).collect();
    disguise(
        cluster,
        version,
        &[
            ("server_version", postgres),
            ("server_version_num", &format!("{major}0000")),
            ("gp_server_version_num", "70000"),
            ("gp_role", "dispatch"),
        ],
    );
}

/// The text of version() of the early Greenplum 7 whose imported snapshots are wrong.
pub const GREENPLUM_7_ALPHA: &str =
    "PostgreSQL 12beta2 (Greenplum Database 7.0.0-alpha.0 build dev) on x86_64-pc-linux-gnu, compiled by gcc, 64-bit";

/// openGauss 5.0.0 with a table of each kind of partitioning, `g_range` and so on. Its text of version() has no word of
/// PostgreSQL.
pub fn opengauss(cluster: &Cluster) {
    disguise(
        cluster,
        "(openGauss 5.0.0 build a07d57c3) compiled at 2023-03-29 03:07:56 commit 0 last mr  \
         on x86_64-unknown-linux-gnu, compiled by g++ (GCC) 7.3.0, 64-bit",
        &[("server_version", "9.2.4"), ("server_version_num", "90204")],
    );
    cluster.sql(BEFORE_10);
    cluster.sql(OPENGAUSS);
    cluster.sql(OPENGAUSS_TABLES);
}

/// PostgreSQL 9.6 with `measurements`, partitioned as it was then: monthly children of 2016's first half with CHECK
/// constraints, and two rows in the parent itself.
pub fn before_10(cluster: &Cluster) {
    disguise(
        cluster,
        "PostgreSQL 9.6.24 on x86_64-pc-linux-gnu, compiled by gcc (Debian 10.2.1-6) 10.2.1 20210110, 64-bit",
        &[("server_version", "9.6.24"), ("server_version_num", "90624")],
    );
    cluster.sql(BEFORE_10);
    cluster.sql(BEFORE_10_TABLES);
}
