//! Starting a run's processes from the calling backend, and what the first worker does until its run is planned. A run
//! needs two slots for background workers, its coordinator's and that of one worker, and gets both or none:
//! coordinators that had all slots and no worker would wait for each other. While there are not two, the call waits for
//! them.

use super::cycle::SelfCheck;
use super::request::{Request, VERSION, random};
use super::state::Store;
use super::state::status::RunState;
use super::watch::TICK;
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{self, Birth, Handle, Role, State};
use crate::pg::handoff::{Answer, Handoff, Hold};
use crate::pg::lock::Waiting;
use crate::pg::{self, backend, report, xact};
use std::time::{Duration, Instant};

/// How often a call that waits for slots tries, on average.
const PAUSE: Duration = Duration::from_millis(200);

/// Most plans are there by then.
const SOON: Duration = Duration::from_millis(200);

/// A run that has begun: its row is there.
pub struct Started {
    /// what ties it to this call
    pub hold: Hold,
    /// its coordinator
    pub coordinator: Handle,
    /// its number
    pub run_id: i64,
}

/// Starts the run of `request`, tied to this call, which may last longer than its transaction; `let_go` is called before each wait.
pub fn start(request: &Request, outlives_transaction: bool, let_go: impl Fn()) -> Result<Started> {
    if background::slots() < 2 {
        return Err(background::no_slot());
    }
    let bytes = serde_json::to_vec(request).map_err(|e| Error::internal(e.to_string()))?;
    let begin = Instant::now();
    let mut waiting: Option<Waiting> = None;
    loop {
        if let Some(started) = attempt(&bytes, outlives_transaction, &let_go)? {
            return Ok(started);
        }
        wait(request, begin, &mut waiting, &let_go)?;
    }
}

/// Waits for a while, which `cgpsync_progress` tells, and a NOTICE.
fn wait(request: &Request, begin: Instant, waiting: &mut Option<Waiting>, let_go: &impl Fn()) -> Result<()> {
    request.check_slot_wait(begin)?;
    if waiting.is_none() {
        report::notice("no two background worker slots are free: waiting for them, as cgpsync_progress shows");
    }
    waiting.get_or_insert_with(|| Waiting::begin(request.table)).tell_all();
    let_go();
    // Two calls that have taken a slot each do not meet again.
    pg::wait::wait(None, PAUSE.mul_f64(0.5 + random()));
    Ok(())
}

/// Starts the coordinator. None where there is no slot for it, or none for a worker of its.
fn attempt(request: &[u8], outlives_transaction: bool, let_go: &impl Fn()) -> Result<Option<Started>> {
    let hold = Handoff::create(request, outlives_transaction)?;
    let birth = Birth {
        database: backend::database(),
        role: backend::current_role(),
        argument: hold.handoff().handle(),
    };
    let Some(coordinator) = background::start(Role::Coordinator, birth, "")? else {
        return Ok(None);
    };
    hold.handoff().bind(coordinator);
    let run_id = answer(hold.handoff(), coordinator, let_go)?;
    Ok(run_id.map(|run_id| Started {
        hold,
        coordinator,
        run_id,
    }))
}

/// Waits for the coordinator's answer, the run's number.
fn answer(handoff: Handoff, coordinator: Handle, let_go: &impl Fn()) -> Result<Option<i64>> {
    let mut self_check = SelfCheck::default();
    loop {
        let state = coordinator.state();
        match handoff.answer() {
            Some(Answer::Run(run_id)) => return Ok(Some(run_id)),
            Some(Answer::OtherVersion) => {
                return Err(Error::new(
                    sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "this session has another version of cgpsync's library loaded than the server has now",
                )
                .detail(format!(
                    "It is {VERSION}. A package was installed after the session had used cgpsync."
                ))
                .hint(
                    "Reconnect, and use ALTER EXTENSION cgpsync UPDATE in this database if that has not been done.",
                ));
            }
            // Its own slot is free as well when it is gone.
            Some(Answer::NoSlot) if state == State::Stopped => return Ok(None),
            None if state == State::Stopped => {
                return Err(Error::new(
                    sqlstate::EXTERNAL_ROUTINE,
                    "the coordinator ended before it could record the run",
                )
                .hint(
                    "The server's log says why, in lines of a \"cgpsync coordinator\", such as a CONNECTION LIMIT of the role or the database. Nothing was begun: run the same call again when the cause is gone.",
                ));
            }
            _ => {}
        }
        let_go();
        pg::wait::wait(None, TICK);
        if let State::Running(pid) = state {
            self_check.run(pid, None)?;
        }
    }
}

/// What the first worker of a run does, which was started before the run could begin: waits for the run's number by
/// `handle`, the caller's segment, and until the run is planned. None where there will be nothing to do.
pub fn until_planned(handle: i64) -> Result<Option<i64>> {
    let Some((handoff, _)) = Handoff::attach(handle)? else {
        return Ok(None);
    };
    let store = xact::transaction(Store::open)?;
    let begin = Instant::now();
    while !background::termination_requested() {
        if let Some(Answer::Run(id)) = handoff.answer() {
            backend::show_activity(Some(&format!("run {id}: waiting for its plan")));
            match xact::transaction(|| store.state(id))? {
                Some(RunState::Running) => return Ok(Some(id)),
                Some(RunState::Planning) => {}
                _ => break,
            }
        }
        let pause = if begin.elapsed() < SOON { 5 } else { 50 };
        pg::wait::wait(None, Duration::from_millis(pause));
    }
    Ok(None)
}
