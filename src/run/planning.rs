//! From a request to the units of a run: reads both catalogs, lets `plan` decide. Touches nothing.

mod comparison;
mod due;
mod fates;
mod groups;
mod holes;
mod origin;
mod partitions;
mod remarks;
mod resuming;
mod sides;

pub use comparison::{Comparison, comparison};
use fates::Fate;
use holes::Hole;
use partitions::{new_partitions, planned_units};
use remarks::{closed, remarks, untold};
use resuming::{finished_units, resume};
pub use sides::source_shape;
use sides::{Sides, Tables, Wanted, key_of};

use super::points::Points;
use super::request::Request;
use super::state::Store;
use super::state::rows::{NewUnit, Origin, SamePlan, Watermark};
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::plan::columns::{self, Mapping, has_newer_values, match_columns};
use crate::plan::creation::Creation;
use crate::plan::gauss::{Part, parts};
use crate::plan::missing::{self, Missing, Reach};
use crate::plan::select::{Decision, decide};
use crate::plan::space::Space;
use crate::plan::tables::{Leaf, LeafRange, leaves, range_key};
use crate::plan::twins::Twins;
use crate::source;
use crate::source::clock::Clock;
use crate::targets::Target;
use crate::wire::Session;
use std::collections::HashSet;

/// What a run does with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// replaces it
    Copy,
    /// leaves it: a failed run has copied it already
    Resume(i64),
    /// leaves it, for this reason
    Skip(Decision),
    /// creates and fills it
    Create,
    /// would create it if it were allowed to
    Missing,
    /// leaves it: the source no longer has it
    Vanished,
    /// drops it at the end: the source no longer has it
    Drop,
}

/// One leaf of the target, or of what is to be created.
#[derive(Debug)]
pub struct PlannedUnit {
    /// what happens to it
    pub action: Action,
    /// why, beyond the action itself
    pub decision: Decision,
    /// on the key that end_tm is compared with
    pub range: Option<LeafRange>,
    /// it is a partition and takes no rest, neither do those above it
    pub has_bounds: bool,
    /// which it is, and where its rows are read
    pub unit: NewUnit,
}

/// A plan.
#[derive(Debug)]
pub struct Plan {
    /// quoted, qualified
    pub source_table: String,
    /// the source table's shape: relations, bounds, columns
    pub source: String,
    /// every partition, in the catalog's order
    pub partitions: Vec<PlannedUnit>,
    /// what creates the missing ones
    pub creations: Vec<Creation>,
    /// columns and format
    pub mapping: Mapping,
    /// the end_tm of this run, as given or filled in
    pub end_tm: Option<String>,
    /// what is remembered if every unit is done
    pub point: Option<String>,
    /// the remembered end_tm
    pub watermark: Option<String>,
    /// sync_table is to hold `end_tm` afterwards
    pub moves_watermark: bool,
    /// what the user should know
    pub remarks: Vec<String>,
    /// what was read
    pub origin: Origin,
    /// partitions of the source that are no tables
    pub parts: HashSet<Part>,
    /// name and type's OID of the key that the point is a value of
    pub key: Option<(String, u32)>,
}

impl Plan {
    /// The units of the run: to be copied, the biggest first, so that it does not end with one worker on a big unit (unknown sizes may be
    /// big); and those that it leaves or drops.
    pub fn units(&self) -> Vec<&NewUnit> {
        let is_unit = |action: &Action| {
            matches!(
                action,
                Action::Copy | Action::Resume(_) | Action::Vanished | Action::Drop
            )
        };
        let taken = self.partitions.iter().filter(|p| is_unit(&p.action));
        let mut units: Vec<&NewUnit> = taken.map(|p| &p.unit).collect();
        units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
        units
    }

    /// The partitions to drop.
    pub fn to_drop(&self) -> Vec<&NewUnit> {
        let dropped = self.partitions.iter().filter(|p| p.action == Action::Drop);
        dropped.map(|p| &p.unit).collect()
    }

    /// Takes down what each source relation looks like, for a run whose units are read in snapshots of
    /// their own.
    pub fn note_states(&mut self, session: &mut Session) -> Result<()> {
        let copied = |p: &&mut PlannedUnit| p.action == Action::Copy;
        let units = self.partitions.iter_mut().filter(copied).map(|p| &mut p.unit);
        let mut units: Vec<&mut NewUnit> = units.collect();
        let relations: HashSet<&str> = units.iter().map(|unit| unit.source_relation.as_str()).collect();
        let relations: Vec<String> = relations.into_iter().map(str::to_owned).collect();
        let states = source::states(session, &relations, &self.mapping.columns)?;
        for unit in &mut units {
            unit.source_state = states.get(&unit.source_relation).cloned();
        }
        Ok(())
    }
}

/// Where a run begins and ends, in ranks of the key.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// since, else the remembered end_tm
    from: Option<i64>,
    /// the requested end_tm
    end: Option<i64>,
    /// the remembered end_tm
    remembered: Option<i64>,
    /// what the run would leave as such
    reached: Option<i64>,
}

