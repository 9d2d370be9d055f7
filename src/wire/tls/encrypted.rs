//! The encrypted stream as a socket for the frame reader: non-blocking, in large pieces, never asleep on bytes that have already arrived.

use crate::wire::alert::Failure;
use crate::wire::frames::Socket;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{Error, ErrorCode, SslStream};
use openssl::x509::X509Ref;
use std::io::{self, ErrorKind, Read, Write};

/// One read of the socket. OpenSSL by itself reads each record, 8 KB from PostgreSQL, with two system calls.
const BUFFER: usize = 256 * 1024;

/// The socket under OpenSSL.
pub struct Cipher {
    socket: socket2::Socket,
    buffer: Box<[u8]>,
    /// unread bytes are buffer[start..end]
    start: usize,
    end: usize,
}

impl Cipher {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: socket2::Socket) -> Self {
        Cipher {
            socket,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Read for Cipher {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.end {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Ok(0),
                Ok(n) => (self.start, self.end) = (0, n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let n = out.len().min(self.end - self.start);
        out[..n].copy_from_slice(&self.buffer[self.start..self.start + n]);
        self.start += n;
        Ok(n)
    }
}

impl Write for Cipher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(data) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose handshake is done.
pub struct Encrypted {
    stream: SslStream<Cipher>,
    /// reading waits for room to write: the protocol has its own messages
    read_wants_write: bool,
    write_wants_write: bool,
    /// how the stream has ended: OpenSSL tells only once
    ended: Option<End>,
}

#[derive(Clone)]
enum End {
    Closed,
    Failed(String),
    Lost(ErrorKind),
}

impl End {
    fn result(&self) -> io::Result<usize> {
        match self {
            End::Closed => Ok(0),
            End::Failed(reason) => Err(io::Error::other(Failure(reason.clone()))),
            End::Lost(kind) => Err((*kind).into()),
        }
    }
}

impl Encrypted {
    /// Takes a stream after its handshake.
    pub fn new(stream: SslStream<Cipher>) -> Self {
        Encrypted {
            stream,
            read_wants_write: false,
            write_wants_write: false,
            ended: None,
        }
    }

    /// How an error ends the stream; None: it only has to wait.
    fn end(error: &Error) -> Option<End> {
        match error.code() {
            ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => None,
            ErrorCode::ZERO_RETURN => Some(End::Closed),
            _ => {
                let reason = reason(error);
                Some(match error.io_error() {
                    Some(io) => End::Lost(io.kind()),
                    // A close without goodbye. What has to be complete is known by its own end, a COPY by CommandComplete.
                    None if error.ssl_error().is_none() || reason.contains("unexpected eof") => End::Closed,
                    None => End::Failed(reason),
                })
            }
        }
    }
}

impl Socket for Encrypted {
    /// One record is at most 16 KB; takes as many as have arrived.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(end) = &self.ended {
            return end.result();
        }
        self.read_wants_write = false;
        let mut filled = 0;
        while filled < out.len() {
            drop(ErrorStack::get());
            match self.stream.ssl_read(&mut out[filled..]) {
                Ok(n) => filled += n,
                Err(error) => {
                    self.read_wants_write = error.code() == ErrorCode::WANT_WRITE;
                    self.ended = Encrypted::end(&error);
                    break;
                }
            }
        }
        match &self.ended {
            _ if filled > 0 => Ok(filled),
            Some(end) => end.result(),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_wants_write = false;
        drop(ErrorStack::get());
        let error = match self.stream.ssl_write(data) {
            Ok(n) => return Ok(n),
            Err(error) => error,
        };
        self.write_wants_write = error.code() == ErrorCode::WANT_WRITE;
        let Some(end) = Encrypted::end(&error) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        // A server that refuses our certificate says so and closes; its reason may have arrived all the same.
        if self.ended.is_none() {
            drop(ErrorStack::get());
            let last = self.stream.ssl_read(&mut [0]).err();
            self.ended = last.as_ref().and_then(Encrypted::end);
        }
        match &self.ended {
            Some(End::Failed(reason)) => Err(io::Error::other(Failure(reason.clone()))),
            _ => Err(end.result().err().unwrap_or_else(|| ErrorKind::BrokenPipe.into())),
        }
    }

    fn wants_write(&self) -> bool {
        self.read_wants_write || self.write_wants_write
    }

    fn has_input(&self) -> bool {
        let cipher = self.stream.get_ref();
        self.ended.is_none() && (cipher.start < cipher.end || self.stream.ssl().pending() > 0)
    }

    /// Our half of the goodbye, if the socket takes it at once.
    fn goodbye(&mut self) {
        drop(ErrorStack::get());
        let _ = self.stream.shutdown();
        drop(ErrorStack::get());
    }

    fn end_point(&self) -> Option<Vec<u8>> {
        let certificate = self.stream.ssl().peer_certificate()?;
        end_point(&certificate)
    }
}

/// tls-server-end-point (RFC 5929): hash of the certificate with the digest of its signature, or a better one. None where the signature has
/// no digest of its own, as Ed25519: the server cannot bind to that either.
fn end_point(certificate: &X509Ref) -> Option<Vec<u8>> {
    let signature = certificate.signature_algorithm().object().nid();
    let digest = match signature.signature_algorithms()?.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        digest => MessageDigest::from_nid(digest)?,
    };
    Some(certificate.digest(digest).ok()?.to_vec())
}

/// In a few words, without OpenSSL's places in its own code.
pub fn reason(error: &Error) -> String {
    if let Some(io) = error.io_error() {
        return io.to_string();
    }
    let Some(stack) = error.ssl_error() else {
        return "the server closed the connection".to_owned();
    };
    let first = stack.errors().first();
    let reason = first.and_then(|e| e.reason().map(str::to_owned).or_else(|| Some(e.to_string())));
    reason.unwrap_or_else(|| "no error reported".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::pkey::PKey;
    use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
    use openssl::x509::{X509, X509Name};
    use std::os::unix::net::UnixStream;

    /// Both ends after the handshake, and the certificate of the peer's.
    fn connected() -> (Encrypted, SslStream<UnixStream>, X509) {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
        let mut name = X509Name::builder().expect("a name");
        name.append_entry_by_text("CN", "peer").expect("a name");
        let name = name.build();
        let mut certificate = X509::builder().expect("a certificate");
        certificate.set_subject_name(&name).expect("a subject");
        certificate.set_issuer_name(&name).expect("an issuer");
        certificate.set_pubkey(&key).expect("a key");
        let day = |n| Asn1Time::days_from_now(n).expect("a day");
        certificate.set_not_before(&day(0)).expect("a day");
        certificate.set_not_after(&day(1)).expect("a day");
        certificate.sign(&key, MessageDigest::sha384()).expect("a signature");
        let certificate = certificate.build();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("an acceptor");
        acceptor.set_private_key(&key).expect("a key");
        acceptor.set_certificate(&certificate).expect("a certificate");
        let acceptor = acceptor.build();

        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let peer = std::thread::spawn(move || acceptor.accept(theirs).expect("a handshake"));
        let mut connector = SslConnector::builder(SslMethod::tls()).expect("a connector");
        connector.set_verify(SslVerifyMode::NONE);
        let socket = socket2::Socket::from(std::os::fd::OwnedFd::from(ours));
        let ssl = Ssl::new(connector.build().context()).expect("a session");
        let mut stream = SslStream::new(ssl, Cipher::new(socket)).expect("a stream");
        stream.connect().expect("a handshake");
        stream.get_ref().socket.set_nonblocking(true).expect("an option");
        (Encrypted::new(stream), peer.join().expect("a peer"), certificate)
    }

    fn would_block(result: io::Result<usize>) -> bool {
        matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }

    #[test]
    fn one_read_takes_many_records_and_what_it_leaves_is_known() {
        let (mut ours, mut theirs, _) = connected();
        let mut out = vec![0; BUFFER];
        assert!(would_block(ours.read(&mut out)) && !ours.has_input());
        for record in 0..10u8 {
            theirs.write_all(&[record; 5000]).expect("a write");
        }
        assert_eq!(ours.read(&mut out[..10]).expect("bytes"), 10);
        // The system's socket is empty now; whoever waits for it would wait for ever.
        assert!(ours.has_input());
        assert_eq!(ours.read(&mut out).expect("bytes"), 49_990);
        assert_eq!((out[0], out[49_989]), (0, 9));
        assert!(would_block(ours.read(&mut out)) && !ours.has_input());
    }

    #[test]
    fn a_full_socket_is_waited_for_and_the_write_goes_on_where_it_was() {
        let (mut ours, mut theirs, _) = connected();
        let data: Vec<u8> = (0..2_000_000u32).map(|n| n as u8).collect();
        let mut sent = 0;
        let mut waited = false;
        let reader = std::thread::spawn(move || {
            std::thread::park();
            let mut all = vec![0; 2_000_000];
            theirs.read_exact(&mut all).expect("everything");
            all
        });
        while sent < data.len() {
            // A buffer that moves between the attempts, as the crate's does.
            let moved = data[sent..].to_vec();
            match ours.write(&moved) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    assert!(ours.wants_write());
                    waited = true;
                    reader.thread().unpark();
                    std::thread::yield_now();
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert!(waited && !ours.wants_write());
        assert!(reader.join().expect("the reader ends") == data);
    }

    #[test]
    fn the_end_is_the_end_with_or_without_goodbye_and_nonsense_is_an_error() {
        for polite in [true, false] {
            let (mut ours, mut theirs, _) = connected();
            theirs.write_all(b"last").expect("a write");
            if polite {
                theirs.shutdown().expect("a goodbye");
            }
            drop(theirs);
            let mut out = [0; 100];
            assert_eq!(ours.read(&mut out).expect("bytes"), 4);
            assert_eq!(ours.read(&mut out).expect("the end"), 0, "{polite}");
            assert_eq!(ours.read(&mut out).expect("the end"), 0, "{polite}");
        }
        let (mut ours, mut theirs, _) = connected();
        theirs.get_mut().write_all(b"no record at all").expect("a write");
        for _ in 0..2 {
            let error = ours.read(&mut [0; 100]).expect_err("nonsense");
            assert!(error.get_ref().is_some_and(|e| e.is::<Failure>()), "{error:?}");
        }
    }

    #[test]
    fn scram_binds_to_the_certificate_with_the_digest_of_its_signature() {
        let (ours, _theirs, certificate) = connected();
        let expected = certificate.digest(MessageDigest::sha384()).expect("a hash");
        assert_eq!(ours.end_point().as_deref(), Some(&*expected));
    }
}
