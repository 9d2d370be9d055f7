//! Sessions on the source, and on a target that is another server's, for a run's processes and for calls that need none.

use super::WARNING;
use super::request::Request;
use super::state::Store;
use crate::catalog::Database;
use crate::catalog::server::{Known, Product};
use crate::error::Result;
use crate::pg::{report, xact};
use crate::source::Place;
use crate::targets::{Remote, Target};
use crate::wire::Session;
use std::time::Duration;

/// Opens a session of run `id`, at the address of `place` if the run has found one, on the server that is `known`, if it still is, and with less than the
/// server's time for connecting if `limit` is less. It waits for locks as long as the run's workers do here. Outside of a transaction.
pub fn open_for_run(
    request: &Request,
    id: i64,
    target: &Target,
    limit: Duration,
    place: Option<&Place>,
    known: Option<&Known>,
) -> Result<Session> {
    let (mut endpoint, timezone) = xact::transaction(|| Ok((request.endpoint()?, target.timezone()?)))?;
    endpoint.connect_timeout = endpoint.connect_timeout.min(limit);
    endpoint.reached = place.and_then(|place| place.peer);
    endpoint.known = known.cloned();
    let session = Session::open(&endpoint, &format!("cgpsync run {id}"), &target.encoding(), &timezone)?;
    let (session, ()) = session.and_then(|session| {
        session.limit_lock_waits(request.lock_timeout_ms);
        match session.warning() {
            // A WARNING raised here would reach nobody but the server's log.
            Some(warning) => xact::transaction(|| Store::open()?.add_message_once(id, &format!("{WARNING}{warning}"))),
            None => Ok(()),
        }
    })?;
    Ok(session)
}

/// The first session of run `id`, which is to plan it. Outside of a transaction.
pub fn open_to_plan(request: &Request, id: i64, target: &Target) -> Result<Session> {
    let session = open_for_run(request, id, target, Duration::MAX, None, None)?;
    let (session, ()) = session.and_then(|session| {
        let open = |known: Option<Known>| open_for_run(request, id, target, Duration::MAX, None, known.as_ref());
        refuse_shared_out(target, session, open)
    })?;
    Ok(session)
}

/// Refuses a source that shares out its connections by transactions where the target is another server's, which is refused for the same: a
/// run between two servers has one rule for both. `source` is in no transaction; `open` opens another session like it.
pub fn refuse_shared_out(
    target: &Target,
    source: &mut Session,
    open: impl FnOnce(Option<Known>) -> Result<Session>,
) -> Result<()> {
    // openGauss itself may give the sessions that are in no transaction to threads of a pool.
    if target.elsewhere().is_none() || source.server().product == Product::OpenGauss {
        return Ok(());
    }
    // Who hands out the connection that was used last gives both sessions one process. Who hands out the one that has been idle for longest,
    // of several, gives the first session two.
    let seen = [source.process()?, source.process()?];
    let peer = source.peer();
    let known = source.known()?;
    let (second, is_shared) = open(known)?.and_then(|second| {
        let is_same = seen.contains(&second.process()?) && second.peer() == peer;
        Ok(is_same || seen[0] != seen[1])
    })?;
    second.end();
    match is_shared {
        true => Err(source.is_no_session()),
        false => Ok(()),
    }
}

/// The session that keeps the snapshot of `place` from here on, where the one that has exported it names tables and would keep their locks; its
/// snapshot becomes that of `place`. Where sessions tell what snapshot they have, and this one has another, `place` loses it: each partition is then read in
/// one of its own. `open` opens a session like the first.
pub fn successor(
    planner: &Session,
    place: &mut Place,
    open: impl FnOnce(&Place) -> Result<Session>,
) -> Result<Option<Session>> {
    let is_wanted = planner.server().keeps_locks() && planner.server().tells_snapshots();
    let Some(snapshot) = place.snapshot.clone().filter(|_| is_wanted) else {
        return Ok(None);
    };
    let (session, exported) = open(place)?.and_then(|session| session.succeed(&snapshot))?;
    place.snapshot = exported;
    if place.snapshot.is_some() {
        return Ok(Some(session));
    }
    session.end();
    Ok(None)
}

/// Connects a target on another server, unless it is, for run `id`. Outside of a transaction.
pub fn connect_target(id: i64, remote: &Remote) -> Result<()> {
    if remote.is_connected() {
        return Ok(());
    }
    let endpoint = xact::transaction(|| xact::look(|| remote.endpoint()))?;
    match remote.connect(&endpoint, &format!("cgpsync run {id}"))? {
        None => Ok(()),
        Some(warning) => xact::transaction(|| Store::open()?.add_message_once(id, &format!("{WARNING}{warning}"))),
    }
}

/// Runs `f` with the target in the calling backend, connected where it is another server's. `name` becomes application_name there.
pub fn with_target<T>(
    request: &Request,
    timezone: &str,
    name: &str,
    f: impl FnOnce(&Target) -> Result<T>,
) -> Result<T> {
    let target = Target::of(request.table, request.access(), timezone)?;
    if let Some(remote) = target.elsewhere()
        && let Some(warning) = remote.connect(&remote.endpoint()?, name)?
    {
        report::warning(&warning);
    }
    let result = report::catch(|| f(&target));
    target.leave(result.is_ok());
    result
}
