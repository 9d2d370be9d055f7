//! Partition bounds as `pg_get_expr(relpartbound, oid)` prints them (ruleutils.c, `get_rule_expr` for PartitionBoundSpec),
//! taken apart into values. Values stay text here: only the server compares them, in the key's own type and collation.

use crate::error::{Error, Result};

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// FOR VALUES IN or WITH (modulus …): cgpsync never needs the values
    Other,
}

impl Bound {
    /// The ends of a range over a single key column.
    pub fn single_range(&self) -> Option<(&End, &End)> {
        match self {
            Bound::Range(from, to) => match (from.as_slice(), to.as_slice()) {
                ([from], [to]) => Some((from, to)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads `DEFAULT`, `FOR VALUES FROM (…) TO (…)`, `FOR VALUES IN (…)` or `FOR VALUES WITH (…)`.
    pub fn parse(text: &str) -> Result<Bound> {
        let fail = || Error::internal(format!("cannot read partition bound {text}"));
        if text == "DEFAULT" {
            return Ok(Bound::Default);
        }
        let rest = text.strip_prefix("FOR VALUES ").ok_or_else(fail)?;
        if rest.starts_with("IN ") || rest.starts_with("WITH ") {
            return Ok(Bound::Other);
        }
        let rest = rest.strip_prefix("FROM (").ok_or_else(fail)?;
        let (from, rest) = ends(rest).ok_or_else(fail)?;
        let rest = rest.strip_prefix(" TO (").ok_or_else(fail)?;
        let (to, rest) = ends(rest).ok_or_else(fail)?;
        if rest.is_empty() {
            Ok(Bound::Range(from, to))
        } else {
            Err(fail())
        }
    }
}

/// Reads `a, 'b', MINVALUE)` and gives what follows the parenthesis.
fn ends(mut text: &str) -> Option<(Vec<End>, &str)> {
    let mut found = Vec::new();
    loop {
        let end;
        (end, text) = one_end(text)?;
        found.push(end);
        if let Some(rest) = text.strip_prefix(')') {
            return Some((found, rest));
        }
        text = text.strip_prefix(", ")?;
    }
}

fn one_end(text: &str) -> Option<(End, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let stop = text.find([',', ')'])?;
        let end = match &text[..stop] {
            "MINVALUE" => End::Min,
            "MAXVALUE" => End::Max,
            value => End::Value(value.to_owned()),
        };
        return Some((end, &text[stop..]));
    };
    // A quote inside is doubled and nothing else is escaped: standard_conforming_strings is on in our sessions.
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            value.push(c);
        } else if quoted[at + 1..].starts_with('\'') {
            value.push('\'');
            chars.next();
        } else {
            return Some((End::Value(value), &quoted[at + 1..]));
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
        assert_eq!(read("FOR VALUES IN ('a', NULL)"), Bound::Other);
        assert_eq!(read("FOR VALUES WITH (modulus 4, remainder 1)"), Bound::Other);
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
    fn what_is_not_a_bound_is_refused() {
        for text in [
            "",
            "FOR VALUES FROM (1",
            "FOR VALUES FROM (1) TO ('x",
            "FOR VALUES FROM (1) TO (2) x",
        ] {
            assert!(Bound::parse(text).is_err(), "{text}");
        }
    }
}
