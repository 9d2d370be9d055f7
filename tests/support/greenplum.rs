//! Two Greenplum clusters that are somebody's, and a throwaway PostgreSQL with the extension between them. A story has a schema of its own on each,
//! roles and a resource queue that begin with its name, and nothing else.

mod checks;
mod portrait;
pub mod readers;

use super::cluster::Cluster;
use super::{Background, Notices};
use postgres::config::Host;
use postgres::error::DbError;
use postgres::{Client, Config, NoTls};

/// What the schemas, roles and resource queues of stories begin with: tests/greenplum.sh removes all that does.
const PREFIX: &str = "cgpsync_test_";

/// Numbers and contents of rows, whatever their order: alike on every server that prints the columns' values alike.
pub const CONTENT: &str =
    "count(*) || ' ' || COALESCE(sum(('x' || substr(md5(t::text), 1, 8))::bit(32)::int::bigint), 0)";

/// One of the two clusters, seen from a story.
#[derive(Clone)]
pub struct Greenplum {
    config: Config,
    /// the story's schema, quoted
    schema: String,
    /// 6 or 7
    pub version: u32,
}

/// Source, server between, target.
pub struct Clusters {
    pub source: Greenplum,
    pub between: Cluster,
    pub target: Greenplum,
    /// the story's schema, quoted: the same everywhere
    pub schema: String,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The single value of a query, as text; empty for NULL.
pub fn first(client: &mut Client, sql: &str) -> String {
    let messages = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
    let value = messages.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
        _ => None,
    });
    value.unwrap_or_default()
}

/// The error of a server.
pub fn refusal<T>(result: Result<T, postgres::Error>) -> Result<T, Box<DbError>> {
    result.map_err(|error| match error.as_db_error() {
        Some(of_server) => Box::new(of_server.clone()),
        None => panic!("{error:?}"),
    })
}

/// Message, DETAIL and HINT.
pub fn words(error: &DbError) -> String {
    let more = [error.detail(), error.hint()].map(|part| part.unwrap_or_default());
    format!("{}\n{}\n{}", error.message(), more[0], more[1])
}

impl Greenplum {
    fn at(variable: &str, schema: &str) -> Greenplum {
        let text =
            std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: use `make test-greenplum`"));
        let mut config: Config = text.parse().unwrap_or_else(|error| panic!("{variable}: {error}"));
        config.application_name("cgpsync_test");
        let mut cluster = Greenplum {
            config,
            schema: schema.to_owned(),
            version: 0,
        };
        let version = cluster.text("SELECT substring(version() FROM 'Greenplum Database (\\d+)')");
        // Relatives of 7 say so by the PostgreSQL inside.
        let inside: u32 = cluster.text("SHOW server_version_num").parse().expect("a number");
        cluster.version = if inside < 100_000 { 6 } else { 7 };
        assert!(
            version.is_empty() || version.parse::<u32>().is_ok_and(|v| v >= 6),
            "{version}"
        );
        cluster
    }

    /// A session in the story's schema.
    pub fn connect(&self) -> Client {
        self.connect_with(&self.config)
    }

    /// The same as another role, whose password is secret.
    pub fn connect_as(&self, role: &str) -> Client {
        self.connect_with(self.config.clone().user(role).password("secret"))
    }

    fn connect_with(&self, config: &Config) -> Client {
        let mut client = config.connect(NoTls).expect("a connection");
        let settings = format!("SET search_path = {}; SET client_min_messages = error", self.schema);
        client.batch_execute(&settings).expect("settings");
        client
    }

    /// Runs statements, all in one transaction unless they end it.
    pub fn sql(&self, sql: &str) {
        if let Err(error) = self.connect().batch_execute(sql) {
            panic!("{error:?} in: {sql}");
        }
    }

    /// The single value of a query, as text; empty for NULL.
    pub fn text(&self, sql: &str) -> String {
        first(&mut self.connect(), sql)
    }

    /// What a table holds.
    pub fn content(&self, table: &str, filter: &str) -> String {
        self.text(&format!("SELECT {CONTENT} FROM {table} t WHERE {filter}"))
    }

