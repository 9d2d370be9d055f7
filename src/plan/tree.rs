//! Partition trees of both sides in one form, and where a partition stands among its siblings once the server has ranked all values.
//! Two partitions with equal places under levels that are alike hold the same rows.

use super::bound::{Bound, End};
use super::key::KeyColumn;
use crate::error::{Error, Result, tame};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// How a level is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// BY RANGE
    Range,
    /// BY LIST
    List,
    /// BY HASH
    Hash,
}

impl Strategy {
    /// From pg_partitioned_table.partstrat.
    pub fn from_code(code: &str) -> Option<Strategy> {
        match code {
            "r" => Some(Strategy::Range),
            "l" => Some(Strategy::List),
            "h" => Some(Strategy::Hash),
            _ => None,
        }
    }

    /// The word of PARTITION BY.
    pub fn sql(self) -> &'static str {
        match self {
            Strategy::Range => "RANGE",
            Strategy::List => "LIST",
            Strategy::Hash => "HASH",
        }
    }
}

/// The expression of a key that is one, from what pg_get_partkeydef prints: `LIST (lower(region))`.
pub fn list_expression(definition: &str) -> Option<&str> {
    definition.strip_prefix("LIST (")?.strip_suffix(')')
}

/// One level of partitioning.
#[derive(Debug, Clone)]
pub struct Level<T> {
    /// by what
    pub strategy: Strategy,
    /// the key; empty when it is not plain
    pub columns: Vec<KeyColumn>,
    /// every key column is a plain column (by LIST also: the key is one expression) with its type's own
    /// ordering: only then do bounds tell anything outside their server
    pub plain: bool,
    /// the partitions
    pub children: Vec<Node<T>>,
}

/// A table of the tree: the root, an intermediate or a leaf.
#[derive(Debug, Clone)]
pub struct Node<T> {
    /// the table itself
    pub table: T,
    /// None for the root
    pub bound: Option<Bound>,
    /// None for a leaf
    pub level: Option<Level<T>>,
}

/// A node as a catalog query gives it; the level's children are other rows.
#[derive(Debug)]
pub struct NodeRow<I, T> {
    /// what its children name as their parent
    pub id: I,
    /// None for the root
    pub parent: Option<I>,
    /// the node
    pub node: Node<T>,
}

/// Most levels that are looked at. What a source says of its partitions must not decide how deep the stack gets here.
const DEEPEST: usize = 64;

/// Puts rows together. None when no row is a root. A table on the deepest level that is looked at counts as one without partitions: reading it
/// gives their rows too.
pub fn assemble<I: Eq + Hash, T>(rows: Vec<NodeRow<I, T>>) -> Option<Node<T>> {
    let mut root = None;
    let mut below: HashMap<I, Vec<(I, Node<T>)>> = HashMap::new();
    for row in rows {
        match row.parent {
            None => root = Some((row.id, row.node)),
            Some(parent) => below.entry(parent).or_default().push((row.id, row.node)),
        }
    }
    fn fill<I: Eq + Hash, T>(
        id: &I,
        mut node: Node<T>,
        below: &mut HashMap<I, Vec<(I, Node<T>)>>,
        depth: usize,
    ) -> Node<T> {
        node.level = node.level.filter(|_| depth < DEEPEST);
        if let Some(level) = &mut node.level {
            // Taken out, so that rows which name each other as parents end the walk.
            let children = below.remove(id).unwrap_or_default();
            level.children = children
                .into_iter()
                .map(|(id, child)| fill(&id, child, below, depth + 1))
                .collect();
        }
        node
    }
    root.map(|(id, node)| fill(&id, node, &mut below, 0))
}

/// Ranks of values within each ordering, see [`super::select::ranking_query`].
#[derive(Debug, Default)]
pub struct Ranks(HashMap<String, HashMap<String, i64>>);

impl Ranks {
    /// The values of an ordering, by rank: equal ones together.
    pub fn values(&self, ordering: &str) -> BTreeMap<i64, BTreeSet<String>> {
        let mut values: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        for (value, rank) in self.0.get(ordering).into_iter().flatten() {
            values.entry(*rank).or_default().insert(value.clone());
        }
        values
    }

    /// Adds one.
    pub fn insert(&mut self, ordering: &str, value: String, rank: i64) {
        self.0.entry(ordering.to_owned()).or_default().insert(value, rank);
    }

    /// The rank of `value`; everything that is compared has been ranked before.
    pub fn of(&self, ordering: &str, value: &str) -> Result<i64> {
        let rank = self.0.get(ordering).and_then(|ranks| ranks.get(value)).copied();
        rank.ok_or_else(|| Error::internal(format!("bound {} was not ranked", tame(value))))
    }
}

