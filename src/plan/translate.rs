//! The source's partitioning in the target's terms. Bounds are compared as values of the target's key,
//! so each bound of the source is turned into one first, where both types mean the same by it. From
//! here on a level of the source is either comparable (it has the target's key columns and values) or
//! not plain, and then its partitions say nothing.

use super::bound::{Bound, End};
use super::key::KeyColumn;
use super::tree::{Level, Node, Strategy};
use super::types::FIRST_NORMAL_OID;
use super::types::rounds;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How a value of the source's key becomes one of the target's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Conversion {
    /// its text is the same
    Same,
    /// the target's type reads its text
    Read,
    /// its text is read as this type, quoted and qualified, and cast
    Cast(String),
    /// the same by the rules of a time zone: around a change of its clocks, values come in another order
    Zoned(String),
}

/// pg_type.oid of built-in types, which are the same everywhere.
mod oid {
    pub const NUMBERS: &[u32] = &[21, 23, 20, 1700]; // int2, int4, int8, numeric
    pub const TIMES: &[u32] = &[1082, 1114, ZONED]; // date, timestamp, timestamptz
    pub const ZONED: u32 = 1184;
    pub const VARYING: &[u32] = &[25, 1043]; // text, varchar
    pub const STRINGS: &[u32] = &[25, 1043, 1042, 19]; // and bpchar, name, which cut or pad

    /// What this server calls a number or a time. The source's word for it would be SQL here.
    pub fn called(oid: u32) -> &'static str {
        match oid {
            21 => "pg_catalog.int2",
            23 => "pg_catalog.int4",
            20 => "pg_catalog.int8",
            1082 => "pg_catalog.date",
            1114 => "pg_catalog.timestamp",
            ZONED => "pg_catalog.timestamptz",
            _ => "pg_catalog.numeric",
        }
    }
}

/// Types whose hash does not depend on the encoding of the database: they have no characters.
const WITHOUT_CHARACTERS: &[u32] = &[
    16, 17, 20, 21, 23, 26, 700, 701, 829, 650, 869, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950,
];

/// How bounds on `there`, a key of the source, are values of `here`. None where partitions with equal bounds may hold other rows: the types
/// mean different things, or order their values differently, or values that are copied become others. `same_bytes`: both databases have the
/// same bytes for the same characters.
pub fn conversion(here: &KeyColumn, there: &KeyColumn, strategy: Strategy, same_bytes: bool) -> Option<Conversion> {
    let both = |types: &[u32]| types.contains(&here.type_oid) && types.contains(&there.type_oid);
    let is_built_in = here.type_oid < FIRST_NORMAL_OID;
    let by_order = strategy != Strategy::List;
    let is_one_type = is_built_in && here.type_oid == there.type_oid;
    if !is_known_alike(here, there, strategy, same_bytes) {
        return None;
    }
    if is_one_type {
        return (strategy == Strategy::Range || !is_rounded(here, there)).then_some(Conversion::Same);
    }
    if both(oid::VARYING) {
        return Some(Conversion::Read);
    }
    if strategy == Strategy::Hash {
        return None;
    }
    if both(oid::NUMBERS) {
        let keeps = strategy == Strategy::Range || !is_rounded(here, there);
        return keeps.then(|| Conversion::Cast(oid::called(there.type_oid).to_owned()));
    }
    if both(oid::TIMES) {
        // A day takes all its hours, which are values of their own over there.
        let position = |oid: u32| oid::TIMES.iter().position(|t| *t == oid);
        let loses = position(there.type_oid) > position(here.type_oid) || is_rounded(here, there);
        let is_zoned =
            (here.type_oid == oid::ZONED) != (there.type_oid == oid::ZONED) && there.type_oid != oid::TIMES[0];
        let cast = if is_zoned { Conversion::Zoned } else { Conversion::Cast };
        return (by_order || !loses).then(|| cast(oid::called(there.type_oid).to_owned()));
    }
    let (ours, theirs) = (!here.labels.is_empty(), !there.labels.is_empty());
    if ours && theirs {
        let is_alike = !by_order || order_alike(&here.labels, &there.labels);
        return is_alike.then_some(Conversion::Read);
    }
    let is_string = |column: &KeyColumn| oid::STRINGS.contains(&column.type_oid);
    let by_text = (oid::VARYING.contains(&here.type_oid) && is_string(there))
        || (ours && is_string(there))
        || (theirs && is_string(here))
        || (!is_built_in && there.type_oid >= FIRST_NORMAL_OID && here.type_name == there.type_name);
    (by_text && !by_order).then_some(Conversion::Read)
}

