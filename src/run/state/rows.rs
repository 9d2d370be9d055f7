//! What goes into cgpsync's tables and comes out of them.

use super::status::UnitState;
use crate::catalog::server::Known;
use crate::error::{Error, Result, tame_whole};
use crate::plan::copy_sql::display_name;
use crate::plan::end::{Moment, is_word};
use crate::plan::shares::{Cut, Shares};
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::run::request::Request;
use crate::source::{Place, Portion};
use crate::targets::Held;
use crate::targets::loading::Storage;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// A unit as planned.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewUnit {
    /// of the target
    #[serde(skip)]
    pub unit: Unit,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on the source's rows
    pub source_filter: Option<String>,
    /// rows of other units come too and are dropped here: only this server can tell HASH partitions apart
    pub filter_here: bool,
    /// how a slice can be read in pieces
    pub cut: Option<Cut>,
    /// the source relation is partitioned
    pub source_parts: bool,
    /// size on the source, if known
    pub estimated_bytes: Option<i64>,
    /// why the run leaves it, if it does
    pub left: Option<String>,
    /// what the source relation looks like, where units are read in snapshots of their own
    pub source_state: Option<String>,
    /// condition on rows here whose range the source has no partition for any more
    pub vanished_filter: Option<String>,
    /// bounds of the partition and of those above it
    pub bound: Option<String>,
}

impl NewUnit {
    /// Leaves it, for this reason; nothing is read.
    pub fn leave(&mut self, reason: &str) {
        self.left = Some(reason.to_owned());
        self.source_relation = String::new();
        self.source_filter = None;
        self.cut = None;
        self.estimated_bytes = None;
    }

    /// As JSON for its row. What is read is in columns that people look at: where that would be unsafe, `exact` has it as it is.
    /// `is_elsewhere`: the unit is another server's, and known by its name.
    pub fn to_record(&self, is_elsewhere: bool) -> Result<Value> {
        let json = |e: serde_json::Error| Error::internal(e.to_string());
        let mut record = serde_json::to_value(self).map_err(json)?;
        match is_elsewhere {
            false => record["partition"] = Value::from(self.unit.oid()?),
            true => {
                record["elsewhere"] = Value::from(self.unit.name.clone());
                record["elsewhere_oid"] = Value::from(self.unit.oid()?);
                record["shown"] = Value::from(tame_whole(&display_name(&self.unit.name)));
            }
        }
        let exact = (self.source_relation.as_str(), self.source_filter.as_deref());
        let shown = (tame_whole(exact.0), exact.1.map(tame_whole));
        if (shown.0.as_str(), shown.1.as_deref()) != exact {
            record["exact"] = Value::String(serde_json::to_string(&exact).map_err(json)?);
            record["source_relation"] = Value::String(shown.0);
            record["source_filter"] = shown.1.map_or(Value::Null, Value::String);
        }
        Ok(record)
    }
}

/// What is read for a unit, relation and condition, as its row has it: in two columns from `at` on, or in column `exact` where those are for
/// people only.
pub fn what_is_read(row: &Row, at: usize, exact: usize) -> Result<(String, Option<String>)> {
    match row.text(exact) {
        Some(json) => serde_json::from_str(json).map_err(|e| Error::internal(e.to_string())),
        None => Ok((row.string(at)?, row.owned(at + 1))),
    }
}

/// A unit a worker has claimed.
#[derive(Debug, Clone)]
pub struct ClaimedUnit {
    /// number within the run
    pub number: i32,
    /// of the target
    pub unit: Unit,
    /// what is read for it
    pub portion: Portion,
    /// rows of other units come too and are dropped here
    pub filter_here: bool,
    /// from 1
    pub attempt: u32,
    /// where the run reads, as of now
    pub place: Place,
    /// name for people
    pub shown_name: String,
    /// size on the source, if known
    pub estimated_bytes: Option<i64>,
    /// how it can be read in pieces, if it is a slice
    pub cut: Option<Cut>,
    /// condition on rows here whose range the source has no partition for any more
    pub vanished_filter: Option<String>,
    /// bounds of the partition and of those above it when planned
    pub bound: Option<String>,
}

