//! The partitions of one level, with their bounds as their server reads them. It keeps a bound as somebody has typed it, and reads it again under
//! the DateStyle of whoever comes first (partitionkey.cpp, transformPartitionBoundary): `01/02/2024` may be another day after a restart. So what is
//! not in ISO form is compared with the rows.

use super::{Column, Database, Key, scope};
use crate::catalog::table::Found;
use crate::error::{Error, Result, sqlstate, tame};
use crate::plan::bound::{Bound, End};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::gauss::Part;
use crate::plan::tree::Strategy;
use crate::plan::typed_bounds::{follows_date_style, is_iso, is_moving, upper_ends, within};
use crate::row::Row;
use std::collections::HashSet;

/// A partition.
pub struct Member {
    /// pg_partition.oid
    pub oid: u32,
    /// the table's OID, or the partition's that it is in
    pub parent: u32,
    pub part: Part,
    pub bound: Bound,
}

/// The partitions of a level, or of all levels below its partitions.
pub fn members(db: &mut dyn Database, found: &Found, key: &mut Key, is_sub: bool) -> Result<Vec<Member>> {
    let doubtful = match key.columns.iter().any(|column| follows_date_style(column.type_oid)) {
        true => doubtful(db, found, key, is_sub)?,
        false => HashSet::new(),
    };
    for column in key.columns.iter_mut().filter(|_| !doubtful.is_empty()) {
        column.key.is_doubtful = follows_date_style(column.type_oid);
    }
    let rows = db.query(&members_sql(found, key, is_sub))?;
    let mut members: Vec<Member> = Vec::new();
    let mut unsure = Vec::new();
    for rows in rows.chunk_by(|a, b| a.text(0) == b.text(0)) {
        let Some(first) = rows.first() else { continue };
        let part = Part {
            table: found.relation(),
            is_sub,
            name: first.name(2)?,
        };
        let (oid, parent): (u32, u32) = (first.need(0)?, first.need(1)?);
        let before = members.last().filter(|before| before.parent == parent);
        let is_unsure = doubtful.contains(&oid) || before.is_some_and(|before| doubtful.contains(&before.oid));
        let bound = match key.strategy {
            Strategy::Range => {
                let to = upper_ends(rows.iter().map(|row| row.owned(5)).collect());
                let from = match (first.owned(6), before.map(|before| &before.bound)) {
                    (Some(lower), _) => vec![End::Value(lower)],
                    (None, Some(Bound::Range(_, reached))) => reached.clone(),
                    _ => vec![End::Min; to.len()],
                };
                Bound::Range(from, to)
            }
            // DEFAULT is kept as a single null.
            _ if first.text(4).is_none() => Bound::Default,
            _ => Bound::List(rows.iter().map(|row| row.owned(5)).collect()),
        };
        if is_unsure {
            let texts: Vec<String> = rows.iter().filter_map(|row| row.owned(4)).collect();
            unsure.push((members.len(), texts.join(", ")));
        }
        members.push(Member {
            oid,
            parent,
            part,
            bound,
        });
    }
    for (at, text) in unsure {
        confirm(db, key, &members[at], &text)?;
    }
    Ok(members)
}

/// A row for each value of each partition, in the order of the bounds as their server has it: OID, parent, name, number, text, value, and the lower end of
/// one that was added by an interval, which reaches down no further than that. Null is MAXVALUE or DEFAULT.
fn members_sql(found: &Found, key: &Key, is_sub: bool) -> String {
    let bound = |at: &str, column: &Column| format!("CAST(q.boundaries[{at}] AS {})", column.type_sql);
    let (value, lower, order) = match (key.strategy, key.columns.as_slice()) {
        (Strategy::Range, columns) => {
            let numbered = || (1..).zip(columns);
            let cases = numbered()
                .map(|(at, column)| format!("WHEN {at} THEN CAST({} AS text)", bound(&at.to_string(), column)));
            let order = numbered().map(|(at, column)| format!("{} NULLS LAST, ", bound(&at.to_string(), column)));
            let lower = match (&key.step, columns.first()) {
                (Some(step), Some(column)) => {
                    let end = bound("1", column);
                    let step = format!(
                        "CAST({end} - CAST({} AS interval) AS {})",
                        quote_literal(step),
                        column.type_sql
                    );
                    let before = format!("lag({end}) OVER (ORDER BY {end} NULLS LAST)");
                    // A month before the end of another may lie before the end of the partition before.
                    format!(
                        "CASE WHEN q.partstrategy = 'i' THEN CAST(CASE WHEN {before} > {step} THEN {before} ELSE {step} END AS text) END"
                    )
                }
                _ => "CAST(NULL AS text)".to_owned(),
            };
            let cases: Vec<String> = cases.collect();
            (format!("CASE q.n {} END", cases.join(" ")), lower, order.collect())
        }
        (_, columns) => {
            let value = columns
                .first()
                .map(|column| format!("CAST({} AS text)", bound("q.n", column)));
            let none = "CAST(NULL AS text)".to_owned();
            (value.unwrap_or_else(|| none.clone()), none, String::from("q.relname, "))
        }
    };
    format!(
        "SELECT q.oid, q.parentid, q.relname, q.n, q.boundaries[q.n], {value}, {lower}
         FROM (SELECT p.oid, p.parentid, p.relname, p.partstrategy, p.boundaries, generate_subscripts(p.boundaries, 1) AS n
               FROM pg_partition p WHERE {}) q
         ORDER BY q.parentid, {order}q.oid, q.n",
        scope(found.oid, is_sub)
    )
}

