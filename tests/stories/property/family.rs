//! Kinds of RANGE keys: the same grid of values, as several types write them.

use super::look::ask;
use crate::support::dice::Dice;
use postgres::Client;

/// Values that may be bounds.
pub const CUTS: usize = 7;
/// Values that keys of rows may have: each bound, the value right after it, and the one right before
/// the next bound.
pub const POINTS: usize = 3 * CUTS;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    Day,
    Moment,
    Zoned,
    Number,
    Word,
    Digits,
    DigitsNumber,
    /// bounds within a day
    Hour,
    /// days, digits, instants and moments around the present
    NearDay,
    NearDigits,
    NearHour,
    NearMoment,
    /// values that the smaller modifier here rounds up to the next bound
    RoundMoment,
    RoundNumber,
    /// days here, some of which have an hour on the source
    RoundDay,
    /// an enum whose labels have another order on the source
    Label,
    /// words that collations sort differently
    Mixed,
}

/// Words in mixed case, with punctuation and digits.
const WORDS: [&str; 24] = [
    "alpha", "Alpine", "ALTO", "beta-1", "Beta 2", "_beta", "co-op", "coop", "Coop", "delta", "Delta", "de luxe", "10",
    "9", "écru", "Eddy", "echo", "zeta", "Zoo", "zoo-2", "Ärger", "ask", "Zz", "mid",
];

impl Family {
    const ALL: [Family; 22] = [
        Family::Day,
        Family::Moment,
        Family::Zoned,
        Family::Number,
        Family::Word,
        Family::Digits,
        Family::DigitsNumber,
        Family::Day,
        Family::Number,
        Family::Digits,
        Family::Hour,
        Family::Hour,
        Family::NearDay,
        Family::NearDigits,
        Family::NearHour,
        Family::NearHour,
        Family::NearMoment,
        Family::RoundMoment,
        Family::RoundNumber,
        Family::RoundDay,
        Family::Label,
        Family::Mixed,
    ];

    /// One that servers with or without ICU have.
    pub fn random(dice: &mut Dice, has_icu: bool) -> Family {
        match dice.pick(&Family::ALL) {
            Family::Mixed if !has_icu => Family::Word,
            family => family,
        }
    }

    /// Types that hold its values, on the source and here; `@` stands for the case's schema.
    pub fn types(self, dice: &mut Dice, has_icu: bool) -> [&'static str; 2] {
        let any: &[&'static str] = match self {
            Family::Day => &["date", "date", "timestamp", "@.a_day"],
            Family::NearDay => &["date"],
            Family::Moment | Family::NearMoment => &["timestamp"],
            Family::Zoned | Family::Hour | Family::NearHour => &["timestamptz"],
            Family::Number => &["int", "int", "bigint", "smallint", "numeric", "@.a_number"],
            Family::Word => &["text", "text", "varchar(20)", "@.a_word"],
            Family::Digits if has_icu => &[
                "text",
                "varchar(8)",
                "text COLLATE @.words",
                "text COLLATE \"C\"",
                "varchar(8) COLLATE @.words",
            ],
            Family::Digits | Family::NearDigits => &["text", "varchar(8)"],
            Family::DigitsNumber => &["int", "bigint"],
            Family::RoundMoment => {
                return [
                    "timestamp",
                    dice.pick(&["timestamp(0)", "timestamp(3)", "timestamp(0)"]),
                ];
            }
            Family::RoundNumber => return [dice.pick(&["numeric", "numeric(12,2)"]), "numeric(10,0)"],
            Family::RoundDay => return ["timestamp", "date"],
            Family::Label => &["@.a_rank"],
            Family::Mixed => &["text COLLATE @.words", "text COLLATE @.words", "text"],
        };
        let here = dice.pick(any);
        match dice.below(3) {
            0 => [here; 2],
            _ => [dice.pick(any), here],
        }
    }

    /// Its values are times: what is remembered is never later than the source's present.
    pub fn is_time(self) -> bool {
        !matches!(
            self,
            Family::Number | Family::Word | Family::RoundNumber | Family::Label | Family::Mixed
        )
    }

    /// Its values are dates in digits.
    pub fn is_digits(self) -> bool {
        matches!(self, Family::Digits | Family::DigitsNumber | Family::NearDigits)
    }

