//! Partitions that only this server can tell apart: those of a HASH that the source does not have alike, or of a key that it
//! does not read alike. Together they are compared, since the server here sees to it that each row is where it belongs.

use super::partitions::{conditions, slices};
use super::sides::Sides;
use crate::error::{Error, Result};
use crate::plan::missing::Missing;
use crate::plan::region::Cell;
use crate::plan::space::Space;
use crate::plan::tables::{Leaf, Relation};
use crate::plan::tree::Node;
use crate::plan::twins::Twins;
use crate::run::state::rows::NewUnit;
use crate::source::Portion;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Partitions here that hold, together, exactly the rows that are read.
#[derive(Debug)]
pub struct Group {
    /// the lowest table here that is above them all
    pub parent: u32,
    /// they
    pub leaves: Vec<u32>,
    /// what is read
    pub portion: Portion,
    /// some of them are not to be compared, being vanished, or outside of what the call selects
    pub has_others: bool,
}

/// A leaf, with what the source can be asked for instead of it.
struct Known {
    oid: u32,
    filter: Option<String>,
    /// no fewer rows than satisfy the filter
    told: Vec<Cell>,
}

/// Puts those of `units` together whose rows the source cannot tell apart, and takes them out. What is with them on the source
/// is in their group here, too, whether or not it is among `units`.
pub fn groups(
    sides: &Sides<'_>,
    space: &Space<'_>,
    twins: &Twins<'_>,
    leaves: &[Leaf<'_>],
    missing: &Missing<'_>,
    units: &mut Vec<NewUnit>,
) -> Result<Vec<Group>> {
    let (hashed, others): (Vec<_>, Vec<_>) = std::mem::take(units).into_iter().partition(|unit| unit.filter_here);
    *units = others;
    if hashed.is_empty() {
        return Ok(Vec::new());
    }
    let known = known(sides, space, leaves, missing)?;
    let compared: BTreeSet<u32> = units.iter().chain(&hashed).filter_map(|unit| unit.unit.oid).collect();
    let mut found: BTreeMap<(u32, Option<String>), Group> = BTreeMap::new();
    for unit in hashed {
        let oid = unit.unit.oid()?;
        let anchor = twins
            .anchor_of(oid)
            .and_then(|oid| node(&sides.target.root, oid))
            .ok_or_else(|| Error::internal("a partition without a source"))?;
        let own = known.get(&oid);
        let own = own.ok_or_else(|| Error::internal("a partition without a condition"))?;
        let mut below = Vec::new();
        collect(anchor, &mut below);
        let reached: Vec<&Known> = below
            .iter()
            .filter_map(|oid| known.get(oid))
            .filter(|leaf| leaf.filter == own.filter || meet(&leaf.told, &own.told))
            .collect();
        // Where others have a part of the rows, all that the relation has is compared.
        let is_closed = reached.iter().all(|leaf| leaf.filter == own.filter);
        let (members, filter) = match is_closed {
            true => (reached.iter().map(|leaf| leaf.oid).collect(), own.filter.clone()),
            false => (below, None),
        };
        let key = (anchor.table.oid, filter.clone());
        found.entry(key).or_insert_with(|| Group {
            parent: parent(anchor, &members).table.oid,
            has_others: members.iter().any(|oid| !compared.contains(oid)) || (!is_closed && !missing.later.is_empty()),
            leaves: members,
            portion: Portion {
                relation: unit.source_relation,
                filter,
                has_parts: unit.source_parts,
                state: None,
            },
        });
    }
    Ok(found.into_values().collect())
}

fn known(
    sides: &Sides<'_>,
    space: &Space<'_>,
    leaves: &[Leaf<'_>],
    missing: &Missing<'_>,
) -> Result<HashMap<u32, Known>> {
    let slices = slices(sides, space)?;
    let mut cells = Vec::new();
    space.leaves(&sides.target.root, vec![Cell::default()], &mut cells)?;
    let mut told: HashMap<u32, Vec<Cell>> = cells
        .into_iter()
        .map(|(leaf, cells)| (leaf.table.oid, space.told(&cells)))
        .collect();
    let one = |leaf: &Leaf<'_>| {
        let oid = leaf.table.oid;
        let slice = slices.get(&oid).and_then(|(slice, _)| slice.clone());
        let conditions = conditions(leaf, slice, missing, false);
        let known = Known {
            oid,
            filter: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
            told: told.remove(&oid).unwrap_or_default(),
        };
        (oid, known)
    };
    Ok(leaves.iter().map(one).collect())
}

fn meet(cells: &[Cell], others: &[Cell]) -> bool {
    cells
        .iter()
        .any(|cell| others.iter().any(|other| cell.and(other).is_some()))
}

fn node(root: &Node<Relation>, oid: u32) -> Option<&Node<Relation>> {
    if root.table.oid == oid {
        return Some(root);
    }
    let level = root.level.as_ref()?;
    level.children.iter().find_map(|child| node(child, oid))
}

/// The leaves below `node`.
fn collect(node: &Node<Relation>, found: &mut Vec<u32>) {
    match &node.level {
        None => found.push(node.table.oid),
        Some(level) => level.children.iter().for_each(|child| collect(child, found)),
    }
}

/// The lowest table from `node` on that has all of `leaves` below it, or is the only one.
fn parent<'n>(node: &'n Node<Relation>, leaves: &[u32]) -> &'n Node<Relation> {
    let has_all = |child: &&Node<Relation>| {
        let mut below = Vec::new();
        collect(child, &mut below);
        leaves.iter().all(|leaf| below.contains(leaf))
    };
    let children = node.level.iter().flat_map(|level| &level.children);
    match children.into_iter().find(has_all) {
        Some(child) => parent(child, leaves),
        None => node,
    }
}
