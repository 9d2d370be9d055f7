//! Partition trees of both sides in one form, and where a partition stands among its siblings once the server has ranked all values.
//! Two partitions with equal places under levels that are alike hold the same rows.

use super::bound::{Bound, End};
use crate::error::{Error, Result, tame};
use std::collections::{BTreeSet, HashMap};
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

/// A column of a partition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// attname
    pub name: String,
    /// atttypid
    pub type_oid: u32,
    /// pg_type.typname
    pub type_name: String,
    /// what its collation sorts by, comparable between servers; None for types without one
    pub collation: Option<String>,
    /// quoted, qualified type without typmod, as this server names it; empty on the source's side
    pub type_sql: String,
    /// how this server orders its values: `type_sql`, and COLLATE where the type has collations; empty on the source's side
    pub ordering: String,
}

/// One level of partitioning.
#[derive(Debug, Clone)]
pub struct Level<T> {
    /// by what
    pub strategy: Strategy,
    /// the key; empty when it is not plain
    pub columns: Vec<KeyColumn>,
    /// every key column is a plain column with its type's own ordering: only then do bounds tell anything outside their server
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

/// The places of a level's children, in their order. `columns` are the target's key columns, which tell how values are ordered.
pub fn places<T>(level: &Level<T>, columns: &[KeyColumn], ranks: &Ranks) -> Result<Vec<Place>> {
    let edge = |(end, column): (&End, &KeyColumn)| match end {
        End::Min => Ok(Edge::Min),
        End::Max => Ok(Edge::Max),
        End::Value(value) => ranks.of(&column.ordering, value).map(Edge::At),
    };
    let edges = |ends: &[End]| ends.iter().zip(columns).map(edge).collect::<Result<Vec<_>>>();
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

/// FirstNormalObjectId (transam.h): above it OIDs are given out by each server as it likes, and equal ones mean nothing.
const FIRST_NORMAL_OID: u32 = 16384;

/// True when the bounds of both levels are values of the same key, so that equal places hold equal rows.
pub fn alike<T, U>(here: &Level<T>, there: &Level<U>) -> bool {
    let same = |(a, b): (&KeyColumn, &KeyColumn)| {
        let is_built_in = a.type_oid < FIRST_NORMAL_OID;
        a.name == b.name
            && a.type_oid == b.type_oid
            && is_built_in
            && sort_alike(a.collation.as_deref(), b.collation.as_deref())
    };
    here.strategy == there.strategy
        && here.plain
        && there.plain
        && here.columns.len() == there.columns.len()
        && here.columns.iter().zip(&there.columns).all(same)
}

/// True when two collations order text alike, as far as their names tell; unknown ones do.
pub fn sort_alike(here: Option<&str>, there: Option<&str>) -> bool {
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

/// Every value whose place may be asked for, by ordering: those of the target's bounds, and of the source's where a level of the target at
/// the same depth is alike.
pub fn values_by_ordering<'a, T, U>(here: &'a Node<T>, there: &'a Node<U>) -> HashMap<&'a str, BTreeSet<&'a str>> {
    let mut found = HashMap::new();
    // By depth, one level for each key that occurs there: nearly always one.
    let mut keys: Vec<Vec<&Level<T>>> = Vec::new();
    let mut now = vec![here];
    while !now.is_empty() {
        let mut distinct: Vec<&Level<T>> = Vec::new();
        for level in now.iter().filter_map(|node| node.level.as_ref()) {
            collect(&level.children, &level.columns, &mut found);
            if !distinct
                .iter()
                .any(|known| known.columns == level.columns && alike(known, level))
            {
                distinct.push(level);
            }
        }
        keys.push(distinct);
        now = below(&now);
    }
    let mut now = vec![there];
    for distinct in keys {
        for level in now.iter().filter_map(|node| node.level.as_ref()) {
            for key in distinct.iter().filter(|key| alike(key, level)) {
                collect(&level.children, &key.columns, &mut found);
            }
        }
        now = below(&now);
    }
    found
}

fn below<'a, T>(nodes: &[&'a Node<T>]) -> Vec<&'a Node<T>> {
    let levels = nodes.iter().filter_map(|node| node.level.as_ref());
    levels.flat_map(|level| &level.children).collect()
}

fn collect<'a, T>(children: &'a [Node<T>], columns: &'a [KeyColumn], found: &mut HashMap<&'a str, BTreeSet<&'a str>>) {
    let mut add = |column: &'a KeyColumn, value: &'a str| {
        found.entry(&column.ordering).or_default().insert(value);
    };
    for child in children {
        match &child.bound {
            Some(Bound::Range(from, to)) => {
                for (end, column) in from.iter().zip(columns).chain(to.iter().zip(columns)) {
                    if let End::Value(value) = end {
                        add(column, value);
                    }
                }
            }
            Some(Bound::List(values)) => {
                for value in values.iter().flatten() {
                    if let Some(column) = columns.first() {
                        add(column, value);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sketch::{leaf, ranks, split, table};
    use super::*;

    fn level(by: &str, bounds: &[&str]) -> Level<super::super::units::TargetRel> {
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
        let mut other = level("range k:text", &[]);
        other.columns[0].collation = Some("POSIX".into());
        assert!(alike(&here, &other));
        other.columns[0].collation = Some("en_US.UTF-8".into());
        assert!(!alike(&here, &other));
        assert!(sort_alike(Some("en_US.UTF-8"), Some("en_US.utf8")) && sort_alike(None, Some("C")));
        // Two servers give an OID of their own to different types.
        let mut own = level("range k", &[]);
        own.columns[0].type_oid = FIRST_NORMAL_OID;
        assert!(!alike(&own, &own.clone()));
        let mut expression = level("range k", &[]);
        expression.plain = false;
        assert!(!alike(&level("range k", &[]), &expression));
    }

    #[test]
    fn the_sources_values_are_ranked_where_a_level_here_is_alike() {
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
        let other = table("range l", [leaf("c", "from (77) to (88)")]).source();
        assert_eq!(values_by_ordering(&here, &other)["int4"], BTreeSet::from(["0", "10"]));
    }
}
