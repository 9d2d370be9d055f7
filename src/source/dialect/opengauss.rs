//! openGauss and GaussDB: pg_partition describes partitions that are no tables of their own (src/include/catalog/pg_partition.h there). Rows are
//! read through the table, which prunes by the predicate; the catalog tells sizes, and partitions that the target lacks.

use super::table::{self, Found, number, text};
use crate::error::Result;
use crate::plan::bound::{Bound, End};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::tree::{KeyColumn, Level, Node, Strategy};
use crate::plan::units::SourceRel;
use crate::source::Session;

/// The tree below a table that is partitioned by RANGE, interval or LIST on one column; None for any other.
pub fn tree(session: &mut Session, found: &Found) -> Result<Option<Node<SourceRel>>> {
    let keys = session.query(&format!(
        "SELECT p.partstrategy, a.attname, a.atttypid, y.typname, {}, p.interval[1], a.atttypmod
         FROM pg_partition p JOIN pg_attribute a ON a.attrelid = p.parentid AND a.attnum = p.partkey[0]
         JOIN pg_type y ON y.oid = a.atttypid {}
         WHERE p.parentid = {} AND p.parttype = 'r' AND array_upper(p.partkey, 1) = 0 AND y.oid < 10000",
        table::sorts_by(session),
        table::collation_join(session, "a.attcollation"),
        found.oid,
    ))?;
    let Some(key) = keys.first() else {
        return Ok(None);
    };
    let strategy = match text(key, 0)?.as_str() {
        "r" | "i" => Strategy::Range,
        "l" => Strategy::List,
        _ => return Ok(None),
    };
    let column = KeyColumn {
        name: text(key, 1)?,
        expression: false,
        type_oid: number(key, 2).unwrap_or(0),
        type_name: text(key, 3)?,
        modifier: number(key, 6).unwrap_or(-1),
        collation: table::collation(key, 4),
        ..KeyColumn::default()
    };
    // A partition's boundary is its upper end, null for MAXVALUE; its lower end is the one before. The source orders them.
    let type_sql = match column.type_name.as_str() {
        "bpchar" => "text".to_owned(),
        other => quote_ident(other),
    };
    // One that was added by an interval reaches down no further than that.
    let lower = match key.get(5).and_then(|step| step.as_deref()) {
        Some(step) => format!(
            "CASE WHEN p.partstrategy = 'i'
                  THEN CAST(CAST(CAST(p.boundaries[1] AS {type_sql}) - CAST({} AS interval) AS {type_sql}) AS text) END",
            quote_literal(step)
        ),
        None => "NULL".to_owned(),
    };
    let order = match strategy {
        Strategy::Range => format!("CAST(p.boundaries[1] AS {type_sql}) NULLS LAST"),
        _ => "p.relname".to_owned(),
    };
    let rows = session.query(&format!(
        "SELECT p.relname, b.n, CAST(CAST(p.boundaries[b.n] AS {type_sql}) AS text),
                CAST(p.relpages * CAST(current_setting('block_size') AS bigint) AS bigint), {lower}
         FROM pg_partition p, generate_series(1, 1000) AS b(n)
         WHERE p.parentid = {} AND p.parttype = 'p' AND b.n <= array_upper(p.boundaries, 1)
         ORDER BY {order}, p.relname, b.n",
        found.oid,
    ))?;
    let mut children: Vec<Node<SourceRel>> = Vec::new();
    let mut reached = End::Min;
    for row in &rows {
        let name = table::name(row, 0)?;
        let value = row.get(2).cloned().flatten();
        if let (Strategy::List, Some(last)) = (strategy, children.last_mut())
            && last.table.name == name
            && let Some(Bound::List(values)) = &mut last.bound
        {
            values.push(value);
            continue;
        }
        let bound = match strategy {
            Strategy::Range => {
                let upper = value.map_or(End::Max, End::Value);
                let before = std::mem::replace(&mut reached, upper.clone());
                let from = row.get(4).cloned().flatten().map_or(before, End::Value);
                Bound::Range(vec![from], vec![upper])
            }
            // DEFAULT is kept as a single null.
            _ if value.is_none() => Bound::Default,
            _ => Bound::List(vec![value]),
        };
        children.push(Node {
            table: SourceRel {
                oid: found.oid.parse().unwrap_or(0),
                relation: format!("{} partition {}", found.relation(), quote_ident(&name)),
                name,
                // It has no name that a SELECT could use everywhere; the table with the predicate has.
                readable: false,
                bytes: number(row, 3).filter(|&bytes: &i64| bytes > 0),
            },
            bound: Some(bound),
            level: None,
        });
    }
    Ok(Some(Node {
        table: SourceRel {
            oid: found.oid.parse().unwrap_or(0),
            name: found.name.clone(),
            relation: found.relation(),
            readable: true,
            bytes: found.bytes,
        },
        bound: None,
        level: Some(Level {
            strategy,
            columns: vec![column],
            plain: true,
            children,
        }),
    }))
}
