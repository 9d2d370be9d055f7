//! A server of ours that plays openGauss on the wire: its logins, its PARTITION, its COPY without an end. Its catalogs are those of
//! `fixture::opengauss`.
//!
//! What it computes is what that server does (crypt.cpp, crypt_verify), which knows what it has stored of a password and tests answers by that; the
//! extension computes answers. The messages' layout is that of auth.cpp, sendAuthRequest.

use super::Pair;
use super::cluster::{Cluster, listener};
use super::fake::message;
use super::fixture;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use std::collections::HashMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What it asks for, as pg_hba.conf and how the role's password is stored make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// nothing
    Trust,
    /// code 10
    Sha256,
    /// code 10, and 5 of clients that know no protocol of its own
    Combined,
    /// code 5
    Md5,
    /// code 11: md5, of a password that is stored for sha256
    Md5OfSha256,
    /// code 13
    Sm3,
}

/// What is stored of a password.
pub struct Stored {
    random: String,
    iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    digest: MessageDigest,
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a signer");
    signer.sign_oneshot_to_vec(data).expect("a signature")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn md5(data: &[u8]) -> String {
    hex(&hash(MessageDigest::md5(), data).expect("a digest"))
}

/// The number of iterations as it is stored: each digit, the lowest first, is added to a letter (user.cpp).
fn letters(iterations: u32) -> String {
    let mut left = iterations;
    let letter = |base: u8| {
        let digit = left % 10;
        left /= 10;
        char::from(base + digit as u8)
    };
    b"ecdfdcefade".iter().copied().map(letter).collect()
}

impl Stored {
    pub fn new(password: &str, random: &str, iterations: u32, is_sm3: bool) -> Stored {
        let salt = unhex(random).expect("digits");
        let mut key = [0; 32];
        let sha1 = MessageDigest::sha1();
        pbkdf2_hmac(password.as_bytes(), &salt, iterations as usize, sha1, &mut key).expect("a key");
        let (digest, word) = match is_sm3 {
            true => (MessageDigest::from_name("SM3").expect("SM3"), "Server Key"),
            false => (MessageDigest::sha256(), "Sever Key"),
        };
        Stored {
            random: random.to_owned(),
            iterations,
            stored_key: hash(digest, &hmac(&key, b"Client Key")).expect("a digest").to_vec(),
            server_key: hmac(&key, word.as_bytes()),
            digest,
        }
    }

    /// What a client of 3.0 is told with the challenge.
    pub fn signature(&self, token: &[u8]) -> String {
        hex(&hmac(&self.server_key, token))
    }

    /// Whether this is the answer to code 10 or 13.
    pub fn is_proven(&self, token: &[u8], answer: &str) -> bool {
        let Some(answer) = unhex(answer).filter(|answer| answer.len() == 32) else {
            return false;
        };
        let signature = hmac(&self.stored_key, token);
        let client_key: Vec<u8> = answer.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        hash(self.digest, &client_key).expect("a digest").to_vec() == self.stored_key
    }

