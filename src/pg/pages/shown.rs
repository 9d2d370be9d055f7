//! pg_stat_progress_copy shows a load as it shows a COPY.

/// Of this process, until it goes.
pub struct Progress;

#[cfg(not(feature = "pg13"))]
mod calls {
    use pgrx::pg_sys;

    /// A COPY into relation `oid` by a callback has begun.
    pub fn begin(oid: u32) {
        let what = [pg_sys::PROGRESS_COPY_COMMAND, pg_sys::PROGRESS_COPY_TYPE].map(|at| at as core::ffi::c_int);
        let values = [pg_sys::PROGRESS_COPY_COMMAND_FROM, pg_sys::PROGRESS_COPY_TYPE_CALLBACK].map(i64::from);
        // SAFETY: this process's own entry; the arrays are as long as is said (copyfrom.c, BeginCopyFrom).
        unsafe {
            pg_sys::pgstat_progress_start_command(
                pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY,
                pg_sys::Oid::from_u32(oid),
            );
            pg_sys::pgstat_progress_update_multi_param(2, what.as_ptr(), values.as_ptr());
        }
    }

    /// So much has come of it.
    pub fn show(rows: u64, bytes: u64) {
        // SAFETY: as above.
        unsafe {
            pg_sys::pgstat_progress_update_param(
                pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as core::ffi::c_int,
                rows as i64,
            );
            pg_sys::pgstat_progress_update_param(
                pg_sys::PROGRESS_COPY_BYTES_PROCESSED as core::ffi::c_int,
                bytes as i64,
            );
        }
    }

    /// It is over.
    pub fn end() {
        // SAFETY: as above.
        unsafe { pg_sys::pgstat_progress_end_command() };
    }
}

/// It has no such view.
#[cfg(feature = "pg13")]
mod calls {
    pub fn begin(_oid: u32) {}
    pub fn show(_rows: u64, _bytes: u64) {}
    pub fn end() {}
}

impl Progress {
    /// Of a load into relation `oid`.
    pub fn begin(oid: u32) -> Progress {
        calls::begin(oid);
        Progress
    }

    /// Rows and bytes so far.
    pub fn show(&self, rows: u64, bytes: u64) {
        calls::show(rows, bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // While an error unwinds the abort is to end it.
        if !std::thread::panicking() {
            calls::end();
        }
    }
}
