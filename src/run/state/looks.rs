//! What a session that watches a run sees of it, as it is now.

use super::Store;
use super::rows::{EndedUnit, RunRow, UnitResult, Wait};
use super::runs::IS_ALIVE;
use super::status::{RunState, UnitState};
use crate::error::{Error, Result, Side, sqlstate};
use crate::row::Row;

impl Store {
    /// Whether the run's coordinator is there.
    pub fn is_alive(&self, run_id: i64) -> Result<bool> {
        let rows = self.read_latest(
            &format!("SELECT {IS_ALIVE} FROM @.cgpsync_run r WHERE r.run_id = $1::pg_catalog.int8"),
            &[Some(&run_id.to_string())],
        )?;
        Ok(rows.first().is_some_and(|row| row.is(0)))
    }

    /// How the run stands; None where there is no such run yet, or no more.
    pub fn state(&self, run_id: i64) -> Result<Option<RunState>> {
        let rows = self.read_latest(
            "SELECT status FROM @.cgpsync_run WHERE run_id = $1::pg_catalog.int8",
            &[Some(&run_id.to_string())],
        )?;
        let status = rows.first().and_then(|row| row.text(0));
        status.map(RunState::parse).transpose()
    }

    /// Whether a run is `role`'s, or anybody's to a superuser. A role that may only look on does not count.
    pub fn is_of(&self, run_id: i64, role: u32) -> Result<bool> {
        let rows = self.read_latest(
            "SELECT FROM @.cgpsync_run r JOIN pg_catalog.pg_roles o ON o.oid = $2::pg_catalog.oid
             WHERE r.run_id = $1::pg_catalog.int8 AND (r.role_name = o.rolname OR o.rolsuper)",
            &[Some(&run_id.to_string()), Some(&role.to_string())],
        )?;
        Ok(!rows.is_empty())
    }

    fn of_run(&self, sql: &str, run_id: i64) -> Result<Vec<Row>> {
        self.read_latest(sql, &[Some(&run_id.to_string())])
    }

