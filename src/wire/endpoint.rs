//! What a SERVER and a USER MAPPING may say, and what a connection needs of it. No server calls.

pub mod encryption;
pub mod hosts;
mod secret;

use crate::catalog::server::Known;
use crate::error::{Error, Result, Side, sqlstate};
use encryption::{Binding, Mode, TlsOptions, Version};
use hosts::{Attributes, Host};
pub use secret::Secret;
use std::net::SocketAddr;
use std::time::Duration;

/// Which object an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// CREATE SERVER
    Server,
    /// CREATE USER MAPPING
    UserMapping,
    /// CREATE FOREIGN TABLE: what a table here stands for elsewhere
    Table,
}

enum Kind {
    Text,
    Ports,
    Seconds,
    Millis,
    Count,
    Boolean,
    Switch,
    SslMode,
    SslVersion,
    Binding,
    Attributes,
    Balance,
    Command,
}

/// Every option, where it may stand, and what it may be. Names and meanings of libpq, and of postgres_fdw's foreign tables.
const OPTIONS: &[(&str, Place, Kind)] = &[
    ("host", Place::Server, Kind::Text),
    ("hostaddr", Place::Server, Kind::Text),
    ("port", Place::Server, Kind::Ports),
    ("dbname", Place::Server, Kind::Text),
    ("sslmode", Place::Server, Kind::SslMode),
    ("sslrootcert", Place::Server, Kind::Text),
    ("sslcrl", Place::Server, Kind::Text),
    ("sslcrldir", Place::Server, Kind::Text),
    ("sslcert", Place::Server, Kind::Text),
    ("sslkey", Place::Server, Kind::Text),
    ("sslsni", Place::Server, Kind::Boolean),
    ("ssl_min_protocol_version", Place::Server, Kind::SslVersion),
    ("ssl_max_protocol_version", Place::Server, Kind::SslVersion),
    ("channel_binding", Place::Server, Kind::Binding),
    ("connect_timeout", Place::Server, Kind::Seconds),
    ("keepalives", Place::Server, Kind::Boolean),
    ("keepalives_idle", Place::Server, Kind::Seconds),
    ("keepalives_interval", Place::Server, Kind::Seconds),
    ("keepalives_count", Place::Server, Kind::Count),
    ("tcp_user_timeout", Place::Server, Kind::Millis),
    ("target_session_attrs", Place::Server, Kind::Attributes),
    ("load_balance_hosts", Place::Server, Kind::Balance),
    ("shared_snapshot", Place::Server, Kind::Switch),
    ("password_command", Place::Server, Kind::Command),
    ("user", Place::UserMapping, Kind::Text),
    ("password", Place::UserMapping, Kind::Text),
    ("password_command", Place::UserMapping, Kind::Command),
    ("sslcert", Place::UserMapping, Kind::Text),
    ("sslkey", Place::UserMapping, Kind::Text),
    ("sslpassword", Place::UserMapping, Kind::Text),
    ("schema_name", Place::Table, Kind::Text),
    ("table_name", Place::Table, Kind::Text),
];

/// Options of postgres_fdw and dblink_fdw that say nothing about the connection, or nothing we could break by leaving them out.
const IGNORED: &[&str] = &[
    "use_remote_estimate",
    "fdw_startup_cost",
    "fdw_tuple_cost",
    "extensions",
    "updatable",
    "truncatable",
    "fetch_size",
    "batch_size",
    "async_capable",
    "parallel_commit",
    "parallel_abort",
    "keep_connections",
    "analyze_sampling",
    "password_required",
    "application_name",
    "fallback_application_name",
    "client_encoding",
];

/// The words of a command, as a shell would take them apart, without all else that a shell does; None if a quote is not closed, or there is none.
pub fn words(command: &str) -> Option<Vec<String>> {
    shlex::split(command).filter(|words| !words.is_empty())
}

