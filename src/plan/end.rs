//! What end_tm may look like for a key, what it means, and in which form it is remembered.

use crate::error::{Error, Result, sqlstate};
use chrono::{Datelike, Days, Months, NaiveDate};

/// How end_tm is read for a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// date
    Date,
    /// timestamp
    Timestamp,
    /// timestamptz
    Zoned,
    /// text or number whose bounds read as YYYYMMDD
    DateDigits,
    /// text or number whose bounds are times in another form: only what the type itself reads
    Stamp(Stamp),
    /// anything else: likewise
    Plain,
}

/// A form of times that comes in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// YYYY-MM-DD
    Iso,
    /// so many digits of YYYYMMDDHHMMSS
    Digits(usize),
}

/// Text and the input function that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// the key's own
    Value(String),
    /// that of date; the day in the form YYYYMMDD is the value
    Day(String),
}

impl KeyKind {
    /// The kind of a key of type `type_name` (pg_type.typname) whose finite bounds are `bounds`.
    pub fn of<'a>(type_name: &str, bounds: impl IntoIterator<Item = &'a str>) -> KeyKind {
        match type_name {
            "date" => KeyKind::Date,
            "timestamp" => KeyKind::Timestamp,
            "timestamptz" => KeyKind::Zoned,
            "text" | "varchar" | "bpchar" | "name" | "citext" | "int4" | "int8" | "numeric" => {
                let is_number = matches!(type_name, "int4" | "int8" | "numeric");
                let bounds: Vec<&str> = bounds.into_iter().map(str::trim_end).collect();
                match () {
                    () if are_days(&bounds, is_number) => KeyKind::DateDigits,
                    () => stamp_of(&bounds, is_number).map_or(KeyKind::Plain, KeyKind::Stamp),
                }
            }
            _ => KeyKind::Plain,
        }
    }

    /// True where the key is a time: no remembered point lies in the future.
    pub fn is_time(self) -> bool {
        self != KeyKind::Plain
    }

    /// True where end_tm may be a word or a period, or be left out and is today then.
    pub fn takes_days(self) -> bool {
        !matches!(self, KeyKind::Plain | KeyKind::Stamp(_))
    }

    /// True where the bounds tell it, which other partitions may change.
    pub fn is_by_bounds(self) -> bool {
        matches!(self, KeyKind::Plain | KeyKind::Stamp(_) | KeyKind::DateDigits)
    }
}

/// Nothing but digits, as many as one of `lengths`.
fn are_digits(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// True where all characters are the same one.
fn repeats(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.all(|c| Some(c) == first)
}

fn digits_date(text: &str) -> Option<NaiveDate> {
    are_digits(text, &[8])
        .then(|| NaiveDate::parse_from_str(text, "%Y%m%d").ok())
        .flatten()
}

/// At least half of the bounds are days, and the others stand for open ends or for the end of a month or year, as 20170132 and 20179999 do.
fn are_days(bounds: &[&str], is_number: bool) -> bool {
    let days: Vec<NaiveDate> = bounds.iter().filter_map(|bound| digits_date(bound)).collect();
    let years = || days.iter().map(Datelike::year);
    let (Some(first), Some(last)) = (years().min(), years().max()) else {
        return false;
    };
    let is_near = |bound: &&&str| {
        are_digits(bound, &[8]) && bound[..4].parse().is_ok_and(|year| (first..=last + 1).contains(&year))
    };
    let closed: Vec<&&str> = bounds
        .iter()
        .filter(|bound| !is_beyond_dates(bound, is_number))
        .collect();
    2 * days.len() >= closed.len() && closed.iter().all(is_near)
}

/// The form that all of the bounds have, but for those that stand for open ends. Years before 1900 and after 2100 are no years but other numbers.
fn stamp_of(bounds: &[&str], is_number: bool) -> Option<Stamp> {
    let is_open = |bound: &str| bound == "0" || (bound.starts_with('9') || !is_number) && repeats(bound);
    let mut stamps = bounds.iter().filter(|bound| !is_open(bound)).map(|bound| stamp(bound));
    let first = stamps.next()??;
    stamps.all(|stamp| stamp == Some(first)).then_some(first)
}

fn stamp(text: &str) -> Option<Stamp> {
    if text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
        return Some(Stamp::Iso);
    }
    if !are_digits(text, &[6, 10, 12, 14]) {
        return None;
    }
    let part = |at: usize| text.get(at..at + 2).and_then(|digits| digits.parse::<u32>().ok());
    let year = text[..4].parse().ok().filter(|year| (1900..=2100).contains(year))?;
    let is_day = NaiveDate::from_ymd_opt(year, part(4)?, part(6).unwrap_or(1)).is_some();
    let is_hour =
        part(8).is_none_or(|hour| hour < 24) && [10, 12].into_iter().all(|at| part(at).is_none_or(|n| n < 60));
    (is_day && is_hour).then_some(Stamp::Digits(text.len()))
}

