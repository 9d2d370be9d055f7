//! A table like the source's on a server with segments: where its rows go and how they are stored is said when it is made.

use super::classic;
use super::creation;
use super::distribution::{Distribution, TableStorage};
use super::naming::Names;
use super::new_table::{Definition, Index, NewColumn, storage_remarks, table_sql};
use super::tables::Relation;
use super::tree::{Level, Node, Strategy};
use crate::error::{Error, Result};

impl Definition {
    /// What a server without segments does not keep, a clause each.
    pub fn storage_left_out(&self) -> Vec<String> {
        let distribution = self.distribution.as_ref();
        let distribution =
            distribution.map(|distribution| format!("distribution is not copied: {}", distribution.sql()));
        distribution
            .into_iter()
            .chain(self.storage_remarks(TableStorage::clone))
            .collect()
    }

    /// What is told of storage of which `not_kept` is not kept.
    fn storage_remarks(&self, not_kept: fn(&TableStorage) -> TableStorage) -> Vec<String> {
        let all = self.storage.iter().map(not_kept);
        let all = all.map(|storage| (storage.name.clone(), storage.clauses()));
        let told: Vec<(String, String)> = all.filter(|(_, clauses)| !clauses.is_empty()).collect();
        storage_remarks(&told)
    }
}

/// The statements that make a table, and what is told of it.
pub struct Made {
    /// in their order
    pub statements: Vec<String>,
    /// a clause each
    pub remarks: Vec<String>,
}

