//! A network between a client of ours and its server that fails on demand: all of it at once, or at a moment of the protocol, which it reads along.

use super::cluster::listener;
use socket2::{SockFilter, SockRef};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const OPEN: u8 = 0;
const FROZEN: u8 = 1;
const CUT: u8 = 2;
const DEAD: u8 = 3;

/// Length of a CommandComplete that says COMMIT, which no other one has that a run gets.
const COMMITTED: u32 = 4 + "COMMIT\0".len() as u32;

/// A slow line: this many bytes ...
const SLOW_PIECE: usize = 400;
/// ... in this time, 4 KB/s.
const SLOW_PAUSE: Duration = Duration::from_millis(100);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// closed, as when the peer's process ends
    Cut,
    /// refused in mid-air (RST), as when a firewall has forgotten the connection
    Reset,
    /// packets are lost and nobody says so
    Stall,
    /// 4 KB/s for this long
    Slow(Duration),
    /// the length field of the message becomes this
    Length(u32),
}

/// When: what the server is about to send, or its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// nothing yet: the connection has just been opened
    Connect,
    /// the first message of the authentication
    Startup,
    /// this row of those that are no COPY data, counted over all connections
    CatalogRow(u32),
    /// COPY data beyond this many bytes, counted over all connections
    CopyData(u64),
    /// CopyDone: every row has been sent
    CopyDone,
    /// the CommandComplete of a COPY
    CopyComplete,
    /// whatever comes after a COPY's ReadyForQuery
    Afterwards,
    /// more than this many bytes from the client, counted over all connections
    Written(u64),
    /// this CommandComplete of a COMMIT, counted over all connections
    Committed(u32),
}

/// One failure, which strikes once.
#[derive(Debug, Clone, Copy)]
pub struct Mishap {
    pub moment: Moment,
    pub damage: Damage,
    /// strikes every connection, new ones too, until `heal`. Cut and Stall only
    pub everywhere: bool,
}

#[derive(Default)]
struct Armed {
    mishap: Option<Mishap>,
    rows: u32,
    copied: u64,
    written: u64,
    commits: u32,
}

struct State {
    upstream: AtomicU16,
    mode: AtomicU8,
    /// bytes sent from the source to the target so far
    passed: AtomicU64,
    /// cut when that many have passed
    limit: AtomicU64,
    armed: Mutex<Armed>,
    /// the first bytes that each connection's client has sent
    openings: Mutex<Vec<Vec<u8>>>,
    /// counts the calls of `heal`, which end what has stalled
    healed: AtomicU64,
}

/// Forwards TCP connections to a port on this machine.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on a free port and forwards to `upstream`.
    pub fn start(upstream: u16) -> Proxy {
        let listener = listener();
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            upstream: AtomicU16::new(upstream),
            mode: AtomicU8::new(OPEN),
            passed: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            armed: Mutex::new(Armed::default()),
            openings: Mutex::default(),
            healed: AtomicU64::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let upstream = shared.upstream.load(Ordering::SeqCst);
                if let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) {
                    carry(client, server, shared.clone());
                }
            }
        });
        Proxy { port, state }
    }

    /// The first bytes, eight at most, that each connection's client has sent.
    pub fn openings(&self) -> Vec<Vec<u8>> {
        self.state.openings.lock().expect("a lock").clone()
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

    /// Fails once as told, counting from now.
    pub fn arm(&self, mishap: Mishap) {
        *self.state.armed.lock().expect("a lock") = Armed {
            mishap: Some(mishap),
            ..Armed::default()
        };
    }

    /// New connections go to another port.
    pub fn point_at(&self, upstream: u16) {
        self.state.upstream.store(upstream, Ordering::SeqCst);
    }

    /// Works again, for new connections; stalled ones end.
    pub fn heal(&self) {
        self.state.armed.lock().expect("a lock").mishap = None;
        self.state.limit.store(u64::MAX, Ordering::SeqCst);
        self.state.mode.store(OPEN, Ordering::SeqCst);
        self.state.healed.fetch_add(1, Ordering::SeqCst);
    }
}

/// One connection: what its two directions share.
struct Line {
    state: Arc<State>,
    sockets: [TcpStream; 2],
    closed: AtomicBool,
    stalled: AtomicBool,
    slow_until: Mutex<Option<Instant>>,
    /// `State::healed` when it was opened
    opened: u64,
}

