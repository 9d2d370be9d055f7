//! Columns that are not copied are filled as the table of the call fills them, whatever default the unit has for INSERTs of its own.

use super::Remote;
use crate::catalog::{Database, defaults};
use crate::error::{Error, Result};
use crate::plan::copy_sql::{quote_ident, quote_literal};
use crate::plan::exchange::Described;
use crate::targets::loading::What;
use crate::wire::Session;

/// A column that is not copied and that the unit fills otherwise than the table of the call.
pub struct Unlike {
    /// its name
    pub name: String,
    /// expressions; None: no default
    pub of_table: Option<String>,
    /// see above
    pub of_unit: Option<String>,
}

/// Columns of the unit that get the table's default instead of the unit's own.
pub fn other_defaults(
    remote: &Remote,
    session: &mut Session,
    what: &What<'_>,
    unit: &Described,
) -> Result<Vec<Unlike>> {
    if what.unit.name == remote.name() || unit.shape.left_out(what.columns).next().is_none() {
        return Ok(Vec::new());
    }
    let table = remote.table_there()?;
    // Catalogs are not kept locked for as long as the unit is loaded.
    session.look(|session| unlike(session, what, unit, table))
}

fn unlike(session: &mut Session, what: &What<'_>, unit: &Described, table: u32) -> Result<Vec<Unlike>> {
    let names = defaults::of_unit(session, table, unit.place.oid, what.columns)?;
    let is_identity = match session.server().is_classic() {
        true => "false",
        false => "a.attidentity <> ''",
    };
    let default_of = |session: &mut Session, oid: u32, name: &String| {
        let rows = session.query(&format!(
            "SELECT pg_get_expr(d.adbin, d.adrelid), {is_identity} FROM pg_attribute a
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = {oid} AND a.attname = {}",
            quote_literal(name)
        ))?;
        let row = rows.first().ok_or_else(|| Error::protocol("no column"))?;
        match row.is(1) {
            true => Err(Error::unsupported(format!(
                "column \"{name}\" of {} is not copied and an identity of one table only",
                what.unit.name
            ))
            .hint("Name it in columns as well, or give it a default instead.")),
            false => Ok(row.owned(0)),
        }
    };
    let one = |name: String| {
        Ok(Unlike {
            of_table: default_of(session, table, &name)?,
            of_unit: default_of(session, unit.place.oid, &name)?,
            name,
        })
    };
    names.into_iter().map(one).collect()
}

/// Gives columns other defaults; the transaction shows nobody.
pub fn set_defaults<'a>(
    session: &mut Session,
    table: &str,
    columns: impl Iterator<Item = (&'a String, &'a Option<String>)>,
) -> Result<()> {
    for (name, default) in columns {
        let action = match default {
            Some(expression) => format!("SET DEFAULT {expression}"),
            None => "DROP DEFAULT".to_owned(),
        };
        let name = quote_ident(name);
        session.batch(&format!("ALTER TABLE ONLY {table} ALTER COLUMN {name} {action}"))?;
    }
    Ok(())
}
