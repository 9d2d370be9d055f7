//! Partition bounds as `pg_get_expr(relpartbound, oid)` prints them (ruleutils.c, `get_rule_expr` for PartitionBoundSpec),
//! taken apart into values. Values stay text here: only the server compares them, in the key's own type and collation.

use super::copy_sql::quote_literal;
use super::tree::KeyColumn;
use crate::error::{Error, Result, tame};

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// MINVALUE: open below
    Min,
    /// MAXVALUE: open above
    Max,
    /// a value of the key's type, as its output function prints it
    Value(String),
}

/// A partition's bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// DEFAULT
    Default,
    /// FROM (…) TO (…): one end for each key column; lower inclusive, upper exclusive
    Range(Vec<End>, Vec<End>),
    /// IN (…): None is NULL
    List(Vec<Option<String>>),
    /// WITH (modulus, remainder)
    Hash(u32, u32),
}

impl Bound {
    /// The clause of CREATE TABLE … PARTITION OF that gives a partition this bound. Every value is a literal of unknown type, which the
    /// server reads as the key's: nothing in it is executed.
    pub fn to_sql(&self) -> String {
        let ends = |ends: &[End]| {
            let end = |end: &End| match end {
                End::Min => "MINVALUE".to_owned(),
                End::Max => "MAXVALUE".to_owned(),
                End::Value(value) => quote_literal(value),
            };
            ends.iter().map(end).collect::<Vec<_>>().join(", ")
        };
        match self {
            Bound::Default => "DEFAULT".to_owned(),
            Bound::Range(from, to) => format!("FOR VALUES FROM ({}) TO ({})", ends(from), ends(to)),
            Bound::List(values) => {
                let value = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quote_literal);
                let values: Vec<String> = values.iter().map(value).collect();
                format!("FOR VALUES IN ({})", values.join(", "))
            }
            Bound::Hash(modulus, remainder) => {
                format!("FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})")
            }
        }
    }

    /// The condition that rows within the bound satisfy, by the key's `columns`, for any server. None where no condition tells them.
    pub fn condition(&self, columns: &[KeyColumn]) -> Option<String> {
        match self {
            Bound::Range(from, to) => {
                let mut all: Vec<String> = columns
                    .iter()
                    .map(|column| format!("{} IS NOT NULL", column.sql()))
                    .collect();
                let from = compared(columns, from, Side::Above);
                let to = compared(columns, to, Side::Below);
                all.extend([from, to].into_iter().filter(|condition| condition != "true"));
                Some(format!("({})", all.join(" AND ")))
            }
            Bound::List(values) => {
                let column = columns.first()?;
                let known: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
                let mut any = Vec::new();
                if !known.is_empty() {
                    any.push(column.is_one_of(&known, false));
                }
                if values.contains(&None) {
                    any.push(format!("{} IS NULL", column.sql()));
                }
                Some(format!("({})", any.join(" OR ")))
            }
            Bound::Default | Bound::Hash(..) => None,
        }
    }

    /// Reads `DEFAULT`, `FOR VALUES FROM (…) TO (…)`, `FOR VALUES IN (…)` or `FOR VALUES WITH (…)`.
    pub fn parse(text: &str) -> Result<Bound> {
        let fail = || Error::internal(format!("cannot read partition bound {}", tame(text)));
        if text == "DEFAULT" {
            return Ok(Bound::Default);
        }
        let rest = text.strip_prefix("FOR VALUES ").ok_or_else(fail)?;
        if let Some(rest) = rest.strip_prefix("WITH (modulus ") {
            return hash(rest).ok_or_else(fail);
        }
        if let Some(rest) = rest.strip_prefix("IN (") {
            return match values(rest) {
                Some((values, "")) => Ok(Bound::List(values)),
                _ => Err(fail()),
            };
        }
        let rest = rest.strip_prefix("FROM (").ok_or_else(fail)?;
        let (from, rest) = values(rest).ok_or_else(fail)?;
        let rest = rest.strip_prefix(" TO (").ok_or_else(fail)?;
        match values(rest) {
            Some((to, "")) => Ok(Bound::Range(from, to)),
            _ => Err(fail()),
        }
    }
}

/// On which side of an end the rows are.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// at the lower end or above it
    Above,
    /// below the upper end
    Below,
}

/// The columns compared with one end of a range, the first ones first.
fn compared(columns: &[KeyColumn], ends: &[End], side: Side) -> String {
    let (Some((column, columns)), Some((end, ends))) = (columns.split_first(), ends.split_first()) else {
        return (side == Side::Above).to_string();
    };
    let operator = if side == Side::Above { ">" } else { "<" };
    match end {
        End::Min => (side == Side::Above).to_string(),
        End::Max => (side == Side::Below).to_string(),
        End::Value(value) => {
            let (value, column) = (column.literal(value), column.sql());
            match compared(columns, ends, side).as_str() {
                "true" => format!("{column} {operator}= {value}"),
                "false" => format!("{column} {operator} {value}"),
                rest => format!("({column} {operator} {value} OR ({column} = {value} AND {rest}))"),
            }
        }
    }
}

/// What stands between the commas of a bound.
trait Item: Sized {
    fn quoted(value: String) -> Self;
    fn bare(word: &str) -> Self;
}

impl Item for End {
    fn quoted(value: String) -> Self {
        End::Value(value)
    }

    fn bare(word: &str) -> Self {
        match word {
            "MINVALUE" => End::Min,
            "MAXVALUE" => End::Max,
            value => End::Value(value.to_owned()),
        }
    }
}

impl Item for Option<String> {
    fn quoted(value: String) -> Self {
        Some(value)
    }

    fn bare(word: &str) -> Self {
        (word != "NULL").then(|| word.to_owned())
    }
}

