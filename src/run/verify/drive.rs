//! Has it all computed, each part where its rows are.

use super::work::Work;
use super::{Figures, Said};
use crate::catalog::Database;
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::wait;
use crate::plan::holders::name_holders;
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::source::{ENTER_UNIT, LEAVE_UNIT, check_unchanged, lock_holders};
use crate::targets::Target;
use crate::wire::Session;
use std::time::Duration;

/// Longest sleep between two looks at the sessions; sockets and latch end it earlier.
const TICK: Duration = Duration::from_secs(1);

/// Locks what is read here, and checks that it may be; what fails is one unit's error.
pub fn lock_all(target: &Target, work: &[Work]) -> Result<Vec<Result<()>>> {
    work.iter().map(|work| target.lock_to_compare(&work.tables)).collect()
}

/// What each side says, in the order of `work`.
type Both = (Vec<Said>, Vec<Said>);

/// Has all of `work` computed where its rows are. `columns` are what is read on the source by name.
pub fn drive(
    target: &Target,
    work: &[Work],
    locked: Vec<Result<()>>,
    columns: &[String],
    sessions: &mut [Session],
    snapshot: Option<&str>,
) -> Result<Both> {
    let mut here: Vec<Said> = Vec::with_capacity(work.len());
    let mut there: Vec<Said> = work.iter().map(|_| None).collect();
    let mut locked = locked.into_iter();
    let mut next = (0..work.len()).filter(|&index| work[index].there.is_some());
    let mut at: Vec<Option<usize>> = vec![None; sessions.len()];
    for session in sessions.iter_mut().filter(|session| keeps_locks(session, snapshot)) {
        session.batch("COMMIT")?;
    }
    loop {
        for (session, at) in sessions.iter_mut().zip(&mut at) {
            // Until it has to be waited for, or nothing is left to begin.
            loop {
                let Some(index) = *at else {
                    let Some(index) = next.next() else { break };
                    begin(session, &work[index], snapshot)?;
                    *at = Some(index);
                    continue;
                };
                let Some(said) = ask(session, &work[index], columns)? else {
                    break;
                };
                if keeps_locks(session, snapshot) {
                    session.batch("COMMIT")?;
                }
                there[index] = Some(said);
                *at = None;
            }
        }
        if let Some(work) = work.get(here.len()) {
            here.push(match (work.here.is_empty(), locked.next()) {
                (false, Some(Err(error))) => Some(Err(error)),
                (false, _) => Some(count_here(target, work)?),
                (true, _) => None,
            });
            continue;
        }
        let busy = sessions.iter().zip(&at).filter(|(_, at)| at.is_some());
        let sockets: Vec<_> = busy.map(|(session, _)| session.socket()).collect();
        if sockets.is_empty() {
            return Ok((here, there));
        }
        wait::wait_any(&sockets, TICK);
    }
}

/// What this side says of a unit, of all its tables together.
fn count_here(target: &Target, work: &Work) -> Result<Result<Figures>> {
    let statements: Vec<(&Unit, &str)> = work.tables.iter().zip(work.here.iter().map(String::as_str)).collect();
    let sum = |rows: Vec<Row>| {
        let mut all: Option<Figures> = None;
        for row in &rows {
            let figures = figures(Some(row))?;
            all = Some(match all {
                Some(all) => all.and(&figures)?,
                None => figures,
            });
        }
        all.ok_or_else(|| Error::internal("nothing was counted"))
    };
    Ok(target.figures(&statements)?.and_then(sum))
}

/// The session is in a transaction while a unit is computed only: each has one of its own in the snapshot.
fn keeps_locks(session: &Session, snapshot: Option<&str>) -> bool {
    snapshot.is_some() && session.server().keeps_locks()
}

/// Sends the source's statement, with the unit's name for who looks into pg_stat_activity there.
fn begin(session: &mut Session, work: &Work, snapshot: Option<&str>) -> Result<()> {
    if keeps_locks(session, snapshot) {
        session.begin(snapshot)?;
    }
    let name = Session::application_name_sql(&format!("cgpsync verify: {}", work.name));
    let statement = work.there.as_deref().unwrap_or_default();
    session.start_in_transaction(&format!("{name}; {ENTER_UNIT}; {statement}"));
    Ok(())
}

/// What the source says of the unit that was begun, once it does. An error is the unit's if the session lives on.
fn ask(session: &mut Session, work: &Work, columns: &[String]) -> Result<Option<Result<Figures>>> {
    let lost = |error: Error| error.within(&format!("partition {}", work.name));
    let said = match session.poll() {
        Ok(None) => return Ok(None),
        Ok(Some(rows)) => {
            let figures = figures(rows.first()).map_err(lost)?;
            session.untie(rows).map_err(lost)?;
            still_there(session, work, columns).map(|()| figures)
        }
        Err(error) => Err(error),
    };
    let is_units = |error: &Error| error.side == Side::Source || error.sqlstate == sqlstate::SERIALIZATION_FAILURE;
    match said {
        Err(error) if !is_units(&error) => return Err(lost(error)),
        _ => {}
    }
    // Its locks go, and whatever failed; the snapshot stays.
    match (session.batch(LEAVE_UNIT), said) {
        (Ok(()), said) => Ok(Some(said.map_err(|error| with_holders(session, work, error)))),
        (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(lost(error)),
    }
}

/// Who has it locked, where that is what kept it from being read.
fn with_holders(session: &mut Session, work: &Work, error: Error) -> Error {
    let relation = work.portion.as_ref().map(|portion| &portion.relation);
    let Some(relation) = relation.filter(|_| error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE) else {
        return error;
    };
    match lock_holders(session, relation) {
        Some(holders) => name_holders(error, "it over there", &holders),
        None => error,
    }
}

/// While the unit's locks are held: what was read is what the snapshot has.
fn still_there(session: &mut Session, work: &Work, columns: &[String]) -> Result<()> {
    match &work.portion {
        Some(portion) => check_unchanged(session, portion, columns),
        None => Ok(()),
    }
}

fn figures(row: Option<&Row>) -> Result<Figures> {
    let rows = row.and_then(|row| row.text(0)).and_then(|count| count.parse().ok());
    Ok(Figures {
        rows: rows.ok_or_else(|| Error::protocol("a count of rows is missing"))?,
        checksum: row.and_then(|row| row.owned(1)),
    })
}
