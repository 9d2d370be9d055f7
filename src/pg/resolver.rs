//! Names of hosts become addresses. The system's resolver cannot be interrupted, nor told how long it may take, so it is asked in a thread of its
//! own ([`super::aside`]).

use super::aside::{Aside, wait_for};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::time::Instant;

/// Most threads of one process, those that nobody waits for any more included: a resolver that is dead takes its time for each.
const MOST: usize = 8;

type Addresses = io::Result<Vec<SocketAddr>>;

/// A name that is being resolved.
struct Lookup {
    name: String,
    thread: Aside<Addresses>,
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
        // Nothing is borrowed here: an interrupt leaves, and the lookup stays for the next one who asks.
        wait_for(fd, deadline)?;
    }
}

/// Has the name resolved; gives what becomes readable when it is. One that is under way already is taken part in: a run that tries again and again,
/// and gives up sooner than the resolver, has one thread all the same.
fn ask(host: &str) -> io::Result<RawFd> {
    LOOKUPS.with_borrow_mut(|lookups| {
        // An answer that nobody has waited for may be of long ago.
        lookups.retain(|lookup| !lookup.thread.is_over());
        if let Some(lookup) = lookups.iter().find(|lookup| lookup.name == host) {
            return Ok(lookup.thread.fd());
        }
        if lookups.len() >= MOST {
            return Err(io::Error::other(format!(
                "{MOST} other names are being resolved and have not been for a while"
            )));
        }
        let name = host.to_owned();
        let lookup = Lookup::start(host, move || Ok((name.as_str(), 0).to_socket_addrs()?.collect()))?;
        let fd = lookup.thread.fd();
        lookups.push(lookup);
        Ok(fd)
    })
}

fn answer(host: &str) -> Option<Addresses> {
    LOOKUPS.with_borrow_mut(|lookups| {
        let over = lookups
            .iter()
            .position(|lookup| lookup.name == host && lookup.thread.is_over())?;
        Some(lookups.swap_remove(over).thread.take().and_then(|addresses| addresses))
    })
}

impl Lookup {
    fn start(name: &str, work: impl FnOnce() -> Addresses + Send + 'static) -> io::Result<Lookup> {
        Ok(Lookup {
            name: name.to_owned(),
            thread: Aside::start("resolver", work)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

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
        LOOKUPS.with_borrow(|lookups| {
            while !lookups[0].thread.is_over() {
                std::thread::yield_now();
            }
        });
        assert!(answer("slow.test").is_some_and(|addresses| addresses.is_ok()));
        assert_eq!(LOOKUPS.with_borrow(Vec::len), MOST - 1);
    }
}
