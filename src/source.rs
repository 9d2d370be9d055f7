//! What a run asks of the source: a transaction in the run's snapshot, the table, questions about its rows, the rows themselves, and whether what
//! was read is still what was planned.

pub mod clock;
mod first_row;
mod in_the_way;
mod parts;
mod policies;
mod unchanged;

use crate::catalog::server::Catalog;
use crate::catalog::table::{self, Found};
use crate::catalog::trust::Trust;
use crate::catalog::{self, Database, pieces};
use crate::error::{Error, Result, sqlstate, tame};
use crate::pg::board::Gauge;
use crate::plan::copy_sql::{copy_out, copy_table_out, quote_ident, quote_literal, quote_qualified};
use crate::plan::gauss;
use crate::plan::key::KeyColumn;
use crate::plan::new_table::Definition;
use crate::plan::reading::for_each_key;
use crate::plan::shares::{Cut, SMALLEST_UNIT, Shares};
use crate::plan::tables::{Relation, Table};
use crate::row::Row;
use crate::wire::Session;
use crate::wire::copy_out::CopyOut;
pub use in_the_way::lock_holders;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::SocketAddr;
pub use unchanged::{check_unchanged, states};

/// Reads the source table `name` of the first of `schemas` that has one. The session's settings are pinned.
pub fn read_table(session: &mut Session, schemas: &[String], name: &str) -> Result<Table> {
    let found = find(session, schemas, name)?;
    policies::refuse(session, &found)?;
    catalog::read(session, &found, Trust::Everybody).map(in_its_own_terms)
}

/// The same, with all that a table like it is made of.
pub fn describe(session: &mut Session, schemas: &[String], name: &str) -> Result<(Table, Definition)> {
    let found = find(session, schemas, name)?;
    let (table, definition) = catalog::describe(session, &found)?;
    Ok((in_its_own_terms(table), definition))
}

/// What its server calls the types of its keys means nothing here; the target's names of them come by `translate`.
fn in_its_own_terms(mut table: Table) -> Table {
    for_each_key(&mut table.root, &mut |column: &mut KeyColumn| {
        column.type_sql.clear();
        column.ordering.clear();
        column.cast_sql.clear();
    });
    table
}

/// The first `schema.name` in the order of `schemas` that there is; an error if the remote user may not read it.
fn find(session: &mut Session, schemas: &[String], wanted: &str) -> Result<Found> {
    let label = match schemas {
        [schema] => quote_qualified(schema, wanted),
        _ => quote_ident(wanted),
    };
    let server = session.name().to_owned();
    match table::by_name(session, schemas, wanted)? {
        Some(found) if found.readable => Ok(found),
        Some(_) => Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for source table {label} on server \"{server}\""),
        )
        .hint("Grant SELECT on it to the remote user of the user mapping.")),
        None => Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("source table {label} does not exist on server \"{server}\""),
        )
        .hint("Name it with source_table when it is called differently there.")),
    }
}

/// The answer of a query that gives one boolean.
fn answer(rows: &[Row]) -> Result<bool> {
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    Ok(row.string(0)? == "t")
}

/// True when `table` has rows that satisfy the condition; one that may not be read by its own name is taken to. Inside a transaction.
///
/// No lock on it outlives the question: whoever changes the table would wait for the session that holds the run's snapshot, the workers
/// for that change, and the session for the workers. Nobody's deadlock detection sees that circle.
pub fn holds_rows(session: &mut Session, table: &Relation, condition: Option<&str>) -> Result<bool> {
    if !table.readable {
        return Ok(true);
    }
    let question = (table.relation.clone(), condition.unwrap_or("true").to_owned());
    Ok(hold_rows(session, &[question])? == [true])
}

/// Most questions in one statement.
const QUESTIONS: usize = 20;

/// Whether relations, quoted and qualified, have rows that satisfy their conditions. As above, no lock
/// outlives the question.
pub fn hold_rows(session: &mut Session, questions: &[(String, String)]) -> Result<Vec<bool>> {
    let mut answers = Vec::with_capacity(questions.len());
    for batch in questions.chunks(QUESTIONS) {
        let select = |(at, (relation, condition)): (usize, &(String, String))| {
            format!("SELECT {at} AS n, EXISTS (SELECT 1 FROM {relation} WHERE {condition})")
        };
        let sql: Vec<String> = batch.iter().enumerate().map(select).collect();
        let sql = format!("{} ORDER BY n", sql.join(" UNION ALL "));
        let rows = session.query(&Session::question(&sql))?;
        if rows.len() != batch.len() {
            return Err(Error::protocol("the source has not answered every question"));
        }
        for row in &rows {
            answers.push(row.string(1)? == "t");
        }
    }
    Ok(answers)
}

/// Most values of a key that are told apart one by one.
const MOST_VALUES: usize = 100_000;

