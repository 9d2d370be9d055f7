//! Asks a database what new partitions can be called in it.

use crate::error::Result;
use crate::plan::naming::{self, Names, New};
use crate::row::Row;

/// Names of partitions of a table in schema `schema` of the database that `ask` asks, `root` on the source; with what there is to tell.
pub fn names(
    new: &[New<'_>],
    (schema, root): (&str, &str),
    mut ask: impl FnMut(&str) -> Result<Vec<Row>>,
) -> Result<(Names, Vec<String>)> {
    let elsewhere = naming::schemas(new, root);
    let existing = match elsewhere.is_empty() {
        true => Vec::new(),
        false => ask(&naming::schemas_sql(&elsewhere))?,
    };
    let existing = existing.iter().map(|row| row.string(0)).collect::<Result<_>>()?;
    naming::names(new, (schema, root), &existing, |names| {
        let rows = ask(&naming::taken_sql(names))?;
        rows.iter().map(|row| Ok((row.string(0)?, row.string(1)?))).collect()
    })
}
