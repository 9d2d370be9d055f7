//! Units that a failed run has finished are not copied a second time.

use super::{Action, PlannedUnit, Sides};
use crate::error::Result;
use crate::pg::storage;
use crate::plan::select::is_closed_before;
use crate::run::Request;
use crate::run::points::Key;
use crate::run::record::Store;
use crate::run::rows::{FinishedUnit, SamePlan};
use std::collections::HashMap;

/// What failed runs have finished under the same plan, and the points they would have left as values of the key. These are few, the units may be many.
pub(super) fn finished_units(
    request: &Request,
    store: &Store,
    key: Option<Key<'_>>,
    same: &SamePlan<'_>,
) -> Result<(Vec<FinishedUnit>, Vec<String>)> {
    if request.since.is_some() {
        return Ok((Vec::new(), Vec::new()));
    }
    let finished = store.finished_by_failed_runs(request, same)?;
    let Some(key) = key else {
        return Ok((finished, Vec::new()));
    };
    let mut read = HashMap::new();
    let mut known = Vec::with_capacity(finished.len());
    let mut ends = Vec::with_capacity(finished.len());
    for unit in finished {
        if !read.contains_key(&unit.point) {
            read.insert(unit.point.clone(), key.meant(&unit.point, None)?);
        }
        if let Some(end) = read[&unit.point].clone() {
            known.push(unit);
            ends.push(end);
        }
    }
    Ok((known, ends))
}

/// Marks what failed runs have copied already.
pub(super) fn resume(
    sides: &Sides<'_>,
    partitions: &mut [PlannedUnit],
    finished: &[FinishedUnit],
    ends: &[String],
) -> Result<()> {
    let Some(key) = sides.key else { return Ok(()) };
    let finished: HashMap<u32, _> = finished
        .iter()
        .zip(ends)
        .map(|(f, end)| (f.partition, (f, end)))
        .collect();
    for partition in partitions.iter_mut().filter(|p| p.action == Action::Copy) {
        let Some((earlier, end)) = finished.get(&partition.unit.partition) else {
            continue;
        };
        let range = sides.ranked(partition.range.as_ref())?;
        let closed = is_closed_before(range.as_ref(), &sides.ranks.of(&key.ordering, end)?);
        let unit = &mut partition.unit;
        // An unlogged partition may have lost its rows in a crash and kept its file.
        let is_lost = earlier.rows > 0 && storage::is_empty(unit.partition);
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
