//! With whose rights a table of this database may be read, and whose code that would run.

use super::facts;
use crate::catalog::keys::KEY_TYPE;
use crate::catalog::trust::others_code;
use crate::error::{Error, Result, sqlstate};
use crate::pg::backend;
use crate::plan::types::FIRST_NORMAL_OID;

/// Whose code reading a value of a key above `unit` could run, though he is neither the role that acts nor a superuser.
pub fn others_code_in_keys(unit: u32) -> Result<Option<String>> {
    let (key_type, others_code) = (KEY_TYPE.replace('@', "a.atttypid"), others_code("t.oid"));
    let rows = facts::ask(
        &format!(
            "SELECT k.code FROM pg_partition_ancestors($1::oid::regclass) x(relid)
             JOIN pg_partitioned_table p ON p.partrelid = x.relid
             JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
             {key_type} CROSS JOIN LATERAL (SELECT CASE WHEN t.oid >= {FIRST_NORMAL_OID} THEN {others_code} END AS code) k
             WHERE k.code IS NOT NULL LIMIT 1"
        ),
        &[Some(&unit.to_string())],
    )?;
    Ok(rows.first().and_then(|row| row.owned(0)))
}

/// OID of a relation's owner.
pub fn owner(oid: u32) -> Result<u32> {
    let rows = facts::ask(
        "SELECT relowner FROM pg_class WHERE oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    rows.first().ok_or_else(|| Error::internal("no owner"))?.need(0)
}

/// Who is to read a table that this role may read all rows of: its owner, or this role where the owner's way is another one, through his user
/// mapping. The server's error otherwise.
pub fn reader_of(oid: u32) -> Result<u32> {
    let rows = facts::ask(
        "SELECT has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid), c.relname, c.relkind = 'f',
                format('%I.%I', n.nspname, c.relname), quote_ident(current_user)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("no table"))?;
    let name = row.string(2)?;
    let denied = |message: String| Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, message);
    match (row.is(0), row.is(1)) {
        (false, _) => {
            let (table, role) = (row.string(4)?, row.string(5)?);
            Err(denied(format!("permission denied for table {name}"))
                .hint(format!("GRANT SELECT ON {table} TO {role}.")))
        }
        (_, true) => Err(denied(format!(
            "query would be affected by row-level security policy for table \"{name}\""
        ))
        .hint("Call as the table's owner or as a role with BYPASSRLS.")),
        _ if row.is(3) => Ok(backend::current_role()),
        _ => owner(oid),
    }
}
