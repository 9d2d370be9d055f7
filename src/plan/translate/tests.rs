use super::super::sketch::{leaf, table};
use super::*;
use crate::plan::collation::Collation;

fn column(name: &str, type_name: &str, type_oid: u32) -> KeyColumn {
    KeyColumn {
        name: name.to_owned(),
        type_oid,
        type_name: type_name.to_owned(),
        modifier: -1,
        type_sql: type_name.to_owned(),
        ordering: type_name.to_owned(),
        ..KeyColumn::default()
    }
}

fn of_type(type_name: &str, type_oid: u32) -> KeyColumn {
    column("k", type_name, type_oid)
}

fn plain(text: &str) -> Translated {
    Translated {
        text: text.to_owned(),
        is_near_change: false,
    }
}

/// How C sorts, an implementation of en_US, another one, and a collation that folds case.
const C: &str = "bdC\n";
const ENGLISH: &str = "-den_US.UTF-8\nc en_us.utf8  2.36";
const OLDER: &str = "-den_US.UTF-8\nc en_us.utf8  2.28";
const FOLDING: &str = "-nund-u-ks-level2\ni unduslevel2  153.1";

fn sorted(type_name: &str, type_oid: u32, collation: &str) -> KeyColumn {
    KeyColumn {
        collation: Collation::parse(collation),
        ..of_type(type_name, type_oid)
    }
}

fn labelled(labels: &[&str], type_oid: u32) -> KeyColumn {
    KeyColumn {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..of_type("region", type_oid)
    }
}

/// How bounds are compared between databases of one encoding.
fn conversion(here: &KeyColumn, there: &KeyColumn, strategy: Strategy) -> Option<Conversion> {
    super::conversion(here, there, strategy, true)
}

#[test]
fn types_are_compared_by_what_they_mean() {
    use Strategy::{Hash, List, Range};
    let (int4, int8, date) = (of_type("int4", 23), of_type("int8", 20), of_type("date", 1082));
    let timestamp = of_type("timestamp", 1114);
    assert_eq!(conversion(&int4, &int4, Hash), Some(Conversion::Same));
    let from_int8 = Some(Conversion::Cast("pg_catalog.int8".to_owned()));
    assert_eq!(conversion(&int4, &int8, Range), from_int8);
    assert_eq!(conversion(&int4, &int8, Hash), None);
    let from_timestamp = Some(Conversion::Cast("pg_catalog.timestamp".to_owned()));
    assert_eq!(conversion(&date, &timestamp, Range), from_timestamp);
    // A day here is many values there.
    assert_eq!(conversion(&date, &timestamp, List), None);
    assert!(conversion(&timestamp, &date, List).is_some());
    assert_eq!(conversion(&int4, &date, List), None);
    // Two servers give an OID of their own to different types.
    let own = of_type("mine", FIRST_NORMAL_OID);
    assert_eq!(conversion(&own, &own, Range), None);
    assert_eq!(conversion(&own, &of_type("mine", 70_000), List), Some(Conversion::Read));
    assert_eq!(conversion(&own, &of_type("other", FIRST_NORMAL_OID), List), None);
}

#[test]
fn partitions_of_rounded_values_hold_other_rows() {
    use Strategy::{Hash, List, Range};
    let to_seconds = KeyColumn {
        modifier: 0,
        ..of_type("timestamp", 1114)
    };
    let exact = of_type("timestamp", 1114);
    assert!(is_rounded(&to_seconds, &exact) && !is_rounded(&exact, &to_seconds));
    assert!(is_rounded(&to_seconds, &of_type("timestamptz", 1184)) && !is_rounded(&of_type("date", 1082), &exact));
    for strategy in [List, Hash] {
        assert_eq!(conversion(&to_seconds, &exact, strategy), None);
        assert_eq!(conversion(&exact, &to_seconds, strategy), Some(Conversion::Same));
    }
    // Ranges are nearly the same, and tell what has vanished.
    assert_eq!(conversion(&to_seconds, &exact, Range), Some(Conversion::Same));
    let of_exact = |column: &KeyColumn| {
        let mut there = table("range k", [leaf("x", "from (0) to (1)")]).source();
        let level = there.level.as_mut().expect("a level");
        level.columns = vec![column.clone()];
        level.children.clear();
        there
    };
    let mut there = of_exact(&exact);
    let mut keys = Keys::default();
    keys.insert(to_seconds.clone());
    translate(&mut there, &keys, &Converted::new());
    let level = there.level.as_ref().expect("a level");
    assert!(level.plain && level.columns[0].is_rounded);
    assert!(conversion(&to_seconds, &of_type("date", 1082), Range).is_some());
}

