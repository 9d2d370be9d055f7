//! openGauss and GaussDB: pg_partition describes partitions that are no tables of their own (src/include/catalog/pg_partition.h there). Rows are
//! read through the table, which prunes by the predicate; the catalog tells sizes, and partitions that the target lacks.

use super::Database;
use super::table::{Found, collation_join};
use crate::error::Result;
use crate::plan::bound::{Bound, End};
use crate::plan::collation::{self, Collation};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::key::KeyColumn;
use crate::plan::tables::Relation;
use crate::plan::tree::{Level, Node, Strategy};
use crate::row::Row;

/// The tree below a table that is partitioned by RANGE, interval or LIST on one column; None for any other.
pub fn tree(db: &mut dyn Database, found: &Found) -> Result<Option<Node<Relation>>> {
    let Some(key) = key(db, found)? else {
        return Ok(None);
    };
    let rows = partitions(db, found, &key)?;
    let mut children: Vec<Node<Relation>> = Vec::new();
    let mut reached = End::Min;
    for row in &rows {
        let (name, value) = (row.name(0)?, row.owned(2));
        if let (Strategy::List, Some(last)) = (key.strategy, children.last_mut())
            && last.table.name == name
            && let Some(Bound::List(values)) = &mut last.bound
        {
            values.push(value);
            continue;
        }
        let bound = match key.strategy {
            Strategy::Range => {
                let upper = value.map_or(End::Max, End::Value);
                let before = std::mem::replace(&mut reached, upper.clone());
                let from = row.owned(4).map_or(before, End::Value);
                Bound::Range(vec![from], vec![upper])
            }
            // DEFAULT is kept as a single null.
            _ if value.is_none() => Bound::Default,
            _ => Bound::List(vec![value]),
        };
        children.push(Node {
            table: Relation {
                oid: found.oid,
                relation: format!("{} partition {}", found.relation(), quote_ident(&name)),
                name,
                // It has no name that a SELECT could use everywhere; the table with the predicate has.
                readable: false,
                bytes: row.number(3).filter(|&bytes: &i64| bytes > 0),
                ..Relation::default()
            },
            bound: Some(bound),
            level: None,
        });
    }
    Ok(Some(found.node(Some(Level {
        strategy: key.strategy,
        columns: vec![key.column],
        plain: true,
        children,
    }))))
}

/// What a table is partitioned by.
struct Key {
    strategy: Strategy,
    column: KeyColumn,
    /// how its type is named in an expression
    type_sql: String,
    /// what a partition that was added by an interval spans
    step: Option<String>,
}

fn key(db: &mut dyn Database, found: &Found) -> Result<Option<Key>> {
    let version = db.server().version;
    let keys = db.query(&format!(
        "SELECT p.partstrategy, a.attname, a.atttypid, y.typname, {}, p.interval[1], a.atttypmod
         FROM pg_partition p JOIN pg_attribute a ON a.attrelid = p.parentid AND a.attnum = p.partkey[0]
         JOIN pg_type y ON y.oid = a.atttypid {}
         WHERE p.parentid = {} AND p.parttype = 'r' AND array_upper(p.partkey, 1) = 0 AND y.oid < 10000",
        collation::sql(version),
        collation_join(version, "a.attcollation"),
        found.oid,
    ))?;
    let Some(key) = keys.first() else {
        return Ok(None);
    };
    let strategy = match key.string(0)?.as_str() {
        "r" | "i" => Strategy::Range,
        "l" => Strategy::List,
        _ => return Ok(None),
    };
    let type_name = key.string(3)?;
    Ok(Some(Key {
        strategy,
        type_sql: match type_name.as_str() {
            "bpchar" => "text".to_owned(),
            other => quote_ident(other),
        },
        column: KeyColumn {
            name: key.string(1)?,
            expression: false,
            type_oid: key.number(2).unwrap_or(0),
            type_name,
            modifier: key.number(6).unwrap_or(-1),
            collation: key.text(4).and_then(Collation::parse),
            ..KeyColumn::default()
        },
        step: key.owned(5),
    }))
}

/// Partitions with their boundaries, in order: name, number and text of the boundary, size, lower end. A partition's boundary is its upper
/// end, null for MAXVALUE; its lower end is the one before. The source orders them.
fn partitions(db: &mut dyn Database, found: &Found, key: &Key) -> Result<Vec<Row>> {
    let type_sql = &key.type_sql;
    // One that was added by an interval reaches down no further than that.
    let lower = match &key.step {
        Some(step) => format!(
            "CASE WHEN p.partstrategy = 'i'
                  THEN CAST(CAST(CAST(p.boundaries[1] AS {type_sql}) - CAST({} AS interval) AS {type_sql}) AS text) END",
            quote_literal(step)
        ),
        None => "NULL".to_owned(),
    };
    let order = match key.strategy {
        Strategy::Range => format!("CAST(p.boundaries[1] AS {type_sql}) NULLS LAST"),
        _ => "p.relname".to_owned(),
    };
    db.query(&format!(
        "SELECT p.relname, b.n, CAST(CAST(p.boundaries[b.n] AS {type_sql}) AS text),
                CAST(p.relpages * CAST(current_setting('block_size') AS bigint) AS bigint), {lower}
         FROM pg_partition p, generate_series(1, 1000) AS b(n)
         WHERE p.parentid = {} AND p.parttype = 'p' AND b.n <= array_upper(p.boundaries, 1)
         ORDER BY {order}, p.relname, b.n",
        found.oid,
    ))
}
