//! Partitions that only the source has.

use super::bound::Bound;
use super::classic::{self, Added};
use super::creation::{Creation, NewTable, create};
use super::hash::{greatest_common_divisor, least_common_multiple};
use super::key::KeyColumn;
use super::naming::Names;
use super::select::{Decision, decide};
use super::space::Space;
use super::tables::{LeafRange, Relation, is_on_key};
use super::tree::{Level, Node, Place, Ranks, comparable, places};
use crate::error::Result;
use std::collections::HashMap;

/// A partition to be created here.
#[derive(Debug)]
pub struct NewPartition<'a> {
    /// the table it becomes a partition of
    pub parent: &'a Relation,
    /// how many levels are above its own
    pub depth: usize,
    /// the partition of that level that comes before it, or another one of them
    pub beside: Option<&'a Relation>,
    /// the source's partition: its name, bound and partitions are taken over
    pub node: &'a Node<Relation>,
    /// partitions here at its level are partitioned as it is over there, so its own partitions come along
    pub with_level: bool,
    /// its range on the key that end_tm is compared with
    pub range: Option<LeafRange>,
    /// the condition on its rows; None where no condition tells them
    pub condition: Option<String>,
}

/// A partition of the source that fits neither into those here nor between them.
#[derive(Debug)]
pub struct Overlap<'a> {
    /// the source's partition
    pub node: &'a Node<Relation>,
    /// those here that it shares rows with
    pub existing: Vec<&'a str>,
    /// the condition on its rows that have no place here, within reach of the run; None when it cannot be told
    pub without_place: Option<String>,
}

/// What the target lacks.
#[derive(Debug, Default)]
pub struct Missing<'a> {
    /// can be created
    pub create: Vec<NewPartition<'a>>,
    /// cannot
    pub overlapping: Vec<Overlap<'a>>,
    /// begin after the run's end: by the target's table that lacks them, the condition on their rows. A default partition here would have to
    /// give those rows back when the run that is due for them comes, so it does not get them.
    pub later: Vec<(u32, String)>,
}

/// What decides whether a missing partition is within reach of the run, in ranks of `key`.
pub struct Reach<'a> {
    /// the key that end_tm is compared with
    pub key: Option<&'a KeyColumn>,
    /// from where the run takes partitions
    pub from: Option<i64>,
    /// up to where
    pub end: Option<i64>,
}

/// Finds the source's partitions that have no room here, under levels whose bounds can be compared.
pub fn find<'a>(
    target: &'a Node<Relation>,
    source: &'a Node<Relation>,
    ranks: &Ranks,
    space: &Space<'_>,
    reach: &Reach<'_>,
) -> Result<Missing<'a>> {
    let mut missing = Missing::default();
    let sides = Compared { ranks, space, reach };
    walk(target, source, &sides, (0, None), &mut missing)?;
    Ok(missing)
}

/// What both sides are compared by.
#[derive(Clone, Copy)]
struct Compared<'a> {
    ranks: &'a Ranks,
    space: &'a Space<'a>,
    reach: &'a Reach<'a>,
}

/// Walks both trees side by side, as long as their levels can be compared. `depth` levels are above, and `inherited` is the range of what is.
fn walk<'a>(
    here: &'a Node<Relation>,
    there: &'a Node<Relation>,
    sides: &Compared<'_>,
    (depth, inherited): (usize, Option<&LeafRange>),
    missing: &mut Missing<'a>,
) -> Result<()> {
    let (Some(level), Some(other)) = (&here.level, &there.level) else {
        return Ok(());
    };
    if !comparable(level, other) {
        return Ok(());
    }
    let ours = places(level, &level.columns, sides.ranks)?;
    let theirs = places(other, &level.columns, sides.ranks)?;
    let by_place: HashMap<&Place, &'a Node<Relation>> = ours.iter().zip(&level.children).collect();
    let on_key = is_on_key(level, sides.reach.key);
    // The oldest first, in whatever order the catalog gives them: each is created in a transaction of its own.
    let mut children: Vec<_> = other.children.iter().zip(&theirs).collect();
    children.sort_by_key(|(_, place)| *place);
    for (child, place) in children {
        let range = if on_key {
            LeafRange::of(child.bound.as_ref())
        } else {
            inherited.cloned()
        };
        match by_place.get(place) {
            Some(twin) => walk(twin, child, sides, (depth + 1, range.as_ref()), missing)?,
            // What a default partition has and this side does not take is told by `space`.
            None if matches!(place, Place::Default(_)) => {}
            None => {
                let siblings = Siblings {
                    table: &here.table,
                    depth,
                    level,
                    places: &ours,
                };
                note(&siblings, (child, place), range, sides, missing)?;
            }
        }
    }
    Ok(())
}

/// The partitions here among which one of the source's has no twin.
struct Siblings<'n, 'p> {
    table: &'n Relation,
    depth: usize,
    level: &'n Level<Relation>,
    places: &'p [Place],
}

