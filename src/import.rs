//! Makes the server and the caller's user mapping that an old config.json describes, as the caller and within its transaction.

use crate::config::{Config, Here, Login};
use crate::error::{Error, Result, sqlstate};
use crate::pg::foreign::{self, Change};
use crate::pg::{backend, report, resolver, spi};
use crate::settings;
use crate::wire::endpoint::Secret;
use std::net::UdpSocket;
use std::time::Instant;

/// Ours, as sql/wrapper.sql names it.
const WRAPPER: &str = "cgpsync";

/// Creates server `name` of the source and the calling role's user mapping for it, or sets them anew; with `target` that of the destination as
/// well. Remarks on the config come as WARNINGs. An existing server keeps its other options, such as sslmode; it is left alone where it says the
/// same already, so that its users can import their own passwords.
pub fn import(mut config: Config, name: &str, target: Option<&str>) -> Result<()> {
    set(&config.source, name, "server")?;
    let mut remarks = match target {
        None => config.remarks_on_destination(&here()?, is_here),
        Some(target) if target == name => {
            return Err(Error::bad_parameter("server and target must not be the same"));
        }
        Some(target) => {
            set(&std::mem::take(&mut config.destination).login()?, target, "target")?;
            Vec::new()
        }
    };
    remarks.extend(config.remarks());
    remarks.iter().for_each(|remark| report::warning(remark));
    Ok(())
}

fn set(login: &Login, name: &str, argument: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::bad_parameter(format!("{argument} must not be empty")));
    }
    report::catch(|| {
        set_server(login, name)?;
        set_mapping(login, name)
    })
    .map_err(|error| explain(error, name))
}

fn explain(error: Error, name: &str) -> Error {
    if error.sqlstate != sqlstate::INSUFFICIENT_PRIVILEGE || error.hint.is_some() {
        return error;
    }
    error.hint(format!(
        "To create server \"{name}\" takes USAGE on foreign-data wrapper \"{WRAPPER}\", to change it its ownership, \
         and to log in through it USAGE on it."
    ))
}

fn set_server(login: &Login, name: &str) -> Result<()> {
    let port = login.port.to_string();
    let wanted = [
        ("host", login.host.as_str()),
        ("port", port.as_str()),
        ("dbname", login.dbname.as_str()),
    ];
    let rows = spi::execute(
        "SELECT w.fdwname, o.option_name, o.option_value
         FROM pg_catalog.pg_foreign_server s
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
         LEFT JOIN LATERAL pg_catalog.pg_options_to_table(s.srvoptions) o ON true
         WHERE s.srvname = $1::pg_catalog.name",
        &[Some(name)],
    )?;
    let Some(first) = rows.first() else {
        let options: Vec<Change<'_>> = wanted.iter().map(|(n, v)| Change::Add(n, v)).collect();
        return foreign::create_server(name, WRAPPER, &options);
    };
    if first.text(0) != Some(WRAPPER) {
        return Err(
            Error::new(sqlstate::DUPLICATE_OBJECT, format!("server \"{name}\" already exists"))
                .detail(format!("It is not of foreign-data wrapper \"{WRAPPER}\"."))
                .hint("Pass another name: cgpsync_import_config(config, 'name')."),
        );
    }
    let present = |option: &str| {
        rows.iter()
            .find(|row| row.text(1) == Some(option))
            .map(|row| row.text(2))
    };
    let mut changes: Vec<Change<'_>> = Vec::new();
    for (option, value) in wanted {
        match present(option) {
            Some(old) if old == Some(value) => {}
            Some(_) => changes.push(Change::Set(option, value)),
            None => changes.push(Change::Add(option, value)),
        }
    }
    // It would go before the new host.
    if present("hostaddr").is_some() {
        changes.push(Change::Drop("hostaddr"));
    }
    if changes.is_empty() {
        return Ok(());
    }
    foreign::alter_server(name, &changes)
}

fn set_mapping(login: &Login, server: &str) -> Result<()> {
    let rows = spi::execute(
        "SELECT FROM pg_catalog.pg_user_mappings WHERE srvname = $1::pg_catalog.name AND umuser = $2::pg_catalog.oid",
        &[Some(server), Some(&backend::current_role().to_string())],
    )?;
    if !rows.is_empty() {
        foreign::drop_user_mapping(server)?;
    }
    let mut options = vec![Change::Add("user", &login.user)];
    if let Some(password) = &login.password {
        options.push(Change::Add("password", Secret::reveal(password)));
    }
    foreign::create_user_mapping(server, &options)
}

fn here() -> Result<Here> {
    let rows = spi::execute(
        "SELECT pg_catalog.current_database(), current_user, pg_catalog.current_setting('port')",
        &[],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("no database"))?;
    Ok(Here {
        dbname: row.string(0)?,
        user: row.string(1)?,
        port: row.string(2)?,
    })
}

/// True for Unix sockets and for every name and address of this machine: only those a socket can be bound to.
fn is_here(host: &str) -> bool {
    let resolve = || resolver::resolve(host, 0, Instant::now() + settings::connect_timeout());
    host.starts_with(['/', '@'])
        || resolve().is_ok_and(|found| {
            let mut found = found.into_iter();
            found.any(|address| address.ip().is_loopback() || UdpSocket::bind(address).is_ok())
        })
}
