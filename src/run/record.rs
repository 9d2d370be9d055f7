//! Reads and writes cgpsync's own tables; the only place that does. They belong to the extension's owner and nobody else may write
//! them, so every write happens as that role, with a statement of ours and a pinned search_path.

mod units;

use super::Request;
use super::points::{LeftBy, Watermark};
use super::rows::{NewUnit, Planned, Remembered, RunInfo};
use crate::error::{Error, Result, sqlstate, tame, tame_remark};
use crate::pg::lock;
use crate::pg::session::{self, as_role};
use crate::pg::spi::{self, Row};
use crate::pg::wait;
use crate::plan::copy_sql::quote_ident;
use crate::plan::end::Moment;
use crate::plan::pieces::Shares;
use crate::target::catalog;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long it may take until a run that has just taken its table's lock is visible, or one that is over has let it go.
const LOCK_CLEAR: Duration = Duration::from_secs(5);

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

    /// Runs the SELECT `sql` as the owner too, and sees what was committed until now; `@.` as above. No policy narrows it, so that the caller
    /// learns how its run went whatever its row_security and grants are: whose run it is must have been asked, or `sql` asks it.
    pub fn read_latest(&self, sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
        as_role(self.owner, || spi::select_latest(&self.in_schema(sql), args))
    }

    fn in_schema(&self, sql: &str) -> String {
        sql.replace("@.", &format!("{}.", self.schema))
    }

    /// Inserts the run and takes its table's lock for the life of this process. When another run holds that, the new one is failed, as
    /// soon as the other can be named, with an error that names it, which is given too.
    pub fn begin_run(&self, request: &Request, role: u32) -> Result<(i64, Option<Error>)> {
        self.mark_orphans()?;
        let table = request.table.to_string();
        let conflict = self.lock(request.table)?;
        let name = shown_name(request.table)?;
        // Other roles read it. What the call says of the table and of points is the coordinator's alone, which has it as it is.
        let shown = |text: &Option<String>| text.as_deref().map(tame);
        let shown = Request {
            source_table: shown(&request.source_table),
            end_tm: shown(&request.end_tm),
            since: shown(&request.since),
            ..request.clone()
        };
        let arguments = serde_json::to_string(&shown).map_err(|e| Error::internal(e.to_string()))?;
        let rows = self.write(
            "INSERT INTO @.cgpsync_run (table_name, relation, status, source, source_table, end_tm, since, parallelism, role_name,
                                        coordinator_pid, arguments)
             SELECT $1, $2::oid::regclass, 'planning', $3, $4, $5, $6, $7::int, r.rolname, pg_backend_pid(), $8::jsonb
             FROM pg_roles r WHERE r.oid = $9::oid
             RETURNING run_id",
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

    /// Takes the run's locks, or gives an error naming the run that is in the way. That one's row
    /// is not visible yet when both began at the same moment, as scheduled calls do, and says that
    /// it is over before the lock goes; a moment later either is clear.
    fn lock(&self, table: u32) -> Result<Option<Error>> {
        let deadline = Instant::now() + LOCK_CLEAR;
        loop {
            // Anew each time: the table may have got other parents.
            if lock::try_run(table, &catalog::parents_of(table)?) {
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

    /// Whether the run's coordinator is there.
    pub fn is_alive(&self, run_id: i64) -> Result<bool> {
        let rows = self.read_latest(
            &format!("SELECT {IS_ALIVE} FROM @.cgpsync_run r WHERE r.run_id = $1::pg_catalog.int8"),
            &[Some(&run_id.to_string())],
        )?;
        Ok(rows.first().is_some_and(|row| row.is(0)))
    }

    /// Forgets runs that ended longer than `older_than`, an interval, ago: those of the current role, all if it is a superuser. A table's
    /// last complete run stays: it is what tells a table from another one of the same name. So does the one that has left the remembered
    /// end_tm: it tells which source that is about. And as long as an older failed one stays, so do
    /// those after it: they tell which of its partitions hold something else by now. Gives their number.
    pub fn prune(&self, older_than: &str) -> Result<i64> {
        self.mark_orphans()?;
        let role = session::current_role().to_string();
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
        let json = |e: serde_json::Error| Error::internal(e.to_string());
        let columns = serde_json::to_string(planned.columns).map_err(json)?;
        self.write(
            "UPDATE @.cgpsync_run SET status = 'running', source_table = $2, end_tm = $3, watermark = $4,
                    columns = ARRAY(SELECT jsonb_array_elements_text($5::jsonb)), format = $6, snapshot = $7,
                    message = NULLIF(concat_ws(E'\\n', message, $8), ''), units = $9::int, source_address = $10,
                    board = $11::bigint, source_system = $12, source_database = $13, point = $14
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
                Some(&planned.origin.address),
                Some(&planned.board.to_string()),
                Some(&planned.origin.system),
                Some(&planned.origin.database),
                planned.point,
            ],
        )?;
        // One statement, however many units there are.
        let wanted = units.len();
        let units: Vec<Value> = units.iter().map(|unit| unit.to_record()).collect::<Result<_>>()?;
        let units = serde_json::to_string(&units).map_err(json)?;
        let inserted = self.write(
            &format!(
                "INSERT INTO @.cgpsync_run_partition
                   (run_id, unit, partition, relation, status, source_relation, source_filter, filter_here, estimated_bytes, cut, message,
                    source_parts, source_state, vanished_filter, bound, source_exact)
                 SELECT $1::bigint, u.n, {SHOWN_NAME}, c.oid::regclass,
                        CASE WHEN u.j ->> 'left' IS NULL THEN 'pending' ELSE 'skipped' END,
                        NULLIF(u.j ->> 'source_relation', ''), u.j ->> 'source_filter', (u.j ->> 'filter_here')::bool,
                        (u.j ->> 'estimated_bytes')::bigint, NULLIF(u.j -> 'cut', 'null'), u.j ->> 'left',
                        (u.j ->> 'source_parts')::bool, u.j ->> 'source_state', u.j ->> 'vanished_filter', u.j ->> 'bound',
                        convert_to(u.j ->> 'exact', 'UTF8')
                 FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS u(j, n)
                 JOIN pg_class c ON c.oid = (u.j ->> 'partition')::oid JOIN pg_namespace n ON n.oid = c.relnamespace
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
    pub fn set_snapshot(&self, run_id: i64, snapshot: &str) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run SET snapshot = $2 WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(snapshot)],
        )
        .map(|_| ())
    }

    /// Ends the run: its units' totals, its status, its error.
    pub fn finish_run(&self, run_id: i64, status: &str, error: Option<&Error>) -> Result<()> {
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
                Some(status),
                error.map(|e| e.sqlstate.as_str()),
                error.map(|e| e.message.as_str()),
                error.and_then(|e| e.detail.as_deref()),
                error.and_then(|e| e.hint.as_deref()),
            ],
        )
        .map(|_| ())
    }

    /// The remembered end_tm of a table. Forgotten when the table has been dropped and created anew since its last run: what it
    /// remembers is then about rows that are gone.
    pub fn watermark(&self, table: u32) -> Result<Option<Watermark>> {
        let rows = self.write(
            "SELECT s.end_tm, b.is_bounded, b.first::text, timezone('Etc/GMT+12', b.first)::text, b.last::text,
                    timezone('Etc/GMT+12', b.last)::text, timezone('Etc/GMT-14', b.last)::text
             FROM @.sync_table s
             LEFT JOIN LATERAL (
               SELECT min(r.started_at) AS first, max(r.started_at) AS last, bool_or(r.remembered IS NOT NULL) AS is_bounded FROM @.cgpsync_run r
               WHERE r.relation = $2::oid::regclass AND r.status = 'done' AND COALESCE(r.remembered, r.end_tm) = s.end_tm
             ) b ON true
             WHERE s.table_name = $1 AND $2::oid = COALESCE(
               (SELECT r.relation FROM @.cgpsync_run r
                WHERE r.table_name = s.table_name AND r.status = 'done' ORDER BY r.run_id DESC LIMIT 1), $2::oid)",
            &[Some(&shown_name(table)?), Some(&table.to_string())],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        // Which zone the source was in is not on record: its day is the earliest one, or at the latest another.
        let moment = |at: usize, local: usize| {
            let both = row.text(at).zip(row.text(local));
            both.map(|(instant, local)| Moment {
                instant: instant.to_owned(),
                local: local.to_owned(),
            })
        };
        let left_by = match (moment(2, 3), moment(4, 5), moment(4, 6)) {
            (Some(first), _, Some(at_most)) if row.is(1) => LeftBy::Run { first, at_most },
            (Some(first), Some(last), _) => LeftBy::Earlier { first, last },
            _ => LeftBy::Somebody,
        };
        let text = row.text(0).unwrap_or("").trim().to_owned();
        Ok((!text.is_empty()).then_some(Watermark { text, left_by }))
    }

    /// Where the remembered end_tm was taken from; None when no run of ours has left it.
    pub fn origin(&self, table: u32) -> Result<Option<Remembered>> {
        let rows = self.write(
            "SELECT run_id, source_system, source_database, source_table, source_address FROM @.cgpsync_run r
             WHERE relation = $1::oid::regclass AND status = 'done' AND source_table IS NOT NULL
               AND (remembered IS NOT NULL OR (source_system IS NULL AND end_tm = (
                     SELECT s.end_tm FROM @.sync_table s WHERE s.table_name = r.table_name)))
             ORDER BY run_id DESC LIMIT 1",
            &[Some(&table.to_string())],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Remembered {
            run_id: row.need(0)?,
            system: row.text(1).map(str::to_owned),
            // As 0.2.0 has left them they may not be tame.
            database: row.text(2).map(tame),
            table: tame(&row.string(3)?),
            address: row.text(4).map(tame),
        }))
    }

    /// Forgets the end_tm that is remembered for a table of this name; what it was.
    pub fn forget(&self, table: u32) -> Result<Option<String>> {
        let name = shown_name(table)?;
        let rows = self.write(
            "DELETE FROM @.sync_table WHERE table_name = $1 RETURNING end_tm",
            &[Some(&name)],
        )?;
        Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
    }

    /// Remembers `end_tm`, which run `run_id` has reached.
    pub fn set_watermark(&self, run_id: i64, table: u32, end_tm: &str) -> Result<()> {
        self.write(
            "UPDATE @.cgpsync_run SET remembered = $2 WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string()), Some(end_tm)],
        )?;
        self.write(
            "INSERT INTO @.sync_table (table_name, end_tm) VALUES ($1, $2)
             ON CONFLICT (table_name) DO UPDATE SET end_tm = EXCLUDED.end_tm",
            &[Some(&shown_name(table)?), Some(end_tm)],
        )
        .map(|_| ())
    }

    /// A worker's view of its run.
    pub fn run_info(&self, run_id: i64) -> Result<RunInfo> {
        let rows = self.write(
            "SELECT arguments, to_jsonb(columns), format, board,
                    (SELECT COALESCE(sum(COALESCE(p.estimated_bytes, (p.cut ->> 'bytes')::bigint)), 0)::bigint
                     FROM @.cgpsync_run_partition p WHERE p.run_id = $1::bigint AND p.status <> 'skipped')
             FROM @.cgpsync_run WHERE run_id = $1::bigint",
            &[Some(&run_id.to_string())],
        )?;
        let row = rows
            .first()
            .ok_or_else(|| Error::internal(format!("run {run_id} is gone")))?;
        let parse = |e: serde_json::Error| Error::internal(e.to_string());
        let request: Request = serde_json::from_str(&row.string(0)?).map_err(parse)?;
        let processes = request.parallelism.max(1) as u32;
        let bytes: i64 = row.need(4)?;
        Ok(RunInfo {
            request,
            columns: serde_json::from_str(&row.string(1)?).map_err(parse)?,
            binary: row.text(2) == Some("binary"),
            board: row.need(3)?,
            shares: Shares {
                processes,
                each: bytes / i64::from(processes),
            },
        })
    }
}

/// Whether the coordinator of run r holds its table's lock ([`lock`]). The number is its class; the
/// mode is that of the run's own table, as the tables above it are locked too.
const IS_ALIVE: &str = "EXISTS (
    SELECT FROM pg_catalog.pg_locks l WHERE l.locktype = 'userlock' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.pid = r.coordinator_pid
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
      AND l.classid = 1667723379::pg_catalog.oid AND l.objid = r.relation::pg_catalog.oid AND l.objsubid = 2)";

/// How relation c in schema n is named in our tables: as most people write it, without the schema if that is public, whatever the caller's
/// search_path. sync_table is looked up by this name.
const SHOWN_NAME: &str =
    "CASE WHEN n.nspname = 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END || quote_ident(c.relname)";

/// The error of a call for a table that `run` is at work on.
fn busy(table: u32, run: &str) -> Error {
    let name = shown_name(table).unwrap_or_default();
    Error::new(
        sqlstate::OBJECT_IN_USE,
        format!("table {name} is being synced already by {run}"),
    )
    .hint("Wait for it to end; cgpsync_run shows its state.")
}

/// The name of relation `oid` in our tables.
pub fn shown_name(oid: u32) -> Result<String> {
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