impl<'n> Siblings<'n, '_> {
    /// The one that comes before `place`, else the first after it. A default partition is none.
    fn before(&self, place: &Place) -> Option<&'n Relation> {
        let siblings = self.places.iter().zip(&self.level.children);
        let siblings = siblings.filter(|(other, _)| !matches!(other, Place::Default(_)));
        let (before, after): (Vec<_>, Vec<_>) = siblings.partition(|(other, _)| *other < place);
        let nearest = before.into_iter().max_by_key(|(other, _)| *other);
        let nearest = nearest.or_else(|| after.into_iter().min_by_key(|(other, _)| *other));
        nearest.map(|(_, node)| &node.table)
    }
}

/// Notes what becomes of `child`, a partition of the source without a twin here.
fn note<'a>(
    here: &Siblings<'a, '_>,
    (child, place): (&'a Node<Relation>, &Place),
    range: Option<LeafRange>,
    sides: &Compared<'_>,
    missing: &mut Missing<'a>,
) -> Result<()> {
    let Compared { ranks, space, reach } = *sides;
    let Some(bound) = &child.bound else { return Ok(()) };
    let ranked = match (&range, reach.key) {
        (Some(range), Some(key)) => Some(range.ranked(key, ranks)?),
        _ => None,
    };
    let on_key = is_on_key(here.level, reach.key);
    let room = room(bound, place, here.level, here.places, ranks)?;
    match decide(ranked.as_ref(), reach.from.as_ref(), reach.end.as_ref()) {
        Decision::Always | Decision::InRange | Decision::Unloaded | Decision::Altered => {}
        Decision::Later if on_key && matches!(room, Room::Free) => {
            let condition = space.bound_condition(here.level, bound)?;
            missing.later.extend(condition.map(|c| (here.table.oid, c)));
            return Ok(());
        }
        Decision::Later | Decision::Closed => return Ok(()),
    }
    match room {
        Room::Covered => {}
        Room::Free => missing.create.push(NewPartition {
            parent: here.table,
            depth: here.depth,
            beside: here.before(place),
            node: child,
            with_level: is_template(here.level, child),
            condition: space.bound_condition(here.level, bound)?,
            range,
        }),
        // A default partition takes what the others leave.
        Room::Partly { .. } if here.places.iter().any(|place| matches!(place, Place::Default(_))) => {}
        Room::Partly { shared, gaps } => {
            let (conditions, told) = without_place(here.level, &gaps, sides)?;
            if !told || !conditions.is_empty() {
                let existing = shared.iter().map(|&at| here.level.children[at].table.relation.as_str());
                missing.overlapping.push(Overlap {
                    node: child,
                    existing: existing.collect(),
                    without_place: told.then(|| conditions.join(" OR ")),
                });
            }
        }
    }
    Ok(())
}

/// The conditions on rows in `gaps`, as far as the run goes there; and whether all of them can be told.
fn without_place(level: &Level<Relation>, gaps: &[Bound], sides: &Compared<'_>) -> Result<(Vec<String>, bool)> {
    let Compared { ranks, space, reach } = *sides;
    let on_key = is_on_key(level, reach.key);
    let mut conditions = Vec::new();
    let mut told = true;
    for gap in gaps {
        let range = reach.key.filter(|_| on_key).zip(LeafRange::of(Some(gap)));
        let ranked = range.map(|(key, range)| range.ranked(key, ranks)).transpose()?;
        if decide(ranked.as_ref(), reach.from.as_ref(), reach.end.as_ref()).is_taken() {
            let condition = space.bound_condition(level, gap)?;
            told &= condition.is_some();
            conditions.extend(condition);
        }
    }
    Ok((conditions, told))
}

enum Room {
    /// every row has a partition here
    Covered,
    /// no row has one, a default partition aside
    Free,
    /// some have
    Partly {
        /// in these
        shared: Vec<usize>,
        /// what they leave, as bounds
        gaps: Vec<Bound>,
    },
}

impl Room {
    fn of(shared: Vec<usize>, gaps: Vec<Bound>) -> Room {
        match (shared.is_empty(), gaps.is_empty()) {
            (true, _) => Room::Free,
            (false, true) => Room::Covered,
            (false, false) => Room::Partly { shared, gaps },
        }
    }
}

