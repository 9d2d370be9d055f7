//! The plain model: what may be true after a call. It knows both sides before the call, the target
//! after it, and what the call and the history said.

use super::case::{Case, POINTS};
use super::ends::{End, How};
use super::look::{Leaf, Name, Point, Row, Source, Target, besides, time};
use super::world::Memory;
use std::collections::{BTreeMap, BTreeSet};

/// What a call was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// how end_tm is written
    pub to: End,
    /// places on the grid
    pub end: usize,
    /// what is remembered of it: no later than the source's present
    pub until: usize,
    pub since: Option<usize>,
    pub create_missing: bool,
    /// columns whose values may change are an error
    pub strict: bool,
    /// the source's tables changed while it ran
    pub meanwhile: bool,
}

/// What it said.
#[derive(Clone, Debug)]
pub struct Said {
    /// SQLSTATE and message of a failure
    pub error: Option<(String, String)>,
    /// status of each unit: the result's, of a failed call the history's
    pub units: BTreeMap<Name, String>,
    pub notices: Vec<String>,
}

/// Something that is not as the invariant says.
#[derive(Clone, Debug)]
pub struct Violation {
    /// which kind of fault it is
    pub kind: &'static str,
    pub text: String,
}

/// A call with everything around it.
pub struct Scene<'a> {
    pub source: &'a Source,
    pub before: &'a Target,
    pub after: &'a Target,
    pub asked: &'a Asked,
    pub said: &'a Said,
    pub memory: &'a Memory,
    pub case: &'a Case,
    /// places on the grid that are another value here
    pub rounded: &'a BTreeSet<usize>,
    /// the code is that of 0.2.0
    pub is_old: bool,
    /// the value that the column has which only the target has; None: any but NULL
    pub extra: Option<Option<String>>,
}

