//! PgBouncer in front of a source.

use super::cluster::{Cluster, as_servers_user, listener, story_dir};
use super::{SOON, poll};
use postgres::{Client, Config, NoTls};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running PgBouncer; stopped when dropped.
pub struct Pooler {
    pub port: u16,
    child: Child,
}

/// Where Debian has it; the story that asks is noted where it is not.
pub fn lacks_pooler() -> bool {
    let lacks = program().is_none();
    if lacks {
        super::needs::note("there is no pgbouncer");
    }
    lacks
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(more);
    places.find_map(|place| Some(place.join("pgbouncer")).filter(|program| program.exists()))
}

impl Pooler {
    /// Starts one in front of `source`, with that pool_mode and more lines of settings. It knows the users `postgres`, password `secret`, and
    /// `reader`, password `r`.
    pub fn start(source: &Cluster, mode: &str, more: &str) -> Pooler {
        let port = listener().local_addr().expect("an address").port();
        let dir = story_dir();
        let write = |name: String, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let users = write(
            format!("users-{port}"),
            "\"postgres\" \"secret\"\n\"reader\" \"r\"\n".to_owned(),
        );
        let settings = write(
            format!("pgbouncer-{port}.ini"),
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {mode}\nserver_round_robin = 1\n{more}\n",
                source.port
            ),
        );
        let child = as_servers_user(Command::new(program().expect("pgbouncer")))
            .arg(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        let mut pooler = Pooler { port, child };
        poll("the pooler is up", SOON, || {
            assert!(pooler.is_up(), "pgbouncer does not start");
            pooler.try_connect("postgres", "secret").is_some()
        });
        pooler
    }

    /// It has not fallen over.
    pub fn is_up(&mut self) -> bool {
        self.child.try_wait().expect("a process").is_none()
    }

    /// A client of it.
    pub fn connect(&self, user: &str, password: &str) -> Client {
        self.try_connect(user, password).expect("the pooler lets us in")
    }

    fn try_connect(&self, user: &str, password: &str) -> Option<Client> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).dbname("postgres");
        config.user(user).password(password).connect(NoTls).ok()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
