//! What a server and a user mapping say about TLS. libpq's names, values and meanings; where libpq would silently do less than it was
//! told, it is an error here. No server calls, and no file is opened.

use super::{Place, Secret};
use crate::error::{Error, Result};

/// sslmode, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// never TLS
    Disable,
    /// TLS if the server refuses to let us in without
    Allow,
    /// TLS if the server has it
    Prefer,
    /// TLS; with sslrootcert as VerifyCa
    Require,
    /// TLS, and the server's certificate is signed by sslrootcert
    VerifyCa,
    /// the same, and it is for the host that was asked for
    VerifyFull,
}

/// Whom certificates are trusted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// whom this machine's OpenSSL trusts
    System,
    /// the certificates in this file
    File(String),
}

/// A version of the protocol, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names say it
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

/// channel_binding: whether SCRAM proves that nobody sits between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// not asked for
    Disable,
    /// where the server offers it
    Prefer,
    /// or no connection
    Require,
}

const MODES: [(&str, Mode); 6] = [
    ("disable", Mode::Disable),
    ("allow", Mode::Allow),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

const VERSIONS: [(&str, Version); 4] = [
    ("TLSv1", Version::Tls10),
    ("TLSv1.1", Version::Tls11),
    ("TLSv1.2", Version::Tls12),
    ("TLSv1.3", Version::Tls13),
];

const BINDINGS: [(&str, Binding); 3] = [
    ("disable", Binding::Disable),
    ("prefer", Binding::Prefer),
    ("require", Binding::Require),
];

impl Mode {
    /// The mode of that name.
    pub fn parse(value: &str) -> Option<Mode> {
        MODES.iter().find(|(name, _)| *name == value).map(|(_, mode)| *mode)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        MODES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("", |(name, _)| name)
    }
}

impl Version {
    /// The version of that name, in any case, as in libpq.
    pub fn parse(value: &str) -> Option<Version> {
        let found = VERSIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
        found.map(|(_, version)| *version)
    }
}

impl Binding {
    /// The binding of that name.
    pub fn parse(value: &str) -> Option<Binding> {
        let found = BINDINGS.iter().find(|(name, _)| *name == value);
        found.map(|(_, binding)| *binding)
    }
}

/// The options together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// as given
    mode: Option<Mode>,
    /// sslrootcert
    pub roots: Option<Roots>,
    /// sslcrl: file of revoked certificates
    pub crl: Option<String>,
    /// sslcrldir: directory of such files, named by hash
    pub crl_dir: Option<String>,
    /// sslcert: file of the client certificate
    pub certificate: Option<String>,
    /// the client certificate is the user mapping's own, which only a superuser can have put there
    pub certificate_of_mapping: bool,
    /// sslkey: file of its key
    pub key: Option<String>,
    /// sslpassword: what the key is encrypted with
    pub key_password: Option<Secret>,
    /// ssl_min_protocol_version
    pub min: Version,
    /// ssl_max_protocol_version
    pub max: Option<Version>,
    /// sslsni: tell the server the host's name in clear text
    pub sni: bool,
    /// channel_binding
    pub binding: Binding,
}

impl Default for TlsOptions {
    /// libpq's.
    fn default() -> Self {
        TlsOptions {
            mode: None,
            roots: None,
            crl: None,
            crl_dir: None,
            certificate: None,
            certificate_of_mapping: false,
            key: None,
            key_password: None,
            min: Version::Tls12,
            max: None,
            sni: true,
            binding: Binding::Prefer,
        }
    }
}

impl TlsOptions {
    /// sslmode; left out: prefer, with the system's roots verify-full.
    pub fn mode(&self) -> Mode {
        let default = if self.roots == Some(Roots::System) {
            Mode::VerifyFull
        } else {
            Mode::Prefer
        };
        self.mode.unwrap_or(default)
    }

    /// Takes an option whose value has passed validation. An empty file name is none, as in libpq.
    pub(super) fn set(&mut self, place: Place, name: &str, value: &str) {
        let file = (!value.is_empty()).then(|| value.to_owned());
        match name {
            "sslmode" => self.mode = Mode::parse(value),
            "sslrootcert" => {
                self.roots = file.map(|file| match file.as_str() {
                    "system" => Roots::System,
                    _ => Roots::File(file),
                });
            }
            "sslcrl" => self.crl = file,
            "sslcrldir" => self.crl_dir = file,
            "sslcert" => {
                self.certificate_of_mapping = place == Place::UserMapping && file.is_some();
                self.certificate = file;
            }
            "sslkey" => self.key = file,
            "sslpassword" => self.key_password = file.map(Secret::new),
            "ssl_min_protocol_version" => self.min = Version::parse(value).unwrap_or(self.min),
            "ssl_max_protocol_version" => self.max = Version::parse(value),
            "sslsni" => self.sni = value != "0",
            "channel_binding" => self.binding = Binding::parse(value).unwrap_or(self.binding),
            _ => {}
        }
    }

