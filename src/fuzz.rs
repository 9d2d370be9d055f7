//! Everything that reads bytes or text of a source's making, or of a file's, with input that nobody would write: no panic, no endless loop, no
//! deep stack, nothing invented, nothing let through that could be executed. A moment's worth runs with the unit tests; `make fuzz` goes on
//! for `FUZZ_SECONDS` each.

mod files;
mod frames;
mod logins;
mod pages;
mod text;
mod tree;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use std::time::{Duration, Instant};

/// Cases between two looks at the clock; all there are without FUZZ_SECONDS.
const CASES: u32 = 300;
/// Much less than the server gives a backend (max_stack_depth, 2 MB at least), as debug builds need more.
const STACK: usize = 512 * 1024;

/// Checks `property` for values of `strategy`, in a thread whose stack is small.
fn fuzz<S>(name: &str, strategy: S, property: impl Fn(S::Value) -> TestCaseResult + Send + 'static)
where
    S: Strategy + Send + 'static,
{
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(seconds.unwrap_or(0));
    let run = move || {
        let began = Instant::now();
        let mut cases = 0u64;
        loop {
            let config = Config {
                cases: CASES,
                failure_persistence: None,
                ..Config::default()
            };
            if let Err(error) = TestRunner::new(config).run(&strategy, &property) {
                return Err(error.to_string());
            }
            cases += u64::from(CASES);
            if began.elapsed() >= limit {
                return Ok((cases, began.elapsed()));
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    match thread.expect("a thread").join().expect("no panic outside of a case") {
        Ok((cases, time)) => println!("fuzz {name}: {cases} cases in {:.1} s", time.as_secs_f64()),
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Text made of `words`, of any characters between them, and now and then of one word over and over.
fn soup(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop::sample::select(words).prop_map(str::to_owned);
    let piece = prop_oneof![
        6 => word.clone(),
        2 => prop::sample::select(&["'", "\"", "(", ")", ",", " ", "\\", "\n", "\0", "''", "ü", "\u{1f418}"][..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z0-9]{1,4}",
    ];
    let short = prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    let repeated = (word, 1usize..5_000, ".{0,8}").prop_map(|(word, times, end)| word.repeat(times) + &end);
    prop_oneof![40 => short, 1 => repeated]
}

/// Any text that a server could hold in a value or a name: no zero byte.
fn value() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(
        &[
            "\"; DROP TABLE x; --",
            "a\"b",
            "a'b",
            "%s",
            "\\",
            "\n",
            "') TO ('",
            "::date",
            ".",
            "MINVALUE",
            "NULL",
        ][..],
    );
    let any_text = prop::collection::vec(any::<char>().prop_filter("a zero byte", |c| *c != '\0'), 1..12);
    prop_oneof![
        any_text.prop_map(|chars| chars.into_iter().collect::<String>()),
        prop::collection::vec(odd, 1..4).prop_map(|pieces| pieces.concat()),
        "[a-z_][a-z0-9_]{0,8}",
    ]
}

/// What is left of SQL when every literal and quoted identifier has gone, and these, as a server with standard_conforming_strings on reads them.
/// None where one is not closed.
fn lex(sql: &str) -> Option<(String, Vec<String>)> {
    let (mut rest, mut quoted) = (String::new(), Vec::new());
    let mut chars = sql.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        if !matches!(c, '\'' | '"') {
            rest.push(c);
            before = c;
            continue;
        }
        let escapes = c == '\'' && matches!(before, 'E' | 'e');
        let mut text = String::new();
        loop {
            match chars.next()? {
                '\\' if escapes => text.push(chars.next()?),
                q if q == c => {
                    if chars.next_if_eq(&c).is_none() {
                        break;
                    }
                    text.push(c);
                }
                other => text.push(other),
            }
        }
        quoted.push(text);
        rest.push('#');
        before = '#';
    }
    Some((rest, quoted))
}
