//! Columns that are not copied are filled as an INSERT through the table of the call fills them:
//! with that table's default, and not with the one that a partition may have for INSERTs of its
//! own.

use super::catalog::TREE;
use crate::error::{Error, Result};
use crate::pg::session::VERSION;
use crate::pg::spi;

/// Before 17 an identity belongs to one table: a partition has none, or one of its own, which
/// counts by itself.
const IDENTITY_DIFFERS: &str = if VERSION >= 170_000 {
    "o.attidentity <> a.attidentity"
} else {
    "(o.attidentity <> '' OR a.attidentity <> '')"
};

/// The columns of table $1, a, that are neither copied (those in $2 are) nor generated, beside
/// those of a partition of its, o. Defaults name no columns, so their text is the same for both if
/// they are. Where an INSERT through the table can only fail, since the column is a partition's
/// identity and has no default in the table, the partition's fills it.
fn differing(partitions: &str) -> String {
    format!(
        "FROM pg_attribute a
         LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
         JOIN pg_attribute o ON o.attrelid IN ({partitions}) AND o.attname = a.attname
         LEFT JOIN pg_attrdef od ON od.adrelid = o.attrelid AND od.adnum = o.attnum
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           AND o.attrelid <> a.attrelid AND o.attnum > 0 AND NOT o.attisdropped AND o.attgenerated = ''
           AND NOT to_jsonb(a.attname::text) <@ $2::jsonb
           AND (o.attidentity = '' OR a.attidentity <> '' OR ad.adbin IS NOT NULL)
           AND ({IDENTITY_DIFFERS} OR pg_get_expr(od.adbin, 0) IS DISTINCT FROM pg_get_expr(ad.adbin, 0))"
    )
}

fn json(columns: &[String]) -> Result<String> {
    serde_json::to_string(columns).map_err(|e| Error::internal(e.to_string()))
}

/// Whether some column of `table` is neither generated nor among the copied `columns`. Only then
/// the other two have anything to say.
pub fn leaves_out(table: u32, columns: &[String]) -> Result<bool> {
    let rows = spi::execute(
        "SELECT FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           AND NOT to_jsonb(a.attname::text) <@ $2::jsonb LIMIT 1",
        &[Some(&table.to_string()), Some(&json(columns)?)],
    )?;
    Ok(!rows.is_empty())
}

/// Columns of partition `unit` that are neither copied nor generated and have another default than
/// in `table`, or none, or have one where the table has none; in the order of the table.
pub fn of_unit(table: u32, unit: u32, columns: &[String]) -> Result<Vec<String>> {
    if unit == table {
        return Ok(Vec::new());
    }
    let rows = spi::execute(
        &format!("SELECT a.attname {} ORDER BY a.attnum", differing("$3::oid")),
        &[Some(&table.to_string()), Some(&json(columns)?), Some(&unit.to_string())],
    )?;
    rows.iter().map(|row| row.string(0)).collect()
}

/// Whether any partition of `table` has such a column.
pub fn of_any_unit(table: u32, columns: &[String]) -> Result<bool> {
    let leaves = "SELECT tree.oid FROM tree JOIN pg_class c ON c.oid = tree.oid WHERE c.relkind <> 'p'";
    let rows = spi::execute(
        &format!("{TREE} SELECT {} LIMIT 1", differing(leaves)),
        &[Some(&table.to_string()), Some(&json(columns)?)],
    )?;
    Ok(!rows.is_empty())
}
