//! What the tables of new partitions are called here, and in which schema they are: that of the source's partition, if
//! partitions over there are in other schemas than their table and it exists here, else that of the partition beside
//! it. A name that is taken gets a number.

use super::copy_sql::{quote_literal, quote_qualified, split_name};
use super::tables::Relation;
use super::tree::Node;
use crate::error::{Error, Result, sqlstate, tame};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Longest name of a table, in bytes.
const LONGEST_NAME: usize = 63;
/// Numbers that are tried.
const MOST_TRIES: usize = 100;

/// The names, by the source's partitions.
#[derive(Debug, Default)]
pub struct Names {
    /// the table's own schema
    pub schema: String,
    by_source: HashMap<(String, String), String>,
}

impl Names {
    /// All in one schema, under the names that they have on the source.
    pub fn within(schema: &str) -> Names {
        Names {
            schema: schema.to_owned(),
            by_source: HashMap::new(),
        }
    }

    /// The table of the source's partition `table`, quoted and qualified.
    pub fn of(&self, table: &Relation) -> String {
        let known = self.by_source.get(&key(table)).cloned();
        // From here on it is a name of this database, which everybody who lists its tables is shown as it is.
        known.unwrap_or_else(|| quote_qualified(&self.schema, &tame(&table.name)))
    }
}

/// What tells a partition of the source from the others; where they are no tables, they have the table's name.
fn key(table: &Relation) -> (String, String) {
    (table.relation.clone(), table.name.clone())
}

/// Partitions to be named: each with all below it, and the schema of the partition beside it here.
pub type New<'a> = (&'a Node<Relation>, String);

/// The schema that the source has `table` in, if that is not `root`, its table's.
fn own_schema(table: &Relation, root: &str) -> Option<String> {
    let (schema, _) = split_name(&table.relation)?;
    schema.filter(|schema| schema != root)
}

/// Schemas that partitions of a table in schema `root` over there would be in; whether they exist here is to be asked.
pub fn schemas(new: &[New<'_>], root: &str) -> BTreeSet<String> {
    let mut schemas = BTreeSet::new();
    let mut stack: Vec<&Node<Relation>> = new.iter().map(|(node, _)| *node).collect();
    while let Some(node) = stack.pop() {
        schemas.extend(own_schema(&node.table, root));
        stack.extend(node.level.iter().flat_map(|level| &level.children));
    }
    schemas
}

/// The query that tells which of `schemas` exist.
pub fn schemas_sql(schemas: &BTreeSet<String>) -> String {
    let list: Vec<String> = schemas.iter().map(|schema| quote_literal(schema)).collect();
    format!(
        "SELECT nspname FROM pg_namespace WHERE nspname IN ({})",
        list.join(", ")
    )
}

/// The query that tells which of `names`, schema and name, a relation or a type has.
pub fn taken_sql(names: &[(String, String)]) -> String {
    let pairs = names
        .iter()
        .map(|(schema, name)| format!("({}, {})", quote_literal(schema), quote_literal(name)));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) IN ({pairs})
         UNION SELECT n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE (n.nspname, t.typname) IN ({pairs})"
    )
}

/// A partition, and what it would be called.
struct Wanted {
    key: (String, String),
    schema: String,
    name: String,
}

fn want(node: &Node<Relation>, beside: &str, root: &str, existing: &HashSet<String>, wanted: &mut Vec<Wanted>) {
    if node.table.is_of_nulls {
        return;
    }
    let own = own_schema(&node.table, root).filter(|schema| existing.contains(schema));
    let schema = own.unwrap_or_else(|| beside.to_owned());
    for child in node.level.iter().flat_map(|level| &level.children) {
        want(child, &schema, root, existing, wanted);
    }
    wanted.push(Wanted {
        key: key(&node.table),
        schema,
        name: tame(&node.table.name),
    });
}

