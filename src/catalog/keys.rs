//! What partitions are told by: the key of each level, and columns as if they were keys. Of PostgreSQL 10 and later and its relatives; older
//! families tell less, each in its own way.

use super::Database;
use super::trust::{Trust, others_code};
use crate::error::{Error, Result};
use crate::plan::collation::{self, Collation};
use crate::plan::constraint::foreign_schema;
use crate::plan::copy_sql::quote_literal;
use crate::plan::key::{KeyColumn, named_by_oid};
use crate::plan::tables::Relation;
use crate::plan::tree::{Level, Strategy, list_expression};
use crate::plan::types::FIRST_NORMAL_OID;
use crate::row::Row;
use std::collections::{BTreeSet, HashMap};

/// What a [`KeyColumn`] is made of besides its name: of type t with collation l.
fn key_facts(version: u32) -> String {
    format!(
        "{KEY}, {}, base.typmod, format_type(t.oid, base.typmod), l.oid",
        collation::sql(version)
    )
}

const KEY: &str = "t.oid, t.typname, quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
    ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname),
    CASE WHEN t.typtype = 'e' THEN
      (SELECT json_agg(CAST(e.enumlabel AS text) ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END";

/// Type t of attribute a, or of another value of type @, a domain's being the one below it, and its schema tn.
pub const KEY_TYPE: &str = "LEFT JOIN LATERAL (
      WITH RECURSIVE below AS (
        SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, COALESCE(a.atttypmod, -1) AS typmod FROM pg_type y WHERE y.oid = @
        UNION ALL SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, below.typtypmod
        FROM below JOIN pg_type y ON y.oid = below.typbasetype WHERE below.typtype = 'd')
      SELECT oid, typmod FROM below WHERE typtype NOT IN ('d', 'p')) base ON true
    LEFT JOIN pg_type t ON t.oid = base.oid
    LEFT JOIN pg_namespace tn ON tn.oid = t.typnamespace";

/// Whether values of type t may be read.
fn is_trusted(trust: Trust) -> String {
    match trust {
        Trust::Everybody => "true".to_owned(),
        Trust::BuiltIn => format!("(t.oid < {FIRST_NORMAL_OID} OR t.typtype = 'e')"),
        Trust::OwnRole => format!(
            "CASE WHEN t.oid >= {FIRST_NORMAL_OID} THEN {} IS NULL ELSE true END",
            others_code("t.oid")
        ),
    }
}

/// How each partitioned table of `tree` is partitioned. A key below whose domains there is a type that could not be read without running
/// the code of somebody who is not trusted is as one that cannot be compared; so is another role's expression that calls what is not built in,
/// and any expression where only what is built in is trusted.
pub fn levels(db: &mut dyn Database, tree: &str, trust: Trust) -> Result<HashMap<u32, Level<Relation>>> {
    // The source need not show its roles to everybody.
    let (is_own, owner) = match trust {
        Trust::Everybody => ("true", ""),
        Trust::BuiltIn => ("false", ""),
        Trust::OwnRole => (
            "w.rolsuper OR w.rolname = current_user",
            "JOIN pg_class c ON c.oid = tree.oid JOIN pg_roles w ON w.oid = c.relowner",
        ),
    };
    let rows = db.query(&format!(
        "{tree}
         SELECT p.partrelid, p.partstrat, a.attname,
                CASE WHEN p.partnatts = 1 AND p.partattrs[0] = 0 THEN pg_get_partkeydef(p.partrelid) END,
                COALESCE(o.opcdefault AND t.oid IS NOT NULL AND {}, false), {}, {is_own}
         FROM tree JOIN pg_partitioned_table p ON p.partrelid = tree.oid {owner}
         CROSS JOIN LATERAL generate_series(0, p.partnatts - 1) AS k(n)
         LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[k.n]
         LEFT JOIN pg_opclass o ON o.oid = p.partclass[k.n]
         {}
         LEFT JOIN pg_collation l ON l.oid = p.partcollation[k.n]
         LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
         ORDER BY p.partrelid, k.n",
        is_trusted(trust),
        key_facts(db.server().version),
        KEY_TYPE.replace('@', "COALESCE(a.atttypid, o.opcintype)"),
    ))?;
    let mut levels = HashMap::new();
    for row in &rows {
        let strategy = row.text(1).and_then(Strategy::from_code);
        // What is partitioned in a way of a later server is read whole.
        if strategy.is_none() && trust == Trust::Everybody {
            continue;
        }
        let level = levels.entry(row.need(0)?).or_insert_with(|| Level {
            // Written, it cannot be compared with anything.
            strategy: strategy.unwrap_or(Strategy::List),
            columns: Vec::new(),
            plain: strategy.is_some(),
            children: Vec::new(),
        });
        let expression = row.text(3).and_then(list_expression);
        // What an owner's expression calls is called at the other end, too, with the rights that this role has there.
        let may_be_asked = |text: &&str| match trust {
            Trust::BuiltIn => false,
            _ => row.is(14) || foreign_schema(text).is_none(),
        };
        let expression = expression.filter(may_be_asked);
        match (row.text(2), expression) {
            (Some(name), _) if row.is(4) => level.columns.push(key_column(row, 5, name, false)?),
            (None, Some(text)) if row.is(4) => level.columns.push(key_column(row, 5, text, true)?),
            _ => level.plain = false,
        }
    }
    for level in levels.values_mut().filter(|level| !level.plain) {
        level.columns.clear();
    }
    Ok(levels)
}

/// A key from the columns of [`key_facts`], which begin at `at`.
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
            .map_err(|_| Error::protocol("a catalog gave labels of an enum that cannot be read"))?
            .unwrap_or_default(),
        ordering: type_sql.clone() + collate.unwrap_or(""),
        type_sql,
        cast_sql: row.string(at + 7)?,
        ..KeyColumn::default()
    })
}

/// Columns of the table with this OID by name, as if they were its key.
pub fn key_columns(db: &mut dyn Database, oid: u32, names: &BTreeSet<String>, trust: Trust) -> Result<Vec<KeyColumn>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    let rows = db.query(&format!(
        "SELECT a.attname, {}
         FROM pg_attribute a {}
         LEFT JOIN pg_collation l ON l.oid = a.attcollation
         LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped AND t.oid IS NOT NULL AND {} AND CAST(a.attname AS text) IN ({})
           AND EXISTS (SELECT 1 FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                       WHERE m.amname = 'btree' AND o.opcdefault
                         AND (o.opcintype = t.oid OR t.typtype = 'e' OR t.typname IN ('varchar', 'bpchar')))",
        key_facts(db.server().version),
        KEY_TYPE.replace('@', "a.atttypid"),
        is_trusted(trust),
        names.join(", "),
    ))?;
    rows.iter()
        .map(|row| key_column(row, 1, row.text(0).unwrap_or(""), false))
        .collect()
}
