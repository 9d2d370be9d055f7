//! What roles may do with a table, so that a new partition can be given the same.

use super::Database;
use crate::error::Result;
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::row::Row;

/// The statements that give `table` the grants that partition `beside` has, both quoted and qualified; `is_leaf`: where that one has partitions of its own, those of its first leaf. None
/// where rows of that one are hidden from some by row-level security, which the new partition does not have.
pub fn like(db: &mut dyn Database, beside: &str, is_leaf: bool, table: &str) -> Result<Vec<String>> {
    let own = format!("CAST({} AS regclass)", quote_literal(beside));
    // The first below it that has none below itself.
    let first_leaf = format!(
        "SELECT COALESCE((WITH RECURSIVE tree(oid) AS (
             SELECT CAST({own} AS oid) UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)
           SELECT min(tree.oid) FROM tree WHERE NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = tree.oid)), {own})"
    );
    let like = if is_leaf { format!("({first_leaf})") } else { own };
    let hides = match db.server().version >= 90_500 {
        true => "c.relrowsecurity",
        false => "false",
    };
    let rows = db.query(&format!(
        "SELECT a.privilege_type, g.rolname, a.is_grantable, NULL AS attname
         FROM (SELECT c.relowner, (aclexplode(c.relacl)).* FROM pg_class c WHERE c.oid = {like} AND NOT {hides}) a
         LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> a.relowner
         UNION ALL
         SELECT a.privilege_type, g.rolname, a.is_grantable, a.attname
         FROM (SELECT c.relowner, t.attname, (aclexplode(t.attacl)).* FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
               WHERE c.oid = {like} AND t.attnum > 0 AND NOT t.attisdropped AND NOT {hides}) a
         LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> a.relowner
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