/// The table `qualified` with its partitions, called `names`, and indexes, for a server with segments; `is_classic`:
/// before Greenplum 7. `has_method` tells which access methods of indexes it has.
pub fn make(
    (qualified, names): (&str, &Names),
    root: &Node<Relation>,
    definition: &Definition,
    columns: &[NewColumn<'_>],
    is_classic: bool,
    has_method: &dyn Fn(&str) -> bool,
) -> Result<Made> {
    let mut remarks = Vec::new();
    let distribution = distribution(definition, &mut remarks);
    // A server of another kind stores in other ways.
    let is_alike = definition.distribution.is_some();
    remarks.extend(definition.storage_remarks(match is_alike {
        true => TableStorage::of_its_server,
        false => TableStorage::clone,
    }));
    let storage = |table: &Relation| match is_alike {
        true => storage_sql(definition, root, table, is_classic),
        false => String::new(),
    };
    if !root.level.as_ref().is_none_or(has_words) {
        return Err(refusal("A level of a Greenplum is RANGE on one column, or LIST."));
    }
    let mut statements = match (&root.level, is_classic) {
        (Some(level), true) => {
            let by = classic::partition_by(level, &storage).ok_or_else(|| {
                refusal("Before Greenplum 7 all partitions of a level have the same levels below them.")
            })?;
            let table = table_sql(qualified, columns, None);
            vec![format!("{table}{} {} {by}", storage(&root.table), distribution.sql())]
        }
        (level, _) => {
            let table = table_sql(qualified, columns, level.as_ref());
            // A partitioned table has no storage from 7 on: each partition says its own.
            let own = match level {
                Some(_) => String::new(),
                None => storage(&root.table),
            };
            let first = format!("{table}{own} {}", distribution.sql());
            [first]
                .into_iter()
                .chain(declared(qualified, names, root, &storage))
                .collect()
        }
    };
    statements.extend(indexes(
        qualified,
        root,
        definition,
        &distribution,
        is_classic,
        has_method,
        &mut remarks,
    ));
    Ok(Made { statements, remarks })
}

/// How `table`, the source's root or below it, is stored, with a space before it.
fn storage_sql(definition: &Definition, root: &Node<Relation>, table: &Relation, is_classic: bool) -> String {
    let of = |relation: &str| definition.storage.iter().find(|storage| storage.relation == relation);
    let own = of(&table.relation).map(TableStorage::with_sql).unwrap_or_default();
    let is_below = table.relation != root.table.relation;
    // What says nothing would be stored as the table above.
    match own.is_empty()
        && is_classic
        && is_below
        && of(&root.table.relation).is_some_and(TableStorage::is_append_optimized)
    {
        true => " WITH (\"appendonly\" = 'false')".to_owned(),
        false => own,
    }
}

fn refusal(detail: &str) -> Error {
    Error::unsupported("the partitioning of the source table cannot be declared there")
        .detail(detail)
        .hint("Create the table there by hand, with partitions or without, and attach it: a sync fits the rows in.")
}

/// What is told of encodings that partitions from 7 on do not get from the table above.
pub fn encodings_left_out(root: &Node<Relation>, columns: &[NewColumn<'_>], is_classic: bool) -> Option<String> {
    let encoded = columns.iter().filter(|column| !column.definition.encoding.is_empty());
    let names: Vec<String> = encoded
        .map(|column| format!("\"{}\"", column.definition.name))
        .collect();
    (!is_classic && root.level.is_some() && !names.is_empty()).then(|| {
        format!(
            "encodings of columns {} are not copied: partitions there have those of their storage parameters",
            names.join(", ")
        )
    })
}

/// The statements for the table's indexes; those of partitions are told.
fn indexes(
    name: &str,
    root: &Node<Relation>,
    definition: &Definition,
    distribution: &Distribution,
    is_classic: bool,
    has_method: &dyn Fn(&str) -> bool,
    remarks: &mut Vec<String>,
) -> Vec<String> {
    let mut statements = Vec::new();
    for index in &definition.indexes {
        let reason = match index.relation == root.table.relation {
            true => why_no_index(index, distribution, is_classic, has_method),
            false => Some("it is one of a partition only".to_owned()),
        };
        match reason {
            None => statements.push(index.sql(name)),
            Some(reason) => remarks.push(format!("index \"{}\" is not copied: {reason}", index.name)),
        }
    }
    statements
}

/// True where a level and those below it are what each Greenplum has.
fn has_words(level: &Level<Relation>) -> bool {
    let is_known = match level.strategy {
        Strategy::Range => level.columns.len() == 1,
        Strategy::List => true,
        Strategy::Hash => false,
    };
    is_known
        && level
            .children
            .iter()
            .filter_map(|child| child.level.as_ref())
            .all(has_words)
}

/// As the source's, else by its primary key, else randomly.
fn distribution(definition: &Definition, remarks: &mut Vec<String>) -> Distribution {
    if let Some(distribution) = &definition.distribution {
        return distribution.clone();
    }
    let mut keys = definition
        .indexes
        .iter()
        .filter(|index| index.constraint == Some("PRIMARY KEY"));
    if let Some(key) = keys.next() {
        return Distribution::By(key.columns.iter().map(|(column, ..)| (column.clone(), None)).collect());
    }
    remarks.push("the table is DISTRIBUTED RANDOMLY: the source's has no distribution, and no primary key".to_owned());
    Distribution::Randomly
}

/// Partitions that are tables of their own.
fn declared(name: &str, names: &Names, root: &Node<Relation>, storage: &dyn Fn(&Relation) -> String) -> Vec<String> {
    let (mut tables, mut leaves) = (Vec::new(), Vec::new());
    for child in root.level.iter().flat_map(|level| &level.children) {
        creation::create(name, child, true, names, &mut tables, &mut leaves);
    }
    let with_storage = |table: &creation::NewTable| {
        let leaf = leaves.iter().find(|(leaf, _)| *leaf == table.name);
        format!(
            "{}{}",
            table.sql,
            leaf.map_or_else(String::new, |(_, node)| storage(&node.table))
        )
    };
    tables.iter().map(with_storage).collect()
}

/// Why an index cannot be made, as a clause.
fn why_no_index(
    index: &Index,
    distribution: &Distribution,
    is_classic: bool,
    has_method: &dyn Fn(&str) -> bool,
) -> Option<String> {
    if !has_method(&index.method) {
        return Some(format!("there is no access method \"{}\" there", index.method));
    }
    if is_classic && !index.included.is_empty() {
        return Some("INCLUDE is of later servers".to_owned());
    }
    let is_unique = index.unique || index.constraint.is_some();
    (is_unique && !distribution.holds_together(&index.columns)).then(|| {
        format!(
            "it is unique, and rows that it would compare are not on one segment: {}",
            distribution.sql()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::bound::{Bound, End};
    use crate::plan::copy_sql::quote_qualified;
    use crate::plan::key::KeyColumn;
    use crate::plan::new_table::ColumnDefinition;

    fn relation(name: &str) -> Relation {
        Relation {
            name: name.to_owned(),
            relation: quote_qualified("s", name),
            ..Relation::default()
        }
    }

    fn months() -> Node<Relation> {
        let range = Bound::Range(
            vec![End::Value("2016-01-01".into())],
            vec![End::Value("2016-02-01".into())],
        );
        let leaf = Node {
            table: relation("t_1_prt_jan"),
            bound: Some(range),
            level: None,
        };
        let column = KeyColumn {
            name: "d".to_owned(),
            ..KeyColumn::default()
        };
        Node {
            table: relation("t"),
            bound: None,
            level: Some(Level {
                strategy: Strategy::Range,
                columns: vec![column],
                plain: true,
                children: vec![leaf],
            }),
        }
    }

    fn index(name: &str, constraint: Option<&'static str>, columns: &[&str]) -> Index {
        Index {
            relation: quote_qualified("s", "t"),
            name: name.to_owned(),
            method: "btree".to_owned(),
            unique: constraint.is_some(),
            constraint,
            columns: columns
                .iter()
                .map(|column| ((*column).to_owned(), false, false))
                .collect(),
            ..Index::default()
        }
    }

    fn column(definition: &ColumnDefinition) -> NewColumn<'_> {
        NewColumn {
            definition,
            type_sql: "date".to_owned(),
            collation: None,
            default: None,
            encoding: &[],
        }
    }

    fn definition() -> ColumnDefinition {
        ColumnDefinition {
            name: "d".to_owned(),
            ..ColumnDefinition::default()
        }
    }

    #[test]
    fn a_table_of_a_greenplum_keeps_distribution_and_storage() {
        let storage = |name: &str, options: &[&str], method: Option<&str>| TableStorage {
            relation: quote_qualified("s", name),
            name: name.to_owned(),
            method: method.map(str::to_owned),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..TableStorage::default()
        };
        let table = Definition {
            distribution: Some(Distribution::By(vec![
                ("id".to_owned(), Some("cdbhash_int4_ops".to_owned())),
                ("d".to_owned(), None),
            ])),
            storage: vec![
                storage("t", &["appendonly=true"], None),
                storage("t_1_prt_jan", &["compresstype=zlib"], Some("ao_column")),
            ],
            ..Definition::default()
        };
        let d = definition();
        let made = |is_classic| {
            make(
                ("\"n\".\"x\"", &Names::within("n")),
                &months(),
                &table,
                &[column(&d)],
                is_classic,
                &|_| true,
            )
            .expect("statements")
        };
        assert_eq!(
            made(true).statements,
            [
                "CREATE TABLE \"n\".\"x\" (\"d\" date) WITH (\"appendonly\" = 'true') DISTRIBUTED BY (\"id\" \"cdbhash_int4_ops\", \"d\") \
              PARTITION BY RANGE (\"d\") (PARTITION \"jan\" START ('2016-01-01') INCLUSIVE END ('2016-02-01') EXCLUSIVE \
              WITH (\"appendonly\" = 'true', \"orientation\" = 'column', \"compresstype\" = 'zlib'))"
            ]
        );
        assert_eq!(
            made(false).statements,
            [
                "CREATE TABLE \"n\".\"x\" (\"d\" date) PARTITION BY RANGE (\"d\") DISTRIBUTED BY (\"id\" \"cdbhash_int4_ops\", \"d\")",
                "CREATE TABLE \"n\".\"t_1_prt_jan\" PARTITION OF \"n\".\"x\" FOR VALUES FROM ('2016-01-01') TO ('2016-02-01') \
                 WITH (\"appendonly\" = 'true', \"orientation\" = 'column', \"compresstype\" = 'zlib')",
            ]
        );
        assert_eq!(made(true).remarks, Vec::<String>::new());
        assert_eq!(
            table.storage_left_out(),
            [
                "distribution is not copied: DISTRIBUTED BY (\"id\" \"cdbhash_int4_ops\", \"d\")",
                "storage of t is not copied: WITH (appendonly=true)",
                "storage of t_1_prt_jan is not copied: USING ao_column WITH (compresstype=zlib)",
            ]
        );
    }

    #[test]
    fn a_table_of_postgresql_is_spread_by_its_primary_key_or_randomly() {
        let d = definition();
        let mut table = Definition {
            indexes: vec![
                index("t_pkey", Some("PRIMARY KEY"), &["d"]),
                index("t_u", Some("UNIQUE"), &["id"]),
            ],
            ..Definition::default()
        };
        let make = |table: &Definition| {
            make(
                ("\"n\".\"x\"", &Names::within("n")),
                &months(),
                table,
                &[column(&d)],
                true,
                &|_| true,
            )
            .expect("statements")
        };
        let made = make(&table);
        assert!(
            made.statements[0].contains(") DISTRIBUTED BY (\"d\") PARTITION BY"),
            "{:?}",
            made.statements
        );
        assert_eq!(
            made.statements[1],
            "ALTER TABLE \"n\".\"x\" ADD CONSTRAINT \"t_pkey\" PRIMARY KEY (\"d\")"
        );
        assert!(
            made.remarks[0].starts_with("index \"t_u\" is not copied: it is unique"),
            "{:?}",
            made.remarks
        );
        table.indexes.clear();
        let made = make(&table);
        assert!(made.statements[0].contains(" DISTRIBUTED RANDOMLY "));
        assert!(made.remarks[0].contains("DISTRIBUTED RANDOMLY"));
        let mut hash = months();
        hash.level.as_mut().expect("a level").strategy = Strategy::Hash;
        for is_classic in [true, false] {
            let refused = super::make(
                ("\"n\".\"x\"", &Names::within("n")),
                &hash,
                &table,
                &[column(&d)],
                is_classic,
                &|_| true,
            );
            assert_eq!(
                refused.err().map(|error| error.sqlstate),
                Some(crate::error::sqlstate::FEATURE_NOT_SUPPORTED.to_owned())
            );
        }
    }
}
