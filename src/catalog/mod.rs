//! How a server describes its tables, for either end: which server it is, one file for each family of catalogs, what a table is made of, how it
//! is stored, how it can be read in pieces. Each reader exists once and asks through [`Database`]: this server by SPI, another one over the wire.
//!
//! Statements name things unqualified, as the search_path is pg_catalog wherever they run. What Greenplum 4 to 6 may be asked is SQL that
//! PostgreSQL 8.3 understands, or 9.4 where the version was looked at.

mod declarative;
pub mod defaults;
mod definition;
pub mod grants;
pub mod greenplum;
pub mod keys;
pub mod opengauss;
pub mod pieces;
pub mod server;
mod storage;
pub mod table;
pub mod trust;
mod type_facts;

use crate::error::Result;
use crate::plan::new_table::Definition;
use crate::plan::tables::Table;
use crate::row::Row;
use server::{Catalog, Server};
use table::Found;
use trust::Trust;

/// A server that can be asked.
pub trait Database {
    /// Runs statements and gives the rows of all of them, as text. An error of the server's own, and of the way to it.
    fn query(&mut self, sql: &str) -> Result<Vec<Row>>;

    /// Which server it is.
    fn server(&self) -> &Server;
}

/// Reads a table that was found, with its partitions. `trust` tells whose types its keys may be of.
pub fn read(db: &mut dyn Database, found: &Found, trust: Trust) -> Result<Table> {
    let tree = match db.server().catalog {
        Catalog::Declarative => declarative::tree(db, found, trust)?,
        Catalog::Greenplum => greenplum::tree(db, found, trust)?,
        Catalog::OpenGauss => opengauss::tree(db, found)?,
        Catalog::None => None,
    };
    Ok(Table {
        schema: found.schema.clone(),
        name: found.name.clone(),
        root: tree.unwrap_or_else(|| found.node(None)),
        columns: table::columns(db, found.oid, trust)?,
    })
}

/// The same, with all that a table like it is made of.
pub fn describe(db: &mut dyn Database, found: &Found) -> Result<(Table, Definition)> {
    let table = read(db, found, Trust::Everybody)?;
    let definition = definition::read(db, found, &table.root)?;
    Ok((table, definition))
}
