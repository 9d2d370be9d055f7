//! Pairs of built-in types that are not the same with their modifiers.

use super::{Bytes, Forms, Pair, long, short, utf8};
use crate::plan::types::Type;

/// int2, int4, int8
const WHOLE: &[u32] = &[21, 23, 20];
/// int2, int4, int8, numeric, float4, float8
const NUMBERS: &[u32] = &[21, 23, 20, 1700, 700, 701];
/// json, jsonb
const JSON: &[u32] = &[114, 3802];
/// date, timestamp, timestamptz
const DAYS: &[u32] = &[1082, 1114, 1184];

/// A number in decimal digits without trailing zeros, which a modifier may add.
pub fn decimal(oid: u32, value: &str) -> String {
    let digits = |number: &str| {
        let digits = format!("CAST({number} AS text)");
        format!("CASE WHEN strpos({digits}, '.') > 0 THEN rtrim(rtrim({digits}, '0'), '.') ELSE {digits} END")
    };
    match oid {
        1700 => digits(value),
        // Numeric has no infinity before 14.
        700 | 701 => format!(
            "CASE WHEN abs({value}) = 'Infinity' THEN CAST({value} AS text) ELSE {} END",
            digits(&format!("CAST(CAST({value} AS text) AS numeric)"))
        ),
        _ => format!("CAST({value} AS text)"),
    }
}

/// `inside` for times that stay in range whatever the zone, and those that are infinite; else `outside`.
fn in_any_zone(value: &str, inside: &Bytes, outside: &Bytes) -> Bytes {
    short(format!(
        "CASE WHEN {value} BETWEEN '4700-01-01 00:00:00 BC' AND '294276-01-01 00:00:00' OR NOT isfinite({value}) \
         THEN {} ELSE {} END",
        inside.sql, outside.sql
    ))
}

impl Forms {
    /// Values of two built-in types, or of one with two modifiers.
    pub(super) fn built_in(&self, here: &Type, there: &Type, value: &str) -> Pair {
        let (
            Type::BuiltIn { oid, name, .. },
            Type::BuiltIn {
                oid: of, name: called, ..
            },
        ) = (here, there)
        else {
            return self.by_text(here, there, value);
        };
        let both = |types: &[u32]| types.contains(oid) && types.contains(of);
        let cast = |to: &str| format!("CAST({value} AS {to})");
        match (*oid, *of) {
            (1700, 1700) => Pair::alike(utf8(&decimal(1700, value))),
            _ if oid == of && name == called => Pair::alike(self.same(here, value)),
            _ if both(WHOLE) => Pair::alike(short(format!("int8send({})", cast("int8")))),
            // COPY sends digits, which are another float8 than the float4 is.
            (701, 700) => {
                let converted = format!("CAST(CAST({value} AS text) AS float8)");
                Pair::new(self.float(here, value), self.float(here, &converted))
            }
            (700, 701) => Pair::new(self.float(there, &cast("float8")), self.float(there, value)),
            _ if both(NUMBERS) => Pair::new(utf8(&decimal(*oid, value)), utf8(&decimal(*of, value))),
            _ if both(DAYS) => self.days(*oid, *of, value),
            _ if both(&[1083, 1186]) => Pair::alike(self.time("interval", &cast("interval"))),
            (1266, 1083) => Pair::new(self.time("time", &cast("time")), self.time("time", value)),
            (1083, 1266) => Pair::new(self.time("timetz", &cast("timetz")), self.time("timetz", value)),
            _ if both(&[869, 650]) => Pair::alike(short(format!("inet_send({})", cast("inet")))),
            _ if both(&[1560, 1562]) => Pair::alike(long(format!("varbit_send({})", cast("varbit")))),
            (16, _) if there.is_string() => Pair::new(self.text(here, value), self.truth(there, value)),
            // Blanks at the end mean nothing here.
            (1042, _) => Pair::new(utf8(&cast("text")), self.text(there, value)),
            (774, 829) => Pair::new(self.address(value), self.same(there, value)),
            (829, 774) => Pair::alike(short(format!("macaddr8_send({})", cast("macaddr8")))),
            // Only int4 has a cast from it.
            (16, 21 | 23 | 20) => Pair::new(
                short(format!("int8send(CAST({} AS int8))", cast("int4"))),
                short(format!("int8send({})", cast("int8"))),
            ),
            _ if here.is_string() || there.is_string() || (JSON.contains(oid) && JSON.contains(of)) => {
                Pair::new(self.text(here, value), self.text(there, value))
            }
            _ => self.by_text(here, there, value),
        }
    }

    /// A macaddr8; one that stands for a macaddr as that.
    fn address(&self, value: &str) -> Bytes {
        short(format!(
            "CASE WHEN CAST({value} AS text) LIKE '__:__:__:ff:fe:%' THEN macaddr_send(CAST({value} AS macaddr)) \
             ELSE macaddr8_send({value}) END"
        ))
    }

    /// A time in its binary form, or its text where that is another.
    fn time(&self, name: &str, value: &str) -> Bytes {
        short(match self.abilities.integer_datetimes {
            true => format!("{name}_send({value})"),
            false => format!("convert_to(CAST({value} AS text), 'UTF8')"),
        })
    }

    /// Two of date, timestamp and timestamptz. Times without a zone are of the session's, which both sides share.
    fn days(&self, here: u32, there: u32, value: &str) -> Pair {
        let local = format!("CAST({value} AS timestamp)");
        let zoned = format!("CAST({value} AS timestamptz)");
        let (as_is, as_zoned) = (self.time("timestamp", value), self.time("timestamptz", value));
        match (here, there) {
            (1114, 1184) => {
                let back = self.time("timestamptz", &zoned);
                Pair::new(in_any_zone(value, &back, &as_is), as_zoned)
            }
            (1184, 1114) => {
                let back = self.time("timestamp", &local);
                Pair::new(in_any_zone(value, &back, &as_zoned), as_is)
            }
            _ => {
                let side = |oid: u32| match oid {
                    1082 => short(format!("date_send({value})")),
                    1114 => self.day(value),
                    _ => in_any_zone(value, &self.day(&local), &as_zoned),
                };
                Pair::new(side(here), side(there))
            }
        }
    }

    /// A timestamp; at midnight it is the date. Unquoted, a date is a timestamp to a database of openGauss' A format.
    fn day(&self, value: &str) -> Bytes {
        short(format!(
            "CASE WHEN {value} = date_trunc('day', {value}) THEN date_send(CAST({value} AS pg_catalog.\"date\")) ELSE {} END",
            self.time("timestamp", value).sql
        ))
    }

    /// A text that may be a boolean, which COPY writes in one way and a cast in another.
    fn truth(&self, kind: &Type, value: &str) -> Bytes {
        let word = self.text_sql(kind, value);
        utf8(&format!(
            "CASE {word} WHEN 'true' THEN 't' WHEN 'false' THEN 'f' ELSE {word} END"
        ))
    }
}
