use super::super::sketch::{leaf, table};
use super::*;

fn column(name: &str, type_name: &str, type_oid: u32) -> KeyColumn {
    KeyColumn {
        name: name.to_owned(),
        expression: false,
        type_oid,
        type_name: type_name.to_owned(),
        collation: None,
        labels: Vec::new(),
        deterministic: true,
        type_sql: type_name.to_owned(),
        ordering: type_name.to_owned(),
    }
}

fn of_type(type_name: &str, type_oid: u32) -> KeyColumn {
    column("k", type_name, type_oid)
}

fn sorted(type_name: &str, type_oid: u32, collation: &str) -> KeyColumn {
    KeyColumn {
        collation: Some(collation.to_owned()),
        ..of_type(type_name, type_oid)
    }
}

fn labelled(labels: &[&str], type_oid: u32) -> KeyColumn {
    KeyColumn {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..of_type("region", type_oid)
    }
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
    assert_eq!(conversion(&date, &timestamp, List), from_timestamp);
    assert_eq!(conversion(&int4, &date, List), None);
    // Two servers give an OID of their own to different types.
    let own = of_type("mine", FIRST_NORMAL_OID);
    assert_eq!(conversion(&own, &own, Range), None);
    assert_eq!(conversion(&own, &of_type("mine", 70_000), List), Some(Conversion::Read));
    assert_eq!(conversion(&own, &of_type("other", FIRST_NORMAL_OID), List), None);
}

#[test]
fn an_order_that_differs_matters_to_ranges_and_not_to_lists() {
    use Strategy::{List, Range};
    let (text, varchar) = (sorted("text", 25, "C"), sorted("varchar", 1043, "en_US.UTF-8"));
    assert_eq!(conversion(&text, &varchar, List), Some(Conversion::Read));
    let folding = KeyColumn {
        deterministic: false,
        ..sorted("text", 25, "und-ci")
    };
    assert_eq!(conversion(&folding, &varchar, List), None);
    assert_eq!(conversion(&text, &folding, List), None);
    assert_eq!(conversion(&folding, &folding, List), Some(Conversion::Same));
    let (padded, text_again) = (sorted("bpchar", 1042, "C"), sorted("text", 25, "C"));
    assert_eq!(conversion(&text_again, &padded, List), Some(Conversion::Read));
    assert_eq!(conversion(&padded, &text_again, List), None);
    assert_eq!(conversion(&text, &varchar, Range), None);
    assert_eq!(
        conversion(&text, &sorted("varchar", 1043, "POSIX"), Range),
        Some(Conversion::Read)
    );
    assert_eq!(conversion(&text, &sorted("bpchar", 1042, "C"), Range), None);
    assert!(sort_alike(Some("en_US.UTF-8"), Some("en_US.utf8")) && sort_alike(None, Some("C")));
    let (here, more) = (labelled(&["eu", "us"], 20_000), labelled(&["eu", "apac", "us"], 30_000));
    assert_eq!(conversion(&here, &more, Range), Some(Conversion::Read));
    let other = labelled(&["us", "eu"], 30_000);
    assert_eq!(conversion(&here, &other, Range), None);
    assert_eq!(conversion(&here, &other, List), Some(Conversion::Read));
    assert_eq!(
        conversion(&here, &sorted("text", 25, "C"), List),
        Some(Conversion::Read)
    );
}

#[test]
fn bounds_become_values_of_the_targets_type() {
    let here = table("range k:int8", [leaf("x", "from (0) to (10)")]).target();
    let keys = Keys::of(&here);
    let mut there = table(
        "range k",
        [leaf("a", "from (0) to (7)"), leaf("b", "from (7) to (MAXVALUE)")],
    )
    .source();
    let mut converted = Converted::new();
    for ((type_sql, conversion), values) in keys.values(&there) {
        for value in values {
            let read = Some(format!("{value}.0"));
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
fn what_the_targets_type_lacks_is_told_for_lists_and_makes_ranges_incomparable() {
    let here = table("list k:int8", [leaf("x", "in (1)")]).target();
    let keys = Keys::of(&here);
    let mut there = table("list k", [leaf("a", "in (1, 2)")]).source();
    let key = |value: &str| {
        let cast = Conversion::Cast("pg_catalog.int4".to_owned());
        ("int8".to_owned(), cast, value.to_owned())
    };
    let converted = Converted::from([(key("1"), Some("1".to_owned())), (key("2"), None)]);
    let unreadable = translate(&mut there, &keys, &converted);
    assert_eq!(unreadable, BTreeSet::from([("int8".to_owned(), "2".to_owned())]));
    assert!(there.level.as_ref().expect("a level").plain);
    let here = table("range k:int8", [leaf("x", "from (0) to (1)")]).target();
    let mut there = table("range k", [leaf("a", "from (1) to (2)")]).source();
    translate(&mut there, &Keys::of(&here), &converted);
    assert!(!there.level.as_ref().expect("a level").plain);
}

#[test]
fn a_key_that_the_target_lacks_says_nothing_and_a_hash_that_all_is_there() {
    let here = table("range k", [leaf("x", "from (0) to (1)")]).target();
    let keys = Keys::of(&here);
    let mut there = table("list r", [leaf("a", "in (1)")]).source();
    assert_eq!(keys.lacking(&there), BTreeSet::from(["r".to_owned()]));
    translate(&mut there, &keys, &Converted::new());
    assert!(!there.level.as_ref().expect("a level").plain);
    let mut there = table("hash r", [leaf("a", "with (modulus 1, remainder 0)")]).source();
    translate(&mut there, &keys, &Converted::new());
    assert!(there.level.as_ref().expect("a level").plain);
}
