//! What the target table looks like. Runs in a coordinator or in the caller's backend, always under a search_path of pg_catalog.

use super::trust::others_code;
use crate::error::{Error, Result, sqlstate};
use crate::pg::session;
use crate::pg::spi::{self, Row};
use crate::pg::storage::{self, Against};
use crate::plan::bound::Bound;
use crate::plan::collation::{self, Collation};
use crate::plan::columns::TargetColumn;
use crate::plan::constraint::foreign_schema;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::tree::{
    FIRST_NORMAL_OID, KeyColumn, Level, Node, NodeRow, Strategy, assemble, list_expression, named_by_oid,
};
use crate::plan::types::catalog::{Catalog, Described, FACTS};
use crate::plan::units::{TargetRel, TargetTable};
use std::collections::{BTreeSet, HashMap};

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
        (Some("r" | "p" | "t"), _) => check_is_of_users(oid),
        (Some("v"), _) => wrong("a view"),
        (Some("m"), _) => wrong("a materialized view"),
        (Some("f"), _) => wrong("a foreign table"),
        (Some("S"), _) => wrong("a sequence"),
        (Some("i" | "I"), _) => wrong("an index"),
        _ => wrong("not a table"),
    }
}

/// Refuses what the server or the extension keeps for itself, as TRUNCATE refuses system catalogs:
/// a superuser may write there, and with the rows of another cluster's catalog this one is gone.
/// The partitions are looked at too: one of them can be such a table.
fn check_is_of_users(oid: u32) -> Result<()> {
    let rows = spi::execute(
        &format!(
            "{TREE},
             kept AS (
               SELECT tree.parent IS NULL AS is_named, c.relname,
                      c.oid < {FIRST_OF_USERS}
                        OR n.nspname ~ '^(pg_catalog|information_schema|pg_toast.*)$' AS is_of_server,
                      EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                                AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'cgpsync') AS is_of_ours
               FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace)
             SELECT relname, is_of_server FROM kept WHERE is_of_server OR is_of_ours ORDER BY is_named DESC, relname LIMIT 1"
        ),
        &[Some(&oid.to_string())],
    )?;
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

/// The first OID that the server gives to what users create (transam.h, FirstNormalObjectId).
const FIRST_OF_USERS: u32 = 16384;

/// Reads columns and partitions of `oid`.
pub fn read_table(oid: u32) -> Result<TargetTable> {
    let root = tree(oid)?.ok_or_else(|| {
        Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("the table with OID {oid} is not visible to the processes of the run"),
        )
        .hint("Commit the transaction that created it first.")
    })?;
    let rows = spi::execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        &[Some(&oid.to_string())],
    )?;
    let row = rows.first().ok_or_else(|| Error::internal("the table is gone"))?;
    Ok(TargetTable {
        schema: row.string(0)?,
        name: row.string(1)?,
        root,
        columns: columns(oid)?,
    })
}

/// Every table below $1, which comes first.
pub(super) const TREE: &str = "WITH RECURSIVE tree AS (
    SELECT $1::oid AS oid, NULL::oid AS parent
    UNION ALL
    SELECT i.inhrelid, i.inhparent FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
    WHERE NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::bool, false))";

/// The table with its partitions. pg_get_expr is given no relation: a bound needs none, and it would wait for whoever has that one locked.
fn tree(oid: u32) -> Result<Option<Node<TargetRel>>> {
    let oid = oid.to_string();
    let mut levels = levels(&oid)?;
    let rows = spi::execute(
        &format!(
            "{TREE}
             SELECT tree.oid, tree.parent, n.nspname, c.relname, c.relkind, pg_get_expr(c.relpartbound, 0)
             FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
        ),
        &[Some(&oid)],
    )?;
    let mut nodes = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, parent): (u32, Option<u32>) = (row.need(0)?, row.get(1)?);
        let bound = row.text(5).filter(|_| parent.is_some());
        nodes.push(NodeRow {
            id,
            parent,
            node: Node {
                table: TargetRel {
                    oid: id,
                    name: quote_qualified(&row.string(2)?, &row.string(3)?),
                    foreign: row.text(4) == Some("f"),
                    bound: bound.map(str::to_owned),
                },
                bound: bound.map(Bound::parse).transpose()?,
                level: levels.remove(&id),
            },
        });
    }
    Ok(assemble(nodes))
}

