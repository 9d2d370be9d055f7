//! Who and where this process is: identity, database, server state.

use super::spi;
use crate::error::{Error, Result, tame};
use pgrx::pg_sys;
use std::ffi::CStr;

/// OID of the role whose privileges apply now (current_user).
pub fn current_role() -> u32 {
    // SAFETY: a plain getter, valid once the session is initialised.
    unsafe { pg_sys::GetUserId() }.to_u32()
}

/// True when the role whose privileges apply now is superuser.
pub fn is_superuser() -> bool {
    // SAFETY: looks the current role up in the system cache; called inside transactions only.
    unsafe { pg_sys::superuser() }
}

/// OID of this database.
pub fn database() -> u32 {
    // SAFETY: set at session start and constant since.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// This server's version as a number: 150010 for 15.10.
pub const VERSION: u32 = pg_sys::PG_VERSION_NUM;

/// Whether the current role may ANALYZE table `c` of pg_class, in SQL: its owner may, and since 17 there is a privilege for it.
pub const MAY_MAINTAIN: &str = if VERSION >= 170_000 {
    "has_table_privilege(c.oid, 'MAINTAIN')"
} else {
    "pg_has_role(c.relowner, 'USAGE')"
};

/// True where a statement may not leave its sandbox: maintenance of somebody else's index or materialised view.
pub fn is_security_restricted() -> bool {
    // SAFETY: a plain getter.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// True on a standby.
pub fn is_in_recovery() -> bool {
    // SAFETY: reads shared memory only.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// True when the transaction may not write.
pub fn is_read_only() -> bool {
    // SAFETY: a process-local flag.
    unsafe { pg_sys::XactReadOnly }
}

/// Name of this database's encoding, as client_encoding takes it.
pub fn encoding() -> String {
    // SAFETY: GetDatabaseEncodingName gives a static string.
    let name = unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) };
    name.to_string_lossy().into_owned()
}

/// This session's TimeZone.
pub fn timezone() -> Result<String> {
    let rows = spi::execute("SELECT pg_catalog.current_setting('TimeZone')", &[])?;
    rows.first().ok_or_else(|| Error::internal("no TimeZone"))?.string(0)
}

/// True when the setting has a value, whether or not it was defined.
pub fn has_setting(name: &CStr) -> bool {
    // SAFETY: looks into the process's table of settings; an unknown one gives null.
    !unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) }.is_null()
}

/// Runs `f` with the privileges of `owner`: cgpsync's own tables are written by nobody else, whoever calls. Statements inside must
/// name every object and operator with its schema or run under a pinned search_path, as our processes do.
pub fn as_role<T>(owner: u32, f: impl FnOnce() -> T) -> T {
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back what was read below; the call only sets two variables.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) };
        }
    }
    let (mut role, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: getters and setters of two process variables. LOCAL_USERID_CHANGE is what fmgr.c sets for SECURITY DEFINER;
    // an abort restores them too (xact.c, AbortTransaction).
    let _restore = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut role, &mut context);
        let restore = Restore(role, context);
        pg_sys::SetUserIdAndSecContext(
            pg_sys::Oid::from_u32(owner),
            context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
        );
        restore
    };
    f()
}

/// Runs `f`; settings it changes for the transaction (SET LOCAL) are put back after it, as after a function with a SET clause (fmgr.c).
pub fn with_local_settings<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: inside a transaction; the levels pair up, and an error ends the transaction, which pops what is left.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    let result = f();
    // SAFETY: as above. false: nothing is kept.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    result
}

/// Shows `activity` as this process's query in pg_stat_activity and ps, or that it is idle.
pub fn show_activity(activity: Option<&str>) {
    let text = activity.and_then(|a| std::ffi::CString::new(tame(a)).ok());
    let (state, pointer) = match &text {
        Some(text) => (pg_sys::BackendState::STATE_RUNNING, text.as_ptr()),
        None => (pg_sys::BackendState::STATE_IDLE, std::ptr::null()),
    };
    // SAFETY: both calls copy the string into this process's status slot.
    unsafe {
        pg_sys::pgstat_report_activity(state, pointer);
        pg_sys::set_ps_display(if pointer.is_null() { c"idle".as_ptr() } else { pointer });
    }
}

/// Names this process in pg_stat_activity.application_name.
pub fn set_application_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(tame(name)) {
        // SAFETY: copies the string.
        unsafe { pg_sys::pgstat_report_appname(name.as_ptr()) };
    }
}

/// Sets a setting of this process, `local` to the transaction or for good.
pub fn set_config(name: &str, value: &str, local: bool) -> Result<()> {
    let local = if local { "true" } else { "false" };
    spi::execute(
        "SELECT pg_catalog.set_config($1, $2, $3::pg_catalog.bool)",
        &[Some(name), Some(value), Some(local)],
    )
    .map(|_| ())
}