/// All values of `expression`, a text, in `relation`; None when there are too many. Inside a transaction.
pub fn distinct_values(session: &mut Session, relation: &str, expression: &str) -> Result<Option<Vec<String>>> {
    let sql = format!("SELECT DISTINCT {expression} FROM {relation} LIMIT {}", MOST_VALUES + 1);
    let rows = session.query(&Session::question(&sql))?;
    if rows.len() > MOST_VALUES {
        return Ok(None);
    }
    Ok(Some(rows.iter().filter_map(|row| row.owned(0)).collect()))
}

/// System identifier of the server, if it tells one, and the database.
pub fn origin(session: &mut Session) -> Result<(Option<String>, String)> {
    let system = match session.server().has_function("pg_control_system") {
        true => "(SELECT CAST(system_identifier AS text) FROM pg_control_system())",
        false => "CAST(NULL AS text)",
    };
    let rows = session.query(&format!("SELECT current_database(), {system}"))?;
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    Ok((row.owned(1), row.string(0)?))
}

/// True for a server that follows another one.
pub fn is_standby(session: &mut Session) -> Result<bool> {
    if !session.server().has_function("pg_is_in_recovery") {
        return Ok(false);
    }
    answer(&session.query("SELECT pg_is_in_recovery()")?)
}

/// What a run's sessions read: they reach one server, and are in one snapshot if it can be shared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// the shared snapshot; None: each unit is read in one of its own
    pub snapshot: Option<String>,
    /// which server, as [`Session::identity`] tells; None: it does not tell
    pub server: Option<String>,
    /// its network address; None: a Unix socket
    pub peer: Option<SocketAddr>,
}

/// Begins the run's transaction and exports its snapshot for the run's other sessions, if the server has one that can be shared.
pub fn begin_shared(session: &mut Session) -> Result<Place> {
    session.begin(None)?;
    let mut snapshot = None;
    if session.server().shares_snapshots() {
        match session.export_snapshot() {
            Ok(name) => snapshot = Some(name),
            // A server that has the function and refuses it, such as a standby of 9.x.
            Err(error) if error.is_remote() => {
                session.batch("ROLLBACK")?;
                session.begin(None)?;
            }
            Err(error) => return Err(error),
        }
    }
    if snapshot.as_ref().is_some_and(|name| *name != tame(name)) {
        return Err(Error::protocol("the source sent a snapshot's name that is none"));
    }
    Ok(Place {
        snapshot,
        server: session.identity().map(tame),
        peer: session.peer(),
    })
}

/// Rows of the source that belong together: what a unit is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Portion {
    /// quoted, qualified
    pub relation: String,
    /// condition on its rows
    pub filter: Option<String>,
    /// it is partitioned, as far as the plan knows
    pub has_parts: bool,
    /// what the relation was when planned, if its snapshot is not that of the plan
    pub state: Option<String>,
}

impl Portion {
    /// The COPY that reads `columns`, expressions, of it, or of those of its rows that are in `piece`, another condition.
    pub fn copy_sql(&self, columns: &[String], binary: bool, piece: Option<&str>) -> String {
        let filter = match (&self.filter, piece) {
            (Some(filter), Some(piece)) => Some(format!("({filter}) AND {piece}")),
            (filter, piece) => filter.clone().or_else(|| piece.map(str::to_owned)),
        };
        copy_out(columns, &self.relation, filter.as_deref(), binary)
    }

    /// True where it may be one table, all of it.
    fn may_be_a_table(&self) -> bool {
        self.filter.is_none() && !self.has_parts
    }
}

/// Whether a relation, quoted and qualified, is a table of which nothing inherits and whose rows are there: an older server gives no row of a table that
/// is partitioned when it is copied by its name, and an external one is none to it. One row.
fn is_one_table_sql(relation: &str, is_classic: bool) -> String {
    let is_external = match is_classic {
        true => " AND NOT EXISTS (SELECT 1 FROM pg_exttable x WHERE x.reloid = c.oid)",
        false => "",
    };
    format!(
        "SELECT c.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid){is_external}
         FROM pg_class c WHERE c.oid = CAST({} AS regclass)",
        quote_literal(relation)
    )
}

/// How big a portion is, and among whom a run's work is shared.
#[derive(Debug, Clone, Copy)]
pub struct Size<'a> {
    /// bytes there, if known
    pub bytes: Option<i64>,
    /// how it can be read in pieces, if it is a slice
    pub cut: Option<&'a Cut>,
    /// among whom
    pub shares: Shares,
}

/// Begins a unit within the transaction.
pub const ENTER_UNIT: &str = "SAVEPOINT unit";
/// Undoes what a unit has left in the transaction: its locks, and an error.
pub const LEAVE_UNIT: &str = "ROLLBACK TO SAVEPOINT unit; RELEASE SAVEPOINT unit";

/// A session that reads units: all of them in the run's snapshot, or each in a transaction of its own.
pub struct Reader {
    /// the session
    pub session: Session,
    /// where it reads
    pub place: Place,
    /// that server is this one
    pub is_here: bool,
    /// the unit that was begun last is read by its table's name
    by_name: bool,
    /// its transaction was ended with the last unit
    is_out: bool,
    /// the table whose columns `reads` are of
    table: String,
    /// its columns that are read by an expression, as their types are none here
    reads: HashMap<String, String>,
}

