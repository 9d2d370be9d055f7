//! A running `COPY … TO STDOUT` as a source of bytes. Complete only when the server said CommandComplete: an error in mid-stream, also
//! one after the last row, must never look like the end of the data.

use super::wire::Data;
use super::{Session, TICK, block_on, io_error, poll_connection, remote_error};
use crate::error::{Error, Result, tame};
use crate::pg::board::Gauge;
use crate::pg::{copy, wait};
use futures_core::Stream as _;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio_postgres::CopyOutStream;

/// The COPY. Dropping it before its end leaves the session busy: abandon that.
pub struct CopyOut<'a> {
    session: &'a mut Session,
    responses: Pin<Box<CopyOutStream>>,
    bytes: u64,
    rows: Option<u64>,
    /// frames of COPYs before this one
    frames_before: u64,
    gauge: Gauge,
    /// rows that the gauge knows of
    rows_shown: u64,
}

impl Session {
    /// Sends `sql`, a COPY TO STDOUT, and returns when the server has begun it. What arrives shows on `gauge`, at the pace it sets.
    pub fn copy_out(&mut self, sql: &str, gauge: Gauge) -> Result<CopyOut<'_>> {
        self.busy = true;
        let frames_before = self.stream.frames();
        let what = format!("server \"{}\"", self.target.server);
        let responses = {
            let (client, connection) = (&self.client, &mut self.connection);
            let (stream, server) = (&self.stream, &self.target.server);
            let start = async {
                let statement = client.prepare(sql).await?;
                client.copy_out(&statement).await
            };
            block_on(
                self.fd,
                stream,
                None,
                |cx| poll_connection(connection, server, cx),
                start,
            )?
            .map_err(|e| remote_error(&e, &what))?
        };
        Ok(CopyOut {
            session: self,
            responses: Box::pin(responses),
            bytes: 0,
            rows: None,
            frames_before,
            gauge,
            rows_shown: 0,
        })
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
            .ok_or_else(|| Error::protocol("the source's COPY did not come to its end"))
    }

    /// Lets the crate look at a message that is not data. True when it was CopyDone.
    fn dispatch(&mut self) -> Result<bool> {
        let mut context = Context::from_waker(Waker::noop());
        let session = &mut *self.session;
        let lost = poll_connection(&mut session.connection, &session.target.server, &mut context);
        match self.responses.as_mut().poll_next(&mut context) {
            Poll::Ready(None) => Ok(true),
            Poll::Ready(Some(Err(error))) => {
                Err(remote_error(&error, &format!("server \"{}\"", session.target.server)))
            }
            Poll::Ready(Some(Ok(_))) => Err(Error::internal("copy data reached the crate")),
            Poll::Pending => lost.map(|()| false),
        }
    }

    /// After CopyDone: waits for CommandComplete and ReadyForQuery, or the error in their place.
    fn finish(&mut self) -> Result<()> {
        let session = &mut *self.session;
        let (stream, connection) = (&session.stream, &mut session.connection);
        let (server, responses) = (&session.target.server, &mut self.responses);
        block_on(
            session.fd,
            stream,
            None,
            |cx| poll_connection(connection, server, cx),
            std::future::poll_fn(|cx| {
                // The crate's stream takes CommandComplete for an unexpected message; only a server's error counts here.
                while let Poll::Ready(Some(response)) = responses.as_mut().poll_next(cx) {
                    match response {
                        Err(error) if error.as_db_error().is_some() => {
                            return Poll::Ready(Err(remote_error(&error, &format!("server \"{server}\""))));
                        }
                        Err(error) if error.is_closed() => break,
                        _ => {}
                    }
                }
                if stream.is_ready() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }),
        )??;
        let tag = stream.complete_tag().unwrap_or_default();
        let rows = tag.strip_prefix("COPY ").and_then(|count| count.parse().ok());
        self.rows = Some(rows.ok_or_else(|| {
            Error::protocol(format!(
                "the source ended its COPY with \"{}\" instead of a row count",
                tame(&tag)
            ))
        })?);
        session.busy = false;
        Ok(())
    }
}

impl copy::Source for CopyOut<'_> {
    fn read(&mut self, buffer: &mut [u8], min: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < min.max(1) && self.rows.is_none() {
            let what = "connection to the source was lost";
            match self.session.stream.take_copy_data(&mut buffer[filled..]) {
                Ok(Data::Bytes(n)) => filled += n,
                Ok(Data::Wait) if self.bytes == 0 && filled == 0 => {
                    // A COPY that ends or fails before its first row does so in one piece with its beginning: the crate has that already.
                    let received = self.session.stream.received();
                    if self.dispatch()? {
                        self.finish()?;
                    } else if self.session.stream.received() == received {
                        self.sleep();
                    }
                }
                Ok(Data::Wait) => self.sleep(),
                Ok(Data::Again) => wait::check_interrupts(),
                Ok(Data::Other) => {
                    if self.dispatch()? {
                        self.finish()?;
                    } else if !self.session.stream.has_copy_data() {
                        self.sleep();
                    }
                }
                Err(error) => {
                    // The source may have said why before it closed the connection.
                    if error.kind() == ErrorKind::UnexpectedEof {
                        self.dispatch()?;
                    }
                    return Err(io_error(&error, what));
                }
            }
        }
        self.bytes += filled as u64;
        let frames = self.session.stream.frames() - self.frames_before;
        // COPY's header and trailer may come as frames of their own.
        let rows = self.rows.unwrap_or(frames.saturating_sub(1)).max(self.rows_shown);
        self.gauge.add(rows - self.rows_shown, filled as u64);
        self.rows_shown = rows;
        self.gauge.throttle(filled);
        Ok(filled)
    }
}

impl CopyOut<'_> {
    fn sleep(&self) {
        wait::wait(Some(self.session.stream.to_wait_for(self.session.fd)), TICK);
    }
}