/// Checks one option as the validator of FOREIGN DATA WRAPPER cgpsync does at CREATE and ALTER. Values never enter a message.
pub fn validate(name: &str, value: &str, place: Place) -> Result<()> {
    let Some((_, _, kind)) = OPTIONS.iter().find(|(n, p, _)| *n == name && *p == place) else {
        let valid: Vec<&str> = OPTIONS
            .iter()
            .filter(|(_, p, _)| *p == place)
            .map(|(n, _, _)| *n)
            .collect();
        let elsewhere = OPTIONS.iter().find(|(n, ..)| *n == name);
        let error = Error::new(sqlstate::FDW_INVALID_OPTION_NAME, format!("invalid option \"{name}\""));
        let error = match elsewhere {
            Some((_, Place::UserMapping, _)) => error.detail("It belongs in the USER MAPPING."),
            Some((_, Place::Server, _)) => error.detail("It belongs in the SERVER."),
            Some((_, Place::Table, _)) => error.detail("It belongs in the FOREIGN TABLE."),
            None => error,
        };
        return Err(error.hint(format!("Valid options in this context are: {}", valid.join(", "))));
    };
    let bad = |what: &str| Err(Error::bad_parameter(format!("option \"{name}\" must be {what}")));
    match kind {
        Kind::Text if value.contains('\0') => bad("text without a zero byte"),
        Kind::Text => Ok(()),
        Kind::Ports => match hosts::ports(value) {
            Some(_) => Ok(()),
            None => bad("a port number from 1 to 65535, or several, separated by commas"),
        },
        Kind::Attributes if Attributes::parse(value).is_none() => {
            bad("any, read-write, read-only, primary, standby or prefer-standby")
        }
        Kind::Balance if !["disable", "random"].contains(&value) => bad("disable or random"),
        Kind::Command if value.contains('\0') || words(value).is_none() => {
            bad("a program with its arguments, and quotes closed")
        }
        Kind::Attributes | Kind::Balance | Kind::Command => Ok(()),
        Kind::Seconds | Kind::Millis | Kind::Count => match value.parse::<i32>() {
            Ok(0..) => Ok(()),
            _ => bad("a non-negative integer"),
        },
        Kind::Boolean => match value {
            "0" | "1" => Ok(()),
            _ => bad("0 or 1"),
        },
        Kind::Switch => match value {
            "on" | "off" => Ok(()),
            _ => bad("on or off"),
        },
        Kind::SslMode if Mode::parse(value).is_none() => {
            bad("disable, allow, prefer, require, verify-ca or verify-full")
        }
        Kind::SslVersion if Version::parse(value).is_none() => bad("TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3"),
        Kind::Binding if Binding::parse(value).is_none() => bad("disable, prefer or require"),
        Kind::SslMode | Kind::SslVersion | Kind::Binding => Ok(()),
    }
}

/// Refuses options that only a superuser may set, and a mapping that has them only a superuser may change: as in postgres_fdw. The files
/// are read with the server's own rights, and the certificate counts as the role's authentication.
pub fn validate_as_plain_role(name: &str, place: Place) -> Result<()> {
    if name == "password_command" {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            "password_command is superuser-only",
        )
        .detail("It names a program that this server runs.")
        .hint("Servers and user mappings with the password_command option set may only be created or modified by the superuser."));
    }
    if place != Place::UserMapping || !matches!(name, "sslcert" | "sslkey") {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        "sslcert and sslkey are superuser-only",
    )
    .hint("User mappings with the sslcert or sslkey options set may only be created or modified by the superuser."))
}

/// The error for an option of an object that takes none, such as the wrapper itself.
pub fn no_options_here(name: &str) -> Error {
    Error::new(sqlstate::FDW_INVALID_OPTION_NAME, format!("invalid option \"{name}\""))
        .hint("There are no valid options in this context.")
}

