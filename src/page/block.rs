//! Pages of a heap, and of its visibility map (bufpage.h).

/// Bytes of a page: what nearly every server is built with, which `pg` makes sure of.
pub const SIZE: usize = 8192;
/// Pages that are logged and written together: as many as one record of the log takes (xloginsert.c, XLR_MAX_BLOCK_ID).
pub const BATCH: usize = 32;

/// Bytes of a page's header, and of a line pointer.
const HEADER: usize = 24;
const POINTER: usize = 4;
/// Tuples begin at multiples of this.
const MAXALIGN: usize = 8;
/// The longest tuple that fits a page (htup_details.h, MaxHeapTupleSize).
pub const LONGEST_TUPLE: usize = SIZE - align_header();
/// A page with as much free space counts as empty (hio.c, RelationGetBufferForTuple): an eighth of the line pointers it may have, 291, is used.
const NEARLY_EMPTY: usize = LONGEST_TUPLE - 291 / 8 * POINTER;
/// Longer ones are shortened or taken out of line (heaptoast.h, TOAST_TUPLE_THRESHOLD: four to a page).
pub const TOAST_THRESHOLD: usize = (SIZE - 40) / 4 / MAXALIGN * MAXALIGN;

/// PD_ALL_VISIBLE, and the version of the layout (bufpage.h, PG_PAGE_LAYOUT_VERSION).
const ALL_VISIBLE: u16 = 4;
const VERSION: u16 = 4;
/// LP_NORMAL, in the two bits between offset and length.
const NORMAL: u32 = 1;

/// Pages of the heap that a page of the map tells of, with two bits each (visibilitymap.c).
pub const BLOCKS_PER_MAP: u32 = ((SIZE - HEADER) * 4) as u32;

const fn align_header() -> usize {
    (HEADER + POINTER).next_multiple_of(MAXALIGN)
}

/// A page, at an address at which the server may have one.
#[derive(Clone)]
#[repr(C, align(8))]
pub struct Page(pub [u8; SIZE]);

/// A zeroed one.
pub fn zeroed() -> Page {
    Page([0; SIZE])
}

/// A heap that is written page by page.
pub struct Filling {
    /// the pages, as many as were needed so far, one behind the other
    pub pages: Vec<Page>,
    /// which of them is being filled; those before are full
    current: usize,
    lower: usize,
    upper: usize,
    /// bytes that a page with a tuple on it is to keep free
    reserved: usize,
}

impl Filling {
    /// Empty pages that keep what `fillfactor` has them keep.
    pub fn new(fillfactor: u8) -> Filling {
        let mut filling = Filling {
            pages: Vec::new(),
            current: 0,
            lower: HEADER,
            upper: SIZE,
            reserved: SIZE * (100 - usize::from(fillfactor.min(100))) / 100,
        };
        filling.begin();
        filling
    }

    fn begin(&mut self) {
        if self.pages.len() == self.current {
            self.pages.push(zeroed());
        }
        init(&mut self.pages[self.current].0, HEADER as u16, ALL_VISIBLE);
        (self.lower, self.upper) = (HEADER, SIZE);
    }

    /// True when a tuple of this length would need a page more than there is: the pages have to go first.
    pub fn is_full_for(&self, length: usize) -> bool {
        !self.fits(length) && self.current + 1 == BATCH
    }

    fn fits(&self, length: usize) -> bool {
        let free = (self.upper - self.lower).saturating_sub(POINTER);
        let length = length.next_multiple_of(MAXALIGN);
        // A long tuple for which no page would keep enough goes where next to nothing is.
        let needed = match length + self.reserved {
            much if much > NEARLY_EMPTY => length.max(NEARLY_EMPTY),
            needed => needed,
        };
        self.lower == HEADER || needed <= free
    }

    /// Room for a tuple of this length, zeroed, at most [`LONGEST_TUPLE`]. The pages are not full for it.
    pub fn place(&mut self, length: usize) -> &mut [u8] {
        if !self.fits(length) {
            self.current += 1;
            self.begin();
        }
        self.upper -= length.next_multiple_of(MAXALIGN);
        let pointer = self.upper as u32 | NORMAL << 15 | (length as u32) << 17;
        let (lower, upper) = (self.lower, self.upper);
        self.lower += POINTER;
        let ends = [(self.lower as u16).to_ne_bytes(), (upper as u16).to_ne_bytes()];
        let page = &mut self.pages[self.current].0;
        page[lower..lower + POINTER].copy_from_slice(&pointer.to_ne_bytes());
        page[12..16].copy_from_slice(ends.as_flattened());
        &mut page[upper..upper + length]
    }

    /// How many pages have a tuple.
    pub fn count(&self) -> usize {
        match self.lower {
            HEADER => self.current,
            _ => self.current + 1,
        }
    }

