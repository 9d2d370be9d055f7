//! PostgreSQL 10 and later: pg_partitioned_table, pg_inherits and relpartbound.

use crate::error::{Error, Result, sqlstate};
use crate::plan::bound::Bound;
use crate::plan::columns::SourceColumn;
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::units::{SourceChild, SourceKey, SourceTable};
use crate::source::{Session, TextRow};

/// Size of table c with TOAST table t as of its last ANALYZE or VACUUM, null before the first: pg_table_size would wait for whoever has
/// the table locked.
const BYTES: &str = "NULLIF((c.relpages + COALESCE(t.relpages, 0)) * current_setting('block_size')::bigint, 0)";

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

/// Compares, for `relation` and all tables below it, the catalog as the snapshot has it (what a query sees) with the catalog as it is
/// now (what the system caches, and so names and file numbers, follow).
pub fn is_unchanged(session: &mut Session, relation: &str) -> Result<bool> {
    let name = quote_literal(relation);
    let rows = session.query(&format!(
        "WITH RECURSIVE tree AS (
           SELECT {name}::regclass::oid AS oid
           UNION ALL SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
         SELECT NOT EXISTS (
           SELECT FROM tree LEFT JOIN pg_class c ON c.oid = tree.oid
           WHERE c.oid IS NULL OR (c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)))
         AND EXISTS (
           SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = {name}::regclass
             AND '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' = {name})"
    ))?;
    Ok(one(rows.first(), 0)? == "t")
}

pub fn has_rows(session: &mut Session, relation: &str) -> Result<bool> {
    let rows = session.query(&format!("SELECT EXISTS (SELECT FROM {relation})"))?;
    Ok(one(rows.first(), 0)? == "t")
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
fn range_key(session: &mut Session, oid: &str) -> Result<Option<SourceKey>> {
    let rows = session.query(&format!(
        "SELECT a.attname, a.atttypid, {SORTS_BY}
         FROM pg_partitioned_table p
         JOIN pg_attribute a
           ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
         JOIN pg_opclass o ON o.oid = p.partclass[0] AND o.opcdefault
         LEFT JOIN pg_collation l ON l.oid = p.partcollation[0]
         WHERE p.partrelid = {oid} AND p.partstrat = 'r'
           AND p.partnatts = 1"
    ))?;
    match rows.first() {
        Some(row) => Ok(Some(SourceKey {
            column: one(Some(row), 0)?,
            type_oid: one(Some(row), 1)?.parse().unwrap_or(0),
            collation: row.get(2).cloned().flatten(),
        })),
        None => Ok(None),
    }
}

/// pg_get_expr is given no relation: a bound needs none, and it would wait for whoever has that one locked.
fn children(session: &mut Session, oid: &str) -> Result<Vec<SourceChild>> {
    let rows = session.query(&format!(
        "SELECT n.nspname, c.relname, pg_get_expr(c.relpartbound, 0),
                has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'),
                {BYTES}
         FROM pg_inherits i
         JOIN pg_class c ON c.oid = i.inhrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
         WHERE i.inhparent = {oid} AND c.relpartbound IS NOT NULL
           AND NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::bool, false)"
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

/// What collation l sorts by. to_jsonb reads columns of pg_database that only some versions have.
const SORTS_BY: &str = "CASE WHEN l.collname = 'default' THEN
    (SELECT COALESCE(j.d ->> 'datlocale', j.d ->> 'daticulocale', j.d ->> 'datcollate')
     FROM (SELECT to_jsonb(b) AS d FROM pg_database b WHERE b.datname = current_database()) j)
    ELSE l.collname::text END";

/// Columns, and for the collatable ones what they sort by.
fn columns(session: &mut Session, oid: &str) -> Result<Columns> {
    let rows = session.query(&format!(
        "SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod),
                {SORTS_BY}
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
    let rows = session.query(&format!(
        "SELECT {BYTES} FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = {oid}"
    ))?;
    Ok(rows.first().and_then(|r| r[0].as_ref()).and_then(|b| b.parse().ok()))
}
