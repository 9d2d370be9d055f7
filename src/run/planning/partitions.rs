//! The partitions of a plan: where each is read from and by which condition, and those that are to be created.

use super::sides::Sides;
use super::{Action, PlannedUnit};
use crate::error::{Error, Result, sqlstate};
use crate::plan::bound::End;
use crate::plan::copy_sql::split_name;
use crate::plan::creation::Creation;
use crate::plan::missing::{Missing, NewPartition};
use crate::plan::naming::{Names, New};
use crate::plan::reading::beside_bounds;
use crate::plan::region::Cell;
use crate::plan::select::Decision;
use crate::plan::shares::Cut;
use crate::plan::space::{Asked, Space};
use crate::plan::tables::{Leaf, Relation, Unit};
use crate::plan::tree::Node;
use crate::plan::twins::{ReadFrom, Twins};
use crate::run::placing;
use crate::run::state::rows::NewUnit;
use std::collections::HashMap;

/// Where each partition is read from, and by which condition.
pub fn planned_units(
    sides: &Sides<'_>,
    space: &Space<'_>,
    twins: &Twins<'_>,
    leaves: Vec<(&Leaf<'_>, Decision)>,
    missing: &Missing<'_>,
    create_missing: bool,
) -> Result<Vec<PlannedUnit>> {
    let number = leaves.len() as i64;
    let mut reads: Vec<Option<ReadFrom>> = Vec::with_capacity(leaves.len());
    let mut is_sliced = false;
    for (leaf, decision) in &leaves {
        if !decision.is_taken() {
            reads.push(None);
            continue;
        }
        if leaf.table.foreign {
            return Err(foreign(sides, leaf.table)?);
        }
        let read = twins.source_of(leaf)?;
        is_sliced |= !read.whole;
        reads.push(Some(read));
    }
    let slices = if is_sliced {
        slices(sides, space)?
    } else {
        HashMap::new()
    };
    let planned = leaves.into_iter().zip(reads).map(|((leaf, decision), read)| {
        let slice = read
            .as_ref()
            .filter(|read| !read.whole)
            .and_then(|_| slices.get(&leaf.table.oid));
        let (filter, filter_here) = slice.cloned().unwrap_or_default();
        let conditions = match &read {
            Some(read) if read.whole => read.condition.iter().cloned().collect(),
            _ => conditions(leaf, filter, missing, create_missing),
        };
        PlannedUnit {
            action: if decision.is_taken() {
                Action::Copy
            } else {
                Action::Skip(decision)
            },
            decision,
            range: leaf.range.clone(),
            has_bounds: leaf.default_of.is_empty() && !leaf.bounds.is_empty(),
            unit: NewUnit {
                unit: leaf.table.unit(),
                source_relation: read.as_ref().map_or_else(String::new, |read| read.relation.clone()),
                source_filter: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
                filter_here,
                cut: read.as_ref().and_then(|read| cut(sides, leaf, read, number)),
                source_parts: read.as_ref().is_some_and(|read| read.has_parts),
                estimated_bytes: read.and_then(|read| read.bytes),
                bound: Some(leaf.bounds.join("; ")),
                ..NewUnit::default()
            },
        }
    });
    Ok(planned.collect())
}

/// The error for a partition whose rows are elsewhere.
fn foreign(sides: &Sides<'_>, table: &Relation) -> Result<Error> {
    let name = &table.relation;
    let error = Error::new(
        sqlstate::WRONG_OBJECT_TYPE,
        format!("partition {name} is a foreign table"),
    )
    .detail("Its rows are not in this database.");
    let not_due = "Choose end_tm and since so that it is not due";
    Ok(match parent_of(&sides.target.root, table.oid) {
        Some(parent) if !sides.at.is_classic()? => {
            let parent = &parent.relation;
            error.hint(format!("{not_due}, or ALTER TABLE {parent} DETACH PARTITION {name}."))
        }
        _ => error.hint(format!("{not_due}.")),
    })
}

fn parent_of(node: &Node<Relation>, oid: u32) -> Option<&Relation> {
    let children = &node.level.as_ref()?.children;
    match children.iter().any(|child| child.table.oid == oid) {
        true => Some(&node.table),
        false => children.iter().find_map(|child| parent_of(child, oid)),
    }
}

/// What the rows of a leaf satisfy: its slice, without what other partitions take, or will when they are created.
pub(super) fn conditions(
    leaf: &Leaf<'_>,
    slice: Option<String>,
    missing: &Missing<'_>,
    create_missing: bool,
) -> Vec<String> {
    let later = missing.later.iter().map(|(parent, condition)| (*parent, condition));
    // What is created takes its rows out of the default partition.
    let created = missing.create.iter().filter(|_| create_missing);
    let created = created.filter_map(|new| Some((new.parent.oid, new.condition.as_ref()?)));
    let elsewhere = later
        .chain(created)
        .filter(|(parent, _)| leaf.default_of.contains(parent));
    slice
        .into_iter()
        .chain(elsewhere.map(|(_, condition)| format!("{condition} IS NOT TRUE")))
        .collect()
}

/// What the source can be asked for instead of each leaf: its rows, and whether others are among them.
pub(super) type Slices = HashMap<u32, (Option<String>, bool)>;

/// The condition by which the source tells the rows of each leaf from those of its siblings, None for all rows; and whether it leaves others
/// among them, which have to be told apart here.
pub(super) fn slices(sides: &Sides<'_>, space: &Space<'_>) -> Result<Slices> {
    let root = &sides.target.root;
    let mut leaves = Vec::new();
    space.leaves(root, vec![Cell::default()], &mut leaves)?;
    let is_known = space.is_all_known(root);
    let slice = |(leaf, cells): (&Node<Relation>, Vec<Cell>)| {
        let (condition, is_exact) = space.condition(&cells, Asked::There);
        let condition = Some(condition).filter(|condition| condition != "(true)");
        (leaf.table.oid, (condition, !is_exact || !is_known))
    };
    Ok(leaves.into_iter().map(slice).collect())
}

/// How a slice can be read in pieces. What it holds is guessed: as much as each of the target's `leaves` partitions would.
fn cut(sides: &Sides<'_>, leaf: &Leaf<'_>, read: &ReadFrom, leaves: i64) -> Option<Cut> {
    let (divided, key) = (read.divided?, sides.key?);
    let (End::Value(start), End::Value(end)) = (&leaf.range.as_ref()?.start, &leaf.range.as_ref()?.end) else {
        return None;
    };
    let mut there = sides.source.columns.iter();
    let is_alike = there.any(|column| column.name == key.name && column.type_oid == key.type_oid);
    let is_finite = [start, end].iter().all(|end| !end.ends_with("infinity"));
    // Pieces would be asked for by bounds that the source may read in another way.
    let is_doubtful = key.reading == beside_bounds();
    (is_alike && is_finite && !is_doubtful && Cut::has_arithmetic(&key.type_name)).then(|| Cut {
        column: key.name.clone(),
        type_name: key.type_name.clone(),
        start: start.clone(),
        end: end.clone(),
        bytes: read.bytes.unwrap_or(divided / leaves.max(1)),
    })
}

/// Adds the partitions that only the source has: to be created, or to be listed.
pub fn new_partitions(
    sides: &Sides<'_>,
    missing: &Missing<'_>,
    create: bool,
    partitions: &mut Vec<PlannedUnit>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Creation>> {
    let mut creations = Vec::new();
    let is_classic = sides.at.is_classic()?;
    let (names, renamed) = names(sides, missing, is_classic)?;
    remarks.extend(renamed.into_iter().filter(|_| create));
    for new in &missing.create {
        for (name, node) in new.leaves(&names, is_classic) {
            partitions.push(PlannedUnit {
                action: if create { Action::Create } else { Action::Missing },
                decision: if new.range.is_some() {
                    Decision::InRange
                } else {
                    Decision::Always
                },
                range: new.range.clone(),
                has_bounds: true,
                unit: NewUnit {
                    unit: Unit { name, oid: None },
                    source_relation: node.table.relation.clone(),
                    estimated_bytes: node.bytes(),
                    ..NewUnit::default()
                },
            });
        }
        if create {
            creations.push(new.creation(&names, is_classic));
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
    Ok(creations)
}

/// What the tables of new partitions are called, with what there is to tell. Greenplum before 7 names them itself.
fn names(sides: &Sides<'_>, missing: &Missing<'_>, is_classic: bool) -> Result<(Names, Vec<String>)> {
    let schema = &sides.target.schema;
    if missing.create.is_empty() || is_classic {
        return Ok((Names::within(schema), Vec::new()));
    }
    let beside = |new: &NewPartition<'_>| {
        let sibling = split_name(&new.beside.unwrap_or(new.parent).relation);
        sibling.and_then(|(schema, _)| schema).unwrap_or_else(|| schema.clone())
    };
    let new: Vec<New<'_>> = missing.create.iter().map(|new| (new.node, beside(new))).collect();
    let ask = |sql: &str| sides.at.query(sql);
    placing::names(&new, (schema, &sides.source.schema), ask)
}
