//! The invariant as a property. Random pairs of schemas, random rows, random sequences of calls and
//! changes; a plain model says after each call what may be true (`property/model.rs`).
//!
//! PROPERTY_SECONDS says for how long, PROPERTY_SEED where the seeds begin (each case has the next
//! one), PROPERTY_CASES how many at most, PROPERTY_THREADS how many at a time. With PROPERTY_ALL=1
//! it goes on after a violation and collects kinds of them. PROPERTY_REMOTE=1 has all targets elsewhere, 0 none; else it is a third.

mod calls;
mod case;
mod column;
mod elsewhere;
mod ends;
mod family;
mod look;
mod meanwhile;
mod model;
mod roles;
mod rows;
mod steps;
mod values;
mod verify;
mod world;

use crate::support::dice::{Dice, number};
use crate::support::trio::Trio;
use calls::Story;
use case::Case;
use roles::Code;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::World;

/// How often a kind of violation was seen, where and when first.
struct Kind {
    times: usize,
    seed: u64,
    after: Duration,
}

#[derive(Default)]
struct Sum {
    cases: usize,
    elsewhere: usize,
    refused: usize,
    calls: usize,
    moved: usize,
    failures: BTreeMap<String, usize>,
    kinds: BTreeMap<&'static str, Kind>,
}

/// Says which case it was if the harness itself fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the case of seed {}", self.0);
        }
    }
}

/// One case: what came of it, and its statements.
fn one(trio: &Trio, code: Code, seed: u64) -> (Story, Vec<String>) {
    let _named = Named(seed);
    let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9));
    let there = elsewhere::is_chosen(seed).then_some(&trio.there);
    let case = Case::new(seed, &mut dice, code.has_icu, there.is_some());
    let mut world = World::new(&trio.pair, there, code, case, dice);
    let story = steps::play(&mut world);
    let log = world.log.clone();
    world.end();
    (story, log)
}

fn tell(seed: u64, story: &Story, log: &[String]) -> String {
    let violations = story.violations.iter().map(|v| format!("!! {}: {}", v.kind, v.text));
    let violations: Vec<String> = violations.collect();
    format!("seed {seed}\n{}\n{}", log.join("\n"), violations.join("\n"))
}

#[test]
fn every_unit_is_as_the_source_had_it_and_no_range_is_left_out() {
    let seconds = number("PROPERTY_SECONDS").unwrap_or(60);
    let first = number("PROPERTY_SEED").unwrap_or(20_170_201);
    let cases = number("PROPERTY_CASES").unwrap_or(u64::MAX);
    let threads = number("PROPERTY_THREADS").unwrap_or(2);
    let goes_on = number("PROPERTY_ALL").is_some();
    let trio = Trio::with(
        "max_connections = 100",
        "max_worker_processes = 32\ncgpsync.max_retries = 3",
        "max_connections = 100",
    );
    let code = Code::of(&trio.pair);
    let begun = Instant::now();
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    let work = || {
        while begun.elapsed() < Duration::from_secs(seconds) && !is_over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= cases {
                break;
            }
            let seed = first.wrapping_add(at);
            let (story, log) = one(&trio, code, seed);
            let mut sum = sum.lock().expect("a lock");
            sum.cases += 1;
            sum.elsewhere += usize::from(elsewhere::is_chosen(seed));
            sum.refused += usize::from(story.is_refused);
            sum.calls += story.calls;
            sum.moved += story.moved;
            for failure in &story.failures {
                let (code, text) = failure.split_once(' ').unwrap_or_default();
                let text: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                let kind = format!("{code} {text}");
                *sum.failures.entry(kind).or_default() += 1;
            }
            if number("PROPERTY_LOG").is_some() {
                println!("{}", tell(seed, &story, &log));
            }
            for violation in &story.violations {
                let after = begun.elapsed();
                let kind = sum
                    .kinds
                    .entry(violation.kind)
                    .or_insert(Kind { times: 0, seed, after });
                kind.times += 1;
                if kind.times == 1 {
                    println!("{}\n", tell(seed, &story, &log));
                }
                is_over.store(!goes_on, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    let sum = sum.into_inner().expect("a lock");
    report(&sum, first);
    assert!(sum.cases > 0 && sum.moved > 0 || cases < 10, "nothing was tried");
    let failed: usize = sum.failures.values().sum();
    assert!(sum.calls < 50 || 2 * failed < sum.calls, "most calls fail");
    assert!(sum.kinds.is_empty(), "the invariant does not hold: see above");
}

fn report(sum: &Sum, first: u64) {
    println!(
        "property: seeds from {first}, {} cases, {} elsewhere and {} of those refused, {} calls, {} of them moved the point",
        sum.cases, sum.elsewhere, sum.refused, sum.calls, sum.moved
    );
    let mut failures: Vec<_> = sum.failures.iter().collect();
    failures.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    for (failure, times) in failures {
        println!("  failed {times} times: {failure}");
    }
    for (name, kind) in &sum.kinds {
        println!(
            "  {}: {} times, first with seed {} after {} s",
            name,
            kind.times,
            kind.seed,
            kind.after.as_secs()
        );
    }
}
