//! Clauses of the statements that make a table like a unit.

use super::{Check, Column, Described, Grant, Shape};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::distribution::parameters;

/// Access method, storage parameters and tablespace of a table on a server with segments, as CREATE TABLE has them, with a space before each. Before 7
/// the parameters say what the method is.
pub fn storage_of(table: &Described) -> String {
    let (shape, method) = (&table.shape, &table.facts.method);
    let by_method = method != "heap" && !shape.options.iter().any(|option| option.starts_with("appendonly="));
    let mut sql = if by_method {
        format!(" USING {}", quote_ident(method))
    } else {
        String::new()
    };
    let options = all_parameters(shape);
    if !options.is_empty() {
        sql += &format!(" WITH ({})", options.join(", "));
    }
    sql + &in_tablespace(shape.tablespace.as_deref())
}

/// Storage parameters, those of the TOAST table among them.
pub fn all_parameters(shape: &Shape) -> Vec<String> {
    [
        parameters(&shape.options, ""),
        parameters(&shape.toast_options, "toast."),
    ]
    .concat()
}

/// The definition of a key with the storage parameters of its index, which stand before what is said of its time.
pub fn with_parameters(definition: &str, options: &[String]) -> String {
    if options.is_empty() {
        return definition.to_owned();
    }
    let key = definition.strip_suffix(" INITIALLY DEFERRED").unwrap_or(definition);
    let key = key.strip_suffix(" DEFERRABLE").unwrap_or(key);
    let time = &definition[key.len()..];
    format!("{key} WITH ({}){time}", parameters(options, "").join(", "))
}

/// A CHECK constraint as CREATE TABLE and ALTER TABLE have it.
pub fn check_sql(check: &Check) -> String {
    format!("CONSTRAINT {} {}", quote_ident(&check.name), check.definition)
}

/// A column as CREATE TABLE has it.
pub fn column_sql(column: &Column) -> String {
    let mut sql = format!("{} {}", quote_ident(&column.name), column.type_sql);
    if let Some(collation) = &column.collation {
        sql += &format!(" COLLATE {collation}");
    }
    if let Some(name) = &column.not_null_name {
        sql += &format!(" CONSTRAINT {}", quote_ident(name));
    }
    if column.not_null {
        sql += " NOT NULL";
    }
    match (&column.default, column.generated.as_str()) {
        (Some(expression), "s") => sql += &format!(" GENERATED ALWAYS AS ({expression}) STORED"),
        (Some(expression), "v") => sql += &format!(" GENERATED ALWAYS AS ({expression}) VIRTUAL"),
        (Some(expression), _) => sql += &format!(" DEFAULT {expression}"),
        (None, _) => {}
    }
    if !column.encoding.is_empty() {
        sql += &format!(" ENCODING ({})", parameters(&column.encoding, "").join(", "));
    }
    sql
}

/// What else a column is.
pub fn alter_column(table: &str, column: &Column) -> Vec<String> {
    let name = quote_ident(&column.name);
    let mut actions = Vec::new();
    let storage = column.storage.as_deref().and_then(|storage| match storage {
        "p" => Some("PLAIN"),
        "e" => Some("EXTERNAL"),
        "x" => Some("EXTENDED"),
        "m" => Some("MAIN"),
        _ => None,
    });
    actions.extend(storage.map(|storage| format!("SET STORAGE {storage}")));
    let compression = column.compression.as_deref().and_then(|method| match method {
        "p" => Some("pglz"),
        "l" => Some("lz4"),
        _ => None,
    });
    actions.extend(compression.map(|method| format!("SET COMPRESSION {method}")));
    actions.extend(column.statistics.map(|target| format!("SET STATISTICS {target}")));
    if !column.options.is_empty() {
        actions.push(format!("SET ({})", parameters(&column.options, "").join(", ")));
    }
    let mut all: Vec<String> = actions
        .iter()
        .map(|action| format!("ALTER TABLE {table} ALTER COLUMN {name} {action}"))
        .collect();
    if let Some(comment) = &column.comment {
        let comment = quote_literal(comment);
        all.push(format!("COMMENT ON COLUMN {table}.{name} IS {comment}"));
    }
    all
}

pub fn in_tablespace(name: Option<&str>) -> String {
    name.map(|name| format!(" TABLESPACE {}", quote_ident(name)))
        .unwrap_or_default()
}

pub fn grantee(grant: &Grant) -> String {
    grant.to.as_deref().map_or_else(|| "PUBLIC".to_owned(), quote_ident)
}

pub fn give(grant: &Grant, columns: &str, table: &str) -> String {
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    format!(
        "GRANT {}{columns} ON TABLE {table} TO {}{option}",
        grant.privilege,
        grantee(grant)
    )
}
