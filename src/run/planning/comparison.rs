//! The units of cgpsync_verify.

use super::fates::{self, Fate};
use super::holes::{self, Hole};
use super::sides::{Sides, Tables};
use super::{Action, key_of, planned_units};
use crate::error::{Error, Result};
use crate::plan::missing::{self, Reach};
use crate::plan::select::decide;
use crate::plan::twins::Twins;
use crate::plan::units::{SourceTable, TargetTable, leaves, range_key};
use crate::run::Request;
use crate::run::record::Store;
use crate::run::rows::NewUnit;
use crate::source::Session;

/// What is compared, with both tables.
pub struct Comparison {
    /// partitions that both sides have, the biggest first
    pub units: Vec<NewUnit>,
    /// partitions here that the source has no more
    pub vanished: Vec<u32>,
    /// rows of the source that no partition here takes: where they may be
    pub holes: Vec<Hole>,
    /// here
    pub target: TargetTable,
    /// there
    pub source: SourceTable,
}

/// Finds them. Like a run's units, but for the points where they begin and end: from the first one if `since` is not given, to the
/// remembered end_tm, or the last one, if `end_tm` is not.
pub fn comparison(request: &Request, store: &Store, session: &mut Session) -> Result<Comparison> {
    let tables = Tables::read(request, session)?;
    let (target, source) = (&tables.target, &tables.source);
    let key = range_key(&target.root)?;
    let leaves = leaves(&target.root, key);
    let remembered = store.watermark(request.table)?;
    let written = key.map(|key| key_of(key, &leaves, source));
    let (mut end, mut since) = (None, None);
    let (mut what, mut end_tm) = ("end_tm", request.end_tm.as_deref().unwrap_or(""));
    if let Some(written) = written {
        end = match (&request.end_tm, &remembered) {
            (Some(text), _) => Some(written.literal("end_tm", text)?),
            (None, Some(point)) => {
                (what, end_tm) = ("the remembered end_tm", &point.text);
                written.remembered(&point.text, point.set_at.as_ref())?
            }
            (None, None) => None,
        };
        since = match &request.since {
            Some(text) => Some(written.literal("since", text)?),
            None => None,
        };
    }
    let sides = Sides::new(&tables, key, end.as_deref().into_iter().chain(since.as_deref()))?;
    let (end, since) = (sides.rank(&end)?, sides.rank(&since)?);
    if let (Some(end), Some(since)) = (end, since)
        && end < since
    {
        let since = request.since.as_deref().unwrap_or("");
        let message = format!("{what} \"{end_tm}\" is earlier than since \"{since}\"");
        return Err(Error::bad_parameter(message));
    }
    let reach = Reach { key, from: since, end };
    let space = sides.space();
    let missing = missing::find(&target.root, &source.root, &sides.ranks, &space, &reach)?;
    let mut partitions = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        let range = sides.ranked(leaf.range.as_ref())?;
        partitions.push((leaf, decide(range.as_ref(), since.as_ref(), end.as_ref())));
    }
    let twins = Twins::new(&target.root, source, &sides.ranks)?;
    let fates = fates::fates(&sides, &space, &twins, &partitions, session)?;
    let planned = planned_units(&sides, &space, &twins, partitions, &missing, false)?;
    let copied = planned.into_iter().filter(|planned| planned.action == Action::Copy);
    let is_gone = |unit: &NewUnit| matches!(fates.get(&unit.partition), Some(Fate::Vanished(_)));
    let (vanished, mut units): (Vec<_>, Vec<_>) = copied.map(|planned| planned.unit).partition(is_gone);
    units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
    let holes = holes::holes(&sides, &space, (since, end), request.since.is_some(), &[])?;
    Ok(Comparison {
        units,
        vanished: vanished.into_iter().map(|unit| unit.partition).collect(),
        holes,
        target: tables.target.clone(),
        source: tables.source.clone(),
    })
}
