//! The calling backend's side of a run: checks, starts the coordinator, waits, cancels.

use super::request::{Call, Request, VERSION};
use super::starting::{self, Started};
use super::state::Store;
use super::state::rows::UnitResult;
use super::state::status::UnitState;
use super::watch::Watch;
use crate::error::{Error, Result, sqlstate};
use crate::pg::procedure::Procedure;
use crate::pg::{backend, report, spi, xact};
use crate::plan::replace::Replace;
use crate::plan::vanished::Vanished;
use crate::settings;
use crate::targets;
use crate::wire::mapping;
use std::time::Duration;

/// How long a cancelled run's processes may take to go.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Runs a sync to its end: NOTICE per unit on the way, one error if any unit failed. What it looks at leaves no lock; the snapshot of the
/// caller's statement is not ours to let go.
pub fn sync(call: Call) -> Result<Vec<UnitResult>> {
    let run = starting::start(&xact::look(|| check(call))?, false, || {})?;
    Watch::own(run.run_id, run.coordinator)?.follow(None)
}

/// The same in a procedure, which commits before it waits: nobody waits for it. A last NOTICE sums up.
pub fn sync_in_procedure(call: Call, procedure: &Procedure) -> Result<()> {
    let request = backend::with_pinned_path(|| xact::look(|| check(call)))?;
    let run = starting::start(&request, true, || procedure.commit())?;
    let run_id = run.run_id;
    let units = Watch::own(run_id, run.coordinator)?
        .in_procedure(procedure)
        .follow(None)?;
    let copied = units.iter().filter(|unit| unit.state == UnitState::Done);
    let (count, rows) = copied.fold((0, 0), |(count, rows), unit| (count + 1, rows + unit.rows.unwrap_or(0)));
    report::notice(&format!(
        "run {run_id} is done: {rows} rows in {count} of {} partitions",
        units.len()
    ));
    Ok(())
}

/// Starts a sync that goes on by itself. Gives the run's id; an error if the table's lock is taken.
pub fn start(call: Call) -> Result<i64> {
    let Started {
        hold,
        coordinator,
        run_id,
    } = starting::start(&xact::look(|| check(call))?, false, || {})?;
    let mut watch = Watch::own(run_id, coordinator)?;
    hold.release();
    let look = watch.look()?;
    watch.tell(&look);
    match look.end {
        Some(Err(error)) if error.sqlstate == sqlstate::OBJECT_IN_USE => Err(error),
        _ => Ok(run_id),
    }
}

/// Waits for a run of this role, however it was started, and gives what cgpsync_sync would.
pub fn wait(run_id: i64, timeout: Option<Duration>) -> Result<Vec<UnitResult>> {
    Watch::other(run_id)?.follow(timeout)
}

/// Ends a run of this role and waits until its processes are gone. False when it was not on any more.
pub fn cancel(run_id: i64) -> Result<bool> {
    let mut watch = Watch::other(run_id)?;
    let Some(coordinator) = watch.running_coordinator()? else {
        return Ok(false);
    };
    // Under the caller's own privileges, which the server checks.
    spi::execute(
        "SELECT pg_catalog.pg_terminate_backend($1::pg_catalog.int4)",
        &[Some(&coordinator.to_string())],
    )?;
    watch.until_stopped(CANCEL_LIMIT)?;
    match watch.running_coordinator()? {
        None => Ok(true),
        Some(pid) => Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("run {run_id} was told to end and has not yet"),
        )
        .detail(format!("Its coordinator is process {pid}."))
        .hint("Look at pg_stat_activity; a second call ends the process as pg_terminate_backend does.")),
    }
}

/// Forgets runs that ended longer than `older_than`, an interval, ago. Gives their number.
pub fn prune(older_than: &str) -> Result<i64> {
    check_writable("prune")?;
    Store::open()?.prune(older_than)
}

/// Everything that can be refused before a process is started.
fn check(call: Call) -> Result<Request> {
    check_writable("sync")?;
    check_role()?;
    request(call, targets::check_to_write)
}

/// The checks of every call that reads a source, and what becomes of its arguments. `check_table` refuses what its table may not be, and gives
/// the foreign server that has it, if one does: that is not the source.
pub fn request(call: Call, check_table: impl FnOnce(u32) -> Result<Option<String>>) -> Result<Request> {
    check_place()?;
    check_parallelism(call.parallelism)?;
    let columns = call.columns.map(check_columns).transpose()?;
    let replace = Replace::parse(&call.replace)?;
    let vanished = Vanished::parse(&call.vanished)?;
    let other = check_table(call.table)?;
    replace.check(other.is_some())?;
    let source = resolve_source(call.source, other.as_deref())?;
    // Refuses a server that does not exist or may not be used, or has no mapping, while it costs nothing.
    mapping::check(&source)?;
    let rows = spi::execute(
        "SELECT pg_catalog.split_part(pg_catalog.current_setting('DateStyle'), ', ', 2)",
        &[],
    )?;
    let date_style = rows.first().ok_or_else(|| Error::internal("no DateStyle"))?;
    Ok(Request {
        version: VERSION.to_owned(),
        table: call.table,
        end_tm: call.end_tm,
        parallelism: call.parallelism,
        max_parallelism: settings::max_parallelism_here()?,
        source,
        since: call.since,
        source_table: call.source_table,
        create_missing: call.create_missing,
        columns,
        date_order: date_style.string(0)?,
        lock_timeout_ms: settings::lock_timeout_ms(),
        connect_timeout_s: settings::connect_timeout().as_secs(),
        retries: settings::retries(),
        max_rate: settings::max_rate(),
        replace,
        swap_timeout_ms: settings::swap_timeout_ms(),
        slot_timeout_ms: settings::slot_timeout_ms(),
        analyze: settings::analyze(),
        page_writer: settings::page_writer(),
        vanished,
        strict: call.strict,
    })
}

