//! Replacing the rows of one unit over there, in one transaction: afterwards the unit holds exactly what the source sent, or the transaction is undone
//! and it holds what it held.

use super::functions_there::with_roles_path;
use super::own_defaults::{other_defaults, set_defaults};
use super::portrait::{self, gone, parts};
use super::{Remote, staging};
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::pg::xact;
use crate::plan::copy_sql::{copy_in, quote_ident};
use crate::plan::exchange::stage::Stage;
use crate::plan::exchange::{self, Described, obstacle};
use crate::plan::replace::{Replace, Way};
use crate::plan::shares::Shares;
use crate::source::{Reader, Size};
use crate::targets::loading::{Loaded, Moved, Storage, What, holds_vanished};
use crate::wire::Session;
use crate::wire::copy_out::CopyOut;

/// Why rows that COPY tells from those of other partitions go into the unit itself: as with any HASH partition's bound, see
/// [`Stage::check_late`](crate::plan::exchange::stage::Stage::check_late).
const FILTERED: &str = "its rows are told from those of other partitions while they are loaded, with its parent locked";

/// How the rows of a unit come into their place.
enum Into<'a> {
    /// a table that will take the unit's place, and its OID
    Stage(Stage<'a>, u32),
    /// the unit itself, which is empty and locked
    Unit,
}

/// See [`crate::targets::Target::replace`].
pub fn replace(
    remote: &Remote,
    what: &What<'_>,
    reader: &mut Reader,
    record: &mut dyn FnMut(&Loaded) -> Result<()>,
) -> Result<Loaded> {
    let name = format!("cgpsync run {}: {}", what.crew.run_id, what.unit.name);
    reader.begin_unit(&name, what.portion, alone(what.size))?;
    what.gauge.begin();
    let mut session = remote.session()?;
    let session = &mut *session;
    let (unit, stamp) = begin(remote, session, what, &name)?;
    let obstacle = match what.replace {
        Replace::Truncate => None,
        _ => match obstacle(&unit, what.columns) {
            None if what.filter => Some(FILTERED.to_owned()),
            None => staging::rows_in_the_way(session, &unit)?,
            reason => reason,
        },
    };
    let way = what.replace.way(Way::Exchange, &what.unit.name, obstacle.as_deref())?;
    // What the source refuses has not cost a lock then.
    let rows_of_source = reader.copy_all(what.portion, what.columns, what.binary, what.gauge)?;
    what.gauge.take_piece();
    let (into, obstacle) = match way {
        Way::Exchange => make_stage(session, what, &unit)?,
        _ => (Into::Unit, obstacle),
    };
    if matches!(into, Into::Unit) {
        empty(remote, session, what, &unit)?;
    }
    let moved = load(remote, session, what, &unit, &into, rows_of_source)?;
    reader.end_unit(what.portion, what.columns)?;
    let loaded = Loaded {
        by_pages: false,
        moved,
        way: into.way(),
        processes: 1,
        remark: None,
        storage: commit(remote, session, what, (&unit, stamp.as_deref()), &into)?,
        obstacle,
        unchecked: match into {
            Into::Stage(..) => unit.not_valid().map(|check| quote_ident(&check.name)).collect(),
            Into::Unit => Vec::new(),
        },
    };
    xact::transaction(|| record(&loaded))?;
    Ok(loaded)
}

impl Into<'_> {
    fn way(&self) -> Way {
        match self {
            Into::Stage(..) => Way::Exchange,
            Into::Unit => Way::Truncate,
        }
    }

    /// An error about the table that was to take the unit's place names the unit.
    fn in_units_terms(&self, error: Error) -> Error {
        match self {
            Into::Unit => error,
            Into::Stage(stage, _) => Error {
                message: stage.in_units_terms(&error.message),
                detail: error.detail.as_deref().map(|detail| stage.in_units_terms(detail)),
                ..error
            },
        }
    }
}

/// Begins the transaction, one of the run, and looks at the unit, which is what was planned.
fn begin(remote: &Remote, session: &mut Session, what: &What<'_>, name: &str) -> Result<(Described, Option<String>)> {
    remote.keep_settings(session)?;
    session.begin_to_write()?;
    session.batch(&Session::application_name_sql(name))?;
    remote.join(session)?;
    let (unit, stamp) = portrait::describe_stamped(session, what.unit)?;
    let unit = unit.ok_or_else(|| gone(&what.unit.name, remote.server()))?;
    check_planned(remote, what, &unit)?;
    check_filter(remote, session, what)?;
    check_vanished(session, what)?;
    Ok((unit, stamp))
}

/// Makes the table that is to take the unit's place. Where a table like the unit cannot be made the unit itself is loaded, for the reason that is given.
fn make_stage<'u>(session: &mut Session, what: &What<'_>, unit: &'u Described) -> Result<(Into<'u>, Option<String>)> {
    let (schema, name) = parts(&what.unit.name)?;
    let own = format!("_cgpsync_{}_{}", what.crew.run_id, unit.place.oid);
    let stage = Stage::new(unit, &schema, &name, own);
    match staging::make(session, &stage)? {
        Ok(oid) => Ok((Into::Stage(stage, oid), None)),
        Err(reason) => {
            what.replace.way(Way::Exchange, &what.unit.name, Some(&reason))?;
            Ok((Into::Unit, Some(reason)))
        }
    }
}