/// All that is needed to open a connection.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// name of the foreign server, for messages
    pub server: String,
    /// which end of a copy it is
    pub side: Side,
    /// the servers that it may be, in the order of the options
    pub hosts: Vec<Host>,
    /// the one of them that is tried or was reached
    pub host: Host,
    /// what a session must be like
    pub attributes: Attributes,
    /// they are tried in an order of their own each time
    pub is_balanced: bool,
    /// database
    pub dbname: String,
    /// remote user
    pub user: String,
    /// remote password
    pub password: Option<Secret>,
    /// the program that prints it
    pub password_command: Option<Secret>,
    /// the caller is not superuser: the server must ask for the password, so that nobody gets in as the server's own identity
    pub must_authenticate: bool,
    /// the mapping is the role's own, and not PUBLIC's
    pub has_own_mapping: bool,
    /// limit for opening the connection, authentication included
    pub connect_timeout: Duration,
    /// longest wait for a place in a queue of its server's; zero: none
    pub patience: Duration,
    /// None: keepalives off
    pub keepalive: Option<Keepalive>,
    /// limit for sent data to stay unacknowledged; None: the system's
    pub tcp_user_timeout: Option<Duration>,
    /// whether and how the connection is encrypted
    pub tls: TlsOptions,
    /// whether sessions of the server share a snapshot; None: what is known of servers of its kind
    pub shared_snapshot: Option<bool>,
    /// the one address to connect to, where the host's name may lead to others
    pub reached: Option<SocketAddr>,
    /// what is known of the server that was reached before
    pub known: Option<Known>,
}

/// When TCP gives a silent peer up: idle + interval * count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// silence before the first probe
    pub idle: Duration,
    /// between probes
    pub interval: Duration,
    /// unanswered probes until the connection counts as dead
    pub count: u32,
}

impl Endpoint {
    /// True for a Unix socket.
    pub fn is_local(&self) -> bool {
        self.host.is_local()
    }

