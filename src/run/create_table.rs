//! cgpsync_create_table: an empty table like one of the source, here or on another server. Needs no processes: the caller's backend reads the
//! source's catalogs and creates everything in the caller's transaction, as the caller. What has no counterpart is told in NOTICEs.

mod over_there;

use super::state::Store;
use super::{caller, placing};
use crate::catalog::Database;
use crate::error::{Error, Result, Side, tame};
use crate::pg::{backend, report, spi};
use crate::plan::copy_sql::{quote_ident, quote_qualified, split_name};
use crate::plan::global_indexes;
use crate::plan::naming::New;
use crate::plan::new_table::{self as plan, ColumnDefinition, Definition, NewColumn};
use crate::plan::reading::keys_of_digits;
use crate::plan::tables::{Relation, Table};
use crate::plan::tree::Node;
use crate::settings;
use crate::source as there;
use crate::targets::local::table_like::{self, ColumnType};
use crate::wire::{Session, mapping};
use std::collections::HashMap;

/// Creates it and gives its OID, or that of the foreign table which stands for it on server `target`. `target_table` left out is the source's
/// schema and name, without a schema the source's schema.
pub fn create_table(
    source_table: &str,
    target_table: Option<&str>,
    source: Option<String>,
    target: Option<&str>,
) -> Result<u32> {
    caller::check_writable("create a table")?;
    caller::check_place()?;
    let wanted = split_argument("source_table", source_table)?;
    let named = target_table
        .map(|text| split_argument("target_table", text))
        .transpose()?;
    let (mut table, mut definition) = describe(&wanted, &caller::resolve_source(source, target)?)?;
    let (schema, name) = match named {
        Some((schema, name)) => (schema.unwrap_or_else(|| definition.schema.clone()), name),
        None => (definition.schema.clone(), definition.name.clone()),
    };
    if let Some(reason) = &definition.refusal {
        let relation = &table.root.table.relation;
        return Err(Error::unsupported(format!(
            "the partitioning of source table {relation} cannot be declared here"
        ))
        .detail(reason.clone())
        .hint("Create the table by hand, with partitions or without: a sync fits the rows in."));
    }
    table_like::check_name(&schema, &name)?;
    plan::prefix_partitions(&mut table.root, &name);
    tame_names(&mut table, &mut definition);
    let global = global_indexes::take_out(&mut definition.indexes, &table.root);
    definition.left_out.extend(global);
    let (oid, remarks) = match target {
        None => create(&schema, &name, &table, &definition)?,
        Some(server) => over_there::create(server, &schema, &name, &table, &definition)?,
    };
    // A point that an older table of this name has reached says nothing of this one, which is empty.
    if let Some(point) = Store::open()?.forget(oid)? {
        report::notice(&format!(
            "the end_tm remembered for {}, {point}, is forgotten: the table begins empty",
            quote_qualified(&schema, &name)
        ));
    }
    for what in remarks.iter().chain(&definition.left_out) {
        report::notice(what);
    }
    Ok(oid)
}

fn split_argument(argument: &str, text: &str) -> Result<(Option<String>, String)> {
    split_name(text).ok_or_else(|| {
        Error::bad_parameter(format!("{argument} \"{text}\" is not a table name"))
            .hint("Write table or schema.table, with double quotes where the name needs them.")
    })
}

/// Reads the source table, in one transaction there.
fn describe((schema, name): &(Option<String>, String), source: &str) -> Result<(Table, Definition)> {
    let endpoint = mapping::endpoint(source, Side::Source, settings::connect_timeout())?;
    let session = Session::open_here(
        &endpoint,
        "cgpsync create table",
        &backend::encoding(),
        &backend::timezone()?,
    )?;
    let (session, (table, definition)) = session.and_then(|session| {
        session.begin(None)?;
        let schemas = match schema {
            Some(schema) => vec![schema.clone()],
            None => session.server().schemas.clone(),
        };
        there::describe(session, &schemas, name)
    })?;
    session.close();
    Ok((table, definition))
}

/// What the caller has not named itself is shown as it is by everything here that lists tables: it gets a name that no terminal obeys. Columns
/// keep theirs, as rows are matched by them.
fn tame_names(table: &mut Table, definition: &mut Definition) {
    fn below(node: &mut Node<Relation>) {
        for child in node.level.iter_mut().flat_map(|level| &mut level.children) {
            child.table.name = tame(&child.table.name);
            below(child);
        }
    }
    below(&mut table.root);
    let indexes = definition.indexes.iter_mut().map(|index| &mut index.name);
    let checks = definition.checks.iter_mut().map(|check| &mut check.name);
    indexes.chain(checks).for_each(|name| *name = tame(name));
}

