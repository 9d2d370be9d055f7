//! Which server a session has reached, told by queries that no server refuses: nothing is called or set that it might not have.

use crate::row::Row;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Who made it, as far as that changes what can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Product {
    /// PostgreSQL and what is sold as it
    PostgreSql,
    /// major, minor
    Greenplum(u32, u32),
    /// the forks of Greenplum 7
    Cloudberry,
    /// openGauss and GaussDB
    OpenGauss,
    /// anything else that speaks the protocol
    #[default]
    Other,
}

/// Where partitions are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Catalog {
    /// pg_partitioned_table and relpartbound: PostgreSQL 10 and later, Greenplum 7, Cloudberry
    Declarative,
    /// pg_partition_rule, pg_partitions: Greenplum 4 to 6
    Greenplum,
    /// pg_partition with parttype: openGauss, GaussDB
    OpenGauss,
    /// nowhere that we know
    #[default]
    None,
}

/// What is known of the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Server {
    /// server_version_num as far as SQL goes: 150020 for PostgreSQL 15.20, 90426 for Greenplum 6
    pub version: u32,
    /// see there
    pub product: Product,
    /// see there
    pub catalog: Catalog,
    /// those of `FUNCTIONS` that exist and may be called
    functions: HashSet<String>,
    /// settings that were asked for and exist
    settings: HashSet<String>,
    /// where an unqualified table name is looked for: the remote user's search_path, before it is pinned
    pub schemas: Vec<String>,
    /// the time zone that it gives the remote user
    pub timezone: Option<String>,
    /// what its administrator says of its snapshots
    pub shared_snapshot: Option<bool>,
}

/// What a session has learned of its server, for others of the same role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// which server, as [`Server::mark_sql`] has it
    pub mark: String,
    /// what it is
    pub server: Server,
}

/// Most bytes of what is known of a server: it has said all of that itself.
const MOST_KNOWN: usize = 16 * 1024;

impl Known {
    /// True where it can be kept: short, and without control characters.
    pub fn is_plain(&self) -> bool {
        let Server {
            functions,
            settings,
            schemas,
            timezone,
            ..
        } = &self.server;
        let names = functions
            .iter()
            .chain(settings)
            .chain(schemas)
            .chain(timezone)
            .chain([&self.mark]);
        let mut size = 0;
        for name in names {
            size += name.len();
            if size > MOST_KNOWN || name.contains(char::is_control) {
                return false;
            }
        }
        true
    }
}

/// The end of an identity ([`Server::identity_sql`]), which is the same at whatever address the server was reached.
pub const LISTENS_SQL: &str = "', port ' || pg_catalog.current_setting('port')
    || ', started ' || CAST(pg_catalog.pg_postmaster_start_time() AS text)";

/// Functions that are called where they exist.
const FUNCTIONS: &[&str] = &[
    "pg_export_snapshot",
    "pg_export_snapshot_and_csn",
    "pg_partition_size",
    "pgxc_is_committed",
    "pg_control_system",
    "pg_is_in_recovery",
    "pg_last_xact_replay_timestamp",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xlog_receive_location",
    "pg_last_xlog_replay_location",
    "pg_stat_get_wal_receiver",
    "pg_postmaster_start_time",
    "inet_server_addr",
    "sha256",
];

/// The question which server it is, and which of `settings` it has. One statement, so one round trip. Names are unqualified: the
/// search_path is still the remote user's own.
pub fn question<'a>(settings: impl Iterator<Item = &'a str>) -> String {
    let names = settings.chain(WHERE_THEY_ARE.iter().map(|(name, _)| *name));
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    let functions: Vec<String> = FUNCTIONS.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "SELECT 'version', CAST(version() AS text), 0
         UNION ALL SELECT CASE name WHEN 'server_version_num' THEN 'number' WHEN 'TimeZone' THEN 'timezone' ELSE 'setting' END,
           CASE WHEN name IN ('server_version_num', 'TimeZone') THEN CAST(setting AS text) ELSE CAST(name AS text) END, 0
           FROM pg_settings WHERE name IN ({}, 'server_version_num', 'TimeZone', 'gp_role', 'gp_session_role',
                                           'gp_enable_exchange_default_partition')
         UNION ALL SELECT 'catalog', CAST(c.relname AS text), 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'pg_catalog' AND c.relname IN ('pg_partition_rule', 'pg_partitions', 'pg_partitioned_table')
         UNION ALL SELECT 'catalog', CAST(a.attname AS text), 0 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'pg_catalog' AND c.relname = 'pg_partition' AND a.attname = 'parttype'
         UNION ALL SELECT DISTINCT 'function', CAST(proname AS text), 0 FROM pg_proc
           WHERE proname IN ({}) AND pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pg_catalog')
             AND has_function_privilege(oid, 'EXECUTE')
         UNION ALL SELECT 'schema', CAST((current_schemas(false))[i] AS text), i
           FROM generate_series(1, array_upper(current_schemas(false), 1)) AS g(i)",
        names.join(", "),
        functions.join(", ")
    )
}

