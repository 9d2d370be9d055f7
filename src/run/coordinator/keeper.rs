//! The session that keeps the run's snapshot alive: watched, replaced when it is lost or the snapshot is of no use any more, and let go
//! when all is being read.

use super::Run;
use crate::error::{Error, Result, sqlstate};
use crate::pg::board::{Board, Snapshot};
use crate::pg::{report, xact};
use crate::run::planning;
use crate::run::request::random;
use crate::run::sessions::open_for_run;
use crate::source::{self, Place};
use crate::wire::{Session, listens_alike, not_one_server, other_server};
use std::time::{Duration, Instant};

/// Workers are not looked after meanwhile.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a session answers that has nothing to do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A snapshot that is to be replaced.
pub(super) struct Renewal {
    /// when to try
    due: Instant,
    /// how often it was tried
    attempts: u32,
    /// why: what has become of the one before
    why: &'static str,
}

const WAS_LOST: &str = "the connection that held the run's snapshot was lost";
const WAS_REFUSED: &str = "the source could not go on in the run's snapshot";
const WAS_LET_GO: &str = "the run's snapshot had ended with the begin of the last partition";

impl Run {
    /// When the run's snapshot is lost, or the source cannot go on in it, units still to do get a new one. Workers go on meanwhile with what
    /// they have; those that come too late for the old one wait, or try again. When all is being read it is let go: what nobody needs any
    /// more would keep the source from cleaning up.
    pub(super) fn keep_snapshot(&mut self, units_to_do: bool, board: &Board) -> Result<()> {
        if self.place.snapshot.is_none() {
            return Ok(());
        }
        if let Some(error) = self.outdated.as_ref().filter(|_| units_to_do) {
            return xact::transaction(|| self.store.pending_failed(self.id, error));
        }
        let is_wanted = board.snapshot() == Snapshot::Wanted;
        if let Some(mut keeper) = self.keeper.take() {
            let alive = report::catch(|| keeper.check_alive());
            match alive {
                Err(error) if error.is_cancel() => {
                    self.keeper = Some(keeper);
                    return Err(error);
                }
                Err(_) => self.renew(WAS_LOST),
                Ok(()) if is_wanted => {
                    keeper.close();
                    self.renew(WAS_REFUSED);
                }
                Ok(()) if !units_to_do && board.is_all_begun() => {
                    board.set_snapshot(Snapshot::LetGo);
                    keeper.close();
                    return Ok(());
                }
                Ok(()) => {
                    self.keeper = Some(keeper);
                    return Ok(());
                }
            }
        } else if self.renewal.is_none() && (is_wanted || (units_to_do && board.snapshot() == Snapshot::LetGo)) {
            self.renew(WAS_LET_GO);
        }
        let wants_one = units_to_do || is_wanted;
        match &self.renewal {
            Some(renewal) if wants_one && Instant::now() >= renewal.due => {
                let (attempt, why) = (renewal.attempts + 1, renewal.why);
                self.try_renewal(attempt, why, board)
            }
            _ => Ok(()),
        }
    }

    /// Attempt number `attempt` to get another snapshot.
    fn try_renewal(&mut self, attempt: u32, why: &'static str, board: &Board) -> Result<()> {
        let remark = match report::catch(|| self.new_keeper()) {
            Ok(true) => {
                self.renewal = None;
                board.set_snapshot(Snapshot::Kept);
                format!("{why}: partitions from here on are read in a new one")
            }
            Ok(false) => {
                let message = format!("{why}, and the source table has changed since");
                let error = Error::new(sqlstate::OBJECT_IN_USE, &message)
                    .hint("Run the same call again; it plans anew and copies only the rest.");
                // What is being read goes on: it has the old one.
                self.outdated = Some(error);
                self.renewal = None;
                board.set_snapshot(Snapshot::Lost);
                message
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => match self.request.retries.delay_after(attempt, random()) {
                Some(delay) => {
                    self.renewal = Some(Renewal {
                        due: Instant::now() + delay,
                        attempts: attempt,
                        why,
                    });
                    return Ok(());
                }
                None => {
                    self.renewal = None;
                    board.set_snapshot(Snapshot::Lost);
                    format!("{why}, for good: {}", error.message)
                }
            },
        };
        xact::transaction(|| self.store.add_message(self.id, &remark))
    }

    fn renew(&mut self, why: &'static str) {
        self.renewal = Some(Renewal {
            due: Instant::now(),
            attempts: 0,
            why,
        });
    }

    /// A session has reached another server than the one that keeps the snapshot. If that one is still there, the address leads to both, and
    /// trying again would only mix them up.
    pub(super) fn check_one_server(&mut self, board: &Board) -> Result<()> {
        let Some(server) = &self.place.server else {
            return Ok(());
        };
        if !board.take_strayed(server) {
            return Ok(());
        }
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        if !report::catch(|| Ok(keeper.answers(ANSWER_TIMEOUT)))? {
            return Ok(());
        }
        let told = xact::transaction(|| self.store.last_remark(self.id))?;
        let server = &self.request.source;
        let message = format!("sessions on server \"{server}\" reach different servers");
        Err(not_one_server(message).detail(told.unwrap_or_default()))
    }

    /// A new session with a new snapshot, which becomes the run's, on the server that was reached before, if that answers. False if the source table
    /// is not what was planned with: a relation that was replaced meanwhile is still there in the old plan.
    fn new_keeper(&mut self) -> Result<bool> {
        let open = |place: Option<&Place>| {
            open_for_run(
                &self.request,
                self.id,
                &self.target,
                RENEWAL_TIMEOUT,
                place,
                self.source_known.as_ref(),
            )
        };
        let keeper = match open(Some(&self.place)) {
            Err(error) if !error.is_cancel() && self.place.peer.is_some() => open(None)?,
            keeper => keeper?,
        };
        let mut successor = None;
        let (mut keeper, (place, shape)) = keeper.and_then(|keeper| {
            let mut place = source::begin_shared(keeper)?;
            successor = self.successor(keeper, &mut place)?;
            if place.snapshot.is_none() {
                return Err(Error::unsupported(
                    "the source has no snapshot that sessions can share any more",
                ));
            }
            self.check_successor(keeper, &place)?;
            let shape = keeper.look(|keeper| {
                xact::transaction(|| {
                    self.request.limit_lock_waits()?;
                    self.target
                        .look(|| planning::source_shape(&self.request, &self.target, keeper))
                })
            })?;
            Ok((place, shape))
        })?;
        if self.source != shape {
            keeper.close();
            return Ok(false);
        }
        xact::transaction(|| self.store.set_place(self.id, &place))?;
        self.place = place;
        if let Some(successor) = successor {
            std::mem::replace(&mut keeper, successor).close();
        }
        self.keeper = Some(keeper);
        Ok(true)
    }

    /// Where the address leads to another server now, it must be one that has taken over: a standby that is still one may lack what the server before had.
    fn check_successor(&self, keeper: &mut Session, place: &Place) -> Result<()> {
        let (Some(before), Some(now)) = (&self.place.server, &place.server) else {
            return Ok(());
        };
        if listens_alike(before, now) {
            return Ok(());
        }
        if source::is_standby(keeper)? {
            // It may be promoted yet.
            return Err(other_server(&self.request.source, before, now));
        }
        let remark = format!("the source is another server now: {now}, before it was {before}");
        xact::transaction(|| self.store.add_message(self.id, &remark))
    }
}
