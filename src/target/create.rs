//! Creating partitions here that the source has.

use super::catalog::{self, TREE};
use super::load;
use super::trust::others_code;
use crate::error::{Error, Result, sqlstate};
use crate::pg::storage::{self, Against};
use crate::pg::{report, spi};
use crate::plan::copy_sql::quote_ident;
use crate::plan::missing::Creation;

/// Creates a partition and what is below it, under the caller's role, in the current transaction. The tables belong to the owner of their
/// parent, as the partitions beside them.
pub fn partition(creation: &Creation) -> Result<()> {
    check_bounds(creation)?;
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
        Ok(())
    })
    .map_err(|error| explain(error, creation))
}

/// Refuses bounds that would be read as values of a key whose type could run somebody else's code.
fn check_bounds(creation: &Creation) -> Result<()> {
    let others_code = others_code("a.atttypid");
    let rows = spi::execute(
        &format!(
            "{TREE} SELECT k.code FROM tree JOIN pg_partitioned_table t ON t.partrelid = tree.oid
             JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = ANY (t.partattrs::int2[])
             CROSS JOIN LATERAL (SELECT {others_code} AS code) k WHERE k.code IS NOT NULL LIMIT 1"
        ),
        &[Some(&creation.parent.to_string())],
    )?;
    let Some(code) = rows.first().and_then(|row| row.text(0)) else {
        return Ok(());
    };
    let error = Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!(
            "its bound is a value of a key that is, or has in it, {code}, and reading it could run that role's code"
        ),
    );
    let error = leads(error, creation);
    Err(error.hint("Call as the owner of the type, or create the partition by hand; or pass create_missing => false to leave it out."))
}

/// Drops a partition of `table` that still has the bounds it was planned with, and nothing that depends on it; gives its name, quoted
/// and qualified.
pub fn drop_partition(table: u32, partition: u32, bound: &str) -> Result<String> {
    load::lock_parents(partition)?;
    storage::lock(partition, Against::Everybody);
    let name = catalog::qualified_name(partition)?;
    let (parents, bounds) = load::place_of(partition, table)?;
    if !parents.contains(&table) || bounds != bound {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was attached or detached while the run was on"),
        )
        .hint("Run the same call again."));
    }
    report::catch(|| spi::execute(&format!("DROP TABLE {name} RESTRICT"), &[])).map_err(|error| {
        let hint = match error.sqlstate.as_str() {
            sqlstate::INSUFFICIENT_PRIVILEGE => "Call as its owner, or pass vanished => 'keep'.",
            sqlstate::DEPENDENT_OBJECTS => "Drop what depends on it first, or pass vanished => 'keep'.",
            _ => "",
        };
        let error = error.within(&format!("cannot drop partition {name}, which the source has no more"));
        match hint {
            "" => error,
            hint => error.hint(hint),
        }
    })?;
    Ok(name)
}

/// The server's error, led by what was being done, with what to do about it.
fn explain(error: Error, creation: &Creation) -> Error {
    let hint = match error.sqlstate.as_str() {
        sqlstate::DUPLICATE_TABLE => {
            "Rename the relation that has this name, or create a partition for these rows under another name"
        }
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
