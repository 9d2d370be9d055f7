//! Sessions on the source, and on a target that is another server's, for a run's processes and for calls that need none.

use super::WARNING;
use super::request::Request;
use super::state::Store;
use crate::error::Result;
use crate::pg::{report, xact};
use crate::source::Place;
use crate::targets::{Remote, Target};
use crate::wire::Session;
use std::time::Duration;

/// Opens a session of run `id`, at the address of `place` if the run has found one, and with less than the server's time for connecting if `limit`
/// is less. It waits for locks as long as the run's workers do here. Outside of a transaction.
pub fn open_for_run(
    request: &Request,
    id: i64,
    target: &Target,
    limit: Duration,
    place: Option<&Place>,
) -> Result<Session> {
    let (mut endpoint, timezone) = xact::transaction(|| Ok((request.endpoint()?, target.timezone()?)))?;
    endpoint.connect_timeout = endpoint.connect_timeout.min(limit);
    endpoint.reached = place.and_then(|place| place.peer);
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
