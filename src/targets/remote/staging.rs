//! A new table over there takes the place of a unit: made, finished, and shown when its parent could be locked for a moment.

use super::portrait::{self, gone};
use super::{Remote, run_lock};
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{background, wait};
use crate::plan::exchange::Described;
use crate::plan::exchange::stage::Stage;
use crate::plan::holders::name_holders;
use crate::plan::replace::lock_attempt;
use crate::source;
use crate::targets::loading::Limits;
use crate::wire::Session;
use std::time::{Duration, Instant};

/// Longest attempt to lock a parent: whoever reads any of its partitions waits behind it.
const LONGEST_ATTEMPT: Duration = Duration::from_millis(100);
/// Between two looks whether it is a unit's turn.
const SHORTEST_TURN: Duration = Duration::from_millis(5);
const LONGEST_TURN: Duration = Duration::from_millis(20);
/// How often a table is looked for that is there but for a moment.
const LOOKS_FOR_A_NAME: usize = 100;
/// How long the parent stays locked when this end is not heard of any more.
const ABANDONED: &str = "5s";

/// Makes the table and gives its OID. Why that cannot be, if so: nothing is left of it then.
pub fn make(session: &mut Session, stage: &Stage<'_>) -> Result<std::result::Result<u32, String>> {
    let server = session.server();
    // A default partition is loaded from the rows that no other one takes.
    let default = match stage.is_classic_default() && server.has_setting("gp_enable_exchange_default_partition") {
        true => "SET LOCAL gp_enable_exchange_default_partition = on; ",
        false => "",
    };
    session.batch(&format!("{default}SAVEPOINT stage"))?;
    let made = session
        .batch(&stage.create().join("; "))
        .and_then(|()| seen(session, stage))
        .and_then(|made| match stage.grant(&made.shape) {
            none if none.is_empty() => Ok(made),
            grants => {
                session.batch(&grants.join("; "))?;
                seen(session, stage)
            }
        });
    let made = match made {
        Ok(made) => stage.difference(&made.shape).map_or(Ok(made.place.oid), Err),
        Err(error) if error.is_remote() && is_about_definitions(&error) => {
            Err(format!("a table like it cannot be made ({})", error.message))
        }
        Err(error) => return Err(error),
    };
    // The table counts as made in the transaction itself from here on, or COPY would not freeze its rows.
    session.batch(match &made {
        Ok(_) => "RELEASE SAVEPOINT stage",
        Err(_) => "ROLLBACK TO SAVEPOINT stage; RELEASE SAVEPOINT stage",
    })?;
    Ok(made)
}

/// The table that was made.
fn seen(session: &mut Session, stage: &Stage<'_>) -> Result<Described> {
    let table = stage.table();
    portrait::describe(session, &table)?.ok_or_else(|| Error::internal(format!("{table} is not there")))
}

/// True for errors that the same statement gives whenever it is tried: access rules, syntax, and what is not supported.
fn is_about_definitions(error: &Error) -> bool {
    error.sqlstate.starts_with("42") || error.sqlstate.starts_with("0A")
}

/// What the server would have to look through with the parent locked: the default partition beside the unit, unless it is empty.
pub fn rows_in_the_way(session: &mut Session, unit: &Described) -> Result<Option<String>> {
    let Some(default) = &unit.place.default else {
        return Ok(None);
    };
    let question = Session::question(&format!("SELECT EXISTS (SELECT 1 FROM {default})"));
    let mut rows = session.query(&question);
    for _ in 0..LOOKS_FOR_A_NAME {
        // Greenplum looks for the name before it waits for who is just exchanging what is called so.
        match &rows {
            Err(error) if error.is_remote() && error.sqlstate == sqlstate::UNDEFINED_TABLE => {
                session.undo()?;
                wait::wait(None, LONGEST_TURN);
                rows = session.query(&question);
            }
            _ => break,
        }
    }
    let holds_rows = rows?.first().is_some_and(|row| row.is(0));
    Ok(holds_rows.then(|| {
        format!("default partition {default} beside it holds rows, which would be looked through with all locked")
    }))
}

