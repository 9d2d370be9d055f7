//! What is openGauss' and GaussDB's own: partitions that are named within their table, types that PostgreSQL lacks, bounds as somebody typed them.

use super::bound::{Bound, End};
use super::copy_sql::{quote_ident, quote_literal, split_name};
use super::reading::fill;
use super::tables::Relation;
use super::tree::Node;
use super::types::Type;
use std::collections::HashSet;

/// A partition of a table, or a partition of a partition: no table of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// its table, quoted and qualified
    pub table: String,
    /// it is of the second level
    pub is_sub: bool,
    /// its name, unique within its table
    pub name: String,
}

impl Part {
    /// What stands for it in FROM, and in our tables (gram.y, relation_expr_opt_alias with PARTITION).
    pub fn relation(&self) -> String {
        let word = if self.is_sub { "SUBPARTITION" } else { "PARTITION" };
        format!("{} {word} ({})", self.table, quote_ident(&self.name))
    }

    /// Reads that back; None for a table, whose quoted name does not end so.
    pub fn parse(relation: &str) -> Option<Part> {
        let inner = relation.strip_suffix(')')?;
        // The name of the table ends where a quote is followed by a blank outside of quotes.
        let mut is_quoted = false;
        let end = inner.char_indices().find(|&(_, c)| {
            is_quoted ^= c == '"';
            c == ' ' && !is_quoted
        });
        let (table, rest) = inner.split_at(end?.0);
        let (word, name) = rest.trim_start().split_once(" (")?;
        let (None, name) = split_name(name)? else { return None };
        let is_sub = match word {
            "PARTITION" => false,
            "SUBPARTITION" => true,
            _ => return None,
        };
        Some(Part {
            table: table.to_owned(),
            is_sub,
            name,
        })
    }
}

/// The partitions below `node` that are no tables.
pub fn parts(node: &Node<Relation>) -> HashSet<Part> {
    let children = node.level.iter().flat_map(|level| &level.children);
    let own = Part::parse(&node.table.relation);
    own.into_iter().chain(children.flat_map(parts)).collect()
}

/// The table that `relation`, quoted and qualified, is, or is a partition of.
pub fn table_of(relation: &str) -> String {
    Part::parse(relation).map_or_else(|| relation.to_owned(), |part| part.table)
}

/// What a type of this family is here, and how a value of it is made one over there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counterpart {
    /// pg_type.oid of both servers
    pub oid: u32,
    /// pg_type.typname
    pub name: &'static str,
    /// format_type() without modifier; of an array, its element's
    sql: &'static str,
    /// `@` is the value
    template: &'static str,
    /// it has the modifier of the type over there
    has_modifier: bool,
    /// OID and name of its element's type, of an array
    element: Option<(u32, &'static str)>,
}

/// Their text is hexadecimal digits. NULL stays it; what is empty is no NULL, though its text is where '' is one.
const BYTES: &str = "CASE WHEN @ IS NOT NULL THEN COALESCE(decode(CAST(@ AS text), 'hex'), CAST('\\x' AS bytea)) END";

/// By pg_type.oid over there (src/include/catalog/pg_type.h of openGauss). Its date, where that is A format's, is a timestamp(0) to its catalogs
/// as well; number and varchar2 are other names of numeric and varchar.
const COUNTERPARTS: &[(u32, Counterpart)] = &[
    // tinyint
    (5545, scalar(21, "int2", "smallint", "CAST(@ AS int2)")),
    (
        5546,
        array(1005, "_int2", "smallint", "CAST(@ AS int2[])", (21, "int2")),
    ),
    // clob
    (90, scalar(25, "text", "text", "CAST(@ AS text)")),
    (3202, array(1009, "_text", "text", "CAST(@ AS text[])", (25, "text"))),
    // blob and raw
    (88, scalar(17, "bytea", "bytea", BYTES)),
    (86, scalar(17, "bytea", "bytea", BYTES)),
    // smalldatetime
    (9003, scalar(1114, "timestamp", TIMESTAMP, "CAST(@ AS timestamp)")),
    (
        9005,
        array(
            1115,
            "_timestamp",
            TIMESTAMP,
            "CAST(@ AS timestamp[])",
            (1114, "timestamp"),
        ),
    ),
    // nvarchar2
    (
        3969,
        Counterpart {
            has_modifier: true,
            ..scalar(1043, "varchar", VARCHAR, "CAST(@ AS varchar)")
        },
    ),
    (
        3968,
        Counterpart {
            has_modifier: true,
            ..array(1015, "_varchar", VARCHAR, "CAST(@ AS varchar[])", (1043, "varchar"))
        },
    ),
];

