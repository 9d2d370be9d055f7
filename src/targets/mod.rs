//! The table that is written, and everything that a run asks of it or does to it: [`Target`]. It is a table of this database ([`local`]), or one on
//! another server that a foreign table here stands for ([`remote`]). Who plans, and how runs go, knows neither SPI nor statements of it.

mod kinds;
pub mod loading;
pub mod local;
mod remote;
mod values;

use crate::catalog::table::{self, Found};
use crate::catalog::trust::Trust;
use crate::catalog::{self, Database, defaults, keys};
use crate::error::{Error, Result, sqlstate};
use crate::pg::{backend, xact};
use crate::plan::copy_sql::{quote_ident, quote_qualified};
use crate::plan::creation::Creation;
use crate::plan::holders::name_holders;
use crate::plan::key::KeyColumn;
use crate::plan::tables::{Table, Unit};
use crate::row::Row;
use crate::source::Reader;
use crate::wire::Session;
use loading::{Loaded, Storage, What};
use local::Local;
pub use remote::{Access, Held, Remote, open_to_write};
use std::collections::{BTreeSet, HashMap};

/// The table that is written.
pub enum Target {
    /// of this database
    Local(Local),
    /// of another server
    Remote(Box<Remote>),
}

/// The first `schema.name` in the order of `schemas` that another server has; an error if none, or if it cannot be written.
pub fn find(session: &mut Session, schemas: &[String], name: &str) -> Result<Found> {
    let Some(found) = table::by_name(session, schemas, name)? else {
        let label = match schemas {
            [schema] => quote_qualified(schema, name),
            _ => quote_ident(name),
        };
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("there is no table {label} on server \"{}\"", session.name()),
        ));
    };
    kinds::check(session, found.oid)?;
    Ok(found)
}

/// Refuses what cannot be written, with the reason.
pub fn check(table: u32) -> Result<()> {
    kinds::check(&mut Local::new(table).database(), table)
}

/// The same, but for a foreign table that stands for a table elsewhere: gives its foreign server.
pub fn check_wherever_it_is(table: u32) -> Result<Option<String>> {
    match remote::stands_for(table)? {
        Some(place) => Ok(Some(place.server)),
        None => check(table).map(|()| None),
    }
}

/// The same of a table that is to be written, as far as the acting role may have that done.
pub fn check_to_write(table: u32) -> Result<Option<String>> {
    let server = check_wherever_it_is(table)?;
    if server.is_some() {
        remote::check_privileges(table)?;
    }
    Ok(server)
}

impl Target {
    /// A table of this database.
    pub fn here(table: u32) -> Target {
        Target::Local(Local::new(table))
    }

    /// What `table` is or stands for; nothing of another server is asked yet. `timezone` is what times are read in there. Inside a transaction.
    pub fn of(table: u32, access: Access, timezone: &str) -> Result<Target> {
        Ok(match remote::stands_for(table)? {
            None => Target::here(table),
            Some(there) => Target::Remote(Box::new(Remote::new(table, there, access, timezone.to_owned()))),
        })
    }

    /// The table, where it is another server's.
    pub fn elsewhere(&self) -> Option<&Remote> {
        match self {
            Target::Local(_) => None,
            Target::Remote(remote) => Some(remote),
        }
    }

