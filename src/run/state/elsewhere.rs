//! What is on record of a target on another server.

use super::rows::Load;
use super::{Store, to_json};
use crate::error::{Error, Result};
use crate::targets::Held;
use crate::targets::loading::instant;
use std::collections::HashMap;

impl Store {
    /// From here on another session holds the run's lock on a target elsewhere.
    pub fn set_held(&self, run_id: i64, held: &Held) -> Result<()> {
        let held = to_json(held)?;
        self.write(
            "UPDATE @.cgpsync_run SET target_session = $2::jsonb WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(&held)],
        )
        .map(|_| ())
    }

    /// Which session holds the run's lock on a target elsewhere now.
    pub fn held(&self, run_id: i64) -> Result<Option<Held>> {
        let rows = self.read(
            "SELECT target_session FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let held = rows.first().and_then(|row| row.text(0)).map(serde_json::from_str);
        held.transpose().map_err(|e| Error::internal(e.to_string()))
    }

    /// OID over there of the table that the foreign table `table` stood for in its last complete run.
    pub fn table_elsewhere(&self, table: u32) -> Result<Option<u32>> {
        let rows = self.read(
            "SELECT (target_session ->> 'table')::oid FROM @.cgpsync_run
             WHERE relation = $1::oid AND status = 'done' ORDER BY run_id DESC LIMIT 1",
            &[Some(&table.to_string())],
        )?;
        rows.first().map_or(Ok(None), |row| row.get(0))
    }

    /// What the last run that has loaded each of `partitions` has left there, of a table on another server that `table` stands for: by their names, as an exchange gives them other OIDs.
    pub fn last_loads_elsewhere(&self, table: u32, partitions: &[&str]) -> Result<HashMap<String, Load>> {
        let names = to_json(partitions)?;
        let rows = self.read(
            &format!(
                "SELECT DISTINCT ON (p.target_relation) p.target_relation, p.target_oid, p.file_number, {}, p.rows
                 FROM @.cgpsync_run r JOIN @.cgpsync_run_partition p USING (run_id)
                 WHERE r.relation = $1::oid AND p.status = 'done' AND p.rows IS NOT NULL
                   AND to_jsonb(p.target_relation) <@ $2::jsonb
                 ORDER BY p.target_relation, p.run_id DESC",
                instant("p.server_start")
            ),
            &[Some(&table.to_string()), Some(&names)],
        )?;
        rows.iter()
            .map(|row| Ok((row.string(0)?, Load::read(row, 1)?)))
            .collect()
    }
}
