//! A partition that only the source has, as statements that create it here.

use super::bound::Bound;
use super::classic::Added;
use super::key::KeyColumn;
use super::naming::Names;
use super::tables::Relation;
use super::tree::{Level, Node};

/// A partition to be created, as statements.
#[derive(Debug)]
pub struct Creation {
    /// OID of the table it becomes a partition of
    pub parent: u32,
    /// that table, quoted and qualified
    pub parent_name: String,
    /// the source's partition
    pub source_relation: String,
    /// the partition, then what is below it; of Greenplum before 7 the leaves, whose tables it makes itself
    pub tables: Vec<NewTable>,
    /// the partition beside it that it is stored like where that has to be said, quoted and qualified
    pub beside: Option<String>,
    /// what is added there
    pub added: Option<Added>,
}

impl Creation {
    /// Names of its tables, as planned.
    pub fn names(&self) -> Vec<String> {
        self.tables.iter().map(|table| table.name.clone()).collect()
    }
}

/// One table of it.
#[derive(Debug)]
pub struct NewTable {
    /// quoted, qualified
    pub name: String,
    /// CREATE TABLE …
    pub sql: String,
    /// columns and expressions that it is partitioned by
    pub keys: Vec<String>,
}

/// The statements for `node` and, if `deep`, for what is below it, called `names`; `leaves` gets the names of the leaves.
pub fn create<'a>(
    parent: &str,
    node: &'a Node<Relation>,
    deep: bool,
    names: &Names,
    tables: &mut Vec<NewTable>,
    leaves: &mut Vec<(String, &'a Node<Relation>)>,
) {
    if node.table.is_of_nulls {
        return;
    }
    let name = names.of(&node.table);
    let bound = node.bound.as_ref().unwrap_or(&Bound::Default).to_sql();
    // An expression is the target's own: the source's text of one is not read here.
    let is_ours = |column: &KeyColumn| !column.expression || !column.ordering.is_empty();
    let level = node.level.as_ref();
    let level = level.filter(|level| deep && level.plain && level.columns.iter().all(is_ours));
    let keys = |level: &Level<Relation>| level.columns.iter().map(KeyColumn::sql).collect::<Vec<String>>();
    let by = level.map(|level| format!(" PARTITION BY {} ({})", level.strategy.sql(), keys(level).join(", ")));
    let sql = format!(
        "CREATE TABLE {name} PARTITION OF {parent} {bound}{}",
        by.unwrap_or_default()
    );
    tables.push(NewTable {
        name: name.clone(),
        sql,
        keys: level.map(keys).unwrap_or_default(),
    });
    match level {
        Some(level) => {
            let below = &level.children;
            below
                .iter()
                .for_each(|child| create(&name, child, deep, names, tables, leaves));
        }
        None => leaves.push((name, node)),
    }
}
