//! Where and how a table's rows are kept, which is told and not copied.

use super::Database;
use super::server::Product;
use super::table::Found;
use crate::error::Result;
use crate::plan::copy_sql::quote_ident;
use crate::plan::new_table::{Definition, storage_remarks};

/// How Greenplum and its forks spread rows over segments: gp_distribution_policy has a column attrnums before 6, distkey and policytype since.
pub fn distribution(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    if db.server().product == Product::PostgreSql {
        return Ok(());
    }
    let rows = db.query(
        "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'pg_catalog' AND c.relname = 'gp_distribution_policy' AND a.attname IN ('attrnums', 'distkey', 'policytype')
         ORDER BY 1",
    )?;
    let has = |name: &str| rows.iter().any(|row| row.text(0) == Some(name));
    let key = match (has("distkey"), has("attrnums")) {
        (true, _) => "distkey",
        (false, true) => "attrnums",
        _ => return Ok(()),
    };
    let policy = if has("policytype") { "d.policytype" } else { "'p'" };
    let rows = db.query(&format!(
        "SELECT {policy}, d.{key}, a.attnum, a.attname FROM gp_distribution_policy d
         LEFT JOIN pg_attribute a ON a.attrelid = d.localoid AND a.attnum > 0 WHERE d.localoid = {}",
        found.oid
    ))?;
    let Some(first) = rows.first() else { return Ok(()) };
    // `1 3`, `{1,3}` or null.
    let numbers = first.owned(1).unwrap_or_default();
    let numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    let name = |number: &str| {
        let row = rows.iter().find(|row| row.text(2) == Some(number))?;
        row.text(3).map(quote_ident)
    };
    let names: Vec<String> = numbers.filter_map(name).collect();
    let clause = match (first.string(0)?.as_str(), names.is_empty()) {
        ("r", _) => "REPLICATED".to_owned(),
        (_, true) => "RANDOMLY".to_owned(),
        (_, false) => format!("BY ({})", names.join(", ")),
    };
    let what = format!("distribution is not copied: DISTRIBUTED {clause}");
    definition.left_out.push(what);
    Ok(())
}

/// Access method, storage parameters, tablespace, UNLOGGED.
pub fn storage(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let version = db.server().version;
    let method = if db.server().is_declarative() && version >= 120_000 {
        "(SELECT 'USING ' || m.amname FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap')"
    } else {
        "CAST(NULL AS text)"
    };
    let unlogged = if version >= 90_100 {
        "c.relpersistence = 'u'"
    } else {
        "false"
    };
    let tree = found.tree(db.server());
    let rows = db.query(&format!(
        "{tree} SELECT c.relname, {method}, array_to_string(c.reloptions, ', '),
           (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace), {unlogged}
         FROM tree JOIN pg_class c ON c.oid = tree.oid ORDER BY tree.parent IS NOT NULL, c.relname"
    ))?;
    let mut tables = Vec::new();
    for row in &rows {
        let unlogged = row.is(4).then(|| "UNLOGGED".to_owned());
        let options = row.filled(2).map(|options| format!("WITH ({options})"));
        let tablespace = row.filled(3).map(|space| format!("TABLESPACE {}", quote_ident(&space)));
        let clauses: Vec<String> = [unlogged, row.filled(1), options, tablespace]
            .into_iter()
            .flatten()
            .collect();
        if !clauses.is_empty() {
            tables.push((row.string(0)?, clauses.join(" ")));
        }
    }
    definition.left_out.extend(storage_remarks(&tables));
    Ok(())
}

/// openGauss: partitions that `opengauss::tree` does not read. Its HASH is not PostgreSQL's, so the table comes without them.
pub fn unread_partitions(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let rows = db.query(&format!(
        "SELECT CAST(partstrategy AS text), array_upper(partkey, 1) > 0,
                EXISTS (SELECT 1 FROM pg_partition s JOIN pg_partition p ON p.oid = s.parentid
                        WHERE p.parentid = {0} AND p.parttype = 'p' AND s.parttype = 's')
         FROM pg_partition WHERE parentid = {0} AND parttype = 'r'",
        found.oid
    ))?;
    for row in &rows {
        let what = match (
            row.string(0)?.as_str(),
            row.string(1)?.as_str(),
            row.string(2)?.as_str(),
        ) {
            ("r" | "i" | "l", "f", "t") => "subpartitions are",
            ("r" | "i" | "l", "f", _) => continue,
            _ => "partitioning by HASH or on several columns is",
        };
        definition.left_out.push(format!("{what} not copied"));
    }
    Ok(())
}
