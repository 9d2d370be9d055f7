//! A piece of shared memory between a calling backend and the coordinator it starts: the request one way, the run's id the other.
//! It lives as long as the call, unless that releases it: when the caller's transaction ends or its process does, on whatever path, the coordinator is told.

use super::background::Handle;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

const MAGIC: u64 = 0x6367_7073_796e_6301;

#[repr(C)]
struct Header {
    magic: u64,
    run_id: AtomicI64,
    caller_gone: AtomicU32,
    /// the run goes on without its caller
    released: AtomicU32,
    length: u32,
}

/// In the place of a run's id.
const NO_SLOT: i64 = -1;

/// The same: the coordinator has another version of the library.
const OTHER_VERSION: i64 = -2;

/// What a coordinator answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// the run's id: its row is committed
    Run(i64),
    /// there is no slot for a worker: nothing was begun
    NoSlot,
    /// it has another version of the library than the caller: nothing was begun
    OtherVersion,
}

/// The mapped segment.
#[derive(Debug, Clone, Copy)]
pub struct Handoff {
    segment: *mut pg_sys::dsm_segment,
    header: *mut Header,
}

/// The caller's hold on the segment: when this goes, the call is over.
#[derive(Debug)]
pub struct Hold(Handoff);

impl Hold {
    /// The segment.
    pub fn handoff(&self) -> Handoff {
        self.0
    }

    /// From here on the run does not depend on this call any more.
    pub fn release(self) {
        self.0.header().released.store(1, Ordering::Release);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the caller's end of the segment takes along when it goes.
struct CallerEnd {
    header: *mut Header,
    coordinator: Handle,
}

/// The call is over. On a normal return the coordinator is gone and the signal finds nobody; on a cancel, an error or FATAL
/// it ends the run, also where the coordinator is waiting for a lock.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_caller_detach(_segment: *mut pg_sys::dsm_segment, end: pg_sys::Datum) {
    // SAFETY: made by `bind`, which registered this callback once; dsm_detach runs its callbacks once, before it unmaps.
    let end = unsafe { Box::from_raw(end.cast_mut_ptr::<CallerEnd>()) };
    // SAFETY: still mapped, see above.
    let header = unsafe { &*end.header };
    if header.released.load(Ordering::Acquire) == 0 {
        header.caller_gone.store(1, Ordering::Release);
        end.coordinator.terminate();
    }
    end.coordinator.release();
}

impl Handoff {
    /// Makes a segment holding `request`, owned by the current (sub)transaction; where that does not last as long as the call, by the process.
    pub fn create(request: &[u8], outlives_transaction: bool) -> Result<Hold> {
        let length = u32::try_from(request.len()).map_err(|_| Error::internal("request too long"))?;
        // SAFETY: dsm_create raises on failure; the segment is large enough for header and request and page-aligned, nobody else knows
        // it yet, so plain writes are fine.
        unsafe {
            let segment = pg_sys::dsm_create(size_of::<Header>() + request.len(), 0);
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            header.write(Header {
                magic: MAGIC,
                run_id: AtomicI64::new(0),
                caller_gone: AtomicU32::new(0),
                released: AtomicU32::new(0),
                length,
            });
            std::ptr::copy_nonoverlapping(request.as_ptr(), header.add(1).cast::<u8>(), request.len());
            if outlives_transaction {
                pg_sys::dsm_pin_mapping(segment);
            }
            Ok(Hold(Handoff { segment, header }))
        }
    }

    /// Ties the coordinator to this call.
    pub fn bind(self, coordinator: Handle) {
        let end = Box::into_raw(Box::new(CallerEnd {
            header: self.header,
            coordinator,
        }));
        // SAFETY: the segment is mapped; the callback takes the box back.
        unsafe { pg_sys::on_dsm_detach(self.segment, Some(on_caller_detach), pg_sys::Datum::from(end)) };
    }

    /// Lets go of segment and coordinator.
    fn close(self) {
        // SAFETY: mapped, and not used afterwards: `self` is gone.
        unsafe { pg_sys::dsm_detach(self.segment) };
    }

    /// What the coordinator needs to attach.
    pub fn handle(self) -> i64 {
        // SAFETY: the segment is mapped.
        i64::from(unsafe { pg_sys::dsm_segment_handle(self.segment) })
    }

    /// Maps the caller's segment and reads the request. None when the caller is gone already.
    pub fn attach(handle: i64) -> Result<Option<(Handoff, Vec<u8>)>> {
        let handle = u32::try_from(handle).map_err(|_| Error::internal("bad segment handle"))?;
        // SAFETY: the address is valid while attached, and a background process outside any resource owner stays attached until it
        // exits. The magic and the length are checked before the content is believed.
        unsafe {
            let segment = pg_sys::dsm_attach(handle);
            if segment.is_null() {
                return Ok(None);
            }
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            let size = pg_sys::dsm_segment_map_length(segment);
            let length = (*header).length as usize;
            if (*header).magic != MAGIC || size_of::<Header>() + length > size {
                return Err(Error::internal("bad magic number in the hand-over segment"));
            }
            let request = std::slice::from_raw_parts(header.add(1).cast::<u8>(), length).to_vec();
            Ok(Some((Handoff { segment, header }, request)))
        }
    }

    fn header(&self) -> &Header {
        // SAFETY: mapped, see `create` and `attach`; all fields written after creation are atomics.
        unsafe { &*self.header }
    }

    /// The coordinator's answer: the committed run row.
    pub fn set_run_id(self, run_id: i64) {
        self.header().run_id.store(run_id, Ordering::Release);
    }

    /// Or that there is no slot for a worker of its.
    pub fn set_no_slot(self) {
        self.header().run_id.store(NO_SLOT, Ordering::Release);
    }

    /// Or that it has another version of the library than the caller, which was loaded before the package was changed.
    pub fn set_other_version(self) {
        self.header().run_id.store(OTHER_VERSION, Ordering::Release);
    }

    /// None until the coordinator has answered.
    pub fn answer(self) -> Option<Answer> {
        match self.header().run_id.load(Ordering::Acquire) {
            0 => None,
            NO_SLOT => Some(Answer::NoSlot),
            OTHER_VERSION => Some(Answer::OtherVersion),
            run_id => Some(Answer::Run(run_id)),
        }
    }

    /// True once the caller has gone, whether it was cancelled, terminated or has simply returned, which it does when the run's end is on record.
    pub fn is_caller_gone(self) -> bool {
        self.header().caller_gone.load(Ordering::Acquire) != 0
    }
}