/// Loads all that the source sends.
fn load(
    remote: &Remote,
    session: &mut Session,
    what: &What<'_>,
    unit: &Described,
    into: &Into<'_>,
    mut rows_of_source: CopyOut<'_>,
) -> Result<Moved> {
    let table = match into {
        Into::Stage(stage, _) => stage.table(),
        Into::Unit => what.unit.name.clone(),
    };
    let unlike = other_defaults(remote, session, what, unit)?;
    if session.server().is_classic() && matches!(into, Into::Unit) && !unlike.is_empty() {
        return Err(Error::unsupported(format!(
            "columns that are not copied have other defaults in {} than in the table, and Greenplum 6 alters none of a partition",
            what.unit.name
        ))
        .hint("Name the columns in columns => ARRAY[...] as well, or map the calling role to the table's owner there: then it is exchanged."));
    }
    set_defaults(
        session,
        &table,
        unlike.iter().map(|column| (&column.name, &column.of_table)),
    )?;
    let condition = unit.place.condition.as_deref().filter(|_| what.filter);
    let sql = copy_in(
        &table,
        what.columns,
        what.binary,
        condition,
        unit.facts.method == "heap",
    );
    if let Into::Stage(stage, _) = into {
        run_all(session, &stage.drop_not_valid())?;
    }
    // Triggers, which no definition tells of, keep it from being exchanged.
    let follows_path = matches!(into, Into::Unit) || unit.names_others_code();
    let loaded = with_roles_path(session, follows_path, |session| {
        session.copy_in(&sql).and_then(|copy| copy.load(&mut rows_of_source))
    });
    let loaded = loaded.map_err(|error| into.in_units_terms(not_valid(error, unit)))?;
    let rows = complete(rows_of_source.rows()?, loaded, what.filter)?;
    set_defaults(
        session,
        &table,
        unlike.iter().map(|column| (&column.name, &column.of_unit)),
    )?;
    Ok(Moved {
        rows,
        bytes: rows_of_source.bytes(),
    })
}

fn run_all(session: &mut Session, statements: &[String]) -> Result<()> {
    match statements.is_empty() {
        true => Ok(()),
        false => session.batch(&statements.join("; ")),
    }
}

/// The error of a row that breaks a constraint, with what to do if that one is NOT VALID: a unit that is truncated has all of them.
fn not_valid(error: Error, unit: &Described) -> Error {
    let broken = |check: &&exchange::Check| error.message.contains(&format!("\"{}\"", check.name));
    match unit.not_valid().find(broken) {
        Some(check) if error.sqlstate == sqlstate::CHECK_VIOLATION => {
            let name = quote_ident(&check.name);
            error
                .detail_first(&format!("Constraint {name} is NOT VALID there, and a partition that is truncated is loaded with it."))
                .hint(format!("Drop constraint {name} there, call again, and add it again with NOT VALID; or correct the rows on the source."))
        }
        _ => error,
    }
}

/// Shows the rows; gives what the unit is known by from now on.
fn commit(
    remote: &Remote,
    session: &mut Session,
    what: &What<'_>,
    (unit, stamp): (&Described, Option<&str>),
    into: &Into<'_>,
) -> Result<Storage> {
    match into {
        Into::Unit => {
            let storage = storage_of(session, unit.place.oid)?;
            session.batch("COMMIT")?;
            Ok(storage)
        }
        Into::Stage(stage, oid) => {
            let built = with_roles_path(session, unit.names_others_code(), |session| {
                staging::build_indexes(session, stage)
            });
            built.map_err(|error| into.in_units_terms(error))?;
            run_all(session, &stage.add_not_valid())?;
            let storage = storage_of(session, *oid)?;
            let queued = staging::queue(remote, session, stage, what.limits);
            queued.map_err(|error| into.in_units_terms(error))?;
            staging::show(remote, session, stage, (unit, stamp), &what.unit.name, what.limits)?;
            Ok(storage)
        }
    }
}

