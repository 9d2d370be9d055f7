//! Greenplum 4 to 6: children are ordinary tables that inherit, described by pg_partition (the keys) and pg_partitions (the partitions).
//! What they look like is in the documentation of pg_partitions; bounds are printed as expressions such as `'2016-01-01'::date`.

use super::Database;
use super::table::{BYTES, Found, collation_join};
use super::trust::Trust;
use crate::error::{Error, Result};
use crate::plan::bound::{Bound, End};
use crate::plan::collation::{self, Collation};
use crate::plan::constant::{constants, is_constant};
use crate::plan::copy_sql::{quote_ident, quote_literal, quote_qualified};
use crate::plan::key::KeyColumn;
use crate::plan::tables::Relation;
use crate::plan::tree::{Level, Node, NodeRow, Strategy, assemble};
use crate::row::Row;
use std::collections::{HashMap, HashSet};

/// Most expressions to evaluate in one statement.
const BATCH: usize = 500;

/// The tree below a table; None when it is not partitioned.
pub fn tree(db: &mut dyn Database, found: &Found, trust: Trust) -> Result<Option<Node<Relation>>> {
    let keys = keys(db, found)?;
    if keys.is_empty() {
        return Ok(None);
    }
    let rows = partitions(db, found, trust)?;
    let values = evaluate(db, &rows, &keys)?;
    let levels = levels(&rows, &keys, &values)?;
    let level = |depth: usize| levels.get(&depth).cloned();
    let mut nodes = vec![NodeRow {
        id: found.name.clone(),
        parent: None,
        node: found.node(level(0)),
    }];
    let parents: HashSet<&str> = rows.iter().filter_map(|row| row.text(2)).collect();
    for row in &rows {
        let (schema, name) = (row.name(0)?, row.name(1)?);
        let columns = keys.get(&depth(row)).map_or(&[][..], |columns| columns.as_slice());
        let is_parent = parents.contains(name.as_str());
        nodes.push(NodeRow {
            parent: Some(row.text(2).unwrap_or(&found.name).to_owned()),
            node: Node {
                table: Relation {
                    oid: row.number(13).unwrap_or(0),
                    relation: quote_qualified(&schema, &name),
                    name: name.clone(),
                    readable: row.is(11),
                    bytes: row.number(12),
                    foreign: row.text(15) == Some("x"),
                    bound: row.owned(16),
                    part: row.owned(14).filter(|part| !part.is_empty()),
                    condition: None,
                    is_of_nulls: false,
                },
                bound: bound(row, columns, &values),
                level: is_parent.then(|| level(depth(row) + 1)).flatten(),
            },
            id: name,
        });
    }
    Ok(assemble(nodes))
}

/// How each level is partitioned, from the rows of its partitions.
fn levels(
    rows: &[Row],
    keys: &HashMap<usize, Vec<KeyColumn>>,
    values: &Values,
) -> Result<HashMap<usize, Level<Relation>>> {
    let mut levels: HashMap<usize, Level<Relation>> = HashMap::new();
    for row in rows {
        let strategy = match row.string(3)?.as_str() {
            "list" => Strategy::List,
            _ => Strategy::Range,
        };
        let level = levels.entry(depth(row)).or_insert_with(|| Level {
            strategy,
            columns: keys.get(&depth(row)).cloned().unwrap_or_default(),
            plain: true,
            children: Vec::new(),
        });
        level.strategy = strategy;
        // A list of several columns, and a bound that is not a constant, are beyond us: such a level is read through its parent.
        level.plain &= bound(row, &level.columns, values).is_some();
    }
    for level in levels.values_mut() {
        let columns = level.columns.len();
        level.plain &= columns == 1 || (columns > 1 && level.strategy == Strategy::Range);
    }
    Ok(levels)
}

/// The rows of pg_partitions; of a table that is written, with what tells whether it can be, and its bound as one text.
fn partitions(db: &mut dyn Database, found: &Found, trust: Trust) -> Result<Vec<Row>> {
    let written = match trust {
        Trust::Everybody => "CAST(NULL AS text), CAST(NULL AS text)".to_owned(),
        Trust::OwnRole | Trust::BuiltIn => {
            format!(
                "c.relstorage, (SELECT {} FROM pg_partition_rule r WHERE r.parchildrelid = c.oid)",
                bound_of_rule("r")
            )
        }
    };
    db.query(&format!(
        "SELECT p.partitionschemaname, p.partitiontablename, p.parentpartitiontablename, p.partitiontype, p.partitionlevel,
                p.partitionisdefault, p.partitionrangestart, p.partitionstartinclusive, p.partitionrangeend, p.partitionendinclusive,
                p.partitionlistvalues, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), {BYTES}, c.oid,
                p.partitionname, {written}
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

/// The bound that rule `r`, pg_partition_rule, gives a partition, as one text that is compared with itself later. A default partition has what those beside it
/// leave, so it is told by them.
pub fn bound_of_rule(r: &str) -> String {
    format!(
        "CASE WHEN {r}.parisdefault THEN 'DEFAULT ' || COALESCE((
           SELECT md5(string_agg(b.text, '; ' ORDER BY b.text)) FROM (SELECT {} AS text FROM pg_partition_rule s
             WHERE s.paroid = {r}.paroid AND s.parparentrule = {r}.parparentrule AND NOT s.parisdefault) b), '') ELSE {} END",
        bound_sql("s"),
        bound_sql(r)
    )
}

