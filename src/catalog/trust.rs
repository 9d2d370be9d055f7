//! Whose code a value would run. A domain has checks, and a composite or a range may have a domain in it; they are its owner's, and run with
//! the rights of whoever reads a value of the type. So what the source sends is read as such a type only where its owner is the role that
//! acts, which runs its own code, or a superuser, who needs no detour: what such a type calls, he has let it call.
//!
//! Base types and enums have input functions of the server's or of a superuser's making. Nothing of an owner's runs there.

use crate::plan::types::FIRST_NORMAL_OID;

/// Whose types the keys of a table may be of, for their bounds to tell anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// anybody's: no value is read as one of them where the table is
    Everybody,
    /// the acting role's and superusers': the other end's values are read as such
    OwnRole,
    /// nobody's, and no expression: only what is built in, and enums, whose values are told by their labels. Nothing that the server calls
    /// by a name of its own has a meaning elsewhere
    BuiltIn,
}

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
