//! A run's live figures in shared memory: workers add up what they receive, the coordinator works out rate and rest, any session of the
//! role reads them. Pieces of units are taken here, and the run's processes tell each other of their snapshot (`snapshot`). What is done is
//! not told here: it goes when the coordinator does.

mod snapshot;

use super::wait;
use crate::error::{Error, Result};
use pgrx::pg_sys;
pub use snapshot::Snapshot;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: u64 = 0x6367_7073_796e_6305;
/// Bytes may come this much ahead of an even flow.
const BURST_US: u64 = 100_000;
/// A clock that was set back must not stop the flow for much longer.
const LONGEST_DEBT_US: u64 = 10_000_000;

#[repr(C)]
struct Header {
    magic: u64,
    run_id: i64,
    units: u32,
    /// processes with a session on the source
    connected: AtomicU32,
    /// workers among them
    serving: AtomicU32,
    /// processes that copy, or are about to
    seats: AtomicU32,
    /// bytes per second of the whole run; 0: no limit
    max_rate: u64,
    /// microseconds of the Unix epoch until which the bytes so far are paid for
    paid_until: AtomicU64,
    /// a [`Snapshot`]
    snapshot: AtomicU32,
    /// a number for the server whose place another one had when a session was opened; 0: none
    strayed: AtomicU64,
    /// f64: bytes per second, now
    rate: AtomicU64,
    /// f64: 0 to 100
    percent: AtomicU64,
    /// f64: seconds left; negative: not known yet
    left: AtomicU64,
}

#[repr(C)]
struct Unit {
    rows: AtomicU64,
    bytes: AtomicU64,
    /// of the present attempt, all its processes together
    attempt_rows: AtomicU64,
    attempt_bytes: AtomicU64,
    /// 1: copied and committed, or nothing to copy
    done: AtomicU32,
    /// the next of its pieces that nobody has taken yet
    next_piece: AtomicU32,
    /// pages of its table that this attempt has taken
    blocks: AtomicU32,
    /// how many pieces it has
    pieces: AtomicU32,
}

impl Unit {
    /// It has begun, and every piece has been taken.
    fn has_all_taken(&self) -> bool {
        let next = self.next_piece.load(Ordering::Acquire);
        next > 0 && next >= self.pieces.load(Ordering::Acquire)
    }
}

/// A mapped board.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    segment: *mut pg_sys::dsm_segment,
    header: *mut Header,
}

/// A unit's place on a board.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    board: Board,
    unit: u32,
}

/// What a board shows of a run.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// rows received
    pub rows: u64,
    /// COPY bytes received
    pub bytes: u64,
    /// 0 to 100
    pub percent: f64,
    /// bytes per second now
    pub rate: f64,
    /// seconds left, as far as can be told
    pub left: Option<f64>,
}

/// What a board shows of a unit.
#[derive(Debug, Clone, Copy)]
pub struct UnitFigures {
    /// rows received
    pub rows: u64,
    /// COPY bytes received
    pub bytes: u64,
    /// nothing more will come
    pub done: bool,
}

impl Board {
    /// Makes the board of a run with `units` units, for the life of this process. Outside of a transaction.
    pub fn create(run_id: i64, units: usize, max_rate: u64) -> Result<Board> {
        let units = u32::try_from(units).map_err(|_| Error::internal("too many units"))?;
        let size = size_of::<Header>() + units as usize * size_of::<Unit>();
        // SAFETY: dsm_create raises on failure; outside of a resource owner the mapping lasts until the process exits. The segment is page
        // aligned, large enough, and nobody else knows it yet; zero bytes are valid atomics.
        unsafe {
            let segment = pg_sys::dsm_create(size, 0);
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            std::ptr::write_bytes(header.cast::<u8>(), 0, size);
            header.write(Header {
                magic: MAGIC,
                run_id,
                units,
                connected: AtomicU32::new(0),
                serving: AtomicU32::new(0),
                seats: AtomicU32::new(0),
                max_rate,
                paid_until: AtomicU64::new(0),
                snapshot: AtomicU32::new(Snapshot::Kept as u32),
                strayed: AtomicU64::new(0),
                rate: AtomicU64::new(0),
                percent: AtomicU64::new(0),
                left: AtomicU64::new((-1.0f64).to_bits()),
            });
            Ok(Board { segment, header })
        }
    }

