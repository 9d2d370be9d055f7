//! A big unit is loaded by several processes: the worker that has it, and helpers, one for each of the run's workers that has nothing to do. All of
//! them take pieces of it until none is left; a helper's rows belong to the worker's transaction ([`crate::pg::helper`]).

use super::copy_in::CopyIn;
use crate::error::{Error, Result, Side};
use crate::page::layout::Layout;
use crate::pg::board::{Board, Gauge};
use crate::pg::helper::{self, Helper, Report};
use crate::pg::{backend, report};
use crate::source::{Place, Portion, Reader, begin_reading};
use crate::targets::loading::{Moved, Pieces, What};
use crate::wire::{Session, mapping};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What every process of a unit has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    run_id: i64,
    /// handle of the run's board
    board: i64,
    /// the unit's number there
    number: i32,
    /// processes of the run
    seats: u32,
    /// foreign server that is the source
    source: String,
    /// longest wait for a lock there, milliseconds
    lock_timeout_ms: i32,
    /// for opening a connection to it, milliseconds
    connect_timeout_ms: u64,
    /// the table of the call
    table: u32,
    /// its partition
    unit: u32,
    /// the unit's name for people
    name: String,
    /// columns to copy, in order
    columns: Vec<String>,
    /// how the source reads each of them
    expressions: Vec<String>,
    /// COPY's binary format
    binary: bool,
    /// what is read
    portion: Portion,
    /// rows of other units come too and are dropped here
    filter_here: bool,
    /// search_path of functions that rows set off
    path: String,
    /// conditions, one for each piece
    pieces: Vec<String>,
    /// where the run reads
    place: Place,
    /// what pages are made by; None: by COPY
    pages: Option<Layout>,
}

impl Task {
    /// As [`help`] reads it.
    fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(e.to_string()))
    }

    fn copy_sql(&self, piece: &str) -> String {
        self.portion.copy_sql(&self.expressions, self.binary, Some(piece))
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
    pub fn new(what: &What<'_>, into: &CopyIn<'_>, pieces: Vec<String>, reader: &Reader) -> Team {
        let crew = what.crew;
        let task = Task {
            run_id: crew.run_id,
            board: crew.board.handle(),
            number: crew.number,
            seats: crew.seats,
            source: crew.source.to_owned(),
            lock_timeout_ms: crew.lock_timeout_ms,
            connect_timeout_ms: crew.connect_timeout.as_millis() as u64,
            table: into.table,
            unit: into.unit,
            name: what.unit.name.clone(),
            columns: into.columns.to_vec(),
            expressions: reader.expressions(into.columns),
            binary: into.binary,
            portion: what.portion.clone(),
            filter_here: into.filter,
            path: into.path.to_owned(),
            pieces,
            place: reader.place.clone(),
            pages: None,
        };
        what.gauge.set_pieces(task.pieces.len());
        Team {
            gauge: what.gauge,
            task,
            board: crew.board,
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
        while self.wants_helpers
            && self.helpers.len() + 1 < self.task.pieces.len()
            && self.board.try_take_seat(self.task.seats)
        {
            if !self.entered {
                helper::enter();
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
    fn begin(&mut self, shared: bool, pages: Option<&Layout>) -> Result<()> {
        self.wants_helpers = shared;
        self.task.pages = pages.cloned();
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
            helper::leave();
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
    backend::set_application_name(&format!("cgpsync run {}", task.run_id));
    backend::show_activity(Some(&format!("run {}: helping with {}", task.run_id, task.name)));
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
        // Those that were faster have taken all, and the run may have let its snapshot go.
        Err(_) if board.gauge(task.number).has_no_piece_left() => return Ok(Answer::default()),
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
    // The leader has made sure that no column needs another default than the unit's.
    let into = CopyIn {
        table: task.table,
        unit: task.unit,
        columns: &task.columns,
        binary: task.binary,
        filter: task.filter_here,
        path: &task.path,
        gauge,
        pages: task.pages.as_ref(),
    };
    let mut moved = Moved::default();
    while let Some(copy_sql) = task.take(gauge) {
        moved += into.load(source.copy_out(&copy_sql, gauge)?)?;
    }
    Ok(moved)
}

/// A session like the leader's, in the same snapshot.
fn open_source(task: &Task) -> Result<Session> {
    let mut endpoint = mapping::endpoint(
        &task.source,
        Side::Source,
        Duration::from_millis(task.connect_timeout_ms),
    )?;
    endpoint.reached = task.place.peer;
    // Of what there is to tell about the connection the leader's has told, and a helper may not write.
    let name = format!("cgpsync run {}: {}", task.run_id, task.name);
    let source = Session::open(&endpoint, &name, &backend::encoding(), &backend::timezone()?)?;
    let (source, ()) = source.and_then(|source| {
        source.limit_lock_waits(task.lock_timeout_ms);
        begin_reading(source, &task.place)
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
