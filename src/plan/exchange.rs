//! Exchange of a unit on another PostgreSQL server: what the unit is, as one question to its catalogs tells; why a new table cannot take its place, if
//! so; and the statements by which one does (`stage`).
//!
//! A table like the unit is made, loaded and indexed in one transaction. At its end, with the parent locked, the unit is dropped and the new
//! table is attached in its place, under its name. CREATE TABLE LIKE would do some of it, but keeps a lock on the unit for the whole load, and a default
//! partition is locked by whoever attaches one beside it: so all that the unit is, is told. What cannot be made so is a reason to truncate. Nothing is dropped with
//! CASCADE.

pub mod clauses;
pub mod stage;
pub mod steps;

use super::constraint::foreign_schema;
use serde::Deserialize;
use steps::Step;

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

/// What a table that takes the unit's place must equal.
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
    /// how its rows are spread over segments; None: there are none
    pub spread: Option<Spread>,
    /// columns in order
    pub columns: Vec<Column>,
    /// CHECK constraints, sorted
    pub checks: Vec<Check>,
}

/// Where the rows of a table are, on a server with segments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Spread {
    /// DISTRIBUTED …
    pub clause: String,
    /// over how many
    pub segments: i32,
}

/// A CHECK constraint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// name
    pub name: String,
    /// as it is defined
    pub definition: String,
    /// comment
    pub comment: Option<String>,
}

impl Check {
    /// Rows that were there before it may break it.
    pub fn is_not_valid(&self) -> bool {
        self.definition.ends_with(" NOT VALID")
    }
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
    /// type with modifier
    pub type_sql: String,
    /// OID and name of the type, as [`Column::typed`](super::columns::Column::typed) has it
    pub typed: String,
    /// collation, quoted and qualified, where it is not the type's own
    pub collation: Option<String>,
    /// expression: its default, or what its values are computed by
    pub default: Option<String>,
    /// s or v: its values are computed, and stored or not
    pub generated: String,
    /// NOT NULL
    pub not_null: bool,
    /// the constraint's name, since 18
    pub not_null_name: Option<String>,
    /// p, e, x or m, where it is not the type's own
    pub storage: Option<String>,
    /// p or l, where it is not the server's
    pub compression: Option<String>,
    /// how it is stored, `name=value`, where columns are stored one by one
    pub encoding: Vec<String>,
    /// comment
    pub comment: Option<String>,
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
    /// pg_class.oid of the table above it that its exchange locks
    pub parent: Option<u32>,
    /// tables above it, quoted and qualified, from the nearest
    pub parents: Vec<String>,
    /// those of them that the session's role may read, from the top
    pub readable: Vec<String>,
    /// its bound as its server prints it; None: it is no partition
    pub bound: Option<String>,
    /// the same of those above it up to the table of the call
    pub bounds: Vec<String>,
    /// the condition on its rows
    pub condition: Option<String>,
    /// the default partition beside it, quoted and qualified
    pub default: Option<String>,
    /// before Greenplum 7: what it and those above it are called in their levels, from the top
    #[serde(default)]
    pub steps: Vec<Step>,
}

impl InTree {
    /// Tables above `parent`, which is one of those above it or itself: their bounds are read when something is attached to that. A lock on them is
    /// to be had in the same attempt, not when all the others are.
    pub fn above(&self, parent: &str) -> Vec<&str> {
        let readable = self.readable.iter().map(String::as_str);
        readable.filter(|table| *table != parent).collect()
    }

    /// The statement that locks `tables` as who reads them does, followed by another one.
    pub fn read_lock(tables: &[&str]) -> String {
        let only: Vec<String> = tables.iter().map(|table| format!("ONLY {table}")).collect();
        match only.is_empty() {
            true => String::new(),
            false => format!("LOCK TABLE {} IN ACCESS SHARE MODE; ", only.join(", ")),
        }
    }

    /// The statement that locks all tables above `unit`, which this is, from the top, it, and the partition `beside` or below it, each by itself; and how many
    /// they are.
    pub fn lock_from_the_top(&self, unit: &str, beside: Option<&str>) -> (String, u32) {
        let above = self.parents.iter().rev().map(String::as_str);
        let tables = above.chain([unit]).chain(beside);
        let tables: Vec<String> = tables.map(|table| format!("ONLY {table}")).collect();
        let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
        (lock, tables.len() as u32)
    }

