//! Logging in: encrypted or not, as sslmode says, and with the role's own credentials. The same for the cancel request, which goes the way its
//! session went.

use super::socket::{self, Plain};
use super::tls::{self, Answer, Connector};
use super::wire::{Socket, Stream};
use super::{Canceller, Connection, Pins, Server, Session, block_on, remote_error};
use crate::connection::Target;
use crate::connection::tls::{Binding, Mode};
use crate::error::{Error, Result, sqlstate, tame};
use crate::pg::{report, wait};
use socket2::SockAddr;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{Client, Config};

/// Hands the crate a stream as it is: encryption was settled before.
struct AsItIs;

impl TlsConnect<Stream> for AsItIs {
    type Stream = Stream;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Stream, Infallible>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}

/// Why a login has failed.
struct Refusal {
    error: Error,
    /// another encryption may do: the source's rules (pg_hba.conf) differ by it
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

type Attempt = std::result::Result<Session, Refusal>;

/// Connects and authenticates within the target's connect_timeout. `name` becomes application_name.
pub(super) fn connect(target: &Target, name: &str) -> Result<Session> {
    let connector = Connector::new(target)?;
    let login = Login {
        target,
        name,
        deadline: Instant::now() + target.connect_timeout,
    };
    let (socket, address) = socket::connect(target, login.deadline)?;
    let again = || socket::connect_to(&address, target, login.deadline);
    let Some(connector) = connector else {
        return login.plain(socket, &address).map_err(|refusal| refusal.error);
    };
    match target.tls.mode() {
        Mode::Allow => match login.plain(socket, &address) {
            Err(plain) if plain.encryption_matters => login
                .encrypted(again()?, &address, &connector, false)
                .map_err(|encrypted| either(encrypted.error, plain.error)),
            result => result.map_err(|refusal| refusal.error),
        },
        Mode::Prefer => match login.encrypted(socket, &address, &connector, true) {
            Err(encrypted) if encrypted.encryption_matters => {
                let plain = login.plain(again()?, &address);
                let mut session = plain.map_err(|plain| either(encrypted.error.clone(), plain.error))?;
                // libpq says nothing, but somebody who names roots hopes that they are looked at.
                if target.tls.roots.is_some() && !encrypted.error.remote {
                    session.warning = Some(not_encrypted(&encrypted.error));
                }
                Ok(session)
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

/// Which of two refusals to report: a source that has no rule for one of them tells more about the other.
fn either(encrypted: Error, plain: Error) -> Error {
    let no_rule = |error: &Error| error.sqlstate == sqlstate::INVALID_AUTHORIZATION;
    if !no_rule(&plain) && (no_rule(&encrypted) || !encrypted.remote) {
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
    let reason = match other.remote {
        true => other.message.as_str(),
        false => other.detail.as_deref().unwrap_or(&other.message).trim_end_matches('.'),
    };
    let detail = format!("{own}{what}: {reason}.");
    error.detail(detail)
}

struct Login<'a> {
    target: &'a Target,
    name: &'a str,
    deadline: Instant,
}

impl Login<'_> {
    fn plain(&self, socket: socket2::Socket, address: &SockAddr) -> Attempt {
        let fd = socket.as_raw_fd();
        self.log_in(Box::new(Plain::new(socket)), fd, address, None, false)
    }

    /// `or_plain`: a source without TLS gets the login on the same connection.
    fn encrypted(&self, socket: socket2::Socket, address: &SockAddr, connector: &Connector, or_plain: bool) -> Attempt {
        let fd = socket.as_raw_fd();
        match connector.encrypt(socket, self.target, self.deadline) {
            Ok(Answer::Encrypted(done)) => {
                self.log_in(done.socket, fd, address, Some(connector.clone()), done.certificate_sent)
            }
            // Another login would be without TLS as well.
            Ok(Answer::None(socket)) if or_plain => self.plain(socket, address).map_err(|refusal| Refusal {
                encryption_matters: false,
                ..refusal
            }),
            Ok(Answer::None(_)) => Err(tls::error(self.target)
                .detail("The source does not support TLS, but sslmode requires it.")
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
        let target = self.target;
        let what = format!("could not connect to server \"{}\"", target.server);
        let stream = Stream::new(socket);
        let config = self.config(connector.is_some());
        let started = config.connect_raw(stream.clone(), AsItIs);
        let (client, connection): (Client, Connection) =
            block_on(fd, &stream, Some(self.deadline), |_| Ok(()), started)
                .map_err(|e| e.within(&what))?
                .map_err(|e| Refusal {
                    encryption_matters: is_refusal(&e) && !stream.is_authenticated(),
                    error: login_error(&e, &what),
                })?;
        let own_certificate = certificate_sent && target.tls.certificate_of_mapping;
        if target.must_authenticate && !stream.password_requested() && !own_certificate {
            return Err(Error::new(sqlstate::PASSWORD_REQUIRED, "password is required")
                .detail(
                    "A role that is not superuser cannot connect if the source asks neither for a password nor for a client \
                     certificate of the user mapping.",
                )
                .hint("The source's authentication method for this connection (pg_hba.conf) must be changed.")
                .into());
        }
        Ok(Session {
            client: Rc::new(client),
            connection: Box::pin(connection),
            stream,
            fd,
            address: address.clone(),
            connector,
            target: target.clone(),
            described: Server::default(),
            pins: Pins::default(),
            backend: None,
            running: None,
            warning: None,
        })
    }

    fn config(&self, encrypted: bool) -> Config {
        let target = self.target;
        let mut config = Config::new();
        config
            .user(&target.user)
            .dbname(&target.dbname)
            .application_name(tame(self.name))
            .channel_binding(match target.tls.binding {
                Binding::Disable => ChannelBinding::Disable,
                Binding::Prefer => ChannelBinding::Prefer,
                Binding::Require => ChannelBinding::Require,
            });
        if encrypted {
            // Direct: the crate takes the stream without asking the source once more.
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        if let Some(password) = &target.password {
            config.password(password.reveal());
        }
        config
    }
}

/// True when the source says no, and would not say the same to anybody (cannot_connect_now).
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|db| db.code().code() != sqlstate::CANNOT_CONNECT_NOW)
}

/// A TLS 1.3 source judges our certificate when the handshake is over for us, so its alert comes here.
fn login_error(error: &tokio_postgres::Error, what: &str) -> Error {
    let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let failure = io.and_then(|io| io.get_ref()?.downcast_ref::<tls::Failure>());
    let Some(failure) = failure else {
        return remote_error(error, what);
    };
    let error = Error::new(sqlstate::CANNOT_CONNECT, what).detail(format!("{failure}."));
    match tls::hint(failure.reason()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A cancel request under way: its connection, until the other side closes it.
pub(super) struct Request {
    fd: i32,
    stream: Stream,
}

impl Canceller {
    /// Stops the statements of all of `cancellers`, by `deadline`. Best effort: whatever goes wrong here must not hide why the sessions are
    /// abandoned. What cannot be reached is ended by the keepalives over there. Another cancel does not come in between: the server itself may
    /// send a second one (to the process and to its group, postmaster.c, signal_child), and the statement would run on over there.
    pub(super) fn cancel_all(cancellers: &[Canceller], deadline: Instant) {
        wait::without_interrupts(|| {
            let sent = |canceller: &Canceller| report::catch(|| canceller.send(deadline)).ok().flatten();
            let requests: Vec<Request> = cancellers.iter().filter_map(sent).collect();
            for request in requests {
                let _ = report::catch(|| request.until_done(deadline));
            }
        });
    }

    /// Sends the request, encrypted as its session is, or not at all: it holds the session's key.
    fn send(&self, deadline: Instant) -> Result<Option<Request>> {
        let socket = socket::connect_to(&self.address, &self.target, deadline)?;
        let fd = socket.as_raw_fd();
        let socket: Box<dyn Socket> = match &self.connector {
            None => Box::new(Plain::new(socket)),
            Some(connector) => match connector.encrypt(socket, &self.target, deadline) {
                Ok(Answer::Encrypted(done)) => done.socket,
                Ok(Answer::None(_)) => return Ok(None),
                Err(failed) => return Err(failed.error),
            },
        };
        let stream = Stream::new(socket);
        stream.stay();
        let cancel = self.token.cancel_query_raw(stream.clone(), AsItIs);
        let _ = block_on(fd, &stream, Some(deadline), |_| Ok(()), cancel)?;
        Ok(Some(Request { fd, stream }))
    }
}

impl Request {
    /// Whoever takes the request closes the connection when it has been dealt with. Closing it before could lose the request: with something
    /// unread, as a session ticket, that resets the connection; and PgBouncer 1.18 does not survive a client that leaves, or only says goodbye,
    /// before its request is passed on.
    fn until_done(&self, deadline: Instant) -> Result<()> {
        let stream = &self.stream;
        block_on(
            self.fd,
            stream,
            Some(deadline),
            |_| Ok(()),
            poll_fn(|_| stream.poll_end()),
        )
    }
}