/// What the answer says.
pub fn identify(rows: &[Row]) -> Server {
    let of = |kind: &str| -> Vec<(&str, usize)> { rows.iter().filter_map(|row| fact(row, kind)).collect() };
    let settings: HashSet<String> = of("setting").into_iter().map(|(name, _)| name.to_owned()).collect();
    let catalogs: Vec<&str> = of("catalog").into_iter().map(|(name, _)| name).collect();
    let is_greenplum = settings.contains("gp_role") || settings.contains("gp_session_role");
    let text = of("version").first().map_or("", |(text, _)| *text);
    let mut schemas = of("schema");
    schemas.sort_by_key(|&(_, at)| at);
    let catalog = if catalogs.contains(&"pg_partition_rule") && catalogs.contains(&"pg_partitions") {
        Catalog::Greenplum
    } else if catalogs.contains(&"parttype") {
        Catalog::OpenGauss
    } else if catalogs.contains(&"pg_partitioned_table") {
        Catalog::Declarative
    } else {
        Catalog::None
    };
    Server {
        // 0, the least, where there is no such setting: nothing newer than PostgreSQL 8.3 is then asked for.
        version: of("number")
            .first()
            .and_then(|(text, _)| text.parse().ok())
            .unwrap_or(0),
        product: match catalog {
            // Whatever it is sold as.
            Catalog::OpenGauss => Product::OpenGauss,
            _ => product(text, is_greenplum),
        },
        catalog,
        functions: of("function").into_iter().map(|(name, _)| name.to_owned()).collect(),
        timezone: of("timezone").first().map(|(zone, _)| (*zone).to_owned()),
        schemas: schemas.into_iter().map(|(name, _)| name.to_owned()).collect(),
        settings,
        shared_snapshot: None,
    }
}

/// Value and position of a row of `identify`, if it is of that kind.
fn fact<'a>(row: &'a Row, kind: &str) -> Option<(&'a str, usize)> {
    match row.texts() {
        [Some(k), Some(value), Some(at)] if k == kind => Some((value, at.parse().ok()?)),
        _ => None,
    }
}

