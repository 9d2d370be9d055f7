//! Bounds of openGauss' partitions, which are kept as somebody has typed them.

use super::bound::{Bound, End};
use super::copy_sql::{quote_ident, quote_literal};

/// Types whose values are read by DateStyle: date, timestamp, timestamptz, smalldatetime, abstime.
pub fn follows_date_style(type_oid: u32) -> bool {
    matches!(type_oid, 1082 | 1114 | 1184 | 9003 | 702)
}

/// True where a date, as somebody has typed it, is the same one under every DateStyle: the year comes first, in four digits or in eight with month
/// and day, or it is one of three words.
pub fn is_iso(text: &str) -> bool {
    let text = text.trim();
    let leading = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[leading..];
    match leading {
        0 => ["infinity", "-infinity", "epoch"].contains(&text.to_ascii_lowercase().as_str()),
        4 => {
            let mut parts = rest.split([' ', 'T']).next().unwrap_or("").split('-').skip(1);
            let is_number = |part: Option<&str>| {
                part.is_some_and(|part| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
            };
            is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
        }
        8 => rest.is_empty() || rest.starts_with([' ', 'T']),
        14 => rest.is_empty(),
        _ => false,
    }
}

/// True where a date is another one each time that it is read (datetime.c, `now` and its like).
pub fn is_moving(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
    words.any(|word| ["now", "today", "tomorrow", "yesterday", "current", "invalid"].contains(&word))
}

/// The condition that rows are within `bound`, of a key with `columns`, each with its type over there. It is null for rows that have no key.
pub fn within(bound: &Bound, columns: &[(String, String)]) -> String {
    let value = |text: &str, of_type: &str| format!("CAST({} AS {of_type})", quote_literal(text));
    let compared = |ends: &[End], operators: [&str; 3]| {
        let told = ends.iter().zip(columns).map_while(|(end, (name, of_type))| match end {
            End::Value(text) => Some((quote_ident(name), value(text, of_type))),
            _ => None,
        });
        let (names, values): (Vec<String>, Vec<String>) = told.unzip();
        let [at_value, at_min, at_max] = operators;
        let operator = match ends.get(names.len()) {
            Some(End::Max) => at_max,
            Some(_) => at_min,
            None => at_value,
        };
        (!names.is_empty()).then(|| format!("({}) {operator} ({})", names.join(", "), values.join(", ")))
    };
    let conditions: Vec<String> = match (bound, columns) {
        (Bound::Range(from, to), _) => {
            let both = [compared(from, [">=", ">=", ">"]), compared(to, ["<", "<", "<="])];
            both.into_iter().flatten().collect()
        }
        (Bound::List(values), [(name, of_type)]) => {
            let values: Vec<String> = values.iter().flatten().map(|text| value(text, of_type)).collect();
            vec![format!("{} IN ({})", quote_ident(name), values.join(", "))]
        }
        _ => Vec::new(),
    };
    match conditions.is_empty() {
        true => "true".to_owned(),
        false => conditions.join(" AND "),
    }
}

/// Upper ends as the catalog has them, null for MAXVALUE: what comes after one says nothing.
pub fn upper_ends(values: Vec<Option<String>>) -> Vec<End> {
    let mut is_open = false;
    let end = |value: Option<String>| {
        is_open |= value.is_none();
        match value.filter(|_| !is_open) {
            Some(value) => End::Value(value),
            None => End::Max,
        }
    };
    values.into_iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(texts: &[&str]) -> Vec<End> {
        let end = |text: &&str| match *text {
            "min" => End::Min,
            "max" => End::Max,
            value => End::Value(value.to_owned()),
        };
        texts.iter().map(end).collect()
    }

    #[test]
    fn rows_within_a_bound_are_told_column_by_column() {
        let columns = [("a".to_owned(), "int4".to_owned()), ("b".to_owned(), "date".to_owned())];
        let range = |from: &[&str], to: &[&str]| within(&Bound::Range(ends(from), ends(to)), &columns[..from.len()]);
        assert_eq!(range(&["min"], &["5"]), "(\"a\") < (CAST('5' AS int4))");
        assert_eq!(range(&["min"], &["max"]), "true");
        assert_eq!(
            range(&["1", "2"], &["5", "max"]),
            "(\"a\", \"b\") >= (CAST('1' AS int4), CAST('2' AS date)) AND (\"a\") <= (CAST('5' AS int4))"
        );
        assert_eq!(range(&["1", "max"], &["max", "max"]), "(\"a\") > (CAST('1' AS int4))");
        let list = Bound::List(vec![Some("1".to_owned()), Some("2".to_owned())]);
        assert_eq!(
            within(&list, &columns[..1]),
            "\"a\" IN (CAST('1' AS int4), CAST('2' AS int4))"
        );
        let all = |values: &[Option<&str>]| upper_ends(values.iter().map(|v| v.map(str::to_owned)).collect());
        assert_eq!(all(&[Some("1"), None]), ends(&["1", "max"]));
        assert_eq!(all(&[None, Some("1")]), ends(&["max", "max"]));
    }

    #[test]
    fn a_date_is_told_by_its_year_in_front() {
        for text in [
            "2024-02-01",
            "2024-3-1 12:00",
            "20240201",
            "20240201 120000",
            "20240201120000",
            "2024-02-01T00:00:00",
            "2024-02-01 00:00:00+08",
            " 2024-02-01 ",
            "infinity",
            "-Infinity",
            "epoch",
        ] {
            assert!(is_iso(text) && !is_moving(text), "{text}");
        }
        for text in [
            "01/02/2024",
            "1-2-2024",
            "24-01-02",
            "now",
            "Today",
            "240102",
            "2024/1/2",
            "01-Feb-2024",
            "2024-01",
            "2024.032",
            "Feb 1 2024",
        ] {
            assert!(!is_iso(text), "{text}");
        }
    }
}
