//! Where and how the rows of a table are kept, as statements say it.

use super::copy_sql::{quote_ident, quote_literal};

/// How rows are spread over segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distribution {
    /// by the hash of columns, each with an operator class where that is not its type's own
    By(Vec<(String, Option<String>)>),
    /// in turn
    Randomly,
    /// all of them on each
    Replicated,
}

impl Distribution {
    /// As CREATE TABLE has it.
    pub fn sql(&self) -> String {
        match self {
            Distribution::By(columns) => {
                let one = |(column, class): &(String, Option<String>)| {
                    let class = class
                        .as_ref()
                        .map_or_else(String::new, |class| format!(" {}", quote_ident(class)));
                    format!("{}{class}", quote_ident(column))
                };
                let columns: Vec<String> = columns.iter().map(one).collect();
                format!("DISTRIBUTED BY ({})", columns.join(", "))
            }
            Distribution::Randomly => "DISTRIBUTED RANDOMLY".to_owned(),
            Distribution::Replicated => "DISTRIBUTED REPLICATED".to_owned(),
        }
    }

    /// True where rows that are alike by `columns` are on one segment, as an index that is unique needs them.
    pub fn holds_together(&self, columns: &[(String, bool, bool)]) -> bool {
        match self {
            Distribution::By(key) => key
                .iter()
                .all(|(name, _)| columns.iter().any(|(column, ..)| column == name)),
            Distribution::Randomly => false,
            Distribution::Replicated => true,
        }
    }
}

/// How the source stores a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableStorage {
    /// quoted, qualified
    pub relation: String,
    /// relname
    pub name: String,
    /// access method, where it is another than heap
    pub method: Option<String>,
    /// storage parameters, `name=value`
    pub options: Vec<String>,
    /// tablespace, where it is not the database's
    pub tablespace: Option<String>,
    /// it does not survive a crash
    pub unlogged: bool,
}

impl TableStorage {
    /// True where rows are only added.
    pub fn is_append_optimized(&self) -> bool {
        self.method.as_deref().is_some_and(|method| method.starts_with("ao_"))
            || self.options.iter().any(|option| option == "appendonly=true")
    }

    /// True where columns are stored one by one.
    pub fn is_by_columns(&self) -> bool {
        self.method.as_deref() == Some("ao_column") || self.options.iter().any(|option| option == "orientation=column")
    }

    /// What a table on another server with segments does not have alike.
    pub fn of_its_server(&self) -> TableStorage {
        TableStorage {
            // What the older words have no name for is kept as a heap.
            method: self.method.clone().filter(|method| !method.starts_with("ao_")),
            options: Vec::new(),
            ..self.clone()
        }
    }

    /// All of it, for people.
    pub fn clauses(&self) -> String {
        let unlogged = self.unlogged.then(|| "UNLOGGED".to_owned());
        let method = self.method.as_ref().map(|method| format!("USING {method}"));
        let options = (!self.options.is_empty()).then(|| format!("WITH ({})", self.options.join(", ")));
        let tablespace = self
            .tablespace
            .as_ref()
            .map(|space| format!("TABLESPACE {}", quote_ident(space)));
        let clauses: Vec<String> = [unlogged, method, options, tablespace].into_iter().flatten().collect();
        clauses.join(" ")
    }

    /// WITH, as every server with segments reads it: the older words say what later ones call an access method.
    pub fn with_sql(&self) -> String {
        let older = match self.method.as_deref() {
            Some("ao_row") => &["appendonly=true"][..],
            Some("ao_column") => &["appendonly=true", "orientation=column"],
            _ => &[],
        };
        let options = older
            .iter()
            .map(|option| (*option).to_owned())
            .chain(self.options.iter().cloned());
        match parameters(&options.collect::<Vec<String>>(), "").join(", ") {
            none if none.is_empty() => none,
            options => format!(" WITH ({options})"),
        }
    }
}

/// `name = value` of each of `options`, which are `name=value`; names get `prefix`.
pub fn parameters(options: &[String], prefix: &str) -> Vec<String> {
    let one = |option: &String| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        format!("{prefix}{} = {}", quote_ident(name), quote_literal(value))
    };
    options.iter().map(one).collect()
}
