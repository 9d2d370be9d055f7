//! What the target lacks, told by trees of a few words.

use super::*;
use crate::plan::sketch::{Sketch, leaf, ranks, split, table};
use crate::plan::tables::range_key;

/// What `find` says, by the names of the source's partitions, for a run from `from` up to `end`.
#[derive(Debug, Default, PartialEq)]
struct Found {
    create: Vec<String>,
    overlapping: Vec<String>,
    later: Vec<String>,
}

fn found(target: &Sketch, source: &Sketch, (from, end): (Option<i64>, Option<i64>)) -> Found {
    let (target, source) = (target.target(), source.source());
    let key = range_key(&target).expect("a plain key");
    let ranks = ranks();
    let space = Space::new(&target, &source, &ranks);
    let missing = find(&target, &source, &ranks, &space, &Reach { key, from, end }).expect("an answer");
    let name = |node: &Node<Relation>| node.table.name.clone();
    let overlap = |overlap: &Overlap<'_>| {
        let condition = overlap.without_place.as_deref().unwrap_or("?");
        format!(
            "{} and {}: {condition}",
            name(overlap.node),
            overlap.existing.join(", ")
        )
    };
    Found {
        create: missing.create.iter().map(|new| name(new.node)).collect(),
        overlapping: missing.overlapping.iter().map(overlap).collect(),
        later: missing.later.iter().map(|(oid, c)| format!("{oid} {c}")).collect(),
    }
}

/// Without a lower end, up to the end of everything.
const ALL: (Option<i64>, Option<i64>) = (None, Some(99));

