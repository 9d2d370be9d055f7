//! TLS, with the OpenSSL that the server itself is linked with. What a connection demands of the server is settled in the handshake, before
//! anything else is said; the encrypted stream then takes the plain socket's place under the frame reader. Files are read by the server's own
//! user, and only those that the options name (`files`): libpq's defaults in the home directory would be the server's credentials, not the role's.

mod context;
mod encrypted;
pub mod files;
mod names;
pub mod pem;

use super::alert::hint;
use super::errors::io_error;
use super::frames::Socket;
use super::polling::TICK;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{openssl as fence, wait};
use crate::plan::copy_sql::quote_ident;
use crate::wire::endpoint::Endpoint;
use crate::wire::endpoint::encryption::Mode;
use encrypted::{Cipher, Encrypted};
use names::Names;
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslRef, SslStream};
use openssl::x509::X509VerifyResult;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// Protocol number that asks for TLS in place of a startup message.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// What we speak inside (IANA's name); the length goes before it.
const ALPN: &[u8] = b"\x0apostgresql";

/// How to encrypt connections to one endpoint.
#[derive(Clone)]
pub struct Connector {
    context: SslContext,
    /// told to the server in clear text
    sni: Option<String>,
    /// what its certificate must be for
    name: Option<String>,
}

/// What has become of a request for TLS.
pub enum Answer {
    /// the connection is encrypted, and whatever was to be verified is
    Encrypted(Handshake),
    /// the server has none; the connection is as it was
    None(socket2::Socket),
}

/// An encrypted connection.
pub struct Handshake {
    /// for the frame reader
    pub socket: Box<dyn Socket>,
    /// the server has asked for our certificate, and got it
    pub certificate_sent: bool,
}

/// Why a connection could not be encrypted.
pub struct NotEncrypted {
    /// the error to raise
    pub error: Error,
    /// the handshake has failed, as opposed to the connection
    pub in_handshake: bool,
}

impl From<Error> for NotEncrypted {
    fn from(error: Error) -> Self {
        NotEncrypted {
            error,
            in_handshake: false,
        }
    }
}

fn what(endpoint: &Endpoint) -> String {
    format!("could not connect to server \"{}\"", endpoint.server)
}

/// The error of a connection that TLS is not to be had on. DETAIL and HINT follow.
pub fn error(endpoint: &Endpoint) -> Error {
    Error::new(sqlstate::CANNOT_CONNECT, what(endpoint))
}

/// The error where the server has none.
pub fn not_supported(endpoint: &Endpoint) -> Error {
    error(endpoint)
        .detail(format!(
            "The {} does not support TLS, but sslmode requires it.",
            endpoint.side.noun()
        ))
        .hint("Switch TLS on over there (ssl = on), or use sslmode \"prefer\" on a network you trust.")
}

fn timeout(endpoint: &Endpoint) -> Error {
    unanswered(Error::new(sqlstate::CANNOT_CONNECT, "timeout expired"), endpoint)
}

/// `error`, led by what was being done; where the server has not answered in time, with what helps.
pub fn unanswered(error: Error, endpoint: &Endpoint) -> Error {
    let error = error.within(&what(endpoint));
    if error.sqlstate != sqlstate::CANNOT_CONNECT {
        return error;
    }
    let server = quote_ident(&endpoint.server);
    error.hint(format!(
        "Check host and port of the server's options and what is between, or give it longer: ALTER SERVER {server} OPTIONS (ADD \
         connect_timeout '30'), or SET where it has one."
    ))
}

impl Connector {
    /// Reads certificates and keys. None: TLS will not be tried.
    pub fn new(endpoint: &Endpoint) -> Result<Option<Connector>> {
        // There is no TLS on a Unix socket; modes that demand it are refused before.
        if endpoint.tls.mode() == Mode::Disable || endpoint.is_local() {
            return Ok(None);
        }
        let named = |name: &&String| name.parse::<IpAddr>().is_err();
        let full = endpoint.tls.mode() == Mode::VerifyFull;
        Ok(Some(Connector {
            context: context::build(endpoint)?,
            sni: endpoint
                .host
                .name
                .as_ref()
                .filter(|_| endpoint.tls.sni)
                .filter(named)
                .cloned(),
            name: endpoint.host.name.clone().filter(|_| full),
        }))
    }

