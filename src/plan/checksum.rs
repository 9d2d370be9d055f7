//! SQL that counts and sums up a unit's rows, the same on both sides and down to PostgreSQL 8.3: what two servers answer is equal
//! exactly when (but for an accident of MD5) they hold the same rows, in whatever order, however their settings print them.
//!
//! A row becomes a text of its columns, its MD5 a number of 60 bits, a unit the sum of those: order does not matter, a doubled row
//! does. Every column enters as ASCII, so that the encodings of the servers don't matter either:
//!
//! | type | as |
//! | --- | --- |
//! | integers, uuid | their text, which has one form |
//! | characters | UTF-8 in hex, or its MD5 where that is long |
//! | bytea | hex, or MD5 where that is long |
//! | json, xml, enums, composites, extension types … | MD5 of the output text in UTF-8 |
//! | float, numeric, times, bits, addresses, geometry, ranges, arrays of these | the binary form, which no setting touches: hex, or MD5 |
//!
//! Binary forms of text, jsonb, xml and their arrays are no choice: they follow client_encoding. What composites and extension types
//! print follows DateStyle and the like, which the caller pins on both sides.

use super::columns::SourceColumn;
use super::copy_sql::quote_ident;

/// Type of a target column; of a domain, the type below it.
#[derive(Debug, Clone)]
pub struct ColumnType {
    /// pg_type.oid
    pub oid: u32,
    /// pg_type.typname
    pub name: String,
    /// format_type() with the column's modifier, as SQL names it
    pub sql: String,
    /// typname of an array's elements
    pub element: Option<String>,
    /// a type of pg_catalog with a fixed OID: means the same on every server
    pub builtin: bool,
    /// pg_type.typlen > 0
    pub fixed_length: bool,
    /// name of the function to binary form
    pub send: Option<String>,
}

/// A column to compare.
#[derive(Debug, Clone)]
pub struct Compared {
    /// name on both sides
    pub name: String,
    /// type here
    pub here: ColumnType,
    /// what the source calls it
    pub there: SourceColumn,
    /// pg_attribute's format_type() here: equal names are equal types
    pub type_name: String,
}

/// How a column enters the row's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Characters,
    Text,
    Xml,
    Plain,
    Bytes,
    Float,
    SendHex,
    SendDigest,
}

/// Bytes of a value from which on its MD5 stands for it.
const LONG: u32 = 1000;

/// Types whose binary form depends on no setting and no encoding.
const SENDABLE: &[&str] = &[
    "bit",
    "bool",
    "box",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "date",
    "daterange",
    "datemultirange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "tid",
    "uuid",
    "varbit",
    "xid",
    "xid8",
];
/// These too, but for servers that keep times as floats (--disable-integer-datetimes, before 10).
const SENDABLE_TIMES: &[&str] = &[
    "interval",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsmultirange",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
];
/// What COPY writes where a cast to text gives something else: type and its output function.
const OUTPUT: &[(u32, &str)] = &[
    (16, "boolout"),
    (1042, "bpcharout"),
    (142, "xml_out"),
    (869, "inet_out"),
    (650, "cidr_out"),
];

impl ColumnType {
    fn form(&self, integer_datetimes: bool) -> Form {
        if !self.builtin {
            return Form::Text;
        }
        match self.name.as_str() {
            "int2" | "int4" | "int8" | "oid" | "uuid" => return Form::Plain,
            "text" | "varchar" | "bpchar" | "name" => return Form::Characters,
            "bytea" => return Form::Bytes,
            "float4" | "float8" => return Form::Float,
            "xml" => return Form::Xml,
            _ => {}
        }
        let name = self.element.as_deref().unwrap_or(&self.name);
        let sendable = SENDABLE.contains(&name) || (integer_datetimes && SENDABLE_TIMES.contains(&name));
        match (
            sendable && self.send.is_some(),
            self.fixed_length || self.name == "numeric",
        ) {
            (false, _) => Form::Text,
            (true, true) => Form::SendHex,
            (true, false) => Form::SendDigest,
        }
    }

