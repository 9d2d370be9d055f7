//! The column m, whose types differ between the sides. What a value is here, is what the source's
//! text of it is as this side's type: PostgreSQL's own answer.

use super::look::ask;
use super::world::World;
use crate::support::dice::Dice;
use std::collections::BTreeMap;

/// What the copy may do to values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// nothing
    None,
    /// it changes some
    Some,
    /// the same, within a composite or a domain
    Inside,
    /// it would mix up attributes: an error
    Refused,
}

/// Types of m on the source and here, with values that it may have.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub types: [&'static str; 2],
    pub change: Change,
    values: &'static [&'static str],
    /// what makes the types; `@` stands for the case's schema
    pub setup: [&'static str; 2],
}

const fn plain(there: &'static str, here: &'static str, change: Change, values: &'static [&'static str]) -> Column {
    Column {
        types: [there, here],
        change,
        values,
        setup: [""; 2],
    }
}

const fn made(name: &'static str, setup: [&'static str; 2], change: Change, values: &'static [&'static str]) -> Column {
    Column {
        types: [name; 2],
        change,
        values,
        setup,
    }
}

const SUMS: &[&str] = &["1.234567", "0.120000", "7", "-3.5", "NaN"];
const LISTS: &[&str] = &["{1.234567,2}", "{0.12}", "{}", "{NULL,3.001}"];
const TIMES: &[&str] = &["2017-01-05 10:00:00.654321", "2017-01-05 10:00:00", "infinity"];
const PAIRS: &[&str] = &["(1,2)", "(3,)", "(5,5)"];
const MOODS: [&str; 3] = [
    "CREATE TYPE @.a_mood AS ENUM ('sad', 'ok', 'glad')",
    "CREATE TYPE @.a_mood AS ENUM ('sad', 'so so', 'ok', 'glad')",
    "CREATE TYPE @.a_mood AS ENUM ('glad', 'sad', 'ok')",
];

const SAME: &[Column] = &[
    plain("int", "int", Change::None, &["1", "-5", "0"]),
    plain("text", "text", Change::None, &["", "N", "x", "NaN"]),
    plain("numeric(10,2)", "numeric(10,2)", Change::None, &["1.50", "0.00", "NaN"]),
    plain("float8[]", "float8[]", Change::None, &["{1.5,NaN}", "{}", "{-0}"]),
    made("@.a_mood", [MOODS[0], MOODS[0]], Change::None, &["sad", "ok", "glad"]),
    made(
        "@.a_pair",
        ["CREATE TYPE @.a_pair AS (a int, b int)"; 2],
        Change::None,
        PAIRS,
    ),
];

const WIDER: &[Column] = &[
    plain("int", "bigint", Change::None, &["1", "-5", "2147483647"]),
    plain(
        "numeric(10,2)",
        "numeric(18,6)",
        Change::None,
        &["1.50", "-0.01", "NaN"],
    ),
    plain("varchar(8)", "varchar(20)", Change::None, &["", "N", "eight888"]),
    made("@.a_mood", [MOODS[0], MOODS[1]], Change::None, &["sad", "ok", "glad"]),
    made("@.a_mood", [MOODS[0], MOODS[2]], Change::None, &["sad", "ok", "glad"]),
];

const SMALLER: &[Column] = &[
    plain("numeric(18,6)", "numeric(18,2)", Change::Some, SUMS),
    plain("timestamp(6)", "timestamp(0)", Change::Some, TIMES),
    plain(
        "timestamptz",
        "timestamp",
        Change::Some,
        &["2017-01-05 10:00:00+00", "2017-06-05 12:30:00.5+00"],
    ),
    plain("text", "int", Change::Some, &["007", "7", "-1", "+5", " 8"]),
    plain("float8", "float4", Change::Some, &["0.5", "1.23456789012345", "NaN"]),
    plain("numeric(18,6)[]", "numeric(18,2)[]", Change::Some, LISTS),
    plain("time(6)", "time(0)", Change::Some, &["10:00:00.654321", "10:00:00"]),
    plain(
        "interval(6)",
        "interval(0)",
        Change::Some,
        &["1.654321 s", "2 s", "1 mon"],
    ),
];

