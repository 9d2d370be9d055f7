//! Whether a row belongs into the partition, and has values where it must. Bounds whose values are numbers are compared here; everything else is
//! the server's to say, in its own words.

use super::receive::Memory;
use super::toast::heap_tuple;
use crate::page::binary::Field;
use crate::page::layout::{Layout, Reader};
use crate::page::plain::{has_ordinals, ordinal};
use crate::page::range::{Comparison, Range};
use crate::page::tuple::{Stamp, Tuple};
use crate::pg::copy::RelationGetPartitionQual;
use pgrx::{PgList, pg_sys};

/// The operators of numbers that partitions are bounded with, by type (pg_operator.dat): =, <, <=, >, >=.
const OPERATORS: [[u32; 5]; 6] = [
    [94, 95, 522, 520, 524],        // int2
    [96, 97, 523, 521, 525],        // int4
    [410, 412, 414, 413, 415],      // int8
    [1093, 1095, 1096, 1097, 1098], // date
    [2060, 2062, 2063, 2064, 2065], // timestamp
    [1320, 1322, 1323, 1324, 1325], // timestamptz
];
const COMPARISONS: [Comparison; 5] = [
    Comparison::Equal,
    Comparison::Below,
    Comparison::AtMost,
    Comparison::Above,
    Comparison::AtLeast,
];

/// The partition's bounds.
pub struct Judge {
    /// what is compared here: field, and range
    ranges: Vec<(usize, Range)>,
    readers: Vec<Reader>,
    /// fields that the other conditions are about, if there are any
    others: Option<Vec<usize>>,
    /// those of the last row that the server has let in
    accepted: Option<Vec<Option<Vec<u8>>>>,
    server: Server,
}

impl Judge {
    /// Reads the bounds of `relation`, which is open.
    pub fn new(relation: pg_sys::Relation, layout: &Layout, memory: &Memory) -> Judge {
        let mut judge = Judge {
            ranges: Vec::new(),
            readers: layout.attributes.iter().map(|attribute| attribute.reader).collect(),
            others: None,
            accepted: None,
            server: Server::new(relation, layout, memory),
        };
        // SAFETY: open, and locked with its parents. The list is a copy of the relcache's. Nothing in the closure has a destructor.
        let conditions = Memory::within(memory.load, || unsafe {
            let list = pg_sys::ffi::pg_guard_ffi_boundary(|| RelationGetPartitionQual(relation));
            PgList::<pg_sys::Node>::from_pg(list)
        });
        for condition in conditions.iter_ptr() {
            judge.add(condition, layout, memory);
        }
        judge
    }

    fn add(&mut self, condition: *mut pg_sys::Node, layout: &Layout, memory: &Memory) {
        let field_of = |attribute: usize| layout.attributes.get(attribute).and_then(|known| known.field);
        // SAFETY: a condition of the list above.
        let simple = unsafe { simple(condition) };
        if let Some((attribute, comparison)) = simple
            && let Some(field) = field_of(attribute)
            && has_ordinals(self.readers[attribute])
        {
            let before = self.ranges.iter().position(|(known, _)| *known == field);
            let range = before.map_or(Range::all(attribute), |at| self.ranges[at].1);
            let range = match comparison {
                // NULL has no number, so no range contains it.
                None => Some(range),
                Some((comparison, value)) => range.and(comparison, value),
            };
            if let Some(range) = range {
                match before {
                    Some(at) => self.ranges[at].1 = range,
                    None => self.ranges.push((field, range)),
                }
                return;
            }
        }
        // SAFETY: as above; a partition's bounds name columns of one table, and nothing that the function refuses.
        let columns = Memory::within(memory.load, || unsafe {
            let list = PgList::<pg_sys::Var>::from_pg(pg_sys::pull_var_clause(condition, 0));
            list.iter_ptr().map(|column| (*column).varattno).collect::<Vec<_>>()
        });
        let fields = columns
            .into_iter()
            .filter_map(|number| field_of(usize::try_from(number - 1).ok()?));
        self.others.get_or_insert_default().extend(fields);
    }

    /// True for a row that is known to belong here. What it says no to may.
    pub fn accepts(&self, fields: &[Field], row: &[u8]) -> bool {
        let is_within = |(field, range): &(usize, Range)| {
            let value =
                fields[*field].and_then(|(start, end)| ordinal(&row[start..end], self.readers[range.attribute]));
            value.is_some_and(|value| range.contains(value))
        };
        self.ranges.iter().all(is_within)
            && match (&self.others, &self.accepted) {
                (None, _) => true,
                (Some(_), None) => false,
                // Conditions say the same of the same values.
                (Some(others), Some(accepted)) => others
                    .iter()
                    .zip(accepted)
                    .all(|(field, known)| fields[*field].map(|(start, end)| &row[start..end]) == known.as_deref()),
            }
    }

    /// Has the server look at a row; what it refuses is an error. `has_missing`: something is NULL that must not be.
    pub fn ask(&mut self, tuple: &Tuple, stamp: Stamp, has_missing: bool, memory: &Memory) {
        self.server.check(tuple, stamp, has_missing, memory);
    }

    /// Notes that the server has let this row in.
    pub fn remember(&mut self, fields: &[Field], row: &[u8]) {
        if let Some(others) = &self.others {
            let value = |field: &usize| fields[*field].map(|(start, end)| row[start..end].to_vec());
            self.accepted = Some(others.iter().map(value).collect());
        }
    }
}

