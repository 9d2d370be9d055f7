//! Source column to target column: by name, never by position.

use super::collation::Collation;
use super::types::{Change, Type, compare};
use crate::error::{Error, Result, sqlstate};

/// A column of a table of either side.
#[derive(Debug, Clone)]
pub struct Column {
    /// pg_attribute.attname
    pub name: String,
    /// pg_attribute.atttypid
    pub type_oid: u32,
    /// format_type(): for messages
    pub type_name: String,
    /// what it is made of
    pub kind: Type,
    /// how it is read, on a server whose type is none here: an expression of this one
    pub read: Option<String>,
    /// how it sorts, if it is of a type that has collations
    pub collation: Option<Collation>,
    /// pg_attribute.attnum: one that was dropped and added again has another
    pub number: i32,
    /// filled by itself when left out: DEFAULT, its own or its domain's, or identity
    pub has_default: bool,
    /// computed by its server (GENERATED ALWAYS AS (…) STORED) and cannot be written, or the server does not tell
    pub generated: bool,
    /// cannot be NULL: declared so, or the key of a RANGE partitioned table
    pub needed: bool,
    /// declared NOT NULL, and every row satisfies that
    pub not_null: bool,
    /// the type's binary form means the same on every server: a pinned built-in that is no object identifier
    pub binary_safe: bool,
}

impl Column {
    /// pg_type.oid, a domain's being the one below it; 0 for what is not built in.
    pub fn base_oid(&self) -> u32 {
        match &self.kind {
            Type::BuiltIn { oid, .. } => *oid,
            _ => 0,
        }
    }
}

/// What is copied, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// names, in the target's order; the same on both sides
    pub columns: Vec<String>,
    /// the type of each here, as [`Column::typed`] has it
    pub types: Vec<String>,
    /// COPY's binary format rather than text
    pub binary: bool,
    /// a sentence for each column whose type differs and keeps values
    pub differences: Vec<String>,
    /// the same where values may change
    pub changes: Vec<String>,
    /// names of the columns of these
    pub changing: Vec<String>,
    /// columns whose values may name large objects
    pub oids: Vec<String>,
}

impl Column {
    /// Its type as it is compared later, by OID and with its modifier.
    pub fn typed(&self) -> String {
        format!("{} {}", self.type_oid, self.type_name)
    }
}

impl Mapping {
    /// What is computed here need not be what was written there.
    fn note_computed<'a>(&mut self, computed: impl Iterator<Item = &'a Column>, source: &[Column]) {
        for Column { name, .. } in computed {
            if source.iter().any(|s| s.name == *name && !s.generated) {
                self.changes
                    .push(format!("column \"{name}\" is generated here and written on the source"));
                self.changing.push(format!("\"{name}\""));
            }
        }
    }
}

/// Matches the two sides. Without `wanted`, every column of the target but the generated ones is copied; one that the source lacks must
/// have a default, and the source may have no others. With `wanted`, exactly those are copied, in the target's order. What does not
/// fit is one error that lists all of it.
pub fn match_columns(target: &[Column], source: &[Column], wanted: Option<&[String]>) -> Result<Mapping> {
    match wanted {
        Some(wanted) => check_wanted(target, source, wanted)?,
        None => check_all(target, source)?,
    }
    let mut mapping = Mapping {
        columns: Vec::new(),
        types: Vec::new(),
        binary: true,
        differences: Vec::new(),
        changes: Vec::new(),
        changing: Vec::new(),
        oids: Vec::new(),
    };
    let mut unlike = Vec::new();
    let is_wanted = |name: &String| wanted.is_none_or(|wanted| wanted.contains(name));
    let computed = target.iter().filter(|c| c.generated && is_wanted(&c.name));
    mapping.note_computed(computed, source);
    for column in target.iter().filter(|c| !c.generated && is_wanted(&c.name)) {
        // Missing there and let pass: it has a default here.
        let Some(from) = source.iter().find(|s| s.name == column.name) else {
            continue;
        };
        mapping.columns.push(column.name.clone());
        mapping.types.push(column.typed());
        let is_same_type = match (&column.kind, &from.kind) {
            (Type::BuiltIn { name, .. }, Type::BuiltIn { name: other, .. }) => name == other,
            _ => true,
        };
        if from.type_oid != column.type_oid || !is_same_type || !column.binary_safe {
            mapping.binary = false;
        }
        if from.kind.has_oids() {
            mapping.oids.push(format!("\"{}\"", column.name));
        }
        let both = || both_types(column, from);
        match compare(&column.kind, &from.kind) {
            Err(difference) => unlike.push(format!("{}: {difference}", both())),
            Ok(Change::May) => {
                mapping.changes.push(both());
                mapping.changing.push(format!("\"{}\"", column.name));
            }
            Ok(Change::Same) if from.type_name == column.type_name => {}
            Ok(_) => mapping.differences.push(both()),
        }
    }
    if unlike.is_empty() {
        return Ok(mapping);
    }
    Err(Error::new(
        sqlstate::DATATYPE_MISMATCH,
        "types of the same name mean different things here and on the source",
    )
    .detail(sentence(&unlike))
    .hint("Make the types alike, give the column here the type text, or name the other columns with columns => ARRAY[...]."))
}

