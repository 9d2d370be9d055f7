//! A case on two servers: its tables are made, statements are run and written down.

use super::case::{Bound, Case, Extra, POINTS, Tree};
use super::elsewhere;
use super::ends::How;
use super::look::{self, Name, Point, ask};
use super::roles::{Code, ZONES, connect};
use crate::support::cluster::Cluster;
use crate::support::dice::Dice;
use crate::support::{Notices, Pair};
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};

/// 0 is the source, 1 the target, where something is kept for both.
pub const SOURCE: usize = 0;
pub const TARGET: usize = 1;
/// Where calls are made; the target, unless that is elsewhere.
pub const HERE: usize = 2;

/// What the model remembers between calls.
#[derive(Default)]
pub struct Memory {
    /// the remembered point, on the grid
    pub point: Option<usize>,
    /// how the end was written of which it came
    pub how: Option<How>,
    /// storage of each leaf as a run has left it
    pub loaded: BTreeMap<Name, String>,
    /// leaves that failed runs have finished, with their storage and the end of the run
    pub finished: BTreeMap<Name, (String, usize)>,
}

/// A case under way.
pub struct World<'a> {
    pub pair: &'a Pair,
    /// the target, if it is elsewhere
    pub there: Option<&'a Cluster>,
    pub case: Case,
    pub code: Code,
    pub dice: Dice,
    pub source: Client,
    pub target: Client,
    /// the session that calls, if the target is elsewhere
    pub caller: Option<Client>,
    pub notices: Notices,
    /// sessions that look, in the role's time zone: of the source and of the target
    pub eyes: [Client; 2],
    /// time zones of the role there and here
    pub zones: [&'static str; 2],
    /// places on the grid that are another value here
    pub rounded: BTreeSet<usize>,
    /// every statement so far, for a person to replay
    pub log: Vec<String>,
    pub memory: Memory,
    next_id: u64,
    next_name: u64,
}

