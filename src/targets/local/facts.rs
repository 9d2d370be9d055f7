//! Facts about tables of this database, by OID: true for as long as what they are about is locked. Always under a search_path of pg_catalog.

use crate::catalog::server::LISTENS_SQL;
use crate::error::{Error, Result, sqlstate};
use crate::pg::relation::{self, Against};
use crate::pg::{backend, spi, xact};
use crate::plan::copy_sql::quote_qualified;
use crate::plan::holders::Holder;
use crate::row::Row;
use std::collections::{HashMap, HashSet};

/// The rows of a query about catalogs. It leaves no lock on these: whoever rewrites one, as VACUUM FULL does, has everybody wait who connects,
/// and must not wait for a load to end.
pub fn ask(sql: &str, args: &[Option<&str>]) -> Result<Vec<Row>> {
    xact::look(|| spi::execute(sql, args))
}

/// OIDs as the text of an array.
pub fn array(oids: &[u32]) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!("{{{}}}", oids.join(","))
}

/// Those of `units` that any publication has, by themselves or through what is above them.
pub fn published(units: &[u32]) -> Result<HashSet<u32>> {
    let rows = ask(
        "WITH published(oid) AS MATERIALIZED (
           SELECT c.oid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
           JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename)
         SELECT u.oid FROM unnest($1::oid[]) AS u(oid)
         WHERE u.oid IN (SELECT oid FROM published)
            OR EXISTS (SELECT FROM pg_partition_ancestors(u.oid::regclass) AS a(relid) WHERE a.relid IN (SELECT oid FROM published))",
        &[Some(&array(units))],
    )?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// The partitioned tables above `table`, from the top.
pub fn parents_of(table: u32) -> Result<Vec<u32>> {
    let rows = ask(
        "SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1::pg_catalog.oid::pg_catalog.regclass)
         WITH ORDINALITY AS a(relid, n) WHERE relid <> $1::pg_catalog.oid ORDER BY n DESC",
        &[Some(&table.to_string())],
    )?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// The default partition of `table`, if it has one.
pub fn default_of(table: u32) -> Result<Option<u32>> {
    let rows = ask(
        "SELECT partdefid FROM pg_partitioned_table WHERE partrelid = $1::oid AND partdefid <> 0",
        &[Some(&table.to_string())],
    )?;
    rows.first().map(|row| row.need(0)).transpose()
}

/// The condition a row must satisfy to belong to each leaf: its partition constraint, deparsed by this server with every literal's type.
/// Leaves that take every row are not in the result.
pub fn partition_constraints(leaves: &[u32]) -> Result<HashMap<u32, String>> {
    let list = array(leaves);
    let deparse = || {
        // The deparser locks each leaf and then its parents. Everybody else locks parents first: so they are locked before.
        let parents = spi::execute(
            "SELECT DISTINCT a.relid::oid, (SELECT count(*) FROM pg_partition_ancestors(a.relid)) AS depth
             FROM unnest($1::oid[]) AS u(o), LATERAL pg_partition_ancestors(u.o::regclass) AS a(relid)
             WHERE a.relid <> u.o ORDER BY depth, 1",
            &[Some(&list)],
        )?;
        for parent in &parents {
            relation::lock(parent.need(0)?, Against::Removal);
        }
        // A name that is a keyword only on the source must be quoted.
        backend::set_config("quote_all_identifiers", "on", true)?;
        spi::execute(
            "SELECT o, c FROM unnest($1::oid[]) AS u(o), LATERAL (SELECT pg_get_partition_constraintdef(o)) AS d(c) WHERE c IS NOT NULL",
            &[Some(&list)],
        )
    };
    let rows = xact::look(deparse)?;
    rows.iter().map(|row| Ok((row.need(0)?, row.string(1)?))).collect()
}

/// The relation's quoted, qualified name as this transaction sees it now.
pub fn qualified_name(oid: u32) -> Result<String> {
    let rows = ask(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| gone(oid))?;
    Ok(quote_qualified(&row.string(0)?, &row.string(1)?))
}

/// The relation's name, and the types of its columns by name, as [`Column::typed`](crate::plan::columns::Column::typed) has them.
pub fn name_and_types(oid: u32) -> Result<(String, HashMap<String, String>)> {
    let rows = ask(
        "SELECT n.nspname, c.relname, COALESCE((
           SELECT jsonb_object_agg(a.attname, a.atttypid || ' ' || format_type(a.atttypid, a.atttypmod)) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| gone(oid))?;
    let types = serde_json::from_str(&row.string(2)?).map_err(|e| Error::internal(e.to_string()))?;
    Ok((quote_qualified(&row.string(0)?, &row.string(1)?), types))
}

/// The error for a relation that was there when it was planned.
pub fn gone(oid: u32) -> Error {
    Error::new(
        sqlstate::UNDEFINED_TABLE,
        format!("relation with OID {oid} does not exist any more"),
    )
    .hint("Run the same call again; it plans with the partitions there are.")
}

/// The privileges that loading a unit needs and COPY into a relation would otherwise check: see pg::copy::load.
pub fn check_privileges(oid: u32, name: &str) -> Result<()> {
    let rows = ask(
        "SELECT has_table_privilege($1::oid, 'INSERT'), has_table_privilege($1::oid, 'TRUNCATE'),
                row_security_active($1::oid)",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("no privileges"))?;
    for (at, privilege) in [(0, "INSERT"), (1, "TRUNCATE")] {
        if !row.is(at) {
            return Err(Error::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for table {name}"),
            )
            .detail(format!("The calling role lacks {privilege} on it."))
            .hint(format!(
                "GRANT INSERT, TRUNCATE ON {name} TO the role, or call as its owner."
            )));
        }
    }
    if row.is(2) {
        return Err(
            Error::unsupported(format!("row-level security is active on {name} for the calling role"))
                .hint("Call as the table's owner or a role with BYPASSRLS."),
        );
    }
    Ok(())
}

/// Whether a session of this [`identity`](crate::wire::Session::identity) is on this very server, at whatever address.
pub fn is_this_server(identity: &str) -> Result<bool> {
    let rows = ask(&format!("SELECT {LISTENS_SQL}"), &[])?;
    let here = rows.first().map(|row| row.string(0)).transpose()?;
    Ok(here.is_some_and(|here| identity.ends_with(&here)))
}

/// Whether relation `oid` of `database` on this server is `table`, or of the same tree.
pub fn is_in_tree(table: u32, database: &str, oid: u32) -> Result<bool> {
    let rows = ask(
        "WITH RECURSIVE tree(oid) AS (
           SELECT COALESCE(pg_partition_root($1::oid::regclass)::oid, $1::oid)
           UNION ALL SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid)
         SELECT current_database() = $2 AND $3::oid IN (SELECT oid FROM tree)",
        &[Some(&table.to_string()), Some(database), Some(&oid.to_string())],
    )?;
    Ok(rows.first().is_some_and(|row| row.is(0)))
}

