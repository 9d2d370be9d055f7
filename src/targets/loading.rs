//! What is to become of a unit, and what became of it, in terms of every kind of target.

use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::page::layout::Layout;
use crate::pg::board::{Board, Gauge};
use crate::plan::replace::{Replace, Way};
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::source::{Portion, Size};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

/// What a unit's storage is known by: another number, and it is not what a run has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// pg_class.oid
    pub relation: u32,
    /// pg_class.relfilenode
    pub file_number: u32,
    /// a crash empties it in place
    pub is_unlogged: bool,
    /// when its server was started
    pub server_start: String,
}

impl Storage {
    /// Of relations, by OID; those that are gone are not in it.
    pub fn of(db: &mut dyn Database, oids: &[u32]) -> Result<HashMap<u32, Storage>> {
        if oids.is_empty() {
            return Ok(HashMap::new());
        }
        let list: Vec<String> = oids.iter().map(u32::to_string).collect();
        let rows = db.query(&format!(
            "SELECT c.oid, c.relfilenode, c.relpersistence = 'u', {}
             FROM pg_class c WHERE c.oid IN ({})",
            instant("pg_postmaster_start_time()"),
            list.join(", ")
        ))?;
        let one = |row: &Row| {
            let relation = row.need(0)?;
            let storage = Storage {
                relation,
                file_number: row.need(1)?,
                is_unlogged: row.is(2),
                server_start: row.string(3)?,
            };
            Ok((relation, storage))
        };
        rows.iter().map(one).collect()
    }
}

/// The text of a time, whatever the session is set to, as it is compared with another.
pub fn instant(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')")
}

/// What is to be loaded into a unit, and how.
#[derive(Debug)]
pub struct What<'a> {
    /// the unit
    pub unit: &'a Unit,
    /// rows of the source
    pub portion: &'a Portion,
    /// how big it is
    pub size: Size<'a>,
    /// whose work that is
    pub crew: Crew<'a>,
    /// columns in the order of the data
    pub columns: &'a [String],
    /// the type of each when it was planned, as [`Column::typed`](crate::plan::columns::Column::typed) has it
    pub types: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// the data holds rows of other partitions, which are dropped and counted
    pub filter: bool,
    /// some column is neither copied nor generated
    pub leaves_out: bool,
    /// how others see the new rows
    pub replace: Replace,
    /// pages may be of our own making
    pub page_writer: bool,
    /// condition on rows here whose range the source has no partition for any more: they are not replaced
    pub vanished: Option<&'a str>,
    /// bounds of the unit and of what is above it up to the table, as planned with
    pub bound: Option<&'a str>,
    /// how long others may be made to wait
    pub limits: Limits,
    /// synchronous_commit of the commit
    pub synchronous_commit: &'a str,
    /// where its progress shows
    pub gauge: Gauge,
}

/// Whose work a unit is.
#[derive(Debug, Clone, Copy)]
pub struct Crew<'a> {
    /// the run
    pub run_id: i64,
    /// the run's board
    pub board: Board,
    /// the unit's number there
    pub number: i32,
    /// processes of the run
    pub seats: u32,
    /// foreign server that is the source
    pub source: &'a str,
    /// longest wait for a lock, milliseconds; 0: none
    pub lock_timeout_ms: i32,
    /// for opening a connection to it
    pub connect_timeout: Duration,
}

/// How long others may be made to wait for a unit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// one attempt to lock what is loaded, behind which readers queue, and any other lock; zero: none
    pub attempt: Duration,
    /// all attempts; zero: none
    pub total: Duration,
}

/// What became of a unit.
#[derive(Debug)]
pub struct Loaded {
    /// rows now in the unit
    pub moved: Moved,
    /// how it was done
    pub way: Way,
    /// pages are of our own making
    pub by_pages: bool,
    /// how many loaded it
    pub processes: u32,
    /// why they were not more
    pub remark: Option<String>,
    /// why it was truncated where it would have been swapped
    pub obstacle: Option<String>,
    /// what it is known by now
    pub storage: Storage,
    /// constraints that are NOT VALID, quoted: rows were not checked against them
    pub unchecked: Vec<String>,
}

impl Loaded {
    /// How it was done, as shown.
    pub fn way(&self) -> String {
        let by = if self.by_pages { ", pages" } else { "" };
        format!("{}{by}", self.way.name())
    }

    /// What the user should know.
    pub fn remarks(&self) -> Vec<String> {
        let obstacle = self.obstacle.as_ref();
        let truncated = obstacle.map(|obstacle| format!("truncated, so that readers wait: {obstacle}"));
        truncated.into_iter().chain(self.remark.clone()).collect()
    }

    /// What the user should know once, whichever the unit.
    pub fn remark_of_run(&self) -> Option<String> {
        (!self.unchecked.is_empty()).then(|| {
            format!(
                "constraints that are NOT VALID are left out while rows are loaded: {}",
                self.unchecked.join(", ")
            )
        })
    }
}

/// The error of a unit that holds rows with `condition`, of whose range the source has nothing any more.
pub fn holds_vanished(name: &str, condition: &str) -> Error {
    Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{name} holds rows whose range has vanished from the source"),
    )
    .detail(match condition {
        "(true)" => "The source lacks a HASH partition, and which rows it had cannot be told.".to_owned(),
        _ => format!("The source has no partition any more for rows with {condition}."),
    })
    .hint("Pass vanished => 'empty' to replace it by what the source has, or move these rows elsewhere first.")
    .final_one()
}

/// Rows that came, and bytes of COPY.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Moved {
    /// rows loaded
    pub rows: u64,
    /// bytes received
    pub bytes: u64,
}

impl AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// The pieces of a unit that is loaded by more than one process.
pub trait Pieces {
    /// The unit is empty. Others may begin, if it is to be `shared`; what they make `pages` by, if not COPY loads it.
    fn begin(&mut self, shared: bool, pages: Option<&Layout>) -> Result<()>;
    /// The statement that reads the next piece; None when there is none left for this process.
    fn next(&mut self) -> Result<Option<String>>;
    /// Waits for the others; what they have loaded.
    fn finish(&mut self) -> Result<Moved>;
    /// How many have taken part, this process included.
    fn processes(&self) -> u32;
    /// Why they were not more.
    fn remark(&self) -> Option<&str>;
}
