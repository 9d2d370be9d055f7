//! A table like the source's, as statements of this server. Nothing in them is the source's own SQL, except the expressions of CHECK
//! constraints: those must be closed in themselves ([`super::constraint::is_enclosed`]), and are examined once this server has parsed them.

use super::copy_sql::{quote_ident, quote_literal, quote_qualified};
use super::creation::{self, NewTable};
use super::distribution::{Distribution, TableStorage, parameters};
use super::gauss::Part;
use super::naming::Names;
use super::tables::Relation;
use super::tree::{Level, Node, Strategy};
use std::collections::HashMap;

/// What makes the source table, apart from its partitions.
#[derive(Debug, Default)]
pub struct Definition {
    /// schema
    pub schema: String,
    /// relname
    pub name: String,
    /// in attnum order
    pub columns: Vec<ColumnDefinition>,
    /// of the table and its partitions
    pub checks: Vec<Check>,
    /// of the table and its partitions, without those that a partition has from above
    pub indexes: Vec<Index>,
    /// how its rows are spread, where there are segments
    pub distribution: Option<Distribution>,
    /// how the table and its partitions are stored
    pub storage: Vec<TableStorage>,
    /// what cannot be copied, a clause each
    pub left_out: Vec<String>,
    /// why the partitioning has no counterpart here
    pub refusal: Option<String>,
}

/// A column of the source table.
#[derive(Debug, Default)]
pub struct ColumnDefinition {
    /// attname
    pub name: String,
    /// format_type() without modifier
    pub type_name: String,
    /// atttypmod
    pub modifier: i32,
    /// attnotnull
    pub not_null: bool,
    /// the default's value as its type prints it
    pub default: Option<String>,
    /// name of its collation, when that is not its type's own
    pub collation: Option<String>,
    /// how it is stored, `name=value`, where columns are stored one by one
    pub encoding: Vec<String>,
}

/// A CHECK constraint.
#[derive(Debug)]
pub struct Check {
    /// the source's table: quoted, qualified
    pub relation: String,
    /// conname
    pub name: String,
    /// as the source deparses it
    pub expression: String,
}

/// An index, or the constraint that has it.
#[derive(Debug, Default)]
pub struct Index {
    /// the source's table: quoted, qualified
    pub relation: String,
    /// of the index and of its constraint
    pub name: String,
    /// access method
    pub method: String,
    /// no two rows alike
    pub unique: bool,
    /// PRIMARY KEY or UNIQUE, when it belongs to such a constraint
    pub constraint: Option<&'static str>,
    /// the constraint can be deferred; is deferred from the start
    pub deferrable: (bool, bool),
    /// key columns, each with DESC and NULLS FIRST
    pub columns: Vec<(String, bool, bool)>,
    /// names of the columns it only includes
    pub included: Vec<String>,
}

/// A column as it is created.
#[derive(Debug)]
pub struct NewColumn<'a> {
    /// the source's
    pub definition: &'a ColumnDefinition,
    /// type with modifier, as this server prints it
    pub type_sql: String,
    /// quoted, qualified
    pub collation: Option<String>,
    /// the source's, if it is copied
    pub default: Option<&'a str>,
    /// how it is stored, `name=value`, if that is copied
    pub encoding: &'a [String],
}

/// How text sorts here.
#[derive(Debug, Default)]
pub struct Collations {
    /// the locale of the database
    pub default: String,
    /// names of the collations in pg_catalog that this database can use
    pub names: Vec<String>,
}

/// True when two locales are called alike, which is all that a new column can go by.
fn sort_alike(here: &str, there: &str) -> bool {
    fold_locale(here) == fold_locale(there)
}

/// `en_US.UTF-8` and `en_US.utf8` are one locale.
fn fold_locale(name: &str) -> String {
    let folded = name.to_ascii_lowercase().replace('-', "");
    if folded == "posix" { "c".to_owned() } else { folded }
}