/// Partitions with a bound that DateStyle has a say in. An error for one that its server cannot read now.
fn doubtful(db: &mut dyn Database, found: &Found, key: &Key, is_sub: bool) -> Result<HashSet<u32>> {
    let rows = db.query(&format!(
        "SELECT q.oid, q.relname, q.n, q.boundaries[q.n]
         FROM (SELECT p.oid, p.relname, p.boundaries, generate_subscripts(p.boundaries, 1) AS n
               FROM pg_partition p WHERE {}) q ORDER BY q.oid, q.n",
        scope(found.oid, is_sub)
    ))?;
    let mut doubtful = HashSet::new();
    for row in &rows {
        let number: usize = row.need(2)?;
        // The only column of a list has many values.
        let column = match key.columns.as_slice() {
            [one] => Some(one),
            several => several.get(number.saturating_sub(1)),
        };
        let (Some(text), Some(column)) = (row.text(3), column) else {
            continue;
        };
        if !follows_date_style(column.type_oid) || is_iso(text) {
            continue;
        }
        if is_moving(text) {
            return Err(unreadable(found, &row.string(1).unwrap_or_default(), text)
                .detail("It is another time each time that it is read."));
        }
        doubtful.insert(row.need(0)?);
        let value = format!("CAST({} AS {})", quote_literal(text), column.type_sql);
        let refused = |error: Error| match error.is_remote() {
            true => unreadable(found, &row.string(1).unwrap_or_default(), text).detail(format!("{}.", error.message)),
            false => error,
        };
        db.query(&format!("SELECT CAST({value} AS text)")).map_err(refused)?;
    }
    Ok(doubtful)
}

/// An error unless all rows of a partition are within its bound. They are read before they are compared: a condition on the partition itself could be
/// answered by the bound alone.
fn confirm(db: &mut dyn Database, key: &Key, member: &Member, text: &str) -> Result<()> {
    let columns: Vec<(String, String)> = key
        .columns
        .iter()
        .map(|column| (column.key.name.clone(), column.type_sql.clone()))
        .collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| quote_ident(name)).collect();
    let names = names.join(", ");
    let relation = member.part.relation();
    let condition = match &member.bound {
        // Its rows are those that the others lack, and the others are looked at.
        Bound::Default => return Ok(()),
        bound => within(bound, &columns),
    };
    let first = &columns[0].0;
    let rows: Vec<Row> = db.query(&format!(
        "SELECT count(*), CAST(min(x.{0}) AS text), CAST(max(x.{0}) AS text)
         FROM (SELECT {names} FROM {relation} OFFSET 0) x WHERE ({condition}) IS FALSE",
        quote_ident(first)
    ))?;
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    match (row.text(0), row.text(1), row.text(2)) {
        (Some("0"), ..) => Ok(()),
        (count, low, high) => Err(unconfirmed(&relation, text).detail(format!(
            "As it is read now, {} rows of the partition are not within it, with {} from {} to {}.",
            count.map_or_else(String::new, tame),
            quote_ident(first),
            tame(low.unwrap_or("null")),
            tame(high.unwrap_or("null"))
        ))),
    }
}

fn unreadable(found: &Found, partition: &str, text: &str) -> Error {
    let relation = format!("{} PARTITION ({})", found.relation(), quote_ident(partition));
    unconfirmed(&relation, text)
}

fn unconfirmed(relation: &str, text: &str) -> Error {
    Error::new(
        sqlstate::DATETIME_FIELD_OVERFLOW,
        format!("bound '{}' of {relation} cannot be told for sure", tame(text)),
    )
    .hint(
        "Its server reads it by DateStyle: give the remote user the one that it was written under (ALTER ROLE ... SET datestyle = 'ISO, DMY'), or make the partition again with the year in front.",
    )
}
