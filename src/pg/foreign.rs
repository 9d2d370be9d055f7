//! Options of foreign servers and user mappings.

use super::spi;
use crate::connection::Place;
use crate::error::{Error, Result, sqlstate};
use pgrx::pg_sys;

/// The object a validator is called for.
pub fn place_of(catalog: pg_sys::Oid) -> Option<Place> {
    if catalog == pg_sys::ForeignServerRelationId {
        Some(Place::Server)
    } else if catalog == pg_sys::UserMappingRelationId {
        Some(Place::UserMapping)
    } else {
        None
    }
}

/// Options of the server `name` and of `role`'s user mapping for it, or of PUBLIC's.
pub struct ServerOptions {
    /// of the server
    pub server: Vec<(String, String)>,
    /// of the mapping
    pub mapping: Vec<(String, String)>,
}

/// Reads them. The mapping's options are hidden from plain roles in the catalog views, so they are read from the system cache,
/// as postgres_fdw does, after USAGE on the server was checked.
pub fn options(name: &str, role: u32) -> Result<ServerOptions> {
    let rows = spi::execute(
        "SELECT s.oid, pg_catalog.has_server_privilege($2::pg_catalog.oid, s.oid, 'USAGE'),
                m.umid IS NOT NULL
         FROM pg_catalog.pg_foreign_server s
         LEFT JOIN pg_catalog.pg_user_mappings m
                ON m.srvid = s.oid AND m.umuser IN (0, $2::pg_catalog.oid)
         WHERE s.srvname = $1::pg_catalog.name",
        &[Some(name), Some(&role.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("server \"{name}\" does not exist"),
        ));
    };
    if !row.is(1) {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign server {name}"),
        ));
    }
    if !row.is(2) {
        return Err(Error::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("server \"{name}\" has no user mapping for the calling role"),
        )
        .hint(format!(
            "Use CREATE USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS (user '...', password '...').",
            crate::plan::copy_sql::quote_ident(name)
        )));
    }
    let server = pg_sys::Oid::from_u32(row.need(0)?);
    // SAFETY: both objects exist (checked above; an error otherwise); the results live in the current memory context and their
    // option lists are lists of DefElem with string values, as untransformRelOptions builds them.
    unsafe {
        let server = pg_sys::GetForeignServer(server);
        let mapping = pg_sys::GetUserMapping(pg_sys::Oid::from_u32(role), (*server).serverid);
        Ok(ServerOptions {
            server: pairs((*server).options),
            mapping: pairs((*mapping).options),
        })
    }
}

/// # Safety
/// `list` is a list of DefElem with string values, or null.
unsafe fn pairs(list: *mut pg_sys::List) -> Vec<(String, String)> {
    // SAFETY: per the contract.
    unsafe {
        pgrx::PgList::<pg_sys::DefElem>::from_pg(list)
            .iter_ptr()
            .map(|element| {
                let text = |p| std::ffi::CStr::from_ptr(p).to_string_lossy().into_owned();
                (text((*element).defname), text(pg_sys::defGetString(element)))
            })
            .collect()
    }
}
