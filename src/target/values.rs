//! Values as this server reads, orders and prints them, always under a search_path of pg_catalog. The types' own input and output functions
//! do it, and no cast between a type that is not built in and text: its owner may have made one.

use crate::error::{Error, Result};
use crate::pg::{report, spi, value, xact};
use crate::plan::copy_sql::quote_literal;
use crate::plan::select::ranking_query;
use crate::plan::translate::{Conversion, Converted, Translated};
use crate::plan::tree::{KeyColumn, Ranks, UNREADABLE, by_oid};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Ranks the values of each ordering. Those that the type does not have get ranks beyond all others.
pub fn rank(values: &HashMap<&str, BTreeSet<&str>>, unreadable: &BTreeSet<(String, String)>) -> Result<Ranks> {
    let mut ranks = Ranks::default();
    for (ordering, values) in values {
        let is_unreadable = |value: &str| unreadable.contains(&((*ordering).to_owned(), value.to_owned()));
        let (beyond, values): (Vec<&str>, Vec<&str>) = values.iter().partition(|value| is_unreadable(value));
        for (value, rank) in values.iter().zip(ranks_of(&values, ordering)?) {
            ranks.insert(ordering, (*value).to_owned(), rank);
        }
        for (value, rank) in beyond.into_iter().zip(UNREADABLE..) {
            ranks.insert(ordering, value.to_owned(), rank);
        }
    }
    Ok(ranks)
}

/// The rank of each value.
fn ranks_of(values: &[&str], ordering: &str) -> Result<Vec<i64>> {
    if let Some((type_oid, collation)) = by_oid(ordering) {
        return report::catch(|| value::rank(type_oid, collation, values));
    }
    let rows = report::catch(|| spi::execute(&ranking_query(values, ordering), &[]))?;
    let mut ranks = vec![0; values.len()];
    for row in &rows {
        let at: usize = row.need(0)?;
        let rank = ranks
            .get_mut(at - 1)
            .ok_or_else(|| Error::internal("an unexpected row"))?;
        *rank = row.need(1)?;
    }
    Ok(ranks)
}

/// Turns values of the source into those of the target's types. One that a type cannot read, or that
/// comes back as another one, is None.
pub fn convert(wanted: BTreeMap<(String, Conversion), BTreeSet<String>>) -> Result<Converted> {
    let mut converted = Converted::new();
    for ((type_sql, conversion), values) in wanted {
        let values: Vec<String> = values.into_iter().collect();
        let mut all = Vec::with_capacity(values.len());
        match read_values(&type_sql, &conversion, &values)? {
            Some(read) => all.extend(read),
            // Some value is to blame: each by itself.
            None => {
                for value in &values {
                    let read = read_values(&type_sql, &conversion, std::slice::from_ref(value))?;
                    all.push(read.and_then(|read| read.into_iter().next()).flatten());
                }
            }
        }
        for (value, read) in values.into_iter().zip(all) {
            converted.insert((type_sql.clone(), conversion.clone(), value), read);
        }
    }
    Ok(converted)
}

/// All of `values` at once; None when the type refuses any.
fn read_values(type_sql: &str, conversion: &Conversion, values: &[String]) -> Result<Option<Vec<Option<Translated>>>> {
    if let Some((type_oid, _)) = by_oid(type_sql) {
        return read_by_oid(type_oid, values);
    }
    let (read_as, value, is_same) = match conversion {
        Conversion::Cast(from) | Conversion::Zoned(from) => {
            let there_and_back = format!("u.v::{type_sql}::{from} = u.v");
            (from.as_str(), format!("u.v::{type_sql}"), there_and_back)
        }
        _ => (type_sql, "u.v".to_owned(), "true".to_owned()),
    };
    let is_near_change = match conversion {
        Conversion::Zoned(from) => near_change("u.v", from),
        _ => "false".to_owned(),
    };
    let rows = values.iter().enumerate();
    let rows: Vec<String> = rows
        .map(|(at, value)| format!("({at}, {}::{read_as})", quote_literal(value)))
        .collect();
    let sql = format!(
        "SELECT CASE WHEN {is_same} THEN format('%s', {value}) END, {is_near_change}
         FROM (VALUES {}) AS u(i, v) ORDER BY u.i",
        rows.join(", ")
    );
    let read = |row: &spi::Row| {
        Some(Translated {
            text: row.text(0)?.to_owned(),
            is_near_change: row.is(1),
        })
    };
    let rows = xact::unless_refused(|| spi::execute(&sql, &[]))?;
    Ok(rows.map(|rows| rows.iter().map(read).collect()))
}

