//! What OpenSSL's crate does not offer: to be told when a server asks for a client certificate, PEM that is taken apart without anybody being asked
//! for a password, certificates with trust settings, and revocation lists from memory.

use core::ffi::{c_char, c_int, c_long, c_void};
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::ssl::SslContextBuilder;
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::{X509, X509CrlRef};
use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{null, null_mut};

type CertificateCallback = extern "C" fn(*mut c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    /// libssl and libcrypto, which the crate links.
    fn SSL_CTX_set_cert_cb(context: *mut c_void, callback: Option<CertificateCallback>, argument: *mut c_void);
    fn X509_STORE_add_crl(store: *mut c_void, crl: *mut c_void) -> c_int;
    fn d2i_X509_AUX(into: *mut *mut c_void, from: *mut *const u8, length: c_long) -> *mut c_void;
    fn BIO_new_mem_buf(bytes: *const c_void, length: c_int) -> *mut c_void;
    fn BIO_free(bio: *mut c_void) -> c_int;
    fn PEM_read_bio(
        bio: *mut c_void,
        name: *mut *mut c_char,
        header: *mut *mut c_char,
        data: *mut *mut u8,
        length: *mut c_long,
    ) -> c_int;
    fn CRYPTO_free(memory: *mut c_void, file: *const c_char, line: c_int);
}

/// ERR_LIB_PEM and PEM_R_NO_START_LINE: how the end of a file is told.
const NO_MORE_BLOCKS: (c_int, c_int) = (9, 108);

thread_local! {
    /// Handshakes do not overlap: one thread makes them all, and waits for each of them.
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
    unsafe { SSL_CTX_set_cert_cb(context.as_ptr().cast(), Some(note), null_mut()) };
}

/// Whether a peer has asked since this was last called.
pub fn certificate_was_requested() -> bool {
    REQUESTED.replace(false)
}

/// Adds a revocation list to those that certificates are looked up in.
pub fn add_crl(store: &mut X509StoreBuilderRef, crl: &X509CrlRef) -> Result<(), ErrorStack> {
    // SAFETY: both live, and the store takes a reference of its own to the list.
    match unsafe { X509_STORE_add_crl(store.as_ptr().cast(), crl.as_ptr().cast()) } {
        1 => Ok(()),
        _ => Err(ErrorStack::get()),
    }
}

/// A certificate that may be followed by what it is trusted for. X509::from_der would leave that out, and trust it for everything.
pub fn trusted_certificate(der: &[u8]) -> Result<X509, ErrorStack> {
    let mut from = der.as_ptr();
    // SAFETY: no more than `der` is read, and a copy is made of it; what comes back, if anything, is ours.
    unsafe {
        let certificate = d2i_X509_AUX(null_mut(), &mut from, der.len() as c_long);
        match certificate.is_null() {
            true => Err(ErrorStack::get()),
            false => Ok(X509::from_ptr(certificate.cast())),
        }
    }
}

/// What stands between two marks of a PEM file.
pub struct Block {
    /// what the marks call it
    pub name: String,
    /// there are headers before the content: it is encrypted
    pub has_headers: bool,
    /// the content, decoded
    pub der: Vec<u8>,
}

/// The blocks of a PEM file; what stands between them is no concern of anybody's. Nothing is decrypted, so nobody is asked for a password.
pub fn pem_blocks(pem: &[u8]) -> Result<Vec<Block>, ErrorStack> {
    let bio = Bio::new(pem)?;
    // The end is told by an error: what anybody has left in the queue must not be taken for it.
    drop(ErrorStack::get());
    let mut blocks = Vec::new();
    loop {
        match bio.block() {
            Ok(block) => blocks.push(block),
            Err(error) => {
                let last = error.errors().last().map(|e| (e.library_code(), e.reason_code()));
                return match last {
                    Some(NO_MORE_BLOCKS) => Ok(blocks),
                    _ => Err(error),
                };
            }
        }
    }
}

/// OpenSSL's reader of bytes in memory.
struct Bio<'a> {
    bio: *mut c_void,
    _bytes: &'a [u8],
}

impl<'a> Bio<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ErrorStack> {
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: it reads from `bytes`, which outlive it, and does not write.
        let bio = unsafe { BIO_new_mem_buf(bytes.as_ptr().cast(), length) };
        match bio.is_null() {
            true => Err(ErrorStack::get()),
            false => Ok(Bio { bio, _bytes: bytes }),
        }
    }

    fn block(&self) -> Result<Block, ErrorStack> {
        let (mut name, mut header, mut data) = (Owned(null_mut()), Owned(null_mut()), Owned(null_mut()));
        let mut length = 0;
        // SAFETY: on success there are two strings and `length` bytes, all three ours to free; otherwise the pointers stay null.
        unsafe {
            if PEM_read_bio(self.bio, &mut name.0, &mut header.0, &mut data.0, &mut length) != 1 {
                return Err(ErrorStack::get());
            }
            Ok(Block {
                name: CStr::from_ptr(name.0).to_string_lossy().into_owned(),
                has_headers: !CStr::from_ptr(header.0).is_empty(),
                der: std::slice::from_raw_parts(data.0, length as usize).to_vec(),
            })
        }
    }
}

impl Drop for Bio<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nobody else's.
        unsafe { BIO_free(self.bio) };
    }
}

/// Memory that OpenSSL has handed over, or null.
struct Owned<T>(*mut T);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: OpenSSL's allocator gave it and takes it back; it takes null, too.
        unsafe { CRYPTO_free(self.0.cast(), null(), 0) };
    }
}
