//! PostgreSQL 10 and later, Greenplum 7, Cloudberry: pg_partitioned_table, pg_inherits and relpartbound.

use super::table::{BYTES, Found, tree_sql};
use super::trust::Trust;
use super::{Database, keys};
use crate::error::Result;
use crate::plan::bound::Bound;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::tables::Relation;
use crate::plan::tree::{Node, NodeRow, assemble};

/// The tree below a table; None when it is not partitioned. pg_get_expr is given no relation: a bound needs none, and it would wait for
/// whoever has that one locked.
pub fn tree(db: &mut dyn Database, found: &Found, trust: Trust) -> Result<Option<Node<Relation>>> {
    if found.kind != "p" {
        return Ok(None);
    }
    let tree = tree_sql(found.oid);
    let mut levels = keys::levels(db, &tree, trust)?;
    let rows = db.query(&format!(
        "{tree}
         SELECT tree.oid, tree.parent, n.nspname, c.relname, pg_get_expr(c.relpartbound, 0),
                has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), {BYTES}, c.relkind
         FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
         WHERE tree.parent IS NULL OR c.relpartbound IS NOT NULL"
    ))?;
    let mut nodes = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, parent): (u32, Option<u32>) = (row.need(0)?, row.get(1)?);
        let (schema, name) = (row.name(2)?, row.name(3)?);
        let bound = row.text(4).filter(|_| parent.is_some());
        nodes.push(NodeRow {
            id,
            parent,
            node: Node {
                table: Relation {
                    oid: id,
                    relation: quote_qualified(&schema, &name),
                    name,
                    foreign: row.text(7) == Some("f"),
                    // The root has been found readable, be it only some of its columns.
                    readable: parent.is_none() || row.is(5),
                    bytes: row.number(6),
                    // What is written is looked at again by it; at the other end it would only be held.
                    bound: bound.filter(|_| trust != Trust::Everybody).map(str::to_owned),
                    ..Relation::default()
                },
                bound: bound.map(Bound::parse).transpose()?,
                level: levels.remove(&id),
            },
        });
    }
    Ok(assemble(nodes))
}
