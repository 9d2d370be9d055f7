//! A table on another server, which a foreign table here stands for: asked and written through sessions over there.
//!
//! Its server is not trusted with the source: of what it says, names of columns and values go there, quoted, and nothing else. Types have the names
//! that this database has for their OIDs, expressions are not compared, conditions that it prints are not asked.
//!
//! ```text
//! source ── COPY OUT ──> worker here ── COPY IN ──> target
//! ```
//!
//! CopyData goes from socket to socket as it is (`wire/relay.rs`). One transaction over there replaces a unit; that it is done is recorded
//! here after its commit, so a crash in between has it loaded once more, which changes nothing. One session holds the run's lock over there (`run_lock.rs`).

mod adding;
mod analyzing;
mod creating;
mod functions_there;
mod own_defaults;
mod portrait;
mod replacing;
mod run_lock;
mod staging;
mod terms;

use super::loading::{Limits, Loaded, What};
use crate::catalog::Database;
use crate::catalog::server::Product;
use crate::catalog::table::{self, Found};
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, spi};
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::creation::Creation;
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::source::{Reader, is_standby};
use crate::wire::endpoint::Endpoint;
use crate::wire::{Session, mapping};
pub use run_lock::Held;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// The table of another server that a foreign table stands for.
pub struct Elsewhere {
    /// foreign server
    pub server: String,
    schema: String,
    name: String,
}

/// The table that `table` stands for: options schema_name and table_name as postgres_fdw has them, else its own names. None for what is no
/// foreign table, or of a server whose options are none of libpq's.
pub fn stands_for(table: u32) -> Result<Option<Elsewhere>> {
    let rows = spi::execute(
        "SELECT s.srvname,
                COALESCE((SELECT o.option_value FROM pg_catalog.pg_options_to_table(f.ftoptions) o WHERE o.option_name = 'schema_name'),
                         n.nspname),
                COALESCE((SELECT o.option_value FROM pg_catalog.pg_options_to_table(f.ftoptions) o WHERE o.option_name = 'table_name'),
                         c.relname)
         FROM pg_catalog.pg_foreign_table f
         JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
         WHERE f.ftrelid = $1::pg_catalog.oid AND w.fdwname IN ('cgpsync', 'postgres_fdw', 'dblink_fdw')",
        &[Some(&table.to_string())],
    )?;
    let elsewhere = |row: &Row| {
        Ok(Elsewhere {
            server: row.string(0)?,
            schema: row.string(1)?,
            name: row.string(2)?,
        })
    };
    rows.first().map(elsewhere).transpose()
}

/// What a role needs here to have rows written through a foreign table: what it needs for a table of this database.
pub fn check_privileges(table: u32) -> Result<()> {
    let rows = spi::execute(
        "SELECT n.nspname, c.relname, pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE')
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::pg_catalog.oid",
        &[Some(&table.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("no table"))?;
    if row.is(2) {
        return Ok(());
    }
    let name = quote_qualified(&row.string(0)?, &row.string(1)?);
    Err(Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("permission denied for foreign table {name}"),
    )
    .hint(format!("GRANT INSERT, TRUNCATE ON {name} TO the role.")))
}

impl Elsewhere {
    /// The table, quoted and qualified.
    fn table(&self) -> String {
        quote_qualified(&self.schema, &self.name)
    }

    fn find(&self, session: &mut Session) -> Result<Found> {
        super::find(session, std::slice::from_ref(&self.schema), &self.name).map_err(|error| match error.hint {
            None if error.sqlstate == sqlstate::UNDEFINED_TABLE => error.hint(
                "A foreign table stands for the table of its own schema and name, or of its options schema_name and table_name.",
            ),
            _ => error,
        })
    }
}

/// How a target elsewhere is reached, and how long it may be made to wait.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// for opening a connection, where its server has no limit of its own
    pub connect_timeout: Duration,
    /// longest wait for a lock, milliseconds; 0: none
    pub lock_timeout_ms: i32,
    /// for locks that others queue behind
    pub limits: Limits,
}

/// The table.
pub struct Remote {
    /// OID of the foreign table here
    pub table: u32,
    /// time zone of the sessions
    pub timezone: String,
    access: Access,
    elsewhere: Elsewhere,
    connected: RefCell<Option<Session>>,
    /// the table in its server's catalog
    found: RefCell<Option<Rc<Found>>>,
    /// who holds the run's lock over there
    held: RefCell<Option<Held>>,
    /// it is this session
    holds: Cell<bool>,
    /// of enums, by OID
    labels: RefCell<HashMap<u32, Rc<Vec<String>>>>,
}

