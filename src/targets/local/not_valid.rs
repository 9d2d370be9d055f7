//! Constraints that are NOT VALID let the rows be that were there before them, and a copy brings such rows. ALTER TABLE
//! could drop them and add them again only with readers locked out, and those of a partition only for the whole table.
//! So they are set aside in the transaction that loads the unit: everybody else goes on seeing them, and at the commit
//! they are what they were. Its owner's rights are needed, as for the ALTER TABLE that this stands for.

use super::facts;
use crate::error::{Error, Result, sqlstate};
use crate::pg::{backend, spi};
use crate::plan::copy_sql::quote_ident;

/// What is set aside.
#[derive(Debug, Default)]
pub struct SetAside {
    unit: u32,
    /// CHECK constraints, pg_constraint.oid
    checks: Vec<String>,
    /// columns that are NOT NULL, since 18, pg_attribute.attnum
    columns: Vec<String>,
    /// triggers of foreign keys, pg_trigger.oid, with tgenabled
    triggers: Vec<(String, String)>,
    /// names, quoted
    pub names: Vec<String>,
}

impl SetAside {
    /// Sets them aside for this transaction, in which the unit has new storage, so that its row of pg_class is ours.
    /// The caller has the rights of its owner.
    pub fn begin(unit: u32) -> Result<SetAside> {
        let argument = unit.to_string();
        let constraints = facts::ask(
            "SELECT c.oid, c.contype, c.conkey[1], c.conname FROM pg_constraint c
             WHERE c.conrelid = $1::oid AND NOT c.convalidated AND c.contype IN ('c', 'f', 'n')
               AND to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false' ORDER BY c.conname",
            &[Some(&argument)],
        )?;
        let triggers = facts::ask(
            "SELECT t.oid, t.tgenabled FROM pg_constraint c JOIN pg_trigger t ON t.tgconstraint = c.oid
             WHERE c.conrelid = $1::oid AND t.tgrelid = c.conrelid AND NOT c.convalidated AND c.contype = 'f' AND t.tgenabled <> 'D'",
            &[Some(&argument)],
        )?;
        let mut aside = SetAside {
            unit,
            ..SetAside::default()
        };
        for row in &constraints {
            aside.names.push(quote_ident(&row.string(3)?));
            match row.text(1) {
                Some("c") => aside.checks.push(row.string(0)?),
                Some("n") => aside.columns.push(row.string(2)?),
                _ => {}
            }
        }
        for row in &triggers {
            aside.triggers.push((row.string(0)?, row.string(1)?));
        }
        aside.mark(true)?;
        Ok(aside)
    }

    /// Puts them back as they were.
    pub fn end(&self) -> Result<()> {
        self.mark(false)
    }

    /// Rows of catalogs, in this transaction: an open relation is made from them (relcache.c), and its row of pg_class, changed, has it made anew.
    fn mark(&self, aside: bool) -> Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let (kind, change) = match aside {
            // No kind that anybody looks for.
            true => ("x", -(self.checks.len() as i64)),
            false => ("c", self.checks.len() as i64),
        };
        let mut statements = vec![
            format!(
                "UPDATE pg_catalog.pg_constraint SET contype = '{kind}' WHERE oid IN ({})",
                list(&self.checks)
            ),
            format!(
                "UPDATE pg_catalog.pg_attribute SET attnotnull = {} WHERE attrelid = {} AND attnum IN ({})",
                !aside,
                self.unit,
                list(&self.columns)
            ),
        ];
        statements.extend(self.triggers.iter().map(|(oid, enabled)| {
            let enabled = if aside { "D" } else { enabled };
            format!("UPDATE pg_catalog.pg_trigger SET tgenabled = '{enabled}' WHERE oid = {oid}")
        }));
        statements.push(format!(
            "UPDATE pg_catalog.pg_class SET relchecks = relchecks + ({change}) WHERE oid = {}",
            self.unit
        ));
        // Statements of ours with numbers in them, on catalogs, which have no triggers and no rules.
        backend::as_superuser(|| statements.iter().try_for_each(|sql| spi::execute(sql, &[]).map(|_| ())))
    }
}

/// For IN: one value, or more; NULL is none.
fn list(values: &[String]) -> String {
    if values.is_empty() {
        "NULL".to_owned()
    } else {
        values.join(", ")
    }
}

/// The error of a row that breaks a constraint, with what to do if that one is NOT VALID. In a transaction, after the one that failed.
pub fn explain(unit: u32, error: Error) -> Error {
    let broken = [
        sqlstate::CHECK_VIOLATION,
        sqlstate::FOREIGN_KEY_VIOLATION,
        sqlstate::NOT_NULL_VIOLATION,
    ];
    if error.is_remote() || error.hint.is_some() || !broken.contains(&error.sqlstate.as_str()) {
        return error;
    }
    let rows = facts::ask(
        "SELECT c.conname, CASE WHEN c.contypid <> 0 THEN c.contypid::regtype::text END, c.contype = 'n'
         FROM pg_constraint c
         WHERE NOT c.convalidated AND (c.conrelid = $1::oid
            OR c.contypid IN (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = $1::oid AND NOT a.attisdropped))
         ORDER BY c.conname",
        &[Some(&unit.to_string())],
    );
    let Ok(rows) = rows else { return error };
    let named = rows.iter().find(|row| {
        row.is(2) && error.sqlstate == sqlstate::NOT_NULL_VIOLATION
            || row
                .text(0)
                .is_some_and(|name| error.message.contains(&format!("\"{name}\"")))
    });
    let Some((name, domain)) = named.and_then(|row| Some((quote_ident(row.text(0)?), row.text(1)))) else {
        return error;
    };
    match domain {
        Some(domain) => error
            .detail_first(&format!("Constraint {name} of domain {domain} is NOT VALID, and every new value is checked."))
            .hint(format!(
                "ALTER DOMAIN {domain} DROP CONSTRAINT {name}, call again, and add it again with NOT VALID; or correct the rows on the source."
            )),
        None => error
            .detail_first(&format!(
                "Constraint {name} is NOT VALID here. For the owner of the table it is left out while rows are loaded, for others it is not."
            ))
            .hint("Call as a role that has the rights of the table's owner, or correct the rows on the source."),
    }
}
