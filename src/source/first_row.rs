//! A row of the source, to try code of this side with.

use super::{Portion, Reader};
use crate::catalog::Database;
use crate::error::Result;

impl Reader {
    /// Values of the first row of `portion` that the server comes upon, as text; None where there is none.
    pub fn first_row(&mut self, portion: &Portion, columns: &[String]) -> Result<Option<Vec<Option<String>>>> {
        // In hexadecimal digits: the session sends text in the server's encoding.
        let one = |column: &String| format!("encode(convert_to(CAST({column} AS text), 'UTF8'), 'hex')");
        let columns: Vec<String> = self.expressions(columns).iter().map(one).collect();
        let filter = portion
            .filter
            .as_ref()
            .map_or(String::new(), |filter| format!(" WHERE {filter}"));
        let sql = format!(
            "SELECT {} FROM {}{filter} LIMIT 1",
            columns.join(", "),
            portion.relation
        );
        let rows = self.session.query(&sql)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let value = |at| {
            row.text(at)
                .and_then(hex)
                .and_then(|bytes| String::from_utf8(bytes).ok())
        };
        Ok(Some((0..columns.len()).map(value).collect()))
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}
