//! Calls, and whether what comes of them is what the model allows.

use super::case::{Extra, Family, POINTS};
use super::column::Change;
use super::elsewhere;
use super::ends::{self, End, How};
use super::look::{self, Source, Target, ask};
use super::model::{Asked, Said, Scene, Violation};
use super::verify::verify;
use super::world::{HERE, SOURCE, World};

/// How a case went.
#[derive(Default)]
pub struct Story {
    pub calls: usize,
    /// calls after which the point had moved
    pub moved: usize,
    /// calls that failed, with SQLSTATE and the beginning of the message
    pub failures: Vec<String>,
    /// the table cannot be a target elsewhere
    pub is_refused: bool,
    pub violations: Vec<Violation>,
}

impl Story {
    /// There is nothing more to try.
    pub fn is_over(&self) -> bool {
        self.is_refused || !self.violations.is_empty()
    }
}

/// What is remembered of an end: a point that is no later than the source's present.
fn until(world: &mut World, to: &End) -> usize {
    ends::present(world).map_or(to.place, |present| present.min(to.place))
}

/// What a call is asked for that takes what `to` says.
pub fn ask_up_to(world: &mut World, to: End) -> Asked {
    let until = until(world, &to);
    Asked {
        end: to.place,
        until,
        to,
        since: None,
        create_missing: true,
        strict: false,
        meanwhile: false,
    }
}

/// What a call up to a point of the grid is asked for.
pub fn ask_plainly(world: &mut World, point: usize) -> Asked {
    let to = End::plain(world, point.min(POINTS - 1));
    ask_up_to(world, to)
}

/// What a call may be asked for now.
pub fn ask_for(world: &mut World) -> Asked {
    let from = world.memory.point.unwrap_or(world.dice.below(8) as usize);
    let to = ends::random(world, from);
    let asked = ask_up_to(world, to);
    let has_key = world.has_range();
    let dice = &mut world.dice;
    let since = dice.below(asked.end as u64 + 1) as usize;
    let since = ends::unrounded(world, since);
    let dice = &mut world.dice;
    Asked {
        since: (has_key && dice.below(5) == 0).then_some(since),
        create_missing: dice.below(4) > 0,
        strict: world.code.has_strict && dice.below(16) == 0,
        ..asked
    }
}

/// The arguments of a call.
pub fn arguments(world: &mut World, asked: &Asked, source_table: Option<&str>) -> String {
    let schema = world.case.schema.clone();
    let mut text = format!("'{schema}.t', {}, {}", asked.to.argument(), 1 + world.dice.below(3));
    text += world.source_argument();
    if let Some(since) = asked.since {
        text += &format!(", since => '{}'", world.case.value(since));
    }
    if asked.strict {
        text += ", strict => true";
    }
    let named = world.origin();
    match source_table {
        Some(table) => text += &format!(", source_table => '{table}'"),
        None if world.case.name_there != "t" => text += &format!(", source_table => '{named}'"),
        None => {}
    }
    if !asked.create_missing {
        text += ", create_missing => false";
    }
    if world.case.more_there || world.case.extra == Extra::None && world.dice.below(8) == 0 {
        text += ", columns => ARRAY['id', 'p', 'k', 'l', 'h', 'v', 'm']";
    }
    if world.dice.below(6) == 0 {
        text += ", replace => 'truncate'";
    }
    text
}

/// Calls, and gives what was said.
pub fn say(world: &mut World, arguments: &str) -> Said {
    let runs = "SELECT COALESCE(max(run_id), 0) FROM cgpsync_run";
    let table = format!("{}.t", world.case.schema);
    let last = ask(world.here(), &format!("{runs} WHERE table_name = '{table}'"));
    let last = last[0][0].clone().unwrap_or_default();
    world.notices.lock().expect("a lock").clear();
    let sql = format!("SELECT u.partition::text, u.status FROM cgpsync_sync({arguments}) u");
    let answer = world.here().query(&sql, &[]);
    let notices = world.notices.lock().expect("a lock").clone();
    let (rows, error) = match answer {
        Ok(rows) => {
            let unit = |row: &postgres::Row| (row.get(0), row.get(1));
            (rows.iter().map(unit).collect(), None)
        }
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?} in {sql}"));
            let detail = error.detail().unwrap_or_default();
            let said = (
                error.code().code().to_owned(),
                format!("{} ({detail})", error.message()),
            );
            let history = format!(
                "SELECT p.partition, p.status FROM cgpsync_run_partition p JOIN cgpsync_run r USING (run_id)
                 WHERE r.table_name = '{table}' AND run_id > {last}"
            );
            let rows = ask(world.here(), &history).into_iter().map(|mut row| {
                let status = row.pop().flatten().unwrap_or_default();
                (row.pop().flatten(), status)
            });
            (rows.collect::<Vec<(Option<String>, String)>>(), Some(said))
        }
    };
    let end = error
        .as_ref()
        .map_or("done".to_owned(), |(code, text)| format!("fails: {code} {text}"));
    world.log.push(format!("/* {} */ {sql}; -- {end}", world.name_of(HERE)));
    world.log.extend(notices.iter().map(|notice| format!("--   {notice}")));
    let units = rows.into_iter().filter_map(|(name, status)| Some((name?, status)));
    Said {
        error,
        units: units.collect(),
        notices,
    }
}

