//! One row of an answer, whichever server has given it: text, column by column.

use crate::error::{Error, Result, tame};
use std::str::FromStr;

/// Longest name that is believed; PostgreSQL's and its relatives' have 63 bytes.
const LONGEST_NAME: usize = 255;

/// One row; None is NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(Vec<Option<String>>);

impl From<Vec<Option<String>>> for Row {
    fn from(columns: Vec<Option<String>>) -> Row {
        Row(columns)
    }
}

impl Row {
    /// All columns.
    pub fn texts(&self) -> &[Option<String>] {
        &self.0
    }

    /// Column `at` (from 0) as text.
    pub fn text(&self, at: usize) -> Option<&str> {
        self.0.get(at).and_then(|value| value.as_deref())
    }

    /// The same, to keep.
    pub fn owned(&self, at: usize) -> Option<String> {
        self.text(at).map(str::to_owned)
    }

    /// The same; None also for the empty text, which is NULL to openGauss.
    pub fn filled(&self, at: usize) -> Option<String> {
        self.owned(at).filter(|text| !text.is_empty())
    }

    /// Column `at` as text that is never NULL.
    pub fn string(&self, at: usize) -> Result<String> {
        self.owned(at).ok_or_else(|| no_value(at))
    }

    /// Column `at`, which is a name.
    pub fn name(&self, at: usize) -> Result<String> {
        self.string(at).and_then(|name| match name.len() {
            1..=LONGEST_NAME => Ok(name),
            _ => Err(
                Error::protocol("a catalog gave a name that cannot be one").detail(format!(
                    "It has {} bytes and begins with \"{}\".",
                    name.len(),
                    tame(&name)
                )),
            ),
        })
    }

    /// Column `at` parsed; None for NULL.
    pub fn get<T: FromStr>(&self, at: usize) -> Result<Option<T>> {
        let read = |text: &str| {
            let wrong = || format!("an answer has \"{}\" where a number must be", tame(text));
            text.parse().map_err(|_| Error::protocol(wrong()))
        };
        self.text(at).map(read).transpose()
    }

    /// Column `at` parsed, never NULL.
    pub fn need<T: FromStr>(&self, at: usize) -> Result<T> {
        self.get(at)?.ok_or_else(|| no_value(at))
    }

    /// Column `at` as a whole number; None for NULL, and for what is none. Before 8.4 relpages times a block size is printed as a float.
    pub fn number<T: FromStr>(&self, at: usize) -> Option<T> {
        self.text(at)?.split('.').next()?.parse().ok()
    }

    /// A boolean column; NULL is false.
    pub fn is(&self, at: usize) -> bool {
        self.text(at) == Some("t")
    }
}

fn no_value(at: usize) -> Error {
    Error::protocol(format!(
        "column {} of an answer gave no value where one must be",
        at + 1
    ))
}
