//! What the source has for rows of the target, and where it has rows.

use super::{Asked, NULL, Space, common, default_of};
use crate::error::Result;
use crate::plan::bound::{Bound, End};
use crate::plan::region::{Cell, Set};
use crate::plan::tree::{Edge, Level, Node, Strategy, edges};

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

impl Space<'_> {
    /// What the source, whose tree is `node`, has for `cells`.
    pub fn cover<'n, T>(&self, node: &'n Node<T>, cells: &[Cell], cover: &mut Cover<'n, T>) -> Result<()> {
        let Some(level) = node.level.as_ref().filter(|level| self.is_known(level)) else {
            cover.has_partition = true;
            return Ok(());
        };
        let (parts, rest) = self.divide(level, cells)?;
        for (child, cells) in parts {
            self.cover(child, &cells, cover)?;
        }
        let below = self.below_highest(level, rest.clone())?;
        if is_rounded(level) {
            cover.by_neighbour.extend(rest.iter().map(|cell| (node, cell.clone())));
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

    /// What of `cells` lies below the highest bound of a level by RANGE: above it, partitions have not
    /// been made yet. Everything where there is no partition, or another strategy.
    fn below_highest<T>(&self, level: &Level<T>, cells: Vec<Cell>) -> Result<Vec<Cell>> {
        let ends = level.children.iter().filter_map(|child| match &child.bound {
            Some(Bound::Range(_, to)) => Some(to),
            _ => None,
        });
        let mut highest: Option<(Vec<Edge>, &Vec<End>)> = None;
        for end in ends {
            let edges = edges(end, &level.columns, self.ranks)?;
            if highest.as_ref().is_none_or(|(known, _)| *known < edges) {
                highest = Some((edges, end));
            }
        }
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
