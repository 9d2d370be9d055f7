//! Whether a certificate is for the host that was asked for, by libpq's rules, which are older and laxer than OpenSSL's own: the common name
//! counts where no alternative name is of the host's kind, and for an address too. No server calls.

use openssl::nid::Nid;
use openssl::x509::X509Ref;
use std::net::IpAddr;

/// What a certificate is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// alternative names: DNS
    pub dns: Vec<String>,
    /// alternative names: addresses, in network order
    pub addresses: Vec<Vec<u8>>,
    /// the first common name of its subject
    pub common: Option<String>,
}

impl Names {
    /// Reads them.
    pub fn of(certificate: &X509Ref) -> Names {
        let mut names = Names::default();
        for name in certificate.subject_alt_names().iter().flatten() {
            if let Some(dns) = name.dnsname() {
                names.dns.push(dns.to_owned());
            } else if let Some(address) = name.ipaddress() {
                names.addresses.push(address.to_vec());
            }
        }
        let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
        names.common = common.and_then(|entry| Some(entry.data().as_utf8().ok()?.to_string()));
        names
    }

    /// The reason why they are not `host`'s, if they are not.
    pub fn mismatch(&self, host: &str) -> Option<String> {
        let address = host.parse::<IpAddr>().ok();
        let bytes = address.map(|address| match address {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        });
        let same_kind = match bytes {
            Some(_) => !self.addresses.is_empty(),
            None => !self.dns.is_empty(),
        };
        let common = self.common.as_ref().filter(|_| !same_kind);
        let mut texts = self.dns.iter().chain(common);
        if texts.any(|name| matches(name, host)) || bytes.is_some_and(|bytes| self.addresses.contains(&bytes)) {
            return None;
        }
        let shown: Vec<String> = self
            .dns
            .iter()
            .cloned()
            .chain(self.addresses.iter().map(|bytes| printed(bytes)))
            .chain(common.cloned())
            .collect();
        let Some((first, others)) = shown.split_first() else {
            return Some("the server certificate has no host name".to_owned());
        };
        let more = match others.len() {
            0 => String::new(),
            1 => " (and 1 other name)".to_owned(),
            n => format!(" (and {n} other names)"),
        };
        Some(format!(
            "server certificate for \"{first}\"{more} does not match host name \"{host}\""
        ))
    }
}

/// A leading `*.` stands for one label.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern.strip_prefix("*.").filter(|domain| !domain.is_empty()) else {
        return false;
    };
    host.split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
}

fn printed(address: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(address).map(IpAddr::from);
    let six = || <[u8; 16]>::try_from(address).map(IpAddr::from);
    four.or_else(|_| six())
        .map_or_else(|_| "an invalid address".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str], addresses: &[&[u8]], common: Option<&str>) -> Names {
        Names {
            dns: dns.iter().map(|n| (*n).to_owned()).collect(),
            addresses: addresses.iter().map(|a| a.to_vec()).collect(),
            common: common.map(str::to_owned),
        }
    }

    #[test]
    fn the_common_name_counts_unless_an_alternative_name_is_of_the_hosts_kind() {
        let common_only = names(&[], &[], Some("db.example"));
        assert_eq!(common_only.mismatch("DB.example"), None);
        assert!(common_only.mismatch("other.example").is_some());
        let both = names(&["a.example"], &[], Some("b.example"));
        assert_eq!(both.mismatch("a.example"), None);
        assert!(both.mismatch("b.example").is_some());
        assert_eq!(names(&["a.example"], &[], Some("10.0.0.1")).mismatch("10.0.0.1"), None);
        assert!(
            names(&[], &[&[10, 0, 0, 2]], Some("10.0.0.1"))
                .mismatch("10.0.0.1")
                .is_some()
        );
        assert_eq!(names(&[], &[&[10, 0, 0, 2]], Some("h")).mismatch("h"), None);
    }

    #[test]
    fn addresses_match_as_addresses() {
        let mut loopback = vec![0; 16];
        loopback[15] = 1;
        let both = names(&[], &[&[127, 0, 0, 1], &loopback], None);
        assert_eq!(both.mismatch("127.0.0.1"), None);
        assert_eq!(both.mismatch("0:0::1"), None);
        assert!(both.mismatch("localhost").is_some());
    }

    #[test]
    fn a_wildcard_stands_for_one_label_at_the_beginning() {
        let wild = names(&["*.db.example"], &[], None);
        assert_eq!(wild.mismatch("a.DB.example"), None);
        for host in ["db.example", "a.b.db.example", ".db.example", "adb.example"] {
            assert!(wild.mismatch(host).is_some(), "{host}");
        }
        for pattern in ["*", "*.", "a*.example", "*.*.example"] {
            assert!(
                names(&[pattern], &[], None).mismatch("ab.example").is_some(),
                "{pattern}"
            );
        }
        assert!(names(&["a.example\0.evil"], &[], None).mismatch("a.example").is_some());
    }

    #[test]
    fn the_reason_names_the_certificate_and_the_host() {
        let reason = names(&["a", "b"], &[&[10, 0, 0, 2]], None)
            .mismatch("h")
            .expect("a mismatch");
        assert_eq!(
            reason,
            "server certificate for \"a\" (and 2 other names) does not match host name \"h\""
        );
        assert!(names(&[], &[], None).mismatch("h").is_some());
    }
}
