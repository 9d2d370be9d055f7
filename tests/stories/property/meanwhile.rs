//! A call that waits for a unit while the source's tables change.

use super::calls::{Story, arguments, ask_for, judge, say};
use super::case::{Bound, CUTS};
use super::look::{self, ask};
use super::model::Asked;
use super::steps::parts;
use super::world::{HERE, SOURCE, World};
use crate::support::{SOON, poll};
use postgres::Client;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A call that waits for a unit while the source's tables change.
pub fn call_meanwhile(world: &mut World, story: &mut Story) {
    let asked = Asked {
        meanwhile: true,
        ..ask_for(world)
    };
    let disturbance = disturb(world);
    let table = world.origin();
    let source = look::source(world, &table);
    let before = look::target(world);
    let leaves: Vec<String> = before.shape.leaves.keys().cloned().collect();
    if leaves.is_empty() {
        return;
    }
    let name = &leaves[world.dice.below(leaves.len() as u64) as usize];
    let arguments = arguments(world, &asked, None);
    world.must(
        HERE,
        "SET cgpsync.lock_timeout = '150ms'; SET cgpsync.retry_delay = '400ms'",
    );
    let (pair, cluster) = (world.pair, world.cluster());
    let mut holder = cluster.connect();
    let sql = format!("BEGIN; LOCK TABLE {name} IN ROW EXCLUSIVE MODE");
    holder.batch_execute(&sql).expect("a lock");
    world.log.push(format!("/* another session of the target */ {sql};"));
    let (done, is_done) = std::sync::mpsc::channel();
    let said = std::thread::scope(|scope| {
        let meddler = scope.spawn(move || {
            let log = match waits(&mut cluster.connect(), name, &is_done) {
                true => meddle(&mut pair.source.connect(), &disturbance),
                false => Vec::new(),
            };
            holder.batch_execute("ROLLBACK").expect("the lock is let go");
            log
        });
        let said = say(world, &arguments);
        let _ = done.send(());
        world.log.extend(meddler.join().expect("the thread ends"));
        said
    });
    world
        .log
        .push("/* another session of the target */ ROLLBACK;".to_owned());
    world.must(HERE, "RESET cgpsync.lock_timeout; RESET cgpsync.retry_delay");
    judge(world, story, &source, &before, &asked, &said);
}

/// True when a worker waits for the leaf; false when the call has ended, or waits for something else.
fn waits(watch: &mut Client, leaf: &str, is_done: &Receiver<()>) -> bool {
    // A run that has a worker, or a worker's session elsewhere, has its snapshot.
    let sql = format!(
        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = '{leaf}'::regclass AND NOT granted
           AND (backend_type = 'cgpsync worker' OR application_name LIKE 'cgpsync run%')"
    );
    let (begun, mut waits) = (Instant::now(), false);
    poll("a unit waits, or the call ends", SOON, || {
        waits = !ask(watch, &sql).is_empty();
        waits || is_done.try_recv().is_ok() || begun.elapsed() > SOON / 2
    });
    waits
}

/// Changes the source's tables.
fn meddle(source: &mut Client, disturbance: &[String]) -> Vec<String> {
    source.batch_execute("SET lock_timeout = '1s'").expect("a setting");
    let change = |sql: &String| {
        let end = match source.batch_execute(sql) {
            Ok(()) => "",
            Err(_) => " -- fails",
        };
        format!("/* source, meanwhile */ {sql};{end}")
    };
    disturbance.iter().map(change).collect()
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
    let bound = Bound::Range(Some(cut), Some(cut + 1)).sql(&world.case.grid);
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
