//! Whether a relation that was just read is still what was planned. A snapshot protects from other
//! transactions' rows, but not from TRUNCATE, a rewrite, DROP, DETACH, ATTACH or a column that is
//! dropped and added again: names, files and partitions are always those of the present.
//!
//! A query sees the catalogs as its snapshot has them; functions that ask the server's caches
//! (pg_relation_filenode, pg_identify_object, pg_partition_tree) see them as they are. So each fact is
//! asked for both ways. The locks of the COPY are still held: what is so now was so while it read.

use super::{Portion, answer, parts};
use crate::catalog::Database;
use crate::catalog::server::{Catalog, Product};
use crate::catalog::table::heirs_sql;
use crate::error::{Error, Result, sqlstate};
use crate::plan::copy_sql::quote_literal;
use crate::plan::gauss::table_of;
use crate::wire::Session;
use std::collections::HashMap;

/// Most relations whose states one statement asks for.
const BATCH: usize = 200;

/// True of relation c when its file is no longer the snapshot's. Only tables and materialized views have one: of others, as of partitioned tables
/// and views, servers before 12 show a number, too, and the function knows none (heap.c, heap_create; dbsize.c).
const HAS_ANOTHER_FILE: &str = "(c.relkind IN ('r', 'm') AND c.relfilenode <> 0
         AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid))";

/// Fails if what was read, or a table below it, has changed since the session's snapshot was taken, or
/// is not in the state that was planned with. The latter is not undone by another attempt.
pub fn check_unchanged(session: &mut Session, portion: &Portion, columns: &[String]) -> Result<()> {
    let (is_unchanged, state) = look(session, portion, columns)?;
    let is_as_planned = portion.state.is_none() || portion.state == state;
    if is_unchanged && is_as_planned {
        return Ok(());
    }
    let relation = &portion.relation;
    let error = Error::new(
        sqlstate::SERIALIZATION_FAILURE,
        format!("source relation {relation} was changed, truncated, rewritten or replaced while the run was on"),
    )
    .hint("Run the same call again: it takes a new snapshot.");
    Err(if is_as_planned { error } else { error.final_one() })
}

/// Whether the relation is as the snapshot has it, and, if asked for, its state in the snapshot. Most
/// relations are one table, of which less has to be asked.
fn look(session: &mut Session, portion: &Portion, columns: &[String]) -> Result<(bool, Option<String>)> {
    // Older servers lack pg_relation_filenode and recursion; others may lack anything.
    if !has_states(session) {
        session.query_in_transaction("")?;
        return Ok((true, None));
    }
    if session.server().catalog == Catalog::OpenGauss {
        let table = quote_literal(&table_of(&portion.relation));
        let facts = format!("NOT {HAS_ANOTHER_FILE} AND {}", is_called(&table));
        let told = (
            session.server().has_function("pgxc_is_committed"),
            portion.state.is_some(),
        );
        let sql = parts::sql(&portion.relation, &facts, columns, told);
        let rows = session.query_in_transaction(&sql)?;
        return match rows.first() {
            Some(row) => Ok((answer(&rows)?, row.owned(1))),
            None => Ok((false, None)),
        };
    }
    if !portion.has_parts && portion.state.is_none() {
        let sql = one_table_sql(session, &portion.relation, columns);
        let rows = session.query_in_transaction(&sql)?;
        let has_children = rows.first().and_then(|row| row.text(1));
        // A table with heirs of the old kind is none to the plan. One that is gone gives no row.
        match has_children {
            Some("f") => return Ok((answer(&rows)?, None)),
            None => return Ok((false, None)),
            Some(_) => {}
        }
    }
    // What tells the partitions that are there now locks all of them, where the COPY has locked those it has read. So the locks are
    // given back at once, and not waited for.
    let sql = tree_sql(session, portion, columns);
    let patience = if session.server().is_declarative() {
        "SET LOCAL lock_timeout = '5s'; "
    } else {
        ""
    };
    let rows = session.query_in_transaction(&Session::question(&format!("{patience}{sql}")))?;
    let state = rows.first().and_then(|row| row.owned(1));
    Ok((answer(&rows)?, state))
}

/// File, name and columns of a single table, and whether it has children.
fn one_table_sql(session: &Session, relation: &str, columns: &[String]) -> String {
    let name = quote_literal(relation);
    let mut facts = vec![format!("NOT {HAS_ANOTHER_FILE}"), is_called(&name)];
    if has_identities(session) {
        facts.extend(columns_are_the_same(columns));
    }
    format!(
        "SELECT {}, EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = CAST({name} AS regclass)",
        facts.join(" AND ")
    )
}

