//! The program that gives a password which expires, such as a cloud's token. It is run by the operating system's user
//! of this server, without a shell, anew for each connection. So only a superuser sets it, on a server that a superuser
//! owns. What it prints is a secret, and what it says besides goes to the server's log.

use super::endpoint::{Endpoint, Secret, words};
use crate::error::{Error, Result, sqlstate};
use crate::pg::wait;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How much it may print, in bytes.
const LONGEST: usize = 64 * 1024;
/// How often it is looked whether it has ended, once it prints no more.
const TICK: Duration = Duration::from_millis(10);

/// The program, which ends with this at the latest.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The password that the endpoint's program prints; None where it has no program.
pub fn ask(endpoint: &Endpoint) -> Result<Option<Secret>> {
    let Some(command) = &endpoint.password_command else {
        return Ok(None);
    };
    let printed = run(command.reveal()).map_err(|reason| failed(endpoint, &reason))?;
    let text = String::from_utf8(printed).map_err(|_| failed(endpoint, "what it printed is not UTF8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(failed(endpoint, "it printed nothing")),
        text if text.contains('\0') => Err(failed(endpoint, "it printed a zero byte")),
        text => Ok(Some(Secret::new(text.to_owned()))),
    }
}

fn failed(endpoint: &Endpoint, reason: &str) -> Error {
    Error::new(
        sqlstate::EXTERNAL_ROUTINE,
        format!("password_command of server \"{}\" gave no password", endpoint.server),
    )
    .detail(format!("Its program: {reason}."))
    .hint("Run it as the operating system's user of this server: it must print the password, and nothing else, within 10 s, and end with status 0. The server's log has what it printed to stderr.")
}

fn run(command: &str) -> std::result::Result<Vec<u8>, String> {
    let words = words(command).ok_or("its words cannot be told apart: a quote is not closed")?;
    let (program, arguments) = words.split_first().ok_or("it has no name")?;
    let told = |error: std::io::Error| error.to_string();
    let (mut ours, theirs) = UnixStream::pair().map_err(told)?;
    ours.set_nonblocking(true).map_err(told)?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .map_err(told)?;
    let mut running = Running(child);
    let deadline = Instant::now() + LIMIT;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err("it took longer than 10 s".to_owned()),
        left => Ok(left),
    };
    let mut printed = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match ours.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => printed.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let fd = ours.as_raw_fd();
                let (writable, has_input) = (false, false);
                wait::wait(
                    Some(wait::Socket {
                        fd,
                        writable,
                        has_input,
                    }),
                    left()?,
                );
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(told(error)),
        }
        if printed.len() > LONGEST {
            return Err("it printed more than 64 kB".to_owned());
        }
    }
    loop {
        match running.0.try_wait().map_err(told)? {
            Some(status) if status.success() => return Ok(printed),
            Some(status) => return Err(format!("it ended with {status}")),
            None => wait::wait(None, left()?.min(TICK)),
        }
    }
}
