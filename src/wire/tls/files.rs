//! Reading a file that an option names. Whoever may create a server says which, and the server's own user opens it: so only what is a regular
//! file is opened, nothing is waited for, and no more than a little is read. A FIFO or a device would keep the process where no signal
//! reaches it.

use crate::error::{Error, Result};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Most bytes of a file. The certificates that a whole system trusts are a quarter of it.
pub const LONGEST: usize = 1 << 20;
/// Most bytes of all files of a directory together.
const LONGEST_IN_ALL: usize = 16 << 20;
/// Most entries of a directory, whatever their names.
const MOST_ENTRIES: usize = 10_000;

/// What helps with a file that cannot be had: often it is one of the client's.
const WHOSE: &str = "It is read on this server, by the operating system's user that runs it: the option must name a file (sslcrldir: a directory) \
                     there that this user may read.";

/// A regular file that is open.
pub struct Opened<'a> {
    file: File,
    /// what fstat(2) says of it
    pub facts: Metadata,
    what: &'a str,
    path: &'a str,
}

impl<'a> Opened<'a> {
    /// Opens `path`; `what` is what messages call it.
    pub fn open(what: &'a str, path: &'a str) -> Result<Self> {
        let failed = |e: io::Error| unreadable(what, path, &e);
        // Some devices do something when they are opened, so it is looked at first; and once more after, as it may be another by then.
        let checked = |facts: Metadata| match facts.is_file() {
            true => Ok(facts),
            false => Err(Error::bad_parameter(format!("{what} \"{path}\" is not a regular file")).hint(WHOSE)),
        };
        checked(std::fs::metadata(path).map_err(failed)?)?;
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(path)
            .map_err(failed)?;
        let facts = checked(file.metadata().map_err(failed)?)?;
        Ok(Opened {
            file,
            facts,
            what,
            path,
        })
    }

    /// All of it. How long the file says it is does not matter: that may be wrong, as in /proc, or change.
    pub fn read(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = LONGEST as u64 + 1;
        let read = self.file.take(limit).read_to_end(&mut bytes);
        read.map_err(|e| unreadable(self.what, self.path, &e))?;
        if bytes.len() > LONGEST {
            return Err(
                Error::bad_parameter(format!("{} \"{}\" is too long", self.what, self.path))
                    .detail(format!("It may have {} MB at most.", LONGEST >> 20)),
            );
        }
        Ok(bytes)
    }
}

/// Gives `each` the path and the content of all files in directory `path` that OpenSSL would look for revocation lists in. All or an error:
/// a list that is left out verifies less than the option says.
pub fn read_hashed(path: &str, mut each: impl FnMut(&str, Vec<u8>) -> Result<()>) -> Result<()> {
    let what = "certificate revocation list directory";
    let failed = |e: io::Error| unreadable(what, path, &e);
    let too_big = |most: String| Err(Error::bad_parameter(format!("{what} \"{path}\" is too big")).detail(most));
    let mut total = 0;
    for (number, entry) in std::fs::read_dir(path).map_err(failed)?.enumerate() {
        if number == MOST_ENTRIES {
            return too_big(format!("It may have {MOST_ENTRIES} entries at most."));
        }
        let name = entry.map_err(failed)?.file_name();
        if !is_hashed(name.as_bytes()) {
            continue;
        }
        let file = Path::new(path).join(name).display().to_string();
        let bytes = Opened::open("certificate revocation list file", &file)?.read()?;
        total += bytes.len();
        if total > LONGEST_IN_ALL {
            return too_big(format!(
                "Its lists may have {} MB at most, together.",
                LONGEST_IN_ALL >> 20
            ));
        }
        each(&file, bytes)?;
    }
    Ok(())
}

