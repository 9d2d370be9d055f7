//! What the source has for rows of the target, and where it has rows.

use super::{Asked, NULL, Space, common, default_of};
use crate::error::Result;
use crate::plan::bound::{Bound, End};
use crate::plan::region::{Cell, Set};
use crate::plan::tree::{Edge, Level, Node, Strategy, edges};
use std::collections::BTreeSet;

/// What the source has for some rows of the target.
pub struct Cover<'a, T> {
    /// a partition that is no default has a part of them
    pub has_partition: bool,
    /// where only a default partition is, below the highest bound: that partition, its part, and how to ask for it
    pub by_default: Vec<(&'a Node<T>, Cell, Asked)>,
    /// where rows of a neighbour may be that are rounded over its bound: what to ask for them, and the part
    pub by_neighbour: Vec<(&'a Node<T>, Cell)>,
    /// where there is no partition, below the highest bound
    pub vanished: Vec<Cell>,
}

impl<T> Default for Cover<'_, T> {
    fn default() -> Self {
        Cover {
            has_partition: false,
            by_default: Vec::new(),
            by_neighbour: Vec::new(),
            vanished: Vec::new(),
        }
    }
}

/// Rows of a source relation.
pub struct Found<'a, T> {
    /// the relation: a leaf, or one whose partitions cannot be compared
    pub node: &'a Node<T>,
    /// the relations from the root down to it
    pub path: Vec<&'a Node<T>>,
    /// which of its rows
    pub cells: Vec<Cell>,
}

/// An end of a range in ranks, and as it is written.
type Highest<'n> = (Vec<Edge>, &'n Vec<End>);

/// Dimensions on which the source goes on beyond a partition: what is not there below it is not yet to be made, but gone.
pub type Closed = BTreeSet<usize>;