/// True for a bound that stands for an open end, as 99999999 does, or 0.
fn is_beyond_dates(text: &str, is_number: bool) -> bool {
    if is_number {
        return text
            .parse::<i64>()
            .is_ok_and(|n| !(10_000_101..=99_991_231).contains(&n));
    }
    repeats(text)
}

/// Words that date types read as another day each day.
const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// True for a word that means another day tomorrow.
pub fn is_word(text: &str) -> bool {
    WORDS.iter().any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// A year, a month or a day.
fn is_digits(text: &str) -> bool {
    are_digits(text, &[4, 6, 8])
}

/// What `text` means, which is called `what`: itself, or the end of the year (`2017`) or month (`201702`) it names. For a
/// date that is its last day, for a timestamp the last microsecond of it, so that partitions by the
/// hour on the last day are included. Words that are days (`yesterday`) are refused for keys that are none.
pub fn written(what: &str, text: &str, kind: KeyKind) -> Result<Written> {
    let text = text.trim();
    if !kind.takes_days() {
        return match is_word(text) {
            true => Err(
                Error::bad_parameter(format!("{what} \"{text}\" is a day, and the partition key is none"))
                    .hint("Pass the point as a value of the key."),
            ),
            false => Ok(Written::Value(text.to_owned())),
        };
    }
    if !is_digits(text) {
        // A numeric may lie between two days.
        let is_fraction = text.contains('.') && text.parse::<f64>().is_ok();
        return Ok(match kind {
            KeyKind::DateDigits if !is_fraction => Written::Day(text.to_owned()),
            _ => Written::Value(text.to_owned()),
        });
    }
    if text.len() == 8 {
        return Ok(Written::Value(text.to_owned()));
    }
    let last_day = last_day(text).ok_or_else(|| {
        Error::bad_parameter(format!("{what} \"{text}\" is not a year or a month"))
            .hint("Periods are written YYYY or YYYYMM, days YYYYMMDD.")
    })?;
    Ok(Written::Value(match kind {
        KeyKind::Timestamp | KeyKind::Zoned => last_day.format("%Y-%m-%d 23:59:59.999999").to_string(),
        KeyKind::Date => last_day.format("%Y-%m-%d").to_string(),
        _ => last_day.format("%Y%m%d").to_string(),
    }))
}

/// What a remembered point means. Before 0.3.0 bare digits were remembered for timestamptz as well,
/// in whatever time zone the role had: they mean the earliest instant that they may have meant. None for a word, which has
/// lost its meaning.
pub fn remembered(what: &str, point: &str, kind: KeyKind) -> Result<Option<Written>> {
    /// The earliest time zone there is, Pacific/Kiritimati's.
    const EARLIEST: &str = "+14";
    let text = point.trim();
    if is_word(text) {
        return Ok(None);
    }
    Ok(Some(match written(what, text, kind)? {
        Written::Value(value) if kind == KeyKind::Zoned && is_digits(text) => {
            let time = if value == text { " 00:00:00" } else { "" };
            Written::Value(format!("{value}{time}{EARLIEST}"))
        }
        written => written,
    }))
}

/// `value`, as the key's type prints it, in the form in which it is remembered; of timestamptz it is an
/// instant already.
pub fn stored(value: &str, kind: KeyKind) -> String {
    let is_plain = value.len() == 10 && NaiveDate::parse_from_str(value, "%Y-%m-%d").is_ok();
    match kind {
        KeyKind::Date if is_plain => value.replace('-', ""),
        KeyKind::DateDigits => value.trim_end().to_owned(),
        _ => value.to_owned(),
    }
}

/// A moment of another clock, in the forms that keys are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// with time zone, in ISO form
    pub instant: String,
    /// without, in ISO form
    pub local: String,
}

