//! Creates a table as the source's. Runs in the caller's backend, in the caller's transaction, under the caller's role, with a search_path of
//! pg_catalog and standard_conforming_strings on (see api).

use crate::error::{Error, Result, sqlstate};
use crate::pg::{report, spi, xact};
use crate::plan::constraint::is_enclosed;
use crate::plan::copy_sql::{quote_ident, quote_qualified};
use crate::plan::create_table::{Check, Collations, ColumnDefinition, Index};
use crate::plan::missing::NewTable;

/// Nodes of a parsed expression (outfuncs.c; the longer names since 16) that call nothing but functions named in them, input and output
/// functions of types, and a type's own order.
const HARMLESS: &str = "VAR|CONST|FUNCEXPR|OPEXPR|DISTINCTEXPR|NULLIFEXPR|SCALARARRAYOPEXPR|BOOLEXPR|RELABELTYPE|COERCEVIAIO|\
    ARRAYCOERCEEXPR|CASE|CASEEXPR|WHEN|CASEWHEN|CASETESTEXPR|ARRAY|ARRAYEXPR|ROW|ROWEXPR|COALESCE|COALESCEEXPR|MINMAX|MINMAXEXPR|\
    NULLTEST|BOOLEANTEST|SUBSCRIPTINGREF|FIELDSELECT";

/// Checks that the name is free and its schema exists.
pub fn check_name(schema: &str, name: &str) -> Result<()> {
    let rows = spi::execute(
        "SELECT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2::name)
         FROM pg_namespace n WHERE n.nspname = $1::name",
        &[Some(schema), Some(name)],
    )?;
    match rows.first() {
        None => Err(Error::new(
            sqlstate::INVALID_SCHEMA_NAME,
            format!("schema \"{schema}\" does not exist"),
        )
        .hint("Create it, or pass target_table => 'schema.name'.")),
        Some(row) if row.is(0) => Err(Error::new(
            sqlstate::DUPLICATE_TABLE,
            format!("relation {} already exists", quote_qualified(schema, name)),
        )
        .hint("Drop or rename it, or pass target_table => 'schema.name'.")),
        Some(_) => Ok(()),
    }
}

