//! Greenplum 4 to 6: children are ordinary tables that inherit, described by pg_partition (the keys) and pg_partitions (the partitions).
//! What they look like is in the documentation of pg_partitions; bounds are printed as expressions such as `'2016-01-01'::date`.

use super::table::{self, BYTES, Found, number, text};
use crate::error::{Error, Result};
use crate::plan::bound::{Bound, End};
use crate::plan::constant::{constants, is_constant};
use crate::plan::copy_sql::{quote_literal, quote_qualified};
use crate::plan::tree::{KeyColumn, Level, Node, NodeRow, Strategy, assemble};
use crate::plan::units::SourceRel;
use crate::source::{Session, TextRow};
use std::collections::HashMap;

/// Most expressions to evaluate in one statement.
const BATCH: usize = 500;

/// The tree below a table; None when it is not partitioned.
pub fn tree(session: &mut Session, found: &Found) -> Result<Option<Node<SourceRel>>> {
    let keys = keys(session, found)?;
    if keys.is_empty() {
        return Ok(None);
    }
    let rows = partitions(session, found)?;
    let values = evaluate(session, &rows, &keys)?;
    let mut levels: HashMap<usize, Level<SourceRel>> = HashMap::new();
    for row in &rows {
        let strategy = if text(row, 3)? == "list" {
            Strategy::List
        } else {
            Strategy::Range
        };
        let level = levels.entry(depth(row)).or_insert_with(|| Level {
            strategy,
            columns: keys.get(&depth(row)).cloned().unwrap_or_default(),
            plain: true,
            children: Vec::new(),
        });
        level.strategy = strategy;
        // A list of several columns, and a bound that is not a constant, are beyond us: such a level is read through its parent.
        level.plain &= bound(row, &level.columns, &values).is_some();
    }
    for level in levels.values_mut() {
        let columns = level.columns.len();
        level.plain &= columns == 1 || (columns > 1 && level.strategy == Strategy::Range);
    }
    let level = |depth: usize| levels.get(&depth).cloned();
    let mut nodes = vec![NodeRow {
        id: found.name.clone(),
        parent: None,
        node: Node {
            table: SourceRel {
                oid: found.oid.parse().unwrap_or(0),
                name: found.name.clone(),
                relation: found.relation(),
                readable: true,
                bytes: found.bytes,
            },
            bound: None,
            level: level(0),
        },
    }];
    let parents: std::collections::HashSet<&str> = rows.iter().filter_map(|row| cell(row, 2)).collect();
    for row in &rows {
        let (schema, name) = (table::name(row, 0)?, table::name(row, 1)?);
        let columns = keys.get(&depth(row)).map_or(&[][..], |columns| columns.as_slice());
        nodes.push(NodeRow {
            parent: Some(cell(row, 2).unwrap_or(&found.name).to_owned()),
            node: Node {
                table: SourceRel {
                    oid: number(row, 13).unwrap_or(0),
                    relation: quote_qualified(&schema, &name),
                    name: name.clone(),
                    readable: text(row, 11)? == "t",
                    bytes: number(row, 12),
                },
                bound: bound(row, columns, &values),
                level: if parents.contains(name.as_str()) {
                    level(depth(row) + 1)
                } else {
                    None
                },
            },
            id: name,
        });
    }
    Ok(assemble(nodes))
}

/// The rows of pg_partitions.
fn partitions(session: &mut Session, found: &Found) -> Result<Vec<TextRow>> {
    session.query(&format!(
        "SELECT p.partitionschemaname, p.partitiontablename, p.parentpartitiontablename, p.partitiontype, p.partitionlevel,
                p.partitionisdefault, p.partitionrangestart, p.partitionstartinclusive, p.partitionrangeend, p.partitionendinclusive,
                p.partitionlistvalues, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), {BYTES}, c.oid
         FROM pg_partitions p
         JOIN pg_namespace n ON n.nspname = p.partitionschemaname
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.partitiontablename
         LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
         WHERE p.schemaname = {} AND p.tablename = {}
         ORDER BY p.partitionlevel, p.partitionposition",
        quote_literal(&found.schema),
        quote_literal(&found.name),
    ))
}