/// A condition on one column, from 0, that needs no server: how it is compared with a number, or (None) that it is not NULL.
///
/// # Safety
/// `condition` is an expression.
unsafe fn simple(condition: *mut pg_sys::Node) -> Option<(usize, Option<(Comparison, i64)>)> {
    // SAFETY: each node is looked at as what its tag says that it is.
    unsafe {
        match (*condition).type_ {
            pg_sys::NodeTag::T_NullTest => {
                let test = condition.cast::<pg_sys::NullTest>();
                let is_not_null = (*test).nulltesttype == pg_sys::NullTestType::IS_NOT_NULL;
                is_not_null.then_some((column((*test).arg.cast())?, None))
            }
            pg_sys::NodeTag::T_OpExpr => {
                let operation = condition.cast::<pg_sys::OpExpr>();
                let operator = (*operation).opno.to_u32();
                let of_type = OPERATORS.iter().find(|operators| operators.contains(&operator))?;
                let at = of_type.iter().position(|known| *known == operator)?;
                let arguments = PgList::<pg_sys::Node>::from_pg((*operation).args);
                let (left, right) = (arguments.get_ptr(0)?, arguments.get_ptr(1)?);
                Some((column(left)?, Some((COMPARISONS[at], constant(right)?))))
            }
            _ => None,
        }
    }
}

/// # Safety
/// `node` is an expression.
unsafe fn column(node: *mut pg_sys::Node) -> Option<usize> {
    // SAFETY: as above.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        usize::try_from((*node.cast::<pg_sys::Var>()).varattno - 1).ok()
    }
}

/// # Safety
/// `node` is an expression.
unsafe fn constant(node: *mut pg_sys::Node) -> Option<i64> {
    // SAFETY: as above; a value of two, four or eight bytes is in the Datum.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return None;
        }
        let constant = node.cast::<pg_sys::Const>();
        let value = (*constant).constvalue.value();
        if (*constant).constisnull || !(*constant).constbyval {
            return None;
        }
        match (*constant).constlen {
            2 => Some(i64::from(value as i16)),
            4 => Some(i64::from(value as i32)),
            8 => Some(value as i64),
            _ => None,
        }
    }
}

/// The executor's checks of a row (execMain.c), as COPY has them.
struct Server {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Server {
    fn new(relation: pg_sys::Relation, layout: &Layout, memory: &Memory) -> Server {
        // SAFETY: the relation is open; the order is CopyFrom's (copyfrom.c). All of it is the load's memory.
        Memory::within(memory.load, || unsafe {
            let state = pg_sys::CreateExecutorState();
            init_range_table(state, relation, layout);
            let target = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, relation, 1, std::ptr::null_mut(), 0);
            Server {
                relation,
                state,
                target,
                slot: pg_sys::MakeTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsHeapTuple),
            }
        })
    }

    fn check(&mut self, tuple: &Tuple, stamp: Stamp, has_missing: bool, memory: &Memory) {
        // SAFETY: made by `new`; the slot borrows the tuple, which is the row's memory, until it is cleared.
        unsafe {
            let tuple = heap_tuple(self.relation, tuple, stamp, memory);
            pg_sys::ExecStoreHeapTuple(tuple, self.slot, false);
            if has_missing {
                pg_sys::ExecConstraints(self.target, self.slot, self.state);
            }
            if (*(*self.relation).rd_rel).relispartition {
                pg_sys::ExecPartitionCheck(self.target, self.slot, self.state, true);
            }
            pg_sys::ExecClearTuple(self.slot);
            let context = (*self.state).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // While an error unwinds the abort is to let go of all.
        if !std::thread::panicking() {
            // SAFETY: made by `new`, in memory that is still there; the slot has nothing of a row any more.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::FreeExecutorState(self.state);
            }
        }
    }
}

/// Gives the executor the relation and the columns that are written, on which it depends what the error of a row shows of it (execMain.c,
/// ExecBuildSlotValueDescription).
///
/// # Safety
/// `state` is new, `relation` open.
unsafe fn init_range_table(state: *mut pg_sys::EState, relation: pg_sys::Relation, layout: &Layout) {
    // SAFETY: per the contract; as BeginCopyFrom and CopyFrom have it.
    unsafe {
        let parse = pg_sys::make_parsestate(std::ptr::null_mut());
        let (mode, none) = (pg_sys::RowExclusiveLock as i32, std::ptr::null_mut());
        let entry = pg_sys::addRangeTableEntryForRelation(parse, relation, mode, none, false, false);
        let numbers = (1i32..).zip(&layout.attributes);
        let written = numbers.filter(|(_, attribute)| attribute.field.is_some());
        let columns = written.fold(std::ptr::null_mut(), |columns, (number, _)| {
            pg_sys::bms_add_member(columns, number - pg_sys::FirstLowInvalidHeapAttributeNumber)
        });
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            (*(*entry).p_rte).insertedCols = columns;
            pg_sys::ExecInitRangeTable(state, (*parse).p_rtable);
        }
        #[cfg(any(feature = "pg16", feature = "pg17"))]
        {
            (*(*entry).p_perminfo).insertedCols = columns;
            pg_sys::ExecInitRangeTable(state, (*parse).p_rtable, (*parse).p_rteperminfos);
        }
        #[cfg(feature = "pg18")]
        {
            (*(*entry).p_perminfo).insertedCols = columns;
            let all = pg_sys::bms_make_singleton(1);
            pg_sys::ExecInitRangeTable(state, (*parse).p_rtable, (*parse).p_rteperminfos, all);
        }
    }
}
