//! The same on another server. The table is made here first, as a temporary one that is undone again: what the source's text of types and
//! CHECKs may do is found out by this server, and over there the same statements are run.

use super::{below, columns, refused_checks};
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::pg::xact;
use crate::plan::copy_sql::quote_qualified;
use crate::plan::naming::{self, Names};
use crate::plan::new_table::{self as plan, Check, Definition, NewColumn};
use crate::plan::segments::{self, Made};
use crate::plan::tables::Table;
use crate::run::{attach, placing};
use crate::settings;
use crate::targets::local::table_like;
use crate::targets::open_to_write;
use crate::wire::Session;
use std::collections::HashMap;

/// Where the table is tried.
const TRIAL: &str = "pg_temp";

/// Creates the table on `server`, which is committed there, then what stands for it here. Gives that one's OID, and what is told.
pub fn create(
    server: &str,
    schema: &str,
    name: &str,
    table: &Table,
    definition: &Definition,
) -> Result<(u32, Vec<String>)> {
    let types = table_like::types(&definition.columns)?;
    let (mut columns, mut remarks) = columns(table, definition, &types)?;
    let refused: HashMap<String, String> = xact::look(|| {
        let tried = quote_qualified(TRIAL, name);
        let sql = plan::table_sql(&tried, &columns, table.root.level.as_ref());
        table_like::create(TRIAL, name, &sql, &types)?;
        if let Some(sql) = plan::defaults_sql(&tried, &columns) {
            table_like::set_defaults(&tried, &sql)?;
        }
        let called = naming::alone(&below(&table.root, TRIAL), TRIAL)?;
        table_like::create_partitions(&plan::partitions(&tried, &called, &table.root))?;
        let names = plan::new_names(&tried, &called, &table.root);
        refused_checks(definition, &names, &columns, &types)
    })?;
    let checks = definition.checks.iter();
    let checks: Vec<&Check> = checks.filter(|check| !refused.contains_key(&check.name)).collect();
    let qualified = quote_qualified(schema, name);
    let session = open_to_write(
        server,
        "cgpsync create table",
        settings::connect_timeout(),
        settings::lock_timeout_ms(),
    )?;
    let (session, made) = session.and_then(|session| {
        let (called, renamed) = match session.server().is_classic() {
            // It names them itself.
            true => (Names::within(schema), Vec::new()),
            false => placing::names(&below(&table.root, schema), (schema, &table.schema), |sql| {
                session.query(sql)
            })?,
        };
        remarks.extend(renamed);
        let made = match session.server().is_greenplum() {
            true => on_segments(session, (&qualified, &called), table, definition, &mut columns, &checks)?,
            false => like_here((&qualified, &called), table, definition, &columns, &checks),
        };
        run(session, &made.statements, &qualified)?;
        Ok(made)
    })?;
    session.end();
    remarks.extend(made.remarks);
    remarks.extend(refused.into_values());
    Ok((attach::attach(&qualified, server, Some(&qualified))?, remarks))
}

/// The statements for a PostgreSQL server: those that make it here.
fn like_here(
    (qualified, called): (&str, &Names),
    table: &Table,
    definition: &Definition,
    columns: &[NewColumn<'_>],
    checks: &[&Check],
) -> Made {
    let names = plan::new_names(qualified, called, &table.root);
    let mut statements = vec![plan::table_sql(qualified, columns, table.root.level.as_ref())];
    statements.extend(plan::defaults_sql(qualified, columns));
    let partitions = plan::partitions(qualified, called, &table.root);
    statements.extend(partitions.into_iter().map(|partition| partition.sql));
    for (check, relation) in checks
        .iter()
        .filter_map(|check| Some((check, names.get(&check.relation)?)))
    {
        statements.extend([check.sql(relation), check.validate_sql(relation)]);
    }
    let indexes = definition.indexes.iter();
    let indexes = indexes.filter_map(|index| Some(index.sql(names.get(&index.relation)?)));
    statements.extend(indexes);
    Made {
        statements,
        remarks: definition.storage_left_out(),
    }
}

/// The same for a server with segments.
fn on_segments<'a>(
    session: &mut Session,
    (qualified, called): (&str, &Names),
    table: &Table,
    definition: &'a Definition,
    columns: &mut [NewColumn<'a>],
    checks: &[&Check],
) -> Result<Made> {
    let rows = session.query("SELECT amname FROM pg_catalog.pg_am")?;
    let methods: Vec<String> = rows.iter().map(|row| row.string(0)).collect::<Result<_>>()?;
    let is_classic = session.server().is_classic();
    let encodings = definition
        .distribution
        .is_some()
        .then(|| segments::encodings_left_out(&table.root, columns, is_classic));
    for column in columns.iter_mut().filter(|_| encodings == Some(None)) {
        column.encoding = &column.definition.encoding;
    }
    let has_method = |method: &str| methods.iter().any(|known| known == method);
    let mut made = segments::make(
        (qualified, called),
        &table.root,
        definition,
        columns,
        is_classic,
        &has_method,
    )?;
    made.remarks.extend(encodings.flatten());
    made.statements.extend(plan::defaults_sql(qualified, columns));
    for check in checks {
        match check.relation == table.root.table.relation {
            true => made.statements.push(check.sql_checked(qualified)),
            false => made.remarks.push(format!(
                "CHECK constraint \"{}\" is not copied: it is one of a partition only",
                check.name
            )),
        }
    }
    Ok(made)
}

fn run(session: &mut Session, statements: &[String], name: &str) -> Result<()> {
    session.begin_to_write()?;
    let server = session.name().to_owned();
    for statement in statements {
        session
            .batch(statement)
            .map_err(|error| explain(error, name, &server))?;
    }
    session.batch("COMMIT")
}

fn explain(error: Error, name: &str, server: &str) -> Error {
    let hint = match error.sqlstate.as_str() {
        _ if error.hint.is_some() => None,
        sqlstate::INVALID_SCHEMA_NAME => Some("Create the schema there, or pass target_table => 'schema.name'."),
        sqlstate::UNDEFINED_OBJECT => {
            Some("Create the type or its extension there first, or create the table there by hand and attach it.")
        }
        sqlstate::DUPLICATE_TABLE => {
            Some("If it is the one that is meant, attach it: SELECT cgpsync_attach('schema.name', 'server').")
        }
        sqlstate::INSUFFICIENT_PRIVILEGE => Some("Map the calling role to one with CREATE on the schema there."),
        _ => None,
    };
    let error = error.within(&format!("cannot create table {name} on server \"{server}\""));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
