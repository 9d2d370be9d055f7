//! A table of this database, by SPI and by OID.

pub mod by_pages;
mod copy_in;
mod ddl;
mod effects;
mod facts;
mod load;
mod not_valid;
mod own_code;
mod rights;
mod statistics;
mod swap;
pub mod table_like;
pub mod team;

pub use ddl::{explain_creation, explain_drop};

use super::loading::{Loaded, Storage, What};
use crate::catalog::Database;
use crate::catalog::server::Server;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{backend, relation, report, spi, value, xact};
use crate::plan::creation::Creation;
use crate::plan::holders::{Holder, name_holders};
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::source::Reader;
use std::collections::HashMap;

/// The table.
pub struct Local {
    /// its OID
    pub table: u32,
    server: Server,
}

/// This database, asked by SPI. No question leaves a lock.
pub struct Here<'a>(&'a Server);

impl Database for Here<'_> {
    fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        xact::look(|| backend::with_pinned_path(|| spi::execute(sql, &[])))
    }

    fn server(&self) -> &Server {
        self.0
    }
}

/// Under a savepoint, so that what fails is one unit's error; a cancel ends all.
fn tried<T>(f: impl FnOnce() -> Result<T>) -> Result<Result<T>> {
    match xact::subtransaction(f) {
        Err(error) if error.is_cancel() => Err(error),
        result => Ok(result),
    }
}

impl Local {
    /// The table with this OID.
    pub fn new(table: u32) -> Local {
        Local {
            table,
            // What the library was built for is what has loaded it.
            server: Server::of_version(backend::VERSION),
        }
    }

