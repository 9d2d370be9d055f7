//! The clusters, alike for every way, and how tools are run against them.

use crate::settings::Settings;
use crate::support::cluster::Cluster;
use crate::support::needs;
use crate::support::pki::{Authority, owned};
use postgres::SimpleQueryMessage;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings of every server, for all ways alike. Whatever would come at a moment of its own is off or far away:
/// autovacuum, checkpoints.
pub const EVERY: &str = "fsync = on
shared_buffers = '512MB'
maintenance_work_mem = '128MB'
max_wal_size = '32GB'
min_wal_size = '4GB'
checkpoint_timeout = '1h'
autovacuum = off
max_connections = 100
max_worker_processes = 32
max_locks_per_transaction = 1024
";
/// MiB of private memory that building an index may take, as in `EVERY`.
pub const MAINTENANCE_WORK_MEM: f64 = 128.0;
/// The source's own: logical replication decodes there.
pub const SOURCE: &str = "wal_level = logical\n";

/// The clusters, with a server object for each kind of connection.
pub struct Ground {
    pub source: Cluster,
    pub target: Cluster,
    /// the server with the extension, where it is not the target itself
    pub beside: Option<Cluster>,
    /// where the servers and this process write files
    pub files: PathBuf,
    /// processes at a time
    pub parallelism: usize,
    /// the source takes connections with TLS
    pub has_tls: bool,
    /// kept until the end: the source's certificate is among its files
    _authority: Authority,
}

/// What the server says about an error.
pub fn explain(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(e) => [Some(e.message()), e.detail(), e.hint()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
        None => error.to_string(),
    }
}

/// Runs statements.
pub fn sql(cluster: &Cluster, sql: &str) -> Result<(), String> {
    let mut client = cluster.try_connect().ok_or("the server takes no connection")?;
    client
        .batch_execute(sql)
        .map_err(|e| format!("{} in: {}", explain(&e), sql.chars().take(200).collect::<String>()))
}

/// The first value of the last statement, as text; empty for NULL and for no row.
pub fn text(cluster: &Cluster, sql: &str) -> Result<String, String> {
    let mut client = cluster.try_connect().ok_or("the server takes no connection")?;
    let messages = client
        .simple_query(sql)
        .map_err(|e| format!("{} in: {sql}", explain(&e)))?;
    let value = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
        _ => None,
    });
    Ok(value.unwrap_or_default())
}

impl Ground {
    /// Starts a source and a target that has the extension.
    pub fn new(settings: &Settings) -> Result<Ground, String> {
        let base = PathBuf::from(std::env::var("CGPSYNC_TEST_DIR").map_err(|_| "use `make bench`")?);
        let files = base.join("files");
        std::fs::create_dir(&files).map_err(|e| e.to_string())?;
        owned(&files, 0o755);
        let authority = Authority::new();
        let issued = authority.issue("source", "DNS:localhost,IP:127.0.0.1");
        let has_tls = !needs::lacks_tls();
        let tls = match has_tls {
            true => format!(
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                issued.certificate, issued.key
            ),
            false => String::new(),
        };
        let subscriber = format!(
            "max_sync_workers_per_subscription = {0}\nmax_logical_replication_workers = {1}\n",
            settings.parallelism,
            settings.parallelism + 4
        );
        let source = Cluster::source(&format!("{EVERY}{SOURCE}{tls}"));
        let target = Cluster::start(&format!("{EVERY}{subscriber}"));
        let options = |more: &str| format!("port '{}', dbname 'postgres', {more}", source.port);
        let plain = options("host '127.0.0.1', sslmode 'disable'");
        let tls = options(&format!(
            "host 'localhost', sslmode 'verify-full', sslrootcert '{}'",
            authority.root()
        ));
        let mapping = "OPTIONS (user 'postgres', password 'secret')";
        sql(
            &target,
            &format!(
                "CREATE EXTENSION cgpsync;
                 CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS ({plain});
                 CREATE USER MAPPING FOR postgres SERVER src {mapping};
                 CREATE SERVER src_tls FOREIGN DATA WRAPPER cgpsync OPTIONS ({tls});
                 CREATE USER MAPPING FOR postgres SERVER src_tls {mapping};
                 CREATE SCHEMA remote"
            ),
        )?;
        let ground = Ground {
            source,
            target,
            beside: None,
            files,
            has_tls,
            parallelism: settings.parallelism,
            _authority: authority,
        };
        // Only that way fails if it is not to be had.
        let wrapper = format!(
            "CREATE EXTENSION postgres_fdw;
             CREATE SERVER fdw FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({plain}, fetch_size '10000');
             CREATE USER MAPPING FOR postgres SERVER fdw {mapping}"
        );
        if let Err(error) = sql(&ground.target, &wrapper) {
            eprintln!("bench: postgres_fdw: {error}");
        }
        Ok(ground)
    }