    /// Runs `f`, which looks at the table: of another server, in one transaction there that changes nothing. Connected.
    pub fn look<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Target::Local(_) => f(),
            Target::Remote(remote) => remote.look(f),
        }
    }

    /// Ends the session with its server, if it has one; politely, where all has gone well.
    pub fn leave(&self, politely: bool) {
        if let Target::Remote(remote) = self {
            remote.leave(politely);
        }
    }

    /// OID of the table here: it, or what stands for it.
    pub fn table(&self) -> u32 {
        match self {
            Target::Local(local) => local.table,
            Target::Remote(remote) => remote.table,
        }
    }

    /// Asks its server.
    fn ask<T>(&self, f: impl FnOnce(&mut dyn Database) -> Result<T>) -> Result<T> {
        match self {
            Target::Local(local) => f(&mut local.database()),
            Target::Remote(remote) => f(&mut *remote.session()?),
        }
    }

    pub fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.ask(|db| db.query(sql))
    }

    /// The same, where a refusal is an answer: None.
    fn query_unless_refused(&self, sql: &str) -> Result<Option<Vec<Row>>> {
        match self {
            Target::Local(local) => local.query_unless_refused(sql),
            Target::Remote(remote) => remote.query_unless_refused(sql),
        }
    }

    /// Ranks of values of a type that is not built in, by its OID and that of their collation.
    fn rank_by_oid(&self, type_oid: u32, collation: u32, values: &[&str]) -> Result<Vec<i64>> {
        match self {
            Target::Local(local) => local.rank_by_oid(type_oid, collation, values),
            Target::Remote(remote) => remote.rank_by_oid(type_oid, values),
        }
    }

    /// A value of such a type as it prints it.
    fn print_one_by_oid(&self, type_oid: u32, value: &str) -> Result<String> {
        match self {
            Target::Local(local) => local.print_one_by_oid(type_oid, value),
            Target::Remote(remote) => remote.print_one_by_oid(type_oid, value),
        }
    }

    /// Values of such a type as it prints them; None where it refuses one.
    fn print_by_oid(&self, type_oid: u32, values: &[String]) -> Result<Option<Vec<String>>> {
        match self {
            Target::Local(local) => local.print_by_oid(type_oid, values),
            Target::Remote(remote) => remote.print_by_oid(type_oid, values),
        }
    }

    /// Version of its server, as server_version_num has it.
    pub fn version(&self) -> Result<u32> {
        self.ask(|db| Ok(db.server().version))
    }

    /// Whether partitions are made in the words of Greenplum before 7.
    pub fn is_classic(&self) -> Result<bool> {
        self.ask(|db| Ok(db.server().is_classic()))
    }

    /// Encoding of its text, as client_encoding takes it: this database's, as a target elsewhere has the same.
    pub fn encoding(&self) -> String {
        backend::encoding()
    }

    /// Time zone that its values are read in.
    pub fn timezone(&self) -> Result<String> {
        match self {
            Target::Local(local) => local.timezone(),
            Target::Remote(remote) => Ok(remote.timezone.clone()),
        }
    }

    /// OID of the table where it is.
    fn oid(&self) -> Result<u32> {
        match self {
            Target::Local(local) => Ok(local.table),
            Target::Remote(remote) => Ok(remote.found()?.oid),
        }
    }

    /// Reads columns and partitions.
    pub fn read_table(&self) -> Result<Table> {
        match self {
            Target::Local(local) => {
                let db = &mut local.database();
                let mut found = || table::by_oid(db, local.table)?.ok_or_else(|| local.not_visible());
                let table = catalog::read(&mut local.database(), &found()?, Trust::OwnRole)?;
                // Nobody holds it: what is dropped between two statements must not look like another table.
                found().map(|_| table)
            }
            Target::Remote(remote) => {
                let mut table = catalog::read(&mut *remote.session()?, &*remote.found()?, Trust::BuiltIn)?;
                remote.in_our_terms(&mut table)?;
                Ok(table)
            }
        }
    }

    /// Columns of the table by name, as if they were its key.
    pub fn key_columns(&self, names: &BTreeSet<String>) -> Result<Vec<KeyColumn>> {
        match self {
            Target::Local(local) => keys::key_columns(&mut local.database(), local.table, names, Trust::OwnRole),
            Target::Remote(remote) => {
                let oid = remote.found()?.oid;
                let keys = keys::key_columns(&mut *remote.session()?, oid, names, Trust::BuiltIn)?;
                remote.keys_in_our_terms(keys)
            }
        }
    }

    /// Whether some column is neither generated nor among the copied `columns`.
    pub fn leaves_out(&self, columns: &[String]) -> Result<bool> {
        let oid = self.oid()?;
        self.ask(|db| defaults::leaves_out(db, oid, columns))
    }

    /// Whether any partition fills such a column otherwise than the table.
    pub fn has_other_defaults(&self, columns: &[String]) -> Result<bool> {
        let oid = self.oid()?;
        self.ask(|db| defaults::of_any_unit(db, oid, columns))
    }

    /// The condition a row must satisfy to belong to each leaf, by OID: its partition constraint, deparsed by its server with every literal's
    /// type. Leaves that take every row are not in the result. An error for a target elsewhere, whose words are not asked of the source.
    pub fn partition_constraints(&self, leaves: &[u32]) -> Result<HashMap<u32, String>> {
        match self {
            Target::Local(local) => local.partition_constraints(leaves),
            Target::Remote(remote) => Err(remote.no_conditions()),
        }
    }

    /// Why COPY loads partitions, of those for which it does: see [`local::by_pages::obstacles`].
    pub fn loaded_by_copy(&self, units: &[u32], columns: &[String], truncated: bool) -> Result<HashMap<u32, String>> {
        match self {
            Target::Local(_) => local::by_pages::obstacles(units, columns, truncated),
            Target::Remote(_) => Ok(HashMap::new()),
        }
    }

    /// True when the unit surely has no row.
    pub fn is_empty(&self, unit: &Unit) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_empty(unit),
            Target::Remote(remote) => remote.is_empty(unit),
        }
    }

    /// What the storage of units is known by, by OID; those that are gone are not in it.
    pub fn storage_of(&self, oids: &[u32]) -> Result<HashMap<u32, Storage>> {
        self.ask(|db| Storage::of(db, oids))
    }

    /// Creates a partition and what is below it; gives the names of its tables, quoted and qualified. Inside a transaction here; elsewhere in one of its own.
    pub fn create_partition(&self, creation: &Creation) -> Result<Vec<String>> {
        match self {
            Target::Local(local) => local.create_partition(creation).map(|()| creation.names()),
            Target::Remote(remote) => remote.create_partition(creation),
        }
    }

    /// Drops a partition that still has the bounds it was planned with; gives its name, quoted and qualified. Transactions as above.
    pub fn drop_partition(&self, unit: &Unit, bound: &str) -> Result<String> {
        match self {
            Target::Local(local) => local.drop_partition(unit, bound),
            Target::Remote(remote) => remote.drop_partition(&unit.name, bound),
        }
    }

    /// Replaces the rows of one unit: afterwards it holds exactly what the source sent, or this fails and it holds what it held. Begins and
    /// commits; `record` is called when the unit is to be recorded as done, within a transaction here: the one that replaces it, or one after that.
    pub fn replace(
        &self,
        what: &What<'_>,
        reader: &mut Reader,
        record: &mut dyn FnMut(&Loaded) -> Result<()>,
    ) -> Result<Loaded> {
        match self {
            Target::Local(local) => local.replace(what, reader, record),
            Target::Remote(remote) => remote.replace(what, reader, record),
        }
    }

    /// Gathers statistics of a unit, if the role may and nobody else is at it. Inside a transaction.
    pub fn analyze(&self, unit: &Unit) -> Result<()> {
        match self {
            Target::Local(local) => local.analyze(unit),
            Target::Remote(remote) => remote.analyze(unit),
        }
    }

    /// Whether the server of this [`identity`](crate::wire::Session::identity) is this one, where a session of it could wait for this process.
    pub fn is_on_server(&self, identity: &str) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_on_server(identity),
            Target::Remote(_) => Ok(false),
        }
    }

    /// Whether the relation `oid` of `database` on the server of this [`identity`](crate::wire::Session::identity) is the table, or of its tree.
    pub fn is_beside(&self, identity: &str, database: &str, oid: u32) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_beside(identity, database, oid),
            Target::Remote(remote) => remote.is_beside(identity, database, oid),
        }
    }

    /// The partitioned tables above units, from the lowest.
    pub fn parents_of_all(&self, units: &[u32]) -> Result<Vec<u32>> {
        match self {
            Target::Local(local) => local.parents_of_all(units),
            Target::Remote(remote) => remote.parents_of_all(units),
        }
    }

    /// Gathers statistics of a partitioned table from rows of all that is below it. Inside a transaction.
    pub fn analyze_parent(&self, table: &Unit) -> Result<()> {
        match self {
            Target::Local(local) => local.analyze_parent(table),
            Target::Remote(remote) => remote.analyze_parent(table),
        }
    }

    /// `error` as a user needs it: a lock here on `unit`, or on what is above it, that was not to be had is somebody's. Outside of a transaction.
    pub fn name_lock_holders(&self, error: Error, unit: &Unit) -> Error {
        let Target::Local(local) = self else { return error };
        if error.sqlstate != sqlstate::LOCK_NOT_AVAILABLE || error.is_remote() {
            return error;
        }
        match xact::transaction(|| local.lock_holders(unit)) {
            Ok(holders) => name_holders(error, "it or its parents", &holders),
            Err(_) => error,
        }
    }

    /// The partitioned tables here above it that a run of it excludes runs of, from the top.
    pub fn parents(&self) -> Result<Vec<u32>> {
        Local::new(self.table()).parents()
    }

    /// A table as it is called now, as a unit.
    pub fn unit_of(&self, oid: u32) -> Result<Unit> {
        match self {
            Target::Local(local) => local.unit_of(oid),
            Target::Remote(remote) => remote.unit_of(oid),
        }
    }

    /// Locks tables that are to be compared, before the snapshot is taken: what truncates or replaces them does not follow snapshots. Checks
    /// that they may be read. What fails is the inner error; the outer one ends all. Elsewhere a table is locked when it is read.
    pub fn lock_to_compare(&self, units: &[Unit]) -> Result<Result<()>> {
        match self {
            Target::Local(local) => local.lock_to_compare(units),
            Target::Remote(_) => Ok(Ok(())),
        }
    }

    /// Runs `f` in one snapshot of the target.
    pub fn in_one_snapshot<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Target::Local(local) => local.in_one_snapshot(f),
            Target::Remote(remote) => remote.look(f),
        }
    }

    /// The rows of statements about tables that are compared, in the snapshot; here each is read with its owner's rights, once the caller is known
    /// to be allowed to read it. Errors as above.
    pub fn figures(&self, statements: &[(&Unit, &str)]) -> Result<Result<Vec<Row>>> {
        match self {
            Target::Local(local) => local.figures(statements),
            Target::Remote(remote) => remote.figures(statements),
        }
    }
}
