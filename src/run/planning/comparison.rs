//! The units of cgpsync_verify.

use super::{Action, Sides, kind_of, planned_units, read_source};
use crate::error::{Error, Result};
use crate::plan::missing::{self, Reach};
use crate::plan::select::decide;
use crate::plan::tree::values_by_ordering;
use crate::plan::units::{SourceTable, TargetTable, leaves, range_key};
use crate::run::record::Store;
use crate::run::rows::NewUnit;
use crate::run::{Request, points};
use crate::source::Session;
use crate::target::catalog;

/// The units of a comparison, the biggest first, with both tables. Like a run's, but for the points where they begin and end: from the
/// first one if `since` is not given, to the remembered end_tm, or the last one, if `end_tm` is not.
pub fn comparison(
    request: &Request,
    store: &Store,
    session: &mut Session,
) -> Result<(Vec<NewUnit>, TargetTable, SourceTable)> {
    let target = catalog::read_table(request.table)?;
    let key = range_key(&target.root)?;
    let source = read_source(request, &target, session)?;
    let leaves = leaves(&target.root, key);
    let remembered = store.watermark(request.table)?;
    let (what, end_tm) = match &request.end_tm {
        Some(text) => ("end_tm", Some(text.trim())),
        None => ("the remembered end_tm", remembered.as_deref()),
    };
    let read = |what: &str, text: Option<&str>| match (key, text) {
        (Some(key), Some(text)) => points::literal(what, text, key, kind_of(key, &leaves, &source)).map(Some),
        _ => Ok(None),
    };
    let (end, since) = (read(what, end_tm)?, read("since", request.since.as_deref())?);
    let mut values = values_by_ordering(&target.root, &source.root);
    if let Some(key) = key {
        let compared = values.entry(&key.ordering).or_default();
        compared.extend(end.as_deref().into_iter().chain(since.as_deref()));
    }
    let sides = Sides {
        target: &target,
        source: &source,
        key,
        ranks: catalog::rank(&values)?,
    };
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
    let planned = planned_units(&sides, partitions, &missing, false)?;
    let taken = planned.into_iter().filter(|planned| planned.action == Action::Copy);
    let mut units: Vec<NewUnit> = taken.map(|planned| planned.unit).collect();
    units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
    Ok((units, target, source))
}
