//! docs/errors.md has every error that the code makes, with what helps and the story that shows it, and nothing
//! else. No server is needed.

mod source;

use crate::error::is_error_code;
use source::{File, GAP, Site};
use std::path::{Path, PathBuf};

const TABLE: &str = "docs/errors.md";
/// What a cell says that has nothing to say.
const NOTHING: &str = "—";
/// Of these, there is nothing to be done here but to look at the other server.
const PROTOCOL_VIOLATION: &str = "08P01";
/// Places whose messages are somebody else's words: what the server has said, what a process of the run has
/// recorded, and what goes into a NOTICE alone.
const OTHERS_WORDS: &[&str] = &[
    "src/pg/report.rs, from_caught",
    "src/run/state/looks.rs, look",
    "src/targets/local/table_like.rs, check",
    "src/targets/remote/replacing.rs, in_units_terms",
];

/// Places whose errors get their hint from whoever has called.
const ADVISED_BY_CALLERS: &[&str] = &[
    "src/targets/mod.rs, find",
    "src/targets/remote/replacing.rs, lock_for_all_segments",
    "src/wire/frames.rs, charge",
    "src/wire/frames.rs, refuse_login",
    "src/wire/polling.rs, block_on",
];

/// A line of the table.
struct Row {
    line: usize,
    code: String,
    pattern: String,
    way_out: String,
    stories: Vec<String>,
}

impl Row {
    /// Whether the place makes this error; where a variable has its SQLSTATE, the message tells.
    fn is_of(&self, site: &Site) -> bool {
        site.patterns.contains(&self.pattern) && (site.codes.is_empty() || site.codes.contains(&self.code))
    }

    /// The same for a message that no place has as one text: all its pieces are in the file. Of a message that is a
    /// server's own, which has none, the SQLSTATE is.
    fn is_composed_in(&self, file: &File) -> bool {
        // What is led by `within` gets its colon there.
        let pieces = self.pattern.split(GAP).map(|piece| piece.trim_matches([' ', ':']));
        let pieces = pieces.filter(|piece| !piece.is_empty()).collect::<Vec<_>>();
        let is_there = |piece: &&str| file.texts.iter().any(|text| has_words(text, piece));
        match &pieces[..] {
            [] => file.codes.contains(&self.code),
            pieces => pieces.iter().all(is_there),
        }
    }

    fn told(&self) -> String {
        format!("{TABLE}, line {}: {} `{}`", self.line, self.code, self.pattern)
    }
}

/// Whether a text has the piece, and no word is longer there.
fn has_words(text: &str, piece: &str) -> bool {
    let is_end = |letter: Option<char>| !letter.is_some_and(char::is_alphanumeric);
    text.match_indices(piece).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + piece.len()..]);
        is_end(before.chars().next_back()) && is_end(after.chars().next())
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of a line, between bars that are not escaped.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|');
    let mut cells = vec![String::new()];
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.next_if_eq(&'|').is_some() => cells.last_mut().expect("a cell").push('|'),
            '|' => cells.push(String::new()),
            letter => cells.last_mut().expect("a cell").push(letter),
        }
    }
    cells.pop();
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join(TABLE)).expect("the table");
    let mut code = "";
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let title = line.strip_prefix("## ").and_then(|title| title.split(' ').next());
        if let Some(next) = title.filter(|title| is_error_code(title)) {
            assert!(code < next, "{TABLE}, line {}: {next} stands behind {code}", number + 1);
            code = next;
        } else if line.starts_with("| `") {
            let [message, _, way_out, story] = &cells(line)[..] else {
                panic!(
                    "{TABLE}, line {}: not | message | when | what to do | story |",
                    number + 1
                );
            };
            rows.push(Row {
                line: number + 1,
                code: code.to_owned(),
                pattern: message.trim_matches('`').to_owned(),
                way_out: way_out.clone(),
                stories: story.split(';').map(|story| story.trim().to_owned()).collect(),
            });
        }
    }
    rows
}

fn sites(files: &[File]) -> impl Iterator<Item = &Site> {
    files.iter().flat_map(|file| &file.sites)
}

/// All complaints in one message, so that a developer sees the whole work at once.
fn none(complaints: impl Iterator<Item = String>, way_out: &str) {
    let complaints = complaints.collect::<Vec<_>>();
    assert!(complaints.is_empty(), "{way_out}\n  {}", complaints.join("\n  "));
}

