//! What a table is made of, besides its partitions. SQL that PostgreSQL 8.3 understands wherever a server of that age may be asked; names are
//! unqualified, since the session's search_path is pinned to pg_catalog.

use super::server::Catalog;
use super::table::{Found, not_null};
use super::{Database, greenplum, opengauss, storage};
use crate::error::{Result, tame};
use crate::plan::constant::is_literal;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::counterparts::{Counterpart, counterpart_of};
use crate::plan::new_table::{Check, ColumnDefinition, Definition, Index, is_plain};
use crate::plan::tables::Relation;
use crate::plan::tree::Node;
use crate::row::Row;

/// Reads everything about `found` but its partitions, which are below `root`; of a view, its columns.
pub fn read(db: &mut dyn Database, found: &Found, root: &Node<Relation>) -> Result<Definition> {
    let mut definition = Definition {
        schema: found.schema.clone(),
        name: found.name.clone(),
        ..Definition::default()
    };
    columns(db, found, &mut definition)?;
    if matches!(found.kind.as_str(), "v" | "m") {
        return Ok(definition);
    }
    checks(db, found, &mut definition)?;
    indexes(db, found, &mut definition)?;
    others(db, found, &mut definition)?;
    storage::distribution(db, found, &mut definition)?;
    storage::storage(db, found, &mut definition)?;
    match db.server().catalog {
        Catalog::Greenplum => definition.refusal = greenplum::refusal(db, found)?,
        Catalog::Declarative => {
            let unread = found.kind == "p" && (root.level.is_none() || !is_plain(root));
            definition.refusal =
                unread.then(|| "A key is an expression, or has an operator class of its own.".to_owned());
        }
        Catalog::OpenGauss => definition.left_out.extend(opengauss::left_out(db, found)?),
        Catalog::None => {}
    }
    Ok(definition)
}

fn columns(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let rows = column_rows(db, found)?;
    let mut literals = Vec::new();
    for row in &rows {
        let name = row.name(0)?;
        let default = row.filled(5);
        let mut leave_out = |what: String| definition.left_out.push(what);
        if row.filled(6).is_some() {
            leave_out(format!(
                "column \"{name}\" is an identity column on the source and an ordinary one here"
            ));
        }
        if row.filled(7).is_some() {
            leave_out(format!(
                "column \"{name}\" is generated on the source and an ordinary one here"
            ));
        } else if let Some(expression) = default {
            if is_literal(&expression) {
                let value = format!("CAST(({expression}) AS {})", row.string(4)?);
                let value = counterpart(db, row)?.map_or_else(|| value.clone(), |here| here.read(&value));
                literals.push((definition.columns.len(), value));
            } else {
                leave_out(format!(
                    "default of column \"{name}\" is not copied: {}",
                    tame(&expression)
                ));
            }
        }
        let mut collation = row.filled(8);
        if row.filled(9).is_some_and(|schema| schema != "pg_catalog")
            && let Some(collation) = collation.take()
        {
            leave_out(format!(
                "collation \"{collation}\" of column \"{name}\" is not copied: it is not built in"
            ));
        }
        // What a literal in a view is before PostgreSQL 10.
        let type_name = Some(row.string(1)?).filter(|name| name != "unknown");
        let modifier = row.number(2).unwrap_or(-1);
        let here = counterpart(db, row)?;
        definition.columns.push(ColumnDefinition {
            name,
            type_name: match here {
                Some(here) => here.bare_name(),
                None => type_name.unwrap_or_else(|| "text".to_owned()),
            },
            modifier: here.map_or(modifier, |here| here.modifier(modifier)),
            not_null: row.is(3),
            default: None,
            collation,
            encoding: Vec::new(),
        });
    }
    defaults(db, &literals, definition)
}

