//! From what the two catalogs say to the units of a run: which source relation each is read from, by which filter, in which order.

use super::bound::{Bound, End};
use super::columns::{SourceColumn, TargetColumn};
use super::select::{Range, decide};
use crate::error::{Error, Result, sqlstate};
use std::collections::{BTreeSet, HashMap};

/// The RANGE key at the top of a target table.
#[derive(Debug, Clone)]
pub struct Key {
    /// attname
    pub column: String,
    /// atttypid
    pub type_oid: u32,
    /// pg_type.typname
    pub type_name: String,
    /// quoted, qualified type, without typmod
    pub type_sql: String,
    /// quoted, qualified collation; None for types without one
    pub collation_sql: Option<String>,
    /// what that collation sorts by, comparable between servers; None for types without one
    pub collation: Option<String>,
}

/// A leaf partition of the target, or the whole unpartitioned table.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// pg_class.oid
    pub oid: u32,
    /// schema-qualified, quoted
    pub name: String,
    /// the ends from the nearest level partitioned by RANGE on the top key; None: always taken
    pub range: Option<(End, End)>,
    /// the bound under the root, when the leaf is a direct child of it
    pub direct: Option<Bound>,
    /// a level above it is partitioned by HASH, which no predicate on the source can express
    pub hashed: bool,
}

/// The target table.
#[derive(Debug, Clone)]
pub struct TargetTable {
    /// schema
    pub schema: String,
    /// relname
    pub name: String,
    /// false for an ordinary table, which is its own and only leaf
    pub partitioned: bool,
    /// the top RANGE key, if it is partitioned by RANGE on one column
    pub key: Option<Key>,
    /// partitions, or the table itself
    pub leaves: Vec<Leaf>,
    /// in attnum order
    pub columns: Vec<TargetColumn>,
}

/// A direct child of the source table.
#[derive(Debug, Clone)]
pub struct SourceChild {
    /// quoted, qualified
    pub relation: String,
    /// its bound there
    pub bound: Bound,
    /// the remote user may SELECT from it by its own name
    pub readable: bool,
    /// table size on disk
    pub bytes: Option<i64>,
}

/// The RANGE key of a source table.
#[derive(Debug, Clone)]
pub struct SourceKey {
    /// attname
    pub column: String,
    /// atttypid
    pub type_oid: u32,
    /// what its collation sorts by; None for types without one
    pub collation: Option<String>,
}

/// The source table.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// quoted, qualified
    pub relation: String,
    /// in attnum order
    pub columns: Vec<SourceColumn>,
    /// its RANGE key, if it has a single one
    pub key: Option<SourceKey>,
    /// what each collatable column sorts by, by column name
    pub collations: HashMap<String, String>,
    /// children, for a table partitioned by RANGE on that key
    pub children: Vec<SourceChild>,
    /// table size on disk, for an unpartitioned one
    pub bytes: Option<i64>,
}

/// Where a unit's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// a source partition with exactly the unit's range, or the whole source table
    Relation {
        /// quoted, qualified
        relation: String,
        /// its size
        bytes: Option<i64>,
    },
    /// the source table's rows that satisfy the unit's partition constraint
    Slice,
}

/// Ranks of the values in play, see [`super::select::ranking_query`].
pub type Ranks = HashMap<String, i64>;

/// The range of `ends` in ranks.
pub fn ranked(ends: (&End, &End), ranks: &Ranks) -> Result<Range<i64>> {
    let one = |end: &End| match end {
        End::Value(value) => ranks
            .get(value)
            .copied()
            .map(Some)
            .ok_or_else(|| Error::internal(format!("bound {value} was not ranked"))),
        _ => Ok(None),
    };
    Ok(Range {
        start: one(ends.0)?,
        end: one(ends.1)?,
    })
}

/// True when the source's partition bounds are values of the same key, so that equal ranges hold equal rows.
pub fn same_key(target: &TargetTable, source: &SourceTable) -> bool {
    match (&target.key, &source.key) {
        (Some(here), Some(there)) => {
            here.column == there.column
                && here.type_oid == there.type_oid
                && sort_alike(here.collation.as_deref(), there.collation.as_deref())
        }
        _ => false,
    }
}

fn sort_alike(here: Option<&str>, there: Option<&str>) -> bool {
    match (here, there) {
        (Some(here), Some(there)) => fold_locale(here) == fold_locale(there),
        _ => true,
    }
}

/// `en_US.UTF-8` and `en_US.utf8` are one locale.
fn fold_locale(name: &str) -> String {
    let folded = name.to_ascii_lowercase().replace('-', "");
    if folded == "posix" { "c".to_owned() } else { folded }
}

/// The bounds of both sides' direct children, in ranks: how a leaf finds its twin on the source.
pub struct Twins<'a> {
    by_range: HashMap<Range<i64>, &'a SourceChild>,
    default: Option<&'a SourceChild>,
}