/// The source's types as this server prints them with their modifiers. The source's text is only ever read by the input function of
/// regtype, as a value.
pub fn types(columns: &[ColumnDefinition]) -> Result<Vec<String>> {
    let mut found = Vec::with_capacity(columns.len());
    let mut unknown = Vec::new();
    for column in columns {
        // A name that is no type anywhere is an error to some versions, null to others.
        let read = || {
            spi::execute(
                "SELECT format_type(t.oid, $2::int4) FROM pg_type t
                 WHERE t.oid = to_regtype($1)::oid AND t.typtype <> 'p' AND t.typnamespace <> pg_my_temp_schema()",
                &[Some(&column.type_name), Some(&column.modifier.to_string())],
            )
        };
        let rows = match xact::subtransaction(read) {
            Err(error) if error.is_cancel() => return Err(error),
            rows => rows.unwrap_or_default(),
        };
        match rows.first() {
            Some(row) => found.push(row.string(0)?),
            None => unknown.push(format!(
                "column \"{}\" is of type \"{}\"",
                column.name, column.type_name
            )),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    Err(Error::new(
        sqlstate::UNDEFINED_OBJECT,
        "types of the source table do not exist here",
    )
    .detail(format!("On the source, {}.", unknown.join("; ")))
    .hint("Create the types or their extension first, or create the table by hand with others."))
}

/// How text sorts here.
pub fn collations() -> Result<Collations> {
    let default = spi::execute(
        "SELECT COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)
         FROM pg_database d WHERE d.datname = current_database()",
        &[],
    )?;
    let names = spi::execute(
        "SELECT l.collname FROM pg_collation l, pg_database d
         WHERE l.collnamespace = 'pg_catalog'::regnamespace AND d.datname = current_database() AND l.collencoding IN (-1, d.encoding)
         ORDER BY l.collprovider <> 'c', 1",
        &[],
    )?;
    Ok(Collations {
        default: default
            .first()
            .ok_or_else(|| Error::internal("no database"))?
            .string(0)?,
        names: names.iter().map(|row| row.string(0)).collect::<Result<_>>()?,
    })
}

/// Creates the table and its partitions; gives its OID.
pub fn create(schema: &str, name: &str, sql: &str, partitions: &[NewTable]) -> Result<u32> {
    let qualified = quote_qualified(schema, name);
    execute(sql, "table", &qualified)?;
    for partition in partitions {
        execute(&partition.sql, "partition", &partition.name)?;
    }
    let rows = spi::execute("SELECT to_regclass($1)::oid", &[Some(&qualified)])?;
    rows.first().ok_or_else(|| Error::internal("no table"))?.need(0)
}

/// Creates an index or its constraint on `relation`.
pub fn index(index: &Index, relation: &str) -> Result<()> {
    execute(&index.sql(relation), "index", &quote_ident(&index.name))
}

/// True when this server has the access method.
pub fn has_access_method(name: &str) -> Result<bool> {
    let rows = spi::execute("SELECT FROM pg_am WHERE amname = $1::name", &[Some(name)])?;
    Ok(!rows.is_empty())
}

/// Runs one statement; the server's error is led by what was to be created.
fn execute(sql: &str, what: &str, name: &str) -> Result<()> {
    let Err(error) = report::catch(|| spi::execute(sql, &[])) else {
        return Ok(());
    };
    let hint = match error.sqlstate.as_str() {
        _ if error.hint.is_some() => None,
        sqlstate::INSUFFICIENT_PRIVILEGE => Some("Call as a role with CREATE on the schema and USAGE on the types."),
        sqlstate::DUPLICATE_TABLE => {
            Some("Rename the relation that has this name, or choose another schema with target_table.")
        }
        sqlstate::INVALID_OBJECT_DEFINITION if what == "partition" => {
            Some("Values may sort differently here; create the table by hand with other bounds.")
        }
        _ => None,
    };
    let error = error.within(&format!("cannot create {what} {name}"));
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// Adds a CHECK to `relation`, unless its expression may do more than compute: then the reason. The text is the source's SQL. So it must be one
/// expression; it is added without being run; and what this server has made of it may call built-in immutable functions only.
pub fn check(check: &Check, relation: &str) -> Result<Option<String>> {
    if !is_enclosed(&check.expression) {
        return Ok(Some("its text is not safe to read here".to_owned()));
    }
    let add = || {
        spi::execute(&check.sql(relation), &[])?;
        match beyond(check, relation)? {
            Some(reason) => Err(Error::unsupported(reason)),
            None => spi::execute(&check.validate_sql(relation), &[]),
        }
    };
    match xact::subtransaction(add) {
        Ok(_) => Ok(None),
        Err(error) if error.is_cancel() => Err(error),
        Err(error) => Ok(Some(error.message)),
    }
}

/// What a parsed CHECK holds besides calls of built-in immutable functions.
fn beyond(check: &Check, relation: &str) -> Result<Option<String>> {
    let rows = spi::execute(
        "WITH k AS (SELECT conbin::text AS tree FROM pg_constraint
           WHERE conrelid = $1::regclass AND conname = $2::name AND contype = 'c'),
         called AS (
           SELECT m[1]::oid AS oid FROM k, regexp_matches(tree, ':[a-z]*funcid ([0-9]+)', 'g') m WHERE m[1] <> '0'
           UNION SELECT o.oprcode FROM k, regexp_matches(tree, ':opno ([0-9]+)', 'g') m JOIN pg_operator o ON o.oid = m[1]::oid)
         SELECT 'it calls ' || string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid) FROM called JOIN pg_proc p USING (oid)
         WHERE p.oid >= 16384 OR p.provolatile <> 'i'
         UNION ALL
         SELECT 'it has ' || string_agg(DISTINCT lower(m[1]), ', ') FROM k, regexp_matches(tree, '{([A-Z]+)', 'g') m
         WHERE m[1] !~ ('^(' || $3 || ')$')
         UNION ALL
         SELECT 'it is gone' WHERE NOT EXISTS (SELECT FROM k)",
        &[Some(relation), Some(&check.name), Some(HARMLESS)],
    )?;
    Ok(rows.iter().find_map(|row| row.text(0)).map(str::to_owned))
}
