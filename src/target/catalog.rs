//! What the target table looks like. Runs in a coordinator or in the caller's backend, always under a search_path of pg_catalog.

use crate::error::{Error, Result, sqlstate};
use crate::pg::spi;
use crate::plan::bound::Bound;
use crate::plan::columns::TargetColumn;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::select::ranking_query;
use crate::plan::units::{Key, Leaf, Ranks, TargetTable};

/// Refuses what cannot be a target, with the reason.
pub fn check_kind(oid: u32) -> Result<()> {
    let rows = spi::execute(
        "SELECT n.nspname, c.relname, c.relkind, c.relpersistence,
                EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("relation with OID {oid} does not exist"),
        ));
    };
    let name = quote_qualified(&row.string(0)?, &row.string(1)?);
    let wrong = |what: &str| {
        Err(Error::new(sqlstate::WRONG_OBJECT_TYPE, format!("{name} is {what}"))
            .hint("A sync writes to an ordinary or a partitioned table."))
    };
    match (row.text(2), row.text(3)) {
        (_, Some("t")) => wrong("a temporary table, which other processes cannot write"),
        (Some("r"), _) if row.is(4) => wrong("a parent of inheriting tables, whose rows would be copied twice"),
        (Some("r" | "p"), _) => Ok(()),
        (Some("v"), _) => wrong("a view"),
        (Some("m"), _) => wrong("a materialized view"),
        (Some("f"), _) => wrong("a foreign table"),
        (Some("S"), _) => wrong("a sequence"),
        (Some("i" | "I"), _) => wrong("an index"),
        _ => wrong("not a table"),
    }
}

/// Reads columns and partitions of `oid`.
pub fn read_table(oid: u32) -> Result<TargetTable> {
    let rows = spi::execute(
        "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("the table with OID {oid} is not visible to the processes of the run"),
        )
        .hint("Commit the transaction that created it first."));
    };
    let (schema, name) = (row.string(0)?, row.string(1)?);
    let partitioned = row.text(2) == Some("p");
    let (key, leaves) = if partitioned {
        let key = top_key(oid)?;
        let leaves = partition_leaves(oid, key.as_ref())?;
        (key, leaves)
    } else {
        let leaf = Leaf {
            oid,
            name: quote_qualified(&schema, &name),
            range: None,
            direct: None,
            hashed: false,
        };
        (None, vec![leaf])
    };
    Ok(TargetTable {
        schema,
        name,
        partitioned,
        key,
        leaves,
        columns: columns(oid)?,
    })
}

/// Columns. Binary is safe for pinned built-in base types and their arrays, except object identifiers, whose binary form is a
/// number that means something else on another server, money, whose scale follows lc_monetary, and types without binary functions.
fn columns(oid: u32) -> Result<Vec<TargetColumn>> {
    let rows = spi::execute(
        "SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod),
                a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
                t.oid < 10000 AND t.typtype = 'b' AND t.typsend <> 0 AND t.typreceive <> 0
                  AND t.typname !~ '^_?(reg|aclitem$|money$)'
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[Some(&oid.to_string())],
    )?;
    rows.iter()
        .map(|row| {
            Ok(TargetColumn {
                name: row.string(0)?,
                type_oid: row.need(1)?,
                type_name: row.string(2)?,
                has_default: row.is(3),
                generated: row.is(4),
                binary_safe: row.is(5),
            })
        })
        .collect()
}

/// The RANGE key at the top. None for LIST and HASH, whose leaves are always taken; several columns, expressions and operator classes
/// of the user's own are refused.
fn top_key(oid: u32) -> Result<Option<Key>> {
    let rows = spi::execute(
        "SELECT p.partstrat, p.partnatts = 1 AND p.partattrs[0] > 0 AND o.opcdefault,
                a.attname, a.atttypid, t.typname, quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
                CASE WHEN l.oid IS NOT NULL THEN quote_ident(ln.nspname) || '.' || quote_ident(l.collname) END,
                CASE WHEN l.collname = 'default' THEN
                  (SELECT COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)
                   FROM pg_database d WHERE d.datname = current_database()) ELSE l.collname::text END
         FROM pg_partitioned_table p
         LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
         LEFT JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_namespace tn ON tn.oid = t.typnamespace
         LEFT JOIN pg_opclass o ON o.oid = p.partclass[0]
         LEFT JOIN pg_collation l ON l.oid = p.partcollation[0]
         LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
         WHERE p.partrelid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(Error::internal("partitioned table without a partition key"));
    };
    if row.text(0) != Some("r") {
        return Ok(None);
    }
    if !row.is(1) {
        return Err(Error::unsupported(
            "only RANGE partitioning on one plain column with its type's own ordering is supported",
        )
        .hint("Call it for the partitions one by one: an ordinary table is copied whole."));
    }
    Ok(Some(Key {
        column: row.string(2)?,
        type_oid: row.need(3)?,
        type_name: row.string(4)?,
        type_sql: row.string(5)?,
        collation_sql: row.text(6).map(str::to_owned),
        collation: row.text(7).map(str::to_owned),
    }))
}

