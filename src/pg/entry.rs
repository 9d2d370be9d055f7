//! Where the postmaster enters our processes. Errors have been recorded by the time they get here; what is left ends the process.

use super::background;
use crate::run;
use pgrx::{pg_guard, pg_sys};

/// Entry point of `cgpsync coordinator`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cgpsync_coordinator_main(_argument: pg_sys::Datum) {
    run::coordinator::main(background::initialize());
}

/// Entry point of `cgpsync worker`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn cgpsync_worker_main(_argument: pg_sys::Datum) {
    run::worker::main(background::initialize());
}
