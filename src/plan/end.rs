//! What end_tm may look like for a key: anything its type reads, and for dates also `YYYY` and `YYYYMM`.

use crate::error::{Error, Result};
use chrono::{Datelike, Days, Months, NaiveDate};

/// How end_tm is read for a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// date
    Date,
    /// timestamp and timestamptz
    Timestamp,
    /// text or integer whose bounds all read as YYYYMMDD
    DateDigits,
    /// anything else: only what the type itself reads
    Plain,
}

impl KeyKind {
    /// The kind of a key of type `type_name` (pg_type.typname) whose finite bounds are `bounds`.
    pub fn of<'a>(type_name: &str, bounds: impl IntoIterator<Item = &'a str>) -> KeyKind {
        match type_name {
            "date" => KeyKind::Date,
            "timestamp" | "timestamptz" => KeyKind::Timestamp,
            "text" | "varchar" | "bpchar" | "int4" | "int8" => {
                let mut bounds = bounds.into_iter().peekable();
                let some = bounds.peek().is_some();
                if some && bounds.all(|b| digits_date(b.trim_end()).is_some()) {
                    KeyKind::DateDigits
                } else {
                    KeyKind::Plain
                }
            }
            _ => KeyKind::Plain,
        }
    }

    /// True where end_tm may be left out and is today then.
    pub fn has_today(self) -> bool {
        self != KeyKind::Plain
    }
}

fn digits_date(text: &str) -> Option<NaiveDate> {
    (text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| NaiveDate::parse_from_str(text, "%Y%m%d").ok())
        .flatten()
}

/// The literal, for the key's input function, that `end_tm` means: itself, or the end of the year (`2017`) or month
/// (`201702`) it names. For a date that is its last day, for a timestamp the last microsecond of it, so that partitions by the hour
/// on the last day are included.
pub fn end_literal(end_tm: &str, kind: KeyKind) -> Result<String> {
    let text = end_tm.trim();
    let is_period = matches!(text.len(), 4 | 6) && text.bytes().all(|b| b.is_ascii_digit());
    if kind == KeyKind::Plain || !is_period {
        return Ok(text.to_owned());
    }
    let last_day = last_day(text).ok_or_else(|| {
        Error::bad_parameter(format!("end_tm \"{end_tm}\" is not a year or a month"))
            .hint("Periods are written YYYY or YYYYMM, days YYYYMMDD.")
    })?;
    Ok(match kind {
        KeyKind::Timestamp => last_day.format("%Y-%m-%d 23:59:59.999999").to_string(),
        KeyKind::Date => last_day.format("%Y-%m-%d").to_string(),
        _ => last_day.format("%Y%m%d").to_string(),
    })
}

fn last_day(period: &str) -> Option<NaiveDate> {
    let year: i32 = period[..4].parse().ok()?;
    // Year 0 is a year to chrono but not to PostgreSQL.
    let (month, months) = match period.get(4..) {
        Some("") | None => (1, 12),
        Some(month) => (month.parse().ok()?, 1),
    };
    let first = NaiveDate::from_ymd_opt(year, month, 1).filter(|d| d.year() > 0)?;
    first
        .checked_add_months(Months::new(months))?
        .checked_sub_days(Days::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_or_month_means_its_last_day() {
        let read = |text, kind| end_literal(text, kind).expect("an end");
        assert_eq!(read("2017", KeyKind::Date), "2017-12-31");
        assert_eq!(read("201602", KeyKind::Date), "2016-02-29");
        assert_eq!(read("201702", KeyKind::DateDigits), "20170228");
        assert_eq!(read("201702", KeyKind::Timestamp), "2017-02-28 23:59:59.999999");
    }

    #[test]
    fn everything_else_is_left_to_the_type() {
        assert_eq!(end_literal(" 20170201 ", KeyKind::Date), Ok("20170201".into()));
        assert_eq!(end_literal("2017", KeyKind::Plain), Ok("2017".into()));
        assert_eq!(end_literal("infinity", KeyKind::Date), Ok("infinity".into()));
    }

    #[test]
    fn a_thirteenth_month_is_an_error() {
        for text in ["201713", "201700", "0000"] {
            assert!(end_literal(text, KeyKind::Date).is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_integer_keys_are_dates_only_when_every_bound_is() {
        assert_eq!(KeyKind::of("int4", ["20170101", "20170201"]), KeyKind::DateDigits);
        assert_eq!(KeyKind::of("bpchar", ["20170101  "]), KeyKind::DateDigits);
        assert_eq!(KeyKind::of("text", ["20170101", "20179901"]), KeyKind::Plain);
        assert_eq!(KeyKind::of("text", []), KeyKind::Plain);
        assert_eq!(KeyKind::of("numeric", ["20170101"]), KeyKind::Plain);
    }
}
