//! The rows of two tables as one space: a dimension for each key column that both sides order alike,
//! and for each hash. Each partition is a set of cells of it, on whatever level and in whatever
//! nesting it stands, so that what one side has and the other lacks is a subtraction.

mod condition;
pub mod cover;

use super::bound::{Bound, End};
use super::hash::least_common_multiple;
use super::key::KeyColumn;
use super::region::{Cell, Set};
use super::tree::{Level, Node, Ranks, Strategy};
use crate::error::Result;
pub use condition::Asked;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// NULL, which no RANGE partition but a default takes.
const NULL: i64 = i64::MIN;
/// Before every value.
const LOWEST: i64 = i64::MIN + 1;
/// After every value.
const HIGHEST: i64 = i64::MAX;
/// Most remainders that are told apart: with more, a level counts as one that cannot be compared.
const MOST_REMAINDERS: u64 = 1 << 16;

/// A dimension.
struct Dimension {
    /// None for a hash
    column: Option<KeyColumn>,
    /// values by their rank
    values: BTreeMap<i64, BTreeSet<String>>,
    /// some level asks for an order, not for equality alone
    ordered: bool,
    /// number of remainders of a hash
    modulus: u64,
}

/// See the module.
pub struct Space<'a> {
    dimensions: Vec<Dimension>,
    by_label: HashMap<String, usize>,
    ranks: &'a Ranks,
}

/// A relation and the rows it takes.
pub type Part<'a, T> = (&'a Node<T>, Vec<Cell>);

