//! Partitions in the words of Greenplum before 7: START, END and VALUES, added to a table that is altered, or split off its default partition. A
//! partition has a name in its level; the name of its table follows from that.

use super::bound::{Bound, End};
use super::copy_sql::{quote_ident, quote_literal, quote_qualified};
use super::exchange::steps::Step;
use super::naming::cut;
use super::tables::Relation;
use super::tree::{Level, Node, Strategy};
use crate::error::{Error, Result, tame};

/// A partition to be added to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// its name in its level
    pub name: String,
    /// its bound; None where there are no such words for it
    pub bound: Option<String>,
    /// the same as SPLIT DEFAULT PARTITION has it
    pub split: Option<String>,
    /// its own partitions, in parentheses; None: there are none, or none that could be written down
    pub below: Option<String>,
}

impl Added {
    /// For the source's `node`; `deep`: with what is below it.
    pub fn new(node: &Node<Relation>, deep: bool) -> Added {
        let name = part_name(&node.table);
        let level = node.level.as_ref().filter(|_| deep);
        Added {
            bound: node.bound.as_ref().and_then(bound_sql),
            split: node.bound.as_ref().and_then(split_sql),
            below: level.and_then(|level| list(level, 1, &|_| String::new())),
            name,
        }
    }

    /// True where its bound is a range.
    pub fn has_range(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| !bound.starts_with("VALUES"))
    }
}

/// What a partition is called in its level: as the source calls it there, else what its table's name has after `_prt_`, as Greenplum names tables, or all
/// of that name.
pub fn part_name(partition: &Relation) -> String {
    if let Some(part) = &partition.part {
        return tame(part);
    }
    let table = &partition.name;
    let part = table.rsplit_once("_prt_").map_or(table.as_str(), |(_, part)| part);
    tame(if part.is_empty() { table } else { part })
}

/// The name that the table of a partition gets: `depth` levels are above its own.
pub fn table_name(parent: &str, depth: usize, part: &str) -> String {
    cut(&format!("{parent}_{}_prt_{part}", depth + 1), 0)
}

/// The tables that come of `node`, in schema `schema`: its own name, then those of the leaves, quoted and qualified, with the source's node of each.
pub fn tables<'a>(
    parent: &str,
    depth: usize,
    node: &'a Node<Relation>,
    deep: bool,
    schema: &str,
    leaves: &mut Vec<(String, &'a Node<Relation>)>,
) {
    let name = table_name(parent, depth, &part_name(&node.table));
    match node.level.as_ref().filter(|_| deep) {
        Some(level) => {
            let below = level.children.iter();
            below.for_each(|child| tables(&name, depth + 1, child, deep, schema, leaves));
        }
        None => leaves.push((quote_qualified(schema, &name), node)),
    }
}

/// What follows a partition's name, and says which rows are its own. A value is a literal of unknown type, which the server reads as the key's.
fn bound_sql(bound: &Bound) -> Option<String> {
    match bound {
        Bound::Default => None,
        Bound::Range(from, to) => {
            let ends = [start(from)?, end(to)?];
            let ends: Vec<String> = ends.into_iter().flatten().collect();
            (!ends.is_empty()).then(|| ends.join(" "))
        }
        Bound::List(values) => Some(format!("VALUES ({})", list_values(values))),
        Bound::Hash(..) => None,
    }
}

/// What follows SPLIT DEFAULT PARTITION, which takes no range that is open.
fn split_sql(bound: &Bound) -> Option<String> {
    match bound {
        Bound::List(values) => Some(format!("AT ({})", list_values(values))),
        Bound::Range(from, to) => Some(format!("{} {}", start(from)??, end(to)??)),
        Bound::Default | Bound::Hash(..) => None,
    }
}

fn start(from: &[End]) -> Option<Option<String>> {
    match from {
        [End::Min] => Some(None),
        [End::Value(value)] => Some(Some(format!("START ({}) INCLUSIVE", quote_literal(value)))),
        _ => None,
    }
}

fn end(to: &[End]) -> Option<Option<String>> {
    match to {
        [End::Max] => Some(None),
        [End::Value(value)] => Some(Some(format!("END ({}) EXCLUSIVE", quote_literal(value)))),
        _ => None,
    }
}

fn list_values(values: &[Option<String>]) -> String {
    let value = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quote_literal);
    values.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// The default partition of a level.
pub struct DefaultPartition {
    /// its name there
    pub name: String,
    /// it has partitions of its own
    pub has_parts: bool,
}

