//! A table on another server, which a foreign table here stands for: asked in one transaction there, which changes nothing.

use super::kinds;
use crate::catalog::Database;
use crate::catalog::table::{self, Found};
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, report, spi};
use crate::plan::copy_sql::quote_qualified;
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::wire::{Session, mapping};
use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
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
    let place = |row: &Row| {
        Ok(Elsewhere {
            server: row.string(0)?,
            schema: row.string(1)?,
            name: row.string(2)?,
        })
    };
    rows.first().map(place).transpose()
}

/// The table.
pub struct Remote {
    /// OID of the foreign table here
    pub table: u32,
    /// time zone of the session
    pub timezone: String,
    place: Elsewhere,
    session: RefCell<Session>,
}

impl Remote {
    /// Connects to its server, as the acting role's user mapping says, and begins.
    pub fn open(table: u32, place: Elsewhere, connect_timeout: Duration, timezone: &str) -> Result<Remote> {
        let endpoint = mapping::endpoint(&place.server, Side::Target, connect_timeout)?;
        let session = Session::open(&endpoint, "cgpsync plan", &backend::encoding(), timezone)?;
        if let Some(warning) = session.warning() {
            report::warning(warning);
        }
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let (session, ()) = session.and_then(|session| session.begin(begin, None))?;
        Ok(Remote {
            table,
            timezone: timezone.to_owned(),
            place,
            session: RefCell::new(session),
        })
    }

    /// Ends the session; politely, where all has gone well.
    pub fn leave(self, politely: bool) {
        let session = self.session.into_inner();
        match politely {
            true => session.close(),
            false => session.abandon(),
        }
    }

    /// The session, for one statement.
    pub fn session(&self) -> Result<RefMut<'_, Session>> {
        self.session
            .try_borrow_mut()
            .map_err(|_| Error::internal("the target's session is asked two things at once"))
    }

    /// The table, quoted and qualified.
    pub fn name(&self) -> String {
        quote_qualified(&self.place.schema, &self.place.name)
    }

    /// Its foreign server.
    pub fn server(&self) -> &str {
        &self.place.server
    }

    /// The table in its server's catalog.
    pub fn found(&self) -> Result<Found> {
        let schema = std::slice::from_ref(&self.place.schema);
        let mut session = self.session()?;
        let Some(found) = table::by_name(&mut *session, schema, &self.place.name)? else {
            return Err(Error::new(
                sqlstate::UNDEFINED_TABLE,
                format!("there is no table {} on server \"{}\"", self.name(), self.server()),
            )
            .hint("A foreign table stands for the table of its own schema and name, or of its options schema_name and table_name."));
        };
        kinds::check(&mut *session, found.oid)?;
        Ok(found)
    }

    fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.session()?.query(sql)
    }

    /// The rows of a query; None where the server refuses it. An error that ended the session, or the work, is an error all the same.
    pub fn query_unless_refused(&self, sql: &str) -> Result<Option<Vec<Row>>> {
        let mut session = self.session()?;
        session.batch("SAVEPOINT try")?;
        match session.query(sql) {
            Ok(rows) => {
                session.batch("RELEASE SAVEPOINT try")?;
                Ok(Some(rows))
            }
            Err(error) if error.is_remote() => {
                session.batch("ROLLBACK TO SAVEPOINT try; RELEASE SAVEPOINT try")?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Encoding of its text as it arrives here.
    pub fn encoding(&self) -> String {
        backend::encoding()
    }

    /// Labels of an enum, in their order. Values of other types that are not built in are not read over there: what such a type is called
    /// could come to mean another one, and a session has no name for it but that.
    fn labels(&self, type_oid: u32) -> Result<Vec<String>> {
        let sql = format!("SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = {type_oid} ORDER BY e.enumsortorder");
        let rows = self.query(&sql)?;
        let labels: Vec<String> = rows.iter().map(|row| row.string(0)).collect::<Result<_>>()?;
        match labels.is_empty() {
            false => Ok(labels),
            true => Err(Error::unsupported(format!(
                "a key of table {} on server \"{}\" is of a type that is neither built in nor an enum",
                self.name(),
                self.server()
            ))),
        }
    }

    /// Ranks of labels.
    pub fn rank_by_oid(&self, type_oid: u32, values: &[&str]) -> Result<Vec<i64>> {
        let labels = self.labels(type_oid)?;
        let rank = |value: &&str| {
            let at = labels.iter().position(|label| label == value);
            at.map(|at| at as i64 + 1).ok_or_else(|| self.no_label(value))
        };
        values.iter().map(rank).collect()
    }

    /// A label as it is.
    pub fn print_one_by_oid(&self, type_oid: u32, value: &str) -> Result<String> {
        match self.labels(type_oid)?.iter().any(|label| label == value) {
            true => Ok(value.to_owned()),
            false => Err(self.no_label(value)),
        }
    }

    /// The same for several; None where one is no label.
    pub fn print_by_oid(&self, type_oid: u32, values: &[String]) -> Result<Option<Vec<String>>> {
        let labels = self.labels(type_oid)?;
        Ok(values
            .iter()
            .all(|value| labels.contains(value))
            .then(|| values.to_vec()))
    }

    fn no_label(&self, value: &str) -> Error {
        Error::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!(
                "invalid input value for an enum on server \"{}\": \"{value}\"",
                self.server()
            ),
        )
    }

    /// See [`super::Target::partition_constraints`].
    pub fn partition_constraints(&self, leaves: &[u32]) -> Result<HashMap<u32, String>> {
        let list: Vec<String> = leaves.iter().map(u32::to_string).collect();
        let mut session = self.session()?;
        // A name that is a keyword only on the source must be quoted. No lock outlives the question, nor does the setting.
        let rows = session.query(&format!(
            "SAVEPOINT question; SET LOCAL quote_all_identifiers = on;
             SELECT o, pg_get_partition_constraintdef(o) FROM unnest(CAST('{{{}}}' AS oid[])) AS u(o);
             ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question",
            list.join(",")
        ))?;
        let told = rows.iter().filter(|row| row.text(1).is_some());
        told.map(|row| Ok((row.need(0)?, row.string(1)?))).collect()
    }

    /// See [`super::Target::is_empty`].
    pub fn is_empty(&self, unit: &Unit) -> Result<bool> {
        let rows = self.query(&format!(
            "SAVEPOINT question; SELECT EXISTS (SELECT 1 FROM ONLY {});
             ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question",
            unit.name
        ))?;
        Ok(rows.first().is_some_and(|row| row.text(0) == Some("f")))
    }
}
