//! Reads and writes cgpsync's own tables; the only place that does. They belong to the extension's owner and nobody else may write
//! them, so every write happens as that role, with a statement of ours and a pinned search_path.

use super::Request;
use super::rows::{ClaimedUnit, Counts, FinishedUnit, NewUnit, Planned, RunInfo, SamePlan};
use crate::error::{Error, Result, sqlstate};
use crate::pg::session::as_role;
use crate::pg::spi::{self, Row};
use crate::plan::copy_sql::quote_ident;

/// First key of the advisory lock on a table being synced ("cgps"); the second is the table's OID.
const LOCK_CLASS: i32 = 0x6367_7073;

/// Where the tables are and whose they are.
#[derive(Debug, Clone)]
pub struct Store {
    owner: u32,
    schema: String,
}

impl Store {
    /// Finds the extension's schema and owner.
    pub fn open() -> Result<Store> {
        let rows = spi::execute(
            "SELECT e.extowner, n.nspname FROM pg_catalog.pg_extension e
             JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'cgpsync'",
            &[],
        )?;
        let row = rows.first().ok_or_else(|| {
            Error::new(
                sqlstate::UNDEFINED_OBJECT,
                "extension \"cgpsync\" is not installed in this database",
            )
            .hint("Use CREATE EXTENSION cgpsync.")
        })?;
        Ok(Store {
            owner: row.need(0)?,
            schema: quote_ident(&row.string(1)?),
        })
    }

    /// Runs `sql` as the owner; `@.` stands for the extension's schema.
    fn write(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        as_role(self.owner, || spi::execute(&self.in_schema(sql), args))
    }

    /// Runs the SELECT `sql` as the current role, whose policies apply, and sees what was committed until now; `@.` as above.
    pub fn select_latest(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        spi::select_latest(&self.in_schema(sql), args)
    }

    fn in_schema(&self, sql: &str) -> String {
        sql.replace("@.", &format!("{}.", self.schema))
    }

