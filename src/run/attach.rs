//! cgpsync_attach: a foreign table here that stands for a table on another server, which a sync then writes. What is copied follows that server's
//! catalog and not the columns here: they are for whoever looks at the table, or queries it where the wrapper can.

use super::caller;
use crate::catalog::Database;
use crate::catalog::trust::others_code;
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, foreign, spi};
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified, split_name};
use crate::row::Row;
use crate::settings;
use crate::targets;
use crate::wire::{Session, mapping};

/// Creates the foreign table and gives its OID. `local_table` left out is the target's schema and name, without a schema the target's schema.
pub fn attach(target_table: &str, server: &str, local_table: Option<&str>) -> Result<u32> {
    caller::check_writable("attach a table")?;
    caller::check_place()?;
    let wanted = split("target_table", target_table)?;
    let local = local_table.map(|text| split("local_table", text)).transpose()?;
    let has_options = check_wrapper(server)?;
    let endpoint = mapping::endpoint(server, Side::Target, settings::connect_timeout())?;
    let session = Session::open_here(&endpoint, "cgpsync attach", &backend::encoding(), &backend::timezone()?)?;
    let (session, found) = session.and_then(|session| describe(session, &wanted))?;
    session.close();
    let (schema, name) = match local {
        Some((schema, name)) => (schema.unwrap_or_else(|| found.schema.clone()), name),
        None => (found.schema.clone(), found.name.clone()),
    };
    if !has_options && (&schema, &name) != (&found.schema, &found.name) {
        return Err(Error::unsupported(
            "a foreign table of dblink_fdw stands for the table of its own schema and name only",
        )
        .hint("Leave out local_table, or make the server one of wrapper cgpsync or postgres_fdw."));
    }
    let columns: Vec<String> = found.columns.iter().map(column).collect::<Result<_>>()?;
    let options = format!(
        " OPTIONS (schema_name {}, table_name {})",
        quote_literal(&found.schema),
        quote_literal(&found.name)
    );
    let table = quote_qualified(&schema, &name);
    spi::execute(
        &format!(
            "CREATE FOREIGN TABLE {table} ({}) SERVER {}{}",
            columns.join(", "),
            quote_ident(server),
            if has_options { &options } else { "" }
        ),
        &[],
    )?;
    let rows = spi::execute("SELECT $1::pg_catalog.regclass::pg_catalog.oid", &[Some(&table)])?;
    rows.first().ok_or_else(|| Error::internal("no table"))?.need(0)
}

fn split(argument: &str, text: &str) -> Result<(Option<String>, String)> {
    split_name(text).ok_or_else(|| {
        Error::bad_parameter(format!("{argument} \"{text}\" is not a table name"))
            .hint("Write table or schema.table, with double quotes where the name needs them.")
    })
}

/// Whether foreign tables of the server have options that name a table. An error for a server of another wrapper.
fn check_wrapper(server: &str) -> Result<bool> {
    let rows = spi::execute(
        "SELECT w.fdwname FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
         WHERE s.srvname = $1::pg_catalog.name",
        &[Some(server)],
    )?;
    match rows.first().map(|row| row.text(0)) {
        None => Err(foreign::unknown(server)),
        Some(Some("cgpsync" | "postgres_fdw")) => Ok(true),
        Some(Some("dblink_fdw")) => Ok(false),
        Some(_) => Err(Error::new(
            sqlstate::WRONG_OBJECT_TYPE,
            format!("server \"{server}\" is of another wrapper than cgpsync, postgres_fdw and dblink_fdw"),
        )
        .hint(
            "CREATE SERVER name FOREIGN DATA WRAPPER cgpsync OPTIONS (host '...', dbname '...') makes one that can be named; CREATE USER MAPPING gives it a user.",
        )),
    }
}

/// A table over there.
struct Found {
    schema: String,
    name: String,
    /// name, type, and modifier of its columns
    columns: Vec<Row>,
}

fn describe(session: &mut Session, (schema, name): &(Option<String>, String)) -> Result<Found> {
    session.begin(None)?;
    let schemas = match schema {
        Some(schema) => vec![schema.clone()],
        None => session.server().schemas.clone(),
    };
    let found = targets::find(session, &schemas, name).map_err(|error| match error.hint {
        None if error.sqlstate == sqlstate::UNDEFINED_TABLE => error.hint(
            "Name it with its schema, as that server has it: cgpsync_attach('schema.table', 'server'). SELECT cgpsync_create_table('source_table', target => 'server') makes one.",
        ),
        _ => error,
    })?;
    let columns = session.query(&format!(
        "SELECT a.attname, format_type(a.atttypid, NULL), a.atttypmod FROM pg_attribute a
         WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        found.oid
    ))?;
    Ok(Found {
        schema: found.schema,
        name: found.name,
        columns,
    })
}

/// A column of the foreign table: of the type of that name here, if there is one, and reading a value of it runs nobody else's code.
fn column(row: &Row) -> Result<String> {
    let rows = spi::execute(
        &format!(
            "SELECT pg_catalog.format_type(t.oid, $2::pg_catalog.int4) FROM pg_catalog.pg_type t
             WHERE t.oid = pg_catalog.to_regtype($1)::pg_catalog.oid AND t.typtype <> 'p'
               AND t.typnamespace <> pg_catalog.pg_my_temp_schema() AND {} IS NULL",
            others_code("t.oid")
        ),
        &[row.text(1), row.text(2)],
    )?;
    let type_sql = rows
        .first()
        .and_then(|row| row.owned(0))
        .unwrap_or_else(|| "text".to_owned());
    Ok(format!("{} {type_sql}", quote_ident(&row.name(0)?)))
}
