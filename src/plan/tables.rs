//! The two tables as their catalogs describe them, and the units of a run in them: the leaves of the target, and the range that decides
//! whether one is taken.

use super::bound::{Bound, End};
use super::columns::Column;
use super::key::KeyColumn;
use super::select::Range;
use super::tree::{Level, Node, Ranks, Strategy};
use crate::error::{Error, Result};

/// A table of a tree of partitions, on either side.
#[derive(Debug, Clone, Default)]
pub struct Relation {
    /// pg_class.oid on its own server; of a partition that is no table of its own, the table's
    pub oid: u32,
    /// relname
    pub name: String,
    /// schema-qualified, quoted
    pub relation: String,
    /// pg_class.relkind is 'f': its rows are elsewhere
    pub foreign: bool,
    /// whoever asks may SELECT from it by its own name
    pub readable: bool,
    /// size on disk, when known
    pub bytes: Option<i64>,
    /// its bound, as its server prints it, of a table that is written; None for the root
    pub bound: Option<String>,
    /// what it is called in its level, where that is something else than its table's name
    pub part: Option<String>,
    /// condition on those of its rows that count: others are a partition's of their own; None: all do
    pub condition: Option<String>,
    /// it stands for those of another partition's rows that have no key
    pub is_of_nulls: bool,
}

/// A table that is replaced as a whole: a partition of the target without partitions of its own, or all of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// schema-qualified, quoted
    pub name: String,
    /// its OID on the target's server, where it exists and that server knows it by one
    pub oid: Option<u32>,
}

impl Unit {
    /// The OID of a unit that is known by it.
    pub fn oid(&self) -> Result<u32> {
        self.oid
            .ok_or_else(|| Error::internal(format!("{} has no OID", self.name)))
    }
}

impl Relation {
    /// As a unit.
    pub fn unit(&self) -> Unit {
        Unit {
            name: self.relation.clone(),
            oid: Some(self.oid),
        }
    }
}

/// A table of either side.
#[derive(Debug, Clone)]
pub struct Table {
    /// schema
    pub schema: String,
    /// relname
    pub name: String,
    /// itself and its partitions, as far as its server's catalogs tell; an ordinary table is its own and only leaf
    pub root: Node<Relation>,
    /// in attnum order
    pub columns: Vec<Column>,
}

impl Table {
    /// Everything about it that a plan rests on, to be compared with what it is later. Sizes don't count.
    pub fn shape(&self) -> String {
        let mut root = self.root.clone();
        let mut stack = vec![&mut root];
        while let Some(node) = stack.pop() {
            node.table.bytes = None;
            // Catalogs give them in any order.
            if let Some(level) = &mut node.level {
                level
                    .children
                    .sort_by_key(|child| (child.table.oid, child.table.name.clone()));
            }
            stack.extend(node.level.iter_mut().flat_map(|level| &mut level.children));
        }
        let column = |column: &Column| (column.name.clone(), column.number, column.type_oid);
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        format!("{root:?} {columns:?}")
    }
}

/// Largest size that is believed: twice what a table can have (2^32 blocks of 8 kB, and as many of TOAST).
const LARGEST_TABLE: i64 = 1 << 47;

impl Node<Relation> {
    /// Size of the table with everything below it, when any of it is known.
    pub fn bytes(&self) -> Option<i64> {
        match &self.level {
            None => self.table.bytes.filter(|bytes| (0..=LARGEST_TABLE).contains(bytes)),
            Some(level) => level
                .children
                .iter()
                .filter_map(Node::bytes)
                .reduce(i64::saturating_add),
        }
    }
}

/// A leaf's range on the RANGE key that end_tm is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRange {
    /// lower end, inclusive
    pub start: End,
    /// upper end
    pub end: End,
    /// the key has more columns, so that rows at the upper end itself may belong here
    pub end_inclusive: bool,
}

impl LeafRange {
    /// What a bound says of the first column of its key; None for what is not a range.
    pub fn of(bound: Option<&Bound>) -> Option<LeafRange> {
        let Some(Bound::Range(from, to)) = bound else {
            return None;
        };
        Some(LeafRange {
            start: from.first()?.clone(),
            end: to.first()?.clone(),
            end_inclusive: to.get(1).is_some_and(|next| *next != End::Min),
        })
    }

    /// The same in ranks of `key`.
    pub fn ranked(&self, key: &KeyColumn, ranks: &Ranks) -> Result<Range<i64>> {
        let one = |end: &End| match end {
            End::Value(value) => ranks.of(&key.ordering, value).map(Some),
            _ => Ok(None),
        };
        Ok(Range {
            start: one(&self.start)?,
            end: one(&self.end)?,
            end_inclusive: self.end_inclusive,
        })
    }