    /// Inserts the run and takes its table's lock for the life of this process. When another run holds that, the new one is failed at
    /// once, with an error naming the other, which is given too.
    pub fn begin_run(&self, request: &Request, role: u32) -> Result<(i64, Option<Error>)> {
        self.mark_orphans()?;
        let table = request.table.to_string();
        let locked = spi::execute(
            &format!(
                "SELECT pg_catalog.pg_try_advisory_lock({LOCK_CLASS}, {})",
                request.table as i32
            ),
            &[],
        )?;
        let conflict = if locked.first().is_some_and(|row| row.is(0)) {
            None
        } else {
            Some(self.conflict(request.table)?)
        };
        let arguments = serde_json::to_string(request).map_err(|e| Error::internal(e.to_string()))?;
        let name = shown_name(request.table)?;
        let rows = self.write(
            "INSERT INTO @.cgpsync_run (table_name, relation, status, source, source_table, end_tm, since, parallelism, role_name,
                                        coordinator_pid, arguments)
             SELECT $1, $2::oid::regclass, 'planning', $3, $4, $5, $6, $7::int, r.rolname, pg_backend_pid(), $8::jsonb
             FROM pg_roles r WHERE r.oid = $9::oid
             RETURNING run_id",
            &[
                Some(&name),
                Some(&table),
                Some(&request.source),
                request.source_table.as_deref(),
                request.end_tm.as_deref(),
                request.since.as_deref(),
                Some(&request.parallelism.to_string()),
                Some(&arguments),
                Some(&role.to_string()),
            ],
        )?;
        let run_id = rows
            .first()
            .ok_or_else(|| Error::internal("the calling role is gone"))?
            .need(0)?;
        if let Some(error) = &conflict {
            self.finish_run(run_id, "failed", Some(error))?;
        }
        Ok((run_id, conflict))
    }

    fn conflict(&self, table: u32) -> Result<Error> {
        let error = |run: &str| {
            let name = shown_name(table).unwrap_or_default();
            Error::new(
                sqlstate::OBJECT_IN_USE,
                format!("table {name} is being synced already by {run}"),
            )
            .hint("Wait for it to end; cgpsync_run shows its state.")
        };
        let rows = self.write(
            "SELECT run_id, role_name, started_at FROM @.cgpsync_run
             WHERE relation = $1::oid::regclass AND status IN ('planning', 'running') ORDER BY run_id DESC LIMIT 1",
            &[Some(&table.to_string())],
        )?;
        // The other run has the lock before others can see its row.
        let Some(row) = rows.first() else {
            return Ok(error("a run that is just beginning or ending"));
        };
        Ok(error(&format!("run {}", row.string(0)?)).detail(format!(
            "It was called by role \"{}\" and started at {}.",
            row.string(1)?,
            row.string(2)?
        )))
    }

    /// Marks runs whose coordinator is gone, told by its lock.
    fn mark_orphans(&self) -> Result<()> {
        let rows = self.write(
            &format!(
                "UPDATE @.cgpsync_run r
                 SET status = 'failed', finished_at = clock_timestamp(), error_code = '57P01',
                     error_message = 'the processes of the run are gone',
                     error_detail = 'The server was restarted or the coordinator was killed.',
                     error_hint = 'Units that were done stay done; run the same call again.'
                 WHERE status IN ('planning', 'running') AND NOT EXISTS (
                   SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.pid = r.coordinator_pid
                     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND l.classid = {LOCK_CLASS}::oid AND l.objid = r.relation::oid AND l.objsubid = 2)
                 RETURNING run_id"
            ),
            &[],
        )?;
        for row in rows {
            self.close_units(row.need(0)?)?;
        }
        Ok(())
    }

    /// Units that nobody will finish: begun ones have failed, the others were never begun.
    fn close_units(&self, run_id: i64) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = CASE status WHEN 'copying' THEN 'failed' ELSE 'cancelled' END, finished_at = clock_timestamp(),
                 error_code = '57P01', error_message = 'the run ended before this unit was done'
             WHERE run_id = $1::bigint AND status IN ('pending', 'copying')",
            &[Some(&run_id.to_string())],
        )?;
        Ok(())
    }

    /// The plan's results: run and units are running and pending afterwards.
    pub fn set_planned(&self, run_id: i64, planned: &Planned<'_>, units: &[&NewUnit]) -> Result<()> {
        let id = run_id.to_string();
        let json = |e: serde_json::Error| Error::internal(e.to_string());
        let columns = serde_json::to_string(planned.columns).map_err(json)?;
        self.write(
            "UPDATE @.cgpsync_run SET status = 'running', source_table = $2, end_tm = $3, watermark = $4,
                    columns = ARRAY(SELECT jsonb_array_elements_text($5::jsonb)), format = $6, snapshot = $7,
                    message = concat_ws(E'\\n', message, $8), units = $9::int, source_address = $10
             WHERE run_id = $1::bigint",
            &[
                Some(&id),
                Some(planned.source_table),
                planned.end_tm,
                planned.watermark,
                Some(&columns),
                Some(if planned.binary { "binary" } else { "text" }),
                planned.snapshot,
                planned.message,
                Some(&units.len().to_string()),
                Some(planned.source_address),
            ],
        )?;
        // One statement, however many units there are.
        let units = serde_json::to_string(units).map_err(json)?;
        self.write(
            &format!(
                "INSERT INTO @.cgpsync_run_partition
                   (run_id, unit, partition, relation, status, source_relation, source_filter, filter_here, estimated_bytes, message)
                 SELECT $1::bigint, u.n, {SHOWN_NAME}, c.oid::regclass,
                        CASE WHEN u.j ->> 'done_by' IS NULL THEN 'pending' ELSE 'skipped' END,
                        u.j ->> 'source_relation', u.j ->> 'source_filter', (u.j ->> 'filter_here')::bool,
                        (u.j ->> 'estimated_bytes')::bigint, 'copied by run ' || (u.j ->> 'done_by')
                 FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS u(j, n)
                 JOIN pg_class c ON c.oid = (u.j ->> 'partition')::oid JOIN pg_namespace n ON n.oid = c.relnamespace"
            ),
            &[Some(&id), Some(&units)],
        )
        .map(|_| ())
    }

    /// A remark on the run, a line of its message, shown to the caller as a NOTICE.
    pub fn add_message(&self, run_id: i64, message: &str) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run SET message = concat_ws(E'\\n', message, $2) WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(message)],
        )
        .map(|_| ())
    }

    /// How a run's units stand.
    pub fn counts(&self, run_id: i64) -> Result<Counts> {
        let rows = self.write(
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

    /// Ends the run: its units' totals, its status, its error.
    pub fn finish_run(&self, run_id: i64, status: &str, error: Option<&Error>) -> Result<()> {
        self.close_units(run_id)?;
        self.write(
            "UPDATE @.cgpsync_run r
             SET status = $2, finished_at = clock_timestamp(), rows = t.rows, bytes = t.bytes,
                 error_code = $3, error_message = $4, error_detail = $5, error_hint = $6
             FROM (SELECT COALESCE(sum(p.rows), 0) AS rows, COALESCE(sum(p.bytes), 0) AS bytes
                   FROM @.cgpsync_run_partition p WHERE p.run_id = $1::bigint AND p.status = 'done') t
             WHERE r.run_id = $1::bigint",
            &[
                Some(&run_id.to_string()),
                Some(status),
                error.map(|e| e.sqlstate.as_str()),
                error.map(|e| e.message.as_str()),
                error.and_then(|e| e.detail.as_deref()),
                error.and_then(|e| e.hint.as_deref()),
            ],
        )
        .map(|_| ())
    }

    /// The one error of a run whose units failed: counts and names them.
    pub fn failure(&self, run_id: i64) -> Result<Error> {
        let rows = self.write(
            "SELECT p.partition, p.error_code, p.error_message, p.error_detail, r.units, r.table_name
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
        let details: Vec<String> = rows
            .iter()
            .take(10)
            .map(|row| {
                let text = |at| row.text(at).unwrap_or("");
                let more = row.text(3).map(|d| format!(" ({d})")).unwrap_or_default();
                format!("{}: {} [{}]{more}", text(0), text(2), text(1))
            })
            .collect();
        Ok(Error::new(
            first.text(1).unwrap_or(sqlstate::EXTERNAL_ROUTINE),
            format!(
                "{} of {} partitions of {} failed: {}",
                rows.len(),
                first.text(4).unwrap_or("?"),
                first.text(5).unwrap_or("?"),
                names.join(", ")
            ),
        )
        .detail(details.join("\n"))
        .hint("Finished partitions stay finished. Run the same call again when the cause is gone; it copies only the rest."))
    }

    /// The remembered end_tm of a table. Forgotten when the table has been dropped and created anew since its last run: what it
    /// remembers is then about rows that are gone.
    pub fn watermark(&self, table: u32) -> Result<Option<String>> {
        let rows = self.write(
            "SELECT s.end_tm FROM @.sync_table s
             WHERE s.table_name = $1 AND $2::oid = COALESCE(
               (SELECT r.relation FROM @.cgpsync_run r
                WHERE r.table_name = s.table_name AND r.status = 'done' ORDER BY r.run_id DESC LIMIT 1), $2::oid)",
            &[Some(&shown_name(table)?), Some(&table.to_string())],
        )?;
        let text = rows.first().and_then(|row| row.text(0)).map(str::trim);
        Ok(text.filter(|t| !t.is_empty()).map(str::to_owned))
    }

    /// Remembers `end_tm`.
    pub fn set_watermark(&self, table: u32, end_tm: &str) -> Result<()> {
        self.write(
            "INSERT INTO @.sync_table (table_name, end_tm) VALUES ($1, $2)
             ON CONFLICT (table_name) DO UPDATE SET end_tm = EXCLUDED.end_tm",
            &[Some(&shown_name(table)?), Some(end_tm)],
        )
        .map(|_| ())
    }

    /// Units that runs since the last success finished under the same plan. Only if nothing was copied into the partition after that:
    /// it would hold something else. Runs with `since` count neither here nor there: they exist to copy again.
    pub fn finished_by_failed_runs(&self, request: &Request, same: &SamePlan<'_>) -> Result<Vec<FinishedUnit>> {
        let columns = serde_json::to_string(same.columns).map_err(|e| Error::internal(e.to_string()))?;
        let rows = self.write(
            "SELECT p.run_id, r.end_tm, p.relation::oid, p.source_relation, p.source_filter
             FROM @.cgpsync_run r JOIN @.cgpsync_run_partition p USING (run_id)
             WHERE r.relation = $1::oid::regclass AND r.status IN ('failed', 'cancelled') AND r.since IS NULL
               AND r.source = $2 AND r.source_table = $3 AND r.watermark IS NOT DISTINCT FROM $4 AND r.end_tm IS NOT NULL
               AND r.source_address = $5 AND to_jsonb(r.columns) = $6::jsonb AND p.status = 'done'
               AND r.run_id > COALESCE((SELECT max(d.run_id) FROM @.cgpsync_run d
                                        WHERE d.relation = r.relation AND d.status = 'done'), 0)
               AND NOT EXISTS (SELECT FROM @.cgpsync_run_partition n
                               WHERE n.relation = p.relation AND n.run_id > p.run_id AND n.status = 'done')
             ORDER BY p.run_id",
            &[
                Some(&request.table.to_string()),
                Some(&request.source),
                Some(same.source_table),
                same.watermark,
                Some(same.source_address),
                Some(&columns),
            ],
        )?;
        rows.iter()
            .map(|row| {
                Ok(FinishedUnit {
                    run_id: row.need(0)?,
                    end_tm: row.string(1)?,
                    partition: row.need(2)?,
                    source_relation: row.string(3)?,
                    source_filter: row.text(4).map(str::to_owned),
                })
            })
            .collect()
    }

    /// A worker's view of its run.
    pub fn run_info(&self, run_id: i64) -> Result<RunInfo> {
        let rows = self.write(
            "SELECT arguments, to_jsonb(columns), format, snapshot FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let row = rows
            .first()
            .ok_or_else(|| Error::internal(format!("run {run_id} is gone")))?;
        let parse = |e: serde_json::Error| Error::internal(e.to_string());
        Ok(RunInfo {
            request: serde_json::from_str(&row.string(0)?).map_err(parse)?,
            columns: serde_json::from_str(&row.string(1)?).map_err(parse)?,
            binary: row.text(2) == Some("binary"),
            snapshot: row.text(3).map(str::to_owned),
        })
    }

    /// Takes the next unit for this worker, in the plan's order. None when no unit is left.
    pub fn claim(&self, run_id: i64) -> Result<Option<ClaimedUnit>> {
        let rows = self.write(
            "UPDATE @.cgpsync_run_partition p
             SET status = 'copying', started_at = clock_timestamp(), worker_pid = pg_backend_pid()
             WHERE (p.run_id, p.unit) = (
               SELECT q.run_id, q.unit FROM @.cgpsync_run_partition q
               WHERE q.run_id = $1::bigint AND q.status = 'pending' ORDER BY q.unit LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING p.unit, p.relation::oid, p.relation, p.source_relation, p.source_filter, p.filter_here",
            &[Some(&run_id.to_string())],
        )?;
        rows.first()
            .map(|row| {
                Ok(ClaimedUnit {
                    unit: row.need(0)?,
                    partition: row.need(1)?,
                    name: row.string(2)?,
                    source_relation: row.string(3)?,
                    source_filter: row.text(4).map(str::to_owned),
                    filter_here: row.is(5),
                })
            })
            .transpose()
    }

    /// Records a unit as done, in the transaction that replaced it.
    pub fn unit_done(&self, run_id: i64, unit: i32, rows: u64, bytes: u64) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = 'done', finished_at = clock_timestamp(), rows = $3::bigint, bytes = $4::bigint
             WHERE run_id = $1::bigint AND unit = $2::int",
            &[
                Some(&run_id.to_string()),
                Some(&unit.to_string()),
                Some(&rows.to_string()),
                Some(&bytes.to_string()),
            ],
        )
        .map(|_| ())
    }

    /// Records how a unit failed or was cancelled.
    pub fn unit_failed(&self, run_id: i64, unit: i32, error: &Error) -> Result<()> {
        let status = if error.is_cancel() { "cancelled" } else { "failed" };
        self.write(
            "UPDATE @.cgpsync_run_partition
             SET status = $3, finished_at = clock_timestamp(), error_code = $4, error_message = $5, error_detail = $6,
                 error_hint = $7
             WHERE run_id = $1::bigint AND unit = $2::int",
            &[
                Some(&run_id.to_string()),
                Some(&unit.to_string()),
                Some(status),
                Some(&error.sqlstate),
                Some(&error.message),
                error.detail.as_deref(),
                error.hint.as_deref(),
            ],
        )
        .map(|_| ())
    }
}

/// How relation c in schema n is named in our tables: as most people write it, without the schema if that is public, whatever the caller's
/// search_path. sync_table is looked up by this name.
const SHOWN_NAME: &str =
    "CASE WHEN n.nspname = 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END || quote_ident(c.relname)";

fn shown_name(oid: u32) -> Result<String> {
    let rows = spi::execute(
        &format!(
            "SELECT {SHOWN_NAME} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid"
        ),
        &[Some(&oid.to_string())],
    )?;
    // A table nobody else sees yet has no name here; planning says so.
    Ok(rows
        .first()
        .and_then(|row| row.text(0))
        .map_or_else(|| oid.to_string(), str::to_owned))
}
