//! Who is in the way over there.

use crate::catalog::Database;
use crate::error::{Result, tame};
use crate::plan::copy_sql::quote_literal;
use crate::wire::Session;

/// Processes and prepared transactions that have locked `relation`, quoted and qualified, or a table below it: a sentence. None where nobody
/// has, any more, or the server cannot tell. A transaction that was prepared has no process, and is found by its name only.
pub fn lock_holders(session: &mut Session, relation: &str) -> Result<Option<String>> {
    if session.server().version < 90_000 {
        return Ok(None);
    }
    let rows = session.query(&Session::question(&format!(
        "SELECT DISTINCT CAST(l.pid AS text), CAST(x.gid AS text), CAST(x.owner AS text), CAST(x.prepared AS text)
         FROM pg_locks l LEFT JOIN pg_prepared_xacts x ON l.virtualtransaction = '-1/' || CAST(x.transaction AS text)
         WHERE l.granted AND l.locktype = 'relation' AND (l.pid IS NULL OR l.pid <> pg_backend_pid())
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.relation IN (SELECT CAST({0} AS regclass) UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = CAST({0} AS regclass)
                              UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = CAST({0} AS regclass))
         ORDER BY 1, 2",
        quote_literal(relation)
    )))?;
    let mut processes = Vec::new();
    let mut prepared = Vec::new();
    for row in &rows {
        match (row.text(1), row.text(0)) {
            (Some(gid), _) => prepared.push(format!(
                "prepared transaction \"{}\" of {}, since {}",
                tame(gid),
                tame(row.text(2).unwrap_or("?")),
                tame(row.text(3).unwrap_or("?"))
            )),
            (None, Some(pid)) => processes.push(tame(pid)),
            (None, None) => {}
        }
    }
    if !processes.is_empty() {
        prepared.insert(0, format!("process {}", processes.join(", ")));
    }
    Ok((!prepared.is_empty()).then(|| format!("It is locked over there by {}.", prepared.join("; "))))
}