/// Values of the source's key are instants, of which only the day arrives here.
fn is_cut(here: &KeyColumn, there: &KeyColumn) -> bool {
    here.type_oid == oid::TIMES[0] && oid::TIMES[1..].contains(&there.type_oid)
}

/// Values of the source's key become others here, which may belong to the next partition. What is cut does not leave its own, if bounds on it
/// have no further column.
fn is_rounded(here: &KeyColumn, there: &KeyColumn) -> bool {
    here.collation.is_none() && rounds((here.type_oid, here.modifier), (there.type_oid, there.modifier))
}

/// Characters are compared alike: for a list equal or not, for a range in one order, for a hash by the same bytes.
fn is_known_alike(here: &KeyColumn, there: &KeyColumn, strategy: Strategy, same_bytes: bool) -> bool {
    let are_deterministic = here.is_deterministic() && there.is_deterministic();
    match strategy {
        Strategy::List => are_deterministic || here.sorts_as(there),
        Strategy::Range => here.by_digits || here.sorts_as(there),
        Strategy::Hash => are_deterministic && (same_bytes || WITHOUT_CHARACTERS.contains(&here.type_oid)),
    }
}

/// The labels that two enums share come in the same order.
fn order_alike(here: &[String], there: &[String]) -> bool {
    let here = here.iter().filter(|label| there.contains(label));
    let there_only: Vec<&String> = there
        .iter()
        .filter(|label| here.clone().any(|own| own == *label))
        .collect();
    here.eq(there_only)
}

/// The target's columns that a bound of the source may be about.
#[derive(Debug, Default)]
pub struct Keys {
    columns: HashMap<String, Vec<KeyColumn>>,
    /// both databases have the same bytes for the same characters
    same_bytes: bool,
}

impl Keys {
    /// Those that `root`, the target's tree, is partitioned by.
    pub fn of<T>(root: &Node<T>, same_bytes: bool) -> Keys {
        let mut keys = Keys {
            same_bytes,
            ..Keys::default()
        };
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if let Some(level) = &node.level {
                for column in level.columns.iter().filter(|_| level.plain) {
                    keys.insert(column.clone());
                }
                stack.extend(&level.children);
            }
        }
        keys
    }

    /// Adds one.
    pub fn insert(&mut self, column: KeyColumn) {
        let known = self.columns.entry(column.name_there()).or_default();
        if !known.contains(&column) {
            known.push(column);
        }
    }

    /// Columns that `root`, the source's tree, is partitioned by and the target is not.
    pub fn lacking<T>(&self, root: &Node<T>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if let Some(level) = &node.level {
                for column in level.columns.iter().filter(|column| !column.expression) {
                    if !self.columns.contains_key(&column.name_there()) {
                        names.insert(column.name.clone());
                    }
                }
                stack.extend(&level.children);
            }
        }
        names
    }

    fn find(&self, there: &KeyColumn, strategy: Strategy) -> Option<(&KeyColumn, Conversion)> {
        let known = self.columns.get(&there.name_there())?;
        known
            .iter()
            .find_map(|here| Some((here, conversion(here, there, strategy, self.same_bytes)?)))
    }

    /// The target's columns for a level of the source, and how its values become theirs.
    fn of_level<T>(&self, level: &Level<T>) -> Option<Vec<(&KeyColumn, Conversion)>> {
        let columns = level.columns.iter().map(|column| self.find(column, level.strategy));
        columns
            .collect::<Option<Vec<_>>>()
            .filter(|columns| level.plain && !columns.is_empty())
    }

    /// The values of the source that the target's types have to read, by type and conversion.
    pub fn values<T>(&self, root: &Node<T>) -> BTreeMap<(String, Conversion), BTreeSet<String>> {
        let mut wanted: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            let Some(level) = &node.level else { continue };
            stack.extend(&level.children);
            let Some(columns) = self.of_level(level) else { continue };
            let mut add = |(here, conversion): &(&KeyColumn, Conversion), value: &String| {
                if *conversion != Conversion::Same {
                    let entry = wanted.entry((here.type_sql.clone(), conversion.clone()));
                    entry.or_default().insert(value.clone());
                }
            };
            for child in &level.children {
                match &child.bound {
                    Some(Bound::Range(from, to)) => {
                        for (end, column) in from.iter().zip(&columns).chain(to.iter().zip(&columns)) {
                            if let End::Value(value) = end {
                                add(column, value);
                            }
                        }
                    }
                    Some(Bound::List(values)) => {
                        values.iter().flatten().for_each(|value| add(&columns[0], value));
                    }
                    _ => {}
                }
            }
        }
        wanted
    }
}

