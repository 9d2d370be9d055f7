//! What the user should know about a plan as a whole.

use super::sides::Tables;
use crate::plan::columns::Mapping;

/// Keys whose rows cannot be told apart over there, and have too many values to be named.
pub fn untold(tables: &Tables<'_>) -> Option<String> {
    let names: Vec<String> = tables.untold.iter().map(|name| format!("\"{name}\"")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "end_tm will not be remembered: the source sorts or compares {} otherwise and has too many values of it to be named, \
             so each partition here is read with all rows there. Create the table here anew with COLLATE \"C\" for that column",
            names.join(", ")
        )
    })
}

/// What the user should know about the plan.
pub fn remarks(mapping: &Mapping, leaps: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    if !mapping.binary && !mapping.differences.is_empty() {
        remarks.push(format!(
            "types differ, copying as text: {}",
            mapping.differences.join("; ")
        ));
    }
    if !mapping.changes.is_empty() {
        remarks.push(format!("values may change: {}", mapping.changes.join("; ")));
    }
    if !mapping.oids.is_empty() {
        remarks.push(format!(
            "columns of OIDs: {}; large objects that they may name are not copied",
            mapping.oids.join(", ")
        ));
    }
    if leaps {
        remarks.push("end_tm will not be remembered: partitions before since are still due".to_owned());
    }
    remarks
}