/// The columns as they are made here, with what is told of them.
fn columns<'a>(
    table: &Table,
    definition: &'a Definition,
    types: &'a [ColumnType],
) -> Result<(Vec<NewColumn<'a>>, Vec<String>)> {
    let collations = table_like::collations()?;
    let mut keys = plan::range_keys(&table.root);
    // Digits come in one order in every collation.
    let digits = keys_of_digits(&table.root, &table.root);
    keys.retain(|name, _| !digits.contains(&quote_ident(name)));
    let mut remarks = Vec::new();
    let mut columns = Vec::with_capacity(types.len());
    for (column, of_type) in definition.columns.iter().zip(types) {
        let (collation, remark) = collations.of(column, keys.get(column.name.as_str()).copied());
        remarks.extend(remark);
        remarks.extend(about_type(column, of_type));
        columns.push(NewColumn {
            definition: column,
            type_sql: of_type.sql.clone(),
            collation,
            default: column.default.as_deref().filter(|_| of_type.of_others.is_none()),
            encoding: &[],
        });
    }
    Ok((columns, remarks))
}

/// Creates the table, its partitions, then what needs all of them. Gives its OID and what is told.
fn create(schema: &str, name: &str, table: &Table, definition: &Definition) -> Result<(u32, Vec<String>)> {
    let types = table_like::types(&definition.columns)?;
    let (columns, mut remarks) = columns(table, definition, &types)?;
    let qualified = quote_qualified(schema, name);
    let sql = plan::table_sql(&qualified, &columns, table.root.level.as_ref());
    let oid = table_like::create(schema, name, &sql, &types)?;
    if let Some(sql) = plan::defaults_sql(&qualified, &columns) {
        table_like::set_defaults(&qualified, &sql)?;
    }
    let (called, renamed) = placing::names(&below(&table.root, schema), (schema, &table.schema), |sql| {
        spi::execute(sql, &[])
    })?;
    remarks.extend(renamed);
    table_like::create_partitions(&plan::partitions(&qualified, &called, &table.root))?;
    let names = plan::new_names(&qualified, &called, &table.root);
    remarks.extend(definition.storage_left_out());
    remarks.extend(refused_checks(definition, &names, &columns, &types)?.into_values());
    remarks.extend(add_indexes(definition, &names)?);
    Ok((oid, remarks))
}

/// The partitions right below the table, which is made in `schema`.
fn below<'a>(root: &'a Node<Relation>, schema: &str) -> Vec<New<'a>> {
    let children = root.level.iter().flat_map(|level| &level.children);
    children.map(|child| (child, schema.to_owned())).collect()
}

/// Adds the CHECKs to the tables here, whose names are `names`; gives those that are not copied, by name, with what is told of them.
fn refused_checks(
    definition: &Definition,
    names: &HashMap<String, String>,
    columns: &[NewColumn<'_>],
    types: &[ColumnType],
) -> Result<HashMap<String, String>> {
    // Columns whose values are not to be read here.
    let of_others = columns
        .iter()
        .zip(types)
        .filter(|(_, of_type)| of_type.of_others.is_some() && of_type.instead_of.is_none());
    let of_others: Vec<&str> = of_others.map(|(column, _)| column.definition.name.as_str()).collect();
    let mut refused = HashMap::new();
    for check in &definition.checks {
        let Some(relation) = names.get(&check.relation) else {
            continue;
        };
        let own_name = split_name(relation).map(|(_, name)| name);
        // A row of the table has them in it.
        let untouchable: Vec<&str> = match of_others.as_slice() {
            [] => Vec::new(),
            columns => columns.iter().copied().chain(own_name.as_deref()).collect(),
        };
        if let Some(reason) = table_like::check(check, relation, &untouchable)? {
            let remark = format!(
                "CHECK constraint \"{}\" is not copied: {reason}: {}",
                check.name,
                tame(&check.expression)
            );
            refused.insert(check.name.clone(), remark);
        }
    }
    Ok(refused)
}

/// The same for indexes.
fn add_indexes(definition: &Definition, names: &HashMap<String, String>) -> Result<Vec<String>> {
    let mut remarks = Vec::new();
    for index in &definition.indexes {
        let Some(relation) = names.get(&index.relation) else {
            continue;
        };
        if table_like::has_access_method(&index.method)? {
            table_like::index(index, relation)?;
        } else {
            remarks.push(format!(
                "index \"{}\" is not copied: there is no access method \"{}\" here",
                index.name, index.method
            ));
        }
    }
    Ok(remarks)
}

/// What is told of a column whose type, or one within it, is somebody else's.
fn about_type(column: &ColumnDefinition, of_type: &ColumnType) -> Vec<String> {
    let name = &column.name;
    let mut remarks = Vec::new();
    if let Some(domain) = &of_type.instead_of {
        remarks.push(format!(
            "column \"{name}\" is {} here, without the checks of {domain}: whoever fills the table would run them",
            of_type.sql
        ));
    }
    if let (Some(others), Some(default)) = (&of_type.of_others, &column.default) {
        remarks.push(format!(
            "default of column \"{name}\" is not copied: it is a value of {others}: {}",
            tame(default)
        ));
    }
    remarks
}
