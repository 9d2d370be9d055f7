//! A worker: claims a unit, copies it, records the result, takes the next, until none is left.

use super::record::Store;
use super::rows::{ClaimedUnit, RunInfo};
use super::{prepare_session, set_config};
use crate::error::{Error, Result, sqlstate};
use crate::pg::background::{self, Birth};
use crate::pg::{report, session, xact};
use crate::plan::copy_sql::copy_out;
use crate::source::{Session, dialect};
use crate::target::{catalog, load};

/// The process.
pub fn main(birth: Birth) {
    let result = prepare_session().and_then(|synchronous_commit| {
        let (store, run) = xact::transaction(|| {
            let store = Store::open()?;
            let run = store.run_info(birth.argument)?;
            Ok((store, run))
        })?;
        let id = birth.argument;
        Worker {
            id,
            store,
            run,
            synchronous_commit,
            source: None,
        }
        .work()
    });
    if let Err(error) = result {
        report::raise(error);
    }
}

struct Worker {
    id: i64,
    store: Store,
    run: RunInfo,
    /// the role's, for the commits of units
    synchronous_commit: String,
    /// connected when the first unit needs it, and again after an error
    source: Option<Session>,
}

impl Worker {
    fn work(&mut self) -> Result<()> {
        session::set_application_name(&format!("cgpsync run {}", self.id));
        while !background::termination_requested() {
            let Some(unit) = xact::transaction(|| self.store.claim(self.id))? else {
                break;
            };
            session::show_activity(Some(&format!("run {}: copying {}", self.id, unit.name)));
            if let Err(error) = report::catch(|| self.copy(&unit)) {
                // The source may be in the middle of a COPY or of a failed transaction: the next unit gets a new session.
                if let Some(source) = self.source.take() {
                    source.abandon();
                }
                let error = explain(error, &unit);
                let cancelled = error.is_cancel();
                xact::transaction(|| self.store.unit_failed(self.id, unit.unit, &error))?;
                if cancelled {
                    break;
                }
            }
        }
        session::show_activity(None);
        if let Some(source) = self.source.take() {
            source.close();
        }
        Ok(())
    }

    /// One unit: one local transaction that replaces its rows and says so.
    fn copy(&mut self, unit: &ClaimedUnit) -> Result<()> {
        if self.source.is_none() {
            self.source = Some(self.connect()?);
        }
        let Some(source) = &mut self.source else {
            return Err(Error::internal("no session on the source"));
        };
        let copy_sql = copy_out(
            &self.run.columns,
            &unit.source_relation,
            unit.source_filter.as_deref(),
            self.run.binary,
        );
        source.set_application_name(&format!("cgpsync run {}: {}", self.id, unit.name))?;
        xact::transaction(|| {
            set_config("synchronous_commit", &self.synchronous_commit, true)?;
            self.run.request.limit_lock_waits()?;
            if self.run.snapshot.is_none() {
                dialect::begin(source, None)?;
            }
            let what = load::What {
                unit: unit.partition,
                columns: &self.run.columns,
                binary: self.run.binary,
                filter: unit.filter_here,
            };
            let loaded = load::truncate_and_load(&what, &copy_sql, source)?;
            dialect::check_unchanged(source, &unit.source_relation)?;
            if self.run.snapshot.is_none() {
                source.batch("COMMIT")?;
            }
            self.store.unit_done(self.id, unit.unit, loaded.rows, loaded.bytes)
        })
    }

    /// A session, within the run's snapshot if there is one.
    fn connect(&self) -> Result<Session> {
        let (target, timezone) = xact::transaction(|| Ok((self.run.request.connection()?, session::timezone()?)))?;
        let name = format!("cgpsync run {}", self.id);
        let mut source = Session::open(&target, &name, &session::encoding(), &timezone)?;
        source.send_unconverted()?;
        if let Some(snapshot) = &self.run.snapshot {
            dialect::begin(&mut source, Some(snapshot))?;
        }
        Ok(source)
    }
}

/// What a user needs besides the server's words: a termination arrives as a cancel of the current statement, and a lock that was not to
/// be had is somebody's.
fn explain(error: Error, unit: &ClaimedUnit) -> Error {
    if error.is_cancel() && background::termination_requested() {
        return Error::new(sqlstate::ADMIN_SHUTDOWN, "the worker was terminated");
    }
    if error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE && !error.remote {
        let holders = xact::transaction(|| catalog::lock_holders(unit.partition)).unwrap_or_default();
        let detail = format!("Processes that hold a lock on it: {holders}.");
        let details: Vec<String> = error.detail.iter().cloned().chain([detail]).collect();
        return error
            .detail(details.join("\n"))
            .hint("Raise cgpsync.lock_timeout, or sync when it is not in use.");
    }
    error
}
