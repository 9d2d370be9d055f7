//! A big unit is loaded by several processes: the worker that has it, and helpers, one for each of the run's workers that has nothing to do. All of
//! them take pieces of it until none is left; a helper's rows belong to the worker's transaction ([`crate::pg::team`]).

use super::Request;
use crate::error::{Error, Result};
use crate::pg::board::{Board, Gauge};
use crate::pg::team::{self, Helper, Report};
use crate::pg::{report, session};
use crate::plan::copy_sql::copy_out;
use crate::plan::replace::Replace;
use crate::source::{Session, dialect};
use crate::target::load::{Moved, Pieces, What};
use serde::{Deserialize, Serialize};

/// What every process of a unit has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// the run
    pub run_id: i64,
    /// its call
    pub request: Request,
    /// handle of the run's board
    pub board: i64,
    /// the unit's number there
    pub number: i32,
    /// the target's partition
    pub partition: u32,
    /// its name for people
    pub name: String,
    /// columns to copy, in order
    pub columns: Vec<String>,
    /// COPY's binary format
    pub binary: bool,
    /// quoted, qualified
    pub source_relation: String,
    /// condition on all of its rows
    pub source_filter: Option<String>,
    /// rows of other units come too and are dropped here
    pub filter_here: bool,
    /// conditions, one for each piece
    pub pieces: Vec<String>,
    /// the run's snapshot
    pub snapshot: String,
}

impl Task {
    /// As [`help`] reads it.
    fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))
    }

    fn copy_sql(&self, piece: &str) -> String {
        let filter = match &self.source_filter {
            Some(filter) => format!("({filter}) AND {piece}"),
            None => piece.to_owned(),
        };
        copy_out(&self.columns, &self.source_relation, Some(&filter), self.binary)
    }

    /// The statement for the next piece that nobody has taken.
    fn take(&self, gauge: Gauge) -> Option<String> {
        self.pieces.get(gauge.take_piece()).map(|piece| self.copy_sql(piece))
    }
}

/// What a helper has to say at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    moved: Moved,
    /// why it has not helped
    remark: Option<String>,
}

/// The pieces of a unit, and who is loading them.
pub struct Team {
    task: Task,
    board: Board,
    gauge: Gauge,
    helpers: Vec<Helper>,
    /// this transaction may have helpers
    entered: bool,
    /// the server has given one each time
    wants_helpers: bool,
    moved: Moved,
    processes: u32,
    /// why there are fewer than there might be
    remark: Option<String>,
}

impl Team {
    /// A team that so far is its leader.
    pub fn new(task: Task, board: Board) -> Team {
        Team {
            gauge: board.gauge(task.number),
            task,
            board,
            helpers: Vec::new(),
            entered: false,
            wants_helpers: true,
            moved: Moved::default(),
            processes: 1,
            remark: None,
        }
    }

    /// The statement to begin with.
    pub fn first(&self) -> Result<String> {
        let first = self.task.pieces.first();
        first
            .map(|piece| self.task.copy_sql(piece))
            .ok_or_else(|| Error::internal("a unit without pieces"))
    }

