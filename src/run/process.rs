//! The settings of a process that plans or works: what values mean must not depend on who calls.

use super::request::Request;
use crate::error::{Error, Result};
use crate::pg::{backend, spi, xact};

/// What values mean and how they print, wherever a plan is made.
const MEANINGS: &[(&str, &str)] = &[
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("array_nulls", "on"),
    ("xmloption", "content"),
    // A money is then the number it is stored as, on either side, whatever the decimal point is.
    ("lc_monetary", "C"),
    // Compiling a statement about catalogs takes longer than running it.
    ("jit", "off"),
];

/// Settings of a process of ours, whatever the role or the database has set: bounds print in full and read back as the same value; text that the source has written reads here as it was meant there; transactions see each other's commits. Gives the
/// role's own synchronous_commit, which is for the units: the run's own rows need no standby's consent, and a wait for it would swallow a
/// cancel.
pub fn prepare_session() -> Result<String> {
    xact::transaction(|| {
        let rows = spi::execute("SELECT pg_catalog.current_setting('synchronous_commit')", &[])?;
        let of_role = rows
            .first()
            .ok_or_else(|| Error::internal("no synchronous_commit"))?
            .string(0)?;
        if of_role != "off" {
            backend::set_config("synchronous_commit", "local", false)?;
        }
        for (name, value) in [
            // ALTER ROLE ... SET role has made another one of the caller.
            ("role", "none"),
            // An error here is caught and recorded.
            ("exit_on_error", "off"),
            ("DateStyle", "ISO"),
            ("client_encoding", &backend::encoding()),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("lock_timeout", "0"),
        ]
        .iter()
        .chain(MEANINGS)
        {
            backend::set_config(name, value, false)?;
        }
        backend::look_early_for_deadlocks();
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
pub fn pin_role_settings(request: &Request) -> Result<String> {
    let timezone = role_timezone()?;
    for (name, value) in [
        ("TimeZone", timezone.as_str()),
        ("DateStyle", &format!("ISO, {}", request.date_order)),
    ]
    .iter()
    .chain(MEANINGS)
    {
        backend::set_config(name, value, true)?;
    }
    Ok(timezone)
}

/// The time zone that a session of the current role begins with, unless its client asks for another: ALTER ROLE's or ALTER DATABASE's. Without
/// one of these it is the server's, which this session began with as well unless its own client has asked for another.
pub fn role_timezone() -> Result<String> {
    let sql = "SELECT COALESCE(
           (SELECT pg_catalog.substr(c, 10) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
            WHERE s.setrole IN (0, $1::pg_catalog.oid) AND pg_catalog.lower(c) LIKE 'timezone=%'
              AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
            ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
           (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'))";
    let rows = xact::look(|| spi::execute(sql, &[Some(&backend::current_role().to_string())]))?;
    rows.first().ok_or_else(|| Error::internal("no TimeZone"))?.string(0)
}
