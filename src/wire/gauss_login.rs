//! The logins of openGauss and GaussDB, whose message of code 10 is no SASL. Pure: a server's challenge in, the answer to it out.
//!
//! The rules are those of the server's sources: src/common/backend/libpq/auth.cpp (sendAuthRequest), sha2.cpp (pg_sha256_encrypt,
//! GsSm3Encrypt) and crypt.cpp (crypt_verify).

use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

/// The protocol that a client of such a server asks for, 3.51. Only then is the number of iterations sent.
pub const PROTOCOL: u32 = 3 << 16 | 51;

/// Iterations that are accepted: fewer are too cheap to guess, more keep this server at work for too long.
const ITERATIONS: std::ops::RangeInclusive<u32> = 2_048..=1_000_000;
/// How the server stores the number of iterations of a role that it was told none for, 10,000 (user.cpp).
const STORED_ITERATIONS: (u32, &str) = (10_000, "ecdfecefade");

/// Hexadecimal digits of a random code, a token and a signature of the server.
const RANDOM: usize = 64;
const TOKEN: usize = 8;
const SIGNATURE: usize = 64;

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// the number of iterations is not within bounds
    Iterations,
    /// a form of the login that is not known
    Kind,
    /// not what a server sends
    Malformed,
    /// OpenSSL here has no such digest
    Digest,
    /// nothing is, but the client has to ask for protocol 3.51, on another connection
    AskAgain,
}

/// What an authentication request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// nothing of this family's
    Other,
    /// the client has to ask for protocol 3.51, and is then told all that it takes
    AskAgain,
    /// an answer
    Challenge(Challenge),
}

/// What is to be done about this family's logins on one connection.
#[derive(Debug, Default)]
pub struct Login {
    /// protocol 3.51 is asked for
    pub asks: bool,
    /// the server wants to be asked for it
    pub is_wanted: bool,
    /// a SASL exchange is under way, whose messages have codes of this family's
    has_sasl: bool,
    /// what the client's password is the answer to
    challenge: Option<Challenge>,
    /// what is sent in place of the client's message, and how much of it was sent
    instead: Option<(Vec<u8>, usize)>,
    /// the startup message was sent
    has_started: bool,
}

/// A request for a password in clear text, which the client that knows nothing of this family understands.
pub const CLEAR_TEXT: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

