//! Exchange of a unit on another PostgreSQL server: what the unit is, as one question to its catalogs tells; why a new table cannot take its place, if
//! so; and the statements by which one does.
//!
//! A table like the unit is made, loaded and indexed in one transaction. At its end, with the parent locked, the unit is dropped and the new
//! table is attached in its place, under its name. What the new one does not get by LIKE is given to it by name: owner, grants, comments, statistics
//! targets, storage parameters, tablespaces, replica identity, names of indexes and constraints. What cannot be given is a reason to
//! truncate. Nothing is dropped with CASCADE.

use super::copy_sql::{quote_ident, quote_literal, quote_qualified};
use serde::Deserialize;

/// A unit as its server's catalogs describe it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Described {
    /// what a new table has to be like
    pub shape: Shape,
    /// what it is in
    pub place: InTree,
    /// indexes, constraints with one among them
    pub indexes: Vec<Index>,
    /// what keeps it from being exchanged, and what the session's role may do
    pub facts: Facts,
}

/// What a table made by LIKE must equal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shape {
    /// role
    pub owner: String,
    /// tablespace; None: the database's
    pub tablespace: Option<String>,
    /// p or u
    pub persistence: String,
    /// storage parameters, `name=value`, and those of its TOAST table
    pub options: Vec<String>,
    /// see there
    pub toast_options: Vec<String>,
    /// replica identity: d, n, f or i
    pub replica_identity: String,
    /// comment
    pub comment: Option<String>,
    /// grants, sorted
    pub grants: Vec<Grant>,
    /// columns in order
    pub columns: Vec<Column>,
    /// CHECK constraints as they are defined, with their names and comments, sorted
    pub checks: Vec<String>,
}

/// A privilege that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Grant {
    /// role; None: PUBLIC
    pub to: Option<String>,
    /// as GRANT has it
    pub privilege: String,
    /// WITH GRANT OPTION
    pub grantable: bool,
    /// the owner has given it
    pub by_owner: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// name
    pub name: String,
    /// type with modifier, default, comment and the like: what LIKE keeps
    pub like: Vec<Option<String>>,
    /// its values are computed
    pub generated: bool,
    /// OID and name of its type, as [`Column::typed`](super::columns::Column::typed) has it
    pub typed: String,
    /// a or d: it is an identity column
    pub identity: String,
    /// statistics target; None: the default
    pub statistics: Option<i32>,
    /// `name=value`
    pub options: Vec<String>,
    /// grants, sorted
    pub grants: Vec<Grant>,
}

/// Where a unit is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InTree {
    /// pg_class.oid
    pub oid: u32,
    /// tables above it, quoted and qualified, from the nearest
    pub parents: Vec<String>,
    /// its bound as its server prints it; None: it is no partition
    pub bound: Option<String>,
    /// the same of those above it up to the table of the call
    pub bounds: Vec<String>,
    /// the condition on its rows
    pub condition: Option<String>,
    /// the default partition beside it, quoted and qualified
    pub default: Option<String>,
}

impl InTree {
    /// The bounds of `unit`, which this is, and of those above it up to `table`, as a plan has them; None where it is not below that.
    pub fn bounds_below(&self, unit: &str, table: &str) -> Option<String> {
        let mut chain = std::iter::once(unit).chain(self.parents.iter().map(String::as_str));
        let below = chain.position(|relation| relation == table)?;
        let bounds = self.bound.iter().chain(&self.bounds).take(below);
        Some(bounds.map(String::as_str).collect::<Vec<&str>>().join("; "))
    }
}

/// An index of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// name, which is its constraint's too
    pub name: String,
    /// the constraint as it is defined, if it is one's
    pub constraint: Option<String>,
    /// CREATE INDEX, or with UNIQUE
    pub create: String,
    /// the statement from USING on; None: it is written otherwise than expected
    pub tail: Option<String>,
    /// tablespace; None: the database's
    pub tablespace: Option<String>,
    /// CLUSTER goes by it
    pub is_clustered: bool,
    /// rows are told apart by it on replicas
    pub is_identity: bool,
    /// it is whole, and has what no index that is made anew gets
    pub is_valid: bool,
    /// see above
    pub is_plain: bool,
    /// comments on it, and on its constraint
    pub comment: Option<String>,
    /// see above
    pub constraint_comment: Option<String>,
}