impl<'a> Twins<'a> {
    /// Indexes the source's children; empty unless the keys agree.
    pub fn new(target: &TargetTable, source: &'a SourceTable, ranks: &Ranks) -> Result<Self> {
        let mut twins = Twins {
            by_range: HashMap::new(),
            default: None,
        };
        if !same_key(target, source) {
            return Ok(twins);
        }
        for child in &source.children {
            if let Some(ends) = child.bound.single_range() {
                twins.by_range.insert(ranked(ends, ranks)?, child);
            }
        }
        // A default partition holds what no sibling takes: it is the target's only if all siblings agree.
        let mut here = BTreeSet::new();
        for leaf in &target.leaves {
            match leaf.direct.as_ref().and_then(Bound::single_range) {
                Some(ends) => {
                    let range = ranked(ends, ranks)?;
                    here.insert((range.start, range.end));
                }
                None if leaf.direct == Some(Bound::Default) => {}
                None => return Ok(twins), // a sub-partitioned child: its bound is not among the leaves
            }
        }
        if here == twins.by_range.keys().map(|r| (r.start, r.end)).collect() {
            twins.default = source.children.iter().find(|c| c.bound == Bound::Default);
        }
        Ok(twins)
    }

    /// Where `leaf` is read from.
    pub fn source_of(&self, leaf: &Leaf, target: &TargetTable, source: &SourceTable, ranks: &Ranks) -> Result<From> {
        if !target.partitioned {
            return Ok(From::Relation {
                relation: source.relation.clone(),
                bytes: source.bytes,
            });
        }
        let Some(direct) = &leaf.direct else {
            return slice_of(leaf, target, source);
        };
        let twin = match direct.single_range() {
            Some(ends) => self.by_range.get(&ranked(ends, ranks)?).copied(),
            None if *direct == Bound::Default => self.default,
            None => None,
        };
        match twin {
            // Without SELECT on the partition itself the slice reads the same rows through the parent.
            Some(child) if child.readable => Ok(From::Relation {
                relation: child.relation.clone(),
                bytes: child.bytes,
            }),
            _ => slice_of(leaf, target, source),
        }
    }
}

/// The source's children that the target has no partition for, within reach of this run: above the lowest partition here (what lies
/// below has been retired on purpose), not after `end`, not closed before `from`. None where a default partition takes everything.
pub fn holes<'a>(
    target: &TargetTable,
    source: &'a SourceTable,
    ranks: &Ranks,
    (from, end): (Option<i64>, Option<i64>),
) -> Result<Vec<&'a SourceChild>> {
    let mut here = Vec::new();
    for leaf in &target.leaves {
        match &leaf.range {
            Some((a, b)) => here.push(ranked((a, b), ranks)?),
            None => return Ok(Vec::new()),
        }
    }
    if !same_key(target, source) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for child in &source.children {
        let Some(ends) = child.bound.single_range() else {
            continue;
        };
        let there = ranked(ends, ranks)?;
        let above = here.iter().any(|leaf| is_before(leaf, &there));
        let met = here
            .iter()
            .any(|leaf| !is_before(leaf, &there) && !is_before(&there, leaf));
        if above && !met && decide(Some(&there), from.as_ref(), end.as_ref()).is_taken() {
            found.push(child);
        }
    }
    Ok(found)
}

/// True when all of `one` lies before all of `other`.
fn is_before(one: &Range<i64>, other: &Range<i64>) -> bool {
    matches!((one.end, other.start), (Some(end), Some(start)) if end <= start)
}

