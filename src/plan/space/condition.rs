//! A set of coordinates as a condition: for this server, or for the source, in the way it reads the key.

use super::{Dimension, HIGHEST, LOWEST, NULL, Space};
use crate::error::Result;
use crate::plan::bound::Bound;
use crate::plan::copy_sql::quote_literal;
use crate::plan::key::{KeyColumn, Reading};
use crate::plan::reading::{A_DAY, fill, fill_column};
use crate::plan::region::{Cell, Set};
use crate::plan::tree::{Level, UNREADABLE};

/// Who evaluates a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// this server
    Here,
    /// the source: what it does not read alike is left out, and told
    There,
    /// the source, in its own way where it does not read alike: for questions
    Roughly,
    /// nobody: people read it, without what only helps the source's indexes and partitions
    Shown,
    /// the source, about its own values before they are rounded
    Raw,
}

/// A condition on one column.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// None: all rows satisfy it
    pub sql: Option<String>,
    /// rows that are not in the set satisfy it too
    pub is_rough: bool,
}

/// The column in a condition.
struct Operand<'a> {
    column: &'a KeyColumn,
    key: String,
    /// what a literal goes through
    value: &'a str,
    /// how far the bare column may be from that
    margin: Option<&'a str>,
    /// its values are cut to days, and nothing else is done to them
    is_cut: bool,
}

impl<'a> Operand<'a> {
    /// The column as the source has it.
    fn bare(column: &'a KeyColumn) -> Operand<'a> {
        Operand {
            column,
            key: column.sql(),
            value: "@",
            margin: None,
            is_cut: false,
        }
    }

    fn literal(&self, value: &str) -> String {
        fill(self.value, &self.column.literal(value))
    }

    /// Where the bare column has to be compared with a value, too: so far below or above it. None where there may be nothing
    /// beyond it: days of later years are no times, and some servers have no number after the highest.
    fn beside(&self, sign: char, value: &str) -> Option<String> {
        let margin = self.margin?;
        let is_plain_year = value.as_bytes().get(4) == Some(&b'-') && !value.ends_with("BC");
        let has_room = margin != A_DAY || is_plain_year;
        has_room.then(|| format!("{} {sign} {margin}", self.literal(value)))
    }

    /// An instant is on the same side of a day, taken as its first moment, as the day that it is cut to.
    fn is_bare_enough(&self, (low, high): (i64, i64)) -> bool {
        self.is_cut && (low == LOWEST || low % 2 == 0) && high % 2 != 0
    }
}

impl Dimension {
    /// The condition on `column` for a set.
    pub(super) fn condition(&self, column: &KeyColumn, set: &Set, asked: Asked) -> Told {
        if set.intervals() == [(NULL, HIGHEST)] {
            return Told::default();
        }
        let bare = Operand::bare(column);
        let is_served = |_: &&str| asked != Asked::Shown;
        let mut any = match (&column.reading, asked) {
            (Reading::Via { key, value, margin }, Asked::There | Asked::Roughly | Asked::Shown) => {
                let arrived = Operand {
                    key: fill_column(key, &column.name),
                    value,
                    margin: margin.as_deref().filter(is_served),
                    ..bare
                };
                self.compared(&arrived, set)
            }
            (Reading::Cut(key), Asked::There | Asked::Roughly | Asked::Shown) => {
                let arrived = Operand {
                    key: fill_column(key, &column.name),
                    margin: Some(A_DAY).filter(is_served),
                    is_cut: true,
                    ..bare
                };
                self.compared(&arrived, set)
            }
            (Reading::Known(text), Asked::There | Asked::Roughly | Asked::Raw | Asked::Shown) => {
                self.named(&fill_column(text, &column.name), set)
            }
            (Reading::Named(_) | Reading::Untold, Asked::There) => {
                return Told {
                    sql: None,
                    is_rough: true,
                };
            }
            _ => self.compared(&bare, set),
        };
        if set.contains(NULL) {
            any.push(format!("{} IS NULL", column.sql()));
        }
        let sql = match any.as_slice() {
            [] => "false".to_owned(),
            [one] => one.clone(),
            several => format!("({})", several.join(" OR ")),
        };
        Told {
            sql: Some(sql),
            is_rough: false,
        }
    }

    fn compared(&self, operand: &Operand<'_>, set: &Set) -> Vec<String> {
        match self.ordered {
            true => self.intervals(operand, set),
            false => self.points(operand, set),
        }
    }

    /// Values by their text: all there are, or, beyond the highest, all but the others.
    fn named(&self, text: &str, set: &Set) -> Vec<String> {
        let is_open = set.contains(HIGHEST);
        let ranks = self
            .values
            .iter()
            .filter(|(rank, _)| set.contains(2 * **rank) != is_open);
        let list: Vec<String> = ranks
            .flat_map(|(_, texts)| texts)
            .map(|value| quote_literal(value))
            .collect();
        let list = list.join(", ");
        match (is_open, list.is_empty()) {
            (true, true) => vec![format!("{text} IS NOT NULL")],
            (true, false) => vec![format!("{text} NOT IN ({list})")],
            (false, true) => Vec::new(),
            (false, false) => vec![format!("{text} IN ({list})")],
        }
    }

