//! Sets of rows as a partitioning tells them apart: for each dimension (a key column, or the hash of
//! one) a set of coordinates. What `space` builds from two trees is added and subtracted here.

use std::collections::BTreeMap;

/// Coordinates on one dimension: intervals with both ends inclusive, sorted, apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set(Vec<(i64, i64)>);

impl Set {
    /// Everything from `low` to `high`; empty if that is the wrong way round.
    pub fn of(low: i64, high: i64) -> Set {
        Set(if low <= high { vec![(low, high)] } else { Vec::new() })
    }

    /// All that is in any of `parts`.
    pub fn union<'a>(parts: impl IntoIterator<Item = &'a Set>) -> Set {
        let mut all: Vec<(i64, i64)> = parts.into_iter().flat_map(|set| set.0.iter().copied()).collect();
        all.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (low, high) in all {
            match joined.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        Set(joined)
    }

    /// What is in both.
    pub fn and(&self, other: &Set) -> Set {
        let (mut at, mut with) = (0, 0);
        let mut common = Vec::new();
        while let (Some(&(a, b)), Some(&(c, d))) = (self.0.get(at), other.0.get(with)) {
            let (low, high) = (a.max(c), b.min(d));
            if low <= high {
                common.push((low, high));
            }
            if b < d { at += 1 } else { with += 1 }
        }
        Set(common)
    }

    /// What is here and not in `other`.
    pub fn minus(&self, other: &Set) -> Set {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().peekable();
        for &(low, high) in &self.0 {
            while cuts.next_if(|cut| cut.1 < low).is_some() {}
            // A cut may reach into the next interval: it is looked at again there.
            let mut rest = Some(low);
            for &(from, to) in cuts.clone().take_while(|cut| cut.0 <= high) {
                let Some(start) = rest else { break };
                if from > start {
                    left.push((start, from - 1));
                }
                rest = (to < high).then(|| to + 1);
            }
            if let Some(start) = rest {
                left.push((start, high));
            }
        }
        Set(left)
    }

    /// True without any coordinate.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The intervals, both ends inclusive.
    pub fn intervals(&self) -> &[(i64, i64)] {
        &self.0
    }

    /// True when `at` is in it.
    pub fn contains(&self, at: i64) -> bool {
        self.0.iter().any(|&(low, high)| low <= at && at <= high)
    }
}

/// Rows that are in a set on each dimension; a dimension that is not named does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell(BTreeMap<usize, Set>);

impl Cell {
    /// The set on dimension `at`, if it is limited there.
    pub fn get(&self, at: usize) -> Option<&Set> {
        self.0.get(&at)
    }

    /// The same, with `set` on dimension `at`.
    pub fn with(&self, at: usize, set: Set) -> Cell {
        let mut cell = self.clone();
        cell.0.insert(at, set);
        cell
    }

    /// The limits on the dimensions that `is_first` chooses, and the others.
    pub fn split(&self, is_first: impl Fn(usize) -> bool) -> (Cell, Cell) {
        let (first, others) = self.0.clone().into_iter().partition(|(at, _)| is_first(*at));
        (Cell(first), Cell(others))
    }

    /// Both limit the same dimensions.
    pub fn same_limits(&self, other: &Cell) -> bool {
        self.0.keys().eq(other.0.keys())
    }

    /// On each dimension what is in either of them, which limit the same.
    pub fn joined(&self, other: &Cell) -> Cell {
        let either = |(at, set): (&usize, &Set)| (*at, Set::union([set, other.0.get(at).unwrap_or(set)]));
        Cell(self.0.iter().map(either).collect())
    }

    /// Dimensions that are limited, with their sets.
    pub fn limits(&self) -> impl Iterator<Item = (usize, &Set)> {
        self.0.iter().map(|(&at, set)| (at, set))
    }

    /// What is in both; None when that is nothing.
    pub fn and(&self, other: &Cell) -> Option<Cell> {
        let mut cell = self.clone();
        for (&at, set) in &other.0 {
            let common = match cell.0.get(&at) {
                Some(own) => own.and(set),
                None => set.clone(),
            };
            if common.is_empty() {
                return None;
            }
            cell.0.insert(at, common);
        }
        Some(cell)
    }

    /// What is here and not in `other`. `universe` gives all coordinates of a dimension.
    pub fn minus(&self, other: &Cell, universe: impl Fn(usize) -> Set) -> Vec<Cell> {
        if self.and(other).is_none() {
            return vec![self.clone()];
        }
        let mut pieces = Vec::new();
        let mut rest = self.clone();
        for (&at, set) in &other.0 {
            let own = rest.0.get(&at).cloned().unwrap_or_else(|| universe(at));
            let outside = own.minus(set);
            if !outside.is_empty() {
                pieces.push(rest.with(at, outside));
            }
            rest.0.insert(at, own.and(set));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(parts: &[(i64, i64)]) -> Set {
        let parts: Vec<Set> = parts.iter().map(|&(low, high)| Set::of(low, high)).collect();
        Set::union(&parts)
    }

    #[test]
    fn intervals_are_joined_cut_and_intersected() {
        assert_eq!(set(&[(5, 9), (1, 3), (4, 4)]).intervals(), [(1, 9)]);
        assert_eq!(
            set(&[(1, 2), (4, 5)]).and(&set(&[(2, 4)])).intervals(),
            [(2, 2), (4, 4)]
        );
        let all = Set::of(i64::MIN, i64::MAX);
        assert_eq!(all.minus(&set(&[(0, 4)])).intervals(), [(i64::MIN, -1), (5, i64::MAX)]);
        assert_eq!(
            set(&[(0, 9), (20, 29)]).minus(&set(&[(5, 24)])).intervals(),
            [(0, 4), (25, 29)]
        );
        assert_eq!(
            set(&[(0, 9)]).minus(&set(&[(0, 1), (4, 5), (9, 9)])).intervals(),
            [(2, 3), (6, 8)]
        );
        assert!(set(&[(3, 4)]).minus(&all).is_empty() && all.minus(&all).is_empty());
    }

    #[test]
    fn a_cell_is_cut_into_what_is_outside_on_each_dimension() {
        let universe = |_| Set::of(0, 9);
        let cell = Cell::default().with(0, Set::of(0, 4));
        let hole = Cell::default().with(0, Set::of(3, 9)).with(1, Set::of(5, 9));
        let left = cell.minus(&hole, universe);
        assert_eq!(left.len(), 2);
        assert_eq!(left[0], cell.with(0, Set::of(0, 2)));
        assert_eq!(left[1], cell.with(0, Set::of(3, 4)).with(1, Set::of(0, 4)));
        assert!(cell.minus(&Cell::default(), universe).is_empty());
        assert_eq!(cell.minus(&Cell::default().with(0, Set::of(5, 5)), universe), [cell]);
    }
}
