//! How to ask each family of servers what the source table looks like. One file per catalog family; `server` tells which one it is.

pub mod clock;
mod declarative;
mod definition;
mod greenplum;
mod opengauss;
pub mod pieces;
pub mod pins;
pub mod server;
mod storage;
mod table;
pub mod unchanged;

use super::{Session, TextRow};
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_literal;
use crate::plan::create_table::Definition;
use crate::plan::tree::Node;
use crate::plan::units::{SourceRel, SourceTable};
use server::Catalog;

/// Reads the source table `name` of the first of `schemas` that has one. The session's settings are pinned.
pub fn read_table(session: &mut Session, schemas: &[String], name: &str) -> Result<SourceTable> {
    let found = table::find(session, schemas, name)?;
    read_found(session, &found)
}

/// The same, with all that a table like it is made of.
pub fn describe(session: &mut Session, schemas: &[String], name: &str) -> Result<(SourceTable, Definition)> {
    let found = table::find(session, schemas, name)?;
    let source = read_found(session, &found)?;
    let definition = definition::read(session, &found, &source.root)?;
    Ok((source, definition))
}

fn read_found(session: &mut Session, found: &table::Found) -> Result<SourceTable> {
    let tree = match session.described().catalog {
        Catalog::Declarative => declarative::tree(session, found)?,
        Catalog::Greenplum => greenplum::tree(session, found)?,
        Catalog::OpenGauss => opengauss::tree(session, found)?,
        Catalog::None => None,
    };
    let columns = table::columns(session, &found.oid)?;
    Ok(SourceTable {
        root: tree.unwrap_or_else(|| Node {
            table: SourceRel {
                oid: found.oid.parse().unwrap_or(0),
                relation: found.relation(),
                name: found.name.clone(),
                readable: true,
                bytes: found.bytes,
            },
            bound: None,
            level: None,
        }),
        columns,
    })
}

fn answer(rows: &[TextRow]) -> Result<bool> {
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    Ok(table::text(row, 0)? == "t")
}

/// True when `table` has rows that satisfy the condition; one that may not be read by its own name is taken to. Inside a transaction.
///
/// No lock on it outlives the question: whoever changes the table would wait for the session that holds the run's snapshot, the workers
/// for that change, and the session for the workers. Nobody's deadlock detection sees that circle.
pub fn holds_rows(session: &mut Session, table: &SourceRel, condition: Option<&str>) -> Result<bool> {
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
        let rows = session.query(&format!(
            "SAVEPOINT question; {} ORDER BY n; ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question",
            sql.join(" UNION ALL ")
        ))?;
        if rows.len() != batch.len() {
            return Err(Error::protocol("the source has not answered every question"));
        }
        for row in &rows {
            answers.push(table::text(row, 1)? == "t");
        }
    }
    Ok(answers)
}

/// Most values of a key that are told apart one by one.
const MOST_VALUES: usize = 100_000;

/// All values of `expression`, a text, in `relation`; None when there are too many. Inside a transaction.
pub fn distinct_values(session: &mut Session, relation: &str, expression: &str) -> Result<Option<Vec<String>>> {
    let rows = session.query(&format!(
        "SAVEPOINT question;
         SELECT DISTINCT {expression} FROM {relation} LIMIT {};
         ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question",
        MOST_VALUES + 1
    ))?;
    if rows.len() > MOST_VALUES {
        return Ok(None);
    }
    Ok(Some(
        rows.into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect(),
    ))
}

/// System identifier of the server, if it tells one, and the database.
pub fn origin(session: &mut Session) -> Result<(Option<String>, String)> {
    let system = match session.described().has_function("pg_control_system") {
        true => "(SELECT CAST(system_identifier AS text) FROM pg_control_system())",
        false => "CAST(NULL AS text)",
    };
    let rows = session.query(&format!("SELECT current_database(), {system}"))?;
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    Ok((row.get(1).cloned().flatten(), table::text(row, 0)?))
}

/// Begins a transaction there, with settings of its own ([`pins`]): what it reads does not change while it is open. With `snapshot` it
/// sees what the exporting one sees.
pub fn begin(session: &mut Session, snapshot: Option<&str>) -> Result<()> {
    // Before 9.1 SERIALIZABLE is what REPEATABLE READ is since; Greenplum 5 refuses the newer name (variable.c).
    let level = if session.version() < 90_100 {
        "SERIALIZABLE"
    } else {
        "REPEATABLE READ"
    };
    let begin = format!("BEGIN ISOLATION LEVEL {level} READ ONLY");
    session.query_promptly(&begin).map_err(no_transaction)?;
    if let Some(snapshot) = snapshot {
        session
            .batch(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot)))
            .map_err(snapshot_gone)?;
    }
    session.query_promptly(&session.pins.sql())?;
    // In a message of its own, which something that shares out statements would send elsewhere.
    let rows = session.query(&session.pins.question())?;
    let answer = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    session.backend = Some(session.pins.check(answer, session.server())?);
    Ok(())
}

/// PgBouncer refuses transactions where each statement may get another connection. It has one SQLSTATE for all that it says.
fn no_transaction(error: Error) -> Error {
    match error.remote && error.message.contains("statement pooling mode") {
        true => pins::no_transactions(error),
        false => error,
    }
}

/// What a server says of a snapshot whose exporter is gone (snapmgr.c, ImportSnapshot) is what a lost connection leads to. Its texts may be in
/// any language.
fn snapshot_gone(error: Error) -> Error {
    let codes = [
        sqlstate::INVALID_PARAMETER_VALUE,
        sqlstate::UNDEFINED_OBJECT,
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
    ];
    if !error.remote || !codes.contains(&error.sqlstate.as_str()) {
        return error;
    }
    Error::new(
        sqlstate::CONNECTION_FAILURE,
        format!("the session that held the run's snapshot is gone: {}", error.message),
    )
}

/// Begins the run's transaction and exports its snapshot for the run's other sessions. None where the server has no snapshot that can be
/// shared: each unit is then read in one of its own.
pub fn begin_shared(session: &mut Session) -> Result<Option<String>> {
    begin(session, None)?;
    if !session.described().shares_snapshots() {
        return Ok(None);
    }
    match session.query("SELECT pg_export_snapshot()") {
        Ok(rows) => {
            let row = rows.first().ok_or_else(|| Error::protocol("no snapshot"))?;
            table::text(row, 0).map(Some)
        }
        // A server that has the function and refuses it, such as a standby of 9.x.
        Err(error) if error.remote => {
            session.batch("ROLLBACK")?;
            begin(session, None)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
