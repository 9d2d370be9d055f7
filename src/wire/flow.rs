//! What moves on: the payload of a COPY to whoever takes it, every other message to the crate.

use super::frames::{Data, State, Wire};
use std::io::{self, ErrorKind};
use tokio::io::ReadBuf;

impl Wire {
    /// Moves CopyData payload into `out`, as much as fits and has arrived.
    pub fn take_copy_data(&mut self, out: &mut [u8]) -> io::Result<Data> {
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