/// The statement that makes a partition at the end of `steps` below table `root`: it is added, or split off the default partition beside it and then stored as
/// that is. `storage` is what is said of how it is stored, with a space before it. An error where there is no such statement.
pub fn add_sql(
    root: &str,
    steps: &[Step],
    added: &Added,
    default: Option<&DefaultPartition>,
    storage: &str,
    below: Option<&str>,
) -> Result<String> {
    let no_words = || {
        Error::unsupported("before Greenplum 7 no statement adds such a partition")
            .detail("A partition there is a range on one column, or a list.")
            .hint("Pass create_missing => false to leave it out.")
    };
    let mut alter = format!("ALTER TABLE {root}");
    for step in steps {
        alter += &format!(" ALTER PARTITION {}", step.called().ok_or_else(no_words)?);
    }
    let name = quote_ident(&added.name);
    let Some(default) = default else {
        let bound = added.bound.as_deref().ok_or_else(no_words)?;
        let below = below.map_or_else(String::new, |below| format!(" {below}"));
        return Ok(format!("{alter} ADD PARTITION {name} {bound}{storage}{below}"));
    };
    let is_list_below = !steps.is_empty() && !added.has_range();
    let split = added.split.as_deref().filter(|_| !default.has_parts && !is_list_below);
    let split = split.ok_or_else(|| {
        Error::unsupported(format!("it cannot be split off default partition \"{}\" beside it", default.name))
            .detail("Before Greenplum 7 no default partition is split that has partitions of its own, nor one of a list below another level; and no open range is split off.")
            .hint("Pass create_missing => false to leave its rows in the default partition; or drop that, add the partition and a default partition again, and sync from the start.")
    })?;
    Ok(format!(
        "{alter} SPLIT DEFAULT PARTITION {split} INTO (PARTITION {name}, DEFAULT PARTITION)"
    ))
}

/// The partitions of a level in parentheses, with all that is below them; `depth` levels are above it. `storage` says what is said of how one is
/// stored, with a space before it. None where there are no words for one of them.
fn list(level: &Level<Relation>, depth: usize, storage: &dyn Fn(&Relation) -> String) -> Option<String> {
    let word = if depth == 0 { "PARTITION" } else { "SUBPARTITION" };
    let one = |child: &Node<Relation>| {
        let name = quote_ident(&part_name(&child.table));
        let what = match child.bound.as_ref()? {
            Bound::Default => format!("DEFAULT {word} {name}"),
            bound => format!("{word} {name} {}", bound_sql(bound)?),
        };
        let below = match &child.level {
            Some(below) => format!(" {}", list(below, depth + 1, storage)?),
            None => String::new(),
        };
        Some(format!("{what}{}{below}", storage(&child.table)))
    };
    let children: Option<Vec<String>> = level.children.iter().map(one).collect();
    let children = children.filter(|children| !children.is_empty())?;
    Some(format!("({})", children.join(", ")))
}

/// PARTITION BY with all partitions, for CREATE TABLE. Every partition of a level has to be partitioned alike, or not at all. None where that is not
/// so, or there are no words for one of them.
pub fn partition_by(level: &Level<Relation>, storage: &dyn Fn(&Relation) -> String) -> Option<String> {
    let mut by = Vec::new();
    let mut now = vec![level];
    while let Some(first) = now.first() {
        let (strategy, key) = (first.strategy, key(first));
        if strategy == Strategy::Hash
            || now
                .iter()
                .any(|other| other.strategy != strategy || self::key(other) != key)
        {
            return None;
        }
        let word = if by.is_empty() { "PARTITION" } else { "SUBPARTITION" };
        by.push(format!("{word} BY {} ({key})", strategy.sql()));
        let children: Vec<&Node<Relation>> = now.iter().flat_map(|level| &level.children).collect();
        let below: Vec<&Level<Relation>> = children.iter().filter_map(|child| child.level.as_ref()).collect();
        if !below.is_empty() && below.len() < children.len() {
            return None;
        }
        now = below;
    }
    Some(format!("{} {}", by.join(" "), list(level, 0, storage)?))
}

