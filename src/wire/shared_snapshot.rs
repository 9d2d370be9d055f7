//! A snapshot that one session exports and others take over.

use super::refusals::snapshot_gone;
use super::session::Session;
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_literal;

/// Between a snapshot's name and the commits that it has, where its server tells these.
const COMMITS: &str = " csn ";

/// The name of the snapshot, and the number of the last commit that it has (snapmgr.cpp, pg_export_snapshot_and_csn). In every session that has
/// taken it over the number must be the same.
const EXPORT_WITH_COMMITS: &str = "SELECT * FROM pg_catalog.pg_export_snapshot_and_csn()";

impl Session {
    /// Exports the transaction's snapshot; gives what [`begin`](Self::begin) takes. The error may be the server's, which may have the function and
    /// refuse it.
    pub fn export_snapshot(&mut self) -> Result<String> {
        let with_commits = self.server().tells_snapshots();
        let rows = self.query(match with_commits {
            true => EXPORT_WITH_COMMITS,
            false => "SELECT pg_export_snapshot()",
        })?;
        let row = rows.first().ok_or_else(|| Error::protocol("no snapshot"))?;
        Ok(match with_commits {
            true => format!("{}{COMMITS}{}", row.string(0)?, row.string(1)?),
            false => row.string(0)?,
        })
    }

    /// Takes over a snapshot, as the first statement of a transaction.
    pub(super) fn take_over(&mut self, snapshot: &str) -> Result<()> {
        let (name, commits) = match snapshot.split_once(COMMITS) {
            Some((name, commits)) => (name, Some(commits)),
            None => (snapshot, None),
        };
        if let Err(refusal) = self.batch(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(name))) {
            // Another server knows no such snapshot.
            if refusal.is_remote() {
                self.batch("ROLLBACK")?;
                self.begin(None)?;
            }
            return Err(snapshot_gone(refusal));
        }
        match commits {
            Some(commits) if !self.has_commits(commits)? => Err(not_taken_over(self.name())),
            _ => Ok(()),
        }
    }

    fn has_commits(&mut self, commits: &str) -> Result<bool> {
        let rows = self.query(EXPORT_WITH_COMMITS)?;
        Ok(rows.first().and_then(|row| row.text(1)) == Some(commits))
    }

    /// Takes over a snapshot, in a transaction that names no table, and exports it in turn. None where what it has is another one: no transaction
    /// is left then.
    pub fn succeed(&mut self, snapshot: &str) -> Result<Option<String>> {
        let (name, commits) = snapshot.split_once(COMMITS).unwrap_or((snapshot, ""));
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        self.batch(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(name)))?;
        if !self.has_commits(commits)? {
            self.batch("ROLLBACK")?;
            return Ok(None);
        }
        self.pin(true)?;
        self.export_snapshot().map(Some)
    }
}

fn not_taken_over(server: &str) -> Error {
    Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("server \"{server}\" gave a session another snapshot than it was asked for"),
    )
    .hint("Set shared_snapshot 'off' for the server (ALTER SERVER ... OPTIONS (ADD shared_snapshot 'off')): each partition is then read in a snapshot of its own.")
    .final_one()
}