/// Of each column: name, type without modifier, modifier, NOT NULL, type, default, identity, generated, collation and its schema, type's OID.
fn column_rows(db: &mut dyn Database, found: &Found) -> Result<Vec<Row>> {
    let version = db.server().version;
    let declarative = db.server().is_declarative();
    let identity = if declarative { "a.attidentity" } else { "''" };
    let generated = if declarative && version >= 120_000 {
        "a.attgenerated"
    } else if opengauss::has_column(db, "pg_attrdef", "adgencol")? {
        "CAST(d.adgencol AS text)"
    } else {
        "''"
    };
    let (collation, join) = if version >= 90_100 {
        (
            "CASE WHEN a.attcollation <> y.typcollation THEN CAST(l.collname AS text) END, ln.nspname",
            "LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace",
        )
    } else {
        ("NULL, NULL", "")
    };
    let not_null = if declarative { not_null(version) } else { "a.attnotnull" };
    db.query(&format!(
        "SELECT a.attname, format_type(a.atttypid, NULL), a.atttypmod, {not_null}, format_type(a.atttypid, a.atttypmod),
                pg_get_expr(d.adbin, d.adrelid), {identity}, {generated}, {collation}, a.atttypid
         FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum {join}
         WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        found.oid
    ))
}

/// What the type of a row of [`column_rows`] is here, if it is one of openGauss' own.
fn counterpart(db: &dyn Database, row: &Row) -> Result<Option<&'static Counterpart>> {
    Ok(match db.server().catalog {
        Catalog::OpenGauss => counterpart_of(row.need(10)?),
        _ => None,
    })
}

/// Lets the source turn its literals into values: column, expression of the column's type.
fn defaults(db: &mut dyn Database, literals: &[(usize, String)], definition: &mut Definition) -> Result<()> {
    if literals.is_empty() {
        return Ok(());
    }
    let select = |(at, value): &(usize, String)| format!("SELECT {at}, CAST({value} AS text)");
    let sql: Vec<String> = literals.iter().map(select).collect();
    for row in db.query(&sql.join(" UNION ALL "))? {
        let column = row.number(0).and_then(|at: usize| definition.columns.get_mut(at));
        if let Some(column) = column {
            column.default = row.owned(1);
        }
    }
    Ok(())
}

/// CHECK constraints of the table and, where partitions may have more, of those. Greenplum's partitions have their bounds as such.
fn checks(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let version = db.server().version;
    let tree = if db.server().is_declarative() {
        found.tree(db.server())
    } else {
        found.alone()
    };
    let inherited = if version >= 80_400 {
        "tree.parent IS NULL OR k.coninhcount = 0"
    } else {
        "true"
    };
    let valid = match version {
        180_000.. => "k.convalidated AND k.conenforced",
        90_100.. => "k.convalidated",
        _ => "true",
    };
    let rows = db.query(&format!(
        "{tree} SELECT n.nspname, c.relname, k.conname, pg_get_expr(k.conbin, k.conrelid), {valid}
         FROM tree JOIN pg_constraint k ON k.conrelid = tree.oid JOIN pg_class c ON c.oid = tree.oid
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE k.contype = 'c' AND ({inherited})
         ORDER BY tree.parent IS NOT NULL, n.nspname, c.relname, k.conname"
    ))?;
    for row in &rows {
        let (name, expression) = (row.name(2)?, row.string(3)?);
        if !row.is(4) {
            let what = format!(
                "CHECK constraint \"{name}\" is not copied: rows there may break it: {}",
                tame(&expression)
            );
            definition.left_out.push(what);
            continue;
        }
        definition.checks.push(Check {
            relation: quote_qualified(&row.string(0)?, &row.string(1)?),
            name,
            expression,
        });
    }
    Ok(())
}

