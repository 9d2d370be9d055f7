//! Logging in: encrypted or not, as sslmode says, and with the role's own credentials.

use super::alert::{self, Failure};
use super::endpoint::Endpoint;
use super::endpoint::encryption::{Binding, Mode};
use super::endpoint::hosts::{self, Attributes, Host};
use super::errors::remote_error;
use super::frames::Socket;
use super::link::{Connection, Link};
use super::login_hints::with_hint;
use super::password_command;
use super::polling::block_on;
use super::socket::{self, Plain};
use super::stream::{AsItIs, Stream};
use super::tls::{self, Answer, Connector};
use super::waiting::Waiting;
use crate::error::{Error, Result, sqlstate, tame};
use socket2::SockAddr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::{Client, Config};

/// Why a login has failed.
struct Refusal {
    error: Error,
    /// another encryption may do: the server's rules (pg_hba.conf) differ by it
    encryption_matters: bool,
    /// the server is an openGauss, and wants to be asked for its own protocol
    wants_gauss: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal {
            error,
            encryption_matters: false,
            wants_gauss: false,
        }
    }
}

type Attempt = std::result::Result<Link, Refusal>;

/// Connects and authenticates, to the first of the endpoint's servers that lets us in and is what is asked for, within
/// connect_timeout each. `name` becomes application_name.
pub fn connect(endpoint: &Endpoint, name: &str) -> Result<Link> {
    let mut endpoint = endpoint.clone();
    if let Some(password) = password_command::ask(&endpoint)? {
        endpoint.password = Some(password);
    }
    let hosts = candidates(&endpoint);
    let is_alone = hosts.len() == 1;
    let mut lines: Vec<String> = Vec::new();
    let mut last = Error::internal("no host");
    for &wanted in endpoint.attributes.rounds() {
        for host in &hosts {
            endpoint.host = host.clone();
            let link = connect_to_host(&endpoint, name).and_then(|link| check_attributes(link, wanted));
            let error = match link {
                Ok(link) => return Ok(link),
                // Another server would say the same.
                Err(error) if !may_be_had_elsewhere(&error) || (is_alone && wanted == endpoint.attributes) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            let line = match &error.detail {
                Some(detail) if detail.starts_with("host ") => detail.clone(),
                _ => format!("host {}, port {}: {}.", host.host, host.port, error.message),
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
            last = error;
        }
    }
    last.detail = None;
    Err(lines.iter().fold(last, |error, line| error.more_detail(line)))
}

/// The servers to try, in their order. Where the address is known that another session has reached, those that it may be an address of.
fn candidates(endpoint: &Endpoint) -> Vec<Host> {
    let mut hosts = endpoint.hosts.clone();
    if let Some(reached) = endpoint.reached {
        hosts.retain(|host| host.port == reached.port() && !host.is_local());
        return if hosts.is_empty() {
            vec![endpoint.host.clone()]
        } else {
            hosts
        };
    }
    if endpoint.is_balanced {
        // Each hasher has keys of its own.
        let mut keyed: Vec<(u64, Host)> = hosts
            .into_iter()
            .map(|host| (RandomState::new().hash_one(0), host))
            .collect();
        keyed.sort_by_key(|(key, _)| *key);
        return keyed.into_iter().map(|(_, host)| host).collect();
    }
    hosts
}

/// True where the connection did not come about, or the server is not one that can be used now.
fn may_be_had_elsewhere(error: &Error) -> bool {
    match error.is_remote() {
        true => error.sqlstate == sqlstate::CANNOT_CONNECT_NOW,
        false => error.sqlstate.starts_with("08"),
    }
}

/// Refuses a session that is not what is asked for, which has to be asked of its server.
fn check_attributes(mut link: Link, wanted: Attributes) -> Result<Link> {
    if wanted == Attributes::Any {
        return Ok(link);
    }
    let endpoint = link.endpoint.clone();
    let deadline = Some(Instant::now() + endpoint.connect_timeout);
    let late = |error: Error| match &*error.sqlstate {
        sqlstate::CANNOT_CONNECT if !error.is_remote() => tls::unanswered(error, &endpoint),
        _ => error,
    };
    let rows = link.ask("SHOW transaction_read_only", deadline).map_err(late)?;
    let is_read_only = rows.first().is_some_and(|row| row.text(0) == Some("on"));
    let is_standby = match link.ask("SELECT pg_catalog.pg_is_in_recovery()", deadline) {
        Ok(rows) => rows.first().is_some_and(|row| row.is(0)),
        // Before 9.0 there is none that could be asked.
        Err(error) if error.is_remote() && error.sqlstate == sqlstate::UNDEFINED_FUNCTION => false,
        Err(error) => return Err(late(error)),
    };
    if wanted.accept(is_read_only, is_standby) {
        return Ok(link);
    }
    // That it is gone then is no news.
    let _ = link.say_goodbye();
    let Host { host, port, .. } = &endpoint.host;
    let is = hosts::other_attributes(wanted, is_read_only, is_standby, endpoint.side);
    Err(Error::new(
        sqlstate::CANNOT_CONNECT,
        format!("could not connect to server \"{}\"", endpoint.server),
    )
    .detail(format!("host {host}, port {port}: {is}"))
    .hint("Name the other servers too (host 'a,b'), or change target_session_attrs."))
}

/// The same with one server.
fn connect_to_host(endpoint: &Endpoint, name: &str) -> Result<Link> {
    let connector = Connector::new(endpoint)?;
    let login = Login {
        endpoint,
        name,
        deadline: Instant::now() + endpoint.connect_timeout,
    };
    let (socket, address) = socket::connect(endpoint, login.deadline)?;
    let again = || socket::connect_to(&address, endpoint, login.deadline);
    let Some(connector) = connector else {
        return login.plain(socket, &address).map_err(|refusal| refusal.error);
    };
    match endpoint.tls.mode() {
        Mode::Allow => match login.plain(socket, &address) {
            Err(plain) if plain.encryption_matters => login
                .encrypted(again()?, &address, &connector, false)
                .map_err(|encrypted| either(encrypted.error, plain.error)),
            result => result.map_err(|refusal| refusal.error),
        },
        Mode::Prefer => match login.encrypted(socket, &address, &connector, true) {
            Err(encrypted) if encrypted.encryption_matters => {
                let plain = login.plain(again()?, &address);
                let mut link = plain.map_err(|plain| either(encrypted.error.clone(), plain.error))?;
                // libpq says nothing, but somebody who names roots hopes that they are looked at.
                if endpoint.tls.roots.is_some() && !encrypted.error.is_remote() {
                    link.warning = Some(not_encrypted(&encrypted.error));
                }
                Ok(link)
            }
            result => result.map_err(|refusal| refusal.error),
        },
        _ => login
            .encrypted(socket, &address, &connector, false)
            .map_err(|refusal| refusal.error),
    }
}

fn not_encrypted(error: &Error) -> String {
    let reason = error.detail.as_deref().unwrap_or(&error.message);
    format!("the connection goes on without TLS, as sslmode is \"prefer\": {reason}")
}

/// Which of two refusals to report: a server that has no rule for one of them tells more about the other.
fn either(encrypted: Error, plain: Error) -> Error {
    let no_rule = |error: &Error| error.sqlstate == sqlstate::INVALID_AUTHORIZATION;
    if !no_rule(&plain) && (no_rule(&encrypted) || !encrypted.is_remote()) {
        with_fact(plain, "With TLS", &encrypted)
    } else {
        with_fact(encrypted, "Without TLS", &plain)
    }
}

fn with_fact(error: Error, what: &str, other: &Error) -> Error {
    let own = error
        .detail
        .as_deref()
        .map(|detail| format!("{detail} "))
        .unwrap_or_default();
    let reason = match other.is_remote() {
        true => other.message.as_str(),
        false => other.detail.as_deref().unwrap_or(&other.message).trim_end_matches('.'),
    };
    let detail = format!("{own}{what}: {reason}.");
    error.detail(detail)
}

struct Login<'a> {
    endpoint: &'a Endpoint,
    name: &'a str,
    deadline: Instant,
}

impl Login<'_> {
    fn plain(&self, socket: socket2::Socket, address: &SockAddr) -> Attempt {
        self.in_its_protocol(socket, address, |socket, is_gauss| {
            let fd = socket.as_raw_fd();
            self.log_in(Box::new(Plain::new(socket)), fd, address, None, (false, is_gauss))
        })
    }

    /// `or_plain`: a server without TLS gets the login on the same connection.
    fn encrypted(&self, socket: socket2::Socket, address: &SockAddr, connector: &Connector, or_plain: bool) -> Attempt {
        self.in_its_protocol(socket, address, |socket, is_gauss| {
            let fd = socket.as_raw_fd();
            match connector.encrypt(socket, self.endpoint, self.deadline) {
                Ok(Answer::Encrypted(done)) => {
                    let how = (done.certificate_sent, is_gauss);
                    self.log_in(done.socket, fd, address, Some(connector.clone()), how)
                }
                // Another login would be without TLS as well.
                Ok(Answer::None(socket)) if or_plain => self.plain(socket, address).map_err(|refusal| Refusal {
                    encryption_matters: false,
                    ..refusal
                }),
                Ok(Answer::None(_)) => Err(tls::not_supported(self.endpoint).into()),
                Err(failed) => Err(Refusal {
                    encryption_matters: failed.in_handshake,
                    ..failed.error.into()
                }),
            }
        })
    }

    /// Once more, on another connection, where the server is one that has to be asked for another protocol. That cannot be known before: it
    /// refuses what others are asked for, and others refuse that.
    fn in_its_protocol(
        &self,
        socket: socket2::Socket,
        address: &SockAddr,
        log_in: impl Fn(socket2::Socket, bool) -> Attempt,
    ) -> Attempt {
        match log_in(socket, false) {
            Err(refusal) if refusal.wants_gauss => {
                log_in(socket::connect_to(address, self.endpoint, self.deadline)?, true)
            }
            result => result,
        }
    }

    fn log_in(
        &self,
        socket: Box<dyn Socket>,
        fd: i32,
        address: &SockAddr,
        connector: Option<Connector>,
        (certificate_sent, is_gauss): (bool, bool),
    ) -> Attempt {
        let endpoint = self.endpoint;
        let noun = endpoint.side.noun();
        let what = format!("could not connect to server \"{}\"", endpoint.server);
        let stream = Stream::new(socket);
        if is_gauss {
            stream.ask_for_gauss();
        }
        let config = self.config(connector.is_some());
        let started = config.connect_raw(stream.clone(), AsItIs);
        let (client, connection): (Client, Connection) = block_on(
            fd,
            &stream,
            Some(self.deadline),
            |_| Ok(()),
            &mut Waiting::new(None),
            started,
        )
        .map_err(|e| tls::unanswered(e, endpoint))?
        .map_err(|e| Refusal {
            encryption_matters: is_refusal(&e) && !stream.is_authenticated(),
            wants_gauss: stream.wants_gauss(),
            error: login_error(&e, endpoint, &what),
        })?;
        let own_certificate = certificate_sent && endpoint.tls.certificate_of_mapping;
        if endpoint.must_authenticate && !stream.password_requested() && !own_certificate {
            return Err(Error::new(sqlstate::PASSWORD_REQUIRED, "password is required")
                .detail(format!(
                    "A role that is not superuser cannot connect if the {noun} asks neither for a password nor for a client \
                     certificate of the user mapping."
                ))
                .hint(format!(
                    "The {noun}'s authentication method for this connection (pg_hba.conf) must be changed."
                ))
                .into());
        }
        Ok(Link {
            client: Rc::new(client),
            connection: Box::pin(connection),
            stream,
            fd,
            address: address.clone(),
            connector,
            endpoint: endpoint.clone(),
            warning: None,
            has_segments: false,
            may_queue: true,
        })
    }

    fn config(&self, encrypted: bool) -> Config {
        let endpoint = self.endpoint;
        let mut config = Config::new();
        config
            .user(&endpoint.user)
            .dbname(&endpoint.dbname)
            .application_name(tame(self.name))
            .channel_binding(match endpoint.tls.binding {
                Binding::Disable => ChannelBinding::Disable,
                Binding::Prefer => ChannelBinding::Prefer,
                Binding::Require => ChannelBinding::Require,
            });
        if encrypted {
            // Direct: the crate takes the stream without asking the server once more.
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        if let Some(password) = &endpoint.password {
            config.password(password.reveal());
        }
        config
    }
}

/// True when the server says no, and would not say the same to anybody (cannot_connect_now).
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|db| db.code().code() != sqlstate::CANNOT_CONNECT_NOW)
}

/// A TLS 1.3 source judges our certificate when the handshake is over for us, so its alert comes here.
fn login_error(error: &tokio_postgres::Error, endpoint: &Endpoint, what: &str) -> Error {
    let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let failure = io.and_then(|io| io.get_ref()?.downcast_ref::<Failure>());
    let Some(failure) = failure else {
        let text = std::error::Error::source(error).map(ToString::to_string);
        return with_hint(
            remote_error(error, endpoint.side, what),
            &text.unwrap_or_default(),
            endpoint,
        );
    };
    let error = Error::new(sqlstate::CANNOT_CONNECT, what).detail(format!("{failure}."));
    match alert::hint(failure.reason()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
