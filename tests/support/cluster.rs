//! One throwaway cluster.

use super::{Notices, SOON, poll};
use postgres::{Client, Config, NoTls};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Which of the two servers a cluster is of: they may be of different versions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    /// Where its commands are.
    pub fn bin(self) -> PathBuf {
        let target = env("CGPSYNC_TEST_BIN");
        match self {
            Side::Source => std::env::var("CGPSYNC_TEST_SOURCE_BIN").unwrap_or(target).into(),
            Side::Target => target.into(),
        }
    }

    fn template(self) -> &'static str {
        match self {
            Side::Source if std::env::var_os("CGPSYNC_TEST_SOURCE_BIN").is_some() => "template-source",
            _ => "template",
        }
    }

    /// A command of its installation, run as a user that servers accept.
    pub fn command(self, program: &str) -> Command {
        as_servers_user(Command::new(self.bin().join(program)))
    }
}

/// The command, run as a user that servers accept.
pub fn as_servers_user(mut command: Command) -> Command {
    if let (Ok(uid), Ok(gid)) = (std::env::var("CGPSYNC_TEST_UID"), std::env::var("CGPSYNC_TEST_GID")) {
        command
            .gid(gid.parse().expect("a gid"))
            .uid(uid.parse().expect("a uid"));
    }
    command.env_remove("RUST_BACKTRACE").current_dir("/");
    command
}

/// A running server with its own data directory; stopped and removed when dropped.
pub struct Cluster {
    pub port: u16,
    pub dir: PathBuf,
    side: Side,
    /// variables of the server's environment
    environment: Vec<(String, String)>,
    server: Option<Child>,
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: use `make test`"))
}

/// A directory that no other story uses and that goes with this one.
pub fn story_dir() -> PathBuf {
    let own = std::env::var("CGPSYNC_TEST_STORY");
    own.unwrap_or_else(|_| env("CGPSYNC_TEST_DIR")).into()
}

/// A command of the target's installation.
pub fn command(program: &str) -> Command {
    Side::Target.command(program)
}

/// SQL that waits for as long as somebody has the gate of its cluster closed.
pub const GATE: &str = "pg_advisory_xact_lock_shared(1)";

/// A listener on a port that no other one of the stories has had, which are other processes: a server
/// that is down for a while finds its port free.
pub fn listener() -> TcpListener {
    let taken = PathBuf::from(env("CGPSYNC_TEST_DIR")).join("ports");
    std::fs::create_dir_all(&taken).expect("a directory");
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        match std::fs::File::create_new(taken.join(port.to_string())) {
            Ok(_) => return listener,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
}

pub fn free_port() -> u16 {
    listener().local_addr().expect("an address").port()
}

fn new_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    story_dir().join(format!("cluster{number}"))
}

impl Cluster {
    /// Starts one of the target's server, with more lines for postgresql.conf.
    pub fn start(conf: &str) -> Cluster {
        Cluster::start_in(Side::Target, conf, Vec::new())
    }

    /// Starts one of the source's server.
    pub fn source(conf: &str) -> Cluster {
        Cluster::start_in(Side::Source, conf, Vec::new())
    }

