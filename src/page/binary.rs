//! The stream of a binary COPY, cut into rows and their fields, by the rules and in the words of the server's own reader (copyfromparse.c,
//! ReceiveCopyBinaryHeader and CopyReadBinaryAttribute).

use crate::error::{Error, Result, sqlstate};

/// COPY's signature, after which come flags and the length of an extension.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, flags and the extension's length.
const HEADER: usize = SIGNATURE.len() + 8;
/// The server takes fields up to this (stringinfo.c, MaxAllocSize).
const LONGEST_FIELD: i32 = 0x3fff_ffff;

/// Where a field's bytes are in the data; None: it is NULL.
pub type Field = Option<(usize, usize)>;

/// What the data begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// a row of so many bytes, whose fields are known
    Row(usize),
    /// less than a row: with fewer bytes than these it cannot be one
    Partial(usize),
    /// a field that is longer than the server takes one, whatever follows
    TooLong {
        /// its number, from 0
        field: usize,
        /// bytes it is said to have
        length: i32,
    },
    /// nothing more may come
    End,
}

fn bad_format(message: impl Into<String>) -> Error {
    Error::new(sqlstate::BAD_COPY_FILE_FORMAT, message)
}

fn int(data: &[u8], at: usize) -> Option<i32> {
    let bytes = data.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

/// The length of the header that `data` begins with; None while there is not enough of it.
pub fn header(data: &[u8]) -> Result<Option<usize>> {
    let signature = &data[..data.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(signature) {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let Some(flags) = int(data, SIGNATURE.len()) else {
        return Ok(None);
    };
    if flags & (1 << 16) != 0 {
        return Err(bad_format("invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(bad_format("unrecognized critical flags in COPY file header"));
    }
    match int(data, SIGNATURE.len() + 4) {
        None => Ok(None),
        Some(extension @ 0..) => Ok(Some(HEADER + extension as usize).filter(|length| *length <= data.len())),
        Some(_) => Err(bad_format("invalid COPY file header (missing length)")),
    }
}

/// The error of data that ends within its header.
pub fn short_header(data: &[u8]) -> Error {
    bad_format(match data.len() {
        ..11 => "COPY file signature not recognized",
        11..15 => "invalid COPY file header (missing flags)",
        15..19 => "invalid COPY file header (missing length)",
        _ => "invalid COPY file header (wrong length)",
    })
}

/// The error of data that ends within a row.
pub fn short_row() -> Error {
    bad_format("unexpected EOF in COPY data")
}

/// The error of data after the end.
pub fn beyond_end() -> Error {
    bad_format("received copy data after EOF marker")
}

/// A row that could not be read, and the field that is to blame.
#[derive(Debug)]
pub struct Broken {
    /// its number, from 0; None: the row's own header
    pub field: Option<usize>,
    /// what is wrong with it
    pub error: Error,
}

/// Looks at what `data` begins with; a row's `expected` fields are put into `fields`.
pub fn next(data: &[u8], expected: usize, fields: &mut Vec<Field>) -> std::result::Result<Next, Broken> {
    let Some(count) = data.get(..2) else {
        return Ok(Next::Partial(2));
    };
    let count = i16::from_be_bytes([count[0], count[1]]);
    if count == -1 {
        return Ok(Next::End);
    }
    if usize::try_from(count) != Ok(expected) {
        let error = bad_format(format!("row field count is {count}, expected {expected}"));
        return Err(Broken { field: None, error });
    }
    fields.clear();
    let mut at = 2;
    for field in 0..expected {
        let Some(length) = int(data, at) else {
            return Ok(Next::Partial(at + 4));
        };
        at += 4;
        match length {
            -1 => fields.push(None),
            ..-1 => {
                let error = bad_format("invalid field size");
                return Err(Broken {
                    field: Some(field),
                    error,
                });
            }
            LONGEST_FIELD.. => return Ok(Next::TooLong { field, length }),
            _ => {
                let end = at + length as usize;
                if end > data.len() {
                    return Ok(Next::Partial(end));
                }
                fields.push(Some((at, end)));
                at = end;
            }
        }
    }
    Ok(Next::Row(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_when_all_of_it_is_there() {
        let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        let mut fields = Vec::new();
        for length in 0..row.len() {
            let partial = next(&row[..length], 3, &mut fields).expect("nothing wrong");
            assert!(
                matches!(partial, Next::Partial(needed) if needed > length && needed <= row.len()),
                "{length} {partial:?}"
            );
        }
        let longer = [&row[..], b"\xff\xff"].concat();
        assert_eq!(next(&longer, 3, &mut fields).ok(), Some(Next::Row(row.len())));
        assert_eq!(fields, [Some((6, 8)), None, Some((16, 16))]);
        assert_eq!(next(b"\xff\xff", 3, &mut fields).ok(), Some(Next::End));
    }

    #[test]
    fn what_is_wrong_is_said_as_copy_says_it() {
        let mut fields = Vec::new();
        let mut message = |data: &[u8]| {
            let broken = next(data, 1, &mut fields).expect_err("wrong");
            (broken.error.message, broken.field)
        };
        assert_eq!(message(b"\0\x02"), ("row field count is 2, expected 1".into(), None));
        assert_eq!(message(b"\xff\xfe"), ("row field count is -2, expected 1".into(), None));
        assert_eq!(
            message(b"\0\x01\xff\xff\xff\xfe"),
            ("invalid field size".into(), Some(0))
        );
    }

    #[test]
    fn the_header_is_told_from_other_files() {
        let good = [&SIGNATURE[..], &[0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 7]].concat();
        for length in 0..good.len() - 1 {
            assert_eq!(header(&good[..length]), Ok(None), "{length}");
        }
        assert_eq!(header(&good), Ok(Some(21)));
        let says = |rest: &[u8]| header(&[&SIGNATURE[..], rest].concat()).map_err(|error| error.message);
        assert_eq!(says(&[0, 1, 0, 0]), Err("invalid COPY file header (WITH OIDS)".into()));
        assert!(says(&[0, 2, 0, 0]).is_err());
        assert!(says(&[0, 0, 0, 0, 0xff, 0, 0, 0]).is_err());
        assert!(header(b"PGCOPX").is_err());
    }
}
