//! Partitions behind the remembered point that are due all the same: no run has loaded them, or not
//! into the storage they have now, and they are empty. So is one that was created after the point had
//! passed it, one that was truncated, and an unlogged one after a crash.

use crate::error::Result;
use crate::pg::storage;
use crate::plan::select::Decision;
use crate::plan::units::Leaf;
use crate::run::record::Store;
use std::collections::HashSet;

/// Turns `Closed` into `Unloaded` where it is so. Partitions in `created` have just been made by this
/// run.
pub fn mark(
    partitions: &mut [(&Leaf<'_>, Decision)],
    created: &HashSet<String>,
    since: bool,
    store: &Store,
) -> Result<()> {
    let closed = partitions
        .iter()
        .filter(|(leaf, decision)| *decision == Decision::Closed && !leaf.table.foreign);
    let closed: Vec<u32> = closed.map(|(leaf, _)| leaf.table.oid).collect();
    // With since the call says itself where to begin: only what it has created is filled.
    let candidates = if since {
        HashSet::new()
    } else {
        store.without_load(&closed)?
    };
    for (leaf, decision) in partitions
        .iter_mut()
        .filter(|(_, decision)| *decision == Decision::Closed)
    {
        let is_new = created.contains(&leaf.table.name);
        if is_new || (candidates.contains(&leaf.table.oid) && storage::is_empty(leaf.table.oid)) {
            *decision = Decision::Unloaded;
        }
    }
    Ok(())
}
