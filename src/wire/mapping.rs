//! From a foreign server and the acting role's user mapping to an endpoint. The only place where a password is read.

use super::endpoint::Endpoint;
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, foreign, spi};
use crate::plan::copy_sql::quote_ident;
use std::time::Duration;

/// Refuses a server that does not exist or may not be used, or has no mapping: what can be told without reading options.
pub fn check(server: &str) -> Result<()> {
    foreign::find(server, backend::current_role()).map(|_| ())
}

/// Where to connect, from server `server` and the current role's user mapping for it; `connect_timeout` applies where the server has none.
/// Inside a transaction.
pub fn endpoint(server: &str, side: Side, connect_timeout: Duration) -> Result<Endpoint> {
    let role = backend::current_role();
    let options = foreign::options(server, role)?;
    let rows = spi::execute(
        "SELECT rolname, rolsuper,
                EXISTS (SELECT FROM pg_catalog.pg_user_mappings m WHERE m.srvname = $2::pg_catalog.name AND m.umuser = r.oid)
         FROM pg_catalog.pg_roles r WHERE oid = $1::pg_catalog.oid",
        &[Some(&role.to_string()), Some(server)],
    )?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("the calling role is gone"))?;
    let mut endpoint = Endpoint::from_options(
        server,
        side,
        &options.server,
        &options.mapping,
        row.text(0).unwrap_or(""),
        connect_timeout,
    )?;
    endpoint.must_authenticate = !row.is(1);
    endpoint.has_own_mapping = row.is(2);
    if endpoint.password_command.is_some() {
        check_owner(server)?;
    }
    if endpoint.must_authenticate
        && endpoint.password.is_none()
        && endpoint.password_command.is_none()
        && !endpoint.tls.certificate_of_mapping
    {
        return Err(
            Error::new(sqlstate::PASSWORD_REQUIRED, "password is required")
                .detail("A role that is not superuser must authenticate with a password or a client certificate of its own user mapping.")
                .hint(how_to_give_password(&endpoint)),
        );
    }
    Ok(endpoint)
}

/// The statement that gives the acting role's mapping a password, or another one, as a sentence.
pub fn how_to_give_password(endpoint: &Endpoint) -> String {
    let server = quote_ident(&endpoint.server);
    let mapping = format!("USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS");
    match (&endpoint.password_command, endpoint.has_own_mapping, &endpoint.password) {
        (Some(_), ..) => "What password_command prints must be the password of that user over there.".to_owned(),
        (_, false, _) => format!("Use CREATE {mapping} (user '...', password '...')."),
        (_, true, None) => format!("Use ALTER {mapping} (ADD password '...')."),
        (_, true, Some(_)) => format!("Use ALTER {mapping} (SET password '...')."),
    }
}

/// Refuses a program for the password on a server whose owner could have it asked for one that goes elsewhere.
fn check_owner(server: &str) -> Result<()> {
    let rows = spi::execute(
        "SELECT r.rolsuper FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_roles r ON r.oid = s.srvowner
         WHERE s.srvname = $1::pg_catalog.name",
        &[Some(server)],
    )?;
    if rows.first().is_some_and(|row| row.is(0)) {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("password_command is not run for server \"{server}\""),
    )
    .detail("The server's owner is not a superuser, and may change where the password goes.")
    .hint(format!(
        "ALTER SERVER {} OWNER TO a superuser, or drop the option.",
        quote_ident(server)
    )))
}
