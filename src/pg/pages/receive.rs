//! Values by their types' own receive functions: of types that have no reader here, and those that a reader has left to them.

use crate::error::{Error, Result, sqlstate};
use crate::page::layout::{Attribute, Layout};
use crate::page::tuple::Tuple;
use crate::pg::report;
use pgrx::pg_sys;

/// What a load allocates, and within it what a row does. It goes with the transaction, at the latest.
pub struct Memory {
    /// lasts as long as the load
    pub load: pg_sys::MemoryContext,
    /// emptied after each row
    pub row: pg_sys::MemoryContext,
}

impl Memory {
    /// Empty.
    pub fn new() -> Memory {
        let create = |parent, name: &'static std::ffi::CStr| {
            // SAFETY: the sizes are ALLOCSET_DEFAULT_SIZES; the name is a constant.
            unsafe {
                pg_sys::AllocSetContextCreateInternal(
                    parent,
                    name.as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                )
            }
        };
        // SAFETY: reads a variable of this process.
        let load = create(unsafe { pg_sys::CurrentMemoryContext }, c"cgpsync pages");
        Memory {
            load,
            row: create(load, c"cgpsync pages, a row"),
        }
    }

    /// Runs `f` with what it allocates in `context`, which is left on every way out: it may be gone before the abort.
    pub fn within<T>(context: pg_sys::MemoryContext, f: impl FnOnce() -> T) -> T {
        struct Before(pg_sys::MemoryContext);
        impl Drop for Before {
            fn drop(&mut self) {
                // SAFETY: what was current when `within` was called, by somebody who is there still.
                unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
            }
        }
        // SAFETY: one of a live Memory's.
        let _before = Before(unsafe { pg_sys::MemoryContextSwitchTo(context) });
        f()
    }

    /// Frees what the row has allocated.
    pub fn reset(&self) {
        // SAFETY: as above; nothing of a row is kept. It returns at once where there is nothing.
        unsafe {
            if !(*self.row).isReset {
                pg_sys::MemoryContextReset(self.row);
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // While an error unwinds the abort is to free it, with all that it stands in.
        if !std::thread::panicking() {
            // SAFETY: made by `new`, not deleted before; nothing of it is used any more.
            unsafe { pg_sys::MemoryContextDelete(self.load) };
        }
    }
}

struct Receiver {
    function: pg_sys::FmgrInfo,
    parameter: pg_sys::Oid,
}

/// The functions, by attribute.
pub struct Receivers(Vec<Option<Receiver>>);

impl Receivers {
    /// Those of the attributes that have a field. Inside a transaction.
    pub fn new(layout: &Layout, memory: &Memory) -> Receivers {
        let of = |attribute: &Attribute| {
            attribute.field?;
            let mut receiver = Receiver {
                function: pg_sys::FmgrInfo::default(),
                parameter: pg_sys::InvalidOid,
            };
            let mut function = pg_sys::InvalidOid;
            // SAFETY: the type is a column's, so it exists; one without such a function is an error, as it is for COPY (BeginCopyFrom).
            unsafe {
                let type_oid = pg_sys::Oid::from_u32(attribute.type_oid);
                pg_sys::getTypeBinaryInputInfo(type_oid, &mut function, &mut receiver.parameter);
                pg_sys::fmgr_info_cxt(function, &mut receiver.function, memory.load);
            }
            Some(receiver)
        };
        Receivers(layout.attributes.iter().map(of).collect())
    }

    /// True where the function wants to be asked about NULL too.
    pub fn take_null(&self, at: usize) -> bool {
        self.0[at].as_ref().is_some_and(|receiver| !receiver.function.fn_strict)
    }

    /// Appends the value that the function makes of a field. True if that is NULL.
    pub fn receive(
        &mut self,
        at: usize,
        attribute: &Attribute,
        field: Option<&[u8]>,
        memory: &Memory,
        tuple: &mut Tuple,
    ) -> Result<bool> {
        let Some(receiver) = &mut self.0[at] else {
            return Err(Error::internal("a field without a column"));
        };
        let Some(field) = field else {
            // SAFETY: as below; for NULL there is no buffer, and what comes back is NULL or an error (fmgr.c, ReceiveFunctionCall).
            Memory::within(memory.row, || unsafe {
                pg_sys::ReceiveFunctionCall(
                    &mut receiver.function,
                    std::ptr::null_mut(),
                    receiver.parameter,
                    attribute.typmod,
                )
            });
            tuple.null(at);
            return Ok(true);
        };
        // SAFETY: the buffer is as COPY makes it (copyfromparse.c, CopyReadBinaryAttribute): the bytes with a zero behind them, in the row's
        // memory. The value is of the attribute's type, and lives there as well.
        let (datum, read) = Memory::within(memory.row, || unsafe {
            let data = pg_sys::palloc(field.len() + 1).cast::<u8>();
            std::ptr::copy_nonoverlapping(field.as_ptr(), data, field.len());
            data.add(field.len()).write(0);
            let mut buffer = pg_sys::StringInfoData {
                data: data.cast(),
                len: field.len() as i32,
                maxlen: field.len() as i32 + 1,
                cursor: 0,
            };
            let datum = pg_sys::ReceiveFunctionCall(
                &mut receiver.function,
                &mut buffer,
                receiver.parameter,
                attribute.typmod,
            );
            (datum, buffer.cursor)
        });
        if read as usize != field.len() {
            return Err(Error::new(
                sqlstate::INVALID_BINARY_REPRESENTATION,
                "incorrect binary data format",
            ));
        }
        append(datum, attribute, memory, tuple);
        Ok(false)
    }
}

/// The server's error of a field of so many bytes, for which it has no buffer.
pub fn too_long(length: i32) -> Error {
    // SAFETY: an empty buffer of the server's, which it refuses to enlarge, or enlarges (stringinfo.c).
    let enlarged = report::catch(|| unsafe {
        pg_sys::enlargeStringInfo(pg_sys::makeStringInfo(), length);
        Ok(())
    });
    enlarged
        .err()
        .unwrap_or_else(|| Error::internal("a field of this length has a buffer"))
}

/// Appends a value as heap_fill_tuple does (heaptuple.c).
fn append(datum: pg_sys::Datum, attribute: &Attribute, memory: &Memory, tuple: &mut Tuple) {
    let align = usize::from(attribute.align);
    if attribute.by_value {
        let bytes = (datum.value() as u64).to_ne_bytes();
        // Where the least byte comes first, a shorter value is in front.
        tuple.fixed(&bytes[..attribute.length as usize], align);
        return;
    }
    // SAFETY: a pointer to `length` bytes, or to a varlena: the type says so, and its function has just made it.
    unsafe {
        let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
        if attribute.length > 0 {
            let bytes = std::slice::from_raw_parts(pointer.cast::<u8>(), attribute.length as usize);
            tuple.fixed(bytes, align);
            return;
        }
        let is_plain = pgrx::varatt_is_4b_u(pointer) || (pgrx::varatt_is_1b(pointer) && !pgrx::varatt_is_1b_e(pointer));
        let plain = match is_plain {
            true => pointer,
            false => Memory::within(memory.row, || pg_sys::pg_detoast_datum(pointer)),
        };
        let length = pgrx::varsize_any_exhdr(plain);
        tuple.varying(
            std::slice::from_raw_parts(pgrx::vardata_any(plain).cast::<u8>(), length),
            attribute,
        );
    }
}