fn slice_of(leaf: &Leaf, target: &TargetTable, source: &SourceTable) -> Result<From> {
    if leaf.hashed {
        return Err(Error::unsupported(format!(
            "partition {} is a HASH partition and cannot be read from the source by a predicate",
            leaf.name
        )));
    }
    let Some(key) = &target.key else {
        return Ok(From::Slice);
    };
    // A column that is not text over there has no collation, and text made of it does not sort as its values do.
    let there = source.collations.get(&key.column).map(String::as_str);
    if key.collation.is_some() && (there.is_none() || !sort_alike(key.collation.as_deref(), there)) {
        return Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("partition key \"{}\" sorts differently on the source", key.column),
        )
        .detail(format!(
            "Its collation sorts as \"{}\" here and as \"{}\" there, so a range does not hold the same rows.",
            key.collation.as_deref().unwrap_or(""),
            there.unwrap_or("something that is not text"),
        ))
        .hint("Give the key the same type and COLLATE on both sides, for example text COLLATE \"C\"."));
    }
    Ok(From::Slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            column: "k".into(),
            type_oid: 23,
            type_name: "int4".into(),
            type_sql: "pg_catalog.int4".into(),
            collation_sql: None,
            collation: None,
        }
    }

    fn bound(text: &str) -> Bound {
        Bound::parse(text).expect("a bound")
    }

    fn leaf(oid: u32, text: &str) -> Leaf {
        let direct = bound(text);
        Leaf {
            oid,
            name: format!("leaf {oid}"),
            range: direct.single_range().map(|(a, b)| (a.clone(), b.clone())),
            direct: Some(direct),
            hashed: false,
        }
    }

    fn child(name: &str, text: &str) -> SourceChild {
        SourceChild {
            relation: name.into(),
            bound: bound(text),
            readable: true,
            bytes: Some(1),
        }
    }

    fn tables(leaves: Vec<Leaf>, children: Vec<SourceChild>) -> (TargetTable, SourceTable) {
        let target = TargetTable {
            schema: "public".into(),
            name: "t".into(),
            partitioned: true,
            key: Some(key()),
            leaves,
            columns: Vec::new(),
        };
        let source = SourceTable {
            relation: "src".into(),
            columns: Vec::new(),
            key: Some(SourceKey {
                column: "k".into(),
                type_oid: 23,
                collation: None,
            }),
            collations: HashMap::new(),
            children,
            bytes: None,
        };
        (target, source)
    }

    fn sources(target: &TargetTable, source: &SourceTable) -> Vec<Option<String>> {
        let ranks: Ranks = (0..100).map(|i| (i.to_string(), i)).collect();
        let twins = Twins::new(target, source, &ranks).expect("twins");
        let of = |leaf| match twins.source_of(leaf, target, source, &ranks).expect("a source") {
            From::Relation { relation, .. } => Some(relation),
            From::Slice => None,
        };
        target.leaves.iter().map(of).collect()
    }

    const A: &str = "FOR VALUES FROM (0) TO (10)";
    const B: &str = "FOR VALUES FROM (10) TO (20)";
    const WIDE: &str = "FOR VALUES FROM (0) TO (20)";

    #[test]
    fn the_same_range_reads_that_child_and_any_other_the_slice() {
        let (target, source) = tables(vec![leaf(1, A), leaf(2, B)], vec![child("b", B), child("x", WIDE)]);
        assert_eq!(sources(&target, &source), [None, Some("b".into())]);
    }

    #[test]
    fn a_default_partition_has_a_twin_only_when_all_its_siblings_agree() {
        let (target, source) = tables(
            vec![leaf(1, A), leaf(2, "DEFAULT")],
            vec![child("a", A), child("d", "DEFAULT")],
        );
        assert_eq!(sources(&target, &source), [Some("a".into()), Some("d".into())]);
        let (target, source) = tables(
            vec![leaf(1, A), leaf(2, "DEFAULT")],
            vec![child("a", A), child("b", B), child("d", "DEFAULT")],
        );
        assert_eq!(sources(&target, &source), [Some("a".into()), None]);
    }

    #[test]
    fn a_child_we_may_not_read_or_another_key_means_the_slice() {
        let (target, mut source) = tables(vec![leaf(1, A)], vec![child("a", A)]);
        source.children[0].readable = false;
        assert_eq!(sources(&target, &source), [None]);
        source.children[0].readable = true;
        if let Some(key) = &mut source.key {
            key.column = "other".into();
        }
        assert_eq!(sources(&target, &source), [None]);
    }

    #[test]
    fn a_hole_is_a_source_partition_above_ours_that_we_lack() {
        let ranks: Ranks = (0..100).map(|i| (i.to_string(), i)).collect();
        let older = "FOR VALUES FROM (MINVALUE) TO (0)";
        let gap = "FOR VALUES FROM (20) TO (30)";
        let top = "FOR VALUES FROM (40) TO (MAXVALUE)";
        let there = || {
            vec![
                child("older", older),
                child("wide", WIDE),
                child("gap", gap),
                child("top", top),
            ]
        };
        let names = |leaves: Vec<Leaf>, from, end| {
            let (target, source) = tables(leaves, there());
            let found = holes(&target, &source, &ranks, (from, end)).expect("holes");
            found.iter().map(|c| c.relation.clone()).collect::<Vec<_>>()
        };
        let ours = || vec![leaf(1, A), leaf(2, "FOR VALUES FROM (30) TO (40)")];
        assert_eq!(names(ours(), None, Some(35)), ["gap"]);
        assert_eq!(names(ours(), None, Some(45)), ["gap", "top"]);
        assert_eq!(names(ours(), Some(30), Some(35)), [""; 0]);
        let with_default = vec![leaf(1, A), leaf(2, "DEFAULT")];
        assert_eq!(names(with_default, None, Some(45)), [""; 0]);
    }

    #[test]
    fn a_key_that_sorts_differently_is_refused() {
        let (mut target, mut source) = tables(vec![leaf(1, A)], vec![]);
        if let Some(key) = &mut target.key {
            key.collation = Some("C".into());
        }
        source.collations.insert("k".into(), "en_US.utf8".into());
        let ranks: Ranks = (0..100).map(|i| (i.to_string(), i)).collect();
        let twins = Twins::new(&target, &source, &ranks).expect("twins");
        let error = twins
            .source_of(&target.leaves[0], &target, &source, &ranks)
            .expect_err("collations differ");
        assert_eq!(error.sqlstate, sqlstate::DATATYPE_MISMATCH);
    }
}
