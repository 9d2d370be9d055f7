//! A column's value as bytes, on both sides, such that they are equal exactly when the value here, cast back to the source's type, is
//! the source's. Neither side's value is rounded on the way, and no cast of a value here can fail.
//!
//! | types | as |
//! | --- | --- |
//! | characters, enums, json, xml, composites, types of extensions, whatever goes by its text | the text that COPY sends, in UTF-8 |
//! | numbers, times, bits, addresses, ranges, arrays of these | the binary form, which no setting touches |
//! | numbers of two types or modifiers | decimal digits without trailing zeros |
//! | composites and arrays whose parts differ | part by part |
//!
//! Binary forms of text, jsonb, xml and their arrays are no choice: they follow client_encoding. What composites and extension types
//! print follows DateStyle and the like, which the caller pins on both sides.

mod send;
mod unlike;

use super::{Abilities, Compared};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::reading::{fill, text_of};
use crate::plan::types::Type;

/// Bytes of a value from which on its digest stands for it.
const LONG: u32 = 1000;

/// An expression of type bytea.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes {
    sql: String,
    /// it may be longer than `LONG`
    is_long: bool,
}

/// A value on both sides.
#[derive(Debug)]
pub struct Pair {
    /// here
    pub here: Bytes,
    /// on the source
    pub there: Bytes,
    /// the source's value is converted as the copy does
    pub is_converted: bool,
}

impl Pair {
    fn new(here: Bytes, there: Bytes) -> Pair {
        Pair {
            here,
            there,
            is_converted: false,
        }
    }

    fn alike(bytes: Bytes) -> Pair {
        Pair::new(bytes.clone(), bytes)
    }

    /// The same within something else.
    fn map(self, f: impl Fn(Bytes) -> Bytes) -> Pair {
        Pair {
            here: f(self.here),
            there: f(self.there),
            is_converted: self.is_converted,
        }
    }
}

/// This server is at least of this version.
const HERE: u32 = 130_000;

/// Makes them, for a source with these abilities.
pub struct Forms {
    abilities: Abilities,
    /// version of the server that reads them
    reader: u32,
}

fn short(sql: String) -> Bytes {
    Bytes { sql, is_long: false }
}

fn long(sql: String) -> Bytes {
    Bytes { sql, is_long: true }
}

/// A text in UTF-8.
fn utf8(text: &str) -> Bytes {
    long(format!("convert_to({text}, 'UTF8')"))
}

impl Forms {
    /// For such a source.
    pub fn new(abilities: Abilities) -> Forms {
        Forms {
            abilities,
            reader: HERE,
        }
    }

    /// A column's value.
    pub fn column(&self, column: &Compared) -> Pair {
        let name = quote_ident(&column.name);
        let pair = |reader, value: &str| {
            let forms = Forms { reader, ..*self };
            match column.here == column.there && column.is_pinned {
                true => Pair::alike(forms.pinned(&column.here, value)),
                false => forms.pair(&column.here, &column.there, value, 0),
            }
        };
        Pair {
            there: pair(self.abilities.version, column.read.as_ref().unwrap_or(&name)).there,
            ..pair(HERE, &name)
        }
    }

    /// The text of a value as COPY has it.
    fn text_sql(&self, kind: &Type, value: &str) -> String {
        fill(text_of(kind, self.reader), value)
    }

    fn text(&self, kind: &Type, value: &str) -> Bytes {
        utf8(&self.text_sql(kind, value))
    }

    /// That a composite is one: IS NULL is also said of a row of nothing but NULLs.
    fn is_a_value(&self, kind: &Type, value: &str) -> String {
        match self.reader >= 90_600 {
            true => format!("num_nulls({value}) = 0"),
            false => format!("({}) IS NOT NULL", self.text_sql(kind, value)),
        }
    }