impl<'a> World<'a> {
    /// Makes the roles and the tables of a case.
    pub fn new(pair: &'a Pair, there: Option<&'a Cluster>, code: Code, case: Case, dice: Dice) -> World<'a> {
        let role = &case.role();
        let create = format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'secret'");
        pair.both(&create);
        pair.target.sql(&format!(
            "CREATE USER MAPPING FOR {role} SERVER src OPTIONS (user '{role}', password 'secret')"
        ));
        let (here, notices) = connect(pair, role);
        let (target, caller) = match there {
            None => (here, None),
            Some(there) => {
                there.sql(&create);
                (there.connect_as(role), Some(here))
            }
        };
        let mut world = World {
            source: pair.source.connect(),
            target,
            caller,
            notices,
            eyes: [pair.source.connect(), there.unwrap_or(&pair.target).connect()],
            zones: ["UTC"; 2],
            rounded: BTreeSet::new(),
            log: vec![format!("/* both */ {create};")],
            pair,
            there,
            code,
            case,
            dice,
            memory: Memory::default(),
            next_id: 1,
            next_name: 0,
        };
        for side in [SOURCE, TARGET] {
            if world.dice.below(2) == 0 {
                world.zones[side] = world.dice.pick(&ZONES);
            }
            world.set_zone(side);
            world.make_types(side);
        }
        let key = world.case.keys[TARGET].clone();
        world.case.grid = world.case.family.grid(&mut world.eyes[TARGET], &key, &mut world.dice);
        for side in [SOURCE, TARGET] {
            world.make_table(side);
            world.make_points(side);
        }
        world.rounded = world.find_rounded();
        world.set_leaf_defaults();
        if there.is_some() {
            elsewhere::attach(&mut world);
        }
        world
    }

    /// The target's server.
    pub fn cluster(&self) -> &'a Cluster {
        self.there.unwrap_or(&self.pair.target)
    }

    /// The session that calls.
    pub fn here(&mut self) -> &mut Client {
        self.caller.as_mut().unwrap_or(&mut self.target)
    }

    /// What a side is called.
    pub fn name_of(&self, side: usize) -> &'static str {
        match side {
            SOURCE => "source",
            HERE if self.there.is_some() => "here",
            _ => "target",
        }
    }

    /// Which server is the source, where that must be said.
    pub fn source_argument(&mut self) -> &'static str {
        match self.there.is_some() && self.dice.below(2) == 0 {
            true => "",
            false => ", source => 'src'",
        }
    }

    /// True if a level here has a RANGE key.
    pub fn has_range(&mut self) -> bool {
        look::target(self).has_range()
    }

    /// Places whose value here is not the source's.
    fn find_rounded(&mut self) -> BTreeSet<usize> {
        let (schema, key) = (&self.case.schema, &self.case.keys[SOURCE]);
        let sql = format!("SELECT idx, k FROM {schema}.probes WHERE idx < {POINTS}");
        let values = ask(&mut self.eyes[TARGET], &sql).into_iter().map(|row| {
            let value = row[1].clone().unwrap_or_default().replace('\'', "''");
            format!("({}, '{value}'::{key})", row[0].clone().unwrap_or_default())
        });
        let values: Vec<String> = values.collect();
        let sql = format!(
            "SELECT v.idx FROM (VALUES {}) v(idx, k) JOIN {schema}.probes r USING (idx) WHERE v.k <> r.k",
            values.join(", ")
        );
        let rows = ask(&mut self.eyes[SOURCE], &sql).into_iter();
        rows.filter_map(|row| row[0].as_ref()?.parse().ok()).collect()
    }

    /// The source's table.
    pub fn origin(&self) -> String {
        format!("{}.{}", self.case.schema, self.case.name_there)
    }

    /// Runs a statement; its error's text.
    pub fn run(&mut self, side: usize, sql: &str) -> Result<(), String> {
        let name = self.name_of(side);
        let client = match side {
            SOURCE => &mut self.source,
            TARGET => &mut self.target,
            _ => self.here(),
        };
        let result = client.batch_execute(sql).map_err(|error| {
            error
                .as_db_error()
                .map_or_else(|| error.to_string(), |e| e.message().to_owned())
        });
        let end = result
            .as_ref()
            .err()
            .map_or(String::new(), |e| format!(" -- fails: {e}"));
        self.log.push(format!("/* {name} */ {sql};{end}"));
        result
    }

    /// Runs a statement that must succeed.
    pub fn must(&mut self, side: usize, sql: &str) {
        if let Err(error) = self.run(side, sql) {
            panic!("{error} in {sql}, after\n{}", self.log.join("\n"));
        }
    }

    fn make_types(&mut self, side: usize) {
        let schema = self.case.schema.clone();
        let last = if side == TARGET && self.case.lacks_label {
            ""
        } else {
            ", 'af'"
        };
        self.must(
            side,
            &format!(
                "CREATE SCHEMA {schema}; CREATE DOMAIN {schema}.a_day AS date; CREATE DOMAIN {schema}.a_number AS int;
                 CREATE DOMAIN {schema}.a_word AS text; CREATE TYPE {schema}.a_place AS ENUM ('eu', 'us', 'asia'{last})"
            ),
        );
        let mut labels: Vec<String> = (0..POINTS).map(|label| format!("'r{label}'")).collect();
        if side == SOURCE && self.case.other_order {
            // Some are exchanged, or all of them.
            for _ in 0..self.dice.pick(&[1, 3, 3 * POINTS]) {
                let (a, b) = (self.dice.below(POINTS as u64), self.dice.below(POINTS as u64));
                labels.swap(a as usize, b as usize);
            }
        }
        let made = self.case.column.setup[side].replace('@', &schema);
        self.must(
            side,
            &format!(
                "CREATE TYPE {schema}.a_rank AS ENUM ({}); CREATE COLLATION {schema}.words ({}); {made}",
                labels.join(", "),
                self.case.words[side]
            ),
        );
        if self.case.places.iter().any(|place| place.contains("blind")) {
            let blind = "provider = icu, locale = 'und-u-ks-level2', deterministic = false";
            self.must(side, &format!("CREATE COLLATION {schema}.blind ({blind})"));
        }
    }

    fn make_table(&mut self, side: usize) {
        let (k, l) = (&self.case.keys[side], &self.case.places[side]);
        let mut columns = vec![
            "id int".to_owned(),
            "p int".to_owned(),
            format!("k {k}"),
            format!("l {l}"),
            "h int".to_owned(),
            "v text".to_owned(),
            format!("m {}", self.case.column.types[side].replace('@', &self.case.schema)),
        ];
        if side == SOURCE && self.case.more_there {
            columns.push("more int".to_owned());
        }
        if side == TARGET {
            match self.case.extra {
                Extra::None => {}
                Extra::Default => columns.push("x text DEFAULT 'root'".to_owned()),
                Extra::Identity => {
                    columns.push("x int GENERATED BY DEFAULT AS IDENTITY".to_owned());
                }
            }
            if self.case.shuffled {
                columns.reverse();
                columns.insert(2, "gone int".to_owned());
            }
        }
        let table = match side {
            SOURCE => self.origin(),
            _ => format!("{}.t", self.case.schema),
        };
        let tree = self.case.trees[side].clone();
        let by = self.by(side, &tree);
        self.must(side, &format!("CREATE TABLE {table} ({}){by}", columns.join(", ")));
        if side == TARGET && self.case.shuffled {
            self.must(side, &format!("ALTER TABLE {table} DROP COLUMN gone"));
        }
        if side == TARGET && self.dice.below(2) == 0 {
            self.must(side, &format!("CREATE INDEX ON {table} (v, id)"));
        }
        for (bound, part) in &tree.parts {
            self.make_part(side, &table, bound, part);
        }
    }

    fn by(&self, side: usize, tree: &Tree) -> String {
        let by = |key| format!(" PARTITION BY {}", self.case.key_sql(side, key));
        tree.key.map_or(String::new(), by)
    }

    /// A name that nothing has yet.
    pub fn new_name(&mut self, side: usize) -> String {
        self.next_name += 1;
        let side = ["s", "t"][side];
        format!("{}.{side}{}", self.case.schema, self.next_name)
    }

    fn make_part(&mut self, side: usize, parent: &str, bound: &Bound, tree: &Tree) {
        let name = self.new_name(side);
        let (bound, by) = (bound.sql(&self.case.grid), self.by(side, tree));
        let sql = format!("CREATE TABLE {name} PARTITION OF {parent} {bound}{by}");
        if self.case.other_order || self.case.places[side].contains("blind") {
            // Where the order is another one, some ranges are empty or overlap; 'eu' may be 'EU'.
            if self.run(side, &sql).is_err() {
                return;
            }
        } else {
            self.must(side, &sql);
        }
        for (bound, part) in &tree.parts {
            self.make_part(side, &name, bound, part);
        }
        if side == TARGET && tree.key.is_none() && self.dice.below(4) == 0 {
            self.must(side, &format!("CREATE INDEX ON {name} (id DESC) WHERE p > 0; COMMENT ON TABLE {name} IS 'its own'; GRANT SELECT ON {name} TO PUBLIC"));
        }
    }

    /// The table of points: a row for each combination of k (NULL is the last), l and h. Here
    /// without those whose label is no label here.
    fn make_points(&mut self, side: usize) {
        let case = &self.case;
        let (schema, k, l) = (&case.schema, &case.keys[side], &case.places[side]);
        let mut values = Vec::new();
        let mut point: Point = 0;
        for hash in 1..=case.hashes {
            for place in &case.values {
                let lacks = side == TARGET && case.lacks_label && *place == Some("af");
                let place = place.map_or("NULL".to_owned(), |l| format!("'{l}'"));
                for time in 0..=POINTS {
                    let time = match time {
                        POINTS => "NULL".to_owned(),
                        _ => format!("'{}'", case.value(time)),
                    };
                    if !lacks {
                        values.push(format!("({point}, {time}, {place}, {hash})"));
                    }
                    point += 1;
                }
            }
        }
        let sql = format!(
            "CREATE TABLE {schema}.probes (idx int PRIMARY KEY, k {k}, l {l}, h int);
             INSERT INTO {schema}.probes VALUES {}",
            values.join(", ")
        );
        self.must(side, &sql);
    }

    fn set_leaf_defaults(&mut self) {
        if self.case.extra != Extra::Default {
            return;
        }
        let shape = look::target(self).shape;
        for leaf in shape.leaves.values().filter(|_| shape.is_partitioned) {
            let change = match self.dice.below(6) {
                0 => "SET DEFAULT 'leaf'",
                1 => "DROP DEFAULT",
                _ => continue,
            };
            self.must(TARGET, &format!("ALTER TABLE {} ALTER x {change}", leaf.name));
        }
    }

    /// Inserts as many rows, at points that have a home there.
    pub fn insert(&mut self, side: usize, rows: u64) {
        let schema = self.case.schema.clone();
        let (table, shape) = match side {
            SOURCE => {
                let table = self.origin();
                (table.clone(), look::source(self, &table).shape)
            }
            _ => (format!("{schema}.t"), look::target(self).shape),
        };
        let points: Vec<Point> = shape.home.into_keys().collect();
        if points.is_empty() {
            return;
        }
        let mut values = Vec::new();
        for _ in 0..rows {
            let mut point = self.dice.pick(&points);
            if look::time(point).is_none() && self.dice.below(8) > 0 {
                point = self.dice.pick(&points);
            }
            let column = self.case.column;
            let m = column.value(&mut self.dice);
            let v = match self.dice.below(12) {
                0 => "NULL",
                1 => "''",
                2 => "'N'",
                _ => "'-'",
            };
            values.push(format!("({}, {point}, {v}, {m})", self.next_id));
            self.next_id += 1;
        }
        let column = self.case.column.types[side].replace('@', &schema);
        let old = ["new", "old"][side];
        // The rows of a CHECK that is to fail are not those of this side.
        let sql = format!(
            "INSERT INTO {table} (id, p, k, l, h, v, m)
             SELECT n.id, n.p, r.k, r.l, r.h, CASE n.v WHEN '-' THEN '{old} ' || n.id ELSE n.v END, n.m::text::{column}
             FROM (VALUES {}) n(id, p, v, m) JOIN {schema}.probes r ON r.idx = n.p",
            values.join(", ")
        );
        let _ = self.run(side, &sql);
    }

    /// Takes the case's objects away.
    pub fn end(mut self) {
        let (schema, role) = (self.case.schema.clone(), self.case.role());
        for side in [SOURCE, TARGET] {
            self.must(side, "SET client_min_messages = warning");
            self.must(side, &format!("DROP SCHEMA {schema} CASCADE"));
        }
        let name = format!("{schema}.t");
        self.must(HERE, &format!("DELETE FROM sync_table WHERE table_name = '{name}'"));
        self.must(HERE, &format!("DELETE FROM cgpsync_run WHERE table_name = '{name}'"));
        if let Some(there) = self.there {
            elsewhere::detach(&mut self);
            there.sql(&format!("DROP ROLE {role}"));
        }
        self.pair
            .target
            .sql(&format!("DROP USER MAPPING FOR {role} SERVER src; DROP ROLE {role}"));
        self.pair.source.sql(&format!("DROP ROLE {role}"));
    }
}
