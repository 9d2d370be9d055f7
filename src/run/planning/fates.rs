//! Partitions here whose range has vanished from the source. `plan::space` subtracts; whether a default partition over there still
//! holds rows of the range is asked, many questions in one statement.

use super::sides::Sides;
use super::{Action, PlannedUnit};
use crate::error::Result;
use crate::plan::copy_sql::display_name;
use crate::plan::region::Cell;
use crate::plan::select::Decision;
use crate::plan::space::cover::Cover;
use crate::plan::space::{Asked, Space};
use crate::plan::tables::{Leaf, Relation};
use crate::plan::tree::Node;
use crate::plan::twins::Twins;
use crate::plan::vanished::Vanished;
use crate::source;
use crate::targets::Target;
use crate::wire::Session;
use std::collections::{HashMap, HashSet};

/// What the source has for a partition here, as far as it is not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// no partition for any of its rows any more; these are the condition on them
    Vanished(String),
    /// none for the rows with this condition
    InPart(String),
}

/// Fates of those of `partitions` that are taken, by OID. One that the source has as it is has none.
pub fn fates(
    sides: &Sides<'_>,
    space: &Space<'_>,
    twins: &Twins<'_>,
    partitions: &[(&Leaf<'_>, Decision)],
    session: &mut Session,
) -> Result<HashMap<u32, Fate>> {
    let source = &sides.source.root;
    let taken = partitions.iter().filter(|(_, decision)| decision.is_taken());
    let taken: HashSet<u32> = taken.map(|(leaf, _)| leaf.table.oid).collect();
    // A source that is not partitioned has nothing to lose; and nearly always it has all that there is here.
    let is_whole = |leaf: u32| twins.twin_of(leaf).is_some_and(|twin| twin.level.is_none());
    if source.level.is_none() || taken.iter().all(|leaf| is_whole(*leaf)) {
        return Ok(HashMap::new());
    }
    let mut leaves = Vec::new();
    space.leaves(&sides.target.root, vec![Cell::default()], &mut leaves)?;
    let mut covers = Vec::new();
    let never_null = sides.never_null(true);
    for (leaf, cells) in leaves {
        // Where a key cannot be NULL here, no row with one is lost.
        let not_null = |cell: &Cell| {
            never_null
                .iter()
                .try_fold(cell.clone(), |cell, column| space.not_null(&cell, column))
        };
        let cells: Vec<Cell> = cells.iter().filter_map(not_null).collect();
        let oid = leaf.table.oid;
        if taken.contains(&oid) && !is_whole(oid) {
            let mut cover = Cover::default();
            // A twin takes what it takes, be it a default partition: only what is below it may be gone.
            let node = twins.twin_of(oid).unwrap_or(source);
            let closed = space.closed_above(source, node)?.unwrap_or_default();
            space.cover(node, &cells, &closed, &mut cover)?;
            covers.push((leaf, cover));
        }
    }
    ask_defaults(space, source, &mut covers, session)?;
    Ok(covers
        .into_iter()
        .filter_map(|(leaf, cover)| Some((leaf.table.oid, fate(space, &cover)?)))
        .collect())
}

fn fate(space: &Space<'_>, cover: &Cover<'_, Relation>) -> Option<Fate> {
    if cover.vanished.is_empty() {
        return None;
    }
    // What a hash alone tells apart is taken to be gone, too: rows that stay are no rows that are lost.
    let condition = space.condition(&space.joined(&cover.vanished), Asked::Here).0;
    Some(match cover.has_partition {
        true => Fate::InPart(condition),
        false => Fate::Vanished(condition),
    })
}

/// A default partition covers what it holds a row of. What it holds none of has vanished. A neighbour's rows that are rounded
/// are rows of the partition, and the rest of it has vanished nonetheless.
fn ask_defaults<'a>(
    space: &Space<'_>,
    root: &'a Node<Relation>,
    covers: &mut [(&Node<Relation>, Cover<'a, Relation>)],
    session: &mut Session,
) -> Result<()> {
    let mut questions = Vec::new();
    for (_, cover) in covers.iter() {
        let defaults = cover.by_default.iter().map(|(node, cell, asked)| (node, cell, *asked));
        let neighbours = cover
            .by_neighbour
            .iter()
            .map(|(node, cell)| (node, cell, Asked::Roughly));
        for (node, cell, asked) in defaults.chain(neighbours) {
            let readable = if node.table.readable { node } else { root };
            let cell = std::slice::from_ref(cell);
            let (mut condition, _) = space.condition(cell, Asked::Roughly);
            if asked == Asked::Raw {
                // Before it is rounded and afterwards.
                condition += &format!(" AND {}", space.condition(cell, asked).0);
            }
            questions.push((readable.table.relation.clone(), condition));
        }
    }
    let mut answers = source::hold_rows(session, &questions)?.into_iter();
    for (_, cover) in covers {
        for (_, cell, _) in std::mem::take(&mut cover.by_default) {
            match answers.next() {
                Some(true) => cover.has_partition = true,
                _ => cover.vanished.push(cell),
            }
        }
        for _ in std::mem::take(&mut cover.by_neighbour) {
            cover.has_partition |= answers.next() == Some(true);
        }
    }
    Ok(())
}

/// What becomes of partitions that the source has no more, or a part of whose range it has no more.
pub fn settle(
    partitions: &mut [PlannedUnit],
    fates: &HashMap<u32, Fate>,
    vanished: Vanished,
    at: &Target,
) -> Result<()> {
    for planned in partitions.iter_mut().filter(|planned| planned.action == Action::Copy) {
        let fate = planned.unit.unit.oid.and_then(|oid| fates.get(&oid));
        match (fate, vanished) {
            // There is nothing to keep, and nothing to say. What comes before it is locked is not lost.
            (Some(Fate::Vanished(condition)), Vanished::Keep) if at.is_empty(&planned.unit.unit)? => {
                planned.unit.vanished_filter = Some(condition.clone());
            }
            (Some(Fate::Vanished(_)), Vanished::Keep) => {
                planned.action = Action::Vanished;
                planned
                    .unit
                    .leave("the source has no such partition any more: its rows stay");
            }
            // A table of its own, and what takes the rest of rows, are emptied.
            (Some(Fate::Vanished(_)), Vanished::Drop) if planned.has_bounds => {
                planned.action = Action::Drop;
                planned
                    .unit
                    .leave("the source has no such partition any more: to be dropped when the others are done");
            }
            (Some(Fate::InPart(condition)), Vanished::Keep) => {
                planned.unit.vanished_filter = Some(condition.clone());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Most partitions that a remark names.
const NAMED: usize = 10;

/// One remark for all of them.
pub fn remark(partitions: &[PlannedUnit]) -> Option<String> {
    let kept = partitions.iter().filter(|planned| planned.action == Action::Vanished);
    let kept: Vec<String> = kept.map(|planned| display_name(&planned.unit.unit.name)).collect();
    let mut names: Vec<&str> = kept.iter().take(NAMED).map(String::as_str).collect();
    if kept.len() > NAMED {
        names.push("...");
    }
    (!kept.is_empty()).then(|| {
        format!(
            "rows kept of partitions that the source no longer has ({}): {}; vanished => 'empty' or 'drop' follows the source",
            kept.len(),
            names.join(", ")
        )
    })
}
