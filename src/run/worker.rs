//! A worker: claims a unit, copies it, records the result, takes the next, until none is left. What fails for a reason that may pass is put
//! back, to be claimed again by whoever is free when its time has come.

use super::prepare_session;
use super::record::Store;
use super::rows::{Claim, ClaimedUnit, RunInfo};
use super::team::{Task, Team};
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{self, Birth};
use crate::pg::board::Board;
use crate::pg::{report, session, wait, xact};
use crate::plan::copy_sql::copy_out;
use crate::plan::{pieces, retry};
use crate::source::dialect::unchanged::{Read, check_unchanged};
use crate::source::{Session, dialect};
use crate::target::{catalog, defaults, load};
use std::time::{Duration, Instant};

/// The process.
pub fn main(birth: Birth) {
    let result = prepare_session().and_then(|synchronous_commit| {
        let id = birth.argument;
        // After a crash the run is over: what a worker notes of it, but for the units themselves, need not survive one.
        xact::transaction(|| session::set_config("synchronous_commit", "off", false))?;
        let (store, run, leaves_out) = xact::transaction(|| {
            let store = Store::open()?;
            let run = store.run_info(id)?;
            let leaves_out = defaults::leaves_out(run.request.table, &run.columns)?;
            Ok((store, run, leaves_out))
        })?;
        // Without a board the coordinator is gone, and this process is about to be told.
        let Some(board) = Board::attach(run.board, id) else {
            return Ok(());
        };
        Worker {
            id,
            store,
            run,
            leaves_out,
            board,
            synchronous_commit,
            source: None,
            outage: 0,
        }
        .work()
    });
    if let Err(error) = result {
        report::raise(error);
    }
}

struct Worker {
    id: i64,
    store: Store,
    run: RunInfo,
    /// some column of the table is neither copied nor generated
    leaves_out: bool,
    board: Board,
    /// the role's, for the commits of units
    synchronous_commit: String,
    /// connected when the first unit needs it, and again after an error
    source: Option<Source>,
    /// connections in a row that were not to be had
    outage: u32,
}

/// What a worker does next.
#[derive(PartialEq, Eq)]
enum Next {
    Unit,
    Leave,
}

/// A session, and the shared snapshot it reads in.
struct Source {
    session: Session,
    snapshot: Option<String>,
}

impl Worker {
    fn work(&mut self) -> Result<()> {
        session::set_application_name(&format!("cgpsync run {}", self.id));
        let result = report::catch(|| self.copy_all());
        self.board.leave_seat();
        session::show_activity(None);
        match (self.disconnect(), &result) {
            (Some(source), Ok(())) => source.close(),
            (Some(source), Err(_)) => source.abandon(),
            (None, _) => {}
        }
        result
    }

