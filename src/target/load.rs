//! Replacing the rows of one unit, in the caller's transaction: afterwards the unit holds exactly what the source sent, or the
//! transaction fails and it holds what it held. The one interface behind which other ways of replacing will stand.

use super::catalog;
use crate::error::{Error, Result, sqlstate};
use crate::pg::board::Gauge;
use crate::pg::{copy, partition, session, spi};
use crate::source::Session;

/// What is to be loaded.
#[derive(Debug)]
pub struct What<'a> {
    /// the target table
    pub table: u32,
    /// its partition, or itself
    pub unit: u32,
    /// columns in the order of the data
    pub columns: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// the data holds rows of other partitions, which are dropped. The number of rows then only shows that there were not too many
    pub filter: bool,
    /// where its progress shows
    pub gauge: Gauge,
}

/// What a unit's copy moved.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    /// rows now in the unit
    pub rows: u64,
    /// COPY bytes received
    pub bytes: u64,
}

/// Truncates the unit and fills it from `copy_sql` on the source. Readers wait from the TRUNCATE to the commit. The source's COPY is
/// begun first: what it refuses has then not cost a lock. SQL runs under the caller's role; lock_timeout is the caller's.
pub fn truncate_and_load(what: &What<'_>, copy_sql: &str, source: &mut Session) -> Result<Loaded> {
    let unit = what.unit;
    let name = catalog::qualified_name(unit)?;
    catalog::check_privileges(unit, &name)?;
    let mut rows_of_source = source.copy_out(copy_sql, what.gauge)?;
    let parents = lock_parents(unit)?;
    spi::execute(&format!("TRUNCATE ONLY {name}"), &[])?;
    // TRUNCATE goes by name: with the lock held, make sure that it was this unit's, and not that of a table renamed to it meanwhile.
    if catalog::qualified_name(unit)? != name {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was renamed while it was to be replaced"),
        )
        .hint("Run the same call again."));
    }
    // Loading would lock new parents, after the partition; and what was detached is no business of the run any more.
    if parents_of(unit)? != parents || !(unit == what.table || parents.contains(&what.table)) {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was attached or detached while the run was on"),
        )
        .hint("Run the same call again."));
    }
    let rows = copy::load(
        unit,
        what.columns,
        what.binary,
        &session::encoding(),
        what.filter,
        &mut rows_of_source,
    )?;
    let sent = rows_of_source.rows()?;
    if sent != rows && !(what.filter && rows < sent) {
        return Err(Error::protocol(format!("{sent} rows were sent and {rows} loaded"))
            .detail("A trigger that skips rows makes the copy incomplete.")
            .hint("Disable the trigger on this partition for the sync, or let it raise an error."));
    }
    Ok(Loaded {
        rows,
        bytes: rows_of_source.bytes(),
    })
}

/// The partitioned tables above the unit, from the top.
fn parents_of(unit: u32) -> Result<Vec<u32>> {
    let rows = spi::execute(
        "SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1::pg_catalog.oid::pg_catalog.regclass)
         WITH ORDINALITY AS a(relid, n) WHERE relid <> $1::pg_catalog.oid ORDER BY n DESC",
        &[Some(&unit.to_string())],
    )?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// Locks the parents, and gives them. Loading needs them for the partition's constraint. Whoever attaches, detaches or reads locks parents
/// before children; taking them the other way round, after the TRUNCATE, is a deadlock with each of them.
fn lock_parents(unit: u32) -> Result<Vec<u32>> {
    let mut locked = Vec::new();
    loop {
        // While this waited, the partition may have got others.
        let parents = parents_of(unit)?;
        if parents == locked {
            return Ok(locked);
        }
        parents.iter().for_each(|parent| partition::lock_as_reader(*parent));
        locked = parents;
    }
}
