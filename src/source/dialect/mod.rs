//! How to ask each family of servers what the source table looks like. One file per catalog family.

mod postgres;

use super::Session;
use crate::error::{Error, Result, sqlstate};
use crate::plan::units::{SourceChild, SourceTable};

/// First version of PostgreSQL with declarative partitions.
const DECLARATIVE: u32 = 100_000;

/// The schemas an unqualified name is looked for in: the remote user's search_path, asked before it is pinned.
pub fn search_path(session: &mut Session) -> Result<Vec<String>> {
    let rows = session.query("SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))")?;
    Ok(rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

/// Reads the source table `name` of the first of `schemas` that has one. The session's settings are pinned.
pub fn read_table(session: &mut Session, schemas: &[String], name: &str) -> Result<SourceTable> {
    postgres::read_table(session, schemas, name)
}

/// Refuses a source whose catalogs cgpsync cannot read.
pub fn check_version(session: &Session) -> Result<()> {
    let version = session.version();
    if version >= DECLARATIVE {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "server \"{}\" runs a version that is not supported as a source",
        session.server()
    ))
    .detail(format!(
        "It reports version {version}; PostgreSQL 10 (100000) is the oldest supported."
    )))
}

/// Fails if `relation`, just read, or a table below it, was truncated, rewritten or replaced since the session's snapshot was taken:
/// such changes don't follow snapshots, and what was read is then neither the old rows nor the new ones.
pub fn check_unchanged(session: &mut Session, relation: &str) -> Result<()> {
    if postgres::is_unchanged(session, relation)? {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("source relation {relation} was truncated, rewritten or replaced while the run was on"),
    )
    .hint("Run the same call again: it takes a new snapshot."))
}

/// Names those of `children` that hold rows; one that may not be read by its own name is taken to.
pub fn with_rows<'a>(session: &mut Session, children: &[&'a SourceChild]) -> Result<Vec<&'a str>> {
    let mut found = Vec::new();
    for child in children {
        if !child.readable || postgres::has_rows(session, &child.relation)? {
            found.push(child.relation.as_str());
        }
    }
    Ok(found)
}

/// Begins the run's transaction there: what it reads does not change while it runs.
pub fn begin(session: &mut Session, snapshot: Option<&str>) -> Result<()> {
    postgres::begin(session, snapshot)
}

/// Exports the snapshot of the session's transaction for the run's other sessions.
pub fn export_snapshot(session: &mut Session) -> Result<String> {
    postgres::export_snapshot(session)
}
