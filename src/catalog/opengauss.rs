//! openGauss and GaussDB: pg_partition describes partitions that are no tables of their own (src/include/catalog/pg_partition.h there). They are
//! read by `PARTITION (name)`, whatever their bounds say; the bounds tell which partition here has the same rows.

mod bounds;

use super::Database;
use super::server::Catalog;
use super::table::{Found, collation_join};
use crate::error::{Error, Result};
use crate::plan::bound::{Bound, End};
use crate::plan::collation::{self, Collation};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::counterparts::counterpart_of;
use crate::plan::gauss::Part;
use crate::plan::key::KeyColumn;
use crate::plan::tables::Relation;
use crate::plan::tree::{Level, Node, Strategy};
use crate::row::Row;
use bounds::{Member, members};
use std::collections::HashMap;

/// What one level is partitioned by.
struct Key {
    strategy: Strategy,
    columns: Vec<Column>,
    /// what a partition that was added by an interval spans
    step: Option<String>,
}

/// A column of a key.
#[derive(Clone)]
struct Column {
    key: KeyColumn,
    /// how its type is named there in an expression
    type_sql: String,
    /// pg_type.oid there
    type_oid: u32,
    not_null: bool,
}

/// A level, or what it is partitioned by where no level here could be like it.
type Told = std::result::Result<Key, String>;

/// The tree below a table, as far as PostgreSQL has such levels: a HASH there is another product's, and what it divides is one relation.
pub fn tree(db: &mut dyn Database, found: &Found) -> Result<Option<Node<Relation>>> {
    let (Some(Ok(mut top)), below) = levels(db, found.oid)? else {
        return Ok(None);
    };
    let partitions = members(db, found, &mut top, false)?;
    let mut by_parent: HashMap<u32, Vec<Member>> = HashMap::new();
    let mut below = below.and_then(std::result::Result::ok);
    if let Some(key) = &mut below {
        for member in members(db, found, key, true)? {
            by_parent.entry(member.parent).or_default().push(member);
        }
    }
    let sizes = sizes(db, found)?;
    let mut children = Vec::with_capacity(partitions.len());
    for member in partitions {
        let level = match (&below, by_parent.remove(&member.oid)) {
            (Some(key), Some(members)) => {
                let leaf = |member: Member| node(found, member, &sizes, None);
                let whole = Part::relation(&member.part);
                Some(key.level(members.into_iter().map(leaf).collect(), &whole))
            }
            _ => None,
        };
        children.push(node(found, member, &sizes, level));
    }
    let level = top.level(children, &found.relation());
    Ok(Some(found.node(Some(level))))
}

/// How far a table here is synced.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// the key's name
    pub column: &'a str,
    /// its type's OID
    pub type_oid: u32,
    /// the value
    pub value: &'a str,
}

/// All partitions, of both levels, that the session's transaction sees of `table`, quoted and qualified; with whether each may end before `point` or at it.
/// That is so unless the source's own bounds are of the same key and say otherwise.
pub fn parts(db: &mut dyn Database, table: &str, point: Option<Point<'_>>) -> Result<Vec<(Part, bool)>> {
    let rows = db.query(&format!(
        "SELECT CAST(CAST({} AS regclass) AS oid)",
        quote_literal(table)
    ))?;
    let oid: u32 = rows
        .first()
        .map_or_else(|| Err(Error::protocol("no answer")), |row| row.need(0))?;
    let (top, below) = levels(db, oid)?;
    let passed = |level: &Option<Told>, alias: &str| {
        let key = level.as_ref().and_then(|told| told.as_ref().ok());
        let key = key.filter(|key| key.strategy == Strategy::Range)?.columns.first()?;
        let point = point.filter(|point| key.key.name == point.column && key.key.type_oid == point.type_oid)?;
        let of_type = &key.type_sql;
        let value = quote_literal(point.value);
        Some(format!(
            "COALESCE(CAST({alias}.boundaries[1] AS {of_type}) <= CAST({value} AS {of_type}), false)"
        ))
    };
    let unless_told = || if point.is_some() { "true" } else { "false" }.to_owned();
    let of_top = passed(&top, "p").unwrap_or_else(unless_told);
    let of_sub = passed(&below, "s")
        .or_else(|| passed(&top, "p"))
        .unwrap_or_else(unless_told);
    let rows = db.query(&format!(
        "SELECT p.relname, {of_top}, false FROM pg_partition p WHERE p.parentid = {oid} AND p.parttype = 'p'
         UNION ALL
         SELECT s.relname, {of_sub}, true FROM pg_partition s JOIN pg_partition p ON p.oid = s.parentid
         WHERE s.parttype = 's' AND p.parentid = {oid} AND p.parttype = 'p'"
    ))?;
    let part = |row: &Row| {
        let part = Part {
            table: table.to_owned(),
            is_sub: row.is(2),
            name: row.name(0)?,
        };
        Ok((part, row.is(1)))
    };
    rows.iter().map(part).collect()
}

