//! A certificate authority for a story, run by the openssl command.

use super::cluster::story_dir;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// An authority with its files, all readable by the servers; removed when dropped.
pub struct Authority {
    dir: PathBuf,
}

/// Files of a certificate and its key.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// When certificates are valid, as `openssl ca` takes it.
const VALID: [&str; 2] = ["20200101000000Z", "20991231000000Z"];
const EXPIRED: [&str; 2] = ["20200101000000Z", "20200201000000Z"];

impl Authority {
    /// Makes one.
    pub fn new() -> Authority {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = story_dir().join(format!("authority{number}"));
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).expect("permissions");
        let at = dir.display();
        let conf = format!(
            "[ca]\ndefault_ca = a\n[a]\ndatabase = {at}/index\nserial = {at}/serial\nnew_certs_dir = {at}\n\
             certificate = {at}/root.crt\nprivate_key = {at}/root.key\ndefault_md = sha256\npolicy = p\n\
             copy_extensions = copy\ndefault_crl_days = 30\nunique_subject = no\n[p]\ncommonName = supplied\n\
             [req]\ndistinguished_name = n\nx509_extensions = r\n[n]\n[r]\nbasicConstraints = critical, CA:true\n"
        );
        for (name, text) in [("conf", conf.as_str()), ("index", ""), ("serial", "1000\n")] {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        let authority = Authority { dir };
        let subject = format!("/CN=authority {number}");
        authority.openssl(
            &["req", "-x509", "-days", "3650", "-subj", &subject, "-out", "root.crt"],
            Some("root"),
        );
        authority
    }

    /// Its own certificate.
    pub fn root(&self) -> String {
        self.path("root.crt")
    }

    /// A certificate for the common name `name`, with alternative names like `DNS:a,IP:127.0.0.1`.
    pub fn issue(&self, name: &str, alternatives: &str) -> Issued {
        self.sign(name, alternatives, VALID)
    }

    /// One that has expired.
    pub fn issue_expired(&self, name: &str, alternatives: &str) -> Issued {
        self.sign(name, alternatives, EXPIRED)
    }

    fn sign(&self, name: &str, alternatives: &str, [from, to]: [&str; 2]) -> Issued {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let file = format!("issued{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (request, certificate) = (format!("{file}.csr"), format!("{file}.crt"));
        let subject = format!("/CN={name}");
        let extension = format!("subjectAltName={alternatives}");
        let mut arguments = vec!["req", "-subj", &subject, "-out", &request];
        if !alternatives.is_empty() {
            arguments.extend(["-addext", &extension]);
        }
        self.openssl(&arguments, Some(&file));
        let dates = ["-startdate", from, "-enddate", to];
        let sign = ["ca", "-batch", "-notext", "-in", &request, "-out", &certificate];
        self.openssl(&[&sign[..], &dates[..]].concat(), None);
        Issued {
            certificate: self.path(&certificate),
            key: self.path(&format!("{file}.key")),
        }
    }

    /// The list of revoked certificates, these among them.
    pub fn revoke(&self, revoked: &[&Issued]) -> String {
        for issued in revoked {
            self.openssl(&["ca", "-revoke", &issued.certificate], None);
        }
        self.openssl(&["ca", "-gencrl", "-out", "revoked.crl"], None);
        self.path("revoked.crl")
    }

    /// A copy of a key encrypted in such a way that it takes millions of steps to decrypt it, which the file says itself.
    pub fn laborious(&self, key: &str) -> String {
        let out = self.path("laborious.der");
        let arguments = ["pkcs8", "-topk8", "-in", key, "-outform", "DER", "-out", &out];
        let how = ["-v2", "aes-256-cbc", "-iter", "100000", "-passout", "pass:x"];
        self.openssl(&[&arguments[..], &how[..]].concat(), None);
        // The number of iterations as an INTEGER of three bytes: 100,000, then as much as they hold.
        let mut bytes = std::fs::read(&out).expect("a key");
        let at = bytes
            .windows(5)
            .position(|five| five == [2, 3, 1, 0x86, 0xa0])
            .expect("a number");
        bytes[at + 2..at + 5].copy_from_slice(&[0x7f, 0xff, 0xff]);
        std::fs::write(&out, bytes).expect("a file");
        let (text, file) = (self.path("laborious.base64"), self.path("laborious.key"));
        self.openssl(&["base64", "-in", &out, "-out", &text], None);
        let text = std::fs::read_to_string(text).expect("text");
        let pem = format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{text}-----END ENCRYPTED PRIVATE KEY-----\n");
        std::fs::write(&file, pem).expect("a file");
        owned(Path::new(&file), 0o600);
        file
    }

    /// A copy of a key encrypted with `password`.
    pub fn encrypted(&self, key: &str, password: &str) -> String {
        let password = format!("pass:{password}");
        let arguments = [
            "pkey",
            "-in",
            key,
            "-aes256",
            "-passout",
            &password,
            "-out",
            "encrypted.key",
        ];
        self.openssl(&arguments, None);
        owned(&self.dir.join("encrypted.key"), 0o600);
        self.path("encrypted.key")
    }

    fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Runs openssl; with `key`, makes a new one of that name.
    fn openssl(&self, arguments: &[&str], key: Option<&str>) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.dir);
        if !["pkey", "pkcs8", "base64"].contains(&arguments[0]) {
            command.args(["-config", "conf"]);
        }
        let key = key.map(|name| format!("{name}.key"));
        if let Some(key) = &key {
            command.args([
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                key,
            ]);
        }
        let output = command.output().expect("openssl runs");
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if let Some(key) = &key {
            owned(&self.dir.join(key), 0o600);
        }
    }
}

/// Gives a file to the servers' user, with these permissions.
pub fn owned(file: &Path, mode: u32) {
    let id = |name| std::env::var(name).ok().map(|id| id.parse().expect("an id"));
    chown(file, id("CGPSYNC_TEST_UID"), id("CGPSYNC_TEST_GID")).expect("an owner");
    std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).expect("permissions");
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