    /// `value`, an expression of this type, as ASCII text; 'N' for null, which none of the forms gives otherwise.
    fn entry(&self, value: &str, integer_datetimes: bool) -> String {
        let send = self.send.as_deref().unwrap_or("");
        let text = match self.form(integer_datetimes) {
            Form::Characters => hex_or_digest(&utf8(&format!("({value})::text"))),
            Form::Text => format!("md5({})", utf8(&format!("({value})::text"))),
            Form::Xml => format!("md5({})", utf8(&format!("textin(xml_out({value}))"))),
            Form::Plain => format!("({value})::text"),
            Form::Bytes => hex_or_digest(value),
            // There are many NaNs, one as good as the other; binary form keeps them apart.
            Form::Float => {
                return format!(
                    "CASE WHEN {value} <> 'NaN'::{} THEN encode({send}({value}), 'hex') WHEN {value} IS NULL THEN 'N' ELSE 'NaN' END",
                    self.name
                );
            }
            Form::SendHex => format!("encode({send}({value}), 'hex')"),
            Form::SendDigest => format!("md5({send}({value}))"),
        };
        format!("COALESCE({text}, 'N')")
    }

    /// What the source's column would be here: the value that COPY would have made of it.
    fn converted(&self, column: &Compared) -> String {
        let name = quote_ident(&column.name);
        let there = column.there.type_oid;
        let is_string = matches!(self.name.as_str(), "text" | "varchar" | "name" | "bpchar");
        if !self.builtin || (there == self.oid && (is_string || column.there.type_name == column.type_name)) {
            return name;
        }
        // The modifier rounds numbers and times as COPY does; of strings and bits it would cut off what COPY refuses.
        let text = match OUTPUT.iter().find(|(oid, _)| *oid == there) {
            Some((_, output)) => format!("textin({output}({name}))"),
            None => format!("{name}::text"),
        };
        match self.name.as_str() {
            "text" | "varchar" | "name" => text,
            "bpchar" => format!("rtrim({text}, ' ')"),
            "bit" | "varbit" if there == self.oid => name,
            "bit" | "varbit" => format!("({text})::varbit"),
            _ if there == self.oid => format!("{name}::{}", self.sql),
            _ => format!("({text})::{}", self.sql),
        }
    }
}

fn utf8(text: &str) -> String {
    format!("convert_to({text}, 'UTF8')")
}

/// Up to LONG bytes hex is faster, beyond that it could outgrow the largest value there may be.
fn hex_or_digest(bytes: &str) -> String {
    format!("CASE WHEN octet_length({bytes}) <= {LONG} THEN encode({bytes}, 'hex') ELSE md5({bytes}) END")
}

/// Counts the rows of `relation`, quoted, that satisfy `filter`: one row, one column.
pub fn count(relation: &str, filter: Option<&str>) -> String {
    select("count(*)", relation, filter)
}

/// Counts and sums up the rows: one row of count and checksum. `entries` are the columns, see [`here`] and [`there`].
pub fn checksum(entries: &[String], relation: &str, filter: Option<&str>) -> String {
    let row = entries.join(" || ',' || ");
    let figures = format!("count(*), COALESCE(sum(('x' || substr(md5({row}), 1, 15))::bit(60)::bigint), 0)");
    select(&figures, relation, filter)
}

fn select(figures: &str, relation: &str, filter: Option<&str>) -> String {
    let filter = filter.map(|f| format!(" WHERE {f}")).unwrap_or_default();
    format!("SELECT {figures} FROM {relation}{filter}")
}

/// The columns' entries for the target's statement. `integer_datetimes`: the source keeps times as integers.
pub fn here(columns: &[Compared], integer_datetimes: bool) -> Vec<String> {
    let entry = |c: &Compared| c.here.entry(&quote_ident(&c.name), integer_datetimes);
    columns.iter().map(entry).collect()
}