/// Why the partitioning cannot be written down with half-open bounds of one value each; None when it can.
pub fn refusal(session: &mut Session, found: &Found) -> Result<Option<String>> {
    let keys = keys(session, found)?;
    let rows = partitions(session, found)?;
    let values = evaluate(session, &rows, &keys)?;
    for row in &rows {
        let columns = keys.get(&depth(row)).map_or(&[][..], |columns| columns.as_slice());
        if columns.is_empty() {
            return Ok(Some(format!(
                "Level {} has a key of a type that is not built in.",
                depth(row) + 1
            )));
        }
        if bound(row, columns, &values).is_none() {
            let partition = quote_qualified(&text(row, 0)?, &text(row, 1)?);
            return Ok(Some(format!("Partition {partition} {}.", why_no_bound(row, columns))));
        }
    }
    Ok(None)
}

/// The clause that says why `bound` gives none.
fn why_no_bound(row: &TextRow, columns: &[KeyColumn]) -> String {
    let [key] = columns else {
        return format!("has a list of values for {} columns at once", columns.len());
    };
    let ends = ends(row);
    let open = ends.iter().flatten().find(|(text, next)| *next && is_constant(text));
    if let (None, Some((text, _))) = (successor(&key.type_name), open) {
        let which = if ends[0].is_some_and(|(start, next)| next && start == *text) {
            "an exclusive start"
        } else {
            "an inclusive end"
        };
        return format!(
            "has {which}, {text}, and values of type {} have no successor that a half-open range could name",
            key.type_name
        );
    }
    "has a bound that is not a constant".to_owned()
}

fn cell(row: &TextRow, at: usize) -> Option<&str> {
    row.get(at)?.as_deref()
}

fn depth(row: &TextRow) -> usize {
    number(row, 4).unwrap_or(0)
}

/// The key columns of each level, as far as all of them have built-in types. paratts is an int2vector, printed as `3 2`.
fn keys(session: &mut Session, found: &Found) -> Result<HashMap<usize, Vec<KeyColumn>>> {
    let rows = session.query(&format!(
        "SELECT p.parlevel, p.paratts, a.attnum, a.attname, a.atttypid, y.typname, {}, a.atttypmod
         FROM pg_partition p JOIN pg_attribute a ON a.attrelid = p.parrelid JOIN pg_type y ON y.oid = a.atttypid {}
         WHERE p.parrelid = {} AND NOT p.paristemplate AND a.attnum = ANY (p.paratts) AND y.oid < 10000",
        table::sorts_by(session),
        table::collation_join(session, "a.attcollation"),
        found.oid,
    ))?;
    let mut keys: HashMap<usize, Vec<Option<KeyColumn>>> = HashMap::new();
    for row in &rows {
        let numbers = text(row, 1)?;
        let number_of = text(row, 2)?;
        let places: Vec<&str> = numbers.split(' ').collect();
        let columns = keys
            .entry(number(row, 0).unwrap_or(0))
            .or_insert_with(|| vec![None; places.len()]);
        let at = places.iter().position(|&n| n == number_of);
        if let Some(column) = at.and_then(|at| columns.get_mut(at)) {
            *column = Some(KeyColumn {
                name: text(row, 3)?,
                expression: false,
                type_oid: number(row, 4).unwrap_or(0),
                type_name: text(row, 5)?,
                modifier: number(row, 7).unwrap_or(-1),
                collation: table::collation(row, 6),
                ..KeyColumn::default()
            });
        }
    }
    let complete = keys.into_iter().map(|(level, columns)| {
        (
            level,
            columns.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default(),
        )
    });
    Ok(complete.collect())
}

/// An expression of a bound with the type it is to be read as; `next` asks for the value that follows it in that type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Expression {
    text: String,
    type_name: String,
    next: bool,
}

/// Values of expressions, as the source's output functions print them; None for a null.
type Values = HashMap<Expression, Option<String>>;

/// The value after `text` in a type that has such a thing.
fn successor(type_name: &str) -> Option<&'static str> {
    match type_name {
        "int2" | "int4" | "int8" | "date" => Some("1"),
        // The resolution of both, with integer datetimes.
        "timestamp" | "timestamptz" => Some("interval '00:00:00.000001'"),
        _ => None,
    }
}