    /// Starts one whose processes find `environment` in theirs.
    pub fn start_in(side: Side, conf: &str, environment: Vec<(String, String)>) -> Cluster {
        let base = PathBuf::from(env("CGPSYNC_TEST_DIR"));
        let dir = new_dir();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(base.join(side.template()))
            .arg(&dir)
            .status();
        assert!(copied.expect("cp runs").success());
        let port = free_port();
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n\
             max_worker_processes = 16\nshared_buffers = '32MB'\nmax_connections = 60\nlog_min_messages = info\n\
             autovacuum = off\nmax_wal_size = '4GB'\n{conf}\n",
            dir.display()
        );
        let path = dir.join("postgresql.auto.conf");
        std::fs::write(&path, settings).expect("settings are written");
        let mut cluster = Cluster {
            port,
            dir,
            side,
            environment,
            server: None,
        };
        cluster.boot();
        cluster
    }

    /// A hot standby of this one.
    pub fn standby(&self) -> Cluster {
        let dir = new_dir();
        let copied = self
            .side
            .command("pg_basebackup")
            .args(["-R", "-c", "fast", "-U", "postgres", "-p", &self.port.to_string(), "-h"])
            .arg(&self.dir)
            .arg("-D")
            .arg(&dir)
            .status();
        assert!(copied.expect("pg_basebackup runs").success());
        let port = free_port();
        let mut settings = std::fs::File::options()
            .append(true)
            .open(dir.join("postgresql.auto.conf"))
            .expect("settings");
        writeln!(settings, "port = {port}\nunix_socket_directories = '{}'", dir.display())
            .expect("settings are written");
        let mut cluster = Cluster {
            port,
            dir,
            side: self.side,
            environment: Vec::new(),
            server: None,
        };
        cluster.boot();
        cluster
    }

    /// Starts the server on the existing data directory.
    pub fn boot(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.log_path());
        let log = log.expect("a log file");
        let server = self
            .side
            .command("postgres")
            .arg("-D")
            .arg(&self.dir)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn();
        self.server = Some(server.expect("the server starts"));
        self.until_up();
    }

    /// Waits until it accepts connections.
    pub fn until_up(&self) {
        poll("the server accepts connections", SOON, || self.is_up());
    }

    /// True when it accepts connections.
    pub fn is_up(&self) -> bool {
        self.config().connect(NoTls).is_ok()
    }

    /// Kills the postmaster alone, as the kernel would. Its children notice by themselves; gives how many did not within `limit`, which
    /// are then killed: they would keep the server from starting again.
    pub fn kill_postmaster(&mut self, limit: Duration) -> usize {
        let Some(mut server) = self.server.take() else {
            return 0;
        };
        // Stopped first, so that no child is born after the list is made.
        try_kill("STOP", server.id());
        let children = children_of(server.id());
        let _ = server.kill();
        let _ = server.wait();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && children.iter().any(|pid| is_alive(*pid)) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let stubborn: Vec<u32> = children.into_iter().filter(|pid| is_alive(*pid)).collect();
        for pid in &stubborn {
            try_kill("KILL", *pid);
            poll("a killed process is gone", SOON, || !is_alive(*pid));
        }
        stubborn.len()
    }

    /// Kills all its processes at once, as if the machine had lost power but for what is in the kernel's hands.
    pub fn kill_all(&mut self) -> usize {
        if let Some(server) = &self.server {
            // Stopped first: it must not notice the others' deaths and begin to recover.
            try_kill("STOP", server.id());
            children_of(server.id()).into_iter().for_each(|pid| {
                try_kill("KILL", pid);
            });
        }
        self.kill_postmaster(Duration::from_secs(5))
    }

    /// Closes the gate, at which [`GATE`] waits, until this session ends.
    pub fn close_gate(&self) -> Client {
        let mut gate = self.connect();
        gate.batch_execute("SELECT pg_advisory_lock(1)").expect("a lock");
        gate
    }

    /// Waits until as many sessions wait at the gate.
    pub fn until_at_gate(&self, sessions: u32) {
        poll("they are at the gate", SOON, || {
            self.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                == sessions.to_string()
        });
    }

    /// Sets synchronous_standby_names, and waits until commits wait for them: it is the checkpointer that says so, on its way to a checkpoint.
    /// One that was already under way when the setting came may be the first one's.
    pub fn set_synchronous_standbys(&self, names: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        self.sql("SELECT pg_reload_conf()");
        poll("the setting is in force", SOON, || {
            self.text("SHOW synchronous_standby_names") == names
        });
        self.sql("CHECKPOINT");
        self.sql("CHECKPOINT");
    }

    fn log_path(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Stops the server: `m` is SIGINT for fast, SIGQUIT for immediate, SIGTERM for smart.
    pub fn stop(&mut self, signal: &str) {
        if let Some(mut server) = self.server.take() {
            kill(signal, server.id());
            server.wait().expect("the server ends");
        }
    }

    /// How to connect as postgres to database postgres.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.dir)
            .port(self.port)
            .user("postgres")
            .dbname("postgres");
        config
    }

    /// A session of postgres in database postgres.
    pub fn connect(&self) -> Client {
        self.config().connect(NoTls).expect("a connection")
    }

    /// The same, if the server takes another one.
    pub fn try_connect(&self) -> Option<Client> {
        self.config().connect(NoTls).ok()
    }

    /// A session of another role.
    pub fn connect_as(&self, user: &str) -> Client {
        self.config().user(user).connect(NoTls).expect("a connection")
    }

    /// A session of postgres in another database.
    pub fn connect_to(&self, database: &str) -> Client {
        self.config().dbname(database).connect(NoTls).expect("a connection")
    }

    /// A session that collects its NOTICEs and WARNINGs.
    pub fn connect_with_notices(&self) -> (Client, Notices) {
        self.connect_with_notices_to("postgres")
    }

    /// The same in another database.
    pub fn connect_with_notices_to(&self, database: &str) -> (Client, Notices) {
        let mut config = self.config();
        config.dbname(database);
        with_notices(config)
    }

    /// The same as another role.
    pub fn connect_with_notices_as(&self, user: &str) -> (Client, Notices) {
        let mut config = self.config();
        config.user(user);
        with_notices(config)
    }

    /// Runs statements.
    pub fn sql(&self, sql: &str) {
        self.sql_in("postgres", sql);
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, sql: &str) {
        if let Err(error) = self.connect_to(database).batch_execute(sql) {
            panic!("{error:?} in: {sql}");
        }
    }

    /// A tablespace in a directory of its own. Whoever the server runs as owns that.
    pub fn create_tablespace(&self, name: &str) {
        let place = self.dir.join(name).display().to_string();
        self.sql(&format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir {place}'"));
        self.sql(&format!("CREATE TABLESPACE {name} LOCATION '{place}'"));
    }

    /// The single value of a query, as text; empty for NULL.
    pub fn text(&self, sql: &str) -> String {
        self.text_in("postgres", sql)
    }

    /// The same in another database.
    pub fn text_in(&self, database: &str, sql: &str) -> String {
        let rows = self
            .connect_to(database)
            .simple_query(sql)
            .unwrap_or_else(|e| panic!("{e:?} in: {sql}"));
        let value = rows.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
            _ => None,
        });
        value.unwrap_or_default()
    }

    /// All values of the first column.
    pub fn list(&self, sql: &str) -> Vec<String> {
        let rows = self
            .connect()
            .simple_query(sql)
            .unwrap_or_else(|e| panic!("{e:?} in: {sql}"));
        let row = |message: &postgres::SimpleQueryMessage| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
            _ => None,
        };
        rows.iter().filter_map(row).collect()
    }
}

fn with_notices(mut config: Config) -> (Client, Notices) {
    let notices: Notices = Arc::new(Mutex::new(Vec::new()));
    let sink = notices.clone();
    config.notice_callback(move |notice| sink.lock().expect("a lock").push(notice.message().to_owned()));
    (config.connect(NoTls).expect("a connection"), notices)
}

/// State and parent of a process; None when it is gone.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("a list of processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, p)| p == parent))
        .collect()
}

/// Sends a signal to a process that may be gone already; whether it was there.
pub fn try_kill(signal: &str, pid: u32) -> bool {
    let mut command = Command::new("kill");
    let status = command
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
    status.expect("kill runs").success()
}

/// Sends a signal to a process.
pub fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status();
    assert!(status.expect("kill runs").success(), "kill -{signal} {pid}");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("log of the cluster on port {}:", self.port);
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").arg("-QUIT").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
