//! Watching a run from a session: its rows say how it stands, the table's lock says whether it is alive.

use super::record::Store;
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{Handle, State};
use crate::pg::spi::Row;
use crate::pg::{report, session, wait};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How often the run's rows are looked at; the coordinator's end wakes its caller at once.
pub const TICK: Duration = Duration::from_millis(100);
/// How often it is checked that the run does not wait for the caller itself.
const SELF_CHECK: Duration = Duration::from_millis(500);
/// How often a run that this session has not started is checked to be alive.
const LIFE_CHECK: Duration = Duration::from_secs(1);
/// How long a coordinator that has finished its run may take to exit.
const FAREWELL: Duration = Duration::from_secs(1);

/// A unit as the call returns it.
#[derive(Debug)]
pub struct UnitResult {
    /// name of the target's partition, as cgpsync_run_partition has it
    pub partition: String,
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

/// A run as one look shows it.
pub struct Look {
    /// the coordinator's process, whether or not it is still there
    coordinator_pid: i32,
    message: Option<String>,
    units: Option<String>,
    /// how it ended
    pub end: Option<Result<()>>,
}

/// A run being watched.
pub struct Watch {
    store: Store,
    run_id: i64,
    /// None: this session has not started it
    coordinator: Option<Handle>,
    seen: HashSet<i32>,
    lines_seen: usize,
    self_check: SelfCheck,
    alive: (Instant, bool),
}

/// Finds out whether a run waits for a lock of this very transaction, which the server's deadlock detection cannot see.
#[derive(Default)]
pub struct SelfCheck {
    last: Option<Instant>,
}

impl Watch {
    /// A run that this call has started. Its course is told in NOTICEs.
    pub fn own(run_id: i64, coordinator: Handle) -> Result<Watch> {
        Watch::new(run_id, Some(coordinator))
    }

    /// Any run of this role, whoever started it; of all roles for a superuser. A role that may only look on does not count.
    pub fn other(run_id: i64) -> Result<Watch> {
        let watch = Watch::new(run_id, None)?;
        let rows = watch.store.read_latest(
            "SELECT FROM @.cgpsync_run r JOIN pg_catalog.pg_roles o ON o.oid = $2::pg_catalog.oid
             WHERE r.run_id = $1::pg_catalog.int8 AND (r.role_name = o.rolname OR o.rolsuper)",
            &[Some(&run_id.to_string()), Some(&session::current_role().to_string())],
        )?;
        match rows.is_empty() {
            true => Err(watch.unknown()),
            false => Ok(watch),
        }
    }

    fn new(run_id: i64, coordinator: Option<Handle>) -> Result<Watch> {
        Ok(Watch {
            store: Store::open()?,
            run_id,
            coordinator,
            seen: HashSet::new(),
            lines_seen: 0,
            self_check: SelfCheck::default(),
            alive: (Instant::now(), true),
        })
    }