    /// The database that it is in.
    pub fn database(&self) -> Here<'_> {
        Here(&self.server)
    }

    /// The rows of a query; None where the server refuses it.
    pub fn query_unless_refused(&self, sql: &str) -> Result<Option<Vec<Row>>> {
        xact::unless_refused(|| self.database().query(sql))
    }

    /// This session's time zone.
    pub fn timezone(&self) -> Result<String> {
        backend::timezone()
    }

    /// The error where the table is not there.
    pub fn not_visible(&self) -> Error {
        Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!(
                "the table with OID {} is not visible to the processes of the run",
                self.table
            ),
        )
        .hint("Commit the transaction that created it first.")
    }

    /// Ranks of values of a type that is not built in.
    pub fn rank_by_oid(&self, type_oid: u32, collation: u32, values: &[&str]) -> Result<Vec<i64>> {
        report::catch(|| value::rank(type_oid, collation, values))
    }

    /// A value of such a type as it prints it.
    pub fn print_one_by_oid(&self, type_oid: u32, value: &str) -> Result<String> {
        report::catch(|| value::print(type_oid, value))
    }

    /// Values of such a type as it prints them; None where it refuses one.
    pub fn print_by_oid(&self, type_oid: u32, values: &[String]) -> Result<Option<Vec<String>>> {
        xact::unless_refused(|| values.iter().map(|value| value::print(type_oid, value)).collect())
    }

    /// See [`super::Target::partition_constraints`].
    pub fn partition_constraints(&self, leaves: &[u32]) -> Result<HashMap<u32, String>> {
        facts::partition_constraints(leaves)
    }

    /// See [`super::Target::is_empty`].
    pub fn is_empty(&self, unit: &Unit) -> Result<bool> {
        Ok(relation::is_empty(unit.oid()?))
    }

    /// See [`super::Target::create_partition`].
    pub fn create_partition(&self, creation: &Creation) -> Result<()> {
        ddl::create_partition(self, creation)
    }

    /// See [`super::Target::drop_partition`].
    pub fn drop_partition(&self, unit: &Unit, bound: &str) -> Result<String> {
        ddl::drop_partition(self.table, unit.oid()?, bound)
    }

    /// See [`super::Target::replace`]. The unit's row is part of the transaction that replaces the unit.
    pub fn replace(
        &self,
        what: &What<'_>,
        reader: &mut Reader,
        record: &mut dyn FnMut(&Loaded) -> Result<()>,
    ) -> Result<Loaded> {
        load::replace(self, what, reader, record)
    }

    /// See [`super::Target::analyze`].
    pub fn analyze(&self, unit: &Unit) -> Result<()> {
        statistics::analyze(unit.oid()?)
    }

    /// See [`super::Target::is_on_server`].
    pub fn is_on_server(&self, identity: &str) -> Result<bool> {
        facts::is_this_server(identity)
    }

    /// See [`super::Target::is_beside`].
    pub fn is_beside(&self, identity: &str, database: &str, oid: u32) -> Result<bool> {
        Ok(facts::is_this_server(identity)? && facts::is_in_tree(self.table, database, oid)?)
    }

    /// See [`super::Target::parents_of_all`].
    pub fn parents_of_all(&self, units: &[u32]) -> Result<Vec<u32>> {
        statistics::parents_of_all(units)
    }

    /// See [`super::Target::analyze_parent`].
    pub fn analyze_parent(&self, table: &Unit) -> Result<()> {
        statistics::analyze_parent(table.oid()?)
    }

    /// Who holds a lock on a unit or on what is above it, for the error of one that could not get its own. Inside a transaction.
    pub fn lock_holders(&self, unit: &Unit) -> Result<Vec<Holder>> {
        facts::lock_holders(unit.oid()?)
    }

    /// See [`super::Target::parents`].
    pub fn parents(&self) -> Result<Vec<u32>> {
        facts::parents_of(self.table)
    }

    /// See [`super::Target::unit_of`].
    pub fn unit_of(&self, oid: u32) -> Result<Unit> {
        Ok(Unit {
            name: facts::qualified_name(oid)?,
            oid: Some(oid),
        })
    }

    /// See [`super::Target::lock_to_compare`].
    pub fn lock_to_compare(&self, units: &[Unit]) -> Result<Result<()>> {
        let lock = |unit: &Unit| {
            let name = &unit.name;
            spi::execute(&format!("LOCK TABLE ONLY {name} IN ACCESS SHARE MODE"), &[])?;
            match facts::qualified_name(unit.oid()?)? == *name {
                true => Ok(()),
                false => Err(Error::new(
                    sqlstate::OBJECT_IN_USE,
                    format!("{name} was renamed while it was to be compared"),
                )
                .hint("Run the same call again.")),
            }
        };
        let locked = tried(|| units.iter().try_for_each(lock))?;
        let (Err(error), Some(first)) = (&locked, units.first()) else {
            return Ok(locked);
        };
        if error.sqlstate == sqlstate::INSUFFICIENT_PRIVILEGE {
            // Before 16 it is LOCK TABLE that says no; what there is to do is the same.
            return Ok(
                locked.map_err(|error| error.hint("GRANT SELECT on the table and its partitions to the calling role."))
            );
        }
        if error.sqlstate != sqlstate::LOCK_NOT_AVAILABLE {
            return Ok(locked);
        }
        let holders = self.lock_holders(first)?;
        Ok(locked.map_err(|error| name_holders(error, "it or its parents", &holders)))
    }

    /// See [`super::Target::in_one_snapshot`].
    pub fn in_one_snapshot<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        spi::in_one_snapshot(f)
    }

    /// See [`super::Target::figures`].
    pub fn figures(&self, statements: &[(&Unit, &str)]) -> Result<Result<Vec<Row>>> {
        let one = |(unit, statement): &(&Unit, &str)| {
            let reader = rights::reader_of(unit.oid()?)?;
            let rows = backend::as_tables_owner(reader, || spi::select(statement))?;
            rows.into_iter().next().ok_or_else(|| Error::internal("no figures"))
        };
        tried(|| statements.iter().map(one).collect())
    }

    /// What a unit's storage is known by, within the transaction that has replaced it.
    fn storage_of(&self, unit: u32) -> Result<Storage> {
        Storage::of(&mut self.database(), &[unit])?
            .remove(&unit)
            .ok_or_else(|| Error::internal("the unit is gone"))
    }
}
