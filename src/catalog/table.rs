//! What every server's catalogs tell of a table: that it exists, its columns and its size. SQL that PostgreSQL 8.3 understands, as
//! Greenplum 5 must, but for what is said to be later; names are unqualified, since the session's search_path is pinned to pg_catalog.

use super::Database;
use super::server::{Catalog, Server};
use super::trust::Trust;
use super::type_facts::{Described, FACTS, Types};
use crate::error::Result;
use crate::plan::collation::{self, Collation};
use crate::plan::columns::Column;
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::counterparts::counterpart_of;
use crate::plan::tables::Relation;
use crate::plan::tree::{Level, Node};
use crate::row::Row;
use std::collections::HashMap;

/// Size of table c with TOAST table t as of its last ANALYZE or VACUUM, null before the first: pg_table_size would wait for whoever has
/// the table locked.
pub const BYTES: &str =
    "NULLIF((c.relpages + COALESCE(t.relpages, 0)) * CAST(current_setting('block_size') AS bigint), 0)";

/// A relation as pg_class has it.
pub struct Found {
    /// pg_class.oid
    pub oid: u32,
    /// schema
    pub schema: String,
    /// relname
    pub name: String,
    /// pg_class.relkind
    pub kind: String,
    /// whoever asks may SELECT from it, be it some of its columns
    pub readable: bool,
    /// size on disk, when known
    pub bytes: Option<i64>,
}

impl Found {
    /// Quoted, qualified.
    pub fn relation(&self) -> String {
        quote_qualified(&self.schema, &self.name)
    }

    /// The root of its tree, or the only node.
    pub fn node(&self, level: Option<Level<Relation>>) -> Node<Relation> {
        Node {
            table: Relation {
                oid: self.oid,
                name: self.name.clone(),
                relation: self.relation(),
                foreign: self.kind == "f",
                readable: true,
                bytes: self.bytes,
                ..Relation::default()
            },
            bound: None,
            level,
        }
    }

    /// The table and its partitions: a clause that defines `tree` with the columns oid and parent.
    pub fn tree(&self, server: &Server) -> String {
        if server.is_declarative() {
            return tree_sql(self.oid);
        }
        let below = match server.catalog {
            Catalog::Greenplum => format!(
                " UNION ALL SELECT r.parchildrelid, p.parrelid FROM pg_partition_rule r JOIN pg_partition p ON p.oid = r.paroid
                  WHERE p.parrelid = {} AND NOT p.paristemplate AND r.parchildrelid <> 0",
                self.oid
            ),
            _ => String::new(),
        };
        let root = self.oid;
        format!("WITH tree AS (SELECT CAST({root} AS oid) AS oid, CAST(NULL AS oid) AS parent{below})")
    }

    /// The same of the table alone.
    pub fn alone(&self) -> String {
        format!(
            "WITH tree AS (SELECT CAST({} AS oid) AS oid, CAST(NULL AS oid) AS parent)",
            self.oid
        )
    }

    fn read(row: &Row) -> Result<Found> {
        Ok(Found {
            oid: row.need(0)?,
            schema: row.name(1)?,
            name: row.name(2)?,
            kind: row.string(3)?,
            readable: row.is(4),
            bytes: row.number(5),
        })
    }
}

/// The same of any table, be it a partition itself.
pub fn tree_below(server: &Server, oid: u32) -> String {
    heirs_sql(&oid.to_string(), server.is_declarative())
}

/// A clause for PostgreSQL 10 and later that defines `tree`, the table with this OID, which comes first, and every one below it, with the
/// columns oid and parent.
pub fn tree_sql(oid: u32) -> String {
    heirs_sql(&oid.to_string(), true)
}

/// The same of whatever `root` is an expression for, and on any server that has WITH RECURSIVE: tables inherit in older families as well.
pub fn heirs_sql(root: &str, is_declarative: bool) -> String {
    let attached = match is_declarative {
        true => "WHERE NOT COALESCE(CAST(to_jsonb(i) ->> 'inhdetachpending' AS boolean), false)",
        false => "",
    };
    format!(
        "WITH RECURSIVE tree AS (
           SELECT CAST({root} AS oid) AS oid, CAST(NULL AS oid) AS parent
           UNION ALL
           SELECT i.inhrelid, i.inhparent FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid {attached})"
    )
}

/// Of the relations that satisfy a condition.
fn find(db: &mut dyn Database, condition: &str) -> Result<Vec<Row>> {
    let may_read = match db.server().version {
        80_400.. => "has_any_column_privilege(c.oid, 'SELECT')",
        _ => "has_table_privilege(c.oid, 'SELECT')",
    };
    db.query(&format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, {may_read}, {BYTES}
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
         WHERE {condition}"
    ))
}

/// The first `schema.name` in the order of `schemas` that there is.
pub fn by_name(db: &mut dyn Database, schemas: &[String], wanted: &str) -> Result<Option<Found>> {
    let list: Vec<String> = schemas.iter().map(|s| quote_literal(s)).collect();
    let rows = match schemas {
        [] => Vec::new(),
        _ => find(
            db,
            &format!(
                "c.relname = {} AND n.nspname IN ({}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
                quote_literal(wanted),
                list.join(", ")
            ),
        )?,
    };
    let place = |row: &&Row| schemas.iter().position(|s| row.text(1) == Some(s));
    rows.iter().min_by_key(place).map(Found::read).transpose()
}

/// The relation with this OID.
pub fn by_oid(db: &mut dyn Database, oid: u32) -> Result<Option<Found>> {
    let rows = find(db, &format!("c.oid = {oid}"))?;
    rows.first().map(Found::read).transpose()
}

