//! Logging in: encrypted or not, as sslmode says, and with the role's own credentials.

use super::alert::{self, Failure};
use super::endpoint::Endpoint;
use super::endpoint::encryption::{Binding, Mode};
use super::errors::remote_error;
use super::frames::Socket;
use super::link::{Connection, Link};
use super::polling::block_on;
use super::socket::{self, Plain};
use super::stream::{AsItIs, Stream};
use super::tls::{self, Answer, Connector};
use super::waiting::Waiting;
use crate::error::{Error, Result, Side, sqlstate, tame};
use socket2::SockAddr;
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
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal {
            error,
            encryption_matters: false,
        }
    }
}

type Attempt = std::result::Result<Link, Refusal>;

/// Connects and authenticates within the endpoint's connect_timeout. `name` becomes application_name.
pub fn connect(endpoint: &Endpoint, name: &str) -> Result<Link> {
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
        let fd = socket.as_raw_fd();
        self.log_in(Box::new(Plain::new(socket)), fd, address, None, false)
    }

    /// `or_plain`: a server without TLS gets the login on the same connection.
    fn encrypted(&self, socket: socket2::Socket, address: &SockAddr, connector: &Connector, or_plain: bool) -> Attempt {
        let fd = socket.as_raw_fd();
        match connector.encrypt(socket, self.endpoint, self.deadline) {
            Ok(Answer::Encrypted(done)) => {
                self.log_in(done.socket, fd, address, Some(connector.clone()), done.certificate_sent)
            }
            // Another login would be without TLS as well.
            Ok(Answer::None(socket)) if or_plain => self.plain(socket, address).map_err(|refusal| Refusal {
                encryption_matters: false,
                ..refusal
            }),
            Ok(Answer::None(_)) => Err(tls::error(self.endpoint)
                .detail(format!(
                    "The {} does not support TLS, but sslmode requires it.",
                    self.endpoint.side.noun()
                ))
                .hint("Switch TLS on over there (ssl = on), or use sslmode \"prefer\" on a network you trust.")
                .into()),
            Err(failed) => Err(Refusal {
                error: failed.error,
                encryption_matters: failed.in_handshake,
            }),
        }
    }

    fn log_in(
        &self,
        socket: Box<dyn Socket>,
        fd: i32,
        address: &SockAddr,
        connector: Option<Connector>,
        certificate_sent: bool,
    ) -> Attempt {
        let endpoint = self.endpoint;
        let noun = endpoint.side.noun();
        let what = format!("could not connect to server \"{}\"", endpoint.server);
        let stream = Stream::new(socket);
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
        .map_err(|e| e.within(&what))?
        .map_err(|e| Refusal {
            encryption_matters: is_refusal(&e) && !stream.is_authenticated(),
            error: login_error(&e, endpoint.side, &what),
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
fn login_error(error: &tokio_postgres::Error, side: Side, what: &str) -> Error {
    let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let failure = io.and_then(|io| io.get_ref()?.downcast_ref::<Failure>());
    let Some(failure) = failure else {
        return remote_error(error, side, what);
    };
    let error = Error::new(sqlstate::CANNOT_CONNECT, what).detail(format!("{failure}."));
    match alert::hint(failure.reason()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