    /// Options of a foreign server that lead there.
    fn server_options(&self) -> String {
        let host = match self.config.get_hosts() {
            [Host::Tcp(name), ..] => name.clone(),
            [Host::Unix(path), ..] => path.display().to_string(),
            [] => "127.0.0.1".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let dbname = self
            .config
            .get_dbname()
            .or(self.config.get_user())
            .unwrap_or("postgres");
        format!("host {}, port '{port}', dbname {}", literal(&host), literal(dbname))
    }

    fn mapping_options(&self) -> String {
        let password = self.config.get_password().map(String::from_utf8_lossy);
        let user = self.config.get_user().expect("user=… in the connection string");
        match password {
            Some(password) => format!("user {}, password {}", literal(user), literal(&password)),
            None => format!("user {}", literal(user)),
        }
    }

    /// A role of the story's, with a password that is secret.
    pub fn create_role(&self, name: &str) -> String {
        let role = format!("{}_{name}", self.schema.trim_matches('"'));
        self.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"));
        role
    }

    /// Removes what the story, or an earlier run of it, has made, and ends whoever has it locked. It never panics.
    fn clear(&self) {
        let Ok(mut client) = self.config.connect(NoTls) else {
            return eprintln!("no connection to remove {}", self.schema);
        };
        let name = self.schema[1..self.schema.len() - 1].replace("\"\"", "\"");
        let mine = format!("LIKE {}", literal(&format!("{}\\_%", name.replace('_', "\\_"))));
        let named = format!("nspname = {}", literal(&name));
        for statements in [
            format!(
                "SELECT DISTINCT 'SELECT pg_terminate_backend(' || l.pid || ')' FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE {named} AND l.pid <> pg_backend_pid() AND l.pid IN (SELECT pid FROM pg_stat_activity)"
            ),
            format!("SELECT 'DROP SCHEMA ' || quote_ident(nspname) || ' CASCADE' FROM pg_namespace WHERE {named}"),
            format!("SELECT 'DROP OWNED BY ' || quote_ident(rolname) || ' CASCADE' FROM pg_roles WHERE rolname {mine}"),
            format!("SELECT 'DROP ROLE ' || quote_ident(rolname) FROM pg_roles WHERE rolname {mine}"),
            format!("SELECT 'DROP RESOURCE QUEUE ' || quote_ident(rsqname) FROM pg_resqueue WHERE rsqname {mine}"),
        ] {
            let result = client.query(&statements, &[]).and_then(|rows| {
                rows.iter()
                    .try_for_each(|row| client.simple_query(row.get(0)).map(|_| ()))
            });
            if let Err(error) = result {
                eprintln!("{}: {error:?} in {statements}", self.schema);
            }
        }
    }
}

/// Half a year by month, a heap; its leaves are `persons_1_prt_1` to `_6`.
pub const PERSONS: &str =
    "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) DISTRIBUTED BY (id)
     PARTITION BY RANGE (born) (START (date '2017-01-01') END (date '2017-07-01') EVERY (INTERVAL '1 month'))";

/// `rows` rows for it, whose ids are unique.
pub fn births(rows: u32) -> String {
    format!(
        "INSERT INTO persons SELECT g, 'name ' || g, date '2017-01-01' + g % 181, 'note ' || g FROM generate_series(1, {rows}) g"
    )
}

impl Clusters {
    /// `persons` on both, with `rows` rows on the source, and attached.
    pub fn persons(story: &str, rows: u32) -> Clusters {
        let clusters = Clusters::new(story);
        clusters.both(PERSONS);
        clusters.source.sql(&births(rows));
        clusters.attach("persons");
        clusters
    }

    /// Connects to both, removes what an earlier run of the story has left there, and starts the server between.
    pub fn new(story: &str) -> Clusters {
        Clusters::with(story, "")
    }

    /// The same with more lines for the postgresql.conf of the server between.
    pub fn with(story: &str, conf: &str) -> Clusters {
        let schema = quoted(&format!("{PREFIX}{story}"));
        let [source, target] =
            ["CGPSYNC_SOURCE_GP", "CGPSYNC_TARGET_GP"].map(|variable| Greenplum::at(variable, &schema));
        for cluster in [&source, &target] {
            cluster.clear();
            cluster.sql(&format!("CREATE SCHEMA {schema}"));
        }
        let retries = "cgpsync.retry_delay = '20ms'\ncgpsync.max_retry_delay = '100ms'\ncgpsync.lock_timeout = '60s'";
        let between = Cluster::start(&format!("{retries}\n{conf}"));
        between.sql(&format!(
            "CREATE EXTENSION cgpsync; CREATE SCHEMA {schema}; ALTER ROLE postgres SET search_path = {schema}, public;
             CREATE SERVER prod FOREIGN DATA WRAPPER cgpsync OPTIONS ({});
             CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync OPTIONS ({});
             CREATE USER MAPPING FOR postgres SERVER prod OPTIONS ({});
             CREATE USER MAPPING FOR postgres SERVER dr OPTIONS ({})",
            source.server_options(),
            target.server_options(),
            source.mapping_options(),
            target.mapping_options()
        ));
        Clusters {
            source,
            between,
            target,
            schema,
        }
    }

