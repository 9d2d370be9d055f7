//! A table, a run of it that stands at a gate, and a statement beside it.

use super::statements::Statement;
use crate::support::cluster::{GATE, Side, story_dir};
use crate::support::{Pair, SOON, poll};
use postgres::Client;
use postgres::error::DbError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where the run stands when the statement begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// the coordinator has asked the source a question
    Planning,
    /// the worker waits for the source's next rows
    Load,
    /// the worker has loaded the unit, which a transaction has read
    LastLock,
    /// the worker gathers statistics of the unit, which is done
    Analyze,
}

/// How the run was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Sync,
    Procedure,
    Start,
}

/// How a session's statement has ended: None where it has ended well.
pub type End = Option<Failure>;

/// An error, or the output of a program that failed.
pub struct Failure {
    pub code: String,
    pub text: String,
}

impl Failure {
    fn of(error: &postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(error) => Failure::of_server(error),
            None => Failure {
                code: "lost".to_owned(),
                text: error.to_string(),
            },
        }
    }

    fn of_server(error: &DbError) -> Failure {
        Failure {
            code: error.code().code().to_owned(),
            text: format!("{} ({})", error.message(), error.detail().unwrap_or("")),
        }
    }
}

/// Both clusters, and sessions that are open before anything is locked.
pub struct Scene {
    pub pair: Pair,
    gate: Gate,
    call: Call,
    /// takes no lock when it looks
    monitor: Client,
    looks: [postgres::Statement; 2],
    /// has the gate closed
    holder: Client,
    /// where sessions wait at the gate
    gate_side: Client,
}

/// The table, with rows in each partition, and what statements need beside it.
const TABLES: &str = "
    DROP TABLE IF EXISTS t, t_1, t_2, t_3, renamed, loose, other CASCADE;
    DELETE FROM sync_table;
    CREATE TABLE t (i int, v int, note text) PARTITION BY RANGE (i);
    CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
    CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20);
    CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20) TO (30);
    CREATE INDEX t_v ON t (v);
    CREATE INDEX t_1_own ON t_1 (i, v);
    CREATE INDEX t_2_own ON t_2 (i, v);
    CREATE TABLE loose (LIKE t);
    CREATE TABLE other (i int);
    INSERT INTO t SELECT i, 0, 'old' FROM unnest('{3,5,6,13,23}'::int[]) i;
    INSERT INTO sync_table VALUES ('other', '1');
    GRANT SELECT ON t, t_1, t_2, t_3 TO sometwo;
    CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM t_1;";

/// Rows that the unit has before the run, counted by v.
pub const OLD: &str = "0:3";
/// What it has when it is done. A statement that writes makes rows with v = 9.
pub const NEW: &str = "1:21";

