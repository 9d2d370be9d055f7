//! A tuple while it is made: its null bitmap and its values, as heap_fill_tuple makes them (heaptuple.c), and the header in front of them
//! (htup_details.h).

use super::layout::Attribute;

/// Bytes of the header before the null bitmap.
const HEADER: usize = 23;
/// Headers end, and tuples begin, at multiples of this.
const MAXALIGN: usize = 8;
/// The longest value with a header of one byte, which counts itself.
const LONGEST_SHORT: usize = 127;

const HAS_NULL: u16 = 0x0001;
const HAS_VARWIDTH: u16 = 0x0002;
/// Committed and aborted at once: frozen.
const XMIN_FROZEN: u16 = 0x0300;
const XMAX_INVALID: u16 = 0x0800;

/// What all tuples of a load have in their headers.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// the transaction
    pub xmin: u32,
    /// its command
    pub command: u32,
}

/// A tuple's values.
#[derive(Debug)]
pub struct Tuple {
    /// from the end of the header on
    data: Vec<u8>,
    /// a bit for each attribute: set, it is not NULL
    present: Vec<u8>,
    /// the same of a tuple without NULL
    complete: Vec<u8>,
    attributes: u16,
    flags: u16,
}

impl Tuple {
    /// One with so many attributes, of which none is known yet.
    pub fn new(attributes: usize) -> Tuple {
        let mut complete = vec![0xff; attributes / 8];
        if !attributes.is_multiple_of(8) {
            complete.push((1 << (attributes % 8)) - 1);
        }
        Tuple {
            data: Vec::with_capacity(4096),
            present: complete.clone(),
            complete,
            attributes: attributes as u16,
            flags: 0,
        }
    }

    /// Begins another one. Attributes follow in their order.
    pub fn clear(&mut self) {
        self.data.clear();
        if self.flags & HAS_NULL != 0 {
            self.present.copy_from_slice(&self.complete);
        }
        self.flags = 0;
    }

    /// Attribute `at`, from 0, is NULL.
    pub fn null(&mut self, at: usize) {
        self.flags |= HAS_NULL;
        self.present[at / 8] &= !(1 << (at % 8));
    }

    #[inline]
    fn pad(&mut self, to: usize) {
        let aligned = self.data.len().next_multiple_of(to);
        if aligned != self.data.len() {
            self.data.resize(aligned, 0);
        }
    }

    /// The next attribute has these bytes, at a multiple of their number. True, as for all that make an attribute.
    #[inline]
    pub fn number<const LENGTH: usize>(&mut self, bytes: [u8; LENGTH]) -> bool {
        self.pad(LENGTH);
        self.data.extend_from_slice(&bytes);
        true
    }

    /// The same at a multiple of `to`.
    pub fn fixed(&mut self, bytes: &[u8], to: usize) -> bool {
        self.pad(to);
        self.data.extend_from_slice(bytes);
        true
    }

    /// A value whose length varies.
    pub fn varying(&mut self, value: &[u8], attribute: &Attribute) -> bool {
        self.padded(value, 0, attribute)
    }

    /// The same with `blanks` behind it. False for one that is too long for any header.
    pub fn padded(&mut self, value: &[u8], blanks: usize, attribute: &Attribute) -> bool {
        let length = value.len() + blanks;
        if length >= 1 << 30 {
            return false;
        }
        self.head(length, attribute);
        self.data.extend_from_slice(value);
        self.data.resize(self.data.len() + blanks, b' ');
        self.flags |= HAS_VARWIDTH;
        true
    }

    /// A value that `make` appends, if it says so.
    pub fn made(&mut self, attribute: &Attribute, make: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let before = self.data.len();
        self.data.push(0);
        if !make(&mut self.data) {
            self.data.truncate(before);
            return false;
        }
        let length = self.data.len() - before - 1;
        if attribute.is_packed && length < LONGEST_SHORT {
            self.data[before] = short_header(length);
        } else {
            let start = before.next_multiple_of(usize::from(attribute.align)) + 4;
            self.data
                .splice(before..=before, std::iter::repeat_n(0, start - before));
            self.data[start - 4..start].copy_from_slice(&long_header(length));
        }
        self.flags |= HAS_VARWIDTH;
        true
    }

    fn head(&mut self, length: usize, attribute: &Attribute) {
        if attribute.is_packed && length < LONGEST_SHORT {
            self.data.push(short_header(length));
        } else {
            self.pad(usize::from(attribute.align));
            self.data.extend_from_slice(&long_header(length));
        }
    }