/// What a worker finds when it asks for work.
#[derive(Debug)]
pub enum Claim {
    /// a unit, its own from now on
    Unit(Box<ClaimedUnit>),
    /// there will be some after this time
    Later(Duration),
    /// none is left
    Nothing,
}

/// What a worker needs to know of its run.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// the call
    pub request: Request,
    /// columns to copy, in order
    pub columns: Vec<String>,
    /// the type that each has had here
    pub types: Vec<String>,
    /// COPY's binary format
    pub binary: bool,
    /// handle of the run's board
    pub board: i64,
    /// how its work is shared
    pub shares: Shares,
    /// what was known of the source when the run began
    pub source_known: Option<Known>,
}

/// Counts of a run's units.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// not begun
    pub pending: i64,
    /// in a worker's hands
    pub copying: i64,
    /// ended by a cancel or termination
    pub cancelled: i64,
    /// ended by an error
    pub failed: i64,
}

/// What a run must have in common with this one for its finished units to count.
#[derive(Debug)]
pub struct SamePlan<'a> {
    /// quoted, qualified
    pub source_table: &'a str,
    /// host, port and database
    pub source_address: &'a str,
    /// columns copied
    pub columns: &'a [String],
    /// the remembered end_tm it began with
    pub watermark: Option<&'a str>,
}

/// A unit that a failed run has finished.
#[derive(Debug)]
pub struct FinishedUnit {
    /// that run
    pub run_id: i64,
    /// the point that it would have left
    pub point: String,
    /// the target's partition
    pub partition: u32,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on the source's rows
    pub source_filter: Option<String>,
    /// what the partition was known by then
    pub left: Load,
}

/// What a unit was known by when a run had loaded it. What ran before 0.3.0 has not recorded it.
#[derive(Debug, Clone)]
pub struct Load {
    /// OID of a partition on another server
    pub relation: Option<u32>,
    /// pg_class.relfilenode
    pub file_number: Option<u32>,
    /// when the target's server had been started
    pub server_start: Option<String>,
    /// rows that were copied
    pub rows: i64,
}

impl Load {
    /// From four columns from `at` on.
    pub fn read(row: &Row, at: usize) -> Result<Load> {
        Ok(Load {
            relation: row.get(at)?,
            file_number: row.get(at + 1)?,
            server_start: row.owned(at + 2),
            rows: row.get(at + 3)?.unwrap_or(0),
        })
    }

    /// Whether the unit has the storage that the run left it in. A crash empties an unlogged table in place.
    pub fn is_as_left(&self, now: &Storage) -> bool {
        self.relation.is_none_or(|relation| relation == now.relation)
            && self.file_number == Some(now.file_number)
            && (!now.is_unlogged || self.server_start.as_deref() == Some(&now.server_start))
    }
}

/// What the plan adds to a run's row.
#[derive(Debug)]
pub struct Planned<'a> {
    /// quoted, qualified
    pub source_table: &'a str,
    /// up to where the table is synced
    pub end_tm: Option<&'a str>,
    /// what sync_table holds if every unit is done
    pub point: Option<&'a str>,
    /// the remembered one
    pub watermark: Option<&'a str>,
    /// columns to copy
    pub columns: &'a [String],
    /// the type of each here
    pub types: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// where it is read
    pub place: &'a Place,
    /// what is read
    pub origin: &'a Origin,
    /// what is known of the source
    pub source_known: Option<&'a Known>,
    /// who holds the run's lock on a target elsewhere
    pub held: Option<&'a Held>,
    /// remark for the user
    pub message: Option<&'a str>,
    /// handle of the run's board
    pub board: i64,
}

/// Where rows come from: the remembered point is about this and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// system identifier of the server; where it tells none, "table" and the OID of the table
    pub system: String,
    /// database
    pub database: String,
    /// quoted, qualified
    pub table: String,
    /// host, port and database as the server's options name them
    pub address: String,
}

/// The origin of the remembered point, as far as the history tells it: what ran before 0.3.0 has
/// recorded no system.
#[derive(Debug)]
pub struct Remembered {
    /// the run that left it
    pub run_id: i64,
    /// see [`Origin`]
    pub system: Option<String>,
    /// see [`Origin`]
    pub database: Option<String>,
    /// see [`Origin`]
    pub table: String,
    /// see [`Origin`]
    pub address: Option<String>,
}