impl<'a> Space<'a> {
    /// The space of both trees, whose values have been ranked.
    pub fn new<T, U>(here: &Node<T>, there: &Node<U>, ranks: &'a Ranks) -> Space<'a> {
        let mut space = Space {
            dimensions: Vec::new(),
            by_label: HashMap::new(),
            ranks,
        };
        space.collect(here);
        space.collect(there);
        space
    }

    fn collect<T>(&mut self, node: &Node<T>) {
        let Some(level) = &node.level else { return };
        if level.plain && level.strategy == Strategy::Hash {
            let moduli = level.children.iter().filter_map(|child| match child.bound {
                Some(Bound::Hash(modulus, _)) => Some(u64::from(modulus)),
                _ => None,
            });
            let moduli: Vec<u64> = moduli.collect();
            let at = self.dimension(hash_label(&level.columns), None);
            let known = &mut self.dimensions[at].modulus;
            for modulus in moduli {
                // More than is told apart is all the same.
                let both = least_common_multiple((*known).into(), modulus.into());
                *known = u64::try_from(both).map_or(MOST_REMAINDERS + 1, |both| both.min(MOST_REMAINDERS + 1));
            }
        } else if level.plain {
            for column in &level.columns {
                let at = self.dimension(label(column), Some(column));
                self.dimensions[at].ordered |= level.strategy == Strategy::Range;
            }
        }
        level.children.iter().for_each(|child| self.collect(child));
    }

    fn dimension(&mut self, label: String, column: Option<&KeyColumn>) -> usize {
        if let Some(&at) = self.by_label.get(&label) {
            return at;
        }
        self.dimensions.push(Dimension {
            column: column.cloned(),
            values: column
                .map(|column| self.ranks.values(&column.ordering))
                .unwrap_or_default(),
            ordered: false,
            modulus: 1,
        });
        self.by_label.insert(label, self.dimensions.len() - 1);
        self.dimensions.len() - 1
    }

    /// Dimension of a key column; None when no level has it.
    pub fn dimension_of(&self, column: &KeyColumn) -> Option<usize> {
        self.by_label.get(&label(column)).copied()
    }

    /// Rows whose key is not below the value of rank `from` nor above that of `end`, and, if wanted, those whose key is NULL.
    pub fn between(&self, column: &KeyColumn, from: Option<i64>, end: Option<i64>, with_null: bool) -> Cell {
        let point = |rank: i64| 2 * rank;
        match self.dimension_of(column) {
            None => Cell::default(),
            Some(at) => {
                let values = Set::of(from.map_or(LOWEST, point), end.map_or(HIGHEST, point));
                let nulls = if with_null { Set::of(NULL, NULL) } else { Set::default() };
                Cell::default().with(at, Set::union([&values, &nulls]))
            }
        }
    }

    /// The same cell without rows whose `column` is NULL.
    pub fn not_null(&self, cell: &Cell, column: &KeyColumn) -> Option<Cell> {
        match self.dimension_of(column) {
            None => Some(cell.clone()),
            Some(at) => cell.and(&Cell::default().with(at, Set::of(LOWEST, HIGHEST))),
        }
    }

    fn universe(&self, at: usize) -> Set {
        match &self.dimensions[at].column {
            Some(_) => Set::of(NULL, HIGHEST),
            None => Set::of(0, self.dimensions[at].modulus as i64 - 1),
        }
    }

    /// The single dimension of a level; None for one with several columns.
    fn axis<T>(&self, level: &Level<T>) -> Option<usize> {
        match (level.strategy, level.columns.as_slice()) {
            (Strategy::Hash, columns) => self.by_label.get(&hash_label(columns)).copied(),
            (_, [column]) => self.dimension_of(column),
            _ => None,
        }
    }

    /// True when the bounds of a level say something about this space.
    fn is_known<T>(&self, level: &Level<T>) -> bool {
        level.plain
            && match level.strategy {
                Strategy::Hash => self
                    .axis(level)
                    .is_some_and(|at| self.dimensions[at].modulus <= MOST_REMAINDERS),
                _ => level.columns.iter().all(|column| self.dimension_of(column).is_some()),
            }
    }

    fn rank(&self, column: &KeyColumn, value: &str) -> Result<i64> {
        self.ranks.of(&column.ordering, value)
    }

    /// The cells of a bound on a level; empty for a default, which is what its siblings leave.
    fn cells<T>(&self, level: &Level<T>, bound: Option<&Bound>) -> Result<Vec<Cell>> {
        let one = |at: usize, set: Set| vec![Cell::default().with(at, set)];
        Ok(match (bound, self.axis(level)) {
            (Some(Bound::Hash(modulus, remainder)), Some(at)) => {
                let all = self.dimensions[at].modulus as i64;
                let steps = (i64::from(*remainder)..all).step_by((*modulus).max(1) as usize);
                let points: Vec<Set> = steps.map(|point| Set::of(point, point)).collect();
                one(at, Set::union(&points))
            }
            (Some(Bound::List(values)), Some(at)) => {
                let mut points = Vec::with_capacity(values.len());
                for value in values {
                    let point = match value {
                        Some(value) => 2 * self.rank(&level.columns[0], value)?,
                        None => NULL,
                    };
                    points.push(Set::of(point, point));
                }
                one(at, Set::union(&points))
            }
            (Some(Bound::Range(from, to)), _) => self.range(&level.columns, from, to)?,
            _ => Vec::new(),
        })
    }

    /// A range on several columns is compared column by column: the rows between the first columns,
    /// and those at its ends, as far as the other columns go.
    fn range(&self, columns: &[KeyColumn], from: &[End], to: &[End]) -> Result<Vec<Cell>> {
        let (Some((column, rest)), Some((low, lows)), Some((high, highs))) =
            (columns.split_first(), from.split_first(), to.split_first())
        else {
            return Ok(Vec::new());
        };
        let Some(at) = self.dimension_of(column) else {
            return Ok(Vec::new());
        };
        if *low == End::Max || *high == End::Min {
            return Ok(Vec::new());
        }
        let point = |end: &End| match end {
            End::Value(value) => self.rank(column, value).map(|rank| Some(2 * rank)),
            _ => Ok(None),
        };
        let (low_at, high_at) = (point(low)?, point(high)?);
        let low_all = low_at.unwrap_or(LOWEST);
        let high_all = high_at.map_or(HIGHEST, |at| at - 1);
        if rest.is_empty() {
            let set = Set::of(low_all, high_all);
            return Ok(Vec::from_iter((!set.is_empty()).then(|| Cell::default().with(at, set))));
        }
        let on = |point: i64, cells: Vec<Cell>| cells.into_iter().map(move |cell| cell.with(at, Set::of(point, point)));
        let open_low = vec![End::Min; rest.len()];
        let open_high = vec![End::Max; rest.len()];
        if let (Some(low), Some(high)) = (low_at, high_at)
            && low == high
        {
            return Ok(on(low, self.range(rest, lows, highs)?).collect());
        }
        let mut cells = Vec::new();
        let mut start = low_all;
        if let Some(low) = low_at {
            cells.extend(on(low, self.range(rest, lows, &open_high)?));
            start = low + 1;
        }
        let between = Set::of(start, high_all);
        if !between.is_empty() {
            let inner = self.range(rest, &open_low, &open_high)?;
            cells.extend(inner.into_iter().map(|cell| cell.with(at, between.clone())));
        }
        if let Some(high) = high_at {
            cells.extend(on(high, self.range(rest, &open_low, highs)?));
        }
        Ok(cells)
    }

    /// What is left of `cells` without `cut`.
    pub fn without(&self, cells: Vec<Cell>, cut: &[Cell]) -> Vec<Cell> {
        cut.iter().fold(cells, |cells, cut| {
            cells
                .iter()
                .flat_map(|cell| cell.minus(cut, |at| self.universe(at)))
                .collect()
        })
    }

    /// What the children of a level that are no defaults take, together.
    fn taken<T>(&self, level: &Level<T>) -> Result<Vec<Cell>> {
        let mut all = Vec::new();
        for child in &level.children {
            all.extend(self.cells(level, child.bound.as_ref())?);
        }
        let Some(at) = self.axis(level) else { return Ok(all) };
        // One set instead of thousands of cells.
        let sets = all.iter().filter_map(|cell| cell.get(at));
        Ok(match all.is_empty() {
            true => Vec::new(),
            false => vec![Cell::default().with(at, Set::union(sets))],
        })
    }

    /// The parts of `cells` that the children of a level take, and what they leave. The default
    /// partition, if there is one, is not among them.
    fn divide<'n, T>(&self, level: &'n Level<T>, cells: &[Cell]) -> Result<(Vec<Part<'n, T>>, Vec<Cell>)> {
        let mut parts = Vec::new();
        for child in &level.children {
            let own = self.cells(level, child.bound.as_ref())?;
            let common = common(cells, &own);
            if !common.is_empty() {
                parts.push((child, common));
            }
        }
        let rest = self.without(cells.to_vec(), &self.taken(level)?);
        Ok((parts, rest))
    }

