//! Values of types that are not built in, by the types' OIDs. What a type is called may change while a source is asked, and somebody may have
//! put one of his own in its place: a literal in a statement would be read as that.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// Ranks of `values` of type `type_oid` in the order of its btree operator class and of `collation`, from 1: equal ones share a rank. May leave
/// with an ERROR of the server's.
pub fn rank(type_oid: u32, collation: u32, values: &[&str]) -> Result<Vec<i64>> {
    let (oid, collation) = (pg_sys::Oid::from_u32(type_oid), pg_sys::Oid::from_u32(collation));
    // SAFETY: inside a transaction. The entry of the type's cache is never freed.
    let entry = unsafe { pg_sys::lookup_type_cache(oid, pg_sys::TYPECACHE_CMP_PROC_FINFO as i32) };
    // SAFETY: as above; it is there, or the call has left with an ERROR.
    if unsafe { (*entry).cmp_proc } == pg_sys::InvalidOid {
        // Keys of types without an order are not ranked.
        return Err(Error::internal(format!(
            "values of the type with OID {type_oid} have no order"
        )));
    }
    let read: Vec<pg_sys::Datum> = values.iter().map(|value| read(oid, value)).collect::<Result<_>>()?;
    let compare = |a: usize, b: usize| {
        // SAFETY: the function compares two values of the type, which both are and are not NULL.
        let order = unsafe { pg_sys::FunctionCall2Coll(&raw mut (*entry).cmp_proc_finfo, collation, read[a], read[b]) };
        (order.value() as i32).cmp(&0)
    };
    let mut sorted: Vec<usize> = (0..read.len()).collect();
    sorted.sort_by(|&a, &b| compare(a, b));
    let mut ranks = vec![0; read.len()];
    let mut rank = 0;
    for (at, &value) in sorted.iter().enumerate() {
        if at == 0 || compare(sorted[at - 1], value).is_ne() {
            rank += 1;
        }
        ranks[value] = rank;
    }
    Ok(ranks)
}

/// `value` as its type reads and prints it. May leave with an ERROR of the server's.
pub fn print(type_oid: u32, value: &str) -> Result<String> {
    let oid = pg_sys::Oid::from_u32(type_oid);
    let value = read(oid, value)?;
    // SAFETY: inside a transaction; the value is of the type, and the text it gives is copied.
    unsafe {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(oid, &mut function, &mut is_varlena);
        let text = pg_sys::OidOutputFunctionCall(function, value);
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

fn read(oid: pg_sys::Oid, value: &str) -> Result<pg_sys::Datum> {
    let text = CString::new(value).map_err(|_| Error::protocol("a value with a zero byte"))?;
    // SAFETY: inside a transaction; the text outlives the call, and the value belongs to the current memory context.
    unsafe {
        let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeInputInfo(oid, &mut function, &mut parameter);
        Ok(pg_sys::OidInputFunctionCall(
            function,
            text.as_ptr().cast_mut(),
            parameter,
            -1,
        ))
    }
}
