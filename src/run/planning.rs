//! From a request to the units of a run: reads both catalogs, lets `plan` decide.

use super::Request;
use super::record::Store;
use super::rows::{FinishedUnit, NewUnit, SamePlan};
use crate::error::{Error, Result};
use crate::plan::bound::End;
use crate::plan::columns::{Mapping, match_columns};
use crate::plan::copy_sql::split_name;
use crate::plan::end::{KeyKind, end_literal};
use crate::plan::select::{decide, is_closed_before};
use crate::plan::units::{From, Key, Leaf, Ranks, SourceTable, TargetTable, Twins, holes, ranked, same_key};
use crate::source::{Session, dialect};
use crate::target::catalog;
use std::collections::{BTreeSet, HashMap};

/// A plan, ready to be recorded.
#[derive(Debug)]
pub struct Plan {
    /// quoted, qualified
    pub source_table: String,
    /// units to copy, the biggest first, and those an earlier run has copied
    pub units: Vec<NewUnit>,
    /// columns and format
    pub mapping: Mapping,
    /// the end_tm of this run, as given or filled in
    pub end_tm: Option<String>,
    /// the remembered end_tm
    pub watermark: Option<String>,
    /// sync_table is to hold `end_tm` afterwards
    pub moves_watermark: bool,
    /// what the user should know
    pub remark: Option<String>,
    /// which database was read
    pub source_address: String,
}

/// The points in time of a run, as literals of the key's type.
struct Points {
    end: Option<String>,
    since: Option<String>,
    watermark: Option<String>,
}

/// What the text end_tm means, and what must be true of it.
fn points(request: &Request, target: &TargetTable, watermark: Option<&str>) -> Result<(Option<String>, Points)> {
    let Some(key) = &target.key else {
        // Nothing to compare: end_tm is a label for sync_table.
        let label = request.end_tm.clone().unwrap_or_else(|| request.today.clone());
        let none = Points {
            end: None,
            since: None,
            watermark: None,
        };
        return Ok((Some(label), none));
    };
    let kind = KeyKind::of(&key.type_name, finite_bounds(target));
    let end_tm = match &request.end_tm {
        Some(text) => text.trim().to_owned(),
        None if kind.has_today() => request.today.clone(),
        None => {
            return Err(Error::bad_parameter(format!(
                "end_tm is needed for a partition key of type {}",
                key.type_name
            ))
            .detail("It can be left out, meaning today, where the key is a date or its bounds read as YYYYMMDD.")
            .hint("Pass the point up to which the table is to be synced."));
        }
    };
    let literal = |what: &str, text: &str| -> Result<String> {
        catalog::read_value(&end_literal(text, kind)?, key).map_err(|e| {
            let error = Error::bad_parameter(format!("{what} \"{text}\" cannot be read as {}", key.type_name));
            error.detail(format!("Partition key \"{}\": {}.", key.column, e.message))
        })
    };
    let end = literal("end_tm", &end_tm)?;
    // What is remembered must mean the same tomorrow and elsewhere, which `yesterday` and 03/04/2017 don't.
    let is_plain = matches!(end_tm.len(), 4 | 6 | 8) && end_tm.bytes().all(|b| b.is_ascii_digit());
    let remembered_as = if is_plain { end_tm } else { end.clone() };
    let points = Points {
        end: Some(end),
        since: request.since.as_deref().map(|s| literal("since", s)).transpose()?,
        watermark: watermark.map(|w| literal("the remembered end_tm", w)).transpose()?,
    };
    Ok((Some(remembered_as), points))
}

/// The values among the ends of the leaves' ranges.
fn finite_bounds(target: &TargetTable) -> impl Iterator<Item = &str> {
    let ranges = target.leaves.iter().filter_map(|leaf| leaf.range.as_ref());
    ranges.flat_map(|(from, to)| [from, to]).filter_map(value_of)
}

fn value_of(end: &End) -> Option<&str> {
    match end {
        End::Value(value) => Some(value),
        _ => None,
    }
}

/// Everything that is compared in this run, ranked by the server in one query.
fn rank_all(
    key: &Key,
    target: &TargetTable,
    source: &SourceTable,
    points: &Points,
    earlier_ends: &[String],
) -> Result<Ranks> {
    let mut values: BTreeSet<&str> = finite_bounds(target).collect();
    if same_key(target, source) {
        let ends = source.children.iter().filter_map(|c| c.bound.single_range());
        values.extend(ends.flat_map(|(from, to)| [from, to]).filter_map(value_of));
    }
    values.extend(
        [&points.end, &points.since, &points.watermark]
            .into_iter()
            .filter_map(|p| p.as_deref()),
    );
    values.extend(earlier_ends.iter().map(String::as_str));
    let values: Vec<&str> = values.into_iter().collect();
    catalog::rank(&values, key)
}

