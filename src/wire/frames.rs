//! What comes over a non-blocking socket, read in large pieces and known by its frames. Every message goes to the
//! crate, except those of a COPY: the payload of CopyData waits here to be taken, with no future, no allocation and one copy per row, and
//! its begin and end are noted only. So a COPY is a simple query to the crate, which would otherwise prepare a statement for it, and a
//! pooler's connection would keep that. On the way it notes what the crate keeps to itself: CommandComplete's tag, and whether the server
//! is at work.
//!
//! Message formats: PostgreSQL documentation, "Message Formats"; a frame is a tag byte, a length that counts itself, and the body.

use super::gauss_login::{self, Login, Wrong};
use std::io::{self, ErrorKind};
use std::task::Poll;

/// One read of the socket. Larger ones gained nothing when it was measured; smaller ones cost system calls.
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
const IMPOSSIBLE_LENGTH: &str = "the server sent a message with an impossible length";
const TOO_LONG: &str = "the server sent a message that is too long";
/// Also what an honest server does that has very many partitions.
pub const TOO_BIG: &str = "the server's answer has no end, or is too long to be held in memory";
pub const BAD_ITERATIONS: &str =
    "the server asks for fewer than 2,048 or more than 1,000,000 iterations of its password's hash";
pub const UNKNOWN_LOGIN: &str = "the server asks for a form of its sha256 login that is not known";
pub const NO_DIGEST: &str = "OpenSSL on this server lacks a digest that the login takes";
/// Largest CommandComplete that is looked at.
const LARGEST_TAG: usize = 64;
/// No request of openGauss' logins is larger.
const LARGEST_REQUEST: usize = 256;

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

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// at a frame's first byte
    Header,
    /// inside a message for the crate
    Forward(usize),
    /// inside a message that is noted and goes nowhere
    Skip(usize),
    /// inside a CopyData payload
    Data(usize),
}

/// A connection's bytes, and what they were about.
pub struct Wire {
    /// where they go and come from
    pub socket: Box<dyn Socket>,
    /// what was read and not taken is buffer[start..end]
    pub buffer: Box<[u8]>,
    pub start: usize,
    pub end: usize,
    pub state: State,
    /// bytes read from the socket so far
    pub received: u64,
    /// the peer has closed
    pub eof: bool,
    /// the peer has broken the rules, and how: nothing more of it is read
    pub broken: Option<&'static str>,
    /// the last look at it ended before everything that was there had been seen
    pub again: bool,
    /// a COPY was asked for, and has not begun
    copy_expected: Option<Copy>,
    /// the COPY that was asked for last has begun
    pub copy_began: bool,
    /// between CopyOutResponse and the end of its data
    copying: bool,
    /// CopyData messages so far
    pub frames: u64,
    /// so many of the unread bytes are known to be CopyData messages, to be passed on as they are
    pub walked: usize,
    /// what the messages since the last statement take, and all reports of settings
    answer: usize,
    settings: usize,
    /// tag of the first CommandComplete since a COPY was expected
    pub complete_tag: Option<String>,
    /// something was sent that the server has not said the end of
    pub at_work: bool,
    /// the server has asked for a password in one form or another
    pub password_requested: bool,
    /// the server has let us in
    pub authenticated: bool,
    /// whoever closes first is the other side
    pub stays: bool,
    /// the login of a family that the crate does not know
    pub login: Login,
}

/// Which way the rows of a COPY go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// TO STDOUT: the server sends them
    Out,
    /// FROM STDIN: it waits for them
    In,
}

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

