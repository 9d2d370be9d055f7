//! Columns that the source does not send, filled as an INSERT through the table of the call fills
//! them: with that table's default. COPY into a partition would take the partition's own default,
//! which may be another one, or none.
//!
//! The values are added to each row of COPY's text, on its way from the source to the server, as
//! further columns. In that format a newline always ends a row, since one within a value is
//! escaped; and no byte of a longer character is a newline in an encoding that a server may have.

use super::copy::Feed;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// How much is taken from the source at a time, and about how much waits for the server at most.
const CHUNK: usize = 64 * 1024;

/// A column, and what fills it.
struct Column {
    /// none: NULL
    expression: Option<*mut pg_sys::ExprState>,
    /// gives a value of its own for each row
    is_volatile: bool,
    output: pg_sys::FmgrInfo,
    /// the value as COPY's text, of one that is the same for all rows
    known: Option<Vec<u8>>,
}

/// Defaults of a table's columns, in the order in which they are added to each row.
pub struct Defaults {
    columns: Vec<Column>,
    /// reset after each row
    context: *mut pg_sys::ExprContext,
}

impl Defaults {
    /// Those of `table` for `columns`. The table is locked by this transaction, at whose end this
    /// must be gone.
    pub fn of(table: u32, columns: &[String]) -> Result<Defaults> {
        let oid = pg_sys::Oid::from_u32(table);
        // SAFETY: inside a transaction that holds a lock on the table. The order is BeginCopyFrom's
        // (copyfrom.c). What is allocated belongs to the transaction's memory, where the callers of
        // a load are.
        unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::NoLock as i32);
            let columns: Result<Vec<Column>> = columns.iter().map(|name| column(relation, oid, name)).collect();
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            Ok(Defaults {
                columns: columns?,
                context: pg_sys::CreateStandaloneExprContext(),
            })
        }
    }

    /// Adds the values for one more row, each after a tab. May leave with an ERROR of the server.
    fn add_to(&mut self, row: &mut Vec<u8>) {
        for column in &mut self.columns {
            row.push(b'\t');
            match &column.known {
                Some(value) => row.extend_from_slice(value),
                None => {
                    let start = row.len();
                    // SAFETY: made by `of` in this transaction.
                    unsafe { evaluate(column, self.context, row) };
                    if !column.is_volatile {
                        column.known = Some(row[start..].to_vec());
                    }
                }
            }
        }
        // SAFETY: nothing of the row's values is used any more.
        unsafe { pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory) };
    }
}

/// # Safety
/// Inside a transaction that holds a lock on `relation`, whose OID is `oid`.
unsafe fn column(relation: pg_sys::Relation, oid: pg_sys::Oid, name: &str) -> Result<Column> {
    let c_name = CString::new(name).map_err(|_| Error::internal("zero byte in a column name"))?;
    // SAFETY: per the contract. The number is one of the relation's columns, so its type exists. A
    // default has no parameters and no columns, so it is planned and prepared by itself, as COPY
    // does it.
    unsafe {
        let number = pg_sys::get_attnum(oid, c_name.as_ptr());
        if number <= 0 {
            return Err(Error::internal(format!("column \"{name}\" is gone")));
        }
        let mut output = pg_sys::FmgrInfo::default();
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(pg_sys::get_atttype(oid, number), &mut function, &mut is_varlena);
        pg_sys::fmgr_info(function, &mut output);
        let default = pg_sys::build_column_default(relation, i32::from(number));
        let mut column = Column {
            expression: None,
            is_volatile: false,
            output,
            known: None,
        };
        if !default.is_null() {
            let planned = pg_sys::expression_planner(default.cast());
            column.is_volatile = pg_sys::contain_volatile_functions(planned.cast());
            column.expression = Some(pg_sys::ExecInitExpr(planned, std::ptr::null_mut()));
        }
        Ok(column)
    }
}

/// Adds the column's value to `row`, as COPY writes it.
///
/// # Safety
/// `column` and `context` are of a live [`Defaults`].
unsafe fn evaluate(column: &mut Column, context: *mut pg_sys::ExprContext, row: &mut Vec<u8>) {
    let Some(expression) = column.expression else {
        return row.extend_from_slice(b"\\N");
    };
    // SAFETY: per the contract. Value and text are in the context's memory, which is reset after
    // the row only.
    unsafe {
        let mut is_null = false;
        let value = pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
        if is_null {
            return row.extend_from_slice(b"\\N");
        }
        let before = pg_sys::MemoryContextSwitchTo((*context).ecxt_per_tuple_memory);
        let text = pg_sys::OutputFunctionCall(&mut column.output, value);
        pg_sys::MemoryContextSwitchTo(before);
        escape(CStr::from_ptr(text).to_bytes(), row);
    }
}

/// A value as COPY's text format has it.
fn escape(value: &[u8], into: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'\\' => into.extend_from_slice(b"\\\\"),
            b'\t' => into.extend_from_slice(b"\\t"),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            _ => into.push(*byte),
        }
    }
}

