//! The table that is written, and everything that a run asks of it or does to it: [`Target`]. It is a table of this database ([`local`]), or one on
//! another server that a foreign table here stands for ([`remote`]), as far as a plan goes. Who plans, and how runs go, knows neither SPI nor
//! sessions of it.

mod kinds;
pub mod loading;
pub mod local;
mod remote;
mod values;

use crate::catalog::table;
use crate::catalog::trust::Trust;
use crate::catalog::{self, Database, defaults, keys};
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, report, xact};
use crate::plan::creation::Creation;
use crate::plan::holders::{Holder, name_holders};
use crate::plan::key::KeyColumn;
use crate::plan::tables::{Table, Unit};
use crate::row::Row;
use crate::source::Reader;
use loading::{Loaded, Storage, What};
use local::Local;
use remote::Remote;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The table that is written.
pub enum Target {
    /// of this database
    Local(Local),
    /// of another server
    Remote(Box<Remote>),
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

impl Target {
    /// A table of this database.
    pub fn here(table: u32) -> Target {
        Target::Local(Local::new(table))
    }

    /// What `table` is or stands for; `timezone` is what times are read in. Runs `f` with it. Of this database's, locks are waited for as the
    /// transaction has it; elsewhere `lock_timeout_ms` is set.
    pub fn with<T>(
        table: u32,
        connect_timeout: Duration,
        lock_timeout_ms: i32,
        timezone: &str,
        f: impl FnOnce(&Target) -> Result<T>,
    ) -> Result<T> {
        let Some(there) = remote::stands_for(table)? else {
            return f(&Target::here(table));
        };
        let remote = Remote::open(table, there, connect_timeout, lock_timeout_ms, timezone)?;
        let target = Target::Remote(Box::new(remote));
        let result = report::catch(|| f(&target));
        if let Target::Remote(remote) = target {
            remote.leave(result.is_ok());
        }
        result
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

    fn query(&self, sql: &str) -> Result<Vec<Row>> {
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
    fn oid(&self) -> u32 {
        match self {
            Target::Local(local) => local.table,
            Target::Remote(remote) => remote.found().oid,
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
                let mut table = catalog::read(&mut *remote.session()?, remote.found(), Trust::BuiltIn)?;
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
                let oid = remote.found().oid;
                let keys = keys::key_columns(&mut *remote.session()?, oid, names, Trust::BuiltIn)?;
                remote.keys_in_our_terms(keys)
            }
        }
    }

    /// Whether some column is neither generated nor among the copied `columns`.
    pub fn leaves_out(&self, columns: &[String]) -> Result<bool> {
        let oid = self.oid();
        self.ask(|db| defaults::leaves_out(db, oid, columns))
    }

    /// Whether any partition fills such a column otherwise than the table.
    pub fn has_other_defaults(&self, columns: &[String]) -> Result<bool> {
        let oid = self.oid();
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

    /// True when the unit surely has no row.
    pub fn is_empty(&self, unit: &Unit) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_empty(unit),
            Target::Remote(remote) => remote.is_empty(unit),
        }
    }

