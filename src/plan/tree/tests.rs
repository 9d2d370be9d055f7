use super::*;
use crate::plan::sketch::{leaf, ranks, split, table};

fn level(by: &str, bounds: &[&str]) -> Level<crate::plan::tables::Relation> {
    let parts: Vec<_> = bounds.iter().map(|bound| leaf("x", bound)).collect();
    table(by, parts).target().level.expect("a level")
}

#[test]
fn rows_of_a_catalog_become_a_tree_whatever_their_order() {
    let row = |id: u32, parent, level: bool| {
        let level = level.then(|| Level {
            strategy: Strategy::List,
            columns: Vec::new(),
            plain: true,
            children: Vec::new(),
        });
        let (table, bound) = (id, None);
        let node = Node { table, bound, level };
        NodeRow { id, parent, node }
    };
    let rows = vec![
        row(3, Some(2), false),
        row(1, None, true),
        row(4, Some(1), false),
        row(2, Some(1), true),
    ];
    let root = assemble(rows).expect("a root");
    let children = root.level.expect("a level").children;
    assert_eq!(children.iter().map(|c| c.table).collect::<Vec<_>>(), [4, 2]);
    let below = &children[1].level.as_ref().expect("a level").children;
    assert_eq!(below.iter().map(|c| c.table).collect::<Vec<_>>(), [3]);
    assert!(assemble(vec![row(2, Some(1), false)]).is_none());
    // Rows that name each other end the walk.
    assert!(assemble(vec![row(1, None, true), row(2, Some(3), true), row(3, Some(2), true)]).is_some());
}

#[test]
fn places_are_values_in_the_servers_order() {
    let here = level(
        "range k, l:text",
        &[
            "from (1, MINVALUE) to (1.0, 'b')",
            "from (2, 'z') to (MAXVALUE, MAXVALUE)",
        ],
    );
    let found = places(&here, &here.columns, &ranks()).expect("places");
    let one = Edge::At(1);
    assert_eq!(found[0], Place::Range(vec![one, Edge::Min], vec![one, Edge::At(1)]));
    assert_eq!(
        found[1],
        Place::Range(vec![Edge::At(2), Edge::At(25)], vec![Edge::Max, Edge::Max])
    );
    assert!(Edge::Min < Edge::At(i64::MIN) && Edge::At(i64::MAX) < Edge::Max);
    let unknown = level("range k", &["from (1) to (1000)"]);
    assert!(places(&unknown, &unknown.columns, &ranks()).is_err());
}

#[test]
fn a_default_partitions_place_is_what_its_siblings_leave() {
    let place = |bounds: &[&str]| {
        let here = level("list k", bounds);
        places(&here, &here.columns, &ranks()).expect("places").pop()
    };
    assert_eq!(
        place(&["in (1, NULL)", "in (2)", "default"]),
        place(&["in (2.0)", "in (NULL, 1)", "default"])
    );
    assert_ne!(place(&["in (1, NULL)", "default"]), place(&["in (1)", "default"]));
    assert_ne!(
        place(&["in (1)", "in (2)", "default"]),
        place(&["in (1, 2)", "default"])
    );
}

#[test]
fn levels_are_alike_when_their_bounds_mean_the_same() {
    let here = level("range k:text", &[]);
    assert!(alike(&here, &level("range k:text", &["default"])));
    for other in ["range l:text", "range k", "list k:text", "range k:text, l"] {
        assert!(!alike(&here, &level(other, &[])), "{other}");
    }
    let mut expression = level("range k", &[]);
    expression.plain = false;
    assert!(!alike(&level("range k", &[]), &expression));
}

#[test]
fn the_values_of_both_sides_are_ranked() {
    let below = |name: &str, value: &str| split(name, "from (0) to (10)", "list r:text", [leaf("x", value)]);
    let here = table("range k", [below("a", "in ('a', NULL)")]).target();
    let there = table(
        "range k",
        [below("a", "in ('b')"), leaf("c", "from (10) to (MAXVALUE)")],
    )
    .source();
    let found = values_by_ordering(&here, &there);
    assert_eq!(found["int4"], BTreeSet::from(["0", "10"]));
    assert_eq!(found["text"], BTreeSet::from(["a", "b"]));
    let ranks = ranks();
    assert_eq!(
        ranks.values("int4")[&7],
        BTreeSet::from(["7".to_owned(), "7.0".to_owned()])
    );
}

#[test]
fn a_cast_to_text_within_an_expression_does_not_make_it_another() {
    let name = |expression: &str| {
        let key = KeyColumn {
            name: expression.to_owned(),
            expression: true,
            ..KeyColumn::default()
        };
        key.name_there()
    };
    assert_eq!(name("lower((l)::text)"), "lower(l)");
    assert_eq!(name("lower(((l)::text || (\"M\")::text))"), "lower((l || \"M\"))");
    for other in ["lower(l)", "lower(('x')::text)", "((a + b))::text", "f(l", "(l)::int"] {
        assert_eq!(name(other), other);
    }
}
