//! A relay that does something before a statement goes on.

use super::cluster::listener;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

type Action = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Listens on a port, which it gives, before `upstream`. The first bytes of a client that have `text` in them wait until `action` is done.
pub fn start(upstream: (String, u16), text: &'static str, action: impl FnOnce() + Send + 'static) -> u16 {
    let listener = listener();
    let port = listener.local_addr().expect("an address").port();
    let action: Action = Arc::new(Mutex::new(Some(Box::new(action))));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (upstream, action) = (upstream.clone(), action.clone());
            std::thread::spawn(move || carry(client, &upstream, text, &action));
        }
    });
    port
}

/// Carries bytes both ways.
fn carry(mut client: TcpStream, (host, port): &(String, u16), text: &str, action: &Action) -> Option<()> {
    let mut server = TcpStream::connect((host.as_str(), *port)).ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let n = client.read(&mut bytes).ok().filter(|n| *n > 0);
        let Some(n) = n else { break };
        if bytes[..n].windows(text.len()).any(|window| window == text.as_bytes())
            && let Some(action) = action.lock().expect("a lock").take()
        {
            action();
        }
        server.write_all(&bytes[..n]).ok()?;
    }
    server.shutdown(Shutdown::Both).ok()
}