    /// Those of `oids` that are of this database, as cgpsync's own tables have them.
    pub fn recorded<'o>(&self, oids: &'o [u32]) -> &'o [u32] {
        match self {
            Target::Local(_) => oids,
            Target::Remote(_) => &[],
        }
    }

    /// What the storage of units is known by, by OID; those that are gone are not in it.
    pub fn storage_of(&self, oids: &[u32]) -> Result<HashMap<u32, Storage>> {
        self.ask(|db| Storage::of(db, oids))
    }

    /// Creates a partition and what is below it. Inside a transaction.
    pub fn create_partition(&self, creation: &Creation) -> Result<()> {
        self.written()?.create_partition(creation)
    }

    /// Drops a partition that still has the bounds it was planned with; gives its name, quoted and qualified. Inside a transaction.
    pub fn drop_partition(&self, unit: &Unit, bound: &str) -> Result<String> {
        self.written()?.drop_partition(unit, bound)
    }

    /// Replaces the rows of one unit: afterwards it holds exactly what the source sent, or this fails and it holds what it held. Begins and
    /// commits; `record` is called when the unit is to be recorded as done, within a transaction here.
    pub fn replace(
        &self,
        what: &What<'_>,
        reader: &mut Reader,
        record: &mut dyn FnMut(&Loaded) -> Result<()>,
    ) -> Result<Loaded> {
        self.written()?.replace(what, reader, record)
    }

    /// Gathers statistics of a unit, if the role may and nobody else is at it. Inside a transaction.
    pub fn analyze(&self, unit: &Unit) -> Result<()> {
        self.written()?.analyze(unit)
    }

    /// Whether it is on the server of this [`identity`](crate::wire::Session::identity). See below for a target elsewhere.
    pub fn is_on_server(&self, identity: &str) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_on_server(identity),
            Target::Remote(_) => Ok(false),
        }
    }

    /// Whether the relation `oid` of `database` on the server of this [`identity`](crate::wire::Session::identity) is the table, or of its tree. Of a
    /// target elsewhere it is not asked as long as nothing is written there.
    pub fn is_beside(&self, identity: &str, database: &str, oid: u32) -> Result<bool> {
        match self {
            Target::Local(local) => local.is_beside(identity, database, oid),
            Target::Remote(_) => Ok(false),
        }
    }

    /// The partitioned tables above units, from the lowest.
    pub fn parents_of_all(&self, units: &[u32]) -> Result<Vec<u32>> {
        self.written()?.parents_of_all(units)
    }

    /// Gathers statistics of a partitioned table from rows of all that is below it, without those of what is below it. Inside a transaction.
    pub fn analyze_parent(&self, table: &Unit) -> Result<()> {
        self.written()?.analyze_parent(table)
    }

    /// Who holds a lock on a unit or on what is above it, for the error of one that could not get its own. Inside a transaction.
    pub fn lock_holders(&self, unit: &Unit) -> Result<Vec<Holder>> {
        self.written()?.lock_holders(unit)
    }

    /// `error` as a user needs it: a lock on `unit`, or on what is above it, that was not to be had is somebody's. Outside of a transaction.
    pub fn name_lock_holders(&self, error: Error, unit: &Unit) -> Error {
        if error.sqlstate != sqlstate::LOCK_NOT_AVAILABLE || error.side == Side::Source {
            return error;
        }
        match xact::transaction(|| self.lock_holders(unit)) {
            Ok(holders) => name_holders(error, "it or its parents", &holders),
            Err(_) => error,
        }
    }

    /// The partitioned tables above it that a run of it excludes runs of, from the top.
    pub fn parents(&self) -> Result<Vec<u32>> {
        self.written()?.parents()
    }

    /// A table as it is called now, as a unit.
    pub fn unit_of(&self, oid: u32) -> Result<Unit> {
        self.written()?.unit_of(oid)
    }

    /// Locks tables that are to be compared, before the snapshot is taken: what truncates or replaces them does not follow snapshots. Checks
    /// that they may be read. What fails is the inner error; the outer one ends all.
    pub fn lock_to_compare(&self, units: &[Unit]) -> Result<Result<()>> {
        self.written()?.lock_to_compare(units)
    }

    /// Runs `f` in one snapshot of the target.
    pub fn in_one_snapshot<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        self.written()?.in_one_snapshot(f)
    }

    /// The rows of statements about tables that are compared, in the snapshot; each is read with its owner's rights, once the caller is known
    /// to be allowed to read it. Errors as above.
    pub fn figures(&self, statements: &[(&Unit, &str)]) -> Result<Result<Vec<Row>>> {
        self.written()?.figures(statements)
    }

    /// Rows go into this database only, as yet.
    fn written(&self) -> Result<&Local> {
        match self {
            Target::Local(local) => Ok(local),
            Target::Remote(remote) => Err(Error::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("table {} is on server \"{}\"", remote.name(), remote.server()),
            )
            .hint("cgpsync_plan can look at it; rows are written into tables of this database only.")),
        }
    }
}
