//! Rows into the server's own COPY: BeginCopyFrom, CopyFrom with a read callback, EndCopyFrom, as tablesync.c does.

use super::{helper, left_out, report};
use crate::error::{Error, Result};
use pgrx::{pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};

/// Where COPY's bytes come from.
pub trait Feed {
    /// Fills `buffer` with at least `min` bytes, waiting as needed; fewer only at the end of the data. The end may be reported only
    /// when the data is known to be complete. May leave with an ERROR of the server from its wait.
    fn read(&mut self, buffer: &mut [u8], min: usize) -> Result<usize>;
}

thread_local! {
    /// The running COPY's source: the server's callback has no argument of ours.
    static FEED: Cell<Option<*mut (dyn Feed + 'static)>> = const { Cell::new(None) };
    /// The error `read` gave, to be reported instead of the one raised in its place.
    static READ_ERROR: RefCell<Option<Error>> = const { RefCell::new(None) };
}

#[pg_guard]
unsafe extern "C-unwind" fn read_callback(
    buffer: *mut core::ffi::c_void,
    min: core::ffi::c_int,
    max: core::ffi::c_int,
) -> core::ffi::c_int {
    let Some(source) = FEED.get() else {
        report::raise(Error::internal("COPY asked for data outside of a copy"));
    };
    // SAFETY: `load` keeps the source alive and otherwise unused while CopyFrom runs; the server gives a buffer of `max` bytes. The
    // bytes are only written through the slice.
    let result = unsafe {
        (*source).read(
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), max as usize),
            min as usize,
        )
    };
    match result {
        Ok(length) => length as core::ffi::c_int,
        Err(error) => {
            READ_ERROR.set(Some(error.clone()));
            report::raise(error);
        }
    }
}

/// What became of the rows that a COPY has read, as far as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// in the table now
    pub loaded: u64,
    /// left out because of the condition; None where the number cannot be trusted
    pub left_out: Option<u64>,
}

impl Counted {
    /// So many, and none left out.
    pub fn all(loaded: u64) -> Counted {
        Counted {
            loaded,
            left_out: Some(0),
        }
    }
}

