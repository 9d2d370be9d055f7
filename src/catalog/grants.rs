//! What roles may do with a table, so that a new partition can be given the same.

use super::Database;
use super::table::heirs_sql;
use crate::error::Result;
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::row::Row;

/// The statements that give `table` the grants that partition `beside` has, both quoted and qualified; `is_leaf`: where
/// that one has partitions of its own, those of its first leaf. None where rows of that one are hidden from some by
/// row-level security, which the new partition does not have.
pub fn like(db: &mut dyn Database, beside: &str, is_leaf: bool, table: &str) -> Result<Vec<String>> {
    // By its number: on Greenplum 6 a question within the question would be asked for each row of a catalog.
    let root = format!("CAST({} AS regclass)", quote_literal(beside));
    let only_leaves = match is_leaf {
        true => "WHERE NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = tree.oid)",
        false => "WHERE tree.parent IS NULL",
    };
    let tree = heirs_sql(&root, db.server().is_declarative());
    let rows = db.query(&format!(
        "{tree} SELECT tree.oid FROM tree {only_leaves} ORDER BY tree.oid LIMIT 1"
    ))?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let like: u32 = row.need(0)?;
    let hides = match db.server().version >= 90_500 {
        true => "c.relrowsecurity",
        false => "false",
    };
    let rows = db.query(&format!(
        "SELECT a.privilege_type, g.rolname, a.is_grantable, NULL AS attname
         FROM (SELECT c.relowner, (aclexplode(c.relacl)).* FROM pg_class c WHERE c.oid = {like} AND NOT {hides}) a
         LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> a.relowner AND (a.grantee = 0 OR g.oid IS NOT NULL)
         UNION ALL
         SELECT a.privilege_type, g.rolname, a.is_grantable, a.attname
         FROM (SELECT c.relowner, t.attname, (aclexplode(t.attacl)).* FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
               WHERE c.oid = {like} AND t.attnum > 0 AND NOT t.attisdropped AND NOT {hides}) a
         LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> a.relowner AND (a.grantee = 0 OR g.oid IS NOT NULL)
         ORDER BY 2, 4, 1"
    ))?;
    rows.iter().map(|row| grant(row, table)).collect()
}

fn grant(row: &Row, table: &str) -> Result<String> {
    let columns = row
        .text(3)
        .map_or(String::new(), |column| format!(" ({})", quote_ident(column)));
    // What was granted to no role was granted to all.
    let to = row.text(1).map_or("PUBLIC".to_owned(), quote_ident);
    let option = if row.is(2) { " WITH GRANT OPTION" } else { "" };
    Ok(format!("GRANT {}{columns} ON {table} TO {to}{option}", row.string(0)?))
}