impl Remote {
    /// The table that `elsewhere` names, which is not asked yet.
    pub fn new(table: u32, elsewhere: Elsewhere, access: Access, timezone: String) -> Remote {
        Remote {
            table,
            timezone,
            access,
            elsewhere,
            connected: RefCell::default(),
            found: RefCell::default(),
            held: RefCell::default(),
            holds: Cell::new(false),
            labels: RefCell::default(),
        }
    }

    /// Where its server is, as the acting role's user mapping says. Inside a transaction.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let mut endpoint = mapping::endpoint(&self.elsewhere.server, Side::Target, self.access.connect_timeout)?;
        endpoint.patience = self.access.limits.attempt;
        if let Some(held) = &*self.held.borrow() {
            endpoint.reached = held.peer;
            endpoint.known = held.known.clone();
        }
        Ok(endpoint)
    }

    /// Connects, unless it is. `name` becomes application_name. Gives what the caller should know of the connection.
    pub fn connect(&self, endpoint: &Endpoint, name: &str) -> Result<Option<String>> {
        if self.is_connected() {
            return Ok(None);
        }
        self.leave(false);
        let session = Session::open(endpoint, name, &backend::encoding(), &self.timezone)?;
        let (session, warning) = session.and_then(|session| {
            check_server(session)?;
            session.stay_in_touch()?;
            session.limit_lock_waits(self.access.lock_timeout_ms);
            session.expect(self.held.borrow().as_ref().and_then(|held| held.server.clone()));
            Ok(session.warning().map(str::to_owned))
        })?;
        *self.connected.borrow_mut() = Some(session);
        Ok(warning)
    }

    /// True while its connection is not known to be lost.
    pub fn is_connected(&self) -> bool {
        let mut connected = self.connected.borrow_mut();
        // A cancel that is met here is no lost connection: it goes on to the caller.
        connected.as_mut().is_some_and(|session| session.check_alive().is_ok())
    }

    /// Ends the session; politely, where all has gone well.
    pub fn leave(&self, politely: bool) {
        self.found.borrow_mut().take();
        self.holds.set(false);
        match self.connected.borrow_mut().take() {
            Some(session) if politely => session.end(),
            Some(session) => session.abandon(),
            None => {}
        }
    }

    /// The session, for one statement or as many as belong together.
    pub fn session(&self) -> Result<RefMut<'_, Session>> {
        let connected = self
            .connected
            .try_borrow_mut()
            .map_err(|_| Error::internal("the target's session is asked two things at once"))?;
        RefMut::filter_map(connected, Option::as_mut).map_err(|_| {
            Error::new(
                sqlstate::CONNECTION_FAILURE,
                format!("there is no connection to server \"{}\"", self.elsewhere.server),
            )
        })
    }

    /// Runs `f`, which looks at the table in a transaction over there that changes nothing.
    pub fn look<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let looked = self.begin_look().and_then(|()| {
            let value = f()?;
            self.session()?.batch("COMMIT")?;
            Ok(value)
        });
        self.concluded(looked)
    }

    fn begin_look(&self) -> Result<()> {
        let mut session = self.session()?;
        session.begin(None)?;
        let found = self.elsewhere.find(&mut session)?;
        self.found.replace(Some(Rc::new(found)));
        self.labels.borrow_mut().clear();
        Ok(())
    }

    /// What a transaction over there has come to, which is over then, whatever that is: whoever holds the run's lock goes on in that very session.
    fn concluded<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() && !self.session().is_ok_and(|mut session| session.roll_back()) {
            self.leave(false);
        }
        result
    }

    /// See [`super::Target::create_partition`].
    pub fn create_partition(&self, creation: &Creation) -> Result<Vec<String>> {
        creating::create_partition(self, creation)
    }

    /// See [`super::Target::drop_partition`].
    pub fn drop_partition(&self, name: &str, bound: &str) -> Result<String> {
        creating::drop_partition(self, name, bound)
    }

    /// See [`super::Target::replace`].
    pub fn replace(
        &self,
        what: &What<'_>,
        reader: &mut Reader,
        record: &mut dyn FnMut(&Loaded) -> Result<()>,
    ) -> Result<Loaded> {
        replacing::replace(self, what, reader, record)
    }

    /// See [`super::Target::analyze`].
    pub fn analyze(&self, unit: &Unit) -> Result<()> {
        analyzing::analyze(self, unit)
    }

    /// See [`super::Target::parents_of_all`].
    pub fn parents_of_all(&self, units: &[u32]) -> Result<Vec<u32>> {
        analyzing::parents_of_all(self, units)
    }

    /// See [`super::Target::analyze_parent`].
    pub fn analyze_parent(&self, table: &Unit) -> Result<()> {
        analyzing::analyze_parent(self, table)
    }

    /// See [`super::Target::unit_of`].
    pub fn unit_of(&self, oid: u32) -> Result<Unit> {
        analyzing::unit_of(self, oid)
    }

    /// See [`super::Target::is_beside`]. Within a look.
    pub fn is_beside(&self, identity: &str, database: &str, oid: u32) -> Result<bool> {
        let table = self.found()?.oid;
        let mut session = self.session()?;
        if session.identity() != Some(identity) {
            return Ok(false);
        }
        let root = run_lock::root_of(&mut session, table)?;
        let tree = table::tree_below(session.server(), root);
        let rows = session.query(&format!(
            "{tree} SELECT current_database() = {} AND {oid} IN (SELECT oid FROM tree)",
            quote_literal(database)
        ))?;
        Ok(rows.first().is_some_and(|row| row.is(0)))
    }

    /// See [`super::Target::figures`]. A statement that fails leaves the snapshot to the others.
    pub fn figures(&self, statements: &[(&Unit, &str)]) -> Result<Result<Vec<Row>>> {
        let mut session = self.session()?;
        let mut figures = Vec::with_capacity(statements.len());
        for (_, statement) in statements {
            match session.query(&Session::question(statement)) {
                Ok(rows) => figures.extend(rows.into_iter().next()),
                Err(error) if error.is_remote() => return session.undo().map(|()| Err(error)),
                Err(error) => return Err(error),
            }
        }
        match figures.len() == statements.len() {
            true => Ok(Ok(figures)),
            false => Err(Error::protocol("no figures")),
        }
    }

    /// The table, quoted and qualified.
    pub fn name(&self) -> String {
        self.elsewhere.table()
    }

    /// Its foreign server.
    pub fn server(&self) -> &str {
        &self.elsewhere.server
    }

    /// The table in its server's catalog, as the last look has found it.
    pub fn found(&self) -> Result<Rc<Found>> {
        let found = self.found.borrow().clone();
        found.ok_or_else(|| Error::internal("the target has not been looked at"))
    }
}

