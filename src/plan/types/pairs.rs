//! Pairs of built-in types, as the table of docs/TYPES.md has them.

use super::{Change, Type};

/// "char", json, xml, refcursor: their text may end in blanks, which a limit cuts without a word, and they are no strings.
const MAY_END_IN_BLANKS: &[u32] = &[18, 114, 142, 1790];

/// What may become of values of a built-in type in another.
pub fn compare(here: &Type, there: &Type) -> Change {
    let (
        Type::BuiltIn { oid, name, modifier },
        Type::BuiltIn {
            oid: of,
            name: called,
            modifier: has,
        },
    ) = (here, there)
    else {
        return Change::May;
    };
    if oid == of && name == called {
        return match modifier_holds(*oid, *modifier, *has) {
            true if modifier == has => Change::Same,
            true => Change::Widened,
            false => Change::May,
        };
    }
    let is_kept = match (*oid, *of) {
        // Whole numbers: an integer that is too small is an error, as is a fraction.
        (20 | 21 | 23, 20 | 21 | 23 | 1700 | 700 | 701) => true,
        (1700, 20 | 21 | 23) => !rounds((*oid, *modifier), (*of, *has)),
        (1700, 700 | 701) => *modifier == -1,
        (701, 21 | 23 | 700) | (700, 21) => true,
        // date to timestamp, time to interval
        (1114, 1082) => modifier_holds(1114, *modifier, 0),
        (1186, 1083) => *modifier == -1,
        // To text of any length, and what is no string to one that it fits in or fails.
        (25, _) => true,
        (1043, _) => *modifier == -1 || !(there.is_string() || MAY_END_IN_BLANKS.contains(of)),
        // jsonb to json, text to json; cidr and inet; bit strings
        (114, 3802) => true,
        (114, _) => there.is_string(),
        (869, 650) | (650, 869) => true,
        (1562, 1560) => modifier_holds(1562, *modifier, *has),
        _ => false,
    };
    if is_kept { Change::Widened } else { Change::May }
}

/// Digits after the point that a numeric with this modifier has, fewer than none since 15; None without a modifier.
pub fn numeric_scale(modifier: i32) -> Option<i32> {
    (modifier != -1).then(|| (((modifier - 4) & 0x7ff) ^ 1024) - 1024)
}

/// True when values of `there`, a built-in type with its modifier, may become others of the same family `here`: a numeric or a time of
/// fewer digits.
pub fn rounds((oid, modifier): (u32, i32), (of, has): (u32, i32)) -> bool {
    match (oid, of) {
        (1700, 20 | 21 | 23) => numeric_scale(modifier).is_some_and(|scale| scale < 0),
        (1114, 1184) | (1184, 1114) => !modifier_holds(oid, modifier, has),
        _ => oid == of && !modifier_holds(oid, modifier, has),
    }
}

/// True when a modifier `here` keeps every value of the same type with modifier `there`. -1 is none.
pub fn modifier_holds(oid: u32, here: i32, there: i32) -> bool {
    if here == -1 || here == there {
        return true;
    }
    match oid {
        // numeric: precision and scale, which is signed since 15
        1700 => {
            let parts = |modifier: i32| {
                let bits = modifier - 4;
                let (precision, scale) = ((bits >> 16) & 0xffff, ((bits & 0x7ff) ^ 1024) - 1024);
                (precision, scale)
            };
            let ((precision, scale), (of, has)) = (parts(here), parts(there));
            there != -1 && scale >= has && precision - scale >= of - has
        }
        // time, timetz, timestamp, timestamptz: digits of a second, six where none are named
        1083 | 1266 | 1114 | 1184 => here >= if there == -1 { 6 } else { there },
        // interval: fields, and digits of a second
        1186 => {
            let parts = |modifier: i32| ((modifier >> 16) & 0x7fff, (modifier & 0xffff).min(6));
            let ((fields, digits), (of, has)) = (parts(here), if there == -1 { (0x7fff, 6) } else { parts(there) });
            (fields == 0x7fff || fields == of) && digits >= has
        }
        // Strings of characters and bits: a longer one is an error, but for blanks at its end.
        _ => there != -1 && here >= there,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Type};
    use super::{compare, modifier_holds};

    fn change(here: (u32, i32), there: (u32, i32)) -> Change {
        let of = |(oid, modifier)| Type::BuiltIn {
            oid,
            name: format!("t{oid}"),
            modifier,
        };
        compare(&of(here), &of(there))
    }

    #[test]
    fn pairs_are_as_the_documentation_has_them() {
        for (here, there) in [
            (20, 23),
            (1700, 20),
            (23, 20),
            (23, 1700),
            (701, 700),
            (1114, 1082),
            (25, 23),
            (114, 3802),
        ] {
            assert_eq!(change((here, -1), (there, -1)), Change::Widened, "{here} of {there}");
        }
        for (here, there) in [
            (1114, 1184),
            (1184, 1114),
            (1082, 1114),
            (3802, 114),
            (23, 25),
            (700, 701),
            (701, 20),
            (701, 1700),
            (1184, 1082),
            (19, 25),
            (1042, 25),
        ] {
            assert_eq!(change((here, -1), (there, -1)), Change::May, "{here} of {there}");
        }
        let hundreds = ((10 << 16) | (-2 & 0x7ff)) + 4;
        assert_eq!(change((1700, hundreds), (23, -1)), Change::May);
        assert_eq!(change((1043, 12), (25, -1)), Change::May);
        assert_eq!(change((1043, 12), (23, -1)), Change::Widened);
        assert_eq!(change((1043, 12), (114, -1)), Change::May);
    }

    #[test]
    fn one_oid_with_two_names_is_two_types() {
        let of = |name: &str| Type::BuiltIn {
            oid: 90,
            name: name.to_owned(),
            modifier: -1,
        };
        assert_eq!(compare(&of("a"), &of("b")), Change::May);
    }

    #[test]
    fn modifiers_hold_what_is_not_larger() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert!(modifier_holds(1700, numeric(20, 6), numeric(18, 6)));
        assert!(!modifier_holds(1700, numeric(18, 8), numeric(18, 6)));
        assert!(!modifier_holds(1700, numeric(18, 2), numeric(18, 6)));
        assert!(modifier_holds(1700, numeric(18, 0), numeric(10, -2)));
        assert!(!modifier_holds(1700, numeric(18, -2), numeric(10, 0)));
        assert!(!modifier_holds(1700, numeric(18, 6), -1) && modifier_holds(1700, -1, numeric(18, 6)));
        assert!(modifier_holds(1114, 6, -1) && !modifier_holds(1114, 0, -1) && !modifier_holds(1184, 3, 6));
        // interval(0), interval, interval day to second(3)
        let interval = |fields: i32, digits: i32| (fields << 16) | digits;
        assert!(!modifier_holds(1186, interval(0x7fff, 0), -1));
        assert!(modifier_holds(1186, interval(0x7fff, 6), interval(0x0400, 3)));
        assert!(!modifier_holds(1186, interval(0x0400, 6), interval(0x7fff, 3)));
        assert!(modifier_holds(1043, 12, 8) && !modifier_holds(1043, 8, 12) && !modifier_holds(1043, 8, -1));
    }
}
