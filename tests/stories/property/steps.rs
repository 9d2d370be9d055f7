//! What happens to a case: calls, and changes of both sides between them.

use super::calls::{Story, arguments, ask_for, ask_plainly, ask_up_to, call, call_another_table, say};
use super::case::{Bound, CUTS, Family, Key, POINTS};
use super::ends::{self, End, How};
use super::look::{self, ask};
use super::meanwhile::call_meanwhile;
use super::model::{Asked, Violation};
use super::rows::{change_row, move_row};
use super::world::{SOURCE, TARGET, World};

/// Plays a case until something is wrong or it is over.
pub fn play(world: &mut World) -> Story {
    let mut story = Story::default();
    let rows = 20 + world.dice.below(50);
    world.insert(SOURCE, rows);
    if world.dice.below(3) == 0 {
        world.insert(TARGET, 15);
    }
    match world.case.family {
        family if family.is_near() && world.dice.below(3) > 0 => look_ahead(world, &mut story),
        Family::Hour if world.dice.below(3) > 0 => set_clocks(world, &mut story),
        _ => {}
    }
    match world.dice.below(6) {
        _ if story.is_over() => {}
        0 | 1 => stumble(world, &mut story),
        2 => branch_out(world, &mut story),
        3 => ask_for_words(world, &mut story),
        _ => {}
    }
    let steps = 2 + world.dice.below(4);
    for _ in 0..steps {
        if story.is_over() {
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
    let end = POINTS - 1 - world.dice.below(6) as usize;
    let asked = ask_plainly(world, end);
    call(world, story, asked.clone());
    allow(world);
    if !story.is_over() {
        if world.dice.below(2) == 0 {
            truncate(world, TARGET);
        }
        call(world, story, asked);
    }
}

/// A call with an end in the future, and one after the source has got more rows of the present.
fn look_ahead(world: &mut World, story: &mut Story) {
    let how = world.dice.pick(&[How::Far, How::Far, How::Period, How::Word]);
    let Some(to) = ends::of(world, how, 0) else { return };
    let asked = ask_up_to(world, to);
    call(world, story, asked);
    let present = ends::present(world);
    if let (true, Some(present)) = (!story.is_over(), present) {
        world.insert(SOURCE, 25);
        let to = match world.dice.below(3) {
            0 => ends::of(world, How::LeftOut, 0),
            _ => ends::of(world, How::Far, 0),
        };
        let asked = match to {
            Some(to) => ask_up_to(world, to),
            None => ask_plainly(world, present + 3),
        };
        call(world, story, asked);
    }
}

/// Two calls whose ends are times of the role's zone, which is another one for the second: what was
/// remembered is an instant.
fn set_clocks(world: &mut World, story: &mut Story) {
    let first = world.dice.pick(&["UTC", "Europe/Vienna", "Asia/Kolkata"]);
    for (zone, from) in [(first, 6), ("America/New_York", 15)] {
        world.zones[TARGET] = zone;
        world.set_zone(TARGET);
        let from = from + world.dice.below(4) as usize;
        let Some(to) = ends::of(world, How::Local, from) else {
            return;
        };
        let asked = ask_up_to(world, to);
        call(world, story, asked);
        if story.is_over() {
            return;
        }
        world.insert(SOURCE, 25);
    }
}

/// A word as the end of a key that is no date.
fn ask_for_words(world: &mut World, story: &mut Story) {
    if world.case.family.is_time() || !look::target(world).has_ranges() {
        return;
    }
    let text = world.dice.pick(&["yesterday", "today", "tomorrow", "now"]);
    let to = End {
        how: How::Word,
        text: Some(text.to_owned()),
        place: ends::place_of(world, &format!("'{text}'")).unwrap_or(0),
    };
    let asked = ask_up_to(world, to);
    let arguments = arguments(world, &asked, None);
    let said = say(world, &arguments);
    story.calls += 1;
    let kind = match &said.error {
        None => "A6 point: a word is taken for a key that is no date",
        Some((code, _)) if ["22P02", "22007"].contains(&code.as_str()) => {
            "A6 point: a word is refused with another code"
        }
        Some(_) => return,
    };
    story.violations.push(Violation { kind, text: arguments });
}

/// The source gets a new LIST branch with partitions and rows before the remembered point.
fn branch_out(world: &mut World, story: &mut Story) {
    if world.case.trees.iter().any(|tree| tree.key != Some(Key::Place)) {
        return;
    }
    let label = world.dice.pick(&["us", "asia"]);
    let tables = [world.origin(), format!("{}.t", world.case.schema)];
    for (side, table) in tables.iter().enumerate() {
        for name in branches(world, side, table, label) {
            world.must(side, &format!("ALTER TABLE {table} DETACH PARTITION {name}"));
        }
    }
    let end = 9 + world.dice.below(6) as usize;
    let asked = ask_plainly(world, end);
    call(world, story, asked.clone());
    if story.is_over() {
        return;
    }
    add_branch(world, SOURCE, &tables[SOURCE], label, true);
    world.insert(SOURCE, 20);
    let end = end + world.dice.below(5) as usize;
    let asked = Asked {
        create_missing: world.dice.below(4) > 0,
        ..ask_plainly(world, end)
    };
    call(world, story, asked);
}

/// Partitions of `table` that take a label, and may take others.
fn branches(world: &mut World, side: usize, table: &str, label: &str) -> Vec<String> {
    let client = match side {
        SOURCE => &mut world.source,
        _ => &mut world.target,
    };
    let sql = format!(
        "SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = '{table}'::regclass
           AND pg_get_expr(c.relpartbound, c.oid) LIKE '%''{label}''%'"
    );
    let rows = ask(client, &sql).into_iter();
    rows.filter_map(|mut row| row.remove(0)).collect()
}

/// Partitions of a side with their parents; only those that hold rows, or all.
pub fn parts(world: &mut World, side: usize, only_leaves: bool) -> Vec<(String, String)> {
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
    match world.dice.below(18) {
        14 | 15 => world.change_zone(),
        16 => move_row(world, SOURCE),
        17 => change_row(world, SOURCE),
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
    if key.starts_with("RANGE") {
        let name = world.new_name(side);
        let bound = Bound::Range(Some(cut), Some(cut + 1)).sql(&world.case.grid);
        let _ = world.run(side, &format!("CREATE TABLE {name} PARTITION OF {parent} {bound}"));
    } else if key.starts_with("LIST") {
        let label = world.dice.pick(&["eu", "us", "asia", "af"]);
        let is_deep = world.case.trees[side].has(Key::Time) && world.dice.below(3) > 0;
        add_branch(world, side, parent, label, is_deep);
    }
}

/// A LIST partition; a deep one has a RANGE partition for each cut.
fn add_branch(world: &mut World, side: usize, parent: &str, label: &'static str, is_deep: bool) {
    let name = world.new_name(side);
    let bound = Bound::List(vec![Some(label)]).sql(&world.case.grid);
    let by = match is_deep {
        true => format!(" PARTITION BY {}", world.case.key_sql(side, Key::Time)),
        false => String::new(),
    };
    let sql = format!("CREATE TABLE {name} PARTITION OF {parent} {bound}{by}");
    if world.run(side, &sql).is_err() || !is_deep {
        return;
    }
    for cut in 0..CUTS - 1 {
        let part = world.new_name(side);
        let bound = Bound::Range(Some(cut), Some(cut + 1)).sql(&world.case.grid);
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
