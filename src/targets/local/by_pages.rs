//! Which units are loaded by pages of our own making (`crate::pg::pages`), and which by COPY: where anything but types and bounds has a say in
//! what a row is, or where somebody wants to see the rows come.

use super::facts;
use crate::error::{Error, Result};
use crate::page::layout::{Attribute, Layout, Reader};
use crate::pg::pages;
use crate::row::Row;
use std::collections::{HashMap, HashSet};

/// Why COPY loads unit c, where $2 are the columns that are copied, and $3 says that it is truncated. What it says last depends on publications.
const WHY: &str = "
    CASE
      WHEN c.relam <> 2 THEN 'its access method is not heap'
      WHEN c.relpersistence <> 'p' THEN 'it is unlogged'
      WHEN c.relchecks > 0 THEN 'it has CHECK constraints'
      WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 36 <> 0 AND t.tgenabled <> 'D'
                   AND t.tgfoid <> 'unique_key_recheck'::regproc)
        THEN 'it has triggers or foreign keys'
      WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                   AND (a.attgenerated <> '' OR NOT to_jsonb(a.attname::text) <@ $2::jsonb
                        AND (a.atthasdef OR a.attidentity <> '' OR EXISTS (SELECT FROM pg_type y WHERE y.oid = a.atttypid AND y.typdefault IS NOT NULL))))
        THEN 'it has columns with a value of their own'
      WHEN $3::bool AND c.relhasindex AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indislive AND i.indisready)
        THEN 'it keeps its indexes up'
      WHEN current_setting('wal_level') = 'logical'
           AND (EXISTS (SELECT FROM pg_publication)
                OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()))
        THEN 'it is decoded logically'
    END";

/// As [`WHY`] says it.
const IS_DECODED: &str = "it is decoded logically";

/// Why COPY loads units, of those for which it does, if it is not for the way their rows come. In binary there are no types but the server's own,
/// and no domains; the encoding is UTF8. `truncated`: those with indexes keep them up.
pub fn obstacles(units: &[u32], columns: &[String], truncated: bool) -> Result<HashMap<u32, String>> {
    if !pages::LAYS_OUT_ALIKE {
        let why = "pages of this server are laid out in another way";
        return Ok(units.iter().map(|unit| (*unit, why.to_owned())).collect());
    }
    let sql = format!(
        "SELECT oid, why FROM (SELECT c.oid, {WHY} FROM pg_class c WHERE c.oid = ANY ($1::oid[])) AS u(oid, why) WHERE why IS NOT NULL"
    );
    let rows = ask(&sql, units, columns, truncated)?;
    let mut found: HashMap<u32, String> = rows
        .iter()
        .map(|row| Ok((row.need(0)?, row.string(1)?)))
        .collect::<Result<_>>()?;
    let doubtful: Vec<u32> = found
        .iter()
        .filter(|(_, why)| *why == IS_DECODED)
        .map(|(unit, _)| *unit)
        .collect();
    let decoded = decoded(&doubtful)?;
    found.retain(|unit, why| why != IS_DECODED || decoded.contains(unit));
    Ok(found)
}

fn ask(sql: &str, units: &[u32], columns: &[String], truncated: bool) -> Result<Vec<Row>> {
    let columns = serde_json::to_string(columns).map_err(|e| Error::internal(e.to_string()))?;
    let arguments = [facts::array(units), columns, truncated.to_string()];
    facts::ask(sql, &arguments.each_ref().map(|text| Some(text.as_str())))
}

/// Units that somebody may decode: what is published, which since 16 a slot of a standby may show, of which nothing is known here; all, where a slot
/// of this database is not pgoutput's.
fn decoded(units: &[u32]) -> Result<HashSet<u32>> {
    if units.is_empty() {
        return Ok(HashSet::new());
    }
    let others = facts::ask(
        "SELECT FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database() AND plugin <> 'pgoutput' LIMIT 1",
        &[],
    )?;
    match others.is_empty() {
        true => facts::published(units),
        false => Ok(units.iter().copied().collect()),
    }
}

/// What the pages of `unit` are made by, which is locked and has new storage; None where COPY is to load it.
pub(super) fn layout(unit: u32, columns: &[String]) -> Result<Option<Layout>> {
    if !pages::LAYS_OUT_ALIKE {
        return Ok(None);
    }
    // One question: there may be thousands of small partitions.
    let sql = format!(
        "SELECT c.relname, pg_relation_filepath(c.oid),
                COALESCE((SELECT option_value FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), '100'),
                a.attname, CASE WHEN NOT a.attisdropped THEN a.atttypid ELSE 0 END, a.atttypmod, a.attlen,
                CASE a.attalign WHEN 'c' THEN 1 WHEN 's' THEN 2 WHEN 'i' THEN 4 ELSE 8 END,
                a.attbyval, a.attlen = -1 AND a.attstorage <> 'p', a.attnotnull AND NOT a.attisdropped,
                CASE WHEN a.attnum = 1 THEN {WHY} END
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.oid = ANY ($1::oid[]) ORDER BY a.attnum"
    );
    let rows = ask(&sql, &[unit], columns, true)?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    match first.text(11) {
        Some(IS_DECODED) if decoded(&[unit])?.is_empty() => {}
        Some(_) => return Ok(None),
        None => {}
    }
    Ok(Some(Layout {
        table: first.string(0)?,
        path: first.string(1)?,
        attributes: rows.iter().map(|row| attribute(row, columns)).collect::<Result<_>>()?,
        fields: columns.len(),
        fillfactor: first.need(2)?,
    }))
}

fn attribute(row: &Row, columns: &[String]) -> Result<Attribute> {
    let (name, type_oid, typmod) = (row.string(3)?, row.need(4)?, row.need(5)?);
    Ok(Attribute {
        field: match type_oid {
            0 => None,
            _ => columns.iter().position(|column| *column == name),
        },
        reader: Reader::of(type_oid, typmod),
        name,
        type_oid,
        typmod,
        length: row.need(6)?,
        align: row.need(7)?,
        by_value: row.is(8),
        is_packed: row.is(9),
        not_null: row.is(10),
    })
}
