//! The remembered point belongs to the source it was taken from. From another one it says nothing.

use crate::error::{Error, Result, sqlstate, tame};
use crate::plan::tables::Table;
use crate::run::request::Request;
use crate::run::state::Store;
use crate::run::state::rows::{Origin, Remembered, Watermark};
use crate::source as there;
use crate::targets::Target;
use crate::wire::Session;

/// What this run reads, the remembered point as far as it is about that, and what the user should know.
/// An error when the point is another source's and the call does not say where to begin. Without a
/// key nothing is left out because of the point: it is a label, and may be anybody's.
pub fn check(
    request: &Request,
    store: &Store,
    session: &mut Session,
    source: &Table,
    has_key: bool,
) -> Result<(Origin, Option<Watermark>, Option<String>)> {
    let (system, database) = there::origin(session)?;
    // As the run's row shows it, and is compared with.
    let origin = Origin {
        system: system.map_or_else(|| format!("table {}", source.root.table.oid), |system| tame(&system)),
        database: tame(&database),
        table: tame(&source.root.table.relation),
        address: tame(&request.endpoint()?.address()),
    };
    let Some(watermark) = store.watermark(request.table)? else {
        return Ok((origin, None, None));
    };
    let Some(remembered) = store.origin(request.table)?.filter(|_| has_key) else {
        return Ok((origin, Some(watermark), None));
    };
    match compare(&remembered, &origin) {
        Kinship::Same => Ok((origin, Some(watermark), None)),
        Kinship::Moved => {
            let before = remembered.address.unwrap_or_default();
            let remark = format!("the source is reached at {}, before it was {before}", origin.address);
            Ok((origin, Some(watermark), Some(remark)))
        }
        // The call says itself where the new source begins: the point of the old one is replaced.
        Kinship::Other(_) if request.since.is_some() => Ok((origin, None, None)),
        Kinship::Other(difference) => Err(Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the remembered end_tm \"{}\" was reached with another source", watermark.text),
        )
        .detail(format!("Run {} read {difference}.", remembered.run_id))
        .hint("Pass since => '...' to go on with this source from there; the partitions from there on are copied from it.")),
    }
}

/// Refuses a server that leads back to this database where the table read is the one that is written, or of the same tree: it would wait for
/// its own sessions. Two tables of one database may be synced.
pub fn refuse_itself(target: &Target, session: &Session, source: &Table, origin: &Origin) -> Result<()> {
    let Some(identity) = session.identity() else {
        return Ok(());
    };
    if !target.is_beside(identity, &origin.database, source.root.table.oid)? {
        return Ok(());
    }
    let server = session.name();
    Err(Error::bad_parameter(format!(
        "server \"{server}\" leads back to this database, to the table itself"
    ))
    .detail(format!("The source table would be {}.", origin.table))
    .hint("Name another server with source, or another table with source_table."))
}

/// The remembered point, if it is about the table that there is now: on another server it may have been dropped and made anew, or restored. Else
/// what the user should know.
pub fn of_this_table(
    request: &Request,
    store: &Store,
    table: &Table,
    target: &Target,
    watermark: Option<Watermark>,
) -> Result<(Option<Watermark>, Option<String>)> {
    let (Some(remote), Some(point)) = (target.elsewhere(), &watermark) else {
        return Ok((watermark, None));
    };
    // An ordinary table gets another OID with each exchange, and is copied as a whole.
    let before = store
        .table_elsewhere(request.table)?
        .filter(|_| table.root.level.is_some());
    if before.is_none_or(|before| before == table.root.table.oid) {
        return Ok((watermark, None));
    }
    let remark = format!(
        "table {} on server \"{}\" was made anew since it was synced up to \"{}\": that is forgotten",
        remote.name(),
        remote.server(),
        point.text
    );
    Ok((None, Some(remark)))
}

/// How the source of the remembered point and that of this run are related.
enum Kinship {
    Same,
    /// the same database at another address
    Moved,
    /// not the same; what was read before and now
    Other(String),
}

fn compare(before: &Remembered, now: &Origin) -> Kinship {
    if before.table != now.table {
        return Kinship::Other(format!("{}, this call reads {}", before.table, now.table));
    }
    let is_at_address = before.address.as_deref().is_none_or(|address| address == now.address);
    let moved = if is_at_address { Kinship::Same } else { Kinship::Moved };
    let (Some(system), Some(database)) = (&before.system, &before.database) else {
        return moved;
    };
    if *database != now.database {
        return Kinship::Other(format!(
            "database \"{database}\", this call reads database \"{}\"",
            now.database
        ));
    }
    // A server that tells no system is told by its address, or by the table's OID.
    let has_no_system = system.starts_with("table ") || now.system.starts_with("table ");
    match *system == now.system || (has_no_system && is_at_address) {
        true => moved,
        false => Kinship::Other(format!(
            "the server with system identifier {system}, this call reads {}",
            now.system
        )),
    }
}