/// What a [`KeyColumn`] is made of besides its name: of type t with collation l.
fn key_facts() -> String {
    format!(
        "{KEY}, {}, base.typmod, format_type(t.oid, base.typmod), l.oid",
        collation::sql(session::VERSION)
    )
}

const KEY: &str = "t.oid, t.typname, quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
    ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname),
    CASE WHEN t.typtype = 'e' THEN
      (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END";

/// Type t of attribute a, or of another value of type @, a domain's being the one below it, and its schema tn.
pub(super) const KEY_TYPE: &str = "LEFT JOIN LATERAL (
      WITH RECURSIVE below AS (
        SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, COALESCE(a.atttypmod, -1) AS typmod FROM pg_type y WHERE y.oid = @
        UNION ALL SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, below.typtypmod
        FROM below JOIN pg_type y ON y.oid = below.typbasetype WHERE below.typtype = 'd')
      SELECT oid, typmod FROM below WHERE typtype NOT IN ('d', 'p')) base ON true
    LEFT JOIN pg_type t ON t.oid = base.oid
    LEFT JOIN pg_namespace tn ON tn.oid = t.typnamespace";

/// How each partitioned table of the tree is partitioned. A key below whose domains there is a type that could not be read
/// without running somebody's code is as one that cannot be compared; so is another role's expression that calls what is not built in.
fn levels(root: &str) -> Result<HashMap<u32, Level<TargetRel>>> {
    let key_type = KEY_TYPE.replace('@', "COALESCE(a.atttypid, o.opcintype)");
    let key_facts = key_facts();
    let others_code = others_code("t.oid");
    let rows = spi::execute(
        &format!(
            "{TREE}
             SELECT p.partrelid, p.partstrat, a.attname,
                    CASE WHEN p.partnatts = 1 AND p.partattrs[0] = 0 THEN pg_get_partkeydef(p.partrelid) END,
                    COALESCE(o.opcdefault AND t.oid IS NOT NULL, false)
                    AND CASE WHEN t.oid >= {FIRST_NORMAL_OID} THEN {others_code} IS NULL ELSE true END,
                    w.rolsuper OR w.rolname = current_user, {key_facts}
             FROM tree JOIN pg_partitioned_table p ON p.partrelid = tree.oid
             JOIN pg_class c ON c.oid = tree.oid JOIN pg_roles w ON w.oid = c.relowner
             CROSS JOIN LATERAL generate_series(0, p.partnatts - 1) AS k(n)
             LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[k.n]
             LEFT JOIN pg_opclass o ON o.oid = p.partclass[k.n]
             {key_type}
             LEFT JOIN pg_collation l ON l.oid = p.partcollation[k.n]
             LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
             ORDER BY p.partrelid, k.n"
        ),
        &[Some(root)],
    )?;
    let mut levels = HashMap::new();
    for row in &rows {
        let strategy = row.text(1).and_then(Strategy::from_code);
        let level = levels.entry(row.need(0)?).or_insert_with(|| Level {
            // A strategy of a later server cannot be compared with anything.
            strategy: strategy.unwrap_or(Strategy::List),
            columns: Vec::new(),
            plain: strategy.is_some(),
            children: Vec::new(),
        });
        let expression = row.text(3).and_then(list_expression);
        // What an owner's expression calls is called on the source, too, with the rights that this role has there.
        let expression = expression.filter(|text| row.is(5) || foreign_schema(text).is_none());
        match (row.text(2), expression) {
            (Some(name), _) if row.is(4) => level.columns.push(key_column(row, 6, name, false)?),
            (None, Some(text)) if row.is(4) => level.columns.push(key_column(row, 6, text, true)?),
            _ => level.plain = false,
        }
    }
    for level in levels.values_mut().filter(|level| !level.plain) {
        level.columns.clear();
    }
    Ok(levels)
}

