//! Units' rows: claimed, done, failed, put back.

use super::rows::{Claim, ClaimedUnit, Counts, FinishedUnit, Load, SamePlan, what_is_read};
use super::status::UnitState;
use super::{Store, place, to_json};
use crate::error::{Error, Result, sqlstate, tame, tame_remark};
use crate::plan::retry::Retries;
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::run::request::Request;
use crate::source::Portion;
use crate::targets::loading::{Loaded, instant};
use std::collections::HashMap;
use std::time::Duration;

impl Store {
    /// How a run's units stand.
    pub fn counts(&self, run_id: i64) -> Result<Counts> {
        let rows = self.read(
            "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'copying'),
                    count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE status = 'failed')
             FROM @.cgpsync_run_partition WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let row = rows.first().ok_or_else(|| Error::internal("no counts"))?;
        Ok(Counts {
            pending: row.need(0)?,
            copying: row.need(1)?,
            cancelled: row.need(2)?,
            failed: row.need(3)?,
        })
    }

    /// Units that runs since the last success finished under the same plan. Only if nothing was copied into the partition after that:
    /// it would hold something else. Runs with `since` count neither here nor there: they exist to copy again.
    pub fn finished_by_failed_runs(&self, request: &Request, same: &SamePlan<'_>) -> Result<Vec<FinishedUnit>> {
        let columns = to_json(same.columns)?;
        let rows = self.read(
            &format!(
                "SELECT p.run_id, r.point, COALESCE(p.target_oid, p.relation::oid), p.source_relation, p.source_filter,
                    convert_from(p.source_exact, 'UTF8'), p.target_oid, p.file_number, {}, COALESCE(p.rows, 0)
             FROM @.cgpsync_run r JOIN @.cgpsync_run_partition p USING (run_id)
             WHERE r.relation = $1::oid AND r.status IN ('failed', 'cancelled') AND r.since IS NULL
               AND r.source = $2 AND r.source_table = $3 AND r.watermark IS NOT DISTINCT FROM $4 AND r.point IS NOT NULL
               AND r.source_address = $5 AND to_jsonb(r.columns) = $6::jsonb AND p.status = 'done'
               AND r.run_id > COALESCE((SELECT max(d.run_id) FROM @.cgpsync_run d
                                        WHERE d.relation = r.relation AND d.status = 'done'), 0)
               AND NOT EXISTS (SELECT FROM @.cgpsync_run_partition n
                               WHERE n.relation = p.relation AND n.run_id > p.run_id AND n.status = 'done')
               AND NOT EXISTS (SELECT FROM @.cgpsync_run_partition n JOIN @.cgpsync_run o USING (run_id)
                               WHERE n.target_relation = p.target_relation AND n.run_id > p.run_id AND n.status = 'done'
                                 AND o.relation = r.relation)
             ORDER BY p.run_id",
                instant("p.server_start")
            ),
            &[
                Some(&request.table.to_string()),
                Some(&tame(&request.source)),
                Some(same.source_table),
                same.watermark,
                Some(same.source_address),
                Some(&columns),
            ],
        )?;
        rows.iter()
            .map(|row| {
                let (source_relation, source_filter) = what_is_read(row, 3, 5)?;
                Ok(FinishedUnit {
                    run_id: row.need(0)?,
                    point: row.string(1)?,
                    partition: row.need(2)?,
                    source_relation,
                    source_filter,
                    left: Load::read(row, 6)?,
                })
            })
            .collect()
    }

    /// What the last run that has loaded each of `partitions` has left there, by OID.
    pub fn last_loads(&self, partitions: &[u32]) -> Result<HashMap<u32, Load>> {
        let list: Vec<String> = partitions.iter().map(u32::to_string).collect();
        let rows = self.read(
            &format!(
                "SELECT u.oid::text, NULL, p.file_number, {}, p.rows
             FROM unnest($1::oid[]) AS u(oid) CROSS JOIN LATERAL (
               SELECT l.rows, l.file_number, l.server_start FROM @.cgpsync_run_partition l
               WHERE l.relation = u.oid AND l.status = 'done' ORDER BY l.run_id DESC LIMIT 1) p",
                instant("p.server_start")
            ),
            &[Some(&format!("{{{}}}", list.join(",")))],
        )?;
        rows.iter().map(|row| Ok((row.need(0)?, Load::read(row, 1)?))).collect()
    }

    /// OIDs of the partitions that a run has replaced.
    pub fn replaced(&self, run_id: i64) -> Result<Vec<u32>> {
        let rows = self.read(
            "SELECT COALESCE(target_oid, relation::oid) FROM @.cgpsync_run_partition
             WHERE run_id = $1::bigint AND status = 'done' AND rows IS NOT NULL",
            &[Some(&run_id.to_string())],
        )?;
        rows.iter().map(|row| row.need(0)).collect()
    }