/// Whether OpenSSL would look for a revocation list in a file of this name: the hash of an issuer's, `.r` and a number, as `openssl rehash` makes them.
pub fn is_hashed(name: &[u8]) -> bool {
    let Some((hash, rest)) = name.split_first_chunk::<8>() else {
        return false;
    };
    let Some(number) = rest.strip_prefix(b".r") else {
        return false;
    };
    hash.iter().all(u8::is_ascii_hexdigit) && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

fn unreadable(what: &str, path: &str, error: &io::Error) -> Error {
    let reason = error.to_string();
    // The system's words without its number.
    let reason = reason.split(" (os error").next().unwrap_or_default();
    Error::bad_parameter(format!("could not read {what} \"{path}\""))
        .detail(format!("{reason}."))
        .hint(WHOSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::sqlstate;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    /// A directory of one test's own.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("cgpsync-files-{}-{name}", std::process::id()));
            fs::create_dir(&dir).expect("a directory");
            Dir(dir)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        fn write(&self, name: &str, bytes: &[u8]) -> String {
            fs::write(self.0.join(name), bytes).expect("a file");
            self.path(name)
        }

        fn fifo(&self, name: &str) -> String {
            let made = std::process::Command::new("mkfifo").arg(self.0.join(name)).status();
            assert!(made.expect("mkfifo runs").success());
            self.path(name)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(path: &str) -> Result<Vec<u8>> {
        Opened::open("file", path)?.read()
    }

    /// The error as people see it.
    fn error<T>(result: Result<T>) -> String {
        let error = result.err().expect("an error");
        assert_eq!(error.sqlstate, sqlstate::INVALID_PARAMETER_VALUE);
        format!("{}|{}", error.message, error.detail.unwrap_or_default())
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = Dir::new("kinds");
        let fifo = dir.fifo("fifo");
        symlink(&fifo, dir.0.join("link")).expect("a link");
        let listener = std::os::unix::net::UnixListener::bind(dir.0.join("socket")).expect("a socket");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        for path in [
            &fifo,
            &dir.path("link"),
            &dir.path("socket"),
            &pipe,
            &dir.path(""),
            "/dev/urandom",
            "/dev/null",
        ] {
            assert_eq!(error(read(path)), format!("file \"{path}\" is not a regular file|"));
        }
        drop(listener);
        symlink(dir.write("real", b"text"), dir.0.join("good")).expect("a link");
        assert_eq!(read(&dir.path("good")).expect("a file"), b"text");
    }

    #[test]
    fn what_the_system_says_is_told() {
        let dir = Dir::new("errors");
        assert!(error(read(&dir.path("none"))).contains("could not read file"));
        assert!(error(read(&dir.path("none"))).contains("|No such file or directory"));
        let secret = dir.write("secret", b"text");
        fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).expect("permissions");
        // Root reads it all the same.
        if fs::metadata("/proc/self").expect("a process").uid() != 0 {
            assert!(error(read(&secret)).contains("|Permission denied"));
        }
    }

    #[test]
    fn a_file_has_a_megabyte_at_most_whatever_it_says() {
        let dir = Dir::new("sizes");
        let full = dir.write("full", &vec![b'x'; LONGEST]);
        assert_eq!(read(&full).expect("a file").len(), LONGEST);
        let long = File::create(dir.0.join("long")).expect("a file");
        long.set_len(LONGEST as u64 + 1).expect("a length");
        let too_long = error(read(&dir.path("long")));
        assert!(
            too_long.ends_with("is too long|It may have 1 MB at most."),
            "{too_long}"
        );
        let growing = dir.write("growing", b"x");
        let opened = Opened::open("file", &growing).expect("a file");
        let more = File::options().write(true).open(&growing).expect("a file");
        more.set_len(1 << 40).expect("a length");
        assert!(error(opened.read()).contains("too long"));
        // This one says that it is empty.
        let status = File::open("/proc/self/status").and_then(|file| file.metadata());
        assert_eq!(status.expect("a file").len(), 0);
        assert!(!read("/proc/self/status").expect("a file").is_empty());
        assert!(read(&dir.write("empty", b"")).expect("a file").is_empty());
    }

    fn hashed(dir: &Dir) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        read_hashed(&dir.path(""), |path, bytes| {
            found.push((path.rsplit('/').next().unwrap_or_default().to_owned(), bytes));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    #[test]
    fn a_directory_is_read_by_the_names_of_hashes() {
        let dir = Dir::new("hashed");
        dir.write("0123abcd.r0", b"a");
        let list = dir.write("list.crl", b"b");
        symlink(list, dir.0.join("0123abcd.r11")).expect("a link");
        dir.fifo("fifo");
        let odd = ["0123abcd.0", "0123abcd.r", "0123abc.r0", "x123abcd.r0", "0123abcd.r0~"];
        odd.iter().for_each(|name| drop(dir.write(name, b"c")));
        let expected = [
            ("0123abcd.r0".to_owned(), b"a".to_vec()),
            ("0123abcd.r11".to_owned(), b"b".to_vec()),
        ];
        assert_eq!(hashed(&dir).expect("lists"), expected);
        dir.fifo("ffffffff.r0");
        assert!(error(hashed(&dir)).contains("ffffffff.r0\" is not a regular file"));
        fs::remove_file(dir.path("ffffffff.r0")).expect("it was there");
        symlink("nowhere", dir.0.join("ffffffff.r0")).expect("a link");
        assert!(error(hashed(&dir)).contains("No such file or directory"));
        let file = dir.path("list.crl");
        assert!(error(read_hashed(&file, |_, _| Ok(()))).contains("Not a directory"));
        assert!(error(read_hashed(&dir.path("none"), |_, _| Ok(()))).contains("No such file or directory"));
    }

    #[test]
    fn a_directory_has_a_limit() {
        let dir = Dir::new("limits");
        let lists = LONGEST_IN_ALL / LONGEST;
        for number in 0..lists {
            let file = File::create(dir.0.join(format!("00000000.r{number}"))).expect("a file");
            file.set_len(LONGEST as u64).expect("a length");
        }
        assert_eq!(hashed(&dir).expect("lists").len(), lists);
        dir.write("00000001.r0", b"x");
        assert!(error(hashed(&dir)).ends_with("is too big|Its lists may have 16 MB at most, together."));
        let dir = Dir::new("crowd");
        for number in 0..=MOST_ENTRIES {
            dir.write(&number.to_string(), b"");
        }
        assert!(error(hashed(&dir)).ends_with("is too big|It may have 10000 entries at most."));
    }
}
