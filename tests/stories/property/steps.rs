//! What happens to a case: calls, and changes of both sides between them and meanwhile.

use super::case::{Bound, CUTS, Extra, Key, POINTS};
use super::look::{self, Oid, Source, Target, ask};
use super::model::{Asked, Said, Scene, Violation};
use super::world::{SOURCE, TARGET, World};
use crate::support::poll;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a case went.
#[derive(Default)]
pub struct Story {
    pub calls: usize,
    /// calls after which the point had moved
    pub moved: usize,
    /// calls that failed, with SQLSTATE and the beginning of the message
    pub failures: Vec<String>,
    pub violations: Vec<Violation>,
}

/// Plays a case until something is wrong or it is over.
pub fn play(world: &mut World) -> Story {
    let mut story = Story::default();
    let rows = 20 + world.dice.below(50);
    world.insert(SOURCE, rows);
    if world.dice.below(3) == 0 {
        world.insert(TARGET, 15);
    }
    if world.dice.below(3) == 0 {
        stumble(world, &mut story);
    }
    let steps = 2 + world.dice.below(4);
    for _ in 0..steps {
        if !story.violations.is_empty() {
            break;
        }
        for _ in 0..world.dice.below(4) {
            change(world);
        }
        match world.dice.below(8) {
            0 => call_meanwhile(world, &mut story),
            1 => call_another_table(world, &mut story),
            _ => {
                let asked = ask_for(world);
                call(world, &mut story, asked);
            }
        }
    }
    story
}

/// A call fails half-way; perhaps a unit that it has finished is truncated before the next.
fn stumble(world: &mut World, story: &mut Story) {
    forbid(world);
    let asked = Asked {
        since: None,
        end: POINTS - 1 - world.dice.below(6) as usize,
        ..ask_for(world)
    };
    call(world, story, asked.clone());
    allow(world);
    if story.violations.is_empty() {
        if world.dice.below(2) == 0 {
            truncate(world, TARGET);
        }
        call(world, story, asked);
    }
}

fn ask_for(world: &mut World) -> Asked {
    let dice = &mut world.dice;
    let from = world.memory.point.unwrap_or(dice.below(8) as usize);
    let end = match dice.below(12) {
        0 => dice.below(POINTS as u64) as usize,
        _ => (from + dice.below(9) as usize).min(POINTS - 1),
    };
    let has_key = look::target(world)
        .shape
        .keys
        .iter()
        .any(|key| key.starts_with("RANGE"));
    let dice = &mut world.dice;
    let since = dice.below(end as u64 + 1) as usize;
    Asked {
        end,
        since: (has_key && dice.below(5) == 0).then_some(since),
        create_missing: dice.below(4) > 0,
        meanwhile: false,
    }
}

/// The arguments of a call.
fn arguments(world: &mut World, asked: &Asked, source_table: Option<&str>) -> String {
    let schema = world.case.schema.clone();
    let family = world.case.family;
    let mut text = format!(
        "'{schema}.t', '{}', {}",
        family.value(asked.end),
        1 + world.dice.below(3)
    );
    if let Some(since) = asked.since {
        text += &format!(", since => '{}'", family.value(since));
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
        text += ", columns => ARRAY['id', 'p', 'k', 'l', 'h', 'v']";
    }
    if world.dice.below(6) == 0 {
        text += ", replace => 'truncate'";
    }
    text
}

/// Calls, and gives what was said.
fn say(world: &mut World, arguments: &str) -> Said {
    let runs = "SELECT COALESCE(max(run_id), 0) FROM cgpsync_run";
    let table = format!("{}.t", world.case.schema);
    let last = ask(&mut world.target, &format!("{runs} WHERE table_name = '{table}'"));
    let last = last[0][0].clone().unwrap_or_default();
    world.notices.lock().expect("a lock").clear();
    let sql = format!("SELECT partition::text, status FROM cgpsync_sync({arguments})");
    let answer = world.target.query(&sql, &[]);
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
            let rows = ask(&mut world.target, &history).into_iter().map(|mut row| {
                let status = row.pop().flatten().unwrap_or_default();
                (row.pop().flatten(), status)
            });
            (rows.collect::<Vec<(Option<String>, String)>>(), Some(said))
        }
    };
    let end = error
        .as_ref()
        .map_or("done".to_owned(), |(code, text)| format!("fails: {code} {text}"));
    world.log.push(format!("/* target */ {sql}; -- {end}"));
    world.log.extend(notices.iter().map(|notice| format!("--   {notice}")));
    Said {
        error,
        units: by_oid(world, rows),
        notices,
    }
}