/// Plans a run. `session` is open and in the transaction whose snapshot the run reads. `created` are the partitions that the run has
/// made already, by quoted, qualified name.
pub fn plan(
    request: &Request,
    target: &Target,
    store: &Store,
    session: &mut Session,
    clock: &Clock,
    created: &HashSet<String>,
) -> Result<Plan> {
    let mut tables = Tables::read(request, target, session)?;
    let has_key = range_key(&tables.target.root)?.is_some();
    let (origin, watermark, moved) = origin::check(request, store, session, &tables.source, has_key)?;
    origin::refuse_itself(target, session, &tables.source, &origin)?;
    let (watermark, made_anew) = origin::of_this_table(request, store, &tables.target, target, watermark)?;
    tables.know_values(session, |tables| wanted(request, tables, watermark.as_ref(), clock))?;
    let key = range_key(&tables.target.root)?;
    let leaves = leaves(&tables.target.root, key);
    let written = key.map(|key| key_of(key, &leaves, &tables));
    let points = Points::read(request, target, written, watermark.as_ref(), clock)?;
    let mapping = map_columns(request, &tables, session)?;
    let same = SamePlan {
        source_table: &origin.table,
        source_address: &origin.address,
        columns: &mapping.columns,
        watermark: watermark.as_ref().map(|point| point.text.as_str()),
    };
    let finished = finished_units(request, store, written, &same)?;
    let ends = finished.iter().map(|(_, end)| end.as_str());
    let sides = Sides::new(&tables, key, points.values().chain(ends))?;
    let course = course(&sides, &points, request, watermark.as_ref())?;
    let mut units = chosen(request, &sides, store, &leaves, course, created, session)?;
    resume(&sides, &mut units.partitions, &finished)?;
    let holes = possible_holes(request, &sides, &units.space, course, &units.missing)?;
    let holes = holes::with_rows(holes, session)?;
    // With `since`, E may lie before W, or the run may begin after it; and rows there are no partitions for must not be passed.
    let is_complete = !units.leaps && holes.is_empty() && tables.untold.is_empty();
    let moves_watermark = is_complete && points.point.is_some() && course.reached >= course.remembered;
    let mut remarks = remarks(&mapping, units.leaps);
    remarks.extend(untold(&tables));
    remarks.extend(moved);
    remarks.extend(units.closed);
    remarks.extend(points.remarks(clock, moves_watermark));
    remarks.extend(holes::remark(&holes));
    remarks.extend(fates::remark(&units.partitions));
    remarks.extend(due::remark(&units.partitions));
    remarks.extend(made_anew);
    let mut partitions = units.partitions;
    let creations = new_partitions(
        &sides,
        &units.missing,
        request.create_missing,
        &mut partitions,
        &mut remarks,
    )?;
    Ok(Plan {
        parts: parts(&tables.source.root),
        key: key.map(|key| (key.name.clone(), key.type_oid)),
        source_table: origin.table.clone(),
        source: tables.shape.clone(),
        partitions,
        creations,
        moves_watermark,
        end_tm: points.end_tm,
        point: points.point,
        watermark: watermark.map(|point| point.text),
        remarks,
        mapping,
        origin,
    })
}

/// What a run takes, before it is known what earlier ones have finished.
struct Chosen<'s, 'a> {
    space: Space<'s>,
    missing: Missing<'a>,
    partitions: Vec<PlannedUnit>,
    /// some that are due are left out, because of `since`
    leaps: bool,
    /// which are read through their table
    closed: Option<String>,
}

