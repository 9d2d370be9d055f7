//! The session that keeps the run's snapshot alive: watched, and replaced when it is lost.

use super::Run;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{report, xact};
use crate::run::{planning, random};
use crate::source::dialect;
use std::time::{Duration, Instant};

/// Workers are not looked after meanwhile.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);
const CHANGED: &str = "the run's snapshot was lost, and the source table has changed since";

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
            Ok(()) => {
                self.renewal = None;
                "the connection that held the run's snapshot was lost: partitions from here on are read in a new one"
                    .to_owned()
            }
            Err(error) if error.is_cancel() || error.message == CHANGED => return Err(error),
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

    fn new_keeper(&mut self) -> Result<()> {
        let mut keeper = self.open_session_within(RENEWAL_TIMEOUT)?;
        let snapshot = match report::catch(|| dialect::begin_shared(&mut keeper)) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                return Err(Error::unsupported(
                    "the source has no snapshot that sessions can share any more",
                ));
            }
            Err(error) => {
                keeper.abandon();
                return Err(error);
            }
        };
        let shape = report::catch(|| {
            xact::transaction(|| {
                self.request.limit_lock_waits()?;
                planning::source_shape(&self.request, &mut keeper)
            })
        });
        let shape = match shape {
            Ok(shape) => shape,
            Err(error) => {
                keeper.abandon();
                return Err(error);
            }
        };
        // A relation that was replaced meanwhile is still there in the old plan.
        if self.source.as_ref() != Some(&shape) {
            keeper.close();
            return Err(Error::new(sqlstate::OBJECT_IN_USE, CHANGED)
                .hint("Run the same call again; it plans anew and copies only the rest."));
        }
        xact::transaction(|| self.store.set_snapshot(self.id, &snapshot))?;
        self.keeper = Some(keeper);
        Ok(())
    }
}