/// Every leaf below `root`. `ranged` is the bound of the nearest level partitioned by RANGE on the top key.
const LEAVES: &str = r#"
    WITH RECURSIVE tree AS (
      SELECT c.oid, c.relkind, 0 AS level, NULL::text COLLATE "C" AS direct, NULL::text COLLATE "C" AS ranged, false AS hashed
      FROM pg_class c WHERE c.oid = $1::oid
      UNION ALL
      SELECT c.oid, c.relkind, t.level + 1,
             CASE WHEN t.level = 0 THEN b.bound END,
             CASE WHEN p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = $2 AND b.bound <> 'DEFAULT' THEN b.bound
                  WHEN p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = $2 THEN NULL
                  ELSE t.ranged END,
             t.hashed OR p.partstrat = 'h'
      FROM tree t
      JOIN pg_partitioned_table p ON p.partrelid = t.oid
      LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
      JOIN pg_inherits i ON i.inhparent = t.oid AND NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::bool, false)
      JOIN pg_class c ON c.oid = i.inhrelid
      CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, 0) COLLATE "C" AS bound) b
    )
    SELECT t.oid, n.nspname, c.relname, c.relkind, CASE WHEN t.level = 1 THEN t.direct END, t.ranged, t.hashed
    FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.relkind <> 'p'"#;

fn partition_leaves(root: u32, key: Option<&Key>) -> Result<Vec<Leaf>> {
    let root = root.to_string();
    let rows = spi::execute(LEAVES, &[Some(&root), key.map(|k| k.column.as_str())])?;
    rows.iter()
        .map(|row| {
            let name = quote_qualified(&row.string(1)?, &row.string(2)?);
            if row.text(3) != Some("r") {
                return Err(Error::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("partition {name} is a foreign table"),
                )
                .hint("Detach it: its rows are not in this database."));
            }
            let ranged = row.text(5).map(Bound::parse).transpose()?;
            Ok(Leaf {
                oid: row.need(0)?,
                name,
                range: ranged
                    .as_ref()
                    .and_then(Bound::single_range)
                    .map(|(from, to)| (from.clone(), to.clone())),
                direct: row.text(4).map(Bound::parse).transpose()?,
                hashed: row.is(6),
            })
        })
        .collect()
}

/// The condition a row of the source must satisfy to belong to the leaf: its partition constraint, deparsed by this server with
/// every literal's type. None when the leaf takes every row.
pub fn partition_constraint(leaf: u32) -> Result<Option<String>> {
    let rows = spi::execute(
        "SELECT pg_get_partition_constraintdef($1::oid)",
        &[Some(&leaf.to_string())],
    )?;
    Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
}

/// Ranks `values` as the key orders them.
pub fn rank(values: &[&str], key: &Key) -> Result<Ranks> {
    if values.is_empty() {
        return Ok(Ranks::new());
    }
    let sql = ranking_query(values, &key.type_sql, key.collation_sql.as_deref());
    let mut ranks = Ranks::new();
    for row in spi::execute(&sql, &[])? {
        let at: usize = row.need(0)?;
        if let Some(value) = values.get(at - 1) {
            ranks.insert((*value).to_owned(), row.need(1)?);
        }
    }
    Ok(ranks)
}

/// `value` as the key's type reads and prints it; the server's own words otherwise.
pub fn read_value(value: &str, key: &Key) -> Result<String> {
    let sql = format!("SELECT $1::{}::pg_catalog.text", key.type_sql);
    let rows = crate::pg::report::catch(|| spi::execute(&sql, &[Some(value)]))?;
    rows.first().ok_or_else(|| Error::internal("no value"))?.string(0)
}

/// The relation's quoted, qualified name as this transaction sees it now.
pub fn qualified_name(oid: u32) -> Result<String> {
    let rows = spi::execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let Some(row) = rows.first() else {
        return Err(Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("relation with OID {oid} does not exist any more"),
        )
        .hint("Run the same call again; it plans with the partitions there are."));
    };
    Ok(quote_qualified(&row.string(0)?, &row.string(1)?))
}

/// The privileges that loading a unit needs and COPY into a relation would otherwise check: see pg::copy::load.
pub fn check_privileges(oid: u32, name: &str) -> Result<()> {
    let rows = spi::execute(
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

/// Processes that hold a lock on the relation, for the error of one that could not get its own.
pub fn lock_holders(oid: u32) -> Result<String> {
    let rows = spi::execute(
        "SELECT string_agg(DISTINCT pid::text, ', ') FROM pg_locks
         WHERE relation = $1::oid AND granted AND pid <> pg_backend_pid()
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[Some(&oid.to_string())],
    )?;
    Ok(rows
        .first()
        .and_then(|row| row.text(0))
        .unwrap_or("none any more")
        .to_owned())
}
