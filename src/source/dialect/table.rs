//! What every server's catalogs tell of a table: that it exists, its columns and its size. SQL that PostgreSQL 8.3 understands, as
//! Greenplum 5 must; names are unqualified, since the session's search_path is pinned to pg_catalog.

use super::server::Catalog;
use crate::error::{Error, Result, sqlstate, tame};
use crate::plan::collation::{self, Collation};
use crate::plan::columns::SourceColumn;
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::types::catalog::{Catalog as Types, Described, FACTS};
use crate::source::{Session, TextRow};

/// Size of table c with TOAST table t as of its last ANALYZE or VACUUM, null before the first: pg_table_size would wait for whoever has
/// the table locked.
pub const BYTES: &str =
    "NULLIF((c.relpages + COALESCE(t.relpages, 0)) * CAST(current_setting('block_size') AS bigint), 0)";

/// A table found by name.
pub struct Found {
    /// pg_class.oid
    pub oid: String,
    /// schema
    pub schema: String,
    /// relname
    pub name: String,
    /// pg_class.relkind
    pub kind: String,
    /// size on disk, when known
    pub bytes: Option<i64>,
}

impl Found {
    /// Quoted, qualified.
    pub fn relation(&self) -> String {
        quote_qualified(&self.schema, &self.name)
    }
}

/// Column `at` of a row, which is never null.
pub fn text(row: &TextRow, at: usize) -> Result<String> {
    row.get(at)
        .cloned()
        .flatten()
        .ok_or_else(|| Error::protocol("the source's catalog gave no value where one must be"))
}

/// Longest name that is believed; PostgreSQL's and its relatives' have 63 bytes.
const LONGEST_NAME: usize = 255;

/// Column `at` of a row, which is a name.
pub fn name(row: &TextRow, at: usize) -> Result<String> {
    text(row, at).and_then(|name| match name.len() {
        1..=LONGEST_NAME => Ok(name),
        _ => Err(
            Error::protocol("the source's catalog gave a name that cannot be one").detail(format!(
                "It has {} bytes and begins with \"{}\".",
                name.len(),
                tame(&name)
            )),
        ),
    })
}

/// Column `at` of a row as a number; None for null.
pub fn number<T: std::str::FromStr>(row: &TextRow, at: usize) -> Option<T> {
    // Before 8.4 relpages times a block size is printed as a float.
    let text = row.get(at)?.as_deref()?;
    text.split('.').next()?.parse().ok()
}

/// The first `schema.name` in the order of `schemas` that the remote user may read.
pub fn find(session: &mut Session, schemas: &[String], wanted: &str) -> Result<Found> {
    let list: Vec<String> = schemas.iter().map(|s| quote_literal(s)).collect();
    let may_read = if session.version() >= 80_400 {
        "has_any_column_privilege(c.oid, 'SELECT')"
    } else {
        "has_table_privilege(c.oid, 'SELECT')"
    };
    let rows = match schemas {
        [] => Vec::new(),
        _ => session.query(&format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind, {may_read}, {BYTES}
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
             WHERE c.relname = {} AND n.nspname IN ({}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            quote_literal(wanted),
            list.join(", "),
        ))?,
    };
    let place = |row: &&TextRow| {
        schemas
            .iter()
            .position(|s| row.get(1).and_then(|s| s.as_ref()) == Some(s))
    };
    let label = match schemas {
        [schema] => quote_qualified(schema, wanted),
        _ => quote_ident(wanted),
    };
    let Some(row) = rows.iter().min_by_key(place) else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("source table {label} does not exist on server \"{}\"", session.server()),
        )
        .hint("Name it with source_table when it is called differently there."));
    };
    if text(row, 4)? != "t" {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!(
                "permission denied for source table {label} on server \"{}\"",
                session.server()
            ),
        )
        .hint("Grant SELECT on it to the remote user of the user mapping."));
    }
    Ok(Found {
        oid: text(row, 0)?,
        schema: name(row, 1)?,
        name: name(row, 2)?,
        kind: text(row, 3)?,
        bytes: number(row, 5),
    })
}

/// What collation l of column a does, for [`Collation::parse`]; null for types without one.
pub fn sorts_by(session: &Session) -> String {
    collation::sql(session.version())
}

/// Column `at` of a row with such a text.
pub fn collation(row: &TextRow, at: usize) -> Option<Collation> {
    Collation::parse(row.get(at)?.as_deref()?)
}

/// The join that `sorts_by` needs: `l` for the collation with OID `collation`.
pub fn collation_join(session: &Session, collation: &str) -> String {
    match session.version() {
        90_100.. => format!("LEFT JOIN pg_collation l ON l.oid = {collation}"),
        _ => String::new(),
    }
}

/// Columns in attnum order.
/// NOT NULL counts where no row can break it: in a table that is no foreign one, has no heirs that may lack it, and has it validated.
pub fn columns(session: &mut Session, oid: &str) -> Result<Vec<SourceColumn>> {
    let not_null = match (session.described().catalog, session.version()) {
        (Catalog::Declarative, 180_000..) => {
            "a.attnotnull AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
               AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated) AND"
        }
        (Catalog::Declarative, _) => "a.attnotnull AND",
        _ => "false AND",
    };
    let generated = match (session.described().catalog, session.version()) {
        (Catalog::Declarative, 120_000..) => "a.attgenerated <> ''",
        // It has such columns, and says so elsewhere.
        (Catalog::OpenGauss, _) => "true",
        _ => "false",
    };
    let rows = session.query(&format!(
        "SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), {}, a.attnum,
                {not_null} EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = a.attrelid
                                   AND (c.relkind = 'p' OR (c.relkind = 'r' AND NOT c.relhassubclass))),
                a.atttypmod, {generated}, {FACTS}
         FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid {}
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum",
        sorts_by(session),
        collation_join(session, "a.attcollation"),
    ))?;
    let described: Vec<Described> = rows.iter().map(|row| Described::read(row, 8)).collect::<Result<_>>()?;
    let version = session.version();
    let types = Types::read(described, version, &mut |sql| session.query(sql))?;
    let mut columns = Vec::new();
    for row in &rows {
        let type_oid = number(row, 1).unwrap_or(0);
        columns.push(SourceColumn {
            name: name(row, 0)?,
            type_oid,
            type_name: text(row, 2)?,
            kind: types.of(type_oid, number(row, 6).unwrap_or(-1)),
            collation: collation(row, 3),
            number: number(row, 4).unwrap_or(0),
            not_null: text(row, 5)? == "t",
            generated: text(row, 7)? == "t",
        });
    }
    Ok(columns)
}
