//! numeric: from its form on the wire to the one on a page (numeric.c, numeric_recv and make_result).

/// Sign of a number below zero, in both forms.
const NEGATIVE: u16 = 0x4000;
/// Decimal digits in each digit of base 10,000.
const DIGITS: i32 = 4;
/// Digits of a number that is worth reading here: the server takes more.
const LONGEST: usize = 1000;
/// The short form: its mark, and its sign.
const SHORT: u16 = 0x8000;
const SHORT_NEGATIVE: u16 = 0x2000;

/// Appends a number's stored form, without a header. False, with nothing appended, where it is not plain: not a number, wrong, to be rounded,
/// or too big for precision and scale.
pub fn append(field: &[u8], limit: Option<(u16, u16)>, out: &mut Vec<u8>) -> bool {
    plain(field, limit, out).is_some()
}

fn plain(field: &[u8], limit: Option<(u16, u16)>, out: &mut Vec<u8>) -> Option<()> {
    let word = |at: usize| Some(u16::from_be_bytes([*field.get(at)?, *field.get(at + 1)?]));
    let (count, weight, sign, scale) = (word(0)? as usize, word(2)? as i16, word(4)?, word(6)?);
    if count > LONGEST || field.len() != 8 + 2 * count || !matches!(sign, 0 | NEGATIVE) || scale > 1000 {
        return None;
    }
    let digits = &field[8..];
    let digit = |at: usize| u16::from_be_bytes([digits[2 * at], digits[2 * at + 1]]);
    if (0..count).any(|at| digit(at) > 9999) {
        return None;
    }
    // Zeroes at both ends go.
    let first = (0..count).find(|at| digit(*at) != 0).unwrap_or(count);
    let end = (first..count)
        .rev()
        .find(|at| digit(*at) != 0)
        .map_or(first, |last| last + 1);
    let (weight, sign) = match first == end {
        true => (0, 0),
        false => (i32::from(weight) - first as i32, sign),
    };
    // Digits that the scale hides would be cut off.
    let behind = ((end - first) as i32 - weight - 1) * DIGITS;
    let hidden = behind - i32::from(scale);
    if hidden >= DIGITS || (hidden > 0 && digit(end - 1) % 10u16.pow(hidden as u32) != 0) {
        return None;
    }
    let scale = match limit {
        None => scale,
        Some((_, allowed)) if scale > allowed => return None,
        Some((precision, allowed)) => {
            let before = match first == end {
                true => 0,
                false => weight * DIGITS + decimals(digit(first)),
            };
            if before > i32::from(precision) - i32::from(allowed) {
                return None;
            }
            allowed
        }
    };
    if !(-1000..=1000).contains(&weight) {
        return None;
    }
    if scale <= 63 && (-64..=63).contains(&weight) {
        let sign = if sign == NEGATIVE { SHORT_NEGATIVE } else { 0 };
        // Seven bits of the weight, with its sign.
        let header = SHORT | sign | (scale << 7) | (weight as u16 & 0x7f);
        out.extend_from_slice(&header.to_ne_bytes());
    } else {
        out.extend_from_slice(&(sign | scale).to_ne_bytes());
        out.extend_from_slice(&(weight as i16).to_ne_bytes());
    }
    for at in first..end {
        out.extend_from_slice(&digit(at).to_ne_bytes());
    }
    Some(())
}

/// Decimal digits of a digit that is not zero.
fn decimals(digit: u16) -> i32 {
    match digit {
        1000.. => 4,
        100.. => 3,
        10.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let head = [digits.len() as u16, weight as u16, sign, scale];
        head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    fn stored(field: &[u8], limit: Option<(u16, u16)>) -> Option<Vec<u16>> {
        let mut out = Vec::new();
        append(field, limit, &mut out).then(|| {
            let words = out.chunks(2);
            words.map(|word| u16::from_ne_bytes([word[0], word[1]])).collect()
        })
    }

    #[test]
    fn plain_numbers_have_the_servers_form() {
        // 12345.67
        let number = wire(1, 0, 2, &[1, 2345, 6700]);
        assert_eq!(stored(&number, None), Some(vec![0x8000 | 2 << 7 | 1, 1, 2345, 6700]));
        assert_eq!(stored(&number, Some((7, 2))), stored(&number, None));
        // With a larger scale it is as if it had been written so.
        assert_eq!(
            stored(&number, Some((9, 4))),
            Some(vec![0x8000 | 4 << 7 | 1, 1, 2345, 6700])
        );
        // -0.0001, whose weight is negative.
        let small = wire(-1, NEGATIVE, 4, &[1]);
        assert_eq!(stored(&small, None), Some(vec![0x8000 | 0x2000 | 4 << 7 | 0x7f, 1]));
        // Zeroes at the ends go, and a zero has no sign.
        let zeroes = wire(2, 0, 2, &[0, 7, 0, 0]);
        assert_eq!(stored(&zeroes, None), Some(vec![0x8000 | 2 << 7 | 1, 7]));
        assert_eq!(
            stored(&wire(5, NEGATIVE, 3, &[0, 0]), None),
            Some(vec![0x8000 | 3 << 7])
        );
        // Neither weight nor scale fits the short form.
        assert_eq!(stored(&wire(64, 0, 0, &[1]), None), Some(vec![0, 64, 1]));
        assert_eq!(
            stored(&wire(0, NEGATIVE, 64, &[1]), None),
            Some(vec![0x4000 | 64, 0, 1])
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_server() {
        for (field, limit) in [
            (wire(0, 0xC000, 0, &[]), None),           // NaN
            (wire(0, 0, 0, &[10_000]), None),          // no digit
            (wire(0, 0, 2, &[1, 2345]), None),         // hidden digits
            (wire(0, 0, 3, &[1, 2340]), Some((9, 2))), // to be rounded
            (wire(1, 0, 0, &[1, 0]), Some((4, 0))),    // too big
            (wire(0, 0, 0, &[1])[..9].to_vec(), None),
            (wire(0, 1, 0, &[1]), None),
            (Vec::new(), None),
        ] {
            assert_eq!(stored(&field, limit), None, "{field:?}");
        }
        assert!(stored(&wire(0, 0, 3, &[1, 2340]), None).is_some());
        assert!(stored(&wire(1, 0, 0, &[1, 0]), Some((5, 0))).is_some());
    }
}