    /// Starts a helper for every seat that nobody has.
    fn recruit(&mut self) -> Result<()> {
        let seats = self.task.request.parallelism.max(1) as u32;
        while self.wants_helpers && self.helpers.len() + 1 < self.task.pieces.len() && self.board.try_take_seat(seats) {
            if !self.entered {
                team::enter();
                self.entered = true;
            }
            match report::catch(|| Helper::start(&self.task.encode()?)) {
                Ok(Some(helper)) => {
                    self.helpers.push(helper);
                    self.processes += 1;
                }
                Ok(None) => {
                    self.board.leave_seat();
                    self.wants_helpers = false;
                    self.remark = Some("no parallel worker of this server is free to help".to_owned());
                }
                Err(error) => {
                    self.board.leave_seat();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The error of a helper that has failed.
    fn failure(&self) -> Option<Error> {
        self.helpers.iter().find_map(|helper| match helper.report() {
            Report::Failed(answer) => Some(failure(&answer)),
            _ => None,
        })
    }

    /// Runs `f`, the loading. Where that fails because a helper did, gives the helper's error.
    pub fn load<T>(&mut self, f: impl FnOnce(&mut Team) -> Result<T>) -> Result<T> {
        report::catch(|| f(self)).map_err(|error| self.failure().unwrap_or(error))
    }
}

impl Pieces for Team {
    fn begin(&mut self, shared: bool) -> Result<()> {
        self.wants_helpers = shared;
        // The first is the leader's.
        self.gauge.take_piece();
        self.recruit()
    }

    fn next(&mut self) -> Result<Option<String>> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let next = self.task.take(self.gauge);
        if next.is_some() {
            self.recruit()?;
        }
        Ok(next)
    }

    fn finish(&mut self) -> Result<Moved> {
        while let Some(helper) = self.helpers.last() {
            // Stays where `failure` finds it until it is known to have ended well.
            helper.wait();
            let report = helper.report();
            if let Some(helper) = self.helpers.pop() {
                helper.destroy();
                self.board.leave_seat();
            }
            match report {
                Report::Done(answer) => {
                    let answer: Answer = serde_json::from_slice(&answer).map_err(|e| Error::internal(e.to_string()))?;
                    self.moved += answer.moved;
                    if answer.remark.is_some() {
                        self.processes -= 1;
                        self.remark = answer.remark;
                    }
                }
                Report::Failed(answer) => return Err(failure(&answer)),
                Report::Running => return Err(Error::internal("a helper ended without a word")),
            }
        }
        if self.entered {
            team::leave();
            self.entered = false;
        }
        Ok(self.moved)
    }

    fn processes(&self) -> u32 {
        self.processes
    }

    fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }
}

impl Drop for Team {
    /// After an error: the helpers end with the transaction.
    fn drop(&mut self) {
        if !self.helpers.is_empty() {
            self.gauge.end_pieces();
        }
        self.helpers.iter().for_each(|_| self.board.leave_seat());
    }
}

/// What a helper does: loads pieces until none is left. Gives what its leader gets to know.
pub fn help(task: &[u8]) -> Result<Vec<u8>> {
    let task: Task = serde_json::from_slice(task).map_err(|e| Error::internal(e.to_string()))?;
    session::set_application_name(&format!("cgpsync run {}", task.run_id));
    session::show_activity(Some(&format!("run {}: helping with {}", task.run_id, task.name)));
    // Without a board the run is over.
    let Some(board) = Board::attach(task.board, task.run_id) else {
        return Err(Error::internal("the run is over"));
    };
    let answer = report::catch(|| help_on(&task, board));
    if answer.is_err() {
        board.gauge(task.number).end_pieces();
    }
    // Attached within the transaction, it would be missed at its end.
    board.detach();
    serde_json::to_vec(&answer?).map_err(|e| Error::internal(e.to_string()))
}

fn help_on(task: &Task, board: Board) -> Result<Answer> {
    let source = match report::catch(|| open_source(task)) {
        Ok(source) => source,
        Err(error) if error.is_cancel() => return Err(error),
        // The others can do without, as a source with too few connections has them do.
        Err(error) => {
            return Ok(Answer {
                remark: Some(format!(
                    "loaded with a helper less: {} [{}]",
                    error.message, error.sqlstate
                )),
                ..Answer::default()
            });
        }
    };
    board.count_connected();
    let moved = source.and_then(|source| load_pieces(task, board.gauge(task.number), source));
    board.count_disconnected();
    let (source, moved) = moved?;
    source.close();
    Ok(Answer { moved, remark: None })
}

fn load_pieces(task: &Task, gauge: Gauge, source: &mut Session) -> Result<Moved> {
    let what = What {
        table: task.request.table,
        unit: task.partition,
        columns: &task.columns,
        binary: task.binary,
        filter: task.filter_here,
        // The leader has made sure that none of them needs another default than the unit's.
        leaves_out: false,
        replace: Replace::Swap,
        gauge,
        vanished: None,
        bound: None,
    };
    let mut moved = Moved::default();
    while let Some(copy_sql) = task.take(gauge) {
        moved += what.load(source.copy_out(&copy_sql, gauge)?)?;
    }
    Ok(moved)
}

/// A session like the leader's, in the same snapshot.
fn open_source(task: &Task) -> Result<Session> {
    let target = task.request.connection()?;
    // Of what there is to tell about the connection the leader's has told, and a helper may not write.
    let name = format!("cgpsync run {}: {}", task.run_id, task.name);
    let source = Session::open(&target, &name, &session::encoding(), &session::timezone()?)?;
    let (source, ()) = source.and_then(|source| {
        source.send_unconverted();
        dialect::begin(source, Some(&task.snapshot))
    })?;
    Ok(source)
}

/// An error as [`failure`] reads it.
pub fn describe(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&error.clone().bounded()).unwrap_or_default()
}

fn failure(answer: &[u8]) -> Error {
    let error = serde_json::from_slice(answer);
    error.unwrap_or_else(|_| Error::internal("a helper failed and could not say why"))
}
