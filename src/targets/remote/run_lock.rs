//! One run at a time for a table over there, whoever calls it: two installations may sync to one target.
//!
//! The coordinator's session holds an advisory lock in SHARE mode to its end, which it has had EXCLUSIVE for a moment: so nobody else had any. Each
//! transaction that replaces something takes it in SHARE mode too and looks whether the coordinator's is still there. So whoever begins another run finds
//! those of the one before, whose coordinator may be gone, and waits for the last of their commits. A second lock, of the run's own number, tells
//! its sessions from others: a coordinator that has lost its session takes the lock again beside them. A third one, of a number of its own, is held by the
//! coordinator's session alone: that it is not to be had tells the others that it is there, without a look at pg_locks, for which each segment would be asked.
//!
//! The lock is that of the topmost table. Any role that may connect could take it: that keeps runs away and does nothing else.

use super::{Remote, check_writable};
use crate::catalog::Database;
use crate::catalog::server::{Known, Server};
use crate::error::{Error, Result, sqlstate, tame};
use crate::pg::wait;
use crate::row::Row;
use crate::wire::{BACKEND, Session, shared_out};
use serde::{Deserialize, Serialize};
use std::cell::Ref;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// `pg_locks.classid` of the locks: "cgps", as of the run's own lock here, and the next numbers.
const CLASS: u32 = crate::pg::lock::CLASS;
const CLASS_OF_RUNS: u32 = CLASS + 1;
const CLASS_OF_UNITS: u32 = CLASS + 2;
const CLASS_OF_HOLDERS: u32 = CLASS + 3;
/// How long a run waits for one that is just ending.
const CLEAR: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Who holds a run's lock over there, and where that is. The processes of a run tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// which server, as [`Session::identity`] tells
    pub server: Option<String>,
    /// its network address; None: a Unix socket
    pub peer: Option<SocketAddr>,
    /// the process that has it
    pub pid: String,
    /// the topmost table
    pub root: u32,
    /// the table of the call
    pub table: u32,
    /// the run's number there
    pub run: u32,
    /// the session's own
    pub holder: u32,
    /// what is known of the server
    pub known: Option<Known>,
}

impl Held {
    /// Of the table, of the run, and of the session that holds them.
    fn keys(&self) -> [String; 3] {
        let keys = [
            (CLASS, self.root),
            (CLASS_OF_RUNS, self.run),
            (CLASS_OF_HOLDERS, self.holder),
        ];
        keys.map(|(class, key)| format!("{}, {}", class as i32, key as i32))
    }
}

impl Remote {
    /// Takes the lock for this session, unless it has it. An error that names the holder if another one has it.
    pub fn hold(&self) -> Result<Held> {
        let before = self.held.borrow().clone();
        if let Some(held) = before.as_ref().filter(|_| self.holds.get()) {
            return Ok(held.clone());
        }
        let held = self.look(|| {
            let table = self.found()?.oid;
            let mut session = self.session()?;
            check_writable(&mut session)?;
            let root = root_of(&mut session, table)?;
            Ok(Held {
                server: session.identity().map(tame),
                peer: session.peer(),
                pid: session.backend().unwrap_or_default().to_owned(),
                root,
                table,
                known: session.known()?,
                run: match &before {
                    Some(before) => before.run,
                    None => random(),
                },
                holder: random(),
            })
        })?;
        let deadline = Instant::now() + CLEAR;
        let mut session = self.session()?;
        let take = if before.is_some() { take_again } else { take };
        while !take(&mut session, &held)? {
            if Instant::now() >= deadline {
                return Err(self.taken(&mut session, &held));
            }
            wait::wait(None, PAUSE);
        }
        self.held.replace(Some(held.clone()));
        self.holds.set(true);
        Ok(held)
    }

    /// Who holds the lock, for a session that relies on it.
    pub fn rely_on(&self, held: Held) {
        self.held.replace(Some(held));
    }

    fn relied_on(&self) -> Result<Ref<'_, Held>> {
        Ref::filter_map(self.held.borrow(), Option::as_ref).map_err(|_| Error::internal("no lock is relied on"))
    }

    /// OID of the topmost table.
    pub fn root_there(&self) -> Result<u32> {
        Ok(self.relied_on()?.root)
    }

    /// OID of the table of the call.
    pub fn table_there(&self) -> Result<u32> {
        Ok(self.relied_on()?.table)
    }

    /// Makes the transaction one of the run: nobody begins another before its end. An error unless the run's lock is still held.
    pub fn join(&self, session: &mut Session) -> Result<()> {
        let held = self.relied_on()?;
        self.check_process(session.backend(), &held)?;
        let [of_table, of_run, of_holder] = held.keys();
        let rows = session.query(&format!(
            "SELECT pg_try_advisory_xact_lock_shared({of_run}) AND pg_try_advisory_xact_lock_shared({of_table})
               AND NOT pg_try_advisory_xact_lock_shared({of_holder})"
        ))?;
        match rows.first().is_some_and(|row| row.is(0)) {
            true => Ok(()),
            false => Err(Error::new(
                sqlstate::CONNECTION_FAILURE,
                format!(
                    "the session that holds the run's lock on server \"{}\" is gone",
                    self.server()
                ),
            )),
        }
    }

    /// Has the session, in no transaction, keep its settings, unless it does: what would be set in a pooler's connection would be others' afterwards.
    pub fn keep_settings(&self, session: &mut Session) -> Result<()> {
        if session.keeps_settings() {
            return Ok(());
        }
        let process = session.process()?;
        self.check_process(process.as_deref(), &*self.relied_on()?)?;
        session.keep_settings()
    }

    /// An error if process `process` over there, a session's, is the one that holds the lock.
    fn check_process(&self, process: Option<&str>, held: &Held) -> Result<()> {
        match process == Some(held.pid.as_str()) {
            false => Ok(()),
            true => Err(shared_out(format!(
                "server \"{}\" gives two sessions of a run one process",
                self.server()
            ))),
        }
    }

    fn taken(&self, session: &mut Session, held: &Held) -> Error {
        let sql = format!(
            "SELECT CAST(l.pid AS text), a.application_name, CAST(a.backend_start AS text)
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE {} ORDER BY 3",
            locks(session, CLASS, held.root)
        );
        let holder = |row: &Row| {
            let text = |at| tame(row.text(at).unwrap_or("?"));
            format!("process {} (\"{}\"), connected since {}", text(0), text(1), text(2))
        };
        let holders: Vec<String> = match session.query(&sql) {
            Ok(rows) => rows.iter().map(holder).collect(),
            Err(error) => return error,
        };
        let who = match holders.is_empty() {
            true => "somebody who has let it go by now".to_owned(),
            false => holders.join(", "),
        };
        Error::new(
            sqlstate::OBJECT_IN_USE,
            format!(
                "table {} on server \"{}\" is being synced already by another session there",
                self.name(),
                self.server()
            ),
        )
        .detail(format!("The lock of runs on it is held over there by {who}."))
        .hint(
            "Wait for it to end. A run whose network was cut holds it until that server notices, within half a minute.",
        )
    }
}