    /// Refuses options that contradict each other or would have no effect. `name` is the host's, if one is known; `local` is true for a
    /// Unix socket, which has no TLS.
    pub(super) fn check(&self, name: Option<&str>, local: bool) -> Result<()> {
        let mode = self.mode();
        let bad = |message: String| Err(Error::bad_parameter(message));
        if self.roots == Some(Roots::System) && mode != Mode::VerifyFull {
            // Anybody can have a certificate that some public authority signed.
            return bad(format!(
                "weak sslmode \"{}\" may not be used with sslrootcert \"system\"",
                mode.name()
            ))
            .map_err(|e| e.hint("Use sslmode \"verify-full\"."));
        }
        if mode == Mode::Disable {
            return Ok(());
        }
        if local && mode >= Mode::Require {
            let hint = match self.roots {
                // Without sslmode it would mean the same.
                Some(Roots::System) => {
                    "Drop option sslrootcert, and sslmode if it is set, or set host to a name or address."
                }
                _ => "Drop option sslmode, or set host to a name or address.",
            };
            return bad(format!("sslmode \"{}\" cannot be had on a Unix socket", mode.name()))
                .map_err(|e| e.hint(hint));
        }
        if self.roots.is_none() {
            if mode >= Mode::VerifyCa {
                return bad(format!("sslmode \"{}\" needs option sslrootcert", mode.name())).map_err(|e| {
                    e.hint(
                        "Set sslrootcert to a file with the certificate of the authority that signed the server's, \
                         or, with sslmode \"verify-full\", to \"system\" for those this machine trusts.",
                    )
                });
            }
            if self.crl.is_some() || self.crl_dir.is_some() {
                return bad("option sslcrl or sslcrldir needs option sslrootcert".to_owned());
            }
        }
        if self.certificate.is_some() != self.key.is_some() {
            return bad("options sslcert and sslkey need each other".to_owned());
        }
        if self.max.is_some_and(|max| max < self.min) {
            return bad("ssl_min_protocol_version must not be above ssl_max_protocol_version".to_owned());
        }
        if mode == Mode::VerifyFull && name.is_none() {
            return bad("sslmode \"verify-full\" needs option host".to_owned())
                .map_err(|e| e.hint("Set host to the name in the server's certificate; hostaddr stays the address."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> TlsOptions {
        let mut options = TlsOptions::default();
        for (name, value) in list {
            options.set(Place::Server, name, value);
        }
        options
    }

    fn refused(list: &[(&str, &str)]) -> String {
        let error = options(list).check(Some("h"), false).expect_err("a contradiction");
        error.message
    }

    #[test]
    fn defaults_are_libpqs() {
        let tls = options(&[]);
        assert_eq!(
            (tls.mode(), tls.min, tls.sni, tls.binding),
            (Mode::Prefer, Version::Tls12, true, Binding::Prefer)
        );
        assert_eq!(options(&[("sslrootcert", "system")]).mode(), Mode::VerifyFull);
        assert_eq!(options(&[("sslrootcert", "")]).roots, None);
    }

    #[test]
    fn what_would_verify_less_than_it_says_is_refused() {
        assert!(refused(&[("sslrootcert", "system"), ("sslmode", "require")]).contains("weak sslmode"));
        assert!(refused(&[("sslmode", "verify-ca")]).contains("sslrootcert"));
        assert!(refused(&[("sslmode", "require"), ("sslcrl", "/x")]).contains("sslrootcert"));
        assert!(refused(&[("sslcert", "/x")]).contains("need each other"));
        assert!(refused(&[("sslkey", "/x")]).contains("need each other"));
        assert!(refused(&[("ssl_max_protocol_version", "tlsv1.1")]).contains("above"));
        let full = options(&[("sslmode", "verify-full"), ("sslrootcert", "/x")]);
        assert!(full.check(None, false).is_err());
        assert!(full.check(Some("h"), true).is_err());
        assert!(full.check(Some("h"), false).is_ok());
        assert!(options(&[("sslmode", "require")]).check(None, true).is_err());
        assert!(options(&[]).check(None, true).is_ok());
    }

    #[test]
    fn a_certificate_of_the_mapping_goes_before_the_servers() {
        let mut tls = options(&[("sslcert", "/server"), ("sslkey", "/k")]);
        assert!(!tls.certificate_of_mapping);
        tls.set(Place::UserMapping, "sslcert", "/mapping");
        assert!(tls.certificate_of_mapping);
        assert_eq!(tls.certificate.as_deref(), Some("/mapping"));
        tls.set(Place::UserMapping, "sslcert", "");
        assert!(!tls.certificate_of_mapping);
    }
}
