//! What cgpsync is meant to reach, beside what was measured.

use crate::ground::MAINTENANCE_WORK_MEM;
use crate::meter::Usage;
use crate::readers::{OTHER, SWAP};
use crate::report::{Results, SetResult};
use crate::ways::Way;

/// One of them: measured must be at most the limit.
struct Target {
    what: String,
    limit: f64,
    unit: &'static str,
    /// like for like: without ANALYZE where the other way has none
    measured: Option<f64>,
    /// as a sync is by default, where that is something else
    default: Option<f64>,
}

fn wall(set: &SetResult, way: Way) -> Option<f64> {
    set.median(way, |usage| usage.wall)
}

/// cgpsync's wall clock divided by another way's.
fn ratio(results: &Results, set: &str, ours: Way, way: Way) -> Option<f64> {
    let set = results.set(set)?;
    Some(wall(set, ours)? / wall(set, way)?)
}

/// Milliseconds that a small partition takes besides the transaction it needs.
pub fn overhead(results: &Results, ours: Way) -> Option<f64> {
    let set = results.set("many")?;
    Some((wall(set, ours)? - wall(set, Way::Bare)?) * 1000.0 / set.partitions as f64)
}

fn cpu_over_floors(results: &Results, ours: Way) -> Option<f64> {
    let set = results.set("plain")?;
    let cpu = |way| set.median(way, |usage| usage.cpu);
    Some(cpu(ours)? / (cpu(Way::SourceFloor)? + cpu(Way::TargetFloor)?))
}

/// A figure of a sync whose pages are ours, divided by that of one whose rows COPY loads.
fn by_copy(results: &Results, set: &str, figure: fn(&Usage) -> f64) -> Option<f64> {
    let set = results.set(set)?;
    Some(set.median(Way::Unanalyzed, figure)? / set.median(Way::CopiedUnanalyzed, figure)?)
}

/// Share of all CPU that the server takes that relays.
fn relay_share(results: &Results, ours: Way) -> Option<f64> {
    results.set("remote")?.median(ours, |usage| usage.relay / usage.cpu)
}

fn single_over_plain(results: &Results, ours: Way) -> Option<f64> {
    let wall_of = |name| wall(results.set(name)?, ours);
    Some(wall_of("single")? / wall_of("plain")?)
}

/// MiB of the largest worker in some sets.
fn worker(results: &Results, is_meant: impl Fn(&SetResult) -> bool) -> Option<f64> {
    let sets = results.sets.iter().filter(|set| is_meant(set));
    let ours = sets
        .flat_map(|set| &set.outcomes)
        .filter(|outcome| outcome.way.is_ours() && outcome.error.is_none());
    ours.map(|outcome| outcome.worker()).reduce(f64::max)
}

/// Longest wait beyond that of readers of another table at such a moment, ms.
fn wait(results: &Results) -> Option<f64> {
    let phases = &results.readers.as_ref()?.phases;
    let longest = |names: &[&str]| {
        let phase = phases.iter().find(|phase| names.contains(&phase.name.as_str()))?;
        Some(phase.longest())
    };
    Some((longest(&[SWAP])? - longest(&[OTHER])?).max(0.0))
}

fn all(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    // What is compared with a way that does not ANALYZE is a sync that does not, either.
    let mut like = |what: String, limit, unit, measure: &dyn Fn(Way) -> Option<f64>| {
        targets.push(Target {
            what,
            limit,
            unit,
            measured: measure(Way::Unanalyzed),
            default: measure(Way::Cgpsync),
        });
    };
    let against = [
        ("plain", Way::Old, "the old way", 0.4),
        ("plain", Way::Binary, "psql binary pipe", 0.55),
        ("plain", Way::Fdw, "postgres_fdw", 0.4),
        ("plain", Way::Logical, "logical replication", 0.3),
        ("indexed", Way::Old, "the old way", 0.55),
        ("indexed", Way::Binary, "psql binary pipe", 0.7),
        ("remote", Way::Binary, "psql binary pipe", 1.0),
    ];
    for (set, way, name, limit) in against {
        like(format!("{set}: wall clock against {name}"), limit, "", &|ours| {
            ratio(results, set, ours, way)
        });
    }
    let cpu = "plain: CPU against the sum of the two floors".to_owned();
    like(cpu, 0.75, "", &|ours| cpu_over_floors(results, ours));
    let relay = "remote: CPU of the server that relays against all".to_owned();
    like(relay, 0.15, "", &|ours| relay_share(results, ours));
    let single = "single against plain, the same rows in 14 partitions: wall clock".to_owned();
    like(single, 1.2, "", &|ours| single_over_plain(results, ours));
    let small = "many: per partition, over the bare transactions".to_owned();
    like(small, 5.0, " ms", &|ours| overhead(results, ours));
    let mut add = |what: String, limit, unit, measured| {
        targets.push(Target {
            what,
            limit,
            unit,
            measured,
            default: None,
        });
    };
    for (set, limit) in [
        ("plain", 0.65),
        ("indexed", 1.0),
        ("wide", 1.0),
        ("toasted", 1.0),
        ("single", 1.0),
    ] {
        let what = format!("{set}: CPU against the same by COPY, without ANALYZE");
        add(what, limit, "", by_copy(results, set, |usage| usage.cpu));
    }
    let what = "indexed: wall clock against the same by COPY, without ANALYZE".to_owned();
    add(what, 1.0, "", by_copy(results, "indexed", |usage| usage.wall));
    let what = "plain: wall clock against psql binary pipe, with ANALYZE".to_owned();
    add(what, 0.7, "", ratio(results, "plain", Way::Cgpsync, Way::Binary));
    for (set, limit) in [("plain", 0.5), ("indexed", 0.8)] {
        let what = format!("{set}: wall clock against pgcopydb");
        add(what, limit, "", ratio(results, set, Way::Cgpsync, Way::Pgcopydb));
    }
    add("many: second call".to_owned(), 0.5, " s", results.second_call);
    if let Some((partitions, seconds)) = results.plan {
        // A second for 5,000 of them.
        let limit = partitions as f64 / 5000.0;
        add(format!("plan of {partitions} partitions"), limit, " s", Some(seconds));
    }
    let memory = "private memory of a worker, sets without index".to_owned();
    add(memory, 64.0, " MiB", worker(results, |set| !set.has_indexes));
    let memory = "the same, indexed, maintenance_work_mem included".to_owned();
    add(
        memory,
        64.0 + MAINTENANCE_WORK_MEM,
        " MiB",
        worker(results, |set| set.has_indexes),
    );
    let memory = "private memory of a worker, remote".to_owned();
    add(memory, 16.0, " MiB", worker(results, |set| set.name == "remote"));
    let readers = "longest wait of a reader beyond that of readers of another table".to_owned();
    add(readers, 20.0, " ms", wait(results));
    targets
}

/// Those that were measured.
pub fn table(results: &Results) -> String {
    let mut text =
        "### Targets\n\n| | at most | measured | | by default, with ANALYZE |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for target in all(results) {
        let Some(measured) = target.measured else {
            continue;
        };
        let verdict = match measured <= target.limit {
            true => "met".to_owned(),
            false => format!("missed by {:.0} %", (measured / target.limit - 1.0) * 100.0),
        };
        text += &format!(
            "| {} | {}{u} | {measured:.2}{u} | {verdict} | {} |\n",
            target.what,
            target.limit,
            target
                .default
                .map_or_else(String::new, |value| format!("{value:.2}{}", target.unit)),
            u = target.unit
        );
    }
    text + "\n"
}
