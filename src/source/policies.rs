//! Row level security of openGauss. Elsewhere a setting makes it an error that a policy hides rows (`row_security`); there they are hidden without a word.

use crate::catalog::Database;
use crate::catalog::server::Catalog;
use crate::catalog::table::Found;
use crate::error::{Error, Result, sqlstate};
use crate::wire::Session;

/// Refuses a table whose rows a policy may hide from the remote user. Owners and system administrators see all of them (sec_rls_utils.cpp).
pub fn refuse(session: &mut Session, found: &Found) -> Result<()> {
    if session.server().catalog != Catalog::OpenGauss || !has_policies(session, found)? || is_exempt(session, found)? {
        return Ok(());
    }
    let (relation, user) = (found.relation(), session.user());
    Err(Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("policies of source table {relation} may hide rows from \"{user}\""),
    )
    .detail("The table has row level security, and a copy would be silently partial.")
    .hint("Map the calling role to the table's owner over there, or to a system administrator; or ALTER TABLE ... DISABLE ROW LEVEL SECURITY there."))
}

fn has_policies(session: &mut Session, found: &Found) -> Result<bool> {
    has_option(session, found, "enable_rowsecurity=true")
}

fn is_exempt(session: &mut Session, found: &Found) -> Result<bool> {
    let is_forced = has_option(session, found, "force_rowsecurity=true")?;
    let rows = session.query(&format!(
        "SELECT r.rolsystemadmin, r.oid = (SELECT c.relowner FROM pg_class c WHERE c.oid = {})
         FROM pg_roles r WHERE r.rolname = current_user",
        found.oid
    ))?;
    let row = rows.first();
    Ok(row.is_some_and(|row| row.is(0) || (row.is(1) && !is_forced)))
}

fn has_option(session: &mut Session, found: &Found, option: &str) -> Result<bool> {
    let rows = session.query(&format!(
        "SELECT array_to_string(c.reloptions, ',') FROM pg_class c WHERE c.oid = {}",
        found.oid
    ))?;
    let options = rows.first().and_then(|row| row.owned(0)).unwrap_or_default();
    Ok(options.split(',').any(|found| found == option))
}
