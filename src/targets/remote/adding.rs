//! Adding and dropping partitions of Greenplum 6, where the table above all is altered.

use super::portrait::{self, gone};
use super::{Remote, staging};
use crate::catalog::Database;
use crate::catalog::table::{heirs_sql, tree_below};
use crate::error::{Error, Result};
use crate::plan::classic::{Added, DefaultPartition, add_sql};
use crate::plan::copy_sql::{quote_literal, quote_qualified};
use crate::plan::creation::Creation;
use crate::plan::exchange::Described;
use crate::plan::exchange::clauses::storage_of;
use crate::plan::exchange::stage::Stage;
use crate::plan::exchange::steps;
use crate::row::Row;
use crate::targets::loading::Limits;
use crate::wire::Session;

/// Adds a partition to its table, or splits it off the default partition beside it; gives the names of its leaves, quoted and qualified. Inside a transaction.
pub fn add(
    remote: &Remote,
    session: &mut Session,
    creation: &Creation,
    added: &Added,
    limits: Limits,
) -> Result<Vec<String>> {
    let parent = &creation.parent_name;
    let above = portrait::describe(session, parent)?.ok_or_else(|| gone(parent, remote.server()))?;
    let beside = stored_like(session, creation)?;
    let default = default_partition(session, creation.parent)?;
    let below = match has_template(session, remote.root_there()?, above.place.steps.len() + 1)? {
        // What the template makes is the table's own wish; the source's others are added one by one then.
        true => None,
        false => added.below.as_deref(),
    };
    let added = free_name(session, creation.parent, added)?;
    let storage = beside.as_ref().map_or_else(String::new, storage_of);
    let root = above.place.parents.last().unwrap_or(parent);
    let split = default.as_ref().map(|(default, _)| default);
    let sql = add_sql(root, &above.place.steps, &added, split, &storage, below)?;
    let tree = tree_below(session.server(), creation.parent);
    let before = leaves(session, &tree)?;
    // All of the default partition is written anew.
    let beside_it = default.as_ref().map(|(_, table)| table.as_str());
    lock(session, &above, (parent, beside_it), limits)?;
    session.batch(&sql)?;
    let mut made = leaves(session, &tree)?;
    made.retain(|leaf| !before.contains(leaf));
    // What was split off has rows, which are the source's affair when they are replaced.
    if let (Some(beside), None) = (&beside, &default) {
        made.iter().try_for_each(|leaf| encode_like(session, leaf, beside))?;
    }
    Ok(made)
}

/// The same under a name that no partition of the level has.
fn free_name(session: &mut Session, parent: u32, added: &Added) -> Result<Added> {
    let rows = session.query(&format!(
        "SELECT r.parname FROM pg_partition_rule r JOIN pg_inherits i ON i.inhrelid = r.parchildrelid WHERE i.inhparent = {parent}"
    ))?;
    let taken: Vec<&str> = rows.iter().filter_map(|row| row.text(0)).collect();
    let others = (1..).map(|number| format!("{}_{number}", added.name));
    let mut names = std::iter::once(added.name.clone()).chain(others);
    let name = names.find(|name| !taken.contains(&name.as_str()));
    Ok(Added {
        name: name.unwrap_or_default(),
        ..added.clone()
    })
}

/// Locks what is above a table or partition from the top, it, and the partition beside it or below.
fn lock(session: &mut Session, table: &Described, (name, beside): (&str, Option<&str>), limits: Limits) -> Result<()> {
    let (lock, tables) = table.place.lock_from_the_top(name, beside);
    staging::until_locked(session, &lock, tables, limits).map_err(|error| staging::named(error, session, name))
}

/// The leaves of `tree`, a clause that defines it, quoted and qualified, from the first that was made.
fn leaves(session: &mut Session, tree: &str) -> Result<Vec<String>> {
    let rows = session.query(&format!(
        "{tree} SELECT n.nspname, c.relname FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) ORDER BY c.oid"
    ))?;
    let name = |row: &Row| Ok(quote_qualified(&row.string(0)?, &row.string(1)?));
    rows.iter().map(name).collect()
}

/// Has a new leaf, which is empty, store each column as `beside` does: no statement that makes a partition says that. Where no table like it can be made it
/// stays as it is.
pub fn encode_like(session: &mut Session, leaf: &str, beside: &Described) -> Result<()> {
    let Some(mut unit) = portrait::describe(session, leaf)? else {
        return Ok(());
    };
    let (before, encoded) = (unit.shape.clone(), &beside.shape.columns);
    for column in &mut unit.shape.columns {
        let like = encoded.iter().find(|like| like.name == column.name);
        if let Some(like) = like.filter(|like| !like.encoding.is_empty() && !column.encoding.is_empty()) {
            column.encoding = like.encoding.clone();
        }
    }
    if unit.shape == before {
        return Ok(());
    }
    let (schema, name) = portrait::parts(leaf)?;
    let stage = Stage::new(&unit, &schema, &name, format!("_cgpsync_made_{}", unit.place.oid));
    if staging::make(session, &stage)?.is_err() {
        return Ok(());
    }
    staging::build_indexes(session, &stage)?;
    session.batch(&stage.take_place().join("; "))
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
    match leaves(session, &tree)?.first() {
        Some(leaf) => portrait::describe(session, leaf),
        None => Ok(None),
    }
}

/// Drops a partition, which was found to be the one that is meant; with what is above it and has no other. Inside a transaction.
pub fn drop(session: &mut Session, unit: &Described, name: &str, limits: Limits) -> Result<()> {
    let (parents, steps) = (&unit.place.parents, &unit.place.steps);
    lock(session, unit, (name, None), limits)?;
    let mut alone = 0;
    for parent in parents {
        let rows = session.query(&format!(
            "SELECT count(*) FROM pg_inherits i WHERE i.inhparent = CAST({} AS regclass)",
            quote_literal(parent)
        ))?;
        if rows.first().is_some_and(|row| row.text(0) != Some("1")) {
            break;
        }
        alone += 1;
    }
    if alone == parents.len() {
        return Err(
            Error::unsupported("it is the last partition of the table, which Greenplum 6 does not drop")
                .hint("Pass vanished => 'empty', or drop the table there."),
        );
    }
    let root = parents.last().map_or(name, String::as_str);
    let way = steps::way(root, &steps[..steps.len().saturating_sub(alone)]);
    let (alter, called) = way.ok_or_else(|| {
        Error::unsupported("no name, rank or value tells the partition from others")
            .hint("Drop it there by hand, or pass vanished => 'keep' or 'empty'.")
    })?;
    session.batch(&format!("{alter} DROP PARTITION {called}"))
}

/// The default partition below a table, and its own table.
fn default_partition(session: &mut Session, parent: u32) -> Result<Option<(DefaultPartition, String)>> {
    let rows = session.query(&format!(
        "SELECT r.parname, EXISTS (SELECT 1 FROM pg_inherits b WHERE b.inhparent = r.parchildrelid), n.nspname, c.relname
         FROM pg_partition_rule r JOIN pg_inherits i ON i.inhrelid = r.parchildrelid
         JOIN pg_class c ON c.oid = r.parchildrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE r.parisdefault AND i.inhparent = {parent}"
    ))?;
    let one = |row: &Row| {
        let default = DefaultPartition {
            name: row.string(0)?,
            has_parts: row.is(1),
        };
        Ok((default, quote_qualified(&row.string(2)?, &row.string(3)?)))
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