    /// The answer to code 11.
    pub fn md5(&self, salt: &[u8]) -> String {
        let (server, stored, iterations) = (hex(&self.server_key), hex(&self.stored_key), letters(self.iterations));
        let text = format!("{}{server}{stored}{iterations}", self.random);
        format!("md5{}", md5(&[text.as_bytes(), salt].concat()))
    }
}

/// The answer to code 5.
pub fn plain_md5(user: &str, password: &str, salt: &[u8]) -> String {
    let inner = md5(&[password.as_bytes(), user.as_bytes()].concat());
    format!("md5{}", md5(&[inner.as_bytes(), salt].concat()))
}

type Action = Box<dyn FnOnce() + Send>;

struct State {
    asks: Asks,
    passwords: HashMap<String, String>,
    iterations: u32,
    /// protocols that were asked for, a connection each
    protocols: Vec<String>,
    heard: Vec<String>,
    /// what happens once, before a statement with this text is passed on
    before: Option<(String, Action)>,
}

/// The played server.
#[derive(Clone)]
pub struct Gauss {
    pub port: u16,
    upstream: PathBuf,
    state: Arc<Mutex<State>>,
}

/// A pair whose source plays openGauss, with the tables of the fixture: server `src` is where it listens.
pub fn pair() -> (Pair, Gauss) {
    let pair = Pair::new();
    fixture::opengauss(&pair.source);
    let gauss = Gauss::start(&pair.source);
    pair.target
        .sql(&format!("ALTER SERVER src OPTIONS (SET port '{}')", gauss.port));
    (pair, gauss)
}

impl Gauss {
    /// Listens on a free port, before `cluster`. It asks for sha256; role postgres has the password of [`Pair`]'s mapping.
    pub fn start(cluster: &Cluster) -> Gauss {
        let listener = listener();
        let state = State {
            asks: Asks::Sha256,
            passwords: HashMap::from([("postgres".to_owned(), "secret".to_owned())]),
            iterations: 10_000,
            protocols: Vec::new(),
            heard: Vec::new(),
            before: None,
        };
        let gauss = Gauss {
            port: listener.local_addr().expect("an address").port(),
            upstream: cluster.dir.join(format!(".s.PGSQL.{}", cluster.port)),
            state: Arc::new(Mutex::new(state)),
        };
        let shared = gauss.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let gauss = shared.clone();
                std::thread::spawn(move || gauss.serve(client));
            }
        });
        gauss
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("a lock"))
    }

    /// From here on asks so, and forgets what it was asked.
    pub fn ask(&self, asks: Asks, iterations: u32) {
        self.with(|state| {
            (state.asks, state.iterations) = (asks, iterations);
            state.protocols.clear();
            state.heard.clear();
        });
    }

    pub fn set_password(&self, user: &str, password: &str) {
        self.with(|state| state.passwords.insert(user.to_owned(), password.to_owned()));
    }

    /// How many connections have asked for this protocol since [`ask`](Self::ask).
    pub fn connections(&self, protocol: &str) -> usize {
        self.with(|state| state.protocols.iter().filter(|asked| *asked == protocol).count())
    }

    /// The statements since then, as they were sent.
    pub fn heard(&self) -> Vec<String> {
        self.with(|state| state.heard.clone())
    }

    /// Once, before a statement with `text` is passed on, `action` is taken.
    pub fn before(&self, text: &str, action: impl FnOnce() + Send + 'static) {
        self.with(|state| state.before = Some((text.to_owned(), Box::new(action))));
    }

    /// Ends when either side does.
    fn serve(&self, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        let Some(mut server) = self.greet(&mut client) else {
            return;
        };
        let (to_client, from_server) = (client.try_clone(), server.try_clone());
        std::thread::spawn(move || {
            let (client, server) = (to_client.expect("a socket"), from_server.expect("a socket"));
            let _ = answer(&client, &server);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
        while let Some((tag, body)) = read(&mut client) {
            let body = self.hear(tag, body);
            if server.write_all(&message(tag, &body)).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    /// From the first packet to the login; gives a session that PostgreSQL has begun for it. None where there is none.
    fn greet(&self, client: &mut TcpStream) -> Option<UnixStream> {
        let packet = loop {
            let mut length = [0; 4];
            client.read_exact(&mut length).ok()?;
            let mut packet = vec![0; u32::from_be_bytes(length).checked_sub(4)? as usize];
            client.read_exact(&mut packet).ok()?;
            match number(&packet)? {
                80_877_103 => client.write_all(b"N").ok()?,
                80_877_102 => {
                    let mut server = UnixStream::connect(&self.upstream).ok()?;
                    server.write_all(&[&length[..], &packet].concat()).ok()?;
                    // Until it was taken.
                    let _ = server.read(&mut [0]);
                    return None;
                }
                _ => break packet,
            }
        };
        let (major, minor) = (number(&packet)? >> 16, number(&packet)? & 0xffff);
        let protocol = format!("{major}.{minor}");
        self.with(|state| state.protocols.push(protocol.clone()));
        if !matches!((major, minor), (3, 0 | 50 | 51)) {
            let text = format!("unsupported frontend protocol {protocol}.");
            client.write_all(&fatal("0A000", &text)).ok()?;
            return None;
        }
        let mut texts = packet[4..].split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut user = String::new();
        while let Some(name) = texts.next().filter(|name| !name.is_empty()) {
            let value = texts.next()?;
            if name == "user" {
                user = value.into_owned();
            }
        }
        if !self.log_in(client, &user, minor)? {
            let text = "Invalid username/password,login denied.";
            client.write_all(&fatal("28P01", text)).ok()?;
            return None;
        }
        let mut server = UnixStream::connect(&self.upstream).ok()?;
        let length = (packet.len() as u32 + 4).to_be_bytes();
        let startup = [&length[..], &(3u32 << 16).to_be_bytes(), &packet[4..]].concat();
        server.write_all(&startup).ok()?;
        Some(server)
    }

    /// Whether the client knows the user's password. None if it leaves.
    fn log_in(&self, client: &mut TcpStream, user: &str, minor: u32) -> Option<bool> {
        const RANDOM: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let (asks, iterations, password) =
            self.with(|state| (state.asks, state.iterations, state.passwords.get(user).cloned()));
        let asks = match asks {
            Asks::Combined if minor < 50 => Asks::Md5,
            Asks::Combined => Asks::Sha256,
            other => other,
        };
        // Of somebody unknown, as of somebody else.
        let password = password.unwrap_or_else(|| "nobody's".to_owned());
        let token = (client.peer_addr().ok()?.port() as u32 * 65_537).to_be_bytes();
        // Who is told more has to refuse it.
        let stored = Stored::new(&password, RANDOM, iterations.clamp(1, 100_000), asks == Asks::Sm3);
        let request = |code: u32, rest: &[&[u8]]| message(b'R', &[&code.to_be_bytes()[..], &rest.concat()].concat());
        let challenge = |code: u32, method: u32| {
            let (method, token) = (method.to_be_bytes(), hex(&token));
            let more = match minor {
                51 => iterations.to_be_bytes().to_vec(),
                50 => Vec::new(),
                _ => stored.signature(&unhex(&token).expect("digits")).into_bytes(),
            };
            request(code, &[&method, RANDOM.as_bytes(), token.as_bytes(), &more])
        };
        let request = match asks {
            Asks::Trust => return Some(true),
            Asks::Sha256 | Asks::Combined => challenge(10, 2),
            Asks::Sm3 => challenge(13, 3),
            Asks::Md5 => request(5, &[&token]),
            Asks::Md5OfSha256 => request(11, &[RANDOM.as_bytes(), &token]),
        };
        client.write_all(&request).ok()?;
        let (tag, mut answer) = read(client)?;
        if tag != b'p' || answer.pop() != Some(0) {
            return Some(false);
        }
        let answer = String::from_utf8(answer).ok()?;
        Some(match asks {
            Asks::Md5 => answer == plain_md5(user, &password, &token),
            Asks::Md5OfSha256 => answer == stored.md5(&token),
            _ => stored.is_proven(&token, &answer),
        })
    }

    /// What a message of the client is to PostgreSQL.
    fn hear(&self, tag: u8, mut body: Vec<u8>) -> Vec<u8> {
        // Query, and Parse with its statement's name.
        let at = match tag {
            b'Q' => Some(0),
            b'P' => body.iter().position(|byte| *byte == 0).map(|at| at + 1),
            _ => None,
        };
        let Some(at) = at else { return body };
        let end = at + body[at..].iter().position(|byte| *byte == 0).unwrap_or(0);
        let sql = String::from_utf8_lossy(&body[at..end]).into_owned();
        let action = self.with(|state| {
            state.heard.push(sql.clone());
            state.before.take_if(|(text, _)| sql.contains(text.as_str()))
        });
        if let Some((_, action)) = action {
            action();
        }
        body.splice(at..end, without_partitions(&sql).into_bytes());
        body
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// Reads a message. None at the end.
fn read(from: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    from.read_exact(&mut header).ok()?;
    let mut body = vec![0; number(&header[1..])?.checked_sub(4)? as usize];
    from.read_exact(&mut body).ok()?;
    Some((header[0], body))
}

fn fatal(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

/// Sends PostgreSQL's messages on: its version as openGauss tells it, and a binary COPY with a header by itself and without an end.
fn answer(client: &TcpStream, server: &UnixStream) -> Option<()> {
    let mut server = BufReader::new(server);
    let mut client = BufWriter::new(client);
    let mut is_binary = false;
    loop {
        let (tag, mut body) = read(&mut server)?;
        let mut is_told = true;
        match tag {
            b'S' if body.starts_with(b"server_version\0") => body = b"server_version\09.2.4\0".to_vec(),
            b'S' if body.starts_with(b"in_hot_standby\0") => is_told = false,
            b'H' => is_binary = body.first() == Some(&1),
            b'd' if is_binary => {
                const HEADER: usize = 19;
                if body.starts_with(b"PGCOPY\n\xff\r\n\0") {
                    let rest = body.split_off(HEADER);
                    client.write_all(&message(b'd', &body)).ok()?;
                    body = rest;
                }
                is_told = body != (-1i16).to_be_bytes() && !body.is_empty();
            }
            _ => {}
        }
        if is_told {
            client.write_all(&message(tag, &body)).ok()?;
        }
        if server.buffer().is_empty() {
            client.flush().ok()?;
        }
    }
}

/// `"schema"."table" PARTITION ("name")` and SUBPARTITION become the fixture's view of these rows. What is in quotes stays.
pub fn without_partitions(sql: &str) -> String {
    let mut written = String::new();
    // Where the last qualified name begins in `written`, and its parts.
    let mut named: Option<(usize, Vec<String>)> = None;
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let partition = ["PARTITION (", "SUBPARTITION ("]
            .iter()
            .find_map(|word| rest.strip_prefix(word))
            .and_then(|inner| Some((quoted(inner)?, named.as_ref()?)));
        if let Some(((name, after), (start, parts))) = partition
            && let ([schema, table], Some(after)) = (parts.as_slice(), after.strip_prefix(')'))
        {
            let view = format!("{schema}.{table}:{name}").replace('"', "\"\"");
            written.truncate(*start);
            written.push_str(&format!("og_fixture.\"{view}\""));
            (named, rest) = (None, after);
            continue;
        }
        let token = match (c, quoted(rest)) {
            ('"', Some((name, after))) => {
                let parts = match named.take() {
                    Some((start, mut parts)) if written.ends_with('.') => {
                        parts.push(name);
                        (start, parts)
                    }
                    _ => (written.len(), vec![name]),
                };
                named = Some(parts);
                &rest[..rest.len() - after.len()]
            }
            ('\'', _) => {
                named = None;
                literal(rest, written.ends_with(['E', 'e']))
            }
            _ => {
                if c != '.' && c != ' ' {
                    named = None;
                }
                &rest[..c.len_utf8()]
            }
        };
        written.push_str(token);
        rest = &rest[token.len()..];
    }
    written
}

/// The name that the text begins with, in quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// The string that the text begins with. Its doubled quotes make it two, which is the same here.
fn literal(text: &str, has_escapes: bool) -> &str {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let is_end = c == '\'' && !is_escaped;
        is_escaped = has_escapes && c == '\\' && !is_escaped;
        is_end
    });
    end.map_or(text, |(at, _)| &text[..=at])
}

/// Where setup.sh puts py-opengauss, a client of other people's; None where it could not. The story that asks is then noted.
pub fn other_client() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/py-opengauss-1.3.11");
    let is_there = place.join("py_opengauss").is_dir();
    if !is_there {
        super::needs::note("there is no py-opengauss");
    }
    is_there.then_some(place)
}
