//! The work itself, in terms of rows and states.
//!
//! A *run* is one call; a *unit* is what one transaction replaces. Their rows in cgpsync_run and cgpsync_run_partition are the shared
//! state of all processes: committed, visible, crash-safe.
//!
//! ```text
//! run:   planning -> running -> done | failed | cancelled        (planning -> failed | cancelled too)
//! unit:  pending -> copying -> done | failed | cancelled         (pending -> cancelled; skipped from the start; copying -> pending
//!        to be tried again)
//! ```
//!
//! Protocol. The caller's backend writes its request into a hand-over segment ([`crate::pg::handoff`]) and starts the coordinator. That
//! takes the locks of a run (they die with their holder; [`crate::pg::lock`]), inserts the run, answers with its id, plans, inserts the
//! units and starts workers. A worker claims a unit with FOR UPDATE SKIP LOCKED and commits that, then replaces the unit and records it as done in
//! one transaction. A big unit is cut into pieces; for each seat that no worker has any more its worker starts a helper, which joins its
//! transaction and takes pieces too ([`team`]). The coordinator watches rows and processes; when every unit is done it moves sync_table and
//! finishes the run in one transaction. The caller polls the rows, sends NOTICEs, and raises the run's error if there is one.
//!
//! Interleavings worth knowing:
//! - caller cancelled, terminated or aborted: its segment goes, which sends SIGTERM to the coordinator; that cancels the workers, waits for
//!   them and records the run as cancelled.
//! - coordinator terminated: the same from there on; the caller finds the run cancelled and raises that.
//! - coordinator gone without a word (FATAL): its exit hook has sent SIGTERM to the workers; the run's row still says running. Whoever
//!   calls next finds the lock free and marks the run failed (`record::mark_orphans`).
//! - worker terminated: it stops the source's query and records its unit as cancelled; the coordinator then ends the run.
//! - helper cancelled, terminated or failed: its error is the worker's, and the unit's. A worker that ends takes its helpers along.
//! - server crash: nothing is left but rows that say running; see the orphans above. Units are old or complete, as transactions are.

pub mod caller;
pub mod coordinator;
pub mod create_table;
mod outlook;
mod planning;
mod points;
pub mod preview;
pub mod progress;
pub mod record;
mod rows;
pub mod team;
pub mod verify;
pub mod watch;
pub mod worker;

use crate::connection::Target;
use crate::error::{Error, Result};
use crate::pg::{foreign, report, session, spi, xact};
use crate::plan::replace::Replace;
use crate::plan::retry::{self, Retries};
use crate::plan::vanished::Vanished;
use crate::source::Session;
use crate::target::swap::Limits;
use record::Store;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Begins a line of a run's message that is a WARNING to the caller, rather than a NOTICE.
const WARNING: &str = "WARNING: ";

/// What a call asks for: handed to the coordinator and kept in cgpsync_run.arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// OID of the target table
    pub table: u32,
    /// as given; None: today
    pub end_tm: Option<String>,
    /// workers at most
    pub parallelism: i32,
    /// cgpsync.max_parallelism of the calling session; None: a client's option has hidden it there
    pub max_parallelism: Option<i32>,
    /// foreign server
    pub source: String,
    /// as given
    pub since: Option<String>,
    /// as given; None: the target's schema and name
    pub source_table: Option<String>,
    /// create here the partitions that only the source has
    pub create_missing: bool,
    /// columns to copy; None: every column of the target
    pub columns: Option<Vec<String>>,
    /// the caller's order of day, month and year in dates: DMY, MDY or YMD
    pub date_order: String,
    /// cgpsync.lock_timeout, milliseconds
    pub lock_timeout_ms: i32,
    /// cgpsync.connect_timeout, seconds
    pub connect_timeout_s: u64,
    /// cgpsync.max_retries and delays
    pub retries: Retries,
    /// cgpsync.max_rate, bytes per second; 0: none
    pub max_rate: u64,
    /// how a unit is replaced
    pub replace: Replace,
    /// cgpsync.swap_timeout, milliseconds
    pub swap_timeout_ms: i32,
    /// cgpsync.analyze_partitions
    pub analyze: bool,
    /// what becomes of a partition here whose range the source has no partition for any more
    pub vanished: Vanished,
    /// a column whose values may change is an error
    pub strict: bool,
}

impl Request {
    /// From here to the end of the transaction, waits for a lock are limited as the caller wants it.
    fn limit_lock_waits(&self) -> Result<()> {
        session::set_config("lock_timeout", &self.lock_timeout_ms.to_string(), true)
    }

    /// How long a unit that is ready may wait to be shown, and make others wait.
    fn swap_limits(&self) -> Limits {
        let milliseconds = |ms: i32| Duration::from_millis(ms.max(0) as u64);
        Limits {
            attempt: milliseconds(self.lock_timeout_ms),
            total: milliseconds(self.swap_timeout_ms),
        }
    }

    /// Opens a session of run `id`, with less than the server's time for connecting if `limit` is less. Outside of a transaction.
    fn open_session(&self, id: i64, limit: Duration) -> Result<Session> {
        let (mut target, timezone) = xact::transaction(|| Ok((self.connection()?, session::timezone()?)))?;
        target.connect_timeout = target.connect_timeout.min(limit);
        let name = format!("cgpsync run {id}");
        let session = Session::open(&target, &name, &session::encoding(), &timezone)?;
        let (session, ()) = session.and_then(|session| match session.warning() {
            // A WARNING raised here would reach nobody but the server's log.
            Some(warning) => xact::transaction(|| Store::open()?.add_message_once(id, &format!("{WARNING}{warning}"))),
            None => Ok(()),
        })?;
        Ok(session)
    }

