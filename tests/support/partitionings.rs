//! Random partitionings for `routing.rs`. A case is read from a tape of random bytes: whatever is on it is a valid case, so that proptest
//! can cut and lower the bytes to find the smallest case that fails.

use super::values;
use std::fmt::{Debug, Formatter};

/// Columns that may be keys.
const COLUMNS: [&str; 3] = ["i", "s", "d"];
/// Values each of them may have; their order is the type's.
const STEPS: u8 = 9;

/// The text of a column's value.
fn value(column: usize, step: u8) -> String {
    match column {
        0 => (i32::from(step) * 7 - 20).to_string(),
        1 => ["", "A", "Z", "a", "it's", "m\\n", "z", "ä", "漢"][usize::from(step)].to_owned(),
        _ => format!("201{}-0{}-01", 6 + step / 5, 1 + step % 5),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Min,
    At(u8),
    Max,
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Range(Vec<Edge>, Vec<Edge>),
    List(Vec<Option<u8>>),
    Hash(u8, u8),
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Strategy {
    Range,
    List,
    Hash,
}

#[derive(Clone)]
struct Part {
    bound: Bound,
    level: Option<Level>,
}

/// One level of partitioning.
#[derive(Clone)]
pub struct Level {
    strategy: Strategy,
    columns: Vec<usize>,
    parts: Vec<Part>,
}

/// What is synced from where.
pub struct Case {
    pub target: Level,
    /// None: not partitioned
    pub source: Option<Level>,
    pub create_missing: bool,
    /// the target is the source without some of its partitions, others take less, and neither has a default partition
    pub target_lacks_some: bool,
    rows: Vec<[Option<u8>; 3]>,
}

/// Random numbers; zeros when it has come to its end.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn below(&mut self, n: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % n)
    }

    fn percent(&mut self, chance: u8) -> bool {
        // The end of the tape means no.
        self.below(100) >= 100 - chance
    }

    fn columns(&mut self, may_be_two: bool) -> Vec<usize> {
        let first = usize::from(self.below(3));
        let second = (first + 1 + usize::from(self.below(2))) % 3;
        if may_be_two && self.percent(30) {
            vec![first, second]
        } else {
            vec![first]
        }
    }

    fn cut(&mut self, columns: usize) -> Vec<Edge> {
        let mut edges = vec![match self.below(12) {
            0 => Edge::Min,
            1 => Edge::Max,
            _ => Edge::At(self.below(STEPS)),
        }];
        while edges.len() < columns {
            // What follows an infinite end is as infinite.
            let next = match (edges.last(), self.below(4)) {
                (Some(Edge::Min), _) | (Some(Edge::At(_)), 0) => Edge::Min,
                (Some(Edge::Max), _) | (Some(Edge::At(_)), 1) => Edge::Max,
                _ => Edge::At(self.below(STEPS)),
            };
            edges.push(next);
        }
        edges
    }

    fn bounds(&mut self, strategy: Strategy, columns: usize) -> Vec<Bound> {
        match strategy {
            Strategy::Range => {
                let mut cuts: Vec<_> = (0..2 + self.below(5)).map(|_| self.cut(columns)).collect();
                cuts.sort();
                cuts.dedup();
                let ranges = cuts.windows(2).filter(|_| !self.percent(20));
                ranges.map(|w| Bound::Range(w[0].clone(), w[1].clone())).collect()
            }
            Strategy::List => {
                let mut groups = vec![Vec::new(); 4];
                for step in (0..STEPS).map(Some).chain([None]) {
                    if let Some(group) = groups.get_mut(usize::from(self.below(5))) {
                        group.push(step);
                    }
                }
                let groups = groups.into_iter().filter(|group| !group.is_empty());
                groups.map(Bound::List).collect()
            }
            Strategy::Hash => {
                let modulus = 1 + self.below(4);
                let mut bounds = Vec::new();
                for remainder in 0..modulus {
                    match self.below(8) {
                        7 => {}
                        6 => bounds.extend([
                            Bound::Hash(2 * modulus, remainder),
                            Bound::Hash(2 * modulus, remainder + modulus),
                        ]),
                        _ => bounds.push(Bound::Hash(modulus, remainder)),
                    }
                }
                bounds
            }
        }
    }

    fn level(&mut self, depth: u8) -> Level {
        let strategy = [Strategy::Range, Strategy::List, Strategy::Hash][usize::from(self.below(3))];
        let columns = self.columns(strategy != Strategy::List);
        let mut bounds = self.bounds(strategy, columns.len());
        if strategy != Strategy::Hash && self.percent(40) {
            bounds.push(Bound::Default);
        }
        let template = (depth > 1 && self.percent(60)).then(|| self.level(depth - 1));
        let mut parts = Vec::new();
        for bound in bounds {
            let level = match &template {
                Some(_) if depth > 1 && self.percent(15) => Some(self.level(depth - 1)),
                Some(_) if self.percent(10) => None,
                template => template.clone(),
            };
            parts.push(Part { bound, level });
        }
        Level {
            strategy,
            columns,
            parts,
        }
    }

    /// `level` with some things different.
    fn changed(&mut self, level: &Level, depth: u8) -> Level {
        if self.percent(7) {
            return self.level(depth);
        }
        let mut parts: Vec<Part> = Vec::new();
        for part in &level.parts {
            if self.percent(12) {
                continue;
            }
            let level = match &part.level {
                Some(_) if self.percent(8) => None,
                Some(level) => Some(self.changed(level, depth.saturating_sub(1))),
                None if depth > 1 && self.percent(8) => Some(self.level(depth - 1)),
                None => None,
            };
            let bound = part.bound.clone();
            match (parts.last_mut().map(|part| &mut part.bound), &bound) {
                (Some(Bound::Range(_, end)), Bound::Range(from, to)) if *end == *from && self.percent(20) => {
                    *end = to.clone()
                }
                (Some(Bound::List(values)), Bound::List(more)) if self.percent(20) => values.extend(more),
                _ => parts.push(Part { bound, level }),
            }
        }
        let others: Vec<Bound> = if self.percent(30) {
            self.bounds(level.strategy, level.columns.len())
        } else {
            Vec::new()
        };
        if level.strategy == Strategy::Hash && !others.is_empty() {
            parts = others.into_iter().map(|bound| Part { bound, level: None }).collect();
        } else {
            let free: Vec<Bound> = others
                .into_iter()
                .filter(|bound| parts.iter().all(|part| !overlap(bound, &part.bound)))
                .collect();
            let level = parts.last().and_then(|part| part.level.clone());
            parts.extend(free.into_iter().map(|bound| Part {
                bound,
                level: level.clone(),
            }));
        }
        let has_default = parts.iter().any(|part| part.bound == Bound::Default);
        if level.strategy != Strategy::Hash && !has_default && self.percent(10) {
            let (bound, level) = (Bound::Default, None);
            parts.push(Part { bound, level });
        }
        Level { parts, ..level.clone() }
    }

    /// `level` without some of its partitions; others take less than they did.
    fn thinned(&mut self, level: &Level) -> Level {
        let mut parts = Vec::new();
        for part in &level.parts {
            if self.percent(30) {
                continue;
            }
            let bound = if self.percent(15) {
                self.narrowed(&part.bound)
            } else {
                part.bound.clone()
            };
            // Below one that takes less, missing ones are nobody's: its rows are found by its constraint.
            let level = part.level.as_ref().filter(|_| bound == part.bound);
            let level = level.map(|level| self.thinned(level));
            parts.push(Part { bound, level });
        }
        Level { parts, ..level.clone() }
    }

    fn narrowed(&mut self, bound: &Bound) -> Bound {
        match bound {
            Bound::Range(from, to) => {
                let cut = self.cut(from.len());
                let is_within = *from < cut && cut < *to;
                Bound::Range(from.clone(), if is_within { cut } else { to.clone() })
            }
            Bound::List(values) => Bound::List(values[values.len() / 2..].to_vec()),
            Bound::Hash(modulus, remainder) => Bound::Hash(2 * modulus, *remainder),
            Bound::Default => Bound::Default,
        }
    }
}