/// Loads everything `source` gives into the relation `oid`, which this transaction has locked and
/// emptied, and counts the rows. They are frozen: also a snapshot that is older than the commit
/// sees them, where it would see an empty table, and nobody has to write the pages again. Columns
/// are named in the order of the data. Errors carry COPY's context line in DETAIL. Checks no
/// privileges: the caller has.
///
/// With `filter`, rows that the relation's partition constraint refuses are left out, as by COPY's
/// WHERE, instead of being an error.
pub fn load(
    oid: u32,
    columns: &[String],
    binary: bool,
    encoding: &str,
    filter: bool,
    source: &mut dyn Feed,
) -> Result<Counted> {
    if filter && cfg!(feature = "pg13") {
        // Its BeginCopyFrom takes no condition.
        return Err(Error::unsupported(
            "HASH partitions that the source does not have alike need PostgreSQL 14 or later here",
        )
        .hint("Partition the source table by HASH as this one is (modulus, remainder, key), or sync into PostgreSQL 14 or later."));
    }
    let columns: Vec<CString> = columns
        .iter()
        .map(|c| CString::new(c.as_str()).map_err(|_| Error::internal("zero byte in a column name")))
        .collect::<Result<_>>()?;
    let encoding = CString::new(encoding).map_err(|_| Error::internal("zero byte in an encoding"))?;
    let raw: *mut (dyn Feed + '_) = source;
    // SAFETY: only the lifetime is erased; the pointer is cleared below before `source` can be gone, on every path.
    let raw = unsafe { std::mem::transmute::<*mut (dyn Feed + '_), *mut (dyn Feed + 'static)>(raw) };
    FEED.set(Some(raw));
    READ_ERROR.set(None);
    let load = || {
        report::catch(|| {
            // SAFETY: inside a transaction that holds a lock on the relation.
            Ok(unsafe { copy(oid, &columns, binary, &encoding, filter) })
        })
    };
    let result = match filter {
        true => left_out::reporting(load),
        false => load(),
    };
    FEED.set(None);
    result.map_err(|error| READ_ERROR.take().unwrap_or(error))
}

/// # Safety
/// Inside a transaction that holds a lock on `oid` sufficient for writing; `FEED` is set.
unsafe fn copy(oid: u32, columns: &[CString], binary: bool, encoding: &CStr, filter: bool) -> Counted {
    // SAFETY: per the contract; the order of calls is tablesync.c's (copy_table). Strings outlive the calls; the lists are the
    // server's. All memory belongs to the transaction, so an ERROR leaks nothing.
    unsafe {
        let relation = open(oid);
        let parse_state = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(
            parse_state,
            relation,
            pg_sys::RowExclusiveLock as i32,
            std::ptr::null_mut(),
            false,
            false,
        );
        let mut names = pgrx::PgList::<pg_sys::Node>::new();
        for column in columns {
            names.push(pg_sys::makeString(pg_sys::pstrdup(column.as_ptr())).cast());
        }
        let mut options = pgrx::PgList::<pg_sys::Node>::new();
        let mut option = |name: &CStr, value: &CStr| {
            let value = pg_sys::makeString(pg_sys::pstrdup(value.as_ptr())).cast();
            options.push(pg_sys::makeDefElem(pg_sys::pstrdup(name.as_ptr()), value, -1).cast());
        };
        option(c"format", if binary { c"binary" } else { c"text" });
        option(c"encoding", encoding);
        option(c"freeze", c"true");
        let condition = if filter {
            own_constraint(relation)
        } else {
            std::ptr::null_mut()
        };
        let state = begin(parse_state, relation, condition, names.into_pg(), options.into_pg());
        if filter {
            left_out::mark();
        }
        let loaded = match helper::is_helper() {
            true => helper::as_leader(|| pg_sys::CopyFrom(state)),
            false => pg_sys::CopyFrom(state),
        };
        // The end of the command is not the end of its figures, but this is where they are known to
        // be its own.
        let left_out = if filter { left_out::left_out() } else { Some(0) };
        pg_sys::EndCopyFrom(state);
        pg_sys::free_parsestate(parse_state);
        close(relation);
        Counted { loaded, left_out }
    }
}

/// Opens the table. In a helper it is made to look as it does to the leader, whose transaction this is: new in it, which COPY FREEZE asks
/// for.
///
/// # Safety
/// As `copy`.
pub(super) unsafe fn open(oid: u32) -> pg_sys::Relation {
    // SAFETY: per the contract; the lock is the group's.
    unsafe {
        if !helper::is_helper() {
            return pg_sys::table_open(pg_sys::Oid::from_u32(oid), pg_sys::NoLock as i32);
        }
        let relation = pg_sys::table_open(pg_sys::Oid::from_u32(oid), pg_sys::RowExclusiveLock as i32);
        set_new_in(relation, pg_sys::GetCurrentSubTransactionId());
        relation
    }
}

/// # Safety
/// `relation` comes from `open`.
pub(super) unsafe fn close(relation: pg_sys::Relation) {
    // SAFETY: per the contract; the end of the transaction would not put it back, as it looks at what it knows to be new only.
    unsafe {
        if helper::is_helper() {
            set_new_in(relation, 0);
            uncount(relation);
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}

/// Leaves it to the leader to tell the statistics of the rows: its own report, which is the later one, begins with a table that is empty.
///
/// # Safety
/// `relation` is open.
unsafe fn uncount(relation: pg_sys::Relation) {
    // SAFETY: per the contract; the counters belong to this transaction until it ends, and nothing else in it inserts.
    unsafe {
        let status = (*relation).pgstat_info;
        if !status.is_null() && !(*status).trans.is_null() {
            (*(*status).trans).tuples_inserted = 0;
        }
    }
}

/// # Safety
/// `relation` is open.
unsafe fn set_new_in(relation: pg_sys::Relation, subtransaction: pg_sys::SubTransactionId) {
    // SAFETY: per the contract.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            (*relation).rd_newRelfilenodeSubid = subtransaction;
        }
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        {
            (*relation).rd_newRelfilelocatorSubid = subtransaction;
        }
    }
}

unsafe extern "C-unwind" {
    // partcache.h, which the bindings leave out.
    pub(super) fn RelationGetPartitionQual(relation: pg_sys::Relation) -> *mut pg_sys::List;
}

/// The relation's partition constraint as COPY's WHERE takes it: an implicitly ANDed list, planned (execExpr.c, ExecPrepareQual). Null where
/// there is none.
///
/// # Safety
/// `relation` is open.
unsafe fn own_constraint(relation: pg_sys::Relation) -> *mut pg_sys::Node {
    // SAFETY: per the contract; the list is a copy of the relcache's. Nothing in the closure has a destructor.
    unsafe {
        let qual = pg_sys::ffi::pg_guard_ffi_boundary(|| RelationGetPartitionQual(relation));
        pg_sys::expression_planner(qual.cast()).cast()
    }
}

/// # Safety
/// As BeginCopyFrom.
#[cfg(not(feature = "pg13"))]
unsafe fn begin(
    parse_state: *mut pg_sys::ParseState,
    relation: pg_sys::Relation,
    filter: *mut pg_sys::Node,
    columns: *mut pg_sys::List,
    options: *mut pg_sys::List,
) -> pg_sys::CopyFromState {
    // SAFETY: per the contract.
    unsafe {
        pg_sys::BeginCopyFrom(
            parse_state,
            relation,
            filter,
            std::ptr::null(),
            false,
            Some(read_callback),
            columns,
            options,
        )
    }
}

/// # Safety
/// As BeginCopyFrom.
#[cfg(feature = "pg13")]
unsafe fn begin(
    parse_state: *mut pg_sys::ParseState,
    relation: pg_sys::Relation,
    _filter: *mut pg_sys::Node,
    columns: *mut pg_sys::List,
    options: *mut pg_sys::List,
) -> pg_sys::CopyState {
    // SAFETY: per the contract.
    unsafe {
        pg_sys::BeginCopyFrom(
            parse_state,
            relation,
            std::ptr::null(),
            false,
            Some(read_callback),
            columns,
            options,
        )
    }
}
