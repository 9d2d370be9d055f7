use super::super::sketch::{leaf, table};
use super::*;

const C: &str = "bdC\n";
const ENGLISH: &str = "-den_US.UTF-8\nc en_us.utf8  2.36";
const OLDER: &str = "-den_US.UTF-8\nc en_us.utf8  2.28";
const FOLDING: &str = "-nund-u-ks-level2\ni unduslevel2  153.1";

fn here(type_oid: u32, modifier: i32, cast_sql: &str, collation: &str) -> KeyColumn {
    KeyColumn {
        name: "k".to_owned(),
        type_oid,
        modifier,
        cast_sql: cast_sql.to_owned(),
        collation: Collation::parse(collation),
        sorts_bytes_there: true,
        ..KeyColumn::default()
    }
}

fn of_kind(kind: Type, collation: &str) -> Column {
    let type_oid = match kind {
        Type::BuiltIn { oid, .. } => oid,
        _ => 70_000,
    };
    Column {
        read: None,
        name: "k".to_owned(),
        type_oid,
        type_name: String::new(),
        kind,
        collation: Collation::parse(collation),
        number: 1,
        has_default: false,
        generated: false,
        needed: false,
        not_null: false,
        binary_safe: true,
    }
}

fn there(oid: u32, modifier: i32, collation: &str) -> Column {
    let name = String::new();
    of_kind(Type::BuiltIn { oid, name, modifier }, collation)
}

/// The column's expression over there; `=` for itself, `#` for named values, `<` where whole days need none.
fn ranged(here: &KeyColumn, there: &Column) -> String {
    shown(reading(here, Some(there), true, 150_000))
}

fn listed(here: &KeyColumn, there: &Column) -> String {
    shown(reading(here, Some(there), false, 150_000))
}

fn shown(reading: Reading) -> String {
    match reading {
        Reading::Native => "=".to_owned(),
        Reading::Via { key, .. } => key,
        Reading::Cut(key) => format!("< {key}"),
        Reading::Named(text) => format!("# {text}"),
        Reading::Known(text) => format!("## {text}"),
        Reading::Untold => "?".to_owned(),
    }
}

#[test]
fn numbers_and_times_are_read_as_they_arrive() {
    let int8 = here(20, -1, "bigint", "");
    assert_eq!(ranged(&int8, &there(20, -1, "")), "=");
    assert_eq!(ranged(&int8, &there(23, -1, "")), "=");
    let rounded = here(1700, ((10 << 16) | 2) + 4, "numeric(10,2)", "");
    assert_eq!(ranged(&rounded, &there(1700, -1, "")), "CAST(@ AS numeric(10,2))");
    assert_eq!(ranged(&rounded, &there(1700, ((8 << 16) | 2) + 4, "")), "=");
    assert_eq!(ranged(&rounded, &there(23, -1, "")), "=");
    let day = here(1082, -1, "date", "");
    assert_eq!(listed(&day, &there(1114, -1, "")), "CAST(@ AS date)");
    assert_eq!(ranged(&day, &there(1114, -1, "")), "< CAST(@ AS date)");
    assert_eq!(ranged(&day, &there(1184, -1, "")), "CAST(@ AS date)");
    let to_seconds = here(1184, 0, "timestamp(0) with time zone", "");
    assert_eq!(
        ranged(&to_seconds, &there(1114, -1, "")),
        "CAST(@ AS timestamp(0) with time zone)"
    );
    assert_eq!(ranged(&to_seconds, &there(1082, -1, "")), "=");
    let hundreds = here(1700, ((10 << 16) | (-2 & 0x7ff)) + 4, "numeric(10,-2)", "");
    assert_eq!(ranged(&hundreds, &there(23, -1, "")), "CAST(@ AS numeric(10,-2))");
    let margin = |here: &KeyColumn, there: &Column| match reading(here, Some(there), true, 150_000) {
        Reading::Via { margin, .. } => margin,
        _ => None,
    };
    assert_eq!(
        margin(&hundreds, &there(23, -1, "")).as_deref(),
        Some("CAST('1e2' AS numeric)")
    );
    assert_eq!(
        margin(&rounded, &there(1700, -1, "")).as_deref(),
        Some("CAST('1e-2' AS numeric)")
    );
    assert_eq!(
        margin(&to_seconds, &there(1114, -1, "")).as_deref(),
        Some("interval '1 day'")
    );
    assert_eq!(listed(&here(1184, -1, "timestamptz", ""), &there(1082, -1, "")), "=");
    let float8 = here(701, -1, "double precision", "");
    assert_eq!(
        ranged(&float8, &there(700, -1, "")),
        "CAST(CAST(@ AS text) AS double precision)"
    );
}

