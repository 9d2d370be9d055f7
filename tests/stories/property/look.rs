//! What both sides hold at a moment. Which relation takes which point of the grid is PostgreSQL's
//! own answer: it evaluates the constraint of each leaf for a table of all points.

use super::case::POINTS;
use super::column::convert;
use super::world::{SOURCE, TARGET, World};
use postgres::{Client, SimpleQueryMessage};
use std::collections::{BTreeMap, BTreeSet};

/// Number of an entry of the table of points: a combination of k, l and h.
pub type Point = usize;
/// Name of a relation, as regclass prints it: one that is exchanged gets another OID.
pub type Name = String;

/// Rows of an answer as text; None is NULL.
pub fn ask(client: &mut Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{e:?} in {sql}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

fn number<T: std::str::FromStr>(value: &Option<String>) -> T {
    let number = value.as_deref().and_then(|v| v.parse().ok());
    number.unwrap_or_else(|| panic!("a number, not {value:?}"))
}

/// A relation that holds rows.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub name: String,
    /// it is a default partition, or below one
    pub is_default: bool,
    /// a RANGE partition, or below one
    pub has_range: bool,
    /// the LIST key of the partition it is, or is below, unless that is a default
    pub list_key: Option<String>,
    /// its storage
    pub file: String,
    /// owner, grants, comment, bound, constraints and indexes
    pub portrait: String,
    /// what it takes
    pub points: BTreeSet<Point>,
}

/// The leaves of a table, and for each point the one that takes it.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub is_partitioned: bool,
    /// partition keys of all its levels
    pub keys: BTreeSet<String>,
    pub leaves: BTreeMap<Name, Leaf>,
    pub home: BTreeMap<Point, Name>,
}

const LEAVES: &str = "
    WITH RECURSIVE tree AS (
      SELECT c.oid, false AS is_default, false AS has_range, NULL::text AS list_key, c.relkind,
             pg_get_partkeydef(c.oid) AS key, c.relfilenode
      FROM pg_class c WHERE c.oid = '@'::regclass
      UNION ALL
      SELECT c.oid, t.is_default OR b.bound = 'DEFAULT',
             t.has_range OR (t.key LIKE 'RANGE%' AND b.bound <> 'DEFAULT'),
             CASE WHEN t.key LIKE 'LIST%' AND b.bound <> 'DEFAULT' THEN t.key ELSE t.list_key END,
             c.relkind, pg_get_partkeydef(c.oid), c.relfilenode
      FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid JOIN pg_class c ON c.oid = i.inhrelid,
           LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b)
    SELECT oid::regclass::text, is_default, has_range, list_key, key, relfilenode, relkind,
           COALESCE(pg_get_partition_constraintdef(oid), 'true'),
           (SELECT concat_ws(' ', c.relowner::regrole, (SELECT string_agg(g::text, ' ' ORDER BY g::text) FROM unnest(c.relacl) g),
                             obj_description(c.oid, 'pg_class'), pg_get_expr(c.relpartbound, c.oid),
                             (SELECT string_agg(concat_ws(' ', conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY conname)
                              FROM pg_constraint k WHERE conrelid = c.oid),
                             (SELECT string_agg(concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid, inhparent::regclass),
                                                ' ' ORDER BY indexrelid::regclass::text)
                              FROM pg_index LEFT JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = c.oid))
            FROM pg_class c WHERE c.oid = tree.oid)
    FROM tree ORDER BY oid::regclass::text";

/// The shape of `table`; `probes` is the table of points. The session must be a new one: PostgreSQL
/// keeps the constraint of what is below a default partition, also when the default's siblings
/// change.
pub fn shape(client: &mut Client, table: &str, probes: &str) -> Shape {
    let mut shape = Shape::default();
    let mut asked = Vec::new();
    for row in ask(client, &LEAVES.replace('@', table)) {
        let is = |i: usize| row[i].as_deref() == Some("t");
        if let Some(key) = &row[4] {
            shape.is_partitioned = true;
            shape.keys.insert(key.clone());
            continue;
        }
        let name = row[0].clone().unwrap_or_default();
        let constraint = row[7].clone().unwrap_or_default();
        asked.push(format!("SELECT idx, '{name}' FROM {probes} WHERE {constraint}"));
        let leaf = Leaf {
            name: name.clone(),
            is_default: is(1),
            has_range: is(2),
            list_key: row[3].clone(),
            file: row[5].clone().unwrap_or_default(),
            portrait: row[8].clone().unwrap_or_default(),
            points: BTreeSet::new(),
        };
        shape.leaves.insert(name, leaf);
    }
    if asked.is_empty() {
        return shape;
    }
    for row in ask(client, &asked.join(" UNION ALL ")) {
        let (point, name): (Point, Name) = (number(&row[0]), row[1].clone().unwrap_or_default());
        let other = shape.home.insert(point, name.clone());
        assert!(other.is_none(), "{table}: {point} has two homes: {:?}", shape.leaves);
        shape.leaves.entry(name).and_modify(|leaf| {
            leaf.points.insert(point);
        });
    }
    shape
}

