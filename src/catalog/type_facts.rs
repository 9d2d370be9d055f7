//! Types as pg_type, pg_enum, pg_attribute and pg_range describe them, on either side. SQL that PostgreSQL 8.3 understands, under a
//! search_path of pg_catalog.

use super::Database;
use crate::error::Result;
use crate::plan::collation;
use crate::plan::copy_sql::quote_literal;
use crate::plan::types::{FIRST_GENERATED_OID, FIRST_NORMAL_OID, Order, Type};
use crate::row::Row;
use std::collections::{BTreeSet, HashMap};

/// Deepest nesting that is looked at, and most types: what a source says of them must not decide how long this takes.
const DEEPEST: usize = 16;
const MOST: usize = 2000;

/// Columns of pg_type y that [`Described`] is made of.
pub const FACTS: &str = "y.oid, y.typname, y.typtype, y.typbasetype, y.typtypmod, CASE WHEN y.typlen = -1 THEN y.typelem ELSE 0 END, y.typrelid";

/// A row of pg_type.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// pg_type.oid
    pub oid: u32,
    name: String,
    kind: String,
    base: u32,
    base_modifier: i32,
    element: u32,
    relation: u32,
}

impl Described {
    /// From the columns of [`FACTS`], which begin at `at`.
    pub fn read(row: &Row, at: usize) -> Result<Described> {
        Ok(Described {
            oid: row.need(at)?,
            name: row.string(at + 1)?,
            kind: row.string(at + 2)?,
            base: row.need(at + 3)?,
            base_modifier: row.need(at + 4)?,
            element: row.need(at + 5)?,
            relation: row.need(at + 6)?,
        })
    }

    /// True where there is nothing more to ask.
    fn is_simple(&self) -> bool {
        let is_vector = matches!(self.name.as_str(), "int2vector" | "oidvector");
        self.kind == "b" && (self.element == 0 || is_vector)
    }
}

/// All that is known of the types of one server.
#[derive(Debug, Default)]
pub struct Types {
    types: HashMap<u32, Described>,
    labels: HashMap<u32, Vec<String>>,
    /// attributes of composites: name, type, modifier
    attributes: HashMap<u32, Vec<(String, u32, i32)>>,
    /// what ranges are over; multiranges name their range
    subtypes: HashMap<u32, u32>,
    /// how ranges compare and write their bounds
    orders: HashMap<u32, Order>,
}

impl Types {
    /// Everything that `types` are made of.
    pub fn read(types: Vec<Described>, db: &mut dyn Database) -> Result<Types> {
        let mut catalog = Types::default();
        let mut found = types;
        for _ in 0..DEEPEST {
            let new = found.into_iter().filter(|row| !catalog.types.contains_key(&row.oid));
            let new: HashMap<u32, Described> = new.map(|row| (row.oid, row)).collect();
            if new.is_empty() || catalog.types.len() + new.len() > MOST {
                break;
            }
            let wanted = catalog.below(&new, db)?;
            catalog.types.extend(new);
            let unknown = wanted.into_iter().filter(|oid| !catalog.types.contains_key(oid));
            let unknown: BTreeSet<u32> = unknown.collect();
            found = match unknown.is_empty() {
                true => Vec::new(),
                false => {
                    let rows = db.query(&format!(
                        "SELECT {FACTS} FROM pg_type y WHERE y.oid IN ({})",
                        list(unknown)
                    ))?;
                    rows.iter().map(|row| Described::read(row, 0)).collect::<Result<_>>()?
                }
            };
        }
        Ok(catalog)
    }

