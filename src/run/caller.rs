//! The calling backend's side of a run: checks, starts the coordinator, watches the rows, reports.

use super::Request;
use super::record::Store;
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{self, Birth, Handle, Role, State};
use crate::pg::handoff::Handoff;
use crate::pg::spi::{self, Row};
use crate::pg::{foreign, session, wait};
use crate::settings;
use crate::target::catalog;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How often the run's rows are looked at; the coordinator's end wakes the caller at once.
const TICK: Duration = Duration::from_millis(100);
/// How often it is checked that the run does not wait for the caller itself.
const SELF_CHECK: Duration = Duration::from_millis(500);
/// How long a coordinator that has finished its run may take to exit.
const FAREWELL: Duration = Duration::from_secs(1);
/// Workers at most. More connections than this would not make any source faster.
const MAX_PARALLELISM: i32 = 256;

/// Arguments of a call, as SQL gives them.
#[derive(Debug)]
pub struct Call {
    /// OID of the target table
    pub table: u32,
    /// see design: NULL is today
    pub end_tm: Option<String>,
    /// workers
    pub parallelism: i32,
    /// foreign server
    pub source: Option<String>,
    /// overrides the remembered end_tm
    pub since: Option<String>,
    /// name on the source
    pub source_table: Option<String>,
    /// create here the partitions that only the source has
    pub create_missing: bool,
    /// names of columns; None: every column of the target
    pub columns: Option<Vec<Option<String>>>,
}

/// A unit as the call returns it.
#[derive(Debug)]
pub struct UnitResult {
    /// the target's partition
    pub partition: u32,
    /// done or skipped
    pub status: String,
    /// rows copied
    pub rows: Option<i64>,
    /// COPY bytes received
    pub bytes: Option<i64>,
    /// from claim to commit
    pub seconds: Option<f64>,
    /// remark
    pub message: Option<String>,
}

/// Runs a sync to its end: NOTICE per unit on the way, one error if any unit failed.
pub fn sync(call: Call) -> Result<Vec<UnitResult>> {
    let request = check(call)?;
    let bytes = serde_json::to_vec(&request).map_err(|e| Error::internal(e.to_string()))?;
    let handoff = Handoff::create(&bytes)?;
    let birth = Birth {
        database: session::database(),
        role: session::current_role(),
        argument: handoff.handle(),
    };
    let coordinator = background::start(Role::Coordinator, birth, "")?.ok_or_else(background::no_slot)?;
    handoff.bind(coordinator);
    let mut watch = Watch {
        store: Store::open()?,
        coordinator,
        seen: HashSet::new(),
        last_self_check: Instant::now(),
        lines_seen: 0,
    };
    let run_id = watch.run_id(handoff)?;
    let result = watch.follow(run_id);
    handoff.close();
    result
}

/// Everything that can be refused before a process is started.
fn check(call: Call) -> Result<Request> {
    check_writable("sync")?;
    check_role()?;
    request(call)
}

/// The checks of every call that reads a source, and what becomes of its arguments.
pub fn request(call: Call) -> Result<Request> {
    check_place()?;
    if !(1..=MAX_PARALLELISM).contains(&call.parallelism) {
        return Err(Error::bad_parameter(format!(
            "parallelism must be between 1 and {MAX_PARALLELISM}, not {}",
            call.parallelism
        )));
    }
    let columns = call.columns.map(check_columns).transpose()?;
    catalog::check_kind(call.table)?;
    let source = resolve_source(call.source)?;
    // Refuses a server that does not exist or may not be used, or has no mapping, while it costs nothing.
    foreign::options(&source, session::current_role())?;
    let rows = spi::execute(
        "SELECT pg_catalog.to_char(pg_catalog.now(), 'YYYYMMDD'),
                pg_catalog.split_part(pg_catalog.current_setting('DateStyle'), ', ', 2)",
        &[],
    )?;
    let dates = rows.first().ok_or_else(|| Error::internal("no date"))?;
    Ok(Request {
        table: call.table,
        end_tm: call.end_tm,
        parallelism: call.parallelism,
        source,
        since: call.since,
        source_table: call.source_table,
        create_missing: call.create_missing,
        columns,
        today: dates.string(0)?,
        date_order: dates.string(1)?,
        lock_timeout_ms: settings::lock_timeout_ms(),
        connect_timeout_s: settings::connect_timeout().as_secs(),
    })
}

