//! Work that cannot be interrupted, in a thread beside this one, which waits for it as it waits for everything else. Such a thread is the only one
//! besides the server's own, and none of the server's business:
//!
//! - it has every signal blocked, so that no handler of the server's ever runs in it;
//! - it calls the system or OpenSSL and nothing else: no function, no memory, no variable of the server's;
//! - it owns what it works with, so that whoever waits may leave, by an error too. It ends by itself, or with the process.

use super::wait;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most threads of one process, those that nobody waits for any more included.
const MOST: usize = 16;
/// Room for the C library and its modules; only what is used takes memory.
const STACK: usize = 1 << 20;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts the thread for as long as it lives.
struct Alive;

impl Alive {
    fn new() -> io::Result<Alive> {
        // Only this thread adds.
        match ALIVE.load(Ordering::Relaxed) {
            MOST.. => Err(io::Error::other("too much is under way already that does not end")),
            _ => {
                ALIVE.fetch_add(1, Ordering::Relaxed);
                Ok(Alive)
            }
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Work under way.
pub struct Aside<T> {
    thread: JoinHandle<T>,
    /// the other end goes when the thread is through
    end: UnixStream,
}

impl<T> Aside<T> {
    /// Begins `work`.
    pub fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Aside<T>>
    where
        T: Send + 'static,
    {
        let alive = Alive::new()?;
        let (end, other_end) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        let _blocked = Blocked::all()?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                // They go when the work is done, or has panicked.
                let (_other_end, _alive) = (other_end, alive);
                work()
            })?;
        Ok(Aside { thread, end })
    }

    /// What becomes readable when the work is done.
    pub fn fd(&self) -> RawFd {
        self.end.as_raw_fd()
    }

    /// True when it is done.
    pub fn is_over(&self) -> bool {
        matches!((&self.end).read(&mut [0]), Ok(0))
    }

    /// What came of it, once it is over: the thread has nothing left to do but to end.
    pub fn take(self) -> io::Result<T> {
        let panicked = |_| io::Error::other("the thread has panicked");
        self.thread.join().map_err(panicked)
    }

    /// The same by `deadline`: an error of kind TimedOut says that it has passed. Interrupts are served meanwhile.
    pub fn wait(self, deadline: Instant) -> io::Result<T> {
        while !self.is_over() {
            wait_for(self.fd(), deadline)?;
        }
        self.take()
    }
}

/// Waits until `fd` is readable, a second at most, so that the caller looks again. TimedOut after the deadline; an interrupt leaves.
pub fn wait_for(fd: RawFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    let end = wait::Socket {
        fd,
        writable: false,
        has_input: false,
    };
    wait::wait(Some(end), left.min(Duration::from_secs(1)));
    Ok(())
}

/// All signals are blocked in this thread while this lives, and in a thread that is made meanwhile for good. What comes for the process waits.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn all() -> io::Result<Self> {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: sigfillset fills `all`, and pthread_sigmask `before` where it succeeds, which is then read. The mask is this thread's alone.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Blocked {
                    before: before.assume_init(),
                }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: it is the mask that was in force before, in the same thread: nobody sends the guard anywhere.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Which signals this thread has blocked, as the system tells it.
    fn blocked() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("a status");
        let line = status.lines().find(|line| line.starts_with("SigBlk:"));
        line.expect("a mask").to_owned()
    }

    fn until_over<T>(thread: &Aside<T>) {
        while !thread.is_over() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_thread_has_all_signals_blocked_and_the_one_that_asks_has_not() {
        let before = blocked();
        let (tell, told) = channel();
        let (go, gone) = channel::<()>();
        let thread = Aside::start("name", move || {
            tell.send(blocked()).expect("somebody listens");
            let _ = gone.recv();
            7
        });
        let thread = thread.expect("a thread");
        assert_eq!(blocked(), before);
        let inside = told.recv().expect("a mask");
        // Those that the server handles, and those that time or a pipe may send.
        let mask = u64::from_str_radix(inside.trim_start_matches("SigBlk:").trim(), 16).expect("a mask");
        for signal in [1, 2, 3, 10, 12, 13, 14, 15, 17, 23] {
            assert!(mask & (1 << (signal - 1)) != 0, "signal {signal} in {inside}");
        }
        assert!(!thread.is_over());
        drop(go);
        until_over(&thread);
        assert_eq!(thread.take().expect("its result"), 7);
    }

    #[test]
    fn a_panic_is_an_error() {
        let thread = Aside::start("name", || -> u8 { panic!("on purpose") }).expect("a thread");
        until_over(&thread);
        assert!(thread.take().is_err_and(|error| error.to_string().contains("panicked")));
    }
}