/// Forwards one connection both ways until it ends.
fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
        let _ = socket.set_read_timeout(Some(Duration::from_millis(10)));
    }
    let opened = state.healed.load(Ordering::SeqCst);
    let line = Arc::new(Line {
        state,
        sockets: [client, server],
        closed: AtomicBool::new(false),
        stalled: AtomicBool::new(false),
        slow_until: Mutex::new(None),
        opened,
    });
    if let Some(mishap) = line.due(|_, moment| moment == Moment::Connect) {
        line.suffer(mishap);
    }
    for sender in [0, 1] {
        let line = line.clone();
        std::thread::spawn(move || line.forward(sender));
    }
}

impl Line {
    /// The mishap whose moment has come, taken; `comes` may count on the way.
    fn due(&self, comes: impl FnOnce(&mut Armed, Moment) -> bool) -> Option<Mishap> {
        let mut armed = self.state.armed.lock().expect("a lock");
        let mishap = armed.mishap?;
        if !comes(&mut armed, mishap.moment) {
            return None;
        }
        armed.mishap = None;
        Some(mishap)
    }

    fn suffer(&self, mishap: Mishap) {
        match mishap.damage {
            Damage::Cut if mishap.everywhere => self.state.mode.store(CUT, Ordering::SeqCst),
            Damage::Cut => self.closed.store(true, Ordering::SeqCst),
            Damage::Reset => self.reset(),
            Damage::Stall if mishap.everywhere => self.state.mode.store(DEAD, Ordering::SeqCst),
            Damage::Stall => self.stall(),
            Damage::Slow(time) => *self.slow_until.lock().expect("a lock") = Some(Instant::now() + time),
            Damage::Length(_) => {}
        }
    }

