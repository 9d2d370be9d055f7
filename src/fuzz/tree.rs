//! Trees as a catalog may describe them.

use super::{fuzz, value};
use crate::plan::bound::{Bound, End};
use crate::plan::key::KeyColumn;
use crate::plan::tables::{Relation, range_key};
use crate::plan::tree::{Level, Node, NodeRow, Ranks, Strategy as By, assemble, places, values_by_ordering};
use proptest::prelude::*;

fn column() -> KeyColumn {
    KeyColumn {
        name: "k".to_owned(),
        type_oid: 25,
        type_name: "text".to_owned(),
        ordering: "text".to_owned(),
        ..KeyColumn::default()
    }
}

fn bound() -> impl Strategy<Value = Option<Bound>> {
    let end = || prop_oneof![Just(End::Min), Just(End::Max), value().prop_map(End::Value)];
    let ends = move || prop::collection::vec(end(), 0..3);
    prop_oneof![
        4 => (ends(), ends()).prop_map(|(from, to)| Some(Bound::Range(from, to))),
        2 => prop::collection::vec(prop::option::of(value()), 0..3).prop_map(|values| Some(Bound::List(values))),
        1 => any::<(u32, u32)>().prop_map(|(modulus, remainder)| Some(Bound::Hash(modulus, remainder))),
        1 => Just(Some(Bound::Default)),
        1 => Just(None),
    ]
}

type Row = (usize, Option<usize>, Option<Bound>, bool, Option<i64>);

/// Rows with parents that may be children of theirs, twice there, or nowhere; or one long line of them.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0usize..12,
        prop::option::weighted(0.9, 0usize..12),
        bound(),
        any::<bool>(),
        prop::option::of(prop_oneof![0i64..1000, any::<i64>()]),
    );
    let any_rows = prop::collection::vec(row, 0..24);
    let line = (1usize..20_000).prop_map(|length| {
        (0..length)
            .map(|at: usize| (at, at.checked_sub(1usize), None, true, Some(i64::MAX)))
            .collect()
    });
    prop_oneof![30 => any_rows, 1 => line]
}

fn depth<T>(node: &Node<T>) -> usize {
    let below = node.level.iter().flat_map(|level| &level.children).map(depth);
    1 + below.max().unwrap_or(0)
}

fn size<T>(node: &Node<T>) -> usize {
    1 + node
        .level
        .iter()
        .flat_map(|level| &level.children)
        .map(size)
        .sum::<usize>()
}

#[test]
fn a_tree_is_no_deeper_and_no_larger_than_it_may_be() {
    let strategy = (rows(), 0usize..3);
    fuzz("tree", strategy, |(rows, strategy)| {
        let count = rows.len();
        let strategy = [By::Range, By::List, By::Hash][strategy];
        let node = |(id, parent, bound, has_level, bytes): Row| NodeRow {
            id,
            parent,
            node: Node {
                table: Relation {
                    oid: 1,
                    name: id.to_string(),
                    relation: id.to_string(),
                    readable: true,
                    bytes,
                    ..Relation::default()
                },
                bound,
                level: has_level.then(|| Level {
                    strategy,
                    columns: vec![column()],
                    plain: true,
                    children: Vec::new(),
                }),
            },
        };
        let Some(root) = assemble(rows.into_iter().map(node).collect()) else {
            return Ok(());
        };
        prop_assert!(depth(&root) <= 65 && size(&root) <= count);
        prop_assert!(root.bytes().is_none_or(|bytes| bytes >= 0));
        let _ = range_key(&root);
        let mut ranks = Ranks::default();
        for (ordering, values) in values_by_ordering(&root, &root) {
            for (rank, value) in values.into_iter().enumerate() {
                ranks.insert(ordering, value.to_owned(), rank as i64);
            }
        }
        if let Some(level) = &root.level
            && let Ok(places) = places(level, &level.columns, &ranks)
        {
            prop_assert_eq!(places.len(), level.children.len());
        }
        Ok(())
    });
}