    /// Opens a session in the caller's own backend.
    fn open_here(&self, name: &str, timezone: &str) -> Result<Session> {
        open_here(&self.connection()?, name, timezone)
    }

    /// How long to wait after attempt number `attempt` has failed with `error`; None when there is to be no other one.
    fn next_attempt(&self, error: &Error, attempt: u32) -> Option<Duration> {
        let again = retry::is_transient(error);
        again.then(|| self.retries.delay_after(attempt, random())).flatten()
    }

    /// Where to connect. Inside a transaction.
    fn connection(&self) -> Result<Target> {
        connection(&self.source, Duration::from_secs(self.connect_timeout_s))
    }
}

/// Opens a session in the caller's own backend, which is told what there is to tell.
fn open_here(target: &Target, name: &str, timezone: &str) -> Result<Session> {
    let session = Session::open(target, name, &session::encoding(), timezone)?;
    if let Some(warning) = session.warning() {
        report::warning(warning);
    }
    Ok(session)
}

/// Where to connect, from server `source` and the current role's user mapping for it. Inside a transaction.
fn connection(source: &str, connect_timeout: Duration) -> Result<Target> {
    let role = session::current_role();
    let options = foreign::options(source, role)?;
    let rows = spi::execute(
        "SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE oid = $1::pg_catalog.oid",
        &[Some(&role.to_string())],
    )?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("the calling role is gone"))?;
    let mut target = Target::from_options(
        source,
        &options.server,
        &options.mapping,
        row.text(0).unwrap_or(""),
        connect_timeout,
    )?;
    target.must_authenticate = !row.is(1);
    if target.must_authenticate && target.password.is_none() && !target.tls.certificate_of_mapping {
        return Err(
            Error::new(crate::error::sqlstate::PASSWORD_REQUIRED, "password is required")
                .detail("A role that is not superuser must authenticate with a password or a client certificate of its own user mapping.")
                .hint(format!(
                    "Use ALTER USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS (ADD password '...').",
                    crate::plan::copy_sql::quote_ident(source)
                )),
        );
    }
    Ok(target)
}

/// Settings of a process of ours, whatever the role or the database has set. The search_path keeps statements with the extension
/// owner's privileges, and the casts of plan and catalog, away from objects of the caller's making; bounds print in full and read back as
/// the same value; text that the source has written reads here as it was meant there; transactions see each other's commits. Gives the
/// role's own synchronous_commit, which is for the units: the run's own rows need no standby's consent, and a wait for it would swallow a
/// cancel.
fn prepare_session() -> Result<String> {
    xact::transaction(|| {
        let rows = spi::execute("SELECT pg_catalog.current_setting('synchronous_commit')", &[])?;
        let of_role = rows
            .first()
            .ok_or_else(|| Error::internal("no synchronous_commit"))?
            .string(0)?;
        if of_role != "off" {
            session::set_config("synchronous_commit", "local", false)?;
        }
        for (name, value) in [
            // ALTER ROLE ... SET role has made another one of the caller.
            ("role", "none"),
            ("search_path", "pg_catalog, pg_temp"),
            // An error here is caught and recorded.
            ("exit_on_error", "off"),
            ("DateStyle", "ISO"),
            ("client_encoding", &session::encoding()),
            ("IntervalStyle", "postgres"),
            ("extra_float_digits", "3"),
            ("standard_conforming_strings", "on"),
            ("quote_all_identifiers", "off"),
            ("array_nulls", "on"),
            ("xmloption", "content"),
            // Compiling a statement about catalogs takes longer than running it.
            ("jit", "off"),
            // A money is then the number it is stored as, on either side, whatever the decimal point is.
            ("lc_monetary", "C"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("lock_timeout", "0"),
        ] {
            session::set_config(name, value, false)?;
        }
        // 17 and later only.
        spi::execute(
            "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'",
            &[],
        )?;
        Ok(of_role)
    })
}

/// What values mean must not depend on the calling session where a run's processes, which are sessions of their own, plan in its place: sets, for
/// the transaction, what they would find. Gives the time zone that the server gives the role.
fn pin_role_settings(request: &Request) -> Result<String> {
    let timezone = role_timezone()?;
    for (name, value) in [
        ("TimeZone", timezone.as_str()),
        ("DateStyle", &format!("ISO, {}", request.date_order)),
        ("IntervalStyle", "postgres"),
        ("extra_float_digits", "3"),
        ("standard_conforming_strings", "on"),
        ("quote_all_identifiers", "off"),
        ("array_nulls", "on"),
        ("xmloption", "content"),
        ("lc_monetary", "C"),
        ("jit", "off"),
    ] {
        session::set_config(name, value, true)?;
    }
    Ok(timezone)
}

/// The time zone that a session of the current role begins with, unless its client asks for another: ALTER ROLE's or ALTER DATABASE's. Without
/// one of these it is the server's, which this session began with as well unless its own client has asked for another.
fn role_timezone() -> Result<String> {
    let rows = spi::execute(
        "SELECT COALESCE(
           (SELECT pg_catalog.substr(c, 10) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
            WHERE s.setrole IN (0, $1::pg_catalog.oid) AND pg_catalog.lower(c) LIKE 'timezone=%'
              AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
            ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
           (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'))",
        &[Some(&session::current_role().to_string())],
    )?;
    rows.first().ok_or_else(|| Error::internal("no TimeZone"))?.string(0)
}

/// In [0, 1).
fn random() -> f64 {
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

/// One line of a run's message: what failed and when it is tried again.
fn retry_remark(error: &Error, attempt: u32, delay: Duration) -> String {
    format!(
        "attempt {attempt} failed: {} [{}]; the next one in {:.1} s",
        error.message.replace('\n', " "),
        error.sqlstate,
        delay.as_secs_f64()
    )
}