/// Builds the indexes of the table, from all of its rows.
pub fn build_indexes(session: &mut Session, stage: &Stage<'_>) -> Result<()> {
    match stage.build_indexes() {
        none if none.is_empty() => Ok(()),
        statements => session.batch(&statements.join("; ")),
    }
}

/// Waits for its turn: units of one parent would make each other's short attempts to lock it fail. Then rows are checked where that was put off, since it locks the
/// parent.
pub fn queue(remote: &Remote, session: &mut Session, stage: &Stage<'_>, limits: Limits) -> Result<()> {
    let Some(parent) = stage.parent() else { return Ok(()) };
    if session.server().is_greenplum() {
        wait_for_turn(remote, session)?;
        return stage.check_late().map_or(Ok(()), |check| session.batch(&check));
    }
    let turn = format!(
        "SET LOCAL lock_timeout = {}; {}",
        limits.total.as_millis(),
        run_lock::one_at_a_time(parent)
    );
    session.batch(&turn).map_err(|error| match error.sqlstate.as_str() {
        sqlstate::LOCK_NOT_AVAILABLE if error.is_remote() => {
            in_vain("it waited for other partitions of the run to be shown").detail(error.message)
        }
        _ => error,
    })?;
    match stage.check_late() {
        None => Ok(()),
        Some(check) => session.batch(&check),
    }
}

/// The same on Greenplum, where a unit of the run that is truncated has its turn for as long as it is loaded. Nobody but the run is waited for, so there is
/// no end to it but the run's.
pub fn wait_for_turn(remote: &Remote, session: &mut Session) -> Result<()> {
    let root = remote.root_there()?;
    // A statement that waited would keep a place in a queue from those that it waits for.
    let turn = run_lock::try_one_at_a_time(root);
    let mut pause = SHORTEST_TURN;
    loop {
        let rows = session.query(&turn)?;
        if rows.first().is_some_and(|row| row.is(0)) {
            return Ok(());
        }
        if background::termination_requested() {
            return Err(Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated"));
        }
        wait::wait(None, pause);
        pause = (pause * 2).min(LONGEST_TURN);
    }
}

/// Puts the table into the place of the unit, which must be as it was `seen`, and commits. Attempts to lock are short, and tried again.
pub fn show(
    remote: &Remote,
    session: &mut Session,
    stage: &Stage<'_>,
    (seen, stamp): (&Described, Option<&str>),
    unit: &str,
    limits: Limits,
) -> Result<()> {
    let mut is_as_seen = |session: &mut Session| {
        if stamp.is_some() && portrait::stamp(session, seen.place.oid)?.as_deref() == stamp {
            return Ok(());
        }
        let now = portrait::describe(session, unit)?.ok_or_else(|| gone(unit, remote.server()))?;
        if now == *seen {
            return Ok(());
        }
        Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{unit} was altered while it was to be replaced"),
        )
        .detail(format!("It has {} now.", now.differing_from(seen)))
        .hint("Run the same call again."))
    };
    let locked = locked_and(
        session,
        &stage.lock(),
        stage.locks(),
        limits,
        LONGEST_ATTEMPT,
        &mut is_as_seen,
    );
    locked.map_err(|error| named(given_up(error), session, unit))?;
    // In one message: nobody waits for the way there and back in between.
    session.batch(&format!("{}; COMMIT", stage.take_place().join("; ")))
}

/// Locks `tables` with `lock`, in attempts that are short for whoever queues behind them. What comes after waits for other locks as long as any does.
pub fn until_locked(session: &mut Session, lock: &str, tables: u32, limits: Limits) -> Result<()> {
    locked_and(session, lock, tables, limits, limits.attempt, &mut |_| Ok(()))
}