    /// Runs `sql` on source and target.
    pub fn both(&self, sql: &str) {
        self.source.sql(sql);
        self.target.sql(sql);
    }

    /// Name of a table of the story's as a literal: `table` is written as SQL has it.
    pub fn name(&self, table: &str) -> String {
        literal(&format!("{}.{table}", self.schema))
    }

    /// A foreign table in the server between that stands for `table` of the target.
    pub fn attach(&self, table: &str) {
        let name = self.name(table);
        self.between.sql(&format!("SELECT cgpsync_attach({name}, 'dr')"));
    }

    /// Lets `server` be used as another role.
    pub fn map(&self, server: &str, role: &str) {
        self.between.sql(&format!(
            "DROP USER MAPPING FOR postgres SERVER {server};
             CREATE USER MAPPING FOR postgres SERVER {server} OPTIONS (user '{role}', password 'secret')"
        ));
    }

    /// Runs a sync from the source; the partitions it returned, without the schema, with their status, or its error.
    pub fn sync(&self, arguments: &str) -> Result<Vec<(String, String)>, Box<DbError>> {
        self.sync_as(&mut self.between.connect(), arguments)
    }

    /// The same in an open session.
    pub fn sync_as(&self, client: &mut Client, arguments: &str) -> Result<Vec<(String, String)>, Box<DbError>> {
        let rows = refusal(client.query(&self.statement(arguments), &[]))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn statement(&self, arguments: &str) -> String {
        format!(
            "SELECT {}, status FROM cgpsync_sync({arguments}, source => 'prod') ORDER BY 1",
            self.bare("partition::text")
        )
    }

    /// An expression that gives the name which `name` is without its schema.
    fn bare(&self, name: &str) -> String {
        let plain = self.schema.trim_matches('"');
        format!(
            "replace(replace({name}, {}, ''), {}, '')",
            literal(&format!("{}.", self.schema)),
            literal(&format!("{plain}."))
        )
    }

    /// What a sync that must succeed returned, and what it said.
    pub fn told(&self, arguments: &str) -> (Vec<(String, String)>, String) {
        let (mut client, notices) = self.between.connect_with_notices();
        let units = self
            .sync_as(&mut client, arguments)
            .unwrap_or_else(|error| panic!("{error:?} in: {arguments}"));
        (units, said(&notices))
    }

    /// The partitions that a sync which must succeed has copied, in the order of their names.
    pub fn copied(&self, arguments: &str) -> Vec<String> {
        let (units, _) = self.told(arguments);
        let done = units.into_iter().filter(|(_, status)| status == "done");
        done.map(|(partition, _)| partition).collect()
    }

    /// Runs a sync that must fail; its error.
    pub fn refused(&self, arguments: &str) -> Box<DbError> {
        self.sync(arguments).expect_err(arguments)
    }

    /// Starts a sync in a thread of its own, after `settings`.
    pub fn in_background(&self, arguments: &str, settings: &str) -> Background {
        let mut client = self.between.connect();
        client.batch_execute(settings).expect("settings");
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let sql = self.statement(arguments);
        let thread = std::thread::spawn(move || match client.query(&sql, &[]) {
            Ok(rows) => Ok(rows.len()),
            Err(error) => Err(error.as_db_error().map_or_else(
                || error.to_string(),
                |of_server| format!("{} {}", of_server.code().code(), words(of_server)),
            )),
        });
        Background { pid, cancel, thread }
    }

    /// How the last run has replaced the units it has copied, each way once.
    pub fn ways(&self) -> String {
        self.last_run("string_agg(DISTINCT way, ', ' ORDER BY way)", "status = 'done'")
    }

    /// The same, unit by unit.
    pub fn ways_by_unit(&self) -> String {
        let unit = self.bare("partition");
        let each = format!("string_agg({unit} || ' ' || way, ', ' ORDER BY {unit})");
        self.last_run(&each, "status = 'done'")
    }

    /// An aggregate of the last run's units.
    pub fn last_run(&self, aggregate: &str, filter: &str) -> String {
        self.between.text(&format!(
            "SELECT {aggregate} FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run) AND {filter}"
        ))
    }

    /// The end_tm that is remembered for the story's only table; empty for none.
    pub fn remembered(&self) -> String {
        self.between.text("SELECT end_tm FROM sync_table")
    }
}

/// What was said so far.
pub fn said(notices: &Notices) -> String {
    notices.lock().expect("a lock").join("\n")
}

impl Drop for Clusters {
    fn drop(&mut self) {
        // First: its sessions have what is to be removed locked.
        self.between.stop("QUIT");
        self.source.clear();
        self.target.clear();
    }
}
