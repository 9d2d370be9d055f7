use super::super::sketch::{Sketch, leaf, ranks, split, table};
use super::super::tables::Relation;
use super::cover::{Closed, Cover};
use super::*;
use crate::plan::key::Reading;

fn years(names: &[(&str, u32)]) -> Vec<Sketch> {
    let year = |&(name, start): &(&str, u32)| leaf(name, &format!("from ({start}) to ({})", start + 10));
    names.iter().map(year).collect()
}

/// The condition on what `here` has no leaf for, up to `end`; empty if there is nothing.
fn gaps(here: &Sketch, there: &Sketch, (from, end): (Option<i64>, Option<i64>)) -> String {
    let (here, there, ranks) = (here.target(), there.source(), ranks());
    let space = Space::new(&here, &there, &ranks);
    let key = here.level.as_ref().and_then(|level| level.columns.first()).cloned();
    let reach = key.map_or_else(Cell::default, |key| space.between(&key, from, end, from.is_none()));
    let gaps = space.gaps(&here, vec![reach]).expect("gaps");
    if gaps.is_empty() {
        String::new()
    } else {
        space.condition(&gaps, Asked::Here).0
    }
}

/// For each leaf of `here`: `=` where the source has all of it, `-` where it has nothing any more, else
/// the condition on what it has no partition for, or `d` where that may be in a default partition.
fn covers(here: &Sketch, there: &Sketch) -> Vec<String> {
    covers_by(here, there.source())
}

fn covers_by(here: &Sketch, there: Node<Relation>) -> Vec<String> {
    let (here, ranks) = (here.target(), ranks());
    let space = Space::new(&here, &there, &ranks);
    let mut leaves = Vec::new();
    space.leaves(&here, vec![Cell::default()], &mut leaves).expect("leaves");
    let tell = |cells: &[Cell]| {
        let mut cover: Cover<'_, Relation> = Cover::default();
        space.cover(&there, cells, &Closed::new(), &mut cover).expect("a cover");
        match (cover.vanished.is_empty(), cover.has_partition) {
            _ if !cover.by_default.is_empty() => "d".to_owned(),
            (true, _) => "=".to_owned(),
            (false, false) => "-".to_owned(),
            (false, true) => space.condition(&cover.vanished, Asked::Here).0,
        }
    };
    leaves.iter().map(|(_, cells)| tell(cells)).collect()
}

#[test]
fn what_no_leaf_takes_is_told_as_a_condition_within_reach() {
    let here = table("range k", years(&[("a", 10), ("b", 30)]));
    let flat = Sketch::unpartitioned();
    assert_eq!(
        gaps(&here, &flat, (None, Some(35))),
        "((\"k\" < CAST('10' AS int4) OR \"k\" >= CAST('20' AS int4) AND \"k\" < CAST('30' AS int4) OR \"k\" IS NULL))"
    );
    let from_20 = gaps(&here, &flat, (Some(20), Some(25)));
    assert!(
        from_20.contains("\"k\" >= CAST('20' AS int4) AND \"k\" <= CAST('25' AS int4)"),
        "{from_20}"
    );
    assert!(!from_20.contains("NULL"), "{from_20}");
    assert_eq!(gaps(&here, &flat, (Some(10), Some(15))), "");
    let with_default = table("range k", [years(&[("a", 10)]), vec![leaf("d", "default")]].concat());
    assert_eq!(gaps(&with_default, &flat, (None, None)), "");
}

#[test]
fn values_of_lists_are_told_by_equality_alone() {
    let here = table("list k:text", [leaf("a", "in ('a', 'c')")]);
    let lacking = gaps(&here, &Sketch::unpartitioned(), (None, None));
    let text = "'a', 'c'";
    assert!(
        lacking.contains(&format!(
            "CAST(\"k\" AS pg_catalog.text) NOT IN ({text}) AND \"k\" IS NOT NULL OR \"k\" IS NULL"
        )),
        "{lacking}"
    );
}

#[test]
fn below_the_highest_bound_what_is_not_there_has_vanished() {
    let here = table("range k", years(&[("a", 10), ("b", 20), ("c", 30), ("d", 50)]));
    let there = table("range k", years(&[("b", 20), ("x", 40)]));
    assert_eq!(covers(&here, &there), ["-", "=", "-", "="]);
    assert_eq!(covers(&here, &table("range k", years(&[]))), ["-", "-", "-", "-"]);
    let with_default = table(
        "range k",
        [years(&[("b", 20), ("x", 40)]), vec![leaf("r", "default")]].concat(),
    );
    assert_eq!(covers(&here, &with_default), ["d", "=", "d", "="]);
    assert_eq!(covers(&here, &Sketch::unpartitioned()), ["=", "=", "=", "="]);
}