/// The two ends of a row's range and, for each, whether the value itself is on the far side of the half-open range we need: START EXCLUSIVE
/// and END INCLUSIVE mean the next value. None for an open end.
fn ends(row: &TextRow) -> [Option<(&str, bool)>; 2] {
    let end = |at: usize, next_when: &str| {
        let text = row.get(at)?.as_deref().filter(|text| !text.is_empty())?;
        Some((text, row.get(at + 1)?.as_deref() == Some(next_when)))
    };
    [end(6, "f"), end(8, "t")]
}

fn is_default(row: &TextRow) -> bool {
    row.get(5).and_then(|d| d.as_deref()) == Some("t")
}

/// Every expression in the bounds that is a constant, evaluated there.
fn evaluate(session: &mut Session, rows: &[TextRow], keys: &HashMap<usize, Vec<KeyColumn>>) -> Result<Values> {
    let mut wanted: Vec<Expression> = Vec::new();
    for row in rows.iter().filter(|row| !is_default(row)) {
        let Some([key]) = keys.get(&depth(row)).map(|columns| columns.as_slice()) else {
            continue;
        };
        let type_name = &key.type_name;
        if let Some(list) = cell(row, 10).filter(|list| !list.is_empty()) {
            for text in constants(list).unwrap_or_default() {
                wanted.push(Expression {
                    text: text.to_owned(),
                    type_name: type_name.clone(),
                    next: false,
                });
            }
        }
        for (text, next) in ends(row).into_iter().flatten() {
            if is_constant(text) && (!next || successor(type_name).is_some()) {
                wanted.push(Expression {
                    text: text.to_owned(),
                    type_name: type_name.clone(),
                    next,
                });
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|expression| seen.insert(expression.clone()));
    let mut values = Values::new();
    for batch in wanted.chunks(BATCH) {
        let select = |(at, e): (usize, &Expression)| {
            let step = match successor(&e.type_name).filter(|_| e.next) {
                Some(step) => format!(" + {step}"),
                None => String::new(),
            };
            format!(
                "SELECT {at}, CAST(CAST(({}) AS {}){step} AS text)",
                e.text,
                sql_type(&e.type_name, e.next)
            )
        };
        let sql: Vec<String> = batch.iter().enumerate().map(select).collect();
        for row in session.query(&sql.join(" UNION ALL "))? {
            let at: usize = number(&row, 0).unwrap_or(usize::MAX);
            let expression = batch.get(at).ok_or_else(|| Error::protocol("an unexpected row"))?;
            values.insert(expression.clone(), row.get(1).cloned().flatten());
        }
    }
    Ok(values)
}

/// A type as an expression names it. `char` without a length would cut the value to one character; and integers are added to as numeric, so
/// that the largest one has a successor.
fn sql_type(type_name: &str, next: bool) -> String {
    match type_name {
        "bpchar" => "text".to_owned(),
        "int2" | "int4" | "int8" if next => "numeric".to_owned(),
        "int2" | "int4" => "bigint".to_owned(),
        other => crate::plan::copy_sql::quote_ident(other),
    }
}

/// True for what comes after a type's last value: a range that ends there has no end.
fn is_past_all(type_name: &str, value: &str) -> bool {
    matches!(
        (type_name, value),
        ("int2", "32768") | ("int4", "2147483648") | ("int8", "9223372036854775808")
    )
}

/// The bound of a partition, half-open. None when it cannot be had: the level is then not comparable.
fn bound(row: &TextRow, columns: &[KeyColumn], values: &Values) -> Option<Bound> {
    if is_default(row) {
        return Some(Bound::Default);
    }
    let [key] = columns else { return None };
    let value = |text: &str, next: bool| {
        values.get(&Expression {
            text: text.to_owned(),
            type_name: key.type_name.clone(),
            next,
        })
    };
    if cell(row, 3) == Some("list") {
        let list = constants(cell(row, 10)?)?;
        return list
            .into_iter()
            .map(|text| value(text, false).cloned())
            .collect::<Option<Vec<_>>>()
            .map(Bound::List);
    }
    let [start, end] = ends(row);
    let one = |end: Option<(&str, bool)>, open: End| match end {
        None => Some(open),
        Some((text, next)) => value(text, next)?.clone().map(End::Value),
    };
    let end = match one(end, End::Max)? {
        End::Value(value) if is_past_all(&key.type_name, &value) => End::Max,
        end => end,
    };
    Some(Bound::Range(vec![one(start, End::Min)?], vec![end]))
}