const VARCHAR: &str = "character varying";
const TIMESTAMP: &str = "timestamp without time zone";

const fn scalar(oid: u32, name: &'static str, sql: &'static str, template: &'static str) -> Counterpart {
    Counterpart {
        oid,
        name,
        sql,
        template,
        has_modifier: false,
        element: None,
    }
}

const fn array(
    oid: u32,
    name: &'static str,
    sql: &'static str,
    template: &'static str,
    element: (u32, &'static str),
) -> Counterpart {
    Counterpart {
        element: Some(element),
        ..scalar(oid, name, sql, template)
    }
}

/// The counterpart of the type with this OID, if PostgreSQL has no such type.
pub fn counterpart_of(oid: u32) -> Option<&'static Counterpart> {
    COUNTERPARTS.iter().find(|(of, _)| *of == oid).map(|(_, found)| found)
}

impl Counterpart {
    /// The expression over there that gives a value of this type for `value`, an expression.
    pub fn read(&self, value: &str) -> String {
        fill(self.template, value)
    }

    /// atttypmod here.
    pub fn modifier(&self, over_there: i32) -> i32 {
        if self.has_modifier { over_there } else { -1 }
    }

    /// The type with the modifier of the one over there.
    pub fn kind(&self, over_there: i32) -> Type {
        let (oid, name) = self.element.unwrap_or((self.oid, self.name));
        let own = Type::BuiltIn {
            oid,
            name: name.to_owned(),
            modifier: self.modifier(over_there),
        };
        match self.element {
            Some(_) => Type::Array(Box::new(own)),
            None => own,
        }
    }

    /// The type as format_type() prints it without modifier.
    pub fn bare_name(&self) -> String {
        let brackets = if self.element.is_some() { "[]" } else { "" };
        format!("{}{brackets}", self.sql)
    }

    /// The same with the modifier of the one over there.
    pub fn type_name(&self, over_there: i32) -> String {
        let brackets = if self.element.is_some() { "[]" } else { "" };
        match self.modifier(over_there) {
            // A varchar's modifier has four bytes of header in it (varchar.c).
            modifier @ 5.. => format!("{}({}){brackets}", self.sql, modifier - 4),
            _ => self.bare_name(),
        }
    }
}

/// Types whose values are read by DateStyle: date, timestamp, timestamptz, smalldatetime, abstime.
pub fn follows_date_style(type_oid: u32) -> bool {
    matches!(type_oid, 1082 | 1114 | 1184 | 9003 | 702)
}

/// True where a date, as somebody has typed it, is the same one under every DateStyle: the year comes first, in four digits or in eight with month
/// and day, or there are no numbers.
pub fn is_iso(text: &str) -> bool {
    let text = text.trim();
    let leading = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[leading..];
    match leading {
        0 => !text.bytes().any(|byte| byte.is_ascii_digit()),
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
    use super::super::copy_sql::quote_qualified;
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
    fn a_part_is_read_back_whatever_it_is_called() {
        let part = |schema, table, is_sub, name: &str| Part {
            table: quote_qualified(schema, table),
            is_sub,
            name: name.to_owned(),
        };
        for (schema, table, name) in [
            ("s", "t", "p1"),
            ("S x", "t) PARTITION (\"a", "p\") WHERE (\"x"),
            ("a\"b", "c.d", "sys_p1 "),
        ] {
            for is_sub in [false, true] {
                let part = part(schema, table, is_sub, name);
                assert_eq!(Part::parse(&part.relation()), Some(part.clone()));
                assert_eq!(table_of(&part.relation()), part.table);
            }
        }
        assert_eq!(part("s", "t", false, "p").relation(), r#""s"."t" PARTITION ("p")"#);
        for table in [r#""s"."t""#, r#""s"."t PARTITION (p)""#, ""] {
            assert_eq!(Part::parse(table), None);
            assert_eq!(table_of(table), table);
        }
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
        ] {
            assert!(is_iso(text), "{text}");
        }
        for text in [
            "01/02/2024",
            "1-2-2024",
            "24-01-02",
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

    #[test]
    fn types_of_its_own_have_counterparts() {
        let of = |oid| counterpart_of(oid).expect("a counterpart");
        assert_eq!(of(5545).read("\"a\""), "CAST(\"a\" AS int2)");
        assert_eq!(of(3969).type_name(14), "character varying(10)");
        assert_eq!(of(3968).type_name(9), "character varying(5)[]");
        assert!(matches!(of(5546).kind(-1), Type::Array(element) if element.is_oid(21)));
        assert_eq!(of(3969).type_name(-1), "character varying");
        assert_eq!((of(88).oid, of(88).modifier(7)), (17, -1));
        assert_eq!(counterpart_of(1043), None);
    }
}