fn overlap(one: &Bound, other: &Bound) -> bool {
    match (one, other) {
        (Bound::Range(a, b), Bound::Range(c, d)) => a < d && c < b,
        (Bound::List(a), Bound::List(b)) => a.iter().any(|value| b.contains(value)),
        _ => false,
    }
}

impl Level {
    /// An end_tm after every bound of the key it is compared with.
    pub fn beyond_everything(&self) -> &'static str {
        let mut now = vec![self];
        while !now.is_empty() {
            if let Some(level) = now.iter().find(|level| level.strategy == Strategy::Range) {
                return ["1000000", "黑", "2999-01-01"][level.columns[0]];
            }
            let parts = now.iter().flat_map(|level| &level.parts);
            now = parts.filter_map(|part| part.level.as_ref()).collect();
        }
        "no key"
    }

    fn without_defaults(mut self) -> Level {
        self.parts.retain(|part| part.bound != Bound::Default);
        for part in &mut self.parts {
            part.level = part.level.take().map(Level::without_defaults);
        }
        self
    }

    fn by(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|&column| COLUMNS[column]).collect();
        format!(" PARTITION BY {:?} ({})", self.strategy, columns.join(", "))
    }

    fn bound(&self, bound: &Bound) -> String {
        let ends = |edges: &[Edge]| {
            let one = |(edge, &column): (&Edge, &usize)| match edge {
                Edge::Min => "MINVALUE".to_owned(),
                Edge::At(step) => values::literal(&value(column, *step)),
                Edge::Max => "MAXVALUE".to_owned(),
            };
            let ends: Vec<String> = edges.iter().zip(&self.columns).map(one).collect();
            ends.join(", ")
        };
        match bound {
            Bound::Range(from, to) => format!("FOR VALUES FROM ({}) TO ({})", ends(from), ends(to)),
            Bound::List(steps) => {
                let one = |step: &Option<u8>| literal(self.columns[0], *step);
                let values: Vec<String> = steps.iter().map(one).collect();
                format!("FOR VALUES IN ({})", values.join(", "))
            }
            Bound::Hash(modulus, remainder) => format!("FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})"),
            Bound::Default => "DEFAULT".to_owned(),
        }
    }

    fn create_parts(&self, table: &str, prefix: &str, statements: &mut Vec<String>) {
        for (number, part) in self.parts.iter().enumerate() {
            let name = format!("{prefix}_{number}");
            let by = part.level.as_ref().map_or_else(String::new, Level::by);
            let bound = self.bound(&part.bound);
            statements.push(format!("CREATE TABLE {name} PARTITION OF {table} {bound}{by}"));
            if let Some(level) = &part.level {
                level.create_parts(&name, &name, statements);
            }
        }
    }
}