/// What failed runs have finished under the same plan, and their end_tm as values of the key. These are few, the units may be many.
fn finished_units(
    request: &Request,
    store: &Store,
    target: &TargetTable,
    same: &SamePlan<'_>,
) -> Result<(Vec<FinishedUnit>, Vec<String>)> {
    if request.since.is_some() {
        return Ok((Vec::new(), Vec::new()));
    }
    let finished = store.finished_by_failed_runs(request, same)?;
    let Some(key) = &target.key else {
        return Ok((finished, Vec::new()));
    };
    let kind = KeyKind::of(&key.type_name, finite_bounds(target));
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

/// Plans a run. `session` is connected and pinned; `schemas` is where an unqualified source_table is looked for.
pub fn plan(request: &Request, store: &Store, session: &mut Session, schemas: &[String]) -> Result<Plan> {
    let target = catalog::read_table(request.table)?;
    let watermark = store.watermark(request.table)?;
    let (end_tm, points) = points(request, &target, watermark.as_deref())?;
    let source = read_source(request, &target, session, schemas)?;
    let mut mapping = match_columns(&target.columns, &source.columns)?;
    mapping.binary &= session.has_integer_datetimes();

    let address = request.connection()?.address();
    let same = SamePlan {
        source_table: &source.relation,
        source_address: &address,
        columns: &mapping.columns,
        watermark: watermark.as_deref(),
    };
    let (finished, finished_ends) = finished_units(request, store, &target, &same)?;
    let ranks = match &target.key {
        Some(key) => rank_all(key, &target, &source, &points, &finished_ends)?,
        None => Ranks::new(),
    };
    let rank = |point: &Option<String>| point.as_ref().and_then(|p| ranks.get(p)).copied();
    let (end, since, remembered) = (rank(&points.end), rank(&points.since), rank(&points.watermark));
    check_order(&end_tm, end, request, since, watermark.as_deref(), remembered)?;

    let twins = Twins::new(&target, &source, &ranks)?;
    let from = if request.since.is_some() { since } else { remembered };
    let finished_here: HashMap<u32, _> = finished
        .iter()
        .zip(&finished_ends)
        .map(|(f, end)| (f.partition, (f, end)))
        .collect();
    let mut units = Vec::new();
    let mut leaps = false;
    for leaf in &target.leaves {
        let range = match &leaf.range {
            Some((a, b)) => Some(ranked((a, b), &ranks)?),
            None => None,
        };
        let range = range.as_ref();
        if !decide(range, from.as_ref(), end.as_ref()).is_taken() {
            // Left out only because of `since`: from the remembered point it would be due.
            leaps |= watermark.is_some() && decide(range, remembered.as_ref(), end.as_ref()).is_taken();
            continue;
        }
        let mut unit = unit(leaf, &twins, &target, &source, &ranks)?;
        unit.done_by = finished_here.get(&leaf.oid).and_then(|&(f, end)| {
            let closed = ranks.get(end).is_some_and(|end| is_closed_before(range, end));
            let same = f.source_relation == unit.source_relation && f.source_filter == unit.source_filter;
            (closed && same).then_some(f.run_id)
        });
        units.push(unit);
    }
    let holes = holes(&target, &source, &ranks, (from, end))?;
    let holes = dialect::with_rows(session, &holes)?;
    // The biggest first, so that the run does not end with one worker on a big unit; unknown sizes may be big.
    units.sort_by_key(|u| std::cmp::Reverse(u.estimated_bytes.unwrap_or(i64::MAX)));
    Ok(Plan {
        source_table: source.relation.clone(),
        units,
        end_tm,
        watermark,
        // With `since`, E may lie before W, or the run may begin after it; and rows there are no partitions for must not be passed.
        moves_watermark: end >= remembered && !leaps && holes.is_empty(),
        remark: remark(&mapping, &holes, leaps),
        mapping,
        source_address: address,
    })
}

fn read_source(
    request: &Request,
    target: &TargetTable,
    session: &mut Session,
    schemas: &[String],
) -> Result<SourceTable> {
    match &request.source_table {
        None => dialect::read_table(session, std::slice::from_ref(&target.schema), &target.name),
        Some(text) => match split_name(text) {
            Some((Some(schema), name)) => dialect::read_table(session, &[schema], &name),
            Some((None, name)) => dialect::read_table(session, schemas, &name),
            None => Err(
                Error::bad_parameter(format!("source_table \"{text}\" is not a table name"))
                    .hint("Write table or schema.table, with double quotes where the name needs them."),
            ),
        },
    }
}

/// E must not lie before the point the run starts from.
fn check_order(
    end_tm: &Option<String>,
    end: Option<i64>,
    request: &Request,
    since: Option<i64>,
    watermark: Option<&str>,
    remembered: Option<i64>,
) -> Result<()> {
    let end_tm = end_tm.as_deref().unwrap_or("");
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

fn unit(leaf: &Leaf, twins: &Twins<'_>, target: &TargetTable, source: &SourceTable, ranks: &Ranks) -> Result<NewUnit> {
    let (relation, filter, bytes) = match twins.source_of(leaf, target, source, ranks)? {
        From::Relation { relation, bytes } => (relation, None, bytes),
        From::Slice => (source.relation.clone(), catalog::partition_constraint(leaf.oid)?, None),
    };
    Ok(NewUnit {
        partition: leaf.oid,
        source_relation: relation,
        source_filter: filter,
        estimated_bytes: bytes,
        done_by: None,
    })
}

/// What the user should know about the plan, as one line.
fn remark(mapping: &Mapping, holes: &[&str], leaps: bool) -> Option<String> {
    let mut parts = Vec::new();
    if !mapping.binary && !mapping.differences.is_empty() {
        parts.push(format!(
            "types differ, copying as text: {}",
            mapping.differences.join("; ")
        ));
    }
    if !holes.is_empty() {
        parts.push(format!(
            "end_tm will not be remembered: there is no partition here for the rows of {}",
            holes.join(", ")
        ));
    }
    if leaps {
        parts.push("end_tm will not be remembered: partitions before since are still due".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