/// A key from the columns of [`KEY`], which begin at `at`.
fn key_column(row: &Row, at: usize, name: &str, expression: bool) -> Result<KeyColumn> {
    let type_oid = row.need(at)?;
    // No SQL begins like that.
    let of_type =
        (type_oid >= FIRST_NORMAL_OID).then(|| row.get(at + 8).map(|oid| named_by_oid(type_oid, oid.unwrap_or(0))));
    let of_type = of_type.transpose()?;
    let type_sql = of_type.clone().map_or_else(|| row.string(at + 2), Ok)?;
    let collate = row.text(at + 3).filter(|_| of_type.is_none());
    let labels = row.text(at + 4).map(serde_json::from_str).transpose();
    Ok(KeyColumn {
        name: name.to_owned(),
        expression,
        type_oid,
        type_name: row.string(at + 1)?,
        modifier: row.need(at + 6)?,
        collation: row.text(at + 5).and_then(Collation::parse),
        labels: labels
            .map_err(|e: serde_json::Error| Error::internal(e.to_string()))?
            .unwrap_or_default(),
        ordering: type_sql.clone() + collate.unwrap_or(""),
        type_sql,
        cast_sql: row.string(at + 7)?,
        ..KeyColumn::default()
    })
}

/// Columns of the table by name, as if they were its key.
pub fn key_columns(oid: u32, names: &BTreeSet<String>) -> Result<Vec<KeyColumn>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let list = serde_json::to_string(names).map_err(|e| Error::internal(e.to_string()))?;
    let key_type = KEY_TYPE.replace('@', "a.atttypid");
    let key_facts = key_facts();
    let others_code = others_code("t.oid");
    let rows = spi::execute(
        &format!(
            "SELECT a.attname, {key_facts}
             FROM pg_attribute a {key_type}
             LEFT JOIN pg_collation l ON l.oid = a.attcollation
             LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
             WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND t.oid IS NOT NULL
               AND CASE WHEN t.oid >= {FIRST_NORMAL_OID} THEN {others_code} IS NULL ELSE true END
               AND to_jsonb(a.attname::text) <@ $2::jsonb
               AND EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                           WHERE m.amname = 'btree' AND o.opcdefault
                             AND (o.opcintype = t.oid OR t.typtype = 'e' OR t.typname IN ('varchar', 'bpchar')))"
        ),
        &[Some(&oid.to_string()), Some(&list)],
    )?;
    rows.iter()
        .map(|row| key_column(row, 1, row.text(0).unwrap_or(""), false))
        .collect()
}

/// Columns. A key column is needed as a NOT NULL one is: no RANGE partition takes a NULL. Binary is safe for pinned built-in base and
/// range types and their arrays, except object identifiers, whose binary form is a number that means something else on another server,
/// money, whose scale follows lc_monetary, int2vector, oidvector and (in some minor versions) tsquery, which don't read the empty one they write,
/// and types (or elements of arrays) without binary functions.
fn columns(oid: u32) -> Result<Vec<TargetColumn>> {
    let rows = spi::execute(
        &format!("SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod),
                a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '',
                t.oid < 10000 AND t.typtype IN ('b', 'r', 'm') AND t.typsend <> 0 AND t.typreceive <> 0
                  AND t.typname !~ '^_?(reg|aclitem$|money$|tsquery$|(int2|oid)vector$)'
                  AND NOT EXISTS (SELECT FROM pg_type e
                    WHERE e.typarray = t.oid AND (e.typtype NOT IN ('b', 'r', 'm') OR e.typsend = 0)),
                a.attnotnull OR t.typnotnull OR EXISTS (SELECT FROM pg_partitioned_table p
                  WHERE p.partrelid = a.attrelid AND p.partstrat = 'r' AND a.attnum = ANY (p.partattrs)),
                a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
                  AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated), a.atttypmod, {FACTS}
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type y ON y.oid = a.atttypid
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"),
        &[Some(&oid.to_string())],
    )?;
    let mut described = Vec::with_capacity(rows.len());
    for row in &rows {
        described.push(Described::read(row.texts(), 9)?);
    }
    let types = Catalog::read(described, session::VERSION, &mut |sql| {
        let rows = spi::execute(sql, &[])?;
        Ok(rows.into_iter().map(Row::into_texts).collect())
    })?;
    rows.iter()
        .map(|row| {
            Ok(TargetColumn {
                name: row.string(0)?,
                type_oid: row.need(1)?,
                type_name: row.string(2)?,
                kind: types.of(row.need(1)?, row.need(8)?),
                has_default: row.is(3),
                generated: row.is(4),
                binary_safe: row.is(5),
                needed: row.is(6),
                not_null: row.is(7),
            })
        })
        .collect()
}