    /// Asks for TLS on a fresh connection and encrypts it.
    pub fn encrypt(
        &self,
        socket: socket2::Socket,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> std::result::Result<Answer, NotEncrypted> {
        let lost = |e: std::io::Error| match e.kind() {
            ErrorKind::TimedOut => timeout(endpoint),
            _ => io_error(&e, endpoint.side, &what(endpoint)),
        };
        match request(&socket, deadline).map_err(lost)? {
            b'S' => self.handshake(socket, endpoint, deadline).map(Answer::Encrypted),
            b'N' => Ok(Answer::None(socket)),
            // Who says that is not known yet, so what comes after the E of an error is not looked at.
            b'E' => Err(error(endpoint)
                .detail("The server answered the request for TLS with an error.")
                .hint("Look into that server's log; with sslmode 'disable', on a network you trust, it says it to the client.")
                .into()),
            _ => Err(Error::protocol(format!(
                "server \"{}\" gave an invalid answer to the request for TLS",
                endpoint.server
            ))
            .into()),
        }
    }

    fn handshake(
        &self,
        socket: socket2::Socket,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> std::result::Result<Handshake, NotEncrypted> {
        let fd = socket.as_raw_fd();
        let mut stream = self
            .start(socket)
            .map_err(|e| error(endpoint).detail(format!("OpenSSL: {e}.")))?;
        fence::certificate_was_requested();
        loop {
            // What anybody has left in OpenSSL's queue would be taken for our failure.
            drop(ErrorStack::get());
            let Err(failure) = stream.connect() else {
                break;
            };
            let writable = match failure.code() {
                ErrorCode::WANT_READ => false,
                ErrorCode::WANT_WRITE => true,
                _ => return Err(failed(endpoint, &failure, stream.ssl())),
            };
            pause(fd, writable, deadline).map_err(|_| timeout(endpoint))?;
        }
        let certificate_sent = fence::certificate_was_requested() && endpoint.tls.certificate.is_some();
        if let Some(name) = &self.name {
            check_name(name, stream.ssl(), endpoint)?;
        }
        Ok(Handshake {
            socket: Box::new(Encrypted::new(stream)),
            certificate_sent,
        })
    }

    fn start(&self, socket: socket2::Socket) -> std::result::Result<SslStream<Cipher>, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if let Some(name) = &self.sni {
            ssl.set_hostname(name)?;
        }
        ssl.set_alpn_protos(ALPN)?;
        SslStream::new(ssl, Cipher::new(socket))
    }
}

/// Sends the request and reads the one byte of the answer, and no more: what follows belongs to the handshake.
fn request(socket: &socket2::Socket, deadline: Instant) -> std::io::Result<u8> {
    let fd = socket.as_raw_fd();
    let mut left = &SSL_REQUEST[..];
    while !left.is_empty() {
        match (&*socket).write(left) {
            Ok(n) => left = &left[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => pause(fd, true, deadline)?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut answer = [0];
    loop {
        match (&*socket).read(&mut answer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(answer[0]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => pause(fd, false, deadline)?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn pause(fd: RawFd, writable: bool, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return Err(ErrorKind::TimedOut.into());
    }
    let socket = wait::Socket {
        fd,
        writable,
        has_input: false,
    };
    wait::wait(Some(socket), left.min(TICK));
    Ok(())
}

/// verify-full.
fn check_name(name: &str, ssl: &SslRef, endpoint: &Endpoint) -> std::result::Result<(), NotEncrypted> {
    let reason = match ssl.peer_certificate() {
        Some(certificate) => Names::of(&certificate).mismatch(name),
        None => Some("the server has no certificate".to_owned()),
    };
    let Some(reason) = reason else {
        return Ok(());
    };
    Err(NotEncrypted {
        error: error(endpoint).detail(format!("{}.", capitalized(&reason))).hint(
            "Set option host of the server to a name in the server's certificate (and hostaddr to its address), or sslmode to \
             \"verify-ca\".",
        ),
        in_handshake: true,
    })
}

fn failed(endpoint: &Endpoint, failure: &openssl::ssl::Error, ssl: &SslRef) -> NotEncrypted {
    let reason = encrypted::reason(failure);
    let verified = ssl.verify_result();
    let error = error(endpoint);
    let error = if reason == "certificate verify failed" {
        error
            .detail(format!("Certificate verify failed: {}.", verified.error_string()))
            .hint(verify_hint(verified))
    } else {
        let error = error.detail(format!("TLS: {reason}."));
        match hint(&reason) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    };
    NotEncrypted {
        error,
        in_handshake: true,
    }
}

/// What to do about OpenSSL's reason why a certificate is not good (x509_vfy.h).
fn verify_hint(result: X509VerifyResult) -> &'static str {
    match result.as_raw() {
        9..=10 => "The server needs a certificate that is valid today.",
        3 | 11 | 12 => "Option sslcrl of the server needs a valid list of every authority in the certificate's chain.",
        23 => "The server needs a new certificate.",
        _ => {
            "Set option sslrootcert of the server to a file with the certificate of the authority that signed the server's \
             certificate."
        }
    }
}

/// As the first word of a DETAIL.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
