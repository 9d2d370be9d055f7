//! What another server says, in terms of this database: types have the names that this database has for their OIDs, labels of enums are their values.

use super::Remote;
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate, tame, tame_whole};
use crate::pg::spi;
use crate::plan::key::KeyColumn;
use crate::plan::reading::for_each_key;
use crate::plan::tables::{Relation, Table, Unit};
use crate::plan::tree::Node;
use crate::plan::types::{FIRST_GENERATED_OID, FIRST_NORMAL_OID};
use crate::row::Row;
use crate::wire::Session;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

impl Remote {
    fn query(&self, sql: &str) -> Result<Vec<Row>> {
        self.session()?.query(sql)
    }

    /// The rows of a query; None where a type refuses a value. Any other error is one.
    pub fn query_unless_refused(&self, sql: &str) -> Result<Option<Vec<Row>>> {
        self.question(sql, is_about_a_value)
    }

    /// The rows of a question that leaves nothing behind; None where the server gives an error that is an answer.
    fn question(&self, sql: &str, is_answer: fn(&Error) -> bool) -> Result<Option<Vec<Row>>> {
        let mut session = self.session()?;
        match session.query(&Session::question(sql)) {
            Ok(rows) => Ok(Some(rows)),
            Err(error) if error.is_remote() && is_answer(&error) => session.undo().map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// Labels of an enum, in their order; none for another type. No value is read as such a type over there: what it is called could come to
    /// mean another one, and a session has no name for it but that.
    fn labels(&self, type_oid: u32) -> Result<Rc<Vec<String>>> {
        if let Some(labels) = self.labels.borrow().get(&type_oid) {
            return Ok(labels.clone());
        }
        let sql = format!("SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = {type_oid} ORDER BY e.enumsortorder");
        let rows = self.query(&sql)?;
        let labels: Vec<String> = rows.iter().map(|row| row.string(0)).collect::<Result<_>>()?;
        let labels = Rc::new(labels);
        self.labels.borrow_mut().insert(type_oid, labels.clone());
        Ok(labels)
    }

    /// Ranks of labels.
    pub fn rank_by_oid(&self, type_oid: u32, values: &[&str]) -> Result<Vec<i64>> {
        let labels = self.labels(type_oid)?;
        let rank = |value: &&str| {
            let at = labels.iter().position(|label| label == value);
            at.map(|at| at as i64 + 1).ok_or_else(|| self.no_label(value))
        };
        values.iter().map(rank).collect()
    }

    /// A label as it is.
    pub fn print_one_by_oid(&self, type_oid: u32, value: &str) -> Result<String> {
        match self.labels(type_oid)?.iter().any(|label| label == value) {
            true => Ok(value.to_owned()),
            false => Err(self.no_label(value)),
        }
    }

    /// The same for several; None where one is no label.
    pub fn print_by_oid(&self, type_oid: u32, values: &[String]) -> Result<Option<Vec<String>>> {
        let labels = self.labels(type_oid)?;
        Ok(values
            .iter()
            .all(|value| labels.contains(value))
            .then(|| values.to_vec()))
    }

    fn no_label(&self, value: &str) -> Error {
        Error::new(
            sqlstate::INVALID_TEXT_REPRESENTATION,
            format!(
                "invalid input value for an enum on server \"{}\": \"{value}\"",
                self.server()
            ),
        )
    }

    /// Gives keys the names that this database has for their types, and refuses names that no terminal may show.
    pub fn in_our_terms(&self, table: &mut Table) -> Result<()> {
        fn names<'n>(node: &'n Node<Relation>, found: &mut Vec<&'n str>) {
            found.push(&node.table.relation);
            let children = node.level.iter().flat_map(|level| &level.children);
            children.for_each(|child| names(child, found));
        }
        let mut relations = Vec::new();
        names(&table.root, &mut relations);
        if let Some(odd) = relations.iter().find(|name| tame_whole(name) != **name) {
            return Err(Error::unsupported(format!(
                "a partition on server \"{}\" has control characters in its name: {}",
                self.server(),
                tame(odd)
            ))
            .hint("Rename it there: ALTER TABLE ... RENAME TO ...."));
        }
        let mut keys = BTreeSet::new();
        for_each_key(&mut table.root, &mut |key| {
            keys.insert((key.type_oid, key.modifier));
        });
        let ours = our_names(&keys)?;
        for_each_key(&mut table.root, &mut |key| rename(key, &ours));
        self.check_renamed(&mut table.root)
    }

    /// The same for single keys.
    pub fn keys_in_our_terms(&self, keys: Vec<KeyColumn>) -> Result<Vec<KeyColumn>> {
        let ours = our_names(&keys.iter().map(|key| (key.type_oid, key.modifier)).collect())?;
        let renamed = keys.into_iter().map(|mut key| {
            rename(&mut key, &ours);
            key
        });
        // A type that is not known here is compared with nothing.
        Ok(renamed.filter(|key| !key.type_sql.is_empty()).collect())
    }

    fn check_renamed(&self, root: &mut Node<Relation>) -> Result<()> {
        let mut unknown = None;
        for_each_key(root, &mut |key| {
            if key.type_sql.is_empty() {
                unknown = Some(key.name.clone());
            }
        });
        match unknown {
            None => Ok(()),
            Some(name) => Err(Error::unsupported(format!(
                "key \"{name}\" of table {} on server \"{}\" is of a type that this server does not have",
                self.name(),
                self.server()
            ))
            .hint("Call cgpsync on a server of that one's version or later, or in the table's own database.")),
        }
    }

    /// Refuses a table of which some level cannot be compared: the conditions of its partitions, in its server's words, would be asked of the source.
    pub fn no_conditions(&self) -> Error {
        Error::unsupported(format!(
            "table {} on server \"{}\" is partitioned by more than columns of built-in types and enums",
            self.name(),
            self.server()
        ))
        .hint("Create the extension in the table's own database and sync it there, or partition it by columns of built-in types.")
    }

    /// See [`crate::targets::Target::is_empty`]. Who has it locked is not waited for.
    pub fn is_empty(&self, unit: &Unit) -> Result<bool> {
        let sql = format!(
            "SET LOCAL lock_timeout = '1ms'; SELECT EXISTS (SELECT 1 FROM ONLY {})",
            unit.name
        );
        let rows = self.question(&sql, leaves_open)?.unwrap_or_default();
        Ok(rows.first().is_some_and(|row| row.text(0) == Some("f")))
    }
}

/// True for the errors that leave open whether a table is empty.
fn leaves_open(error: &Error) -> bool {
    let unknown = [
        sqlstate::LOCK_NOT_AVAILABLE,
        sqlstate::INSUFFICIENT_PRIVILEGE,
        sqlstate::UNDEFINED_TABLE,
        sqlstate::INVALID_SCHEMA_NAME,
    ];
    unknown.contains(&error.sqlstate.as_str())
}

/// True for the classes of errors that come of a value and what is made of it: a feature not supported, data, syntax and access rules, limits of
/// the program. Whatever is about the server or the transaction is none.
fn is_about_a_value(error: &Error) -> bool {
    ["0A", "22", "42", "54"]
        .iter()
        .any(|class| error.sqlstate.starts_with(class))
}

/// Name, and name with modifier, of types by OID and modifier, as far as this database has them.
type Names = HashMap<(u32, i32), (String, String)>;

/// Of types whose OIDs are the same on every server.
fn our_names(keys: &BTreeSet<(u32, i32)>) -> Result<Names> {
    let built_in = keys.iter().filter(|(oid, _)| *oid < FIRST_GENERATED_OID);
    let list: Vec<String> = built_in
        .map(|(oid, modifier)| format!("({oid}::pg_catalog.oid, {modifier})"))
        .collect();
    if list.is_empty() {
        return Ok(Names::new());
    }
    let rows = spi::execute(
        &format!(
            "SELECT k.oid, k.modifier, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
                    pg_catalog.format_type(t.oid, k.modifier)
             FROM (VALUES {}) k(oid, modifier) JOIN pg_catalog.pg_type t ON t.oid = k.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace",
            list.join(", ")
        ),
        &[],
    )?;
    let one = |row: &Row| Ok(((row.need(0)?, row.need(1)?), (row.string(2)?, row.string(3)?)));
    rows.iter().map(one).collect()
}

/// Names of a built-in key's type as this database has them; none where it has not. An enum is named by its OID already.
fn rename(key: &mut KeyColumn, ours: &Names) {
    if key.type_oid >= FIRST_NORMAL_OID {
        key.cast_sql.clear();
        return;
    }
    let names = ours.get(&(key.type_oid, key.modifier)).cloned();
    (key.type_sql, key.cast_sql) = names.unwrap_or_default();
}
