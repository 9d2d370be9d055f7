//! From a request to the units of a run: reads both catalogs, lets `plan` decide. Touches nothing.

mod comparison;
mod resuming;

pub use comparison::comparison;
use resuming::{finished_units, resume};

use super::Request;
use super::points::Points;
use super::record::Store;
use super::rows::{NewUnit, SamePlan};
use crate::error::{Error, Result, sqlstate};
use crate::pg::session::{self, VERSION};
use crate::plan::bound::End;
use crate::plan::columns::{Mapping, has_newer_values, match_columns};
use crate::plan::constraint::without_hash;
use crate::plan::copy_sql::split_name;
use crate::plan::end::KeyKind;
use crate::plan::missing::{self, Creation, Missing, Reach};
use crate::plan::pieces::Cut;
use crate::plan::select::{Decision, decide};
use crate::plan::tree::{KeyColumn, Ranks, values_by_ordering};
use crate::plan::twins::{ReadFrom, Twins};
use crate::plan::units::{Leaf, LeafRange, SourceTable, TargetTable, leaves, range_key};
use crate::source::{Session, dialect};
use crate::target::{catalog, defaults};

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
}

/// One leaf of the target, or of what is to be created.
#[derive(Debug)]
pub struct PlannedUnit {
    /// quoted, qualified
    pub name: String,
    /// what happens to it
    pub action: Action,
    /// why, beyond the action itself
    pub decision: Decision,
    /// on the key that end_tm is compared with
    pub range: Option<LeafRange>,
    /// where its rows are read. The OID is 0 as long as the partition does not exist
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
    /// the remembered end_tm
    pub watermark: Option<String>,
    /// sync_table is to hold `end_tm` afterwards
    pub moves_watermark: bool,
    /// what the user should know
    pub remarks: Vec<String>,
    /// which database was read
    pub source_address: String,
}

impl Plan {
    /// The units of the run: to be copied, the biggest first, so that it does not end with one worker on a big unit (unknown sizes may be
    /// big); and those that an earlier run has copied.
    pub fn units(&self) -> Vec<&NewUnit> {
        let taken = self
            .partitions
            .iter()
            .filter(|p| matches!(p.action, Action::Copy | Action::Resume(_)));
        let mut units: Vec<&NewUnit> = taken.map(|p| &p.unit).collect();
        units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
        units
    }
}

/// Both sides, and how their values are ordered.
struct Sides<'a> {
    target: &'a TargetTable,
    source: &'a SourceTable,
    key: Option<&'a KeyColumn>,
    ranks: Ranks,
}