impl Wire {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: Box<dyn Socket>) -> Self {
        Wire {
            socket,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            state: State::Header,
            received: 0,
            eof: false,
            broken: None,
            again: false,
            copy_expected: None,
            copy_began: false,
            copying: false,
            frames: 0,
            walked: 0,
            answer: 0,
            settings: 0,
            complete_tag: None,
            at_work: false,
            password_requested: false,
            authenticated: false,
            stays: false,
            login: Login::default(),
        }
    }

    /// The statement that is sent next may begin such a COPY; no other one may.
    pub fn expect_copy(&mut self, copy: Copy) {
        self.copy_expected = Some(copy);
        self.copy_began = false;
        self.complete_tag = None;
    }

    /// True when the next bytes are CopyData, or the payload of one already begun.
    pub fn has_copy_data(&self) -> bool {
        if self.walked > 0 {
            return true;
        }
        match self.state {
            State::Header => self.unread().first() == Some(&b'd'),
            State::Data(_) => true,
            State::Forward(_) | State::Skip(_) => false,
        }
    }

    /// True between CopyOutResponse and the end of its data.
    pub fn is_copying(&self) -> bool {
        self.copying
    }

    /// Throws away what comes until the peer closes. Pending: more must arrive.
    pub fn poll_end(&mut self) -> Poll<()> {
        loop {
            (self.start, self.end) = (0, 0);
            match self.fill() {
                Ok(true) => {}
                Ok(false) if !self.eof => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Something was sent. Whatever the crate has asked, it has seen the answer to what it asked before.
    pub fn sent(&mut self) {
        self.answer = 0;
        self.at_work = true;
    }

    pub fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads once from the socket into the free part of the buffer. False when nothing is there.
    pub fn fill(&mut self) -> io::Result<bool> {
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
    pub fn next_frame(&mut self) -> io::Result<bool> {
        let &[tag, a, b, c, d, ..] = self.unread() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 || length > i32::MAX as usize {
            return self.refuse(IMPOSSIBLE_LENGTH);
        }
        if matches!(tag, b'd' | b'H' | b'G' | b'c') {
            return self.copy_frame(tag, length);
        }
        match tag {
            _ if self.copying && !matches!(tag, b'E' | b'N' | b'S' | b'A') => {
                return self.refuse("the server broke off its COPY with another message");
            }
            _ if length > LARGEST_MESSAGE => {
                return self.refuse(TOO_LONG);
            }
            b'C' if self.copy_expected.is_some() => {
                return self.refuse("the server ended a COPY that had not begun");
            }
            b'C' if length <= LARGEST_TAG && self.complete_tag.is_none() => {
                let Some(body) = self.unread().get(5..length + 1) else {
                    return Ok(false);
                };
                self.complete_tag = body.strip_suffix(&[0]).map(|t| String::from_utf8_lossy(t).into_owned());
            }
            b'E' => (self.copy_expected, self.copying, self.at_work) = (None, false, false),
            b'R' if length < 8 => return self.refuse(IMPOSSIBLE_LENGTH),
            b'R' => {
                let Some(&[a, b, c, d]) = self.unread().get(5..9) else {
                    return Ok(false);
                };
                match u32::from_be_bytes([a, b, c, d]) {
                    // openGauss: two of these are messages of SASL to everybody else.
                    10 | 11 | 13 if !self.authenticated && length <= LARGEST_REQUEST => {
                        return self.login_frame(length);
                    }
                    // It has not had the answer, in whose place the password would go.
                    0 if self.login.is_pending() => return self.refuse_login(Wrong::Malformed),
                    0 => self.authenticated = true,
                    // cleartext, MD5, SASL
                    3 | 5 | 10 => self.password_requested = true,
                    _ => {}
                }
            }
            b'Z' => (self.copy_expected, self.at_work) = (None, false),
            _ => {}
        }
        if !self.charge(tag, length)? {
            return Ok(false);
        }
        self.state = State::Forward(length + 1);
        Ok(true)
    }

    /// A request of the login, which may be of a family that the crate does not know.
    fn login_frame(&mut self, length: usize) -> io::Result<bool> {
        let Some(body) = self.unread().get(5..length + 1) else {
            return Ok(false);
        };
        let body = body.to_vec();
        self.password_requested = true;
        match self.login.note(&body) {
            Ok(false) => self.state = State::Forward(length + 1),
            Ok(true) => {
                let request = gauss_login::CLEAR_TEXT;
                self.start += length + 1 - request.len();
                self.buffer[self.start..self.start + request.len()].copy_from_slice(&request);
                self.state = State::Forward(request.len());
            }
            Err(wrong) => return self.refuse_login(wrong),
        }
        Ok(true)
    }

    /// The error of a login that goes no further.
    pub fn refuse_login<T>(&mut self, wrong: Wrong) -> io::Result<T> {
        match wrong {
            Wrong::Iterations => self.refuse(BAD_ITERATIONS),
            Wrong::Kind => self.refuse(UNKNOWN_LOGIN),
            Wrong::Digest => self.refuse(NO_DIGEST),
            // Whoever is to ask again does, and says nothing of it.
            Wrong::Malformed | Wrong::AskAgain => self.refuse("the server sent a login request that is malformed"),
        }
    }

    /// The messages that are a COPY's: its begin, its data and the end of them.
    fn copy_frame(&mut self, tag: u8, length: usize) -> io::Result<bool> {
        match tag {
            b'd' if !self.copying => return self.refuse("the server sent copy data outside of a COPY"),
            b'd' => {
                self.start += 5;
                self.frames += 1;
                // What came before it was no part of an answer: notices.
                self.answer = 0;
                self.state = State::Data(length - 4);
                return Ok(true);
            }
            _ if length > LARGEST_MESSAGE => return self.refuse(TOO_LONG),
            b'H' | b'G' => {
                let copy = if tag == b'H' { Copy::Out } else { Copy::In };
                if self.copy_expected != Some(copy) {
                    return self.refuse("the server began a COPY that nobody has asked for");
                }
                (self.copy_expected, self.copy_began, self.copying) = (None, true, copy == Copy::Out);
            }
            _ if !self.copying => return self.refuse("the server ended a COPY that had not begun"),
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
            return self.refuse(TOO_BIG);
        }
        Ok(true)
    }

    /// An error for the crate and for a COPY, whoever reads next.
    pub fn refuse<T>(&mut self, text: &'static str) -> io::Result<T> {
        self.broken = Some(text);
        Err(io::Error::new(ErrorKind::InvalidData, text))
    }
}

#[cfg(test)]
mod tests;