/// An end of a range, ordered as the server orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edge {
    /// MINVALUE
    Min,
    /// a value's rank
    At(i64),
    /// MAXVALUE
    Max,
}

/// Where a partition stands among its siblings, comparable between servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// from (inclusive) to (exclusive), column by column
    Range(Vec<Edge>, Vec<Edge>),
    /// ranks of its values; None is NULL
    List(BTreeSet<Option<i64>>),
    /// modulus and remainder
    Hash(u32, u32),
    /// what none of these siblings takes
    Default(BTreeSet<Place>),
}

/// The ends of a range in the order of `columns`, which are the target's.
pub fn edges(ends: &[End], columns: &[KeyColumn], ranks: &Ranks) -> Result<Vec<Edge>> {
    let edge = |(end, column): (&End, &KeyColumn)| match end {
        End::Min => Ok(Edge::Min),
        End::Max => Ok(Edge::Max),
        End::Value(value) => ranks.of(&column.ordering, value).map(Edge::At),
    };
    ends.iter().zip(columns).map(edge).collect()
}

/// The places of a level's children, in their order. `columns` are the target's key columns, which tell how values are ordered.
pub fn places<T>(level: &Level<T>, columns: &[KeyColumn], ranks: &Ranks) -> Result<Vec<Place>> {
    let edges = |ends: &[End]| edges(ends, columns, ranks);
    let rank = |value: &Option<String>| match (value, columns.first()) {
        (Some(value), Some(column)) => ranks.of(&column.ordering, value).map(Some),
        _ => Ok(None),
    };
    let mut found = Vec::with_capacity(level.children.len());
    for child in &level.children {
        found.push(match &child.bound {
            Some(Bound::Range(from, to)) => Place::Range(edges(from)?, edges(to)?),
            Some(Bound::List(values)) => Place::List(values.iter().map(rank).collect::<Result<_>>()?),
            Some(Bound::Hash(modulus, remainder)) => Place::Hash(*modulus, *remainder),
            Some(Bound::Default) | None => Place::Default(BTreeSet::new()),
        });
    }
    let siblings: BTreeSet<Place> = found
        .iter()
        .filter(|place| !matches!(place, Place::Default(_)))
        .cloned()
        .collect();
    let mut defaults = found.iter_mut().filter(|place| matches!(place, Place::Default(_)));
    if let Some(place) = defaults.next() {
        *place = Place::Default(siblings);
    }
    match defaults.next() {
        None => Ok(found),
        Some(_) => Err(Error::protocol("a table has more than one default partition")),
    }
}

/// Ranks from here on are those of values that the target's type cannot read. They are equal to
/// themselves and nothing else.
pub const UNREADABLE: i64 = 1 << 40;

/// True when equal places of both levels hold equal rows.
pub fn alike<T, U>(here: &Level<T>, there: &Level<U>) -> bool {
    comparable(here, there) && !there.columns.iter().any(|column| column.is_rounded)
}

/// True when the bounds of both levels are values of the same key. The source's levels are in the target's terms: see `translate`.
pub fn comparable<T, U>(here: &Level<T>, there: &Level<U>) -> bool {
    let same = |(a, b): (&KeyColumn, &KeyColumn)| {
        a.name == b.name && a.expression == b.expression && a.ordering == b.ordering && !a.ordering.is_empty()
    };
    here.strategy == there.strategy
        && here.plain
        && there.plain
        && here.columns.len() == there.columns.len()
        && here.columns.iter().zip(&there.columns).all(same)
}

/// Every value whose place may be asked for, by ordering.
pub fn values_by_ordering<'a, T, U>(here: &'a Node<T>, there: &'a Node<U>) -> HashMap<&'a str, BTreeSet<&'a str>> {
    let mut found = HashMap::new();
    collect(here, &mut found);
    collect(there, &mut found);
    found
}

fn collect<'a, T>(node: &'a Node<T>, found: &mut HashMap<&'a str, BTreeSet<&'a str>>) {
    let Some(level) = &node.level else { return };
    let is_ordered = |column: &&KeyColumn| !column.ordering.is_empty();
    for child in &level.children {
        let mut add = |column: &'a KeyColumn, value: &'a str| {
            found.entry(&column.ordering).or_default().insert(value);
        };
        let columns = || level.columns.iter().filter(is_ordered);
        match &child.bound {
            Some(Bound::Range(from, to)) => {
                for (end, column) in from.iter().zip(columns()).chain(to.iter().zip(columns())) {
                    if let End::Value(value) = end {
                        add(column, value);
                    }
                }
            }
            Some(Bound::List(values)) => {
                if let Some(column) = columns().next() {
                    values.iter().flatten().for_each(|value| add(column, value));
                }
            }
            _ => {}
        }
        collect(child, found);
    }
}

#[cfg(test)]
mod tests;
