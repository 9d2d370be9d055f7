//! Creating partitions over there that the source has, and dropping those that it has no more. Each is a transaction of its own there.

use super::portrait::{self, gone};
use super::staging::{named, until_locked};
use super::{Access, Remote, adding};
use crate::catalog::{Database, grants};
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_ident;
use crate::plan::creation::Creation;
use crate::plan::exchange::clauses::storage_of;
use crate::plan::exchange::{Described, InTree};
use crate::targets::local;
use crate::wire::Session;

/// Runs `f` in a transaction of the run over there.
fn in_transaction<T>(remote: &Remote, f: impl FnOnce(&mut Session, Access) -> Result<T>) -> Result<T> {
    let work = || {
        let mut session = remote.session()?;
        session.begin_to_write()?;
        // Whoever runs this holds the run's lock in this very session.
        let value = f(&mut session, remote.access)?;
        session.batch("COMMIT")?;
        Ok(value)
    };
    remote.concluded(work())
}

/// See [`crate::targets::Target::create_partition`].
pub fn create_partition(remote: &Remote, creation: &Creation) -> Result<Vec<String>> {
    let parent = &creation.parent_name;
    let create = |session: &mut Session, access: Access| {
        if let Some(added) = &creation.added {
            let made = adding::add(remote, session, creation, added, access.limits)?;
            for leaf in &made {
                grant_like(session, creation, leaf, true)?;
            }
            return Ok(made);
        }
        let described = portrait::describe(session, parent)?.ok_or_else(|| gone(parent, remote.server()))?;
        let default = portrait::default_of(session, described.place.oid)?;
        // A default partition with all that is below it, as CREATE TABLE locks it.
        let tables: Vec<String> = [Some(format!("ONLY {parent}")), default]
            .into_iter()
            .flatten()
            .collect();
        let above = described.place.above(parent);
        let lock = format!(
            "{}LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            InTree::read_lock(&above),
            tables.join(", ")
        );
        until_locked(session, &lock, (above.len() + tables.len()) as u32, access.limits)
            .map_err(|error| named(error, session, parent))?;
        let owner = &described.shape.owner;
        let beside = adding::stored_like(session, creation)?;
        let storage = beside.as_ref().map_or_else(String::new, storage_of);
        for table in &creation.tables {
            // What has partitions has no rows of its own.
            let storage = if table.keys.is_empty() { &*storage } else { "" };
            session.batch(&format!("{}{storage}", table.sql))?;
            if *owner != described.facts.role {
                session.batch(&format!("ALTER TABLE {} OWNER TO {}", table.name, quote_ident(owner)))?;
            }
            grant_like(session, creation, &table.name, table.keys.is_empty())?;
            if let Some(beside) = beside.as_ref().filter(|_| table.keys.is_empty()) {
                adding::encode_like(session, &table.name, beside)?;
            }
        }
        Ok(creation.names())
    };
    in_transaction(remote, create).map_err(|error| local::explain_creation(error, creation))
}

/// Gives a new table the grants of the partition beside it.
fn grant_like(session: &mut Session, creation: &Creation, table: &str, is_leaf: bool) -> Result<()> {
    let Some(beside) = &creation.beside else { return Ok(()) };
    let grants = grants::like(session, beside, is_leaf, table)?;
    grants.iter().try_for_each(|grant| session.batch(grant))
}

/// See [`crate::targets::Target::drop_partition`].
pub fn drop_partition(remote: &Remote, name: &str, bound: &str) -> Result<String> {
    let drop = |session: &mut Session, access: Access| {
        let seen = portrait::describe(session, name)?.ok_or_else(|| gone(name, remote.server()))?;
        if session.server().is_classic() {
            check_bound(&seen, remote, name, bound)?;
            return adding::drop(session, &seen, name, access.limits);
        }
        let parent = seen.place.parents.first().map_or(name, String::as_str);
        // DROP TABLE locks a default partition beside it, too.
        let default = seen.place.default.as_ref();
        let beside = default.map(|default| format!(", ONLY {default}")).unwrap_or_default();
        let lock = format!("LOCK TABLE ONLY {parent}, ONLY {name}{beside} IN ACCESS EXCLUSIVE MODE");
        until_locked(session, &lock, 3, access.limits)?;
        let now = portrait::describe(session, name)?.ok_or_else(|| gone(name, remote.server()))?;
        check_bound(&now, remote, name, bound)?;
        session.batch(&format!("DROP TABLE {name} RESTRICT"))
    };
    in_transaction(remote, drop).map_err(|error| local::explain_drop(error, name))?;
    Ok(name.to_owned())
}

/// An error unless the partition has the bounds it was planned with.
fn check_bound(now: &Described, remote: &Remote, name: &str, bound: &str) -> Result<()> {
    if now.place.bounds_below(name, &remote.name()).as_deref() == Some(bound) {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::OBJECT_IN_USE,
        format!("{name} was attached or detached while the run was on"),
    )
    .hint("Run the same call again."))
}
