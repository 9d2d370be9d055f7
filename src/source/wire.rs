//! The stream under tokio-postgres: a non-blocking socket read in large pieces, whose frames it knows. Every message goes to the
//! crate, except those of a COPY: the payload of CopyData waits here to be taken, with no future, no allocation and one copy per row, and
//! its begin and end are noted only. So a COPY is a simple query to the crate, which would otherwise prepare a statement for it, and a
//! pooler's connection would keep that. On the way it notes what the crate keeps to itself: CommandComplete's tag, and whether the server
//! is at work.
//!
//! Message formats: PostgreSQL documentation, "Message Formats"; a frame is a tag byte, a length that counts itself, and the body.

use crate::pg::wait;
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// One read of the socket. Larger ones gained nothing in the measurements of design.md; smaller ones cost system calls.
const BUFFER: usize = 256 * 1024;
/// Largest message handed to the crate, which holds it whole: no catalog row or error comes near, a hostile length goes beyond.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;
/// Most that the answer to a statement may take in memory, as it is held until its end has come: some 150,000 partitions' worth. A COPY's
/// data is not held.
const LARGEST_ANSWER: usize = 128 * 1024 * 1024;
/// The same for the settings that a server reports by itself, which are held as long as the connection.
const LARGEST_SETTINGS: usize = 64 * 1024 * 1024;
/// What the crate and the lists of its messages add to a message, and to each value of a row.
const MESSAGE_COST: usize = 100;
const VALUE_COST: usize = 48;
const IMPOSSIBLE_LENGTH: &str = "the source sent a message with an impossible length";
const TOO_LONG: &str = "the source sent a message that is too long";
/// Largest CommandComplete that is looked at.
const LARGEST_TAG: usize = 64;

/// A connected, non-blocking socket, plain or encrypted. Where reading or writing has to wait, the error is WouldBlock.
pub trait Socket {
    /// Reads what has arrived, as much as fits; 0 at the end of the stream.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;
    /// Writes what fits.
    fn write(&mut self, data: &[u8]) -> io::Result<usize>;
    /// True when the last attempt to read or write waits for room in the system's socket.
    fn wants_write(&self) -> bool;
    /// True when there is something to read that the system's socket knows nothing of any more.
    fn has_input(&self) -> bool {
        false
    }
    /// Nothing will be written any more.
    fn goodbye(&mut self) {}
    /// What SCRAM binds its exchange to.
    fn end_point(&self) -> Option<Vec<u8>> {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// at a frame's first byte
    Header,
    /// inside a message for the crate
    Forward(usize),
    /// inside a message that is noted and goes nowhere
    Skip(usize),
    /// inside a CopyData payload
    Data(usize),
}

struct Wire {
    socket: Box<dyn Socket>,
    buffer: Box<[u8]>,
    /// unread bytes are buffer[start..end]
    start: usize,
    end: usize,
    state: State,
    /// bytes read from the socket so far
    received: u64,
    /// the peer has closed
    eof: bool,
    /// the peer has broken the rules, and how: nothing more of it is read
    broken: Option<&'static str>,
    /// the last look at it ended before everything that was there had been seen
    again: bool,
    /// a COPY was asked for, and has not begun
    copy_expected: bool,
    /// the COPY that was asked for last has begun
    copy_began: bool,
    /// between CopyOutResponse and the end of its data
    copying: bool,
    /// CopyData messages so far
    frames: u64,
    /// what the messages since the last statement take, and all reports of settings
    answer: usize,
    settings: usize,
    complete_tag: Option<String>,
    /// something was sent that the server has not said the end of
    at_work: bool,
    /// the server has asked for a password in one form or another
    password_requested: bool,
    /// the server has let us in
    authenticated: bool,
    /// whoever closes first is the other side
    stays: bool,
}

/// The tokio-postgres side. Clones share the stream: one goes into the crate, one stays with the COPY.
#[derive(Clone)]
pub struct Stream(Rc<RefCell<Wire>>);

/// What a COPY finds on the wire.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// this many bytes were written to the caller's buffer
    Bytes(usize),
    /// nothing has arrived yet
    Wait,
    /// nothing of use has arrived, and there may be more
    Again,
    /// the next message is not CopyData: the crate has to look at it
    Other,
}

