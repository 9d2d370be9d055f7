//! The statements that make a table like a unit, and put it into the unit's place.

use super::clauses::{
    all_parameters, alter_column, check_sql, column_sql, give, grantee, in_tablespace, storage_of, with_parameters,
};
use super::{Check, Column, Described, InTree, Shape, steps};
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};

/// The table that is to take the place of a unit.
#[derive(Debug)]
pub struct Stage<'a> {
    unit: &'a Described,
    /// the unit's schema and name
    schema: String,
    name: String,
    /// its own name until then
    own: String,
}

/// Name of the constraint that tells the server what the bound says already.
const BOUND: &str = "cgpsync_bound";

impl<'a> Stage<'a> {
    /// For `unit`, whose name is `schema.name`. `own` is a name that nothing has.
    pub fn new(unit: &'a Described, schema: &str, name: &str, own: String) -> Stage<'a> {
        Stage {
            unit,
            schema: schema.to_owned(),
            name: name.to_owned(),
            own,
        }
    }

    /// Quoted, qualified.
    pub fn table(&self) -> String {
        quote_qualified(&self.schema, &self.own)
    }

    fn unit_table(&self) -> String {
        quote_qualified(&self.schema, &self.name)
    }

    /// True where the bound is a condition whose evaluation locks the parent to the end of the transaction, as that of HASH does (partbounds.c,
    /// satisfies_hash_partition): two that load side by side would keep the parent from each other.
    fn is_checked_late(&self) -> bool {
        let condition = self.unit.place.condition.as_deref();
        condition.is_some_and(|condition| condition.contains("satisfies_hash_partition("))
    }

    /// Adds the bound as a constraint, which looks at every row, where that is better done when they are loaded.
    pub fn check_late(&self) -> Option<String> {
        let condition = self.unit.place.condition.as_ref().filter(|_| self.is_checked_late());
        condition.map(|condition| self.bound(condition))
    }

    /// Makes the table. Identity columns are ordinary ones: a partition has its parent's.
    pub fn create(&self) -> Vec<String> {
        let shape = &self.unit.shape;
        let unlogged = if shape.persistence == "u" { "UNLOGGED " } else { "" };
        let table = self.table();
        // What is part of the statement is no statement of its own, which each segment would be told of. There a constraint that is NOT VALID would be valid.
        let is_part = |check: &&Check| !check.is_not_valid();
        let columns = shape.columns.iter().map(column_sql);
        let parts: Vec<String> = columns
            .chain(shape.checks.iter().filter(is_part).map(check_sql))
            .collect();
        // How a table is stored over segments is said when it is made.
        let (storage, options) = match shape.spread.is_some() {
            true => (storage_of(self.unit), Vec::new()),
            false => (in_tablespace(shape.tablespace.as_deref()), all_parameters(shape)),
        };
        let mut all = vec![
            "SET LOCAL default_tablespace = ''".to_owned(),
            format!(
                "CREATE {unlogged}TABLE {table} ({}){storage}{}",
                parts.join(", "),
                shape
                    .spread
                    .as_ref()
                    .map_or_else(String::new, |spread| format!(" {}", spread.clause))
            ),
        ];
        let bound = self.unit.place.condition.as_ref().filter(|_| !self.is_checked_late());
        all.extend(bound.map(|condition| self.bound(condition)));
        for check in &shape.checks {
            if !is_part(&check) {
                all.push(format!("ALTER TABLE {table} ADD {}", check_sql(check)));
            }
            all.extend(self.comment_on(check));
        }
        if !options.is_empty() {
            all.push(format!("ALTER TABLE {table} SET ({})", options.join(", ")));
        }
        shape
            .columns
            .iter()
            .for_each(|column| all.extend(alter_column(&table, column)));
        if let Some(comment) = &shape.comment {
            all.push(format!("COMMENT ON TABLE {table} IS {}", quote_literal(comment)));
        }
        match shape.replica_identity.as_str() {
            "n" => all.push(format!("ALTER TABLE {table} REPLICA IDENTITY NOTHING")),
            "f" => all.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL")),
            _ => {}
        }
        if shape.owner != self.unit.facts.role {
            all.push(format!("ALTER TABLE {table} OWNER TO {}", quote_ident(&shape.owner)));
        }
        all
    }

    fn bound(&self, condition: &str) -> String {
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {BOUND} CHECK ({condition})",
            self.table()
        )
    }

