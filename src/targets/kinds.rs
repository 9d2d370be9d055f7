//! Which relations can be written at all, wherever they are.

use crate::catalog::Database;
use crate::catalog::table::tree_below;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_qualified;
use crate::plan::types::FIRST_NORMAL_OID;

/// What helps where something cannot be written.
const ANOTHER: &str = "Name an ordinary or a partitioned table: a sync writes to no other.";
/// The same where it has to do with one.
const ITS_OWN: &str = "Name the table that it is of: a sync writes to an ordinary or a partitioned table.";

/// Refuses what cannot be a target, with the reason.
pub fn check(db: &mut dyn Database, oid: u32) -> Result<()> {
    // Before Greenplum 7 partitions are heirs, and what is stored elsewhere is told by its storage.
    let (is_no_root, storage) = match db.server().is_classic() {
        true => (
            "AND NOT EXISTS (SELECT 1 FROM pg_partition q WHERE q.parrelid = c.oid)",
            "c.relstorage",
        ),
        false => ("", "CAST(NULL AS text)"),
    };
    let rows = db.query(&format!(
        "SELECT n.nspname, c.relname, c.relkind, c.relpersistence,
                EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) {is_no_root}, {storage}
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {oid}"
    ))?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("relation with OID {oid} does not exist"),
        )
        .hint("Pass the name of a table: cgpsync_sync('schema.table')."));
    };
    let name = quote_qualified(&row.string(0)?, &row.string(1)?);
    let wrong =
        |what: &str, hint: &str| Err(Error::new(sqlstate::WRONG_OBJECT_TYPE, format!("{name} is {what}")).hint(hint));
    match (row.text(2), row.text(3)) {
        (Some("r"), _) if row.text(5) == Some("x") => wrong("an external table", ANOTHER),
        (_, Some("t")) => wrong("a temporary table, which other processes cannot write", ANOTHER),
        (Some("r"), _) if row.is(4) => wrong(
            "a parent of inheriting tables, whose rows would be copied twice",
            "Sync the tables that inherit from it one by one: cgpsync_sync('schema.child').",
        ),
        (Some("r" | "p" | "t"), _) => check_is_of_users(db, oid),
        (Some("v"), _) => wrong("a view", ITS_OWN),
        (Some("m"), _) => wrong("a materialized view", ITS_OWN),
        (Some("f"), _) => wrong(
            "a foreign table",
            "Foreign tables of wrapper cgpsync, postgres_fdw or dblink_fdw can be written: SELECT cgpsync_attach('schema.table', 'server') makes one.",
        ),
        (Some("S"), _) => wrong("a sequence", ANOTHER),
        (Some("i" | "I"), _) => wrong("an index", ITS_OWN),
        _ => wrong("not a table", ANOTHER),
    }
}

/// Refuses what the server or the extension keeps for itself, as TRUNCATE refuses system catalogs:
/// a superuser may write there, and with the rows of another cluster's catalog this one is gone.
/// The partitions are looked at too: one of them can be such a table.
fn check_is_of_users(db: &mut dyn Database, oid: u32) -> Result<()> {
    let rows = db.query(&format!(
        "{},
             kept AS (
               SELECT tree.parent IS NULL AS is_named, c.relname,
                      c.oid < {FIRST_NORMAL_OID}
                        OR n.nspname ~ '^(pg_catalog|information_schema|pg_toast.*)$' AS is_of_server,
                      EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                                AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'cgpsync') AS is_of_ours
               FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace)
             SELECT relname, is_of_server FROM kept WHERE is_of_server OR is_of_ours ORDER BY is_named DESC, relname LIMIT 1",
        tree_below(db.server(), oid)
    ))?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let name = row.string(0)?;
    let what = match row.is(1) {
        true => "a system catalog",
        false => "one of cgpsync's own tables",
    };
    Err(Error::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("permission denied: \"{name}\" is {what}"),
    )
    .hint("A sync replaces the rows of tables that users have created."))
}