impl Collations {
    /// The collation of that name or, failing that, one that sorts by the locale.
    fn find(&self, locale: &str) -> Option<String> {
        let exact = self.names.iter().find(|name| *name == locale);
        let alike = || self.names.iter().find(|name| sort_alike(name, locale));
        exact.or_else(alike).map(|name| quote_qualified("pg_catalog", name))
    }

    /// The collation that a column gets, and a remark where it cannot be the source's. `locale` is what the column sorts by there, if text
    /// ranges depend on it.
    pub fn of(&self, column: &ColumnDefinition, locale: Option<&str>) -> (Option<String>, Option<String>) {
        let name = &column.name;
        if let Some(collation) = &column.collation {
            let found = self
                .names
                .contains(collation)
                .then(|| quote_qualified("pg_catalog", collation));
            let remark = || format!("collation \"{collation}\" of column \"{name}\" is not copied: there is none here");
            let missing = found.is_none().then(remark);
            return (found, missing);
        }
        let Some(locale) = locale.filter(|locale| !sort_alike(locale, &self.default)) else {
            return (None, None);
        };
        let found = self.find(locale);
        let remark = match &found {
            Some(collation) => {
                format!("column \"{name}\" gets COLLATE {collation}: partitions are ranges in the source's order")
            }
            None => format!(
                "column \"{name}\" sorts as {} here and as {locale} on the source: ranges may hold other rows than there",
                self.default
            ),
        };
        (found, Some(remark))
    }
}

/// Columns of the keys of RANGE levels, with what each sorts by where it has a collation.
pub fn range_keys(root: &Node<Relation>) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    let mut stack = vec![root];
    while let Some(node) = stack.pop() {
        let Some(level) = &node.level else { continue };
        if level.strategy == Strategy::Range {
            let text = level
                .columns
                .iter()
                .filter_map(|c| Some((c.name.as_str(), c.collation.as_ref()?.locale.as_str())));
            found.extend(text);
        }
        stack.extend(&level.children);
    }
    found
}

/// True when every level of the tree can be written down as declarative partitioning. The text of an
/// expression is the source's, and is not read here.
pub fn is_plain(root: &Node<Relation>) -> bool {
    let is_column = |level: &Level<Relation>| level.columns.iter().all(|column| !column.expression);
    let level = root.level.as_ref();
    level.is_none_or(|level| level.plain && is_column(level) && level.children.iter().all(is_plain))
}

