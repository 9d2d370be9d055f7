//! The coordinator: one background process that plans a run, holds its snapshot, starts and watches the workers, and finishes it.

mod appeared;
mod changes;
mod hold;
mod keeper;
mod parents;
mod plans;

use super::outlook::Outlook;
use super::planning::Plan;
use super::process::prepare_session;
use super::request::Request;
use super::state::Store;
use super::state::rows::Planned;
use super::state::status::RunState;
use crate::catalog::server::Known;
use crate::error::{Error, Result, sqlstate, tame_remark};
use crate::pg::background::{self, Birth, Handle, Role, State};
use crate::pg::board::Board;
use crate::pg::handoff::Handoff;
use crate::pg::{backend, lock, report, wait, xact};
use crate::settings;
use crate::source::Place;
use crate::targets::{Held, Target};
use crate::wire::Session;
use keeper::Renewal;
use std::time::{Duration, Instant};

/// How often rows and processes are looked at; a worker's end wakes the coordinator at once.
const TICK: Duration = Duration::from_millis(100);
/// What helps where a run was ended.
const GO_ON: &str = "Finished partitions stay finished; run the same call again.";
/// How often it is looked whether there are slots for workers that the run lacks.
const TOP_UP: Duration = Duration::from_secs(1);
/// How long workers get to stop their queries and record their units before the run is closed without them.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

/// The process.
pub fn main(birth: Birth) {
    // A bad segment or request leaves the caller without a run id, which it reports.
    let started = prepare_session().and_then(|_| start(birth));
    match started {
        Ok(Some(mut run)) => run.conduct(),
        Ok(None) => {}
        Err(error) => report::raise(error),
    }
}

struct Run {
    id: i64,
    request: Request,
    target: Target,
    store: Store,
    handoff: Handoff,
    workers: Vec<Handle>,
    /// workers that there were no slots for
    lacking: usize,
    /// when that was looked at last
    topped_up: Instant,
    /// the session whose transaction keeps the shared snapshot alive
    keeper: Option<Session>,
    /// what the source table looked like when the run was planned
    source: String,
    /// where the run reads
    place: Place,
    /// what is known of the server
    source_known: Option<Known>,
    /// who holds the run's lock on a target elsewhere
    held: Option<Held>,
    /// a session that did so is to be replaced: when to try, and how often it was
    hold_again: Option<(Instant, u32)>,
    renewal: Option<Renewal>,
    /// why what is still to do cannot be done by this plan
    outdated: Option<Error>,
}

/// The copying part of a run.
struct Course {
    /// units to copy
    units: usize,
    board: Board,
    outlook: Outlook,
    began: Instant,
    /// workers started because units were left behind
    replacements: usize,
}

/// Reads the request, records the run and answers the caller. None when there is nothing (more) to do.
fn start(birth: Birth) -> Result<Option<Run>> {
    let Some((handoff, bytes)) = Handoff::attach(birth.argument)? else {
        return Ok(None);
    };
    let Some(mut request) = Request::handed_over(&bytes)? else {
        handoff.set_other_version();
        return Ok(None);
    };
    // No client's options reach this process.
    let cap = request.max_parallelism.unwrap_or_else(settings::max_parallelism);
    let wanted = request.parallelism;
    request.parallelism = wanted.min(cap);
    // Both or none: coordinators that had all slots and no worker would wait for each other.
    let Some(worker) = start_worker(-birth.argument, 1)? else {
        handoff.set_no_slot();
        return Ok(None);
    };
    let (store, target, id, conflict) = xact::transaction(|| {
        let store = Store::open()?;
        let target = Target::of(request.table, request.access(), &backend::timezone()?)?;
        let (id, conflict) = store.begin_run(&request, &target, birth.role)?;
        if wanted > cap {
            let remark = format!("parallelism is {cap}, not {wanted}: cgpsync.max_parallelism allows no more");
            store.add_message(id, &remark)?;
        }
        Ok((store, target, id, conflict))
    })?;
    handoff.set_run_id(id);
    backend::set_application_name(&format!("cgpsync run {id}"));
    let run = Run {
        id,
        request,
        target,
        store,
        handoff,
        workers: vec![worker],
        lacking: 0,
        topped_up: Instant::now(),
        keeper: None,
        source: String::new(),
        place: Place::default(),
        source_known: None,
        held: None,
        hold_again: None,
        renewal: None,
        outdated: None,
    };
    Ok(conflict.is_none().then_some(run))
}

