//! Which source relation a unit is read from: the source's partition with exactly the same place, or the rows of the nearest relation that
//! surely has them all.

use super::gauss::Part;
use super::tables::{Leaf, Relation, Table};
use super::tree::{Level, Node, Place, Ranks, alike, places};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Where a unit's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFrom {
    /// quoted, qualified
    pub relation: String,
    /// all of its rows; otherwise those that satisfy the unit's partition constraint
    pub whole: bool,
    /// of a whole relation: only rows with this condition count
    pub condition: Option<String>,
    /// size of what is read, if known
    pub bytes: Option<i64>,
    /// size, or 0, of a relation that is partitioned over there and of which a part is read
    pub divided: Option<i64>,
    /// the relation is partitioned over there
    pub has_parts: bool,
}

/// What the source has for one leaf of the target.
struct Match<'a> {
    /// the nearest relation that may be read and holds the leaf's rows
    readable: &'a Node<Relation>,
    /// table of the target that has exactly the rows of `readable`
    anchor: u32,
    /// the relation that holds exactly the leaf's rows
    twin: Option<&'a Node<Relation>>,
}

/// How each leaf of the target finds its rows.
pub struct Twins<'a> {
    by_leaf: HashMap<u32, Match<'a>>,
}

impl<'a> Twins<'a> {
    /// Walks both trees side by side, as long as their levels are alike.
    pub fn new(target: &Node<Relation>, source: &'a Table, ranks: &Ranks) -> Result<Self> {
        let mut twins = Twins {
            by_leaf: HashMap::new(),
        };
        twins.pair(target, &source.root, (&source.root, target.table.oid), ranks)?;
        Ok(twins)
    }

