//! Both tables as a plan compares them: read from their catalogs, the source's partitioning put into
//! the target's terms, and all values ranked by the target's server.

use crate::catalog::Database;
use crate::error::{Error, Result};
use crate::plan::copy_sql::split_name;
use crate::plan::end::KeyKind;
use crate::plan::key::{KeyColumn, Reading};
use crate::plan::new_table::prefix_partitions;
use crate::plan::reading::{
    beside_bounds, doubtful_keys, fill_column, for_each_key, keys_beyond_ascii, keys_of_digits, ordered_keys, reading,
};
use crate::plan::space::Space;
use crate::plan::tables::{Leaf, LeafRange, Table, leaves, range_key, ranges_on};
use crate::plan::translate::{Conversion, Keys, translate};
use crate::plan::tree::{Node, Ranks, values_by_ordering};
use crate::plan::twins::{ReadFrom, Twins};
use crate::run::points::Key;
use crate::run::request::Request;
use crate::source;
use crate::targets::Target;
use crate::wire::Session;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Both tables.
pub struct Tables<'t> {
    /// where the target is
    pub at: &'t Target,
    /// here
    pub target: Table,
    /// there, in the target's terms
    pub source: Table,
    /// the source table's shape, before that: see [`Table::shape`]
    pub shape: String,
    /// keys with more values on the source than are told apart one by one, by name
    pub untold: Vec<String>,
    /// values of the source that are compared though no bound has them, by ordering
    known: BTreeSet<(String, String)>,
    /// values of the source that the target's types lack, by ordering
    unreadable: BTreeSet<(String, String)>,
}

