//! A network between target and source that fails on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

const OPEN: u8 = 0;
const FROZEN: u8 = 1;
const CUT: u8 = 2;

struct State {
    mode: AtomicU8,
    /// bytes sent from the source to the target so far
    passed: AtomicU64,
    /// cut when that many have passed
    limit: AtomicU64,
}

/// Forwards TCP connections to a port on this machine.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on a free port and forwards to `upstream`.
    pub fn start(upstream: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            mode: AtomicU8::new(OPEN),
            passed: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
                    continue;
                };
                for (from, to, counts) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let state = shared.clone();
                    std::thread::spawn(move || forward(from, to, &state, counts));
                }
            }
        });
        Proxy { port, state }
    }

    /// Connections stay open and nothing moves any more.
    pub fn freeze(&self) {
        self.state.mode.store(FROZEN, Ordering::SeqCst);
    }

    /// Closes every connection after `bytes` more from the source.
    pub fn cut_after(&self, bytes: u64) {
        let passed = self.state.passed.load(Ordering::SeqCst);
        self.state.limit.store(passed + bytes, Ordering::SeqCst);
    }

    /// Works again, for new connections.
    pub fn heal(&self) {
        self.state.limit.store(u64::MAX, Ordering::SeqCst);
        self.state.mode.store(OPEN, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, state: &State, counts: bool) {
    let mut buffer = [0; 16 * 1024];
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    loop {
        while state.mode.load(Ordering::SeqCst) == FROZEN {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        if state.mode.load(Ordering::SeqCst) == CUT {
            break;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if counts {
                    let passed = state.passed.fetch_add(n as u64, Ordering::SeqCst);
                    if passed > state.limit.load(Ordering::SeqCst) {
                        state.mode.store(CUT, Ordering::SeqCst);
                        break;
                    }
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