fn by_oid(world: &mut World, rows: Vec<(Option<String>, String)>) -> BTreeMap<Oid, String> {
    let mut units = BTreeMap::new();
    for (partition, status) in rows {
        let Some(name) = partition else { continue };
        let sql = format!("SELECT to_regclass('{name}')::oid");
        if let Some(oid) = ask(&mut world.target, &sql)[0][0]
            .as_deref()
            .and_then(|v| v.parse().ok())
        {
            units.insert(oid, status);
        }
    }
    units
}

/// A call between two changes.
fn call(world: &mut World, story: &mut Story, asked: Asked) {
    let table = world.origin();
    let source = look::source(world, &table);
    let before = look::target(world);
    let arguments = arguments(world, &asked, None);
    if world.dice.below(6) == 0 {
        let sql = format!("SELECT count(*) FROM cgpsync_plan({arguments})");
        let _ = world.target.simple_query(&sql);
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
    if said.error.is_none() && world.dice.below(4) == 0 {
        verify(world, story, &source);
    }
}

/// Compares with the model, and remembers.
fn judge(world: &mut World, story: &mut Story, source: &Source, before: &Target, asked: &Asked, said: &Said) {
    let after = look::target(world);
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
        extra,
    };
    story.calls += 1;
    let moved = scene.moved();
    story.moved += usize::from(moved);
    story.violations.extend(scene.violations());
    if let Some((code, text)) = &said.error {
        story.failures.push(format!("{code} {text}"));
        if code == "23502" || code.starts_with("XX") {
            story.violations.push(Violation {
                kind: if code == "23502" {
                    "A12 identity: no value"
                } else {
                    "an internal error"
                },
                text: text.clone(),
            });
        }
    }
    let memory = &mut world.memory;
    for (oid, leaf) in &after.shape.leaves {
        if said.units.get(oid).is_some_and(|status| status == "done") {
            memory.loaded.insert(*oid, leaf.file.clone());
            if said.error.is_some() {
                memory.finished.insert(*oid, (leaf.file.clone(), asked.end));
            }
        }
    }
    if said.error.is_none() && moved {
        memory.point = Some(asked.end);
        memory.finished.clear();
    }
}

/// Where verify says that a unit matches, as many rows are here as there.
fn verify(world: &mut World, story: &mut Story, source: &Source) {
    let schema = world.case.schema.clone();
    let origin = world.origin();
    let sql = format!("SELECT partition::text, matches FROM cgpsync_verify('{schema}.t', source_table => '{origin}')");
    let Ok(rows) = world.target.query(&sql, &[]) else {
        return;
    };
    let matching = rows.iter().filter(|row| row.get::<_, Option<bool>>(1) == Some(true));
    let names = matching.map(|row| (row.get(0), "matches".to_owned())).collect();
    let units = by_oid(world, names);
    let now = look::target(world);
    for (oid, leaf) in &now.shape.leaves {
        let there = source
            .rows
            .iter()
            .filter(|row| leaf.points.contains(&row.point))
            .count();
        if leaf.has_range && !leaf.is_default && units.contains_key(oid) && there != now.of(*oid).len() {
            story.violations.push(Violation {
                kind: "verify says that a unit matches, which does not",
                text: format!("{}: {there} rows there, {} here", leaf.name, now.of(*oid).len()),
            });
        }
    }
}

