//! A real openGauss or GaussDB that is somebody's, as a source, and a throwaway PostgreSQL with the extension. A story has a schema of its own on
//! both, roles that begin with its name, and nothing else.

// How such a server lets anybody in, for the sessions that make what a story needs: the crate cannot do it.
#[allow(dead_code)]
#[path = "../../src/wire/gauss_login.rs"]
mod gauss_login;

use super::Background;
use super::cluster::{Cluster, listener};
use super::fake::{message, read, read_startup};
use super::gate;
use super::greenplum::{first, words};
use postgres::config::Host;
use postgres::error::DbError;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::io::Write;
use std::net::{Shutdown, TcpStream};

/// What the schemas and roles of stories begin with.
const PREFIX: &str = "cgpsync_test_";

/// The source, seen from a story.
pub struct OpenGauss {
    /// as it is reached
    config: Config,
    /// as it is reached by way of the relay that logs in
    relayed: Config,
    /// the story's schema
    pub schema: String,
}

/// The source, and the server that syncs from it.
pub struct Lab {
    pub source: OpenGauss,
    pub here: Cluster,
    pub schema: String,
}

fn host(config: &Config) -> String {
    match config.get_hosts() {
        [Host::Tcp(name), ..] => name.clone(),
        _ => "127.0.0.1".to_owned(),
    }
}

impl OpenGauss {
    fn at(variable: &str, schema: &str) -> OpenGauss {
        let text =
            std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: use `make test-opengauss`"));
        let config: Config = text.parse().unwrap_or_else(|error| panic!("{variable}: {error}"));
        let listener = listener();
        let address = (host(&config), config.get_ports().first().copied().unwrap_or(5432));
        let port = listener.local_addr().expect("an address").port();
        let mut relayed = Config::new();
        relayed
            .host("127.0.0.1")
            .port(port)
            .user(config.get_user().expect("user=… in the connection string"))
            .dbname(config.get_dbname().unwrap_or("postgres"))
            .application_name("cgpsync_test");
        if let Some(password) = config.get_password() {
            relayed.password(password);
        }
        let password = config.get_password().unwrap_or_default().to_vec();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (address, password) = (address.clone(), password.clone());
                std::thread::spawn(move || relay(client, &address, &password));
            }
        });
        OpenGauss {
            config,
            relayed,
            schema: schema.to_owned(),
        }
    }

    /// A session in the story's schema.
    pub fn connect(&self) -> Client {
        let mut client = self.relayed.connect(NoTls).expect("a connection");
        let settings = format!(
            "SET search_path = {}; SET client_min_messages = error; SET session_timeout = 0",
            self.schema
        );
        client.batch_execute(&settings).expect("settings");
        client
    }

    /// Runs statements.
    pub fn sql(&self, sql: &str) {
        if let Err(error) = self.connect().batch_execute(sql) {
            panic!("{error:?} in: {sql}");
        }
    }

    /// Runs statements, and says whether the server has let them be.
    pub fn allows(&self, sql: &str) -> bool {
        self.connect().batch_execute(sql).is_ok()
    }

    /// The single value of a query, as text; empty for NULL.
    pub fn text(&self, sql: &str) -> String {
        first(&mut self.connect(), sql)
    }

    /// Options of a foreign server that lead there, and of a mapping.
    fn options(&self) -> [String; 2] {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let dbname = self.config.get_dbname().unwrap_or("postgres");
        let user = self.config.get_user().unwrap_or_default();
        let password = String::from_utf8_lossy(self.config.get_password().unwrap_or_default()).into_owned();
        [
            format!("host '{}', port '{port}', dbname '{dbname}'", host(&self.config)),
            format!("user '{user}', password '{password}'"),
        ]
    }

    /// The same server and schema, which stay when this goes.
    pub fn again(&self) -> Again {
        Again(self.relayed.clone(), self.schema.clone())
    }

    fn clear(&self) {
        let Ok(mut client) = self.relayed.connect(NoTls) else {
            return eprintln!("no connection to remove {}", self.schema);
        };
        let schema = &self.schema;
        // The server drops no table whose bounds it cannot read.
        for style in ["DMY", "MDY"] {
            let drop = format!("SET datestyle = 'ISO, {style}'; DROP SCHEMA IF EXISTS {schema} CASCADE");
            match client.batch_execute(&drop) {
                Ok(()) => break,
                Err(error) if style == "MDY" => eprintln!("{schema}: {error:?}"),
                Err(_) => {}
            }
        }
        let roles = format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{schema}\\_r%'");
        let found = client.simple_query(&roles).unwrap_or_default();
        for message in found {
            if let SimpleQueryMessage::Row(row) = message {
                let role = row.get(0).unwrap_or_default();
                let _ = client.batch_execute(&format!("DROP OWNED BY {role}"));
                let _ = client.batch_execute(&format!("DROP ROLE {role}"));
            }
        }
    }
}

/// Runs statements on the source, in a thread of its own.
pub struct Again(Config, String);

impl Again {
    pub fn sql(&self, sql: &str) {
        let mut client = self.0.connect(NoTls).expect("a connection");
        let sql = format!("SET search_path = {}; {sql}", self.1);
        for statement in sql.split(';') {
            client
                .batch_execute(statement)
                .unwrap_or_else(|error| panic!("{error:?} in: {statement}"));
        }
    }
}