/// A session in the calling backend that may write on `server`, as the acting role's user mapping says. `name` becomes application_name.
pub fn open_to_write(server: &str, name: &str, connect_timeout: Duration, lock_timeout_ms: i32) -> Result<Session> {
    let mut endpoint = mapping::endpoint(server, Side::Target, connect_timeout)?;
    endpoint.patience = Duration::from_millis(lock_timeout_ms.max(0) as u64);
    let session = Session::open_here(&endpoint, name, &backend::encoding(), &backend::timezone()?)?;
    let (session, ()) = session.and_then(|session| {
        check_server(session)?;
        check_writable(session)?;
        session.limit_lock_waits(lock_timeout_ms);
        Ok(())
    })?;
    Ok(session)
}

/// Refuses what is not known well enough: values must mean there what they mean here.
fn check_server(session: &mut Session) -> Result<()> {
    let name = session.name().to_owned();
    let wrong = |what: &str| Error::unsupported(format!("server \"{name}\" {what}"));
    let server = session.server();
    let is_known = match server.product {
        Product::PostgreSql => server.is_declarative(),
        Product::Greenplum(6, _) => server.is_classic(),
        Product::Greenplum(7.., _) | Product::Cloudberry => server.is_declarative() && server.version >= 120_000,
        _ => false,
    };
    if !is_known {
        return Err(wrong(
            "is no PostgreSQL of version 10 or later, nor a Greenplum of version 6 or later, as a target on another server must be",
        ));
    }
    if !session.is_in_utf8() {
        let error = wrong("has a database in another encoding than UTF8, which a target must have");
        return Err(error.hint(format!(
            "Name a database with encoding UTF8: ALTER SERVER {} OPTIONS (SET dbname '...').",
            quote_ident(&name)
        )));
    }
    Ok(())
}

/// Refuses a server that cannot be written.
fn check_writable(session: &mut Session) -> Result<()> {
    match is_standby(session)? {
        false => Ok(()),
        true => Err(Error::new(
            sqlstate::READ_ONLY_TRANSACTION,
            format!("server \"{}\" is a standby, which cannot be written", session.name()),
        )
        .hint("Name its primary in the options of the server.")),
    }
}