/// Whether process `pid` of this server has `table` locked.
pub fn has_locked(pid: &str, table: u32) -> Result<bool> {
    let rows = ask(
        "SELECT FROM pg_locks l WHERE l.pid = $1::int AND l.relation = $2::oid AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[Some(pid), Some(&table.to_string())],
    )?;
    Ok(!rows.is_empty())
}

/// Who has a lock on the partition or on what is above it, and prepared transactions that one of these waits for, for the error of one
/// that could not get its own. Processes of the same run have it too, and keep nobody waiting.
pub fn lock_holders(oid: u32) -> Result<Vec<Holder>> {
    let rows = ask(
        "WITH RECURSIVE direct AS MATERIALIZED (
           SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_locks l
           WHERE l.relation IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_ancestors($1::oid::regclass))
             AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND NOT EXISTS (SELECT FROM pg_stat_activity me, pg_stat_activity a
                             JOIN pg_stat_activity w ON w.pid = COALESCE(a.leader_pid, a.pid)
                             WHERE me.pid = pg_backend_pid() AND a.pid = l.pid
                               AND w.backend_type LIKE 'cgpsync %' AND w.application_name = me.application_name)),
         chain(pid) AS (
           SELECT pid FROM direct WHERE pid IS NOT NULL
           UNION SELECT b FROM chain c, unnest(pg_blocking_pids(c.pid)) AS b WHERE b <> 0),
         transactions AS (
           SELECT virtualtransaction FROM direct WHERE pid IS NULL
           UNION SELECT l.virtualtransaction FROM chain c JOIN pg_locks w ON w.pid = c.pid AND NOT w.granted
           JOIN pg_locks l ON l.granted AND l.pid IS NULL
             AND (l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid, l.classid, l.objid, l.objsubid)
                 IS NOT DISTINCT FROM
                 (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid))
         SELECT d.pid::text, NULL, NULL, NULL FROM direct d WHERE d.pid IS NOT NULL
         UNION ALL
         SELECT NULL, x.gid, x.owner::text, x.prepared::text
         FROM transactions t JOIN pg_locks l USING (virtualtransaction) JOIN pg_prepared_xacts x ON x.transaction = l.transactionid
         WHERE l.pid IS NULL AND l.granted
         ORDER BY 1, 2",
        &[Some(&oid.to_string())],
    )?;
    let one = |row: &Row| Holder::read([row.text(0), row.text(1), row.text(2), row.text(3)]);
    Ok(rows.iter().filter_map(one).collect())
}

/// What a unit needs besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// the role has the rights of its owner
    pub is_own: bool,
    /// an index has an expression or a predicate
    pub has_index_code: bool,
    /// a constraint is NOT VALID
    pub has_not_valid: bool,
}

/// The same of unit `oid`, in one question.
pub fn needs(oid: u32) -> Result<Needs> {
    let rows = ask(
        "SELECT pg_has_role(c.relowner, 'USAGE'),
                EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)),
                EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = c.oid AND NOT o.convalidated)
         FROM pg_class c WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| gone(oid))?;
    Ok(Needs {
        is_own: row.is(0),
        has_index_code: row.is(1),
        has_not_valid: row.is(2),
    })
}
