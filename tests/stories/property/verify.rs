//! What verify says, beside what the model says.

use super::calls::Story;
use super::column::Change;
use super::look::{self, Leaf, Name, Row, Source, Target, ask, time};
use super::model::{Asked, Violation, has_more};
use super::rows::{meddle, move_row};
use super::world::{HERE, SOURCE, TARGET, World};
use std::collections::BTreeMap;

/// A row of its result.
struct Line {
    matches: Option<bool>,
    /// nothing was read on the source
    has_no_source: bool,
    /// why there is nothing to say
    error: Option<String>,
}

/// What it was asked for, on the grid.
struct Span {
    from: Option<usize>,
    to: Option<usize>,
}

/// The result, by relation; and whether some line is for rows that have no partition here.
struct Answer {
    lines: BTreeMap<Name, Line>,
    names_missing: bool,
}

/// How a leaf compares with the source.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Equal,
    Differs,
    /// some rows may or may not be compared
    Unsure,
}

/// Changes something by hand, perhaps, and verifies.
pub fn verify(world: &mut World, story: &mut Story, asked: &Asked) {
    match world.dice.below(6) {
        0 | 1 => meddle(world, TARGET),
        2 => meddle(world, SOURCE),
        3 => move_row(world, SOURCE),
        _ => {}
    }
    let origin = world.origin();
    let schema = world.case.schema.clone();
    let server = world.source_argument();
    let mut arguments = format!("'{schema}.t', source_table => '{origin}', method => 'checksum'{server}");
    let mut span = Span {
        from: asked.since,
        to: world.memory.point,
    };
    if world.dice.below(3) > 0 && asked.to.text.is_some() {
        arguments += &format!(", end_tm => {}", asked.to.argument());
        span.to = Some(asked.end);
    }
    if let Some(since) = asked.since {
        arguments += &format!(", since => '{}'", world.case.value(since));
    }
    let source = look::source(world, &origin);
    let target = look::target(world);
    story.calls += 1;
    match say(world, &arguments) {
        Ok(answer) => story.violations.extend(judge(world, &source, &target, &span, &answer)),
        Err(error) => {
            if error.starts_with("XX") {
                story.violations.push(Violation {
                    kind: "an internal error",
                    text: error.clone(),
                });
            }
            story.failures.push(error);
        }
    }
}

fn say(world: &mut World, arguments: &str) -> Result<Answer, String> {
    let sql = format!(
        "SELECT v.partition::text, v.matches, v.source_relation IS NULL, to_jsonb(v) ->> 'error'
         FROM cgpsync_verify({arguments}) v"
    );
    let rows = world
        .here()
        .query(&sql, &[])
        .map_err(|error| match error.as_db_error() {
            Some(error) => format!("{} verify: {}", error.code().code(), error.message()),
            None => panic!("{error:?} in {sql}"),
        });
    let end = rows.as_ref().err().map_or(String::new(), |e| format!(" -- fails: {e}"));
    world.log.push(format!("/* {} */ {sql};{end}", world.name_of(HERE)));
    let mut answer = Answer {
        lines: BTreeMap::new(),
        names_missing: false,
    };
    for row in rows? {
        let (name, matches): (Option<String>, Option<bool>) = (row.get(0), row.get(1));
        let line = Line {
            matches,
            has_no_source: row.get(2),
            error: row.get(3),
        };
        world
            .log
            .push(format!("--   {name:?} matches {matches:?} {:?}", line.error));
        let Some(name) = name else {
            answer.names_missing |= matches == Some(false);
            continue;
        };
        // Several groups may have one table above them: the worst word counts.
        let rank = |line: &Line| match (&line.error, line.matches) {
            (_, Some(false)) => 0,
            (Some(_), _) => 1,
            (None, None) => 2,
            (None, Some(true)) => 3,
        };
        let worst = answer.lines.remove(&name).filter(|known| rank(known) < rank(&line));
        answer.lines.insert(name, worst.unwrap_or(line));
    }
    Ok(answer)
}

