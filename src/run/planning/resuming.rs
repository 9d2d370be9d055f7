//! Units that a failed run has finished are not copied a second time.

use super::{Action, PlannedUnit, Sides};
use crate::error::Result;
use crate::pg::storage;
use crate::plan::end::{KeyKind, end_literal};
use crate::plan::select::is_closed_before;
use crate::plan::tree::KeyColumn;
use crate::run::Request;
use crate::run::record::Store;
use crate::run::rows::{FinishedUnit, SamePlan};
use crate::target::catalog;
use std::collections::HashMap;

/// What failed runs have finished under the same plan, and their end_tm as values of the key. These are few, the units may be many.
pub(super) fn finished_units(
    request: &Request,
    store: &Store,
    key: Option<(&KeyColumn, KeyKind)>,
    same: &SamePlan<'_>,
) -> Result<(Vec<FinishedUnit>, Vec<String>)> {
    if request.since.is_some() {
        return Ok((Vec::new(), Vec::new()));
    }
    let finished = store.finished_by_failed_runs(request, same)?;
    let Some((key, kind)) = key else {
        return Ok((finished, Vec::new()));
    };
    let mut read = HashMap::new();
    let mut ends = Vec::with_capacity(finished.len());
    for unit in &finished {
        if !read.contains_key(&unit.end_tm) {
            let value = catalog::read_value(&end_literal(&unit.end_tm, kind)?, key)?;
            read.insert(unit.end_tm.clone(), value);
        }
        ends.push(read[&unit.end_tm].clone());
    }
    Ok((finished, ends))
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