/// The same for a type that is not built in.
fn read_by_oid(type_oid: u32, values: &[String]) -> Result<Option<Vec<Option<Translated>>>> {
    let read = |value: &String| {
        let text = value::print(type_oid, value)?;
        let is_near_change = false;
        Ok(Some(Translated { text, is_near_change }))
    };
    xact::unless_refused(|| values.iter().map(read).collect())
}

/// True for a time, with a zone or without, beside which the other kind comes in another order: clocks skip an hour or two less than
/// two hours before it, or come upon one again less than an hour before or after it.
fn near_change(value: &str, type_sql: &str) -> String {
    let other = match type_sql.ends_with("timestamptz") {
        true => "timestamp",
        false => "timestamptz",
    };
    let moved = |step: &str, back: &str| {
        format!("({value} {step})::pg_catalog.{other} {back} IS DISTINCT FROM {value}::pg_catalog.{other}")
    };
    format!(
        "({} OR {})",
        moved("- interval '2 hours'", "+ interval '2 hours'"),
        moved("+ interval '1 hour'", "- interval '1 hour'")
    )
}

/// `value` as the key's type reads and prints it; the server's own words otherwise.
pub fn read_value(value: &str, key: &KeyColumn) -> Result<String> {
    if let Some((type_oid, _)) = by_oid(&key.type_sql) {
        return report::catch(|| value::print(type_oid, value));
    }
    let literal = format!("{}::{}", quote_literal(value), key.type_sql);
    value_of(&format!("format('%s', {literal})"), &[])?.ok_or_else(|| Error::internal("no value"))
}

/// The date of this session's time zone, as YYYYMMDD.
pub fn today() -> Result<String> {
    value_of("to_char(now(), 'YYYYMMDD')", &[])?.ok_or_else(|| Error::internal("no date"))
}

/// The day that the input function of date makes of `text`, as YYYYMMDD; None for one that has no such form.
pub fn day(text: &str) -> Result<Option<String>> {
    value_of(
        "CASE WHEN isfinite($1::date) AND $1::date BETWEEN '0001-01-01' AND '9999-12-31' THEN to_char($1::date, 'YYYYMMDD') END",
        &[Some(text)],
    )
}

/// The day before `value`, a day or a time that begins with one, as a value of `key`.
pub fn day_before(value: &str, key: &KeyColumn) -> Result<Option<String>> {
    match key.type_name.as_str() {
        "timestamp" | "timestamptz" => value_of(
            &format!("($1::{0} - interval '1 day')::{0}::text", key.type_sql),
            &[Some(value)],
        ),
        "date" => value_of("($1::date - 1)::text", &[Some(value)]),
        _ => value_of("to_char($1::date - 1, 'YYYYMMDD')", &[Some(value)]),
    }
}

/// An instant in the form that means the same in every time zone.
pub fn instant(value: &str) -> Result<String> {
    let text = value_of(
        "CASE WHEN isfinite($1::timestamptz)
           THEN regexp_replace(($1::timestamptz AT TIME ZONE 'UTC')::text, '( BC)?$', '+00\\1') ELSE $1::timestamptz::text END",
        &[Some(value)],
    )?;
    text.ok_or_else(|| Error::internal("no instant"))
}

/// The lesser of two values of `key`, in its own order.
pub fn least(one: &str, other: &str, key: &KeyColumn) -> Result<String> {
    extreme(Ordering::Less, one, other, key)
}

/// The greater of them.
pub fn greatest(one: &str, other: &str, key: &KeyColumn) -> Result<String> {
    extreme(Ordering::Greater, one, other, key)
}

fn extreme(wanted: Ordering, one: &str, other: &str, key: &KeyColumn) -> Result<String> {
    let ranks = ranks_of(&[one, other], &key.ordering)?;
    let is_other = ranks[0].cmp(&ranks[1]) == wanted.reverse();
    read_value(if is_other { other } else { one }, key)
}

/// The value of an expression; the server's own words in the error of one that cannot be computed.
fn value_of(expression: &str, args: &[Option<&str>]) -> Result<Option<String>> {
    let sql = format!("SELECT {expression}");
    let rows = report::catch(|| spi::execute(&sql, args))?;
    Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
}
