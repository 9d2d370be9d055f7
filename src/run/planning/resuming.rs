//! Units that a failed run has finished are not copied a second time.

use super::{Action, PlannedUnit, Sides};
use crate::error::Result;
use crate::plan::select::is_closed_before;
use crate::run::points::Key;
use crate::run::request::Request;
use crate::run::state::Store;
use crate::run::state::rows::{FinishedUnit, SamePlan};
use std::collections::HashMap;

/// What failed runs have finished under the same plan, and nobody has changed the storage of since, each with the point it would have left as a
/// value of the key. These are few, the units may be many.
pub(super) fn finished_units(
    request: &Request,
    store: &Store,
    key: Option<Key<'_>>,
    same: &SamePlan<'_>,
) -> Result<Vec<(FinishedUnit, String)>> {
    // Without a key nothing tells whether a unit was complete by then.
    let Some(key) = key.filter(|_| request.since.is_none()) else {
        return Ok(Vec::new());
    };
    let finished = store.finished_by_failed_runs(request, same)?;
    let oids: Vec<u32> = finished.iter().map(|unit| unit.partition).collect();
    let storages = key.at.storage_of(&oids)?;
    let is_as_left = |unit: &FinishedUnit| {
        let now = storages.get(&unit.partition);
        now.is_some_and(|now| unit.left.is_as_left(now))
    };
    let mut read = HashMap::new();
    let mut known = Vec::new();
    for unit in finished.into_iter().filter(is_as_left) {
        if !read.contains_key(&unit.point) {
            read.insert(unit.point.clone(), key.meant(&unit.point, None)?);
        }
        if let Some(end) = read[&unit.point].clone() {
            known.push((unit, end));
        }
    }
    Ok(known)
}

/// Marks what failed runs have copied already.
pub(super) fn resume(
    sides: &Sides<'_>,
    partitions: &mut [PlannedUnit],
    finished: &[(FinishedUnit, String)],
) -> Result<()> {
    let Some(key) = sides.key else { return Ok(()) };
    let finished: HashMap<u32, _> = finished
        .iter()
        .map(|(earlier, end)| (earlier.partition, (earlier, end)))
        .collect();
    for partition in partitions.iter_mut().filter(|p| p.action == Action::Copy) {
        let Some((earlier, end)) = partition.unit.unit.oid.and_then(|oid| finished.get(&oid)) else {
            continue;
        };
        let range = sides.ranked(partition.range.as_ref())?;
        let closed = is_closed_before(range.as_ref(), &sides.ranks.of(&key.ordering, end)?);
        let unit = &mut partition.unit;
        // An unlogged partition may have lost its rows in a crash and kept its file.
        let is_lost = earlier.left.rows > 0 && sides.at.is_empty(&unit.unit)?;
        if closed
            && !is_lost
            && earlier.source_relation == unit.source_relation
            && earlier.source_filter == unit.source_filter
        {
            unit.left = Some(format!("copied by run {}", earlier.run_id));
            partition.action = Action::Resume(earlier.run_id);
        }
    }
    Ok(())
}