/// The room that `level`, whose children have the places `ours`, has for a partition of the source.
fn room(bound: &Bound, place: &Place, level: &Level<Relation>, ours: &[Place], ranks: &Ranks) -> Result<Room> {
    match (place, bound) {
        (Place::Range(from, to), Bound::Range(first, last)) => {
            let mut met = Vec::new();
            for (at, (other, child)) in ours.iter().zip(&level.children).enumerate() {
                if let (Place::Range(start, end), Some(Bound::Range(low, high))) = (other, &child.bound)
                    && start < to
                    && from < end
                {
                    met.push((start, end, low, high, at));
                }
            }
            met.sort();
            let (mut reached, mut value) = (from, first);
            let mut gaps = Vec::new();
            for &(start, end, low, high, _) in &met {
                if start > reached {
                    gaps.push(Bound::Range(value.clone(), low.clone()));
                }
                if end > reached {
                    (reached, value) = (end, high);
                }
            }
            if reached < to {
                gaps.push(Bound::Range(value.clone(), last.clone()));
            }
            Ok(Room::of(met.iter().map(|&(.., at)| at).collect(), gaps))
        }
        (Place::List(values), Bound::List(texts)) => {
            let mut met = Vec::new();
            let mut left = values.clone();
            for (at, other) in ours.iter().enumerate() {
                if let Place::List(others) = other
                    && !values.is_disjoint(others)
                {
                    met.push(at);
                    left.retain(|value| !others.contains(value));
                }
            }
            let mut without = Vec::new();
            for text in texts {
                let rank = match (text, level.columns.first()) {
                    (Some(text), Some(column)) => Some(ranks.of(&column.ordering, text)?),
                    _ => None,
                };
                if left.contains(&rank) {
                    without.push(text.clone());
                }
            }
            let gaps = if left.is_empty() {
                Vec::new()
            } else {
                vec![Bound::List(without)]
            };
            Ok(Room::of(met, gaps))
        }
        (Place::Hash(modulus, remainder), _) => Ok(room_for_hash(bound, *modulus, *remainder, ours)),
        // What no sibling takes over there depends on the siblings; the rows find their places here by the constraints.
        _ => Ok(Room::Covered),
    }
}

/// Partitions by HASH share rows where their remainders agree by the greatest common divisor of their moduli: one hash in every least common
/// multiple of these. Those here share none among themselves, so what they take of the source's adds up.
fn room_for_hash(bound: &Bound, modulus: u32, remainder: u32, ours: &[Place]) -> Room {
    let mut met = Vec::new();
    let mut cycles = Vec::new();
    for (at, other) in ours.iter().enumerate() {
        if let Place::Hash(other, rest) = other
            && u128::from(remainder.abs_diff(*rest)) % greatest_common_divisor(modulus.into(), (*other).into()) == 0
        {
            met.push(at);
            cycles.push(least_common_multiple(modulus.into(), (*other).into()));
        }
    }
    let cycle = cycles
        .iter()
        .fold(modulus.into(), |all, &one| least_common_multiple(all, one));
    let taken: u128 = cycles.iter().map(|one| cycle / one).sum();
    let is_full = taken == cycle / u128::from(modulus);
    // Which rows are left cannot be asked of the source.
    Room::of(met, if is_full { Vec::new() } else { vec![bound.clone()] })
}

/// True when a sibling here is partitioned as `child` is on the source.
fn is_template(level: &Level<Relation>, child: &Node<Relation>) -> bool {
    let siblings = level.children.iter().filter_map(|sibling| sibling.level.as_ref());
    match &child.level {
        Some(theirs) => siblings.into_iter().any(|ours| comparable(ours, theirs)),
        None => false,
    }
}

impl<'a> NewPartition<'a> {
    /// The statements that create it, with its own partitions where those here have some. `names`: what they are
    /// called; `is_classic`: in the words of Greenplum before 7.
    pub fn creation(&self, names: &Names, is_classic: bool) -> Creation {
        let (tables, added) = match is_classic {
            false => (self.create(names).0, None),
            true => {
                let table = |(name, _): (String, _)| NewTable {
                    name,
                    sql: String::new(),
                    keys: Vec::new(),
                };
                (
                    self.leaves(names, true).into_iter().map(table).collect(),
                    Some(Added::new(self.node, self.with_level)),
                )
            }
        };
        Creation {
            parent: self.parent.oid,
            parent_name: self.parent.relation.clone(),
            source_relation: self.node.table.relation.clone(),
            tables,
            beside: self.beside.map(|table| table.relation.clone()),
            added,
        }
    }

    /// The names of the leaves that come of it, quoted and qualified, with the source's node of each.
    pub fn leaves(&self, names: &Names, is_classic: bool) -> Vec<(String, &'a Node<Relation>)> {
        if !is_classic {
            return self.create(names).1;
        }
        let mut leaves = Vec::new();
        classic::tables(
            &self.parent.name,
            self.depth,
            self.node,
            self.with_level,
            &names.schema,
            &mut leaves,
        );
        leaves
    }

    fn create(&self, names: &Names) -> (Vec<NewTable>, Vec<(String, &'a Node<Relation>)>) {
        let (mut tables, mut leaves) = (Vec::new(), Vec::new());
        let parent = &self.parent.relation;
        create(parent, self.node, self.with_level, names, &mut tables, &mut leaves);
        (tables, leaves)
    }
}

#[cfg(test)]
mod tests;