#[test]
fn characters_are_compared_by_bytes_or_by_one_implementation_or_named() {
    let (c, english) = (here(25, -1, "text", C), here(25, -1, "text", ENGLISH));
    let (of_c, of_english, older) = (there(25, -1, C), there(25, -1, ENGLISH), there(25, -1, OLDER));
    assert_eq!(ranged(&c, &of_c), "=");
    assert_eq!(ranged(&c, &of_english), "@ COLLATE \"C\"");
    assert_eq!(ranged(&english, &of_english), "=");
    assert_eq!(ranged(&english, &older), "# CAST(@ AS text)");
    assert_eq!(ranged(&english, &of_c), "# CAST(@ AS text)");
    let other_encoding = KeyColumn {
        sorts_bytes_there: false,
        ..c.clone()
    };
    assert_eq!(ranged(&other_encoding, &of_english), "convert_to(@, 'UTF8')");
    let in_ascii = KeyColumn {
        by_ascii: true,
        ..other_encoding.clone()
    };
    assert_eq!(ranged(&in_ascii, &of_english), "@ COLLATE \"C\"");
    assert_eq!(ranged(&in_ascii, &there(25, -1, "odC\n")), "=");
    assert_eq!(
        ranged(&other_encoding, &there(25, -1, "odC\n")),
        "convert_to(@, 'UTF8')"
    );
    let before_collations = reading(&c, Some(&there(25, -1, "-den_US\n")), true, 80_300);
    assert_eq!(shown(before_collations), "convert_to(@, 'UTF8')");
    assert_eq!(ranged(&c, &there(1042, 12, C)), "textin(bpcharout(@)) COLLATE \"C\"");
    assert_eq!(ranged(&c, &there(1082, -1, "")), "CAST(@ AS text) COLLATE \"C\"");
}

#[test]
fn lists_need_equality_alone() {
    let (english, folding) = (here(25, -1, "text", ENGLISH), here(25, -1, "text", FOLDING));
    assert_eq!(listed(&english, &there(25, -1, OLDER)), "=");
    assert_eq!(listed(&english, &there(25, -1, FOLDING)), "@ COLLATE \"C\"");
    assert_eq!(listed(&folding, &there(25, -1, C)), "# CAST(@ AS text)");
    assert_eq!(
        listed(&folding, &there(25, -1, FOLDING)),
        "# CAST(@ AS text) COLLATE \"C\""
    );
}

#[test]
fn labels_are_named_and_other_types_are_asked_for_their_values() {
    let mood = KeyColumn {
        labels: vec!["a".to_owned(), "b".to_owned()],
        ..here(20_000, -1, "public.mood", "")
    };
    let labels = of_kind(Type::Enum(vec!["b".to_owned(), "a".to_owned()]), "");
    let output = "CASE WHEN num_nulls(@) = 0 THEN format('%s', @) END";
    assert_eq!(ranged(&mood, &labels), format!("## {output}"));
    assert_eq!(listed(&mood, &there(25, -1, C)), "## CAST(@ AS text)");
    let citext = here(20_001, -1, "public.citext", ENGLISH);
    assert_eq!(listed(&citext, &there(25, -1, C)), "# CAST(@ AS text)");
    assert_eq!(shown(reading(&mood, None, true, 150_000)), "?");
    let expression = KeyColumn {
        expression: true,
        ..here(25, -1, "text", C)
    };
    assert_eq!(listed(&expression, &there(25, -1, C)), "?");
}

#[test]
fn digits_of_one_length_come_in_one_order() {
    let digits = |bounds: &[&str], others: &[&str]| {
        let tree = |bounds: &[&str]| {
            let parts: Vec<_> = bounds.iter().map(|bound| leaf("x", bound)).collect();
            table("range k:text", parts)
        };
        keys_of_digits(&tree(bounds).target(), &tree(others).source())
    };
    let months = ["from ('20170101') to ('20170201')", "from ('20170201') to (MAXVALUE)"];
    assert_eq!(digits(&months, &months[1..]), BTreeSet::from(["\"k\"".to_owned()]));
    for other in [
        "from ('2017') to ('2018')",
        "from ('20170301') to ('x')",
        "from ('') to ('20170101')",
    ] {
        assert_eq!(digits(&months, &[other]), BTreeSet::new(), "{other}");
    }
}