impl Moment {
    /// The moment as a value of a key of this kind; None for a key that is no time.
    pub fn value(&self, kind: KeyKind) -> Result<Option<String>> {
        let day = || {
            let day = self.local.get(..10);
            day.filter(|day| NaiveDate::parse_from_str(day, "%Y-%m-%d").is_ok())
                .ok_or_else(|| Error::new(sqlstate::PROTOCOL_VIOLATION, "a time cannot be read"))
        };
        Ok(match kind {
            KeyKind::Date => Some(day()?.to_owned()),
            KeyKind::DateDigits => Some(day()?.replace('-', "")),
            KeyKind::Timestamp => Some(self.local.clone()),
            KeyKind::Zoned => Some(self.instant.clone()),
            KeyKind::Stamp(Stamp::Iso) => Some(day()?.to_owned()),
            KeyKind::Stamp(Stamp::Digits(count)) => {
                day()?;
                let digits = self.local.chars().filter(char::is_ascii_digit).chain("000000".chars());
                Some(digits.take(count).collect())
            }
            KeyKind::Plain => None,
        })
    }
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

    fn value(text: &str) -> Written {
        Written::Value(text.to_owned())
    }

    #[test]
    fn a_year_or_month_means_its_last_day() {
        let read = |text, kind| written("end_tm", text, kind).expect("an end");
        assert_eq!(read("2017", KeyKind::Date), value("2017-12-31"));
        assert_eq!(read("201602", KeyKind::Date), value("2016-02-29"));
        assert_eq!(read("201702", KeyKind::DateDigits), value("20170228"));
        for kind in [KeyKind::Timestamp, KeyKind::Zoned] {
            assert_eq!(read("201702", kind), value("2017-02-28 23:59:59.999999"));
        }
    }

    #[test]
    fn everything_else_is_left_to_the_type() {
        assert_eq!(written("end_tm", " 20170201 ", KeyKind::Date), Ok(value("20170201")));
        assert_eq!(written("end_tm", "2017", KeyKind::Plain), Ok(value("2017")));
        assert_eq!(written("end_tm", "infinity", KeyKind::Date), Ok(value("infinity")));
        assert_eq!(
            written("end_tm", "20170231", KeyKind::DateDigits),
            Ok(value("20170231"))
        );
    }

    #[test]
    fn words_are_days_where_the_key_is_one_and_refused_elsewhere() {
        let day = |text: &str| Ok(Written::Day(text.to_owned()));
        assert_eq!(written("end_tm", "yesterday", KeyKind::DateDigits), day("yesterday"));
        assert_eq!(written("end_tm", "2017-02-01", KeyKind::DateDigits), day("2017-02-01"));
        assert_eq!(
            written("end_tm", "20170203.50", KeyKind::DateDigits),
            Ok(value("20170203.50"))
        );
        assert_eq!(written("end_tm", "Today", KeyKind::Date), Ok(value("Today")));
        let error = written("end_tm", " Tomorrow", KeyKind::Plain).expect_err("no day");
        assert_eq!(error.sqlstate, "22023");
    }

