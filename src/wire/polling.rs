//! Futures without a runtime: polled between two waits on the server's latch.

use super::stream::Stream;
use super::waiting::Waiting;
use crate::error::{Error, Result, sqlstate};
use crate::pg::wait;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Longest sleep between two looks at anything that is not announced by latch or socket.
pub const TICK: Duration = Duration::from_secs(1);

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future`, and `background` beside it, until the future is done or nothing moves any more.
pub fn step<F: Future + ?Sized>(
    background: &mut impl FnMut(&mut Context<'_>) -> Result<()>,
    mut future: Pin<&mut F>,
) -> Result<Poll<F::Output>> {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(Poll::Ready(value));
        }
        if let Err(error) = background(&mut context) {
            // A last message (FATAL: terminating connection …) may have reached the future before the end did.
            return match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => Ok(Poll::Ready(value)),
                Poll::Pending => Err(error),
            };
        }
        if !woken.0.load(Ordering::Relaxed) {
            return Ok(Poll::Pending);
        }
        // A server that sends without a pause must not keep a cancel waiting.
        wait::check_interrupts();
    }
}

/// Steps until the future is done; sleeps on socket and latch in between.
pub fn block_on<F: Future>(
    fd: RawFd,
    stream: &Stream,
    deadline: Option<Instant>,
    mut background: impl FnMut(&mut Context<'_>) -> Result<()>,
    waiting: &mut Waiting<'_>,
    future: F,
) -> Result<F::Output> {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = step(&mut background, future.as_mut())? {
            return Ok(value);
        }
        waiting.look();
        let left = deadline.map_or(TICK, |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Error::new(sqlstate::CANNOT_CONNECT, "timeout expired"));
        }
        wait::wait(Some(stream.to_wait_for(fd)), left.min(TICK));
    }
}