/// A call between two changes.
pub fn call(world: &mut World, story: &mut Story, asked: Asked) {
    let table = world.origin();
    let source = look::source(world, &table);
    let before = look::target(world);
    let arguments = arguments(world, &asked, None);
    if world.dice.below(6) == 0 {
        let sql = format!("SELECT count(*) FROM cgpsync_plan({arguments})");
        let _ = world.here().simple_query(&sql);
        let after = look::target(world);
        if after.rows != before.rows || after.shape.home != before.shape.home {
            story.violations.push(Violation {
                kind: "plan changes something",
                text: sql,
            });
        }
    }
    let said = say(world, &arguments);
    judge(world, story, &source, &before, &asked, &said);
    if world.dice.below(3) == 0 && !story.is_over() {
        verify(world, story, &asked);
    }
}

/// Compares with the model, and remembers.
pub fn judge(world: &mut World, story: &mut Story, source: &Source, before: &Target, asked: &Asked, said: &Said) {
    let after = look::target(world);
    let now = until(world, &asked.to);
    // Otherwise the present has come to another point meanwhile: nothing is certain.
    let is_certain = now == asked.until;
    let asked = &Asked {
        until: now,
        ..asked.clone()
    };
    let extra = match world.case.extra {
        Extra::None => Some(None),
        Extra::Default => Some(Some("root".to_owned())),
        Extra::Identity => None,
    };
    let scene = Scene {
        source,
        before,
        after: &after,
        asked,
        said,
        memory: &world.memory,
        case: &world.case,
        rounded: &world.rounded,
        is_old: world.code.is_old,
        extra,
    };
    story.calls += 1;
    let moved = scene.moved();
    story.moved += usize::from(moved);
    if is_certain {
        story.violations.extend(scene.violations());
    }
    let is_expected = asked.strict || world.case.column.change == Change::Refused;
    if let Some((code, text)) = &said.error {
        if elsewhere::is_refusal(code, text) {
            elsewhere::refused(world, story, text);
        } else if !(is_expected && code == "42804") {
            story.failures.push(format!("{code} {text}"));
        }
        let kind = match code.as_str() {
            "22023" => is_refused_wrongly(world, asked),
            "42804" if !is_expected && world.case.family == Family::Digits && text.contains("\"k\"") => {
                Some("A7 digits: a text key is refused because of its collation")
            }
            "23502" => Some("A12 identity: no value"),
            "57014" => Some("a call does not end"),
            _ => ["XX", "3B"]
                .iter()
                .any(|class| code.starts_with(class))
                .then_some("an internal error"),
        };
        story.violations.extend(kind.map(|kind| Violation {
            kind,
            text: text.clone(),
        }));
    }
    // The point never goes back, and may stay where the present is.
    let point = match (world.memory.point, before.has_range()) {
        (Some(point), true) => point.max(asked.until),
        _ => asked.until,
    };
    let is_known = is_certain && before.has_ranges() && !world.code.is_old;
    if let (None, true, Some(stored)) = (&said.error, moved && is_known, &after.remembered) {
        let is_named = said.notices.iter().any(|notice| notice.contains("remembered"));
        if asked.until < asked.end && !is_named {
            story.violations.push(Violation {
                kind: "A6 point: nothing says that the present is remembered",
                text: stored.clone(),
            });
        }
        let wrong = ends::misstored(world, stored, point);
        story.violations.extend(wrong.map(|text| Violation {
            kind: "A6 point: what is remembered has another form, or is another point",
            text,
        }));
    }
    let memory = &mut world.memory;
    for (name, leaf) in &after.shape.leaves {
        if said.units.get(name).is_some_and(|status| status == "done") {
            memory.loaded.insert(name.clone(), leaf.file.clone());
            if said.error.is_some() {
                memory.finished.insert(name.clone(), (leaf.file.clone(), asked.end));
            }
        }
    }
    if said.error.is_none() && moved {
        memory.point = Some(point);
        // Beyond the present every end is a far one.
        let is_far = asked.until < asked.end;
        memory.how = Some(if is_far { How::Far } else { asked.to.how });
        memory.finished.clear();
    }
}

/// An end that is not before the remembered point is an error.
fn is_refused_wrongly(world: &mut World, asked: &Asked) -> Option<&'static str> {
    let how = world.memory.how.filter(|how| *how != How::Plain)?;
    let point = world.memory.point?;
    let is_after_far = how == How::Far && asked.to.how == How::LeftOut;
    let is_refused = asked.since.is_none() && world.has_range() && (asked.end > point || is_after_far);
    is_refused.then_some("A6 point: an end that is not before the point is refused")
}

/// A call for another table of the source: the remembered point is not that one's. Without a RANGE key
/// the point is a label, because of which nothing is left out.
pub fn call_another_table(world: &mut World, story: &mut Story) {
    if world.memory.point.is_none() || !world.has_range() {
        return;
    }
    let (other, origin) = (format!("{}.other", world.case.schema), world.origin());
    if world
        .run(SOURCE, &format!("CREATE TABLE {other} (LIKE {origin})"))
        .is_err()
    {
        return;
    }
    let asked = ask_plainly(world, POINTS - 1);
    let before = look::target(world);
    let arguments = arguments(world, &asked, Some(&other));
    let said = say(world, &arguments);
    let after = look::target(world);
    story.calls += 1;
    if said.error.is_none() || after.rows != before.rows {
        story.violations.push(Violation {
            kind: "the point of one source table is taken for another's",
            text: arguments,
        });
    }
}
