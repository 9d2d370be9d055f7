//! Whose code a value would run. A domain has checks, and a composite or a range may have a domain in it; they are its owner's, and run with
//! the rights of whoever reads a value of the type. So what the source sends is read as such a type only where its owner is the role that
//! acts, which runs its own code, or a superuser, who needs no detour: what such a type calls, he has let it call.
//!
//! Base types and enums have input functions of the server's or of a superuser's making. Nothing of an owner's runs there.

use super::catalog::KEY_TYPE;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{session, spi};
use crate::plan::tree::FIRST_NORMAL_OID;

/// Finds what a type is made of, as `part`. `oid` is an expression.
fn parts(oid: &str) -> String {
    format!(
        "WITH RECURSIVE part AS (
           SELECT {oid} AS oid
           UNION
           SELECT below.oid FROM part p JOIN pg_type y ON y.oid = p.oid CROSS JOIN LATERAL (
             SELECT y.typbasetype WHERE y.typtype = 'd'
             UNION ALL SELECT y.typelem WHERE y.typtype = 'b' AND y.typelem <> 0
             UNION ALL SELECT q.atttypid FROM pg_attribute q
               WHERE y.typtype = 'c' AND q.attrelid = y.typrelid AND q.attnum > 0 AND NOT q.attisdropped
             UNION ALL SELECT r.rngsubtype FROM pg_range r
               WHERE r.rngtypid = y.oid OR (to_jsonb(r) ->> 'rngmultitypid')::oid = y.oid) below(oid))"
    )
}

/// Kinds of types whose owner decides what reading a value runs.
const WITH_CODE: &str = "AND y.typtype IN ('d', 'c')";

fn first(oid: &str, which: &str) -> String {
    format!(
        "({} SELECT format_type(y.oid, NULL) || ' of role ' || quote_ident(o.rolname)
          FROM part JOIN pg_type y ON y.oid = part.oid JOIN pg_roles o ON o.oid = y.typowner
          WHERE y.oid >= {FIRST_NORMAL_OID} AND o.rolname <> current_user AND NOT o.rolsuper {which} ORDER BY y.oid LIMIT 1)",
        parts(oid)
    )
}

/// An expression that names the type, and its owner, whose code reading a value of type `oid` could run though he is neither the role that
/// acts nor a superuser; null if there is none. `oid` is an expression of the surrounding query.
pub fn others_code(oid: &str) -> String {
    first(oid, WITH_CODE)
}

/// The same of any type that somebody else has made, whatever it could run.
pub fn others_type(oid: &str) -> String {
    first(oid, "")
}

/// Whose code reading a value of a key above `unit` could run, though he is neither the role that acts nor a superuser.
pub fn others_code_in_keys(unit: u32) -> Result<Option<String>> {
    let (key_type, others_code) = (KEY_TYPE.replace('@', "a.atttypid"), others_code("t.oid"));
    let rows = spi::execute(
        &format!(
            "SELECT k.code FROM pg_partition_ancestors($1::oid::regclass) x(relid)
             JOIN pg_partitioned_table p ON p.partrelid = x.relid
             JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
             {key_type} CROSS JOIN LATERAL (SELECT CASE WHEN t.oid >= {FIRST_NORMAL_OID} THEN {others_code} END AS code) k
             WHERE k.code IS NOT NULL LIMIT 1"
        ),
        &[Some(&unit.to_string())],
    )?;
    Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
}

/// OID of a relation's owner.
pub fn owner(oid: u32) -> Result<u32> {
    let rows = spi::execute(
        "SELECT relowner FROM pg_class WHERE oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    rows.first().ok_or_else(|| Error::internal("no owner"))?.need(0)
}

/// Who is to read a table that this role may read all rows of: its owner, or this role where the owner's way is another one, through his user
/// mapping. The server's error otherwise.
pub fn reader_of(oid: u32) -> Result<u32> {
    let rows = spi::execute(
        "SELECT has_table_privilege(oid, 'SELECT'), row_security_active(oid), relname, relkind = 'f' FROM pg_class
         WHERE oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("no table"))?;
    let name = row.string(2)?;
    let denied = |message: String| Err(Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, message));
    match (row.is(0), row.is(1)) {
        (false, _) => denied(format!("permission denied for table {name}")),
        (_, true) => denied(format!(
            "query would be affected by row-level security policy for table \"{name}\""
        )),
        _ if row.is(3) => Ok(session::current_role()),
        _ => owner(oid),
    }
}