/// Starts worker `number` of run `id`, or the first of a run that has none yet, which asks for it by the handle -`id`;
/// it ends with this process. None where there is no slot.
fn start_worker(id: i64, number: usize) -> Result<Option<Handle>> {
    let birth = Birth {
        database: backend::database(),
        role: backend::current_role(),
        argument: id,
    };
    let title = if id > 0 {
        format!("run {id} #{number}")
    } else {
        "of a new run".to_owned()
    };
    let worker = background::start(Role::Worker, birth, &title)?;
    worker.into_iter().for_each(background::adopt);
    Ok(worker)
}

impl Run {
    /// The whole run; whatever happens, its row says how it ended.
    fn conduct(&mut self) {
        // The catch covers what is raised outside of a transaction: cancels and terminations served while waiting.
        let result = report::catch(|| self.work());
        if let Err(error) = result {
            let error = self.explain(error);
            self.stop_workers();
            self.let_go();
            let state = RunState::after(&error);
            let record = || xact::transaction(|| self.store.finish_run(self.id, state, Some(&error)));
            // Once more if another cancel came in between.
            if let Err(error) = record().or_else(|_| record()) {
                report::raise(error);
            }
        }
    }

    /// A cancel reaches this process as a signal: says what was behind it.
    fn explain(&self, error: Error) -> Error {
        if !error.is_cancel() {
            return error;
        }
        if self.handoff.is_caller_gone() {
            Error::new(sqlstate::QUERY_CANCELED, "the call was cancelled, or its session ended")
        } else if background::termination_requested() {
            Error::new(sqlstate::ADMIN_SHUTDOWN, "the coordinator of the run was terminated")
                .detail("By cgpsync_cancel or pg_terminate_backend, or because the server is shutting down.")
                .hint(GO_ON)
        } else {
            error
        }
    }

    fn work(&mut self) -> Result<()> {
        backend::show_activity(Some(&format!("run {}: planning", self.id)));
        let mut plan = self.plan()?;
        self.source = std::mem::take(&mut plan.source);
        let units = plan.units();
        let to_copy = units.iter().filter(|u| u.left.is_none()).count();
        let remarks = plan.remarks.iter().map(|remark| tame_remark(remark));
        let remarks = remarks.collect::<Vec<_>>().join("\n");
        let board = Board::create(self.id, units.len(), self.request.max_rate)?;
        for (number, _) in units.iter().enumerate().filter(|(_, unit)| unit.left.is_some()) {
            board.gauge(number as i32 + 1).done();
        }
        xact::transaction(|| {
            let planned = Planned {
                source_table: &plan.source_table,
                end_tm: plan.end_tm.as_deref(),
                point: plan.point.as_deref(),
                watermark: plan.watermark.as_deref(),
                columns: &plan.mapping.columns,
                types: &plan.mapping.types,
                binary: plan.mapping.binary,
                place: &self.place,
                origin: &plan.origin,
                message: Some(remarks.as_str()).filter(|text| !text.is_empty()),
                board: board.handle(),
                source_known: self.source_known.as_ref(),
                held: self.held.as_ref(),
            };
            self.store.set_planned(self.id, &planned, &units)
        })?;
        let course = Course {
            units: to_copy,
            board,
            outlook: Outlook::new(units.iter().map(|u| (u.left.is_none(), u.estimated_bytes))),
            began: Instant::now(),
            replacements: 0,
        };
        // The first has its seat since the run began.
        course.board.take_seat();
        self.lacking = to_copy.min(self.request.parallelism as usize).saturating_sub(1);
        self.start_workers(&course.board)?;
        if self.lacking > 0 {
            let message = format!(
                "running with {} of {} workers: no more background worker slots are free yet",
                self.workers.len(),
                self.workers.len() + self.lacking
            );
            xact::transaction(|| self.store.add_message(self.id, &message))?;
        }
        self.watch(course)?;
        self.finish(&plan)
    }

    fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.check_termination()?;
            wait::wait(None, TICK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Starts the workers that the run lacks, or as many as there are free slots.
    fn start_workers(&mut self, board: &Board) -> Result<()> {
        self.check_termination()?;
        self.topped_up = Instant::now();
        while self.lacking > 0 {
            let Some(worker) = start_worker(self.id, self.workers.len() + 1)? else {
                break;
            };
            board.take_seat();
            self.workers.push(worker);
            self.lacking -= 1;
        }
        Ok(())
    }

    /// Starts a worker in the place of the last one, for units that were left behind. Waits for a slot.
    fn replace_worker(&mut self, board: &Board) -> Result<()> {
        let begin = Instant::now();
        self.lacking += 1;
        let before = self.workers.len();
        loop {
            self.start_workers(board)?;
            if self.workers.len() > before {
                return Ok(());
            }
            self.request.check_slot_wait(begin)?;
            backend::show_waiting("waiting for a background worker slot");
            self.sleep(TOP_UP)?;
        }
    }

    /// A request to end that something else has swallowed, such as a commit's wait for a standby, still ends the run. So does one that is on its
    /// way: a caller marks itself gone before its locks go, and the signal comes through the postmaster, so this process could have inherited
    /// such a lock meanwhile.
    fn check_termination(&self) -> Result<()> {
        if background::termination_requested() || self.handoff.is_caller_gone() {
            return Err(Error::new(sqlstate::QUERY_CANCELED, "the run was asked to end"));
        }
        Ok(())
    }

    /// Until no worker is left. Ends early, with the error, when a worker was cancelled or died.
    fn watch(&mut self, mut course: Course) -> Result<()> {
        loop {
            self.check_termination()?;
            let running = self.workers.iter().filter(|w| w.state() != State::Stopped).count();
            let counts = xact::transaction(|| self.store.counts(self.id))?;
            self.check_one_server(&course.board)?;
            self.keep_target()?;
            self.keep_snapshot(counts.pending > 0, &course.board)?;
            let finished = course.units as i64 - counts.pending - counts.copying;
            let units: Vec<_> = course.board.unit_figures().collect();
            let now = course.outlook.at(course.began.elapsed(), &units);
            course.board.publish(now.percent, now.rate, now.left);
            backend::show_activity(Some(&format!(
                "run {}: {finished} of {} units finished, {running} workers",
                self.id, course.units
            )));
            if counts.cancelled > 0 {
                return Err(Error::new(
                    sqlstate::QUERY_CANCELED,
                    "a worker of the run was cancelled or terminated",
                )
                .hint(GO_ON));
            }
            // A worker that finds nothing to claim leaves, and what another one holds may still look pending here. So only the end of
            // the last one tells.
            if running > 0 {
                let is_time = self.lacking > 0 && counts.pending > 0 && self.topped_up.elapsed() >= TOP_UP;
                // Who has none yet goes first.
                if is_time && !lock::someone_waits() {
                    self.start_workers(&course.board)?;
                }
                wait::wait(None, TICK);
                continue;
            }
            if counts.pending == 0 && counts.copying == 0 {
                return Ok(());
            }
            // The last one may have left while one that got no connection put its unit back. A unit still held has lost its worker.
            if counts.copying > 0 || course.replacements >= course.units {
                return Err(Error::new(
                    sqlstate::EXTERNAL_ROUTINE,
                    "a worker of the run ended before its work was done",
                )
                .hint(format!(
                    "The server's log says why, in lines of a \"cgpsync worker\". {GO_ON}"
                )));
            }
            wait::wait(None, TICK);
            course.replacements += 1;
            self.replace_worker(&course.board)?;
        }
    }

    /// Gathers statistics, and moves the watermark if every unit is done.
    fn finish(&mut self, plan: &Plan) -> Result<()> {
        if let Some(keeper) = self.keeper.take() {
            keeper.close();
        }
        let is_passed = self.name_new_partitions(plan)?;
        if xact::transaction(|| self.store.counts(self.id))?.failed == 0 {
            self.drop_partitions(&plan.to_drop())?;
        }
        self.analyze_parents();
        self.target.leave(true);
        xact::transaction(|| {
            if self.store.counts(self.id)?.failed > 0 {
                let error = self.store.failure(self.id)?;
                return self.store.finish_run(self.id, RunState::Failed, Some(&error));
            }
            if plan.moves_watermark
                && !is_passed
                && let Some(point) = &plan.point
            {
                self.store.set_watermark(self.id, self.request.table, point)?;
            }
            self.store.finish_run(self.id, RunState::Done, None)
        })
    }

    /// Terminates the workers and gives them a moment to record how their units ended.
    fn stop_workers(&self) {
        self.workers.iter().for_each(|worker| worker.terminate());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline && self.workers.iter().any(|w| w.state() != State::Stopped) {
            // A second signal must not keep the run from being recorded: it is waited out here.
            let _ = report::catch(|| {
                wait::wait(None, Duration::from_millis(20));
                Ok(())
            });
        }
    }
}
