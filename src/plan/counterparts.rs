//! Types of openGauss and GaussDB that PostgreSQL lacks.

use super::reading::fill;
use super::types::Type;

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

#[cfg(test)]
mod tests {
    use super::*;

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