    /// The same with a new target, which has no extension; what was the target stays beside it.
    pub fn with_target_elsewhere(self) -> Result<Ground, String> {
        let target = Cluster::start(EVERY);
        sql(
            &self.target,
            &format!(
                "CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync
                     OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres', sslmode 'disable');
                 CREATE USER MAPPING FOR postgres SERVER dr OPTIONS (user 'postgres', password 'secret')",
                target.port
            ),
        )?;
        Ok(Ground {
            target,
            beside: Some(self.target),
            ..self
        })
    }

    /// The server with the extension.
    pub fn ours(&self) -> &Cluster {
        self.beside.as_ref().unwrap_or(&self.target)
    }

    /// Runs statements on source and target, at the same time.
    pub fn both(&self, statements: &str) -> Result<(), String> {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| sql(&self.source, statements));
            sql(&self.target, statements)?;
            there.join().map_err(|_| "a session ended early".to_owned())?
        })
    }

    /// How a client program reaches the source, as libpq has it.
    pub fn source_conninfo(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres password=secret dbname=postgres sslmode=disable",
            self.source.port
        )
    }

    /// A program with the servers' installation first in its PATH. In a script, `$S` is psql on the source, `$T` on the
    /// target.
    pub fn tool(&self, program: &str) -> Command {
        let bin = std::env::var("CGPSYNC_TEST_BIN").unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        // A target elsewhere is not reached through a socket of its machine.
        let host = match self.beside {
            Some(_) => "127.0.0.1".to_owned(),
            None => self.target.dir.display().to_string(),
        };
        let psql = "psql -X -q -v ON_ERROR_STOP=1 -U postgres -d postgres";
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{bin}:{path}"))
            .env("PGPASSWORD", "secret")
            .env("PGSSLMODE", "disable")
            .env("S", format!("{psql} -h 127.0.0.1 -p {}", self.source.port))
            .env("T", format!("{psql} -h {host} -p {}", self.target.port))
            .current_dir(&self.files)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script for each partition, whose name is its `$1`, as many at a time as is allowed.
    pub fn each(&self, partitions: &[String], script: &str) -> Result<(), String> {
        let list = self.files.join("partitions");
        std::fs::write(&list, partitions.join("\n") + "\n").map_err(|e| e.to_string())?;
        let input = std::fs::File::open(&list).map_err(|e| e.to_string())?;
        let mut xargs = self.tool("xargs");
        xargs
            .args(["-P", &self.parallelism.to_string(), "-n", "1"])
            .args(["bash", "-o", "pipefail", "-ec", script, "bench"])
            .stdin(input);
        run(&mut xargs)
    }

    /// Writes what is dirty, so that no way pays for the one before it.
    pub fn checkpoint(&self) -> Result<(), String> {
        self.both("CHECKPOINT")
    }
}

/// Runs a program to its end; the error is the last that it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = lines.into_iter().rev().collect();
    Err(format!("{name}: {}: {}", output.status, last.join("; ")))
}

/// First line of what a program prints, or why there is none.
pub fn first_line(ground: &Ground, program: &str, arguments: &[&str]) -> String {
    let output = ground.tool(program).args(arguments).output();
    let text = output.map(|output| {
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).lines().next().unwrap_or("").to_owned()
    });
    text.unwrap_or_else(|error| format!("none ({error})"))
}

/// A file that the servers can read and write.
pub fn file(ground: &Ground, name: &str) -> String {
    Path::new(&ground.files).join(name).display().to_string()
}
