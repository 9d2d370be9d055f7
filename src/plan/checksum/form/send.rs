//! Functions that give the binary form of a type.

use super::{Bytes, Forms, long, short};
use crate::plan::types::Type;

/// Types of at most some bytes whose binary form depends on no setting and no encoding.
const SMALL: &[(&str, &str)] = &[
    ("bool", "boolsend"),
    ("char", "charsend"),
    ("cid", "cidsend"),
    ("cidr", "cidr_send"),
    ("date", "date_send"),
    ("inet", "inet_send"),
    ("int2", "int2send"),
    ("int4", "int4send"),
    ("int8", "int8send"),
    ("macaddr", "macaddr_send"),
    ("macaddr8", "macaddr8_send"),
    ("money", "cash_send"),
    ("oid", "oidsend"),
    ("pg_lsn", "pg_lsn_send"),
    ("tid", "tidsend"),
    ("uuid", "uuid_send"),
    ("xid", "xidsend"),
    ("xid8", "xid8send"),
];
/// The same of any length.
const LARGE: &[(&str, &str)] = &[
    ("bit", "bit_send"),
    ("bytea", "byteasend"),
    ("numeric", "numeric_send"),
    ("varbit", "varbit_send"),
];
/// These too, but for servers that keep times as floats (--disable-integer-datetimes, before 10).
const TIMES: &[(&str, &str)] = &[
    ("interval", "interval_send"),
    ("time", "time_send"),
    ("timestamp", "timestamp_send"),
    ("timestamptz", "timestamptz_send"),
    ("timetz", "timetz_send"),
];
/// Floats within, of which NaN has many binary forms. Where both servers print floats alike, the text has one.
const GEOMETRY: &[(&str, &str)] = &[
    ("box", "box_send"),
    ("circle", "circle_send"),
    ("line", "line_send"),
    ("lseg", "lseg_send"),
    ("path", "path_send"),
    ("point", "point_send"),
    ("polygon", "poly_send"),
];

fn named(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(of, _)| *of == name).map(|(_, function)| *function)
}

impl Forms {
    /// The function, and whether what it gives may be long; None for types that go by their text, and for floats.
    pub(super) fn send(&self, kind: &Type) -> Option<(&'static str, bool)> {
        let Type::BuiltIn { name, .. } = kind else { return None };
        let times = if self.abilities.integer_datetimes { TIMES } else { &[] };
        let geometry = if self.prints_floats() { &[][..] } else { GEOMETRY };
        if let Some(function) = named(SMALL, name).or_else(|| named(times, name)) {
            return Some((function, false));
        }
        let function = named(LARGE, name).or_else(|| named(geometry, name))?;
        Some((function, true))
    }

    /// The binary form of `value`.
    pub(super) fn sent(&self, kind: &Type, value: &str) -> Option<Bytes> {
        let (function, is_long) = self.send(kind)?;
        let sql = format!("{function}({value})");
        Some(if is_long { long(sql) } else { short(sql) })
    }
}
