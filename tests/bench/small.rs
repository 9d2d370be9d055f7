//! What a run costs besides the rows: a second call with nothing new, a plan of thousands of partitions.

use crate::ground::{Ground, sql, text};
use crate::meter::median;
use crate::sets::Set;
use crate::settings::Settings;
use crate::ways::{Way, sync};
use std::time::Instant;

/// Partitions that are planned, at SCALE 1. The server takes minutes to create them: each looks at all before it.
const PLANNED: u64 = 5000;

/// Seconds of a second call, which copies only the partition that holds the remembered point.
pub fn second_call(ground: &Ground, set: &Set, settings: &Settings) -> Result<f64, String> {
    Way::Cgpsync.prepare(ground, set)?;
    sync(ground, set, "src", "")?;
    let mut seconds = Vec::new();
    for _ in 0..settings.rounds {
        let begun = Instant::now();
        sync(ground, set, "src", "")?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let units = text(
        &ground.target,
        "SELECT count(*) FROM cgpsync_run_partition WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)",
    )?;
    match units.as_str() {
        "1" => median(seconds.into_iter()).ok_or_else(|| "no round".to_owned()),
        _ => Err(format!("the second call took {units} partitions")),
    }
}

/// A plan of many partitions: how many, and seconds.
pub fn plan(ground: &Ground, settings: &Settings) -> Result<(usize, f64), String> {
    let partitions = settings.scaled(PLANNED) as usize;
    let set = Set::of_empty(partitions);
    set.make(ground)?;
    sql(&ground.target, "VACUUM (ANALYZE)")?;
    let mut seconds = Vec::new();
    for _ in 0..settings.rounds {
        let begun = Instant::now();
        let statement = format!(
            "SELECT count(*) FROM cgpsync_plan('bench', {}, source => 'src')",
            set.end_tm()
        );
        let rows = text(&ground.target, &statement)?;
        seconds.push(begun.elapsed().as_secs_f64());
        if rows != partitions.to_string() {
            return Err(format!("the plan has {rows} partitions"));
        }
    }
    set.remove(ground)?;
    let seconds = median(seconds.into_iter()).ok_or("no round")?;
    Ok((partitions, seconds))
}
