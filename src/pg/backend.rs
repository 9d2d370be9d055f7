//! Who and where this process is: identity, database, server state.

use super::spi;
use crate::error::{Error, Result, tame};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString};

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

/// This process.
pub fn pid() -> i32 {
    // SAFETY: set at process start.
    unsafe { pg_sys::MyProcPid }
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

/// True while the server loads shared_preload_libraries.
pub fn is_preloading() -> bool {
    // SAFETY: a variable of this process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// True when the setting has a value, whether or not it was defined.
pub fn has_setting(name: &CStr) -> bool {
    // SAFETY: looks into the process's table of settings; an unknown one gives null.
    !unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) }.is_null()
}

/// From now on no setting of this prefix can be made up: SET of an unknown one is an error, and those that were set before the library was
/// there are dropped with a WARNING. Before 15 there is the WARNING alone.
pub fn reserve_settings(prefix: &CStr) {
    // SAFETY: the server compares its placeholders with the prefix, and copies it.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14"))]
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// The search_path of everything that no user has written.
pub const PINNED_PATH: &str = "pg_catalog, pg_temp";

/// Runs `f` with the privileges of `owner`: cgpsync's own tables are written by nobody else, whoever calls. Code of the caller's, such as a
/// trigger, may have set this process's search_path, so that is pinned; `f` runs no such code.
pub fn as_role<T>(owner: u32, f: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32, f)
}

/// Runs `f`, fixed statements on the server's catalogs, with the privileges of the role that the server was made with.
/// The caller has made sure that what they come to may be done.
pub fn as_superuser<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    as_role(pg_sys::BOOTSTRAP_SUPERUSERID, f)
}

/// Runs `f` under a search_path of pg_catalog, whatever code of others has made of it in this transaction.
pub fn with_pinned_path<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    with_path(PINNED_PATH, f)
}

/// Runs `f` under this search_path.
pub fn with_path<T>(path: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let path = CString::new(path).map_err(|_| Error::internal("zero byte in a search_path"))?;
    with_local_settings(|| {
        // Until the level ends, as a function's SET clause has it (fmgr.c).
        set_path(&path, pg_sys::GucAction::GUC_ACTION_SAVE);
        f()
    })
}

/// The search_path that a session of the role begins with: that of ALTER ROLE, ALTER DATABASE or the server. For
/// processes of ours, which are such sessions.
pub fn path_of_role() -> String {
    // SAFETY: the setting exists; the text is the server's and copied at once.
    unsafe {
        let text = pg_sys::GetConfigOptionResetString(c"search_path".as_ptr());
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// The same for the session of a process of ours, whatever code of others has made of it in an earlier transaction.
pub(super) fn pin_path() {
    if let Ok(path) = CString::new(PINNED_PATH) {
        set_path(&path, pg_sys::GucAction::GUC_ACTION_SET);
    }
}

/// Sets a setting to the end of the transaction, without SQL.
pub fn set_locally(name: &CStr, value: &str) -> Result<()> {
    let value = CString::new(value).map_err(|_| Error::internal("zero byte in a setting"))?;
    let (context, action) = (pg_sys::GucContext::PGC_USERSET, pg_sys::GucAction::GUC_ACTION_LOCAL);
    set(name, &value, context, action);
    Ok(())
}

/// Has this process look for a deadlock soon when it waits for a lock, be the setting a superuser's: whoever looks first is the victim, and what a
/// process of ours has done it tries again, which REINDEX and the like of others do not.
pub fn look_early_for_deadlocks() {
    let (context, action) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucAction::GUC_ACTION_SET);
    set(c"deadlock_timeout", c"100ms", context, action);
}

fn set_path(path: &CStr, action: pg_sys::GucAction::Type) {
    let context = pg_sys::GucContext::PGC_USERSET;
    set(c"search_path", path, context, action);
}

fn set(name: &CStr, value: &CStr, context: pg_sys::GucContext::Type, action: pg_sys::GucAction::Type) {
    // SAFETY: inside a transaction; what may not be set in this context, and a value that is none, are errors of the server.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

fn with_role<T>(role: u32, flags: i32, f: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Restore(pg_sys::Oid, i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: puts back what was read below; the call only sets two variables.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) };
        }
    }
    with_pinned_path(|| {
        let (mut before, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: getters and setters of two process variables. LOCAL_USERID_CHANGE is what fmgr.c sets for SECURITY DEFINER,
        // RESTRICTED_OPERATION what index.c sets beside it; an abort restores them too (xact.c, AbortTransaction).
        let _restore = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
            let restore = Restore(before, context);
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from_u32(role), context | flags);
            restore
        };
        f()
    })
}

/// Runs `f`, which reads a table of `owner`'s, with that role's rights, as the server does when it builds indexes and gathers statistics:
/// functions in the table's indexes, constraints and statistics may run as soon as a statement about it is planned, and nothing of theirs
/// must outlive `f`.
pub fn as_tables_owner<T>(owner: u32, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let restricted = (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
    with_role(owner, restricted, f)
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

thread_local! {
    /// What `show_activity` shows last.
    static ACTIVITY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Shows what this process waits for beside what it does, if that is shown.
pub fn show_waiting(what: &str) {
    if let Some(activity) = ACTIVITY.with_borrow(Clone::clone) {
        report_activity(Some(&format!("{activity}: {what}")));
    }
}

/// Shows what it does, as before.
pub fn show_waited() {
    if let Some(activity) = ACTIVITY.with_borrow(Clone::clone) {
        report_activity(Some(&activity));
    }
}

/// Shows `activity` as this process's query in pg_stat_activity and ps, or that it is idle.
pub fn show_activity(activity: Option<&str>) {
    ACTIVITY.set(activity.map(str::to_owned));
    report_activity(activity);
}

fn report_activity(activity: Option<&str>) {
    let text = activity.and_then(|a| CString::new(tame(a)).ok());
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
    if let Ok(name) = CString::new(tame(name)) {
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