#[test]
fn a_day_that_is_cut_matters_where_a_further_column_tells_its_rows_apart() {
    let day = of_type("date", 1082);
    let exact = |name: &str| KeyColumn {
        name: name.to_owned(),
        ..of_type("timestamp", 1114)
    };
    let mut there = table("range k", [leaf("x", "from (0) to (1)")]).source();
    let level = there.level.as_mut().expect("a level");
    level.columns = vec![exact("k"), exact("l")];
    level.children.clear();
    let mut keys = Keys::default();
    for name in ["k", "l"] {
        keys.insert(KeyColumn {
            name: name.to_owned(),
            ..day.clone()
        });
    }
    translate(&mut there, &keys, &Converted::new());
    let columns = &there.level.as_ref().expect("a level").columns;
    assert!(columns[0].is_rounded && !columns[1].is_rounded);
}

#[test]
fn an_order_that_differs_matters_to_ranges_and_not_to_lists() {
    use Strategy::{Hash, List, Range};
    let (text, varchar) = (sorted("text", 25, C), sorted("varchar", 1043, ENGLISH));
    assert_eq!(conversion(&text, &varchar, List), Some(Conversion::Read));
    let folding = sorted("text", 25, FOLDING);
    assert_eq!(conversion(&folding, &varchar, List), None);
    assert_eq!(conversion(&text, &folding, List), None);
    assert_eq!(conversion(&folding, &folding, List), Some(Conversion::Same));
    assert_eq!(conversion(&folding, &folding, Hash), None);
    let (padded, text_again) = (sorted("bpchar", 1042, C), sorted("text", 25, C));
    assert_eq!(conversion(&text_again, &padded, List), Some(Conversion::Read));
    assert_eq!(conversion(&padded, &text_again, List), None);
    assert_eq!(conversion(&text, &varchar, Range), None);
    assert_eq!(
        conversion(&text, &sorted("varchar", 1043, "bdPOSIX\n"), Range),
        Some(Conversion::Read)
    );
    assert_eq!(conversion(&text, &sorted("bpchar", 1042, C), Range), None);
    let english = sorted("text", 25, ENGLISH);
    assert_eq!(conversion(&english, &varchar, Range), Some(Conversion::Read));
    assert_eq!(conversion(&english, &sorted("text", 25, OLDER), Range), None);
    let digits = KeyColumn {
        by_digits: true,
        ..english
    };
    assert_eq!(
        conversion(&digits, &sorted("text", 25, OLDER), Range),
        Some(Conversion::Same)
    );
    let (here, more) = (labelled(&["eu", "us"], 20_000), labelled(&["eu", "apac", "us"], 30_000));
    assert_eq!(conversion(&here, &more, Range), Some(Conversion::Read));
    let other = labelled(&["us", "eu"], 30_000);
    assert_eq!(conversion(&here, &other, Range), None);
    assert_eq!(conversion(&here, &other, List), Some(Conversion::Read));
    assert_eq!(conversion(&here, &sorted("text", 25, C), List), Some(Conversion::Read));
}

#[test]
fn a_hash_of_characters_is_that_of_their_bytes() {
    let hashed = |here: &KeyColumn, same_bytes| super::conversion(here, here, Strategy::Hash, same_bytes);
    let text = sorted("text", 25, C);
    assert_eq!(hashed(&text, true), Some(Conversion::Same));
    assert_eq!(hashed(&text, false), None);
    assert_eq!(hashed(&of_type("int4", 23), false), Some(Conversion::Same));
    assert_eq!(hashed(&of_type("jsonb", 3802), false), None);
}

