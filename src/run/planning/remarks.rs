//! What the user should know about a plan as a whole.

use super::sides::Tables;
use super::{Action, PlannedUnit};
use crate::error::tame;
use crate::plan::columns::Mapping;
use crate::plan::copy_sql::quote_ident;
use crate::plan::twins::Twins;

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

/// Most names in the remark on partitions that may not be read.
const NAMED: usize = 3;

/// Partitions of the source that are read through their table, as the remote `user` has no SELECT on them.
pub fn closed(partitions: &[PlannedUnit], twins: &Twins<'_>, user: &str) -> Option<String> {
    let copied = partitions.iter().filter(|planned| planned.action == Action::Copy);
    let closed = copied.filter_map(|planned| twins.closed_twin_of(planned.unit.unit.oid?));
    let names: Vec<&str> = closed.map(|twin| twin.table.relation.as_str()).collect();
    let shown = names[..names.len().min(NAMED)].join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "partitions such as {shown} are read through their table by a condition, as user \"{}\" may not read them by themselves: \
             GRANT SELECT ON {shown} TO {} on the source makes it faster, and keeps a TRUNCATE of one from failing others",
            tame(user),
            quote_ident(user)
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
