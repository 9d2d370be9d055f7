//! A worker: claims a unit, copies it, records the result, takes the next, until none is left. What fails for a reason that may pass is put
//! back, to be claimed again by whoever is free when its time has come.

use super::record::Store;
use super::rows::{Claim, ClaimedUnit, RunInfo};
use super::{prepare_session, set_config};
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{self, Birth};
use crate::pg::board::Board;
use crate::pg::{report, session, wait, xact};
use crate::plan::copy_sql::copy_out;
use crate::plan::retry;
use crate::source::{Session, dialect};
use crate::target::{catalog, load};

/// The process.
pub fn main(birth: Birth) {
    let result = prepare_session().and_then(|synchronous_commit| {
        let id = birth.argument;
        let (store, run) = xact::transaction(|| {
            let store = Store::open()?;
            let run = store.run_info(id)?;
            Ok((store, run))
        })?;
        // Without a board the coordinator is gone, and this process is about to be told.
        let Some(board) = Board::attach(run.board, id) else {
            return Ok(());
        };
        Worker {
            id,
            store,
            run,
            board,
            synchronous_commit,
            source: None,
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
    board: Board,
    /// the role's, for the commits of units
    synchronous_commit: String,
    /// connected when the first unit needs it, and again after an error
    source: Option<Source>,
}

/// A session, and the shared snapshot it reads in.
struct Source {
    session: Session,
    snapshot: Option<String>,
}

impl Worker {
    fn work(&mut self) -> Result<()> {
        session::set_application_name(&format!("cgpsync run {}", self.id));
        while !background::termination_requested() {
            match xact::transaction(|| self.store.claim(self.id, self.run.request.retries))? {
                Claim::Nothing => break,
                Claim::Later(time) => {
                    session::show_activity(Some(&format!("run {}: waiting to try again", self.id)));
                    // A cancel while waiting leaves nothing half done.
                    report::catch(|| {
                        wait::wait(None, time);
                        Ok(())
                    })?;
                }
                Claim::Unit(unit) => {
                    session::show_activity(Some(&format!("run {}: copying {}", self.id, unit.name)));
                    if let Err(error) = report::catch(|| self.copy(&unit))
                        && !self.failed(&unit, error)?
                    {
                        break;
                    }
                }
            }
        }
        session::show_activity(None);
        if let Some(source) = self.disconnect() {
            source.close();
        }
        Ok(())
    }

    /// Records what became of a unit that was not copied. False when this worker should leave.
    fn failed(&mut self, unit: &ClaimedUnit, error: Error) -> Result<bool> {
        // The source may be in the middle of a COPY or of a failed transaction: the next unit gets a new session.
        if let Some(session) = self.disconnect() {
            session.abandon();
        }
        let error = explain(error, unit);
        if error.is_cancel() {
            xact::transaction(|| self.store.unit_failed(self.id, unit.unit, &error))?;
            return Ok(false);
        }
        if error.remote && error.sqlstate == sqlstate::TOO_MANY_CONNECTIONS && self.board.connected() > 0 {
            xact::transaction(|| {
                self.store.unit_left(self.id, unit.unit)?;
                self.store.add_message(
                    self.id,
                    &format!("running with a worker less: {} [{}]", error.message, error.sqlstate),
                )
            })?;
            return Ok(false);
        }
        // What changed under the run's snapshot is not undone by looking once more.
        let is_stale = error.sqlstate == sqlstate::SERIALIZATION_FAILURE && !error.remote && unit.snapshot.is_some();
        let delay = match retry::is_transient(&error) && !is_stale {
            true => self.run.request.retries.delay_after(unit.attempt, super::random()),
            false => None,
        };
        xact::transaction(|| match delay {
            Some(delay) => {
                let remark = super::retry_remark(&error, unit.attempt, delay);
                self.store.unit_put_back(self.id, unit, delay, &remark)
            }
            None => self
                .store
                .unit_failed(self.id, unit.unit, &after_attempts(error, unit.attempt)),
        })?;
        Ok(true)
    }

    /// One unit: one local transaction that replaces its rows and says so.
    fn copy(&mut self, unit: &ClaimedUnit) -> Result<()> {
        self.connect(unit)?;
        let Some(Source { session: source, .. }) = &mut self.source else {
            return Err(Error::internal("no session on the source"));
        };
        let copy_sql = copy_out(
            &self.run.columns,
            &unit.source_relation,
            unit.source_filter.as_deref(),
            self.run.binary,
        );
        source.set_application_name(&format!("cgpsync run {}: {}", self.id, unit.name))?;
        let gauge = self.board.gauge(unit.unit);
        xact::transaction(|| {
            set_config("synchronous_commit", &self.synchronous_commit, true)?;
            self.run.request.limit_lock_waits()?;
            if unit.snapshot.is_none() {
                dialect::begin(source, None)?;
            }
            let what = load::What {
                table: self.run.request.table,
                unit: unit.partition,
                columns: &self.run.columns,
                binary: self.run.binary,
                filter: unit.filter_here,
                gauge,
            };
            let loaded = load::truncate_and_load(&what, &copy_sql, source)?;
            dialect::check_unchanged(source, &unit.source_relation)?;
            if unit.snapshot.is_none() {
                source.batch("COMMIT")?;
            }
            self.store.unit_done(self.id, unit.unit, loaded.rows, loaded.bytes)
        })?;
        gauge.done();
        Ok(())
    }

    /// Makes sure of a session within the run's snapshot, if there is one: the present one, as the run gets another when the first is lost.
    fn connect(&mut self, unit: &ClaimedUnit) -> Result<()> {
        if self
            .source
            .as_ref()
            .is_some_and(|source| source.snapshot == unit.snapshot)
        {
            return Ok(());
        }
        if let Some(session) = self.disconnect() {
            session.close();
        }
        let (target, timezone) = xact::transaction(|| Ok((self.run.request.connection()?, session::timezone()?)))?;
        let name = format!("cgpsync run {}", self.id);
        let mut session = Session::open(&target, &name, &session::encoding(), &timezone)?;
        session.send_unconverted()?;
        if let Some(snapshot) = &unit.snapshot {
            dialect::begin(&mut session, Some(snapshot))?;
        }
        self.board.count_connected();
        self.source = Some(Source {
            session,
            snapshot: unit.snapshot.clone(),
        });
        Ok(())
    }

    fn disconnect(&mut self) -> Option<Session> {
        let source = self.source.take()?;
        self.board.count_disconnected();
        Some(source.session)
    }
}

/// The last error, and how many there were.
fn after_attempts(error: Error, attempt: u32) -> Error {
    if attempt <= 1 {
        return error;
    }
    let text = format!("This was attempt {attempt}; the ones before failed too.");
    let details: Vec<String> = error.detail.iter().cloned().chain([text]).collect();
    error.detail(details.join("\n"))
}

/// What a user needs besides the server's words: a termination arrives as a cancel of the current statement, and a lock that was not to
/// be had is somebody's.
fn explain(error: Error, unit: &ClaimedUnit) -> Error {
    if error.is_cancel() && background::termination_requested() {
        return Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated");
    }
    if error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE && !error.remote {
        let holders = xact::transaction(|| catalog::lock_holders(unit.partition)).unwrap_or_default();
        let detail = format!("Processes that hold a lock on it: {holders}.");
        let details: Vec<String> = error.detail.iter().cloned().chain([detail]).collect();
        return error
            .detail(details.join("\n"))
            .hint("Raise cgpsync.lock_timeout, or sync when it is not in use.");
    }
    error
}
