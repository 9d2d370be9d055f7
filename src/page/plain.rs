//! Values from their form on the wire to the one on a page, where they are plain. The rule of each is its type's receive function.

use super::layout::{Attribute, Reader};
use super::numeric;
use super::tuple::Tuple;

/// timestamp.h and date.c: days and microseconds from 2000-01-01 on that the server takes, without infinities.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const MICROSECONDS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Appends the value of a field. False, with nothing appended, where it is not plain.
#[inline]
pub fn append(field: &[u8], attribute: &Attribute, tuple: &mut Tuple) -> bool {
    match attribute.reader {
        Reader::Bool => match field {
            [byte] => tuple.number([u8::from(*byte != 0)]),
            _ => false,
        },
        Reader::Two => match field.try_into() {
            Ok(bytes) => tuple.number(i16::from_be_bytes(bytes).to_ne_bytes()),
            Err(_) => false,
        },
        Reader::Four => match field.try_into() {
            Ok(bytes) => tuple.number(i32::from_be_bytes(bytes).to_ne_bytes()),
            Err(_) => false,
        },
        Reader::Eight => match field.try_into() {
            Ok(bytes) => tuple.number(i64::from_be_bytes(bytes).to_ne_bytes()),
            Err(_) => false,
        },
        Reader::Sixteen => field.len() == 16 && tuple.fixed(field, 1),
        Reader::Date => match field.try_into().map(i32::from_be_bytes) {
            Ok(days) if DAYS.contains(&days) => tuple.number(days.to_ne_bytes()),
            _ => false,
        },
        Reader::Timestamp(unit) => match field.try_into().map(i64::from_be_bytes) {
            Ok(time) if MICROSECONDS.contains(&time) && time % unit == 0 => tuple.number(time.to_ne_bytes()),
            _ => false,
        },
        Reader::Bytes => tuple.varying(field, attribute),
        Reader::Text(limit) => is_text(field) && is_within(field, limit) && tuple.varying(field, attribute),
        Reader::Padded(length) => match is_text(field).then(|| characters(field)) {
            Some(count) if count <= length as usize => tuple.padded(field, length as usize - count, attribute),
            _ => false,
        },
        Reader::Numeric(limit) => tuple.made(attribute, |out| numeric::append(field, limit, out)),
        Reader::Receive => false,
    }
}

/// The value of a field as a number that sorts as its type does, where it is plain and its type has such a one. What is to be rounded is not:
/// it may be another one when it is stored.
pub fn ordinal(field: &[u8], reader: Reader) -> Option<i64> {
    match reader {
        Reader::Two => Some(i64::from(i16::from_be_bytes(field.try_into().ok()?))),
        Reader::Four | Reader::Date => Some(i64::from(i32::from_be_bytes(field.try_into().ok()?))),
        Reader::Eight => Some(i64::from_be_bytes(field.try_into().ok()?)),
        Reader::Timestamp(unit) => Some(i64::from_be_bytes(field.try_into().ok()?)).filter(|time| time % unit == 0),
        _ => None,
    }
}

/// True where values of a column have such numbers.
pub fn has_ordinals(reader: Reader) -> bool {
    matches!(
        reader,
        Reader::Two | Reader::Four | Reader::Date | Reader::Eight | Reader::Timestamp(_)
    )
}

/// UTF8 as the server has it (pg_utf8_islegal: without surrogates and long forms), and no zero byte.
fn is_text(field: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = field.as_chunks::<8>();
    let suspicious = words.iter().fold(0, |seen, word| {
        let word = u64::from_ne_bytes(*word);
        // A high bit: beyond ASCII; borrowed where a byte was zero.
        seen | ((word | word.wrapping_sub(LOW)) & HIGH)
    });
    let is_plain = suspicious == 0 && rest.iter().all(|byte| (1..0x80).contains(byte));
    is_plain || (!field.contains(&0) && std::str::from_utf8(field).is_ok())
}

/// At most so many characters. There are never more of them than bytes.
fn is_within(field: &[u8], limit: Option<u32>) -> bool {
    limit.is_none_or(|limit| field.len() <= limit as usize || characters(field) <= limit as usize)
}

/// Characters of UTF8: bytes that continue none.
fn characters(field: &[u8]) -> usize {
    field.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_without_zero_bytes() {
        for good in [
            "",
            "a",
            "12345678",
            "123456789",
            "ä",
            "1234567ä",
            "\u{1f418}12345678",
            "\x7f\x01\x7f\x01\x7f\x01\x7f\x01",
        ] {
            assert!(is_text(good.as_bytes()), "{good:?}");
        }
        for bad in [
            &b"\0"[..],
            b"1234567\0",
            b"12345678\0",
            b"\xc3",
            b"1234567\xc3",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\xf4\x90\x80\x80",
            b"\xff2345678",
            "ä\0".as_bytes(),
        ] {
            assert!(!is_text(bad), "{bad:?}");
        }
    }

    #[test]
    fn characters_count_and_not_bytes() {
        assert!(is_within("äöü".as_bytes(), Some(3)));
        assert!(!is_within("äöüx".as_bytes(), Some(3)));
        assert_eq!(characters("a\u{1f418}ü".as_bytes()), 3);
    }
}
