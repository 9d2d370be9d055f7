//! Files that an option names: PEM, and the names in a directory of revocation lists.

use super::{fuzz, soup};
use crate::wire::tls::files::is_hashed;
use crate::wire::tls::pem::{Pem, tests::SAMPLES};
use proptest::prelude::*;

const OF_PEM: &[&str] = &[
    "-----BEGIN ",
    "-----END ",
    "CERTIFICATE",
    "X509 CRL",
    "TRUSTED CERTIFICATE",
    "PRIVATE KEY",
    "-----\n",
    "Proc-Type: 4,ENCRYPTED\n",
    "DEK-Info: AES-128-CBC,00\n\n",
    "MIIBVzCB",
    "MIGWMD8w",
    "AAAA",
    "=",
    "\r\n",
];

/// The samples, with some of their bytes replaced, left out or doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0usize..40, prop::option::of(any::<u8>()));
    prop::collection::vec(damage, 0..4).prop_map(|damages| {
        let mut bytes = SAMPLES.as_bytes().to_vec();
        for (at, length, byte) in damages {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            let instead = match byte {
                Some(byte) => vec![byte; end - at],
                None => bytes[at..end].repeat(length % 3),
            };
            bytes.splice(at..end, instead);
        }
        bytes
    })
}

#[test]
fn pem_has_no_more_in_it_than_is_there() {
    let any_bytes = prop::collection::vec(any::<u8>(), 0..2000);
    let any_pem = prop_oneof![4 => damaged(), 2 => soup(OF_PEM).prop_map(String::into_bytes), 1 => any_bytes];
    fuzz("pem", any_pem, |bytes| {
        let Ok(pem) = Pem::parse(&bytes) else { return Ok(()) };
        let begun = bytes.windows(11).filter(|window| window == b"-----BEGIN ").count();
        prop_assert!(pem.certificates.len() + pem.lists.len() <= begun);
        let certificates = pem.certificates.iter().map(|certificate| certificate.to_der());
        let lists = pem.lists.iter().map(|list| list.to_der());
        let length = certificates.chain(lists).map(|der| der.map_or(0, |der| der.len()));
        prop_assert!(length.sum::<usize>() <= bytes.len());
        Ok(())
    });
}

#[test]
fn names_of_revocation_lists_are_those_that_openssl_makes() {
    let close = "[0-9a-fA-F]{7,9}\\.?[r0-9]{0,4}[a-z.~]?";
    let made = (any::<u32>(), any::<u16>()).prop_map(|(hash, number)| format!("{hash:08x}.r{number}"));
    fuzz("names of lists, made", made, |name| {
        prop_assert!(is_hashed(name.as_bytes()), "{name}");
        Ok(())
    });
    fuzz("names of lists", prop_oneof![close, ".{0,16}"], |name| {
        let plain = name.split_once(".r").is_some_and(|(hash, number)| {
            let hexadecimal = hash.len() == 8 && u32::from_str_radix(hash, 16).is_ok();
            // Which takes a sign, too.
            hexadecimal && !hash.starts_with('+') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        });
        prop_assert_eq!(is_hashed(name.as_bytes()), plain, "{}", name);
        Ok(())
    });
}
