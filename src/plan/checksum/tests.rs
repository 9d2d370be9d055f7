use super::*;
use crate::plan::types::Type;

fn of(oid: u32, name: &str, modifier: i32) -> Type {
    Type::BuiltIn {
        oid,
        name: name.to_owned(),
        modifier,
    }
}

fn numeric(modifier: i32) -> Type {
    of(1700, "numeric", modifier)
}

fn abilities() -> Abilities {
    Abilities {
        version: 150_000,
        integer_datetimes: true,
        sha256: true,
    }
}

fn entries_for(abilities: Abilities, here: &Type, there: &Type, is_pinned: bool) -> Entries {
    let column = Compared {
        read: None,
        name: "c".to_owned(),
        here: here.clone(),
        there: there.clone(),
        is_pinned,
    };
    Checksum::new(abilities).entries(&[column])
}

/// The column's entry here and there.
fn entries(here: Type, there: Type) -> (String, String) {
    let mut entries = entries_for(abilities(), &here, &there, here == there);
    (entries.here.remove(0), entries.there.remove(0))
}

#[test]
fn a_unit_is_counted_and_summed_up_under_its_filter() {
    assert_eq!(count("\"s\".\"t\"", None), "SELECT count(*) AS n FROM \"s\".\"t\"");
    let sql = |sha256| {
        let checksum = Checksum::new(Abilities { sha256, ..abilities() });
        checksum.of(&["a".into(), "b".into()], "r", Some("(k > 1)"))
    };
    let expected = |digest: &str| {
        format!(
            "SELECT count(*) AS n, COALESCE(sum(CAST(CAST('x' || substr({digest}, 1, 16) AS bit(64)) AS bigint)), 0) AS s \
             FROM r WHERE (k > 1)"
        )
    };
    assert_eq!(sql(true), expected("encode(sha256(array_send(ARRAY[a, b])), 'hex')"));
    assert_eq!(sql(false), expected("md5(array_send(ARRAY[a, b]))"));
}

#[test]
fn the_same_type_is_the_same_expression_on_both_sides() {
    for (kind, expected) in [
        (of(20, "int8", -1), "int8send(\"c\")"),
        (of(1184, "timestamptz", -1), "timestamptz_send(\"c\")"),
        (of(869, "inet", -1), "inet_send(\"c\")"),
        (
            of(701, "float8", -1),
            "CASE WHEN \"c\" = 'NaN' THEN CAST('NaN' AS bytea) ELSE float8send(\"c\") END",
        ),
    ] {
        let (here, there) = entries(kind.clone(), kind);
        assert_eq!((here.as_str(), there.as_str()), (expected, expected));
    }
}

#[test]
fn a_long_value_is_its_length_and_its_digest_with_a_letter_of_their_own() {
    let bytea = of(17, "bytea", -1);
    let (here, there) = entries(bytea.clone(), bytea);
    assert_eq!(
        here,
        "CASE WHEN octet_length(\"c\") <= 1000 THEN CAST('v' AS bytea) || \"c\" \
         ELSE CAST('d' AS bytea) || int4send(octet_length(\"c\")) || sha256(\"c\") END"
    );
    assert_eq!(here, there);
    let text = of(25, "text", -1);
    assert!(
        entries(text.clone(), text)
            .0
            .contains("|| convert_to(CAST(\"c\" AS text), 'UTF8')")
    );
}

#[test]
fn arrays_go_by_their_elements() {
    let of_array = |abilities, kind: Type, is_pinned| {
        let array = Type::Array(Box::new(kind));
        entries_for(abilities, &array, &array, is_pinned).here.remove(0)
    };
    let array = |kind: Type| of_array(abilities(), kind, true);
    assert!(array(numeric(-1)).contains("array_send(\"c\")"));
    assert!(array(of(25, "text", -1)).contains("CAST(\"c\" AS text)"));
    assert!(array(of(701, "float8", -1)).contains("array_send(array_replace(\"c\", 'NaN', 'NaN'))"));
    assert!(array(of(600, "point", -1)).contains("CAST(\"c\" AS text)"));
    // An array of a domain has the domain's OID in its binary form.
    assert!(of_array(abilities(), numeric(-1), false).contains("CAST(\"c\" AS text)"));
    let old = Abilities {
        version: 90_200,
        integer_datetimes: false,
        sha256: false,
    };
    assert!(of_array(old, of(1184, "timestamptz", -1), true).contains("CAST(\"c\" AS text)"));
    assert!(of_array(old, of(701, "float8", -1), true).contains("array_send(\"c\")"));
    assert!(of_array(old, of(600, "point", -1), true).contains("array_send(\"c\")"));
}