    fn comment_on(&self, check: &Check) -> Option<String> {
        let comment = quote_literal(check.comment.as_ref()?);
        let name = quote_ident(&check.name);
        Some(format!("COMMENT ON CONSTRAINT {name} ON {} IS {comment}", self.table()))
    }

    /// Drops the constraints that are NOT VALID, which the rows to come may break as those that were there before.
    pub fn drop_not_valid(&self) -> Vec<String> {
        let drop = |check: &Check| {
            format!(
                "ALTER TABLE {} DROP CONSTRAINT {}",
                self.table(),
                quote_ident(&check.name)
            )
        };
        self.unit.not_valid().map(drop).collect()
    }

    /// Adds them again, with the rows there.
    pub fn add_not_valid(&self) -> Vec<String> {
        let mut all = Vec::new();
        for check in self.unit.not_valid() {
            all.push(format!("ALTER TABLE {} ADD {}", self.table(), check_sql(check)));
            all.extend(self.comment_on(check));
        }
        all
    }

    /// Gives the table, which is `made` as yet, the unit's grants instead of those that default privileges have given it.
    pub fn grant(&self, made: &Shape) -> Vec<String> {
        let table = self.table();
        let mut all = Vec::new();
        if made.grants != self.unit.shape.grants {
            for grant in &made.grants {
                all.push(format!("REVOKE ALL ON TABLE {table} FROM {}", grantee(grant)));
            }
            all.dedup();
            all.extend(self.unit.shape.grants.iter().map(|grant| give(grant, "", &table)));
        }
        for column in &self.unit.shape.columns {
            let on = format!(" ({})", quote_ident(&column.name));
            all.extend(column.grants.iter().map(|grant| give(grant, &on, &table)));
        }
        all
    }

    /// What of `made`, the table once it has all that it can get, differs from the unit: a clause that follows a colon.
    pub fn difference(&self, made: &Shape) -> Option<String> {
        let shape = &self.unit.shape;
        let what = if made.owner != shape.owner {
            "owner"
        } else if made.tablespace != shape.tablespace {
            "tablespace"
        } else if made.spread != shape.spread {
            "distribution"
        } else if made.persistence != shape.persistence {
            "persistence"
        } else if (&made.options, &made.toast_options) != (&shape.options, &shape.toast_options) {
            "storage parameters"
        } else if made.comment != shape.comment {
            "comment"
        } else if made.grants != shape.grants {
            "grants"
        } else if let Some(column) = self.differing_column(made) {
            return Some(format!("column \"{column}\" cannot be made as it is"));
        } else if !self.has_checks_of(made) {
            "CHECK constraints"
        } else {
            return None;
        };
        Some(format!("its {what} cannot be kept"))
    }

    fn differing_column(&self, made: &Shape) -> Option<String> {
        let columns = &self.unit.shape.columns;
        let is_alike = |(column, made): (&Column, &Column)| {
            // The parent gives its own back.
            let made = Column {
                identity: column.identity.clone(),
                ..made.clone()
            };
            *column == made
        };
        let differing = columns.iter().zip(&made.columns).find(|pair| !is_alike(*pair));
        match differing {
            Some((column, _)) => Some(column.name.clone()),
            None if columns.len() != made.columns.len() => Some("?".to_owned()),
            None => None,
        }
    }

    fn has_checks_of(&self, made: &Shape) -> bool {
        let of_made = made.checks.iter().filter(|check| check.name != BOUND);
        of_made.eq(&self.unit.shape.checks)
    }

    /// Name of index number `at` until the unit's is free.
    fn index_name(&self, at: usize) -> String {
        format!("{}_{at}", self.own)
    }

