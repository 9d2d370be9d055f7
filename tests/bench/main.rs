//! The bench: every way to fill a partitioned table with the rows of another cluster's, in turn, on the same
//! servers, and how long readers wait meanwhile. `make bench` provides servers with a release build; tests/README.md
//! says what is measured.

#[allow(dead_code)] // it is there for the stories first
#[path = "../support/mod.rs"]
mod support;

mod ground;
mod machine;
mod meter;
mod readers;
mod report;
mod sets;
mod settings;
mod small;
mod targets;
mod ways;

use ground::Ground;
use report::{Outcome, Results, SetResult};
use sets::Set;
use settings::Settings;
use std::process::ExitCode;
use ways::Way;

/// Once through a way on a set, everything included that is not measured.
fn once(ground: &Ground, set: &Set, way: Way) -> Result<meter::Usage, String> {
    way.prepare(ground, set)?;
    let measured = meter::measure(ground, || way.run(ground, set));
    let cleaned = way.clean_up(ground);
    let usage = measured?;
    cleaned?;
    way.verify(ground, set)?;
    Ok(usage)
}

/// All ways of a set, interleaved, so that a slow minute of the machine meets each of them.
fn play(ground: &Ground, set: &Set, settings: &Settings) -> Result<SetResult, String> {
    set.make(ground)?;
    let wanted = |way: &Way| settings.has_way(way.key()) && (ground.has_tls || *way != Way::Tls);
    let mut outcomes: Vec<Outcome> = set
        .ways
        .iter()
        .copied()
        .filter(wanted)
        .map(|way| Outcome {
            way,
            usages: Vec::new(),
            error: way.set_up(ground, set).err(),
        })
        .collect();
    for round in 1..=settings.rounds {
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.error.is_none()) {
            let key = format!("{}, {round}/{}, {}", set.name, settings.rounds, outcome.way.label());
            match once(ground, set, outcome.way) {
                Ok(usage) => {
                    eprintln!("bench: {key}: {:.2} s", usage.wall);
                    outcome.usages.push(usage);
                }
                Err(error) if outcome.way.is_ours() => return Err(format!("{key}: {error}")),
                Err(error) => {
                    eprintln!("bench: {key}: {error}");
                    outcome.error = Some(error);
                }
            }
        }
    }
    Ok(SetResult {
        name: set.name,
        what: set.what,
        rows: set.total(),
        partitions: set.partitions().len(),
        bytes: set.bytes(ground)?,
        has_indexes: set.has_indexes(),
        outcomes,
    })
}

fn bench() -> Result<(), String> {
    let settings = Settings::read(sets::NAMES, ways::KEYS)?;
    let ground = Ground::new(&settings)?;
    let mut results = Results {
        machine: machine::describe(&ground, &settings)?,
        ..Results::default()
    };
    println!("{}", results.machine);
    for set in sets::all(&settings) {
        if !settings.has_set(set.name) {
            continue;
        }
        let result = play(&ground, &set, &settings)?;
        println!("{}", result.table());
        results.sets.push(result);
        if set.name == "many" && settings.has_way(Way::Cgpsync.key()) {
            results.second_call = Some(small::second_call(&ground, &set, &settings)?);
        }
        set.remove(&ground)?;
    }
    if settings.has_set("plan") {
        results.plan = Some(small::plan(&ground, &settings)?);
    }
    if settings.has_set("readers") {
        results.readers = Some(readers::measure(&ground, &settings)?);
    }
    if settings.has_set("remote") {
        let ground = ground.with_target_elsewhere()?;
        let result = play(&ground, &sets::remote(&settings), &settings)?;
        println!("{}", result.table());
        results.sets.push(result);
    }
    println!("{}", results.rest());
    if let Some(path) = &settings.results {
        std::fs::write(path, results.document()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let phases = results.readers.iter().flat_map(|readers| &readers.phases);
    let complaints = phases.filter_map(|phase| Some(format!("readers, {}: {}", phase.name, phase.complaints()?)));
    let (ours, theirs) = (results.readers.as_ref(), complaints.collect::<Vec<_>>());
    theirs.iter().for_each(|complaint| eprintln!("bench: {complaint}"));
    match ours.is_some_and(|readers| readers.phases.iter().any(|p| p.is_ours && p.complaints().is_some())) {
        true => Err("readers of a partition that cgpsync replaced met errors or wrong rows".to_owned()),
        false => Ok(()),
    }
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
