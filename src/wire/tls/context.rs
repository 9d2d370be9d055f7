//! An OpenSSL context from the options: whom to trust, who we are, which versions.

use super::files::{self, Opened};
use super::pem::{Pem, text};
use crate::error::{Error, Result};
use crate::pg::aside::Aside;
use crate::pg::{openssl as fence, wait};
use crate::wire::endpoint::encryption::{Mode, Roots, TlsOptions, Version};
use crate::wire::endpoint::{Endpoint, Secret};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslVerifyMode, SslVersion};
use openssl::x509::X509Crl;
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::verify::X509VerifyFlags;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Permissions of group and others, as in stat(2).
const GROUP_AND_OTHERS: u32 = 0o077;
/// The same without reading by the group.
const ALL_BUT_GROUP_READ: u32 = 0o037;

/// Reads the files and makes the context. Whatever an option names has to be there and usable.
pub fn build(endpoint: &Endpoint) -> Result<SslContext> {
    let tls = &endpoint.tls;
    let what = format!("server \"{}\"", endpoint.server);
    let mut context = basis(tls).map_err(|e| Error::internal(format!("OpenSSL: {}", text(&e))))?;
    if let Some(roots) = &tls.roots {
        trust(&mut context, roots, tls).map_err(|e| e.within(&what))?;
        context.set_verify(SslVerifyMode::PEER);
    } else {
        // Modes that verify need roots; connection::tls refuses them without.
        debug_assert!(tls.mode() < Mode::VerifyCa);
        context.set_verify(SslVerifyMode::NONE);
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        identify(&mut context, certificate, key, tls, endpoint.connect_timeout).map_err(|e| e.within(&what))?;
    }
    fence::note_certificate_requests(&mut context);
    Ok(context.build())
}

fn basis(tls: &TlsOptions) -> std::result::Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_options(SslOptions::NO_SSLV2 | SslOptions::NO_SSLV3 | SslOptions::NO_COMPRESSION);
    context.set_min_proto_version(Some(version(tls.min)))?;
    if let Some(max) = tls.max {
        context.set_max_proto_version(Some(version(max)))?;
    }
    // A write that had to wait is repeated with the same bytes, but the buffer they are in may have moved.
    context.set_mode(SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE | SslMode::AUTO_RETRY);
    Ok(context)
}

fn version(version: Version) -> SslVersion {
    match version {
        Version::Tls10 => SslVersion::TLS1,
        Version::Tls11 => SslVersion::TLS1_1,
        Version::Tls12 => SslVersion::TLS1_2,
        Version::Tls13 => SslVersion::TLS1_3,
    }
}

fn trust(context: &mut SslContextBuilder, roots: &Roots, tls: &TlsOptions) -> Result<()> {
    match roots {
        Roots::System => context
            .set_default_verify_paths()
            .map_err(|e| unusable("could not load the root certificates of the system", &e))
            .map_err(|e| {
                e.hint("Install the system's certificates (package ca-certificates), or set sslrootcert to a file.")
            })?,
        Roots::File(file) => {
            let what = "root certificate file";
            let bytes = Opened::open(what, file)?.read()?;
            let pem = parse(what, file, &bytes)?;
            if pem.certificates.is_empty() {
                return Err(holds_none(what, file, "certificate"));
            }
            let store = context.cert_store_mut();
            for certificate in pem.certificates {
                wait::check_interrupts();
                store.add_cert(certificate).map_err(|e| unread(what, file, &e))?;
            }
            // They count once sslcrl or sslcrldir says that revocation is looked at, as in libpq.
            add_lists(store, what, file, &pem.lists)?;
        }
    }
    check_revocation(context.cert_store_mut(), tls)
}

/// Has revocation lists looked at, if an option names any. OpenSSL would open a directory's in the middle of a handshake, whatever they are by then, so
/// they are all read here.
fn check_revocation(store: &mut X509StoreBuilderRef, tls: &TlsOptions) -> Result<()> {
    let mut read = |file: &str, bytes: Vec<u8>| {
        let what = "certificate revocation list file";
        let pem = parse(what, file, &bytes)?;
        if pem.lists.is_empty() {
            return Err(holds_none(what, file, "certificate revocation list"));
        }
        add_lists(store, what, file, &pem.lists)
    };
    if let Some(file) = &tls.crl {
        read(file, Opened::open("certificate revocation list file", file)?.read()?)?;
    }
    if let Some(dir) = &tls.crl_dir {
        files::read_hashed(dir, read)?;
    }
    if tls.crl.is_some() || tls.crl_dir.is_some() {
        store
            .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
            .map_err(|e| Error::internal(format!("OpenSSL: {}", text(&e))))?;
    }
    Ok(())
}