    /// The entry of a row: a long value is its length and its digest, and a letter keeps the two forms apart.
    pub fn sealed(&self, bytes: &Bytes) -> String {
        let Bytes { sql, is_long } = bytes;
        if !is_long {
            return sql.clone();
        }
        let digest = match self.abilities.sha256 {
            true => format!("sha256({sql})"),
            false => format!("decode(md5({sql}), 'hex')"),
        };
        format!(
            "CASE WHEN octet_length({sql}) <= {LONG} THEN CAST('v' AS bytea) || {sql} \
             ELSE CAST('d' AS bytea) || int4send(octet_length({sql})) || {digest} END"
        )
    }

    /// Both servers print floats alike, in as few digits as it takes.
    fn prints_floats(&self) -> bool {
        self.abilities.version >= 120_000
    }

    /// A value of a built-in type, or an array of such a type, with the same OIDs on both sides.
    fn pinned(&self, kind: &Type, value: &str) -> Bytes {
        match kind {
            Type::Array(element) => match element.as_ref() {
                // There are many NaNs, one as good as the other.
                Type::BuiltIn { oid: 700 | 701, .. } if self.abilities.version >= 90_300 => {
                    long(format!("array_send(array_replace({value}, 'NaN', 'NaN'))"))
                }
                Type::BuiltIn { oid: 700 | 701, .. } => long(format!("array_send({value})")),
                element if self.send(element).is_some() => long(format!("array_send({value})")),
                _ => self.text(kind, value),
            },
            _ => self.same(kind, value),
        }
    }

    /// A value of a type that is the same on both sides, though its OID or its parts' may be others.
    fn same(&self, kind: &Type, value: &str) -> Bytes {
        match kind {
            Type::BuiltIn { oid: 700 | 701, .. } => self.float(kind, value),
            // The text is what there is besides blanks at the end.
            Type::BuiltIn { oid: 1042, .. } => utf8(&format!("CAST({value} AS text)")),
            Type::BuiltIn { oid: 17, .. } => long(value.to_owned()),
            Type::BuiltIn { .. } => self.sent(kind, value).unwrap_or_else(|| self.text(kind, value)),
            Type::Range(inner, _) if self.send(inner).is_some() => long(format!("range_send({value})")),
            Type::Multirange(inner, _) if self.send(inner).is_some() => long(format!("multirange_send({value})")),
            _ => self.text(kind, value),
        }
    }

    /// A float; all NaNs are one.
    fn float(&self, kind: &Type, value: &str) -> Bytes {
        let send = if kind.is_oid(700) { "float4send" } else { "float8send" };
        short(format!(
            "CASE WHEN {value} = 'NaN' THEN CAST('NaN' AS bytea) ELSE {send}({value}) END"
        ))
    }

    /// The value `value` of both sides. `depth` tells the arrays around it.
    fn pair(&self, here: &Type, there: &Type, value: &str, depth: usize) -> Pair {
        match (here, there) {
            (Type::Array(ours), Type::Array(theirs)) if here != there || self.goes_by_parts(here) => {
                let elements = self.pair(ours, theirs, &format!("e{depth}.v"), depth + 1);
                elements.map(|bytes| self.elements(value, &format!("array_dims({value})"), depth, &bytes))
            }
            (Type::Multirange(ours, order), Type::Multirange(theirs, of))
                if here != there || self.goes_by_parts(here) =>
            {
                let (ours, theirs) = (
                    Type::Range(ours.clone(), order.clone()),
                    Type::Range(theirs.clone(), of.clone()),
                );
                let elements = self.pair(&ours, &theirs, &format!("e{depth}.v"), depth + 1);
                elements.map(|bytes| self.elements(value, "'-'", depth, &bytes))
            }
            (Type::Range(ours, _), Type::Range(theirs, _)) if here != there || self.goes_by_parts(here) => {
                self.bounds(ours, theirs, value, depth)
            }
            (Type::Composite(ours), Type::Composite(theirs)) if here != there || self.goes_by_parts(here) => {
                self.attributes((here, ours), (there, theirs), value, depth)
            }
            _ if here == there => Pair::alike(self.same(here, value)),
            (Type::BuiltIn { .. }, Type::BuiltIn { .. }) => self.built_in(here, there, value),
            _ => self.by_text(here, there, value),
        }
    }

    /// A type with floats in it that the source does not print as this server does.
    fn goes_by_parts(&self, kind: &Type) -> bool {
        !self.prints_floats() && kind.has_floats()
    }

