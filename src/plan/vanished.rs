//! What becomes of a partition here whose range has vanished from the source.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The argument `vanished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vanished {
    /// its rows stay, and are told of
    Keep,
    /// it gets what the source has for its range: nothing
    Empty,
    /// it is dropped
    Drop,
}

impl Vanished {
    /// As written in SQL.
    pub fn parse(text: &str) -> Result<Vanished> {
        match text {
            "keep" => Ok(Vanished::Keep),
            "empty" => Ok(Vanished::Empty),
            "drop" => Ok(Vanished::Drop),
            _ => Err(
                Error::bad_parameter(format!("vanished must be keep, empty or drop, not \"{text}\""))
                    .hint("keep leaves alone what the source no longer has; empty and drop follow it."),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_words_are_known_and_an_error_names_them() {
        for (text, vanished) in [
            ("keep", Vanished::Keep),
            ("empty", Vanished::Empty),
            ("drop", Vanished::Drop),
        ] {
            assert_eq!(Vanished::parse(text), Ok(vanished));
            let json = serde_json::to_string(&vanished).expect("its form in the history");
            assert_eq!(json, format!("\"{text}\""));
        }
        let error = Vanished::parse("KEEP").expect_err("another word");
        assert_eq!(error.message, "vanished must be keep, empty or drop, not \"KEEP\"");
        assert_eq!(error.sqlstate, "22023");
    }
}
