//! What a connection's failures are called.

use super::alert::{Failure, hint};
use super::frames::TOO_BIG;
use crate::error::{Error, Side, is_error_code, sqlstate, tame};
use tokio_postgres::error::{DbError, Severity};

/// The error of a server or connection, led by what was being done. SQLSTATE is the remote's, if it is one; DETAIL keeps it in any case.
pub fn remote_error(error: &tokio_postgres::Error, side: Side, what: &str) -> Error {
    if let Some(db) = error.as_db_error() {
        let code = db.code().code();
        let mut detail = format!("Remote SQLSTATE {}.", tame(code));
        for more in [db.detail(), db.where_()].into_iter().flatten() {
            detail.push(' ');
            detail.push_str(&tame(more));
        }
        let code = if is_error_code(code) {
            code
        } else {
            sqlstate::PROTOCOL_VIOLATION
        };
        return Error {
            sqlstate: code.to_owned(),
            message: format!("{what}: {}", tame(db.message())),
            detail: Some(detail),
            hint: db.hint().map(tame),
            side,
            is_final: is_no_end(db) && ends_a_session(code),
        };
    }
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|c| c.downcast_ref::<std::io::Error>());
    // What the crate calls an error while it was "parsing", and an "unexpected message", was no accident of the network.
    let is_wrong = matches!(error.to_string().split(' ').nth(1), Some("parsing" | "message"));
    if let Some(io) = io.filter(|_| !is_wrong) {
        return io_error(io, side, what);
    }
    let code = match error.is_closed() {
        true => sqlstate::CONNECTION_FAILURE,
        false if is_wrong => sqlstate::PROTOCOL_VIOLATION,
        false => sqlstate::CANNOT_CONNECT,
    };
    let text = cause.map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(code, format!("{what}: {}", tame(&text)))
}

/// True for an error that leaves the session as it is. Before 9.6 the server says how severe it is in its own language alone.
fn is_no_end(db: &DbError) -> bool {
    match db.parsed_severity() {
        Some(severity) => severity == Severity::Error,
        None => db.severity() == "ERROR",
    }
}

/// True for what a server says when a session ends or does not come about. Said with less than FATAL, it is about a session of that server's own,
/// with one that it asks in turn, as a foreign table has it do.
fn ends_a_session(code: &str) -> bool {
    code.starts_with("08")
        || matches!(
            code,
            sqlstate::ADMIN_SHUTDOWN
                | sqlstate::CRASH_SHUTDOWN
                | sqlstate::CANNOT_CONNECT_NOW
                | sqlstate::TOO_MANY_CONNECTIONS
                | sqlstate::IDLE_SESSION_TIMEOUT
                | sqlstate::IDLE_IN_TRANSACTION_TIMEOUT
        )
}

pub fn io_error(error: &std::io::Error, side: Side, what: &str) -> Error {
    if let Some(failure) = error.get_ref().and_then(|e| e.downcast_ref::<Failure>()) {
        let error = Error::new(sqlstate::CONNECTION_FAILURE, format!("{what}: {failure}"));
        return match hint(failure.reason()) {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    // With words of its own it is no socket's but says what was wrong with a message.
    let is_told = error.get_ref().is_some();
    if error.kind() == InvalidData || (is_told && matches!(error.kind(), InvalidInput | UnexpectedEof)) {
        let text = error.to_string();
        let error = Error::protocol(format!("{what}: {}", tame(&text)));
        return match text == TOO_BIG {
            true => error.hint(
                "If the table has more than some 150,000 partitions, sync the partitioned tables below it one by one.",
            ),
            false => error,
        };
    }
    let text = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => format!("the {} closed the connection", side.noun()),
        _ => tame(&error.to_string()),
    };
    Error::new(sqlstate::CONNECTION_FAILURE, format!("{what}: {text}"))
}
