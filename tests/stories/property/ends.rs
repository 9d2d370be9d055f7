//! What a call may be asked for as end_tm, and which point of the grid that is: the target's server
//! reads it, in the time zone that it gives the role.

use super::case::{Family, POINTS};
use super::look::{self, ask};
use super::world::{TARGET, World};
use postgres::SimpleQueryMessage;

/// How end_tm is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// a value of the grid
    Plain,
    /// an instant without its zone, or a day of the role's zone
    Local,
    /// a year or a month
    Period,
    /// yesterday, today, tomorrow
    Word,
    /// after everything that there is
    Far,
    LeftOut,
}

/// An end.
#[derive(Clone, Debug)]
pub struct End {
    pub how: How,
    /// as the call has it; None: left out
    pub text: Option<String>,
    /// the last point of the grid that is not later
    pub place: usize,
}

impl End {
    /// A point of the grid.
    pub fn plain(world: &mut World, point: usize) -> End {
        let point = unrounded(world, point);
        let text = world.case.value(point).to_owned();
        End {
            how: How::Plain,
            place: place_of(world, &literal(&text)).unwrap_or(point),
            text: Some(text),
        }
    }

    /// An argument, or none.
    pub fn argument(&self) -> String {
        self.text.as_deref().map_or("NULL".to_owned(), literal)
    }
}

fn literal(text: &str) -> String {
    format!("'{text}'")
}

/// A point that is the same value in every type of the family, at `point` or before.
pub fn unrounded(world: &World, point: usize) -> usize {
    match world.rounded.is_empty() {
        true => point,
        false => 3 * (point / 3),
    }
}

/// The last point of the grid that is not later than `value`, an expression; None: all are.
pub fn place_of(world: &mut World, value: &str) -> Option<usize> {
    let (schema, key) = (&world.case.schema, &world.case.keys[TARGET]);
    let sql = format!("SELECT max(idx) FROM {schema}.probes WHERE idx < {POINTS} AND k <= ({value})::{key}");
    one(world, &sql).and_then(|place| place.parse().ok())
}

