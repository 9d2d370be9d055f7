//! A connection that has been logged in.

use super::cancel::Canceller;
use super::endpoint::Endpoint;
use super::errors::remote_error;
use super::polling::block_on;
use super::stream::Stream;
use super::tls::Connector;
use super::waiting::{Waiting, is_prompt};
use crate::error::{Error, Result, sqlstate, tame};
use crate::pg::wait;
use crate::row::Row;
use socket2::SockAddr;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};

/// Both kinds of stream are ours: what is under the frame reader is settled before the crate comes in.
pub type Connection = tokio_postgres::Connection<Stream, Stream>;

/// What the crate gives of an answer.
pub type Messages = std::result::Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

/// The connection.
pub struct Link {
    /// shared with the statement under way only
    pub client: Rc<Client>,
    /// the other half of the client
    pub connection: Pin<Box<Connection>>,
    /// what is under both
    pub stream: Stream,
    /// the stream's descriptor
    pub fd: RawFd,
    /// where it is connected, for the cancel request: resolving the name again could take longer than cancelling may
    pub address: SockAddr,
    /// how it is encrypted; None: it is not
    pub connector: Option<Connector>,
    /// whose it is
    pub endpoint: Endpoint,
    /// what the caller should know of the connection
    pub warning: Option<String>,
    /// it may have a queue for statements, as far as is known
    pub may_queue: bool,
    /// it speaks for many servers: what ends a session of theirs may pass, as if it were this one
    pub has_segments: bool,
}

impl Link {
    /// A setting that the server reports by itself.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.connection.parameter(name)
    }

    /// Sends `sql` and waits for the answer, until `deadline` at most.
    pub fn ask(&mut self, sql: &str, deadline: Option<Instant>) -> Result<Vec<Row>> {
        let (connection, endpoint) = (&mut self.connection, &self.endpoint);
        let answer = block_on(
            self.fd,
            &self.stream,
            deadline,
            |cx| move_messages(connection, endpoint, cx),
            &mut Waiting::new(Some(&*endpoint.server).filter(|_| self.may_queue && is_prompt(sql))),
            self.client.simple_query(sql),
        )?;
        self.rows_of(answer)
    }

    /// The rows of an answer. Text is what it says it is, UTF8, and has no zero byte, as no text of a server has.
    pub fn rows_of(&self, answer: Messages) -> Result<Vec<Row>> {
        let Endpoint { side, server, .. } = &self.endpoint;
        let messages = answer.map_err(|e| {
            let error = remote_error(&e, *side, &format!("server \"{server}\""));
            let is_final = error.is_final && !self.has_segments;
            let error = Error { is_final, ..error };
            match self.has_segments && error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE {
                true if error.detail.is_none() => {
                    error.detail("It may have waited for a place in a resource queue or group, too.")
                }
                _ => error,
            }
        })?;
        let mut rows = Vec::new();
        for message in messages {
            let SimpleQueryMessage::Row(row) = message else {
                continue;
            };
            let mut values = Vec::with_capacity(row.len());
            for at in 0..row.len() {
                match row.try_get(at) {
                    Ok(value) if value.is_none_or(|text| !text.contains('\0')) => values.push(value.map(str::to_owned)),
                    _ => {
                        let text = format!("the {} sent a value that is not text in UTF8", side.noun());
                        return Err(Error::protocol(text));
                    }
                }
            }
            rows.push(Row::from(values));
        }
        Ok(rows)
    }

    /// Polls `future` as far as it goes without waiting.
    pub fn step<F: Future + ?Sized>(&mut self, future: Pin<&mut F>) -> Result<Poll<F::Output>> {
        let (connection, endpoint) = (&mut self.connection, &self.endpoint);
        super::polling::step(
            &mut |cx: &mut Context<'_>| move_messages(connection, endpoint, cx),
            future,
        )
    }

    /// Moves what there is to move. An error if the connection is known to be lost. Takes no time.
    pub fn check_alive(&mut self) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        move_messages(&mut self.connection, &self.endpoint, &mut context)
    }

    /// With its client gone the connection sends Terminate.
    pub fn say_goodbye(self) -> Result<()> {
        let Link {
            client,
            mut connection,
            endpoint,
            ..
        } = self;
        drop(client);
        move_messages(&mut connection, &endpoint, &mut Context::from_waker(Waker::noop()))
    }

    /// What stops the statement that is under way.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            token: self.client.cancel_token(),
            address: self.address.clone(),
            connector: self.connector.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// What to wait for.
    pub fn socket(&self) -> wait::Socket {
        self.stream.to_wait_for(self.fd)
    }
}

/// Moves messages between the crate and the wire. Notices of the server go to the log at DEBUG1, never to the caller.
fn move_messages(connection: &mut Pin<Box<Connection>>, endpoint: &Endpoint, context: &mut Context<'_>) -> Result<()> {
    let server = &endpoint.server;
    let lost = || format!("connection to server \"{server}\" was lost");
    loop {
        wait::check_interrupts();
        match connection.poll_message(context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                pgrx::debug1!("server \"{server}\": {}", tame(notice.message()));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => return Err(remote_error(&error, endpoint.side, &lost())),
            Poll::Ready(None) => return Err(Error::new(sqlstate::CONNECTION_FAILURE, lost())),
        }
    }
}