    /// The one error of a run whose units failed: counts and names them.
    pub fn failure(&self, run_id: i64) -> Result<Error> {
        let rows = self.read(
            "SELECT p.partition, p.error_code, p.error_message, p.error_detail, r.units, r.table_name, p.error_hint
             FROM @.cgpsync_run_partition p JOIN @.cgpsync_run r USING (run_id)
             WHERE p.run_id = $1::bigint AND p.status = 'failed' ORDER BY p.unit",
            &[Some(&run_id.to_string())],
        )?;
        let Some(first) = rows.first() else {
            return Err(Error::internal("a failed run without a failed unit"));
        };
        let mut names: Vec<&str> = rows.iter().take(10).filter_map(|row| row.text(0)).collect();
        if rows.len() > names.len() {
            names.push("...");
        }
        let detail = |row: &Row| {
            let text = |at| row.text(at).unwrap_or("");
            let more = row.text(3).map(|d| format!(" ({d})")).unwrap_or_default();
            let hint = row.text(6).map(|h| format!(" Hint: {h}")).unwrap_or_default();
            format!("{}: {} [{}]{more}{hint}", text(0), text(2), text(1))
        };
        let error = Error::new(
            first.text(1).unwrap_or(sqlstate::EXTERNAL_ROUTINE),
            format!(
                "{} of {} partitions of {} failed: {}",
                rows.len(),
                first.text(4).unwrap_or("?"),
                first.text(5).unwrap_or("?"),
                names.join(", ")
            ),
        )
        .hint("Finished partitions stay finished. Run the same call again when the cause is gone; it copies only the rest.");
        let details = rows.iter().take(10).map(detail);
        Ok(details.fold(error, |error, detail| error.more_detail(&detail)))
    }

