//! Reads and writes cgpsync's own tables; the only place that does. They belong to the extension's owner and nobody else may write
//! them, so every write happens as that role, with a statement of ours and a pinned search_path.

mod elsewhere;
mod home;
mod looks;
mod remembered;
pub mod rows;
mod runs;
pub mod status;
mod units;

use crate::error::{Error, Result, sqlstate};
use crate::pg::backend::{as_role, set_locally, with_pinned_path};
use crate::pg::{spi, xact};
use crate::plan::copy_sql::quote_ident;
use crate::row::Row;
use crate::source::Place;

/// Where the tables are and whose they are.
#[derive(Debug, Clone)]
pub struct Store {
    owner: u32,
    schema: String,
}

impl Store {
    /// Finds the extension's schema and owner, whatever the caller's search_path is: what is found here decides with whose rights all else runs.
    pub fn open() -> Result<Store> {
        let find = || {
            spi::execute(
                "SELECT e.extowner, n.nspname FROM pg_catalog.pg_extension e
                 JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'cgpsync'",
                &[],
            )
        };
        let rows = xact::look(|| with_pinned_path(find))?;
        let row = rows.first().ok_or_else(|| {
            Error::new(
                sqlstate::UNDEFINED_OBJECT,
                "extension \"cgpsync\" is not installed in this database",
            )
            .hint("Use CREATE EXTENSION cgpsync.")
        })?;
        Ok(Store {
            owner: row.need(0)?,
            schema: quote_ident(&row.string(1)?),
        })
    }

    /// Runs `sql` as the owner; `@.` stands for the extension's schema.
    fn write(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        as_role(self.owner, || spi::execute(&self.in_schema(sql), args))
    }

    /// Runs the SELECT `sql` as the owner too. No lock is left: planning goes on for as long as the source takes to answer.
    fn read(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        xact::look(|| self.write(sql, args))
    }

    /// The same, and sees what was committed until now; `@.` as above. No policy narrows it, so that the caller
    /// learns how its run went whatever its row_security and grants are: whose run it is must have been asked, or `sql` asks it. No lock is
    /// left: who waits for a run looks again and again, and what others do to these tables, or to catalogs, must not wait for it.
    fn read_latest(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        let read = || {
            // Compiling it takes longer than running it, and it is run again and again. The setting goes with the look.
            set_locally(c"jit", "off")?;
            as_role(self.owner, || spi::select_latest(&self.in_schema(sql), args))
        };
        xact::look(read).map_err(|error| match error.sqlstate.as_str() {
            sqlstate::UNDEFINED_TABLE | sqlstate::INVALID_SCHEMA_NAME => Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "extension \"cgpsync\" was dropped while it was at work",
            )
            .detail("Partitions that were done stay done; nothing else was changed.")
            .hint(
                "Use CREATE EXTENSION cgpsync. Its servers, user mappings, foreign tables and remembered points were dropped with it: make them again, then run the same call.",
            ),
            _ => error,
        })
    }

    fn in_schema(&self, sql: &str) -> String {
        sql.replace("@.", &format!("{}.", self.schema))
    }
}

/// How relation c in schema n is named in our tables: as most people write it, without the schema if that is public, whatever the caller's
/// search_path. sync_table is looked up by this name.
const SHOWN_NAME: &str =
    "CASE WHEN n.nspname = 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END || quote_ident(c.relname)";

/// The name of relation `oid` in our tables.
pub fn shown_name(oid: u32) -> Result<String> {
    let sql = format!(
        "SELECT {SHOWN_NAME} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid"
    );
    let rows = xact::look(|| spi::execute(&sql, &[Some(&oid.to_string())]))?;
    // A table nobody else sees yet has no name here; planning says so.
    Ok(rows
        .first()
        .and_then(|row| row.text(0))
        .map_or_else(|| oid.to_string(), str::to_owned))
}

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(e.to_string()))
}

/// A place from its three columns.
fn place(row: &Row, [snapshot, server, peer]: [usize; 3]) -> Place {
    Place {
        snapshot: row.owned(snapshot),
        server: row.owned(server),
        peer: row.text(peer).and_then(|peer| peer.parse().ok()),
    }
}
