//! How to ask each family of servers what the source table looks like. One file per catalog family; `server` tells which one it is.

mod declarative;
mod definition;
mod greenplum;
mod opengauss;
pub mod pieces;
pub mod server;
mod storage;
mod table;

use super::Session;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_literal;
use crate::plan::create_table::Definition;
use crate::plan::tree::Node;
use crate::plan::units::{SourceRel, SourceTable};
use server::{Catalog, Product};

/// Reads the source table `name` of the first of `schemas` that has one. The session's settings are pinned.
pub fn read_table(session: &mut Session, schemas: &[String], name: &str) -> Result<SourceTable> {
    let found = table::find(session, schemas, name)?;
    read_found(session, &found)
}

/// The same, with all that a table like it is made of.
pub fn describe(session: &mut Session, schemas: &[String], name: &str) -> Result<(SourceTable, Definition)> {
    let found = table::find(session, schemas, name)?;
    let source = read_found(session, &found)?;
    let definition = definition::read(session, &found, &source.root)?;
    Ok((source, definition))
}

fn read_found(session: &mut Session, found: &table::Found) -> Result<SourceTable> {
    let tree = match session.described().catalog {
        Catalog::Declarative => declarative::tree(session, found)?,
        Catalog::Greenplum => greenplum::tree(session, found)?,
        Catalog::OpenGauss => opengauss::tree(session, found)?,
        Catalog::None => None,
    };
    let (columns, collations) = table::columns(session, &found.oid)?;
    Ok(SourceTable {
        root: tree.unwrap_or_else(|| Node {
            table: SourceRel {
                relation: found.relation(),
                name: found.name.clone(),
                readable: true,
                bytes: found.bytes,
            },
            bound: None,
            level: None,
        }),
        columns,
        collations,
    })
}

/// Fails if `relation`, just read, or a table below it, was truncated, rewritten or replaced since the session's snapshot was taken:
/// such changes don't follow snapshots, and what was read is then neither the old rows nor the new ones.
pub fn check_unchanged(session: &mut Session, relation: &str) -> Result<()> {
    if is_unchanged(session, relation)? {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("source relation {relation} was truncated, rewritten or replaced while the run was on"),
    )
    .hint("Run the same call again: it takes a new snapshot."))
}

/// Compares, for `relation` and all tables below it, the catalog as the snapshot has it (what a query sees) with the catalog as it is
/// now (what the system caches, and so names and file numbers, follow). Greenplum's partitions inherit too.
fn is_unchanged(session: &mut Session, relation: &str) -> Result<bool> {
    // Older servers lack pg_relation_filenode and recursion; others may lack anything.
    if session.version() < 90_000 || session.described().product == Product::Other {
        return Ok(true);
    }
    let name = quote_literal(relation);
    let rows = session.query(&format!(
        "WITH RECURSIVE tree AS (
           SELECT CAST(CAST({name} AS regclass) AS oid) AS oid
           UNION ALL SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
         SELECT NOT EXISTS (
           SELECT 1 FROM tree LEFT JOIN pg_class c ON c.oid = tree.oid
           WHERE c.oid IS NULL OR (c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)))
         AND EXISTS (
           SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.oid = CAST({name} AS regclass)
             AND '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' = {name})"
    ))?;
    answer(&rows)
}

fn answer(rows: &[super::TextRow]) -> Result<bool> {
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    Ok(table::text(row, 0)? == "t")
}

/// True when `table` has rows that satisfy the condition; one that may not be read by its own name is taken to. Inside a transaction.
///
/// No lock on it outlives the question: whoever changes the table would wait for the session that holds the run's snapshot, the workers
/// for that change, and the session for the workers. Nobody's deadlock detection sees that circle.
pub fn holds_rows(session: &mut Session, table: &SourceRel, condition: Option<&str>) -> Result<bool> {
    if !table.readable {
        return Ok(true);
    }
    let condition = condition.map(|c| format!(" WHERE {c}")).unwrap_or_default();
    answer(&session.query(&format!(
        "SAVEPOINT question; SELECT EXISTS (SELECT 1 FROM {}{condition});
         ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question",
        table.relation
    ))?)
}

/// Names those of `nodes` that hold rows.
pub fn with_rows<'a>(session: &mut Session, nodes: &[&'a Node<SourceRel>]) -> Result<Vec<&'a str>> {
    let mut found = Vec::new();
    for node in nodes {
        if holds_rows(session, &node.table, None)? {
            found.push(node.table.relation.as_str());
        }
    }
    Ok(found)
}

/// Begins a transaction there: what it reads does not change while it is open. With `snapshot` it sees what the exporting one sees.
pub fn begin(session: &mut Session, snapshot: Option<&str>) -> Result<()> {
    // Before 9.1 SERIALIZABLE is what REPEATABLE READ is since; Greenplum 5 refuses the newer name (variable.c).
    let level = if session.version() < 90_100 {
        "SERIALIZABLE"
    } else {
        "REPEATABLE READ"
    };
    session.batch(&format!("BEGIN ISOLATION LEVEL {level} READ ONLY"))?;
    match snapshot {
        Some(snapshot) => session
            .batch(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot)))
            .map_err(snapshot_gone),
        None => Ok(()),
    }
}

/// What a server says of a snapshot whose exporter is gone (snapmgr.c, ImportSnapshot) is what a lost connection leads to. Its texts may be in
/// any language.
fn snapshot_gone(error: Error) -> Error {
    let codes = [
        sqlstate::INVALID_PARAMETER_VALUE,
        sqlstate::UNDEFINED_OBJECT,
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
    ];
    if !error.remote || !codes.contains(&error.sqlstate.as_str()) {
        return error;
    }
    Error::new(
        sqlstate::CONNECTION_FAILURE,
        format!("the session that held the run's snapshot is gone: {}", error.message),
    )
}

/// Begins the run's transaction and exports its snapshot for the run's other sessions. None where the server has no snapshot that can be
/// shared: each unit is then read in one of its own.
pub fn begin_shared(session: &mut Session) -> Result<Option<String>> {
    begin(session, None)?;
    if !session.described().shares_snapshots() {
        return Ok(None);
    }
    match session.query("SELECT pg_export_snapshot()") {
        Ok(rows) => {
            let row = rows.first().ok_or_else(|| Error::protocol("no snapshot"))?;
            table::text(row, 0).map(Some)
        }
        // A server that has the function and refuses it, such as a standby of 9.x.
        Err(error) if error.remote => {
            session.batch("ROLLBACK")?;
            begin(session, None)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