/// The join that [`collation::sql`] needs on a server of `version`: `l` for the collation with OID `collation`.
pub fn collation_join(version: u32, collation: &str) -> String {
    match version {
        90_100.. => format!("LEFT JOIN pg_collation l ON l.oid = {collation}"),
        _ => String::new(),
    }
}

/// NOT NULL of column a; since 18 such a constraint may be one that rows need not satisfy yet. `version` is a declarative server's.
pub fn not_null(version: u32) -> &'static str {
    match version {
        180_000.. => {
            "a.attnotnull AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
               AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)"
        }
        _ => "a.attnotnull",
    }
}

/// NOT NULL of column a, as far as no row can break it; whether a value is needed; whether it has one by itself; whether it is computed;
/// whether the binary form of its type y means the same on every server. The last four are about a table that is written, as one of the first
/// two families of catalogs may be.
///
/// NOT NULL counts in a table that is no foreign one, has no heirs that may lack it, and has it validated. A key column is needed as a NOT
/// NULL one is: no RANGE partition takes a NULL. Binary is safe for pinned built-in base and range types and their arrays, except object
/// identifiers, whose binary form is a number that means something else on another server, money, whose scale follows lc_monetary,
/// int2vector, oidvector and (in some minor versions) tsquery, which don't read the empty one they write, and types (or elements of arrays)
/// without binary functions.
fn facts(catalog: Catalog, version: u32) -> String {
    let binary_safe = "y.oid < 10000 AND y.typtype IN ('b', 'r', 'm') AND y.typsend <> 0 AND y.typreceive <> 0
           AND y.typname !~ '^_?(reg|aclitem$|money$|tsquery$|(int2|oid)vector$)'
           AND NOT EXISTS (SELECT 1 FROM pg_type e
             WHERE e.typarray = y.oid AND (e.typtype NOT IN ('b', 'r', 'm') OR e.typsend = 0))";
    if catalog == Catalog::Greenplum && version >= 90_400 {
        return format!(
            "false, a.attnotnull OR y.typnotnull, a.atthasdef OR y.typdefault IS NOT NULL, false, {binary_safe}"
        );
    }
    if catalog != Catalog::Declarative {
        // openGauss has computed columns, and says so elsewhere.
        let generated = catalog == Catalog::OpenGauss;
        return format!("false, false, false, {generated}, false");
    }
    let not_null = not_null(version);
    let generated = match version {
        120_000.. => "a.attgenerated <> ''",
        _ => "false",
    };
    format!(
        "{not_null} AND EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = a.attrelid
                                AND (c.relkind = 'p' OR (c.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid)))),
         a.attnotnull OR y.typnotnull OR EXISTS (SELECT 1 FROM pg_partitioned_table q
           WHERE q.partrelid = a.attrelid AND q.partstrat = 'r' AND a.attnum = ANY (q.partattrs)),
         a.atthasdef OR a.attidentity <> '' OR y.typdefault IS NOT NULL,
         {generated},
         {binary_safe}"
    )
}

/// Columns of `table`, quoted and qualified, of an openGauss server that are read by an expression, as their types are none here.
pub fn reads(db: &mut dyn Database, table: &str) -> Result<HashMap<String, String>> {
    let rows = db.query(&format!(
        "SELECT a.attname, a.atttypid FROM pg_attribute a
         WHERE a.attrelid = CAST({} AS regclass) AND a.attnum > 0 AND NOT a.attisdropped",
        quote_literal(table)
    ))?;
    let mut reads = HashMap::new();
    for row in &rows {
        let name = row.name(0)?;
        if let Some(here) = counterpart_of(row.need(1)?) {
            let read = here.read(&quote_ident(&name));
            reads.insert(name, read);
        }
    }
    Ok(reads)
}

/// Columns of the table with this OID, in attnum order. How they sort is asked of a table that is read: one like it may be created.
pub fn columns(db: &mut dyn Database, oid: u32, trust: Trust) -> Result<Vec<Column>> {
    let (catalog, version) = (db.server().catalog, db.server().version);
    let (collation, join) = match trust {
        Trust::Everybody => (collation::sql(version), collation_join(version, "a.attcollation")),
        Trust::OwnRole | Trust::BuiltIn => ("CAST(NULL AS text)".to_owned(), String::new()),
    };
    let rows = db.query(&format!(
        "SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), {collation}, a.attnum, a.atttypmod, {}, {FACTS}
         FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid {join}
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum",
        facts(catalog, version),
    ))?;
    let described = rows.iter().map(|row| Described::read(row, 11));
    let types = Types::read(described.collect::<Result<_>>()?, db)?;
    let column = |row: &Row| {
        let (name, type_oid, modifier) = (row.name(0)?, row.number(1).unwrap_or(0), row.number(5).unwrap_or(-1));
        let here = counterpart_of(type_oid).filter(|_| catalog == Catalog::OpenGauss);
        Ok(Column {
            read: here.map(|here| here.read(&quote_ident(&name))),
            name,
            type_oid: here.map_or(type_oid, |here| here.oid),
            type_name: here.map_or_else(|| row.string(2), |here| Ok(here.type_name(modifier)))?,
            kind: here.map_or_else(|| types.of(type_oid, modifier), |here| here.kind(modifier)),
            collation: row.text(3).and_then(Collation::parse),
            number: row.number(4).unwrap_or(0),
            not_null: row.is(6),
            needed: row.is(7),
            has_default: row.is(8),
            generated: row.is(9),
            binary_safe: row.is(10),
        })
    };
    rows.iter().map(column).collect()
}