/// The store is sorted anew for each of them, so thousands take their time.
fn add_lists(store: &mut X509StoreBuilderRef, what: &str, file: &str, lists: &[X509Crl]) -> Result<()> {
    for list in lists {
        wait::check_interrupts();
        fence::add_crl(store, list).map_err(|e| unread(what, file, &e))?;
    }
    Ok(())
}

fn identify(
    context: &mut SslContextBuilder,
    certificate: &str,
    key: &str,
    tls: &TlsOptions,
    limit: Duration,
) -> Result<()> {
    let what = "certificate file";
    let pem = parse(what, certificate, &Opened::open(what, certificate)?.read()?)?;
    let mut chain = pem.certificates.into_iter();
    let Some(own) = chain.next() else {
        return Err(holds_none(what, certificate, "certificate"));
    };
    let set = context.set_certificate(&own);
    set.and_then(|()| chain.try_for_each(|issuer| context.add_extra_chain_cert(issuer)))
        .map_err(|e| unread(what, certificate, &e))?;
    let private = read_key(key, tls, limit)?;
    context
        .set_private_key(&private)
        .and_then(|()| context.check_private_key())
        .map_err(|e| unusable(&format!("certificate does not match private key file \"{key}\""), &e))
}

fn read_key(file: &str, tls: &TlsOptions, limit: Duration) -> Result<PKey<Private>> {
    let opened = Opened::open("private key file", file)?;
    // Root's may be readable by a group that the server's user is in, as Debian's ssl-cert is.
    let forbidden = match opened.facts.uid() {
        0 => ALL_BUT_GROUP_READ,
        _ => GROUP_AND_OTHERS,
    };
    if opened.facts.mode() & forbidden != 0 {
        return Err(
            Error::bad_parameter(format!("private key file \"{file}\" has group or world access")).hint(
                "File must have permissions u=rw (0600) or less if owned by the server's user, or permissions u=rw,g=r (0640) or \
                 less if owned by root.",
            ),
        );
    }
    let bytes = opened.read()?;
    // Without a password OpenSSL would ask for one on the terminal.
    let password = tls.key_password.clone().unwrap_or_else(|| Secret::new(String::new()));
    // The file says itself how long its key takes to be decrypted.
    let decrypt = move || {
        PKey::private_key_from_pem_passphrase(&bytes, password.reveal().as_bytes())
            .or_else(|error| PKey::private_key_from_der(&bytes).map_err(|_| error))
            .map_err(|error| format!("OpenSSL: {}.", text(&error)))
    };
    let failed =
        |reason: &str| Error::bad_parameter(format!("could not load private key file \"{file}\"")).detail(reason);
    let decrypted = Aside::start("private key", decrypt).and_then(|thread| thread.wait(Instant::now() + limit));
    let key = match decrypted {
        Ok(key) => key,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let seconds = limit.as_secs();
            return Err(failed(&format!(
                "It was not decrypted within {seconds} s: its count of iterations may be too high."
            ))
            .hint("Raise connect_timeout, or encrypt the key anew with fewer iterations: openssl pkcs8 -topk8 -iter 2048 -in ... -out ...."));
        }
        Err(error) => Err(format!("{error}.")),
    };
    let hint = "If it is encrypted, option sslpassword of the user mapping must be its password.";
    key.map_err(|reason| failed(&reason).hint(hint))
}

fn parse(what: &str, file: &str, bytes: &[u8]) -> Result<Pem> {
    let failed =
        |reason| Error::bad_parameter(format!("could not read {what} \"{file}\"")).detail(format!("{reason}."));
    Pem::parse(bytes).map_err(failed)
}

fn holds_none(what: &str, file: &str, lacks: &str) -> Error {
    Error::bad_parameter(format!("could not read {what} \"{file}\""))
        .detail(format!("It holds no {lacks} in PEM format."))
}

fn unread(what: &str, file: &str, error: &ErrorStack) -> Error {
    unusable(&format!("could not read {what} \"{file}\""), error)
}

fn unusable(message: &str, error: &ErrorStack) -> Error {
    Error::bad_parameter(message.to_owned()).detail(format!("OpenSSL: {}.", text(error)))
}
