//! How the source is asked for the rows of a partition here: by a condition that both servers read
//! alike, or by naming its values one by one. Names of types and collations prove nothing about that.

use super::bound::{Bound, End};
use super::collation::Collation;
use super::columns::Column;
use super::copy_sql::quote_ident;
use super::key::{KeyColumn, Reading};
use super::tree::{Level, Node, Strategy};
use super::types::{Type, modifier_holds, numeric_scale, rounds};
use std::collections::{BTreeMap, BTreeSet};

/// What a column of the source is read as for `here`, a key of the target. `ordered`: its order matters, not only which values are
/// equal. `version` is the source's.
pub fn reading(here: &KeyColumn, there: Option<&Column>, ordered: bool, version: u32) -> Reading {
    let Some(there) = there.filter(|_| !here.expression) else {
        return Reading::Untold;
    };
    let text = text_of(&there.kind, version);
    let named = || Reading::Named(by_bytes(text, there));
    if !here.labels.is_empty() {
        let is_told = there.kind.is_string() || matches!(there.kind, Type::Enum(_));
        // The labels are all values that there can be here.
        return if is_told {
            Reading::Known(by_bytes(text, there))
        } else {
            named()
        };
    }
    if here.type_oid >= super::types::FIRST_GENERATED_OID {
        return named();
    }
    let is_same = match &there.kind {
        Type::BuiltIn { .. } => there.type_oid == here.type_oid || there.base_oid() == here.type_oid,
        _ => there.type_oid == here.type_oid,
    };
    match &here.collation {
        Some(collation) => by_characters(here, collation, there, is_same, ordered, version),
        // Strings within it are compared by the database's collation.
        None if ordered && here.type_oid == JSONB => named(),
        None if is_same && modifier_holds(here.type_oid, here.modifier, there.kind.modifier()) => Reading::Native,
        None => converted(here, there, ordered, text).unwrap_or_else(named),
    }
}

const JSONB: u32 = 3802;
/// int2, int4, int8, numeric
const NUMBERS: &[u32] = &[21, 23, 20, 1700];
/// date, timestamp, timestamptz
const TIMES: &[u32] = &[1082, 1114, 1184];
/// No time is moved further by another type, precision or zone.
pub const A_DAY: &str = "interval '1 day'";

/// Keys whose bounds the source may read in more than one way.
pub fn doubtful_keys<T>(root: &mut Node<T>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for_each_key(root, &mut |column| {
        if column.is_doubtful {
            found.insert(column.name.clone());
        }
    });
    found
}

/// A time that the source compares without looking at its bounds: it would leave partitions out by them.
pub fn beside_bounds() -> Reading {
    via("(@ + interval '0')".to_owned(), None)
}

/// The source's column goes through `key`, and literals stay as they are.
fn via(key: String, margin: Option<String>) -> Reading {
    let value = "@".to_owned();
    Reading::Via { key, value, margin }
}

/// A key without characters, of another type than the source's column, or one that rounds: the column as it arrives here.
fn converted(here: &KeyColumn, there: &Column, ordered: bool, text: &str) -> Option<Reading> {
    let oid = there.base_oid();
    let both = |types: &[u32]| types.contains(&here.type_oid) && types.contains(&oid);
    let cast = |key: &str, margin| Some(via(format!("CAST({key} AS {})", here.cast_sql), margin));
    let is_rounded = rounds((here.type_oid, here.modifier), (oid, there.kind.modifier()));
    let position = |oid: u32| TIMES.iter().position(|t| *t == oid);
    match there.kind {
        Type::BuiltIn { .. } if both(NUMBERS) => match is_rounded {
            // A fraction is an error where the key is an integer.
            false => Some(Reading::Native),
            true => cast(
                "@",
                numeric_scale(here.modifier).map(|scale| format!("CAST('1e{}' AS numeric)", -scale)),
            ),
        },
        // Where clocks go back over midnight, a day does not begin with the instant that it is cast to.
        Type::BuiltIn { .. } if here.type_oid == 1082 && oid == 1114 && ordered => {
            Some(Reading::Cut(format!("CAST(@ AS {})", here.cast_sql)))
        }
        Type::BuiltIn { .. } if both(TIMES) => {
            // Partitions and indexes over there take the order of times for that of instants, which it is not where clocks change.
            let is_zoned = (here.type_oid, oid) == (1184, 1114);
            match position(here.type_oid) >= position(oid) && !is_rounded && !is_zoned {
                true => Some(Reading::Native),
                false => cast("@", Some(A_DAY.to_owned())),
            }
        }
        Type::BuiltIn { .. } if here.type_oid == oid => cast("@", None),
        Type::BuiltIn { .. } => cast(text, None),
        _ => None,
    }
}

