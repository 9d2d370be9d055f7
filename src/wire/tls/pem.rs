//! Certificates and revocation lists of a PEM file that is in memory.

use crate::pg::openssl as fence;
use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Crl};

/// What a file holds of both; other things in it, such as a key, are passed over.
#[derive(Default)]
pub struct Pem {
    /// in the order of the file
    pub certificates: Vec<X509>,
    /// revocation lists
    pub lists: Vec<X509Crl>,
}

impl Pem {
    /// Reads all of it, or says why that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Pem, String> {
        let openssl = |e| format!("OpenSSL: {}", text(&e));
        let mut pem = Pem::default();
        for block in fence::pem_blocks(bytes).map_err(openssl)? {
            let is_list = block.name == "X509 CRL";
            let is_certificate = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"].contains(&&*block.name);
            if !is_list && !is_certificate {
                continue;
            }
            if block.has_headers {
                return Err("a certificate or revocation list in it is encrypted".to_owned());
            }
            if is_list {
                pem.lists.push(X509Crl::from_der(&block.der).map_err(openssl)?);
            } else {
                let parse = match &*block.name {
                    "TRUSTED CERTIFICATE" => fence::trusted_certificate,
                    _ => X509::from_der,
                };
                pem.certificates.push(parse(&block.der).map_err(openssl)?);
            }
        }
        Ok(pem)
    }
}

/// The first reason, without OpenSSL's places in its own code.
pub fn text(stack: &ErrorStack) -> String {
    let first = stack.errors().first();
    let reason = first.and_then(|e| e.reason().map(str::to_owned).or_else(|| Some(e.to_string())));
    reason.unwrap_or_else(|| "no error reported".to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A certificate, a revocation list, and the certificate with trust settings.
    pub const SAMPLES: &str = include_str!("samples.pem");

    fn counts(text: &str) -> Result<(usize, usize), String> {
        Pem::parse(text.as_bytes()).map(|pem| (pem.certificates.len(), pem.lists.len()))
    }

    #[test]
    fn a_file_may_hold_many_of_both() {
        assert_eq!(counts(SAMPLES), Ok((2, 1)));
        assert_eq!(counts(&SAMPLES.repeat(20)), Ok((40, 20)));
        assert_eq!(
            counts(&format!("text\n{}\nmore", SAMPLES.replace('\n', "\r\n"))),
            Ok((2, 1))
        );
        for nothing in ["", "text", "-----BEGIN", "-----END CERTIFICATE-----\n"] {
            assert_eq!(counts(nothing), Ok((0, 0)), "{nothing}");
        }
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(counts(&format!("{key}{SAMPLES}")), Ok((2, 1)));
    }

    #[test]
    fn what_is_broken_is_no_end() {
        for (from, to) in [
            ("-----END X509 CRL-----", ""),
            ("MIGW", "MIG"),
            ("MIGW", "AAAA"),
            ("-----END X509 CRL", "-----END CERTIFICATE"),
        ] {
            let broken = SAMPLES.replacen(from, to, 1);
            assert!(counts(&broken).is_err(), "{from}: {:?}", counts(&broken));
        }
    }

    #[test]
    fn nobody_is_asked_for_a_password() {
        let mark = "-----BEGIN X509 CRL-----\n";
        let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00000000000000000000000000000000\n\n";
        let encrypted = SAMPLES.replace(mark, &format!("{mark}{headers}"));
        assert!(counts(&encrypted).is_err_and(|reason| reason.contains("encrypted")));
    }

    #[test]
    fn trust_settings_are_not_left_out() {
        let pem = Pem::parse(SAMPLES.as_bytes()).expect("the samples");
        // The same certificate; the settings are no part of it, but of what stands here.
        let [plain, trusted] = &pem.certificates[..] else {
            panic!("two certificates")
        };
        assert_eq!(plain.to_der().ok(), trusted.to_der().ok());
        assert!(
            trusted
                .to_text()
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains("Trusted Uses"))
        );
    }
}
