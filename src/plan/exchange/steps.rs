//! EXCHANGE PARTITION as Greenplum has had it before 7: the table above all is altered, and a partition is called by its name, its rank or a value
//! of its list in each level. It keeps its name and its grants; its OID, comment and indexes become those of the table that takes its place.

use crate::plan::constant::constants;
use crate::plan::copy_sql::quote_ident;
use serde::Deserialize;

/// What a partition is called in its level.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// empty: it has none
    pub name: String,
    /// it is the default
    pub is_default: bool,
    /// its place among the ranges beside it, from 1
    pub rank: Option<i64>,
    /// of a list: its values as they are printed
    pub values: Option<String>,
}

impl Step {
    /// What follows PARTITION; None where nothing tells it from those beside it.
    pub fn called(&self) -> Option<String> {
        if !self.name.is_empty() {
            return Some(quote_ident(&self.name));
        }
        if let Some(rank) = self.rank {
            return Some(format!("FOR (RANK({rank}))"));
        }
        let values = constants(self.values.as_deref()?)?;
        values.first().map(|value| format!("FOR ({})", without_cast(value)))
    }
}

/// A constant as it is printed, without the name of its type: with one it is no constant to FOR.
fn without_cast(value: &str) -> &str {
    match value.rfind('\'') {
        Some(end) => &value[..=end],
        None => value.split_once("::").map_or(value, |(value, _)| value),
    }
}

/// ALTER TABLE with the way to the level of the last of `steps`, and what that one is called there.
pub fn way(root: &str, steps: &[Step]) -> Option<(String, String)> {
    let (last, above) = steps.split_last()?;
    let mut sql = format!("ALTER TABLE {root}");
    for step in above {
        sql += &format!(" ALTER PARTITION {}", step.called()?);
    }
    Some((sql, last.called()?))
}

/// The statement that puts `table` into the place of the partition, and the other way round. Its rows are known to be in place: each was checked
/// by the partition's own constraint when it was loaded.
pub fn exchange(root: &str, steps: &[Step], table: &str) -> Option<String> {
    let (alter, called) = way(root, steps)?;
    Some(format!(
        "{alter} EXCHANGE PARTITION {called} WITH TABLE {table} WITHOUT VALIDATION"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, rank: Option<i64>, values: Option<&str>) -> Step {
        Step {
            name: name.to_owned(),
            is_default: false,
            rank,
            values: values.map(str::to_owned),
        }
    }

    #[test]
    fn a_partition_is_called_by_name_or_rank_or_value() {
        let steps = [
            step("p\"1", Some(4), None),
            step("", None, Some("'a'::text, 'b'::text")),
        ];
        assert_eq!(
            exchange("\"s\".\"t\"", &steps, "\"s\".\"x\"").expect("statements"),
            "ALTER TABLE \"s\".\"t\" ALTER PARTITION \"p\"\"1\" EXCHANGE PARTITION FOR ('a') WITH TABLE \"s\".\"x\" WITHOUT VALIDATION"
        );
        assert_eq!(
            exchange("t", &[step("", Some(2), None)], "x").expect("statements"),
            "ALTER TABLE t EXCHANGE PARTITION FOR (RANK(2)) WITH TABLE x WITHOUT VALIDATION"
        );
        assert_eq!(exchange("t", &[step("", None, None)], "x"), None);
        let of_list = |values: &str| step("", None, Some(values)).called().expect("a name");
        assert_eq!(of_list("NULL::text, 'b'::text"), "FOR (NULL)");
        assert_eq!(of_list("'it''s::x'::character varying(9)"), "FOR ('it''s::x')");
        assert_eq!(of_list("5, 6"), "FOR (5)");
    }
}