/// The remembered end_tm.
#[derive(Debug)]
pub struct Watermark {
    /// as sync_table has it
    pub text: String,
    /// who has left it there
    pub left_by: LeftBy,
}

/// Who has left a point.
#[derive(Debug)]
pub enum LeftBy {
    /// runs that have asked for the source's present
    Run {
        /// when the first of them began
        first: Moment,
        /// when the last one did, in the latest zone: a point beyond it was left by bounds that did not tell the key to be a time
        at_most: Moment,
    },
    /// runs of an earlier version
    Earlier {
        /// when the first of those that have left this point began: what came later it did not see
        first: Moment,
        /// when the last one began, which a word is about
        last: Moment,
    },
    /// nobody that is known
    Somebody,
}

impl Watermark {
    /// False for a word of which nobody knows when it was said.
    pub fn has_meaning(&self) -> bool {
        !is_word(&self.text) || !matches!(self.left_by, LeftBy::Somebody)
    }

    /// What it cannot be later than: the start of the run that left it, or `now` where nobody knows.
    pub fn latest<'a>(&'a self, now: Option<&'a Moment>) -> Option<&'a Moment> {
        match &self.left_by {
            LeftBy::Run { .. } => None,
            LeftBy::Earlier { last, .. } if is_word(&self.text) => Some(last),
            LeftBy::Earlier { first, .. } => Some(first),
            LeftBy::Somebody => now,
        }
    }
}

/// A unit as the call returns it.
#[derive(Debug)]
pub struct UnitResult {
    /// name of the target's partition, as cgpsync_run_partition has it
    pub partition: String,
    /// done or skipped
    pub state: UnitState,
    /// rows copied
    pub rows: Option<i64>,
    /// COPY bytes received
    pub bytes: Option<i64>,
    /// from claim to commit
    pub seconds: Option<f64>,
    /// remark
    pub message: Option<String>,
}

/// A run as one look shows it.
pub struct RunRow {
    /// the coordinator's process, whether or not it is still there
    pub coordinator_pid: i32,
    /// its message, a line for each remark
    pub message: Option<String>,
    /// how many units it has, once it is planned
    pub units: Option<String>,
    /// how it ended
    pub end: Option<Result<()>>,
}

/// A unit that has come to its end, as it is announced.
pub struct EndedUnit {
    /// number within the run
    pub number: i32,
    /// name for people
    pub partition: String,
    /// how it stands
    pub state: UnitState,
    /// number of rows
    pub rows: String,
    /// number of bytes
    pub bytes: String,
    /// from claim to commit
    pub seconds: String,
    /// error, or remark
    pub message: String,
    /// nothing was to be read for it, and that is no failure
    pub has_no_source: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_of_a_unit_has_no_control_characters_and_what_is_read_stays() {
        let unit = |relation: &str, filter: Option<&str>| NewUnit {
            unit: Unit {
                name: String::new(),
                oid: Some(1),
            },
            source_relation: relation.to_owned(),
            source_filter: filter.map(str::to_owned),
            ..NewUnit::default()
        };
        let plain = unit("\"s\".\"t\"", None).to_record(false).expect("JSON");
        assert_eq!(
            (&plain["source_relation"], plain.get("exact")),
            (&"\"s\".\"t\"".into(), None)
        );
        let wild = unit("\"s\".\"t\u{1b}\"", Some("(k = '\n')"))
            .to_record(false)
            .expect("JSON");
        assert_eq!(wild["source_relation"], "\"s\".\"t \"");
        assert_eq!(wild["source_filter"], "(k = ' ')");
        let exact: (String, Option<String>) =
            serde_json::from_str(wild["exact"].as_str().expect("text")).expect("JSON");
        assert_eq!(exact, ("\"s\".\"t\u{1b}\"".to_owned(), Some("(k = '\n')".to_owned())));
    }
}

/// A process that waits for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// its PID
    pub waiter: i32,
    /// PID of who has what it waits for; 0: a prepared transaction
    pub holder: i32,
    /// the relation, or what kind of thing it is
    pub what: String,
    /// the lock that it needs
    pub mode: String,
    /// the one that waits is of the run
    pub is_ours: bool,
}
