//! The one thing of OpenSSL that its crate does not offer: to be told when a server asks for a client certificate.

use core::ffi::{c_int, c_void};
use openssl::ssl::SslContextBuilder;
use std::cell::Cell;

type CertificateCallback = extern "C" fn(*mut c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    /// libssl, which the crate links.
    fn SSL_CTX_set_cert_cb(context: *mut c_void, callback: Option<CertificateCallback>, argument: *mut c_void);
}

thread_local! {
    /// Handshakes do not overlap: this process has one thread, and waits for each of them.
    static REQUESTED: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn note(_ssl: *mut c_void, _argument: *mut c_void) -> c_int {
    REQUESTED.set(true);
    // Go on with the certificate that is set.
    1
}

/// Connections with this context note whether the peer asks for a certificate.
pub fn note_certificate_requests(context: &mut SslContextBuilder) {
    // SAFETY: the builder's own SSL_CTX, which lives; the callback is a function without state that neither unwinds nor keeps anything.
    unsafe { SSL_CTX_set_cert_cb(context.as_ptr().cast(), Some(note), std::ptr::null_mut()) };
}

/// Whether a peer has asked since this was last called.
pub fn certificate_was_requested() -> bool {
    REQUESTED.replace(false)
}
