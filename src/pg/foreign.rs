//! Foreign servers and user mappings: their options, and the commands that make them.

use super::spi;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_ident;
use pgrx::{AllocatedByRust, PgBox, PgList, pg_sys};
use std::ffi::{CStr, CString};

/// Options of the server `name` and of `role`'s user mapping for it, or of PUBLIC's.
pub struct ServerOptions {
    /// of the server
    pub server: Vec<(String, String)>,
    /// of the mapping
    pub mapping: Vec<(String, String)>,
}

/// OID of the server `name`, if `role` may use it and has a user mapping for it, or PUBLIC has; the error otherwise.
pub fn find(name: &str, role: u32) -> Result<u32> {
    let rows = spi::execute(
        "SELECT s.oid, pg_catalog.has_server_privilege($2::pg_catalog.oid, s.oid, 'USAGE'),
                m.umid IS NOT NULL, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid($2::pg_catalog.oid))
         FROM pg_catalog.pg_foreign_server s
         LEFT JOIN pg_catalog.pg_user_mappings m
                ON m.srvid = s.oid AND m.umuser IN (0, $2::pg_catalog.oid)
         WHERE s.srvname = $1::pg_catalog.name",
        &[Some(name), Some(&role.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(unknown(name));
    };
    if !row.is(1) {
        return Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign server {name}"),
        )
        .hint(format!(
            "GRANT USAGE ON FOREIGN SERVER {} TO {}.",
            quote_ident(name),
            row.string(3)?
        )));
    }
    if !row.is(2) {
        return Err(Error::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("server \"{name}\" has no user mapping for the calling role"),
        )
        .hint(format!(
            "Use CREATE USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS (user '...', password '...').",
            quote_ident(name)
        )));
    }
    row.need(0)
}

/// The error for a server that is not there.
pub fn unknown(name: &str) -> Error {
    Error::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("server \"{name}\" does not exist"),
    )
    .hint(
        "SELECT srvname FROM pg_foreign_server lists those there are; CREATE SERVER name FOREIGN DATA WRAPPER cgpsync OPTIONS (host '...', dbname '...') makes one.",
    )
}

/// Reads both. The mapping's options are hidden from plain roles in the catalog views, so they are read from the system cache, as
/// postgres_fdw does, after USAGE on the server was checked ([`find`]).
pub fn options(name: &str, role: u32) -> Result<ServerOptions> {
    let server = pg_sys::Oid::from_u32(find(name, role)?);
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
        PgList::<pg_sys::DefElem>::from_pg(list)
            .iter_ptr()
            .map(|element| {
                let text = |p| CStr::from_ptr(p).to_string_lossy().into_owned();
                (text((*element).defname), text(pg_sys::defGetString(element)))
            })
            .collect()
    }
}

/// A change to the options of a server or mapping: name and value.
pub enum Change<'a> {
    /// it has none of that name
    Add(&'a str, &'a str),
    /// it has one
    Set(&'a str, &'a str),
    /// it has one
    Drop(&'a str),
}