/// What else there is to know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// pg_class.relfilenode
    pub file_number: u32,
    /// access method
    pub method: String,
    /// the session's role
    pub role: String,
    /// it may act as the owner of the unit, and of the table above
    pub is_owner: bool,
    /// it may create tables in the unit's schema
    pub may_create: bool,
    /// it may INSERT and TRUNCATE
    pub may_write: bool,
    /// policies would hide rows from it
    pub has_policies: bool,
    /// row-level security is on
    pub has_row_security: bool,
    /// it has a foreign key
    pub has_foreign_keys: bool,
    /// it inherits, and is no partition
    pub is_heir: bool,
    /// it is of a composite type, or an extension's, or has a security label
    pub is_bound_otherwise: bool,
    /// a publication has it, or logical decoding would not see that it is replaced
    pub is_published: bool,
    /// what else depends on it
    pub dependent: Option<String>,
}

impl Shape {
    /// Columns that are neither among those `copied` nor computed.
    pub fn left_out<'a>(&'a self, copied: &'a [String]) -> impl Iterator<Item = &'a Column> {
        let mut columns = self.columns.iter();
        std::iter::from_fn(move || columns.find(|column| !column.generated && !copied.contains(&column.name)))
    }
}

/// Why a new table cannot take the place of the unit, when columns `copied` are: a clause that follows a colon. None where it can.
pub fn obstacle(unit: &Described, copied: &[String]) -> Option<String> {
    let facts = &unit.facts;
    let by_others = |grants: &[Grant]| grants.iter().any(|grant| !grant.by_owner);
    let columns = &unit.shape.columns;
    let odd = unit
        .indexes
        .iter()
        .find(|index| !index.is_valid || !index.is_plain || index.tail.is_none());
    let reason = if !facts.is_owner {
        format!("role \"{}\" owns neither it nor acts for who does", facts.role)
    } else if !facts.may_create {
        format!("role \"{}\" may not create tables in its schema", facts.role)
    } else if facts.method != "heap" {
        format!("its access method is {}, and only heap is exchanged", facts.method)
    } else if facts.has_row_security {
        "it has row-level security".to_owned()
    } else if facts.is_published {
        "it is published or decoded logically, and an exchange shows no TRUNCATE there".to_owned()
    } else if let Some(dependent) = &facts.dependent {
        format!("{dependent} depends on it")
    } else if facts.has_foreign_keys {
        "it has a foreign key, which would have to be checked with the other table locked".to_owned()
    } else if facts.is_heir {
        "it inherits from a table that is not partitioned".to_owned()
    } else if facts.is_bound_otherwise {
        "it has a security label, is of a composite type, or belongs to an extension".to_owned()
    } else if unit.place.parents.is_empty() && columns.iter().any(|column| !column.identity.is_empty()) {
        "it has an identity column, whose sequence belongs to it".to_owned()
    } else if let Some(column) = unit.shape.left_out(copied).find(|column| !column.identity.is_empty()) {
        format!("column \"{}\" is not copied, and an identity", column.name)
    } else if by_others(&unit.shape.grants) || columns.iter().any(|column| by_others(&column.grants)) {
        "somebody else than its owner has granted privileges on it".to_owned()
    } else if let Some(index) = odd {
        format!(
            "index \"{}\" is invalid, or is more than its definition tells",
            index.name
        )
    } else {
        return None;
    };
    Some(reason)
}

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

    /// Makes the table. On a server of `version` identity columns of partitions are the parent's, and come with it.
    pub fn create(&self, version: u32) -> Vec<String> {
        let shape = &self.unit.shape;
        let unlogged = if shape.persistence == "u" { "UNLOGGED " } else { "" };
        let tablespace = in_tablespace(shape.tablespace.as_deref());
        // Before 11 LIKE knows no statistics objects, and copies none.
        let statistics = if version >= 110_000 {
            " EXCLUDING STATISTICS"
        } else {
            ""
        };
        let bound = self.unit.place.condition.as_ref();
        let bound = bound.map(|condition| format!(", CONSTRAINT {BOUND} CHECK ({condition})"));
        let table = self.table();
        let mut all = vec![
            "SET LOCAL default_tablespace = ''".to_owned(),
            format!(
                "CREATE {unlogged}TABLE {table} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY{statistics}{}){tablespace}",
                self.unit_table(),
                bound.unwrap_or_default()
            ),
        ];
        let parameters = |options: &[String], prefix: &str| {
            let one = |option: &String| {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                format!("{prefix}{} = {}", quote_ident(name), quote_literal(value))
            };
            options.iter().map(one).collect::<Vec<String>>()
        };
        let options = [
            parameters(&shape.options, ""),
            parameters(&shape.toast_options, "toast."),
        ]
        .concat();
        if !options.is_empty() {
            all.push(format!("ALTER TABLE {table} SET ({})", options.join(", ")));
        }
        for column in &shape.columns {
            let name = quote_ident(&column.name);
            if let Some(target) = column.statistics {
                all.push(format!(
                    "ALTER TABLE {table} ALTER COLUMN {name} SET STATISTICS {target}"
                ));
            }
            if !column.options.is_empty() {
                let options = parameters(&column.options, "").join(", ");
                all.push(format!("ALTER TABLE {table} ALTER COLUMN {name} SET ({options})"));
            }
        }
        if let Some(comment) = &shape.comment {
            all.push(format!("COMMENT ON TABLE {table} IS {}", quote_literal(comment)));
        }
        if matches!(shape.replica_identity.as_str(), "n" | "f") {
            let identity = if shape.replica_identity == "n" {
                "NOTHING"
            } else {
                "FULL"
            };
            all.push(format!("ALTER TABLE {table} REPLICA IDENTITY {identity}"));
        }
        if shape.owner != self.unit.facts.role {
            all.push(format!("ALTER TABLE {table} OWNER TO {}", quote_ident(&shape.owner)));
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
        let begin = format!("{BOUND} ");
        let of_made = made.checks.iter().filter(|check| !check.starts_with(&begin));
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
                (Some(definition), _) => format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"),
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

    /// Locks all that the exchange changes, from the top.
    pub fn lock(&self) -> String {
        let place = &self.unit.place;
        let parent = place.parents.first().map(String::as_str);
        let unit = self.unit_table();
        let default = place.default.as_deref();
        let tables = parent.into_iter().chain([unit.as_str()]).chain(default);
        let tables: Vec<String> = tables.map(|table| format!("ONLY {table}")).collect();
        format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))
    }

    /// How many tables that are.
    pub fn locks(&self) -> u32 {
        let place = &self.unit.place;
        1 + u32::from(!place.parents.is_empty()) + u32::from(place.default.is_some())
    }

    /// Puts the table into the place of the unit, which must be locked.
    pub fn take_place(&self) -> Vec<String> {
        let place = &self.unit.place;
        let (table, unit) = (self.table(), self.unit_table());
        let mut all = vec![format!("DROP TABLE {unit} RESTRICT")];
        if let (Some(parent), Some(bound)) = (place.parents.first(), &place.bound) {
            all.push(format!("ALTER TABLE {parent} ATTACH PARTITION {table} {bound}"));
        }
        if place.condition.is_some() {
            all.push(format!("ALTER TABLE {table} DROP CONSTRAINT {BOUND}"));
        }
        for (at, index) in self.unit.indexes.iter().enumerate() {
            // Of a constraint as well.
            let own = quote_qualified(&self.schema, &self.index_name(at));
            all.push(format!("ALTER INDEX {own} RENAME TO {}", quote_ident(&index.name)));
        }
        all.push(format!("ALTER TABLE {table} RENAME TO {}", quote_ident(&self.name)));
        all
    }
}

fn in_tablespace(name: Option<&str>) -> String {
    name.map(|name| format!(" TABLESPACE {}", quote_ident(name)))
        .unwrap_or_default()
}

fn grantee(grant: &Grant) -> String {
    grant.to.as_deref().map_or_else(|| "PUBLIC".to_owned(), quote_ident)
}

fn give(grant: &Grant, columns: &str, table: &str) -> String {
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    format!(
        "GRANT {}{columns} ON TABLE {table} TO {}{option}",
        grant.privilege,
        grantee(grant)
    )
}
