//! Statistics of what was loaded, and of the partitioned tables above it.

use super::{facts, own_code};
use crate::error::{Error, Result, sqlstate};
use crate::pg::{analyze, backend, relation, spi};

/// Gathers statistics of the unit, if the role may and nobody else is at it. An owner may; since 17 there is a privilege for it as well.
pub fn analyze(unit: u32) -> Result<()> {
    if may_analyze(unit)? {
        let name = facts::qualified_name(unit)?;
        // Functions in indexes and extended statistics run.
        let path = own_code::path_of_indexes(facts::needs(unit)?.is_own);
        backend::with_path(&path, || spi::execute(&format!("ANALYZE (SKIP_LOCKED) {name}"), &[]))?;
    }
    Ok(())
}

/// The partitioned tables above units, from the lowest.
pub fn parents_of_all(units: &[u32]) -> Result<Vec<u32>> {
    let rows = facts::ask(
        "SELECT p.oid FROM (SELECT DISTINCT a.relid::oid AS oid
                             FROM unnest($1::oid[]) AS u(oid), pg_partition_ancestors(u.oid::regclass) AS a(relid)
                             WHERE a.relid <> u.oid) p
         ORDER BY (SELECT count(*) FROM pg_partition_ancestors(p.oid::regclass)) DESC, 1",
        &[Some(&facts::array(units))],
    )?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// Gathers statistics of a partitioned table alone, if the role may and nobody else is at it. It waits for nobody: an error if anything below it
/// is locked against readers, or is a foreign partition, whose server would be asked.
pub fn analyze_parent(table: u32) -> Result<()> {
    if !may_analyze(table)? {
        return Ok(());
    }
    // pg_partition_tree would wait for what is locked.
    let below = facts::ask(
        "WITH RECURSIVE tree(oid, level) AS (
           SELECT $1::oid, 0 UNION ALL SELECT i.inhrelid, t.level + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid)
         SELECT c.oid, c.relkind = 'f', c.relname FROM tree t JOIN pg_class c ON c.oid = t.oid ORDER BY t.level, c.oid",
        &[Some(&table.to_string())],
    )?;
    if below.iter().any(|row| row.is(1)) {
        return Err(Error::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "it has foreign partitions, whose servers ANALYZE would ask",
        ));
    }
    for row in &below {
        if !relation::try_lock(row.need(0)?) {
            let message = format!("{} is locked", row.string(2)?);
            return Err(Error::new(sqlstate::LOCK_NOT_AVAILABLE, message));
        }
    }
    let path = own_code::path_of_indexes(facts::needs(table)?.is_own);
    let name = facts::qualified_name(table)?;
    backend::with_path(&path, || analyze::analyze_alone(table, &name))
}

fn may_analyze(table: u32) -> Result<bool> {
    let may = backend::MAY_MAINTAIN;
    let rows = facts::ask(
        &format!(
            "SELECT {may} OR (pg_has_role(d.datdba, 'USAGE') AND NOT c.relisshared)
             FROM pg_class c JOIN pg_database d ON d.datname = current_database() WHERE c.oid = $1::oid"
        ),
        &[Some(&table.to_string())],
    )?;
    Ok(rows.first().is_some_and(|row| row.is(0)))
}
