//! Opening the socket to a server. Waiting is the server's latch, so every wait can be cancelled; no runtime, and no thread but the
//! resolver's (`pg/resolver.rs`).

use super::endpoint::Endpoint;
use super::frames::Socket;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{resolver, wait};
use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A socket without encryption.
pub struct Plain {
    socket: socket2::Socket,
    /// the last write did not fit into the system's buffer
    blocked: bool,
}

impl Plain {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: socket2::Socket) -> Self {
        Plain { socket, blocked: false }
    }
}

impl Socket for Plain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.socket.read(out)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let result = self.socket.write(data);
        self.blocked = matches!(&result, Err(e) if e.kind() == ErrorKind::WouldBlock);
        result
    }

    fn wants_write(&self) -> bool {
        self.blocked
    }
}

/// Connects to the endpoint, resolving its host name and trying every address of it within `deadline`. Gives the non-blocking socket and the
/// peer.
pub fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<(socket2::Socket, SockAddr)> {
    let addresses = match endpoint.reached {
        Some(address) => vec![SockAddr::from(address)],
        None => addresses(endpoint, deadline)?,
    };
    let mut last = None;
    for address in addresses {
        match connect_to(&address, endpoint, deadline) {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => last = error.detail,
        }
    }
    let none = || unreachable(endpoint, "the host name has no address.".to_owned());
    Err(last.map_or_else(none, |detail| refused(endpoint).detail(detail)))
}

/// Connects to one address.
pub fn connect_to(address: &SockAddr, endpoint: &Endpoint, deadline: Instant) -> Result<socket2::Socket> {
    open(address, endpoint, deadline).map_err(|e| unreachable(endpoint, format!("{e}.")))
}

fn refused(endpoint: &Endpoint) -> Error {
    Error::new(
        sqlstate::CANNOT_CONNECT,
        format!("could not connect to server \"{}\"", endpoint.server),
    )
    .hint(format!(
        "Check the host and port of the server's options and that the {} accepts connections there.",
        endpoint.side.noun()
    ))
}

fn unreachable(endpoint: &Endpoint, detail: String) -> Error {
    refused(endpoint).detail(format!(
        "host {}, port {}: {detail}",
        endpoint.host.host, endpoint.host.port
    ))
}

fn addresses(endpoint: &Endpoint, deadline: Instant) -> Result<Vec<SockAddr>> {
    if endpoint.is_local() {
        let path = format!("{}/.s.PGSQL.{}", endpoint.host.host, endpoint.host.port);
        return SockAddr::unix(&path)
            .map(|a| vec![a])
            .map_err(|e| unreachable(endpoint, format!("{e}.")));
    }
    match resolver::resolve(&endpoint.host.host, endpoint.host.port, deadline) {
        Ok(found) => Ok(found.into_iter().map(SockAddr::from).collect()),
        Err(e) if e.kind() == ErrorKind::TimedOut => Err(unresolved(endpoint)),
        Err(e) => Err(unreachable(endpoint, format!("{e}."))),
    }
}

fn unresolved(endpoint: &Endpoint) -> Error {
    let limit = endpoint.connect_timeout.as_secs_f64();
    unreachable(endpoint, format!("the name did not resolve within {limit} s."))
        .hint("Check the host of the server's options and the name servers of this machine, or raise connect_timeout.")
}

fn open(address: &SockAddr, endpoint: &Endpoint, deadline: Instant) -> io::Result<socket2::Socket> {
    let domain = address.domain();
    let protocol = (domain != Domain::UNIX).then_some(Protocol::TCP);
    let socket = socket2::Socket::new(domain, Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        if let Some(keepalive) = endpoint.keepalive {
            // A reader in the middle of COPY sends nothing, so only keepalives notice a dead network.
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(keepalive.idle)
                    .with_interval(keepalive.interval)
                    .with_retries(keepalive.count),
            )?;
        }
        if endpoint.tcp_user_timeout.is_some() {
            socket.set_tcp_user_timeout(endpoint.tcp_user_timeout)?;
        }
    }
    match socket.connect(address) {
        Ok(()) => return Ok(socket),
        Err(e) if in_progress(&e) => {}
        Err(e) => return Err(e),
    }
    // Connected when the socket turns writable without an error; the peer's address tells the two apart from a spurious wake-up.
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Err(ErrorKind::TimedOut.into());
        };
        wait::wait(
            Some(wait::Socket {
                fd: socket.as_raw_fd(),
                writable: true,
                has_input: false,
            }),
            left.min(Duration::from_secs(1)),
        );
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        if socket.peer_addr().is_ok() {
            return Ok(socket);
        }
    }
}

fn in_progress(error: &io::Error) -> bool {
    // EINPROGRESS has no stable ErrorKind.
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(115)
}