/// Chooses the partitions, and what becomes of each.
fn chosen<'s, 'a>(
    request: &Request,
    sides: &'s Sides<'a>,
    store: &Store,
    leaves: &[Leaf<'_>],
    course: Course,
    created: &HashSet<String>,
    session: &mut Session,
) -> Result<Chosen<'s, 'a>> {
    let space = sides.space();
    let missing = find_missing(sides, &space, course)?;
    if request.create_missing {
        holes::refuse_overlaps(&missing, session)?;
    }
    let twins = Twins::new(&sides.target.root, sides.source, &sides.ranks)?;
    let (mut decisions, leaps) = decisions(sides, leaves, course)?;
    due::mark(&mut decisions, created, request.since.is_some(), sides.at, store)?;
    let fates = fates::fates(sides, &space, &twins, &decisions, session)?;
    for (leaf, decision) in &mut decisions {
        // There is nothing to keep, nor to copy.
        if *decision == Decision::Unloaded && matches!(fates.get(&leaf.table.oid), Some(Fate::Vanished(_))) {
            *decision = Decision::Closed;
        }
    }
    let mut partitions = planned_units(sides, &space, &twins, decisions, &missing, request.create_missing)?;
    fates::settle(&mut partitions, &fates, request.vanished, sides.at)?;
    Ok(Chosen {
        space,
        missing,
        closed: closed(&partitions, &twins, session.user()),
        partitions,
        leaps,
    })
}

/// What the plan will have to ask the source for, as far as bounds and points tell.
fn wanted(request: &Request, tables: &Tables<'_>, watermark: Option<&Watermark>, clock: &Clock) -> Result<Wanted> {
    let key = range_key(&tables.target.root)?;
    let leaves = leaves(&tables.target.root, key);
    let written = key.map(|key| key_of(key, &leaves, tables));
    let points = Points::read(request, tables.at, written, watermark, clock)?;
    let sides = Sides::new(tables, key, points.values())?;
    let course = course(&sides, &points, request, watermark)?;
    let (decisions, _) = decisions(&sides, &leaves, course)?;
    let taken = decisions.iter().filter(|(_, decision)| decision.is_taken());
    let space = sides.space();
    let missing = find_missing(&sides, &space, course)?;
    let holes = possible_holes(request, &sides, &space, course, &missing)?;
    Ok(Wanted {
        leaves: taken.map(|(leaf, _)| leaf.table.oid).collect(),
        has_holes: !holes.is_empty(),
    })
}

/// The source's partitions that are missing here.
fn find_missing<'a>(sides: &Sides<'a>, space: &Space<'_>, course: Course) -> Result<Missing<'a>> {
    let reach = Reach {
        key: sides.key,
        from: course.from,
        end: course.end,
    };
    missing::find(&sides.target.root, &sides.source.root, &sides.ranks, space, &reach)
}

/// Where the source may have rows within the run's course that get no place here.
fn possible_holes(
    request: &Request,
    sides: &Sides<'_>,
    space: &Space<'_>,
    course: Course,
    missing: &Missing<'_>,
) -> Result<Vec<Hole>> {
    let created = missing.create.iter().filter(|_| request.create_missing);
    let created: Vec<_> = created.map(|new| new.node).collect();
    holes::holes(
        sides,
        space,
        (course.from, course.end),
        request.since.is_some(),
        &created,
    )
}

/// Matches the columns and chooses the format.
fn map_columns(request: &Request, tables: &Tables<'_>, session: &Session) -> Result<Mapping> {
    let source = &tables.source.columns;
    let mut mapping = match_columns(&tables.target.columns, source, request.columns.as_deref())?;
    if request.strict && !mapping.changes.is_empty() {
        return Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("values of {} may change", mapping.changing.join(", ")),
        )
        .detail(columns::sentence(&mapping.changes))
        .hint("Give them types here that hold the source's values, name other columns with columns => ARRAY[...], or leave strict out."));
    }
    mapping.binary &= session.has_integer_datetimes()
        && !has_newer_values(&mapping.columns, source, session.server().version, tables.at.version()?);
    // Values of defaults are added to rows of text.
    if mapping.binary && tables.at.leaves_out(&mapping.columns)? {
        mapping.binary = !tables.at.has_other_defaults(&mapping.columns)?;
    }
    Ok(mapping)
}

/// What the points mean for a run. E must not lie before the point it starts from.
fn course(sides: &Sides<'_>, points: &Points, request: &Request, watermark: Option<&Watermark>) -> Result<Course> {
    let (end, since) = (sides.rank(&points.end)?, sides.rank(&points.since)?);
    let remembered = sides.rank(&points.watermark)?;
    let end_tm = points.end_tm.as_deref().unwrap_or("");
    match (&request.since, watermark) {
        (Some(text), _) if end < since => Err(Error::bad_parameter(format!(
            "end_tm \"{end_tm}\" is earlier than since \"{text}\""
        ))
        .hint("Pass an earlier since, or an end_tm => '...' that is not earlier: left out, it is today.")),
        (None, Some(point)) if end < remembered => Err(Error::bad_parameter(format!(
            "end_tm \"{end_tm}\" is earlier than \"{}\", up to which the table is synced",
            point.text
        ))
        .hint("Use since => '...' to sync again from an earlier point.")),
        _ => Ok(Course {
            from: if request.since.is_some() { since } else { remembered },
            end,
            remembered,
            reached: sides.rank(&points.reached)?,
        }),
    }
}

/// Which leaves the run takes, and whether it leaves out some that are due from the remembered point, only because of `since`.
fn decisions<'a, 'l>(
    sides: &Sides<'_>,
    leaves: &'l [Leaf<'a>],
    course: Course,
) -> Result<(Vec<(&'l Leaf<'a>, Decision)>, bool)> {
    let mut decisions = Vec::with_capacity(leaves.len());
    let mut leaps = false;
    for leaf in leaves {
        let range = sides.ranked(leaf.range.as_ref())?;
        let decide = |from: Option<i64>| decide(range.as_ref(), from.as_ref(), course.end.as_ref());
        let decision = decide(course.from);
        leaps |= !decision.is_taken() && course.remembered.is_some() && decide(course.remembered).is_taken();
        decisions.push((leaf, decision));
    }
    Ok((decisions, leaps))
}