/// Rows of a source, with more columns at their ends.
struct Longer<'a, F> {
    rows: &'a mut dyn Feed,
    add: F,
    /// taken from the source; `chunk[at..]` is still to be looked at
    chunk: Vec<u8>,
    at: usize,
    /// `ready[sent..]` is for the server
    ready: Vec<u8>,
    sent: usize,
    /// the last byte did not end a row
    within_row: bool,
    at_end: bool,
}

/// The rows of `rows`, which are COPY's text, completed by `defaults`.
pub fn completed<'a>(rows: &'a mut dyn Feed, mut defaults: Defaults) -> impl Feed + 'a {
    Longer::new(rows, move |row: &mut Vec<u8>| defaults.add_to(row))
}

impl<'a, F: FnMut(&mut Vec<u8>)> Longer<'a, F> {
    fn new(rows: &'a mut dyn Feed, add: F) -> Self {
        Longer {
            rows,
            add,
            chunk: Vec::new(),
            at: 0,
            ready: Vec::new(),
            sent: 0,
            within_row: false,
            at_end: false,
        }
    }

    /// Gets something ready, unless there is nothing any more.
    fn get_ready(&mut self) -> Result<()> {
        self.ready.clear();
        self.sent = 0;
        if self.at == self.chunk.len() {
            self.chunk.resize(CHUNK, 0);
            let length = self.rows.read(&mut self.chunk, 1)?;
            self.chunk.truncate(length);
            self.at = 0;
            if length == 0 {
                self.at_end = true;
                // COPY takes a last row without its newline.
                if std::mem::take(&mut self.within_row) {
                    (self.add)(&mut self.ready);
                }
            }
        }
        while self.at < self.chunk.len() && self.ready.len() < CHUNK {
            let rest = &self.chunk[self.at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let row = &rest[..end.unwrap_or(rest.len())];
            self.ready.extend_from_slice(row);
            self.at += row.len();
            self.within_row = end.is_none();
            if end.is_some() {
                (self.add)(&mut self.ready);
                self.ready.push(b'\n');
                self.at += 1;
            }
        }
        Ok(())
    }
}

impl<F: FnMut(&mut Vec<u8>)> Feed for Longer<'_, F> {
    fn read(&mut self, buffer: &mut [u8], min: usize) -> Result<usize> {
        let mut filled = 0;
        while filled < min.max(1) {
            if self.sent == self.ready.len() {
                if self.at_end {
                    break;
                }
                self.get_ready()?;
                continue;
            }
            let rest = &self.ready[self.sent..];
            let length = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&rest[..length]);
            filled += length;
            self.sent += length;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `data` in pieces of `size` bytes.
    struct Pieces<'a> {
        data: &'a [u8],
        size: usize,
    }

    impl Feed for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8], _min: usize) -> Result<usize> {
            let length = self.size.min(self.data.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.data[..length]);
            self.data = &self.data[length..];
            Ok(length)
        }
    }

    /// What the server reads when each row gets its number, in pieces of `size` and buffers of
    /// `buffer` bytes.
    fn numbered(data: &[u8], size: usize, buffer: usize) -> Vec<u8> {
        let mut pieces = Pieces { data, size };
        let mut number = 0;
        let mut rows = Longer::new(&mut pieces, |row| {
            number += 1;
            row.extend_from_slice(format!("\t{number}").as_bytes());
        });
        let mut read = Vec::new();
        let mut buffer = vec![0; buffer];
        loop {
            match rows.read(&mut buffer, 1).expect("no error") {
                0 => return read,
                length => read.extend_from_slice(&buffer[..length]),
            }
        }
    }

    #[test]
    fn every_row_gets_its_values_wherever_the_data_is_cut() {
        let data = "a\tb\n\n\\N\tä\\nb\n\\\\.\nlast\n".as_bytes();
        let expected = "a\tb\t1\n\t2\n\\N\tä\\nb\t3\n\\\\.\t4\nlast\t5\n".as_bytes();
        for size in 1..=data.len() {
            for buffer in [1, 2, 7, 100] {
                assert_eq!(numbered(data, size, buffer), expected, "{size} {buffer}");
            }
        }
        assert_eq!(numbered(b"", 1, 8), b"");
        // A last row without newline is one.
        assert_eq!(numbered(b"a\nb", 1, 8), b"a\t1\nb\t2");
    }

    #[test]
    fn short_rows_with_long_values_are_got_ready_bit_by_bit() {
        let data = vec![b'\n'; 10_000];
        let mut pieces = Pieces {
            data: &data,
            size: CHUNK,
        };
        let mut rows = Longer::new(&mut pieces, |row| row.extend_from_slice(&[b'x'; 10_000]));
        let (mut buffer, mut total) = (vec![0; CHUNK], 0);
        loop {
            let length = rows.read(&mut buffer, 1).expect("no error");
            total += length;
            assert!(rows.ready.len() < CHUNK + 10_001);
            if length == 0 {
                break;
            }
        }
        assert_eq!(total, 10_000 * 10_001);
    }

    #[test]
    fn what_means_something_to_copy_is_escaped() {
        let mut row = Vec::new();
        escape("a\\b\tc\nd\re\\Nä".as_bytes(), &mut row);
        assert_eq!(row, "a\\\\b\\tc\\nd\\re\\\\Nä".as_bytes());
    }
}
