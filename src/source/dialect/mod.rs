//! How to ask each family of servers what the source table looks like. One file per catalog family.

mod postgres;

use super::Session;
use crate::error::{Error, Result};
use crate::plan::units::SourceTable;

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

/// Begins the run's transaction there: what it reads does not change while it runs.
pub fn begin(session: &mut Session, snapshot: Option<&str>) -> Result<()> {
    postgres::begin(session, snapshot)
}

/// Exports the snapshot of the session's transaction for the run's other sessions.
pub fn export_snapshot(session: &mut Session) -> Result<String> {
    postgres::export_snapshot(session)
}
