//! Partitions behind the remembered point that are due all the same: no run has loaded them, or not
//! into the storage they have now, and they are empty. So is one that was created after the point had
//! passed it, one that was truncated, and an unlogged one after a crash. On another server, which may
//! have been restored from a backup, they are due whatever they hold if it is not what a run has left.

use crate::error::Result;
use crate::plan::copy_sql::display_name;
use crate::plan::select::Decision;
use crate::plan::tables::Leaf;
use crate::run::planning::PlannedUnit;
use crate::run::state::Store;
use crate::run::state::rows::Load;
use crate::targets::Target;
use crate::targets::loading::Storage;
use std::collections::{HashMap, HashSet};

/// Turns `Closed` into `Unloaded` or `Altered` where it is so. Partitions in `created` have just been made by this
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
    let closed: Vec<&Leaf<'_>> = closed.map(|(leaf, _)| *leaf).collect();
    // With since the call says itself where to begin: only what it has created is filled.
    let found = if since {
        HashMap::new()
    } else {
        not_as_left(&closed, at, store)?
    };
    for (leaf, decision) in partitions
        .iter_mut()
        .filter(|(_, decision)| *decision == Decision::Closed)
    {
        let is_new = created.contains(&leaf.table.relation);
        match found.get(&leaf.table.oid) {
            _ if is_new => *decision = Decision::Unloaded,
            Some(Decision::Unloaded) if !at.is_empty(&leaf.table.unit())? => {}
            Some(due) => *decision = *due,
            None => {}
        }
    }
    Ok(())
}

/// Those of `partitions`, by OID, that no run has loaded, or none into the storage they have now, and unlogged ones, which lose their rows without a
/// new file when another process crashes: `Unloaded`, if they are empty. Or `Altered`. What ran before 0.3.0 has not recorded the storage, and is believed.
fn not_as_left(partitions: &[&Leaf<'_>], at: &Target, store: &Store) -> Result<HashMap<u32, Decision>> {
    let oids: Vec<u32> = partitions.iter().map(|leaf| leaf.table.oid).collect();
    let storages = at.storage_of(&oids)?;
    let is_elsewhere = at.elsewhere().is_some();
    let loads: HashMap<u32, Load> = match is_elsewhere {
        false => store.last_loads(&oids)?,
        true => {
            let names: Vec<&str> = partitions.iter().map(|leaf| leaf.table.relation.as_str()).collect();
            let mut by_name = store.last_loads_elsewhere(at.table(), &names)?;
            let loads = partitions
                .iter()
                .filter_map(|leaf| Some((leaf.table.oid, by_name.remove(&leaf.table.relation)?)));
            loads.collect()
        }
    };
    let judge = |oid: &u32| {
        let now = storages.get(oid)?;
        let due = judge(loads.get(oid), now, is_elsewhere)?;
        Some((*oid, due))
    };
    Ok(oids.iter().filter_map(judge).collect())
}

fn judge(load: Option<&Load>, now: &Storage, is_elsewhere: bool) -> Option<Decision> {
    let Some(load) = load else {
        return Some(Decision::Unloaded);
    };
    let is_another = load.file_number.is_some() && !load.is_as_left(now);
    match is_elsewhere {
        true if is_another => Some(Decision::Altered),
        _ if is_another || (now.is_unlogged && load.rows > 0) => Some(Decision::Unloaded),
        _ => None,
    }
}

/// Most names in the remark.
const NAMED: usize = 10;

/// Names the partitions that are not what a run has left.
pub fn remark(partitions: &[PlannedUnit]) -> Option<String> {
    let altered = partitions
        .iter()
        .filter(|planned| planned.decision == Decision::Altered);
    let mut names: Vec<String> = altered.map(|planned| display_name(&planned.unit.unit.name)).collect();
    names.sort();
    let more = if names.len() > NAMED { ", ..." } else { "" };
    let shown = names[..names.len().min(NAMED)].join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "{} closed partitions are not what a run has left there, as after a restore from a backup, and are copied again: {shown}{more}",
            names.len()
        )
    })
}