#[test]
fn below_a_level_that_tells_nothing_what_no_branch_has_is_gone() {
    let here = table(
        "range k",
        years(&[("a", 10), ("b", 20), ("c", 30), ("d", 40), ("e", 60)]),
    );
    let branch = |name: &str, bound: &str, years_of: &[(&str, u32)]| split(name, bound, "range k", years(years_of));
    let branches = [
        branch("x", "in ('x')", &[("x2", 20), ("x5", 50)]),
        branch("y", "in ('y')", &[("y3", 30), ("y5", 50)]),
    ];
    let unknown = |branches: Vec<Sketch>| {
        let mut there = table("list r:text", branches).source();
        there.level.as_mut().expect("a level").plain = false;
        there
    };
    assert_eq!(covers_by(&here, unknown(branches.to_vec())), ["-", "=", "=", "-", "="]);
    let mut with_default = branches.to_vec();
    with_default.push(leaf("z", "default"));
    assert_eq!(covers_by(&here, unknown(with_default)), ["d", "=", "=", "d", "="]);
    let with_leaf = vec![branches[0].clone(), leaf("z", "in ('z')")];
    assert_eq!(covers_by(&here, unknown(with_leaf)), ["="; 5]);
    assert_eq!(covers_by(&here, unknown(vec![leaf("z", "default")])), ["="; 5]);
}

#[test]
fn a_part_is_told_by_its_condition() {
    let here = table("range k", [leaf("wide", "from (10) to (40)")]);
    let there = table("range k", years(&[("b", 20), ("c", 50)]));
    let cover = covers(&here, &there);
    assert!(
        cover[0].contains("\"k\" >= CAST('10' AS int4) AND \"k\" < CAST('20' AS int4)"),
        "{cover:?}"
    );
    assert!(
        cover[0].contains("\"k\" >= CAST('30' AS int4) AND \"k\" < CAST('40' AS int4)"),
        "{cover:?}"
    );
}

#[test]
fn the_nesting_of_levels_does_not_matter() {
    let by_list = |name: &str, start: u32, values: &[&str]| {
        let parts: Vec<_> = values
            .iter()
            .map(|v| leaf(&format!("{name}_{v}"), &format!("in ('{v}')")))
            .collect();
        split(
            name,
            &format!("from ({start}) to ({})", start + 10),
            "list r:text",
            parts,
        )
    };
    let by_range = |v: &str| {
        split(
            v,
            &format!("in ('{v}')"),
            "range k",
            years(&[(&format!("{v}1"), 10), (&format!("{v}2"), 20)]),
        )
    };
    let here = table("list r:text", [by_range("a"), by_range("b")]);
    let there = table("range k", [by_list("x", 10, &["a"]), by_list("y", 20, &["a", "b"])]);
    assert_eq!(covers(&here, &there), ["=", "=", "-", "="]);
}

#[test]
fn hashes_are_compared_by_their_remainders() {
    let hashed = |by: &str, parts: &[(u32, u32)]| {
        let part = |&(m, r): &(u32, u32)| leaf(&format!("{m}_{r}"), &format!("with (modulus {m}, remainder {r})"));
        table(by, parts.iter().map(part).collect::<Vec<_>>())
    };
    let all = hashed("hash k", &[(4, 0), (4, 1), (4, 2), (4, 3)]);
    assert_eq!(covers(&hashed("hash k", &[(2, 0), (2, 1)]), &all), ["=", "="]);
    assert_eq!(covers(&all, &hashed("hash k", &[(2, 1)])), ["-", "=", "-", "="]);
    // By another column it only matters that all of them are there.
    assert_eq!(
        covers(&hashed("hash k", &[(2, 0), (2, 1)]), &hashed("hash l", &[(1, 0)])),
        ["=", "="]
    );
    assert_eq!(gaps(&all, &Sketch::unpartitioned(), (None, None)), "");
    let (half, exact) = {
        let (here, there, ranks) = (
            hashed("hash k", &[(2, 0)]).target(),
            Sketch::unpartitioned().source(),
            ranks(),
        );
        let space = Space::new(&here, &there, &ranks);
        space.condition(&space.gaps(&here, vec![Cell::default()]).expect("gaps"), Asked::Here)
    };
    assert_eq!((half.as_str(), exact), ("(true)", false));
}

