//! The units of cgpsync_verify.

use super::fates::{self, Fate};
use super::holes::{self, Hole};
use super::sides::{Sides, Tables};
use super::{Action, kind_of, planned_units};
use crate::error::{Error, Result};
use crate::plan::missing::{self, Reach};
use crate::plan::select::decide;
use crate::plan::twins::Twins;
use crate::plan::units::{SourceTable, TargetTable, leaves, range_key};
use crate::run::record::Store;
use crate::run::rows::NewUnit;
use crate::run::{Request, points};
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
    let (what, end_tm) = match &request.end_tm {
        Some(text) => ("end_tm", Some(text.trim())),
        None => ("the remembered end_tm", remembered.as_deref()),
    };
    let read = |what: &str, text: Option<&str>| match (key, text) {
        (Some(key), Some(text)) => points::literal(what, text, key, kind_of(key, &leaves, source)).map(Some),
        _ => Ok(None),
    };
    let (end, since) = (read(what, end_tm)?, read("since", request.since.as_deref())?);
    let sides = Sides::new(&tables, key, end.as_deref().into_iter().chain(since.as_deref()))?;
    let (end, since) = (sides.rank(&end)?, sides.rank(&since)?);
    if let (Some(end), Some(since)) = (end, since)
        && end < since
    {
        let (end_tm, since) = (end_tm.unwrap_or(""), request.since.as_deref().unwrap_or(""));
        let message = format!("{what} \"{end_tm}\" is earlier than since \"{since}\"");
        return Err(Error::bad_parameter(message));
    }
    let reach = Reach { key, from: since, end };
    let missing = missing::find(&target.root, &source.root, &sides.ranks, &reach)?;
    let mut partitions = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        let range = sides.ranked(leaf.range.as_ref())?;
        partitions.push((leaf, decide(range.as_ref(), since.as_ref(), end.as_ref())));
    }
    let space = sides.space();
    let twins = Twins::new(&target.root, source, &sides.ranks)?;
    let fates = fates::fates(&sides, &space, &twins, &partitions, session)?;
    let planned = planned_units(&sides, &twins, partitions, &missing, false)?;
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
