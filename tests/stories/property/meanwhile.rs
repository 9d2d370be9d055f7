//! A call that waits for a unit while the source's tables change.

use super::calls::{Story, arguments, ask_for, judge, say};
use super::case::{Bound, CUTS};
use super::look::{self, Oid, ask};
use super::model::Asked;
use super::steps::parts;
use super::world::{SOURCE, TARGET, World};
use crate::support::poll;
use std::time::Duration;

/// A call that waits for a unit while the source's tables change.
pub fn call_meanwhile(world: &mut World, story: &mut Story) {
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