    /// An array or multirange, element by element.
    fn elements(&self, value: &str, dimensions: &str, depth: usize, element: &Bytes) -> Bytes {
        let element = self.sealed(element);
        // The subquery keeps composites whole and elements in their order.
        long(format!(
            "CASE WHEN {value} IS NOT NULL THEN convert_to(COALESCE({dimensions}, '-'), 'UTF8') \
             || array_send(ARRAY(SELECT {element} FROM (SELECT unnest({value}) AS v OFFSET 0) e{depth})) END"
        ))
    }

    /// A range, by its ends.
    fn bounds(&self, here: &Type, there: &Type, value: &str, depth: usize) -> Pair {
        let end = |function: &str| self.pair(here, there, &format!("{function}({value})"), depth);
        let kind = format!(
            "CAST(ROW(isempty({value}), lower_inc({value}), upper_inc({value}), lower_inf({value}), upper_inf({value})) AS text)"
        );
        let parts = [Pair::alike(utf8(&kind)), end("lower"), end("upper")];
        self.parts(&parts, &format!("{value} IS NOT NULL"))
    }

    /// A composite, by its attributes. With other attributes it is never equal.
    fn attributes(
        &self,
        (our_type, here): (&Type, &[(String, Type)]),
        (their_type, there): (&Type, &[(String, Type)]),
        value: &str,
        depth: usize,
    ) -> Pair {
        let of = |name: &str| there.iter().find(|(other, _)| other == name);
        let attribute = |(name, kind): &(String, Type)| {
            let (_, other) = of(name)?;
            Some(self.pair(kind, other, &format!("({value}).{}", quote_ident(name)), depth))
        };
        let pairs: Option<Vec<Pair>> = here.iter().map(attribute).collect();
        let pairs = pairs.filter(|_| here.len() == there.len()).unwrap_or_else(|| {
            let side = |attributes: &[(String, Type)]| {
                let names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
                utf8(&quote_literal(&names.join(",")))
            };
            vec![
                Pair::new(side(here), side(there)),
                Pair::new(self.text(our_type, value), self.text(their_type, value)),
            ]
        });
        self.parts(&pairs, &self.is_a_value(our_type, value))
    }

    fn parts(&self, pairs: &[Pair], unless_null: &str) -> Pair {
        let side = |of: fn(&Pair) -> &Bytes| {
            let entries: Vec<String> = pairs.iter().map(|pair| self.sealed(of(pair))).collect();
            long(format!(
                "CASE WHEN {unless_null} THEN array_send(ARRAY[{}]) END",
                entries.join(", ")
            ))
        };
        Pair {
            here: side(|pair| &pair.here),
            there: side(|pair| &pair.there),
            is_converted: pairs.iter().any(|pair| pair.is_converted),
        }
    }

    /// Types of two kinds. Texts are compared, unless the value here has a built-in type whose text could be another: then
    /// the source converts its value, as the copy does.
    fn by_text(&self, here: &Type, there: &Type, value: &str) -> Pair {
        if let (Type::BuiltIn { oid, name, .. }, false) = (here, matches!(there, Type::Enum(_)) || here.is_string()) {
            let cast = format!(
                "CAST({} AS pg_catalog.{})",
                self.text_sql(there, value),
                quote_ident(name)
            );
            let form = |value: &str| match oid {
                1700 => utf8(&unlike::decimal(*oid, value)),
                _ => self.same(here, value),
            };
            return Pair {
                is_converted: true,
                ..Pair::new(form(value), form(&cast))
            };
        }
        let is_same_kind =
            matches!((here, there), (Type::Other { name, .. }, Type::Other { name: other, .. }) if name == other);
        let is_text = here.is_string() || there.is_string() || matches!(here, Type::Enum(_)) || is_same_kind;
        let ours = match here.is_oid(1042) {
            true => utf8(&format!("CAST({value} AS text)")),
            false => self.text(here, value),
        };
        Pair {
            is_converted: !is_text,
            ..Pair::new(ours, self.text(there, value))
        }
    }
}