/// CREATE SERVER, as the current role. These commands are handed to the server as nodes and not as SQL: no text with a password
/// exists that a log, an error's context or a statistics view could show.
pub fn create_server(name: &str, wrapper: &str, options: &[Change<'_>]) -> Result<()> {
    let (name, wrapper, options) = (copied(name)?, copied(wrapper)?, definitions(options)?);
    let mut statement = node::<pg_sys::CreateForeignServerStmt>(pg_sys::NodeTag::T_CreateForeignServerStmt);
    statement.servername = name;
    statement.fdwname = wrapper;
    statement.options = options;
    run_utility(statement.into_pg().cast(), c"CREATE SERVER");
    Ok(())
}

/// ALTER SERVER, as the current role.
pub fn alter_server(name: &str, options: &[Change<'_>]) -> Result<()> {
    let (name, options) = (copied(name)?, definitions(options)?);
    let mut statement = node::<pg_sys::AlterForeignServerStmt>(pg_sys::NodeTag::T_AlterForeignServerStmt);
    statement.servername = name;
    statement.options = options;
    run_utility(statement.into_pg().cast(), c"ALTER SERVER");
    Ok(())
}

/// CREATE USER MAPPING FOR CURRENT_USER.
pub fn create_user_mapping(server: &str, options: &[Change<'_>]) -> Result<()> {
    let (server, options) = (copied(server)?, definitions(options)?);
    let mut statement = node::<pg_sys::CreateUserMappingStmt>(pg_sys::NodeTag::T_CreateUserMappingStmt);
    statement.user = current_user();
    statement.servername = server;
    statement.options = options;
    run_utility(statement.into_pg().cast(), c"CREATE USER MAPPING");
    Ok(())
}

/// DROP USER MAPPING FOR CURRENT_USER; an error if there is none.
pub fn drop_user_mapping(server: &str) -> Result<()> {
    let server = copied(server)?;
    let mut statement = node::<pg_sys::DropUserMappingStmt>(pg_sys::NodeTag::T_DropUserMappingStmt);
    statement.user = current_user();
    statement.servername = server;
    run_utility(statement.into_pg().cast(), c"DROP USER MAPPING");
    Ok(())
}

/// A zeroed node in the current memory context. `tag` is the one of `T`.
fn node<T: pg_sys::PgNode>(tag: pg_sys::NodeTag) -> PgBox<T, AllocatedByRust> {
    // SAFETY: every node type is valid when zeroed (makeNode does the same); the callers pass the type's own tag.
    unsafe { PgBox::<T>::alloc_node(tag) }
}

fn current_user() -> *mut pg_sys::RoleSpec {
    let mut role = node::<pg_sys::RoleSpec>(pg_sys::NodeTag::T_RoleSpec);
    role.roletype = pg_sys::RoleSpecType::ROLESPEC_CURRENT_USER;
    role.location = -1;
    role.into_pg()
}

/// `text` as a C string in the current memory context, which ends with the call at the latest.
fn copied(text: &str) -> Result<*mut core::ffi::c_char> {
    let text = CString::new(text).map_err(|_| Error::internal("zero byte in an option"))?;
    // SAFETY: copies a NUL-terminated string.
    Ok(unsafe { pg_sys::pstrdup(text.as_ptr()) })
}

fn definitions(changes: &[Change<'_>]) -> Result<*mut pg_sys::List> {
    use pg_sys::DefElemAction::{DEFELEM_ADD, DEFELEM_DROP, DEFELEM_SET};
    let mut list = PgList::<pg_sys::DefElem>::new();
    for change in changes {
        let (name, value, action) = match change {
            Change::Add(name, value) => (name, Some(value), DEFELEM_ADD),
            Change::Set(name, value) => (name, Some(value), DEFELEM_SET),
            Change::Drop(name) => (name, None, DEFELEM_DROP),
        };
        let name = copied(name)?;
        let value = value.map(|text| copied(text)).transpose()?;
        // SAFETY: palloc'd strings, which the nodes keep; a dropped option has no value, as in the grammar.
        list.push(unsafe {
            let value = value.map_or(std::ptr::null_mut(), |text| pg_sys::makeString(text).cast());
            let element = pg_sys::makeDefElem(name, value, -1);
            (*element).defaction = action;
            element
        });
    }
    Ok(list.into_pg())
}

/// Runs a utility statement as a query inside a function is run: privileges, read-only transactions, event triggers and the hooks of
/// auditing extensions apply. `shown` is what such hooks see as its text.
fn run_utility(statement: *mut pg_sys::Node, shown: &'static CStr) {
    let mut plan = node::<pg_sys::PlannedStmt>(pg_sys::NodeTag::T_PlannedStmt);
    plan.commandType = pg_sys::CmdType::CMD_UTILITY;
    plan.utilityStmt = statement;
    plan.stmt_location = -1;
    let nobody = std::ptr::null_mut();
    // SAFETY: called inside a transaction with a snapshot, the calling statement's; a node of its own per call, built above as
    // the grammar builds it, so nothing else reads what the command may scribble on. No parameters and no result.
    unsafe {
        pg_sys::ProcessUtility(
            plan.into_pg(),
            shown.as_ptr(),
            #[cfg(not(feature = "pg13"))]
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_QUERY,
            nobody,
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        // The next command has to see what this one did.
        pg_sys::CommandCounterIncrement();
    }
}