fn key(level: &Level<Relation>) -> String {
    let columns: Vec<String> = level.columns.iter().map(|column| quote_ident(&column.name)).collect();
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::key::KeyColumn;

    fn node(name: &str, bound: Bound, level: Option<Level<Relation>>) -> Node<Relation> {
        Node {
            table: Relation {
                name: name.to_owned(),
                ..Relation::default()
            },
            bound: Some(bound),
            level,
        }
    }

    fn level(strategy: Strategy, key: &str, children: Vec<Node<Relation>>) -> Level<Relation> {
        Level {
            strategy,
            columns: vec![KeyColumn {
                name: key.to_owned(),
                ..KeyColumn::default()
            }],
            plain: true,
            children,
        }
    }

    fn range(from: &str, to: End) -> Bound {
        Bound::Range(vec![End::Value(from.to_owned())], vec![to])
    }

    fn regions() -> Level<Relation> {
        let values = Bound::List(vec![Some("it's".to_owned()), None]);
        level(
            Strategy::List,
            "region",
            vec![
                node("t_1_prt_a_2_prt_eu", values, None),
                node("t_1_prt_a_2_prt_oth", Bound::Default, None),
            ],
        )
    }

    #[test]
    fn a_table_with_its_levels_is_one_statement() {
        let root = level(
            Strategy::Range,
            "d",
            vec![
                node(
                    "t_1_prt_3",
                    range("2016-01-01", End::Value("2016-02-01".into())),
                    Some(regions()),
                ),
                node("t_2016_2", range("2016-02-01", End::Max), Some(regions())),
            ],
        );
        let below = "(SUBPARTITION \"eu\" VALUES ('it''s', NULL), DEFAULT SUBPARTITION \"oth\")";
        assert_eq!(
            partition_by(&root, &|_| String::new()).expect("words"),
            format!(
                "PARTITION BY RANGE (\"d\") SUBPARTITION BY LIST (\"region\") \
                 (PARTITION \"3\" START ('2016-01-01') INCLUSIVE END ('2016-02-01') EXCLUSIVE {below}, \
                 PARTITION \"t_2016_2\" START ('2016-02-01') INCLUSIVE {below})"
            )
        );
    }

    #[test]
    fn what_has_no_words_is_refused() {
        let two = Bound::Range(vec![End::Min, End::Min], vec![End::Max, End::Max]);
        assert_eq!(
            partition_by(&level(Strategy::Range, "d", vec![node("a", two, None)]), &|_| {
                String::new()
            }),
            None
        );
        let hash = level(Strategy::Hash, "d", vec![node("a", Bound::Hash(2, 0), None)]);
        assert_eq!(partition_by(&hash, &|_| String::new()), None);
        let uneven = vec![
            node("a", range("1", End::Value("2".into())), Some(regions())),
            node("b", range("2", End::Max), None),
        ];
        assert_eq!(
            partition_by(&level(Strategy::Range, "d", uneven), &|_| String::new()),
            None
        );
    }

    #[test]
    fn the_statements_that_add_and_split() {
        let of_range = Added::new(&node("t_1_prt_b", range("1", End::Value("2".into())), None), false);
        let of_list = Added::new(&node("jp", Bound::List(vec![Some("jp".into())]), None), false);
        let open = Added::new(&node("last", range("1", End::Max), None), false);
        let year = Step {
            name: "y".to_owned(),
            is_default: false,
            rank: Some(1),
            values: None,
        };
        let default = |has_parts| DefaultPartition {
            name: "rest".to_owned(),
            has_parts,
        };
        let sql = |steps: &[Step], added: &Added, default: Option<DefaultPartition>| {
            add_sql("\"s\".\"t\"", steps, added, default.as_ref(), " WITH (x)", Some("(y)")).ok()
        };
        assert_eq!(
            sql(&[], &of_range, None).as_deref(),
            Some("ALTER TABLE \"s\".\"t\" ADD PARTITION \"b\" START ('1') INCLUSIVE END ('2') EXCLUSIVE WITH (x) (y)")
        );
        assert_eq!(
            sql(&[], &of_list, Some(default(false))).as_deref(),
            Some(
                "ALTER TABLE \"s\".\"t\" SPLIT DEFAULT PARTITION AT ('jp') INTO (PARTITION \"jp\", DEFAULT PARTITION)"
            )
        );
        let year = std::slice::from_ref(&year);
        assert_eq!(
            sql(year, &of_range, Some(default(false))).as_deref(),
            Some(
                "ALTER TABLE \"s\".\"t\" ALTER PARTITION \"y\" SPLIT DEFAULT PARTITION START ('1') INCLUSIVE END ('2') EXCLUSIVE \
                  INTO (PARTITION \"b\", DEFAULT PARTITION)"
            )
        );
        assert!(sql(year, &of_list, None).is_some());
        assert_eq!(sql(year, &of_list, Some(default(false))), None);
        assert_eq!(sql(&[], &of_range, Some(default(true))), None);
        assert_eq!(sql(&[], &open, Some(default(false))), None);
        assert!(sql(&[], &open, None).is_some_and(|sql| sql.contains("START ('1') INCLUSIVE WITH")));
    }

    #[test]
    fn a_partition_is_added_or_split_off() {
        let new = node("t_1_prt_a", range("1", End::Value("2".into())), Some(regions()));
        let added = Added::new(&new, true);
        assert_eq!(added.name, "a");
        assert_eq!(
            added.bound.as_deref(),
            Some("START ('1') INCLUSIVE END ('2') EXCLUSIVE")
        );
        assert_eq!(added.split, added.bound);
        assert!(
            added
                .below
                .is_some_and(|below| below.starts_with("(SUBPARTITION \"eu\""))
        );
        let of_list = Added::new(&node("x", Bound::List(vec![Some("jp".into())]), None), false);
        assert_eq!(of_list.split.as_deref(), Some("AT ('jp')"));
        let open = Added::new(&node("x", range("1", End::Max), None), false);
        assert_eq!(
            (open.bound.as_deref(), open.split),
            (Some("START ('1') INCLUSIVE"), None)
        );
        let mut leaves = Vec::new();
        tables("t", 0, &new, true, "s", &mut leaves);
        let names: Vec<&str> = leaves.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["\"s\".\"t_1_prt_a_2_prt_eu\"", "\"s\".\"t_1_prt_a_2_prt_oth\""]);
    }
}