/// Plans a run. `session` is open and in the transaction whose snapshot the run reads.
pub fn plan(request: &Request, store: &Store, session: &mut Session) -> Result<Plan> {
    let target = catalog::read_table(request.table)?;
    let key = range_key(&target.root)?;
    let watermark = store.watermark(request.table)?;
    let source = read_source(request, &target, session)?;
    let leaves = leaves(&target.root, key);
    let kind = key.map(|key| (key, kind_of(key, &leaves, &source)));
    let points = Points::read(request, kind, watermark.as_deref())?;
    let mut mapping = match_columns(&target.columns, &source.columns, request.columns.as_deref())?;
    mapping.binary &= session.has_integer_datetimes()
        && !has_newer_values(&mapping.columns, &source.columns, session.version(), VERSION);
    // Values of defaults are added to rows of text.
    if mapping.binary && defaults::leaves_out(request.table, &mapping.columns)? {
        mapping.binary = !defaults::of_any_unit(request.table, &mapping.columns)?;
    }

    let address = request.connection()?.address();
    let same = SamePlan {
        source_table: &source.root.table.relation,
        source_address: &address,
        columns: &mapping.columns,
        watermark: watermark.as_deref(),
    };
    let (finished, finished_ends) = finished_units(request, store, kind, &same)?;
    let mut values = values_by_ordering(&target.root, &source.root);
    if let Some(key) = key {
        let compared = values.entry(&key.ordering).or_default();
        compared.extend(points.values());
        compared.extend(finished_ends.iter().map(String::as_str));
    }
    let sides = Sides {
        target: &target,
        source: &source,
        key,
        ranks: catalog::rank(&values)?,
    };
    let (end, since, remembered) = (
        sides.rank(&points.end)?,
        sides.rank(&points.since)?,
        sides.rank(&points.watermark)?,
    );
    check_order(&points, request, (end, since, remembered), watermark.as_deref())?;
    let from = if request.since.is_some() { since } else { remembered };
    let reach = Reach { key, from, end };
    let missing = missing::find(&target.root, &source.root, &sides.ranks, &reach)?;
    if request.create_missing {
        refuse_overlaps(&missing, session)?;
    }

    let mut partitions = Vec::with_capacity(leaves.len());
    let mut leaps = false;
    for leaf in &leaves {
        let range = sides.ranked(leaf.range.as_ref())?;
        let decision = decide(range.as_ref(), from.as_ref(), end.as_ref());
        // Left out only because of `since`: from the remembered point it would be due.
        leaps |= !decision.is_taken()
            && watermark.is_some()
            && decide(range.as_ref(), remembered.as_ref(), end.as_ref()).is_taken();
        partitions.push((leaf, decision));
    }
    let mut partitions = planned_units(&sides, partitions, &missing, request.create_missing)?;
    resume(&sides, &mut partitions, &finished, &finished_ends)?;
    let held_back: Vec<_> = missing
        .create
        .iter()
        .filter(|new| new.held_back)
        .map(|new| new.node)
        .collect();
    let held_back = if request.create_missing {
        Vec::new()
    } else {
        dialect::with_rows(session, &held_back)?
    };
    let defaults = dialect::with_rows(session, &missing.defaults)?;
    let mut remarks = remarks(&mapping, &held_back, leaps);
    if !defaults.is_empty() {
        remarks.push(format!(
            "rows of {} are not copied: there is no default partition here",
            defaults.join(", ")
        ));
    }
    let creations = new_partitions(&sides, &missing, request.create_missing, &mut partitions, &mut remarks);
    Ok(Plan {
        source: source.shape(),
        source_table: source.root.table.relation.clone(),
        partitions,
        creations,
        end_tm: points.end_tm,
        watermark,
        // With `since`, E may lie before W, or the run may begin after it; and rows there are no partitions for must not be passed.
        moves_watermark: end >= remembered && !leaps && held_back.is_empty(),
        remarks,
        mapping,
        source_address: address,
    })
}

impl Sides<'_> {
    fn rank(&self, point: &Option<String>) -> Result<Option<i64>> {
        match (point, self.key) {
            (Some(point), Some(key)) => self.ranks.of(&key.ordering, point).map(Some),
            _ => Ok(None),
        }
    }

    fn ranked(&self, range: Option<&LeafRange>) -> Result<Option<crate::plan::select::Range<i64>>> {
        match (range, self.key) {
            (Some(range), Some(key)) => range.ranked(key, &self.ranks).map(Some),
            _ => Ok(None),
        }
    }
}

