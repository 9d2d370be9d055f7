//! Types by what they are made of: names and OIDs of types that are not built in say nothing about
//! another server's. Domains are what is below them; their constraints are no part of a type.

mod describe;
mod pairs;

use crate::plan::collation::Collation;
pub use pairs::{modifier_holds, numeric_scale, rounds};

/// OIDs below this are the same type on every server that has one of that name (transam.h, FirstGenbkiObjectId).
pub const FIRST_GENERATED_OID: u32 = 10000;

/// FirstNormalObjectId (transam.h): above it OIDs are given out by each server as it likes, and equal
/// ones mean nothing.
pub const FIRST_NORMAL_OID: u32 = 16384;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// built in, and neither an array nor a range
    BuiltIn {
        /// pg_type.oid
        oid: u32,
        /// pg_type.typname
        name: String,
        /// pg_attribute.atttypmod: -1 for none
        modifier: i32,
    },
    /// array
    Array(Box<Type>),
    /// range
    Range(Box<Type>, Order),
    /// multirange
    Multirange(Box<Type>, Order),
    /// enum: its labels in their order
    Enum(Vec<String>),
    /// composite: names and types of its attributes
    Composite(Vec<(String, Type)>),
    /// base type of an extension, or one that the server does not describe
    Other {
        /// pg_type.typname
        name: String,
        /// as above
        modifier: i32,
    },
}

/// How the bounds of a range type are compared and written: with another order its text is another range, or empty. One that its server
/// does not tell is equal to none, not even to itself.
#[derive(Debug, Clone)]
pub struct Order {
    /// None where one of these is not built in
    built_in: Option<BuiltIn>,
    /// of the bounds, if they have one
    collation: Option<Collation>,
}

/// What a range type takes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BuiltIn {
    /// pg_proc.oid; 0 for none
    canonical: u32,
    /// pg_opclass.opcname
    operators: String,
}

impl Order {
    /// From the OID of the canonical function and the name of the operator class, if both are built in, and what [`Collation::parse`] reads,
    /// if there is a collation.
    pub fn new(built_in: Option<(u32, &str)>, collation: Option<&str>) -> Order {
        let read = collation.and_then(Collation::parse);
        let is_read = collation.is_some() == read.is_some();
        let built_in = built_in.filter(|_| is_read).map(|(canonical, operators)| BuiltIn {
            canonical,
            operators: operators.to_owned(),
        });
        Order {
            built_in,
            collation: read,
        }
    }

    /// Bounds of the same type come in the same order.
    fn sorts_as(&self, other: &Order) -> bool {
        let is_one_class = |(own, other): (&BuiltIn, &BuiltIn)| own.operators == other.operators;
        self.built_in
            .as_ref()
            .zip(other.built_in.as_ref())
            .is_some_and(is_one_class)
            && match (&self.collation, &other.collation) {
                (Some(own), Some(other)) => own.sorts_as(other),
                (own, other) => own.is_none() && other.is_none(),
            }
    }

    fn is_canonical(&self) -> bool {
        self.built_in.as_ref().is_some_and(|built_in| built_in.canonical != 0)
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Order) -> bool {
        self.sorts_as(other) && self.built_in == other.built_in
    }
}

/// What may become of values of one type that are copied into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// the types are the same
    Same,
    /// every value arrives as the same one, or is an error
    Widened,
    /// a value may become another one without a word
    May,
}

/// What may become of the source's values. An error, in words, where the types mean different things.
pub fn compare(here: &Type, there: &Type) -> Result<Change, String> {
    use Type::*;
    if here == there {
        return Ok(Change::Same);
    }
    match (here, there) {
        (BuiltIn { .. }, BuiltIn { .. }) => Ok(pairs::compare(here, there)),
        (Array(here), Array(there)) => compare(here, there),
        (Range(here, order), Range(there, of)) | (Multirange(here, order), Multirange(there, of)) => {
            let change = compare(here, there)?;
            Ok(match keeps_bounds((here, order), (there, of)) {
                true if order == of => change,
                true => change.max(Change::Widened),
                false => Change::May,
            })
        }
        (Enum(_), Enum(_)) => Ok(Change::Widened),
        (Composite(here), Composite(there)) => attributes(here, there),
        (
            Other { name, modifier },
            Other {
                name: other,
                modifier: of_other,
            },
        ) if name == other => Ok(match *modifier == -1 || modifier == of_other {
            true => Change::Widened,
            false => Change::May,
        }),
        // The text of a value is a text; and a label is that label, or none.
        (here, _) if here.is_unlimited_text() => Ok(Change::Widened),
        (Enum(_), there) if there.is_string() => Ok(Change::Widened),
        _ => Ok(Change::May),
    }
}