    /// True when every level below `node` says something about this space.
    pub fn is_all_known<T>(&self, node: &Node<T>) -> bool {
        let is_known =
            |level: &Level<T>| self.is_known(level) && level.children.iter().all(|child| self.is_all_known(child));
        node.level.as_ref().is_none_or(is_known)
    }

    /// The cells of every leaf below `node`, in the catalog's order. A level that is not known does
    /// not limit them.
    pub fn leaves<'n, T>(&self, node: &'n Node<T>, cells: Vec<Cell>, found: &mut Vec<Part<'n, T>>) -> Result<()> {
        let Some(level) = &node.level else {
            found.push((node, cells));
            return Ok(());
        };
        for child in &level.children {
            let own = match &child.bound {
                _ if !self.is_known(level) => cells.clone(),
                Some(Bound::Default) | None => self.without(cells.clone(), &self.taken(level)?),
                bound => common(&cells, &self.cells(level, bound.as_ref())?),
            };
            self.leaves(child, own, found)?;
        }
        Ok(())
    }

    /// The part of `cells` that no leaf below `node` takes.
    pub fn gaps<T>(&self, node: &Node<T>, cells: Vec<Cell>) -> Result<Vec<Cell>> {
        let Some(level) = node.level.as_ref().filter(|level| self.is_known(level)) else {
            return Ok(Vec::new());
        };
        let (parts, mut rest) = self.divide(level, &cells)?;
        if let Some(default) = default_of(level) {
            rest = self.gaps(default, rest)?;
        }
        for (child, cells) in parts {
            rest.extend(self.gaps(child, cells)?);
        }
        Ok(rest)
    }

    /// The same cells, those that differ by a hash alone put together.
    pub fn joined(&self, cells: &[Cell]) -> Vec<Cell> {
        let is_hash = |at: usize| self.dimensions[at].column.is_none();
        let mut joined: Vec<(Cell, Cell)> = Vec::new();
        for cell in cells {
            let (hashes, rest) = cell.split(is_hash);
            let single = hashes.limits().count() == 1;
            match joined
                .iter_mut()
                .find(|(known, of)| *known == rest && single && of.same_limits(&hashes))
            {
                Some((_, of)) => *of = of.joined(&hashes),
                None => joined.push((rest, hashes)),
            }
        }
        let whole = |(rest, hashes): (Cell, Cell)| {
            let limits = hashes.limits().filter(|(at, set)| **set != self.universe(*at));
            limits.fold(rest, |cell, (at, set)| cell.with(at, set.clone()))
        };
        joined.into_iter().map(whole).collect()
    }
}

fn label(column: &KeyColumn) -> String {
    format!("{}\0{}", column.sql(), column.ordering)
}

fn hash_label(columns: &[KeyColumn]) -> String {
    let labels: Vec<String> = columns.iter().map(label).collect();
    format!("hash\0{}", labels.join("\0"))
}

/// What is in any of `cells` and in any of `others`.
fn common(cells: &[Cell], others: &[Cell]) -> Vec<Cell> {
    cells
        .iter()
        .flat_map(|cell| others.iter().filter_map(|other| cell.and(other)))
        .collect()
}

fn default_of<T>(level: &Level<T>) -> Option<&Node<T>> {
    level.children.iter().find(|child| child.bound == Some(Bound::Default))
}

#[cfg(test)]
mod tests;
