//! The work itself, in terms of rows and states.
//!
//! A *run* is one call; a *unit* is what one transaction replaces. Their rows in cgpsync_run and cgpsync_run_partition are the shared
//! state of all processes: committed, visible, crash-safe.
//!
//! ```text
//! run:   planning -> running -> done | failed | cancelled        (planning -> failed | cancelled too)
//! unit:  pending -> copying -> done | failed | cancelled         (pending -> failed | cancelled; copying -> pending to be tried again;
//!        skipped from the start, then done | failed if it is to be dropped)
//! ```
//!
//! Protocol. The caller's backend writes its request into a hand-over segment ([`crate::pg::handoff`]) and starts the coordinator. That
//! takes the locks of a run (they die with their holder; [`crate::pg::lock`]), inserts the run, answers with its id, plans, inserts the
//! units and starts workers. A worker claims a unit with FOR UPDATE SKIP LOCKED and commits that, then replaces the unit and records it as done in
//! one transaction. A big unit is cut into pieces; for each seat that no worker has any more its worker starts a helper, which joins its
//! transaction and takes pieces too ([`crate::targets::local::team`]). The coordinator watches rows and processes; when every unit is done it moves sync_table and
//! finishes the run in one transaction. The caller polls the rows, sends NOTICEs, and raises the run's error if there is one.
//!
//! Interleavings worth knowing:
//! - caller cancelled, terminated or aborted: its segment goes, which sends SIGTERM to the coordinator; that cancels the workers, waits for
//!   them and records the run as cancelled.
//! - coordinator terminated: the same from there on; the caller finds the run cancelled and raises that.
//! - coordinator gone without a word (FATAL): its exit hook has sent SIGTERM to the workers; the run's row still says running. Whoever
//!   calls next finds the lock free and marks the run failed (`state::runs::mark_orphans`).
//! - worker terminated: it stops the source's query and records its unit as cancelled; the coordinator then ends the run.
//! - helper cancelled, terminated or failed: its error is the worker's, and the unit's. A worker that ends takes its helpers along.
//! - server crash: nothing is left but rows that say running; see the orphans above. Units are old or complete, as transactions are.

pub mod attach;
pub mod caller;
pub mod coordinator;
pub mod create_table;
mod cycle;
mod outlook;
mod placing;
mod planning;
mod points;
pub mod preview;
mod process;
pub mod progress;
pub mod request;
mod sessions;
mod starting;
pub mod state;
pub mod verify;
pub mod watch;
pub mod worker;

/// Begins a line of a run's message that is a WARNING to the caller, rather than a NOTICE.
pub const WARNING: &str = "WARNING: ";
