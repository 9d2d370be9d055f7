//! An OpenSSL context from the options: whom to trust, who we are, which versions.

use crate::connection::Target;
use crate::connection::tls::{Mode, Roots, TlsOptions, Version};
use crate::error::{Error, Result, sqlstate};
use crate::pg::openssl as fence;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslOptions, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Permissions of group and others, as in stat(2).
const GROUP_AND_OTHERS: u32 = 0o077;
/// The same without reading by the group.
const ALL_BUT_GROUP_READ: u32 = 0o037;

/// Reads the files and makes the context. Whatever an option names has to be there and usable.
pub fn build(target: &Target) -> Result<SslContext> {
    let tls = &target.tls;
    let what = format!("server \"{}\"", target.server);
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
        identify(&mut context, certificate, key, tls).map_err(|e| e.within(&what))?;
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
            .map_err(|e| unusable("could not load the root certificates of the system", &e))?,
        Roots::File(file) => context
            .load_verify_locations(Some(Path::new(file)), None)
            .map_err(|e| unusable(&format!("could not read root certificate file \"{file}\""), &e))?,
    }
    let store = context.cert_store_mut();
    let mut revoked = false;
    if let Some(file) = &tls.crl {
        store
            .add_lookup(X509Lookup::file())
            .and_then(|lookup| lookup.load_crl_file(file, SslFiletype::PEM))
            .map_err(|e| {
                unusable(
                    &format!("could not read certificate revocation list file \"{file}\""),
                    &e,
                )
            })?;
        revoked = true;
    }
    if let Some(dir) = &tls.crl_dir {
        store
            .add_lookup(X509Lookup::hash_dir())
            .and_then(|lookup| lookup.add_dir(dir, SslFiletype::PEM))
            .map_err(|e| {
                unusable(
                    &format!("could not use certificate revocation list directory \"{dir}\""),
                    &e,
                )
            })?;
        revoked = true;
    }
    if revoked {
        store
            .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
            .map_err(|e| Error::internal(format!("OpenSSL: {}", text(&e))))?;
    }
    Ok(())
}

fn identify(context: &mut SslContextBuilder, certificate: &str, key: &str, tls: &TlsOptions) -> Result<()> {
    context
        .set_certificate_chain_file(certificate)
        .map_err(|e| unusable(&format!("could not read certificate file \"{certificate}\""), &e))?;
    let private = read_key(key, tls)?;
    context
        .set_private_key(&private)
        .and_then(|()| context.check_private_key())
        .map_err(|e| unusable(&format!("certificate does not match private key file \"{key}\""), &e))
}

fn read_key(file: &str, tls: &TlsOptions) -> Result<PKey<Private>> {
    let failed =
        |e: std::io::Error| invalid(format!("could not read private key file \"{file}\"")).detail(format!("{e}."));
    let mut opened = File::open(file).map_err(failed)?;
    let facts = opened.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(invalid(format!("private key file \"{file}\" is not a regular file")));
    }
    // Root's may be readable by a group that the server's user is in, as Debian's ssl-cert is.
    let forbidden = match facts.uid() {
        0 => ALL_BUT_GROUP_READ,
        _ => GROUP_AND_OTHERS,
    };
    if facts.mode() & forbidden != 0 {
        return Err(
            invalid(format!("private key file \"{file}\" has group or world access")).hint(
                "File must have permissions u=rw (0600) or less if owned by the server's user, or permissions u=rw,g=r (0640) or \
                 less if owned by root.",
            ),
        );
    }
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes).map_err(failed)?;
    // Without a password OpenSSL would ask for one on the terminal.
    let password = tls.key_password.as_ref().map_or("", |secret| secret.reveal());
    PKey::private_key_from_pem_passphrase(&bytes, password.as_bytes())
        .or_else(|error| PKey::private_key_from_der(&bytes).map_err(|_| error))
        .map_err(|e| {
            unusable(&format!("could not load private key file \"{file}\""), &e)
                .hint("If it is encrypted, option sslpassword of the user mapping must be its password.")
        })
}

/// An option that does not do: the same however often it is tried.
fn invalid(message: String) -> Error {
    Error::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn unusable(message: &str, error: &ErrorStack) -> Error {
    invalid(message.to_owned()).detail(format!("OpenSSL: {}.", text(error)))
}

/// The first reason, without OpenSSL's places in its own code.
fn text(stack: &ErrorStack) -> String {
    let first = stack.errors().first();
    let reason = first.and_then(|e| e.reason().map(str::to_owned).or_else(|| Some(e.to_string())));
    reason.unwrap_or_else(|| "no error reported".to_owned())
}
