//! Creates a table as the source's. Runs in the caller's backend, in the caller's transaction, under the caller's role, with a search_path of
//! pg_catalog and standard_conforming_strings on (see api).

use crate::catalog::trust::{others_code, others_type};
use crate::error::{Error, Result, sqlstate};
use crate::pg::{report, spi, xact};
use crate::plan::constraint::{foreign_schema, is_enclosed, mentions};
use crate::plan::copy_sql::{quote_ident, quote_qualified};
use crate::plan::creation::NewTable;
use crate::plan::new_table::{Check, Collations, ColumnDefinition, Index};
use crate::row::Row;

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

/// A column's type here.
#[derive(Debug)]
pub struct ColumnType {
    oid: u32,
    /// with its modifier, as this server prints it
    pub sql: String,
    /// who else has made the source's type, or one within it, so that no value of it is read here
    pub of_others: Option<String>,
    /// the domain that it stands for
    pub instead_of: Option<String>,
}

/// The source's types. The source's text is only ever read by the input function of regtype, as a value. A domain of somebody else's is
/// replaced by what is below it, without the checks: who fills the table would run them.
pub fn types(columns: &[ColumnDefinition]) -> Result<Vec<ColumnType>> {
    let mut found = Vec::with_capacity(columns.len());
    let mut unknown = Vec::new();
    for column in columns {
        // A name that is no type anywhere is an error to some versions, null to others.
        let rows = xact::unless_refused(|| type_facts(column))?.unwrap_or_default();
        match rows.first() {
            Some(row) => found.push(column_type(column, row)?),
            None => unknown.push(format!("column \"{}\" is of type {}", column.name, column.type_name)),
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

/// Of the column's type: OID, how it is written, whose code it could run, whose it is; then the same of the type below it, if it is a domain or an
/// array of one.
fn type_facts(column: &ColumnDefinition) -> Result<Vec<Row>> {
    let (code, of_others, base_code) = (others_code("t.oid"), others_type("t.oid"), others_code("b.oid"));
    spi::execute(
        &format!(
            "SELECT t.oid, format_type(t.oid, $2::int4), {code}, {of_others},
                    b.oid, format_type(b.oid, b.typmod), {base_code}
             FROM pg_type t LEFT JOIN LATERAL (
               WITH RECURSIVE below AS (
                 SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, -1 AS typmod
                 FROM pg_type y WHERE y.oid = CASE t.typtype WHEN 'b' THEN t.typelem ELSE t.oid END AND y.typtype = 'd'
                 UNION ALL SELECT y.oid, y.typtype, y.typbasetype, y.typtypmod, below.typtypmod
                 FROM below JOIN pg_type y ON y.oid = below.typbasetype WHERE below.typtype = 'd')
               SELECT CASE t.typtype WHEN 'b' THEN y.typarray ELSE y.oid END AS oid, below.typmod
               FROM below JOIN pg_type y ON y.oid = below.oid WHERE below.typtype <> 'd') b ON true
             WHERE t.oid = to_regtype($1)::oid AND t.typtype <> 'p' AND t.typnamespace <> pg_my_temp_schema()"
        ),
        &[Some(&column.type_name), Some(&column.modifier.to_string())],
    )
}

fn column_type(column: &ColumnDefinition, row: &Row) -> Result<ColumnType> {
    let of_others = row.owned(3);
    let Some(code) = row.text(2) else {
        return Ok(ColumnType {
            oid: row.need(0)?,
            sql: row.string(1)?,
            of_others,
            instead_of: None,
        });
    };
    match (row.get(4)?, row.text(6)) {
        (Some(oid), None) => Ok(ColumnType {
            oid,
            sql: row.string(5)?,
            of_others,
            instead_of: Some(code.to_owned()),
        }),
        _ => Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("column \"{}\" cannot be of type {}", column.name, row.string(1)?),
        )
        .detail(format!(
            "Whoever fills such a column would run the code of {code} with rights of his own."
        ))
        .hint("Call as the owner of the type; or, if you trust that role, create the table by hand.")),
    }
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

/// Creates the table without defaults and partitions, by statement `sql`; gives its OID. An error unless its columns have the types `types`, whatever
/// their names have come to mean since they were looked at: what follows reads values of them.
pub fn create(schema: &str, name: &str, sql: &str, types: &[ColumnType]) -> Result<u32> {
    let qualified = quote_qualified(schema, name);
    execute(sql, "table", &qualified)?;
    let rows = spi::execute("SELECT to_regclass($1)::oid", &[Some(&qualified)])?;
    let oid: u32 = rows.first().ok_or_else(|| Error::internal("no table"))?.need(0)?;
    let rows = spi::execute(
        "SELECT atttypid FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 ORDER BY attnum",
        &[Some(&oid.to_string())],
    )?;
    let created: Vec<u32> = rows.iter().map(|row| row.need(0)).collect::<Result<_>>()?;
    // An event trigger may have added others.
    let expected: Vec<u32> = types.iter().map(|column| column.oid).collect();
    if !created.starts_with(&expected) {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            "types were replaced while the table was created",
        )
        .hint("Run the same call again."));
    }
    Ok(oid)
}

/// Gives the table its defaults, by statement `sql`.
pub fn set_defaults(name: &str, sql: &str) -> Result<()> {
    execute(sql, "defaults of table", name)
}

/// Creates the table's partitions.
pub fn create_partitions(partitions: &[NewTable]) -> Result<()> {
    let create = |partition: &NewTable| execute(&partition.sql, "partition", &partition.name);
    partitions.iter().try_for_each(create)
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
/// expression; it must not name a thing outside of pg_catalog, nor `untouchable`, columns whose types are others' and the tables that have them,
/// since literals are read while it is parsed; it is added without being run; and what this server has made of it may call built-in immutable
/// functions only.
pub fn check(check: &Check, relation: &str, untouchable: &[&str]) -> Result<Option<String>> {
    let text = &check.expression;
    if !is_enclosed(text) {
        return Ok(Some("its text is not safe to read here".to_owned()));
    }
    if foreign_schema(text).is_some() {
        return Ok(Some("it names something that is not built in".to_owned()));
    }
    let temporary = spi::execute(
        "SELECT typname FROM pg_type WHERE typnamespace = pg_my_temp_schema()",
        &[],
    )?;
    if let Some(row) = temporary
        .iter()
        .find(|row| row.text(0).is_some_and(|name| mentions(text, name)))
    {
        return Ok(Some(format!(
            "\"{}\" is a temporary type or table here",
            row.string(0)?
        )));
    }
    if let Some(name) = untouchable.iter().find(|name| mentions(text, name)) {
        return Ok(Some(format!(
            "\"{name}\" is or has a column of a type that is another role's"
        )));
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