/// Attributes go by their places: a value's text has no names.
fn attributes(here: &[(String, Type)], there: &[(String, Type)]) -> Result<Change, String> {
    let names = |attributes: &[(String, Type)]| {
        let names: Vec<&str> = attributes.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    let (ours, theirs) = (names(here), names(there));
    if ours != theirs {
        return Err(format!("attributes ({ours}) here and ({theirs}) on the source"));
    }
    here.iter()
        .zip(there)
        .try_fold(Change::Same, |worst, ((name, here), (_, there))| {
            let change = compare(here, there).map_err(|difference| format!("attribute {name}: {difference}"))?;
            Ok(worst.max(change))
        })
}

/// Ranges with these subtypes and orders come as they are. A canonical function that only this side has writes other bounds; one that only the
/// source has leaves nothing for it to do here.
fn keeps_bounds((here, order): (&Type, &Order), (there, of): (&Type, &Order)) -> bool {
    // Between two values of a continuous type there are more than a discrete one has.
    let is_narrowed = order.is_canonical() && !(of.is_canonical() && is_discrete(there));
    // Numbers and times of several types come in one order.
    let are_families = is_ordered_alike(here) && is_ordered_alike(there);
    let are_told = order.built_in.is_some() && of.built_in.is_some();
    let has_labels = matches!(here, Type::Enum(_)) || matches!(there, Type::Enum(_));
    are_told && !is_narrowed && (are_families || order.sorts_as(of)) && (!has_labels || here == there)
}

fn is_discrete(subtype: &Type) -> bool {
    matches!(
        subtype,
        Type::BuiltIn {
            oid: 20 | 21 | 23 | 1082,
            ..
        }
    )
}

/// int2, int4, int8, numeric, float4, float8, date, timestamp: each has one operator class for its order.
fn is_ordered_alike(subtype: &Type) -> bool {
    matches!(
        subtype,
        Type::BuiltIn {
            oid: 20 | 21 | 23 | 1700 | 700 | 701 | 1082 | 1114,
            ..
        }
    )
}

impl Type {
    /// A built-in type that has characters: text, varchar, bpchar, name.
    pub fn is_string(&self) -> bool {
        matches!(
            self,
            Type::BuiltIn {
                oid: 25 | 1043 | 1042 | 19,
                ..
            }
        )
    }

    /// The built-in type with this OID.
    pub fn is_oid(&self, wanted: u32) -> bool {
        matches!(self, Type::BuiltIn { oid, .. } if *oid == wanted)
    }

    /// Nobody but a superuser can have made anything of it.
    pub fn is_built_in(&self) -> bool {
        match self {
            Type::BuiltIn { .. } => true,
            Type::Array(element) => element.is_built_in(),
            _ => false,
        }
    }

    /// float4 or float8 is somewhere in it.
    pub fn has_floats(&self) -> bool {
        match self {
            Type::BuiltIn { oid, .. } => matches!(*oid, 700 | 701),
            Type::Array(inner) | Type::Range(inner, _) | Type::Multirange(inner, _) => inner.has_floats(),
            Type::Composite(attributes) => attributes.iter().any(|(_, inner)| inner.has_floats()),
            Type::Enum(_) | Type::Other { .. } => false,
        }
    }

    /// text, or varchar without a limit.
    fn is_unlimited_text(&self) -> bool {
        matches!(
            self,
            Type::BuiltIn { oid: 25, .. }
                | Type::BuiltIn {
                    oid: 1043,
                    modifier: -1,
                    ..
                }
        )
    }

    /// The modifier of a built-in type or of an array's elements; -1 for none.
    pub fn modifier(&self) -> i32 {
        match self {
            Type::BuiltIn { modifier, .. } | Type::Other { modifier, .. } => *modifier,
            Type::Array(inner) => inner.modifier(),
            _ => -1,
        }
    }

    /// A number of this type may be one that names a large object.
    pub fn has_oids(&self) -> bool {
        match self {
            Type::BuiltIn { oid, .. } => *oid == 26,
            Type::Array(inner) => inner.has_oids(),
            Type::Composite(attributes) => attributes.iter().any(|(_, inner)| inner.has_oids()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(oid: u32, modifier: i32) -> Type {
        let name = format!("t{oid}");
        Type::BuiltIn { oid, name, modifier }
    }

    fn plain(canonical: u32, operators: &str) -> Order {
        Order::new(Some((canonical, operators)), None)
    }

    fn numeric(precision: i32, scale: i32) -> Type {
        built_in(1700, ((precision << 16) | scale) + 4)
    }

    fn composite(attributes: &[(&str, Type)]) -> Type {
        let attribute = |(name, kind): &(&str, Type)| ((*name).to_owned(), kind.clone());
        Type::Composite(attributes.iter().map(attribute).collect())
    }

    #[test]
    fn a_smaller_modifier_may_change_values_at_any_depth() {
        let change = |here: Type, there: Type| compare(&here, &there).expect("types that mean the same");
        let (small, large) = (|| numeric(18, 2), || numeric(18, 6));
        assert_eq!(change(small(), large()), Change::May);
        assert_eq!(change(numeric(24, 6), small()), Change::Widened);
        let array = |inner| Type::Array(Box::new(inner));
        let range = |inner| Type::Range(Box::new(inner), plain(0, "ops"));
        assert_eq!(change(array(small()), array(large())), Change::May);
        assert_eq!(change(array(range(small())), array(range(large()))), Change::May);
        let point = |kind| composite(&[("x", kind), ("y", built_in(701, -1))]);
        assert_eq!(change(point(small()), point(large())), Change::May);
        assert_eq!(change(point(small()), point(small())), Change::Same);
        assert_eq!(
            change(array(point(numeric(30, 6))), array(point(large()))),
            Change::Widened
        );
    }

    #[test]
    fn exchanged_attributes_are_a_difference_that_is_named() {
        let float = || built_in(701, -1);
        let here = composite(&[("lon", float()), ("lat", float())]);
        let there = composite(&[("lat", float()), ("lon", float())]);
        let nested = |inner: Type| Type::Array(Box::new(composite(&[("at", inner)])));
        let text = compare(&nested(here.clone()), &nested(there)).expect_err("a difference");
        assert_eq!(
            text,
            "attribute at: attributes (lon, lat) here and (lat, lon) on the source"
        );
        let more = composite(&[("lon", float()), ("lat", float()), ("z", float())]);
        assert!(compare(&here, &more).is_err());
    }

    #[test]
    fn labels_are_told_by_their_text() {
        let of = |labels: &[&str]| Type::Enum(labels.iter().map(|label| (*label).to_owned()).collect());
        assert_eq!(compare(&of(&["a", "b"]), &of(&["a", "b"])), Ok(Change::Same));
        assert_eq!(compare(&of(&["b", "a"]), &of(&["a", "b", "c"])), Ok(Change::Widened));
        assert_eq!(compare(&built_in(25, -1), &of(&["a"])), Ok(Change::Widened));
        assert_eq!(compare(&of(&["a"]), &built_in(1043, 14)), Ok(Change::Widened));
        assert_eq!(compare(&built_in(1043, 8), &of(&["a"])), Ok(Change::May));
    }

    #[test]
    fn ranges_of_whole_numbers_lack_what_lies_between() {
        let range = |oid| {
            let order = if is_discrete(&built_in(oid, -1)) {
                plain(3914, "int4_ops")
            } else {
                plain(0, "numeric_ops")
            };
            Type::Range(Box::new(built_in(oid, -1)), order)
        };
        assert_eq!(compare(&range(1700), &range(23)), Ok(Change::Widened));
        assert_eq!(compare(&range(23), &range(1700)), Ok(Change::May));
        assert_eq!(compare(&range(20), &range(23)), Ok(Change::Widened));
        let open = Type::Range(Box::new(built_in(23, -1)), plain(0, "int4_ops"));
        assert_eq!(compare(&range(23), &open), Ok(Change::May));
        assert_eq!(compare(&open, &range(23)), Ok(Change::Widened));
    }

    #[test]
    fn bounds_that_are_ordered_otherwise_are_other_ranges() {
        let of = |collation: Option<&str>| {
            let order = Order::new(Some((0, "text_ops")), collation);
            Type::Multirange(Box::new(built_in(25, -1)), order)
        };
        let (c, english, unknown) = ("bdC\n", "-den_US.utf8\nc en_us.utf8  2.36", "-den_US.utf8\n");
        let folding = "-nen_US.utf8\nc en_us.utf8  2.36";
        assert_eq!(compare(&of(Some(c)), &of(Some("bdPOSIX\n"))), Ok(Change::Same));
        assert_eq!(compare(&of(Some(english)), &of(Some(english))), Ok(Change::Same));
        for (here, there) in [(c, english), (english, folding), (unknown, unknown)] {
            assert_eq!(
                compare(&of(Some(here)), &of(Some(there))),
                Ok(Change::May),
                "{here} {there}"
            );
        }
        assert_eq!(compare(&of(Some("?")), &of(Some("?"))), Ok(Change::May));
        let labelled = |labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Type::Range(Box::new(Type::Enum(labels)), plain(0, "enum_ops"))
        };
        assert_eq!(
            compare(&labelled(&["a", "b"]), &labelled(&["a", "b"])),
            Ok(Change::Same)
        );
        assert_eq!(compare(&labelled(&["a", "b"]), &labelled(&["b", "a"])), Ok(Change::May));
        // An operator class of somebody's own.
        let own = Type::Array(Box::new(Type::Range(
            Box::new(built_in(23, -1)),
            Order::new(None, None),
        )));
        assert_eq!(compare(&own, &own), Ok(Change::May));
    }
}
