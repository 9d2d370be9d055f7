//! What goes into cgpsync's tables and comes out of them; `record` does the reading and writing.

use super::Request;
use crate::plan::pieces::{Cut, Shares};
use serde::Serialize;
use std::time::Duration;

/// A unit as planned.
#[derive(Debug, Clone, Serialize)]
pub struct NewUnit {
    /// the target's partition
    pub partition: u32,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on the source's rows
    pub source_filter: Option<String>,
    /// rows of other units come too and are dropped here: only this server can tell HASH partitions apart
    pub filter_here: bool,
    /// how a slice can be read in pieces
    pub cut: Option<Cut>,
    /// size on the source, if known
    pub estimated_bytes: Option<i64>,
    /// the failed run that copied it already
    pub done_by: Option<i64>,
}

/// A unit a worker has claimed.
#[derive(Debug, Clone)]
pub struct ClaimedUnit {
    /// number within the run
    pub unit: i32,
    /// the target's partition
    pub partition: u32,
    /// quoted, qualified
    pub name: String,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on the source's rows
    pub source_filter: Option<String>,
    /// rows of other units come too and are dropped here
    pub filter_here: bool,
    /// from 1
    pub attempt: u32,
    /// the run's shared snapshot as of now; None: each unit is read in one of its own
    pub snapshot: Option<String>,
    /// name for people
    pub shown_name: String,
    /// size on the source, if known
    pub estimated_bytes: Option<i64>,
    /// how it can be read in pieces, if it is a slice
    pub cut: Option<Cut>,
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
    /// COPY's binary format
    pub binary: bool,
    /// handle of the run's board
    pub board: i64,
    /// how its work is shared
    pub shares: Shares,
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
    /// where it was going
    pub end_tm: String,
    /// the target's partition
    pub partition: u32,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on the source's rows
    pub source_filter: Option<String>,
}

/// What the plan adds to a run's row.
#[derive(Debug)]
pub struct Planned<'a> {
    /// quoted, qualified
    pub source_table: &'a str,
    /// the end_tm that sync_table will hold
    pub end_tm: Option<&'a str>,
    /// the remembered one
    pub watermark: Option<&'a str>,
    /// columns to copy
    pub columns: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// the shared snapshot, if there is one
    pub snapshot: Option<&'a str>,
    /// host, port and database read
    pub source_address: &'a str,
    /// remark for the user
    pub message: Option<&'a str>,
    /// handle of the run's board
    pub board: i64,
}
