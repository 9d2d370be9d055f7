//! Adding and dropping partitions of Greenplum 6, where the table above all is altered.

use super::portrait::{self, gone};
use super::{Remote, staging};
use crate::catalog::Database;
use crate::catalog::table::heirs_sql;
use crate::error::{Error, Result};
use crate::plan::classic::{Added, DefaultPartition, add_sql};
use crate::plan::copy_sql::{quote_literal, quote_qualified};
use crate::plan::creation::Creation;
use crate::plan::exchange::Described;
use crate::plan::exchange::clauses::storage_of;
use crate::plan::exchange::steps;
use crate::targets::loading::Limits;
use crate::wire::Session;

/// Adds a partition to its table, or splits it off the default partition beside it. Inside a transaction.
pub fn add(remote: &Remote, session: &mut Session, creation: &Creation, added: &Added, limits: Limits) -> Result<()> {
    let parent = &creation.parent_name;
    let above = portrait::describe(session, parent)?.ok_or_else(|| gone(parent, remote.server()))?;
    let beside = stored_like(session, creation)?;
    let default = default_partition(session, creation.parent)?;
    let below = match has_template(session, remote.root_there()?, above.place.steps.len() + 1)? {
        // What the template makes is the table's own wish; the source's others are added one by one then.
        true => None,
        false => added.below.as_deref(),
    };
    let storage = beside.as_ref().map_or_else(String::new, storage_of);
    let root = above.place.parents.last().unwrap_or(parent);
    let sql = add_sql(root, &above.place.steps, added, default.as_ref(), &storage, below)?;
    lock(session, &above, parent, limits)?;
    session.batch(&format!("{}; {sql}", session.server().plain_tables_sql()))
}

/// The partition, without partitions of its own, that one which is created is stored like; none where nothing has to be said of that.
pub fn stored_like(session: &mut Session, creation: &Creation) -> Result<Option<Described>> {
    let Some(beside) = creation.beside.as_ref().filter(|_| session.server().is_greenplum()) else {
        return Ok(None);
    };
    let tree = heirs_sql(
        &format!("CAST({} AS regclass)", quote_literal(beside)),
        session.server().is_declarative(),
    );
    let rows = session.query(&format!(
        "{tree} SELECT n.nspname, c.relname FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) ORDER BY c.oid LIMIT 1"
    ))?;
    match rows.first() {
        Some(row) => portrait::describe(session, &quote_qualified(&row.string(0)?, &row.string(1)?)),
        None => Ok(None),
    }
}

/// Drops a partition, which was found to be the one that is meant. Inside a transaction.
pub fn drop(session: &mut Session, unit: &Described, name: &str, limits: Limits) -> Result<()> {
    let root = unit.place.parents.last().map_or(name, String::as_str);
    let way = steps::way(root, &unit.place.steps);
    let (alter, called) =
        way.ok_or_else(|| Error::unsupported("no name, rank or value tells the partition from others"))?;
    lock(session, unit, name, limits)?;
    session.batch(&format!("{alter} DROP PARTITION {called}"))
}

fn lock(session: &mut Session, table: &Described, name: &str, limits: Limits) -> Result<()> {
    let tables = table.place.parents.len() as u32 + 1;
    staging::until_locked(session, &table.place.lock_from_the_top(name), tables, limits)
}

fn default_partition(session: &mut Session, parent: u32) -> Result<Option<DefaultPartition>> {
    let rows = session.query(&format!(
        "SELECT r.parname, EXISTS (SELECT 1 FROM pg_inherits b WHERE b.inhparent = r.parchildrelid)
         FROM pg_partition_rule r JOIN pg_inherits i ON i.inhrelid = r.parchildrelid WHERE r.parisdefault AND i.inhparent = {parent}"
    ))?;
    let one = |row: &crate::row::Row| {
        Ok(DefaultPartition {
            name: row.string(0)?,
            has_parts: row.is(1),
        })
    };
    rows.first().map(one).transpose()
}

/// Whether partitions get their own partitions at `level` from a template.
fn has_template(session: &mut Session, root: u32, level: usize) -> Result<bool> {
    let rows = session.query(&format!(
        "SELECT 1 FROM pg_partition q WHERE q.parrelid = {root} AND q.paristemplate AND q.parlevel = {level}"
    ))?;
    Ok(!rows.is_empty())
}