    #[test]
    fn a_thirteenth_month_is_an_error() {
        for text in ["201713", "201700", "0000"] {
            assert!(written("end_tm", text, KeyKind::Date).is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_integer_keys_are_dates_only_when_every_bound_is_or_stands_for_an_open_end() {
        assert_eq!(KeyKind::of("int4", ["20170101", "20170201"]), KeyKind::DateDigits);
        assert_eq!(KeyKind::of("int4", ["0", "20170101", "99999999"]), KeyKind::DateDigits);
        assert_eq!(KeyKind::of("bpchar", ["20170101  "]), KeyKind::DateDigits);
        assert_eq!(
            KeyKind::of("text", ["", "20170101", "99999999", "zzzz"]),
            KeyKind::DateDigits
        );
        for last in ["20170132", "20170231", "20179999", "20180000"] {
            assert_eq!(KeyKind::of("int4", ["20170101", last]), KeyKind::DateDigits, "{last}");
            assert_eq!(KeyKind::of("text", ["20170101", last]), KeyKind::DateDigits, "{last}");
        }
        assert_eq!(KeyKind::of("text", ["20170101", "20999901"]), KeyKind::Plain);
        assert_eq!(
            KeyKind::of("int4", ["20170101", "20170199", "20170299"]),
            KeyKind::Plain
        );
        assert_eq!(
            KeyKind::of("int4", ["10000000", "20000000", "30000000"]),
            KeyKind::Plain
        );
        assert_eq!(KeyKind::of("int4", ["0", "99999999"]), KeyKind::Plain);
        assert_eq!(KeyKind::of("text", []), KeyKind::Plain);
        for name in ["numeric", "name", "citext"] {
            assert_eq!(KeyKind::of(name, ["20170101"]), KeyKind::DateDigits, "{name}");
        }
        assert_eq!(KeyKind::of("float8", ["20170101"]), KeyKind::Plain);
    }

    #[test]
    fn other_forms_of_times_are_told_by_their_bounds_too() {
        let of = |name, bounds: &[&str]| KeyKind::of(name, bounds.iter().copied());
        assert_eq!(of("text", &["2017-01-01", "2017-02-01"]), KeyKind::Stamp(Stamp::Iso));
        assert_eq!(of("text", &["", "2017-01-01", "zzz"]), KeyKind::Stamp(Stamp::Iso));
        assert_eq!(
            of("int4", &["0", "201701", "201702", "999999"]),
            KeyKind::Stamp(Stamp::Digits(6))
        );
        assert_eq!(
            of("int8", &["2017010100", "2017010123"]),
            KeyKind::Stamp(Stamp::Digits(10))
        );
        assert_eq!(
            of("int8", &["20170101000000", "20170101235959"]),
            KeyKind::Stamp(Stamp::Digits(14))
        );
        for (name, bounds) in [
            ("text", ["2017-01-01", "2017-02-30"]),
            ("text", ["2017-01-01", "201702"]),
            ("int4", ["201701", "201713"]),
            ("int4", ["100000", "200000"]),
            ("int4", ["1", "200001"]),
            ("int4", ["100001", "200001"]),
            ("int8", ["1483228800", "1485907200"]),
            ("int8", ["2017010124", "2017010200"]),
            ("int8", ["201701010060", "201701010100"]),
        ] {
            assert_eq!(of(name, &bounds), KeyKind::Plain, "{bounds:?}");
        }
        let kind = KeyKind::Stamp(Stamp::Digits(6));
        assert_eq!(written("end_tm", "2017", kind), Ok(value("2017")));
        assert!(written("end_tm", "today", kind).is_err());
    }

    #[test]
    fn digits_of_old_mean_the_earliest_instant_and_words_nothing() {
        let read = |text, kind| remembered("the point", text, kind).expect("a point");
        assert_eq!(read("20170301", KeyKind::Zoned), Some(value("20170301 00:00:00+14")));
        assert_eq!(
            read("201702", KeyKind::Zoned),
            Some(value("2017-02-28 23:59:59.999999+14"))
        );
        let instant = "2017-03-01 00:00:00+00";
        assert_eq!(read(instant, KeyKind::Zoned), Some(value(instant)));
        assert_eq!(read(" 20170301", KeyKind::Date), Some(value("20170301")));
        assert_eq!(read("2017", KeyKind::DateDigits), Some(value("20171231")));
        assert_eq!(read("yesterday", KeyKind::DateDigits), None);
    }

    #[test]
    fn days_are_remembered_as_digits_and_others_as_they_print() {
        assert_eq!(stored("2017-02-01", KeyKind::Date), "20170201");
        assert_eq!(stored("0044-03-15 BC", KeyKind::Date), "0044-03-15 BC");
        assert_eq!(stored("infinity", KeyKind::Date), "infinity");
        assert_eq!(stored("20170201  ", KeyKind::DateDigits), "20170201");
        assert_eq!(stored("2017-02-01 00:00:00", KeyKind::Timestamp), "2017-02-01 00:00:00");
    }

    #[test]
    fn a_moment_is_a_value_of_every_key_that_is_a_time() {
        let moment = Moment {
            instant: "2017-03-01 01:30:00+02".to_owned(),
            local: "2017-02-28 23:30:00".to_owned(),
        };
        let value = |kind| moment.value(kind).expect("a value");
        assert_eq!(value(KeyKind::Date).as_deref(), Some("2017-02-28"));
        assert_eq!(value(KeyKind::DateDigits).as_deref(), Some("20170228"));
        assert_eq!(value(KeyKind::Timestamp).as_deref(), Some("2017-02-28 23:30:00"));
        assert_eq!(value(KeyKind::Zoned).as_deref(), Some("2017-03-01 01:30:00+02"));
        assert_eq!(value(KeyKind::Stamp(Stamp::Iso)).as_deref(), Some("2017-02-28"));
        assert_eq!(value(KeyKind::Stamp(Stamp::Digits(6))).as_deref(), Some("201702"));
        assert_eq!(
            value(KeyKind::Stamp(Stamp::Digits(12))).as_deref(),
            Some("201702282330")
        );
        assert_eq!(value(KeyKind::Plain), None);
    }
}