    /// Takes the next unit for this worker, in the plan's order; one that was put back, when its time has come.
    pub fn claim(&self, run_id: i64, retries: Retries) -> Result<Claim> {
        let id = run_id.to_string();
        // A clock that was set back must not make a unit wait for longer than the longest delay.
        let rows = self.write(
            "UPDATE @.cgpsync_run_partition p
             SET status = 'copying', started_at = clock_timestamp(), worker_pid = pg_backend_pid(), attempts = p.attempts + 1, retry_at = NULL
             FROM @.cgpsync_run r
             WHERE r.run_id = p.run_id AND (p.run_id, p.unit) = (
               SELECT q.run_id, q.unit FROM @.cgpsync_run_partition q
               WHERE q.run_id = $1::bigint AND q.status = 'pending'
                 AND (q.retry_at IS NULL OR q.retry_at <= clock_timestamp()
                      OR q.retry_at > clock_timestamp() + $2::float8 * interval '1 ms')
               ORDER BY q.unit LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING p.unit, COALESCE(p.target_oid, p.relation::oid), COALESCE(p.target_relation, p.relation::regclass::text), p.source_relation, p.source_filter, p.filter_here, p.attempts, r.snapshot, p.partition, p.estimated_bytes, p.cut,
                       p.source_parts, p.source_state, p.vanished_filter, p.bound, convert_from(p.source_exact, 'UTF8'),
                       r.source_server, r.source_peer",
            &[Some(&id), Some(&retries.max_delay_ms.to_string())],
        )?;
        if let Some(row) = rows.first() {
            return Ok(Claim::Unit(Box::new(claimed(row)?)));
        }
        let rows = self.read(
            "SELECT date_part('epoch', min(retry_at) - clock_timestamp()) FROM @.cgpsync_run_partition
             WHERE run_id = $1::bigint AND status = 'pending' HAVING count(*) > 0",
            &[Some(&id)],
        )?;
        match rows.first() {
            None => Ok(Claim::Nothing),
            // A pending unit without such a time is in the hands of another claim.
            Some(row) => {
                let seconds: f64 = row.get(0)?.unwrap_or(0.0);
                Ok(Claim::Later(Duration::from_secs_f64(seconds.clamp(0.01, 1.0))))
            }
        }
    }

    /// Puts a unit back, to be claimed again in `delay`. `remark` says what happened to it.
    pub fn unit_put_back(&self, run_id: i64, unit: &ClaimedUnit, delay: Duration, remark: &str) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = 'pending', message = $3, worker_pid = NULL, retry_at = clock_timestamp() + $4::float8 * interval '1 ms'
             WHERE run_id = $1::bigint AND unit = $2::int AND status = 'copying'",
            &[
                Some(&run_id.to_string()),
                Some(&unit.number.to_string()),
                Some(&tame_remark(remark)),
                Some(&delay.as_millis().to_string()),
            ],
        )?;
        self.add_message(run_id, &format!("{}: {remark}", unit.shown_name))
    }

    /// Puts a unit back that this worker cannot copy and others can, as if it had never been claimed.
    pub fn unit_left(&self, run_id: i64, unit: i32) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run_partition SET status = 'pending', worker_pid = NULL, started_at = NULL, attempts = attempts - 1
             WHERE run_id = $1::bigint AND unit = $2::int AND status = 'copying'",
            &[Some(&run_id.to_string()), Some(&unit.to_string())],
        )
        .map(|_| ())
    }

    /// Records a unit as done, in the transaction that replaced it. One that is no longer this worker's is not replaced.
    pub fn unit_done(&self, run_id: i64, unit: &ClaimedUnit, loaded: &Loaded) -> Result<()> {
        let updated = self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = 'done', finished_at = clock_timestamp(), rows = $3::bigint, bytes = $4::bigint, way = $5,
                 processes = $6::int, server_start = $7::timestamptz, file_number = $8::oid,
                 target_oid = CASE WHEN target_oid IS NOT NULL THEN $9::oid END
             WHERE run_id = $1::bigint AND unit = $2::int AND status = 'copying' AND worker_pid = pg_backend_pid()
             RETURNING unit",
            &[
                Some(&run_id.to_string()),
                Some(&unit.number.to_string()),
                Some(&loaded.moved.rows.to_string()),
                Some(&loaded.moved.bytes.to_string()),
                Some(&loaded.way()),
                Some(&loaded.processes.to_string()),
                Some(&loaded.storage.server_start),
                Some(&loaded.storage.file_number.to_string()),
                Some(&loaded.storage.relation.to_string()),
            ],
        )?;
        if updated.is_empty() {
            return Err(Error::internal(format!(
                "unit {} of run {run_id} is not this worker's any more",
                unit.number
            )));
        }
        Ok(())
    }

    /// Records that a partition was dropped because the source has it no more.
    pub fn unit_dropped(&self, run_id: i64, partition: u32) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = 'done', started_at = clock_timestamp(), finished_at = clock_timestamp(),
                 message = 'dropped: the source has no such partition any more'
             WHERE run_id = $1::bigint AND COALESCE(target_oid, relation::oid) = $2::oid AND status = 'skipped'",
            &[Some(&run_id.to_string()), Some(&partition.to_string())],
        )
        .map(|_| ())
    }

    /// Records that a partition could not be dropped.
    pub fn unit_not_dropped(&self, run_id: i64, partition: u32, error: &Error) -> Result<()> {
        let error = error.clone().bounded();
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = 'failed', finished_at = clock_timestamp(), error_code = $3, error_message = $4,
                 error_detail = $5, error_hint = $6
             WHERE run_id = $1::bigint AND COALESCE(target_oid, relation::oid) = $2::oid AND status = 'skipped'",
            &[
                Some(&run_id.to_string()),
                Some(&partition.to_string()),
                Some(&error.sqlstate),
                Some(&error.message),
                error.detail.as_deref(),
                error.hint.as_deref(),
            ],
        )
        .map(|_| ())
    }

    /// Records how a unit failed or was cancelled. One that is done stays done, whatever went wrong afterwards.
    pub fn unit_failed(&self, run_id: i64, unit: i32, error: &Error) -> Result<()> {
        self.failed(run_id, Some(unit), error)
    }

    /// The same for all that nobody has begun.
    pub fn pending_failed(&self, run_id: i64, error: &Error) -> Result<()> {
        self.failed(run_id, None, error)
    }

    fn failed(&self, run_id: i64, unit: Option<i32>, error: &Error) -> Result<()> {
        let state = UnitState::after(error);
        let error = error.clone().bounded();
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = $3, finished_at = clock_timestamp(), error_code = $4, error_message = $5, error_detail = $6,
                 error_hint = $7
             WHERE run_id = $1::bigint AND CASE WHEN $2 IS NULL THEN status = 'pending' ELSE unit = $2::int AND status <> 'done' END",
            &[
                Some(&run_id.to_string()),
                unit.map(|unit| unit.to_string()).as_deref(),
                Some(state.name()),
                Some(&error.sqlstate),
                Some(&error.message),
                error.detail.as_deref(),
                error.hint.as_deref(),
            ],
        )
        .map(|_| ())
    }
}

/// A unit from the columns that `claim` returns.
fn claimed(row: &Row) -> Result<ClaimedUnit> {
    let (relation, filter) = what_is_read(row, 3, 15)?;
    let cut = row.text(10).map(serde_json::from_str).transpose();
    Ok(ClaimedUnit {
        number: row.need(0)?,
        unit: Unit {
            name: row.string(2)?,
            oid: Some(row.need(1)?),
        },
        portion: Portion {
            relation,
            filter,
            has_parts: row.is(11),
            state: row.owned(12),
        },
        filter_here: row.is(5),
        attempt: row.need(6)?,
        place: place(row, [7, 16, 17]),
        shown_name: row.string(8)?,
        estimated_bytes: row.get(9)?,
        cut: cut.map_err(|e: serde_json::Error| Error::internal(e.to_string()))?,
        vanished_filter: row.owned(13),
        bound: row.owned(14),
    })
}