/// The same for a table and all below it, and that these are all.
fn tree_sql(session: &Session, portion: &Portion, columns: &[String]) -> String {
    let name = quote_literal(&portion.relation);
    let version = session.server().version;
    let is_declarative = session.server().is_declarative();
    let mut facts = vec![format!(
        "NOT EXISTS (
           SELECT 1 FROM tree LEFT JOIN pg_class c ON c.oid = tree.oid
           WHERE c.oid IS NULL
              OR {HAS_ANOTHER_FILE})"
    )];
    let mut of_root = vec![is_called(&name)];
    if is_declarative && version >= 120_000 {
        of_root.push(
            "(c.relkind <> 'p' OR NOT EXISTS (
               (SELECT oid, parent FROM tree WHERE parent IS NOT NULL
                EXCEPT SELECT relid, parentrelid FROM pg_partition_tree(c.oid) WHERE level > 0)
               UNION ALL
               (SELECT CAST(relid AS oid), CAST(parentrelid AS oid) FROM pg_partition_tree(c.oid) WHERE level > 0
                EXCEPT SELECT oid, parent FROM tree WHERE parent IS NOT NULL)))"
                .to_owned(),
        );
    } else if is_declarative {
        // A query of a partitioned table has locked all partitions before 12, so this waits for nobody.
        facts.push(
            "NOT EXISTS (
               SELECT 1 FROM tree JOIN pg_class c ON c.oid = tree.oid
               WHERE tree.parent IS NOT NULL AND c.relpartbound IS NOT NULL
                 AND pg_get_expr(c.relpartbound, 0) <> 'DEFAULT'
                 AND pg_get_partition_constraintdef(c.oid) IS NULL)"
                .to_owned(),
        );
    }
    if has_identities(session) {
        facts.push(members_are_called_the_same());
        of_root.extend(columns_are_the_same(columns));
    }
    facts.push(format!(
        "EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = CAST({name} AS regclass) AND {})",
        of_root.join(" AND ")
    ));
    let state = match portion.state {
        Some(_) => state_sql("tree", &name, columns, is_declarative),
        None => "CAST(NULL AS text)".to_owned(),
    };
    format!(
        "{} SELECT {}, {state}",
        heirs_sql(&regclass(&name), is_declarative),
        facts.join(" AND ")
    )
}

/// Relation c in schema n has the name that it was read by.
fn is_called(name: &str) -> String {
    format!("'\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(c.relname, '\"', '\"\"') || '\"' = {name}")
}

/// True where the facts below can be asked for.
fn has_states(session: &Session) -> bool {
    session.server().version >= 90_000 && session.server().product != Product::Other
}

/// pg_identify_object, since 9.3, names an object as the caches have it.
fn has_identities(session: &Session) -> bool {
    session.server().version >= 90_300
}

fn regclass(name: &str) -> String {
    format!("CAST({name} AS regclass)")
}

/// Parentheses, since before 9.5 IS binds more tightly than `||`. Greenplum's EXCHANGE PARTITION gives the name of a partition to another table.
fn members_are_called_the_same() -> String {
    "NOT EXISTS (
       SELECT 1 FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE (pg_identify_object(CAST('pg_class' AS regclass), c.oid, 0)).identity
             IS DISTINCT FROM (quote_ident(n.nspname) || '.' || quote_ident(c.relname)))"
        .to_owned()
}

/// COPY has found the columns of relation c, in schema n, by their present names.
fn columns_are_the_same(columns: &[String]) -> Option<String> {
    let list: Vec<String> = columns.iter().map(|column| quote_literal(column)).collect();
    (!list.is_empty()).then(|| {
        format!(
            "NOT EXISTS (
               SELECT 1 FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN ({})
                 AND (pg_identify_object(CAST('pg_class' AS regclass), c.oid, a.attnum)).identity
                     IS DISTINCT FROM (quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.'
                                       || quote_ident(a.attname)))",
            list.join(", ")
        )
    })
}

/// What the snapshot's catalogs say of the relation `name` with the tree `tree`: its tables, their
/// bounds, and the columns that are read.
fn state_sql(tree: &str, name: &str, columns: &[String], is_declarative: bool) -> String {
    let bound = match is_declarative {
        true => "COALESCE(pg_get_expr(c.relpartbound, 0), '')",
        false => "''",
    };
    let list: Vec<String> = columns.iter().map(|column| quote_literal(column)).collect();
    format!(
        "md5((SELECT string_agg(concat_ws(':', c.oid, COALESCE(CAST({tree}.parent AS text), ''), {bound}), ',' ORDER BY c.oid)
              FROM {tree} JOIN pg_class c ON c.oid = {tree}.oid)
          || COALESCE((SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid), ',' ORDER BY a.attnum)
              FROM pg_attribute a WHERE a.attrelid = CAST({name} AS regclass) AND NOT a.attisdropped
                AND a.attname IN ({})), ''))",
        if list.is_empty() { "NULL".to_owned() } else { list.join(", ") }
    )
}

/// The states of relations as the session's snapshot has them, by relation; empty where they cannot be
/// had.
pub fn states(session: &mut Session, relations: &[String], columns: &[String]) -> Result<HashMap<String, String>> {
    let mut states = HashMap::new();
    // concat_ws is there since 9.1.
    if !has_states(session) || session.server().version < 90_100 {
        return Ok(states);
    }
    let is_declarative = session.server().is_declarative();
    let is_gauss = session.server().catalog == Catalog::OpenGauss;
    for batch in relations.chunks(BATCH) {
        let sql: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(at, relation)| {
                if is_gauss {
                    return format!("(SELECT {at}, {})", parts::state_sql(relation, columns));
                }
                let name = quote_literal(relation);
                let state = state_sql("tree", &name, columns, is_declarative);
                format!(
                    "(SELECT {at}, ({} SELECT {state}))",
                    heirs_sql(&regclass(&name), is_declarative)
                )
            })
            .collect();
        for row in session.query(&sql.join(" UNION ALL "))? {
            let at: usize = row.number(0).unwrap_or(usize::MAX);
            let relation = batch.get(at).ok_or_else(|| Error::protocol("an unexpected row"))?;
            states.insert(relation.clone(), row.string(1)?);
        }
    }
    Ok(states)
}
