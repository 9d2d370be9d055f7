//! Creating partitions here that the source has, and dropping those that it has no more.

use super::{Local, facts, load};
use crate::catalog::grants;
use crate::catalog::trust::others_code;
use crate::error::{Error, Result, sqlstate};
use crate::pg::relation::{self, Against};
use crate::pg::{report, spi, xact};
use crate::plan::constraint::{foreign_schema, mentions};
use crate::plan::copy_sql::quote_ident;
use crate::plan::creation::Creation;
use crate::plan::types::FIRST_NORMAL_OID;

/// Creates a partition and what is below it, under the caller's role, in the current transaction. The tables belong to the owner of their
/// parent, and have the grants of the partition beside them.
pub fn create_partition(local: &Local, creation: &Creation) -> Result<()> {
    check_bounds(creation)?;
    // What CREATE TABLE locks, in its order.
    let lock = || {
        lock_parents(creation.parent)?;
        xact::without_snapshot(|| relation::lock(creation.parent, Against::Everybody));
        if let Some(default) = facts::default_of(creation.parent)? {
            xact::without_snapshot(|| relation::lock(default, Against::Everybody));
        }
        Ok(())
    };
    report::catch(lock).map_err(|error| explain_creation(error, creation))?;
    report::catch(|| {
        for table in &creation.tables {
            spi::execute(&table.sql, &[])?;
        }
        let rows = spi::execute(
            "SELECT r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
             WHERE c.oid = $1::oid AND r.rolname <> current_user",
            &[Some(&creation.parent.to_string())],
        )?;
        if let Some(row) = rows.first() {
            let owner = quote_ident(&row.string(0)?);
            for table in &creation.tables {
                spi::execute(&format!("ALTER TABLE {} OWNER TO {owner}", table.name), &[])?;
            }
        }
        for table in &creation.tables {
            let Some(beside) = &creation.beside else { break };
            for grant in grants::like(&mut local.database(), beside, table.keys.is_empty(), &table.name)? {
                spi::execute(&grant, &[])?;
            }
        }
        Ok(())
    })
    .map_err(|error| explain_creation(error, creation))
}

/// Locks the parents. Whoever attaches, detaches or reads locks parents before children; taking them the other way round is a deadlock with each
/// of them.
fn lock_parents(partition: u32) -> Result<()> {
    let mut locked = Vec::new();
    loop {
        // While this waited, the partition may have got others.
        let parents = facts::parents_of(partition)?;
        if parents == locked {
            return Ok(());
        }
        xact::without_snapshot(|| {
            parents
                .iter()
                .for_each(|parent| relation::lock(*parent, Against::Removal));
        });
        locked = parents;
    }
}

/// Refuses bounds that would be read as values of a key whose type could run somebody else's code: keys of the parent, and those that the new
/// tables are partitioned by. An expression may give a value of any type that it names, or that a column in it has.
fn check_bounds(creation: &Creation) -> Result<()> {
    let parent = [Some(&*creation.parent.to_string())];
    let others_code = others_code("a.atttypid");
    let columns = spi::execute(
        &format!(
            "SELECT a.attname, k.code FROM pg_attribute a CROSS JOIN LATERAL (SELECT {others_code} AS code) k
             WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= {FIRST_NORMAL_OID}
               AND k.code IS NOT NULL"
        ),
        &parent,
    )?;
    let keys = spi::execute(
        "SELECT pg_get_partkeydef(c.oid), w.rolsuper OR w.rolname = current_user, quote_ident(w.rolname)
         FROM pg_class c JOIN pg_roles w ON w.oid = c.relowner WHERE c.oid = $1::oid",
        &parent,
    )?;
    let keys = keys.first().ok_or_else(|| facts::gone(creation.parent))?;
    let all = creation.tables.iter().flat_map(|table| &table.keys).map(String::as_str);
    for key in all.chain(keys.text(0)) {
        let column = columns
            .iter()
            .find(|row| row.text(0).is_some_and(|name| mentions(key, name)));
        let code = match column {
            Some(row) => row.string(1)?,
            None if keys.is(1) || foreign_schema(key).is_none() => continue,
            None => format!("what role {} calls in an expression", keys.string(2)?),
        };
        let error = Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!(
                "its bound is a value of a key that is, or has in it, {code}, and reading it could run that role's code"
            ),
        );
        return Err(leads(error, creation).hint(
            "Call as that role, or, if you trust it, create the partition by hand; or pass create_missing => false to leave it out.",
        ));
    }
    Ok(())
}

