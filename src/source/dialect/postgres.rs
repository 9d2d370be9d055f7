//! PostgreSQL 10 and later: pg_partitioned_table, pg_inherits and relpartbound.

use crate::error::{Error, Result, sqlstate};
use crate::plan::bound::Bound;
use crate::plan::columns::SourceColumn;
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::units::{SourceChild, SourceTable};
use crate::source::{Session, TextRow};

/// Names are unqualified: the session's search_path is pinned to pg_catalog.
pub fn read_table(session: &mut Session, schemas: &[String], name: &str) -> Result<SourceTable> {
    let (oid, schema, name, kind) = find(session, schemas, name)?;
    let key = if kind == "p" { range_key(session, &oid)? } else { None };
    let children = if key.is_some() {
        children(session, &oid)?
    } else {
        Vec::new()
    };
    let (columns, collations) = columns(session, &oid)?;
    let bytes = if kind == "r" { table_bytes(session, &oid)? } else { None };
    Ok(SourceTable {
        relation: quote_qualified(&schema, &name),
        columns,
        key,
        collations,
        children,
        bytes,
    })
}

pub fn begin(session: &mut Session, snapshot: Option<&str>) -> Result<()> {
    session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    match snapshot {
        Some(snapshot) => session.batch(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot))),
        None => Ok(()),
    }
}

pub fn export_snapshot(session: &mut Session) -> Result<String> {
    let rows = session.query("SELECT pg_export_snapshot()")?;
    one(rows.first(), 0)
}

fn one(row: Option<&TextRow>, at: usize) -> Result<String> {
    row.and_then(|row| row.get(at).cloned().flatten())
        .ok_or_else(|| Error::protocol("the source's catalog gave no value where one must be"))
}

/// OID, schema, name and relkind of the first `schema.name` in the order of `schemas`.
fn find(session: &mut Session, schemas: &[String], name: &str) -> Result<(String, String, String, String)> {
    let list: Vec<String> = schemas.iter().map(|s| quote_literal(s)).collect();
    let rows = session.query(&format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, has_any_column_privilege(c.oid, 'SELECT')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = {} AND n.nspname = ANY (ARRAY[{list}]::name[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
         ORDER BY array_position(ARRAY[{list}]::name[], n.nspname)",
        quote_literal(name),
        list = list.join(", "),
    ))?;
    let label = match schemas {
        [schema] => quote_qualified(schema, name),
        _ => quote_ident(name),
    };
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("source table {label} does not exist on server \"{}\"", session.server()),
        )
        .hint("Name it with source_table when it is called differently there."));
    };
    if row.get(4).cloned().flatten().as_deref() != Some("t") {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!(
                "permission denied for source table {label} on server \"{}\"",
                session.server()
            ),
        )
        .hint("Grant SELECT on it to the remote user of the user mapping."));
    }
    let row = Some(row);
    Ok((one(row, 0)?, one(row, 1)?, one(row, 2)?, one(row, 3)?))
}

/// Column and type of a RANGE key over exactly one plain column with the type's default operator class.
fn range_key(session: &mut Session, oid: &str) -> Result<Option<(String, u32)>> {
    let rows = session.query(&format!(
        "SELECT a.attname, a.atttypid
         FROM pg_partitioned_table p
         JOIN pg_attribute a
           ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
         JOIN pg_opclass o ON o.oid = p.partclass[0] AND o.opcdefault
         WHERE p.partrelid = {oid} AND p.partstrat = 'r'
           AND p.partnatts = 1"
    ))?;
    match rows.first() {
        Some(row) => {
            let type_oid = one(Some(row), 1)?.parse().unwrap_or(0);
            Ok(Some((one(Some(row), 0)?, type_oid)))
        }
        None => Ok(None),
    }
}

fn children(session: &mut Session, oid: &str) -> Result<Vec<SourceChild>> {
    let rows = session.query(&format!(
        "SELECT n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid),
                has_table_privilege(c.oid, 'SELECT'),
                CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) END
         FROM pg_inherits i
         JOIN pg_class c ON c.oid = i.inhrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE i.inhparent = {oid} AND c.relpartbound IS NOT NULL"
    ))?;
    rows.iter()
        .map(|row| {
            let row = Some(row);
            Ok(SourceChild {
                relation: quote_qualified(&one(row, 0)?, &one(row, 1)?),
                bound: Bound::parse(&one(row, 2)?)?,
                readable: one(row, 3)? == "t",
                bytes: row.and_then(|r| r[4].as_ref()).and_then(|b| b.parse().ok()),
            })
        })
        .collect()
}

type Columns = (Vec<SourceColumn>, std::collections::HashMap<String, String>);

/// Columns, and for the collatable ones what they sort by. to_jsonb reads columns of pg_database that only some versions have.
fn columns(session: &mut Session, oid: &str) -> Result<Columns> {
    let rows = session.query(&format!(
        "SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod),
                CASE WHEN l.collname = 'default' THEN
                  (SELECT COALESCE(j.d ->> 'datlocale', j.d ->> 'daticulocale',
                                   j.d ->> 'datcollate')
                   FROM (SELECT to_jsonb(b) AS d FROM pg_database b
                         WHERE b.datname = current_database()) j)
                ELSE l.collname::text END
         FROM pg_attribute a
         LEFT JOIN pg_collation l ON l.oid = a.attcollation
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum"
    ))?;
    let mut columns = Vec::new();
    let mut collations = std::collections::HashMap::new();
    for row in &rows {
        let name = one(Some(row), 0)?;
        if let Some(collation) = row.get(3).cloned().flatten() {
            collations.insert(name.clone(), collation);
        }
        columns.push(SourceColumn {
            name,
            type_oid: one(Some(row), 1)?.parse().unwrap_or(0),
            type_name: one(Some(row), 2)?,
        });
    }
    Ok((columns, collations))
}

fn table_bytes(session: &mut Session, oid: &str) -> Result<Option<i64>> {
    let rows = session.query(&format!("SELECT pg_table_size({oid})"))?;
    Ok(rows.first().and_then(|r| r[0].as_ref()).and_then(|b| b.parse().ok()))
}