impl Stream {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: Box<dyn Socket>) -> Self {
        Stream(Rc::new(RefCell::new(Wire {
            socket,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            state: State::Header,
            received: 0,
            eof: false,
            broken: None,
            again: false,
            copy_expected: false,
            copy_began: false,
            copying: false,
            frames: 0,
            answer: 0,
            settings: 0,
            complete_tag: None,
            at_work: false,
            password_requested: false,
            authenticated: false,
            stays: false,
        })))
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
        let mut wire = self.0.borrow_mut();
        loop {
            (wire.start, wire.end) = (0, 0);
            match wire.fill() {
                Ok(true) => {}
                Ok(false) if !wire.eof => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// True when the server has asked for a password, and so did not let us in by itself.
    pub fn password_requested(&self) -> bool {
        self.0.borrow().password_requested
    }

    /// The statement that is sent next may begin a COPY; no other one may.
    pub fn expect_copy(&self) {
        let mut wire = self.0.borrow_mut();
        wire.copy_expected = true;
        wire.copy_began = false;
        wire.complete_tag = None;
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
        let wire = self.0.borrow();
        match wire.state {
            State::Header => wire.unread().first() == Some(&b'd'),
            State::Data(_) => true,
            State::Forward(_) | State::Skip(_) => false,
        }
    }

    /// Moves CopyData payload into `out`, as much as fits and has arrived.
    pub fn take_copy_data(&self, out: &mut [u8]) -> io::Result<Data> {
        self.0.borrow_mut().take_copy_data(out)
    }
}

impl Wire {
    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads once from the socket into the free part of the buffer. False when nothing is there.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.socket.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.eof = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.end += n;
                    self.received += n as u64;
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads the next frame's header if it has arrived whole; enters Forward (header included) or Data (header consumed).
    /// False when more bytes are needed.
    fn next_frame(&mut self) -> io::Result<bool> {
        let &[tag, a, b, c, d, ..] = self.unread() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 || length > i32::MAX as usize {
            return self.refuse(IMPOSSIBLE_LENGTH);
        }
        if matches!(tag, b'd' | b'H' | b'c') {
            return self.copy_frame(tag, length);
        }
        match tag {
            _ if self.copying && !matches!(tag, b'E' | b'N' | b'S' | b'A') => {
                return self.refuse("the source broke off its COPY with another message");
            }
            _ if length > LARGEST_MESSAGE => {
                return self.refuse(TOO_LONG);
            }
            b'C' if length <= LARGEST_TAG && self.complete_tag.is_none() => {
                let Some(body) = self.unread().get(5..length + 1) else {
                    return Ok(false);
                };
                self.complete_tag = body.strip_suffix(&[0]).map(|t| String::from_utf8_lossy(t).into_owned());
            }
            b'E' => (self.copy_expected, self.copying, self.at_work) = (false, false, false),
            b'R' if length < 8 => return self.refuse(IMPOSSIBLE_LENGTH),
            b'R' => {
                let Some(&[a, b, c, d]) = self.unread().get(5..9) else {
                    return Ok(false);
                };
                match u32::from_be_bytes([a, b, c, d]) {
                    0 => self.authenticated = true,
                    // cleartext, MD5, SASL
                    3 | 5 | 10 => self.password_requested = true,
                    _ => {}
                }
            }
            b'Z' => (self.copy_expected, self.at_work) = (false, false),
            _ => {}
        }
        if !self.charge(tag, length)? {
            return Ok(false);
        }
        self.state = State::Forward(length + 1);
        Ok(true)
    }

    /// The messages that are a COPY's: its begin, its data and the end of them.
    fn copy_frame(&mut self, tag: u8, length: usize) -> io::Result<bool> {
        match tag {
            b'd' if !self.copying => return self.refuse("the source sent copy data outside of a COPY"),
            b'd' => {
                self.start += 5;
                self.frames += 1;
                // What came before it was no part of an answer: notices.
                self.answer = 0;
                self.state = State::Data(length - 4);
                return Ok(true);
            }
            _ if length > LARGEST_MESSAGE => return self.refuse(TOO_LONG),
            b'H' if !self.copy_expected => return self.refuse("the source began a COPY that nobody has asked for"),
            b'H' => (self.copy_expected, self.copy_began, self.copying) = (false, true, true),
            _ if !self.copying => return self.refuse("the source ended a COPY that had not begun"),
            _ => self.copying = false,
        }
        self.state = State::Skip(length + 1);
        Ok(true)
    }

    /// Counts what a message for the crate will take. False when more of it has to be there to tell.
    fn charge(&mut self, tag: u8, length: usize) -> io::Result<bool> {
        let values = match tag {
            b'D' if length < 6 => return self.refuse(IMPOSSIBLE_LENGTH),
            b'D' => match self.unread().get(5..7) {
                Some(&[a, b]) => usize::from(u16::from_be_bytes([a, b])),
                _ => return Ok(false),
            },
            _ => 0,
        };
        let (taken, limit) = match tag {
            b'S' => (&mut self.settings, LARGEST_SETTINGS),
            _ => (&mut self.answer, LARGEST_ANSWER),
        };
        *taken += MESSAGE_COST + length + values * VALUE_COST;
        if *taken > limit {
            return self.refuse("the source's answer has no end, or is too long to be held in memory");
        }
        Ok(true)
    }

    /// An error for the crate and for a COPY, whoever reads next.
    fn refuse<T>(&mut self, text: &'static str) -> io::Result<T> {
        self.broken = Some(text);
        Err(io::Error::new(ErrorKind::InvalidData, text))
    }

    fn take_copy_data(&mut self, out: &mut [u8]) -> io::Result<Data> {
        if let Some(text) = self.broken {
            return self.refuse(text);
        }
        let mut filled = 0;
        let mut may_fill = true;
        while filled < out.len() {
            match self.state {
                State::Forward(_) | State::Skip(_) => break,
                State::Header => {
                    // The frame after the data is left for the crate, header and all.
                    if self.unread().first().is_some_and(|tag| *tag != b'd') {
                        break;
                    }
                    if self.next_frame()? {
                        continue;
                    }
                }
                State::Data(0) => {
                    self.state = State::Header;
                    continue;
                }
                State::Data(left) => {
                    let n = left.min(self.end - self.start).min(out.len() - filled);
                    if n > 0 {
                        out[filled..filled + n].copy_from_slice(&self.buffer[self.start..self.start + n]);
                        filled += n;
                        self.start += n;
                        self.state = State::Data(left - n);
                        continue;
                    }
                }
            }
            // More bytes are needed; what is there is given first. One read a call: a source that sends empty messages without a pause must
            // not keep a cancel waiting.
            if filled > 0 {
                break;
            }
            if !may_fill {
                return Ok(Data::Again);
            }
            if !self.fill()? {
                break;
            }
            may_fill = false;
        }
        if filled > 0 {
            return Ok(Data::Bytes(filled));
        }
        match self.state {
            State::Forward(_) | State::Skip(_) => Ok(Data::Other),
            State::Header if !self.unread().is_empty() && self.unread()[0] != b'd' => Ok(Data::Other),
            _ if self.eof => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(Data::Wait),
        }
    }

    /// Moves bytes of messages into `out`. False when nothing could be moved: more must arrive, or a COPY must take its data first; or
    /// `again` is set.
    fn forward(&mut self, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = out.remaining();
        match self.forward_all(out) {
            // An error that the source has sent before it broke the rules is told; what is wrong is wrong the next time too.
            Err(_) if out.remaining() < before => Ok(true),
            result => result.map(|()| out.remaining() < before),
        }
    }

    fn forward_all(&mut self, out: &mut ReadBuf<'_>) -> io::Result<()> {
        if let Some(text) = self.broken {
            return self.refuse(text);
        }
        let before = out.remaining();
        let mut reads = 0;
        self.again = false;
        while out.remaining() > 0 {
            // As for a COPY: not without end.
            if reads > 1 {
                self.again = out.remaining() == before;
                break;
            }
            match self.state {
                State::Forward(0) | State::Skip(0) => self.state = State::Header,
                State::Skip(left) => {
                    let n = left.min(self.end - self.start);
                    self.start += n;
                    self.state = State::Skip(left - n);
                    if n == 0 {
                        if !self.fill()? {
                            break;
                        }
                        reads += 1;
                    }
                }
                State::Forward(left) => {
                    let n = left.min(self.end - self.start).min(out.remaining());
                    if n > 0 {
                        out.put_slice(&self.buffer[self.start..self.start + n]);
                        self.start += n;
                        self.state = State::Forward(left - n);
                    } else if !self.fill()? {
                        break;
                    } else {
                        reads += 1;
                    }
                }
                State::Data(0) => self.state = State::Header,
                State::Data(_) => break,
                State::Header => {
                    if !self.next_frame()? {
                        if !self.fill()? {
                            break;
                        }
                        reads += 1;
                    }
                }
            }
        }
        Ok(())
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
        let mut wire = self.0.borrow_mut();
        loop {
            match wire.socket.write(data) {
                Ok(n) => {
                    // Whatever the crate has asked, it has seen the answer to what it asked before.
                    wire.answer = 0;
                    wire.at_work = true;
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(e) => return Poll::Ready(Err(e)),
            }
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

#[cfg(test)]
mod tests;
