//! The README's own lines, which stories run word for word.

use super::cluster::{Cluster, command};
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

/// The blocks of `language` in a section of the README.
pub fn blocks(section: &str, language: &str) -> Vec<&'static str> {
    let (_, text) = README
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("the README has no section {section}"));
    let text = text.split("\n## ").next().expect("its text");
    let end = |block: &'static str| block.split_once("\n```").expect("its end").0;
    text.split(&format!("```{language}\n")).skip(1).map(end).collect()
}

/// Every block of the README in a language that can be run: its section (empty before the first), language and text.
pub fn examples() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let sections = README.split("\n## ").enumerate();
    sections.flat_map(|(number, text)| {
        let title = if number == 0 {
            ""
        } else {
            text.lines().next().expect("a title")
        };
        let blocks = text.split("```").skip(1).step_by(2);
        blocks.filter_map(move |block| {
            let (language, text) = block.split_once('\n')?;
            ["sql", "sh"]
                .contains(&language)
                .then(|| (title, language, text.trim_end()))
        })
    })
}

/// A shell in which psql is the tested server's, and its connection one to database postgres of `cluster`.
pub fn sh(cluster: &Cluster, user: &str, script: &str) -> Command {
    let psql = command("psql");
    let bin = Path::new(psql.get_program()).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut sh = Command::new("sh");
    sh.args(["-c", script])
        .stdin(Stdio::null())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("PGHOST", &cluster.dir)
        .env("PGPORT", cluster.port.to_string())
        .env("PGUSER", user)
        .env("PGDATABASE", "postgres")
        .env_remove("PGOPTIONS");
    sh
}
