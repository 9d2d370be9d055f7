//! Values in statements, and how they travel.

use super::Pair;
use super::swapped::major;

/// Intervals may be infinite since 17, for which older servers have no binary form.
pub fn intervals_go_as_text(pair: &Pair) -> bool {
    major(&pair.source) >= 17 && major(&pair.target) < 17
}

/// `value` as a literal.
pub fn literal(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// COPY's format in the last run.
pub fn format_of_last_run(pair: &Pair) -> String {
    pair.target
        .text("SELECT format FROM cgpsync_run ORDER BY run_id DESC LIMIT 1")
}
