//! Stopping statements from outside of their sessions.

use super::endpoint::Endpoint;
use super::frames::Socket;
use super::polling::block_on;
use super::socket::{self, Plain};
use super::stream::{AsItIs, Stream};
use super::tls::{Answer, Connector};
use super::waiting::Waiting;
use crate::error::Result;
use crate::pg::{report, wait};
use socket2::SockAddr;
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use tokio_postgres::CancelToken;

/// How long a cancel request may take: the processes of a cancelled run have to be gone within two seconds.
pub const CANCEL_TIMEOUT: Duration = Duration::from_millis(700);

/// What it takes to stop a session's statement from outside of it.
#[derive(Clone)]
pub struct Canceller {
    /// the session's key
    pub token: CancelToken,
    /// where it is connected
    pub address: SockAddr,
    /// how it is encrypted
    pub connector: Option<Connector>,
    /// whose it is
    pub endpoint: Endpoint,
}

/// A cancel request under way: its connection, until the other side closes it.
struct CancelRequest {
    fd: i32,
    stream: Stream,
}

impl Canceller {
    /// Stops the statements of all of `cancellers`, by `deadline`. Best effort: whatever goes wrong here must not hide why the sessions are
    /// abandoned. What cannot be reached is ended by the keepalives over there. Another cancel does not come in between: the server itself may
    /// send a second one (to the process and to its group, postmaster.c, signal_child), and the statement would run on over there.
    pub fn cancel_all(cancellers: &[Canceller], deadline: Instant) {
        wait::without_interrupts(|| {
            let sent = |canceller: &Canceller| report::catch(|| canceller.send(deadline)).ok().flatten();
            let requests: Vec<CancelRequest> = cancellers.iter().filter_map(sent).collect();
            for request in requests {
                let _ = report::catch(|| request.until_done(deadline));
            }
        });
    }

    /// Sends the request, encrypted as its session is, or not at all: it holds the session's key.
    fn send(&self, deadline: Instant) -> Result<Option<CancelRequest>> {
        let socket = socket::connect_to(&self.address, &self.endpoint, deadline)?;
        let fd = socket.as_raw_fd();
        let socket: Box<dyn Socket> = match &self.connector {
            None => Box::new(Plain::new(socket)),
            Some(connector) => match connector.encrypt(socket, &self.endpoint, deadline) {
                Ok(Answer::Encrypted(done)) => done.socket,
                Ok(Answer::None(_)) => return Ok(None),
                Err(failed) => return Err(failed.error),
            },
        };
        let stream = Stream::new(socket);
        stream.stay();
        let cancel = self.token.cancel_query_raw(stream.clone(), AsItIs);
        let _ = block_on(fd, &stream, Some(deadline), |_| Ok(()), &mut Waiting::new(None), cancel)?;
        Ok(Some(CancelRequest { fd, stream }))
    }
}

impl CancelRequest {
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
            &mut Waiting::new(None),
            poll_fn(|_| stream.poll_end()),
        )
    }
}
