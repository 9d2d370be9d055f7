//! A worker: claims a unit, copies it, records the result, takes the next, until none is left. What fails for a reason that may pass is put
//! back, to be claimed again by whoever is free when its time has come.

use super::process::prepare_session;
use super::request::{after_attempts, retry_remark};
use super::sessions::{connect_target, open_for_run};
use super::starting::until_planned;
use super::state::Store;
use super::state::rows::{Claim, ClaimedUnit, RunInfo};
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::background::{self, Birth};
use crate::pg::board::{Board, Snapshot};
use crate::pg::{backend, report, wait, xact};
use crate::plan::replace::Analyze;
use crate::plan::retry;
use crate::source::{self, Place, Reader, Size};
use crate::targets::Target;
use crate::targets::loading::{Crew, What};
use std::time::{Duration, Instant};

/// The process.
pub fn main(birth: Birth) {
    let result = prepare_session().and_then(|synchronous_commit| {
        // After a crash the run is over: what a worker notes of it, but for the units themselves, need not survive one.
        xact::transaction(|| backend::set_config("synchronous_commit", "off", false))?;
        let id = match birth.argument {
            handle @ ..0 => match until_planned(-handle)? {
                Some(id) => id,
                None => return Ok(()),
            },
            id => id,
        };
        let (store, run, target, leaves_out) = xact::transaction(|| {
            let store = Store::open()?;
            let run = store.run_info(id)?;
            let target = Target::of(run.request.table, run.request.access(), &backend::timezone()?)?;
            // Of a target elsewhere each unit tells.
            let leaves_out = target.elsewhere().is_none() && target.leaves_out(&run.columns)?;
            Ok((store, run, target, leaves_out))
        })?;
        // Without a board the coordinator is gone, and this process is about to be told.
        let Some(board) = Board::attach(run.board, id) else {
            return Ok(());
        };
        Worker {
            id,
            store,
            run,
            target,
            leaves_out,
            board,
            synchronous_commit,
            reader: None,
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
    target: Target,
    /// some column of the table is neither copied nor generated
    leaves_out: bool,
    board: Board,
    /// the role's, for the commits of units
    synchronous_commit: String,
    /// connected when the first unit needs it, and again after an error
    reader: Option<Reader>,
    /// connections in a row that were not to be had
    outage: u32,
}

/// What a worker does next.
#[derive(PartialEq, Eq)]
enum Next {
    Unit,
    Leave,
}

impl Worker {
    fn work(&mut self) -> Result<()> {
        backend::set_application_name(&format!("cgpsync run {}", self.id));
        let result = report::catch(|| self.copy_all());
        self.board.leave_seat();
        backend::show_activity(None);
        match (self.disconnect(), &result) {
            (Some(reader), Ok(())) => reader.session.close(),
            (Some(reader), Err(_)) => reader.session.abandon(),
            (None, _) => {}
        }
        self.target.leave(result.is_ok());
        result
    }

    fn copy_all(&mut self) -> Result<()> {
        while !background::termination_requested() {
            match xact::transaction(|| self.store.claim(self.id, self.run.request.retries))? {
                Claim::Nothing => break,
                Claim::Later(time) => self.sleep(time),
                Claim::Unit(unit) => {
                    backend::show_activity(Some(&format!("run {}: copying {}", self.id, unit.unit.name)));
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
        backend::show_activity(Some(&format!("run {}: waiting to try again", self.id)));
        let end = Instant::now() + time;
        while Instant::now() < end && !background::termination_requested() {
            let left = end.saturating_duration_since(Instant::now());
            wait::wait(None, left.min(Duration::from_secs(1)));
        }
    }

    /// A source that cannot be reached is no failure of the unit that happened to be next: it goes back, and this worker waits.
    fn not_connected(&mut self, unit: &ClaimedUnit, error: Error) -> Result<Next> {
        let full = error.is_remote() && error.sqlstate == sqlstate::TOO_MANY_CONNECTIONS;
        if full && self.board.serving() > 0 {
            let remark = format!("running with a worker less: {} [{}]", error.message, error.sqlstate);
            self.leave(unit, &remark)?;
            return Ok(Next::Leave);
        }
        if error.is_cancel() || !retry::is_transient(&error) {
            return self.failed(unit, error);
        }
        self.outage += 1;
        let has_strayed = error.sqlstate == sqlstate::OTHER_SERVER;
        match self.run.request.next_attempt(&error, self.outage) {
            Some(delay) => {
                let remark = match has_strayed {
                    true => error.message,
                    false => {
                        let side = if self.reader.is_some() {
                            Side::Target
                        } else {
                            Side::Source
                        };
                        let what = retry_remark(&error, self.outage, delay);
                        format!("waiting for the {}: {what}", side.noun())
                    }
                };
                self.leave(unit, &remark)?;
                if has_strayed {
                    // Whether the run's own server is still there, the coordinator finds out; the remark is there by now.
                    self.board
                        .note_strayed(unit.place.server.as_deref().unwrap_or_default());
                }
                self.sleep(delay);
            }
            None => {
                let error = after_attempts(error, self.outage);
                // Where nobody has a connection, nobody will get one by trying again for each of the others.
                let is_for_all = self.board.serving() == 0;
                xact::transaction(|| {
                    self.store.unit_failed(self.id, unit.number, &error)?;
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
        self.board.gauge(unit.number).begin();
        xact::transaction(|| {
            self.store.unit_left(self.id, unit.number)?;
            self.store.add_message(self.id, remark)
        })
    }

    /// Records what became of a unit that was not copied.
    fn failed(&mut self, unit: &ClaimedUnit, error: Error) -> Result<Next> {
        // The source may be in the middle of a COPY or of a failed transaction: the next unit gets a new session.
        let reader = self.disconnect();
        self.target.leave(false);
        let error = self.explain(error, unit);
        let error = match reader {
            Some(mut reader) => {
                let error = reader.explain(&unit.portion, &self.run.columns, error);
                reader.session.abandon();
                error
            }
            None => error,
        };
        if unit.place.snapshot.is_some() && retry::is_snapshots_fault(&error) {
            // Another worker's error may have brought a new one already.
            let present = xact::transaction(|| self.store.place(self.id))?;
            if present == unit.place {
                self.board.want_snapshot(Snapshot::Kept);
            }
        }
        let gauge = self.board.gauge(unit.number);
        if error.is_cancel() {
            xact::transaction(|| self.store.unit_failed(self.id, unit.number, &error))?;
            return Ok(Next::Leave);
        }
        // What changed under the run's snapshot is not undone by looking once more.
        let is_stale =
            error.sqlstate == sqlstate::SERIALIZATION_FAILURE && !error.is_remote() && unit.place.snapshot.is_some();
        let delay = self
            .run
            .request
            .next_attempt(&error, unit.attempt)
            .filter(|_| !is_stale);
        xact::transaction(|| match delay {
            Some(delay) => {
                gauge.begin();
                let remark = retry_remark(&error, unit.attempt, delay);
                self.store.unit_put_back(self.id, unit, delay, &remark)
            }
            None => {
                gauge.end_pieces();
                let error = after_attempts(error, unit.attempt);
                self.store.unit_failed(self.id, unit.number, &error)
            }
        })?;
        Ok(Next::Unit)
    }

    /// One unit: its rows are replaced, and its row says so.
    fn copy(&mut self, unit: &ClaimedUnit) -> Result<Next> {
        let Some(reader) = &mut self.reader else {
            return Err(Error::internal("no session on the source"));
        };
        let gauge = self.board.gauge(unit.number);
        let request = &self.run.request;
        let what = What {
            unit: &unit.unit,
            portion: &unit.portion,
            size: Size {
                bytes: unit.estimated_bytes,
                cut: unit.cut.as_ref(),
                shares: self.run.shares,
            },
            crew: Crew {
                run_id: self.id,
                board: self.board,
                number: unit.number,
                seats: request.parallelism.max(1) as u32,
                source: &request.source,
                lock_timeout_ms: request.lock_timeout_ms,
                connect_timeout: request.connect_timeout(),
            },
            columns: &self.run.columns,
            types: &self.run.types,
            binary: self.run.binary,
            filter: unit.filter_here,
            leaves_out: self.leaves_out,
            replace: request.replace,
            page_writer: request.page_writer,
            vanished: unit.vanished_filter.as_deref(),
            bound: unit.bound.as_deref(),
            limits: request.limits(),
            synchronous_commit: &self.synchronous_commit,
            gauge,
        };
        let mut record = |loaded: &_| self.store.unit_done(self.id, unit, loaded);
        let loaded = self.target.replace(&what, reader, &mut record)?;
        gauge.done();
        // Not in the same transaction: others would wait for the run's row as long as that one does for readers.
        for remark in loaded.remarks() {
            xact::transaction(|| {
                self.store
                    .add_message(self.id, &format!("{}: {remark}", unit.shown_name))
            })?;
        }
        if let Some(remark) = loaded.remark_of_run() {
            xact::transaction(|| self.store.add_message_once(self.id, &remark))?;
        }
        match self.run.request.analyze {
            Analyze::All | Analyze::Leaves => self.analyze(unit),
            Analyze::Off => Ok(Next::Unit),
        }
    }

    /// Statistics of the new rows. The unit is done, with them or without, and on record as such: an error from here would put another end there.
    fn analyze(&self, unit: &ClaimedUnit) -> Result<Next> {
        let analyze = || self.target.analyze(&unit.unit);
        let analyzed = match self.target.elsewhere() {
            None => xact::transaction(analyze),
            Some(_) => report::catch(analyze),
        };
        let Err(error) = analyzed else {
            return Ok(Next::Unit);
        };
        self.target.leave(false);
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
        let place = self.place(unit)?;
        let is_good = |reader: &mut Reader| reader.place == place && reader.session.check_alive().is_ok();
        if self.reader.as_mut().is_some_and(is_good) {
            return self.connect_target();
        }
        if let Some(reader) = self.disconnect() {
            reader.session.close();
        }
        let known = self.run.source_known.as_ref();
        let session = open_for_run(
            &self.run.request,
            self.id,
            &self.target,
            Duration::MAX,
            Some(&place),
            known,
        )?;
        let (session, ()) = session.and_then(|session| source::begin_reading(session, &place))?;
        self.board.count_serving();
        self.outage = 0;
        let is_here = xact::transaction(|| self.target.is_on_server(session.identity().unwrap_or_default()))?;
        self.reader = Some(Reader::new(session, place, is_here));
        self.connect_target()
    }

    /// Makes sure of a session with a target elsewhere, which relies on the run's lock there as it is held now.
    fn connect_target(&mut self) -> Result<()> {
        let Some(remote) = self.target.elsewhere() else {
            return Ok(());
        };
        // Another session may hold it than when this one was opened.
        let held = xact::transaction(|| self.store.held(self.id))?;
        remote.rely_on(held.ok_or_else(|| Error::internal("the run holds no lock over there"))?);
        if !remote.is_connected() {
            connect_target(self.id, remote)?;
            self.outage = 0;
        }
        Ok(())
    }

    /// Where the unit is to be read. Where the run's snapshot has been let go, or is of no use any more, waits for another one.
    fn place(&self, unit: &ClaimedUnit) -> Result<Place> {
        if unit.place.snapshot.is_none() || self.board.snapshot() == Snapshot::Kept {
            return Ok(unit.place.clone());
        }
        self.board.want_snapshot(Snapshot::LetGo);
        while self.board.snapshot() == Snapshot::Wanted {
            if background::termination_requested() {
                return Err(Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated"));
            }
            wait::wait(None, Duration::from_millis(20));
        }
        xact::transaction(|| self.store.place(self.id))
    }

    fn disconnect(&mut self) -> Option<Reader> {
        let reader = self.reader.take()?;
        self.board.count_served();
        Some(reader)
    }

    /// What a user needs besides the server's words: a termination arrives as a cancel of the current statement, and a lock that was not to
    /// be had is somebody's.
    fn explain(&self, error: Error, unit: &ClaimedUnit) -> Error {
        if error.is_cancel() && background::termination_requested() {
            return Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated");
        }
        if error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE && error.side != Side::Source {
            let error = self.target.name_lock_holders(error, &unit.unit);
            return match error.hint {
                Some(_) => error,
                None => error.hint("Raise cgpsync.lock_timeout, or sync when it is not in use."),
            };
        }
        error
    }
}