    /// The run as it is now; None if there is no such run.
    pub fn look(&self, run_id: i64) -> Result<Option<RunRow>> {
        let rows = self.of_run(
            "SELECT status, message, units, error_code, error_message, error_detail, error_hint, coordinator_pid
             FROM @.cgpsync_run WHERE run_id = $1::pg_catalog.int8",
            run_id,
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        let end = match RunState::parse(&row.string(0)?)? {
            RunState::Planning | RunState::Running => None,
            RunState::Done => Some(Ok(())),
            RunState::Failed | RunState::Cancelled => Some(Err(Error {
                sqlstate: row.text(3).unwrap_or(sqlstate::INTERNAL).to_owned(),
                message: row.text(4).unwrap_or("the run failed").to_owned(),
                detail: row.owned(5),
                hint: row.owned(6),
                side: Side::Here,
                is_final: false,
            })),
        };
        Ok(Some(RunRow {
            coordinator_pid: row.need(7)?,
            message: row.owned(1),
            units: row.owned(2),
            end,
        }))
    }

    /// Units of a run that have come to an end, in that order.
    pub fn ended_units(&self, run_id: i64) -> Result<Vec<EndedUnit>> {
        let rows = self.of_run(
            "SELECT unit, partition, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at)::pg_catalog.numeric(20, 3),
                    COALESCE(error_message, message), source_relation IS NULL AND status <> 'failed'
             FROM @.cgpsync_run_partition
             WHERE run_id = $1::pg_catalog.int8 AND status IN ('done', 'failed', 'skipped') ORDER BY finished_at, unit",
            run_id,
        )?;
        let one = |row: &Row| {
            let text = |at| row.owned(at).unwrap_or_default();
            Ok(EndedUnit {
                number: row.need(0)?,
                partition: text(1),
                state: UnitState::parse(&row.string(2)?)?,
                rows: text(3),
                bytes: text(4),
                seconds: text(5),
                message: text(6),
                has_no_source: row.is(7),
            })
        };
        rows.iter().map(one).collect()
    }

    /// What a call returns of a run that is done.
    pub fn results(&self, run_id: i64) -> Result<Vec<UnitResult>> {
        let rows = self.of_run(
            "SELECT partition, status, rows, bytes,
                    pg_catalog.date_part('epoch', finished_at - started_at), message
             FROM @.cgpsync_run_partition WHERE run_id = $1::pg_catalog.int8 ORDER BY partition",
            run_id,
        )?;
        let one = |row: &Row| {
            Ok(UnitResult {
                partition: row.string(0)?,
                state: UnitState::parse(&row.string(1)?)?,
                rows: row.get(2)?,
                bytes: row.get(3)?,
                seconds: row.get(4)?,
                message: row.owned(5),
            })
        };
        rows.iter().map(one).collect()
    }

    /// Handle of the board of a run that is on and that `role` may see, as the policies on cgpsync_run have it.
    pub fn board_of(&self, run_id: i64, role: u32) -> Result<Option<i64>> {
        let rows = self.read_latest(
            "SELECT r.board FROM @.cgpsync_run r JOIN pg_catalog.pg_roles o ON o.oid = $2::pg_catalog.oid
             JOIN pg_catalog.pg_class c ON c.oid = r.tableoid
             WHERE r.run_id = $1::pg_catalog.int8 AND r.status = 'running'
               AND (r.role_name = o.rolname OR o.rolbypassrls OR pg_catalog.pg_has_role(o.oid, 'pg_monitor', 'USAGE')
                    OR pg_catalog.pg_has_role(o.oid, c.relowner, 'USAGE'))",
            &[Some(&run_id.to_string()), Some(&role.to_string())],
        )?;
        Ok(rows.first().map(|row| row.get(0)).transpose()?.flatten())
    }

    /// Who waits for whom, from the processes of a run on: its `coordinator`, and its workers where `run_id` is known already. A worker waits for
    /// all who have its unit locked, or will: it needs the unit alone in the end, and asks for that in short attempts.
    pub fn waits(&self, coordinator: i32, run_id: Option<i64>) -> Result<Vec<Wait>> {
        let rows = self.read_latest(
            "WITH RECURSIVE process(pid, partition, relation) AS (
               SELECT $2::pg_catalog.int4, NULL, NULL
               UNION ALL SELECT p.worker_pid, p.partition, p.relation::pg_catalog.oid FROM @.cgpsync_run_partition p
               WHERE p.run_id = $1::pg_catalog.int8 AND p.status = 'copying'),
             wait(waiter, holder, soon) AS (
               SELECT p.pid, b.pid, NULL::pg_catalog.text
               FROM process p, pg_catalog.unnest(pg_catalog.pg_blocking_pids(p.pid)) AS b(pid)
               UNION SELECT p.pid, l.pid, p.partition FROM process p JOIN pg_catalog.pg_locks l ON l.relation = p.relation
               WHERE l.locktype = 'relation' AND l.granted AND l.pid <> p.pid
                 AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
               UNION SELECT w.holder, b.pid, NULL FROM wait w, pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.holder)) AS b(pid))
             SELECT w.waiter, w.holder, COALESCE(w.soon, l.what, '?'), COALESCE(l.mode, 'AccessExclusiveLock'),
                    EXISTS (SELECT FROM process p WHERE p.pid = w.waiter)
             FROM wait w LEFT JOIN LATERAL (
               SELECT COALESCE(l.relation::pg_catalog.regclass::pg_catalog.text, l.locktype) AS what, l.mode
               FROM pg_catalog.pg_locks l WHERE l.pid = w.waiter AND NOT l.granted AND w.soon IS NULL LIMIT 1) l ON true",
            &[
                run_id.map(|id| id.to_string()).as_deref(),
                Some(&coordinator.to_string()),
            ],
        )?;
        let word = |row: &Row, at: usize| row.text(at).unwrap_or("?").to_owned();
        let one = |row: &Row| {
            Ok(Wait {
                waiter: row.need(0)?,
                holder: row.need(1)?,
                what: word(row, 2),
                mode: word(row, 3),
                is_ours: row.is(4),
            })
        };
        rows.iter().map(one).collect()
    }
}
