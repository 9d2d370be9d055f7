//! Partitions behind the remembered point that are due all the same: no run has loaded them, or not
//! into the storage they have now, and they are empty. So is one that was created after the point had
//! passed it, one that was truncated, and an unlogged one after a crash.

use crate::error::Result;
use crate::plan::select::Decision;
use crate::plan::tables::Leaf;
use crate::run::state::Store;
use crate::targets::Target;
use std::collections::HashSet;

/// Turns `Closed` into `Unloaded` where it is so. Partitions in `created` have just been made by this
/// run.
pub fn mark(
    partitions: &mut [(&Leaf<'_>, Decision)],
    created: &HashSet<String>,
    since: bool,
    at: &Target,
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
        without_load(&closed, at, store)?
    };
    for (leaf, decision) in partitions
        .iter_mut()
        .filter(|(_, decision)| *decision == Decision::Closed)
    {
        let is_new = created.contains(&leaf.table.relation);
        if is_new || (candidates.contains(&leaf.table.oid) && at.is_empty(&leaf.table.unit())?) {
            *decision = Decision::Unloaded;
        }
    }
    Ok(())
}

/// Those of `partitions` that no run has loaded, or none into the storage they have now, and unlogged ones, which lose their rows without a
/// new file when another process crashes. What ran before 0.3.0 has not recorded the storage, and is believed.
fn without_load(partitions: &[u32], at: &Target, store: &Store) -> Result<HashSet<u32>> {
    let loads = store.last_loads(at.recorded(partitions))?;
    let storages = at.storage_of(partitions)?;
    let is_candidate = |oid: &u32| match (loads.get(oid), storages.get(oid)) {
        (None, Some(_)) => true,
        (Some(load), Some(now)) => {
            (load.file_number.is_some() && !load.is_as_left(now)) || (now.is_unlogged && load.rows > 0)
        }
        (_, None) => false,
    };
    Ok(partitions.iter().copied().filter(is_candidate).collect())
}
