//! Sessions on the source, for a run's processes.

use super::WARNING;
use super::request::Request;
use super::state::Store;
use crate::error::Result;
use crate::pg::xact;
use crate::source::Place;
use crate::targets::Target;
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