/// A column with its types on both sides; where one name stands for two types, also with what they are made of.
fn both_types(here: &Column, there: &Column) -> String {
    let (ours, theirs) = (&here.type_name, &there.type_name);
    let name = &here.name;
    match ours == theirs {
        true => format!(
            "column \"{name}\" is {ours}, which is {} here and {} on the source",
            here.kind, there.kind
        ),
        false => format!("column \"{name}\" is {ours} here and {theirs} on the source"),
    }
}

/// True when a column of binary form may hold a value that this server would read as another one: intervals can be infinite since 17, as the
/// extremes of what was finite before (timestamp.h, INTERVAL_NOEND). As text they are an error of the older server's own.
pub fn has_newer_values(columns: &[String], source: &[Column], source_version: u32, target_version: u32) -> bool {
    const INTERVALS: [u32; 2] = [1186, 1187];
    source_version >= 170_000
        && target_version < 170_000
        && source
            .iter()
            .any(|column| INTERVALS.contains(&column.type_oid) && columns.contains(&column.name))
}

/// Every column of one side must have its counterpart on the other, or a default here.
fn check_all(target: &[Column], source: &[Column]) -> Result<()> {
    let mut problems = Vec::new();
    let mut found = false;
    for column in target.iter().filter(|c| !c.generated) {
        let is_there = source.iter().any(|s| s.name == column.name);
        found |= is_there;
        if !is_there && !column.has_default {
            problems.push(format!(
                "column \"{}\" is missing on the source and has no default here",
                column.name
            ));
        }
    }
    for column in source {
        if !target.iter().any(|t| t.name == column.name) {
            problems.push(format!("column \"{}\" of the source is missing here", column.name));
        }
    }
    if !found && problems.is_empty() {
        problems.push("there is no column to copy".to_owned());
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::DATATYPE_MISMATCH,
        "the columns of source and target do not fit",
    )
    .detail(sentence(&problems))
    .hint("Add the column or a default here, or name the wanted ones with columns => ARRAY[...]."))
}

/// Every wanted column must be on both sides, and every other one of the target able to do without a value from the source.
fn check_wanted(target: &[Column], source: &[Column], wanted: &[String]) -> Result<()> {
    let mut missing = Vec::new();
    for name in wanted {
        let here = target.iter().any(|t| t.name == *name);
        let there = source.iter().any(|s| s.name == *name);
        let place = match (here, there) {
            (true, true) => continue,
            (true, false) => "on the source",
            (false, true) => "here",
            (false, false) => "here and on the source",
        };
        missing.push(format!("column \"{name}\" is missing {place}"));
    }
    if !missing.is_empty() {
        return Err(Error::new(
            sqlstate::UNDEFINED_COLUMN,
            "columns names some that do not exist on both sides",
        )
        .detail(sentence(&missing))
        .hint("Names are as the catalog has them: in lower case unless they were created in double quotes."));
    }
    let unusable: Vec<String> = target
        .iter()
        .filter_map(|column| match wanted.contains(&column.name) {
            true if column.generated => Some(format!("column \"{}\" is generated here", column.name)),
            false if column.needed && !column.has_default && !column.generated => Some(format!(
                "column \"{}\" is left out, cannot be null and has no default here",
                column.name
            )),
            _ => None,
        })
        .collect();
    if unusable.is_empty() {
        return Ok(());
    }
    Err(
        Error::bad_parameter("the target cannot be filled with these columns alone")
            .detail(sentence(&unusable))
            .hint("Leave generated columns out; name the others, or give them a default here."),
    )
}

/// Clauses as one sentence.
pub fn sentence(parts: &[String]) -> String {
    let mut text = parts.join("; ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

#[cfg(test)]
mod tests;