/// Which partitions p are of a level of the table with this OID.
fn scope(oid: u32, is_sub: bool) -> String {
    match is_sub {
        false => format!("p.parentid = {oid} AND p.parttype = 'p'"),
        true => format!(
            "p.parttype = 's' AND p.parentid IN (SELECT r.oid FROM pg_partition r WHERE r.parentid = {oid} AND r.parttype = 'p')"
        ),
    }
}

/// What of the partitioning has no counterpart here, a clause each.
pub fn left_out(db: &mut dyn Database, found: &Found) -> Result<Vec<String>> {
    Ok(match levels(db, found.oid)? {
        (Some(Err(reason)), _) => vec![format!(
            "partitioning {reason} is not copied: the table has no partitions here"
        )],
        (_, Some(Err(reason))) => vec![format!(
            "subpartitions {reason} are not copied: each partition is one table here"
        )],
        _ => Vec::new(),
    })
}

fn node(found: &Found, member: Member, sizes: &HashMap<u32, i64>, level: Option<Level<Relation>>) -> Node<Relation> {
    Node {
        table: Relation {
            oid: found.oid,
            relation: member.part.relation(),
            part: Some(member.part.name.clone()),
            name: member.part.name,
            // There are no grants on partitions, and the table's have been looked at.
            readable: true,
            bytes: sizes.get(&member.oid).copied(),
            ..Relation::default()
        },
        bound: Some(member.bound),
        level,
    }
}

impl Key {
    /// The level of these partitions, all of which are in `whole`.
    ///
    /// A row without a key is in the partition that goes up to MAXVALUE, where PostgreSQL has it in none but a default (partitionmap.cpp): so that
    /// partition is two here, of which one holds those rows.
    fn level(&self, mut children: Vec<Node<Relation>>, whole: &str) -> Level<Relation> {
        let may_be_null = self.columns.iter().filter(|column| !column.not_null);
        let names: Vec<String> = may_be_null.map(|column| quote_ident(&column.key.name)).collect();
        if self.strategy == Strategy::Range && !names.is_empty() {
            let all = |test: &str, word: &str| {
                let tests: Vec<String> = names.iter().map(|name| format!("{name} IS {test}")).collect();
                format!("({})", tests.join(word))
            };
            // One of several columns may be missing in any of them.
            let is_first = |child: &&mut Node<Relation>| match &child.bound {
                Some(Bound::Range(_, to)) => self.columns.len() > 1 || to.first() == Some(&End::Max),
                _ => false,
            };
            let mut nulls = None;
            for child in children.iter_mut().filter(is_first) {
                nulls = Some(match self.columns.len() {
                    1 => child.table.clone(),
                    _ => Relation {
                        relation: whole.to_owned(),
                        bytes: None,
                        ..child.table.clone()
                    },
                });
                add_condition(child, &all("NOT NULL", " AND "));
            }
            children.extend(nulls.map(|table| Node {
                table: Relation {
                    condition: Some(all("NULL", " OR ")),
                    is_of_nulls: true,
                    bytes: None,
                    ..table
                },
                bound: Some(Bound::Default),
                level: None,
            }));
        }
        Level {
            strategy: self.strategy,
            columns: self.columns.iter().map(|column| column.key.clone()).collect(),
            plain: true,
            children,
        }
    }
}

/// Only rows with `condition` are of `node`.
fn add_condition(node: &mut Node<Relation>, condition: &str) {
    node.table.condition = Some(match node.table.condition.take() {
        Some(known) => format!("{known} AND {condition}"),
        None => condition.to_owned(),
    });
    for child in node.level.iter_mut().flat_map(|level| &mut level.children) {
        add_condition(child, condition);
    }
}

/// Sizes of partitions and what is below them; none where the server does not tell. VACUUM alone counts their pages.
fn sizes(db: &mut dyn Database, found: &Found) -> Result<HashMap<u32, i64>> {
    if !db.server().has_function("pg_partition_size") {
        return Ok(HashMap::new());
    }
    let oid = found.oid;
    let rows = db.query(&format!(
        "SELECT p.oid, pg_partition_size(CAST({oid} AS oid), p.oid) FROM pg_partition p
         WHERE ({}) OR ({})",
        scope(oid, false),
        scope(oid, true)
    ))?;
    let size = |row: &Row| Some((row.number(0)?, row.number(1).filter(|&size: &i64| size > 0)?));
    Ok(rows.iter().filter_map(size).collect())
}