/// The single value of a query on the target, in the role's zone; None also where that fails.
fn one(world: &mut World, sql: &str) -> Option<String> {
    let messages = world.eyes[TARGET].simple_query(sql).ok()?;
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// Words, periods and ends that are left out are for dates; digits are dates where all bounds are.
fn takes_dates(world: &mut World) -> bool {
    if !world.case.family.is_time() || world.case.keys[TARGET].contains("a_day") {
        return false;
    }
    look::target(world).has_ranges()
}

/// One that is not before the point `from` if it is a plain one.
pub fn random(world: &mut World, from: usize) -> End {
    let is_near = world.case.family.is_near();
    let dates = takes_dates(world);
    let how = match world.dice.below(12) {
        0 | 1 => How::Far,
        2 => How::Period,
        3 | 4 if is_near => How::Word,
        3 => How::Word,
        5 if is_near => How::LeftOut,
        6 | 7 => How::Local,
        _ => How::Plain,
    };
    if dates && let Some(end) = of(world, how, from) {
        return end;
    }
    let point = match world.dice.below(12) {
        0 => world.dice.below(POINTS as u64) as usize,
        _ => (from + world.dice.below(9) as usize).min(POINTS - 1),
    };
    End::plain(world, point)
}

/// One of that kind, if the key takes it.
pub fn of(world: &mut World, how: How, from: usize) -> Option<End> {
    let family = world.case.family;
    let is_date = world.case.keys[TARGET] == "date";
    let today =
        |world: &mut World, format: &str| one(world, &format!("SELECT to_char(now(), '{format}')")).expect("a date");
    let as_key = |date: &str| match family.is_digits() {
        true => format!("to_char(({date})::date, 'YYYYMMDD')"),
        false => date.to_owned(),
    };
    let (text, value) = match how {
        How::Plain => return None,
        How::Local => {
            let point = (from + world.dice.below(6) as usize).min(POINTS - 1);
            let text = local(world, point)?;
            (Some(text.clone()), literal(&text))
        }
        How::Period => {
            let format = world.dice.pick(&["YYYY", "YYYYMM"]);
            let month = 1 + world.dice.below(7);
            let text = match (family.is_near(), format) {
                (true, format) => today(world, format),
                (false, "YYYY") => "2017".to_owned(),
                _ => format!("2017{month:02}"),
            };
            let value = end_of(&text, is_date, family);
            (Some(text), value)
        }
        How::Word => {
            let text = world.dice.pick(&["yesterday", "today", "tomorrow"]);
            (Some(text.to_owned()), as_key(&literal(text)))
        }
        How::Far => {
            let text = match family.is_digits() {
                true => world.dice.pick(&["99991231", "2099", "20991231"]),
                false => world.dice.pick(&["infinity", "99991231", "2099", "20991231"]),
            };
            let value = match text.len() {
                4 => end_of(text, is_date, family),
                _ => literal(text),
            };
            (Some(text.to_owned()), value)
        }
        How::LeftOut => {
            let date = literal(&today(world, "YYYYMMDD"));
            (None, date)
        }
    };
    let place = place_of(world, &value)?;
    Some(End { how, text, place })
}

/// A point of the grid, in the role's zone and without saying so, or its day.
fn local(world: &mut World, point: usize) -> Option<String> {
    let key = world.case.keys[TARGET].clone();
    if key != "timestamptz" {
        return None;
    }
    let format = world
        .dice
        .pick(&["YYYYMMDD", "YYYYMMDD", "YYYY-MM-DD HH24:MI:SS.US", "YYYYMMDD HH24MISS"]);
    let sql = format!("SELECT to_char('{}'::timestamptz, '{format}')", world.case.value(point));
    one(world, &sql)
}

/// The last value of a year or a month, as an expression.
fn end_of(period: &str, is_date: bool, family: Family) -> String {
    let (first, length) = match period.len() {
        4 => (format!("{period}0101"), "1 year"),
        _ => (format!("{period}01"), "1 month"),
    };
    let next = format!("(timestamp '{first}' + interval '{length}'");
    match (family.is_digits(), is_date) {
        (true, _) => format!("to_char({next} - interval '1 day'), 'YYYYMMDD')"),
        (_, true) => format!("{next} - interval '1 day')::date"),
        _ => format!("{next} - interval '1 us')"),
    }
}

/// The last point of the grid that is not later than the source's present: in the earlier of both
/// zones, for keys without one. None: the key is no time, or all of the grid is later.
pub fn present(world: &mut World) -> Option<usize> {
    let is_digits = world.case.family.is_digits();
    if !world.case.family.is_time() || !world.has_range() || is_digits && !takes_dates(world) {
        return None;
    }
    let now = ask(&mut world.source, "SELECT now()::timestamptz AT TIME ZONE 'UTC'")
        .remove(0)
        .remove(0);
    let now = format!("'{}+00'::timestamptz", now.expect("a time"));
    if world.case.keys[TARGET] == "timestamptz" {
        return place_of(world, &now);
    }
    let zones = world.zones.map(|zone| format!("{now} AT TIME ZONE '{zone}'"));
    let local = format!("least({}, {})", zones[0], zones[1]);
    let value = match world.case.family.is_digits() {
        true => format!("to_char({local}, 'YYYYMMDD')"),
        false => local,
    };
    place_of(world, &value)
}

/// What is wrong with the form of a stored point, where it should be the `place` of the grid.
pub fn misstored(world: &mut World, stored: &str, place: usize) -> Option<String> {
    let (family, key) = (world.case.family, world.case.keys[TARGET].clone());
    let digits = |count: usize| stored.len() == count && stored.bytes().all(|b| b.is_ascii_digit());
    let is_formed = match key.as_str() {
        "date" => digits(8),
        "timestamptz" => stored.ends_with("+00") && stored.len() >= 22 && stored.as_bytes()[10] == b' ',
        _ if family.is_digits() => digits(8),
        // A domain's date may be either.
        _ if key.ends_with("a_day") => true,
        _ => {
            let base = key.split('(').next().unwrap_or(&key);
            let sql = format!("SELECT ({})::{base}::text", literal(stored));
            one(world, &sql).as_deref() == Some(stored)
        }
    };
    if !is_formed {
        return Some(format!("{stored:?} is no form of a point of {key}"));
    }
    let got = place_of(world, &literal(stored));
    (got != Some(place)).then(|| format!("{stored:?} is at {got:?} of the grid, and not at {place}"))
}