/// The same with a look at what is locked, which belongs to the attempt: a question may have to wait in a queue of its server's. `afterwards`: how long
/// statements may wait once all is locked; zero: for ever.
fn locked_and(
    session: &mut Session,
    lock: &str,
    tables: u32,
    limits: Limits,
    afterwards: Duration,
    look: &mut dyn FnMut(&mut Session) -> Result<()>,
) -> Result<()> {
    let longest = match limits.attempt.is_zero() {
        true => LONGEST_ATTEMPT,
        false => limits.attempt.min(LONGEST_ATTEMPT),
    };
    let begin = Instant::now();
    for attempt in 0.. {
        if background::termination_requested() {
            return Err(Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated"));
        }
        let (patience, pause) = lock_attempt(attempt, longest);
        // Each of the tables may have to be waited for.
        if try_lock(session, lock, patience / tables.max(1), afterwards, look)? {
            break;
        }
        if !limits.total.is_zero() && begin.elapsed() + pause > limits.total {
            return Err(Error {
                message: "others kept the partition or its parent locked".to_owned(),
                ..in_vain("")
            }
            .detail(format!(
                "{} attempts to lock them in {:.1} s.",
                attempt + 1,
                begin.elapsed().as_secs_f64()
            )));
        }
        let end = Instant::now() + pause;
        while Instant::now() < end {
            wait::wait(None, end.saturating_duration_since(Instant::now()));
        }
        session.check_alive()?;
    }
    Ok(())
}

/// The error of a lock that was not to be had once all was loaded.
fn given_up(error: Error) -> Error {
    if error.sqlstate != sqlstate::LOCK_NOT_AVAILABLE || error.is_remote() {
        return error;
    }
    let detail = error.detail.as_ref().map(|detail| detail.trim_end_matches('.'));
    Error {
        detail: detail.map(|detail| format!("{detail}; what was loaded is given up.")),
        ..in_vain(&error.message)
    }
}

/// Not worth another attempt: it would load everything again to meet the same readers.
fn in_vain(why: &str) -> Error {
    Error::new(
        sqlstate::LOCK_NOT_AVAILABLE,
        format!("the loaded rows could not be shown: {why}"),
    )
    .hint("Raise cgpsync.swap_timeout, or sync when no long transaction reads the table.")
    .final_one()
}

fn try_lock(
    session: &mut Session,
    lock: &str,
    patience: Duration,
    afterwards: Duration,
    look: &mut dyn FnMut(&mut Session) -> Result<()>,
) -> Result<bool> {
    let milliseconds = patience.as_millis().max(1);
    // Greenplum 6 has no such limit: there keepalives find out.
    let abandoned = match session.server().has_setting("idle_in_transaction_session_timeout") {
        true => format!("SET LOCAL idle_in_transaction_session_timeout = '{ABANDONED}'; "),
        false => String::new(),
    };
    let locked = session.batch(&format!(
        "SAVEPOINT show; SET LOCAL lock_timeout = {milliseconds}; {abandoned}{lock}; SET LOCAL lock_timeout = {}",
        afterwards.as_millis()
    ));
    match locked.and_then(|()| look(session)) {
        Ok(()) => Ok(true),
        Err(error)
            if error.is_remote()
                && [sqlstate::LOCK_NOT_AVAILABLE, sqlstate::DEADLOCK_DETECTED].contains(&error.sqlstate.as_str()) =>
        {
            session.batch("ROLLBACK TO SAVEPOINT show; RELEASE SAVEPOINT show")?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// With those who have it locked, where they can be told.
pub fn named(error: Error, session: &mut Session, unit: &str) -> Error {
    if error.sqlstate != sqlstate::LOCK_NOT_AVAILABLE || error.is_remote() {
        return error;
    }
    match source::lock_holders(session, unit) {
        Some(holders) => {
            let where_it_is = format!("it or its parent on server \"{}\"", session.name());
            name_holders(error, &where_it_is, &holders)
        }
        None => error,
    }
}