/// Whether a catalog has a column that not every release of this family has; false of other families.
pub fn has_column(db: &mut dyn Database, catalog: &str, column: &str) -> Result<bool> {
    if db.server().catalog != Catalog::OpenGauss {
        return Ok(false);
    }
    let rows = db.query(&format!(
        "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'pg_catalog' AND c.relname = '{catalog}' AND a.attname = '{column}'"
    ))?;
    Ok(rows.first().and_then(|row| row.text(0)) == Some("1"))
}

/// Both levels of a table, as far as it has them.
fn levels(db: &mut dyn Database, oid: u32) -> Result<(Option<Told>, Option<Told>)> {
    // Since 3.1 a key may be an expression.
    let is_expression = match has_column(db, "pg_partition", "partkeyexpr")? {
        true => "p.partkeyexpr IS NOT NULL",
        false => "false",
    };
    let top = db.query(&format!(
        "SELECT CAST(p.partstrategy AS text), CAST(p.partkey AS text), {is_expression}, p.interval[1]
         FROM pg_partition p WHERE p.parentid = {oid} AND p.parttype = 'r'"
    ))?;
    if top.is_empty() {
        return Ok((None, None));
    }
    let below = db.query(&format!(
        "SELECT DISTINCT CAST(s.partstrategy AS text), CAST(p.partkey AS text), {is_expression}, CAST(NULL AS text)
         FROM pg_partition p JOIN pg_partition s ON s.parentid = p.oid AND s.parttype = 's'
         WHERE p.parentid = {oid} AND p.parttype = 'p'"
    ))?;
    let below = match below.as_slice() {
        [] => None,
        [one] => Some(key(db, oid, one)?),
        _ => Some(Err("of several kinds".to_owned())),
    };
    Ok((Some(key(db, oid, &top[0])?), below))
}

/// From a row of strategy, numbers of columns, whether the key is an expression, interval.
fn key(db: &mut dyn Database, oid: u32, row: &Row) -> Result<Told> {
    let numbers = row.owned(1).unwrap_or_default();
    let numbers: Vec<i32> = numbers.split(' ').filter_map(|number| number.parse().ok()).collect();
    let strategy = match row.string(0)?.as_str() {
        "r" | "i" => Strategy::Range,
        "l" if numbers.len() > 1 => return Ok(Err("by LIST on several columns".to_owned())),
        "l" => Strategy::List,
        "h" => return Ok(Err("by HASH".to_owned())),
        _ => return Ok(Err("of a kind that PostgreSQL lacks".to_owned())),
    };
    if row.is(2) {
        return Ok(Err("by an expression".to_owned()));
    }
    let known = columns(db, oid)?;
    let mut columns = Vec::with_capacity(numbers.len());
    for number in numbers {
        match known.get(&number) {
            Some(column) => columns.push(column.clone()),
            None => return Ok(Err("by a type of somebody's own".to_owned())),
        }
    }
    if columns.is_empty() {
        return Ok(Err("of a kind that PostgreSQL lacks".to_owned()));
    }
    Ok(Ok(Key {
        strategy,
        columns,
        step: row.owned(3),
    }))
}

/// The table's columns of built-in types, by number.
fn columns(db: &mut dyn Database, oid: u32) -> Result<HashMap<i32, Column>> {
    let version = db.server().version;
    let rows = db.query(&format!(
        "SELECT a.attnum, a.attname, a.atttypid, y.typname, {}, a.atttypmod, a.attnotnull
         FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid {}
         WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped AND y.oid < 10000",
        collation::sql(version),
        collation_join(version, "a.attcollation"),
        oid,
    ))?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        let type_oid: u32 = row.need(2)?;
        let (type_name, modifier) = (row.string(3)?, row.number(5).unwrap_or(-1));
        let here = counterpart_of(type_oid);
        let column = Column {
            type_sql: match type_name.as_str() {
                "bpchar" => "text".to_owned(),
                other => quote_ident(other),
            },
            key: KeyColumn {
                name: row.string(1)?,
                type_oid: here.map_or(type_oid, |here| here.oid),
                type_name: here.map_or(type_name, |here| here.name.to_owned()),
                modifier: here.map_or(modifier, |here| here.modifier(modifier)),
                collation: row.text(4).and_then(Collation::parse),
                ..KeyColumn::default()
            },
            type_oid,
            not_null: row.is(6),
        };
        known.insert(row.need(0)?, column);
    }
    Ok(known)
}
