//! Values of a binary COPY, and the pages that are made of them. What a page has is read again here by the server's rules, and must be such as the
//! server would have made itself.

use super::fuzz;
use crate::page::binary::{self, Field, Next};
use crate::page::block::{Filling, LONGEST_TUPLE, SIZE};
use crate::page::layout::{Attribute, Reader};
use crate::page::plain;
use crate::page::tuple::{Stamp, Tuple};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Types that have a reader, with a modifier: OID, modifier, length, alignment.
const TYPES: &[(u32, i32, i16, u8)] = &[
    (16, -1, 1, 1),
    (17, -1, -1, 4),
    (20, -1, 8, 8),
    (21, -1, 2, 2),
    (23, -1, 4, 4),
    (25, -1, -1, 4),
    (701, -1, 8, 8),
    (1042, 4 + 3, -1, 4),
    (1042, 4 + 300, -1, 4),
    (1043, 4 + 5, -1, 4),
    (1082, -1, 4, 4),
    (1114, 0, 8, 8),
    (1184, -1, 8, 8),
    (1700, -1, -1, 4),
    (1700, (5 << 16 | 2) + 4, -1, 4),
    (2950, -1, 16, 1),
];

fn attribute(at: usize, kind: usize, is_packed: bool) -> Attribute {
    let (type_oid, typmod, length, align) = TYPES[kind];
    Attribute {
        name: format!("c{at}"),
        type_oid,
        typmod,
        length,
        align,
        by_value: length > 0 && length <= 8,
        is_packed: is_packed && length < 0,
        not_null: false,
        field: Some(at),
        reader: Reader::of(type_oid, typmod),
    }
}

/// A field: of a length that some type has, or text, or a number, or anything.
fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    let bytes =
        |length: usize| prop::collection::vec(prop_oneof![4 => 0u8..4, 4 => any::<u8>(), 1 => Just(0xff)], length);
    let digits = prop::collection::vec(prop_oneof![4 => 0u16..10_001, 1 => Just(0)], 0..6);
    let number = (
        digits,
        -3i16..4,
        prop::sample::select(vec![0u16, 0x4000, 0xC000, 1]),
        0u16..9,
    )
        .prop_map(|(digits, weight, sign, scale)| {
            let head = [digits.len() as u16, weight as u16, sign, scale];
            head.iter().chain(&digits).flat_map(|word| word.to_be_bytes()).collect()
        });
    prop_oneof![
        2 => Just(None),
        8 => prop::sample::select(vec![0usize, 1, 2, 4, 8, 16]).prop_flat_map(bytes).prop_map(Some),
        6 => ".{0,9}".prop_map(|text| Some(text.into_bytes())),
        1 => (".{1,3}", 1usize..200).prop_map(|(text, times)| Some(text.repeat(times).into_bytes())),
        6 => number.prop_map(Some),
        1 => (0usize..40).prop_flat_map(bytes).prop_map(Some),
    ]
}

/// What a field says of its value once it is on a page.
fn check_value(attribute: &Attribute, value: &[u8]) -> TestCaseResult {
    let number = |at: usize| u16::from_ne_bytes([value[at], value[at + 1]]);
    match attribute.type_oid {
        16 => prop_assert!(matches!(value, [0 | 1])),
        25 | 1042 | 1043 => {
            let text = std::str::from_utf8(value);
            prop_assert!(text.is_ok_and(|text| !text.contains('\0')));
            let count = text.map_or(0, |text| text.chars().count());
            let limit = usize::try_from(attribute.typmod - 4).unwrap_or(usize::MAX);
            prop_assert!(count <= limit && (attribute.type_oid != 1042 || count == limit));
        }
        1082 => {
            let days = i32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
            prop_assert!((-2_451_545..2_145_031_949).contains(&days));
        }
        1700 => {
            let head = number(0);
            let (start, scale) = match head & 0xC000 {
                0x8000 => (2, head >> 7 & 0x3f),
                0xC000 => return Err(TestCaseError::fail("no number")),
                _ => (4, head & 0x3fff),
            };
            let digits: Vec<u16> = (start..value.len()).step_by(2).map(number).collect();
            prop_assert!(digits.iter().all(|digit| *digit < 10_000));
            prop_assert!(digits.first() != Some(&0) && digits.last() != Some(&0));
            prop_assert!(attribute.typmod < 0 || scale == 2);
        }
        _ => {}
    }
    Ok(())
}