    /// Follows the run until its row says how it ended, or `timeout` is over.
    pub fn follow(&mut self, timeout: Option<Duration>) -> Result<Vec<UnitResult>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            // In this order: what a coordinator that is gone now has written is visible to the look that follows.
            let stopped = self.is_stopped()?;
            let look = self.look()?;
            if self.coordinator.is_some() {
                self.announce(&look)?;
            }
            if let Some(end) = look.end {
                self.until_stopped(FAREWELL)?;
                end?;
                return self.results();
            }
            if stopped {
                return Err(Error::new(
                    sqlstate::ADMIN_SHUTDOWN,
                    format!("the coordinator of run {} ended before the run did", self.run_id),
                )
                .hint("Finished partitions stay finished; run the same call again."));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(self.timed_out());
            }
            wait::wait(None, left.map_or(TICK, |left| left.min(TICK)));
            if let Err(error) = self
                .self_check
                .run(look.coordinator_pid, Some((&self.store, self.run_id)))
            {
                self.end_own()?;
                return Err(error);
            }
        }
    }

    fn unknown(&self) -> Error {
        Error::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("run {} does not exist", self.run_id),
        )
        .detail("A role can wait for and cancel its own runs only.")
        .hint("cgpsync_run lists the runs that this role may see.")
    }

    fn timed_out(&self) -> Error {
        let id = self.run_id;
        Error::new(
            sqlstate::QUERY_CANCELED,
            format!("run {id} is still on after the timeout"),
        )
        .detail("It goes on.")
        .hint(format!(
            "Wait again, look at cgpsync_progress, or end it with cgpsync_cancel({id})."
        ))
    }

    /// The run as it is now.
    pub fn look(&self) -> Result<Look> {
        let rows = self.select(
            "SELECT status, message, units, error_code, error_message, error_detail, error_hint, coordinator_pid
             FROM @.cgpsync_run WHERE run_id = $1::pg_catalog.int8",
        )?;
        let row = rows.first().ok_or_else(|| self.unknown())?;
        let end = match row.text(0) {
            Some("done") => Some(Ok(())),
            Some("failed" | "cancelled") => Some(Err(Error {
                sqlstate: row.text(3).unwrap_or(sqlstate::INTERNAL).to_owned(),
                message: row.text(4).unwrap_or("the run failed").to_owned(),
                detail: row.text(5).map(str::to_owned),
                hint: row.text(6).map(str::to_owned),
                remote: false,
                is_final: false,
            })),
            _ => None,
        };
        Ok(Look {
            coordinator_pid: row.need(7)?,
            message: row.text(1).map(str::to_owned),
            units: row.text(2).map(str::to_owned),
            end,
        })
    }

    /// The coordinator's process if the run is on.
    pub fn running_coordinator(&self) -> Result<Option<i32>> {
        let look = self.look()?;
        let running = look.end.is_none() && self.store.is_alive(self.run_id)?;
        Ok(running.then_some(look.coordinator_pid))
    }

    fn select(&self, sql: &str) -> Result<Vec<Row>> {
        self.store.read_latest(sql, &[Some(&self.run_id.to_string())])
    }

    fn is_stopped(&mut self) -> Result<bool> {
        match self.coordinator {
            Some(coordinator) => Ok(coordinator.state() == State::Stopped),
            None => {
                if self.alive.0.elapsed() >= LIFE_CHECK {
                    self.alive = (Instant::now(), self.store.is_alive(self.run_id)?);
                }
                Ok(!self.alive.1)
            }
        }
    }

    /// NOTICEs and WARNINGs for the lines that the run's message has got since the last look.
    pub fn tell(&mut self, look: &Look) {
        // Lines are only ever added.
        for line in look.message.as_deref().unwrap_or("").lines().skip(self.lines_seen) {
            match line.strip_prefix(super::WARNING) {
                Some(line) => report::warning(&format!("run {}: {line}", self.run_id)),
                None => report::notice(&format!("run {}: {line}", self.run_id)),
            }
            self.lines_seen += 1;
        }
    }

    /// NOTICEs for what is new since the last look.
    fn announce(&mut self, look: &Look) -> Result<()> {
        self.tell(look);
        let Some(total) = &look.units else {
            return Ok(());
        };
        let rows = self.select(
            "SELECT unit, partition, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at)::pg_catalog.numeric(20, 3),
                    COALESCE(error_message, message), source_relation IS NULL AND status <> 'failed'
             FROM @.cgpsync_run_partition
             WHERE run_id = $1::pg_catalog.int8 AND status IN ('done', 'failed', 'skipped') ORDER BY finished_at, unit",
        )?;
        for row in rows {
            // Of those that the source has no more, one line of the run tells.
            if !self.seen.insert(row.need(0)?) || row.is(7) {
                continue;
            }
            let text = |at| row.text(at).unwrap_or("");
            let (partition, place) = (text(1), format!("({} of {total})", self.seen.len()));
            match text(2) {
                "done" => report::notice(&format!(
                    "{partition}: {} rows, {} bytes in {} s {place}",
                    text(3),
                    text(4),
                    text(5)
                )),
                "skipped" => report::notice(&format!("{partition}: skipped, {} {place}", text(6))),
                _ => report::warning(&format!("{partition}: {} {place}", text(6))),
            }
        }
        Ok(())
    }

    fn results(&self) -> Result<Vec<UnitResult>> {
        let rows = self.select(
            "SELECT partition, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at), message
             FROM @.cgpsync_run_partition WHERE run_id = $1::pg_catalog.int8 ORDER BY partition",
        )?;
        rows.iter()
            .map(|row| {
                Ok(UnitResult {
                    partition: row.string(0)?,
                    status: row.string(1)?,
                    rows: row.get(2)?,
                    bytes: row.get(3)?,
                    seconds: row.get(4)?,
                    message: row.text(5).map(str::to_owned),
                })
            })
            .collect()
    }

    /// Ends a run of this call before this transaction's locks go, so that no worker gets to use them.
    fn end_own(&mut self) -> Result<()> {
        let Some(coordinator) = self.coordinator else {
            return Ok(());
        };
        coordinator.terminate();
        self.until_stopped(Duration::from_secs(2))
    }

    /// Waits until the coordinator is gone, and the table's lock with it: a call right after this one must find it free.
    pub fn until_stopped(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let stopped = match self.coordinator {
                Some(coordinator) => coordinator.state() == State::Stopped,
                None => !self.store.is_alive(self.run_id)?,
            };
            if stopped {
                break;
            }
            wait::wait(None, Duration::from_millis(20));
        }
        Ok(())
    }
}

impl SelfCheck {
    /// An error if `coordinator`, or a worker of the run where that is known already, waits for this transaction, or will: whoever replaces a
    /// partition needs it alone in the end, and asks for that in short attempts. Looks now and then.
    pub fn run(&mut self, coordinator: i32, run: Option<(&Store, i64)>) -> Result<()> {
        let now = Instant::now();
        if now - *self.last.get_or_insert(now) < SELF_CHECK {
            return Ok(());
        }
        self.last = Some(now);
        let store = match run {
            Some((store, _)) => store.clone(),
            None => Store::open()?,
        };
        let rows = store.read_latest(
            "SELECT l.pid, COALESCE(l.relation::pg_catalog.regclass::pg_catalog.text, l.locktype), l.mode
              FROM pg_catalog.pg_locks l
              WHERE NOT l.granted AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(l.pid))
                AND (l.pid = $2::pg_catalog.int4 OR l.pid IN (
                  SELECT p.worker_pid FROM @.cgpsync_run_partition p
                  WHERE p.run_id = $1::pg_catalog.int8 AND p.status = 'copying'))
             UNION ALL
             SELECT p.worker_pid, p.partition, 'AccessExclusiveLock'
              FROM pg_catalog.pg_locks l JOIN @.cgpsync_run_partition p ON l.relation = p.relation::pg_catalog.oid
              WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                AND p.run_id = $1::pg_catalog.int8 AND p.status = 'copying'",
            &[
                run.map(|(_, id)| id.to_string()).as_deref(),
                Some(&coordinator.to_string()),
            ],
        )?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            "the calling transaction holds a lock that the run needs",
        )
        .detail(format!(
            "Process {} needs {} on {}, held by this session.",
            row.text(0).unwrap_or("?"),
            row.text(2).unwrap_or("?"),
            row.text(1).unwrap_or("?")
        ))
        .hint("Commit first: workers are sessions of their own and cannot share this transaction's locks."))
    }
}