/// The partitioned tables above `table`, from the top.
pub fn parents_of(table: u32) -> Result<Vec<u32>> {
    let rows = spi::execute(
        "SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1::pg_catalog.oid::pg_catalog.regclass)
         WITH ORDINALITY AS a(relid, n) WHERE relid <> $1::pg_catalog.oid ORDER BY n DESC",
        &[Some(&table.to_string())],
    )?;
    rows.iter().map(|row| row.need(0)).collect()
}

/// The condition a row must satisfy to belong to each leaf: its partition constraint, deparsed by this server with every literal's type.
/// Leaves that take every row are not in the result.
pub fn partition_constraints(leaves: &[u32]) -> Result<HashMap<u32, String>> {
    let list: Vec<String> = leaves.iter().map(u32::to_string).collect();
    let list = format!("{{{}}}", list.join(","));
    // The deparser locks each leaf and then its parents. Everybody else locks parents first: so they are locked before.
    let parents = spi::execute(
        "SELECT DISTINCT a.relid::oid, (SELECT count(*) FROM pg_partition_ancestors(a.relid)) AS depth
         FROM unnest($1::oid[]) AS u(o), LATERAL pg_partition_ancestors(u.o::regclass) AS a(relid)
         WHERE a.relid <> u.o ORDER BY depth, 1",
        &[Some(&list)],
    )?;
    for parent in &parents {
        storage::lock(parent.need(0)?, Against::Removal);
    }
    // A name that is a keyword only on the source must be quoted.
    session::set_config("quote_all_identifiers", "on", true)?;
    let rows = spi::execute(
        "SELECT o, c FROM unnest($1::oid[]) AS u(o), LATERAL (SELECT pg_get_partition_constraintdef(o)) AS d(c) WHERE c IS NOT NULL",
        &[Some(&list)],
    )?;
    session::set_config("quote_all_identifiers", "off", true)?;
    rows.iter().map(|row| Ok((row.need(0)?, row.string(1)?))).collect()
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

/// Processes that hold a lock on the partition or on what is above it, for the error of one that could not get its own. Those of the same run
/// have it too, and keep nobody waiting.
pub fn lock_holders(oid: u32) -> Result<String> {
    let rows = spi::execute(
        "SELECT string_agg(DISTINCT pid::text, ', ') FROM pg_locks l
         WHERE relation IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_ancestors($1::oid::regclass))
           AND granted AND pid <> pg_backend_pid()
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND NOT EXISTS (SELECT FROM pg_stat_activity me, pg_stat_activity a
                           JOIN pg_stat_activity w ON w.pid = COALESCE(a.leader_pid, a.pid)
                           WHERE me.pid = pg_backend_pid() AND a.pid = l.pid
                             AND w.backend_type LIKE 'cgpsync %' AND w.application_name = me.application_name)",
        &[Some(&oid.to_string())],
    )?;
    Ok(rows
        .first()
        .and_then(|row| row.text(0))
        .unwrap_or("none any more")
        .to_owned())
}