/// What the administrator lets it have is for the coordinator to say.
fn check_parallelism(wanted: i32) -> Result<()> {
    let limit = settings::PARALLELISM_LIMIT;
    match (1..=limit).contains(&wanted) {
        true => Ok(()),
        false => Err(Error::bad_parameter(format!(
            "parallelism must be between 1 and {limit}, not {wanted}"
        ))),
    }
}

/// Refuses where nothing may be written. `what` would be done: `sync`.
pub(super) fn check_writable(what: &str) -> Result<()> {
    if backend::is_in_recovery() {
        return Err(Error::new(
            sqlstate::READ_ONLY_TRANSACTION,
            format!("cannot {what} on a standby server"),
        )
        .hint("Call on the primary."));
    }
    if backend::is_read_only() {
        return Err(Error::new(
            sqlstate::READ_ONLY_TRANSACTION,
            format!("cannot {what} in a read-only transaction"),
        )
        .hint("Use SET default_transaction_read_only = off, or, but for CALL, BEGIN READ WRITE first."));
    }
    Ok(())
}

/// Refuses where no source may be read, or where its text would not mean the same.
pub(super) fn check_place() -> Result<()> {
    if backend::is_security_restricted() {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            "cannot connect to a source within a security-restricted operation",
        )
        .hint("Call it as a statement of its own."));
    }
    if backend::encoding() != "UTF8" {
        return Err(
            Error::unsupported(format!("database encoding {} is not supported", backend::encoding()))
                .hint("The target database must have encoding UTF8; the source may have any."),
        );
    }
    Ok(())
}

/// The names in the argument `columns`, of which each side is asked for later.
fn check_columns(columns: Vec<Option<String>>) -> Result<Vec<String>> {
    if columns.is_empty() {
        return Err(Error::bad_parameter("columns must not be empty").hint("Leave it out to copy every column."));
    }
    let mut names = Vec::with_capacity(columns.len());
    for name in columns {
        let name = name.ok_or_else(|| Error::bad_parameter("columns must not contain null"))?;
        if names.contains(&name) {
            return Err(Error::bad_parameter(format!("columns names \"{name}\" more than once")));
        }
        names.push(name);
    }
    Ok(names)
}

/// Background processes connect as the calling role, which the server allows for LOGIN roles only.
fn check_role() -> Result<()> {
    let rows = spi::execute(
        "SELECT rolname, rolcanlogin FROM pg_catalog.pg_roles WHERE oid = $1::pg_catalog.oid",
        &[Some(&backend::current_role().to_string())],
    )?;
    match rows.first() {
        Some(row) if row.is(1) => Ok(()),
        row => Err(Error::new(
            sqlstate::INVALID_AUTHORIZATION,
            format!(
                "role \"{}\" is not permitted to log in",
                row.and_then(|r| r.text(0)).unwrap_or("?")
            ),
        )
        .detail("The processes of a run connect as the calling role.")
        .hint("Call as a role with LOGIN.")),
    }
}

/// The named server, else the setting's, else the only one of our wrapper; the last two are never `other`.
pub(super) fn resolve_source(named: Option<String>, other: Option<&str>) -> Result<String> {
    let of_setting = || settings::source().filter(|name| Some(name.as_str()) != other);
    if let Some(name) = named.filter(|n| !n.is_empty()).or_else(of_setting) {
        return Ok(name);
    }
    let rows = spi::execute(
        "SELECT s.srvname FROM pg_catalog.pg_foreign_server s
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE w.fdwname = 'cgpsync' AND s.srvname IS DISTINCT FROM $1::pg_catalog.name ORDER BY 1",
        &[other],
    )?;
    match rows.as_slice() {
        [only] => only.string(0),
        [] => Err(Error::new(sqlstate::UNDEFINED_OBJECT, "there is no source server").hint(
            "Use CREATE SERVER ... FOREIGN DATA WRAPPER cgpsync OPTIONS (host '...', dbname '...') and CREATE USER MAPPING.",
        )),
        several => {
            let names: Vec<&str> = several.iter().filter_map(|row| row.text(0)).collect();
            Err(Error::new(sqlstate::UNDEFINED_OBJECT, "there are several source servers")
                .detail(format!("They are: {}.", names.join(", ")))
                .hint("Pass source => '...' or set cgpsync.source."))
        }
    }
}
