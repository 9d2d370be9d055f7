//! The selection rule of a run: with the remembered end_tm W and the requested E, a unit [start, end) is taken when
//! `start <= E` and `end > W`; a unit without a range is always taken.
//!
//! Values are compared by the server, in the key's type, operator class and collation, once per run: [`ranking_query`] gives
//! every bound, E and W their rank, and the rule works on ranks. So no type's ordering is written a second time here.

use super::copy_sql::quote_literal;

/// A range of ranks (or of anything ordered). None is an open end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range<K> {
    /// lower end, inclusive
    pub start: Option<K>,
    /// upper end
    pub end: Option<K>,
    /// the range may hold rows at its upper end itself: so the first column of a key of several columns
    pub end_inclusive: bool,
}

impl<K: Ord> Range<K> {
    /// True when everything in the range lies before `point`.
    fn lies_before(&self, point: &K) -> bool {
        match &self.end {
            Some(end) => end < point || (end == point && !self.end_inclusive),
            None => false,
        }
    }
}

/// Why a unit is taken or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// no range to compare: a default partition, LIST, HASH, an unpartitioned table
    Always,
    /// start <= E and end > W
    InRange,
    /// end <= W, but no run has loaded it and it is empty
    Unloaded,
    /// end <= W, but on its server it is not what the last run has left there
    Altered,
    /// end <= W: synced before and closed since
    Closed,
    /// start > E
    Later,
}

impl Decision {
    /// True when the run copies the unit.
    pub fn is_taken(self) -> bool {
        !matches!(self, Decision::Closed | Decision::Later)
    }
}

/// Applies the rule. `watermark` None is minus infinity; `end` None is plus infinity, which only tables without a range key have.
pub fn decide<K: Ord>(range: Option<&Range<K>>, watermark: Option<&K>, end: Option<&K>) -> Decision {
    let Some(range) = range else {
        return Decision::Always;
    };
    if let (Some(start), Some(end)) = (&range.start, end)
        && start > end
    {
        return Decision::Later;
    }
    if watermark.is_some_and(|w| range.lies_before(w)) {
        return Decision::Closed;
    }
    Decision::InRange
}

/// True when a unit that an earlier, failed run towards `end` finished needs no second copy: its range lies wholly before that end.
pub fn is_closed_before<K: Ord>(range: Option<&Range<K>>, end: &K) -> bool {
    range.is_some_and(|r| r.lies_before(end))
}

/// The query that ranks `values`, one row `(position from 1, rank)` each: equal values share a rank. `ordering` is the quoted, qualified
/// type, and `COLLATE` with its collation where it has one. Each value is a literal, which the type's input function reads: a cast from text
/// could be a function of the type's owner.
pub fn ranking_query(values: &[&str], ordering: &str) -> String {
    if values.is_empty() {
        return "SELECT 0, 0 WHERE false".to_owned();
    }
    let rows: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("({}, {}::{ordering})", at + 1, quote_literal(value)))
        .collect();
    format!(
        "SELECT u.i, pg_catalog.dense_rank() OVER (ORDER BY u.v) FROM (VALUES {}) AS u(i, v)",
        rows.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: Option<i32>, end: Option<i32>) -> Range<i32> {
        Range {
            start,
            end,
            end_inclusive: false,
        }
    }

    #[test]
    fn the_unit_that_holds_the_watermark_is_taken_again_and_closed_ones_are_not() {
        let months: Vec<_> = (0..12).map(|m| range(Some(m * 10), Some(m * 10 + 10))).collect();
        let taken = |w: Option<i32>, e: i32| -> Vec<usize> {
            (0..12)
                .filter(|&m| decide(Some(&months[m]), w.as_ref(), Some(&e)).is_taken())
                .collect()
        };
        assert_eq!(taken(None, 10), [0, 1]);
        assert_eq!(taken(Some(10), 10), [1]);
        assert_eq!(taken(Some(15), 35), [1, 2, 3]);
        assert_eq!(taken(Some(9), 9), [0]);
    }

    #[test]
    fn open_ends_are_infinite_and_a_unit_without_range_is_always_taken() {
        assert_eq!(
            decide(Some(&range(None, Some(5))), None, Some(&-100)),
            Decision::InRange
        );
        assert_eq!(
            decide(Some(&range(Some(5), None)), Some(&100), Some(&100)),
            Decision::InRange
        );
        assert_eq!(
            decide(Some(&range(None, Some(5))), Some(&5), Some(&9)),
            Decision::Closed
        );
        assert_eq!(decide(Some(&range(Some(5), None)), None, Some(&4)), Decision::Later);
        assert_eq!(decide(None, Some(&1), Some(&0)), Decision::Always);
    }

    #[test]
    fn only_units_wholly_before_a_failed_runs_end_are_resumed() {
        assert!(is_closed_before(Some(&range(Some(0), Some(10))), &10));
        assert!(!is_closed_before(Some(&range(Some(0), Some(10))), &9));
        assert!(!is_closed_before(Some(&range(Some(0), None)), &9));
        assert!(!is_closed_before::<i32>(None, &9));
    }

    #[test]
    fn a_key_of_several_columns_may_hold_rows_at_its_upper_end() {
        let months = Range {
            end_inclusive: true,
            ..range(Some(0), Some(10))
        };
        assert_eq!(decide(Some(&months), Some(&10), Some(&10)), Decision::InRange);
        assert_eq!(decide(Some(&months), Some(&11), Some(&11)), Decision::Closed);
        assert!(!is_closed_before(Some(&months), &10) && is_closed_before(Some(&months), &11));
    }
}