/// Makes a session one that reads at `place`; begins its transaction where there is a snapshot to be in.
pub fn begin_reading(session: &mut Session, place: &Place) -> Result<()> {
    session.send_unconverted();
    session.expect(place.server.clone());
    match &place.snapshot {
        Some(snapshot) => session.begin(Some(snapshot)),
        None => Ok(()),
    }
}

impl Reader {
    /// A session that reads at `place`; `is_here`: that server is this one.
    pub fn new(session: Session, place: Place, is_here: bool) -> Reader {
        Reader {
            session,
            place,
            is_here,
            by_name: false,
            is_out: false,
            table: String::new(),
            reads: HashMap::new(),
        }
    }

    /// A unit is to be read, `portion`; `name` is what the administrator over there sees. Gives conditions that split it if it is big enough for
    /// several processes; none where it is not, or cannot be read so.
    pub fn begin_unit(&mut self, name: &str, portion: &Portion, size: Size<'_>) -> Result<Vec<String>> {
        let name = Session::application_name_sql(name);
        if std::mem::take(&mut self.is_out) {
            self.session.begin(self.place.snapshot.as_deref())?;
        }
        if self.place.snapshot.is_none() {
            self.session.begin(None)?;
            self.begin_here(&name, portion)?;
            return Ok(Vec::new());
        }
        let shares = size.shares;
        let begin = format!("{ENTER_UNIT}; {name}");
        let is_alone = shares.processes < 2;
        if !is_alone && size.cut.is_none() && pieces::has_blocks(self.session.server()) {
            // No question of its own: it would be one more for each small partition.
            let sql = pieces::blocks_sql(&portion.relation);
            let answer = self.session.query(&format!("{begin}; {sql}"))?;
            return pieces::by_blocks(&answer, shares);
        }
        self.begin_here(&begin, portion)?;
        // What is said to be small is not asked about.
        let worth_asking = SMALLEST_UNIT.max(shares.each) / 2;
        if is_alone || size.bytes.is_some_and(|bytes| bytes < worth_asking) {
            return Ok(Vec::new());
        }
        match size.cut {
            Some(cut) => pieces::cut(&mut self.session, cut, shares),
            None => pieces::pieces(&mut self.session, &portion.relation, shares),
        }
    }

    /// Runs the statements that begin a unit. Of a server with segments the same message asks whether its relation is one table: by its name
    /// the segments write its rows as COPY sends them, where those of a query are all written by the coordinator.
    fn begin_here(&mut self, begin: &str, portion: &Portion) -> Result<()> {
        if self.session.server().catalog == Catalog::OpenGauss {
            self.session.batch(begin)?;
            return self.learn_types(portion);
        }
        let server = self.session.server();
        self.by_name = server.is_greenplum() && portion.may_be_a_table();
        if !self.by_name {
            return self.session.batch(begin);
        }
        let sql = Session::question(&is_one_table_sql(&portion.relation, server.is_classic()));
        self.by_name = answer(&self.session.query(&format!("{begin}; {sql}"))?)?;
        Ok(())
    }

    /// Looks once how the columns of the portion's table are read.
    fn learn_types(&mut self, portion: &Portion) -> Result<()> {
        let table = gauss::table_of(&portion.relation);
        if self.table != table {
            self.reads = catalog::table::reads(&mut self.session, &table)?;
            self.table = table;
        }
        Ok(())
    }

    /// `columns` as expressions.
    pub fn expressions(&self, columns: &[String]) -> Vec<String> {
        let one = |column: &String| self.reads.get(column).cloned().unwrap_or_else(|| quote_ident(column));
        columns.iter().map(one).collect()
    }

    /// Sends the COPY of the unit that was begun, all of `portion`.
    pub fn copy_all(
        &mut self,
        portion: &Portion,
        columns: &[String],
        binary: bool,
        gauge: Gauge,
    ) -> Result<CopyOut<'_>> {
        let sql = self.copy_all_sql(portion, columns, binary);
        self.copy(&sql, gauge)
    }

    /// That statement.
    pub fn copy_all_sql(&self, portion: &Portion, columns: &[String], binary: bool) -> String {
        match self.by_name && portion.may_be_a_table() {
            true => copy_table_out(columns, &portion.relation, binary),
            false => portion.copy_sql(&self.expressions(columns), binary, None),
        }
    }

    /// Sends a COPY.
    pub fn copy(&mut self, copy_sql: &str, gauge: Gauge) -> Result<CopyOut<'_>> {
        self.session.copy_out(copy_sql, gauge)
    }

    /// `portion` was read, its `columns` by name. An error unless it is what was planned. From here on the session holds no lock of it, so
    /// that it can be dropped over there while the run goes on.
    pub fn end_unit(&mut self, portion: &Portion, columns: &[String]) -> Result<()> {
        check_unchanged(&mut self.session, portion, columns)?;
        self.is_out = self.place.snapshot.is_some() && self.session.server().keeps_locks();
        self.session.batch(match self.place.snapshot {
            Some(_) if !self.is_out => LEAVE_UNIT,
            _ => "COMMIT",
        })
    }
}