/// CREATE TABLE of the table itself. `name` is quoted and qualified.
pub fn table_sql(name: &str, columns: &[NewColumn<'_>], level: Option<&Level<Relation>>) -> String {
    let columns: Vec<String> = columns.iter().map(column_sql).collect();
    let by = level.map_or_else(String::new, |level| {
        let key: Vec<String> = level.columns.iter().map(|c| quote_ident(&c.name)).collect();
        format!(" PARTITION BY {} ({})", level.strategy.sql(), key.join(", "))
    });
    format!("CREATE TABLE {name} ({}){by}", columns.join(", "))
}

/// ALTER TABLE that gives columns their defaults; None where there are none. A literal becomes a value of the column's own type: no name of a
/// type stands in it.
pub fn defaults_sql(name: &str, columns: &[NewColumn<'_>]) -> Option<String> {
    let set = |column: &NewColumn<'_>| {
        let default = column.default?;
        let ident = quote_ident(&column.definition.name);
        Some(format!("ALTER {ident} SET DEFAULT {}", quote_literal(default)))
    };
    let defaults: Vec<String> = columns.iter().filter_map(set).collect();
    (!defaults.is_empty()).then(|| format!("ALTER TABLE {name} {}", defaults.join(", ")))
}

fn column_sql(column: &NewColumn<'_>) -> String {
    let mut sql = format!("{} {}", quote_ident(&column.definition.name), column.type_sql);
    if let Some(collation) = &column.collation {
        sql = format!("{sql} COLLATE {collation}");
    }
    if column.definition.not_null {
        sql.push_str(" NOT NULL");
    }
    if !column.encoding.is_empty() {
        sql = format!("{sql} ENCODING ({})", parameters(column.encoding, "").join(", "));
    }
    sql
}

/// CREATE TABLE … PARTITION OF for everything below the root, parents first. `name` is the table's, `names` theirs.
pub fn partitions(name: &str, names: &Names, root: &Node<Relation>) -> Vec<NewTable> {
    let (mut tables, mut leaves) = (Vec::new(), Vec::new());
    for child in root.level.iter().flat_map(|level| &level.children) {
        creation::create(name, child, true, names, &mut tables, &mut leaves);
    }
    tables
}

/// By the source's tables, quoted and qualified, the ones here.
pub fn new_names(name: &str, called: &Names, root: &Node<Relation>) -> HashMap<String, String> {
    let mut names = HashMap::from([(root.table.relation.clone(), name.to_owned())]);
    let mut stack: Vec<&Node<Relation>> = root.level.iter().flat_map(|level| &level.children).collect();
    while let Some(node) = stack.pop() {
        names.insert(node.table.relation.clone(), called.of(&node.table));
        stack.extend(node.level.iter().flat_map(|level| &level.children));
    }
    names
}

/// Partitions that are no tables on the source have names that are unique in their table only: what is above them goes before theirs.
pub fn prefix_partitions(root: &mut Node<Relation>, prefix: &str) {
    for child in root.level.iter_mut().flat_map(|level| &mut level.children) {
        if Part::parse(&child.table.relation).is_some() {
            child.table.name = format!("{prefix}_{}", child.table.name);
            let prefix = child.table.name.clone();
            prefix_partitions(child, &prefix);
        }
    }
}

impl Check {
    /// Adds it without looking at a row: the server parses the expression and runs nothing of it. `relation` is the table here.
    pub fn sql(&self, relation: &str) -> String {
        format!(
            "ALTER TABLE {relation} ADD CONSTRAINT {} CHECK ({}) NOT VALID",
            quote_ident(&self.name),
            self.expression
        )
    }

    /// Adds it to an empty table, once it has been examined.
    pub fn sql_checked(&self, relation: &str) -> String {
        format!(
            "ALTER TABLE {relation} ADD CONSTRAINT {} CHECK ({})",
            quote_ident(&self.name),
            self.expression
        )
    }

    /// Makes it count, once it has been examined.
    pub fn validate_sql(&self, relation: &str) -> String {
        format!("ALTER TABLE {relation} VALIDATE CONSTRAINT {}", quote_ident(&self.name))
    }
}

impl Index {
    /// Creates it on `relation`, the table here.
    pub fn sql(&self, relation: &str) -> String {
        let name = quote_ident(&self.name);
        let idents =
            |names: &mut dyn Iterator<Item = &String>| names.map(|n| quote_ident(n)).collect::<Vec<_>>().join(", ");
        let include = match self.included.as_slice() {
            [] => String::new(),
            names => format!(" INCLUDE ({})", idents(&mut names.iter())),
        };
        if let Some(constraint) = self.constraint {
            let columns = idents(&mut self.columns.iter().map(|(column, ..)| column));
            let deferrable = match self.deferrable {
                (false, _) => "",
                (true, false) => " DEFERRABLE",
                (true, true) => " DEFERRABLE INITIALLY DEFERRED",
            };
            return format!(
                "ALTER TABLE {relation} ADD CONSTRAINT {name} {constraint} ({columns}){include}{deferrable}"
            );
        }
        let column = |(column, descending, nulls_first): &(String, bool, bool)| {
            // What is the default stays unsaid: methods without an order accept none of these words.
            let order = match (descending, nulls_first) {
                (false, false) => "",
                (false, true) => " NULLS FIRST",
                (true, true) => " DESC",
                (true, false) => " DESC NULLS LAST",
            };
            format!("{}{order}", quote_ident(column))
        };
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        format!(
            "CREATE {}INDEX {name} ON {relation} USING {} ({}){include}",
            if self.unique { "UNIQUE " } else { "" },
            quote_ident(&self.method),
            columns.join(", ")
        )
    }
}

/// Clauses on storage with the tables that have them, one remark for each clause.
pub fn storage_remarks(tables: &[(String, String)]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (table, clause) in tables {
        match groups.iter_mut().find(|(known, _)| known == clause) {
            Some((_, tables)) => tables.push(table),
            None => groups.push((clause, vec![table])),
        }
    }
    let remark = |(clause, tables): &(&str, Vec<&str>)| {
        let of = match tables.as_slice() {
            [first, _, _, more @ ..] if !more.is_empty() => format!("{first} and {} others", tables.len() - 1),
            few => few.join(", "),
        };
        format!("storage of {of} is not copied: {clause}")
    };
    groups.iter().map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::bound::{Bound, End};
    use crate::plan::collation::Collation;
    use crate::plan::key::KeyColumn;

    fn node(name: &str, bound: Option<Bound>, level: Option<Level<Relation>>) -> Node<Relation> {
        Node {
            table: Relation {
                oid: 1,
                name: name.to_owned(),
                relation: quote_qualified("s", name),
                readable: true,
                bytes: None,
                ..Relation::default()
            },
            bound,
            level,
        }
    }

    fn level(strategy: Strategy, key: &str, children: Vec<Node<Relation>>) -> Option<Level<Relation>> {
        Some(Level {
            strategy,
            columns: vec![KeyColumn {
                name: key.to_owned(),
                type_oid: 25,
                type_name: "text".to_owned(),
                collation: Collation::parse("bdPOSIX\n"),
                ..KeyColumn::default()
            }],
            plain: true,
            children,
        })
    }

    #[test]
    fn a_table_with_its_levels() {
        let range = |from: &str, to: End| Some(Bound::Range(vec![End::Value(from.to_owned())], vec![to]));
        let list = level(
            Strategy::List,
            "region",
            vec![node("t_b_eu", Some(Bound::List(vec![None])), None)],
        );
        let root = node(
            "t",
            None,
            level(
                Strategy::Range,
                "k\"y",
                vec![
                    node("t_a", range("1", End::Value("it's".into())), None),
                    node("t_b", range("5", End::Max), list),
                ],
            ),
        );
        let definition = ColumnDefinition {
            name: "k\"y".to_owned(),
            not_null: true,
            default: Some("it's \\".to_owned()),
            ..ColumnDefinition::default()
        };
        let column = NewColumn {
            definition: &definition,
            type_sql: "character varying(8)".to_owned(),
            collation: Some("pg_catalog.\"C\"".to_owned()),
            default: definition.default.as_deref(),
            encoding: &[],
        };
        let columns = [column];
        assert_eq!(
            table_sql("\"n\".\"x\"", &columns, root.level.as_ref()),
            "CREATE TABLE \"n\".\"x\" (\"k\"\"y\" character varying(8) COLLATE pg_catalog.\"C\" NOT NULL) \
             PARTITION BY RANGE (\"k\"\"y\")"
        );
        assert_eq!(
            defaults_sql("t", &columns).as_deref(),
            Some("ALTER TABLE t ALTER \"k\"\"y\" SET DEFAULT  E'it''s \\\\'")
        );
        assert_eq!(defaults_sql("t", &[]), None);
        let sql: Vec<String> = partitions("\"n\".\"x\"", &Names::within("n"), &root)
            .into_iter()
            .map(|t| t.sql)
            .collect();
        assert_eq!(
            sql,
            [
                "CREATE TABLE \"n\".\"t_a\" PARTITION OF \"n\".\"x\" FOR VALUES FROM ('1') TO ('it''s')",
                "CREATE TABLE \"n\".\"t_b\" PARTITION OF \"n\".\"x\" FOR VALUES FROM ('5') TO (MAXVALUE) PARTITION BY LIST (\"region\")",
                "CREATE TABLE \"n\".\"t_b_eu\" PARTITION OF \"n\".\"t_b\" FOR VALUES IN (NULL)",
            ]
        );
        let names = new_names("\"n\".\"x\"", &Names::within("n"), &root);
        assert_eq!(names["\"s\".\"t\""], "\"n\".\"x\"");
        assert_eq!(names["\"s\".\"t_b_eu\""], "\"n\".\"t_b_eu\"");
        assert_eq!(range_keys(&root), HashMap::from([("k\"y", "POSIX")]));
        assert!(is_plain(&root));
        let mut prefixed = root.clone();
        prefix_partitions(&mut prefixed, "t");
        assert_eq!(
            new_names("x", &Names::within("n"), &prefixed),
            new_names("x", &Names::within("n"), &root)
        );
        let level = prefixed.level.as_mut().expect("a level");
        level.children[1].table.relation = "\"s\".\"t\" PARTITION (\"b\")".to_owned();
        level.children[1].table.name = "b".to_owned();
        let below = level.children[1].level.as_mut().expect("a level");
        below.children[0].table.relation = "\"s\".\"t\" SUBPARTITION (\"eu\")".to_owned();
        below.children[0].table.name = "eu".to_owned();
        prefix_partitions(&mut prefixed, "x");
        let names = new_names("x", &Names::within("n"), &prefixed);
        let mut names: Vec<&String> = names.values().collect();
        names.sort();
        assert_eq!(names, ["\"n\".\"t_a\"", "\"n\".\"x_b\"", "\"n\".\"x_b_eu\"", "x"]);
    }

    #[test]
    fn indexes_are_built_from_names_alone() {
        let mut index = Index {
            name: "i".to_owned(),
            method: "btree".to_owned(),
            unique: true,
            columns: vec![
                ("a".into(), false, false),
                ("b\"".into(), true, false),
                ("c".into(), true, true),
                ("d".into(), false, true),
            ],
            included: vec!["e".to_owned()],
            ..Index::default()
        };
        assert_eq!(
            index.sql("t"),
            "CREATE UNIQUE INDEX \"i\" ON t USING \"btree\" (\"a\", \"b\"\"\" DESC NULLS LAST, \"c\" DESC, \"d\" NULLS FIRST) INCLUDE (\"e\")"
        );
        index.constraint = Some("PRIMARY KEY");
        index.columns.truncate(1);
        index.deferrable = (true, true);
        assert_eq!(
            index.sql("t"),
            "ALTER TABLE t ADD CONSTRAINT \"i\" PRIMARY KEY (\"a\") INCLUDE (\"e\") DEFERRABLE INITIALLY DEFERRED"
        );
    }

    #[test]
    fn a_range_on_text_keeps_the_sources_order_where_it_can() {
        let here = Collations {
            default: "en_US.UTF-8".to_owned(),
            names: vec!["C".to_owned(), "de_DE.utf8".to_owned()],
        };
        let mut column = ColumnDefinition::default();
        assert_eq!(here.of(&column, Some("en_US.utf8")), (None, None));
        assert_eq!(here.of(&column, None), (None, None));
        assert_eq!(
            here.of(&column, Some("POSIX")).0.as_deref(),
            Some("\"pg_catalog\".\"C\"")
        );
        assert_eq!(
            here.of(&column, Some("de_DE.UTF-8")).0.as_deref(),
            Some("\"pg_catalog\".\"de_DE.utf8\"")
        );
        assert!(matches!(here.of(&column, Some("tr_TR")), (None, Some(_))));
        column.collation = Some("C".to_owned());
        assert_eq!(here.of(&column, None), (Some("\"pg_catalog\".\"C\"".to_owned()), None));
        column.collation = Some("mine".to_owned());
        assert!(matches!(here.of(&column, None), (None, Some(_))));
    }

    #[test]
    fn equal_storage_is_one_remark() {
        let tables: Vec<(String, String)> = ["t", "t_1", "t_2", "t_3"]
            .map(|t| (t.to_owned(), "a".to_owned()))
            .into();
        assert_eq!(storage_remarks(&tables), ["storage of t and 3 others is not copied: a"]);
        assert_eq!(storage_remarks(&tables[..2]), ["storage of t, t_1 is not copied: a"]);
    }
}
