//! A session that writes over there, and holds something between its transactions: settings and locks of its own, so all of them have to be in one process.

use super::pins::{BACKEND, IN_TOUCH, LOOK_FOR_CLIENT, set_all};
use super::refusals::{no_transaction, shared_out};
use super::session::Session;
use crate::catalog::Database;
use crate::catalog::server::Server;
use crate::error::{Error, Result};
use crate::pg::report;
use std::hash::{BuildHasher, RandomState};

impl Session {
    /// Begins a transaction that writes, with settings of its own as above. What was set for the session has to hold in it: an error where
    /// another process answers than before.
    pub fn begin_to_write(&mut self) -> Result<()> {
        let before = self.backend.take();
        self.query_in_turn("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .map_err(no_transaction)?;
        self.pin(false)?;
        if !self.keeps_settings {
            self.batch(&set_all("SET LOCAL", self.server().writing_settings()))?;
        }
        match before.is_none() || before == self.backend {
            true => Ok(()),
            false => Err(self.is_no_session()),
        }
    }

    /// Has the session keep the settings of its transactions, those that write, too: each segment of a server that has them is told of every SET. For one
    /// that is known to be in one process, and in no transaction. They are looked at in each transaction all the same.
    pub fn keep_settings(&mut self) -> Result<()> {
        let set = [self.pins.sql("SET"), set_all("SET", self.server().writing_settings())];
        self.query_promptly(&set.join("; "))?;
        self.keeps_settings = true;
        Ok(())
    }

    /// Whether it does so.
    pub fn keeps_settings(&self) -> bool {
        self.keeps_settings
    }

    /// Has the session plan `statement` once, to be executed again and again by the name that is given: types of its parameters in parentheses, AS, and what it
    /// is. For one that is known to be in one process. The name is nobody's else: a pooler may give its connections on as they are left.
    pub fn prepare(&mut self, name: &'static str, statement: impl FnOnce(&Server) -> String) -> Result<String> {
        if let Some(full) = self.prepared.get(name) {
            return Ok(full.clone());
        }
        let full = format!("{name}_{:x}", RandomState::new().hash_one(0u8) as u32);
        let sql = format!("PREPARE {full} {}", statement(self.server()));
        // What it names would be locked to the transaction's end; the statement itself is not the transaction's.
        self.batch(&Session::question(&sql))?;
        self.prepared.insert(name, full.clone());
        Ok(full)
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
        match set_all("SET", there.copied()) {
            none if none.is_empty() => Ok(()),
            set => self.batch(&set),
        }
    }

    /// Ends a session politely that is in no transaction.
    pub fn end(self) {
        let _ = report::catch(|| self.link.say_goodbye());
    }
}