/// Reads `4, remainder 0)`.
fn hash(text: &str) -> Option<Bound> {
    let (modulus, remainder) = text.strip_suffix(')')?.split_once(", remainder ")?;
    Some(Bound::Hash(modulus.parse().ok()?, remainder.parse().ok()?))
}

/// Reads `a, 'b', MINVALUE)` and gives what follows the parenthesis.
fn values<T: Item>(mut text: &str) -> Option<(Vec<T>, &str)> {
    let mut found = Vec::new();
    loop {
        let item;
        (item, text) = one_value(text)?;
        found.push(item);
        if let Some(rest) = text.strip_prefix(')') {
            return Some((found, rest));
        }
        text = text.strip_prefix(", ")?;
    }
}

fn one_value<T: Item>(text: &str) -> Option<(T, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let stop = text.find([',', ')'])?;
        return Some((T::bare(&text[..stop]), &text[stop..]));
    };
    let (value, rest) = unquote(quoted)?;
    Some((T::quoted(value), rest))
}

/// Reads a string literal whose opening quote has been read; gives its value and what follows. A quote inside is doubled and nothing
/// else is escaped: standard_conforming_strings is on in our sessions.
pub fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            value.push(c);
        } else if text[at + 1..].starts_with('\'') {
            value.push('\'');
            chars.next();
        } else {
            return Some((value, &text[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::sketch::column;
    use super::*;

    fn value(text: &str) -> End {
        End::Value(text.to_owned())
    }

    #[test]
    fn ranges_read_as_their_values() {
        let read = |text| Bound::parse(text).expect("a bound");
        assert_eq!(
            read("FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')"),
            Bound::Range(vec![value("2017-01-01")], vec![value("2017-02-01")])
        );
        assert_eq!(
            read("FOR VALUES FROM (MINVALUE) TO (10)"),
            Bound::Range(vec![End::Min], vec![value("10")])
        );
        assert_eq!(
            read("FOR VALUES FROM (1, 'a') TO (2, MAXVALUE)"),
            Bound::Range(vec![value("1"), value("a")], vec![value("2"), End::Max])
        );
        assert_eq!(read("DEFAULT"), Bound::Default);
        assert_eq!(
            read("FOR VALUES IN ('a', NULL, 'NULL', 7)"),
            Bound::List(vec![Some("a".into()), None, Some("NULL".into()), Some("7".into())])
        );
        assert_eq!(read("FOR VALUES WITH (modulus 4, remainder 1)"), Bound::Hash(4, 1));
    }

    #[test]
    fn a_text_bound_may_look_like_the_syntax_around_it() {
        let bound = Bound::parse("FOR VALUES FROM ('it''s') TO (''') TO (''MAXVALUE')").expect("a bound");
        assert_eq!(
            bound,
            Bound::Range(vec![value("it's")], vec![value("') TO ('MAXVALUE")])
        );
    }

    #[test]
    fn a_bound_becomes_literals_that_execute_nothing() {
        let bound = Bound::Range(
            vec![value("a'); DROP TABLE t; --"), End::Min],
            vec![value("b"), End::Max],
        );
        assert_eq!(
            bound.to_sql(),
            "FOR VALUES FROM ('a''); DROP TABLE t; --', MINVALUE) TO ('b', MAXVALUE)"
        );
        let list = Bound::List(vec![Some("it's".into()), None]);
        assert_eq!(list.to_sql(), "FOR VALUES IN ('it''s', NULL)");
        assert_eq!(Bound::Hash(4, 1).to_sql(), "FOR VALUES WITH (MODULUS 4, REMAINDER 1)");
    }

    #[test]
    fn a_condition_is_as_exact_as_the_bound() {
        let condition = |text: &str, columns: &[&str]| {
            let columns: Vec<_> = columns.iter().map(|name| column(name)).collect();
            Bound::parse(text).expect("a bound").condition(&columns)
        };
        assert_eq!(
            condition("FOR VALUES FROM (1) TO (MAXVALUE)", &["k"]).as_deref(),
            Some("(\"k\" IS NOT NULL AND \"k\" >= CAST('1' AS int4))")
        );
        assert_eq!(
            condition("FOR VALUES FROM (1, 'x') TO (2, MINVALUE)", &["a", "b"]).as_deref(),
            Some(
                "(\"a\" IS NOT NULL AND \"b\" IS NOT NULL \
                 AND (\"a\" > CAST('1' AS int4) OR (\"a\" = CAST('1' AS int4) AND \"b\" >= CAST('x' AS int4))) \
                 AND \"a\" < CAST('2' AS int4))"
            )
        );
        assert_eq!(
            condition("FOR VALUES FROM (1, MAXVALUE) TO (2, MAXVALUE)", &["a", "b"]).as_deref(),
            Some(
                "(\"a\" IS NOT NULL AND \"b\" IS NOT NULL AND \"a\" > CAST('1' AS int4) AND \"a\" <= CAST('2' AS int4))"
            )
        );
        assert_eq!(
            condition("FOR VALUES IN (1, NULL)", &["k"]).as_deref(),
            Some("(\"k\" IN (CAST('1' AS int4)) OR \"k\" IS NULL)")
        );
        assert_eq!(condition("FOR VALUES WITH (modulus 2, remainder 0)", &["k"]), None);
    }

    #[test]
    fn what_is_not_a_bound_is_refused() {
        for text in [
            "",
            "FOR VALUES IN ('a'",
            "FOR VALUES IN ('a') x",
            "FOR VALUES WITH (modulus x, remainder 1)",
            "FOR VALUES FROM (1",
            "FOR VALUES FROM (1) TO ('x",
            "FOR VALUES FROM (1) TO (2) x",
        ] {
            assert!(Bound::parse(text).is_err(), "{text}");
        }
    }
}