    /// Asks for the parts of types; gives the types of these.
    fn below(&mut self, types: &HashMap<u32, Described>, db: &mut dyn Database) -> Result<Vec<u32>> {
        let version = db.server().version;
        let of_kind = |kind: &str| -> BTreeSet<u32> {
            let found = types.values().filter(|row| row.kind == kind);
            found.map(|row| row.oid).collect()
        };
        let mut wanted: Vec<u32> = types
            .values()
            .filter(|row| !row.is_simple())
            .flat_map(|row| [row.base, row.element])
            .filter(|oid| *oid != 0)
            .collect();
        let oid = |row: &Row, at: usize| row.number(at).unwrap_or(0);
        let enums = of_kind("e");
        if !enums.is_empty() {
            let order = if version >= 90_100 { "enumsortorder" } else { "oid" };
            let sql = format!(
                "SELECT e.enumtypid, e.enumlabel FROM pg_enum e WHERE e.enumtypid IN ({}) ORDER BY e.enumtypid, e.{order}",
                list(enums)
            );
            for row in db.query(&sql)? {
                self.labels
                    .entry(oid(&row, 0))
                    .or_default()
                    .push(row.owned(1).unwrap_or_default());
            }
        }
        let relations: BTreeSet<u32> = types.values().map(|row| row.relation).filter(|oid| *oid != 0).collect();
        if !relations.is_empty() {
            let sql = format!(
                "SELECT c.reltype, a.attname, a.atttypid, a.atttypmod FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                 WHERE a.attrelid IN ({}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum",
                list(relations)
            );
            for row in db.query(&sql)? {
                let kind = oid(&row, 2);
                let attribute = (row.owned(1).unwrap_or_default(), kind, row.number(3).unwrap_or(-1));
                self.attributes.entry(oid(&row, 0)).or_default().push(attribute);
                wanted.push(kind);
            }
        }
        for (kind, column, inner) in [("r", "rngtypid", "rngsubtype"), ("m", "rngmultitypid", "rngtypid")] {
            let ranges = of_kind(kind);
            if !ranges.is_empty() {
                for row in db.query(&range_sql(column, inner, ranges, version))? {
                    let (range, inner) = (oid(&row, 0), oid(&row, 1));
                    let order = Order::new(row.number(2).zip(row.text(3)), row.text(4));
                    self.subtypes.insert(range, inner);
                    self.orders.insert(range, order);
                    wanted.push(inner);
                }
            }
        }
        Ok(wanted)
    }

    /// The type with this OID and modifier.
    pub fn of(&self, oid: u32, modifier: i32) -> Type {
        self.nested(oid, modifier, 0)
    }

    fn nested(&self, oid: u32, modifier: i32, depth: usize) -> Type {
        let unknown = |name: String| Type::Other { name, modifier };
        let Some(row) = self.types.get(&oid).filter(|_| depth < DEEPEST) else {
            return unknown(format!("type with OID {oid}"));
        };
        let inner = |oid: u32, modifier: i32| self.nested(oid, modifier, depth + 1);
        let subtype = || self.subtypes.get(&oid).map(|subtype| Box::new(inner(*subtype, -1)));
        match row.kind.as_str() {
            "d" => inner(row.base, row.base_modifier),
            "e" => Type::Enum(self.labels.get(&oid).cloned().unwrap_or_default()),
            "c" => {
                let attributes = self.attributes.get(&oid).map_or(&[][..], Vec::as_slice);
                let attribute = |(name, kind, modifier): &(String, u32, i32)| (name.clone(), inner(*kind, *modifier));
                Type::Composite(attributes.iter().map(attribute).collect())
            }
            "r" => match (subtype(), self.orders.get(&oid)) {
                (Some(subtype), Some(order)) => Type::Range(subtype, order.clone()),
                _ => unknown(row.name.clone()),
            },
            "m" => match subtype().map(|range| *range) {
                Some(Type::Range(inner, order)) => Type::Multirange(inner, order),
                _ => unknown(row.name.clone()),
            },
            "b" if !row.is_simple() => Type::Array(Box::new(inner(row.element, modifier))),
            "b" if oid < FIRST_GENERATED_OID => Type::BuiltIn {
                oid,
                name: row.name.clone(),
                modifier,
            },
            _ => unknown(row.name.clone()),
        }
    }
}