    /// Which database this is, wherever the server's options point some other day.
    pub fn address(&self) -> String {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|one| format!("{}:{}", one.host, one.port))
            .collect();
        format!("{}/{}", hosts.join(","), self.dbname)
    }

    /// Reads the options of a server (of cgpsync, postgres_fdw or dblink_fdw) and of its user mapping. `role` names the local role:
    /// the remote user's default, as in libpq. `connect_timeout` applies where the server has none.
    pub fn from_options(
        server: &str,
        side: Side,
        server_options: &[(String, String)],
        mapping_options: &[(String, String)],
        role: &str,
        connect_timeout: Duration,
    ) -> Result<Endpoint> {
        let mut endpoint = Endpoint {
            server: server.to_owned(),
            side,
            hosts: Vec::new(),
            host: Host::default(),
            attributes: Attributes::Any,
            is_balanced: false,
            dbname: String::new(),
            user: role.to_owned(),
            password: None,
            password_command: None,
            must_authenticate: true,
            has_own_mapping: true,
            connect_timeout,
            patience: Duration::ZERO,
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(10),
                interval: Duration::from_secs(5),
                count: 3,
            }),
            tcp_user_timeout: Some(match side {
                // A server that takes no rows for a while, as its disks are busy, is not gone; the system cannot tell the two apart.
                Side::Target => Duration::from_secs(120),
                _ => Duration::from_secs(30),
            }),
            tls: TlsOptions::default(),
            shared_snapshot: None,
            reached: None,
            known: None,
        };
        let [mut host, mut hostaddr, mut port] = [None; 3];
        for (place, options) in [(Place::Server, server_options), (Place::UserMapping, mapping_options)] {
            for (name, value) in options {
                if IGNORED.contains(&name.as_str()) {
                    continue;
                }
                validate(name, value, place).map_err(|e| unusable(server, name, e))?;
                match name.as_str() {
                    "host" => host = Some(value.as_str()),
                    "hostaddr" => hostaddr = Some(value.as_str()),
                    "port" => port = Some(value.as_str()),
                    "channel_binding" => endpoint.tls.set(place, name, value),
                    _ if name.starts_with("ssl") => endpoint.tls.set(place, name, value),
                    _ => endpoint.set(name, value),
                }
            }
        }
        check_passwords(server, mapping_options)?;
        let within = |e: Error| e.within(&format!("server \"{server}\""));
        endpoint.hosts = hosts::list(host, hostaddr, port).map_err(within)?;
        for host in &endpoint.hosts {
            endpoint
                .tls
                .check(host.name.as_deref(), host.is_local())
                .map_err(within)?;
        }
        endpoint.host = endpoint.hosts.first().cloned().unwrap_or_default();
        if endpoint.dbname.is_empty() {
            endpoint.dbname = endpoint.user.clone();
        }
        Ok(endpoint)
    }

    /// `value` has passed `validate`, so a number is a number.
    fn set(&mut self, name: &str, value: &str) {
        let number = || value.parse::<u64>().unwrap_or(0);
        // 0 is libpq's "no limit of ours" for each of these.
        let seconds = |default: Duration| match number() {
            0 => default,
            n => Duration::from_secs(n),
        };
        match name {
            "dbname" => self.dbname = value.to_owned(),
            "user" => self.user = value.to_owned(),
            // Of the mapping, whose options come last: it has one of them for itself.
            "password" => (self.password, self.password_command) = (Some(Secret::new(value.to_owned())), None),
            "password_command" => {
                (self.password, self.password_command) = (None, Some(Secret::new(value.to_owned())));
            }
            "target_session_attrs" => self.attributes = Attributes::parse(value).unwrap_or_default(),
            "load_balance_hosts" => self.is_balanced = value == "random",
            "connect_timeout" => self.connect_timeout = seconds(self.connect_timeout),
            "shared_snapshot" => self.shared_snapshot = Some(value == "on"),
            "keepalives" if value == "0" => self.keepalive = None,
            "tcp_user_timeout" => {
                self.tcp_user_timeout = (number() > 0).then(|| Duration::from_millis(number()));
            }
            _ => {}
        }
        if let Some(keepalive) = &mut self.keepalive {
            match name {
                "keepalives_idle" => keepalive.idle = seconds(keepalive.idle),
                "keepalives_interval" => keepalive.interval = seconds(keepalive.interval),
                "keepalives_count" if number() > 0 => keepalive.count = number() as u32,
                _ => {}
            }
        }
    }
}

/// Refuses a mapping with two passwords.
fn check_passwords(server: &str, mapping_options: &[(String, String)]) -> Result<()> {
    let has = |wanted: &str| mapping_options.iter().any(|(name, _)| name == wanted);
    match has("password") && has("password_command") {
        true => Err(Error::bad_parameter(format!(
            "the user mapping of server \"{server}\" has both password and password_command"
        ))
        .hint("Drop one of them: ALTER USER MAPPING ... OPTIONS (DROP password).")),
        false => Ok(()),
    }
}

