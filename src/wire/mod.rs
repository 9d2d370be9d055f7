//! What a connection to another server is, whichever end of a copy it serves. tokio-postgres authenticates and talks SQL; its futures are polled
//! by hand and every wait is the server's latch (tablesync.c's way), so a cancel or termination ends any of them at once.
//!
//! From below: `endpoint` is an address with what it takes to get in, `mapping` reads one from a foreign server and user mapping; `socket`
//! and `tls` open the way, `frames`, `flow` and `stream` are what the crate reads and writes; `link` is a connection that has been logged in
//! (`connect`) and can be stopped from outside (`cancel`); `session` asks (`query`), in transactions with settings of its own (`pins`).

mod alert;
mod cancel;
mod connect;
pub mod copy_out;
pub mod endpoint;
mod errors;
mod flow;
pub mod frames;
pub mod gauss_login;
mod known;
mod link;
mod login_hints;
pub mod mapping;
mod password_command;
mod pins;
mod polling;
mod prompt;
mod query;
mod refusals;
mod relay;
pub mod session;
mod shared_snapshot;
mod socket;
pub mod stream;
pub mod tls;
mod waiting;
mod writing;

pub use pins::BACKEND;
pub use refusals::{listens_alike, not_one_server, other_server, shared_out};
pub use session::Session;
