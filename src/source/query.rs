//! Statements whose answers are awaited together, on several sessions and beside other work: `start`, then `poll` whenever the socket is
//! ready. However the process ends, what is under way on the source is stopped.

use super::wire::Stream;
use super::{CANCEL_TIMEOUT, Canceller, Session, TextRow, poll_connection, remote_error, rows_of, step};
use crate::error::{Error, Result};
use crate::pg::{exit, wait};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;
use tokio_postgres::SimpleQueryMessage;

type Answer = std::result::Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>;

/// A statement under way.
pub(super) struct Running {
    answer: Pin<Box<dyn Future<Output = Answer>>>,
    /// forgets the statement when it has ended, or when unwinding has passed by and somebody else has stopped it
    _listed: Listed,
}

thread_local! {
    /// How to stop each statement under way, for an exit that runs no destructor.
    static UNDER_WAY: RefCell<Vec<(u64, Canceller, Stream)>> = const { RefCell::new(Vec::new()) };
}

struct Listed(u64);

impl Listed {
    fn new(canceller: Canceller, stream: Stream) -> Self {
        exit::before_exit(stop_all);
        let number = UNDER_WAY.with_borrow_mut(|list| {
            let number = list.last().map_or(1, |(last, ..)| last + 1);
            list.push((number, canceller, stream));
            number
        });
        Listed(number)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        UNDER_WAY.with_borrow_mut(|list| list.retain(|(number, ..)| *number != self.0));
    }
}

/// The process ends: within one deadline for all, as a shutdown must not wait.
fn stop_all() {
    let deadline = Instant::now() + CANCEL_TIMEOUT;
    let under_way = UNDER_WAY.take().into_iter();
    let at_work = under_way.filter(|(.., stream)| stream.is_at_work());
    let to_cancel: Vec<Canceller> = at_work.map(|(_, canceller, _)| canceller).collect();
    Canceller::cancel_all(&to_cancel, deadline);
}

impl Session {
    /// Begins `sql`; nothing is sent before the first `poll`.
    pub fn start(&mut self, sql: String) {
        let client = self.client.clone();
        self.running = Some(Running {
            answer: Box::pin(async move { client.simple_query(&sql).await }),
            _listed: Listed::new(self.canceller(), self.stream.clone()),
        });
    }

    /// Begins `sql` in the transaction that [`super::dialect::begin`] has begun; [`untie`](Session::untie) tells whether it was answered there.
    pub fn start_in_transaction(&mut self, sql: &str) {
        self.start(self.tied(sql));
    }

    /// The rows of the statement begun last, once they are there. None: wait for the socket.
    pub fn poll(&mut self) -> Result<Option<Vec<TextRow>>> {
        let Some(running) = &mut self.running else {
            return Err(Error::internal("no statement is under way on the source"));
        };
        let (connection, server) = (&mut self.connection, &self.target.server);
        let mut background = |cx: &mut std::task::Context<'_>| poll_connection(connection, server, cx);
        let Poll::Ready(answer) = step(&mut background, running.answer.as_mut())? else {
            return Ok(None);
        };
        self.running = None;
        let messages = answer.map_err(|e| remote_error(&e, &format!("server \"{server}\"")))?;
        rows_of(messages).map(Some)
    }

    /// What to wait for before the next `poll`.
    pub fn socket(&self) -> wait::Socket {
        self.stream.to_wait_for(self.fd)
    }
}