    /// Its values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        [&self.start, &self.end].into_iter().filter_map(|end| match end {
            End::Value(value) => Some(value.as_str()),
            _ => None,
        })
    }
}

/// A leaf partition of the target, or the whole unpartitioned table.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// the table
    pub table: &'a Relation,
    /// from the nearest level partitioned by RANGE on the key; None: always taken
    pub range: Option<LeafRange>,
    /// tables above it of whose default partition it is (a part)
    pub default_of: Vec<u32>,
    /// its bound and those above it, up to the table itself, as the server prints them
    pub bounds: Vec<&'a str>,
}

/// The RANGE key that end_tm is compared with: the first column of the uppermost levels partitioned by RANGE. None without such a level, or
/// when branches at that height use different columns: their leaves are then always taken. An error when that key is an expression or has an
/// ordering of its own, as its values then mean nothing outside.
pub fn range_key<'a, T>(root: &'a Node<T>) -> Result<Option<&'a KeyColumn>> {
    let mut now = vec![root];
    while !now.is_empty() {
        let levels: Vec<&'a Level<T>> = now.iter().filter_map(|node| node.level.as_ref()).collect();
        let ranged: Vec<&'a Level<T>> = levels
            .iter()
            .copied()
            .filter(|l| l.strategy == Strategy::Range)
            .collect();
        if ranged.iter().any(|level| !level.plain) {
            return Err(Error::unsupported(
                "only RANGE partitioning on plain columns with their types' own ordering is supported",
            )
            .hint("Call it for the partitions one by one: an ordinary table is copied whole."));
        }
        if let Some(first) = ranged.first() {
            let key = first.columns.first();
            return Ok(key.filter(|key| ranged.iter().all(|level| level.columns.first() == Some(*key))));
        }
        now = levels.into_iter().flat_map(|level| &level.children).collect();
    }
    Ok(None)
}

/// The ranges on `column` at all levels below `root` whose key begins with it.
pub fn ranges_on<T>(root: &Node<T>, column: &str) -> Vec<LeafRange> {
    let Some(level) = &root.level else {
        return Vec::new();
    };
    let is_key = level.columns.first().is_some_and(|first| first.name == column);
    let own = level.children.iter().filter(|_| is_key);
    let own = own.filter_map(|child| LeafRange::of(child.bound.as_ref()));
    own.chain(level.children.iter().flat_map(|child| ranges_on(child, column)))
        .collect()
}

/// The leaves below `root`, in the catalog's order.
pub fn leaves<'a>(root: &'a Node<Relation>, key: Option<&KeyColumn>) -> Vec<Leaf<'a>> {
    let mut found = Vec::new();
    let top = Leaf {
        table: &root.table,
        range: None,
        default_of: Vec::new(),
        bounds: Vec::new(),
    };
    descend(root, key, top, &mut found);
    found
}

fn descend<'a>(node: &'a Node<Relation>, key: Option<&KeyColumn>, so_far: Leaf<'a>, found: &mut Vec<Leaf<'a>>) {
    let Some(level) = &node.level else {
        found.push(Leaf {
            table: &node.table,
            ..so_far
        });
        return;
    };
    let on_key = is_on_key(level, key);
    for child in &level.children {
        let mut default_of = so_far.default_of.clone();
        if child.bound == Some(Bound::Default) {
            default_of.push(node.table.oid);
        }
        let own = child.table.bound.as_deref();
        let below = Leaf {
            bounds: own.into_iter().chain(so_far.bounds.iter().copied()).collect(),
            table: &child.table,
            // The default partition of such a level has no range: it takes what is left over.
            range: if on_key {
                LeafRange::of(child.bound.as_ref())
            } else {
                so_far.range.clone()
            },
            default_of,
        };
        descend(child, key, below, found);
    }
}

/// True when the level's bounds say something about the key that end_tm is compared with.
pub fn is_on_key<T>(level: &Level<T>, key: Option<&KeyColumn>) -> bool {
    level.strategy == Strategy::Range && level.plain && key.is_some() && level.columns.first() == key
}

#[cfg(test)]
mod tests {
    use super::super::sketch::{Sketch, leaf, split, table};
    use super::*;

