//! Rows that are changed by hand, on either side.

use super::look::{self, Point, ask};
use super::world::{SOURCE, World};

/// A row of a side: its relation, its id.
fn any_row(world: &mut World, side: usize) -> Option<(String, String)> {
    let (table, client) = match side {
        SOURCE => (world.origin(), &mut world.source),
        _ => (format!("{}.t", world.case.schema), &mut world.target),
    };
    let mut rows = ask(client, &format!("SELECT id FROM {table} ORDER BY id"));
    if rows.is_empty() {
        return None;
    }
    let at = world.dice.below(rows.len() as u64) as usize;
    Some((table, rows.swap_remove(at).remove(0)?))
}

/// A value of a row becomes another one, which may look the same to a careless eye.
pub fn change_row(world: &mut World, side: usize) {
    let Some((table, id)) = any_row(world, side) else {
        return;
    };
    let value = world.dice.pick(&["NULL", "''", "'N'", "'changed'"]);
    let change = match world.dice.below(3) {
        0 => {
            let column = world.case.column;
            format!("m = {}", column.value(&mut world.dice))
        }
        _ => format!("v = {value}"),
    };
    let _ = world.run(side, &format!("UPDATE {table} SET {change} WHERE id = {id}"));
}

/// A row of a leaf here goes, comes twice or changes.
pub fn meddle(world: &mut World, side: usize) {
    match world.dice.below(4) {
        0 => {
            if let Some((table, id)) = any_row(world, side) {
                let _ = world.run(side, &format!("DELETE FROM {table} WHERE id = {id}"));
            }
        }
        1 => world.insert(side, 1),
        _ => change_row(world, side),
    }
}

/// A row moves to another partition, perhaps over the remembered point.
pub fn move_row(world: &mut World, side: usize) {
    let Some((table, id)) = any_row(world, side) else {
        return;
    };
    let shape = match side {
        SOURCE => look::source(world, &table).shape,
        _ => look::target(world).shape,
    };
    let points: Vec<Point> = shape.home.into_keys().collect();
    if points.is_empty() {
        return;
    }
    let (point, schema) = (world.dice.pick(&points), &world.case.schema);
    let sql = format!(
        "UPDATE {table} t SET p = r.idx, k = r.k, l = r.l, h = r.h FROM {schema}.probes r WHERE r.idx = {point} AND t.id = {id}"
    );
    let _ = world.run(side, &sql);
}
