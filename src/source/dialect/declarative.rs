//! PostgreSQL 10 and later, Greenplum 7, Cloudberry: pg_partitioned_table, pg_inherits and relpartbound.

use super::table::{self, BYTES, Found, number, text};
use crate::error::{Error, Result};
use crate::plan::bound::Bound;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::tree::{KeyColumn, Level, Node, NodeRow, Strategy, assemble, list_expression};
use crate::plan::units::SourceRel;
use crate::source::{Session, TextRow};
use std::collections::HashMap;

/// Every table below a root, the root first.
pub(super) const TREE: &str = "WITH RECURSIVE tree AS (
    SELECT CAST(@ AS oid) AS oid, CAST(NULL AS oid) AS parent
    UNION ALL
    SELECT i.inhrelid, i.inhparent FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
    WHERE NOT COALESCE(CAST(to_jsonb(i) ->> 'inhdetachpending' AS boolean), false))";

/// The tree below a table. pg_get_expr is given no relation: a bound needs none, and it would wait for whoever has that one locked.
pub fn tree(session: &mut Session, found: &Found) -> Result<Option<Node<SourceRel>>> {
    if found.kind != "p" {
        return Ok(None);
    }
    let tree = TREE.replace('@', &found.oid);
    let mut levels = levels(session, &tree)?;
    let rows = session.query(&format!(
        "{tree}
         SELECT tree.oid, tree.parent, n.nspname, c.relname, pg_get_expr(c.relpartbound, 0),
                has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), {BYTES}
         FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
         WHERE tree.parent IS NULL OR c.relpartbound IS NOT NULL"
    ))?;
    let mut nodes = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, parent) = (text(row, 0)?, row.get(1).cloned().flatten());
        let name = table::name(row, 3)?;
        nodes.push(NodeRow {
            node: Node {
                table: SourceRel {
                    oid: number(row, 0).unwrap_or(0),
                    relation: quote_qualified(&table::name(row, 2)?, &name),
                    name,
                    // The root has been found readable, be it only some of its columns.
                    readable: parent.is_none() || text(row, 5)? == "t",
                    bytes: number(row, 6),
                },
                bound: match row.get(4).and_then(|b| b.as_deref()) {
                    Some(bound) if parent.is_some() => Some(Bound::parse(bound)?),
                    _ => None,
                },
                level: levels.remove(&id),
            },
            id,
            parent,
        });
    }
    Ok(assemble(nodes))
}

/// How each partitioned table of the tree is partitioned. A domain is told as the type below it.
fn levels(session: &mut Session, tree: &str) -> Result<HashMap<String, Level<SourceRel>>> {
    let rows = session.query(&format!(
        "{tree}
         SELECT p.partrelid, p.partstrat, a.attname,
                CASE WHEN p.partnatts = 1 AND p.partattrs[0] = 0 THEN pg_get_partkeydef(p.partrelid) END,
                COALESCE(o.opcdefault AND y.oid IS NOT NULL, false), y.oid, y.typname, {},
                CASE WHEN y.typtype = 'e' THEN
                  (SELECT json_agg(CAST(e.enumlabel AS text) ORDER BY e.enumsortorder)
                   FROM pg_enum e WHERE e.enumtypid = y.oid) END,
                base.typmod
         FROM tree JOIN pg_partitioned_table p ON p.partrelid = tree.oid
         CROSS JOIN LATERAL generate_series(0, p.partnatts - 1) AS k(n)
         LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[k.n]
         LEFT JOIN pg_opclass o ON o.oid = p.partclass[k.n]
         LEFT JOIN LATERAL (
           WITH RECURSIVE below AS (
             SELECT b.oid, b.typtype, b.typbasetype, b.typtypmod, COALESCE(a.atttypmod, -1) AS typmod
             FROM pg_type b WHERE b.oid = COALESCE(a.atttypid, o.opcintype)
             UNION ALL SELECT b.oid, b.typtype, b.typbasetype, b.typtypmod, below.typtypmod
             FROM below JOIN pg_type b ON b.oid = below.typbasetype WHERE below.typtype = 'd')
           SELECT oid, typmod FROM below WHERE typtype NOT IN ('d', 'p')) base ON true
         LEFT JOIN pg_type y ON y.oid = base.oid
         {}
         ORDER BY p.partrelid, k.n",
        table::sorts_by(session),
        table::collation_join(session, "p.partcollation[k.n]"),
    ))?;
    let mut levels = HashMap::new();
    for row in &rows {
        let Some(strategy) = Strategy::from_code(&text(row, 1)?) else {
            continue;
        };
        let level = levels.entry(text(row, 0)?).or_insert_with(|| Level {
            strategy,
            columns: Vec::new(),
            plain: true,
            children: Vec::new(),
        });
        let value = |at: usize| row.get(at).and_then(|value| value.as_deref());
        match (value(2), value(3).and_then(list_expression), text(row, 4)?.as_str()) {
            (Some(name), _, "t") => level.columns.push(key(row, name, false)?),
            (None, Some(expression), "t") => level.columns.push(key(row, expression, true)?),
            _ => level.plain = false,
        }
    }
    for level in levels.values_mut().filter(|level| !level.plain) {
        level.columns.clear();
    }
    Ok(levels)
}

/// A key from a row of `levels`.
fn key(row: &TextRow, name: &str, expression: bool) -> Result<KeyColumn> {
    let labels = row.get(8).and_then(|labels| labels.as_deref());
    let labels = labels.map(serde_json::from_str).transpose();
    Ok(KeyColumn {
        name: name.to_owned(),
        expression,
        type_oid: number(row, 5).unwrap_or(0),
        type_name: text(row, 6)?,
        modifier: number(row, 9).unwrap_or(-1),
        collation: table::collation(row, 7),
        labels: labels
            .map_err(|_| Error::protocol("the source's catalog gave labels of an enum that cannot be read"))?
            .unwrap_or_default(),
        ..KeyColumn::default()
    })
}