#[test]
fn several_columns_of_a_range_are_compared_one_after_the_other() {
    let here = table("range a, b", [leaf("x", "from (0, MINVALUE) to (10, 5)")]);
    let there = table(
        "range a, b",
        [
            leaf("w", "from (0, MINVALUE) to (10, 3)"),
            leaf("z", "from (20, 0) to (30, 0)"),
        ],
    );
    let cover = covers(&here, &there);
    assert!(cover[0].contains("\"a\" = CAST('10' AS int4)"), "{cover:?}");
    assert!(
        cover[0].contains("\"b\" >= CAST('3' AS int4) AND \"b\" < CAST('5' AS int4)"),
        "{cover:?}"
    );
    assert_eq!(
        covers(
            &here,
            &table(
                "range a, b",
                [
                    leaf("w", "from (0, 0) to (10, 5)"),
                    leaf("v", "from (MINVALUE, MINVALUE) to (0, 0)")
                ]
            )
        ),
        ["="]
    );
    let open = table("range a, b", [leaf("o", "from (0, MAXVALUE) to (10, MINVALUE)")]);
    let gap = gaps(&open, &Sketch::unpartitioned(), (None, None));
    assert!(
        gap.contains("\"a\" = CAST('0' AS int4)") || gap.contains("\"a\" <= CAST('0' AS int4)"),
        "{gap}"
    );
    assert!(!gap.contains("''"), "{gap}");
}

#[test]
fn a_rounded_key_is_compared_as_it_arrives_and_near_its_bounds_as_it_is() {
    let mut here = table("range k", years(&[("a", 10)])).target();
    let reading = Reading::Via {
        key: "round(@)".to_owned(),
        value: "@".to_owned(),
        margin: Some("1".to_owned()),
    };
    let level = here.level.as_mut().expect("a level");
    level.columns[0].reading = reading;
    let ranks = ranks();
    let space = Space::new(&here, &here, &ranks);
    let mut leaves = Vec::new();
    space.leaves(&here, vec![Cell::default()], &mut leaves).expect("leaves");
    let condition = |asked| space.condition(&leaves[0].1, asked).0;
    let bare = "\"k\" >= CAST('10' AS int4) AND \"k\" < CAST('20' AS int4)";
    assert_eq!(condition(Asked::Here), format!("({bare})"));
    assert_eq!(condition(Asked::Raw), format!("({bare})"));
    assert_eq!(
        condition(Asked::There),
        "(\"k\" >= CAST('10' AS int4) - 1 AND \"k\" <= CAST('20' AS int4) + 1 \
         AND round(\"k\") >= CAST('10' AS int4) AND round(\"k\") < CAST('20' AS int4))"
    );
}

#[test]
fn whole_days_are_asked_for_as_they_are_and_a_last_one_by_what_arrives() {
    let mut here = table("range k", years(&[("a", 10)])).target();
    let level = here.level.as_mut().expect("a level");
    level.columns[0].reading = Reading::Cut("CAST(@ AS date)".to_owned());
    let key = level.columns[0].clone();
    let mut ranks = ranks();
    for (day, rank) in [("2017-01-10", 110), ("12017-01-10", 120)] {
        ranks.insert("int4", day.to_owned(), rank);
    }
    let space = Space::new(&here, &here, &ranks);
    let mut leaves = Vec::new();
    space.leaves(&here, vec![Cell::default()], &mut leaves).expect("leaves");
    assert_eq!(
        space.condition(&leaves[0].1, Asked::There).0,
        "(\"k\" >= CAST('10' AS int4) AND \"k\" < CAST('20' AS int4))"
    );
    let until = |rank: i64, asked| {
        space
            .condition(&[space.between(&key, None, Some(rank), false)], asked)
            .0
    };
    let day = "CAST('2017-01-10' AS int4)";
    assert_eq!(
        until(110, Asked::There),
        format!("(\"k\" <= {day} + interval '1 day' AND CAST(\"k\" AS date) <= {day})")
    );
    assert_eq!(until(110, Asked::Here), format!("(\"k\" <= {day})"));
    // There may be no time a day later.
    assert_eq!(
        until(120, Asked::There),
        "(CAST(\"k\" AS date) <= CAST('12017-01-10' AS int4))"
    );
}

#[test]
fn what_a_partition_lacks_at_its_end_is_gone_where_the_table_goes_on() {
    let here = table("range k", years(&[("w", 10), ("z", 40)]));
    let parts = |name: &str, bound: &str| split(name, bound, "range k", [leaf("x", "from (10) to (15)")]);
    let last = table("range k", [parts("w", "from (10) to (20)")]);
    assert_eq!(covers(&here, &last), ["=", "="]);
    let goes_on = table(
        "range k",
        [parts("w", "from (10) to (20)"), leaf("y", "from (20) to (30)")],
    );
    assert_eq!(
        covers(&here, &goes_on),
        ["(\"k\" >= CAST('15' AS int4) AND \"k\" < CAST('20' AS int4))", "="]
    );
    let (here, there, ranks) = (here.target(), goes_on.source(), ranks());
    let space = Space::new(&here, &there, &ranks);
    let children = &there.level.as_ref().expect("a level").children;
    let closed = |child: usize| space.closed_above(&there, &children[child]).expect("an answer");
    assert_eq!(closed(0).map(|closed| closed.len()), Some(1));
    assert_eq!(closed(1).map(|closed| closed.len()), Some(0));
    assert_eq!(space.closed_above(&children[1], &children[0]).expect("an answer"), None);
}
