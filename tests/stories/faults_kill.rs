//! Rounds of faults: processes killed at random moments, on either side. A killed process of a server makes its postmaster throw
//! everybody out and recover, as after a crash.

use crate::support::breaking::{Kill, VICTIMS, Victim};
use crate::support::dice::{Dice, rounds};
use crate::support::rounds::Bench;

#[test]
fn killed_processes_leave_every_partition_old_or_new() {
    let mut bench = Bench::new();
    let mut dice = Dice::new(1);
    for number in 0..rounds("FAULTS_KILLS", 20) {
        bench.round(&mut Kill {
            victim: VICTIMS[number % VICTIMS.len()],
            signal: "KILL",
            moment: dice.below(95),
            choice: dice.below(2),
        });
    }
    // KILL is what the kernel's out-of-memory killer sends as well; a bug sends these.
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Kill {
            victim: Victim::Worker,
            signal: ["SEGV", "ABRT"][number % 2],
            moment: dice.below(95),
            choice: 0,
        });
    }
    bench.finish();
}
