//! The session that keeps the run's snapshot alive: watched, and replaced when it is lost.

use super::Run;
use crate::error::{Error, Result, sqlstate, tame};
use crate::pg::{report, xact};
use crate::run::planning;
use crate::run::request::random;
use crate::run::sessions::open_for_run;
use crate::source;
use crate::wire::Session;
use std::time::{Duration, Instant};

/// Workers are not looked after meanwhile.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins the transaction whose snapshot the run reads, and shares it if the source can. The snapshot's name goes into the run's row.
pub(super) fn begin_shared(session: &mut Session) -> Result<Option<String>> {
    let snapshot = source::begin_shared(session)?;
    match &snapshot {
        Some(name) if *name != tame(name) => Err(Error::protocol("the source sent a snapshot's name that is none")),
        _ => Ok(snapshot),
    }
}

impl Run {
    /// When the session that holds the run's snapshot is lost, units still to do get a new snapshot. Workers go on meanwhile with what they
    /// have; those that come too late for the old one try again.
    pub(super) fn keep_snapshot(&mut self, units_to_do: bool) -> Result<()> {
        if let Some(keeper) = &mut self.keeper {
            let Err(error) = report::catch(|| keeper.check_alive()) else {
                return Ok(());
            };
            if error.is_cancel() {
                return Err(error);
            }
            self.keeper = None;
            self.renewal = Some((Instant::now(), 0));
        }
        let Some((due, attempts)) = self.renewal else {
            return Ok(());
        };
        if !units_to_do || Instant::now() < due {
            return Ok(());
        }
        let attempt = attempts + 1;
        let remark = match report::catch(|| self.new_keeper()) {
            Ok(true) => {
                self.renewal = None;
                "the connection that held the run's snapshot was lost: partitions from here on are read in a new one"
                    .to_owned()
            }
            Ok(false) => {
                return Err(Error::new(
                    sqlstate::OBJECT_IN_USE,
                    "the run's snapshot was lost, and the source table has changed since",
                )
                .hint("Run the same call again; it plans anew and copies only the rest."));
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => match self.request.retries.delay_after(attempt, random()) {
                Some(delay) => {
                    self.renewal = Some((Instant::now() + delay, attempt));
                    return Ok(());
                }
                None => {
                    self.renewal = None;
                    format!(
                        "the connection that held the run's snapshot was lost for good: {}",
                        error.message
                    )
                }
            },
        };
        xact::transaction(|| self.store.add_message(self.id, &remark))
    }

    /// A new session with a new snapshot, which becomes the run's. False if the source table is not what was planned with: a relation that was
    /// replaced meanwhile is still there in the old plan.
    fn new_keeper(&mut self) -> Result<bool> {
        let keeper = open_for_run(&self.request, self.id, &self.target, RENEWAL_TIMEOUT)?;
        let (keeper, (snapshot, shape)) = keeper.and_then(|keeper| {
            let snapshot = begin_shared(keeper)?
                .ok_or_else(|| Error::unsupported("the source has no snapshot that sessions can share any more"))?;
            let shape = xact::transaction(|| {
                self.request.limit_lock_waits()?;
                planning::source_shape(&self.request, &self.target, keeper)
            })?;
            Ok((snapshot, shape))
        })?;
        if self.source != shape {
            keeper.close();
            return Ok(false);
        }
        xact::transaction(|| self.store.set_snapshot(self.id, &snapshot))?;
        self.keeper = Some(keeper);
        Ok(true)
    }
}
