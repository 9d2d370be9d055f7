//! Rows of the source that no partition here takes. `plan::space` subtracts; whether there are any is asked, many questions in one
//! statement.

use super::sides::Sides;
use crate::error::{Error, Result, sqlstate};
use crate::plan::bound::Bound;
use crate::plan::constraint::without_hash;
use crate::plan::missing::Missing;
use crate::plan::region::Cell;
use crate::plan::space::cover::Found;
use crate::plan::space::{Asked, Space};
use crate::plan::tables::Relation;
use crate::plan::tree::Node;
use crate::source;
use crate::wire::Session;
use std::collections::HashSet;

/// Rows of the source that no partition here takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// relation that holds them, quoted and qualified
    pub relation: String,
    /// relation to read them from: it, or one above it that may be read
    pub readable: String,
    /// condition on them
    pub condition: String,
    /// the same for people; None where the relation is a partition, whose bounds tell enough
    pub shown: Option<String>,
}

/// Where the source may have such rows, with a key from rank `from` up to `end`, or NULL unless the call says itself where it
/// begins. Partitions of the source in `created` get a place here before anything is copied.
pub fn holes(
    sides: &Sides<'_>,
    space: &Space<'_>,
    (from, end): (Option<i64>, Option<i64>),
    has_since: bool,
    created: &[&Node<Relation>],
) -> Result<Vec<Hole>> {
    let mut reach = sides
        .key
        .map_or_else(Cell::default, |key| space.between(key, from, end, !has_since));
    for column in sides.never_null(false) {
        match space.not_null(&reach, column) {
            Some(cell) => reach = cell,
            None => return Ok(Vec::new()),
        }
    }
    let reach_as = |asked| space.condition(std::slice::from_ref(&reach), asked).0;
    let unknown = unknown_hole(sides, &reach_as(Asked::Roughly), &reach_as(Asked::Shown))?;
    let gaps = space.gaps(&sides.target.root, vec![reach])?;
    let mut found = Vec::new();
    space.reached(&sides.source.root, gaps, &[], &mut found)?;
    let created: HashSet<*const Node<Relation>> = created.iter().map(|node| std::ptr::from_ref(*node)).collect();
    let is_created = |node: &Node<Relation>| created.contains(&std::ptr::from_ref(node));
    found.retain(|found| !found.path.iter().any(|node| is_created(node)));
    for found in found.iter_mut().filter(|_| !created.is_empty()) {
        // A level that rounds is not looked through by what reaches it.
        let mut parts = Vec::new();
        space.parts_of(found.node, &is_created, found.cells.clone(), &mut parts)?;
        found.cells = space.without(std::mem::take(&mut found.cells), &parts);
    }
    found.retain(|found| !found.cells.is_empty());
    let hole = |found: Found<'_, Relation>| {
        let readable = found.path.iter().rev().find(|node| node.table.readable);
        let is_whole = !matches!(found.node.bound, None | Some(Bound::Default));
        Hole {
            relation: found.node.table.relation.clone(),
            readable: readable.unwrap_or(&found.node).table.relation.clone(),
            condition: space.condition(&found.cells, Asked::Roughly).0,
            shown: (!is_whole).then(|| space.condition(&found.cells, Asked::Shown).0),
        }
    };
    Ok(found.into_iter().map(hole).chain(unknown).collect())
}

/// Where a level here has a key that cannot be compared: the rows that satisfy the constraint of no leaf.
fn unknown_hole(sides: &Sides<'_>, reach: &str, shown: &str) -> Result<Option<Hole>> {
    fn collect(node: &Node<Relation>, leaves: &mut Vec<u32>) -> bool {
        let Some(level) = &node.level else {
            leaves.push(node.table.oid);
            return false;
        };
        let below = level
            .children
            .iter()
            .fold(false, |unknown, child| collect(child, leaves) | unknown);
        below || !level.plain
    }
    let mut leaves = Vec::new();
    if !collect(&sides.target.root, &mut leaves) {
        return Ok(None);
    }
    let constraints = sides.at.partition_constraints(&leaves)?;
    if leaves.iter().any(|leaf| !constraints.contains_key(leaf)) {
        // One takes every row, or there is no leaf at all.
        return Ok(None);
    }
    let taken: Vec<String> = constraints.values().map(|text| without_hash(text).0).collect();
    let taken = if taken.is_empty() {
        "false".to_owned()
    } else {
        taken.join(" OR ")
    };
    let relation = sides.source.root.table.relation.clone();
    Ok(Some(Hole {
        readable: relation.clone(),
        relation,
        condition: format!("({taken}) IS NOT TRUE AND {reach}"),
        shown: Some(format!("({taken}) IS NOT TRUE AND {shown}")),
    }))
}

/// Those of `holes` that hold rows.
pub fn with_rows(holes: Vec<Hole>, session: &mut Session) -> Result<Vec<Hole>> {
    let questions: Vec<(String, String)> = holes
        .iter()
        .map(|hole| (hole.readable.clone(), hole.condition.clone()))
        .collect();
    let answers = source::hold_rows(session, &questions)?;
    Ok(holes
        .into_iter()
        .zip(answers)
        .filter_map(|(hole, holds)| holds.then_some(hole))
        .collect())
}

/// Most holes that a remark names.
const NAMED: usize = 10;
/// Longest condition that a remark quotes, in characters.
const LONGEST_CONDITION: usize = 200;

/// The remark on rows that get no place here.
pub fn remark(holes: &[Hole]) -> Option<String> {
    let one = |hole: &Hole| match &hole.shown {
        None => hole.relation.clone(),
        Some(shown) => {
            let short: String = shown.chars().take(LONGEST_CONDITION).collect();
            let more = if short.len() < shown.len() { "..." } else { "" };
            format!("{} with {short}{more}", hole.relation)
        }
    };
    let mut names: Vec<String> = holes.iter().take(NAMED).map(one).collect();
    if holes.len() > NAMED {
        names.push(format!("{} more", holes.len() - NAMED));
    }
    (!names.is_empty()).then(|| {
        format!(
            "end_tm will not be remembered: there is no partition here for the rows of {}. Create partitions \
             for them, or, where they lie before the table's beginning on purpose, pass since",
            names.join(", ")
        )
    })
}

/// A source partition that fits neither into those here nor between them, and has rows that would get no place.
pub fn refuse_overlaps(missing: &Missing<'_>, session: &mut Session) -> Result<()> {
    let mut lost = None;
    for overlap in &missing.overlapping {
        let condition = overlap.without_place.as_deref();
        if source::holds_rows(session, &overlap.node.table, condition)? {
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
