//! Replacing a unit under its readers' eyes: new storage in place, loaded and indexed while everybody else reads the old files; only then a lock
//! against readers, and the commit. The unit stays what it is (OID, grants, views, names and OIDs of indexes …): what changes are the
//! file numbers in its row of pg_class, its TOAST table's and its indexes', and those changes are ordinary rows of this transaction.
//!
//! Locks, in this order: parents as a reader (by the caller), the unit against writers, its TOAST table against VACUUM; at the end the unit,
//! its TOAST table with the index, and its indexes against everybody, which is how every statement locks them. Writers are let in again
//! before that last wait: who has read the unit and now writes it would wait for this transaction, and this one for the reader. What they
//! write until then goes with the old rows, as if they had come before the load.

use super::facts;
use crate::error::{Error, Result, sqlstate};
use crate::pg::relation::{self, Against};
use crate::pg::{backend, background, report, wait, xact};
use crate::plan::replace::{lock_attempt, longest_rest};
use crate::row::Row;
use crate::targets::loading::Limits;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long somebody may wait for the load and hold it up, before the load gives way: the server's own default for looking. A statement with a
/// lock_timeout may be gone by then.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A transaction that has read the unit and is still there after this time is no short one.
const LONG_READER: Duration = Duration::from_secs(1);

/// A unit with new storage that nobody else sees yet.
#[derive(Debug)]
pub struct Swap {
    unit: u32,
    /// the TOAST table and its index
    toast: Vec<u32>,
    indexes: Vec<u32>,
    /// those that a CREATE INDEX CONCURRENTLY has left before they took rows
    unready: Vec<u32>,
    /// they take the rows as these come
    keeps_indexes: bool,
    /// search_path of functions in them
    path: String,
}

impl Swap {
    /// Empties the unit, for this transaction. It is locked against writers. `looks_back`: whether code looks into it while it is loaded, for
    /// which its indexes are kept up then. `path`: search_path of functions in them.
    pub fn begin(unit: u32, path: String, looks_back: impl FnOnce() -> Result<bool>) -> Result<Swap> {
        // What stays when writers are let in.
        relation::lock(unit, Against::Vacuum);
        let toast = toast_of(unit)?;
        // Autovacuum works on a TOAST table by itself. It gives way to this wait, which it would not do to the short ones at the end.
        toast.iter().for_each(|&part| relation::lock(part, Against::Vacuum));
        report::catch(|| {
            relation::check_can_be_emptied(unit);
            Ok(())
        })
        .map_err(referenced)?;
        let indexes = indexes_of(unit, true)?;
        let unready = indexes_of(unit, false)?;
        let keeps_indexes = !indexes.is_empty() && looks_back()?;
        relation::count_as_truncated(unit);
        report::catch(|| {
            relation::renew(unit);
            Ok(())
        })
        .map_err(row_changed)?;
        toast.iter().for_each(|&part| relation::renew(part));
        if let [table, toast_indexes @ ..] = toast.as_slice() {
            toast_indexes
                .iter()
                .for_each(|&index| relation::build_index(*table, index));
        }
        let swap = Swap {
            unit,
            toast,
            indexes,
            unready,
            keeps_indexes,
            path,
        };
        // COPY leaves these alone, so they stay empty, as TRUNCATE leaves them.
        swap.build(&swap.unready)?;
        if keeps_indexes {
            swap.build(&swap.indexes)?;
        } else if !swap.indexes.is_empty() {
            relation::hide_indexes(unit)?;
        }
        Ok(swap)
    }

    /// True where rows go into the indexes as they come.
    pub fn keeps_indexes(&self) -> bool {
        self.keeps_indexes
    }

    /// Builds every index from the rows loaded, which takes less than keeping it up row by row; violations are found here.
    pub fn build_indexes(&self) -> Result<()> {
        match self.keeps_indexes {
            true => Ok(()),
            false => self.build(&self.indexes),
        }
    }