/// What the target makes of a value of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// the text of its own type
    pub text: String,
    /// clocks change so shortly before or after it that values beside it come to lie on its other side
    pub is_near_change: bool,
}

/// What the target makes of values of the source, by type, conversion and text. None where the type cannot read it, or changes it.
pub type Converted = HashMap<(String, Conversion, String), Option<Translated>>;

/// How values of a level come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// each on its side of every bound
    InPlace,
    /// some beside their partition
    Beside,
}

/// Puts the source's tree into the target's terms. Gives the values of LIST partitions that the
/// target's type does not have, by ordering: they stay as they are.
pub fn translate<T>(root: &mut Node<T>, keys: &Keys, converted: &Converted) -> BTreeSet<(String, String)> {
    let mut unreadable = BTreeSet::new();
    translate_node(root, keys, converted, &mut unreadable);
    unreadable
}

fn translate_node<T>(
    node: &mut Node<T>,
    keys: &Keys,
    converted: &Converted,
    unreadable: &mut BTreeSet<(String, String)>,
) {
    let Some(level) = &mut node.level else { return };
    match keys.of_level(level) {
        Some(columns) => {
            let known = translate_level(level, &columns, converted, unreadable);
            let last = columns.len() - 1;
            // Rows of one day that the next column tells apart are rows of many instants over there.
            let differs = |(at, (there, (here, _))): (usize, (&KeyColumn, &(&KeyColumn, Conversion)))| {
                is_rounded(here, there) || at < last && is_cut(here, there) || known == Some(Arrival::Beside)
            };
            let rounded: Vec<bool> = level.columns.iter().zip(&columns).enumerate().map(differs).collect();
            let columns = columns
                .into_iter()
                .zip(rounded)
                .map(|((here, _), is_rounded)| KeyColumn {
                    is_rounded,
                    ..here.clone()
                });
            level.columns = columns.collect();
            if known.is_none() {
                level.plain = false;
                level.columns.clear();
            }
        }
        // A hash that is not the target's still tells that its partitions are all there.
        None if level.strategy == Strategy::Hash && level.plain => {}
        None => {
            level.plain = false;
            level.columns.clear();
        }
    }
    for child in &mut level.children {
        translate_node(child, keys, converted, unreadable);
    }
}

/// Replaces the values of a level's bounds. None when an end of a range has no equal in the target's
/// type: nothing can then be said of its order.
fn translate_level<T>(
    level: &mut Level<T>,
    columns: &[(&KeyColumn, Conversion)],
    converted: &Converted,
    unreadable: &mut BTreeSet<(String, String)>,
) -> Option<Arrival> {
    let mut arrival = Arrival::InPlace;
    let mut find = |(here, conversion): &(&KeyColumn, Conversion), value: &str| match conversion {
        Conversion::Same => Some(value.to_owned()),
        conversion => {
            let key = (here.type_sql.clone(), conversion.clone(), value.to_owned());
            let read = converted.get(&key)?.as_ref()?;
            if read.is_near_change {
                arrival = Arrival::Beside;
            }
            Some(read.text.clone())
        }
    };
    let mut is_known = true;
    for child in &mut level.children {
        match &mut child.bound {
            Some(Bound::Range(from, to)) => {
                let ends = from.iter_mut().zip(columns).chain(to.iter_mut().zip(columns));
                for (end, column) in ends {
                    if let End::Value(value) = end {
                        match find(column, value) {
                            Some(read) => *value = read,
                            None => is_known = false,
                        }
                    }
                }
            }
            Some(Bound::List(values)) => {
                for value in values.iter_mut().flatten() {
                    match find(&columns[0], value) {
                        Some(read) => *value = read,
                        None => {
                            unreadable.insert((columns[0].0.ordering.clone(), value.clone()));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    is_known.then_some(arrival)
}

#[cfg(test)]
mod tests;