    /// What others need to attach.
    pub fn handle(self) -> i64 {
        // SAFETY: mapped.
        i64::from(unsafe { pg_sys::dsm_segment_handle(self.segment) })
    }

    /// Maps the board of `run_id`. None when it is gone, or when its number names something else by now.
    pub fn attach(handle: i64, run_id: i64) -> Option<Board> {
        let handle = u32::try_from(handle).ok()?;
        // SAFETY: what is mapped is believed only if it is large enough and begins with this run's header.
        unsafe {
            let segment = pg_sys::dsm_attach(handle);
            if segment.is_null() {
                return None;
            }
            let size = pg_sys::dsm_segment_map_length(segment);
            let header = pg_sys::dsm_segment_address(segment).cast::<Header>();
            let fits = size >= size_of::<Header>()
                && (*header).magic == MAGIC
                && (*header).run_id == run_id
                && size >= size_of::<Header>() + (*header).units as usize * size_of::<Unit>();
            if !fits {
                pg_sys::dsm_detach(segment);
                return None;
            }
            Some(Board { segment, header })
        }
    }

    /// Unmaps it.
    pub fn detach(self) {
        // SAFETY: mapped by `attach`; the caller keeps no gauge of it.
        unsafe { pg_sys::dsm_detach(self.segment) };
    }

    fn header(&self) -> &Header {
        // SAFETY: mapped; what changes after creation is atomic.
        unsafe { &*self.header }
    }

    fn units(&self) -> &[Unit] {
        // SAFETY: the segment holds that many after the header: see `create` and `attach`.
        unsafe { std::slice::from_raw_parts(self.header.add(1).cast::<Unit>(), self.header().units as usize) }
    }

    /// The place of unit number `unit`, from 1.
    pub fn gauge(self, unit: i32) -> Gauge {
        Gauge {
            board: self,
            unit: (unit.max(1) as u32 - 1).min(self.header().units.saturating_sub(1)),
        }
    }

