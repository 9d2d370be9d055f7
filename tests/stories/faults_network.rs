//! Rounds of faults: a network that breaks at every phase of a run, in every way.

use crate::support::breaking::{Broken, PHASES};
use crate::support::dice::{Dice, rounds};
use crate::support::rounds::Bench;

/// Phase after phase, for each kind of damage; `short` rounds where that is enough.
fn play(kinds: &[&'static str], stream: u64, short: usize) {
    let mut bench = Bench::new();
    let mut dice = Dice::new(stream);
    for what in kinds {
        for number in 0..rounds("FAULTS_ROUNDS", short) {
            // In steps of two, so that a few of them are spread over all.
            let phase = match PHASES[number * 2 % PHASES.len()] {
                "connect" if *what == "length" => "startup",
                phase => phase,
            };
            bench.round(&mut Broken::new(what, phase, &mut dice));
        }
    }
    bench.finish();
}

#[test]
fn broken_connections_leave_every_partition_old_or_new() {
    play(&["cut", "reset", "length"], 11, PHASES.len());
}

#[test]
fn lost_packets_leave_every_partition_old_or_new() {
    play(&["stall"], 12, 4);
}

#[test]
fn a_slow_network_is_waited_for() {
    play(&["slow"], 13, 3);
}
