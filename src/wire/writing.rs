//! A session that writes over there, and holds something between its transactions: settings and locks of its own, so all of them have to be in one process.

use super::pins::{BACKEND, IN_TOUCH, LOOK_FOR_CLIENT};
use super::refusals::{no_transaction, shared_out};
use super::session::Session;
use crate::catalog::Database;
use crate::error::{Error, Result};
use crate::pg::report;

/// Settings of a transaction that writes, whatever the role has over there: text is read as it was meant.
const MEANINGS: &str = "SET LOCAL array_nulls = on; SET LOCAL xmloption = content";

impl Session {
    /// Begins a transaction that writes, with settings of its own as above. What was set for the session has to hold in it: an error where
    /// another process answers than before.
    pub fn begin_to_write(&mut self) -> Result<()> {
        let before = self.backend.take();
        self.query_in_turn("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .map_err(no_transaction)?;
        self.pin(false)?;
        let sql = format!("{MEANINGS}{}", self.server().writing_sql());
        self.batch(&sql)?;
        match before.is_none() || before == self.backend {
            true => Ok(()),
            false => Err(self.is_no_session()),
        }
    }

    /// The process over there that answers outside of transactions.
    pub fn process(&mut self) -> Result<Option<String>> {
        let rows = self.query_promptly(&format!("SELECT {BACKEND}"))?;
        Ok(rows.first().and_then(|row| row.owned(0)))
    }

    /// The error where its transactions are not all in one process over there.
    pub fn is_no_session(&self) -> Error {
        shared_out(format!(
            "server \"{}\" does not keep a session in one process",
            self.name()
        ))
    }

    /// Has the server notice within half a minute that this end is gone though nobody has said so, and let go what the session holds there.
    pub fn stay_in_touch(&mut self) -> Result<()> {
        self.set_those_there_are(IN_TOUCH)?;
        match self.set_those_there_are(LOOK_FOR_CLIENT) {
            Err(refusal) if refusal.is_remote() => Ok(()),
            result => result,
        }
    }

    /// Settings to the session's end, of which its server may not have every one.
    fn set_those_there_are(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let there = settings.iter().filter(|(name, _)| self.server().has_setting(name));
        let set: Vec<String> = there.map(|(name, value)| format!("SET {name} = '{value}'")).collect();
        match set.is_empty() {
            true => Ok(()),
            false => self.batch(&set.join("; ")),
        }
    }

    /// Ends a session politely that is in no transaction.
    pub fn end(self) {
        let _ = report::catch(|| self.link.say_goodbye());
    }
}
