//! Watching a run from a session: its rows say how it stands, the table's lock says whether it is alive.

use super::cycle::SelfCheck;
use super::state::Store;
use super::state::rows::{RunRow, UnitResult};
use super::state::status::UnitState;
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{Handle, State};
use crate::pg::procedure::Procedure;
use crate::pg::{backend, report, wait};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How often the run's rows are looked at; the coordinator's end wakes its caller at once.
pub const TICK: Duration = Duration::from_millis(100);
/// How often a run that this session has not started is checked to be alive.
const LIFE_CHECK: Duration = Duration::from_secs(1);
/// How long a coordinator that has finished its run may take to exit.
const FAREWELL: Duration = Duration::from_secs(1);

/// A run being watched.
pub struct Watch<'a> {
    store: Store,
    run_id: i64,
    /// None: this session has not started it
    coordinator: Option<Handle>,
    seen: HashSet<i32>,
    lines_seen: usize,
    self_check: SelfCheck,
    alive: (Instant, bool),
    /// commits before it waits; None: all is one transaction
    procedure: Option<&'a Procedure>,
}

impl<'a> Watch<'a> {
    /// A run that this call has started. Its course is told in NOTICEs.
    pub fn own(run_id: i64, coordinator: Handle) -> Result<Watch<'a>> {
        Watch::new(run_id, Some(coordinator))
    }

    /// Any run of this role, whoever started it; of all roles for a superuser. A role that may only look on does not count.
    pub fn other(run_id: i64) -> Result<Watch<'a>> {
        let watch = Watch::new(run_id, None)?;
        match watch.store.is_of(run_id, backend::current_role())? {
            false => Err(watch.unknown()),
            true => Ok(watch),
        }
    }

    fn new(run_id: i64, coordinator: Option<Handle>) -> Result<Watch<'a>> {
        Ok(Watch {
            store: Store::open()?,
            run_id,
            coordinator,
            seen: HashSet::new(),
            lines_seen: 0,
            self_check: SelfCheck::default(),
            alive: (Instant::now(), true),
            procedure: None,
        })
    }

    /// From here on, holds nothing while it waits.
    pub fn in_procedure(mut self, procedure: &'a Procedure) -> Watch<'a> {
        self.procedure = Some(procedure);
        self
    }

    /// Waits for `time` at most.
    fn rest(&self, time: Duration) {
        if let Some(procedure) = self.procedure {
            procedure.commit();
        }
        wait::wait(None, time);
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
                return self.store.results(self.run_id);
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
            self.rest(left.map_or(TICK, |left| left.min(TICK)));
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
        .hint("SELECT run_id, table_name, status FROM cgpsync_run WHERE role_name = current_user lists them.")
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
    pub fn look(&self) -> Result<RunRow> {
        self.store.look(self.run_id)?.ok_or_else(|| self.unknown())
    }

    /// The coordinator's process if the run is on.
    pub fn running_coordinator(&self) -> Result<Option<i32>> {
        let look = self.look()?;
        let running = look.end.is_none() && self.store.is_alive(self.run_id)?;
        Ok(running.then_some(look.coordinator_pid))
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
    pub fn tell(&mut self, look: &RunRow) {
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
    fn announce(&mut self, look: &RunRow) -> Result<()> {
        self.tell(look);
        let Some(total) = &look.units else {
            return Ok(());
        };
        for unit in self.store.ended_units(self.run_id)? {
            // Of those that the source has no more, one line of the run tells.
            if !self.seen.insert(unit.number) || unit.has_no_source {
                continue;
            }
            let (partition, place) = (&unit.partition, format!("({} of {total})", self.seen.len()));
            match unit.state {
                UnitState::Done => report::notice(&format!(
                    "{partition}: {} rows, {} bytes in {} s {place}",
                    unit.rows, unit.bytes, unit.seconds
                )),
                UnitState::Skipped => report::notice(&format!("{partition}: skipped, {} {place}", unit.message)),
                _ => report::warning(&format!("{partition}: {} {place}", unit.message)),
            }
        }
        Ok(())
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
            self.rest(Duration::from_millis(20));
        }
        Ok(())
    }
}
