//! Unique indexes over all partitions of a table, which PostgreSQL has only with the key in them.

use super::new_table::Index;
use super::tables::Relation;
use super::tree::Node;

/// Takes out those that do without a column of the partition key. Gives what is told.
pub fn take_out(indexes: &mut Vec<Index>, root: &Node<Relation>) -> Vec<String> {
    fn keys<'a>(node: &'a Node<Relation>, found: &mut Vec<&'a str>) {
        if let Some(level) = &node.level {
            found.extend(level.columns.iter().map(|column| column.name.as_str()));
            level.children.iter().for_each(|child| keys(child, found));
        }
    }
    let mut columns = Vec::new();
    keys(root, &mut columns);
    let mut told = Vec::new();
    indexes.retain(|index| {
        let has = |name: &str| index.columns.iter().any(|(column, ..)| column == name);
        let is_of_root = index.relation == root.table.relation;
        let lacking = columns.iter().find(|name| !has(name));
        match lacking.filter(|_| index.unique && is_of_root) {
            None => true,
            Some(name) => {
                told.push(format!(
                    "unique index \"{}\" is not copied: it lacks column \"{name}\" of the partition key",
                    index.name
                ));
                false
            }
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use super::super::sketch::{leaf, split, table};
    use super::*;

    #[test]
    fn a_unique_index_has_the_keys_of_all_levels_or_is_left_out() {
        let by_list = split("a", "from (0) to (10)", "list r", [leaf("a_1", "in (1)")]);
        let root = table("range k", [by_list]).source_table().root;
        let index = |name: &str, unique: bool, columns: &[&str]| Index {
            relation: root.table.relation.clone(),
            name: name.to_owned(),
            unique,
            columns: columns
                .iter()
                .map(|column| ((*column).to_owned(), false, false))
                .collect(),
            ..Index::default()
        };
        let mut indexes = vec![
            index("id", true, &["id", "k"]),
            index("all", true, &["r", "id", "k"]),
            index("plain", false, &["id"]),
        ];
        assert_eq!(
            take_out(&mut indexes, &root),
            ["unique index \"id\" is not copied: it lacks column \"r\" of the partition key"]
        );
        let left: Vec<&str> = indexes.iter().map(|index| index.name.as_str()).collect();
        assert_eq!(left, ["all", "plain"]);
    }
}
