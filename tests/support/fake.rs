//! A source that lies: it relays to a real server, so that it can log anybody in and answer anything, and changes what that one says.

use super::cluster::listener;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

/// The statement that a lie is told about when it is none: the greeting, from the first byte to the first statement.
pub const GREETING: &str = "greeting";

/// A message's tag and body become these bytes; None: they stay.
type Change = dyn Fn(u8, &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// What is false about an answer.
#[derive(Clone)]
pub enum Lie {
    /// messages are others
    Change(Arc<Change>),
    /// in place of the first message of this tag, these bytes for ever
    Flood(u8, Vec<u8>),
    /// from the first message of this tag on, nothing
    Silence(u8),
    /// it ends at the first message of this tag
    Close(u8),
    /// it answers another question
    Ask(Arc<dyn Fn(&str) -> String + Send + Sync>),
}

#[derive(Default)]
struct State {
    lies: Vec<(String, Lie)>,
    /// what the client has sent, statement by statement
    heard: Vec<String>,
}

/// The lying source.
pub struct Fake {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

/// A message as the protocol frames it.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    framed(tag, body.len() as u32 + 4, body)
}

/// The same with any length.
pub fn framed(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A DataRow.
pub fn row(values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        let length = value.as_ref().map_or(-1, |value| value.len() as i32);
        body.extend(length.to_be_bytes());
        body.extend(value.iter().flatten());
    }
    message(b'D', &body)
}

/// The values of a DataRow's body.
pub fn values(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, after) = after.split_at(length.unwrap_or(0));
        values.push(length.map(|_| value.to_vec()));
        rest = after;
    }
    values
}

/// An ErrorResponse or NoticeResponse of these fields.
pub fn report(tag: u8, fields: &[(u8, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, text) in [(b'S', "ERROR")].iter().chain(fields) {
        body.push(*field);
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(tag, &body)
}

impl Lie {
    /// Messages of `tag` become what `change` makes of their body.
    pub fn change(tag: u8, change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Lie {
        Lie::Change(Arc::new(move |found, body| (found == tag).then(|| change(body))))
    }

    /// Rows become what `change` makes of them.
    pub fn rows(change: impl Fn(&mut Vec<Option<Vec<u8>>>) + Send + Sync + 'static) -> Lie {
        Lie::change(b'D', move |body| {
            let mut values = values(body);
            change(&mut values);
            row(&values)
        })
    }

    /// Column `at` of every row that has something there becomes `value`.
    pub fn value(at: usize, value: &[u8]) -> Lie {
        let value = value.to_vec();
        Lie::rows(move |values| {
            if values[at].is_some() {
                values[at] = Some(value.clone());
            }
        })
    }

    /// In place of a message of `tag`, these bytes.
    pub fn instead(tag: u8, bytes: Vec<u8>) -> Lie {
        Lie::change(tag, move |_| bytes.clone())
    }

    /// What is asked has `from` replaced by `to`.
    pub fn ask(from: &'static str, to: &'static str) -> Lie {
        Lie::Ask(Arc::new(move |sql| sql.replace(from, to)))
    }
}

impl Fake {
    /// Listens on a free port and relays to `upstream`, honestly as yet.
    pub fn start(upstream: u16) -> Fake {
        let listener = listener();
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || relay(client, upstream, &state));
            }
        });
        Fake { port, state }
    }

    /// From here on tells these lies, each about statements that contain its text.
    pub fn tell(&self, lies: Vec<(&str, Lie)>) {
        let mut state = self.state.lock().expect("a lock");
        state.lies = lies.into_iter().map(|(when, lie)| (when.to_owned(), lie)).collect();
        state.heard.clear();
    }

    /// The statements since then.
    pub fn heard(&self) -> Vec<String> {
        self.state.lock().expect("a lock").heard.clone()
    }
}

/// Reads a message. None at the end.
pub fn read(from: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    from.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut body = vec![0; length - 4];
    from.read_exact(&mut body).ok()?;
    Some((header[0], body))
}

/// Reads the first packet, which has no tag: a startup, or a cancel request. An offer of TLS is declined. Gives its length, as sent, and the rest.
pub fn read_startup(client: &mut TcpStream) -> Option<([u8; 4], Vec<u8>)> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length).ok()?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut packet).ok()?;
        if packet == 80_877_103u32.to_be_bytes() {
            client.write_all(b"N").ok()?;
            continue;
        }
        return Some((length, packet));
    }
}

fn relay(mut client: TcpStream, upstream: u16, state: &Arc<Mutex<State>>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)) else {
        return;
    };
    for socket in [&client, &server] {
        // What is passed on in pieces must not wait for the other side's word.
        socket.set_nodelay(true).expect("a socket's option");
    }
    let startup = read_startup(&mut client);
    let passed = startup.and_then(|(length, packet)| server.write_all(&[&length[..], &packet].concat()).ok());
    if passed.is_none() {
        return;
    }
    let now = Arc::new(Mutex::new(GREETING.to_owned()));
    let (to_client, from_server) = (client.try_clone(), server.try_clone());
    let (asked, shared) = (now.clone(), state.clone());
    std::thread::spawn(move || {
        let (mut client, mut server) = (to_client.expect("a socket"), from_server.expect("a socket"));
        let _ = answer(&mut client, &mut server, &asked, &shared);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    while let Some((tag, mut body)) = read(&mut client) {
        // Query, and Parse with its statement's empty name.
        let at = match tag {
            b'Q' => Some(0),
            b'P' => body.iter().position(|byte| *byte == 0).map(|at| at + 1),
            _ => None,
        };
        if let Some(at) = at {
            let end = at + body[at..].iter().position(|byte| *byte == 0).unwrap_or(0);
            let sql = String::from_utf8_lossy(&body[at..end]).into_owned();
            let mut state = state.lock().expect("a lock");
            state.heard.push(sql.clone());
            for (_, lie) in state.lies.iter().filter(|(when, _)| sql.contains(when)) {
                if let Lie::Ask(other) = lie {
                    body.splice(at..end, other(&sql).into_bytes());
                }
            }
            *now.lock().expect("a lock") = sql;
        }
        if server.write_all(&message(tag, &body)).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Sends the server's messages on, with the lies that are told about what was asked. Ends when either side does.
fn answer(client: &mut TcpStream, server: &mut TcpStream, asked: &Mutex<String>, state: &Mutex<State>) -> Option<()> {
    loop {
        let (tag, body) = read(server)?;
        let sql = asked.lock().expect("a lock").clone();
        let lies: Vec<Lie> = {
            let state = state.lock().expect("a lock");
            let told = state.lies.iter().filter(|(when, _)| sql.contains(when));
            told.map(|(_, lie)| lie.clone()).collect()
        };
        let mut bytes = message(tag, &body);
        for lie in lies {
            match lie {
                Lie::Change(change) => bytes = change(tag, &body).unwrap_or(bytes),
                Lie::Flood(at, piece) if at == tag => {
                    let many = piece.repeat((64 * 1024 / piece.len()).max(1));
                    loop {
                        client.write_all(&many).ok()?;
                    }
                }
                Lie::Silence(at) if at == tag => {
                    // Until the client leaves.
                    while read(server).is_some() {}
                    return None;
                }
                Lie::Close(at) if at == tag => return None,
                _ => {}
            }
        }
        client.write_all(&bytes).ok()?;
    }
}