#[test]
fn every_error_of_the_code_is_in_the_table() {
    let (files, rows) = (source::read(&root()), table());
    // A reader that finds nothing would be content with everything.
    assert!(sites(&files).count() > 200, "{}", sites(&files).count());

    let of_others = |site: &&Site| OTHERS_WORDS.contains(&&*site.place);
    none(
        sites(&files)
            .filter(|site| site.patterns.is_empty() && !of_others(site))
            .map(|site| site.place.clone()),
        "The message of these errors cannot be read from the code. Write it as a literal or a format!, in the call or \
         in a `let` before it; or if it is the words of somebody else, name the place in OTHERS_WORDS in \
         tests/stories/errors_table.rs:",
    );

    let mut missing = Vec::new();
    for site in sites(&files) {
        for pattern in &site.patterns {
            let is_there = |code: &str| {
                let mut of_it = rows.iter().filter(|row| row.pattern == *pattern);
                of_it.any(|row| code.is_empty() || row.code == code)
            };
            let codes = match &site.codes[..] {
                [] => vec![""],
                codes => codes.iter().map(String::as_str).collect(),
            };
            for code in codes.into_iter().filter(|code| !is_there(code)) {
                missing.push(format!(
                    "{}: under `## {code}`: | `{pattern}` | when | what to do, or {NOTHING} | story, or {NOTHING} |",
                    site.place
                ));
            }
        }
    }
    none(
        missing.into_iter(),
        "Errors without a line in docs/errors.md (what cannot happen is Error::internal, and has none). Write these:",
    );
}

#[test]
fn every_line_of_the_table_is_an_error_with_a_story_that_exists() {
    let (files, rows) = (source::read(&root()), table());
    assert!(rows.len() > 200, "{}", rows.len());

    none(
        rows.iter().enumerate().filter_map(|(at, row)| {
            let before = rows[..at]
                .iter()
                .find(|other| (&other.code, &other.pattern) == (&row.code, &row.pattern))?;
            Some(format!("{} is line {} already", row.told(), before.line))
        }),
        "Two lines for one error. Join them:",
    );

    let is_made =
        |row: &Row| sites(&files).any(|site| row.is_of(site)) || files.iter().any(|file| row.is_composed_in(file));
    none(
        rows.iter().filter(|row| !is_made(row)).map(Row::told),
        "The code does not make these errors any more, or with another SQLSTATE or text. Change these lines or \
         remove them:",
    );

    let missing = |story: &&String| *story != NOTHING && !exists(story);
    none(
        rows.iter()
            .filter_map(|row| Some(format!("{}: {}", row.told(), row.stories.iter().find(missing)?))),
        "No such story. It is written module::function, of tests/stories/module.rs (several with ; between), or — \
         where there is none:",
    );
}

/// Whether `module::function` is in the file of the module.
fn exists(story: &str) -> bool {
    let Some((module, function)) = story.rsplit_once("::") else {
        return false;
    };
    let path = format!("tests/stories/{}.rs", module.replace("::", "/"));
    let text = std::fs::read_to_string(root().join(Path::new(&path))).unwrap_or_default();
    text.contains(&format!("fn {function}("))
}

#[test]
fn what_the_table_says_to_do_is_said_by_a_hint() {
    let (files, rows) = (source::read(&root()), table());
    let made = |row: &Row| sites(&files).filter(|site| row.is_of(site)).collect::<Vec<_>>();

    let is_silent = |row: &&Row| match &made(row)[..] {
        [] => !files.iter().any(|file| file.has_hint && row.is_composed_in(file)),
        sites => !sites
            .iter()
            .any(|site| site.is_near_hint || ADVISED_BY_CALLERS.contains(&&*site.place)),
    };
    none(
        rows.iter()
            .filter(|row| row.way_out != NOTHING)
            .filter(is_silent)
            .map(Row::told),
        "The table says what to do, and the error has no hint. Add `.hint(…)` to the error in src/, or write — in the \
         table; if who calls adds the hint, name the place in ADVISED_BY_CALLERS in tests/stories/errors_table.rs:",
    );

    let is_advised = |row: &&Row| made(row).iter().any(|site| site.has_own_hint);
    none(
        rows.iter()
            .filter(|row| row.way_out == NOTHING && row.code != PROTOCOL_VIOLATION)
            .filter(is_advised)
            .map(Row::told),
        "The error has a hint, and the table says that there is nothing to do. Write there what the hint says:",
    );
}
