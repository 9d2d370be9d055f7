//! Statements whose answers are awaited together, on several sessions and beside other work. However the process ends, what is under way
//! over there is stopped.

use super::cancel::{CANCEL_TIMEOUT, Canceller};
use super::link::{Link, Messages};
use super::stream::Stream;
use crate::error::Result;
use crate::pg::exit;
use crate::row::Row;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

/// A statement under way.
pub struct Running {
    answer: Pin<Box<dyn Future<Output = Messages>>>,
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

impl Running {
    /// Begins `sql`; nothing is sent before the first `poll`.
    pub fn begin(link: &Link, sql: String) -> Running {
        let client = link.client.clone();
        Running {
            answer: Box::pin(async move { client.simple_query(&sql).await }),
            _listed: Listed::new(link.canceller(), link.stream.clone()),
        }
    }

    /// The rows, once they are there. None: wait for the socket.
    pub fn poll(&mut self, link: &mut Link) -> Result<Option<Result<Vec<Row>>>> {
        match link.step(self.answer.as_mut())? {
            Poll::Ready(answer) => Ok(Some(link.rows_of(answer))),
            Poll::Pending => Ok(None),
        }
    }
}