impl Drop for OpenGauss {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Lab {
    /// Connects, removes what an earlier run of the story has left there, and starts the server that syncs.
    pub fn new(story: &str) -> Lab {
        let schema = format!("{PREFIX}{story}");
        let source = OpenGauss::at("CGPSYNC_SOURCE_OG", &schema);
        source.clear();
        let mut client = source.relayed.connect(NoTls).expect("a connection");
        client
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .expect("a schema");
        let here = Cluster::start(
            "cgpsync.retry_delay = '20ms'\ncgpsync.max_retry_delay = '100ms'\ncgpsync.lock_timeout = '60s'\nmax_worker_processes = 16",
        );
        let [server, mapping] = source.options();
        here.sql(&format!(
            "CREATE EXTENSION cgpsync; CREATE SCHEMA {schema}; ALTER ROLE postgres SET search_path = {schema}, public;
             CREATE SERVER prod FOREIGN DATA WRAPPER cgpsync OPTIONS ({server});
             CREATE USER MAPPING FOR postgres SERVER prod OPTIONS ({mapping});
             ALTER DATABASE postgres SET cgpsync.source = 'prod'"
        ));
        Lab { source, here, schema }
    }

    /// What runs on the server that syncs has said and given: rows' first columns, and NOTICEs.
    pub fn call(&self, sql: &str) -> Result<(Vec<String>, String), Box<DbError>> {
        let (mut client, notices) = self.here.connect_with_notices();
        let result = client.simple_query(sql);
        let messages = result.map_err(|error| Box::new(error.as_db_error().expect("a server's error").clone()))?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("")).collect();
                Some(values.join("|"))
            }
            _ => None,
        };
        let said = notices.lock().expect("a lock").join("\n");
        Ok((messages.iter().filter_map(row).collect(), said))
    }

    /// The same, which must succeed.
    pub fn told(&self, sql: &str) -> (Vec<String>, String) {
        self.call(sql).unwrap_or_else(|error| panic!("{error:?} in: {sql}"))
    }

    /// A table like the source's; what was said.
    pub fn create(&self, table: &str) -> String {
        self.told(&format!("SELECT cgpsync_create_table('{}.{table}')", self.schema))
            .1
    }

    /// A sync of all there is that must succeed; what was said.
    pub fn sync(&self, table: &str) -> String {
        let sql = format!(
            "SELECT partition, status FROM cgpsync_sync('{}.{table}', '2100', 3)",
            self.schema
        );
        self.told(&sql).1
    }

    /// Partitions here with their bounds, on all levels, without the schema.
    pub fn bounds(&self, table: &str) -> Vec<String> {
        self.here.list(&format!(
            "SELECT c.relname || ' ' || replace(pg_get_expr(c.relpartbound, 0), 'FOR VALUES ', '')
             FROM pg_partition_tree('{table}') t JOIN pg_class c ON c.oid = t.relid WHERE t.level > 0 ORDER BY c.relname"
        ))
    }

    /// Asserts that both sides have the same rows, as cgpsync_verify finds and as a query of each side says.
    pub fn is_same(&self, table: &str, columns: &[&str]) {
        let sql = format!(
            "SELECT partition, source_rows, target_rows, error FROM cgpsync_verify('{}.{table}', method => 'checksum')
             WHERE NOT matches OR error IS NOT NULL",
            self.schema
        );
        assert_eq!(self.told(&sql).0, [""; 0], "{table}");
        let values: Vec<String> = columns
            .iter()
            .map(|column| format!("COALESCE(CAST({column} AS varchar), '-')"))
            .collect();
        let content = format!(
            "SELECT count(*) || ' ' || md5(string_agg({}, ',' ORDER BY id)) FROM {table}",
            values.join(" || '/' || ")
        );
        assert_eq!(self.here.text(&content), self.source.text(&content), "{table}");
    }

    /// From here on sessions of runs go by way of a gate, where the first statement with `text` waits until `action` is done.
    pub fn before(&self, text: &'static str, action: impl FnOnce() + Send + 'static) {
        let config = &self.source.config;
        let address = (host(config), config.get_ports().first().copied().unwrap_or(5432));
        let port = gate::start(address, text, action);
        self.here.sql(&format!(
            "ALTER SERVER prod OPTIONS (SET host '127.0.0.1', SET port '{port}')"
        ));
    }

    /// Starts a sync that tries nothing twice, in a thread of its own.
    pub fn in_background(&self, arguments: &str) -> Background {
        let mut client = self.here.connect();
        client.batch_execute("SET cgpsync.max_retries = 0").expect("a setting");
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let cancel = client.cancel_token();
        let sql = format!("SELECT partition FROM cgpsync_sync({arguments})");
        let thread = std::thread::spawn(move || match client.query(&sql, &[]) {
            Ok(rows) => Ok(rows.len()),
            Err(error) => Err(error.as_db_error().map_or_else(
                || error.to_string(),
                |of_server| format!("{} {}", of_server.code().code(), words(of_server)),
            )),
        });
        Background { pid, cancel, thread }
    }
}

/// Logs the client in and then carries bytes both ways.
fn relay(mut client: TcpStream, (host, port): &(String, u16), password: &[u8]) -> Option<()> {
    let mut server = TcpStream::connect((host.as_str(), *port)).ok()?;
    let (length, mut packet) = read_startup(&mut client)?;
    // A cancel request goes on as it is.
    if packet.starts_with(&[0, 3, 0, 0]) {
        packet[..4].copy_from_slice(&gauss_login::PROTOCOL.to_be_bytes());
    }
    server.write_all(&[&length[..], &packet].concat()).ok()?;
    let (tag, body) = read(&mut server)?;
    match gauss_login::read(&body, true) {
        Ok(gauss_login::Request::Challenge(challenge)) if tag == b'R' => {
            let answer = challenge.answer(password).expect("an answer");
            server
                .write_all(&message(b'p', &[answer.as_bytes(), b"\0"].concat()))
                .ok()?;
        }
        _ => client.write_all(&message(tag, &body)).ok()?,
    }
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut client, &mut server);
    server.shutdown(Shutdown::Both).ok()
}
