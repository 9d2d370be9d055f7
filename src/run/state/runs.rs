//! Runs' rows: begun, planned, ended; and whether whoever a run is on is still there.

use super::home::HOME;
use super::rows::{NewUnit, Planned, RunInfo};
use super::status::RunState;
use super::{SHOWN_NAME, Store, place, shown_name, to_json};
use crate::error::{Error, Result, sqlstate, tame, tame_remark};
use crate::pg::{backend, lock, wait};
use crate::plan::shares::Shares;
use crate::run::request::Request;
use crate::source::Place;
use crate::targets::Target;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long it may take until a run that has just taken its table's lock is visible, or one that is over has let it go.
const LOCK_CLEAR: Duration = Duration::from_secs(5);

impl Store {
    /// Inserts the run and takes its table's lock for the life of this process. When another run holds that, the new one is failed, as
    /// soon as the other can be named, with an error that names it, which is given too.
    pub fn begin_run(&self, request: &Request, target: &Target, role: u32) -> Result<(i64, Option<Error>)> {
        self.mark_orphans()?;
        self.find_again()?;
        let table = request.table.to_string();
        let conflict = self.lock(target)?;
        let name = shown_name(request.table)?;
        // Other roles read it. What the call says of the table and of points is the coordinator's alone, which has it as it is.
        let shown = |text: &Option<String>| text.as_deref().map(tame);
        let shown = Request {
            source_table: shown(&request.source_table),
            end_tm: shown(&request.end_tm),
            since: shown(&request.since),
            ..request.clone()
        };
        let arguments = to_json(&shown)?;
        let rows = self.write(
            &format!(
                "INSERT INTO @.cgpsync_run (table_name, relation, status, source, source_table, end_tm, since, parallelism, role_name,
                                        coordinator_pid, arguments, home)
             SELECT $1, $2::oid, $10, $3, $4, $5, $6, $7::int, r.rolname, pg_backend_pid(), $8::jsonb, {HOME}
             FROM pg_roles r WHERE r.oid = $9::oid
             RETURNING run_id"
            ),
            &[
                Some(&name),
                Some(&table),
                Some(&tame(&request.source)),
                shown.source_table.as_deref(),
                shown.end_tm.as_deref(),
                shown.since.as_deref(),
                Some(&request.parallelism.to_string()),
                Some(&arguments),
                Some(&role.to_string()),
                Some(RunState::Planning.name()),
            ],
        )?;
        let run_id = rows
            .first()
            .ok_or_else(|| Error::internal("the calling role is gone"))?
            .need(0)?;
        if let Some(error) = &conflict {
            self.finish_run(run_id, RunState::Failed, Some(error))?;
        }
        Ok((run_id, conflict))
    }

    /// Takes the run's locks, or gives an error naming the run that is in the way. That one's row
    /// is not visible yet when both began at the same moment, as scheduled calls do, and says that
    /// it is over before the lock goes; a moment later either is clear.
    fn lock(&self, target: &Target) -> Result<Option<Error>> {
        let table = target.table();
        let deadline = Instant::now() + LOCK_CLEAR;
        loop {
            // Anew each time: the table may have got other parents.
            if lock::try_run(table, &target.parents()?) {
                return Ok(None);
            }
            let conflict = self.conflict(table)?;
            if conflict.is_some() {
                return Ok(conflict);
            }
            if Instant::now() >= deadline {
                return Ok(Some(busy(table, "a run that is just beginning or ending")));
            }
            wait::wait(None, Duration::from_millis(20));
        }
    }

    /// The error naming the run that is on, if its row is visible: of the table, or of one above or
    /// below it.
    fn conflict(&self, table: u32) -> Result<Option<Error>> {
        let sql = format!(
            "WITH RECURSIVE below AS (
               SELECT $1::oid AS oid UNION SELECT i.inhrelid FROM below JOIN pg_inherits i ON i.inhparent = below.oid)
             SELECT r.run_id, r.role_name, r.started_at, r.table_name, r.relation::oid = $1::oid
             FROM @.cgpsync_run r
             WHERE r.status IN ('planning', 'running') AND {IS_ALIVE}
               AND (r.relation::oid IN (SELECT oid FROM below)
                    OR r.relation::oid IN (SELECT a.relid FROM pg_partition_ancestors($1::oid::regclass) a))
             ORDER BY r.relation::oid = $1::oid DESC, r.run_id DESC LIMIT 1"
        );
        let rows = self.read_latest(&sql, &[Some(&table.to_string())])?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let run = match row.is(4) {
            true => format!("run {}", row.string(0)?),
            false => format!("run {}, which is on {}", row.string(0)?, row.string(3)?),
        };
        let error = busy(table, &run).detail(format!(
            "It was called by role \"{}\" and started at {}.",
            row.string(1)?,
            row.string(2)?
        ));
        Ok(Some(error))
    }

    /// Marks runs whose coordinator is gone, told by its lock.
    fn mark_orphans(&self) -> Result<()> {
        let rows = self.write(
            &format!(
                "UPDATE @.cgpsync_run o
                 SET status = 'failed', finished_at = clock_timestamp(), error_code = '57P01',
                     error_message = 'the processes of the run are gone',
                     error_detail = 'The server was restarted or the coordinator was killed.',
                     error_hint = 'Units that were done stay done; run the same call again.'
                 WHERE o.run_id IN (
                   SELECT r.run_id FROM @.cgpsync_run r WHERE r.status IN ('planning', 'running') AND NOT {IS_ALIVE}
                   FOR UPDATE OF r SKIP LOCKED)
                 RETURNING run_id"
            ),
            &[],
        )?;
        for row in rows {
            self.close_units(row.need(0)?)?;
        }
        Ok(())
    }

    /// Forgets runs that ended longer than `older_than`, an interval, ago: those of the current role, all if it is a superuser. A table's
    /// last complete run stays: it is what tells a table from another one of the same name. So does the one that has left the remembered
    /// end_tm: it tells which source that is about. And as long as an older failed one stays, so do
    /// those after it: they tell which of its partitions hold something else by now. Gives their number.
    pub fn prune(&self, older_than: &str) -> Result<i64> {
        self.mark_orphans()?;
        let role = backend::current_role().to_string();
        let rows = self.write(
            "WITH old AS (
               SELECT r.run_id, r.relation, r.status FROM @.cgpsync_run r
               WHERE r.finished_at < clock_timestamp() - $1::interval
                 AND EXISTS (SELECT FROM pg_roles o WHERE o.oid = $2::oid AND (o.rolsuper OR o.rolname = r.role_name))
                 AND r.run_id <> COALESCE((SELECT max(d.run_id) FROM @.cgpsync_run d
                                           WHERE d.table_name = r.table_name AND d.status = 'done'), 0)
                 AND r.run_id <> COALESCE((SELECT max(d.run_id) FROM @.cgpsync_run d
                                           WHERE d.table_name = r.table_name AND to_jsonb(d) ->> 'remembered' IS NOT NULL), 0)),
             gone AS (
               DELETE FROM @.cgpsync_run r USING old
               WHERE r.run_id = old.run_id AND NOT EXISTS (
                 SELECT FROM @.cgpsync_run e
                 WHERE e.relation = r.relation AND e.run_id < r.run_id AND e.status <> 'done'
                   AND NOT EXISTS (SELECT FROM old x WHERE x.run_id = e.run_id))
               RETURNING 1)
             SELECT count(*) FROM gone",
            &[Some(older_than), Some(&role)],
        )?;
        rows.first().ok_or_else(|| Error::internal("no count"))?.need(0)
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
        let columns = to_json(planned.columns)?;
        let types = to_json(planned.types)?;
        let held = planned.held.map(to_json).transpose()?;
        let known = planned.source_known.map(to_json).transpose()?;
        self.write(
            "UPDATE @.cgpsync_run SET status = $15, source_table = $2, end_tm = $3, watermark = $4,
                    columns = ARRAY(SELECT jsonb_array_elements_text($5::jsonb)), format = $6, snapshot = $7,
                    message = NULLIF(concat_ws(E'\\n', message, $8), ''), units = $9::int, source_address = $10,
                    board = $11::bigint, source_system = $12, source_database = $13, point = $14,
                    source_server = $16, source_peer = $17,
                    column_types = ARRAY(SELECT jsonb_array_elements_text($18::jsonb)), target_session = $19::jsonb,
                    source_known = $20::jsonb
             WHERE run_id = $1::bigint",
            &[
                Some(&id),
                Some(planned.source_table),
                planned.end_tm,
                planned.watermark,
                Some(&columns),
                Some(if planned.binary { "binary" } else { "text" }),
                planned.place.snapshot.as_deref(),
                planned.message,
                Some(&units.len().to_string()),
                Some(&planned.origin.address),
                Some(&planned.board.to_string()),
                Some(&planned.origin.system),
                Some(&planned.origin.database),
                planned.point,
                Some(RunState::Running.name()),
                planned.place.server.as_deref(),
                planned.place.peer.map(|peer| peer.to_string()).as_deref(),
                Some(&types),
                held.as_deref(),
                known.as_deref(),
            ],
        )?;
        self.insert_units(run_id, units, planned.held.is_some())
    }

    /// Inserts the units of a plan, in one statement, however many there are.
    fn insert_units(&self, run_id: i64, units: &[&NewUnit], is_elsewhere: bool) -> Result<()> {
        let id = run_id.to_string();
        let wanted = units.len();
        let units: Vec<Value> = units
            .iter()
            .map(|unit| unit.to_record(is_elsewhere))
            .collect::<Result<_>>()?;
        let units = to_json(&units)?;
        let inserted = self.write(
            &format!(
                "INSERT INTO @.cgpsync_run_partition
                   (run_id, unit, partition, relation, target_relation, target_oid, status, source_relation, source_filter, filter_here, estimated_bytes, cut, message,
                    source_parts, source_state, vanished_filter, bound, source_exact)
                 SELECT $1::bigint, u.n, COALESCE(u.j ->> 'shown', {SHOWN_NAME}), c.oid,
                        u.j ->> 'elsewhere', (u.j ->> 'elsewhere_oid')::oid,
                        CASE WHEN u.j ->> 'left' IS NULL THEN 'pending' ELSE 'skipped' END,
                        NULLIF(u.j ->> 'source_relation', ''), u.j ->> 'source_filter', (u.j ->> 'filter_here')::bool,
                        (u.j ->> 'estimated_bytes')::bigint, NULLIF(u.j -> 'cut', 'null'), u.j ->> 'left',
                        (u.j ->> 'source_parts')::bool, u.j ->> 'source_state', u.j ->> 'vanished_filter', u.j ->> 'bound',
                        convert_to(u.j ->> 'exact', 'UTF8')
                 FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS u(j, n)
                 LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON c.oid = (u.j ->> 'partition')::oid
                 WHERE c.oid IS NOT NULL OR u.j ->> 'elsewhere' IS NOT NULL
                 RETURNING unit"
            ),
            &[Some(&id), Some(&units)],
        )?;
        if inserted.len() != wanted {
            return Err(Error::new(
                sqlstate::OBJECT_IN_USE,
                "partitions were dropped while the run was planned",
            )
            .hint("Run the same call again; it plans with the partitions there are."));
        }
        Ok(())
    }

    /// A remark on the run, a line of its message, shown to the caller as a NOTICE.
    pub fn add_message(&self, run_id: i64, message: &str) -> Result<()> {
        let message = tame_remark(message);
        self.write(
            "UPDATE @.cgpsync_run SET message = concat_ws(E'\\n', message, $2) WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(&message)],
        )
        .map(|_| ())
    }

    /// The same, unless one of the run's processes has said it already.
    pub fn add_message_once(&self, run_id: i64, message: &str) -> Result<()> {
        let message = tame_remark(message);
        // Whoever comes second waits for the row and looks at it again.
        self.write(
            "UPDATE @.cgpsync_run SET message = concat_ws(E'\\n', message, $2)
             WHERE run_id = $1::bigint AND COALESCE($2 <> ALL (string_to_array(message, E'\\n')), true)",
            &[Some(&run_id.to_string()), Some(&message)],
        )
        .map(|_| ())
    }

    /// From here on units are read in another snapshot.
    pub fn set_place(&self, run_id: i64, place: &Place) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run SET snapshot = $2, source_server = $3, source_peer = $4 WHERE run_id = $1::bigint",
            &[
                Some(&run_id.to_string()),
                place.snapshot.as_deref(),
                place.server.as_deref(),
                place.peer.map(|peer| peer.to_string()).as_deref(),
            ],
        )
        .map(|_| ())
    }

    /// Where units are read now.
    pub fn place(&self, run_id: i64) -> Result<Place> {
        let rows = self.read(
            "SELECT snapshot, source_server, source_peer FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let row = rows
            .first()
            .ok_or_else(|| Error::internal(format!("run {run_id} is gone")))?;
        Ok(place(row, [0, 1, 2]))
    }

    /// The line that was last added to the run's message.
    pub fn last_remark(&self, run_id: i64) -> Result<Option<String>> {
        let rows = self.read(
            "SELECT reverse(split_part(reverse(message), E'\\n', 1)) FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        Ok(rows.first().and_then(|row| row.owned(0)))
    }

    /// Ends the run: its units' totals, its status, its error.
    pub fn finish_run(&self, run_id: i64, state: RunState, error: Option<&Error>) -> Result<()> {
        self.close_units(run_id)?;
        let error = error.map(|error| error.clone().bounded());
        let error = error.as_ref();
        self.write(
            "UPDATE @.cgpsync_run r
             SET status = $2, finished_at = clock_timestamp(), rows = t.rows, bytes = t.bytes,
                 error_code = $3, error_message = $4, error_detail = $5, error_hint = $6
             FROM (SELECT COALESCE(sum(p.rows), 0) AS rows, COALESCE(sum(p.bytes), 0) AS bytes
                   FROM @.cgpsync_run_partition p WHERE p.run_id = $1::bigint AND p.status = 'done') t
             WHERE r.run_id = $1::bigint",
            &[
                Some(&run_id.to_string()),
                Some(state.name()),
                error.map(|e| e.sqlstate.as_str()),
                error.map(|e| e.message.as_str()),
                error.and_then(|e| e.detail.as_deref()),
                error.and_then(|e| e.hint.as_deref()),
            ],
        )
        .map(|_| ())
    }

    /// A worker's view of its run.
    pub fn run_info(&self, run_id: i64) -> Result<RunInfo> {
        let rows = self.read(
            "SELECT arguments, to_jsonb(columns), format, board,
                    (SELECT COALESCE(sum(COALESCE(p.estimated_bytes, (p.cut ->> 'bytes')::bigint)), 0)::bigint
                     FROM @.cgpsync_run_partition p WHERE p.run_id = $1::bigint AND p.status <> 'skipped'),
                    to_jsonb(column_types), source_known
             FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let row = rows
            .first()
            .ok_or_else(|| Error::internal(format!("run {run_id} is gone")))?;
        let parse = |e: serde_json::Error| Error::internal(e.to_string());
        let source_known = row.text(6).map(serde_json::from_str).transpose().map_err(parse)?;
        let request: Request = serde_json::from_str(&row.string(0)?).map_err(parse)?;
        let processes = request.parallelism.max(1) as u32;
        let bytes: i64 = row.need(4)?;
        Ok(RunInfo {
            request,
            columns: serde_json::from_str(&row.string(1)?).map_err(parse)?,
            types: serde_json::from_str(&row.string(5)?).map_err(parse)?,
            binary: row.text(2) == Some("binary"),
            board: row.need(3)?,
            shares: Shares {
                processes,
                each: bytes / i64::from(processes),
            },
            source_known,
        })
    }
}

/// Whether the coordinator of run r holds its table's lock ([`lock`]). The number is its class; the
/// mode is that of the run's own table, as the tables above it are locked too.
pub(super) const IS_ALIVE: &str = "EXISTS (
    SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'userlock' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.pid = r.coordinator_pid
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
      AND l.classid = 1667723379::pg_catalog.oid AND l.objid = r.relation::pg_catalog.oid AND l.objsubid = 2)";

/// The error of a call for a table that `run` is at work on.
fn busy(table: u32, run: &str) -> Error {
    let name = shown_name(table).unwrap_or_default();
    Error::new(
        sqlstate::OBJECT_IN_USE,
        format!("table {name} is being synced already by {run}"),
    )
    .hint("Wait for it to end; cgpsync_run shows its state.")
}
