//! The stream under tokio-postgres: what it reads and writes goes through the frames of `frames`.

use super::flow::PassError;
use super::frames::{Copy, Data, Socket, Wire};
use crate::pg::wait;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The tokio-postgres side. Clones share the stream: one goes into the crate, one stays with the COPY.
#[derive(Clone)]
pub struct Stream(pub(super) Rc<RefCell<Wire>>);

impl Stream {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: Box<dyn Socket>) -> Self {
        Stream(Rc::new(RefCell::new(Wire::new(socket))))
    }

    /// What ends a wait for this stream, whose descriptor is `fd`.
    pub fn to_wait_for(&self, fd: RawFd) -> wait::Socket {
        let wire = self.0.borrow();
        wait::Socket {
            fd,
            writable: wire.socket.wants_write(),
            has_input: wire.socket.has_input(),
        }
    }

    /// From here on asks for the protocol of openGauss.
    pub fn ask_for_gauss(&self) {
        self.0.borrow_mut().login.asks = true;
    }

    /// True when the server is one that wants to be asked so.
    pub fn wants_gauss(&self) -> bool {
        self.0.borrow().login.is_wanted
    }

    /// True when the server has let us in.
    pub fn is_authenticated(&self) -> bool {
        self.0.borrow().authenticated
    }

    /// From here on says no goodbye: what was asked is done when the peer closes.
    pub fn stay(&self) {
        self.0.borrow_mut().stays = true;
    }

    /// Throws away what comes until the peer closes. Pending: more must arrive.
    pub fn poll_end(&self) -> Poll<()> {
        self.0.borrow_mut().poll_end()
    }

    /// True when the server has asked for a password, and so did not let us in by itself.
    pub fn password_requested(&self) -> bool {
        self.0.borrow().password_requested
    }

    /// The statement that is sent next may begin such a COPY; no other one may.
    pub fn expect_copy(&self, copy: Copy) {
        self.0.borrow_mut().expect_copy(copy);
    }

    /// True once the COPY that is expected has begun.
    pub fn has_copy_begun(&self) -> bool {
        self.0.borrow().copy_began
    }

    /// The tag of the first CommandComplete (`COPY 42`) since a COPY was expected, once it has come by.
    pub fn complete_tag(&self) -> Option<String> {
        self.0.borrow().complete_tag.clone()
    }

    /// True while a statement is under way: something was sent, and neither an error nor the server's readiness has come by since.
    pub fn is_at_work(&self) -> bool {
        self.0.borrow().at_work
    }

    /// Bytes read from the socket so far.
    #[cfg(test)]
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// CopyData messages so far: a row each, and for each COPY in binary one for its end.
    pub fn frames(&self) -> u64 {
        self.0.borrow().frames
    }

    /// True when the next bytes are CopyData, or the payload of one already begun.
    pub fn has_copy_data(&self) -> bool {
        self.0.borrow().has_copy_data()
    }

    /// Moves CopyData payload into `out`, as much as fits and has arrived.
    pub fn take_copy_data(&self, out: &mut [u8]) -> io::Result<Data> {
        self.0.borrow_mut().take_copy_data(out)
    }

    /// Passes whole CopyData messages that have arrived on to the server of `to`, as they are, as much as that one's socket takes: `Bytes(0)`
    /// when it takes nothing just now.
    pub fn pass_copy_data(&self, to: &Stream) -> Result<Data, PassError> {
        self.0.borrow_mut().pass_copy_data(&mut to.0.borrow_mut())
    }

    /// Sends what is not the crate's to send, as much as the socket takes.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().send(data)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        match wire.forward(out) {
            Ok(true) => Poll::Ready(Ok(())),
            // At the end of the stream an empty read tells the crate so.
            Ok(false) if wire.eof => Poll::Ready(Ok(())),
            Ok(false) => {
                if wire.again {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(e) => Poll::Ready(Err(e)),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.borrow_mut().send(data) {
            Ok(0) if !data.is_empty() => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if !wire.stays {
            wire.socket.goodbye();
        }
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        let end_point = self.0.borrow().socket.end_point();
        end_point.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// Hands the crate a stream as it is: encryption was settled before.
pub struct AsItIs;

impl TlsConnect<Stream> for AsItIs {
    type Stream = Stream;
    type Error = Infallible;
    type Future = Ready<std::result::Result<Stream, Infallible>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}
