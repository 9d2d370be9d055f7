//! Statistics of what was loaded over there, and of the partitioned tables above it.

use super::{Remote, run_lock};
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_qualified;
use crate::plan::tables::Unit;

/// Most partitions of a table whose own statistics are gathered before 18, where that analyzes every partition once more.
const MOST_LEAVES: i64 = 32;

/// Gathers statistics of the unit. A server before 12 waits for whoever is at it, as long as locks are waited for.
pub fn analyze(remote: &Remote, unit: &Unit) -> Result<()> {
    let mut session = remote.session()?;
    let option = if session.server().version >= 120_000 {
        " (SKIP_LOCKED)"
    } else {
        ""
    };
    session.begin_to_write()?;
    session.batch(&format!("ANALYZE{option} {}; COMMIT", unit.name))
}

/// The partitioned tables above units, from the lowest.
pub fn parents_of_all(remote: &Remote, units: &[u32]) -> Result<Vec<u32>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<String> = units.iter().map(u32::to_string).collect();
    let mut session = remote.session()?;
    let server = session.server();
    let sql = format!(
        "WITH RECURSIVE above(id, n) AS (
           SELECT c.oid, 0 FROM pg_catalog.pg_class c WHERE c.oid IN ({})
           UNION ALL SELECT i.inhparent, a.n + 1 FROM above a JOIN pg_catalog.pg_class c ON c.oid = a.id AND {}
             JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.id)
         SELECT a.id FROM above a WHERE a.n > 0 {} GROUP BY a.id ORDER BY min(a.n), a.id",
        list.join(", "),
        run_lock::is_partition(server),
        // Middle levels have no statistics of their own there.
        match server.is_greenplum() {
            true => "AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = a.id)",
            false => "",
        }
    );
    let rows = session.query(&sql)?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// A table as it is called now, as a unit.
pub fn unit_of(remote: &Remote, oid: u32) -> Result<Unit> {
    let rows = remote.session()?.query(&format!(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {oid}"
    ))?;
    let gone = || {
        let message = format!(
            "relation with OID {oid} does not exist on server \"{}\" any more",
            remote.server()
        );
        Error::new(sqlstate::UNDEFINED_TABLE, message).hint("Run the same call again.")
    };
    let row = rows.first().ok_or_else(gone)?;
    Ok(Unit {
        name: quote_qualified(&row.string(0)?, &row.string(1)?),
        oid: Some(oid),
    })
}

/// Gathers statistics of a partitioned table from rows of all that is below it.
pub fn analyze_parent(remote: &Remote, table: &Unit) -> Result<()> {
    remote.concluded(analyze_all_of(remote, table))
}

fn analyze_all_of(remote: &Remote, table: &Unit) -> Result<()> {
    let mut session = remote.session()?;
    let name = &table.name;
    session.begin_to_write()?;
    if session.server().is_greenplum() {
        return session.batch(&format!("ANALYZE ROOTPARTITION {name}; COMMIT"));
    }
    if session.server().version >= 180_000 {
        return session.batch(&format!("ANALYZE (SKIP_LOCKED) ONLY {name}; COMMIT"));
    }
    let oid = table.oid()?;
    let rows = session.query(&format!(
        "WITH RECURSIVE below(id) AS (
           SELECT CAST({oid} AS oid) UNION ALL SELECT i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.id)
         SELECT count(*) FROM below b JOIN pg_class c ON c.oid = b.id WHERE c.relkind <> 'p'"
    ))?;
    let leaves: i64 = rows.first().ok_or_else(|| Error::protocol("no answer"))?.need(0)?;
    if leaves > MOST_LEAVES {
        return Err(Error::unsupported(format!(
            "before PostgreSQL 18 that analyzes its {leaves} partitions once more"
        )));
    }
    let option = if session.server().version >= 120_000 {
        " (SKIP_LOCKED)"
    } else {
        ""
    };
    session.batch(&format!("ANALYZE{option} {name}; COMMIT"))
}
