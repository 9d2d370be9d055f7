//! The units of cgpsync_verify.

use super::fates::{self, Fate};
use super::groups::{self, Group};
use super::holes::{self, Hole};
use super::sides::{Sides, Tables, Wanted, key_of};
use super::{Action, planned_units};
use crate::error::{Error, Result};
use crate::plan::missing::{self, Reach};
use crate::plan::select::{Decision, decide};
use crate::plan::tables::{Leaf, Table, Unit, leaves, range_key};
use crate::plan::twins::Twins;
use crate::run::points::Key;
use crate::run::request::Request;
use crate::run::state::Store;
use crate::run::state::rows::{NewUnit, Watermark};
use crate::targets::Target;
use crate::wire::Session;

/// What is compared, with both tables.
pub struct Comparison {
    /// partitions that both sides have, the biggest first
    pub units: Vec<NewUnit>,
    /// those that only this server can tell apart, together
    pub groups: Vec<Group>,
    /// partitions here that the source has no more
    pub vanished: Vec<Unit>,
    /// rows of the source that no partition here takes: where they may be
    pub holes: Vec<Hole>,
    /// here
    pub target: Table,
    /// there
    pub source: Table,
}

/// Finds them. Like a run's units, but for the points where they begin and end: from the first one if `since` is not given, to the
/// remembered end_tm, or the last one, if `end_tm` is not.
pub fn comparison(request: &Request, at: &Target, store: &Store, session: &mut Session) -> Result<Comparison> {
    let remembered = store.watermark(request.table)?;
    let mut tables = Tables::read(request, at, session)?;
    tables.know_values(session, |tables| {
        let key = range_key(&tables.target.root)?;
        let leaves = leaves(&tables.target.root, key);
        let span = Span::read(
            request,
            key.map(|key| key_of(key, &leaves, tables)),
            remembered.as_ref(),
        )?;
        let sides = Sides::new(tables, key, span.values())?;
        let (end, since) = (sides.rank(&span.end)?, sides.rank(&span.since)?);
        let chosen = span.chosen(&sides, &leaves)?;
        let chosen = chosen.iter().filter(|(_, decision)| decision.is_taken());
        let holes = holes::holes(&sides, &sides.space(), (since, end), request.since.is_some(), &[])?;
        Ok(Wanted {
            leaves: chosen.map(|(leaf, _)| leaf.table.oid).collect(),
            has_holes: !holes.is_empty(),
        })
    })?;
    let (target, source) = (&tables.target, &tables.source);
    let key = range_key(&target.root)?;
    let leaves = leaves(&target.root, key);
    let span = Span::read(
        request,
        key.map(|key| key_of(key, &leaves, &tables)),
        remembered.as_ref(),
    )?;
    let sides = Sides::new(&tables, key, span.values())?;
    let (end, since) = (sides.rank(&span.end)?, sides.rank(&span.since)?);
    span.check(request, since, end)?;
    let reach = Reach { key, from: since, end };
    let space = sides.space();
    let missing = missing::find(&target.root, &source.root, &sides.ranks, &space, &reach)?;
    let partitions = span.chosen(&sides, &leaves)?;
    let twins = Twins::new(&target.root, source, &sides.ranks)?;
    let fates = fates::fates(&sides, &space, &twins, &partitions, session)?;
    let planned = planned_units(&sides, &space, &twins, partitions, &missing, false)?;
    let copied = planned.into_iter().filter(|planned| planned.action == Action::Copy);
    let is_gone = |unit: &NewUnit| matches!(unit.unit.oid.and_then(|oid| fates.get(&oid)), Some(Fate::Vanished(_)));
    let (vanished, mut units): (Vec<_>, Vec<_>) = copied.map(|planned| planned.unit).partition(is_gone);
    let groups = groups::groups(&sides, &space, &twins, &leaves, &missing, &mut units)?;
    units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
    let holes = holes::holes(&sides, &space, (since, end), request.since.is_some(), &[])?;
    Ok(Comparison {
        units,
        groups,
        vanished: vanished.into_iter().map(|unit| unit.unit).collect(),
        holes,
        target: tables.target.clone(),
        source: tables.source.clone(),
    })
}

/// Where a comparison begins and ends, as values of the key.
#[derive(Debug, Default)]
struct Span {
    since: Option<String>,
    end: Option<String>,
    /// what the end is, and how it was written
    said: (&'static str, String),
}

impl Span {
    fn read(request: &Request, key: Option<Key<'_>>, remembered: Option<&Watermark>) -> Result<Span> {
        let Some(key) = key else { return Ok(Span::default()) };
        let since = request.since.as_deref();
        let since = since.map(|since| key.literal("since", since)).transpose()?;
        let (end, said) = match (&request.end_tm, remembered) {
            (Some(text), _) => (Some(key.literal("end_tm", text)?), ("end_tm", text.clone())),
            (None, Some(point)) => (
                key.remembered(point, None)?,
                ("the remembered end_tm", point.text.clone()),
            ),
            (None, None) => (None, ("", String::new())),
        };
        Ok(Span { since, end, said })
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        [&self.since, &self.end]
            .into_iter()
            .filter_map(|point| point.as_deref())
    }

    /// Its ends in ranks must come in their order.
    fn check(&self, request: &Request, since: Option<i64>, end: Option<i64>) -> Result<()> {
        if since.is_none() || end.is_none() || since <= end {
            return Ok(());
        }
        let (what, end_tm) = &self.said;
        let since = request.since.as_deref().unwrap_or("");
        let message = format!("{what} \"{end_tm}\" is earlier than since \"{since}\"");
        Err(Error::bad_parameter(message)
            .hint("Pass an earlier since, or an end_tm => '...' that is not earlier: left out, it is the point in sync_table."))
    }

    /// Which leaves are compared.
    fn chosen<'a, 'l>(&self, sides: &Sides<'_>, leaves: &'l [Leaf<'a>]) -> Result<Vec<(&'l Leaf<'a>, Decision)>> {
        let (end, since) = (sides.rank(&self.end)?, sides.rank(&self.since)?);
        let one = |leaf: &'l Leaf<'a>| {
            let range = sides.ranked(leaf.range.as_ref())?;
            Ok((leaf, decide(range.as_ref(), since.as_ref(), end.as_ref())))
        };
        leaves.iter().map(one).collect()
    }
}