    /// `there` holds exactly the rows of `here`; `readable` is it, or what is above it, with the table here that has its rows.
    fn pair(
        &mut self,
        here: &Node<Relation>,
        there: &'a Node<Relation>,
        readable: (&'a Node<Relation>, u32),
        ranks: &Ranks,
    ) -> Result<()> {
        // Without SELECT on a partition itself its parent gives the same rows.
        let readable = match there.table.readable {
            true => (there, here.table.oid),
            false => readable,
        };
        let Some(level) = &here.level else {
            self.found(here, readable, Some(there));
            return Ok(());
        };
        let other = match &there.level {
            Some(other) if alike(level, other) => other,
            _ => {
                self.without_twin(level, readable);
                return Ok(());
            }
        };
        let theirs: HashMap<Place, &'a Node<Relation>> = places(other, &level.columns, ranks)?
            .into_iter()
            .zip(&other.children)
            .collect();
        for (child, place) in level.children.iter().zip(places(level, &level.columns, ranks)?) {
            match (theirs.get(&place), &child.level) {
                (Some(twin), _) => self.pair(child, twin, readable, ranks)?,
                (None, Some(below)) => self.without_twin(below, readable),
                (None, None) => self.found(child, readable, None),
            }
        }
        Ok(())
    }

    fn without_twin(&mut self, level: &Level<Relation>, readable: (&'a Node<Relation>, u32)) {
        for child in &level.children {
            match &child.level {
                Some(below) => self.without_twin(below, readable),
                None => self.found(child, readable, None),
            }
        }
    }

    fn found(
        &mut self,
        leaf: &Node<Relation>,
        (readable, anchor): (&'a Node<Relation>, u32),
        twin: Option<&'a Node<Relation>>,
    ) {
        let found = Match { readable, anchor, twin };
        self.by_leaf.insert(leaf.table.oid, found);
    }

    /// The table here that has exactly the rows of the relation that a leaf is read from, or a part of which.
    pub fn anchor_of(&self, leaf: u32) -> Option<u32> {
        self.by_leaf.get(&leaf).map(|found| found.anchor)
    }

    /// The relation of the source that has exactly the rows of a leaf, whether or not it may be read.
    pub fn twin_of(&self, leaf: u32) -> Option<&'a Node<Relation>> {
        self.by_leaf.get(&leaf)?.twin
    }

    /// The same, where its user may not read it by its own name, so that the rows are read from what is above it. What is no table of its own,
    /// and has the OID of the table that it is in, cannot be granted.
    pub fn closed_twin_of(&self, leaf: u32) -> Option<&'a Node<Relation>> {
        let found = self.by_leaf.get(&leaf)?;
        let is_closed = |twin: &&Node<Relation>| !twin.table.readable && twin.table.oid != found.readable.table.oid;
        found.twin.filter(is_closed)
    }

    /// Where `leaf` is read from.
    pub fn source_of(&self, leaf: &Leaf<'_>) -> Result<ReadFrom> {
        let found = self
            .by_leaf
            .get(&leaf.table.oid)
            .ok_or_else(|| Error::internal(format!("no source for {}", leaf.table.relation)))?;
        let bytes = found.twin.and_then(Node::bytes);
        if let Some(twin) = found.twin
            && std::ptr::eq(twin, found.readable)
        {
            return Ok(ReadFrom {
                relation: twin.table.relation.clone(),
                whole: true,
                condition: twin.table.condition.clone(),
                bytes,
                // Its server has no blocks that tell rows of a part.
                divided: Part::parse(&twin.table.relation).map(|_| 0),
                has_parts: twin.level.is_some(),
            });
        }
        Ok(ReadFrom {
            relation: found.readable.table.relation.clone(),
            whole: false,
            condition: None,
            bytes,
            has_parts: found.readable.level.is_some(),
            divided: found
                .readable
                .level
                .is_some()
                .then(|| found.readable.bytes().unwrap_or(0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sketch::{Sketch, leaf, ranks, split, table};
    use super::super::tables::{leaves, range_key};
    use super::*;

    /// Where each leaf is read: `=name` for the whole relation, the bare name for a part of it.
    fn reads(target: &Sketch, source: &Table) -> Vec<String> {
        let target = target.target();
        let key = range_key(&target).expect("a plain key");
        let twins = Twins::new(&target, source, &ranks()).expect("twins");
        let read = |leaf: &Leaf<'_>| twins.source_of(leaf).expect("a source");
        leaves(&target, key)
            .iter()
            .map(|leaf| match read(leaf) {
                ReadFrom { relation, whole, .. } if whole => format!("={relation}"),
                ReadFrom { relation, .. } => relation,
            })
            .collect()
    }

    fn a() -> Sketch {
        leaf("a", "from (0) to (10)")
    }

    fn b() -> Sketch {
        leaf("b", "from (10) to (20)")
    }

    fn default() -> Sketch {
        leaf("d", "default")
    }

    #[test]
    fn the_same_range_reads_that_child_and_any_other_a_slice_of_the_root() {
        let target = table("range k", [a(), b()]);
        let source = table("range k", [b(), leaf("wide", "from (0) to (20)")]);
        assert_eq!(reads(&target, &source.source_table()), ["t", "=b"]);
        // By value, not by text.
        let source = table("range k", [leaf("x", "from (0.0) to (10.0)")]);
        assert_eq!(reads(&target, &source.source_table()), ["=x", "t"]);
        assert_eq!(reads(&target, &Sketch::unpartitioned().source_table()), ["t", "t"]);
    }

    #[test]
    fn a_child_that_may_not_be_read_is_a_slice_of_what_is_above_it() {
        let by_list = |name, bound| {
            split(
                name,
                bound,
                "list r",
                [
                    leaf(&format!("{name}_1"), "in (1)"),
                    leaf(&format!("{name}_2"), "in (2)"),
                ],
            )
        };
        let tree = table(
            "range k",
            [by_list("a", "from (0) to (10)"), by_list("b", "from (10) to (20)")],
        );
        let mut source = tree.source_table();
        let level = source.root.level.as_mut().expect("a level");
        let closed = &mut level.children[0].level.as_mut().expect("a level").children[1].table;
        (closed.oid, closed.readable) = (2, false);
        level.children[1].table.readable = false;
        assert_eq!(reads(&tree, &source), ["=a_1", "a", "=b_1", "=b_2"]);
        source.root.level.as_mut().expect("a level").children[0].table.readable = false;
        assert_eq!(reads(&tree, &source), ["=a_1", "t", "=b_1", "=b_2"]);
        let target = tree.target();
        let twins = Twins::new(&target, &source, &ranks()).expect("twins");
        let leaves = leaves(&target, range_key(&target).expect("a plain key"));
        let closed = leaves.iter().filter_map(|leaf| twins.closed_twin_of(leaf.table.oid));
        let closed: Vec<&str> = closed.map(|twin| twin.table.relation.as_str()).collect();
        assert_eq!(closed, ["a_2"]);
    }

    #[test]
    fn a_default_partition_has_a_twin_only_when_all_its_siblings_agree() {
        let target = table("range k", [a(), default()]);
        let same = table("range k", [default(), a()]);
        assert_eq!(reads(&target, &same.source_table()), ["=a", "=d"]);
        let more = table("range k", [a(), b(), default()]);
        assert_eq!(reads(&target, &more.source_table()), ["=a", "t"]);
    }

    #[test]
    fn a_leaf_may_be_partitioned_further_over_there() {
        let target = table("range k", [a(), b()]);
        let deep = split(
            "a",
            "from (0) to (10)",
            "hash k",
            [leaf("a_0", "with (modulus 1, remainder 0)")],
        );
        assert_eq!(
            reads(&target, &table("range k", [deep.clone(), b()]).source_table()),
            ["=a", "=b"]
        );
        // And the other way round: its leaves are slices of the one that holds them.
        let target = table("range k", [deep, b()]);
        assert_eq!(
            reads(&target, &table("range k", [a(), b()]).source_table()),
            ["a", "=b"]
        );
    }

    #[test]
    fn list_partitions_are_compared_by_the_set_of_their_values() {
        let target = table(
            "list r",
            [leaf("x", "in (1, 2)"), leaf("y", "in (3, NULL)"), leaf("z", "in (4)")],
        );
        let source = table(
            "list r",
            [
                leaf("p", "in (NULL, 3.0)"),
                leaf("q", "in (2.0, 1)"),
                leaf("s", "in (4, 5)"),
            ],
        );
        assert_eq!(reads(&target, &source.source_table()), ["=q", "=p", "t"]);
    }

    #[test]
    fn hash_partitions_need_the_same_modulus_and_columns() {
        let parts = |modulus: u32| {
            let part = |r: u32| leaf(&format!("h{r}"), &format!("with (modulus {modulus}, remainder {r})"));
            (0..modulus).map(part).collect::<Vec<_>>()
        };
        let target = table("hash k", parts(2));
        assert_eq!(
            reads(&target, &table("hash k", parts(2)).source_table()),
            ["=h0", "=h1"]
        );
        assert_eq!(reads(&target, &table("hash k", parts(4)).source_table()), ["t", "t"]);
        assert_eq!(reads(&target, &table("hash k, l", parts(2)).source_table()), ["t", "t"]);
    }

    #[test]
    fn another_key_column_means_a_slice_of_the_root() {
        let target = table("range k", [a(), b()]);
        for by in ["range l", "range k:text"] {
            let source = table(by, [leaf("x", "from (MINVALUE) to (MAXVALUE)")]);
            assert_eq!(reads(&target, &source.source_table()), ["t", "t"], "{by}");
        }
        let mut source = table("range k", [a(), b()]).source_table();
        source.root.level.as_mut().expect("a level").plain = false;
        assert_eq!(reads(&target, &source), ["t", "t"]);
    }
}
