//! Source column to target column: by name, never by position.

use crate::error::{Error, Result, sqlstate};

/// A column of the target table.
#[derive(Debug, Clone)]
pub struct TargetColumn {
    /// pg_attribute.attname
    pub name: String,
    /// pg_attribute.atttypid
    pub type_oid: u32,
    /// format_type(): for messages
    pub type_name: String,
    /// filled by itself when left out: DEFAULT or identity
    pub has_default: bool,
    /// GENERATED ALWAYS AS (…) STORED: cannot be written
    pub generated: bool,
    /// the type's binary form means the same on every server: a pinned built-in that is no object identifier
    pub binary_safe: bool,
}

/// A column of the source table.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// name on the source
    pub name: String,
    /// its type's OID there
    pub type_oid: u32,
    /// format_type(): for messages
    pub type_name: String,
}

/// What is copied, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// names, in the target's order; the same on both sides
    pub columns: Vec<String>,
    /// COPY's binary format rather than text
    pub binary: bool,
    /// a sentence for each column whose type differs
    pub differences: Vec<String>,
}

/// Matches the two sides. Generated columns of the target are left out; a target column that the source lacks must have a default.
/// Anything else that does not fit is one error that lists every difference.
pub fn match_columns(target: &[TargetColumn], source: &[SourceColumn]) -> Result<Mapping> {
    let mut problems = Vec::new();
    let mut mapping = Mapping {
        columns: Vec::new(),
        binary: true,
        differences: Vec::new(),
    };
    for column in target.iter().filter(|c| !c.generated) {
        match source.iter().find(|s| s.name == column.name) {
            Some(from) => {
                mapping.columns.push(column.name.clone());
                if from.type_oid != column.type_oid || !column.binary_safe {
                    mapping.binary = false;
                }
                if from.type_name != column.type_name {
                    mapping.differences.push(format!(
                        "column \"{}\" is {} here and {} on the source",
                        column.name, column.type_name, from.type_name
                    ));
                }
            }
            None if column.has_default => {}
            None => problems.push(format!(
                "column \"{}\" is missing on the source and has no default here",
                column.name
            )),
        }
    }
    for column in source {
        if !target.iter().any(|t| t.name == column.name) {
            problems.push(format!("column \"{}\" of the source is missing here", column.name));
        }
    }
    if mapping.columns.is_empty() && problems.is_empty() {
        problems.push("there is no column to copy".to_owned());
    }
    if problems.is_empty() {
        return Ok(mapping);
    }
    Err(Error::new(
        sqlstate::DATATYPE_MISMATCH,
        "the columns of source and target do not fit",
    )
    .detail(sentence(&problems))
    .hint("Add the column or a default here, or name a view of the wanted columns as source_table."))
}

fn sentence(parts: &[String]) -> String {
    let mut text = parts.join("; ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: u32 = 23;
    const TEXT: u32 = 25;

    fn here(name: &str, type_oid: u32) -> TargetColumn {
        TargetColumn {
            name: name.into(),
            type_oid,
            type_name: format!("type {type_oid}"),
            has_default: false,
            generated: false,
            binary_safe: true,
        }
    }

    fn there(name: &str, type_oid: u32) -> SourceColumn {
        SourceColumn {
            name: name.into(),
            type_oid,
            type_name: format!("type {type_oid}"),
        }
    }

    #[test]
    fn order_does_not_matter_and_equal_types_go_binary() {
        let mapping = match_columns(
            &[here("a", INT4), here("b", TEXT)],
            &[there("b", TEXT), there("a", INT4)],
        )
        .expect("a mapping");
        assert_eq!(mapping.columns, ["a", "b"]);
        assert!(mapping.binary);
        assert!(mapping.differences.is_empty());
    }

    #[test]
    fn a_type_that_differs_or_has_no_portable_binary_form_goes_as_text() {
        let mapping = match_columns(&[here("a", INT4)], &[there("a", TEXT)]).expect("a mapping");
        assert!(!mapping.binary);
        assert_eq!(mapping.differences.len(), 1);
        let mut regclass = here("a", 2205);
        regclass.binary_safe = false;
        let mapping = match_columns(&[regclass], &[there("a", 2205)]).expect("a mapping");
        assert!(!mapping.binary);
    }

    #[test]
    fn defaults_and_generated_columns_need_no_source() {
        let mut with_default = here("d", INT4);
        with_default.has_default = true;
        let mut generated = here("g", INT4);
        generated.generated = true;
        let mapping = match_columns(
            &[here("a", INT4), with_default, generated],
            &[there("a", INT4), there("g", INT4)],
        )
        .expect("a mapping");
        assert_eq!(mapping.columns, ["a"]);
    }

    #[test]
    fn every_difference_is_listed_at_once() {
        let error = match_columns(
            &[here("a", INT4), here("only_here", INT4)],
            &[there("a", INT4), there("only_there", INT4)],
        )
        .expect_err("two differences");
        let detail = error.detail.expect("a detail");
        assert!(
            detail.contains("only_here") && detail.contains("only_there"),
            "{detail}"
        );
    }
}