    /// By equality alone: what is in the set, or, if it goes beyond known values, what is not in it.
    /// Values that the key's type lacks are compared as text.
    fn points(&self, operand: &Operand<'_>, set: &Set) -> Vec<String> {
        let column = operand.column;
        let is_open = set.intervals().iter().any(|&(low, high)| low != high || low % 2 != 0);
        let known = self
            .values
            .iter()
            .filter(|(rank, _)| set.contains(2 * **rank) != is_open);
        let of = |readable: bool| -> Vec<&str> {
            let part = known
                .clone()
                .filter(|(rank, _)| (**rank < UNREADABLE || column.is_told_by_text()) == readable);
            part.filter_map(|(_, texts)| texts.first())
                .map(String::as_str)
                .collect()
        };
        let (readable, unreadable) = (of(true), of(false));
        let mut terms = Vec::new();
        if !readable.is_empty() {
            terms.push(match operand.key == column.sql() {
                true => column.is_one_of(&readable, is_open),
                false => {
                    let list: Vec<String> = readable.iter().map(|value| operand.literal(value)).collect();
                    let not = if is_open { "NOT " } else { "" };
                    format!("{} {not}IN ({})", operand.key, list.join(", "))
                }
            });
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

    fn intervals(&self, operand: &Operand<'_>, set: &Set) -> Vec<String> {
        let bare = Operand::bare(operand.column);
        let one = |&(low, high): &(i64, i64)| {
            let low = low.max(LOWEST);
            let operand = match operand.is_bare_enough((low, high)) {
                true => &bare,
                false => operand,
            };
            (low <= high).then(|| self.interval(operand, low, high))
        };
        set.intervals().iter().filter_map(one).collect()
    }

    fn interval(&self, operand: &Operand<'_>, low: i64, high: i64) -> String {
        let text = |rank: i64| {
            let texts = self.values.get(&rank).and_then(|texts| texts.first());
            texts.map_or("", String::as_str)
        };
        let value = |rank: i64| operand.literal(text(rank));
        let (name, bare) = (&operand.key, operand.column.sql());
        let is_point = low == high && low % 2 == 0;
        let mut all = Vec::new();
        if low != LOWEST {
            let near = operand.beside('-', text(low.div_euclid(2)));
            all.extend(near.map(|near| format!("{bare} >= {near}")));
        }
        if high != HIGHEST {
            let near = operand.beside('+', text((high + 1).div_euclid(2)));
            all.extend(near.map(|near| format!("{bare} <= {near}")));
        }
        if is_point {
            all.push(format!("{name} = {}", value(low / 2)));
        } else {
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
        }
        match all.is_empty() {
            true => format!("{name} IS NOT NULL"),
            false => all.join(" AND "),
        }
    }
}

impl Space<'_> {
    /// The condition on the source's rows of a bound on a level; None where it would be a rough one.
    pub fn bound_condition<T>(&self, level: &Level<T>, bound: &Bound) -> Result<Option<String>> {
        let (condition, is_exact) = self.condition(&self.cells(level, Some(bound))?, Asked::There);
        Ok(is_exact.then_some(condition))
    }

    /// The cells without the limits that the source cannot tell: what [`Space::condition`] asks it for.
    pub fn told(&self, cells: &[Cell]) -> Vec<Cell> {
        let is_told = |cell: &Cell, at: usize| {
            let limit = self.dimensions[at].column.as_ref().zip(cell.get(at));
            limit.is_some_and(|(column, set)| !self.dimensions[at].condition(column, set, Asked::There).is_rough)
        };
        cells.iter().map(|cell| cell.split(|at| is_told(cell, at)).0).collect()
    }

    /// The condition that rows of `cells` satisfy, and whether no other rows do: what a hash tells apart no condition can.
    pub fn condition(&self, cells: &[Cell], asked: Asked) -> (String, bool) {
        if cells.is_empty() {
            return ("(false)".to_owned(), true);
        }
        let mut is_exact = true;
        let mut any = Vec::with_capacity(cells.len());
        for cell in cells {
            let mut all = Vec::new();
            for (at, set) in cell.limits() {
                match &self.dimensions[at].column {
                    Some(column) => {
                        let told = self.dimensions[at].condition(column, set, asked);
                        is_exact &= !told.is_rough;
                        all.extend(told.sql);
                    }
                    None => is_exact &= *set == self.universe(at),
                }
            }
            any.push(match all.is_empty() {
                true => "true".to_owned(),
                false => all.join(" AND "),
            });
        }
        let condition = match any.as_slice() {
            [one] => format!("({one})"),
            several => format!("(({}))", several.join(") OR (")),
        };
        (condition, is_exact)
    }
}
