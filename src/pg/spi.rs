//! SQL in this process. Parameters and results travel as text, cast by the statement: our statements move names, counts and
//! states, never table data. pgrx's SPI decides by itself which snapshot a statement gets; a backend that waits for other
//! processes' commits has to decide that itself, hence this.

use super::error_context;
use crate::error::{Error, Result};
use crate::row::Row;
use pgrx::{IntoDatum, pg_sys};
use std::ffi::{CStr, CString};

/// Runs `sql` with a snapshot of its own, as a client's statement has. Arguments are `$1`, `$2` … of type text.
pub fn execute(sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
    run(sql, args, false)
}

/// Runs the SELECT `sql` with a snapshot taken now, whatever the transaction's isolation level: sees what others committed since.
pub fn select_latest(sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
    // SAFETY: inside a transaction (SQL function or xact::transaction); push and pop pair up, and an error in between
    // aborts the transaction, which pops the rest.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let rows = run(sql, args, true);
        pg_sys::PopActiveSnapshot();
        rows
    }
}

/// Runs `f` under one snapshot, taken now: what its [`select`]s read is one state of the database.
pub fn in_one_snapshot<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: as in select_latest.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = f();
    // SAFETY: pushed above; SPI has popped its own.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// Runs the SELECT `sql` with the snapshot of the enclosing [`in_one_snapshot`], in parallel where the server sees fit.
pub fn select(sql: &str) -> Result<Vec<Row>> {
    run(sql, &[], true)
}

fn run(sql: &str, args: &[Option<&str>], read_only: bool) -> Result<Vec<Row>> {
    let command = CString::new(sql).map_err(|_| Error::internal("zero byte in a statement"))?;
    let mut types = vec![pg_sys::TEXTOID; args.len()];
    let nulls: Vec<core::ffi::c_char> = args
        .iter()
        .map(|a| if a.is_some() { b' ' } else { b'n' } as core::ffi::c_char)
        .collect();
    // SAFETY: called inside a transaction. SPI copies nothing it keeps: arguments and command outlive the call. The
    // result is copied into Rust strings before SPI_finish frees it; an error unwinds and the abort closes SPI's level.
    unsafe {
        pg_sys::SPI_connect();
        let mut values: Vec<pg_sys::Datum> = args
            .iter()
            .map(|a| a.and_then(IntoDatum::into_datum).unwrap_or(pg_sys::Datum::from(0)))
            .collect();
        let code = error_context::within_statement(sql, || {
            pg_sys::SPI_execute_with_args(
                command.as_ptr(),
                args.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                read_only,
                0,
            )
        });
        if code < 0 {
            return Err(Error::internal(format!("SPI error {code} in: {sql}")));
        }
        let rows = collect(pg_sys::SPI_tuptable);
        pg_sys::SPI_finish();
        Ok(rows)
    }
}

/// # Safety
/// `table` is null or SPI's current result.
unsafe fn collect(table: *mut pg_sys::SPITupleTable) -> Vec<Row> {
    // SAFETY: per the contract; SPI fills vals[0..numvals] and tupdesc, and SPI_getvalue gives a palloc'd string or null.
    unsafe {
        let Some(table) = table.as_ref() else {
            return Vec::new();
        };
        let columns = (*table.tupdesc).natts;
        (0..table.numvals as usize)
            .map(|at| {
                let tuple = *table.vals.add(at);
                let value = |column| {
                    let text = pg_sys::SPI_getvalue(tuple, table.tupdesc, column);
                    (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
                };
                (1..=columns).map(value).collect::<Vec<_>>().into()
            })
            .collect()
    }
}
