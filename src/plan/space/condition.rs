//! A set of coordinates as a condition that either server reads.

use super::{Dimension, HIGHEST, LOWEST, NULL};
use crate::plan::region::Set;
use crate::plan::tree::{KeyColumn, UNREADABLE};

impl Dimension {
    /// The condition on `column` for a set; None when it takes everything.
    pub(super) fn condition(&self, column: &KeyColumn, set: &Set) -> Option<String> {
        if set.intervals() == [(NULL, HIGHEST)] {
            return None;
        }
        let mut any = match self.ordered {
            true => self.intervals(column, set),
            false => self.points(column, set),
        };
        if set.contains(NULL) {
            any.push(format!("{} IS NULL", column.sql()));
        }
        Some(format!("({})", any.join(" OR ")))
    }

    /// By equality alone: what is in the set, or, if it goes beyond known values, what is not in it.
    /// Values that the key's type lacks are compared as text.
    fn points(&self, column: &KeyColumn, set: &Set) -> Vec<String> {
        let is_open = set.intervals().iter().any(|&(low, high)| low != high || low % 2 != 0);
        let known = self
            .values
            .iter()
            .filter(|(rank, _)| set.contains(2 * **rank) != is_open);
        let of = |readable: bool| -> Vec<&str> {
            let part = known
                .clone()
                .filter(|(rank, _)| (**rank < UNREADABLE || column.is_told_by_text()) == readable);
            part.map(|(_, value)| value.as_str()).collect()
        };
        let (readable, unreadable) = (of(true), of(false));
        let mut terms = Vec::new();
        if !readable.is_empty() {
            terms.push(column.is_one_of(&readable, is_open));
        }
        if !unreadable.is_empty() {
            terms.push(column.is_one_of_texts(&unreadable, is_open));
        }
        if is_open {
            terms.push(format!("{} IS NOT NULL", column.sql()));
            terms = vec![terms.join(" AND ")];
        }
        terms
    }

    fn intervals(&self, column: &KeyColumn, set: &Set) -> Vec<String> {
        let name = column.sql();
        let value = |rank: i64| {
            let value = self.values.get(&rank).map_or("", String::as_str);
            column.literal(value)
        };
        let one = |&(low, high): &(i64, i64)| {
            let low = low.max(LOWEST);
            if low > high {
                return None;
            }
            if low == high && low % 2 == 0 {
                return Some(format!("{name} = {}", value(low / 2)));
            }
            let mut all = Vec::new();
            if low != LOWEST {
                all.push(match low % 2 == 0 {
                    true => format!("{name} >= {}", value(low / 2)),
                    false => format!("{name} > {}", value((low - 1) / 2)),
                });
            }
            if high != HIGHEST {
                all.push(match high % 2 == 0 {
                    true => format!("{name} <= {}", value(high / 2)),
                    false => format!("{name} < {}", value((high + 1) / 2)),
                });
            }
            Some(match all.is_empty() {
                true => format!("{name} IS NOT NULL"),
                false => all.join(" AND "),
            })
        };
        set.intervals().iter().filter_map(one).collect()
    }
}
