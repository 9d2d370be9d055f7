//! A set of coordinates as a condition: for this server, or for the source, in the way it reads the key.

use super::{Dimension, HIGHEST, LOWEST, NULL};
use crate::plan::copy_sql::quote_literal;
use crate::plan::reading::{Reading, fill, fill_column};
use crate::plan::region::Set;
use crate::plan::tree::{KeyColumn, UNREADABLE};

/// Who evaluates a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// this server
    Here,
    /// the source: what it does not read alike is left out, and told
    There,
    /// the source, in its own way where it does not read alike: for questions
    Roughly,
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
}

impl Operand<'_> {
    fn literal(&self, value: &str) -> String {
        fill(self.value, &self.column.literal(value))
    }
}

impl Dimension {
    /// The condition on `column` for a set.
    pub(super) fn condition(&self, column: &KeyColumn, set: &Set, asked: Asked) -> Told {
        if set.intervals() == [(NULL, HIGHEST)] {
            return Told::default();
        }
        let native = Operand {
            column,
            key: column.sql(),
            value: "@",
            margin: None,
        };
        let mut any = match (&column.reading, asked) {
            (Reading::Via { key, value, margin }, Asked::There | Asked::Roughly) => {
                let key = fill_column(key, &column.name);
                let margin = margin.as_deref();
                self.compared(
                    &Operand {
                        column,
                        key,
                        value,
                        margin,
                    },
                    set,
                )
            }
            (Reading::Known(text), Asked::There | Asked::Roughly | Asked::Raw) => {
                self.named(&fill_column(text, &column.name), set)
            }
            (Reading::Named(_) | Reading::Untold, Asked::There) => {
                return Told {
                    sql: None,
                    is_rough: true,
                };
            }
            _ => self.compared(&native, set),
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
        let name = &operand.key;
        let value = |rank: i64| {
            let texts = self.values.get(&rank).and_then(|texts| texts.first());
            operand.literal(texts.map_or("", String::as_str))
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
            let bare = operand.column.sql();
            if let Some(margin) = operand.margin {
                let near = |rank: i64| value((rank + 1) / 2);
                all.extend((low != LOWEST).then(|| format!("{bare} >= {} - {margin}", value(low / 2))));
                all.extend((high != HIGHEST).then(|| format!("{bare} <= {} + {margin}", near(high))));
            }
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