/// Table `t` with these columns and partitions; `letter` leads the partitions' names.
pub fn create(columns: &str, level: Option<&Level>, letter: char) -> String {
    let mut statements = vec![format!(
        "CREATE TABLE t {columns}{}",
        level.map_or_else(String::new, Level::by)
    )];
    if let Some(level) = level {
        level.create_parts("t", &letter.to_string(), &mut statements);
    }
    statements.join(";\n")
}

fn literal(column: usize, step: Option<u8>) -> String {
    step.map_or("NULL".to_owned(), |step| values::literal(&value(column, step)))
}

impl Case {
    /// Reads one from a tape.
    pub fn read(tape: &[u8]) -> Case {
        let mut tape = Tape(tape.iter());
        let create_missing = tape.percent(60);
        let relation = tape.below(8);
        let rows = (0..50)
            .map(|_| [(); 3].map(|()| Some(tape.below(STEPS + 1)).filter(|&step| step < STEPS)))
            .collect();
        let depth = 1 + tape.below(3);
        let target = tape.level(depth);
        let (target, source) = match relation {
            0 => (target, None),
            1 => (target.clone(), Some(target)),
            2 => {
                let source = tape.level(depth);
                (target, Some(source))
            }
            3 | 4 => {
                let source = target.without_defaults();
                (tape.thinned(&source), Some(source))
            }
            _ => {
                let source = tape.changed(&target, depth);
                (target, Some(source))
            }
        };
        Case {
            target,
            source,
            create_missing,
            target_lacks_some: matches!(relation, 3 | 4),
            rows,
        }
    }

    /// Fills `fed`.
    pub fn rows(&self) -> String {
        let one = |(id, row): (usize, &[Option<u8>; 3])| {
            let values: Vec<String> = (0..3).map(|column| literal(column, row[column])).collect();
            format!("({id}, {})", values.join(", "))
        };
        let rows: Vec<String> = self.rows.iter().enumerate().map(one).collect();
        format!("INSERT INTO fed VALUES {}", rows.join(", "))
    }
}

impl Debug for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let columns = "(id int, i int, s text, d date)";
        writeln!(f, "create_missing => {}\nsource:", self.create_missing)?;
        writeln!(f, "{}\ntarget:", create(columns, self.source.as_ref(), 's'))?;
        writeln!(f, "{}\nrows:", create(columns, Some(&self.target), 't'))?;
        f.write_str(&self.rows())
    }
}