/// A key of characters, or of an array of them.
fn by_characters(
    here: &KeyColumn,
    collation: &Collation,
    there: &Column,
    is_same: bool,
    ordered: bool,
    version: u32,
) -> Reading {
    let text = text_of(&there.kind, version);
    let named = || Reading::Named(by_bytes(text, there));
    let (is_text, is_blank_padded) = (matches!(here.type_oid, 25 | 1043), here.type_oid == 1042);
    let is_varying = matches!(there.base_oid(), 25 | 1043) && there.kind.is_string();
    let is_plain = is_same || (is_text && is_varying);
    // The column as it arrives here.
    let key = match () {
        () if is_plain => "@".to_owned(),
        () if is_text => text.to_owned(),
        () if is_blank_padded && there.kind.is_string() => format!("CAST({text} AS bpchar)"),
        () => return named(),
    };
    let theirs = there.collation.as_ref();
    let plain = || match is_plain {
        true => Reading::Native,
        false => via(key.clone(), None),
    };
    let via_bytes = || via(format!("{key} COLLATE \"C\""), None);
    let has_collations = version >= 90_100;
    if !ordered {
        return match (
            collation.deterministic,
            theirs.is_none_or(|theirs| theirs.deterministic),
        ) {
            (false, _) => named(),
            (true, true) => plain(),
            (true, false) => via_bytes(),
        };
    }
    // What goes through a function has lost the column's collation. On which side of ASCII a value lies is the same in all encodings.
    let is_alike =
        |theirs: &Collation| collation.sorts_as(theirs) || (collation.bytes && theirs.own_bytes && here.by_ascii);
    if is_plain && theirs.is_some_and(is_alike) {
        return Reading::Native;
    }
    match collation.bytes {
        false => named(),
        true if has_collations && (here.sorts_bytes_there || here.by_ascii) => via_bytes(),
        true if is_text => Reading::Via {
            key: format!("convert_to({key}, 'UTF8')"),
            value: "convert_to(@, 'UTF8')".to_owned(),
            margin: None,
        },
        true => named(),
    }
}

/// Texts that differ must not be equal.
fn by_bytes(text: &str, there: &Column) -> String {
    match there
        .collation
        .as_ref()
        .is_some_and(|collation| !collation.deterministic)
    {
        true => format!("{text} COLLATE \"C\""),
        false => text.to_owned(),
    }
}

/// A value's text as COPY sends it, on a server of `version`; @ stands for the value. Some casts give another text than the type's output
/// function; and whoever owns a type may have made a cast from it to text, a function of his that would run with the rights of whoever reads.
pub fn text_of(kind: &Type, version: u32) -> &'static str {
    match kind {
        Type::BuiltIn { oid: 16, .. } => "textin(boolout(@))",
        Type::BuiltIn { oid: 1042, .. } => "textin(bpcharout(@))",
        Type::BuiltIn { oid: 142, .. } => "textin(xml_out(@))",
        Type::BuiltIn { oid: 869, .. } => "textin(inet_out(@))",
        Type::BuiltIn { oid: 650, .. } => "textin(cidr_out(@))",
        _ if kind.is_built_in() => "CAST(@ AS text)",
        // It makes an empty text of NULL; and a row of nothing but NULLs is none, though it IS NULL.
        _ if version >= 90_600 => "CASE WHEN num_nulls(@) = 0 THEN format('%s', @) END",
        Type::Composite(_) => "CAST(@ AS text)",
        _ if version >= 90_100 => "CASE WHEN @ IS NOT NULL THEN format('%s', @) END",
        _ => "CAST(@ AS text)",
    }
}

/// Puts the column's name, or a literal, into an expression.
pub fn fill(expression: &str, value: &str) -> String {
    expression.replace('@', value)
}

/// The column's name in such an expression.
pub fn fill_column(expression: &str, name: &str) -> String {
    fill(expression, &quote_ident(name))
}

/// RANGE keys of characters whose bounds on both sides are digits, as many in each: such values come in one order wherever they are sorted.
pub fn keys_of_digits<T, U>(here: &Node<T>, there: &Node<U>) -> BTreeSet<String> {
    let mut lengths: BTreeMap<String, BTreeSet<Option<usize>>> = BTreeMap::new();
    let mut note = |column: &KeyColumn, value: &str| {
        let is_digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let length = is_digits.then_some(value.len());
        lengths.entry(column.sql()).or_default().insert(length);
    };
    each_end(here, &mut note);
    each_end(there, &mut note);
    let is_one = |lengths: &BTreeSet<Option<usize>>| lengths.len() == 1 && !lengths.contains(&None);
    let keys = lengths.into_iter().filter(|(_, lengths)| is_one(lengths));
    keys.map(|(key, _)| key).collect()
}

/// RANGE keys of which some bound has characters beyond ASCII.
pub fn keys_beyond_ascii<T, U>(here: &Node<T>, there: &Node<U>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut note = |column: &KeyColumn, value: &str| {
        if !value.is_ascii() {
            found.insert(column.sql());
        }
    };
    each_end(here, &mut note);
    each_end(there, &mut note);
    found
}

/// Every end of a range that is a value, with its column.
fn each_end<T>(node: &Node<T>, note: &mut impl FnMut(&KeyColumn, &str)) {
    let Some(level) = &node.level else { return };
    for child in &level.children {
        if let Some(Bound::Range(from, to)) = &child.bound {
            for (end, column) in from.iter().zip(&level.columns).chain(to.iter().zip(&level.columns)) {
                if let End::Value(value) = end {
                    note(column, value);
                }
            }
        }
        each_end(child, note);
    }
}

/// Changes every key column below `node` that tells something.
pub fn for_each_key<T>(node: &mut Node<T>, change: &mut impl FnMut(&mut KeyColumn)) {
    let Some(level) = &mut node.level else { return };
    level.columns.iter_mut().for_each(&mut *change);
    level.children.iter_mut().for_each(|child| for_each_key(child, change));
}

/// The keys below `node` whose order matters: those of RANGE.
pub fn ordered_keys<T>(node: &Node<T>) -> BTreeSet<String> {
    fn collect<T>(level: &Level<T>, found: &mut BTreeSet<String>) {
        if level.strategy == Strategy::Range {
            found.extend(level.columns.iter().map(KeyColumn::sql));
        }
        let below = level.children.iter().filter_map(|child| child.level.as_ref());
        below.for_each(|level| collect(level, found));
    }
    let mut found = BTreeSet::new();
    if let Some(level) = &node.level {
        collect(level, &mut found);
    }
    found
}

#[cfg(test)]
mod tests;