impl Scene<'_> {
    /// Everything that is wrong.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for leaf in self.after.shape.leaves.values() {
            found.extend(self.of_leaf(leaf));
        }
        if self.said.error.is_some() {
            if self.moved() {
                let text = format!("sync_table says {:?}", self.after.remembered);
                found.push(Violation {
                    kind: "a failed call moved the point",
                    text,
                });
            }
        } else {
            match self.moved() {
                true => found.extend(self.left_out()),
                false => found.extend(self.unexplained()),
            }
            found.extend(self.unnamed());
        }
        found.extend(self.not_refused());
        found.extend(self.altered());
        found
    }

    /// A call replaces rows, and nothing else of a partition.
    fn altered(&self) -> Option<Violation> {
        if !self.after.strays.is_empty() {
            return Some(Violation {
                kind: "a table or an index of the run is left",
                text: self.after.strays.join(", "),
            });
        }
        let mut leaves = self.after.shape.leaves.values();
        leaves.find_map(|now| {
            let before = self.before.shape.leaves.get(&now.name)?;
            (before.portrait != now.portrait).then(|| Violation {
                kind: "a partition is not what it was, its rows apart",
                text: format!("{}: {} before, {} now", now.name, before.portrait, now.portrait),
            })
        })
    }

    /// True if the remembered point is another one now.
    pub fn moved(&self) -> bool {
        self.before.remembered != self.after.remembered
    }

    pub fn is_done(&self, leaf: &Leaf) -> bool {
        self.said.units.get(&leaf.name).is_some_and(|status| status == "done")
    }

    /// Rows of the source that the leaf takes.
    fn taken_by(&self, leaf: &Leaf) -> Vec<Row> {
        let mut rows = self.source.taken_by(leaf);
        for row in &mut rows {
            row.extra = self.extra.clone().flatten();
        }
        rows.sort();
        rows
    }

    /// A leaf without a range of its own may lack rows beyond the end: they belong to partitions
    /// whose time has not come.
    fn may_lack(&self, leaf: &Leaf, row: &Row) -> bool {
        (!leaf.has_range || leaf.is_default) && time(row.point).is_some_and(|k| k > self.asked.end)
    }

    fn as_compared(&self, rows: &[Row]) -> Vec<Row> {
        let mut rows = rows.to_vec();
        if self.extra.is_none() {
            rows.iter_mut().for_each(|row| row.extra = None);
        }
        rows
    }

    fn of_leaf(&self, leaf: &Leaf) -> Option<Violation> {
        let (old, new) = (self.before.of(&leaf.name), self.after.of(&leaf.name));
        let violation = |kind, text: String| {
            Some(Violation {
                kind,
                text: format!("{}: {text}", leaf.name),
            })
        };
        if !self.is_done(leaf) {
            if old != new {
                return violation("a unit changed that is not done", differences(old, new));
            }
            return self.of_leaf_left_alone(leaf);
        }
        let lost = old
            .iter()
            .any(|row| self.is_gone(leaf, row.point) && !new.contains(row));
        if lost {
            return violation("A1 vanished: rows are gone", differences(old, new));
        }
        // What is tried again when all have begun is read in a new snapshot.
        let is_new = |notice: &String| notice.contains("are read in a new one");
        if self.asked.meanwhile && self.said.notices.iter().any(is_new) {
            return None;
        }
        let expected = self.taken_by(leaf);
        let must = expected.iter().filter(|row| !self.may_lack(leaf, row));
        let got = self.as_compared(new);
        let too_few = must.clone().any(|row| !got.contains(row));
        let too_many = has_more(&got, &expected);
        let no_value = self.extra.is_none() && new.iter().any(|row| row.extra.is_none());
        if !too_few && !too_many && !no_value {
            return None;
        }
        let text = differences(&expected, &got);
        let ids = |rows: &[Row]| -> BTreeSet<_> { rows.iter().map(|row| (row.id, row.value.clone())).collect() };
        if ids(&got) == ids(&expected) && without_m(&got) == without_m(&expected) && !self.asked.meanwhile {
            return violation(self.case.column.kinds().value, text);
        }
        if no_value || ids(&got) == ids(&expected) && got.iter().all(|row| row.fits) {
            return violation("A12 default: not as INSERT through the table", text);
        }
        if self.case.other_order || self.case.other_equal {
            return violation("A7 order: a unit that is done has other rows than the source", text);
        }
        if !self.rounded.is_empty() {
            return violation("B1 key: rows are not where an INSERT of the value would put them", text);
        }
        if self.asked.meanwhile {
            return violation("A5 source changed during the run: other rows than the snapshot's", text);
        }
        violation("a unit that is done has other rows than the source", text)
    }

    /// A unit that is not done and has its old rows: whether it had to be taken.
    fn of_leaf_left_alone(&self, leaf: &Leaf) -> Option<Violation> {
        if self.said.error.is_some() {
            return None;
        }
        let expected = self.taken_by(leaf);
        let misses: Vec<Row> = expected.into_iter().filter(|row| !self.may_lack(leaf, row)).collect();
        let old = self.after.of(&leaf.name);
        if misses.is_empty() && (old.is_empty() || !self.all_covered(leaf)) {
            return None;
        }
        let times: Vec<usize> = leaf.points.iter().filter_map(|point| time(*point)).collect();
        let (first, last) = (times.iter().min().copied(), times.iter().max().copied());
        let starts = !leaf.has_range || first.is_some_and(|first| first <= self.asked.end);
        let from = match self.moved() {
            // What since has left out behind the old point lies behind the new one as well.
            true => self.memory.point.or(self.asked.since),
            false => self.asked.since.or(self.memory.point),
        };
        let is_open = from.is_none_or(|from| last.is_some_and(|last| last >= from));
        let is_open = !leaf.has_range || is_open;
        let is_new = !self.before.shape.leaves.contains_key(&leaf.name);
        let is_as_left = self.memory.loaded.get(&leaf.name) == Some(&leaf.file);
        let text = format!("{} {:?}", leaf.name, differences(&misses, old));
        let status = self.said.units.get(&leaf.name).map_or("none", String::as_str);
        let violation = |kind| {
            Some(Violation {
                kind,
                text: format!("{text}, status {status}"),
            })
        };
        if !starts {
            return None;
        }
        if status == "skipped" && self.has_nothing_of(leaf) {
            return None;
        }
        if is_open && status == "skipped" {
            let finished = self.memory.finished.get(&leaf.name);
            return match finished {
                Some((file, end)) if last.is_some_and(|last| last < *end) => {
                    if *file == leaf.file {
                        None
                    } else {
                        violation("A4 resume: counted although its storage is another")
                    }
                }
                _ => violation("skipped without a reason"),
            };
        }
        if is_new {
            return violation("A3 a partition was created and not filled");
        }
        let left_out = self
            .asked
            .since
            .is_some_and(|since| last.is_some_and(|last| last < since));
        if left_out && is_as_left {
            return None;
        }
        if is_open {
            return violation(match (self.case.other_order, self.memory.how) {
                (true, _) => "A7 order: a unit in reach was not taken",
                (_, None | Some(How::Plain)) => "a unit in reach was not taken",
                (_, Some(How::Local)) => "A6 zone: a unit in reach was not taken",
                _ => "A6 point: a unit in reach was not taken",
            });
        }
        if old.is_empty() && !is_as_left && self.asked.since.is_none() {
            let was_loaded = self.memory.loaded.contains_key(&leaf.name);
            return violation(if was_loaded {
                "A4 closed unit: truncated and not due"
            } else {
                "A14 closed unit: never loaded and not due"
            });
        }
        None
    }

    /// Every point of the leaf belongs to a partition of the source that is no default, or to a
    /// table that is not partitioned.
    fn all_covered(&self, leaf: &Leaf) -> bool {
        leaf.points.iter().all(|point| self.is_covered(*point))
    }

    fn is_covered(&self, point: Point) -> bool {
        let shape = &self.source.shape;
        match shape.home.get(&point).and_then(|name| shape.leaves.get(name)) {
            Some(home) => !home.is_default,
            None => time(point).is_none(),
        }
    }

    /// The source is partitioned, and no partition of it takes anything of the leaf.
    fn has_nothing_of(&self, leaf: &Leaf) -> bool {
        let shape = &self.source.shape;
        shape.is_partitioned && !leaf.points.iter().any(|point| shape.home.contains_key(point))
    }

    /// True if the source has surely lost the partition of this point of the leaf: its rows here
    /// stay.
    fn is_gone(&self, leaf: &Leaf, point: Point) -> bool {
        let shape = &self.source.shape;
        let point = self.settled(point);
        let uncovered = leaf.points.iter().filter(|point| !self.is_covered(**point));
        let uncovered = uncovered.filter(|point| self.settled(**point) == **point);
        let uncovered: BTreeSet<Point> = uncovered.copied().collect();
        // A range is one of k and l: what only a hash tells apart belongs to it.
        let (places, size) = (self.case.values.len(), POINTS + 1);
        let without_hash = |point: Point| (point % size, point / size % places);
        let ranges: BTreeSet<_> = uncovered.iter().map(|point| without_hash(*point)).collect();
        let holds_rows = self
            .source
            .rows
            .iter()
            .any(|row| ranges.contains(&without_hash(self.settled(row.point))));
        if self.case.other_order || self.case.other_equal {
            return false;
        }
        if leaf.is_default || !shape.is_partitioned || !uncovered.contains(&point) || holds_rows {
            return false;
        }
        let Some(k) = time(point) else {
            return false;
        };
        let mut covered = shape.home.keys().filter(|other| self.is_covered(**other));
        // Only what all levels there agree about is certain.
        let mut at_once = leaf.points.iter().filter(|other| time(**other) == Some(k));
        let by_time = leaf.has_range
            && at_once.all(|other| uncovered.contains(other))
            && covered
                .clone()
                .any(|other| besides(*other) == besides(point) && time(*other).is_some_and(|other| other > k));
        let alike = leaf.list_key.as_ref().is_some_and(|key| shape.keys.contains(key));
        let has = |strategy: &str| shape.keys.iter().any(|key| key.starts_with(strategy));
        // Beyond all its ranges the source has not come to its lists.
        let is_beyond = has("RANGE")
            && !covered
                .clone()
                .any(|other| time(*other).is_some_and(|other| other >= k));
        let only_lists = alike && !has("HASH") && !is_beyond;
        let by_place = only_lists && !covered.any(|other| besides(*other) == besides(point));
        by_time || by_place
    }

    /// The point that has the same value here, and is the same on both sides: a bound.
    fn settled(&self, point: Point) -> Point {
        match time(point) {
            Some(k) if self.rounded.contains(&k) && k % 3 == 1 => point - 1,
            Some(k) if self.rounded.contains(&k) => point + 1,
            _ => point,
        }
    }

    /// Rows up to the new point that have no partition here.
    fn left_out(&self) -> Vec<Violation> {
        let from = self.asked.since.or(self.memory.point);
        // The point itself may lie between two of the grid: what is at the first of them is behind it.
        let is_between = self.asked.since.is_none() && self.memory.how != Some(How::Plain);
        let is_due = |row: &&Row| match time(row.point) {
            Some(k) => k <= self.asked.until && from.is_none_or(|from| from < k || from == k && !is_between),
            None => self.asked.since.is_none(),
        };
        let homeless = |row: &&Row| !self.after.shape.home.contains_key(&row.point);
        let rows: Vec<&Row> = self.source.rows.iter().filter(is_due).filter(homeless).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let has_some = rows.iter().any(|row| self.is_covered(row.point));
        let kind = if !self.asked.create_missing {
            "A3 hole: rows without a partition here, create_missing off, and the point moved"
        } else if !has_some || !self.source.shape.is_partitioned {
            "A3 hole: rows of no or of a default partition have no place here, and the point moved"
        } else if self.case.other_order || self.case.other_equal {
            "A7 order: partitions neither created nor named, and the point moved"
        } else if self.case.is_alike() {
            "A3 hole: partitions of the same types neither created nor named, and the point moved"
        } else {
            "A2 types: partitions neither created nor named, and the point moved"
        };
        let text = rows.iter().map(|row| format!("{} at {}", row.id, row.point));
        vec![Violation {
            kind,
            text: text.collect::<Vec<_>>().join(", "),
        }]
    }

    /// The point stayed behind without a word.
    fn unexplained(&self) -> Option<Violation> {
        // Without a RANGE key the point is a label, which may be the same again.
        let has_key = self.after.shape.keys.iter().any(|key| key.starts_with("RANGE"));
        let is_label = !has_key && self.after.remembered.is_some();
        let behind = !is_label && self.memory.point.is_none_or(|point| point < self.asked.until);
        let routine = [" bytes in ", ": skipped", "created partition", "types differ"];
        let said = self.said.notices.iter();
        let mut said = said.filter(|notice| !routine.iter().any(|word| notice.contains(word)));
        (behind && said.next().is_none()).then(|| Violation {
            kind: "the point stays behind, and nothing says why",
            text: self.said.notices.join("; "),
        })
    }
}

/// True if `some` has a row that `all` lacks, or has it more often.
pub fn has_more(some: &[Row], all: &[Row]) -> bool {
    let mut left = all.to_vec();
    some.iter().any(|row| match left.iter().position(|other| other == row) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    })
}

fn without_m(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.iter_mut().for_each(|row| row.m = None);
    rows.sort();
    rows
}

fn differences(expected: &[Row], got: &[Row]) -> String {
    let list = |rows: &[Row], others: &[Row]| {
        let rows = rows.iter().filter(|row| !others.contains(row)).take(5);
        let rows = rows.map(|row| {
            let fits = if row.fits { "" } else { " (other key)" };
            let Row {
                id,
                point,
                value,
                m,
                extra,
                ..
            } = row;
            format!("{id} at {point} {value:?} {m:?} {extra:?}{fits}")
        });
        rows.collect::<Vec<_>>().join("; ")
    };
    format!(
        "{} rows before or expected, {} now; only before or expected: [{}], only now: [{}]",
        expected.len(),
        got.len(),
        list(expected, got),
        list(got, expected)
    )
}
