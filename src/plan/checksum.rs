//! SQL that counts and sums up a unit's rows, the same on both sides and down to PostgreSQL 8.3: what two servers answer is equal
//! exactly when (but for an accident among 2^64 digests) they hold the same rows, in whatever order, however their settings print them.
//!
//! A row is an array of one bytea for each column, NULL where the value is NULL. The array's binary form has the length of each entry,
//! so that no value can look like two of them, like none, or like NULL. A unit's checksum is the sum of 64 bits of each row's digest:
//! order does not matter, a doubled row does. `form` makes the entries.

mod form;
#[cfg(test)]
mod tests;

use super::types::Type;
use form::Forms;

/// A column to compare.
#[derive(Debug, Clone)]
pub struct Compared {
    /// name on both sides
    pub name: String,
    /// how the source reads it, if not by that
    pub read: Option<String>,
    /// type here
    pub here: Type,
    /// type on the source
    pub there: Type,
    /// both are the same built-in type by their OIDs, and no domain
    pub is_pinned: bool,
}

/// What the source can do, as far as it matters. This server can do all of it.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// server_version_num
    pub version: u32,
    /// binary times are integers
    pub integer_datetimes: bool,
    /// it has sha256(bytea)
    pub sha256: bool,
}

/// The columns as both sides' statements have them.
#[derive(Debug, Default)]
pub struct Entries {
    /// here
    pub here: Vec<String>,
    /// on the source
    pub there: Vec<String>,
    /// columns whose values the source converts as the copy does, since nothing leads back to its type
    pub converted: Vec<String>,
}

/// What statements are made of.
#[derive(Debug, Clone, Copy)]
pub struct Checksum {
    abilities: Abilities,
}

impl Checksum {
    /// For a source with these abilities.
    pub fn new(abilities: Abilities) -> Checksum {
        Checksum { abilities }
    }

    /// The columns' entries.
    pub fn entries(&self, columns: &[Compared]) -> Entries {
        let forms = Forms::new(self.abilities);
        let mut entries = Entries::default();
        for column in columns {
            let pair = forms.column(column);
            entries.here.push(forms.sealed(&pair.here));
            entries.there.push(forms.sealed(&pair.there));
            if pair.is_converted {
                entries.converted.push(format!("\"{}\"", column.name));
            }
        }
        entries
    }

    /// Counts and sums up the rows of `relation`, quoted, that satisfy `filter`: one row of count and checksum.
    pub fn of(&self, entries: &[String], relation: &str, filter: Option<&str>) -> String {
        let row = format!("array_send(ARRAY[{}])", entries.join(", "));
        let digest = match self.abilities.sha256 {
            true => format!("encode(sha256({row}), 'hex')"),
            false => format!("md5({row})"),
        };
        let number = format!("CAST(CAST('x' || substr({digest}, 1, 16) AS bit(64)) AS bigint)");
        select(
            &format!("count(*) AS n, COALESCE(sum({number}), 0) AS s"),
            relation,
            filter,
        )
    }
}

/// Counts the rows of `relation`, quoted, that satisfy `filter`: one row, one column.
pub fn count(relation: &str, filter: Option<&str>) -> String {
    select("count(*) AS n", relation, filter)
}

fn select(figures: &str, relation: &str, filter: Option<&str>) -> String {
    let filter = filter.map(|f| format!(" WHERE {f}")).unwrap_or_default();
    format!("SELECT {figures} FROM {relation}{filter}")
}
