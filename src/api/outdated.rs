//! What SQL objects of older versions call, after a new package has come and before ALTER EXTENSION cgpsync UPDATE: a clear error instead of
//! arguments that are not there. pg_upgrade, too, asks that the library has every function that the old cluster's objects name, and a script
//! that leads from one old version to the next makes functions that are outdated here.

use crate::error::{Error, sqlstate};
use crate::pg::report;
use pgrx::pg_extern;

/// 0.1.0
#[pg_extern(sql = false)]
fn cgpsync_sync() {
    raise();
}

/// 0.1.0
#[pg_extern(sql = false)]
fn cgpsync_start() {
    raise();
}

/// 0.1.0
#[pg_extern(sql = false)]
fn cgpsync_plan() {
    raise();
}

/// 0.1.0 and 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_wait() {
    raise();
}

/// 0.1.0 and 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_verify() {
    raise();
}

/// 0.1.0 and 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_create_table() {
    raise();
}

/// 0.1.0 and 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_import_config() {
    raise();
}

/// 0.1.0 and 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_import_config_text() {
    raise();
}

/// 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_sync_v2() {
    raise();
}

/// 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_start_v2() {
    raise();
}

/// 0.2.0
#[pg_extern(sql = false)]
fn cgpsync_plan_v2() {
    raise();
}

fn raise() -> ! {
    let library = env!("CARGO_PKG_VERSION");
    report::raise(
        Error::new(
            sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("cgpsync's library is of version {library}, its functions in this database are older"),
        )
        .hint("ALTER EXTENSION cgpsync UPDATE;"),
    )
}