impl Login {
    /// Notes the request in the body of a message of type R. True where [`CLEAR_TEXT`] goes to the client instead; the error is that of a server
    /// which is not to be asked further.
    pub fn note(&mut self, body: &[u8]) -> Result<bool, Wrong> {
        match read(body, self.asks)? {
            _ if self.has_sasl => {}
            Request::Other => self.has_sasl = body.starts_with(&10u32.to_be_bytes()),
            Request::AskAgain => {
                self.is_wanted = true;
                return Err(Wrong::AskAgain);
            }
            Request::Challenge(challenge) => {
                self.challenge = Some(challenge);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True until the answer has gone out.
    pub fn is_pending(&self) -> bool {
        self.challenge.is_some() || self.instead.is_some()
    }

    /// What is left to send in place of `data`, a message of the client; None where that goes as it is.
    pub fn instead_of(&mut self, data: &[u8]) -> Result<Option<&[u8]>, Wrong> {
        let is_startup = !std::mem::replace(&mut self.has_started, true);
        if self.instead.is_none() {
            self.instead = match &self.challenge {
                None if is_startup && self.asks && data.len() > 8 => {
                    let message = [&data[..4], &PROTOCOL.to_be_bytes(), &data[8..]].concat();
                    Some((message, 0))
                }
                Some(challenge) if data.first() == Some(&b'p') => {
                    let password = data.get(5..data.len() - 1).ok_or(Wrong::Malformed)?;
                    let answer = challenge.answer(password)?;
                    let length = (answer.len() as u32 + 5).to_be_bytes();
                    let message = [b"p", &length[..], answer.as_bytes(), b"\0"].concat();
                    self.challenge = None;
                    Some((message, 0))
                }
                _ => None,
            };
        }
        Ok(self.instead.as_ref().map(|(message, sent)| &message[*sent..]))
    }

    /// So much of it was sent; true when that was all.
    pub fn sent(&mut self, n: usize) -> bool {
        let Some((message, sent)) = &mut self.instead else {
            return true;
        };
        *sent += n;
        let is_all = *sent >= message.len();
        if is_all {
            self.instead = None;
        }
        is_all
    }
}

/// What the answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    kind: Kind,
    /// the role's random code, in hexadecimal digits
    random: String,
    /// the server's, for this login
    token: Vec<u8>,
    iterations: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// code 10
    Sha256,
    /// code 13
    Sm3,
    /// code 11: md5 of what the server has stored for sha256
    Md5OfSha256,
}

/// Reads the body of a message of type R, code first, that is no part of a SASL exchange. `has_asked`: protocol 3.51 was asked for.
pub fn read(body: &[u8], has_asked: bool) -> Result<Request, Wrong> {
    let Some((code, rest)) = word(body) else {
        return Ok(Request::Other);
    };
    let kind = match code {
        // SASL's is a list of names, and none begins with a zero byte.
        10 if rest.first() == Some(&0) && rest.len() > 4 => Kind::Sha256,
        13 => Kind::Sm3,
        // A SASL exchange goes on with this code, and no digits.
        11 if rest.len() == RANDOM + 4 && digits(&rest[..RANDOM]).is_ok() => {
            let (random, salt) = rest.split_at(RANDOM);
            return Ok(Request::Challenge(Challenge {
                kind: Kind::Md5OfSha256,
                random: digits(random)?,
                token: salt.to_vec(),
                iterations: STORED_ITERATIONS.0,
            }));
        }
        _ => return Ok(Request::Other),
    };
    let (method, rest) = word(rest).ok_or(Wrong::Malformed)?;
    // SHA256_PASSWORD and SM3_PASSWORD (sha2.h).
    if method != (if kind == Kind::Sm3 { 3 } else { 2 }) {
        return Err(Wrong::Kind);
    }
    let challenge = |rest: &[u8], iterations: u32| {
        let (random, token) = rest.split_at(RANDOM);
        Ok(Request::Challenge(Challenge {
            kind,
            random: digits(random)?,
            token: bytes(&digits(token)?)?,
            iterations,
        }))
    };
    const BARE: usize = RANDOM + TOKEN;
    match rest.len() {
        // What a client of 3.0 gets, and one of 3.50.
        len if !has_asked && (len == BARE + SIGNATURE || len == BARE) => Ok(Request::AskAgain),
        len if has_asked && len == BARE + 4 => {
            let (rest, iterations) = rest.split_at(BARE);
            let (iterations, _) = word(iterations).ok_or(Wrong::Malformed)?;
            match ITERATIONS.contains(&iterations) {
                true => challenge(rest, iterations),
                false => Err(Wrong::Iterations),
            }
        }
        _ => Err(Wrong::Malformed),
    }
}

impl Challenge {
    /// How often the password is hashed.
    #[cfg(test)]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The password that is sent for `password`: text without a zero byte.
    pub fn answer(&self, password: &[u8]) -> Result<String, Wrong> {
        let lacking = |_| Wrong::Digest;
        let mut key = [0; 32];
        let salt = bytes(&self.random)?;
        let sha1 = MessageDigest::sha1();
        pbkdf2_hmac(password, &salt, self.iterations as usize, sha1, &mut key).map_err(lacking)?;
        let client_key = hmac(&key, b"Client Key")?;
        if self.kind == Kind::Md5OfSha256 {
            // The spelling is the server's (sha2.cpp, sever_string).
            let server_key = hmac(&key, b"Sever Key")?;
            let (_, iterations) = STORED_ITERATIONS;
            let stored = [&self.random, &hex(&server_key), &hex(&sha256(&client_key)), iterations].concat();
            let md5 = hash(MessageDigest::md5(), &[stored.as_bytes(), &self.token].concat()).map_err(lacking)?;
            return Ok(format!("md5{}", hex(&md5)));
        }
        let stored_key = match self.kind {
            Kind::Sm3 => {
                let sm3 = MessageDigest::from_name("SM3").ok_or(Wrong::Digest)?;
                hash(sm3, &client_key).map_err(lacking)?.to_vec()
            }
            _ => sha256(&client_key).to_vec(),
        };
        let signature = hmac(&stored_key, &self.token)?;
        let answer: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        Ok(hex(&answer))
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Result<Vec<u8>, Wrong> {
    let signed = || {
        let key = PKey::hmac(key)?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.sign_oneshot_to_vec(data)
    };
    signed().map_err(|_: openssl::error::ErrorStack| Wrong::Digest)
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

fn digits(bytes: &[u8]) -> Result<String, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|_| Wrong::Malformed)?;
    match text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::Malformed),
    }
}

fn bytes(digits: &str) -> Result<Vec<u8>, Wrong> {
    let pair = |at: usize| {
        digits
            .get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    (0..digits.len())
        .step_by(2)
        .map(|at| pair(at).ok_or(Wrong::Malformed))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that a client of 3.51 gets.
    fn body(code: u32, random: &str, token: &str, iterations: u32) -> Vec<u8> {
        let method: u32 = if code == 13 { 3 } else { 2 };
        let text = [random.as_bytes(), token.as_bytes()].concat();
        let numbers = [code, method].map(u32::to_be_bytes).concat();
        [numbers, text, iterations.to_be_bytes().to_vec()].concat()
    }

    fn answer(body: &[u8], password: &str) -> String {
        match read(body, true) {
            Ok(Request::Challenge(challenge)) => challenge.answer(password.as_bytes()).expect("an answer"),
            other => panic!("{other:?}"),
        }
    }

    /// Password, random code, token, iterations; answers to code 10 and 13. Computed with the server's own functions, and the first of each line
    /// with py-opengauss.
    const VECTORS: [(&str, &str, &str, u32, &str, &str); 4] = [
        (
            "Reader@123",
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            "0a1b2c3d",
            10_000,
            "427d4a01a092eb19573010b8733b6415c4c578363314b41ee04237e4c3ee27d0",
            "69496d2409b529826d8c6835ce056c6d84f1d69bed69a66f921aef1d4ffdd5e3",
        ),
        (
            "Reader@123",
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            "0a1b2c3d",
            2_048,
            "a0591ced9a850c1e20cd3e8ec7d596e2ecdcee68b9256702a4012e21dad40752",
            "94c966cd10f34da423e1f59261f541d19fbb12e4fbdb260ffb363a9e023d2069",
        ),
        (
            "päss wörd 1",
            "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "ffffffff",
            50_000,
            "3f3dea77e0f6f0491a2e7281bec95456ab36601da18ff93247a669e77e2c2a1d",
            "83eb5072a22630602660c8c4eab11bc3da6279d9e42985dedeaaf93c329a186f",
        ),
        (
            "Gauss@123",
            "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
            "00000001",
            10_000,
            "62d4546aaf352718048e6e6e0160f3c9800c585131d1196a37652bf4b52923ce",
            "d9f3eab2634c55f030fd8338297239ce955863f7e875245ea483af67e73d8ea9",
        ),
    ];

    #[test]
    fn answers_are_those_of_the_servers_own_client() {
        for (password, random, token, iterations, sha256, sm3) in VECTORS {
            assert_eq!(answer(&body(10, random, token, iterations), password), sha256);
            assert_eq!(answer(&body(13, random, token, iterations), password), sm3);
        }
        let (password, random, ..) = VECTORS[0];
        let body = [&11u32.to_be_bytes()[..], random.as_bytes(), &[1, 2, 3, 4]].concat();
        assert_eq!(answer(&body, password), "md587e3b4cdd1e1e8a57512c8e01fe49526");
    }

    #[test]
    fn sasl_and_md5_are_not_of_this_family() {
        let sasl = [&10u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat();
        let none = [&10u32.to_be_bytes()[..], b"\0"].concat();
        let md5 = [&5u32.to_be_bytes()[..], b"salt"].concat();
        for body in [&sasl[..], &none, &md5, &0u32.to_be_bytes(), b"\0\0"] {
            assert_eq!(read(body, false), Ok(Request::Other));
            assert_eq!(read(body, true), Ok(Request::Other));
        }
    }

    #[test]
    fn a_client_of_another_protocol_is_to_ask_again_and_only_then() {
        let (_, random, token, ..) = VECTORS[0];
        let told = body(10, random, token, 10_000);
        let (bare, signed) = (
            &told[..told.len() - 4],
            [&told[..told.len() - 4], random.as_bytes()].concat(),
        );
        for body in [bare, &signed] {
            assert_eq!(read(body, false), Ok(Request::AskAgain));
            assert_eq!(read(body, true), Err(Wrong::Malformed));
        }
        assert_eq!(read(&told, false), Err(Wrong::Malformed));
    }

    #[test]
    fn what_is_malformed_or_out_of_bounds_is_refused() {
        let (_, random, token, ..) = VECTORS[0];
        for iterations in [0, 1, 2_047, 1_000_001, u32::MAX] {
            assert_eq!(read(&body(10, random, token, iterations), true), Err(Wrong::Iterations));
        }
        for iterations in [2_048, 1_000_000] {
            assert!(matches!(
                read(&body(10, random, token, iterations), true),
                Ok(Request::Challenge(_))
            ));
        }
        let wrong = random.replace("aa", "ää").replace("bb", "");
        assert_eq!(read(&body(10, &wrong, token, 10_000), true), Err(Wrong::Malformed));
        let mut method = body(10, random, token, 10_000);
        method[7] = 6;
        assert_eq!(read(&method, true), Err(Wrong::Kind));
        assert_eq!(
            read(&body(10, random, token, 10_000)[..40], true),
            Err(Wrong::Malformed)
        );
    }
}