/// Reads a tuple as the server does (heap_deform_tuple), and looks at each value.
fn check_tuple(tuple: &[u8], attributes: &[Attribute]) -> TestCaseResult {
    let word = |at: usize| u16::from_ne_bytes([tuple[at], tuple[at + 1]]);
    let (start, flags) = (usize::from(tuple[22]), word(20));
    prop_assert_eq!(usize::from(word(18)), attributes.len());
    let has_null = flags & 1 != 0;
    let bitmap = if has_null { attributes.len().div_ceil(8) } else { 0 };
    prop_assert_eq!(start, (23 + bitmap).next_multiple_of(8));
    let mut at = start;
    for (number, attribute) in attributes.iter().enumerate() {
        if has_null && tuple[23 + number / 8] & (1 << (number % 8)) == 0 {
            continue;
        }
        let align = usize::from(attribute.align);
        let (value, end) = if attribute.length > 0 {
            at = start + (at - start).next_multiple_of(align);
            (at, at + attribute.length as usize)
        } else if tuple[at] & 1 == 1 {
            prop_assert!(attribute.is_packed);
            (at + 1, at + usize::from(tuple[at] >> 1))
        } else {
            at = start + (at - start).next_multiple_of(align);
            let header = u32::from_ne_bytes([tuple[at], tuple[at + 1], tuple[at + 2], tuple[at + 3]]);
            prop_assert_eq!(header & 3, 0);
            prop_assert!(!attribute.is_packed || header >> 2 > 130);
            (at + 4, at + (header >> 2) as usize)
        };
        check_value(attribute, &tuple[value..end])?;
        at = end;
    }
    prop_assert_eq!(at, tuple.len());
    Ok(())
}

fn check_page(page: &[u8; SIZE], first: u32, attributes: &[Attribute]) -> TestCaseResult {
    let word = |at: usize| u16::from_ne_bytes([page[at], page[at + 1]]);
    let (lower, upper) = (usize::from(word(12)), usize::from(word(14)));
    prop_assert!(24 <= lower && lower <= upper && upper <= SIZE);
    let mut above = SIZE;
    for (line, at) in (24..lower).step_by(4).enumerate() {
        let pointer = u32::from_ne_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let (offset, length) = ((pointer & 0x7fff) as usize, (pointer >> 17) as usize);
        prop_assert!(offset >= upper && offset + length <= above && offset.is_multiple_of(8));
        above = offset;
        let tuple = &page[offset..offset + length];
        let place = [(first >> 16) as u16, first as u16, line as u16 + 1].map(u16::to_ne_bytes);
        prop_assert_eq!(&tuple[12..18], place.as_flattened());
        check_tuple(tuple, attributes)?;
    }
    Ok(())
}

#[test]
fn what_is_on_a_page_is_what_the_server_would_have_put_there() {
    let column = (0..TYPES.len(), any::<bool>());
    let columns = prop::collection::vec(column, 1..20);
    let table = columns.prop_flat_map(|columns| {
        let row = prop::collection::vec(field(), columns.len());
        (Just(columns), prop::collection::vec(row, 1..12), 10u8..101)
    });
    fuzz("pages", table, |(columns, rows, fillfactor)| {
        let numbered = columns.iter().enumerate();
        let attributes: Vec<Attribute> = numbered
            .map(|(at, (kind, is_packed))| attribute(at, *kind, *is_packed))
            .collect();
        let (mut tuple, mut filling) = (Tuple::new(attributes.len()), Filling::new(fillfactor));
        let stamp = Stamp { xmin: 700, command: 3 };
        for row in &rows {
            tuple.clear();
            let all = row
                .iter()
                .zip(&attributes)
                .enumerate()
                .all(|(at, (field, attribute))| match field {
                    Some(field) => plain::append(field, attribute, &mut tuple),
                    None => {
                        tuple.null(at);
                        true
                    }
                });
            let length = tuple.length();
            if all && length <= LONGEST_TUPLE && !filling.is_full_for(length) {
                tuple.write(stamp, filling.place(length));
            }
        }
        filling.number(70_000);
        for at in 0..filling.count() {
            check_page(&filling.pages[at].0, 70_000 + at as u32, &attributes)?;
        }
        Ok(())
    });
}

#[test]
fn any_stream_is_rows_or_an_error() {
    let piece = prop_oneof![
        4 => prop::collection::vec(field(), 0..4).prop_map(|fields| {
            let mut row = (fields.len() as u16).to_be_bytes().to_vec();
            for field in fields {
                row.extend(field.as_ref().map_or(-1, |field| field.len() as i32).to_be_bytes());
                row.extend(field.into_iter().flatten());
            }
            row
        }),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => Just(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec()),
        1 => Just(vec![0xff, 0xff]),
        1 => any::<i32>().prop_map(|size| [&[0, 2], &size.to_be_bytes()[..]].concat()),
    ];
    let stream = prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat());
    fuzz("rows", (stream, 0usize..4), |(stream, expected)| {
        let _ = binary::header(&stream);
        let (mut at, mut fields): (usize, Vec<Field>) = (0, Vec::new());
        while let Ok(Next::Row(length)) = binary::next(&stream[at..], expected, &mut fields) {
            prop_assert!(length >= 2 && at + length <= stream.len());
            prop_assert_eq!(fields.len(), expected);
            prop_assert!(
                fields
                    .iter()
                    .flatten()
                    .all(|(start, end)| start <= end && *end <= length)
            );
            at += length;
        }
        if let Ok(Next::Partial(needed)) = binary::next(&stream[at..], expected, &mut fields) {
            prop_assert!(needed > stream.len() - at);
        }
        Ok(())
    });
}
