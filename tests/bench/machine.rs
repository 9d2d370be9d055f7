//! Where and with what was measured.

use crate::ground::{EVERY, Ground, SOURCE, first_line, text};
use crate::settings::Settings;
use std::process::Command;

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn field(file: &str, name: &str) -> String {
    let content = std::fs::read_to_string(file).unwrap_or_default();
    let line = content.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The disk below a directory: file system, device, and whether it says it rotates.
fn disk(path: &str) -> String {
    let line = output("df", &["--output=source,fstype,size", "-h", path]);
    let line = line
        .lines()
        .last()
        .unwrap_or("unknown")
        .split_whitespace()
        .collect::<Vec<_>>();
    let mount = output("df", &["--output=source", path]);
    let device = mount.lines().last().unwrap_or("").to_owned();
    let model = output("lsblk", &["-d", "-n", "-o", "MODEL,ROTA", &device]);
    let model = model.split_whitespace().collect::<Vec<_>>().join(" ");
    match model.is_empty() {
        true => line.join(", "),
        false => format!("{} ({model})", line.join(", ")),
    }
}

/// A list of it all, in Markdown.
pub fn describe(ground: &Ground, settings: &Settings) -> Result<String, String> {
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let memory: f64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lines = [
        ("date", output("date", &["-u", "+%Y-%m-%d"])),
        (
            "commit",
            std::env::var("BENCH_COMMIT").unwrap_or_else(|_| "unknown".to_owned()),
        ),
        ("called with", settings.line()),
        (
            "machine",
            format!(
                "{cores} cores, {}, {:.0} GB memory",
                field("/proc/cpuinfo", "model name"),
                memory / 1024.0 / 1024.0
            ),
        ),
        ("disk", disk(&ground.files.display().to_string())),
        ("kernel", format!("Linux {}", kernel.trim())),
        ("servers, all on it", text(&ground.target, "SELECT version()")?),
        ("psql", first_line(ground, "psql", &["--version"])),
        ("pgcopydb", first_line(ground, "pgcopydb", &["--version"])),
        ("settings of every server", EVERY.trim().replace('\n', ", ")),
        ("of the source only, for logical replication", SOURCE.trim().to_owned()),
    ];
    let lines = lines.iter().map(|(name, value)| format!("- {name}: {value}\n"));
    Ok(lines.collect())
}