/// Drops a partition of `table` that still has the bounds it was planned with, and nothing that depends on it; gives its name, quoted
/// and qualified.
pub fn drop_partition(table: u32, partition: u32, bound: &str) -> Result<String> {
    let called = facts::qualified_name(partition)?;
    report::catch(|| {
        lock_parents(partition)?;
        xact::without_snapshot(|| relation::lock(partition, Against::Everybody));
        Ok(())
    })
    .map_err(|error| explain_drop(error, &called))?;
    let name = facts::qualified_name(partition)?;
    let (parents, bounds) = load::place_of(partition, table)?;
    if !parents.contains(&table) || bounds != bound {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was attached or detached while the run was on"),
        )
        .hint("Run the same call again."));
    }
    report::catch(|| spi::execute(&format!("DROP TABLE {name} RESTRICT"), &[]))
        .map_err(|error| explain_drop(error, &name))?;
    Ok(name)
}

/// The server's error about a partition that is to be dropped, with what to do about it.
pub fn explain_drop(error: Error, name: &str) -> Error {
    let hint = match error.sqlstate.as_str() {
        sqlstate::INSUFFICIENT_PRIVILEGE => "Call as its owner, or pass vanished => 'keep'.",
        sqlstate::DEPENDENT_OBJECTS => "Drop what depends on it first, or pass vanished => 'keep'.",
        sqlstate::LOCK_NOT_AVAILABLE => "Raise cgpsync.lock_timeout, or sync when it is not in use.",
        _ => "",
    };
    let error = error.within(&format!("cannot drop partition {name}, which the source has no more"));
    match hint {
        "" => error,
        hint => error.hint(hint),
    }
}

/// The server's error, led by what was being done, with what to do about it.
pub fn explain_creation(error: Error, creation: &Creation) -> Error {
    let hint = match error.sqlstate.as_str() {
        sqlstate::DUPLICATE_TABLE => "Run the same call again: it takes a free name",
        sqlstate::UNDEFINED_TABLE => "Run the same call again: it plans with the partitions there are",
        sqlstate::LOCK_NOT_AVAILABLE => "Raise cgpsync.lock_timeout, or sync when it is not in use",
        sqlstate::CHECK_VIOLATION => {
            "Rows of the new partition are in the default partition: delete them there (the run copies them again) or move them"
        }
        sqlstate::INVALID_OBJECT_DEFINITION => "Create partitions for these rows by hand",
        sqlstate::INSUFFICIENT_PRIVILEGE => {
            "Call as the owner of the table, with CREATE on its schema, or let the owner create the partition"
        }
        sqlstate::INVALID_TEXT_REPRESENTATION => {
            "A bound of the source's partition is no value of the key here: add it to the type (ALTER TYPE ... ADD VALUE)"
        }
        _ => "",
    };
    let error = leads(error, creation);
    match hint {
        "" => error,
        hint => error.hint(format!("{hint}; or pass create_missing => false to leave it out.")),
    }
}

/// The error, led by what was being done.
fn leads(error: Error, creation: &Creation) -> Error {
    let name = creation.tables.first().map_or("", |table| table.name.as_str());
    error.within(&format!(
        "cannot create partition {name} of {} as the source has {}",
        creation.parent_name, creation.source_relation
    ))
}
