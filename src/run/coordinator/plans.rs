//! Planning a run: once, or again after what may pass, or after partitions were created.

use super::Run;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{backend, report, xact};
use crate::plan::retry;
use crate::run::planning::{self, Plan};
use crate::run::request::retry_remark;
use crate::run::sessions::{self, open_for_run, open_to_plan};
use crate::source::clock::{self, Clock};
use crate::source::{self, Place};
use crate::wire::Session;
use std::collections::HashSet;
use std::time::Duration;

/// How often names may turn out to be taken: by as many other runs as begin at the same moment.
const MOST_COLLISIONS: u32 = 20;

/// True for what CREATE TABLE says of a name that is taken, be it by a transaction that has committed just now.
fn is_taken(error: &Error) -> bool {
    let code = error.sqlstate.as_str();
    [
        sqlstate::DUPLICATE_TABLE,
        sqlstate::DUPLICATE_OBJECT,
        sqlstate::UNIQUE_VIOLATION,
    ]
    .contains(&code)
}

impl Run {
    /// Plans, again after a failure that may pass; but a source that could never be reached is an error at once, as that is what a wrong
    /// address looks like.
    pub(super) fn plan(&mut self) -> Result<Plan> {
        let mut attempt = 1;
        let mut reached = false;
        loop {
            let error = match self.try_plan(&mut reached) {
                Ok(plan) => return Ok(plan),
                Err(error) => error,
            };
            let delay = self.request.next_attempt(&error, attempt);
            let Some(delay) = delay.filter(|_| reached || retry::is_server_busy(&error)) else {
                return Err(error);
            };
            self.let_go();
            let remark = format!("planning: {}", retry_remark(&error, attempt, delay));
            xact::transaction(|| self.store.add_message(self.id, &remark))?;
            self.sleep(delay)?;
            attempt += 1;
        }
    }

    /// Connects, reads the catalogs of both sides within the run's snapshot, creates the partitions that are missing here, and plans.
    fn try_plan(&mut self, reached: &mut bool) -> Result<Plan> {
        self.hold_target()?;
        let mut planner = open_to_plan(&self.request, self.id, &self.target)?;
        *reached = true;
        let mut successor = None;
        let result = report::catch(|| {
            let clock = clock::read(&mut planner)?;
            let mut place = source::begin_shared(&mut planner)?;
            self.source_known = planner.known()?;
            successor = self.successor(&planner, &mut place)?;
            // What this session looks at it would have locked for as long as it holds the snapshot.
            let plan = planner.look(|planner| self.plan_all(planner, &clock, &place))?;
            Ok((plan, place))
        });
        // Kept in any case: an interrupted query over there has to be stopped.
        self.keeper = Some(planner);
        let (plan, place) = result?;
        // Without a snapshot there is nothing to hold open.
        if (place.snapshot.is_none() || successor.is_some())
            && let Some(planner) = std::mem::replace(&mut self.keeper, successor)
        {
            planner.close();
        }
        self.place = place;
        Ok(plan)
    }

    /// See [`sessions::successor`].
    pub(super) fn successor(&self, planner: &Session, place: &mut Place) -> Result<Option<Session>> {
        let known = self.source_known.as_ref();
        sessions::successor(planner, place, |place| {
            open_for_run(&self.request, self.id, &self.target, Duration::MAX, Some(place), known)
        })
    }

    fn plan_all(&self, keeper: &mut Session, clock: &Clock, place: &Place) -> Result<Plan> {
        let mut created = HashSet::new();
        let mut plan = self.plan_with(keeper, clock, &created)?;
        // What is created may make others comparable that are missing too: the default partitions of both sides, once they take the
        // same rows. Each round makes tables of the source's names, so it ends.
        let mut collisions = 0;
        while !plan.creations.is_empty() {
            match self.create_partitions(&plan, &mut created) {
                // Another run has taken a name since it was found to be free: a plan made anew takes another one.
                Err(error) if is_taken(&error) && collisions < MOST_COLLISIONS => {
                    collisions += 1;
                }
                result => result?,
            }
            plan = self.plan_with(keeper, clock, &created)?;
        }
        if place.snapshot.is_none() {
            plan.note_states(keeper)?;
            plan.remarks.push(
                "the source has no snapshot that sessions can share: each partition is read in one of its own"
                    .to_owned(),
            );
        }
        Ok(plan)
    }

    fn plan_with(&self, keeper: &mut Session, clock: &Clock, created: &HashSet<String>) -> Result<Plan> {
        xact::transaction(|| {
            backend::set_config("DateStyle", &format!("ISO, {}", self.request.date_order), true)?;
            self.request.limit_lock_waits()?;
            let (request, target, store) = (&self.request, &self.target, &self.store);
            target.look(|| planning::plan(request, target, store, keeper, clock, created))
        })
    }
}