fn bound_sql(r: &str) -> String {
    // A constant needs no table to be printed, and one that is being exchanged has none for a moment.
    let printed = |what: &str| format!("NULLIF(pg_get_expr({r}.{what}, 0), '')");
    let side = |word: &str, value: &str, inclusive: &str| {
        format!(
            "COALESCE('{word} (' || {} || CASE WHEN {r}.{inclusive} THEN ') INCLUSIVE ' ELSE ') EXCLUSIVE ' END, '')",
            printed(value)
        )
    };
    format!(
        "{} || {} || COALESCE('VALUES (' || {} || ')', '')",
        side("START", "parrangestart", "parrangestartincl"),
        side("END", "parrangeend", "parrangeendincl"),
        printed("parlistvalues")
    )
}

/// Why the partitioning cannot be written down with half-open bounds of one value each; None when it can.
pub fn refusal(db: &mut dyn Database, found: &Found) -> Result<Option<String>> {
    let keys = keys(db, found)?;
    let rows = partitions(db, found, Trust::Everybody)?;
    let values = evaluate(db, &rows, &keys)?;
    for row in &rows {
        let columns = keys.get(&depth(row)).map_or(&[][..], |columns| columns.as_slice());
        if columns.is_empty() {
            return Ok(Some(format!(
                "Level {} has a key of a type that is not built in.",
                depth(row) + 1
            )));
        }
        if bound(row, columns, &values).is_none() {
            let partition = quote_qualified(&row.string(0)?, &row.string(1)?);
            return Ok(Some(format!("Partition {partition} {}.", why_no_bound(row, columns))));
        }
    }
    Ok(None)
}

/// The clause that says why `bound` gives none.
fn why_no_bound(row: &Row, columns: &[KeyColumn]) -> String {
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

fn depth(row: &Row) -> usize {
    row.number(4).unwrap_or(0)
}

/// The key columns of each level, as far as all of them have built-in types. paratts is an int2vector, printed as `3 2`.
fn keys(db: &mut dyn Database, found: &Found) -> Result<HashMap<usize, Vec<KeyColumn>>> {
    // How it sorts is said to a server that is written, which is 9.4.
    let ordered = match db.server().version {
        90_100.. => {
            "(SELECT ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(o.collname) FROM pg_collation o
              JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid = a.attcollation)"
        }
        _ => "CAST(NULL AS text)",
    };
    let rows = db.query(&format!(
        "SELECT p.parlevel, p.paratts, a.attnum, a.attname, a.atttypid, y.typname, {}, a.atttypmod,
                quote_ident(yn.nspname) || '.' || quote_ident(y.typname), format_type(y.oid, a.atttypmod), {ordered}
         FROM pg_partition p JOIN pg_attribute a ON a.attrelid = p.parrelid JOIN pg_type y ON y.oid = a.atttypid
         JOIN pg_namespace yn ON yn.oid = y.typnamespace {}
         WHERE p.parrelid = {} AND NOT p.paristemplate AND a.attnum = ANY (p.paratts) AND y.oid < 10000",
        collation::sql(db.server().version),
        collation_join(db.server().version, "a.attcollation"),
        found.oid,
    ))?;
    let mut keys: HashMap<usize, Vec<Option<KeyColumn>>> = HashMap::new();
    for row in &rows {
        let numbers = row.string(1)?;
        let number_of = row.string(2)?;
        let places: Vec<&str> = numbers.split(' ').collect();
        let columns = keys
            .entry(row.number(0).unwrap_or(0))
            .or_insert_with(|| vec![None; places.len()]);
        let at = places.iter().position(|&n| n == number_of);
        if let Some(column) = at.and_then(|at| columns.get_mut(at)) {
            *column = Some(KeyColumn {
                name: row.string(3)?,
                expression: false,
                type_oid: row.number(4).unwrap_or(0),
                type_name: row.string(5)?,
                modifier: row.number(7).unwrap_or(-1),
                collation: row.text(6).and_then(Collation::parse),
                type_sql: row.string(8)?,
                cast_sql: row.string(9)?,
                ordering: row.string(8)? + row.text(10).unwrap_or(""),
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
fn ends(row: &Row) -> [Option<(&str, bool)>; 2] {
    let end = |at: usize, next_when: &str| {
        let text = row.text(at).filter(|text| !text.is_empty())?;
        Some((text, row.text(at + 1) == Some(next_when)))
    };
    [end(6, "f"), end(8, "t")]
}

fn is_default(row: &Row) -> bool {
    row.text(5) == Some("t")
}

/// Every expression in the bounds that is a constant, evaluated there.
fn evaluate(db: &mut dyn Database, rows: &[Row], keys: &HashMap<usize, Vec<KeyColumn>>) -> Result<Values> {
    let mut wanted: Vec<Expression> = Vec::new();
    for row in rows.iter().filter(|row| !is_default(row)) {
        let Some([key]) = keys.get(&depth(row)).map(|columns| columns.as_slice()) else {
            continue;
        };
        let type_name = &key.type_name;
        if let Some(list) = row.text(10).filter(|list| !list.is_empty()) {
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
    let mut seen = HashSet::new();
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
        for row in db.query(&sql.join(" UNION ALL "))? {
            let at: usize = row.number(0).unwrap_or(usize::MAX);
            let expression = batch.get(at).ok_or_else(|| Error::protocol("an unexpected row"))?;
            values.insert(expression.clone(), row.owned(1));
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
        other => quote_ident(other),
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
fn bound(row: &Row, columns: &[KeyColumn], values: &Values) -> Option<Bound> {
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
    if row.text(3) == Some("list") {
        let list = constants(row.text(10)?)?;
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