/// Types of pg_range by `column`, what is in `inner`, and what [`Order::new`] takes. The operator classes of composites compare by those of
/// their attributes.
fn range_sql(column: &str, inner: &str, oids: BTreeSet<u32>, version: u32) -> String {
    let is_built_in = format!(
        "CAST(r.rngcanonical AS oid) < {FIRST_GENERATED_OID} AND o.oid < {FIRST_NORMAL_OID} AND y.typtype <> 'c'"
    );
    format!(
        "SELECT r.{column}, r.{inner}, CASE WHEN {is_built_in} THEN CAST(r.rngcanonical AS oid) END, o.opcname, {}
         FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc JOIN pg_type y ON y.oid = r.rngsubtype
         LEFT JOIN pg_collation l ON l.oid = r.rngcollation
         WHERE r.{column} IN ({})",
        collation::sql(version),
        list(oids)
    )
}

fn list(oids: BTreeSet<u32>) -> String {
    let oids: Vec<String> = oids.iter().map(|oid| quote_literal(&oid.to_string())).collect();
    oids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Described, Types};
    use crate::catalog::Database;
    use crate::catalog::server::Server;
    use crate::error::{Error, Result};
    use crate::plan::types::Type;
    use crate::row::Row;

    fn row(values: &[&str]) -> Row {
        let columns = values.iter().map(|value| Some((*value).to_owned()));
        columns.collect::<Vec<_>>().into()
    }

    /// Answers by a part of what is asked.
    struct Answers<'a>(&'a [(&'a str, &'a [&'a [&'a str]])], Server);

    impl Database for Answers<'_> {
        fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
            let found = self.0.iter().find(|(part, _)| sql.contains(part));
            let (_, rows) = found.ok_or_else(|| Error::internal(sql.to_owned()))?;
            Ok(rows.iter().map(|values| row(values)).collect())
        }

        fn server(&self) -> &Server {
            &self.1
        }
    }

    fn read(types: &[&str], answers: &[(&str, &[&[&str]])]) -> Types {
        let described = |line: &&str| {
            let values: Vec<&str> = line.split(' ').collect();
            Described::read(&row(&values), 0).expect("a type")
        };
        let mut db = Answers(answers, Server::of_version(150_000));
        Types::read(types.iter().map(described).collect(), &mut db).expect("a catalog")
    }

    const NUMERIC: &str = "1700 numeric b 0 -1 0 0";

    fn numeric(modifier: i32) -> Type {
        let (oid, name) = (1700, "numeric".to_owned());
        Type::BuiltIn { oid, name, modifier }
    }

    #[test]
    fn a_built_in_type_needs_no_question_and_a_domain_is_what_is_below_it() {
        assert_eq!(read(&[NUMERIC], &[]).of(1700, 7), numeric(7));
        let numeric_row: Vec<&str> = NUMERIC.split(' ').collect();
        let domain = read(&["20000 amount d 1700 9 0 0"], &[("'1700'", &[&numeric_row])]);
        assert_eq!(domain.of(20000, -1), numeric(9));
        let array = read(&["1231 _numeric b 0 -1 1700 0"], &[("'1700'", &[&numeric_row])]);
        assert_eq!(array.of(1231, 9), Type::Array(Box::new(numeric(9))));
    }

    #[test]
    fn composites_and_enums_are_told_by_their_parts() {
        let numeric_row: Vec<&str> = NUMERIC.split(' ').collect();
        let catalog = read(
            &[
                "20001 point c 0 -1 0 500",
                "20002 mood e 0 -1 0 0",
                "20003 citext b 0 -1 0 0",
            ],
            &[
                ("pg_attribute", &[&["20001", "x", "1700", "5"]]),
                ("pg_enum", &[&["20002", "b"], &["20002", "a"]]),
                ("'1700'", &[&numeric_row]),
            ],
        );
        assert_eq!(
            catalog.of(20001, -1),
            Type::Composite(vec![("x".to_owned(), numeric(5))])
        );
        assert_eq!(catalog.of(20002, -1), Type::Enum(vec!["b".to_owned(), "a".to_owned()]));
        assert!(matches!(catalog.of(20003, -1), Type::Other { name, .. } if name == "citext"));
    }

    #[test]
    fn what_goes_in_circles_ends() {
        let again: &[&str] = &["20000", "loop", "d", "20000", "-1", "0", "0"];
        let catalog = read(&["20000 loop d 20000 -1 0 0"], &[("pg_type", &[again])]);
        assert!(matches!(catalog.of(20000, -1), Type::Other { .. }));
    }
}