impl<'t> Tables<'t> {
    /// Reads them. An error for a target that is partitioned in a way that is refused.
    pub fn read(request: &Request, at: &'t Target, session: &mut Session) -> Result<Tables<'t>> {
        let mut target = at.read_table()?;
        range_key(&target.root)?;
        let mut source = read_source(request, &target, session)?;
        let shape = source.shape();
        prefix_partitions(&mut source.root, &target.name);
        let same_bytes = session.has_bytes_of_utf8();
        let mut ordered = ordered_keys(&target.root);
        ordered.extend(ordered_keys(&source.root));
        let digits = keys_of_digits(&target.root, &source.root);
        let beyond_ascii = keys_beyond_ascii(&target.root, &source.root);
        let version = session.server().version;
        let sorts_bytes = session.sorts_bytes_as_utf8();
        let doubtful = doubtful_keys(&mut source.root);
        let mut prepare = |column: &mut KeyColumn| {
            let there = source.columns.iter().find(|there| there.name == column.name);
            // Numbers come in an order of their own.
            let is_text = there.is_none_or(|there| there.kind.is_string());
            column.by_digits = is_text && digits.contains(&column.sql());
            column.by_ascii = !beyond_ascii.contains(&column.sql());
            column.sorts_bytes_there = sorts_bytes;
            column.reading = reading(column, there, ordered.contains(&column.sql()), version);
            if doubtful.contains(&column.name) && column.reading == Reading::Native {
                column.reading = beside_bounds();
            }
        };
        for_each_key(&mut target.root, &mut prepare);
        let mut keys = Keys::of(&target.root, same_bytes);
        for mut column in at.key_columns(&keys.lacking(&source.root))? {
            prepare(&mut column);
            keys.insert(column);
        }
        let converted = at.convert(keys.values(&source.root))?;
        let unreadable = translate(&mut source.root, &keys, &converted);
        let mut tables = Tables {
            at,
            target,
            source,
            shape,
            untold: Vec::new(),
            known: BTreeSet::new(),
            unreadable,
        };
        tables.know_labels();
        Ok(tables)
    }

    /// Labels of enums are values whether or not a bound has them.
    fn know_labels(&mut self) {
        let known = &mut self.known;
        for_each_key(&mut self.target.root, &mut |column| {
            let labels = column.labels.iter();
            known.extend(labels.map(|label| (column.ordering.clone(), label.clone())));
        });
    }

    /// Keys whose values have to be named to the source.
    fn named_keys(&mut self) -> BTreeMap<String, KeyColumn> {
        let mut named = BTreeMap::new();
        for_each_key(&mut self.target.root, &mut |column| {
            if matches!(column.reading, Reading::Named(_)) {
                named.insert(column.sql(), column.clone());
            }
        });
        named
    }

    /// Asks the source for all values of keys that have to be named, unless each of the wanted partitions has one there with the very same rows
    /// and no row there can be without a place here. Without an answer such a partition is read with all rows.
    pub fn know_values(
        &mut self,
        session: &mut Session,
        wanted: impl FnOnce(&Tables<'_>) -> Result<Wanted>,
    ) -> Result<()> {
        let mut named = self.named_keys();
        if named.is_empty() {
            return Ok(());
        }
        let wanted = wanted(self)?;
        if self.has_twins(&wanted.leaves)? {
            // Digits that have no place come in one order on both sides.
            named.retain(|_, column| wanted.has_holes && !column.by_digits);
        }
        let relation = self.source.root.table.relation.clone();
        for (sql, column) in named {
            let Reading::Named(text) = &column.reading else {
                continue;
            };
            let expression = fill_column(text, &column.name);
            let values = source::distinct_values(session, &relation, &expression)?;
            let reading = match &values {
                Some(_) => Reading::Known(text.clone()),
                None => Reading::Untold,
            };
            for_each_key(&mut self.target.root, &mut |key| {
                if key.sql() == sql {
                    key.reading = reading.clone();
                }
            });
            match values {
                Some(values) => self.add_values(&column, values)?,
                None => self.untold.push(column.name),
            }
        }
        Ok(())
    }

    fn add_values(&mut self, column: &KeyColumn, values: Vec<String>) -> Result<()> {
        let values: BTreeSet<String> = values.into_iter().collect();
        let wanted = BTreeMap::from([((column.type_sql.clone(), Conversion::Read), values)]);
        for ((_, _, value), read) in self.at.convert(wanted)? {
            let value = (column.ordering.clone(), value);
            if read.is_none() {
                self.unreadable.insert(value.clone());
            }
            self.known.insert(value);
        }
        Ok(())
    }

    fn has_twins(&self, taken: &HashSet<u32>) -> Result<bool> {
        let sides = Sides::new(self, None, std::iter::empty())?;
        let twins = Twins::new(&self.target.root, &self.source, &sides.ranks)?;
        let leaves = leaves(&self.target.root, None);
        let taken = leaves.iter().filter(|leaf| taken.contains(&leaf.table.oid));
        let reads: Result<Vec<ReadFrom>> = taken.map(|leaf| twins.source_of(leaf)).collect();
        Ok(reads?.iter().all(|read| read.whole))
    }
}

/// What a plan will have to ask the source for.
pub struct Wanted {
    /// partitions to be read
    pub leaves: HashSet<u32>,
    /// rows there may have no place here
    pub has_holes: bool,
}

/// Both sides, and how their values are ordered.
pub struct Sides<'a> {
    /// where the target is
    pub at: &'a Target,
    /// here
    pub target: &'a Table,
    /// there
    pub source: &'a Table,
    /// what end_tm is compared with
    pub key: Option<&'a KeyColumn>,
    /// of every bound, and of the points
    pub ranks: Ranks,
}

impl<'a> Sides<'a> {
    /// Ranks what both catalogs say, and `points`, which are values of `key`.
    pub fn new<'p>(
        tables: &'a Tables<'a>,
        key: Option<&'a KeyColumn>,
        points: impl Iterator<Item = &'p str>,
    ) -> Result<Sides<'a>> {
        let mut values = values_by_ordering(&tables.target.root, &tables.source.root);
        for (ordering, value) in &tables.known {
            values.entry(ordering).or_default().insert(value);
        }
        let points: Vec<&str> = points.collect();
        if let Some(key) = key {
            values.entry(&key.ordering).or_default().extend(&points);
        }
        Ok(Sides {
            at: tables.at,
            target: &tables.target,
            source: &tables.source,
            key,
            ranks: tables.at.rank(&values, &tables.unreadable)?,
        })
    }

    /// The space of both trees.
    pub fn space(&self) -> Space<'_> {
        Space::new(&self.target.root, &self.source.root, &self.ranks)
    }

    /// Rank of a point.
    pub fn rank(&self, point: &Option<String>) -> Result<Option<i64>> {
        match (point, self.key) {
            (Some(point), Some(key)) => self.ranks.of(&key.ordering, point).map(Some),
            _ => Ok(None),
        }
    }

    /// A range in ranks of the key.
    pub fn ranked(&self, range: Option<&LeafRange>) -> Result<Option<crate::plan::select::Range<i64>>> {
        match (range, self.key) {
            (Some(range), Some(key)) => range.ranked(key, &self.ranks).map(Some),
            _ => Ok(None),
        }
    }

    /// Key columns of either side whose values are never NULL: on the source, or `here`.
    pub fn never_null(&self, here: bool) -> Vec<&KeyColumn> {
        fn collect<'n, T>(node: &'n Node<T>, found: &mut Vec<&'n KeyColumn>) {
            let Some(level) = &node.level else { return };
            found.extend(&level.columns);
            level.children.iter().for_each(|child| collect(child, found));
        }
        let mut columns = Vec::new();
        collect(&self.target.root, &mut columns);
        collect(&self.source.root, &mut columns);
        let mut seen = BTreeSet::new();
        columns.retain(|column| seen.insert(column.sql()));
        let is_not_null = |name: &str| match here {
            true => self.target.columns.iter().any(|c| c.name == name && c.not_null),
            false => self.source.columns.iter().any(|c| c.name == name && c.not_null),
        };
        columns.retain(|column| !column.expression && is_not_null(&column.name));
        columns
    }
}

/// The source table's shape as `session` sees it now, in terms of [`super::Plan::source`].
pub fn source_shape(request: &Request, at: &Target, session: &mut Session) -> Result<String> {
    Ok(read_source(request, &at.read_table()?, session)?.shape())
}

fn read_source(request: &Request, target: &Table, session: &mut Session) -> Result<Table> {
    match &request.source_table {
        None => source::read_table(session, std::slice::from_ref(&target.schema), &target.name),
        Some(text) => match split_name(text) {
            Some((Some(schema), name)) => source::read_table(session, &[schema], &name),
            Some((None, name)) => {
                let schemas = session.server().schemas.clone();
                source::read_table(session, &schemas, &name)
            }
            None => Err(
                Error::bad_parameter(format!("source_table \"{text}\" is not a table name"))
                    .hint("Write table or schema.table, with double quotes where the name needs them."),
            ),
        },
    }
}

/// How end_tm is read: by the bounds here, or by the source's where there are none yet.
pub fn key_of<'a>(key: &'a KeyColumn, leaves: &[Leaf<'_>], tables: &Tables<'a>) -> Key<'a> {
    let ranges: Vec<LeafRange> = leaves.iter().filter_map(|leaf| leaf.range.clone()).collect();
    let ranges = match ranges.is_empty() {
        true => ranges_on(&tables.source.root, &key.name),
        false => ranges,
    };
    Key {
        at: tables.at,
        column: key,
        kind: KeyKind::of(&key.type_name, ranges.iter().flat_map(LeafRange::values)),
    }
}
