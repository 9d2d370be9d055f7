//! Our errors to the server's and back.

use super::error_context;
use crate::error::{Error, Side, tame, tame_remark};
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::{PgLogLevel, PgSqlErrorCode, PgTryBuilder, function_name};
use std::panic::AssertUnwindSafe;

/// The server's packed form of a SQLSTATE (elog.h, MAKE_SQLSTATE). A code that pgrx's closed list lacks becomes XX000, so DETAIL
/// should carry a remote server's own.
fn pack(sqlstate: &str) -> PgSqlErrorCode {
    let packed = sqlstate.bytes().take(5).enumerate().fold(0i32, |code, (at, c)| {
        code | ((i32::from(c) - i32::from(b'0')) & 0x3F) << (6 * at)
    });
    PgSqlErrorCode::from(packed)
}

fn unpack(code: PgSqlErrorCode) -> String {
    let code = code as i32;
    (0..5)
        .map(|at| char::from(((code >> (6 * at)) & 0x3F) as u8 + b'0'))
        .collect()
}

/// A NOTICE to the caller. Names in it may be anybody's.
pub fn notice(text: &str) {
    pgrx::notice!("{}", tame_remark(text));
}

/// The same as a WARNING.
pub fn warning(text: &str) {
    pgrx::warning!("{}", tame_remark(text));
}

/// Raises `error`: unwinds to the nearest guarded function, which hands it to the server.
pub fn raise(error: Error) -> ! {
    let error = error.bounded();
    let mut report = ErrorReport::new(pack(&error.sqlstate), error.message, function_name!());
    if let Some(detail) = error.detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("ERROR does not return")
}

/// Runs `f` and gives an error of the server, of ours, or a panic as an [`Error`], with the server's CONTEXT at the end
/// of DETAIL. The transaction is not repaired: the caller aborts it (see [`super::xact`]) or passes the error on.
pub fn catch<T>(f: impl FnOnce() -> crate::error::Result<T>) -> crate::error::Result<T> {
    error_context::keeping(|| {
        PgTryBuilder::new(AssertUnwindSafe(f))
            .catch_others(|cause| Err(from_caught(&cause)))
            .execute()
    })
}

fn from_caught(cause: &CaughtError) -> Error {
    let report = match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => {
            return Error::internal(tame(ereport.message()));
        }
    };
    let sqlstate = unpack(report.sql_error_code());
    // What violates a constraint is quoted, and it is the source's. Other DETAILs have lines, such as those of a deadlock.
    let detail = report.detail().map(|detail| match sqlstate.starts_with("23") {
        true => tame(detail),
        false => detail.to_owned(),
    });
    // The connections that are ours report nothing to the server here: what it says of one is about one of its own, as a trigger may have it.
    let is_final = sqlstate.starts_with("08") && matches!(cause, CaughtError::PostgresError(_));
    let error = Error {
        sqlstate,
        // It may quote a value too.
        message: tame(report.message()),
        detail,
        hint: report.hint().map(str::to_owned),
        side: Side::Here,
        is_final,
    };
    match error_context::of(report.message()) {
        // A line for each level; COPY's quotes a value.
        Some(context) => context
            .lines()
            .fold(error, |error, line| error.more_detail(&tame(line))),
        None => error,
    }
}