    fn build(&self, indexes: &[u32]) -> Result<()> {
        for &index in indexes {
            relation::lock(index, Against::Vacuum);
            relation::renew(index);
            backend::with_path(&self.path, || {
                relation::build_index(self.unit, index);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Locks the unit, with its `bytes` of data, against everybody. The commit has to follow at once.
    pub fn show(&self, bytes: u64, limits: Limits) -> Result<()> {
        relation::settle(bytes);
        if background::termination_requested() {
            // It may have ended the wait for standbys. The commit would wait for them again, and readers for it.
            return Err(Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated"));
        }
        relation::let_writers_in(self.unit);
        let begin = Instant::now();
        let mut waiting: Option<(i32, Instant)> = None;
        let mut known = Known::default();
        for attempt in 0.. {
            let (patience, pause) = lock_attempt(attempt, limits.attempt);
            if self.attempt(patience)? {
                break;
            }
            let attempted = Instant::now();
            loop {
                if !limits.total.is_zero() && begin.elapsed() + pause > limits.total {
                    return Err(waited_in_vain(attempt + 1, begin.elapsed()));
                }
                let holders = self.holders()?;
                waiting = waits_for_us(&holders, waiting)?;
                pause_for(pause);
                if !known.has_one_for_long(holders) || attempted.elapsed() > longest_rest(patience) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tries to lock everything. False when it was not to be had.
    fn attempt(&self, patience: Duration) -> Result<bool> {
        let locked = xact::subtransaction(|| {
            backend::set_config("lock_timeout", &patience.as_millis().max(1).to_string(), true)?;
            self.parts().for_each(|part| relation::lock(part, Against::Everybody));
            Ok(())
        });
        match locked {
            Ok(()) => Ok(true),
            Err(error)
                if [sqlstate::LOCK_NOT_AVAILABLE, sqlstate::DEADLOCK_DETECTED].contains(&error.sqlstate.as_str()) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// All that is to be locked, in this order.
    fn parts(&self) -> impl Iterator<Item = u32> + '_ {
        let parts = self.toast.iter().chain(&self.indexes).chain(&self.unready);
        std::iter::once(self.unit).chain(parts.copied())
    }

    /// Who has any of it locked. One that waits for this transaction, be it by way of others, will not let go: neither would go on, and attempts
    /// that are shorter than deadlock_timeout show that to nobody. A GRANT is one since PostgreSQL 18, and on all versions who reads and
    /// then wants to alter.
    fn holders(&self) -> Result<Vec<Holder>> {
        let parts: Vec<u32> = self.parts().collect();
        let rows = facts::ask(
            "WITH RECURSIVE held AS MATERIALIZED (
               SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_locks l
               WHERE l.locktype = 'relation' AND l.relation = ANY ($1::oid[]) AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
             chain(holder, pid) AS (
               SELECT pid, pid FROM held WHERE pid IS NOT NULL
               UNION SELECT c.holder, b FROM chain c, unnest(pg_blocking_pids(c.pid)) b)
             SELECT h.pid, h.virtualtransaction, EXISTS (SELECT FROM chain c WHERE c.holder = h.pid AND c.pid = pg_backend_pid())
             FROM held h ORDER BY 1",
            &[Some(&facts::array(&parts))],
        )?;
        let one = |row: &Row| {
            Ok(Holder {
                pid: row.get(0)?,
                transaction: row.string(1)?,
                waits_for_us: row.is(2),
            })
        };
        rows.iter().map(one).collect()
    }
}

/// Who has the unit, or a part of it, locked.
struct Holder {
    /// None: a prepared transaction
    pid: Option<i32>,
    transaction: String,
    waits_for_us: bool,
}

/// Those that have waited for this transaction before are an error after a while.
fn waits_for_us(holders: &[Holder], before: Option<(i32, Instant)>) -> Result<Option<(i32, Instant)>> {
    let found = holders.iter().find(|holder| holder.waits_for_us);
    let Some(pid) = found.and_then(|holder| holder.pid) else {
        return Ok(None);
    };
    match before {
        Some((same, since)) if same == pid && since.elapsed() >= DEADLOCK_TIMEOUT => Err(waited_for(pid)),
        Some((same, since)) if same == pid => Ok(Some((pid, since))),
        _ => Ok(Some((pid, Instant::now()))),
    }
}

/// Transactions that have been seen, and since when.
#[derive(Default)]
struct Known(HashMap<String, Instant>);

impl Known {
    /// True if one of these has had its lock for so long that it will hardly let go just now: an attempt would only make others wait, and those
    /// fail that do not want to.
    fn has_one_for_long(&mut self, holders: Vec<Holder>) -> bool {
        let now = Instant::now();
        let seen = |holder: Holder| {
            let since = self.0.get(&holder.transaction).copied().unwrap_or(now);
            (holder.transaction, since)
        };
        let present: HashMap<String, Instant> = holders.into_iter().map(seen).collect();
        self.0 = present;
        self.0.values().any(|since| now - *since > LONG_READER)
    }
}

/// The other one goes on when this one gives up, and the next attempt finds what it leaves.
fn waited_for(pid: i32) -> Error {
    Error::new(
        sqlstate::DEADLOCK_DETECTED,
        "a process that uses the partition waits for the load to end",
    )
    .detail(format!(
        "Process {pid} has it locked, and waits for this transaction or for one that does; what was loaded is given up."
    ))
    .hint("Run GRANT and the like when no sync is on.")
}

fn pause_for(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        wait::wait(None, end.saturating_duration_since(Instant::now()));
    }
}

/// Not worth another attempt: it would load everything again to meet the same readers.
fn waited_in_vain(attempts: u32, time: Duration) -> Error {
    Error::new(
        sqlstate::LOCK_NOT_AVAILABLE,
        "the loaded rows could not be shown: others kept the partition locked",
    )
    .detail(format!(
        "{attempts} attempts to lock it in {:.1} s; what was loaded is given up.",
        time.as_secs_f64()
    ))
    .hint("Raise cgpsync.swap_timeout, or sync when no long transaction reads it.")
    .final_one()
}

/// The server's words about foreign keys advise to truncate the tables that refer to it as well, which would not be enough.
pub fn referenced(error: Error) -> Error {
    match error.sqlstate.as_str() {
        sqlstate::FEATURE_NOT_SUPPORTED => {
            error.hint("Drop the foreign keys that refer to it, call again, and add them afterwards: the rows that they refer to are replaced.")
        }
        _ => error,
    }
}

/// A GRANT takes no lock on the table before PostgreSQL 18. One that commits while its row of pg_class is to be changed makes that fail as if the
/// server were broken; the next attempt finds the row as it is then.
fn row_changed(error: Error) -> Error {
    if error.sqlstate != sqlstate::INTERNAL {
        return error;
    }
    Error::new(
        sqlstate::LOCK_NOT_AVAILABLE,
        "the partition was altered at the same moment",
    )
    .detail(error.message)
    .hint("Run the same call again.")
}

/// The unit's TOAST table, followed by that one's indexes; empty if it has none.
fn toast_of(unit: u32) -> Result<Vec<u32>> {
    oids(
        "SELECT c.reltoastrelid FROM pg_class c WHERE c.oid = $1::oid AND c.reltoastrelid <> 0
         UNION ALL
         SELECT i.indexrelid FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid WHERE c.oid = $1::oid AND i.indislive",
        unit,
    )
}

/// What COPY would keep up, valid or not, if `ready`; else what it leaves alone.
fn indexes_of(unit: u32, ready: bool) -> Result<Vec<u32>> {
    oids(
        &format!(
            "SELECT indexrelid FROM pg_index WHERE indrelid = $1::oid AND indislive AND indisready = {ready} ORDER BY indexrelid"
        ),
        unit,
    )
}

fn oids(sql: &str, unit: u32) -> Result<Vec<u32>> {
    let rows = facts::ask(sql, &[Some(&unit.to_string())])?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// Why the unit must be truncated, if it must: a clause that follows a colon.
pub fn obstacle(unit: u32) -> Result<Option<String>> {
    let rows = facts::ask(
        "SELECT a.amname,
                EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 32 <> 0 AND t.tgenabled <> 'D'),
                EXISTS (SELECT FROM pg_replication_slots s
                        WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.plugin <> 'pgoutput'),
                EXISTS (SELECT FROM pg_replication_slots s
                        WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.plugin = 'pgoutput')
         FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam WHERE c.oid = $1::oid",
        &[Some(&unit.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let method = row.text(0).unwrap_or("none");
    Ok(if method != "heap" {
        Some(format!("its access method is {method}, and only heap can be swapped"))
    } else if row.is(1) {
        Some("it has a TRUNCATE trigger".to_owned())
    } else if row.is(2) || (row.is(3) && !facts::published(&[unit])?.is_empty()) {
        // Decoding would show the rows that come and not that the old ones go.
        Some("it is decoded logically, and a swap shows no TRUNCATE there".to_owned())
    } else {
        None
    })
}