impl Scene {
    pub fn new(gate: Gate, call: Call) -> Scene {
        let pair = Pair::new();
        // What is bounded over there by the run's lock_timeout would be the wait at the gate, too.
        let function = "RETURNS bool LANGUAGE plpgsql SET lock_timeout = 0 AS";
        pair.source.sql(&format!(
            "CREATE TABLE plain (i int, v int, note text);
             INSERT INTO plain SELECT CASE WHEN g = 7 THEN 3 ELSE 5 END, 1, repeat('x', 1000) FROM generate_series(1, 20) g;
             INSERT INTO plain VALUES (5, 1, NULL), (15, 1, NULL);
             CREATE FUNCTION gate() {function} 'BEGIN PERFORM {GATE}; RETURN true; END';
             CREATE VIEW slow_to_answer AS SELECT i, v, note FROM plain WHERE (SELECT gate());
             CREATE VIEW slow_to_come AS SELECT i, v, note FROM plain WHERE note <> '' OR i > 5
             UNION ALL SELECT 5, 1, NULL FROM generate_series(1, 1) g, LATERAL (SELECT gate() WHERE g > 0) s"
        ));
        // Stops nobody but the worker's ANALYZE, and locks nothing to find that out.
        pair.target.sql(&format!(
            "CREATE ROLE someone; CREATE ROLE sometwo;
             CREATE FUNCTION analyzed(int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
               IF EXISTS (SELECT FROM pg_stat_get_progress_info('ANALYZE') p, pg_stat_get_activity(p.pid) a
                          WHERE p.pid = pg_backend_pid() AND a.backend_type = 'cgpsync worker') THEN PERFORM {GATE}; END IF;
               RETURN $1; END $$;
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        ));
        let (mut monitor, holder) = (pair.target.connect(), Scene::at_gate(&pair, gate));
        monitor.batch_execute("SET lock_timeout = '1s'").expect("a setting");
        let looks = [
            "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name = 'beside' AND wait_event_type = 'Lock'",
            "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE backend_type LIKE 'cgpsync %'",
        ]
        .map(|sql| monitor.prepare(sql).expect("a statement"));
        let gate_side = Scene::at_gate(&pair, gate);
        Scene {
            pair,
            gate,
            call,
            monitor,
            looks,
            holder,
            gate_side,
        }
    }

    fn at_gate(pair: &Pair, gate: Gate) -> Client {
        match gate {
            Gate::Planning | Gate::Load => pair.source.connect(),
            Gate::LastLock | Gate::Analyze => pair.target.connect(),
        }
    }

    /// Makes all that a statement may have changed anew.
    pub fn renew(&mut self) {
        let here = &self.pair.target;
        if here.text("SELECT count(*) FROM pg_extension WHERE extname = 'cgpsync'") == "0" {
            here.sql("CREATE EXTENSION cgpsync");
            self.pair.create_server("src", self.pair.source.port);
        }
        let index = match self.gate {
            Gate::Analyze => "CREATE INDEX t_1_gate ON t_1 (analyzed(i))",
            _ => "",
        };
        here.sql(&format!("{TABLES} {index}"));
    }

    /// Closes the gate and begins a run; gives it when it stands there.
    pub fn run_to_gate(&mut self) -> Run {
        let close = match self.gate {
            Gate::LastLock => "BEGIN; SELECT count(*) FROM t_1",
            _ => "BEGIN; SELECT pg_advisory_xact_lock(1)",
        };
        self.holder.batch_execute(close).expect("the gate closes");
        let [unit, next] = ["t_1", "t_2"].map(|name| self.number(&format!("SELECT '{name}'::regclass::oid::bigint")));
        let before = self.number("SELECT COALESCE(max(run_id), 0) FROM cgpsync_run");
        let mut client = self.pair.target.connect();
        let sql = self.call_sql();
        let thread = std::thread::spawn(move || client.simple_query(&sql).err().map(|error| Failure::of(&error)));
        let there = match self.gate {
            Gate::LastLock => {
                "SELECT string_agg(DISTINCT mode, ' ') = 'ShareUpdateExclusiveLock' FROM pg_locks
                 WHERE relation = 't_1'::regclass AND granted AND mode <> 'AccessShareLock'"
            }
            _ => "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
        };
        // What is copied may be there before the lock is.
        let loads = "SELECT count(*) > 0 FROM pg_locks l JOIN LATERAL pg_stat_get_activity(l.pid) a ON true
                     WHERE l.relation = 't_1'::regclass AND l.granted AND l.mode = 'ShareRowExclusiveLock' AND a.wait_event_type = 'Extension'";
        let (gate_side, monitor, is_load) = (&mut self.gate_side, &mut self.monitor, self.gate == Gate::Load);
        poll("the run is at the gate", SOON, || {
            let row = gate_side.query_one(there, &[]).expect("a look");
            assert!(
                self.call == Call::Start || !thread.is_finished(),
                "the call has ended before it got there"
            );
            row.get::<_, Option<bool>>(0) == Some(true)
                && (!is_load || monitor.query_one(loads, &[]).expect("a look").get(0))
        });
        Run {
            thread,
            before,
            unit,
            next,
        }
    }

    fn call_sql(&self) -> String {
        let source = match self.gate {
            Gate::Planning => "slow_to_answer",
            Gate::Load => "slow_to_come",
            Gate::LastLock | Gate::Analyze => "plain",
        };
        let arguments = format!("'t', '19', 1, source_table => '{source}'");
        match self.call {
            Call::Sync => format!("SELECT * FROM cgpsync_sync({arguments})"),
            Call::Procedure => format!("CALL cgpsync({arguments})"),
            Call::Start => format!("SELECT cgpsync_start({arguments})"),
        }
    }

    /// Lets the run go on.
    pub fn open_gate(&mut self) {
        self.holder.batch_execute("COMMIT").expect("the gate opens");
    }

    /// Begins the statement in a session of its own.
    pub fn begin(&self, statement: &Statement) -> JoinHandle<End> {
        if let Some(arguments) = statement.sql.strip_prefix("pg_") {
            return self.begin_program(&format!("pg_{arguments}"));
        }
        let mut config = self.pair.target.config();
        let mut client = config
            .application_name("beside")
            .connect(postgres::NoTls)
            .expect("a connection");
        let sql = statement.sql;
        std::thread::spawn(move || client.simple_query(sql).err().map(|error| Failure::of(&error)))
    }

    /// `DIR` among its words is a directory that is not there yet.
    fn begin_program(&self, line: &str) -> JoinHandle<End> {
        let mut words = line.split(' ');
        let mut command = Side::Target.command(words.next().expect("its name"));
        let dir = story_dir().join("output");
        let _ = std::fs::remove_dir_all(&dir);
        for word in words {
            match word {
                "DIR" => command.arg(&dir),
                word => command.arg(word),
            };
        }
        command
            .args(["-U", "postgres", "-p", &self.pair.target.port.to_string(), "-h"])
            .arg(&self.pair.target.dir)
            .env("PGAPPNAME", "beside");
        std::thread::spawn(move || {
            let output = command.output().expect("the program runs");
            (!output.status.success()).then(|| Failure {
                code: "failed".to_owned(),
                text: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        })
    }

    /// Whether the statement waits for a lock.
    pub fn waits(&mut self) -> bool {
        let look = &self.looks[0];
        self.monitor
            .query_one(look, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) > 0)
    }

    /// Whether processes of runs are left.
    pub fn has_processes(&mut self) -> bool {
        let look = &self.looks[1];
        self.monitor
            .query_one(look, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) > 0)
    }

    fn number(&mut self, sql: &str) -> i64 {
        self.monitor.query_one(sql, &[]).expect("a number").get(0)
    }

    /// How a run that has ended has: its row tells where the call has not waited.
    pub fn end_of(&self, run: Run) -> End {
        let failure = run.thread.join().expect("the call's thread ends");
        if failure.is_some() || self.call != Call::Start {
            return failure;
        }
        let here = &self.pair.target;
        if here.text("SELECT to_regclass('cgpsync_run') IS NULL") == "t" {
            return Some(Failure {
                code: "gone".to_owned(),
                text: String::new(),
            });
        }
        let row = |what: &str| {
            here.text(&format!(
                "SELECT {what} FROM cgpsync_run WHERE run_id > {} ORDER BY run_id LIMIT 1",
                run.before
            ))
        };
        (row("status") != "done").then(|| Failure {
            code: row("COALESCE(error_code, status)"),
            text: row("concat_ws(' ', error_message, error_detail)"),
        })
    }

    /// Whether the other unit came first: runs take them as they lie in the catalog, mostly in the order of their creation.
    pub fn has_begun_with_next(&self, run: &Run) -> bool {
        let here = &self.pair.target;
        here.text("SELECT to_regclass('cgpsync_run_partition') IS NOT NULL") == "t"
            && here.text(&format!(
                "SELECT relation::oid FROM cgpsync_run_partition WHERE run_id = {} + 1 AND unit = 1",
                run.before
            )) == run.next.to_string()
    }

    /// The unit's rows, by v.
    pub fn rows_of(&self, unit: i64) -> String {
        let here = &self.pair.target;
        let name = here.text(&format!("SELECT {unit}::oid::regclass"));
        if name == unit.to_string() {
            return "dropped".to_owned();
        }
        here.text(&format!(
            "SELECT string_agg(v || ':' || n, ' ' ORDER BY v) FROM (SELECT v, count(*) AS n FROM {name} GROUP BY v) rows"
        ))
    }

    /// Who waits for whom; then all that hangs is ended, so that the story can go on.
    pub fn end_all(&mut self) -> String {
        let rows = self.monitor.simple_query(
            "SELECT format('%s %s %s/%s %s blocked by %s, wants %s', a.pid, a.backend_type, a.wait_event_type, a.wait_event, left(a.query, 60),
                           pg_blocking_pids(a.pid), (SELECT string_agg(l.mode || ' on ' || COALESCE(l.relation::text, l.locktype), ', ')
                                                     FROM pg_lock_status() l WHERE l.pid = a.pid AND NOT l.granted))
             FROM pg_stat_get_activity(NULL) a WHERE a.pid <> pg_backend_pid() AND a.backend_type ~ 'client|cgpsync|wal'",
        );
        let mut told = Vec::new();
        for message in rows.unwrap_or_default() {
            if let postgres::SimpleQueryMessage::Row(row) = message {
                told.push(row.get(0).unwrap_or("").to_owned());
            }
        }
        let _ = self.holder.batch_execute("COMMIT");
        let _ = self.monitor.simple_query(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity(NULL) a
             WHERE a.application_name = 'beside' OR a.backend_type LIKE 'cgpsync %' OR a.query LIKE '%cgpsync%(''t'', ''19''%'
               AND a.pid <> pg_backend_pid()",
        );
        told.join("\n    ")
    }
}

/// A run at its gate.
pub struct Run {
    thread: JoinHandle<End>,
    /// the last run before it
    before: i64,
    pub unit: i64,
    /// the run's other unit
    pub next: i64,
}

impl Run {
    /// True when its call has returned.
    pub fn has_returned(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Whether `condition` comes true in time: what does not is told in the end, with all the others.
pub fn comes(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}