/// Refuses where nothing may be written. `what` would be done: `sync`.
pub(super) fn check_writable(what: &str) -> Result<()> {
    if session::is_in_recovery() {
        return Err(Error::new(
            sqlstate::READ_ONLY_TRANSACTION,
            format!("cannot {what} on a standby server"),
        )
        .hint("Call on the primary."));
    }
    if session::is_read_only() {
        return Err(Error::new(
            sqlstate::READ_ONLY_TRANSACTION,
            format!("cannot {what} in a read-only transaction"),
        )
        .hint("Call it in a READ WRITE transaction."));
    }
    Ok(())
}

/// Refuses where no source may be read, or where its text would not mean the same.
pub(super) fn check_place() -> Result<()> {
    if session::is_security_restricted() {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            "cannot connect to a source within a security-restricted operation",
        )
        .hint("Call it as a statement of its own."));
    }
    if session::encoding() != "UTF8" {
        return Err(
            Error::unsupported(format!("database encoding {} is not supported", session::encoding()))
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
        &[Some(&session::current_role().to_string())],
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

/// The named server, else the setting's, else the only one of our wrapper.
pub(super) fn resolve_source(named: Option<String>) -> Result<String> {
    if let Some(name) = named.filter(|n| !n.is_empty()).or_else(settings::source) {
        return Ok(name);
    }
    let rows = spi::execute(
        "SELECT s.srvname FROM pg_catalog.pg_foreign_server s
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE w.fdwname = 'cgpsync' ORDER BY 1",
        &[],
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

struct Watch {
    store: Store,
    coordinator: Handle,
    seen: HashSet<i32>,
    last_self_check: Instant,
    lines_seen: usize,
}

impl Watch {
    /// Waits for the coordinator's answer.
    fn run_id(&mut self, handoff: Handoff) -> Result<i64> {
        loop {
            let stopped = self.coordinator.state() == State::Stopped;
            if let Some(run_id) = handoff.run_id() {
                return Ok(run_id);
            }
            if stopped {
                return Err(Error::new(
                    sqlstate::EXTERNAL_ROUTINE,
                    "the coordinator ended before it could record the run",
                )
                .hint("The server's log says why."));
            }
            self.sleep(None)?;
        }
    }

    /// Follows the run until its row says how it ended.
    fn follow(&mut self, run_id: i64) -> Result<Vec<UnitResult>> {
        loop {
            // In this order: what a coordinator that is gone now has written is visible to the look that follows.
            let stopped = self.coordinator.state() == State::Stopped;
            let rows = self.select(
                "SELECT status, message, units, error_code, error_message, error_detail, error_hint
                 FROM @.cgpsync_run WHERE run_id = $1::pg_catalog.int8",
                run_id,
            )?;
            let row = rows
                .first()
                .ok_or_else(|| Error::internal(format!("run {run_id} is gone")))?;
            self.announce(run_id, row)?;
            match row.text(0) {
                Some("done") => {
                    self.until_stopped(FAREWELL);
                    return self.results(run_id);
                }
                Some("failed" | "cancelled") => {
                    self.until_stopped(FAREWELL);
                    return Err(Error {
                        sqlstate: row.text(3).unwrap_or(sqlstate::INTERNAL).to_owned(),
                        message: row.text(4).unwrap_or("the run failed").to_owned(),
                        detail: row.text(5).map(str::to_owned),
                        hint: row.text(6).map(str::to_owned),
                        remote: false,
                    });
                }
                _ if stopped => {
                    return Err(Error::new(
                        sqlstate::ADMIN_SHUTDOWN,
                        format!("the coordinator of run {run_id} ended before the run did"),
                    )
                    .hint("Finished partitions stay finished; run the same call again."));
                }
                _ => self.sleep(Some(run_id))?,
            }
        }
    }

    fn select(&self, sql: &str, run_id: i64) -> Result<Vec<Row>> {
        self.store.select_latest(sql, &[Some(&run_id.to_string())])
    }

    /// NOTICEs for what is new since the last look.
    fn announce(&mut self, run_id: i64, run: &Row) -> Result<()> {
        // Lines are only ever added.
        for line in run.text(1).unwrap_or("").lines().skip(self.lines_seen) {
            pgrx::notice!("run {run_id}: {line}");
            self.lines_seen += 1;
        }
        if run.text(2).is_none() {
            return Ok(());
        }
        let total = run.text(2).unwrap_or("?");
        let rows = self.select(
            "SELECT unit, partition, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at)::pg_catalog.numeric(20, 3),
                    COALESCE(message, error_message)
             FROM @.cgpsync_run_partition
             WHERE run_id = $1::pg_catalog.int8 AND status IN ('done', 'failed', 'skipped') ORDER BY finished_at, unit",
            run_id,
        )?;
        for row in rows {
            if !self.seen.insert(row.need(0)?) {
                continue;
            }
            let text = |at| row.text(at).unwrap_or("");
            let (partition, place) = (text(1), format!("({} of {total})", self.seen.len()));
            match text(2) {
                "done" => pgrx::notice!(
                    "{partition}: {} rows, {} bytes in {} s {place}",
                    text(3),
                    text(4),
                    text(5)
                ),
                "skipped" => pgrx::notice!("{partition}: skipped, {} {place}", text(6)),
                _ => pgrx::warning!("{partition}: {} {place}", text(6)),
            }
        }
        Ok(())
    }

    fn results(&self, run_id: i64) -> Result<Vec<UnitResult>> {
        let rows = self.select(
            "SELECT relation::pg_catalog.oid, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at), message
             FROM @.cgpsync_run_partition WHERE run_id = $1::pg_catalog.int8 ORDER BY partition",
            run_id,
        )?;
        rows.iter()
            .map(|row| {
                Ok(UnitResult {
                    partition: row.need(0)?,
                    status: row.string(1)?,
                    rows: row.get(2)?,
                    bytes: row.get(3)?,
                    seconds: row.get(4)?,
                    message: row.text(5).map(str::to_owned),
                })
            })
            .collect()
    }

    /// One tick; now and then a check that the run does not wait for a lock of this very transaction, which the server's deadlock
    /// detection cannot see.
    fn sleep(&mut self, run_id: Option<i64>) -> Result<()> {
        wait::wait(None, TICK);
        if self.last_self_check.elapsed() < SELF_CHECK {
            return Ok(());
        }
        self.last_self_check = Instant::now();
        let State::Running(coordinator) = self.coordinator.state() else {
            return Ok(());
        };
        let rows = self.store.select_latest(
            "SELECT l.pid, COALESCE(l.relation::pg_catalog.regclass::pg_catalog.text, l.locktype), l.mode
              FROM pg_catalog.pg_locks l
              WHERE NOT l.granted AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(l.pid))
                AND (l.pid = $2::pg_catalog.int4 OR l.pid IN (
                  SELECT p.worker_pid FROM @.cgpsync_run_partition p
                  WHERE p.run_id = $1::pg_catalog.int8 AND p.status = 'copying'))",
            &[
                run_id.map(|id| id.to_string()).as_deref(),
                Some(&coordinator.to_string()),
            ],
        )?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        self.end_run();
        Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            "the calling transaction holds a lock that the run needs",
        )
        .detail(format!(
            "Process {} waits for {} on {}, held by this session.",
            row.text(0).unwrap_or("?"),
            row.text(2).unwrap_or("?"),
            row.text(1).unwrap_or("?")
        ))
        .hint("Commit first: workers are sessions of their own and cannot share this transaction's locks."))
    }

    /// Ends the run before this transaction's locks go, so that no worker gets to use them.
    fn end_run(&self) {
        self.coordinator.terminate();
        self.until_stopped(Duration::from_secs(2));
    }

    /// Waits until the coordinator is gone, and the table's lock with it: a call right after this one must find it free.
    fn until_stopped(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.coordinator.state() != State::Stopped && Instant::now() < deadline {
            wait::wait(None, Duration::from_millis(20));
        }
    }
}
