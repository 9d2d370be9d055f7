//! TLS, with the OpenSSL that the server itself is linked with. What a connection demands of the source is settled in the handshake, before
//! anything else is said; the encrypted stream then takes the plain socket's place under the frame reader. Files are read by the server's own
//! user, and only those that the options name (`files`): libpq's defaults in the home directory would be the server's credentials, not the role's.

mod context;
pub mod files;
mod names;
pub mod pem;
mod stream;

use super::wire::Socket;
use super::{TICK, io_error};
use crate::connection::Target;
use crate::connection::tls::Mode;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{openssl as fence, wait};
use names::Names;
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslRef, SslStream};
use openssl::x509::X509VerifyResult;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};
use stream::{Cipher, Encrypted};

pub use stream::Failure;

/// Protocol number that asks for TLS in place of a startup message.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// What we speak inside (IANA's name); the length goes before it.
const ALPN: &[u8] = b"\x0apostgresql";

/// How to encrypt connections to one target.
#[derive(Clone)]
pub struct Connector {
    context: SslContext,
    /// told to the source in clear text
    sni: Option<String>,
    /// what its certificate must be for
    name: Option<String>,
}

/// What has become of a request for TLS.
pub enum Answer {
    /// the connection is encrypted, and whatever was to be verified is
    Encrypted(Handshake),
    /// the source has none; the connection is as it was
    None(socket2::Socket),
}

/// An encrypted connection.
pub struct Handshake {
    /// for the frame reader
    pub socket: Box<dyn Socket>,
    /// the source has asked for our certificate, and got it
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

fn what(target: &Target) -> String {
    format!("could not connect to server \"{}\"", target.server)
}

/// The error of a connection that TLS is not to be had on. DETAIL and HINT follow.
pub fn error(target: &Target) -> Error {
    Error::new(sqlstate::CANNOT_CONNECT, what(target))
}

fn timeout(target: &Target) -> Error {
    Error::new(sqlstate::CANNOT_CONNECT, "timeout expired").within(&what(target))
}

impl Connector {
    /// Reads certificates and keys. None: TLS will not be tried.
    pub fn new(target: &Target) -> Result<Option<Connector>> {
        // There is no TLS on a Unix socket; modes that demand it are refused before.
        if target.tls.mode() == Mode::Disable || target.is_local() {
            return Ok(None);
        }
        let named = |name: &&String| name.parse::<IpAddr>().is_err();
        let full = target.tls.mode() == Mode::VerifyFull;
        Ok(Some(Connector {
            context: context::build(target)?,
            sni: target.name.as_ref().filter(|_| target.tls.sni).filter(named).cloned(),
            name: target.name.clone().filter(|_| full),
        }))
    }

    /// Asks for TLS on a fresh connection and encrypts it.
    pub fn encrypt(
        &self,
        socket: socket2::Socket,
        target: &Target,
        deadline: Instant,
    ) -> std::result::Result<Answer, NotEncrypted> {
        let lost = |e: std::io::Error| match e.kind() {
            ErrorKind::TimedOut => timeout(target),
            _ => io_error(&e, &what(target)),
        };
        match request(&socket, deadline).map_err(lost)? {
            b'S' => self.handshake(socket, target, deadline).map(Answer::Encrypted),
            b'N' => Ok(Answer::None(socket)),
            // Who says that is not known yet, so what comes after the E of an error is not looked at.
            b'E' => Err(error(target)
                .detail("The source answered the request for TLS with an error.")
                .into()),
            _ => Err(Error::protocol(format!(
                "server \"{}\" gave an invalid answer to the request for TLS",
                target.server
            ))
            .into()),
        }
    }

    fn handshake(
        &self,
        socket: socket2::Socket,
        target: &Target,
        deadline: Instant,
    ) -> std::result::Result<Handshake, NotEncrypted> {
        let fd = socket.as_raw_fd();
        let mut stream = self
            .start(socket)
            .map_err(|e| error(target).detail(format!("OpenSSL: {e}.")))?;
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
                _ => return Err(failed(target, &failure, stream.ssl())),
            };
            pause(fd, writable, deadline).map_err(|_| timeout(target))?;
        }
        let certificate_sent = fence::certificate_was_requested() && target.tls.certificate.is_some();
        if let Some(name) = &self.name {
            check_name(name, stream.ssl(), target)?;
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
fn check_name(name: &str, ssl: &SslRef, target: &Target) -> std::result::Result<(), NotEncrypted> {
    let reason = match ssl.peer_certificate() {
        Some(certificate) => Names::of(&certificate).mismatch(name),
        None => Some("the source has no certificate".to_owned()),
    };
    let Some(reason) = reason else {
        return Ok(());
    };
    Err(NotEncrypted {
        error: error(target).detail(format!("{}.", capitalized(&reason))).hint(
            "Set option host of the server to a name in the source's certificate (and hostaddr to its address), or sslmode to \
             \"verify-ca\".",
        ),
        in_handshake: true,
    })
}

fn failed(target: &Target, failure: &openssl::ssl::Error, ssl: &SslRef) -> NotEncrypted {
    let reason = stream::reason(failure);
    let verified = ssl.verify_result();
    let error = error(target);
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
        9..=10 => "The source needs a certificate that is valid today.",
        3 | 11 | 12 => "Option sslcrl of the server needs a valid list of every authority in the certificate's chain.",
        23 => "The source needs a new certificate.",
        _ => {
            "Set option sslrootcert of the server to a file with the certificate of the authority that signed the source's \
             certificate."
        }
    }
}

/// What to do about the reason why the two sides did not agree.
pub fn hint(reason: &str) -> Option<&'static str> {
    let says = |text: &str| reason.contains(text);
    if says("certificate required") || says("handshake failure") {
        Some("The source may want a client certificate: options sslcert and sslkey of the user mapping.")
    } else if says("alert certificate") || says("alert unknown ca") || says("alert bad certificate") {
        Some("The source does not accept the client certificate that option sslcert names.")
    } else if says("protocol") || says("version") {
        Some("The source may not speak any version from ssl_min_protocol_version (TLSv1.2 if left out) up.")
    } else {
        None
    }
}

/// As the first word of a DETAIL.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
