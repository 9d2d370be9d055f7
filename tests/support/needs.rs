//! What a server may lack: a build without TLS or ICU, an installation without contrib. A story that cannot do without is left out or does with
//! less, and `make test` says at its end which ones, and why.

use super::cluster::{Cluster, Side, command};
use std::io::Write;
use std::path::PathBuf;

/// True if the target's installation has no such module; the story that asks is then noted.
pub fn lacks_module(name: &str) -> bool {
    let answer = command("pg_config")
        .arg("--pkglibdir")
        .output()
        .expect("pg_config runs");
    let directory = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    let lacks = !directory.join(format!("{name}.so")).exists();
    if lacks {
        note(&format!("the target's installation has no {name}"));
    }
    lacks
}

/// True if the source's server was built without TLS; the story that asks is then noted.
pub fn lacks_tls() -> bool {
    let help = Side::Source.command("pg_config").arg("--configure").output();
    let options = help.expect("pg_config runs").stdout;
    let options = String::from_utf8_lossy(&options);
    let lacks = !["--with-openssl", "--with-ssl"]
        .iter()
        .any(|with| options.contains(with));
    if lacks {
        note("the source was built without TLS");
    }
    lacks
}

/// True if one of the servers was built without libxml; the story that asks is then noted.
pub fn lacks_xml(clusters: &[&Cluster]) -> bool {
    let fails = |cluster: &&Cluster| match cluster.connect().batch_execute("SELECT '<a/>'::xml") {
        Ok(()) => false,
        Err(error) if error.code().is_some_and(|code| code.code() == "0A000") => true,
        Err(error) => panic!("{error:?}"),
    };
    let lacks = clusters.iter().any(fails);
    if lacks {
        note("a server was built without libxml");
    }
    lacks
}

/// True if one of the servers was built without ICU; the story that asks is then noted.
pub fn lacks_icu(clusters: &[&Cluster]) -> bool {
    let count = "SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'";
    let lacks = clusters.iter().any(|cluster| cluster.text(count) == "0");
    if lacks {
        note("a server was built without ICU");
    }
    lacks
}

/// Notes that the story which calls it is left out, or does with less.
pub fn note(reason: &str) {
    let thread = std::thread::current();
    let path = PathBuf::from(std::env::var_os("CGPSYNC_TEST_DIR").expect("`make test` sets it")).join("left-out");
    let file = std::fs::File::options().append(true).create(true).open(path);
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a story"));
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("a note is written");
}
