//! What the rows of a table look like: on their way, and on a page.

use serde::{Deserialize, Serialize};

/// A table's attributes, dropped ones included, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// the relation's name as COPY's context has it, without its schema
    pub table: String,
    /// path of its main fork's first file, from the data directory
    pub path: String,
    /// attributes
    pub attributes: Vec<Attribute>,
    /// fields of a row on its way
    pub fields: usize,
    /// per cent of a page that rows may take
    pub fillfactor: u8,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// its name
    pub name: String,
    /// OID of its type; 0: it is dropped
    pub type_oid: u32,
    /// its modifier; -1: none
    pub typmod: i32,
    /// pg_attribute.attlen: bytes, or -1 for values whose length varies
    pub length: i16,
    /// alignment in bytes: 1, 2, 4 or 8
    pub align: u8,
    /// pg_attribute.attbyval
    pub by_value: bool,
    /// a short value has a header of one byte: its length varies and its storage is not PLAIN
    pub is_packed: bool,
    /// pg_attribute.attnotnull
    pub not_null: bool,
    /// which field of a row it is; None: the row has none for it, and it is NULL
    pub field: Option<usize>,
    /// who makes its values
    pub reader: Reader,
}

/// Who makes a column's values from a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reader {
    /// boolean
    Bool,
    /// any two bytes: int2
    Two,
    /// any four: int4, oid, float4
    Four,
    /// any eight: int8, float8
    Eight,
    /// any sixteen: uuid
    Sixteen,
    /// date
    Date,
    /// timestamp with or without time zone; the modifier allows multiples of so many microseconds
    Timestamp(i64),
    /// text, varchar: this many characters at most
    Text(Option<u32>),
    /// char(n), which is padded to n characters
    Padded(u32),
    /// bytea
    Bytes,
    /// numeric, with the modifier's precision and scale
    Numeric(Option<(u16, u16)>),
    /// the type's own receive function
    Receive,
}

/// Bytes of a varlena's long header (varatt.h, VARHDRSZ), which modifiers count as well.
const VARHDRSZ: i32 = 4;

impl Reader {
    /// The one for a type of the server's, by its OID (pg_type.dat) and a modifier.
    pub fn of(type_oid: u32, typmod: i32) -> Reader {
        match (type_oid, typmod) {
            (16, _) => Reader::Bool,
            (17, _) => Reader::Bytes,
            (21, _) => Reader::Two,
            (23 | 26 | 700, _) => Reader::Four,
            (20 | 701, _) => Reader::Eight,
            (2950, _) => Reader::Sixteen,
            (1082, _) => Reader::Date,
            (1114 | 1184, -1 | 6) => Reader::Timestamp(1),
            (1114 | 1184, digits @ 0..6) => Reader::Timestamp(10i64.pow(6 - digits as u32)),
            (25, _) | (1043 | 1042, -1) => Reader::Text(None),
            (1043, typmod) if typmod >= VARHDRSZ => Reader::Text(Some((typmod - VARHDRSZ) as u32)),
            (1042, typmod) if typmod > VARHDRSZ => Reader::Padded((typmod - VARHDRSZ) as u32),
            (1700, -1) => Reader::Numeric(None),
            (1700, typmod) => numeric_of(typmod),
            _ => Reader::Receive,
        }
    }
}

/// numeric.c, make_numeric_typmod: the precision above 16 bits of the scale, of which since 15 eleven count, and may be negative.
fn numeric_of(typmod: i32) -> Reader {
    let packed = (typmod - VARHDRSZ) as u32;
    let (precision, scale) = ((packed >> 16) as u16, (packed & 0xffff) as u16);
    match scale <= precision && precision <= 1000 {
        true => Reader::Numeric(Some((precision, scale))),
        false => Reader::Receive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_say_what_is_plain() {
        assert_eq!(Reader::of(1043, 4 + 64), Reader::Text(Some(64)));
        assert_eq!(Reader::of(1042, 4 + 3), Reader::Padded(3));
        assert_eq!(Reader::of(1184, 3), Reader::Timestamp(1000));
        assert_eq!(Reader::of(1114, -1), Reader::Timestamp(1));
        let numeric = |precision: i32, scale: i32| Reader::of(1700, ((precision << 16) | (scale & 0x7ff)) + 4);
        assert_eq!(numeric(14, 2), Reader::Numeric(Some((14, 2))));
        // A negative scale, and one beyond the precision.
        assert_eq!(numeric(5, -2), Reader::Receive);
        assert_eq!(numeric(2, 5), Reader::Receive);
        assert_eq!(Reader::of(3802, -1), Reader::Receive);
    }
}