    /// Its values are around the present.
    pub fn is_near(self) -> bool {
        matches!(
            self,
            Family::NearDay | Family::NearDigits | Family::NearHour | Family::NearMoment
        )
    }

    /// The grid: values for the input function of each of the types, in the order of the target's.
    /// `here` is a session of the target, `key` the key's type there.
    pub fn grid(self, here: &mut Client, key: &str, dice: &mut Dice) -> Vec<String> {
        // So many points of the grid lie before the present.
        let past = 8 + dice.below(5);
        let instants = |format: &str| {
            format!(
                "SELECT to_char(b + d, '{format}') FROM (SELECT date_trunc('hour', now() AT TIME ZONE 'UTC') - interval '1 hour' * {past}) p(b0),
                   generate_series(0, {}) c, LATERAL (SELECT b0 + interval '3 hours' * c) q(b),
                   unnest(ARRAY[interval '0', '1 us', interval '3 hours' - interval '1 us']) WITH ORDINALITY u(d, n) ORDER BY c, n",
                CUTS - 1
            )
        };
        let days = |format: &str| {
            format!(
                "SELECT to_char((now() AT TIME ZONE 'UTC')::date - {past} + i, '{format}')
                 FROM generate_series(0, {}) i ORDER BY i",
                POINTS - 1
            )
        };
        let sql = match self {
            Family::NearDay => days("YYYY-MM-DD"),
            Family::NearDigits => days("YYYYMMDD"),
            Family::NearHour => instants("YYYY-MM-DD HH24:MI:SS.US\"+00\""),
            Family::NearMoment => instants("YYYY-MM-DD HH24:MI:SS.US"),
            Family::Mixed => {
                // Some words, so that the bounds differ from case to case.
                let mut words = WORDS.to_vec();
                while words.len() > POINTS {
                    words.swap_remove(dice.below(words.len() as u64) as usize);
                }
                format!(
                    "SELECT w FROM unnest(ARRAY['{}']) w ORDER BY w::{key}",
                    words.join("', '")
                )
            }
            _ => return (0..POINTS).map(|point| self.value(point)).collect(),
        };
        let rows = ask(here, &sql).into_iter();
        rows.map(|mut row| row.remove(0).expect("a value")).collect()
    }

    /// The value at a point, where that depends on nothing else.
    fn value(self, point: usize) -> String {
        let (cut, beside) = (point / 3, point % 3);
        let last = [31, 28, 31, 30, 31, 30, 31][cut];
        let day = [1, 2, last][beside];
        let month = cut + 1;
        match self {
            Family::Moment | Family::Zoned | Family::RoundMoment => {
                let zone = if self == Family::Zoned { "+00" } else { "" };
                match beside {
                    0 => format!("2017-{month:02}-01 06:00:00{zone}"),
                    1 => format!("2017-{month:02}-01 06:00:00.000001{zone}"),
                    _ => format!("2017-{:02}-01 05:59:59.999999{zone}", month + 1),
                }
            }
            Family::Hour => {
                let at = |hours: usize| (if hours < 24 { "2017-02-28" } else { "2017-03-01" }, hours % 24);
                let (date, hour) = at(15 + 3 * cut);
                let (last_date, last_hour) = at(17 + 3 * cut);
                match beside {
                    0 => format!("{date} {hour:02}:00:00+00"),
                    1 => format!("{date} {hour:02}:00:00.000001+00"),
                    _ => format!("{last_date} {last_hour:02}:59:59.999999+00"),
                }
            }
            // Its last value is a day on both sides.
            Family::RoundDay if beside == 1 => format!("2017-{month:02}-01 13:00:00"),
            Family::Number => (10 * cut as i64 - 20 + [0, 1, 9][beside]).to_string(),
            Family::RoundNumber => format!("{}.{}", 10 * cut + [0, 0, 9][beside], [0, 4, 6][beside]),
            Family::Word => format!("k{}", 10 + 10 * cut + [0, 1, 9][beside]),
            Family::Label => format!("r{point}"),
            Family::Digits | Family::DigitsNumber => format!("2017{month:02}{day:02}"),
            _ => format!("2017-{month:02}-{day:02}"),
        }
    }
}