fn indexes(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let has_keys = opengauss::has_column(db, "pg_index", "indnkeyatts")?;
    let server = db.server();
    let is_told = server.is_postgresql()
        || (server.is_greenplum() && server.version >= 90_400)
        || server.catalog == Catalog::OpenGauss;
    if !is_told {
        let rows = db.query(&format!(
            "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = {} ORDER BY 1",
            found.oid
        ))?;
        for row in &rows {
            let what = format!(
                "index \"{}\" is not copied: only those of PostgreSQL 10, Greenplum 6 and later, and openGauss are",
                row.string(0)?
            );
            definition.left_out.push(what);
        }
        return Ok(());
    }
    let version = server.version;
    // What Greenplum 6 has of an index on a partition is nobody's but its table's.
    let (tree, of_its_own) = match server.is_declarative() {
        true => (found.tree(server), "tree.parent IS NULL OR NOT i.relispartition"),
        false => (found.alone(), "true"),
    };
    let keys = if version >= 110_000 || has_keys {
        "x.indnkeyatts"
    } else {
        "x.indnatts"
    };
    let nulls = if version >= 150_000 {
        "x.indnullsnotdistinct"
    } else {
        "false"
    };
    // indoption (index.h): 1 is DESC, 2 is NULLS FIRST.
    let rows = db.query(&format!(
        "{tree} SELECT x.indexrelid, n.nspname, c.relname, i.relname, m.amname, x.indisunique, k.contype, k.condeferrable, k.condeferred,
           CASE WHEN NOT x.indisvalid THEN 'it is not valid' WHEN x.indisexclusion THEN 'it belongs to an exclusion constraint'
                WHEN x.indexprs IS NOT NULL THEN 'it is on an expression' WHEN x.indpred IS NOT NULL THEN 'it is partial'
                WHEN {nulls} THEN 'it treats nulls as equal' END,
           a.attname, o.n < {keys}, x.indoption[o.n] & 1 <> 0, x.indoption[o.n] & 2 <> 0,
           p.opcdefault AND x.indcollation[o.n] IN (0, a.attcollation)
         FROM tree JOIN pg_index x ON x.indrelid = tree.oid JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am m ON m.oid = i.relam
         JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')
         JOIN generate_series(0, 99) AS o(n) ON o.n < x.indnatts AND x.indkey[o.n] >= 0
         LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[o.n]
         LEFT JOIN pg_opclass p ON o.n < {keys} AND p.oid = x.indclass[o.n]
         WHERE {of_its_own}
         ORDER BY tree.parent IS NOT NULL, n.nspname, c.relname, NOT x.indisprimary, i.relname, x.indexrelid, o.n"
    ))?;
    for rows in rows.chunk_by(|a, b| a.text(0) == b.text(0)) {
        match index(rows)? {
            Ok(index) => definition.indexes.push(index),
            Err(reason) => {
                let what = format!("index \"{}\" is not copied: {reason}", rows[0].string(3)?);
                definition.left_out.push(what);
            }
        }
    }
    Ok(())
}

/// openGauss' own B-trees are those of its two other kinds of tables.
fn method(name: String) -> String {
    match name.as_str() {
        "ubtree" | "cbtree" => "btree".to_owned(),
        "cgin" => "gin".to_owned(),
        _ => name,
    }
}

/// An index from the rows of its columns, or why it has no counterpart.
fn index(rows: &[Row]) -> Result<std::result::Result<Index, String>> {
    let Some(first) = rows.first() else {
        return Ok(Err("it has no columns".to_owned()));
    };
    if let Some(reason) = first.owned(9) {
        return Ok(Err(reason));
    }
    let mut index = Index {
        relation: quote_qualified(&first.string(1)?, &first.string(2)?),
        name: first.name(3)?,
        method: method(first.string(4)?),
        unique: first.is(5),
        constraint: match first.text(6) {
            Some("p") => Some("PRIMARY KEY"),
            Some("u") => Some("UNIQUE"),
            _ => None,
        },
        deferrable: (first.is(7), first.is(8)),
        ..Index::default()
    };
    for row in rows {
        let column = row.name(10)?;
        if !row.is(11) {
            index.included.push(column);
        } else if row.is(14) {
            index.columns.push((column, row.is(12), row.is(13)));
        } else {
            return Ok(Err(format!(
                "it has an operator class or a collation of its own for column \"{column}\""
            )));
        }
    }
    Ok(Ok(index))
}

/// Foreign keys, exclusion constraints and triggers: they would stand in the way of loading, or need other objects.
fn others(db: &mut dyn Database, found: &Found, definition: &mut Definition) -> Result<()> {
    let triggers = if db.server().version >= 90_000 {
        format!(
            " UNION ALL SELECT 'trigger', CAST(tgname AS text) FROM pg_trigger WHERE tgrelid = {} AND NOT tgisinternal",
            found.oid
        )
    } else {
        String::new()
    };
    let rows = db.query(&format!(
        "SELECT CASE contype WHEN 'f' THEN 'foreign key' ELSE 'exclusion constraint' END, CAST(conname AS text)
         FROM pg_constraint WHERE conrelid = {} AND contype IN ('f', 'x'){triggers} ORDER BY 1, 2",
        found.oid
    ))?;
    for row in &rows {
        let what = format!("{} \"{}\" is not copied", row.string(0)?, row.string(1)?);
        definition.left_out.push(what);
    }
    Ok(())
}
