//! What servers say when a transaction, its snapshot or the server itself is not to be had, in our words.

use super::pins;
use crate::error::{Error, sqlstate};
use std::time::Duration;

/// PgBouncer refuses transactions where each statement may get another connection. It has one SQLSTATE for all that it says.
pub fn no_transaction(error: Error) -> Error {
    match error.is_remote() && error.message.contains("statement pooling mode") {
        true => pins::no_transactions(error),
        false => error,
    }
}

/// Whether two identities (`Server::identity_sql`) differ in nothing but that the server was started again since.
pub fn listens_alike(before: &str, now: &str) -> bool {
    match (before.split_once(", started "), now.split_once(", started ")) {
        // Times in one form and zone sort as their texts do.
        (Some((place, started)), Some((other, again))) => place == other && started <= again,
        _ => false,
    }
}

/// The address of the server leads to several.
pub fn other_server(name: &str, expected: &str, identity: &str) -> Error {
    not_one_server(format!(
        "server \"{name}\" was reached at {expected}, and then another one at {identity}"
    ))
}

/// The error for that, with what helps.
pub fn not_one_server(message: String) -> Error {
    Error::new(sqlstate::OTHER_SERVER, message)
        .hint("Name one of them in the options host and port; what shares out connections must send all sessions to one server.")
}

/// The error for what gives no session a process of its own, with what helps.
pub fn shared_out(message: String) -> Error {
    Error::unsupported(message)
        .detail("A pooler shares out its connections by transactions.")
        .hint("Connect to the server itself, or to a pooler that gives each client a connection (pool_mode = session).")
}

/// What a server says of a snapshot whose exporter is gone (snapmgr.c, ImportSnapshot) is what a lost connection leads to. Its texts may be in
/// any language.
pub fn snapshot_gone(error: Error) -> Error {
    let codes = [
        sqlstate::INVALID_PARAMETER_VALUE,
        sqlstate::UNDEFINED_OBJECT,
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
    ];
    if !error.is_remote() || !codes.contains(&error.sqlstate.as_str()) {
        return error;
    }
    Error::new(
        sqlstate::CONNECTION_FAILURE,
        format!("the session that held the run's snapshot is gone: {}", error.message),
    )
}

/// The error of a statement that its server has let wait for as long as a lock is waited for, though it asks for none.
pub fn queued(server: &str, limit: Duration) -> Error {
    Error::new(
        sqlstate::LOCK_NOT_AVAILABLE,
        format!("server \"{server}\" has let a statement wait for {:.1} s", limit.as_secs_f64()),
    )
    .detail("It asks for no lock: so waits what has no place in a resource queue or resource group, whose statements are all taken.")
    .hint("Look at gp_toolkit.gp_resqueue_status or gp_toolkit.gp_resgroup_status there and make room, or raise cgpsync.lock_timeout: sync with parallelism n takes up to n + 1 places.")
}

#[cfg(test)]
mod tests {
    use super::listens_alike;

    #[test]
    fn a_restart_is_told_from_another_server() {
        let before = "10.0.0.1, port 5432, started 2026-01-01 00:00:00+00";
        assert!(listens_alike(
            before,
            "10.0.0.1, port 5432, started 2026-01-02 00:00:00+00"
        ));
        assert!(!listens_alike(
            before,
            "10.0.0.2, port 5432, started 2026-01-01 00:00:00+00"
        ));
        assert!(!listens_alike(
            before,
            "10.0.0.1, port 5432, started 2025-12-31 00:00:00+00"
        ));
        assert!(!listens_alike("", ""));
    }
}