/// A row as the source has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub id: i64,
    pub point: Point,
    pub value: Option<String>,
    /// m, as it is or would be here
    pub m: Option<String>,
    /// the column that only the target has
    pub extra: Option<String>,
    /// its key columns have the values of its point
    pub fits: bool,
}

/// The source at a moment.
#[derive(Clone, Debug)]
pub struct Source {
    pub shape: Shape,
    pub rows: Vec<Row>,
    /// rows of which some value is another one here
    pub inexact: BTreeSet<i64>,
}

impl Source {
    /// Rows that a leaf takes, as they would be here.
    pub fn taken_by(&self, leaf: &Leaf) -> Vec<Row> {
        let rows = self.rows.iter().filter(|row| leaf.points.contains(&row.point));
        rows.cloned().collect()
    }
}

/// The target at a moment.
#[derive(Clone, Debug)]
pub struct Target {
    pub shape: Shape,
    pub rows: BTreeMap<Name, Vec<Row>>,
    /// what sync_table says
    pub remembered: Option<String>,
    /// tables and indexes of a run's own
    pub strays: Vec<String>,
}

impl Target {
    /// True if a level has a RANGE key.
    pub fn has_range(&self) -> bool {
        self.shape.keys.iter().any(|key| key.starts_with("RANGE"))
    }

    /// True if a relation has a range: what its key's values are is known.
    pub fn has_ranges(&self) -> bool {
        self.shape.leaves.values().any(|leaf| leaf.has_range)
    }

    /// The rows of a leaf.
    pub fn of(&self, leaf: &str) -> &[Row] {
        self.rows.get(leaf).map_or(&[], Vec::as_slice)
    }
}

/// Looks at the source's `table`.
pub fn source(world: &mut World, table: &str) -> Source {
    let probes = format!("{}.probes", world.case.schema);
    let shape = shape(&mut world.pair.source.connect(), table, &probes);
    let sql = format!("SELECT id, p, v, m FROM {table} ORDER BY id");
    let answer = ask(&mut world.eyes[SOURCE], &sql);
    let printed: Vec<String> = answer.iter().filter_map(|row| row[3].clone()).collect();
    let converted = convert(world, printed.into_iter());
    let mut inexact = BTreeSet::new();
    let mut rows = Vec::new();
    for row in &answer {
        let (id, point) = (number(&row[0]), number(&row[1]));
        let m = row[3].as_ref().and_then(|text| converted.get(text));
        let is_rounded = time(point).is_some_and(|k| world.rounded.contains(&k));
        if is_rounded || m.is_some_and(|m| !m.is_exact) {
            inexact.insert(id);
        }
        rows.push(Row {
            id,
            point,
            value: row[2].clone(),
            m: m.and_then(|m| m.here.clone()),
            extra: None,
            fits: true,
        });
    }
    Source { shape, rows, inexact }
}

/// Looks at the target.
pub fn target(world: &mut World) -> Target {
    let schema = world.case.schema.clone();
    let (table, probes) = (format!("{schema}.t"), format!("{schema}.probes"));
    let shape = shape(&mut world.cluster().connect(), &table, &probes);
    let extra = if world.case.extra == super::case::Extra::None {
        "NULL"
    } else {
        "t.x"
    };
    let sql = format!(
        "SELECT t.tableoid::regclass::text, t.id, t.p, t.v, t.m, {extra}, t.k::text COLLATE \"C\" IS NOT DISTINCT FROM r.k::text COLLATE \"C\"
           AND t.l::text COLLATE \"C\" IS NOT DISTINCT FROM r.l::text COLLATE \"C\" AND t.h IS NOT DISTINCT FROM r.h
         FROM {table} t LEFT JOIN {probes} r ON r.idx = t.p ORDER BY t.id"
    );
    let mut rows: BTreeMap<Name, Vec<Row>> = BTreeMap::new();
    for row in ask(&mut world.eyes[TARGET], &sql) {
        rows.entry(row[0].clone().unwrap_or_default()).or_default().push(Row {
            id: number(&row[1]),
            point: number(&row[2]),
            value: row[3].clone(),
            m: row[4].clone(),
            extra: row[5].clone(),
            fits: row[6].as_deref() == Some("t"),
        });
    }
    rows.values_mut().for_each(|rows| rows.sort());
    let sql = format!("SELECT end_tm FROM sync_table WHERE table_name = '{table}'");
    let remembered = ask(world.here(), &sql).pop().and_then(|mut row| row.remove(0));
    let sql = format!(
        "SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relname LIKE '%cgpsync%'"
    );
    let strays = ask(&mut world.eyes[TARGET], &sql).into_iter();
    Target {
        shape,
        rows,
        remembered,
        strays: strays.filter_map(|mut row| row.remove(0)).collect(),
    }
}

/// The place of a point's k on the grid; None for NULL.
pub fn time(point: Point) -> Option<usize> {
    let k = point % (POINTS + 1);
    (k < POINTS).then_some(k)
}

/// What a point has besides k.
pub fn besides(point: Point) -> usize {
    point / (POINTS + 1)
}