    /// Tells the tuples which pages they are on: `first` and the following ones.
    pub fn number(&mut self, first: u32) {
        for at in 0..self.count() {
            number(&mut self.pages[at].0, first + at as u32);
        }
    }

    /// Begins anew: what there was has been written.
    pub fn restart(&mut self) {
        self.current = 0;
        self.begin();
    }
}

/// Empties a page whose line pointers are to end at `lower`.
fn init(page: &mut [u8; SIZE], lower: u16, flags: u16) {
    page.fill(0);
    for (at, value) in [
        (10, flags),
        (12, lower),
        (14, SIZE as u16),
        (16, SIZE as u16),
        (18, SIZE as u16 | VERSION),
    ] {
        page[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
}

/// Where each tuple of a page is: offset and length.
fn tuples(page: &[u8; SIZE]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let lower = usize::from(u16::from_ne_bytes([page[12], page[13]]));
    page[HEADER..lower].as_chunks::<POINTER>().0.iter().map(|pointer| {
        let pointer = u32::from_ne_bytes(*pointer);
        ((pointer & 0x7fff) as usize, (pointer >> 17) as usize)
    })
}

/// Writes where it is into each tuple of the page: t_ctid, which is a block's number in two halves, and the line pointer's, from 1.
fn number(page: &mut [u8; SIZE], block: u32) {
    let places: Vec<usize> = tuples(page).map(|(at, _)| at).collect();
    for (line, at) in (1u16..).zip(places) {
        for (half, value) in [(12, (block >> 16) as u16), (14, block as u16), (16, line)] {
            page[at + half..at + half + 2].copy_from_slice(&value.to_ne_bytes());
        }
    }
}

/// A page of a map in which the first `blocks` pages are visible to all and frozen.
pub fn map(page: &mut [u8; SIZE], blocks: u32) {
    init(page, HEADER as u16, 0);
    let blocks = blocks.min(BLOCKS_PER_MAP) as usize;
    page[HEADER..HEADER + blocks / 4].fill(0xff);
    if !blocks.is_multiple_of(4) {
        page[HEADER + blocks / 4] = (1u16 << (2 * (blocks % 4))) as u8 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_go_down_a_page_as_long_as_they_fit() {
        let mut filling = Filling::new(100);
        let mut count = 0;
        while filling.current == 0 {
            filling.place(61)[0] = 9;
            count += 1;
        }
        // 8168 bytes, 64 and 4 each.
        assert_eq!(count, 120 + 1);
        filling.number(70_000);
        let page = filling.pages[0].0;
        let places: Vec<_> = tuples(&page).collect();
        assert_eq!(places.len(), 120);
        assert_eq!(places[0], (SIZE - 64, 61));
        assert_eq!(places[119], (SIZE - 64 * 120, 61));
        let ctid = &page[places[119].0 + 12..places[119].0 + 18];
        assert_eq!(
            ctid,
            [1u16, (70_000 - 65_536) as u16, 120]
                .map(u16::to_ne_bytes)
                .as_flattened()
        );
        assert_eq!(&page[10..12], 4u16.to_ne_bytes());
        assert_eq!(filling.count(), 2);
    }

    #[test]
    fn a_fillfactor_keeps_room_and_one_tuple_always_fits() {
        let mut filling = Filling::new(50);
        for _ in 0..40 {
            filling.place(100);
        }
        // 104 and 4 each in 8168 - 4096.
        assert_eq!(tuples(&filling.pages[0].0).count(), 37);
        let mut filling = Filling::new(10);
        filling.place(60);
        filling.place(2000);
        assert_eq!(filling.count(), 1, "next to nothing was there");
        let mut filling = Filling::new(10);
        filling.place(LONGEST_TUPLE);
        assert_eq!((filling.count(), filling.is_full_for(24)), (1, false));
        for _ in 1..BATCH {
            filling.place(LONGEST_TUPLE);
        }
        assert!(filling.is_full_for(24));
        filling.restart();
        assert_eq!((filling.count(), filling.is_full_for(LONGEST_TUPLE)), (0, false));
    }

    #[test]
    fn a_map_has_two_bits_for_each_page() {
        let mut page = [7; SIZE];
        map(&mut page, 7);
        assert_eq!(&page[HEADER..HEADER + 3], [0xff, 0b0011_1111, 0]);
        map(&mut page, BLOCKS_PER_MAP + 5);
        assert!(page[HEADER..].iter().all(|byte| *byte == 0xff));
        map(&mut page, 4);
        assert_eq!(&page[HEADER..HEADER + 2], [0xff, 0]);
        assert_eq!(LONGEST_TUPLE, 8160);
        assert_eq!(TOAST_THRESHOLD, 2032);
    }
}
