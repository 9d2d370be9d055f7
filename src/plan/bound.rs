//! Partition bounds as `pg_get_expr(relpartbound, oid)` prints them (ruleutils.c, `get_rule_expr` for PartitionBoundSpec),
//! taken apart into values. Values stay text here: only the server compares them, in the key's own type and collation.

use super::copy_sql::quote_literal;
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

    /// Reads `DEFAULT`, `FOR VALUES FROM (…) TO (…)`, `FOR VALUES IN (…)` or `FOR VALUES WITH (…)`.
    pub fn parse(text: &str) -> Result<Bound> {
        let fail = || Error::protocol(format!("cannot read partition bound {}", tame(text)));
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