    fn header_length(&self) -> usize {
        let bitmap = match self.flags & HAS_NULL {
            0 => 0,
            _ => self.present.len(),
        };
        (HEADER + bitmap).next_multiple_of(MAXALIGN)
    }

    /// Bytes of the whole tuple.
    pub fn length(&self) -> usize {
        self.header_length() + self.data.len()
    }

    /// Writes it into `to`, which is as long as it is and zeroed. Its own place in the table is written when that is known.
    pub fn write(&self, stamp: Stamp, to: &mut [u8]) {
        let start = self.header_length();
        to[0..4].copy_from_slice(&stamp.xmin.to_ne_bytes());
        to[8..12].copy_from_slice(&stamp.command.to_ne_bytes());
        to[18..20].copy_from_slice(&self.attributes.to_ne_bytes());
        to[20..22].copy_from_slice(&(self.flags | XMIN_FROZEN | XMAX_INVALID).to_ne_bytes());
        to[22] = start as u8;
        if self.flags & HAS_NULL != 0 {
            to[HEADER..HEADER + self.present.len()].copy_from_slice(&self.present);
        }
        to[start..].copy_from_slice(&self.data);
    }
}

/// varatt.h: a byte whose lowest bit is set, where the least byte comes first.
fn short_header(length: usize) -> u8 {
    ((length + 1) as u8) << 1 | 1
}

/// varatt.h: thirty bits, above two that are not set.
fn long_header(length: usize) -> [u8; 4] {
    (((length + 4) as u32) << 2).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::layout::Reader;
    use super::*;

    fn varlena(is_packed: bool) -> Attribute {
        Attribute {
            name: "a".to_owned(),
            type_oid: 25,
            typmod: -1,
            length: -1,
            align: 4,
            by_value: false,
            is_packed,
            not_null: false,
            field: Some(0),
            reader: Reader::Text(None),
        }
    }

    fn written(tuple: &Tuple) -> Vec<u8> {
        let mut bytes = vec![0; tuple.length()];
        tuple.write(Stamp { xmin: 7, command: 2 }, &mut bytes);
        bytes
    }

    #[test]
    fn values_stand_where_the_server_looks_for_them() {
        let mut tuple = Tuple::new(4);
        tuple.number(1u8.to_ne_bytes());
        tuple.number(2i32.to_ne_bytes());
        tuple.varying(b"abc", &varlena(true));
        tuple.number(3i64.to_ne_bytes());
        let bytes = written(&tuple);
        assert_eq!(bytes.len(), 24 + 24);
        assert_eq!(bytes[22], 24);
        assert_eq!(&bytes[24..29], [1, 0, 0, 0, 2]);
        assert_eq!(&bytes[32..40], [9, b'a', b'b', b'c', 0, 0, 0, 0]);
        assert_eq!(bytes[40], 3);
        assert_eq!(u16::from_ne_bytes([bytes[20], bytes[21]]), 0x0b02);
    }

    #[test]
    fn a_bitmap_is_there_where_something_is_null() {
        let mut tuple = Tuple::new(9);
        for at in 0..9 {
            match at {
                4 => tuple.null(4),
                _ => assert!(tuple.number([at])),
            }
        }
        let bytes = written(&tuple);
        assert_eq!(bytes[22], 32, "23 and 2 bytes");
        assert_eq!(&bytes[23..25], [0b1110_1111, 1]);
        assert_eq!(&bytes[32..], [0, 1, 2, 3, 5, 6, 7, 8]);
        tuple.clear();
        tuple.fixed(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1);
        assert_eq!(tuple.length(), 24 + 9);
        tuple.clear();
        tuple.null(8);
        assert_eq!(written(&tuple)[23..25], [0xff, 0]);
    }

    #[test]
    fn headers_of_values_are_short_where_they_may_be() {
        let made = |length: usize, is_packed: bool, before: usize| {
            let mut tuple = Tuple::new(1);
            tuple.fixed(&vec![1; before], 1);
            let mut other = Tuple::new(1);
            other.fixed(&vec![1; before], 1);
            tuple.varying(&vec![b'x'; length], &varlena(is_packed));
            other.made(&varlena(is_packed), |out| {
                out.extend(vec![b'x'; length]);
                true
            });
            assert_eq!(tuple.data, other.data, "{length} {is_packed} {before}");
            tuple.data.len() - before
        };
        assert_eq!(made(126, true, 1), 127);
        assert_eq!(made(127, true, 1), 3 + 4 + 127);
        assert_eq!(made(127, true, 4), 4 + 127);
        assert_eq!(made(3, false, 0), 7);
        assert_eq!(made(0, true, 0), 1);
    }
}
