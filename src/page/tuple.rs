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
#[derive(Debug, Default)]
pub struct Tuple {
    /// from the end of the header on
    data: Vec<u8>,
    /// a bit for each attribute: set, it is not NULL
    present: Vec<u8>,
    attributes: usize,
    flags: u16,
}

/// `length`, rounded up.
pub fn align(length: usize, to: usize) -> usize {
    length.next_multiple_of(to)
}

impl Tuple {
    /// Begins another one.
    pub fn clear(&mut self) {
        self.data.clear();
        self.present.clear();
        self.attributes = 0;
        self.flags = 0;
    }

    /// The next attribute is NULL.
    pub fn null(&mut self) {
        self.count(false);
        self.flags |= HAS_NULL;
    }

    fn count(&mut self, is_present: bool) {
        if self.attributes.is_multiple_of(8) {
            self.present.push(0);
        }
        if let Some(last) = self.present.last_mut() {
            *last |= u8::from(is_present) << (self.attributes % 8);
        }
        self.attributes += 1;
    }

    fn pad(&mut self, to: usize) {
        let aligned = align(self.data.len(), to);
        self.data.resize(aligned, 0);
    }

    /// The next attribute has these bytes, at a multiple of `to`. True, as for all that make an attribute.
    pub fn fixed(&mut self, bytes: &[u8], to: usize) -> bool {
        self.pad(to);
        self.data.extend_from_slice(bytes);
        self.count(true);
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
        self.count(true);
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
            let start = align(before, usize::from(attribute.align)) + 4;
            self.data
                .splice(before..=before, std::iter::repeat_n(0, start - before));
            self.data[start - 4..start].copy_from_slice(&long_header(length));
        }
        self.count(true);
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
        align(HEADER + bitmap, MAXALIGN)
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
        to[18..20].copy_from_slice(&(self.attributes as u16).to_ne_bytes());
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
        let mut tuple = Tuple::default();
        tuple.fixed(&1u8.to_ne_bytes(), 1);
        tuple.fixed(&2i32.to_ne_bytes(), 4);
        tuple.varying(b"abc", &varlena(true));
        tuple.fixed(&3i64.to_ne_bytes(), 8);
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
        let mut tuple = Tuple::default();
        for at in 0..9 {
            match at {
                4 => tuple.null(),
                _ => assert!(tuple.fixed(&[at], 1)),
            }
        }
        let bytes = written(&tuple);
        assert_eq!(bytes[22], 32, "23 and 2 bytes");
        assert_eq!(&bytes[23..25], [0b1110_1111, 1]);
        assert_eq!(&bytes[32..], [0, 1, 2, 3, 5, 6, 7, 8]);
        tuple.clear();
        tuple.fixed(&[1], 1);
        assert_eq!(tuple.length(), 25);
    }

    #[test]
    fn headers_of_values_are_short_where_they_may_be() {
        let made = |length: usize, is_packed: bool, before: usize| {
            let mut tuple = Tuple::default();
            tuple.fixed(&vec![1; before], 1);
            let mut other = Tuple::default();
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
