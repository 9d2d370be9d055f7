//! Rows of the source into a table of this database, by the server's own COPY or by pages of our own making.

use crate::error::{Error, Result};
use crate::page::layout::Layout;
use crate::pg::board::Gauge;
use crate::pg::copy::{self, Counted};
use crate::pg::filling::{self, Defaults};
use crate::pg::{backend, pages};
use crate::targets::loading::Moved;
use crate::wire::copy_out::CopyOut;

/// Where rows go, and what they are.
#[derive(Debug, Clone, Copy)]
pub struct CopyIn<'a> {
    /// the table of the call
    pub table: u32,
    /// its partition, or itself
    pub unit: u32,
    /// columns in the order of the data
    pub columns: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// the data holds rows of other partitions, which are dropped and counted
    pub filter: bool,
    /// search_path of functions that rows set off
    pub path: &'a str,
    /// the unit's place on the board
    pub gauge: Gauge,
    /// what pages are made by; None: by COPY
    pub pages: Option<&'a Layout>,
}

impl CopyIn<'_> {
    /// Loads what a COPY of the source sends, all of it.
    pub fn load(&self, mut rows_of_source: CopyOut<'_>) -> Result<Moved> {
        self.load_with(&[], &mut rows_of_source)
    }

    /// The same; columns in `defaults` are filled with the table's defaults rather than the unit's.
    pub fn load_with(&self, defaults: &[String], rows_of_source: &mut CopyOut<'_>) -> Result<Moved> {
        let load = |columns: &[String], rows: &mut dyn copy::Feed| {
            backend::with_path(self.path, || match self.pages {
                Some(layout) => pages::load(self.unit, layout, self.gauge, rows).map(Counted::all),
                None => copy::load(self.unit, columns, self.binary, &backend::encoding(), self.filter, rows),
            })
        };
        let counted = match defaults.is_empty() {
            true => load(self.columns, rows_of_source)?,
            false => {
                let values = Defaults::of(self.table, defaults)?;
                let columns = [self.columns, defaults].concat();
                load(&columns, &mut filling::completed(rows_of_source, values))?
            }
        };
        let rows = complete(rows_of_source.rows()?, counted)?;
        let bytes = rows_of_source.bytes();
        Ok(Moved { rows, bytes })
    }
}

/// The number of rows loaded, if all that were sent are there, or were left out by the condition.
fn complete(sent: u64, counted: Counted) -> Result<u64> {
    let Counted { loaded, left_out } = counted;
    if left_out.and_then(|left_out| loaded.checked_add(left_out)) == Some(sent) {
        return Ok(loaded);
    }
    let (message, detail) = match left_out {
        Some(0) => (
            format!("{sent} rows were sent and {loaded} loaded"),
            "A trigger that skips rows makes the copy incomplete.",
        ),
        Some(elsewhere) => (
            format!("{sent} rows were sent, {elsewhere} of them of other partitions, and {loaded} loaded"),
            "A trigger that skips rows makes the copy incomplete.",
        ),
        None => (
            format!("{sent} rows were sent and {loaded} loaded, and how many are of other partitions is not known"),
            "A trigger has run a command of its own that shows progress, in the place where the rows are counted.",
        ),
    };
    Err(Error::protocol(message)
        .detail(detail)
        .hint("Disable the trigger on this partition for the sync, or let it raise an error."))
}