impl Space<'_> {
    /// What the source has for `cells` in `node`, a relation of its tree. `closed` is what [`Space::closed_above`] says of it.
    pub fn cover<'n, T>(
        &self,
        node: &'n Node<T>,
        cells: &[Cell],
        closed: &Closed,
        cover: &mut Cover<'n, T>,
    ) -> Result<()> {
        self.cover_below((node, false), node, cells, closed, cover)
    }

    /// The same for a relation below `top`, which neighbours on every level are below, too; with it, whether the key of a level
    /// between the two is rounded.
    fn cover_below<'n, T>(
        &self,
        (top, rounded): (&'n Node<T>, bool),
        node: &'n Node<T>,
        cells: &[Cell],
        closed: &Closed,
        cover: &mut Cover<'n, T>,
    ) -> Result<()> {
        let Some(level) = node.level.as_ref() else {
            cover.has_partition = true;
            return Ok(());
        };
        if !self.is_known(level) {
            return self.cover_unknown((top, rounded), (node, level), cells, closed, cover);
        }
        let (parts, rest) = self.divide(level, cells)?;
        let highest = self.highest(level)?;
        let rounded = rounded || is_rounded(level);
        for (child, cells) in parts {
            let mut closed = closed.clone();
            closed.extend(self.closed_by(level, child, highest.as_ref())?);
            self.cover_below((top, rounded), child, &cells, &closed, cover)?;
        }
        let is_closed = level
            .columns
            .first()
            .and_then(|column| self.dimension_of(column))
            .is_some_and(|at| closed.contains(&at));
        let below = match is_closed {
            true => rest.clone(),
            false => self.below_highest(level, highest.as_ref(), rest.clone())?,
        };
        if rounded {
            cover.by_neighbour.extend(rest.iter().map(|cell| (top, cell.clone())));
        }
        match default_of(level) {
            Some(default) => {
                // Above the highest bound it is the partition there is.
                cover.has_partition |= !self.without(rest, &below).is_empty();
                let asked = if is_rounded(level) { Asked::Raw } else { Asked::Roughly };
                cover
                    .by_default
                    .extend(below.into_iter().map(|cell| (default, cell, asked)));
            }
            None => cover.vanished.extend(below),
        }
        Ok(())
    }

    /// The same where the bounds of a level say nothing: each row is in one of its partitions, whichever, so that gone is what none
    /// of them has.
    fn cover_unknown<'n, T>(
        &self,
        above: (&'n Node<T>, bool),
        (node, level): (&'n Node<T>, &'n Level<T>),
        cells: &[Cell],
        closed: &Closed,
        cover: &mut Cover<'n, T>,
    ) -> Result<()> {
        let mut gone = cells.to_vec();
        let mut has_default = false;
        let mut neighbours = Vec::new();
        for child in &level.children {
            if child.bound == Some(Bound::Default) {
                has_default = true;
                continue;
            }
            let mut own = Cover::default();
            self.cover_below(above, child, cells, closed, &mut own)?;
            has_default |= !own.by_default.is_empty();
            cover.has_partition |= own.has_partition;
            neighbours.extend(own.by_neighbour);
            own.vanished.extend(own.by_default.into_iter().map(|(_, cell, _)| cell));
            gone = common(&gone, &own.vanished);
        }
        if level.children.iter().all(|child| child.bound == Some(Bound::Default)) || gone.is_empty() {
            cover.has_partition = true;
            return Ok(());
        }
        cover.by_neighbour.extend(neighbours);
        match has_default {
            // What a default partition holds of it is all that the relation holds of it.
            true => {
                let asked = if above.1 { Asked::Raw } else { Asked::Roughly };
                cover
                    .by_default
                    .extend(gone.into_iter().map(|cell| (node, cell, asked)));
            }
            false => cover.vanished.extend(gone),
        }
        Ok(())
    }

    /// What the relations below `node` that `is_one` chooses have of `cells` by the bounds above them.
    pub fn parts_of<T>(
        &self,
        node: &Node<T>,
        is_one: &impl Fn(&Node<T>) -> bool,
        cells: Vec<Cell>,
        parts: &mut Vec<Cell>,
    ) -> Result<()> {
        if is_one(node) {
            parts.extend(cells);
            return Ok(());
        }
        let Some(level) = node.level.as_ref().filter(|level| self.is_known(level)) else {
            return Ok(());
        };
        let (children, _) = self.divide(level, &cells)?;
        for (child, own) in children {
            self.parts_of(child, is_one, own, parts)?;
        }
        Ok(())
    }

    /// The dimensions that levels between `root` and `node` have closed for the latter; None where it is not below.
    pub fn closed_above<T>(&self, root: &Node<T>, node: &Node<T>) -> Result<Option<Closed>> {
        if std::ptr::eq(root, node) {
            return Ok(Some(Closed::new()));
        }
        let Some(level) = root.level.as_ref() else {
            return Ok(None);
        };
        for child in &level.children {
            if let Some(mut closed) = self.closed_above(child, node)? {
                if self.is_known(level) {
                    closed.extend(self.closed_by(level, child, self.highest(level)?.as_ref())?);
                }
                return Ok(Some(closed));
            }
        }
        Ok(None)
    }

    /// The dimension of a level by RANGE on which it goes on beyond `child`.
    fn closed_by<T>(&self, level: &Level<T>, child: &Node<T>, highest: Option<&Highest<'_>>) -> Result<Option<usize>> {
        let (Some(Bound::Range(_, to)), Some((highest, _))) = (&child.bound, highest) else {
            return Ok(None);
        };
        let is_last = edges(to, &level.columns, self.ranks)? == *highest;
        let column = level.columns.first().filter(|_| !is_last);
        Ok(column.and_then(|column| self.dimension_of(column)))
    }

    /// The highest end of a level by RANGE.
    fn highest<'n, T>(&self, level: &'n Level<T>) -> Result<Option<Highest<'n>>> {
        let ends = level.children.iter().filter_map(|child| match &child.bound {
            Some(Bound::Range(_, to)) => Some(to),
            _ => None,
        });
        let mut highest: Option<Highest<'n>> = None;
        for end in ends {
            let edges = edges(end, &level.columns, self.ranks)?;
            if highest.as_ref().is_none_or(|(known, _)| *known < edges) {
                highest = Some((edges, end));
            }
        }
        Ok(highest)
    }

    /// What of `cells` lies below the highest bound of a level by RANGE: above it, partitions have not
    /// been made yet. Everything where there is no partition, or another strategy.
    fn below_highest<T>(&self, level: &Level<T>, highest: Option<&Highest<'_>>, cells: Vec<Cell>) -> Result<Vec<Cell>> {
        let (Strategy::Range, Some((_, highest))) = (level.strategy, highest) else {
            return Ok(cells);
        };
        let lowest = vec![End::Min; highest.len()];
        let mut below = self.range(&level.columns, &lowest, highest)?;
        for at in level.columns.iter().filter_map(|column| self.dimension_of(column)) {
            below = self.without(below, &[Cell::default().with(at, Set::of(NULL, NULL))]);
            below.push(Cell::default().with(at, Set::of(NULL, NULL)));
        }
        Ok(common(&cells, &below))
    }

    /// The relations of the source that may hold rows of `cells`.
    pub fn reached<'n, T>(
        &self,
        node: &'n Node<T>,
        cells: Vec<Cell>,
        path: &[&'n Node<T>],
        found: &mut Vec<Found<'n, T>>,
    ) -> Result<()> {
        if cells.is_empty() {
            return Ok(());
        }
        let path = [path, &[node]].concat();
        let tells = |level: &&Level<T>| self.is_known(level) && !is_rounded(level);
        let Some(level) = node.level.as_ref().filter(tells) else {
            found.push(Found { node, path, cells });
            return Ok(());
        };
        let (parts, rest) = self.divide(level, &cells)?;
        for (child, cells) in parts {
            self.reached(child, cells, &path, found)?;
        }
        match default_of(level) {
            Some(default) => self.reached(default, rest, &path, found),
            None => Ok(()),
        }
    }
}

/// Some values of this level's partitions belong to others here.
fn is_rounded<T>(level: &Level<T>) -> bool {
    level.columns.iter().any(|column| column.is_rounded)
}