    /// Closing without lingering sends RST instead of FIN.
    fn reset(&self) {
        for socket in &self.sockets {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.closed.store(true, Ordering::SeqCst);
    }

    /// A program that stops reading is not a dead network: the kernel goes on answering keepalives. With a filter that drops every
    /// packet before TCP sees it, nobody answers any more.
    fn stall(&self) {
        const RETURN: u16 = 0x06;
        for socket in &self.sockets {
            let _ = SockRef::from(socket).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]);
        }
        self.stalled.store(true, Ordering::SeqCst);
    }

    /// Ends a stalled connection, as the keepalives of either side would in the end.
    fn give_up(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for socket in &self.sockets {
            let _ = SockRef::from(socket).detach_filter();
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Waits while nothing may move. False when the connection is over.
    fn may_go_on(&self) -> bool {
        loop {
            let mode = self.state.mode.load(Ordering::SeqCst);
            if mode == DEAD && !self.stalled.load(Ordering::SeqCst) {
                self.stall();
            }
            let stalled = self.stalled.load(Ordering::SeqCst);
            if stalled && self.state.healed.load(Ordering::SeqCst) != self.opened {
                self.give_up();
            }
            if mode == CUT || self.closed.load(Ordering::SeqCst) {
                return false;
            }
            if mode != FROZEN && !stalled {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// From `sockets[sender]` to the other; 1 is the source.
    fn forward(&self, sender: usize) {
        let (mut from, to) = (&self.sockets[sender], &self.sockets[1 - sender]);
        let mut buffer = [0; 16 * 1024];
        let mut reader = (sender == 1).then(Reader::default);
        let mut opening = sender == 0;
        while self.may_go_on() {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    if std::mem::take(&mut opening) {
                        let first = buffer[..n.min(8)].to_vec();
                        self.state.openings.lock().expect("a lock").push(first);
                    }
                    let went_on = match &mut reader {
                        Some(reader) => self.counts(n) && reader.pass(&mut buffer[..n], self),
                        None => self.may_write(n) && self.send(to, &buffer[..n]),
                    };
                    if !went_on {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        // The other direction's thread holds the same sockets: they close when it has noticed.
        if !self.closed.swap(true, Ordering::SeqCst) {
            for socket in &self.sockets {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Notes bytes from the client. False when the connection is over before they are sent.
    fn may_write(&self, n: usize) -> bool {
        let mishap = self.due(|armed, moment| {
            armed.written += n as u64;
            matches!(moment, Moment::Written(bytes) if armed.written > bytes)
        });
        if let Some(mishap) = mishap {
            self.suffer(mishap);
        }
        self.may_go_on()
    }

    /// Notes bytes from the source. False when they were too many.
    fn counts(&self, n: usize) -> bool {
        let passed = self.state.passed.fetch_add(n as u64, Ordering::SeqCst);
        let cut = passed > self.state.limit.load(Ordering::SeqCst);
        if cut {
            self.state.mode.store(CUT, Ordering::SeqCst);
        }
        !cut
    }

    /// Writes everything, as fast as the line is. False when that fails.
    fn send(&self, mut to: &TcpStream, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let slow = self
                .slow_until
                .lock()
                .expect("a lock")
                .is_some_and(|t| Instant::now() < t);
            let size = if slow { SLOW_PIECE } else { data.len() };
            let (piece, rest) = data.split_at(size.min(data.len()));
            if to.write_all(piece).is_err() {
                return false;
            }
            if slow {
                std::thread::park_timeout(SLOW_PAUSE);
            }
            data = rest;
        }
        true
    }
}

/// Reads what a source sends message by message: a tag, a length that counts itself, a body.
#[derive(Default)]
struct Reader {
    /// beginning of a header that has not arrived whole
    header: Vec<u8>,
    /// bytes of the current message still to come
    left: usize,
    /// a message has come by: the connection is past its beginning
    started: bool,
    /// CopyDone has come by, but not ReadyForQuery
    ending: bool,
    /// a COPY's ReadyForQuery has come by
    copied: bool,
    /// a length was falsified, or TLS begins: from then on there is nothing to be read
    lost: bool,
}

impl Reader {
    /// Passes on what has arrived, up to the moment of a mishap. False when the connection is over.
    fn pass(&mut self, mut data: &mut [u8], line: &Line) -> bool {
        let client = &line.sockets[0];
        let mut out = Vec::with_capacity(data.len() + 5);
        if !self.started && self.header.is_empty() && matches!(data.first(), Some(b'N' | b'S')) {
            // The answer to a request for TLS is one byte and no message.
            self.lost = data[0] == b'S';
            let (answer, rest) = data.split_at_mut(1);
            out.extend_from_slice(answer);
            data = rest;
        }
        while !data.is_empty() {
            let n = if self.lost {
                data.len()
            } else {
                self.left.min(data.len())
            };
            let (body, rest) = data.split_at_mut(n);
            out.extend_from_slice(body);
            self.left = self.left.saturating_sub(n);
            data = rest;
            if data.is_empty() {
                break;
            }
            let missing = (5 - self.header.len()).min(data.len());
            let (head, rest) = data.split_at_mut(missing);
            self.header.extend_from_slice(head);
            data = rest;
            let &[tag, a, b, c, d] = self.header.as_slice() else {
                break;
            };
            let length = u32::from_be_bytes([a, b, c, d]);
            if let Some(mishap) = self.at(tag, length, line) {
                if !line.send(client, &out) {
                    return false;
                }
                out.clear();
                line.suffer(mishap);
                if let Damage::Length(length) = mishap.damage {
                    self.header[1..].copy_from_slice(&length.to_be_bytes());
                    self.lost = true;
                }
                if !line.may_go_on() {
                    return false;
                }
            }
            self.left = (length as usize).saturating_sub(4);
            out.append(&mut self.header);
        }
        line.may_go_on() && line.send(client, &out)
    }

    /// Takes note of a message that is about to pass; the mishap if this is its moment.
    fn at(&mut self, tag: u8, length: u32, line: &Line) -> Option<Mishap> {
        let (first, ending, copied) = (!self.started, self.ending, self.copied);
        self.started = true;
        match tag {
            b'c' => self.ending = true,
            b'Z' => {
                self.copied |= ending;
                self.ending = false;
            }
            _ => {}
        }
        line.due(|armed, moment| match moment {
            Moment::Connect | Moment::Written(_) => false,
            Moment::Startup => first,
            Moment::CatalogRow(number) => {
                armed.rows += u32::from(tag == b'D');
                tag == b'D' && armed.rows > number
            }
            Moment::CopyData(bytes) => {
                armed.copied += if tag == b'd' { u64::from(length) } else { 0 };
                tag == b'd' && armed.copied > bytes
            }
            Moment::CopyDone => tag == b'c',
            Moment::CopyComplete => tag == b'C' && ending,
            Moment::Afterwards => copied,
            Moment::Committed(number) => {
                let is_commit = tag == b'C' && length == COMMITTED;
                armed.commits += u32::from(is_commit);
                is_commit && armed.commits > number
            }
        })
    }
}