#[test]
fn bounds_become_values_of_the_targets_type() {
    let here = table("range k:int8", [leaf("x", "from (0) to (10)")]).target();
    let keys = Keys::of(&here, true);
    let mut there = table(
        "range k",
        [leaf("a", "from (0) to (7)"), leaf("b", "from (7) to (MAXVALUE)")],
    )
    .source();
    let mut converted = Converted::new();
    for ((type_sql, conversion), values) in keys.values(&there) {
        for value in values {
            let read = Some(plain(&format!("{value}.0")));
            converted.insert((type_sql.clone(), conversion.clone(), value), read);
        }
    }
    assert_eq!(converted.len(), 2);
    assert!(translate(&mut there, &keys, &converted).is_empty());
    let level = there.level.as_ref().expect("a level");
    assert_eq!(level.columns, here.level.as_ref().expect("a level").columns);
    let bounds: Vec<String> = level
        .children
        .iter()
        .filter_map(|c| Some(c.bound.as_ref()?.to_sql()))
        .collect();
    assert_eq!(
        bounds,
        [
            "FOR VALUES FROM ('0.0') TO ('7.0')",
            "FOR VALUES FROM ('7.0') TO (MAXVALUE)"
        ]
    );
}

#[test]
fn a_bound_near_a_change_of_clocks_does_not_part_the_rows_as_it_does_there() {
    let here = of_type("timestamptz", 1184);
    let there = of_type("timestamp", 1114);
    let zoned = Conversion::Zoned("pg_catalog.timestamp".to_owned());
    assert_eq!(conversion(&here, &there, Strategy::Range), Some(zoned.clone()));
    let date = of_type("date", 1082);
    assert_eq!(
        conversion(&date, &here, Strategy::Range),
        Some(Conversion::Zoned("pg_catalog.timestamptz".to_owned()))
    );
    // A day begins once.
    assert_eq!(
        conversion(&here, &date, Strategy::Range),
        Some(Conversion::Cast("pg_catalog.date".to_owned()))
    );
    let mut keys = Keys::default();
    keys.insert(here.clone());
    for is_near_change in [false, true] {
        let mut root = table("range k", [leaf("x", "from (1) to (2)")]).source();
        root.level.as_mut().expect("a level").columns = vec![there.clone()];
        let read = |value: &str, is_near_change| {
            let key = (here.type_sql.clone(), zoned.clone(), value.to_owned());
            let read = Translated {
                is_near_change,
                ..plain(value)
            };
            (key, Some(read))
        };
        translate(
            &mut root,
            &keys,
            &Converted::from([read("1", false), read("2", is_near_change)]),
        );
        let level = root.level.as_ref().expect("a level");
        assert!(level.plain && level.columns[0].is_rounded == is_near_change);
    }
}

#[test]
fn what_the_targets_type_lacks_is_told_for_lists_and_makes_ranges_incomparable() {
    let here = table("list k:int8", [leaf("x", "in (1)")]).target();
    let keys = Keys::of(&here, true);
    let mut there = table("list k", [leaf("a", "in (1, 2)")]).source();
    let key = |value: &str| {
        let cast = Conversion::Cast("pg_catalog.int4".to_owned());
        ("int8".to_owned(), cast, value.to_owned())
    };
    let converted = Converted::from([(key("1"), Some(plain("1"))), (key("2"), None)]);
    let unreadable = translate(&mut there, &keys, &converted);
    assert_eq!(unreadable, BTreeSet::from([("int8".to_owned(), "2".to_owned())]));
    assert!(there.level.as_ref().expect("a level").plain);
    let here = table("range k:int8", [leaf("x", "from (0) to (1)")]).target();
    let mut there = table("range k", [leaf("a", "from (1) to (2)")]).source();
    translate(&mut there, &Keys::of(&here, true), &converted);
    assert!(!there.level.as_ref().expect("a level").plain);
}

#[test]
fn a_key_that_the_target_lacks_says_nothing_and_a_hash_that_all_is_there() {
    let here = table("range k", [leaf("x", "from (0) to (1)")]).target();
    let keys = Keys::of(&here, true);
    let mut there = table("list r", [leaf("a", "in (1)")]).source();
    assert_eq!(keys.lacking(&there), BTreeSet::from(["r".to_owned()]));
    translate(&mut there, &keys, &Converted::new());
    assert!(!there.level.as_ref().expect("a level").plain);
    let mut there = table("hash r", [leaf("a", "with (modulus 1, remainder 0)")]).source();
    translate(&mut there, &keys, &Converted::new());
    assert!(there.level.as_ref().expect("a level").plain);
}
