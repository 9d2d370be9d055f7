//! Names of hosts become addresses. The system's resolver cannot be interrupted, nor told how long it may take, so it is asked in a thread, and this
//! process waits as it waits for everything else. The thread is the only one besides the server's own, and none of the server's business:
//!
//! - it has every signal blocked, so that no handler of the server's ever runs in it;
//! - it calls the system's resolver and nothing else: no function, no memory, no variable of the server's;
//! - it owns what it works with, so that whoever waits may leave, by an error too. It ends by itself when the resolver gives up, or with the process.

use super::wait;
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most threads of one process, those that nobody waits for any more included: a resolver that is dead takes its time for each.
const MOST: usize = 8;
/// Room for the C library and its modules; only what is used takes memory.
const STACK: usize = 1 << 20;

type Addresses = io::Result<Vec<SocketAddr>>;

/// A name that is being resolved.
struct Lookup {
    name: String,
    thread: JoinHandle<Addresses>,
    /// the other end goes when the thread is through
    end: UnixStream,
}

thread_local! {
    /// Those that are under way, or ended since this was last looked at.
    static LOOKUPS: RefCell<Vec<Lookup>> = const { RefCell::new(Vec::new()) };
}

/// The addresses of `host`, by `deadline`: an error of kind TimedOut says that it has passed. Interrupts are served meanwhile.
pub fn resolve(host: &str, port: u16, deadline: Instant) -> Addresses {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let fd = ask(host)?;
    loop {
        if let Some(answer) = answer(host) {
            let mut addresses = answer?;
            addresses.iter_mut().for_each(|address| address.set_port(port));
            return Ok(addresses);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let end = wait::Socket {
            fd,
            writable: false,
            has_input: false,
        };
        // Nothing is borrowed here: an interrupt leaves, and the lookup stays for the next one who asks.
        wait::wait(Some(end), left.min(Duration::from_secs(1)));
    }
}

/// Has the name resolved; gives what becomes readable when it is. One that is under way already is taken part in: a run that tries again and again,
/// and gives up sooner than the resolver, has one thread all the same.
fn ask(host: &str) -> io::Result<RawFd> {
    LOOKUPS.with_borrow_mut(|lookups| {
        // An answer that nobody has waited for may be of long ago.
        lookups.retain(|lookup| !lookup.is_over());
        if let Some(lookup) = lookups.iter().find(|lookup| lookup.name == host) {
            return Ok(lookup.end.as_raw_fd());
        }
        if lookups.len() >= MOST {
            return Err(io::Error::other(format!(
                "{MOST} other names are being resolved and have not been for a while"
            )));
        }
        let name = host.to_owned();
        let lookup = Lookup::start(host, move || Ok((name.as_str(), 0).to_socket_addrs()?.collect()))?;
        let fd = lookup.end.as_raw_fd();
        lookups.push(lookup);
        Ok(fd)
    })
}

fn answer(host: &str) -> Option<Addresses> {
    LOOKUPS.with_borrow_mut(|lookups| {
        let over = lookups
            .iter()
            .position(|lookup| lookup.name == host && lookup.is_over())?;
        Some(lookups.swap_remove(over).take())
    })
}

impl Lookup {
    fn start(name: &str, work: impl FnOnce() -> Addresses + Send + 'static) -> io::Result<Lookup> {
        let (end, other_end) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        let _blocked = Blocked::all()?;
        let thread = std::thread::Builder::new()
            .name("resolver".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                // It goes when the work is done, or has panicked.
                let _other_end = other_end;
                work()
            })?;
        Ok(Lookup {
            name: name.to_owned(),
            thread,
            end,
        })
    }

    fn is_over(&self) -> bool {
        matches!((&self.end).read(&mut [0]), Ok(0))
    }

    /// What came of it. The thread has nothing left to do but to end.
    fn take(self) -> Addresses {
        let panicked = |_| Err(io::Error::other("the resolver's thread has panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }
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

    fn until_over(lookup: &Lookup) {
        while !lookup.is_over() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_thread_has_all_signals_blocked_and_the_one_that_asks_has_not() {
        let before = blocked();
        let (tell, told) = channel();
        let (go, gone) = channel::<()>();
        let lookup = Lookup::start("name", move || {
            tell.send(blocked()).expect("somebody listens");
            let _ = gone.recv();
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
        });
        let lookup = lookup.expect("a thread");
        assert_eq!(blocked(), before);
        let inside = told.recv().expect("a mask");
        // Those that the server handles, and those that time or a pipe may send.
        let mask = u64::from_str_radix(inside.trim_start_matches("SigBlk:").trim(), 16).expect("a mask");
        for signal in [1, 2, 3, 10, 12, 13, 14, 15, 17, 23] {
            assert!(mask & (1 << (signal - 1)) != 0, "signal {signal} in {inside}");
        }
        assert!(!lookup.is_over());
        drop(go);
        until_over(&lookup);
        assert_eq!(lookup.take().expect("addresses").len(), 1);
    }

    #[test]
    fn a_panic_is_an_error() {
        let lookup = Lookup::start("name", || panic!("on purpose")).expect("a thread");
        until_over(&lookup);
        assert!(lookup.take().is_err_and(|error| error.to_string().contains("panicked")));
    }

    #[test]
    fn one_name_is_one_thread_and_names_are_few() {
        let (go, gone) = channel::<()>();
        let lookup = Lookup::start("slow.test", move || {
            let _ = gone.recv();
            Ok(Vec::new())
        });
        LOOKUPS.with_borrow_mut(|lookups| lookups.push(lookup.expect("a thread")));
        let first = ask("slow.test").expect("the one under way");
        assert_eq!(ask("slow.test").expect("the same"), first);
        assert!(answer("slow.test").is_none());
        for number in 1..MOST {
            let (go, gone) = channel::<()>();
            let lookup = Lookup::start(&number.to_string(), move || {
                let _ = gone.recv();
                Ok(Vec::new())
            });
            LOOKUPS.with_borrow_mut(|lookups| lookups.push(lookup.expect("a thread")));
            std::mem::forget(go);
        }
        assert!(ask("another.test").is_err());
        drop(go);
        LOOKUPS.with_borrow(|lookups| until_over(&lookups[0]));
        assert!(answer("slow.test").is_some_and(|addresses| addresses.is_ok()));
        assert_eq!(LOOKUPS.with_borrow(Vec::len), MOST - 1);
    }
}