    /// It is a default partition of Greenplum before 7, which exchanges one only where that is allowed.
    pub fn is_classic_default(&self) -> bool {
        self.steps.last().is_some_and(|step| step.is_default)
    }

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
    /// storage parameters, `name=value`, that the definition of a key leaves out
    pub options: Vec<String>,
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
    /// it is of a composite type, an extension's or a subscription's, or has OIDs, a security label or an odd NOT NULL
    pub is_bound_otherwise: bool,
    /// a publication has it, or logical decoding would not see that it is replaced
    pub is_published: bool,
    /// an index of the table above it has none of it
    pub lacks_index: bool,
    /// what else depends on it
    pub dependent: Option<String>,
}

impl Described {
    /// Whether a row may set off code that is not the server's own, as far as definitions tell; they name everything with its schema.
    pub fn names_others_code(&self) -> bool {
        let columns = self
            .shape
            .columns
            .iter()
            .flat_map(|column| [Some(&column.type_sql), column.default.as_ref()]);
        let checks = self.shape.checks.iter().map(|check| Some(&check.definition));
        let indexes = self.indexes.iter().map(|index| index.tail.as_ref());
        let mut texts = columns
            .chain(checks)
            .chain(indexes)
            .chain([self.place.condition.as_ref()])
            .flatten();
        texts.any(|text| foreign_schema(text).is_some())
    }

    /// CHECK constraints that are NOT VALID.
    pub fn not_valid(&self) -> impl Iterator<Item = &Check> {
        self.shape.checks.iter().filter(|check| check.is_not_valid())
    }

    /// What is another one than in `before`, in a few words.
    pub fn differing_from(&self, before: &Described) -> &'static str {
        if self.place != before.place {
            "another place among the partitions"
        } else if self.indexes != before.indexes {
            "other indexes"
        } else if self.shape != before.shape {
            "other columns, constraints, storage or grants"
        } else {
            "other rights, or what depends on it"
        }
    }
}

impl Shape {
    /// Columns that are neither among those `copied` nor computed.
    pub fn left_out<'a>(&'a self, copied: &'a [String]) -> impl Iterator<Item = &'a Column> {
        let mut columns = self.columns.iter();
        std::iter::from_fn(move || columns.find(|column| column.generated.is_empty() && !copied.contains(&column.name)))
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
    } else if facts.method != "heap"
        && (unit.shape.spread.is_none() || !["ao_row", "ao_column"].contains(&facts.method.as_str()))
    {
        format!(
            "its access method is {}, of which no table like it is made",
            facts.method
        )
    } else if !unit.place.steps.is_empty() && steps::way("", &unit.place.steps).is_none() {
        "no name, rank or value tells it from the partitions beside it".to_owned()
    } else if facts.has_row_security {
        "it has row-level security".to_owned()
    } else if facts.is_published {
        "it is published or decoded logically, and an exchange shows no TRUNCATE there".to_owned()
    } else if let Some(dependent) = &facts.dependent {
        format!("{dependent} depends on it")
    } else if facts.has_foreign_keys {
        "it has a foreign key, which would have to be checked with the other table locked".to_owned()
    } else if facts.lacks_index {
        "an index of the table above it has none of it as yet, and would be built with all locked".to_owned()
    } else if facts.is_heir {
        "it inherits from a table that is not partitioned".to_owned()
    } else if facts.is_bound_otherwise {
        "it has a security label, OIDs, or a NOT NULL with a comment, NO INHERIT or NOT VALID, is of a composite type, \
         or belongs to an extension or a subscription"
            .to_owned()
    } else if unit.place.parents.is_empty() && columns.iter().any(|column| !column.identity.is_empty()) {
        "it has an identity column, whose sequence belongs to it".to_owned()
    } else if let Some(column) = unit.shape.left_out(copied).find(|column| !column.identity.is_empty()) {
        format!("column \"{}\" is not copied, and an identity", column.name)
    } else if by_others(&unit.shape.grants) || columns.iter().any(|column| by_others(&column.grants)) {
        "somebody else than its owner has granted privileges on it".to_owned()
    } else if unit.shape.replica_identity == "i" && !unit.indexes.iter().any(|index| index.is_identity) {
        "its replica identity is an index that is gone".to_owned()
    } else if let Some(index) = odd {
        format!(
            "index \"{}\" is invalid, is more than its definition tells, or is where role \"{}\" may create none",
            index.name, facts.role
        )
    } else {
        return None;
    };
    Some(reason)
}

#[cfg(test)]
mod tests;