/// How end_tm is read: by the bounds here, or by the source's where there are none yet.
fn kind_of(key: &KeyColumn, leaves: &[Leaf<'_>], source: &SourceTable) -> KeyKind {
    let ranges: Vec<LeafRange> = leaves.iter().filter_map(|leaf| leaf.range.clone()).collect();
    let level = source
        .root
        .level
        .as_ref()
        .filter(|level| level.columns.first().is_some_and(|c| c.name == key.name));
    let theirs = level.map_or(&[][..], |level| &level.children);
    let theirs: Vec<LeafRange> = theirs
        .iter()
        .filter_map(|child| LeafRange::of(child.bound.as_ref()))
        .collect();
    let ranges = if ranges.is_empty() { theirs } else { ranges };
    KeyKind::of(&key.type_name, ranges.iter().flat_map(LeafRange::values))
}

/// The source table's shape as `session` sees it now, in terms of [`Plan::source`].
pub fn source_shape(request: &Request, session: &mut Session) -> Result<String> {
    Ok(read_source(request, &catalog::read_table(request.table)?, session)?.shape())
}

fn read_source(request: &Request, target: &TargetTable, session: &mut Session) -> Result<SourceTable> {
    match &request.source_table {
        None => dialect::read_table(session, std::slice::from_ref(&target.schema), &target.name),
        Some(text) => match split_name(text) {
            Some((Some(schema), name)) => dialect::read_table(session, &[schema], &name),
            Some((None, name)) => {
                let schemas = session.described().schemas.clone();
                dialect::read_table(session, &schemas, &name)
            }
            None => Err(
                Error::bad_parameter(format!("source_table \"{text}\" is not a table name"))
                    .hint("Write table or schema.table, with double quotes where the name needs them."),
            ),
        },
    }
}

/// E must not lie before the point the run starts from.
fn check_order(
    points: &Points,
    request: &Request,
    (end, since, remembered): (Option<i64>, Option<i64>, Option<i64>),
    watermark: Option<&str>,
) -> Result<()> {
    let end_tm = points.end_tm.as_deref().unwrap_or("");
    match (&request.since, watermark) {
        (Some(text), _) if end < since => Err(Error::bad_parameter(format!(
            "end_tm \"{end_tm}\" is earlier than since \"{text}\""
        ))),
        (None, Some(text)) if end < remembered => Err(Error::bad_parameter(format!(
            "end_tm \"{end_tm}\" is earlier than \"{text}\", up to which the table is synced"
        ))
        .hint("Use since => '...' to sync again from an earlier point.")),
        _ => Ok(()),
    }
}

/// A source partition that fits neither into those here nor between them, and has rows that would get no place.
fn refuse_overlaps(missing: &Missing<'_>, session: &mut Session) -> Result<()> {
    let mut lost = None;
    for overlap in &missing.overlapping {
        let condition = overlap.without_place.as_deref();
        if dialect::holds_rows(session, &overlap.node.table, condition)? {
            lost = Some(overlap);
            break;
        }
    }
    let Some(overlap) = lost else { return Ok(()) };
    Err(Error::new(
        sqlstate::INVALID_OBJECT_DEFINITION,
        format!(
            "source partition {} overlaps partitions here without fitting into them",
            overlap.node.table.relation
        ),
    )
    .detail(format!(
        "Its bound is {}; it shares rows with {}.",
        overlap.node.bound.as_ref().map_or_else(String::new, |bound| bound.to_sql()),
        overlap.existing.join(", ")
    ))
    .hint("Create partitions for the rest of its rows, or pass create_missing => false to copy only what has a place here."))
}

/// Where each partition is read from, and by which condition.
fn planned_units(
    sides: &Sides<'_>,
    leaves: Vec<(&Leaf<'_>, Decision)>,
    missing: &Missing<'_>,
    create_missing: bool,
) -> Result<Vec<PlannedUnit>> {
    let twins = Twins::new(&sides.target.root, sides.source, &sides.ranks)?;
    let number = leaves.len() as i64;
    let mut reads: Vec<Option<ReadFrom>> = Vec::with_capacity(leaves.len());
    let mut sliced = Vec::new();
    for (leaf, decision) in &leaves {
        if !decision.is_taken() {
            reads.push(None);
            continue;
        }
        if leaf.table.foreign {
            return Err(Error::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("partition {} is a foreign table", leaf.table.name),
            )
            .hint("Detach it: its rows are not in this database."));
        }
        let read = twins.source_of(leaf, sides.source)?;
        if !read.whole {
            sliced.push(leaf.table.oid);
        }
        reads.push(Some(read));
    }
    // A name that is a keyword only over there must be quoted.
    session::set_config("quote_all_identifiers", "on", true)?;
    let constraints = catalog::partition_constraints(&sliced)?;
    session::set_config("quote_all_identifiers", "off", true)?;
    let planned = leaves.into_iter().zip(reads).map(|((leaf, decision), read)| {
        let constraint = read
            .as_ref()
            .filter(|read| !read.whole)
            .and_then(|_| constraints.get(&leaf.table.oid));
        let (filter, filter_here) = match constraint.map(|text| without_hash(text)) {
            Some((filter, hashed)) => (Some(filter).filter(|f| f != "true"), hashed),
            None => (None, false),
        };
        let later = missing.later.iter().map(|(parent, condition)| (*parent, condition));
        // What is created takes its rows out of the default partition.
        let created = missing.create.iter().filter(|_| create_missing);
        let created = created.filter_map(|new| Some((new.parent.oid, new.condition.as_ref()?)));
        let elsewhere = later
            .chain(created)
            .filter(|(parent, _)| leaf.default_of.contains(parent));
        let conditions: Vec<String> = filter
            .into_iter()
            .chain(elsewhere.map(|(_, condition)| format!("{condition} IS NOT TRUE")))
            .collect();
        let conditions = if read.as_ref().is_some_and(|read| read.whole) {
            Vec::new()
        } else {
            conditions
        };
        PlannedUnit {
            name: leaf.table.name.clone(),
            action: if decision.is_taken() {
                Action::Copy
            } else {
                Action::Skip(decision)
            },
            decision,
            range: leaf.range.clone(),
            unit: NewUnit {
                partition: leaf.table.oid,
                source_relation: read.as_ref().map_or_else(String::new, |read| read.relation.clone()),
                source_filter: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
                filter_here,
                cut: read.as_ref().and_then(|read| cut(sides, leaf, read, number)),
                estimated_bytes: read.and_then(|read| read.bytes),
                done_by: None,
            },
        }
    });
    Ok(planned.collect())
}

/// How a slice can be read in pieces. What it holds is guessed: as much as each of the target's `leaves` partitions would.
fn cut(sides: &Sides<'_>, leaf: &Leaf<'_>, read: &ReadFrom, leaves: i64) -> Option<Cut> {
    let (divided, key) = (read.divided?, sides.key?);
    let (End::Value(start), End::Value(end)) = (&leaf.range.as_ref()?.start, &leaf.range.as_ref()?.end) else {
        return None;
    };
    let mut there = sides.source.columns.iter();
    let is_alike = there.any(|column| column.name == key.name && column.type_oid == key.type_oid);
    (is_alike && Cut::has_arithmetic(&key.type_name)).then(|| Cut {
        column: key.name.clone(),
        type_name: key.type_name.clone(),
        start: start.clone(),
        end: end.clone(),
        bytes: read.bytes.unwrap_or(divided / leaves.max(1)),
    })
}

/// Adds the partitions that only the source has: to be created, or to be listed.
fn new_partitions(
    sides: &Sides<'_>,
    missing: &Missing<'_>,
    create: bool,
    partitions: &mut Vec<PlannedUnit>,
    remarks: &mut Vec<String>,
) -> Vec<Creation> {
    let mut creations = Vec::new();
    for new in &missing.create {
        // New partitions live in the root's schema, wherever their siblings have been moved to.
        let schema = &sides.target.schema;
        for (name, node) in new.leaves(schema) {
            partitions.push(PlannedUnit {
                name,
                action: if create { Action::Create } else { Action::Missing },
                decision: if new.range.is_some() {
                    Decision::InRange
                } else {
                    Decision::Always
                },
                range: new.range.clone(),
                unit: NewUnit {
                    partition: 0,
                    source_relation: node.table.relation.clone(),
                    source_filter: None,
                    filter_here: false,
                    cut: None,
                    estimated_bytes: node.bytes(),
                    done_by: None,
                },
            });
        }
        if create {
            creations.push(new.creation(schema));
        }
    }
    if !create && !missing.create.is_empty() {
        let names: Vec<&str> = missing
            .create
            .iter()
            .map(|new| new.node.table.relation.as_str())
            .collect();
        remarks.push(format!("partitions that only the source has: {}", names.join(", ")));
    }
    creations
}

/// What the user should know about the plan.
fn remarks(mapping: &Mapping, held_back: &[&str], leaps: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    if !mapping.binary && !mapping.differences.is_empty() {
        remarks.push(format!(
            "types differ, copying as text: {}",
            mapping.differences.join("; ")
        ));
    }
    if !held_back.is_empty() {
        remarks.push(format!(
            "end_tm will not be remembered: there is no partition here for the rows of {}",
            held_back.join(", ")
        ));
    }
    if leaps {
        remarks.push("end_tm will not be remembered: partitions before since are still due".to_owned());
    }
    remarks
}
