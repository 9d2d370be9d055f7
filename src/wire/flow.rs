//! What moves on: the payload of a COPY to whoever takes it, every other message to the crate.

use super::frames::{Data, State, Wire};
use std::io::{self, ErrorKind};
use tokio::io::ReadBuf;

/// Which side has failed when something was to be passed on.
#[derive(Debug)]
pub enum PassError {
    /// the one that it comes from
    Reading(io::Error),
    /// the one that it goes to
    Writing(io::Error),
}

impl From<io::Error> for PassError {
    fn from(error: io::Error) -> Self {
        PassError::Reading(error)
    }
}

impl Wire {
    /// Moves CopyData payload into `out`, as much as fits and has arrived.
    pub fn take_copy_data(&mut self, out: &mut [u8]) -> io::Result<Data> {
        if let Some(text) = self.broken {
            return self.refuse(text);
        }
        // What was to be passed on and never was is of no use to anybody.
        self.start += std::mem::take(&mut self.walked);
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
            // More bytes are needed; what is there is given first. One read a call: a server that sends empty messages without a pause must
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

    /// Passes CopyData messages on to another server as they are, headers and all, as much as its socket takes: a row costs no more than the step
    /// from header to header. `Bytes(0)` when that socket takes nothing; until it does nothing more is read.
    pub fn pass_copy_data(&mut self, to: &mut Wire) -> Result<Data, PassError> {
        if let Some(text) = self.broken {
            return Ok(self.refuse(text)?);
        }
        let mut may_fill = true;
        loop {
            self.walk()?;
            if self.walked > 0 {
                let sent = to.send(&self.buffer[self.start..self.start + self.walked]);
                let sent = sent.map_err(PassError::Writing)?;
                self.start += sent;
                self.walked -= sent;
                return Ok(Data::Bytes(sent));
            }
            match self.state {
                State::Forward(_) | State::Skip(_) => return Ok(Data::Other),
                State::Header if self.unread().first().is_some_and(|tag| *tag != b'd') => return Ok(Data::Other),
                _ if !may_fill => return Ok(Data::Again),
                _ => {}
            }
            if !self.fill()? {
                return match self.eof {
                    true => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                    false => Ok(Data::Wait),
                };
            }
            may_fill = false;
        }
    }

    /// Steps over the CopyData messages that have arrived, the beginning of the last one included.
    fn walk(&mut self) -> io::Result<()> {
        loop {
            let at = self.start + self.walked;
            match self.state {
                State::Forward(_) | State::Skip(_) => return Ok(()),
                State::Data(0) => self.state = State::Header,
                State::Data(left) => {
                    let n = left.min(self.end - at);
                    if n == 0 {
                        return Ok(());
                    }
                    self.walked += n;
                    self.state = State::Data(left - n);
                }
                State::Header => {
                    if self.buffer[at..self.end].first() != Some(&b'd') {
                        return Ok(());
                    }
                    // The header is read where it stands, and passed on too.
                    let start = std::mem::replace(&mut self.start, at);
                    let is_whole = self.next_frame();
                    let header = self.start - at;
                    self.start = start;
                    if !is_whole? {
                        return Ok(());
                    }
                    self.walked += header;
                }
            }
        }
    }

    /// Writes what the socket takes, or what goes in its place; 0 when that is nothing just now.
    pub fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.authenticated && !self.login.is_pending() {
            return self.write(data);
        }
        loop {
            let instead = match self.login.instead_of(data) {
                Ok(Some(message)) => message.to_vec(),
                Ok(None) => return self.write(data),
                Err(wrong) => return self.refuse_login(wrong),
            };
            match self.write(&instead)? {
                0 => return Ok(0),
                n if self.login.sent(n) => return Ok(data.len()),
                _ => {}
            }
        }
    }

    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(data) {
                Ok(n) => {
                    self.sent();
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(e) => return Err(e),
            }
        }
    }

    /// Moves bytes of messages into `out`. False when nothing could be moved: more must arrive, or a COPY must take its data first; or
    /// `again` is set.
    pub fn forward(&mut self, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = out.remaining();
        match self.forward_all(out) {
            // An error that the server has sent before it broke the rules is told; what is wrong is wrong the next time too.
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
        while out.remaining() > 0 && self.walked == 0 {
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
                // It is left as it is for whoever takes it, or passes it on.
                State::Header if self.has_copy_data() && self.is_copying() => break,
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