/// A unit over there is read and written by one process: pieces of it would need several transactions.
fn alone(size: Size<'_>) -> Size<'_> {
    Size {
        shares: Shares {
            processes: 1,
            ..size.shares
        },
        ..size
    }
}

/// Makes sure that the unit is what was planned, and may be written.
fn check_planned(remote: &Remote, what: &What<'_>, unit: &Described) -> Result<()> {
    let name = &what.unit.name;
    let bounds = unit.place.bounds_below(name, &remote.name());
    if bounds.is_none() || what.bound.is_some_and(|planned| bounds.as_deref() != Some(planned)) {
        return Err(moved_on(name, "attached or detached"));
    }
    let types_now = |column: &String| {
        let mut columns = unit.shape.columns.iter();
        columns.find(|now| now.name == *column).map(|now| &now.typed)
    };
    // In COPY's binary form a value of one type can be another one of another, and nobody would notice.
    let mut planned = what.columns.iter().zip(what.types);
    if !planned.all(|(column, planned)| types_now(column) == Some(planned)) {
        return Err(moved_on(name, "given other columns").final_one());
    }
    if unit.facts.has_policies {
        return Err(Error::unsupported(format!(
            "row-level security is active on {name} for role \"{}\" on server \"{}\"",
            unit.facts.role,
            remote.server()
        ))
        .hint("Map the calling role to the table's owner there, or to a role with BYPASSRLS."));
    }
    match unit.facts.may_write || unit.facts.is_owner {
        true => Ok(()),
        false => Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for table {name} on server \"{}\"", remote.server()),
        )
        .hint(format!(
            "GRANT INSERT, TRUNCATE ON {name} TO {} there, or map the calling role to the table's owner.",
            quote_ident(&unit.facts.role)
        ))),
    }
}

/// The unit is not what it was.
fn moved_on(name: &str, how: &str) -> Error {
    Error::new(
        sqlstate::OBJECT_IN_USE,
        format!("{name} was {how} while the run was on"),
    )
    .hint("Run the same call again.")
}

/// Rows of other partitions are left out by the COPY itself.
fn check_filter(remote: &Remote, session: &Session, what: &What<'_>) -> Result<()> {
    if !what.filter || session.server().version >= 120_000 {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "rows of {} cannot be told from those of other partitions on server \"{}\"",
        what.unit.name,
        remote.server()
    ))
    .detail("COPY has a WHERE clause since PostgreSQL 12.")
    .hint("Partition the source table as the target is."))
}

/// Truncates the unit, and makes sure that it is the one that was looked at.
fn empty(remote: &Remote, session: &mut Session, what: &What<'_>, seen: &Described) -> Result<()> {
    check_vanished(session, what)?;
    let name = &what.unit.name;
    if session.server().is_greenplum() && !seen.place.parents.is_empty() {
        lock_for_all_segments(remote, session, what, seen)?;
    }
    session.batch(&format!("TRUNCATE ONLY {name}"))?;
    let now = portrait::describe(session, name)?.ok_or_else(|| gone(name, remote.server()))?;
    match now.place == seen.place {
        true => check_planned(remote, what, &now),
        false => Err(moved_on(name, "altered")),
    }
}

/// Locks the unit from the top of its tree. Whoever reads a partitioned table may lock partitions on the segments alone, one segment after the other, and
/// who truncates one as well: neither would notice that each waits for the other. Units that are truncated come one after another.
fn lock_for_all_segments(remote: &Remote, session: &mut Session, what: &What<'_>, unit: &Described) -> Result<()> {
    staging::wait_for_turn(remote, session)?;
    let name = &what.unit.name;
    let (lock, tables) = unit.place.lock_from_the_top(name, None);
    let locked = staging::until_locked(session, &lock, tables, what.limits);
    locked.map_err(|error| match error.sqlstate.as_str() {
        sqlstate::LOCK_NOT_AVAILABLE if !error.is_remote() => {
            let error = staging::named(error, session, name);
            Error {
                message: format!("the partition could not be truncated: {}", error.message),
                ..error
            }
        }
        _ => error,
    })
}

/// Fails if the unit holds rows whose range the source has no partition for any more.
fn check_vanished(session: &mut Session, what: &What<'_>) -> Result<()> {
    let Some(condition) = what.vanished else { return Ok(()) };
    let name = &what.unit.name;
    let rows = session.query(&Session::question(&format!(
        "SELECT EXISTS (SELECT 1 FROM ONLY {name} WHERE {condition})"
    )));
    let rows = rows.map_err(|error| match error.sqlstate.as_str() {
        sqlstate::INSUFFICIENT_PRIVILEGE => error.hint(format!(
            "GRANT SELECT ON {name} there: whether it holds rows of a range that has vanished from the source has to be known."
        )),
        _ => error,
    })?;
    match rows.first().is_some_and(|row| row.is(0)) {
        true => Err(holds_vanished(name, condition)),
        false => Ok(()),
    }
}

/// The number of rows loaded, if all that were sent are there, or were left out by the condition.
fn complete(sent: u64, loaded: u64, is_filtered: bool) -> Result<u64> {
    if loaded == sent || (is_filtered && loaded < sent) {
        return Ok(loaded);
    }
    Err(Error::protocol(format!("{sent} rows were sent and {loaded} loaded"))
        .detail("A trigger that skips rows makes the copy incomplete.")
        .hint("Disable the trigger on this partition for the sync, or let it raise an error."))
}

fn storage_of(session: &mut Session, oid: u32) -> Result<Storage> {
    Storage::of(session, &[oid])?
        .remove(&oid)
        .ok_or_else(|| Error::internal("the unit is gone"))
}