    /// Each leaf with its range, as `name start..end`, `..=` where rows at the upper end may belong to it; the bare name without one.
    fn ranges(sketch: &Sketch) -> Vec<String> {
        let tree = sketch.target();
        let key = range_key(&tree).expect("a plain key");
        let end = |end: &End| match end {
            End::Value(value) => value.clone(),
            _ => String::new(),
        };
        let show = |leaf: &Leaf<'_>| match &leaf.range {
            Some(range) => {
                let dots = if range.end_inclusive { "..=" } else { ".." };
                format!("{} {}{dots}{}", leaf.table.relation, end(&range.start), end(&range.end))
            }
            None => leaf.table.relation.clone(),
        };
        leaves(&tree, key).iter().map(show).collect()
    }

    #[test]
    fn an_unpartitioned_table_is_its_only_leaf() {
        assert_eq!(ranges(&Sketch::unpartitioned()), ["t"]);
    }

    #[test]
    fn the_first_of_several_columns_gives_the_range() {
        let tree = table(
            "range a, b:text",
            [
                leaf("low", "from (MINVALUE, MINVALUE) to (1, MINVALUE)"),
                leaf("mid", "from (1, MINVALUE) to (2, 'm')"),
                leaf("high", "from (2, 'm') to (MAXVALUE, MAXVALUE)"),
                leaf("rest", "default"),
            ],
        );
        assert_eq!(ranges(&tree), ["low ..1", "mid 1..=2", "high 2..=", "rest"]);
    }

    #[test]
    fn the_nearest_level_on_the_key_gives_the_range() {
        let months = [
            leaf("m1", "from (0) to (5)"),
            leaf("m2", "from (5) to (10)"),
            leaf("rest", "default"),
        ];
        let years = [
            split("y1", "from (0) to (10)", "range k", months),
            split("y2", "from (10) to (20)", "range l", [leaf("other", "from (1) to (2)")]),
        ];
        assert_eq!(
            ranges(&table("range k", years)),
            ["m1 0..5", "m2 5..10", "rest", "other 10..20"]
        );
    }

    #[test]
    fn below_list_and_hash_the_uppermost_range_is_the_key() {
        let by_range = |name: &str| {
            let parts = [
                leaf(&format!("{name}_a"), "from (0) to (10)"),
                leaf(&format!("{name}_d"), "default"),
            ];
            split(name, "in (1)", "range k", parts)
        };
        let tree = table("list r", [by_range("x"), leaf("y", "in (2)"), leaf("z", "default")]);
        assert_eq!(ranges(&tree), ["x_a 0..10", "x_d", "y", "z"]);
        let hashed = [
            leaf("h0", "with (modulus 2, remainder 0)"),
            leaf("h1", "with (modulus 2, remainder 1)"),
        ];
        let tree = table("range k", [split("a", "from (0) to (10)", "hash r", hashed.clone())]);
        assert_eq!(ranges(&tree), ["h0 0..10", "h1 0..10"]);
        assert_eq!(ranges(&table("hash k", hashed)), ["h0", "h1"]);
    }

    #[test]
    fn branches_with_different_keys_at_one_height_are_always_taken() {
        let by = |name: &str, bound: &str, by: &str| {
            split(name, bound, by, [leaf(&format!("{name}_a"), "from (0) to (10)")])
        };
        let tree = table("list r", [by("x", "in (1)", "range k"), by("y", "in (2)", "range l")]);
        assert_eq!(ranges(&tree), ["x_a", "y_a"]);
    }

    #[test]
    fn a_range_key_that_is_not_plain_is_refused_and_another_strategy_is_not() {
        for (by, refused) in [("range k", true), ("list k", false), ("hash k", false)] {
            let mut tree = table(by, [leaf("d", "default")]).target();
            tree.level.as_mut().expect("a level").plain = false;
            assert_eq!(range_key(&tree).is_err(), refused, "{by}");
        }
    }

    #[test]
    fn a_leaf_knows_whose_default_partition_it_is() {
        let below = [leaf("d_a", "from (0) to (10)"), leaf("d_d", "default")];
        let tree = table(
            "range k",
            [leaf("a", "from (0) to (10)"), split("d", "default", "range l", below)],
        )
        .target();
        let key = range_key(&tree).expect("a plain key");
        let found: Vec<_> = leaves(&tree, key).into_iter().map(|leaf| leaf.default_of).collect();
        // OIDs: t is 1, a 2, d 3.
        assert_eq!(found, [vec![], vec![1], vec![1, 3]]);
    }

    #[test]
    fn the_size_of_a_source_table_is_that_of_its_leaves_as_far_as_known() {
        let mut source = table(
            "range k",
            [leaf("a", "from (0) to (10)"), leaf("b", "from (10) to (20)")],
        )
        .source();
        assert_eq!(source.bytes(), Some(2));
        let children = &mut source.level.as_mut().expect("a level").children;
        children.iter_mut().for_each(|child| child.table.bytes = None);
        assert_eq!(source.bytes(), None);
    }
}