#[test]
fn a_smaller_modifier_is_seen_in_the_sources_own_value() {
    let (here, there) = entries(numeric(1_179_654), numeric(1_179_658));
    assert_eq!(here, there);
    assert!(here.contains("rtrim(rtrim(CAST(\"c\" AS text), '0'), '.')"), "{here}");
    let (here, there) = entries(of(1114, "timestamp", 0), of(1114, "timestamp", 6));
    assert_eq!((here.as_str(), &here), ("timestamp_send(\"c\")", &there));
    let array = |modifier| Type::Array(Box::new(numeric(modifier)));
    let (here, there) = entries(array(1_179_654), array(1_179_658));
    assert_eq!(here, there);
    assert!(here.contains("(SELECT unnest(\"c\") AS v OFFSET 0) e0)"), "{here}");
    assert!(here.contains("CAST(e0.v AS text)"), "{here}");
}

#[test]
fn the_value_here_goes_back_to_the_sources_type() {
    let (here, there) = entries(of(20, "int8", -1), of(23, "int4", -1));
    assert_eq!(here, "int8send(CAST(\"c\" AS int8))");
    assert_eq!(here, there);
    let (here, there) = entries(of(1114, "timestamp", -1), of(1184, "timestamptz", -1));
    assert!(here.contains("timestamptz_send(CAST(\"c\" AS timestamptz))"), "{here}");
    assert_eq!(there, "timestamptz_send(\"c\")");
    let (here, there) = entries(of(1082, "date", -1), of(1114, "timestamp", -1));
    assert_eq!(here, "date_send(\"c\")");
    assert!(there.contains("ELSE timestamp_send(\"c\")"), "{there}");
    let (here, there) = entries(of(23, "int4", -1), of(25, "text", -1));
    assert!(here.contains("CAST(\"c\" AS text)"));
    assert_eq!(here, there);
    let (_, there) = entries(of(25, "text", -1), of(16, "bool", -1));
    assert!(there.contains("textin(boolout(\"c\"))"));
    let (here, there) = entries(of(700, "float4", -1), of(701, "float8", -1));
    assert!(here.contains("float8send(CAST(\"c\" AS float8))") && there.contains("float8send(\"c\")"));
}

#[test]
fn composites_go_attribute_by_attribute_where_they_differ() {
    let composite = |parts: &[(&str, Type)]| {
        let parts = parts.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone()));
        Type::Composite(parts.collect())
    };
    let one = composite(&[("a", of(23, "int4", -1)), ("n", numeric(1_179_654))]);
    let other = composite(&[("a", of(23, "int4", -1)), ("n", numeric(1_179_658))]);
    let (here, there) = entries(one.clone(), other);
    assert_eq!(here, there);
    assert!(
        here.contains("int4send((\"c\").\"a\")") && here.contains("CAST((\"c\").\"n\" AS text)"),
        "{here}"
    );
    // Never by a cast, which somebody may have made.
    assert!(entries(one.clone(), one.clone()).0.contains("format('%s', \"c\")"));
    let older = Abilities {
        version: 90_426,
        ..abilities()
    };
    let old = entries_for(older, &one, &one, false);
    assert!(old.here[0].contains("format('%s', \"c\")") && old.there[0].contains("CAST(\"c\" AS text)"));
    // By name; what has other names is never equal.
    let exchanged = [
        composite(&[("x", numeric(-1)), ("y", numeric(-1))]),
        composite(&[("y", numeric(-1)), ("x", numeric(-1))]),
    ];
    let (here, there) = entries(exchanged[0].clone(), exchanged[1].clone());
    assert_eq!(here, there);
    let (here, there) = entries(exchanged[0].clone(), composite(&[("x", numeric(-1))]));
    assert!(here.contains("'x,y'") && there.contains("'x'"), "{here}");
}

#[test]
fn what_leads_nowhere_back_is_converted_there_and_named() {
    let other = Type::Other {
        name: "hstore".to_owned(),
        modifier: -1,
    };
    let converted = |here: &Type| entries_for(abilities(), here, &other, false);
    let jsonb = converted(&of(3802, "jsonb", -1));
    assert_eq!(jsonb.converted, ["\"c\""]);
    assert!(
        jsonb.there[0].contains("format('%s', \"c\") END AS pg_catalog.\"jsonb\")"),
        "{jsonb:?}"
    );
    let text = converted(&of(25, "text", -1));
    assert!(text.converted.is_empty());
    assert!(text.here[0].contains("CAST(\"c\" AS text)") && text.there[0].contains("format('%s', \"c\")"));
    assert!(converted(&other).converted.is_empty());
}
