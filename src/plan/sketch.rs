//! Partition trees for unit tests, in a few words: `table("range k", [leaf("a", "from (0) to (10)")])`.

use super::bound::Bound;
use super::collation::Collation;
use super::key::KeyColumn;
use super::tables::{Relation, Table};
use super::tree::{Level, Node, Ranks, Strategy};

/// A table and what is below it, on either side.
#[derive(Clone)]
pub struct Sketch {
    name: String,
    bound: Option<Bound>,
    by: Option<(String, Vec<Sketch>)>,
}

/// A root, partitioned by e.g. `range k, b:text`; columns are int4 unless their type is given.
pub fn table(by: &str, parts: impl Into<Vec<Sketch>>) -> Sketch {
    Sketch {
        name: "t".to_owned(),
        bound: None,
        by: Some((by.to_owned(), parts.into())),
    }
}

/// A partition without partitions. `bound` is `default`, `from (…) to (…)`, `in (…)` or `with (modulus …, remainder …)`.
pub fn leaf(name: &str, bound: &str) -> Sketch {
    let text = match bound {
        "default" => "DEFAULT".to_owned(),
        bound => {
            let bound = bound.replace("from (", "FROM (").replace(" to (", " TO (");
            format!(
                "FOR VALUES {}",
                bound.replace("in (", "IN (").replace("with (", "WITH (")
            )
        }
    };
    Sketch {
        name: name.to_owned(),
        bound: Some(Bound::parse(&text).expect("a bound")),
        by: None,
    }
}

/// A partition with partitions.
pub fn split(name: &str, bound: &str, by: &str, parts: impl Into<Vec<Sketch>>) -> Sketch {
    Sketch {
        by: Some((by.to_owned(), parts.into())),
        ..leaf(name, bound)
    }
}

/// Whole numbers rank as what they are, also when written with a fraction, and letters by the alphabet.
pub fn ranks() -> Ranks {
    let mut ranks = Ranks::default();
    for number in 0..100 {
        ranks.insert("int4", number.to_string(), number);
        ranks.insert("int4", format!("{number}.0"), number);
    }
    for (rank, letter) in ('a'..='z').enumerate() {
        ranks.insert("text", letter.to_string(), rank as i64);
    }
    ranks
}

/// A key column, `k` or `k:text`.
pub fn column(text: &str) -> KeyColumn {
    let (name, type_name) = text.split_once(':').unwrap_or((text, "int4"));
    let is_text = type_name == "text";
    KeyColumn {
        name: name.to_owned(),
        type_oid: match type_name {
            "text" => 25,
            "int8" => 20,
            _ => 23,
        },
        type_name: type_name.to_owned(),
        modifier: -1,
        collation: is_text.then(|| Collation {
            locale: "C".to_owned(),
            identity: None,
            bytes: true,
            own_bytes: true,
            deterministic: true,
        }),
        type_sql: type_name.to_owned(),
        ordering: type_name.to_owned(),
        ..KeyColumn::default()
    }
}

impl Sketch {
    /// A table without partitions.
    pub fn unpartitioned() -> Sketch {
        Sketch {
            by: None,
            ..table("range k", [])
        }
    }

    fn node<T>(&self, table: &mut impl FnMut(&str) -> T) -> Node<T> {
        let own = table(&self.name);
        let level = self.by.as_ref().map(|(by, parts)| {
            let (strategy, columns) = by.split_once(' ').expect("a strategy and columns");
            Level {
                strategy: Strategy::from_code(&strategy[..1]).expect("a strategy"),
                columns: columns.split(", ").map(column).collect(),
                plain: true,
                children: parts.iter().map(|part| part.node(table)).collect(),
            }
        });
        Node {
            table: own,
            bound: self.bound.clone(),
            level,
        }
    }

    /// As the target's tree; OIDs count from 1.
    pub fn target(&self) -> Node<Relation> {
        let mut oid = 0;
        self.node(&mut |name| {
            oid += 1;
            relation(oid, name)
        })
    }

    /// As the source's tree; every relation is readable.
    pub fn source(&self) -> Node<Relation> {
        self.node(&mut |name| relation(1, name))
    }

    /// As the source table.
    pub fn source_table(&self) -> Table {
        Table {
            schema: "s".to_owned(),
            name: self.name.clone(),
            root: self.source(),
            columns: Vec::new(),
        }
    }
}

fn relation(oid: u32, name: &str) -> Relation {
    Relation {
        oid,
        name: name.to_owned(),
        relation: name.to_owned(),
        readable: true,
        bytes: Some(1),
        ..Relation::default()
    }
}