/// A call for another table of the source: the remembered point is not that one's.
fn call_another_table(world: &mut World, story: &mut Story) {
    if world.memory.point.is_none() || world.case.trees[TARGET].key.is_none() {
        return;
    }
    let (other, origin) = (format!("{}.other", world.case.schema), world.origin());
    if world
        .run(SOURCE, &format!("CREATE TABLE {other} (LIKE {origin})"))
        .is_err()
    {
        return;
    }
    let asked = Asked {
        since: None,
        end: POINTS - 1,
        ..ask_for(world)
    };
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

/// A call that waits for a unit while the source's tables change.
fn call_meanwhile(world: &mut World, story: &mut Story) {
    let asked = Asked {
        meanwhile: true,
        ..ask_for(world)
    };
    let mut disturbance = disturb(world);
    let table = world.origin();
    let source = look::source(world, &table);
    let before = look::target(world);
    let leaves: Vec<(Oid, String)> = before
        .shape
        .leaves
        .iter()
        .map(|(oid, leaf)| (*oid, leaf.name.clone()))
        .collect();
    if leaves.is_empty() {
        return;
    }
    let at = world.dice.below(leaves.len() as u64) as usize;
    let (oid, name) = leaves[at].clone();
    let arguments = arguments(world, &asked, None);
    world.must(
        TARGET,
        "SET cgpsync.lock_timeout = '150ms'; SET cgpsync.retry_delay = '400ms'",
    );
    let pair = world.pair;
    let (mut holder, mut watch) = (pair.target.connect(), pair.target.connect());
    let sql = format!("BEGIN; LOCK TABLE {name} IN ROW EXCLUSIVE MODE");
    holder.batch_execute(&sql).expect("a lock");
    world.log.push(format!("/* another session of the target */ {sql};"));
    let (done, is_done) = std::sync::mpsc::channel();
    let mut disturber = pair.source.connect();
    let said = std::thread::scope(|scope| {
        let meanwhile = scope.spawn(move || {
            let mut is_over = false;
            poll("a unit waits, or the call ends", Duration::from_secs(60), || {
                is_over = is_done.try_recv().is_ok();
                let sql = format!("SELECT FROM pg_locks WHERE relation = {oid} AND NOT granted");
                is_over || !ask(&mut watch, &sql).is_empty()
            });
            let mut log = Vec::new();
            if !is_over {
                disturber.batch_execute("SET lock_timeout = '1s'").expect("a setting");
                for sql in disturbance.drain(..) {
                    let end = disturber.batch_execute(&sql).is_ok();
                    log.push(format!("/* source, meanwhile */ {sql}; -- {end}"));
                }
            }
            holder.batch_execute("ROLLBACK").expect("the lock is let go");
            log
        });
        let said = say(world, &arguments);
        let _ = done.send(());
        let log = meanwhile.join().expect("the thread ends");
        world.log.extend(log);
        said
    });
    world
        .log
        .push("/* another session of the target */ ROLLBACK;".to_owned());
    world.must(TARGET, "RESET cgpsync.lock_timeout; RESET cgpsync.retry_delay");
    judge(world, story, &source, &before, &asked, &said);
}

/// Statements that change the source's tables.
fn disturb(world: &mut World) -> Vec<String> {
    let origin = world.origin();
    let parts = parts(world, SOURCE, false);
    if parts.is_empty() || world.dice.below(4) == 0 {
        let column = format!("ALTER TABLE {origin} DROP COLUMN v, ADD COLUMN v text");
        return vec![column];
    }
    let (part, parent) = &parts[world.dice.below(parts.len() as u64) as usize];
    match world.dice.below(6) {
        0 => vec![format!("DROP TABLE {part}")],
        1 => attach(world),
        2 => vec![format!("TRUNCATE {part}")],
        _ => vec![format!("ALTER TABLE {parent} DETACH PARTITION {part}")],
    }
}

/// Makes a table with rows that is to become a partition.
fn attach(world: &mut World) -> Vec<String> {
    let (origin, name) = (world.origin(), world.new_name(SOURCE));
    let cut = world.dice.below(CUTS as u64 - 1) as usize;
    let bound = Bound::Range(Some(cut), Some(cut + 1)).sql(world.case.family);
    let _ = world.run(SOURCE, &format!("CREATE TABLE {name} (LIKE {origin})"));
    let sql = format!(
        "INSERT INTO {name} (id, p, k, l, h, v) SELECT -idx, idx, k, l, h, 'attached'
         FROM {}.probes WHERE idx = {}",
        world.case.schema,
        3 * cut
    );
    let _ = world.run(SOURCE, &sql);
    vec![format!("ALTER TABLE {origin} ATTACH PARTITION {name} {bound}")]
}

/// Partitions of a side with their parents; only those that hold rows, or all.
fn parts(world: &mut World, side: usize, only_leaves: bool) -> Vec<(String, String)> {
    let (table, client) = match side {
        SOURCE => (world.origin(), &mut world.source),
        _ => (format!("{}.t", world.case.schema), &mut world.target),
    };
    let sql = format!(
        "SELECT relid::regclass::text, parentrelid::regclass::text FROM pg_partition_tree('{table}')
         WHERE level > 0 AND (isleaf OR NOT {only_leaves}) ORDER BY level, relid::regclass::text COLLATE \"C\""
    );
    let rows = ask(client, &sql).into_iter();
    rows.filter_map(|mut row| Some((row.remove(0)?, row.remove(0)?)))
        .collect()
}

fn one_of(world: &mut World, side: usize, only_leaves: bool) -> Option<(String, String)> {
    let mut parts = parts(world, side, only_leaves);
    let at = world.dice.below(parts.len().max(1) as u64) as usize;
    (at < parts.len()).then(|| parts.swap_remove(at))
}

/// One change of one side.
fn change(world: &mut World) {
    match world.dice.below(14) {
        0..=3 => world.insert(SOURCE, 12),
        4 => {
            let rest = world.dice.below(5);
            let origin = world.origin();
            let _ = world.run(SOURCE, &format!("DELETE FROM {origin} WHERE id % 5 = {rest}"));
        }
        5 | 6 => drop_part(world, SOURCE),
        7 | 8 => {
            add_part(world, SOURCE);
            world.insert(SOURCE, 12);
        }
        9 => truncate(world, SOURCE),
        10 => truncate(world, TARGET),
        11 => drop_part(world, TARGET),
        12 => add_part(world, TARGET),
        _ if world.dice.below(2) == 0 => forbid(world),
        _ => allow(world),
    }
}

fn truncate(world: &mut World, side: usize) {
    if let Some((leaf, _)) = one_of(world, side, true) {
        let _ = world.run(side, &format!("TRUNCATE {leaf}"));
    }
}

fn drop_part(world: &mut World, side: usize) {
    if let Some((part, parent)) = one_of(world, side, false) {
        let sql = match world.dice.below(2) {
            0 => format!("DROP TABLE {part}"),
            _ => format!("ALTER TABLE {parent} DETACH PARTITION {part}"),
        };
        let _ = world.run(side, &sql);
    }
}

/// A partition at a random place; where it does not fit, none.
fn add_part(world: &mut World, side: usize) {
    let (table, client) = match side {
        SOURCE => (world.origin(), &mut world.source),
        _ => (format!("{}.t", world.case.schema), &mut world.target),
    };
    let sql = format!(
        "SELECT relid::regclass::text, pg_get_partkeydef(relid) FROM pg_partition_tree('{table}')
         WHERE NOT isleaf OR level = 0 ORDER BY level, relid::regclass::text COLLATE \"C\""
    );
    let parents = ask(client, &sql);
    let at = world.dice.below(parents.len().max(1) as u64) as usize;
    let Some([Some(parent), Some(key)]) = parents.get(at).map(Vec::as_slice) else {
        return;
    };
    let cut = world.dice.below(CUTS as u64 - 1) as usize;
    let below = world.case.key_sql(side, Key::Time);
    let (bound, by) = if key.starts_with("RANGE") {
        (Bound::Range(Some(cut), Some(cut + 1)), None)
    } else if key.starts_with("LIST") {
        let label = world.dice.pick(&["eu", "us", "asia", "af"]);
        let is_deep = world.case.trees[side].has(Key::Time) && world.dice.below(3) > 0;
        (Bound::List(vec![Some(label)]), is_deep.then_some(below))
    } else {
        return;
    };
    let name = world.new_name(side);
    let (bound, family) = (bound.sql(world.case.family), world.case.family);
    let by_sql = by.map_or(String::new(), |by| format!(" PARTITION BY {by}"));
    let sql = format!("CREATE TABLE {name} PARTITION OF {parent} {bound}{by_sql}");
    if world.run(side, &sql).is_err() || by.is_none() {
        return;
    }
    for cut in 0..CUTS - 1 {
        let part = world.new_name(side);
        let bound = Bound::Range(Some(cut), Some(cut + 1)).sql(family);
        let _ = world.run(side, &format!("CREATE TABLE {part} PARTITION OF {name} {bound}"));
    }
}

/// Makes one unit fail.
fn forbid(world: &mut World) {
    if let Some((leaf, _)) = one_of(world, TARGET, true) {
        let sql = format!("ALTER TABLE {leaf} ADD CONSTRAINT forbidden CHECK (v NOT LIKE 'new%')");
        let _ = world.run(TARGET, &sql);
    }
}

/// Lets all units succeed again.
fn allow(world: &mut World) {
    for (leaf, _) in parts(world, TARGET, true) {
        let sql = format!("ALTER TABLE {leaf} DROP CONSTRAINT forbidden");
        let has = format!("SELECT FROM pg_constraint WHERE conrelid = '{leaf}'::regclass AND conname = 'forbidden'");
        if !ask(&mut world.target, &has).is_empty() {
            let _ = world.run(TARGET, &sql);
        }
    }
}
