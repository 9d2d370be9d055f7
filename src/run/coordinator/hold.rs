//! The session that holds the run's lock on a target elsewhere: watched, and replaced when it is lost.

use super::Run;
use crate::error::{Error, Result};
use crate::pg::{report, xact};
use crate::run::sessions::connect_target;
use std::time::Instant;

impl Run {
    /// Connects a target elsewhere, and takes the run's lock there, unless that is so.
    pub(super) fn hold_target(&mut self) -> Result<()> {
        let Some(remote) = self.target.elsewhere() else {
            return Ok(());
        };
        connect_target(self.id, remote)?;
        self.held = Some(remote.hold()?);
        Ok(())
    }

    /// When that session is lost another one takes its place. What workers are loading goes on: their transactions hold the lock themselves. What
    /// they begin has to wait.
    pub(super) fn keep_target(&mut self) -> Result<()> {
        let Some(remote) = self.target.elsewhere() else {
            return Ok(());
        };
        if remote.is_connected() {
            return Ok(());
        }
        let (due, attempts) = self.hold_again.unwrap_or((Instant::now(), 0));
        if Instant::now() < due {
            return Ok(());
        }
        let server = remote.server().to_owned();
        match report::catch(|| self.hold_target()) {
            Ok(()) => {
                self.hold_again = None;
                let held = self.held.as_ref().ok_or_else(|| Error::internal("no lock"))?;
                xact::transaction(|| self.store.set_held(self.id, held))?;
                let remark = format!(
                    "the connection to server \"{server}\" that holds the run's lock was lost, and is replaced"
                );
                xact::transaction(|| self.store.add_message(self.id, &remark))
            }
            Err(error) => {
                self.target.leave(false);
                let Some(delay) = self.request.next_attempt(&error, attempts + 1) else {
                    return Err(error);
                };
                self.hold_again = Some((Instant::now() + delay, attempts + 1));
                Ok(())
            }
        }
    }

    /// Ends the sessions elsewhere, whatever they are at.
    pub(super) fn let_go(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abandon();
        }
        self.target.leave(false);
    }
}
