//! Rows into a table whose storage is new in this transaction, by pages of our own making: what COPY with FREEZE would leave there, at less than
//! half of its price. Forming tuples and pages is `crate::page`'s; here is what the server has to do with it.
//!
//! Nobody else sees the storage before the commit (see [`super::relation::renew`]), so nothing is locked and no page goes through shared buffers,
//! as when the server builds an index or rewrites a table (nbtsort.c, rewriteheap.c, bulk_write.c).

mod forks;
mod judge;
mod receive;
mod shown;
mod toast;

use super::board::Gauge;
use super::copy::{self, Feed};
use super::{helper, relation, report, wait};
use crate::error::{Error, Result, sqlstate};
use crate::page::binary::{self, Field, Next};
use crate::page::block::{self, BATCH, Filling};
use crate::page::layout::Layout;
use crate::page::plain;
use crate::page::tuple::{Stamp, Tuple};
use forks::{Fork, Storage};
use judge::Judge;
use pgrx::pg_sys;
use receive::{Memory, Receivers};
use shown::Progress;

/// Bytes taken from the source at a time, where a row is not longer: as many as COPY takes, for `cgpsync.max_rate` to be even.
const CHUNK: usize = 64 * 1024;

/// True where this server lays out pages as `crate::page` does.
pub const LAYS_OUT_ALIKE: bool =
    pg_sys::BLCKSZ as usize == block::SIZE && cfg!(all(target_endian = "little", target_pointer_width = "64"));

/// Loads what `source` gives, a binary COPY with the layout's fields, into relation `oid`, which this transaction has locked and given new
/// storage, and counts the rows. The caller has made sure that nothing but the values' own types and the partition's bounds has a say in what
/// a row is. Errors are COPY's, with its context line in DETAIL. Several processes of a transaction may do this at once: `gauge` hands out the
/// blocks. [`finish`] then follows once.
pub fn load(oid: u32, layout: &Layout, gauge: Gauge, source: &mut dyn Feed) -> Result<u64> {
    let mut load = || {
        report::catch(|| {
            // SAFETY: inside a transaction that holds a lock on the relation; in a helper the group does.
            let relation = unsafe { copy::open(oid) };
            let rows = Loader::new(oid, relation, layout, gauge).load(source)?;
            // SAFETY: opened above. After an error the abort closes it.
            unsafe { copy::close(relation) };
            Ok(rows)
        })
    };
    if helper::is_helper() {
        // The leader tells the statistics of its rows.
        return helper::as_leader(load);
    }
    let rows = load()?;
    relation::count_loaded(oid, rows);
    Ok(rows)
}

/// Makes the visibility map of relation `oid`, whose first `blocks` pages [`load`] has written.
pub fn finish(oid: u32, layout: &Layout, blocks: u32) -> Result<()> {
    report::catch(|| {
        // SAFETY: as above.
        let relation = unsafe { copy::open(oid) };
        let mut storage = Storage::new(relation, &layout.path, Fork::VisibilityMap);
        let mut page = block::zeroed();
        for number in 0..blocks.div_ceil(block::BLOCKS_PER_MAP) {
            block::map(&mut page.0, blocks - number * block::BLOCKS_PER_MAP);
            storage.write(std::slice::from_mut(&mut page), number)?;
        }
        forks::forget_sizes(relation);
        // SAFETY: opened above.
        unsafe { copy::close(relation) };
        Ok(())
    })
}

/// What has come and is no row yet.
struct Input {
    data: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    /// all that has come
    bytes: u64,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Gets more.
    fn fill(&mut self, source: &mut dyn Feed) -> Result<()> {
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // Twice as much when it is full: as much as a source says that it will send, it may not send.
        if self.end == self.data.len() {
            self.data.resize(self.data.len() * 2, 0);
        }
        let length = source.read(&mut self.data[self.end..], 1)?;
        self.end += length;
        self.bytes += length as u64;
        self.at_end = length == 0;
        Ok(())
    }
}