/// The columns' entries for the source's statement, each as a value of the target's type.
pub fn there(columns: &[Compared], integer_datetimes: bool) -> Vec<String> {
    let entry = |c: &Compared| c.here.entry(&c.here.converted(c), integer_datetimes);
    columns.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column_type(oid: u32, name: &str, sql: &str) -> ColumnType {
        ColumnType {
            oid,
            name: name.into(),
            sql: sql.into(),
            element: None,
            builtin: oid < 10_000,
            fixed_length: matches!(name, "timestamptz" | "date" | "inet"),
            send: Some(format!("{name}_send")),
        }
    }

    fn column(here: ColumnType, oid: u32, type_name: &str) -> Compared {
        Compared {
            name: "c".into(),
            type_name: here.sql.clone(),
            here,
            there: SourceColumn {
                name: "c".into(),
                type_oid: oid,
                type_name: type_name.into(),
                kind: crate::plan::types::Type::Other {
                    name: type_name.into(),
                    modifier: -1,
                },
                collation: None,
                number: 1,
                not_null: false,
            },
        }
    }

    /// The column's entry here and there.
    fn entries(here_type: ColumnType, oid: u32, type_name: &str) -> (String, String) {
        let columns = [column(here_type, oid, type_name)];
        (here(&columns, true).remove(0), there(&columns, true).remove(0))
    }

    #[test]
    fn a_unit_is_counted_and_summed_up_under_its_filter() {
        assert_eq!(count("\"s\".\"t\"", None), "SELECT count(*) FROM \"s\".\"t\"");
        assert_eq!(
            checksum(&["a".into(), "b".into()], "r", Some("(k > 1)")),
            "SELECT count(*), COALESCE(sum(('x' || substr(md5(a || ',' || b), 1, 15))::bit(60)::bigint), 0) FROM r WHERE (k > 1)"
        );
    }

    #[test]
    fn the_same_type_is_the_same_expression_on_both_sides() {
        for (name, expected) in [
            ("int8", "COALESCE((\"c\")::text, 'N')"),
            ("jsonb", "COALESCE(md5(convert_to((\"c\")::text, 'UTF8')), 'N')"),
            (
                "bytea",
                "COALESCE(CASE WHEN octet_length(\"c\") <= 1000 THEN encode(\"c\", 'hex') ELSE md5(\"c\") END, 'N')",
            ),
            ("timestamptz", "COALESCE(encode(timestamptz_send(\"c\"), 'hex'), 'N')"),
            ("numeric", "COALESCE(encode(numeric_send(\"c\"), 'hex'), 'N')"),
            ("polygon", "COALESCE(md5(polygon_send(\"c\")), 'N')"),
        ] {
            let (here, there) = entries(column_type(100, name, name), 100, name);
            assert_eq!((here.as_str(), there.as_str()), (expected, expected));
        }
    }

    #[test]
    fn characters_are_utf8_in_hex_while_that_is_short() {
        let (here, there) = entries(column_type(25, "text", "text"), 25, "text");
        let utf8 = "convert_to((\"c\")::text, 'UTF8')";
        assert_eq!(
            here,
            format!(
                "COALESCE(CASE WHEN octet_length({utf8}) <= 1000 THEN encode({utf8}, 'hex') ELSE md5({utf8}) END, 'N')"
            )
        );
        assert_eq!(here, there);
    }

    #[test]
    fn arrays_go_by_their_elements() {
        let array = |element: &str| ColumnType {
            element: Some(element.into()),
            send: Some("array_send".into()),
            ..column_type(1000, &format!("_{element}"), &format!("{element}[]"))
        };
        assert_eq!(array("numeric").form(true), Form::SendDigest);
        assert_eq!(array("text").form(true), Form::Text);
        assert_eq!(array("timestamptz").form(true), Form::SendDigest);
        assert_eq!(array("timestamptz").form(false), Form::Text);
    }

    #[test]
    fn types_that_differ_become_the_targets_as_copy_would_make_them() {
        let there = |here_type, oid, type_name| entries(here_type, oid, type_name).1;
        assert_eq!(
            there(column_type(20, "int8", "bigint"), 23, "integer"),
            "COALESCE(((\"c\"::text)::bigint)::text, 'N')"
        );
        let numeric = column_type(1700, "numeric", "numeric(10,2)");
        assert!(there(numeric, 1700, "numeric").contains("numeric_send(\"c\"::numeric(10,2))"));
        let text = column_type(25, "text", "text");
        assert!(there(text.clone(), 16, "boolean").contains("(textin(boolout(\"c\")))::text"));
        assert!(there(text, 1042, "character(8)").contains("textin(bpcharout(\"c\"))"));
        let varchar = column_type(1043, "varchar", "character varying(3)");
        assert!(!there(varchar, 1043, "character varying").contains("varying"));
        let date = column_type(1082, "date", "date");
        assert!(there(date, 70_000, "day_domain").contains("date_send((\"c\"::text)::date)"));
    }

    #[test]
    fn what_is_no_built_in_goes_as_text() {
        let mood = column_type(70_000, "mood", "public.mood");
        let (here, there) = entries(mood, 80_000, "public.mood");
        assert_eq!(here, "COALESCE(md5(convert_to((\"c\")::text, 'UTF8')), 'N')");
        assert_eq!(here, there);
    }
}
