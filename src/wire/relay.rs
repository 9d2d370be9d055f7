//! A running `COPY … FROM STDIN` that is fed with what another server's COPY sends: CopyData messages go from socket to socket as they are. What one
//! side has sent and the other has not taken is no more than the reader's buffer.

use super::copy_out::{CopyOut, Passed};
use super::errors::io_error;
use super::polling::TICK;
use super::session::Session;
use super::stream::Stream;
use super::waiting::Waiting;
use crate::error::{Error, Result, tame};
use crate::pg::wait;

/// CopyDone.
const DONE: &[u8] = b"c\0\0\0\x04";

/// The COPY. Dropping it before its end leaves the session at work: abandon that.
pub struct CopyIn<'a> {
    session: &'a mut Session,
    stream: Stream,
}

impl Session {
    /// Sends `sql`, a COPY FROM STDIN, and returns when the server waits for rows.
    pub fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>> {
        let stream = self.start_copy_in(sql);
        let mut copy = CopyIn { session: self, stream };
        let server = copy.session.name().to_owned();
        let mut waiting = Waiting::new(Some(&*server).filter(|_| copy.session.link.has_segments));
        while !copy.has_ended()? {
            waiting.look();
            if copy.stream.has_copy_begun() {
                return Ok(copy);
            }
            copy.sleep();
        }
        Err(copy.ended_early())
    }
}

impl CopyIn<'_> {
    /// Loads all that `rows` sends; how many rows the server says it has taken. Complete only when the source's COPY is, and it has said so.
    pub fn load(mut self, rows: &mut CopyOut<'_>) -> Result<u64> {
        loop {
            // Whatever this side says before its time is why it takes no more.
            if self.has_ended()? {
                return Err(self.ended_early());
            }
            match rows.pass_on(&self.stream)? {
                Passed::On => {}
                Passed::Full => self.sleep(),
                Passed::Dry => wait::wait_any(&[rows.socket(), self.session.socket()], TICK),
                Passed::All => break,
                Passed::Broken(error) => return Err(self.lost(&error)),
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Result<u64> {
        let mut rest = DONE;
        while !rest.is_empty() {
            let sent = match self.stream.send(rest) {
                Ok(sent) => sent,
                Err(error) => return Err(self.lost(&error)),
            };
            rest = &rest[sent..];
            if sent == 0 {
                if self.has_ended()? {
                    return Err(self.ended_early());
                }
                self.sleep();
            }
        }
        while !self.has_ended()? {
            self.sleep();
        }
        let tag = self.stream.complete_tag().unwrap_or_default();
        let rows = tag.strip_prefix("COPY ").and_then(|count| count.parse().ok());
        rows.ok_or_else(|| {
            Error::protocol(format!(
                "server \"{}\" ended a COPY with \"{}\" instead of a row count",
                self.session.name(),
                tame(&tag)
            ))
        })
    }

    /// Lets the crate look at what the server says. True when it was the end of the statement.
    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.session.poll()?.is_some())
    }

    fn ended_early(&self) -> Error {
        Error::protocol(format!(
            "server \"{}\" ended a COPY before it had all rows",
            self.session.name()
        ))
    }

    /// The error of a connection that takes nothing more; the server may have said why before it closed it.
    fn lost(&mut self, error: &std::io::Error) -> Error {
        if let Err(said) = self.has_ended() {
            return said;
        }
        let what = format!("connection to server \"{}\" was lost", self.session.name());
        io_error(error, self.session.side(), &what)
    }

    fn sleep(&self) {
        wait::wait(Some(self.session.socket()), TICK);
    }
}
