//! What helps when a server lets nobody in.

use super::endpoint::Endpoint;
use super::frames;
use super::mapping;
use crate::error::{Error, sqlstate};

/// The error of a login, with what helps where the server has said nothing of it. `text`: the crate's words, where it has failed on this side.
pub fn with_hint(error: Error, text: &str, endpoint: &Endpoint) -> Error {
    if error.hint.is_some() {
        return error;
    }
    match (&*error.sqlstate, text) {
        (sqlstate::INVALID_PASSWORD, _) | (sqlstate::CANNOT_CONNECT, "password missing") => {
            error.hint(mapping::how_to_give_password(endpoint))
        }
        (sqlstate::CANNOT_CONNECT, "server did not use channel binding") => error.hint(
            "channel_binding 'require' takes TLS (sslmode 'require') and a password of scram-sha-256 over there; or set it to 'prefer'.",
        ),
        (sqlstate::PROTOCOL_VIOLATION, frames::BAD_ITERATIONS) => error.hint(
            "Set auth_iteration_count over there to 10000, and give the role its password again (ALTER ROLE ... PASSWORD).",
        ),
        (sqlstate::PROTOCOL_VIOLATION, frames::UNKNOWN_LOGIN | frames::NO_DIGEST) => error.hint(
            "Have pg_hba.conf over there ask for sha256, and give the role its password again under password_encryption_type = 2.",
        ),
        (sqlstate::CANNOT_CONNECT, "unsupported authentication method" | "unsupported SASL mechanism") => {
            error.hint("Have pg_hba.conf over there ask for scram-sha-256, md5, password or cert.")
        }
        _ => error,
    }
}
