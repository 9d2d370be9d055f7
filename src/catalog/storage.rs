//! Where and how a table's rows are kept: told, and copied between servers with segments.

use super::Database;
use super::server::{Catalog, Product};
use super::table::Found;
use crate::error::Result;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::distribution::{Distribution, TableStorage};
use crate::plan::new_table::Definition;

/// How Greenplum and its forks spread rows over segments: gp_distribution_policy has a column attrnums before 6, distkey and policytype since.
pub fn distribution(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    if db.server().product == Product::PostgreSql {
        return Ok(());
    }
    let rows = db.query(
        "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'pg_catalog' AND c.relname = 'gp_distribution_policy' AND a.attname IN ('attrnums', 'distkey', 'policytype', 'distclass')
         ORDER BY 1",
    )?;
    let has = |name: &str| rows.iter().any(|row| row.text(0) == Some(name));
    let key = match (has("distkey"), has("attrnums")) {
        (true, _) => "distkey",
        (false, true) => "attrnums",
        _ => return Ok(()),
    };
    let classes = if has("distclass") {
        "d.distclass"
    } else {
        "CAST(NULL AS text)"
    };
    let policy = if has("policytype") { "d.policytype" } else { "'p'" };
    let rows = db.query(&format!(
        "SELECT {policy}, d.{key}, a.attnum, a.attname, {classes} FROM gp_distribution_policy d
         LEFT JOIN pg_attribute a ON a.attrelid = d.localoid AND a.attnum > 0 WHERE d.localoid = {}",
        found.oid
    ))?;
    let Some(first) = rows.first() else { return Ok(()) };
    // `1 3`, `{1,3}` or null.
    let numbers = first.owned(1).unwrap_or_default();
    let numbers = numbers.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    let name = |number: &str| {
        let row = rows.iter().find(|row| row.text(2) == Some(number))?;
        row.owned(3)
    };
    let names: Vec<String> = numbers.filter_map(name).collect();
    let classes = own_classes(db, first.text(4).unwrap_or_default())?;
    let names: Vec<(String, Option<String>)> = names
        .into_iter()
        .zip(classes.into_iter().chain(std::iter::repeat(None)))
        .collect();
    definition.distribution = Some(match (first.string(0)?.as_str(), names.is_empty()) {
        ("r", _) => Distribution::Replicated,
        (_, true) => Distribution::Randomly,
        (_, false) => Distribution::By(names),
    });
    Ok(())
}

/// Names of operator classes, whose OIDs are in `list`, as far as they are built in and not what a column has without being told.
fn own_classes(db: &mut dyn Database, list: &str) -> Result<Vec<Option<String>>> {
    let oids: Vec<u32> = list.split(' ').filter_map(|oid| oid.parse().ok()).collect();
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = oids.iter().map(u32::to_string).collect();
    let rows = db.query(&format!(
        "SELECT o.oid, o.opcname FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace
         WHERE o.oid IN ({}) AND NOT o.opcdefault AND n.nspname = 'pg_catalog'",
        texts.join(", ")
    ))?;
    let name = |oid: &u32| {
        rows.iter()
            .find(|row| row.number(0) == Some(*oid))
            .and_then(|row| row.owned(1))
    };
    Ok(oids.iter().map(name).collect())
}

/// Access method, storage parameters, tablespace, UNLOGGED.
pub fn storage(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let version = db.server().version;
    let method = if db.server().is_declarative() && version >= 120_000 {
        "(SELECT m.amname FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap')"
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
        "{tree} SELECT c.relname, n.nspname, {method}, array_to_string(c.reloptions, ', '),
           (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace), {unlogged}
         FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         ORDER BY tree.parent IS NOT NULL, c.relname"
    ))?;
    for row in &rows {
        let (name, schema) = (row.string(0)?, row.string(1)?);
        let relation = quote_qualified(&schema, &name);
        let options = row.filled(3);
        let options = options.iter().flat_map(|options| options.split(", "));
        let mut options: Vec<String> = options.map(str::to_owned).collect();
        if db.server().catalog == Catalog::OpenGauss {
            leave_out_options(&relation, std::mem::take(&mut options), definition);
        }
        definition.storage.push(TableStorage {
            relation,
            name,
            method: row.filled(2),
            options,
            tablespace: row.filled(4),
            unlogged: row.is(5),
        });
    }
    match definition.storage.first() {
        Some(root) if root.is_by_columns() => encodings(db, found, definition),
        _ => Ok(()),
    }
}

/// openGauss has names of its own for what it keeps otherwise, and says of every table what it keeps as usual.
fn leave_out_options(relation: &str, options: Vec<String>, definition: &mut Definition) {
    let is_usual = |option: &String| matches!(option.as_str(), "orientation=row" | "compression=no");
    let (policies, options): (Vec<String>, Vec<String>) =
        options.into_iter().partition(|option| option.contains("_rowsecurity="));
    if !policies.is_empty() {
        definition
            .left_out
            .push(format!("row level security of {relation} is not copied"));
    }
    let told: Vec<String> = options.into_iter().filter(|option| !is_usual(option)).collect();
    if !told.is_empty() {
        let what = format!("storage of {relation} is not copied: WITH ({})", told.join(", "));
        definition.left_out.push(what);
    }
}

/// How each column is stored.
fn encodings(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let rows = db.query(&format!(
        "SELECT a.attname, array_to_string(e.attoptions, ', ') FROM pg_attribute_encoding e
         JOIN pg_attribute a ON a.attrelid = e.attrelid AND a.attnum = e.attnum WHERE e.attrelid = {}",
        found.oid
    ))?;
    for row in &rows {
        let (name, options) = (row.name(0)?, row.filled(1).unwrap_or_default());
        let column = definition.columns.iter_mut().find(|column| column.name == name);
        if let Some(column) = column.filter(|_| !options.is_empty()) {
            column.encoding = options.split(", ").map(str::to_owned).collect();
        }
    }
    Ok(())
}