fn judge(world: &mut World, source: &Source, target: &Target, span: &Span, answer: &Answer) -> Vec<Violation> {
    if world.case.column.change == Change::Refused {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut below: BTreeMap<Name, Vec<State>> = BTreeMap::new();
    for leaf in target.shape.leaves.values() {
        let state = state(world, source, target, leaf, span);
        let sql = format!("SELECT relid::text FROM pg_partition_ancestors('{}') relid", leaf.name);
        let mut above: Vec<Name> = ask(&mut world.eyes[TARGET], &sql)
            .into_iter()
            .filter_map(|mut row| row.remove(0))
            .collect();
        if above.is_empty() {
            above.push(leaf.name.clone());
        }
        let line = above.iter().find_map(|name| answer.lines.get(name));
        for name in above {
            below.entry(name).or_default().push(state);
        }
        if state == State::Differs {
            let line = (line, answer.lines.contains_key(&leaf.name));
            found.extend(of_differing(world, source, target, leaf, span, line));
        }
    }
    for (name, line) in &answer.lines {
        let states = below.get(name).map_or(&[][..], Vec::as_slice);
        if line.matches == Some(false) && !states.is_empty() && states.iter().all(|state| *state == State::Equal) {
            found.push(Violation {
                kind: match world.rounded.is_empty() {
                    true => "B4 verify says that a unit differs, which does not",
                    false => "B1 key: verify says that a unit differs, which does not",
                },
                text: name.clone(),
            });
        }
    }
    let is_missing = |row: &&Row| {
        let is_due = match time(row.point) {
            Some(k) => span.to.is_none_or(|to| k <= to) && span.from.is_none_or(|from| from <= k),
            None => span.from.is_none(),
        };
        // A default partition would take it, if it had that label.
        is_due && !world.case.has_no_label(row.point) && !target.shape.home.contains_key(&row.point)
    };
    if let Some(row) = source.rows.iter().find(is_missing)
        && !answer.names_missing
        && target.shape.is_partitioned
    {
        let is_rounded = time(row.point).is_some_and(|k| world.rounded.contains(&k));
        found.push(Violation {
            kind: match is_rounded {
                true => "B1 key: verify does not mention rows that have no partition here",
                _ if world.case.other_order || world.case.other_equal => {
                    "A7 order: verify does not mention rows that have no partition here"
                }
                false => "B4 verify does not mention rows that have no partition here",
            },
            text: format!("the row {} at {}", row.id, row.point),
        });
    }
    found
}

/// A leaf that differs: what the line that is for it says.
fn of_differing(
    world: &World,
    source: &Source,
    target: &Target,
    leaf: &Leaf,
    span: &Span,
    (line, is_own): (Option<&Line>, bool),
) -> Option<Violation> {
    let times = leaf.points.iter().filter_map(|point| time(*point));
    let starts = times.clone().min().zip(span.to).is_none_or(|(first, to)| first <= to);
    let ends = times.max().zip(span.from).is_none_or(|(last, from)| from <= last);
    let is_asked = !leaf.has_range || starts && ends;
    // The line of a table above it is for other leaves, if this one was not asked for.
    let Some(line) = line.filter(|_| is_asked || is_own) else {
        return is_asked.then(|| Violation {
            kind: "B4 verify leaves out a unit that differs",
            text: leaf.name.clone(),
        });
    };
    if line.matches == Some(false) || line.error.is_some() {
        return None;
    }
    if line.matches.is_none() {
        // A range that the source has lost: nothing is compared.
        let shape = &source.shape;
        let is_covered = |point: &usize| {
            let home = shape.home.get(point).and_then(|name| shape.leaves.get(name));
            home.is_some_and(|home| !home.is_default)
        };
        let is_gone = line.has_no_source && !leaf.points.iter().all(is_covered);
        return (!is_gone).then(|| Violation {
            kind: "B4 verify says nothing about a unit that differs",
            text: leaf.name.clone(),
        });
    }
    let (there, here) = (source.taken_by(leaf), comparable(target.of(&leaf.name)));
    let is_converted = !has_more(&there, &here) && !has_more(&here, &there);
    let is_rounded = |row: &Row| time(row.point).is_some_and(|k| world.rounded.contains(&k));
    let kind = if is_converted && there.iter().any(is_rounded) {
        "B1 key: verify agrees with values that were changed"
    } else if is_converted {
        world.case.column.kinds().agrees
    } else if world.case.other_order || world.case.other_equal {
        "A7 order: verify agrees with rows that are elsewhere"
    } else if !world.rounded.is_empty() {
        "B1 key: verify agrees with rows that are elsewhere"
    } else {
        "verify says that a unit matches, which does not"
    };
    let text = format!("{}: {} rows there, {} here", leaf.name, there.len(), here.len());
    Some(Violation { kind, text })
}

/// Rows without what is not compared.
fn comparable(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.iter_mut().for_each(|row| row.extra = None);
    rows
}

fn state(world: &World, source: &Source, target: &Target, leaf: &Leaf, span: &Span) -> State {
    let all = source.taken_by(leaf);
    let here = comparable(target.of(&leaf.name));
    // A relation without a range of its own may be compared only up to the end.
    let is_beyond = |row: &Row| {
        let is_late = time(row.point).zip(span.to).is_some_and(|(k, to)| k > to);
        is_late && (!leaf.has_range || leaf.is_default)
    };
    let must: Vec<Row> = all.iter().filter(|row| !is_beyond(row)).cloned().collect();
    let is_exact = |row: &Row| !source.inexact.contains(&row.id);
    let lacks = has_more(&must, &here) || must.iter().any(|row| !is_exact(row));
    if lacks || has_more(&here, &all) || here.iter().any(|row| !row.fits) {
        return State::Differs;
    }
    // Rows here that are beyond the end may count as too many.
    let is_whole = must.len() == all.len() && here.len() == all.len() && !here.iter().any(is_beyond);
    // Rows whose label is none here may count with any unit, as may those that only a hash or an expression would tell apart from its own.
    let is_hashed = target
        .shape
        .keys
        .iter()
        .any(|key| key.starts_with("HASH") || key.contains("lower("));
    let is_foreign =
        |row: &Row| world.case.has_no_label(row.point) || (is_hashed && !target.shape.home.contains_key(&row.point));
    let is_whole = is_whole && !source.rows.iter().any(is_foreign);
    match is_whole && all.iter().all(is_exact) && world.case.column.change != Change::Refused {
        true => State::Equal,
        false => State::Unsure,
    }
}