/// A server of another wrapper may carry options that cgpsync does not know: leaving one out could weaken the connection.
fn unusable(server: &str, option: &str, error: Error) -> Error {
    if error.sqlstate != sqlstate::FDW_INVALID_OPTION_NAME {
        return error.within(&format!("server \"{server}\""));
    }
    Error::unsupported(format!("option \"{option}\" of server \"{server}\" is not supported"))
        .hint("Create a server of FOREIGN DATA WRAPPER cgpsync for it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn read(server: &[(&str, &str)], mapping: &[(&str, &str)]) -> Result<Endpoint> {
        Endpoint::from_options(
            "src",
            Side::Source,
            &options(server),
            &options(mapping),
            "me",
            Duration::from_secs(10),
        )
    }

    #[test]
    fn a_command_has_words_and_no_shell() {
        let all = ["/bin/echo", "a b", "c", "$HOME;ls"].map(str::to_owned).to_vec();
        assert_eq!(words("/bin/echo 'a b' \"c\" $HOME;ls"), Some(all));
        assert_eq!(words("  "), None);
        assert_eq!(words("/bin/echo 'a"), None);
    }

    #[test]
    fn the_mappings_own_password_or_command_goes_before_the_servers() {
        let command = [("password_command", "/bin/token")];
        let of_server = read(&command, &[]).expect("an endpoint");
        assert_eq!(
            of_server.password_command.map(|c| c.reveal().to_owned()).as_deref(),
            Some("/bin/token")
        );
        let own = read(&command, &[("password", "hunter2")]).expect("an endpoint");
        assert!(own.password_command.is_none() && own.password.is_some());
        assert!(validate_as_plain_role("password_command", Place::Server).is_err());
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_valid_ones() {
        let error = validate("hots", "x", Place::Server).expect_err("unknown");
        assert_eq!(error.sqlstate, sqlstate::FDW_INVALID_OPTION_NAME);
        let hint = error.hint.expect("a hint");
        assert!(hint.contains("host") && !hint.contains("sslpassword"), "{hint}");
    }

    #[test]
    fn a_secret_belongs_in_the_user_mapping_and_is_never_shown() {
        let error = validate("password", "hunter2", Place::Server).expect_err("misplaced");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(validate("password", "hunter2", Place::UserMapping).is_ok());
        let endpoint = read(&[], &[("password", "hunter2")]).expect("an endpoint");
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn defaults_are_libpqs_and_a_dead_network_is_noticed() {
        let endpoint = read(&[("host", "h")], &[]).expect("an endpoint");
        assert_eq!(
            (endpoint.host.port, endpoint.user.as_str(), endpoint.dbname.as_str()),
            (5432, "me", "me")
        );
        assert!(endpoint.keepalive.is_some());
    }

    #[test]
    fn other_wrappers_servers_serve_but_no_security_option_is_skipped() {
        assert!(read(&[("host", "h"), ("fetch_size", "10")], &[]).is_ok());
        let error = read(&[("require_auth", "scram-sha-256")], &[]).expect_err("unsupported");
        assert_eq!(error.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
        let error = read(&[("sslmode", "verify-full")], &[]).expect_err("whom to trust is not said");
        assert_eq!(error.sqlstate, sqlstate::INVALID_PARAMETER_VALUE);
        assert!(error.message.contains("server \"src\""), "{error:?}");
    }

    #[test]
    fn a_certificate_is_checked_for_the_hosts_name_whatever_the_address() {
        let endpoint = read(&[("host", "h"), ("hostaddr", "10.0.0.1")], &[]).expect("an endpoint");
        assert_eq!(
            (endpoint.host.host.as_str(), endpoint.host.name.as_deref()),
            ("10.0.0.1", Some("h"))
        );
        let endpoint = read(&[("hostaddr", "10.0.0.1")], &[]).expect("an endpoint");
        assert_eq!(endpoint.host.name, None);
    }

    #[test]
    fn a_plain_role_sets_no_client_certificate_in_its_mapping() {
        for name in ["sslcert", "sslkey"] {
            assert!(validate(name, "/x", Place::UserMapping).is_ok());
            let error = validate_as_plain_role(name, Place::UserMapping).expect_err("superuser-only");
            assert_eq!(error.sqlstate, sqlstate::INSUFFICIENT_PRIVILEGE);
            assert!(validate_as_plain_role(name, Place::Server).is_ok());
        }
        assert!(validate_as_plain_role("sslpassword", Place::UserMapping).is_ok());
        let endpoint = read(&[], &[("sslpassword", "hunter2")]).expect("an endpoint");
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn values_are_checked_when_the_server_is_created() {
        for (name, value) in [
            ("port", "0"),
            ("port", "x"),
            ("connect_timeout", "-1"),
            ("keepalives", "yes"),
            ("sslmode", "verify"),
            ("sslsni", "on"),
            ("ssl_min_protocol_version", "SSLv3"),
            ("channel_binding", "maybe"),
            ("shared_snapshot", "yes"),
        ] {
            assert!(validate(name, value, Place::Server).is_err(), "{name} {value}");
        }
    }
}