    /// Every unit, in their order.
    pub fn unit_figures(&self) -> impl Iterator<Item = UnitFigures> + '_ {
        self.units().iter().map(|unit| UnitFigures {
            rows: unit.rows.load(Ordering::Relaxed),
            bytes: unit.bytes.load(Ordering::Relaxed),
            done: unit.done.load(Ordering::Relaxed) != 0,
        })
    }

    /// The run.
    pub fn figures(&self) -> Figures {
        let load = |at: &AtomicU64| f64::from_bits(at.load(Ordering::Relaxed));
        let header = self.header();
        Figures {
            rows: self.unit_figures().map(|unit| unit.rows).sum(),
            bytes: self.unit_figures().map(|unit| unit.bytes).sum(),
            percent: load(&header.percent),
            rate: load(&header.rate),
            left: Some(load(&header.left)).filter(|left| *left >= 0.0),
        }
    }

    /// The coordinator's part. The percentage never falls.
    pub fn publish(&self, percent: f64, rate: f64, left: Option<f64>) {
        let header = self.header();
        let before = f64::from_bits(header.percent.load(Ordering::Relaxed));
        header.percent.store(percent.max(before).to_bits(), Ordering::Relaxed);
        header.rate.store(rate.to_bits(), Ordering::Relaxed);
        header.left.store(left.unwrap_or(-1.0).to_bits(), Ordering::Relaxed);
    }

    /// This process now has a session on the source.
    pub fn count_connected(&self) {
        self.header().connected.fetch_add(1, Ordering::Relaxed);
    }

    /// It has none any more.
    pub fn count_disconnected(&self) {
        self.header().connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a seat, whether or not there is one.
    pub fn take_seat(&self) {
        self.header().seats.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a seat if fewer than `limit` are taken.
    pub fn try_take_seat(&self, limit: u32) -> bool {
        let seats = &self.header().seats;
        let more = |taken| (taken < limit).then_some(taken + 1);
        seats.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Leaves a seat to somebody else.
    pub fn leave_seat(&self) {
        self.header().seats.fetch_sub(1, Ordering::Relaxed);
    }

    /// The same for a worker. A helper that its leader ends says no goodbye, and takes no unit by itself.
    pub fn count_serving(&self) {
        self.count_connected();
        self.header().serving.fetch_add(1, Ordering::Relaxed);
    }

    /// It has no session any more.
    pub fn count_served(&self) {
        self.count_disconnected();
        self.header().serving.fetch_sub(1, Ordering::Relaxed);
    }

    /// Workers that have a session.
    pub fn serving(&self) -> u32 {
        self.header().serving.load(Ordering::Relaxed)
    }

    /// Processes with a session on the source.
    pub fn connected(&self) -> u32 {
        self.header().connected.load(Ordering::Relaxed)
    }
}

impl Gauge {
    fn unit(&self) -> &Unit {
        &self.board.units()[self.unit as usize]
    }

    /// A new attempt begins.
    pub fn begin(&self) {
        let unit = self.unit();
        unit.attempt_rows.store(0, Ordering::Relaxed);
        unit.attempt_bytes.store(0, Ordering::Relaxed);
        unit.next_piece.store(0, Ordering::Relaxed);
        unit.pieces.store(1, Ordering::Relaxed);
        unit.blocks.store(0, Ordering::Relaxed);
    }

    /// Takes the next `count` blocks at the end of the unit's table: the first of them.
    pub fn take_blocks(&self, count: u32) -> u32 {
        self.unit().blocks.fetch_add(count, Ordering::Relaxed)
    }

    /// How many have been taken.
    pub fn blocks(&self) -> u32 {
        self.unit().blocks.load(Ordering::Relaxed)
    }

    /// It will be read in so many pieces.
    pub fn set_pieces(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX / 2);
        self.unit().pieces.store(count, Ordering::Relaxed);
    }

    /// True when every piece has been taken.
    pub fn has_no_piece_left(&self) -> bool {
        self.unit().has_all_taken()
    }

    /// So much more has been received in this attempt. What an earlier one had reached stays, as progress does not go backwards.
    pub fn add(&self, rows: u64, bytes: u64) {
        let unit = self.unit();
        let rows = unit.attempt_rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let bytes = unit.attempt_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        unit.rows.fetch_max(rows, Ordering::Relaxed);
        unit.bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Takes the next of the unit's pieces, from 0. Past the last one the numbers go on.
    pub fn take_piece(&self) -> usize {
        self.unit().next_piece.fetch_add(1, Ordering::Relaxed) as usize
    }

    /// Leaves no pieces to take: the attempt has failed.
    pub fn end_pieces(&self) {
        self.unit().next_piece.store(u32::MAX / 2, Ordering::Relaxed);
    }

    /// The unit is committed.
    pub fn done(&self) {
        self.unit().done.store(1, Ordering::Relaxed);
    }

    /// Waits until `bytes` more fit the run's rate; serves interrupts.
    pub fn throttle(&self, bytes: usize) {
        let header = self.board.header();
        if header.max_rate == 0 {
            return;
        }
        let cost = (bytes as u64).saturating_mul(1_000_000) / header.max_rate;
        // Every worker may have a piece in the queue.
        let longest = LONGEST_DEBT_US + cost.saturating_mul(u64::from(self.board.connected()) + 1);
        let mut due = now_us();
        let _ = header
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
                let now = now_us();
                due = match paid {
                    paid if paid > now + longest => now,
                    paid => paid.max(now.saturating_sub(BURST_US)),
                } + cost;
                Some(due)
            });
        loop {
            let left = due.saturating_sub(now_us());
            if left == 0 || left > longest {
                return;
            }
            wait::wait(None, Duration::from_micros(left.clamp(1_000, 1_000_000)));
        }
    }
}

/// The one clock all processes share without asking the server.
fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}