/// From what version() says.
fn product(text: &str, is_greenplum: bool) -> Product {
    if text.contains("Cloudberry") {
        return Product::Cloudberry;
    }
    if let Some((_, version)) = text.split_once("Greenplum Database ") {
        let word = version.split([' ', ')']).next().unwrap_or("");
        let mut numbers = word
            .split(|c: char| !c.is_ascii_digit())
            .map(|n| n.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        return Product::Greenplum(major, minor);
    }
    if is_greenplum {
        return Product::Other;
    }
    if text.contains("openGauss") || text.contains("GaussDB") || text.contains("Gauss") {
        return Product::OpenGauss;
    }
    if text.starts_with("PostgreSQL ") && !text.contains("-YB-") {
        return Product::PostgreSql;
    }
    Product::Other
}

/// Settings of transactions that write, where there are such on a server with segments.
const WHERE_THEY_ARE: &[(&str, &str)] = &[
    ("gp_autostats_mode", "none"),
    ("gp_use_legacy_hashops", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("random_page_cost", "1.1"),
    ("enable_hashjoin", "off"),
];

/// Settings that pg_settings does not show on some Greenplum, and that exist where SHOW knows them.
pub const HIDDEN: &[&str] = &["sql_inheritance", "gp_use_legacy_hashops"];

impl Server {
    /// It has a setting that pg_settings does not show.
    pub fn add_setting(&mut self, name: &str) {
        self.settings.insert(name.to_owned());
    }

    /// Whether a function of `FUNCTIONS` exists there and may be called.
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// True where the catalogs are those of PostgreSQL 10 or later.
    pub fn is_declarative(&self) -> bool {
        self.catalog == Catalog::Declarative
    }

    /// True where keys and indexes mean what they mean in PostgreSQL.
    pub fn is_postgresql(&self) -> bool {
        self.is_declarative() && self.product == Product::PostgreSql
    }

    /// True where a table is spread over segments, and partitions and files belong to all of them: Greenplum and its forks.
    pub fn is_greenplum(&self) -> bool {
        matches!(self.product, Product::Greenplum(..) | Product::Cloudberry)
    }

    /// True where partitions are made and exchanged by the older statements only: Greenplum before 7.
    pub fn is_classic(&self) -> bool {
        self.catalog == Catalog::Greenplum
    }

    /// Settings of transactions that write, whatever the role has over there: text is read as it was meant; CREATE TABLE makes what it says, but for
    /// default_tablespace. With segments, a COPY gathers no statistics by itself, as they are gathered afterwards where they are wanted; a distribution is told,
    /// and made, by the operator classes that it names; what is prepared is planned once, not five times, as a 9.4 takes long for that; and catalogs, which
    /// may have millions of rows, are looked up by their indexes, where the default is to scan them: a hash join alone takes a millisecond for its table.
    pub fn writing_settings(&self) -> Vec<(&'static str, &'static str)> {
        let plain_tables = match self.version {
            120_000.. => ("default_table_access_method", "heap"),
            _ => ("default_with_oids", "off"),
        };
        let mut settings = vec![("array_nulls", "on"), ("xmloption", "content"), plain_tables];
        if self.is_greenplum() {
            settings.push(("gp_default_storage_options", ""));
            let there = WHERE_THEY_ARE.iter().filter(|(name, _)| self.has_setting(name));
            settings.extend(there);
        }
        settings
    }

    /// Whether it has a setting that it was asked about.
    pub fn has_setting(&self, name: &str) -> bool {
        self.settings.contains(name)
    }

    /// A server of this version that PostgreSQL's own library was built for.
    pub fn of_version(version: u32) -> Server {
        Server {
            version,
            product: Product::PostgreSql,
            catalog: Catalog::Declarative,
            ..Server::default()
        }
    }

    /// True where a snapshot taken over from another session shows exactly what that one sees. Some servers accept it and ignore it on
    /// their segments, and no query can tell without somebody writing at that moment; so it is a list of those known to be right, and
    /// otherwise what the administrator says.
    pub fn shares_snapshots(&self) -> bool {
        let known = match self.product {
            Product::PostgreSql => true,
            // 6.21 exports the distributed snapshot, but without its timestamp, so that segments misread it (greenplum-db/gpdb
            // issue 14177); 6.23 is the first release with the fix (pull request 14203). A relative of 7 ignored it.
            Product::Greenplum(6, minor) => minor >= 23,
            // Sessions that take one over say what they have: [`Server::tells_snapshots`].
            Product::OpenGauss => self.tells_snapshots(),
            Product::Greenplum(..) | Product::Cloudberry | Product::Other => false,
        };
        self.has_function("pg_export_snapshot") && self.shared_snapshot.unwrap_or(known)
    }

    /// True where a session tells which commits its snapshot has, so that one that was taken over is known to be the same.
    pub fn tells_snapshots(&self) -> bool {
        self.catalog == Catalog::OpenGauss && self.has_function("pg_export_snapshot_and_csn")
    }

    /// True where savepoints do not give back every lock: openGauss 3 locks what may add a partition to an interval table, for whoever names the table, to
    /// the end of the transaction (pg_partition.cpp, LockRelationForAccessIntervalPartitionTab). A row that needs a new partition waits for that, and whoever names the table
    /// next for the row.
    pub fn keeps_locks(&self) -> bool {
        self.catalog == Catalog::OpenGauss
    }

    /// True where one server answers for all that is asked: those that spread a table over segments report what becomes of these.
    pub fn has_segments(&self) -> bool {
        !matches!(self.product, Product::PostgreSql | Product::OpenGauss)
    }

    /// Which server this is, as an expression whose value no setting of the session changes. None where it does not tell.
    pub fn mark_sql(&self) -> Option<String> {
        let started = "CAST(pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000) AS bigint)";
        let listens =
            "COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), '') || ' ' || pg_catalog.current_setting('port')";
        self.tells_itself()
            .then(|| format!("{listens} || ' ' || CAST({started} AS text)"))
    }

    fn tells_itself(&self) -> bool {
        self.has_function("pg_postmaster_start_time") && self.has_function("inet_server_addr")
    }

    /// Which server this is, as an expression: where it listens and since when. A standby and its primary share a system identifier. None
    /// where it does not tell.
    pub fn identity_sql(&self) -> Option<String> {
        self.tells_itself().then(|| {
            format!("COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), 'a local socket') || {LISTENS_SQL}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_length_or_oddly_is_not_kept() {
        let known = |setting: &str| {
            let mut server = Server::of_version(150_000);
            server.add_setting(setting);
            let mark = "127.0.0.1 5432 1".to_owned();
            Known { mark, server }
        };
        assert!(known("jit").is_plain());
        assert!(!known("j\0it").is_plain());
        assert!(!known(&"j".repeat(MOST_KNOWN)).is_plain());
    }

    #[test]
    fn version_texts_tell_the_product() {
        let greenplum = |text| product(text, true);
        assert_eq!(
            greenplum("PostgreSQL 9.4.26 (Greenplum Database 6.24.3 build commit:x) on x86_64"),
            Product::Greenplum(6, 24)
        );
        assert_eq!(
            greenplum("PostgreSQL 8.3.23 (Greenplum Database 5.28.1 build commit:x) on x86_64"),
            Product::Greenplum(5, 28)
        );
        assert_eq!(
            greenplum("PostgreSQL 12beta2 (Greenplum Database 7.0.0-alpha.0 build dev) on x86_64"),
            Product::Greenplum(7, 0)
        );
        assert_eq!(
            greenplum("PostgreSQL 14.4 (Apache Cloudberry 2.0.0 build 1) on x86_64"),
            Product::Cloudberry
        );
        let other = |text| product(text, false);
        assert_eq!(
            other("PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64"),
            Product::PostgreSql
        );
        assert_eq!(
            other("(openGauss 5.0.0 build a07d57c3) compiled at 2023-03-29 on x86_64"),
            Product::OpenGauss
        );
        assert_eq!(other("PostgreSQL 11.2-YB-2.15.0.0-b0 on x86_64"), Product::Other);
        assert_eq!(other("CockroachDB CCL v23"), Product::Other);
    }
}