fn years(names: &[(&str, u32)]) -> Vec<Sketch> {
    let year = |&(name, start): &(&str, u32)| leaf(name, &format!("from ({start}) to ({})", start + 10));
    names.iter().map(year).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn partitions_between_below_and_above_ours_are_created_within_reach() {
    let target = table("range k", years(&[("x", 20), ("y", 50)]));
    let source = table(
        "range k",
        years(&[("below", 0), ("x", 20), ("gap", 30), ("y", 50), ("above", 70)]),
    );
    let create = |reach| found(&target, &source, reach).create;
    assert_eq!(create(ALL), ["below", "gap", "above"]);
    assert_eq!(create((None, Some(69))), ["below", "gap"]);
    assert_eq!(create((None, Some(70))), ["below", "gap", "above"]);
    assert_eq!(create((Some(10), Some(99))), ["gap", "above"]);
    assert_eq!(create((Some(9), Some(29))), ["below"]);
    // A default partition has room for their rows.
    let with_default = table("range k", [years(&[("x", 20)]), vec![leaf("d", "default")]].concat());
    assert_eq!(
        found(&with_default, &source, ALL).create,
        ["below", "gap", "y", "above"]
    );
}

#[test]
fn the_oldest_is_created_first_whatever_the_catalogs_order() {
    let source = table("range k", years(&[("b", 10), ("a", 0), ("c", 20)]));
    assert_eq!(found(&table("range k", []), &source, ALL).create, ["a", "b", "c"]);
}

#[test]
fn an_empty_table_gets_every_partition() {
    let source = table("range k", years(&[("a", 0), ("b", 10)]));
    assert_eq!(found(&table("range k", []), &source, ALL).create, ["a", "b"]);
    let source = table("list k", [leaf("a", "in (1)"), leaf("n", "in (NULL)")]);
    assert_eq!(found(&table("list k", []), &source, (None, None)).create, ["n", "a"]);
    let source = table(
        "hash k",
        [
            leaf("h0", "with (modulus 2, remainder 0)"),
            leaf("h1", "with (modulus 2, remainder 1)"),
        ],
    );
    assert_eq!(found(&table("hash k", []), &source, (None, None)).create, ["h0", "h1"]);
}

#[test]
fn what_partitions_here_cover_together_is_not_missing() {
    let target = table("range k", years(&[("x", 0), ("y", 10), ("z", 20)]));
    let wide = [leaf("a", "from (0) to (30)"), leaf("b", "from (32) to (40)")];
    let expected = Found {
        create: strings(&["b"]),
        ..Found::default()
    };
    assert_eq!(found(&target, &table("range k", wide), ALL), expected);
    let wide = table("range k", [leaf("w", "from (MINVALUE) to (MAXVALUE)")]);
    let narrow = table("range k", years(&[("a", 0), ("b", 80)]));
    assert_eq!(found(&wide, &narrow, ALL), Found::default());
}

#[test]
fn what_is_partly_covered_overlaps_with_the_condition_on_the_rest_within_reach() {
    let target = table("range k", years(&[("x", 10), ("y", 30)]));
    let source = table("range k", [leaf("w", "from (5) to (45)")]);
    let overlapping = |reach| found(&target, &source, reach).overlapping;
    let (low, mid, high) = (
        "(\"k\" >= CAST('5' AS int4) AND \"k\" < CAST('10' AS int4))",
        "(\"k\" >= CAST('20' AS int4) AND \"k\" < CAST('30' AS int4))",
        "(\"k\" >= CAST('40' AS int4) AND \"k\" < CAST('45' AS int4))",
    );
    assert_eq!(overlapping(ALL), [format!("w and x, y: {low} OR {mid} OR {high}")]);
    assert_eq!(overlapping((Some(10), Some(39))), [format!("w and x, y: {mid}")]);
    assert_eq!(overlapping((Some(30), Some(39))), [""; 0]);
    let with_default = table("range k", [years(&[("x", 10)]), vec![leaf("d", "default")]].concat());
    assert_eq!(found(&with_default, &source, ALL), Found::default());
}

#[test]
fn the_rest_of_a_range_on_several_columns_is_exact() {
    let target = table("range a, b", [leaf("x", "from (0, MINVALUE) to (10, 5)")]);
    let source = table("range a, b", [leaf("w", "from (0, MINVALUE) to (10, 8)")]);
    let rest = "(\"a\" = CAST('10' AS int4) AND \"b\" >= CAST('5' AS int4) AND \"b\" < CAST('8' AS int4))";
    assert_eq!(found(&target, &source, ALL).overlapping, [format!("w and x: {rest}")]);
    // Within reach by the first column alone: rows at its upper end count.
    assert_eq!(found(&target, &source, (Some(10), Some(10))).overlapping.len(), 1);
    assert_eq!(found(&target, &source, (Some(11), Some(11))).overlapping.len(), 0);
}

#[test]
fn list_partitions_are_free_covered_or_short_of_some_values() {
    let target = table("list r", [leaf("x", "in (1, 2)"), leaf("y", "in (3, NULL)")]);
    let source = table(
        "list r",
        [
            leaf("new", "in (7, 8)"),
            leaf("inside", "in (1.0)"),
            leaf("both", "in (2, 3, NULL)"),
        ],
    );
    let expected = Found {
        create: strings(&["new"]),
        ..Found::default()
    };
    assert_eq!(found(&target, &source, (None, None)), expected);
    let source = table("list r", [leaf("some", "in (3, 4, 5)")]);
    let overlapping = ["some and y: (\"r\" IN (CAST('4' AS int4), CAST('5' AS int4)))"];
    assert_eq!(found(&target, &source, (None, None)).overlapping, overlapping);
    let target = table("list r", [leaf("x", "in (1, 2)")]);
    let source = table("list r", [leaf("some", "in (2, NULL)")]);
    assert_eq!(
        found(&target, &source, (None, None)).overlapping,
        ["some and x: (\"r\" IS NULL)"]
    );
}

#[test]
fn hash_partitions_are_free_covered_or_in_part() {
    let hashed = |parts: &[(u32, u32)]| {
        let part = |&(m, r): &(u32, u32)| leaf(&format!("{m}_{r}"), &format!("with (modulus {m}, remainder {r})"));
        table("hash k", parts.iter().map(part).collect::<Vec<_>>())
    };
    let find = |ours: &[(u32, u32)], theirs: &[(u32, u32)]| found(&hashed(ours), &hashed(theirs), (None, None));
    assert_eq!(
        find(&[(2, 0), (2, 1)], &[(4, 0), (4, 1), (4, 2), (4, 3)]),
        Found::default()
    );
    assert_eq!(find(&[(4, 0), (4, 2), (2, 1)], &[(2, 0), (2, 1)]), Found::default());
    assert_eq!(find(&[(2, 0), (2, 1)], &[(3, 0), (3, 1), (3, 2)]), Found::default());
    assert_eq!(
        find(&[(2, 0)], &[(4, 0), (4, 1), (4, 2), (4, 3)]).create,
        ["4_1", "4_3"]
    );
    // Which of its rows are left cannot be told.
    assert_eq!(find(&[(4, 1)], &[(2, 1)]).overlapping, ["2_1 and 4_1: ?"]);
    assert_eq!(find(&[(4, 1)], &[(2, 0)]).create, ["2_0"]);
}

#[test]
fn partitions_after_the_end_are_kept_out_of_a_default_partition() {
    let target = table("range k", [years(&[("x", 0)]), vec![leaf("d", "default")]].concat());
    let source = table("range k", years(&[("x", 0), ("y", 10), ("z", 20)]));
    let at_15 = found(&target, &source, (None, Some(15)));
    assert_eq!(at_15.create, ["y"]);
    assert_eq!(
        at_15.later,
        ["1 (\"k\" >= CAST('20' AS int4) AND \"k\" < CAST('30' AS int4))"]
    );
    assert!(found(&target, &source, ALL).later.is_empty());
    // One that shares rows with a partition here will never be created.
    let source = table(
        "range k",
        [leaf("w", "from (5) to (30)"), leaf("z", "from (30) to (40)")],
    );
    assert_eq!(found(&target, &source, (None, Some(2))).later.len(), 1);
}

#[test]
fn a_default_partition_is_not_created() {
    let source = table("range k", [leaf("x", "from (0) to (10)"), leaf("d", "default")]);
    let target = table("range k", [leaf("x", "from (0) to (10)")]);
    assert_eq!(found(&target, &source, ALL), Found::default());
}

#[test]
fn below_equal_partitions_the_search_goes_on() {
    let by_list = |parts: &[&str]| {
        let parts: Vec<_> = parts
            .iter()
            .map(|v| leaf(&format!("a_{v}"), &format!("in ({v})")))
            .collect();
        table("range k", [split("a", "from (0) to (10)", "list r", parts)])
    };
    let (target, source) = (by_list(&["1"]), by_list(&["1", "2"]));
    assert_eq!(found(&target, &source, ALL).create, ["a_2"]);
    // Its range is that of what is above it.
    assert!(found(&target, &source, (Some(10), Some(99))).create.is_empty());
    // By another key there is nothing to compare.
    let other = table("range l", years(&[("x", 50)]));
    assert_eq!(found(&target, &other, ALL), Found::default());
}

#[test]
fn partitions_of_a_new_one_come_along_when_its_siblings_have_some() {
    let by_list = |name: &str, start: u32| {
        let parts = [
            leaf(&format!("{name}_it's"), "in (1)"),
            leaf(&format!("{name}_rest"), "default"),
        ];
        split(name, &format!("from ({start}) to ({})", start + 10), "list r", parts)
    };
    let source = table("range k", [by_list("a", 0), by_list("B", 10)]).source();
    let statements = |target: &Sketch| {
        let target = target.target();
        let key = range_key(&target).expect("a plain key");
        let (from, end) = ALL;
        let ranks = ranks();
        let space = Space::new(&target, &source, &ranks);
        let missing = find(&target, &source, &ranks, &space, &Reach { key, from, end }).expect("an answer");
        let new = missing.create.last().expect("a partition to create");
        let leaves: Vec<String> = new
            .leaves(&Names::within("dw"), false)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let tables = new.creation(&Names::within("dw"), false).tables;
        (leaves, tables.into_iter().map(|table| table.sql).collect::<Vec<_>>())
    };
    let (leaves, sql) = statements(&table("range k", [by_list("a", 0)]));
    assert_eq!(leaves, ["\"dw\".\"B_it's\"", "\"dw\".\"B_rest\""]);
    assert_eq!(
        sql,
        [
            "CREATE TABLE \"dw\".\"B\" PARTITION OF t FOR VALUES FROM ('10') TO ('20') PARTITION BY LIST (\"r\")",
            "CREATE TABLE \"dw\".\"B_it's\" PARTITION OF \"dw\".\"B\" FOR VALUES IN ('1')",
            "CREATE TABLE \"dw\".\"B_rest\" PARTITION OF \"dw\".\"B\" DEFAULT",
        ]
    );
    let (leaves, sql) = statements(&table("range k", years(&[("a", 0)])));
    assert_eq!((leaves.len(), sql.len()), (1, 1));
}
