//! Why TLS has failed, and what to do about it.

use std::fmt;

/// A TLS error after the handshake: an alert of the server, or what it sent is no TLS.
#[derive(Debug)]
pub struct Failure(pub String);

impl Failure {
    /// OpenSSL's reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for Failure {}

/// What to do about the reason why the two sides did not agree.
pub fn hint(reason: &str) -> Option<&'static str> {
    let says = |text: &str| reason.contains(text);
    if says("certificate required") || says("handshake failure") {
        Some("The server may want a client certificate: options sslcert and sslkey of the user mapping.")
    } else if says("alert certificate") || says("alert unknown ca") || says("alert bad certificate") {
        Some("The server does not accept the client certificate that option sslcert names.")
    } else if says("protocol") || says("version") {
        Some(
            "The server and this side may have no version in common between ssl_min_protocol_version (TLSv1.2 if left out) and \
             ssl_max_protocol_version: change the one that is too narrow.",
        )
    } else {
        None
    }
}
