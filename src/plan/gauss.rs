//! Partitions of openGauss and GaussDB, which are no tables: they are named within theirs.

use super::copy_sql::{quote_ident, split_name};
use super::tables::Relation;
use super::tree::Node;
use std::collections::HashSet;

/// A partition of a table, or a partition of a partition: no table of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// its table, quoted and qualified
    pub table: String,
    /// it is of the second level
    pub is_sub: bool,
    /// its name, unique within its table
    pub name: String,
}

impl Part {
    /// What stands for it in FROM, and in our tables (gram.y, relation_expr_opt_alias with PARTITION).
    pub fn relation(&self) -> String {
        let word = if self.is_sub { "SUBPARTITION" } else { "PARTITION" };
        format!("{} {word} ({})", self.table, quote_ident(&self.name))
    }

    /// Reads that back; None for a table, whose quoted name does not end so.
    pub fn parse(relation: &str) -> Option<Part> {
        let inner = relation.strip_suffix(')')?;
        // The name of the table ends where a quote is followed by a blank outside of quotes.
        let mut is_quoted = false;
        let end = inner.char_indices().find(|&(_, c)| {
            is_quoted ^= c == '"';
            c == ' ' && !is_quoted
        });
        let (table, rest) = inner.split_at(end?.0);
        let (word, name) = rest.trim_start().split_once(" (")?;
        let (None, name) = split_name(name)? else { return None };
        let is_sub = match word {
            "PARTITION" => false,
            "SUBPARTITION" => true,
            _ => return None,
        };
        Some(Part {
            table: table.to_owned(),
            is_sub,
            name,
        })
    }
}

/// The partitions below `node` that are no tables.
pub fn parts(node: &Node<Relation>) -> HashSet<Part> {
    let children = node.level.iter().flat_map(|level| &level.children);
    let own = Part::parse(&node.table.relation);
    own.into_iter().chain(children.flat_map(parts)).collect()
}

/// The table that `relation`, quoted and qualified, is, or is a partition of.
pub fn table_of(relation: &str) -> String {
    Part::parse(relation).map_or_else(|| relation.to_owned(), |part| part.table)
}

#[cfg(test)]
mod tests {
    use super::super::copy_sql::quote_qualified;
    use super::*;

    #[test]
    fn a_part_is_read_back_whatever_it_is_called() {
        let part = |schema, table, is_sub, name: &str| Part {
            table: quote_qualified(schema, table),
            is_sub,
            name: name.to_owned(),
        };
        for (schema, table, name) in [
            ("s", "t", "p1"),
            ("S x", "t) PARTITION (\"a", "p\") WHERE (\"x"),
            ("a\"b", "c.d", "sys_p1 "),
        ] {
            for is_sub in [false, true] {
                let part = part(schema, table, is_sub, name);
                assert_eq!(Part::parse(&part.relation()), Some(part.clone()));
                assert_eq!(table_of(&part.relation()), part.table);
            }
        }
        assert_eq!(part("s", "t", false, "p").relation(), r#""s"."t" PARTITION ("p")"#);
        for table in [r#""s"."t""#, r#""s"."t PARTITION (p)""#, ""] {
            assert_eq!(Part::parse(table), None);
            assert_eq!(table_of(table), table);
        }
    }
}