    /// Makes the indexes, from all rows at once.
    pub fn build_indexes(&self) -> Vec<String> {
        let table = self.table();
        let mut all = Vec::new();
        for (at, index) in self.unit.indexes.iter().enumerate() {
            let name = quote_ident(&self.index_name(at));
            let tablespace = index.tablespace.as_deref().unwrap_or("");
            all.push(format!("SET LOCAL default_tablespace = {}", quote_literal(tablespace)));
            all.push(match (&index.constraint, &index.tail) {
                (Some(definition), _) => {
                    let definition = with_parameters(definition, &index.options);
                    format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
                }
                (None, tail) => format!("{} {name} ON {table}{}", index.create, tail.as_deref().unwrap_or("")),
            });
            if index.is_clustered {
                all.push(format!("ALTER TABLE {table} CLUSTER ON {name}"));
            }
            if index.is_identity {
                all.push(format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name}"));
            }
            let qualified = quote_qualified(&self.schema, &self.index_name(at));
            if let Some(comment) = &index.comment {
                all.push(format!("COMMENT ON INDEX {qualified} IS {}", quote_literal(comment)));
            }
            if let Some(comment) = &index.constraint_comment {
                let comment = quote_literal(comment);
                all.push(format!("COMMENT ON CONSTRAINT {name} ON {table} IS {comment}"));
            }
        }
        all
    }

    /// What the server says of the table, in terms of the unit.
    pub fn in_units_terms(&self, text: &str) -> String {
        let indexes = self.unit.indexes.iter().enumerate().rev();
        let text = indexes.fold(text.to_owned(), |text, (at, index)| {
            text.replace(&self.index_name(at), &index.name)
        });
        text.replace(&self.own, &self.name)
    }

    /// See [`InTree::is_classic_default`].
    pub fn is_classic_default(&self) -> bool {
        self.unit.place.is_classic_default()
    }

    /// OID of the table above the unit.
    pub fn parent(&self) -> Option<u32> {
        self.unit.place.parent
    }

    /// Locks all that the exchange changes, from the top.
    pub fn lock(&self) -> String {
        let place = &self.unit.place;
        if !place.steps.is_empty() {
            return place.lock_from_the_top(&self.unit_table(), None).0;
        }
        let parent = place.parents.first().map(String::as_str);
        let unit = self.unit_table();
        let tables = parent.into_iter().chain([unit.as_str()]);
        let tables = tables.map(|table| format!("ONLY {table}"));
        // What is below a default partition is locked with it when another is attached.
        let tables: Vec<String> = tables.chain(place.default.clone()).collect();
        let above = InTree::read_lock(&self.above());
        format!("{above}LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))
    }

    fn above(&self) -> Vec<&str> {
        let place = &self.unit.place;
        place
            .parents
            .first()
            .map_or_else(Vec::new, |parent| place.above(parent))
    }

    /// How many tables that are.
    pub fn locks(&self) -> u32 {
        let place = &self.unit.place;
        if !place.steps.is_empty() {
            return place.lock_from_the_top(&self.unit_table(), None).1;
        }
        1 + u32::from(!place.parents.is_empty()) + u32::from(place.default.is_some()) + self.above().len() as u32
    }

    /// Puts the table into the place of the unit, which must be locked.
    pub fn take_place(&self) -> Vec<String> {
        let place = &self.unit.place;
        let (table, unit) = (self.table(), self.unit_table());
        if let (Some(root), false) = (place.parents.last(), place.steps.is_empty()) {
            let mut all: Vec<String> = steps::exchange(root, &place.steps, &table).into_iter().collect();
            // The old one has its name now.
            all.push(format!("DROP TABLE {table} RESTRICT"));
            all.extend(self.rename_indexes("IF EXISTS "));
            return all;
        }
        let mut all = vec![format!("DROP TABLE {unit} RESTRICT")];
        if let (Some(parent), Some(bound)) = (place.parents.first(), &place.bound) {
            all.push(format!("ALTER TABLE {parent} ATTACH PARTITION {table} {bound}"));
        }
        if place.condition.is_some() {
            all.push(format!("ALTER TABLE {table} DROP CONSTRAINT {BOUND}"));
        }
        all.extend(self.rename_indexes(""));
        all.push(format!("ALTER TABLE {table} RENAME TO {}", quote_ident(&self.name)));
        all
    }

    /// Gives indexes the names of the unit's, those of constraints as well: in an exchange before Greenplum 7 these have them already.
    fn rename_indexes(&self, if_exists: &str) -> Vec<String> {
        let indexes = self.unit.indexes.iter().enumerate();
        let rename = |(at, index): (usize, &super::Index)| {
            let own = quote_qualified(&self.schema, &self.index_name(at));
            format!("ALTER INDEX {if_exists}{own} RENAME TO {}", quote_ident(&index.name))
        };
        indexes.map(rename).collect()
    }
}
