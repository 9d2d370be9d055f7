//! A running `COPY … TO STDOUT` as a feed of bytes. Complete only when the server said CommandComplete: an error in mid-stream, also
//! one after the last row, must never look like the end of the data.

use super::errors::io_error;
use super::flow::PassError;
use super::frames::Data;
use super::polling::TICK;
use super::session::Session;
use super::stream::Stream;
use super::waiting::Waiting;
use crate::error::{Error, Result, tame};
use crate::pg::board::Gauge;
use crate::pg::{copy, wait};
use std::io::ErrorKind;

/// The COPY. Dropping it before its end leaves the session at work: abandon that.
pub struct CopyOut<'a> {
    session: &'a mut Session,
    stream: Stream,
    bytes: u64,
    rows: Option<u64>,
    /// frames of COPYs before this one
    frames_before: u64,
    gauge: Gauge,
    /// rows and frames that the gauge knows of
    rows_shown: u64,
    frames_shown: u64,
}

/// Bytes before each payload, where frames are passed on as they are.
const FRAME_HEADER: u64 = 5;

impl Session {
    /// Sends `sql`, a COPY TO STDOUT, and returns when the server has begun it. What arrives shows on `gauge`, at the pace it sets.
    pub fn copy_out(&mut self, sql: &str, gauge: Gauge) -> Result<CopyOut<'_>> {
        let stream = self.start_copy(sql);
        let frames_before = stream.frames();
        let mut copy = CopyOut {
            session: self,
            stream,
            bytes: 0,
            rows: None,
            frames_before,
            gauge,
            rows_shown: 0,
            frames_shown: 0,
        };
        let server = copy.session.name().to_owned();
        let mut waiting = Waiting::new(Some(&*server).filter(|_| copy.session.link.has_segments));
        while !copy.look()? && !copy.stream.has_copy_begun() {
            waiting.look();
            copy.sleep();
        }
        Ok(copy)
    }
}

impl CopyOut<'_> {
    /// Payload bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows the server says it sent; an error while the COPY is not known to be complete.
    pub fn rows(&self) -> Result<u64> {
        self.rows
            .ok_or_else(|| Error::protocol(format!("the {}'s COPY did not come to its end", self.noun())))
    }

    /// Lets the crate look at messages that are not data. True when they were the end of the statement.
    fn look(&mut self) -> Result<bool> {
        let Some(rows) = self.session.poll()? else {
            return Ok(false);
        };
        // What has come is another session's if so, and its settings are not those that were looked at.
        self.session.untie(rows)?;
        let tag = self.stream.complete_tag().filter(|_| self.stream.has_copy_begun());
        let tag = tag.unwrap_or_default();
        let rows = tag.strip_prefix("COPY ").and_then(|count| count.parse().ok());
        self.rows = Some(rows.ok_or_else(|| {
            Error::protocol(format!(
                "the {} ended its COPY with \"{}\" instead of a row count",
                self.noun(),
                tame(&tag)
            ))
        })?);
        Ok(true)
    }

    fn noun(&self) -> &'static str {
        self.session.side().noun()
    }

    fn sleep(&self) {
        wait::wait(Some(self.session.socket()), TICK);
    }
}

/// What has become of an attempt to pass something on.
#[derive(Debug)]
pub(super) enum Passed {
    /// some of the data, or there may be more at once
    On,
    /// the other side takes nothing just now
    Full,
    /// nothing has arrived
    Dry,
    /// all of it: the COPY is complete
    All,
    /// the connection to the other side has failed
    Broken(std::io::Error),
}

impl CopyOut<'_> {
    /// What to wait for.
    pub(super) fn socket(&self) -> wait::Socket {
        self.session.socket()
    }

    /// Passes what has arrived on to the server of `to`, as it is, headers and all.
    pub(super) fn pass_on(&mut self, to: &Stream) -> Result<Passed> {
        // The end of a COPY without rows may have come with its beginning.
        if self.rows.is_some() {
            return Ok(Passed::All);
        }
        match self.stream.pass_copy_data(to) {
            Ok(Data::Bytes(0)) => Ok(Passed::Full),
            Ok(Data::Bytes(n)) => {
                self.show(n, FRAME_HEADER);
                Ok(Passed::On)
            }
            Ok(Data::Wait) => Ok(Passed::Dry),
            Ok(Data::Again) => {
                wait::check_interrupts();
                Ok(Passed::On)
            }
            Ok(Data::Other) if self.look()? => {
                self.show(0, FRAME_HEADER);
                Ok(Passed::All)
            }
            Ok(Data::Other) => Ok(match self.stream.has_copy_data() {
                true => Passed::On,
                false => Passed::Dry,
            }),
            Err(PassError::Writing(error)) => Ok(Passed::Broken(error)),
            Err(PassError::Reading(error)) => Err(self.lost(&error)),
        }
    }

    /// The error of a connection that has failed; the server may have said why before it closed it.
    fn lost(&mut self, error: &std::io::Error) -> Error {
        if error.kind() == ErrorKind::UnexpectedEof
            && let Err(said) = self.look()
        {
            return said;
        }
        let what = format!("connection to the {} was lost", self.noun());
        io_error(error, self.session.side(), &what)
    }

    /// Shows `n` more bytes, of which each frame's header is `header`, and keeps to the pace.
    fn show(&mut self, n: usize, header: u64) {
        self.bytes += n as u64;
        let frames = self.stream.frames() - self.frames_before;
        // COPY's header and trailer may come as frames of their own.
        let rows = self.rows.unwrap_or(frames.saturating_sub(1)).max(self.rows_shown);
        let headers = (frames - self.frames_shown) * header;
        self.frames_shown = frames;
        self.bytes = self.bytes.saturating_sub(headers);
        self.gauge
            .add(rows - self.rows_shown, (n as u64).saturating_sub(headers));
        self.rows_shown = rows;
        self.gauge.throttle(n);
    }
}

impl copy::Feed for CopyOut<'_> {
    fn read(&mut self, buffer: &mut [u8], min: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < min.max(1) && self.rows.is_none() {
            match self.stream.take_copy_data(&mut buffer[filled..]) {
                Ok(Data::Bytes(n)) => filled += n,
                Ok(Data::Wait) => self.sleep(),
                Ok(Data::Again) => wait::check_interrupts(),
                Ok(Data::Other) => {
                    if !self.look()? && !self.stream.has_copy_data() {
                        self.sleep();
                    }
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
        self.show(filled, 0);
        Ok(filled)
    }
}
