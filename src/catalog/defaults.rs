//! Columns that are not copied are filled as an INSERT through the table of the call fills them: with that table's default, and not with
//! the one that a partition may have for INSERTs of its own.

use super::Database;
use super::server::Server;
use super::table::tree_below;
use crate::error::Result;
use crate::plan::copy_sql::quote_literal;

/// The columns of `table`, a, that are neither copied (those in `columns` are) nor generated, beside those of a partition of its, o. Defaults
/// name no columns, so their text is the same for both if they are. Where an INSERT through the table can only fail, since the column
/// is a partition's identity and has no default in the table, the partition's fills it.
fn differing(server: &Server, table: u32, partitions: &str, columns: &[String]) -> String {
    let version = server.version;
    // Before 17 an identity belongs to one table: a partition has none, or one of its own, which counts by itself.
    let (identity_differs, is_filled) = match server.is_declarative() {
        true if version >= 170_000 => ("o.attidentity <> a.attidentity", IS_FILLED),
        true => ("(o.attidentity <> '' OR a.attidentity <> '')", IS_FILLED),
        false => ("false", "true"),
    };
    format!(
        "FROM pg_attribute a
         LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
         JOIN pg_attribute o ON o.attrelid IN ({partitions}) AND o.attname = a.attname
         LEFT JOIN pg_attrdef od ON od.adrelid = o.attrelid AND od.adnum = o.attnum
         WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped AND {}
           AND o.attrelid <> a.attrelid AND o.attnum > 0 AND NOT o.attisdropped AND {}
           {}
           AND {is_filled}
           AND ({identity_differs} OR pg_get_expr(od.adbin, 0) IS DISTINCT FROM pg_get_expr(ad.adbin, 0))",
        is_written(version, "a"),
        is_written(version, "o"),
        is_left_out(columns),
    )
}

const IS_FILLED: &str = "(o.attidentity = '' OR a.attidentity <> '' OR ad.adbin IS NOT NULL)";

/// Attribute `a` is not generated.
fn is_written(version: u32, a: &str) -> String {
    match version {
        120_000.. => format!("{a}.attgenerated = ''"),
        _ => "true".to_owned(),
    }
}

/// Attribute a is not among the copied columns.
fn is_left_out(columns: &[String]) -> String {
    let list: Vec<String> = columns.iter().map(|column| quote_literal(column)).collect();
    match list.is_empty() {
        true => String::new(),
        false => format!("AND CAST(a.attname AS text) NOT IN ({})", list.join(", ")),
    }
}

/// Whether some column of `table` is neither generated nor among the copied `columns`. Only then the other two have anything to say.
pub fn leaves_out(db: &mut dyn Database, table: u32, columns: &[String]) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM pg_attribute a WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped AND {} {} LIMIT 1",
        is_written(db.server().version, "a"),
        is_left_out(columns)
    );
    Ok(!db.query(&sql)?.is_empty())
}

/// Columns of partition `unit` that are neither copied nor generated and have another default than in `table`, or none, or have one where
/// the table has none; in the order of the table.
pub fn of_unit(db: &mut dyn Database, table: u32, unit: u32, columns: &[String]) -> Result<Vec<String>> {
    if unit == table {
        return Ok(Vec::new());
    }
    let differing = differing(db.server(), table, &unit.to_string(), columns);
    let rows = db.query(&format!("SELECT a.attname {differing} ORDER BY a.attnum"))?;
    rows.iter().map(|row| row.string(0)).collect()
}

/// Whether any partition of `table` has such a column.
pub fn of_any_unit(db: &mut dyn Database, table: u32, columns: &[String]) -> Result<bool> {
    let leaves = "SELECT tree.oid FROM tree JOIN pg_class c ON c.oid = tree.oid WHERE c.relkind <> 'p'";
    let sql = format!(
        "{} SELECT 1 {} LIMIT 1",
        tree_below(db.server(), table),
        differing(db.server(), table, leaves, columns)
    );
    Ok(!db.query(&sql)?.is_empty())
}
