//! What a partition is told by: a column of the key, or an expression, as both sides know it.

use super::collation::Collation;
use super::copy_sql::{quote_ident, quote_literal};
use super::types::FIRST_NORMAL_OID;

/// A column of a partition key, or the single expression that is the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyColumn {
    /// attname, or the expression as its server prints it
    pub name: String,
    /// it is an expression
    pub expression: bool,
    /// pg_type.oid; a domain's is the one below it
    pub type_oid: u32,
    /// pg_type.typname, likewise
    pub type_name: String,
    /// modifier of that type: -1 for none
    pub modifier: i32,
    /// how it sorts; None for types without collations
    pub collation: Option<Collation>,
    /// labels of an enum in their order; empty for other types
    pub labels: Vec<String>,
    /// quoted, qualified type without typmod, as this database names it; empty for a column of the
    /// source that has no counterpart in the target
    pub type_sql: String,
    /// how the target orders its values: the type as it is named there, and COLLATE where it has collations; empty
    /// as above
    pub ordering: String,
    /// the type with its modifier, for a cast; empty as above
    pub cast_sql: String,
    /// it is text whose RANGE bounds are digits, as many in each, on both sides
    pub by_digits: bool,
    /// its RANGE bounds are ASCII on both sides
    pub by_ascii: bool,
    /// of the target's: the source can compare bytes as UTF8 has them
    pub sorts_bytes_there: bool,
    /// of the target's: how the source evaluates conditions on it
    pub reading: Reading,
    /// of the source's: its server may read the bounds of some partitions in another way now than when rows came
    pub is_doubtful: bool,
    /// of the source's, in the target's terms: its values are rounded on the way here, so that some lie beside their partition
    pub is_rounded: bool,
}

impl KeyColumn {
    /// The key as SQL.
    pub fn sql(&self) -> String {
        match self.expression {
            true => format!("({})", self.name),
            false => quote_ident(&self.name),
        }
    }

    /// What tells it on the other side: the key as SQL, an expression without the casts to text that only some types of columns need.
    pub fn name_there(&self) -> String {
        match self.expression {
            true => without_casts_to_text(&self.name),
            false => self.sql(),
        }
    }

    /// Strings that differ are never equal to its collation.
    pub fn is_deterministic(&self) -> bool {
        self.collation.as_ref().is_none_or(|collation| collation.deterministic)
    }

    /// Both surely sort alike what may be in the key.
    pub fn sorts_as(&self, other: &KeyColumn) -> bool {
        match (&self.collation, &other.collation) {
            (Some(here), Some(there)) => here.sorts_as(there),
            (None, None) => true,
            _ => false,
        }
    }

    /// Values are equal when their texts are, on both sides and whatever the type is called: labels of an enum, text and varchar.
    pub fn is_told_by_text(&self) -> bool {
        !self.labels.is_empty() || matches!(self.type_oid, 25 | 1043)
    }

    /// The condition that the key is one of `values`, or none of them, for either side.
    pub fn is_one_of(&self, values: &[&str], none: bool) -> String {
        if self.is_told_by_text() {
            return self.is_one_of_texts(values, none);
        }
        let list: Vec<String> = values.iter().map(|value| self.literal(value)).collect();
        membership(&self.sql(), &list, none)
    }

    /// The same, compared as text: `values` may be some that the type lacks.
    pub fn is_one_of_texts(&self, values: &[&str], none: bool) -> String {
        let list: Vec<String> = values.iter().map(|value| quote_literal(value)).collect();
        let key = self.sql();
        // For types that are not built in as in reading::text_of; a composite with a NULL in it is no value of LIST that is told by its text.
        let text = match self.type_oid < FIRST_NORMAL_OID {
            true => format!("CAST({key} AS pg_catalog.text)"),
            false => format!("CASE WHEN {key} IS NOT NULL THEN pg_catalog.format('%s', {key}) END"),
        };
        membership(&text, &list, none)
    }

    /// `value` as a literal of the key's type, for either side. What a type that is not built in is
    /// called over there is not known: the other side reads such a literal as its own key's type.
    pub fn literal(&self, value: &str) -> String {
        match self.type_oid < FIRST_NORMAL_OID && !self.type_sql.is_empty() {
            true => format!("CAST({} AS {})", quote_literal(value), self.type_sql),
            false => quote_literal(value),
        }
    }
}

/// `lower(l)` for the `lower((l)::text)` that is printed where l is a varchar or a domain.
fn without_casts_to_text(expression: &str) -> String {
    let mut text = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once('(') {
        text.push_str(before);
        let column = after.split_once(")::text");
        match column.filter(|(name, _)| !name.is_empty() && !name.contains(['(', ')', '\'', ' '])) {
            Some((name, after)) => {
                text.push_str(name);
                rest = after;
            }
            None => {
                text.push('(');
                rest = after;
            }
        }
    }
    text + rest
}

fn membership(key: &str, list: &[String], none: bool) -> String {
    let not = if none { "NOT " } else { "" };
    format!("{key} {not}IN ({})", list.join(", "))
}

/// Type and collation of a key whose type is not built in, as its `type_sql` and `ordering`: what it is called could come to mean another type.
pub fn named_by_oid(type_oid: u32, collation: u32) -> String {
    format!("oid {type_oid} {collation}")
}

/// Type and collation of what [`named_by_oid`] has made; None for SQL.
pub fn by_oid(text: &str) -> Option<(u32, u32)> {
    let (type_oid, collation) = text.strip_prefix("oid ")?.split_once(' ')?;
    Some((type_oid.parse().ok()?, collation.parse().ok()?))
}

/// How the source evaluates a condition on a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reading {
    /// as this server does
    #[default]
    Native,
    /// as this server does, if both key and literals go through these expressions, in which @ stands for them
    Via {
        /// of the source's column
        key: String,
        /// of a literal of the key's type
        value: String,
        /// how far a value may be moved on the way: within it the bare column is compared, too, so that indexes and partitions serve
        margin: Option<String>,
    },
    /// as this server does where a range begins with a day and ends before one, for its times are cut to their day on the way. Else if the
    /// key goes through this expression, in which @ stands for the column
    Cut(String),
    /// not as this server does: its values have to be known, and named. The expression gives a value's text; @ stands for the column
    Named(String),
    /// the same, and all of its values are among those that are ranked
    Known(String),
    /// not at all: which row belongs to which partition is told here
    Untold,
}