const INSIDE: &[Column] = &[
    made(
        "@.a_sum",
        [
            "CREATE DOMAIN @.a_sum AS numeric(18,6)",
            "CREATE DOMAIN @.a_sum AS numeric(18,2)",
        ],
        Change::Inside,
        SUMS,
    ),
    made(
        "@.a_pair",
        [
            "CREATE TYPE @.a_pair AS (a numeric(18,6), b int)",
            "CREATE TYPE @.a_pair AS (a numeric(18,2), b int)",
        ],
        Change::Inside,
        &["(1.234567,2)", "(0.120000,)", "(7,7)"],
    ),
];

const REFUSED: &[Column] = &[made(
    "@.a_pair",
    [
        "CREATE TYPE @.a_pair AS (a int, b int)",
        "CREATE TYPE @.a_pair AS (b int, a int)",
    ],
    Change::Refused,
    PAIRS,
)];

impl Column {
    pub fn random(dice: &mut Dice) -> Column {
        match dice.below(16) {
            0..=4 => dice.pick(SAME),
            5..=7 => dice.pick(WIDER),
            8..=12 => dice.pick(SMALLER),
            13 | 14 => dice.pick(INSIDE),
            _ if dice.below(2) == 0 => dice.pick(REFUSED),
            _ => dice.pick(INSIDE),
        }
    }

    /// A value as a literal, or NULL.
    pub fn value(&self, dice: &mut Dice) -> String {
        match dice.below(8) {
            0 => "NULL".to_owned(),
            _ => format!("'{}'", dice.pick(self.values)),
        }
    }

    /// Names of kinds of violations.
    pub fn kinds(&self) -> Kinds {
        match self.change {
            Change::None | Change::Some => Kinds {
                value: "B1 a value is not what its text means here",
                unnamed: "B1 values changed without a word",
                agrees: "B1 verify agrees with values that were changed",
            },
            _ => Kinds {
                value: "B2 a value of a type of users is not what its text means here",
                unnamed: "B2 values within a type of users changed without a word",
                agrees: "B2 verify agrees with values that were changed within a type of users",
            },
        }
    }

    /// True where values may be other ones here.
    pub fn may_change(&self) -> bool {
        matches!(self.change, Change::Some | Change::Inside)
    }
}

/// What violations by the column are called.
pub struct Kinds {
    pub value: &'static str,
    pub unnamed: &'static str,
    pub agrees: &'static str,
}

/// What became of a value of the source.
#[derive(Clone, Debug)]
pub struct Converted {
    /// here
    pub here: Option<String>,
    /// back there it is the same again
    pub is_exact: bool,
}

/// The values here of some that the source has printed. Both sessions have the role's time zone.
pub fn convert(world: &mut World, printed: impl Iterator<Item = String>) -> BTreeMap<String, Converted> {
    let types = world.case.column.types.map(|t| t.replace('@', &world.case.schema));
    let [there, here] = &mut world.eyes;
    let mut printed: Vec<String> = printed.collect();
    printed.sort();
    printed.dedup();
    let literal = |text: &String| format!("'{}'", text.replace('\'', "''"));
    let mut all = BTreeMap::new();
    for text in printed {
        let mut value = ask(here, &format!("SELECT {}::{}::text", literal(&text), types[1]));
        let value = value.remove(0).remove(0);
        let back = match &value {
            Some(value) => {
                let mut back = ask(there, &format!("SELECT {}::{}::text", literal(value), types[0]));
                back.remove(0).remove(0)
            }
            None => None,
        };
        let converted = Converted {
            is_exact: back.as_deref() == Some(&text),
            here: value,
        };
        all.insert(text, converted);
    }
    all
}
