//! Tuples in the server's own memory: for its checks, and for what is too long for a page.

use super::receive::Memory;
use crate::page::tuple::{Stamp, Tuple};
use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // access/heaptoast.h, which the bindings leave out; the same from 13 to 18.
    fn heap_toast_insert_or_update(
        relation: pg_sys::Relation,
        new: pg_sys::HeapTuple,
        old: pg_sys::HeapTuple,
        options: core::ffi::c_int,
    ) -> pg_sys::HeapTuple;
}

/// A tuple as the server's functions take it, in the row's memory.
pub fn heap_tuple(relation: pg_sys::Relation, tuple: &Tuple, stamp: Stamp, memory: &Memory) -> pg_sys::HeapTuple {
    let length = tuple.length();
    // SAFETY: header and tuple are one piece, as heap_form_tuple has them (heaptuple.c); HEAPTUPLESIZE is a multiple of 8. One that is too big for
    // a piece of memory is an error.
    Memory::within(memory.row, || unsafe {
        let head = size_of::<pg_sys::HeapTupleData>().next_multiple_of(8);
        let made = pg_sys::palloc0(head + length).cast::<pg_sys::HeapTupleData>();
        let data = made.cast::<u8>().add(head);
        (*made).t_len = length as u32;
        (*made).t_tableOid = (*relation).rd_id;
        (*made).t_data = data.cast();
        // ItemPointerSetInvalid
        (*made).t_self.ip_blkid.bi_hi = u16::MAX;
        (*made).t_self.ip_blkid.bi_lo = u16::MAX;
        tuple.write(stamp, std::slice::from_raw_parts_mut(data, length));
        made
    })
}

/// The bytes of a tuple that is longer than TOAST_TUPLE_THRESHOLD once its values are compressed or out of line, which is how COPY has it shortened
/// (heapam.c, heap_prepare_insert). They live in the row's memory.
pub fn shorten<'a>(relation: pg_sys::Relation, tuple: &Tuple, stamp: Stamp, memory: &'a Memory) -> &'a [u8] {
    let long = heap_tuple(relation, tuple, stamp, memory);
    // No decoder sees the row that its values belong to (rewriteheap.c, raw_heap_insert).
    let options = pg_sys::HEAP_INSERT_SKIP_FSM | pg_sys::HEAP_INSERT_FROZEN | pg_sys::HEAP_INSERT_NO_LOGICAL;
    let options = options as core::ffi::c_int;
    // SAFETY: the relation is open and its TOAST table as new as it is; the header is complete, of which a copy is made. Nothing in the closure has a
    // destructor. The result is a tuple of t_len bytes.
    Memory::within(memory.row, || unsafe {
        let short = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            heap_toast_insert_or_update(relation, long, std::ptr::null_mut(), options)
        });
        std::slice::from_raw_parts((*short).t_data.cast::<u8>(), (*short).t_len as usize)
    })
}