/// A condition on `l`, pg_locks: it is one of these. Processes of segments have numbers of other hosts.
fn locks(session: &Session, class: u32, key: u32) -> String {
    let coordinator = match session.server().has_segments() {
        true => "l.gp_segment_id = -1 AND ",
        false => "",
    };
    format!(
        "{coordinator}l.locktype = 'advisory' AND l.granted AND l.classid = {class} AND l.objid = {key} AND l.objsubid = 2
         AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
    )
}

/// Takes the lock where nobody has it. Outside of a transaction: it is the session's.
fn take(session: &mut Session, held: &Held) -> Result<bool> {
    let [of_table, of_run, of_holder] = held.keys();
    if !try_lock(session, held, &format!("pg_catalog.pg_try_advisory_lock({of_table})"))? {
        return Ok(false);
    }
    session.batch(&format!(
        "SELECT pg_catalog.pg_advisory_lock({of_holder});
         SELECT pg_catalog.pg_advisory_lock_shared({of_run}); SELECT pg_catalog.pg_advisory_lock_shared({of_table});
         SELECT pg_catalog.pg_advisory_unlock({of_table})"
    ))?;
    Ok(true)
}

/// Takes the lock beside sessions of the same run, and nobody else's.
fn take_again(session: &mut Session, held: &Held) -> Result<bool> {
    let [of_table, of_run, of_holder] = held.keys();
    let try_all = format!(
        "pg_catalog.pg_try_advisory_lock({of_holder}) AND pg_catalog.pg_try_advisory_lock_shared({of_run})
           AND pg_catalog.pg_try_advisory_lock_shared({of_table})"
    );
    let is_shared = try_lock(session, held, &try_all)?;
    let others = session.query(&format!(
        "SELECT 1 FROM pg_catalog.pg_locks l WHERE {}
           AND l.pid NOT IN (SELECT l.pid FROM pg_catalog.pg_locks l WHERE {})",
        locks(session, CLASS, held.root),
        locks(session, CLASS_OF_RUNS, held.run)
    ))?;
    if is_shared && others.is_empty() {
        return Ok(true);
    }
    session.batch("SELECT pg_catalog.pg_advisory_unlock_all()")?;
    Ok(false)
}

/// A statement that waits until no other unit below `parent` has run it in a transaction that is still on.
pub fn one_at_a_time(parent: u32) -> String {
    format!(
        "SELECT pg_advisory_xact_lock({}, {})",
        CLASS_OF_UNITS as i32, parent as i32
    )
}

/// The same as a question that does not wait.
pub fn try_one_at_a_time(parent: u32) -> String {
    format!(
        "SELECT pg_try_advisory_xact_lock({}, {})",
        CLASS_OF_UNITS as i32, parent as i32
    )
}

fn random() -> u32 {
    RandomState::new().hash_one(0u8) as u32
}

fn try_lock(session: &mut Session, held: &Held, sql: &str) -> Result<bool> {
    let rows = session.query(&format!("SELECT {sql}, {BACKEND}"))?;
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    match row.text(1) == Some(held.pid.as_str()) {
        true => Ok(row.is(0)),
        false => Err(session.is_no_session()),
    }
}

/// The topmost table above `table`, or itself.
pub fn root_of(session: &mut Session, table: u32) -> Result<u32> {
    let is_partition = is_partition(session.server());
    let rows = session.query(&format!(
        "WITH RECURSIVE above(id, n) AS (
           SELECT CAST({table} AS oid), 0
           UNION ALL SELECT i.inhparent, a.n + 1 FROM above a JOIN pg_class c ON c.oid = a.id AND {is_partition}
             JOIN pg_inherits i ON i.inhrelid = a.id)
         SELECT id FROM above ORDER BY n DESC LIMIT 1"
    ))?;
    rows.first().ok_or_else(|| Error::protocol("no table"))?.need(0)
}

/// A condition on `c`, pg_class: it is a partition. Before Greenplum 7 whatever inherits is taken for one.
pub fn is_partition(server: &Server) -> &'static str {
    match server.is_classic() {
        true => "true",
        false => "c.relispartition",
    }
}