    fn copy_all(&mut self) -> Result<()> {
        while !background::termination_requested() {
            match xact::transaction(|| self.store.claim(self.id, self.run.request.retries))? {
                Claim::Nothing => break,
                Claim::Later(time) => self.sleep(time),
                Claim::Unit(unit) => {
                    session::show_activity(Some(&format!("run {}: copying {}", self.id, unit.name)));
                    let copied = match report::catch(|| self.connect(&unit)) {
                        Ok(()) => report::catch(|| self.copy(&unit)).or_else(|error| self.failed(&unit, error)),
                        Err(error) => self.not_connected(&unit, error),
                    };
                    if copied? == Next::Leave {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits with nothing in hand: a cancel leaves nothing half done.
    fn sleep(&self, time: Duration) {
        session::show_activity(Some(&format!("run {}: waiting to try again", self.id)));
        let end = Instant::now() + time;
        while Instant::now() < end && !background::termination_requested() {
            let left = end.saturating_duration_since(Instant::now());
            wait::wait(None, left.min(Duration::from_secs(1)));
        }
    }

    /// A source that cannot be reached is no failure of the unit that happened to be next: it goes back, and this worker waits.
    fn not_connected(&mut self, unit: &ClaimedUnit, error: Error) -> Result<Next> {
        let full = error.remote && error.sqlstate == sqlstate::TOO_MANY_CONNECTIONS;
        if full && self.board.serving() > 0 {
            let remark = format!("running with a worker less: {} [{}]", error.message, error.sqlstate);
            self.leave(unit, &remark)?;
            return Ok(Next::Leave);
        }
        if error.is_cancel() || !retry::is_transient(&error) {
            return self.failed(unit, error);
        }
        self.outage += 1;
        match self.run.request.next_attempt(&error, self.outage) {
            Some(delay) => {
                let remark = format!(
                    "waiting for the source: {}",
                    super::retry_remark(&error, self.outage, delay)
                );
                self.leave(unit, &remark)?;
                self.sleep(delay);
            }
            None => {
                let error = after_attempts(error, self.outage);
                // Where nobody has a connection, nobody will get one by trying again for each of the others.
                let is_for_all = self.board.serving() == 0;
                xact::transaction(|| {
                    self.store.unit_failed(self.id, unit.unit, &error)?;
                    match is_for_all {
                        true => self.store.pending_failed(self.id, &error),
                        false => Ok(()),
                    }
                })?;
            }
        }
        Ok(Next::Unit)
    }

    fn leave(&self, unit: &ClaimedUnit, remark: &str) -> Result<()> {
        xact::transaction(|| {
            self.store.unit_left(self.id, unit.unit)?;
            self.store.add_message(self.id, remark)
        })
    }

    /// Records what became of a unit that was not copied.
    fn failed(&mut self, unit: &ClaimedUnit, error: Error) -> Result<Next> {
        // The source may be in the middle of a COPY or of a failed transaction: the next unit gets a new session.
        if let Some(session) = self.disconnect() {
            session.abandon();
        }
        let error = explain(error, unit);
        if error.is_cancel() {
            xact::transaction(|| self.store.unit_failed(self.id, unit.unit, &error))?;
            return Ok(Next::Leave);
        }
        // What changed under the run's snapshot is not undone by looking once more.
        let is_stale = error.sqlstate == sqlstate::SERIALIZATION_FAILURE && !error.remote && unit.snapshot.is_some();
        let delay = self
            .run
            .request
            .next_attempt(&error, unit.attempt)
            .filter(|_| !is_stale);
        xact::transaction(|| match delay {
            Some(delay) => {
                let remark = super::retry_remark(&error, unit.attempt, delay);
                self.store.unit_put_back(self.id, unit, delay, &remark)
            }
            None => {
                let error = after_attempts(error, unit.attempt);
                self.store.unit_failed(self.id, unit.unit, &error)
            }
        })?;
        Ok(Next::Unit)
    }

    /// One unit: one local transaction that replaces its rows and says so.
    fn copy(&mut self, unit: &ClaimedUnit) -> Result<Next> {
        let Some(Source { session: source, .. }) = &mut self.source else {
            return Err(Error::internal("no session on the source"));
        };
        let name = format!("cgpsync run {}: {}", self.id, unit.name);
        let gauge = self.board.gauge(unit.unit);
        let remarks = xact::transaction(|| {
            session::set_config("synchronous_commit", &self.synchronous_commit, true)?;
            self.run.request.limit_lock_waits()?;
            if unit.snapshot.is_none() {
                dialect::begin(source, None)?;
            }
            source.set_application_name(&name)?;
            let what = load::What {
                table: self.run.request.table,
                unit: unit.partition,
                columns: &self.run.columns,
                binary: self.run.binary,
                filter: unit.filter_here,
                leaves_out: self.leaves_out,
                replace: self.run.request.replace,
                gauge,
                vanished: unit.vanished_filter.as_deref(),
                bound: unit.bound.as_deref(),
            };
            let loaded = match team(self.id, &self.run, self.board, unit, source, self.leaves_out)? {
                Some(mut team) => {
                    let first = team.first()?;
                    team.load(|team| load::replace(&what, &first, Some(team), source))?
                }
                None => {
                    let filter = unit.source_filter.as_deref();
                    let copy_sql = copy_out(what.columns, &unit.source_relation, filter, what.binary);
                    load::replace(&what, &copy_sql, None, source)?
                }
            };
            let read = Read {
                relation: &unit.source_relation,
                has_parts: unit.source_parts,
                columns: &self.run.columns,
                state: unit.source_state.as_deref(),
            };
            check_unchanged(source, read)?;
            if unit.snapshot.is_none() {
                source.batch("COMMIT")?;
            }
            self.store.unit_done(self.id, unit, &loaded)?;
            let remarks = loaded.remarks();
            loaded.show(self.run.request.swap_limits())?;
            Ok(remarks)
        })?;
        gauge.done();
        // Not in the same transaction: others would wait for the run's row as long as that one does for readers.
        for remark in remarks {
            xact::transaction(|| {
                self.store
                    .add_message(self.id, &format!("{}: {remark}", unit.shown_name))
            })?;
        }
        match self.run.request.analyze {
            true => self.analyze(unit),
            false => Ok(Next::Unit),
        }
    }

    /// Statistics of the new rows. The unit is done, with them or without, and on record as such: an error from here would put another end there.
    fn analyze(&self, unit: &ClaimedUnit) -> Result<Next> {
        let Err(error) = xact::transaction(|| load::analyze(unit.partition)) else {
            return Ok(Next::Unit);
        };
        if background::termination_requested() {
            return Ok(Next::Leave);
        }
        let remark = format!(
            "{}: not analyzed: {} [{}]",
            unit.shown_name, error.message, error.sqlstate
        );
        xact::transaction(|| self.store.add_message(self.id, &remark))?;
        Ok(Next::Unit)
    }

    /// Makes sure of a session within the run's snapshot, if there is one: the present one, as the run gets another when the first is lost.
    fn connect(&mut self, unit: &ClaimedUnit) -> Result<()> {
        // Between transactions, which those without a shared snapshot are, a server may have ended the session for being idle.
        let is_good = |source: &mut Source| source.snapshot == unit.snapshot && source.session.check_alive().is_ok();
        if self.source.as_mut().is_some_and(is_good) {
            return Ok(());
        }
        if let Some(session) = self.disconnect() {
            session.close();
        }
        let session = self.run.request.open_session(self.id, Duration::MAX)?;
        let (session, ()) = session.and_then(|session| {
            session.send_unconverted();
            match &unit.snapshot {
                Some(snapshot) => dialect::begin(session, Some(snapshot)),
                None => Ok(()),
            }
        })?;
        self.board.count_serving();
        self.outage = 0;
        self.source = Some(Source {
            session,
            snapshot: unit.snapshot.clone(),
        });
        Ok(())
    }

    fn disconnect(&mut self) -> Option<Session> {
        let source = self.source.take()?;
        self.board.count_served();
        Some(source.session)
    }
}

/// A team for a unit that is big enough and that several may read and load. Inside a transaction.
fn team(
    run_id: i64,
    run: &RunInfo,
    board: Board,
    unit: &ClaimedUnit,
    source: &mut Session,
    leaves_out: bool,
) -> Result<Option<Team>> {
    let Some(snapshot) = &unit.snapshot else {
        return Ok(None);
    };
    // What is said to be small is not asked about again.
    let worth_asking = pieces::SMALLEST_UNIT.max(run.shares.each) / 2;
    let is_small = unit.estimated_bytes.is_some_and(|bytes| bytes < worth_asking);
    if run.shares.processes < 2 || is_small {
        return Ok(None);
    }
    let pieces = match &unit.cut {
        Some(cut) => dialect::pieces::cut(source, cut, run.shares)?,
        None => dialect::pieces::pieces(source, &unit.source_relation, run.shares)?,
    };
    if pieces.is_empty() || !load::can_be_shared(run.request.table, unit.partition, &run.columns, leaves_out)? {
        return Ok(None);
    }
    let task = Task {
        run_id,
        request: run.request.clone(),
        board: run.board,
        number: unit.unit,
        partition: unit.partition,
        name: unit.name.clone(),
        columns: run.columns.clone(),
        binary: run.binary,
        source_relation: unit.source_relation.clone(),
        source_filter: unit.source_filter.clone(),
        filter_here: unit.filter_here,
        pieces,
        snapshot: snapshot.clone(),
    };
    Ok(Some(Team::new(task, board)))
}

/// The last error, and how many there were.
fn after_attempts(error: Error, attempt: u32) -> Error {
    if attempt <= 1 {
        return error;
    }
    let text = format!("This was attempt {attempt}; the ones before failed too.");
    error.more_detail(&text)
}

/// What a user needs besides the server's words: a termination arrives as a cancel of the current statement, and a lock that was not to
/// be had is somebody's.
fn explain(error: Error, unit: &ClaimedUnit) -> Error {
    if error.is_cancel() && background::termination_requested() {
        return Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated");
    }
    if error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE && !error.remote {
        let error = match xact::transaction(|| catalog::lock_holders(unit.partition)) {
            Ok(pids) => error.more_detail(&format!("Processes that hold a lock on it or its parents: {pids}.")),
            Err(_) => error,
        };
        return match error.hint {
            Some(_) => error,
            None => error.hint("Raise cgpsync.lock_timeout, or sync when it is not in use."),
        };
    }
    error
}
