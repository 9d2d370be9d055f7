//! What is known of the server that a session has reached: it is asked, or, where a run's first session has asked it, only whether it is that server still.

use super::pins::{IN_TOUCH, LOOK_FOR_CLIENT, PINNED};
use super::session::Session;
use crate::catalog::server::{self, Known};
use crate::error::{Result, sqlstate};

impl Session {
    /// What it has learned; None where the server does not tell which one it is.
    pub fn known(&mut self) -> Result<Option<Known>> {
        let Some(question) = self.described.mark_sql() else {
            return Ok(None);
        };
        let rows = self.query_in_turn(&format!("SELECT {question}"))?;
        let mark = rows.first().and_then(|row| row.owned(0));
        let server = self.described.clone();
        Ok(mark.map(|mark| Known { mark, server }).filter(Known::is_plain))
    }

    /// Finds out which server this is. Outside of a transaction.
    pub(super) fn find_out(&mut self) -> Result<()> {
        // What gives a session no server of its own has to do so for this; from here on only a server's own queue is waited for.
        self.query_promptly("SHOW server_version")?;
        if self.is_as_known()? {
            return Ok(());
        }
        let held = IN_TOUCH.iter().chain(LOOK_FOR_CLIENT).map(|(name, _)| *name);
        let names = PINNED.iter().map(|(name, ..)| *name).chain(held);
        self.described = server::identify(&self.query_in_turn(&server::question(names))?);
        self.find_hidden_settings()
    }

    /// Whether it is a server that is known, and takes over what is known then.
    fn is_as_known(&mut self) -> Result<bool> {
        let Some(Known { mark, server }) = self.link.endpoint.known.clone() else {
            return Ok(false);
        };
        let Some(question) = server.mark_sql() else {
            return Ok(false);
        };
        // A pooler may have given the connection to another session since the last statement; a server without queues is not waited for as if it had them.
        self.link.may_queue = server.has_segments();
        let answer = self.query_in_turn(&format!("SELECT {question}"));
        self.link.may_queue = true;
        match answer {
            Ok(rows) if rows.first().is_some_and(|row| row.text(0) == Some(&*mark)) => self.described = server,
            // Another one may lack what is asked for.
            Err(error) if !error.is_remote() => return Err(error),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Outside of a transaction, where a refusal does no harm.
    fn find_hidden_settings(&mut self) -> Result<()> {
        let hidden = if self.described.is_greenplum() {
            server::HIDDEN
        } else {
            &[]
        };
        for name in hidden {
            match self.query_promptly(&format!("SHOW {name}")) {
                Ok(_) => self.described.add_setting(name),
                Err(error) if error.is_remote() && error.sqlstate == sqlstate::UNDEFINED_OBJECT => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