/// How far a load has come with what there is.
#[derive(PartialEq, Eq)]
enum State {
    Header,
    Rows,
    /// the end has been said
    Ended,
}

struct Loader<'a> {
    layout: &'a Layout,
    gauge: Gauge,
    oid: u32,
    relation: pg_sys::Relation,
    receivers: Receivers,
    judge: Judge,
    /// what those above are made of: it goes last
    memory: Memory,
    storage: Storage,
    stamp: Stamp,
    tuple: Tuple,
    filling: Filling,
    fields: Vec<Field>,
    state: State,
    /// the row's number, from 1, and the attribute that is being made
    line: u64,
    attribute: Option<usize>,
}

impl<'a> Loader<'a> {
    fn new(oid: u32, relation: pg_sys::Relation, layout: &'a Layout, gauge: Gauge) -> Loader<'a> {
        let memory = Memory::new();
        // SAFETY: inside a transaction that may write. As for a COPY (copyfrom.c, CopyFrom), the command is one that changes something.
        let stamp = unsafe {
            Stamp {
                xmin: u32::from(pg_sys::GetCurrentTransactionId()),
                command: pg_sys::GetCurrentCommandId(true),
            }
        };
        Loader {
            layout,
            gauge,
            oid,
            relation,
            receivers: Receivers::new(layout, &memory),
            judge: Judge::new(relation, layout, &memory),
            memory,
            storage: Storage::new(relation, &layout.path, Fork::Main),
            stamp,
            tuple: Tuple::new(layout.attributes.len()),
            filling: Filling::new(layout.fillfactor),
            fields: Vec::with_capacity(layout.fields),
            state: State::Header,
            line: 0,
            attribute: None,
        }
    }

    fn load(mut self, source: &mut dyn Feed) -> Result<u64> {
        let mut input = Input {
            data: vec![0; CHUNK],
            start: 0,
            end: 0,
            at_end: false,
            bytes: 0,
        };
        let progress = Progress::begin(self.oid);
        while !input.at_end {
            input.fill(source)?;
            wait::check_interrupts();
            // Errors of the server unwind to here, where the row is known that they are about.
            report::catch(|| self.take(&mut input)).map_err(|error| self.with_context(error))?;
            progress.show(self.line, input.bytes);
        }
        self.flush()?;
        Ok(self.line)
    }

    fn take(&mut self, input: &mut Input) -> Result<()> {
        if self.state == State::Header {
            match binary::header(input.unread())? {
                Some(length) => input.start += length,
                None if input.at_end => return Err(binary::short_header(input.unread())),
                None => return Ok(()),
            }
            self.state = State::Rows;
        }
        while self.state == State::Rows {
            match binary::next(input.unread(), self.layout.fields, &mut self.fields) {
                Ok(Next::Row(length)) => {
                    self.line += 1;
                    self.row(&input.data[input.start..input.start + length])?;
                    input.start += length;
                }
                // A single byte more counts as the end for COPY, too (CopyGetInt16).
                Ok(Next::Partial(_)) if input.at_end && input.unread().len() > 1 => {
                    return self.broken(input.unread(), Some(self.fields.len()), binary::short_row());
                }
                Ok(Next::Partial(_)) => return Ok(()),
                Ok(Next::TooLong { field, length }) => {
                    return self.broken(input.unread(), Some(field), receive::too_long(length));
                }
                Ok(Next::End) => {
                    input.start += 2;
                    self.state = State::Ended;
                }
                Err(broken) => return self.broken(input.unread(), broken.field, broken.error),
            }
        }
        match input.unread() {
            [] => Ok(()),
            // The end counts as a line.
            data => self.broken(data, None, binary::beyond_end()),
        }
    }

    /// The error of a row that is broken at a field, unless one of the values before that has one.
    fn broken(&mut self, row: &[u8], field: Option<usize>, error: Error) -> Result<()> {
        self.line += 1;
        if let Some(field) = field {
            self.fields.truncate(field);
            self.values(row)?;
            let mut attributes = self.layout.attributes.iter();
            self.attribute = attributes.position(|attribute| attribute.field == Some(field));
        }
        Err(error)
    }

    /// Makes a tuple of a row's fields, or of those that are known. True if one is NULL that must not be.
    fn values(&mut self, row: &[u8]) -> Result<bool> {
        self.tuple.clear();
        let mut has_missing = false;
        for (at, attribute) in self.layout.attributes.iter().enumerate() {
            let field = attribute
                .field
                .and_then(|field| self.fields.get(field).copied().flatten());
            match field {
                Some((start, end)) if plain::append(&row[start..end], attribute, &mut self.tuple) => continue,
                None if !self.receivers.take_null(at) => {
                    has_missing |= attribute.not_null;
                    self.tuple.null(at);
                    continue;
                }
                _ => {}
            }
            self.attribute = Some(at);
            let field = field.map(|(start, end)| &row[start..end]);
            let is_null = self
                .receivers
                .receive(at, attribute, field, &self.memory, &mut self.tuple)?;
            has_missing |= is_null && attribute.not_null;
            self.attribute = None;
        }
        Ok(has_missing)
    }

    /// One row becomes a tuple on a page.
    fn row(&mut self, row: &[u8]) -> Result<()> {
        let has_missing = self.values(row)?;
        if has_missing || !self.judge.accepts(&self.fields, row) {
            self.judge.ask(&self.tuple, self.stamp, has_missing, &self.memory);
            self.judge.remember(&self.fields, row);
        }
        let length = self.tuple.length();
        if length <= block::TOAST_THRESHOLD {
            let (tuple, stamp) = (&self.tuple, self.stamp);
            place(&mut self.filling, length, &mut self.storage, self.gauge, |to| {
                tuple.write(stamp, to)
            })?;
        } else {
            self.long_row()?;
        }
        self.memory.reset();
        Ok(())
    }

    /// The same with a tuple that is to be shortened.
    fn long_row(&mut self) -> Result<()> {
        let tuple = toast::shorten(self.relation, &self.tuple, self.stamp, &self.memory);
        let aligned = tuple.len().next_multiple_of(8);
        if aligned > block::LONGEST_TUPLE {
            // hio.c, RelationGetBufferForTuple
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("row is too big: size {aligned}, maximum size {}", block::LONGEST_TUPLE),
            ));
        }
        let copy = |to: &mut [u8]| to.copy_from_slice(tuple);
        place(&mut self.filling, tuple.len(), &mut self.storage, self.gauge, copy)
    }

    fn flush(&mut self) -> Result<()> {
        flush(&mut self.filling, &mut self.storage, self.gauge)
    }

    /// COPY's own words for where it is (copyfrom.c, CopyFromErrorCallback).
    fn with_context(&self, error: Error) -> Error {
        if self.line == 0 {
            return error;
        }
        let place = format!("COPY {}, line {}", self.layout.table, self.line);
        let column = self.attribute.and_then(|at| self.layout.attributes.get(at));
        error.more_detail(&match column {
            Some(column) => format!("{place}, column {}", column.name),
            None => place,
        })
    }
}

/// Has `write` fill the place of another tuple, for which full pages may have to go first.
fn place(
    filling: &mut Filling,
    length: usize,
    storage: &mut Storage,
    gauge: Gauge,
    write: impl FnOnce(&mut [u8]),
) -> Result<()> {
    if filling.is_full_for(length) {
        flush(filling, storage, gauge)?;
    }
    write(filling.place(length));
    Ok(())
}

/// Pages get their place in the table when they are full: so those of several processes leave no gap.
fn flush(filling: &mut Filling, storage: &mut Storage, gauge: Gauge) -> Result<()> {
    let count = filling.count();
    if count > 0 {
        let first = gauge.take_blocks(count as u32);
        if first > u32::MAX - 2 * BATCH as u32 {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                "cannot extend the partition beyond 4294967295 blocks",
            ));
        }
        filling.number(first);
        storage.write(&mut filling.pages[..count], first)?;
        filling.restart();
        wait::check_interrupts();
    }
    Ok(())
}