/// Names of those that may have any: nobody else is there.
pub fn alone(new: &[New<'_>], schema: &str) -> Result<Names> {
    // No schema is called so.
    names(new, (schema, ""), &HashSet::new(), |_| Ok(HashSet::new())).map(|(names, _)| names)
}

/// Names partitions of a table in schema `schema` here, `root` on the source, where the schemas `existing` exist;
/// `taken` tells which names are not free. Gives what there is to tell as well.
pub fn names(
    new: &[New<'_>],
    (schema, root): (&str, &str),
    existing: &HashSet<String>,
    mut taken: impl FnMut(&[(String, String)]) -> Result<HashSet<(String, String)>>,
) -> Result<(Names, Vec<String>)> {
    let mut names = Names::within(schema);
    let mut remarks = Vec::new();
    let mut wanted = Vec::new();
    for (node, beside) in new {
        want(node, beside, root, existing, &mut wanted);
    }
    let mut used = HashSet::new();
    for number in 0..MOST_TRIES {
        if wanted.is_empty() {
            return Ok((names, remarks));
        }
        let name = |one: &Wanted| (one.schema.clone(), numbered(&one.name, number));
        let not_free = taken(&wanted.iter().map(name).collect::<Vec<_>>())?;
        wanted.retain(|one| {
            let name = name(one);
            if not_free.contains(&name) || !used.insert(name.clone()) {
                return true;
            }
            let qualified = quote_qualified(&name.0, &name.1);
            if number > 0 || name.1 != one.name {
                let why = if number > 0 { "taken" } else { "too long" };
                let (relation, _) = &one.key;
                remarks.push(format!(
                    "partition {relation} of the source is called {qualified} here: its own name is {why}"
                ));
            }
            names.by_source.insert(one.key.clone(), qualified);
            false
        });
    }
    let name = wanted.first().map_or("", |one| one.name.as_str());
    Err(Error::new(
        sqlstate::DUPLICATE_TABLE,
        format!("no name that begins with \"{name}\" is free"),
    )
    .hint("Rename relations of such names, or create the partition by hand."))
}

/// As much of `name` as leaves room for `more` bytes in a table's name.
pub fn cut(name: &str, more: usize) -> String {
    let mut name = name.to_owned();
    while name.len() + more > LONGEST_NAME {
        name.pop();
    }
    name
}

fn numbered(name: &str, number: usize) -> String {
    if number == 0 {
        return cut(name, 0);
    }
    let number = format!("_{number}");
    cut(name, number.len()) + &number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(schema: &str, name: &str) -> Node<Relation> {
        Node {
            table: Relation {
                name: name.to_owned(),
                relation: quote_qualified(schema, name),
                ..Relation::default()
            },
            bound: None,
            level: None,
        }
    }

    #[test]
    fn a_partition_goes_where_it_is_on_the_source_or_beside_its_siblings() {
        let parts = [
            partition("y2016", "m01"),
            partition("y2017", "m01"),
            partition("public", "m02"),
        ];
        let new: Vec<New<'_>> = parts.iter().map(|part| (part, "dw".to_owned())).collect();
        assert_eq!(schemas(&new, "public"), ["y2016", "y2017"].map(str::to_owned).into());
        let existing = HashSet::from(["y2016".to_owned()]);
        let taken = |_: &[(String, String)]| Ok(HashSet::from([("dw".to_owned(), "m02".to_owned())]));
        let (names, remarks) = names(&new, ("dw", "public"), &existing, taken).expect("names");
        assert_eq!(names.of(&parts[0].table), "\"y2016\".\"m01\"");
        assert_eq!(names.of(&parts[1].table), "\"dw\".\"m01\"");
        assert_eq!(names.of(&parts[2].table), "\"dw\".\"m02_1\"");
        assert_eq!(
            remarks,
            ["partition \"public\".\"m02\" of the source is called \"dw\".\"m02_1\" here: its own name is taken"]
        );
    }

    #[test]
    fn two_partitions_never_get_one_name() {
        let parts = [partition("a", "m01"), partition("b", "m01")];
        let new: Vec<New<'_>> = parts.iter().map(|part| (part, "dw".to_owned())).collect();
        let (names, remarks) = names(&new, ("dw", "public"), &HashSet::new(), |_| Ok(HashSet::new())).expect("names");
        assert_eq!(names.of(&parts[0].table), "\"dw\".\"m01\"");
        assert_eq!(names.of(&parts[1].table), "\"dw\".\"m01_1\"");
        assert_eq!(remarks.len(), 1);
        assert_eq!(numbered(&"ü".repeat(40), 12).len(), 63);
        assert_eq!(numbered(&"ü".repeat(40), 0).len(), 62);
    }
}
