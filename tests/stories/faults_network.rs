//! Rounds of faults: a network that breaks at every phase of a run, in every way.

use crate::support::call::{Call, cancel};
use crate::support::dice::{Dice, rounds};
use crate::support::proxy::{Damage, Mishap, Moment, Proxy};
use crate::support::rounds::{Bench, CONNECT_TIMEOUT, Fault, Leeway, Outcome};
use std::time::Duration;

/// A network that is dead everywhere comes back after this time.
const OUTAGE: Duration = CONNECT_TIMEOUT.saturating_add(Duration::from_secs(2));
/// A message that announces more than will come cannot be told from a slow source: the user ends that call.
const PATIENCE: Duration = Duration::from_secs(3);

pub const PHASES: [&str; 7] = [
    "connect",
    "startup",
    "catalog",
    "first row",
    "middle",
    "after the last row",
    "afterwards",
];

pub struct Broken {
    what: &'static str,
    phase: &'static str,
    mishap: Mishap,
    /// between here and a target elsewhere
    is_there: bool,
}

impl Broken {
    /// The network between here and the source.
    pub fn new(what: &'static str, phase: &'static str, dice: &mut Dice) -> Broken {
        let moment = match phase {
            "connect" => Moment::Connect,
            "startup" => Moment::Startup,
            "catalog" => Moment::CatalogRow(dice.below(60) as u32),
            "first row" => Moment::CopyData(0),
            // Six partitions of some 650 KB.
            "middle" => Moment::CopyData(1000 + dice.below(3_500_000)),
            "after the last row" => dice.pick(&[Moment::CopyDone, Moment::CopyComplete]),
            _ => Moment::Afterwards,
        };
        Broken::at(moment, what, phase, dice)
    }

    /// The network between here and a target elsewhere, where the rows go the other way.
    pub fn there(what: &'static str, phase: &'static str, dice: &mut Dice) -> Broken {
        let moment = match phase {
            "connect" => Moment::Connect,
            "startup" => Moment::Startup,
            "catalog" => Moment::CatalogRow(dice.below(150) as u32),
            "written" => Moment::Written(dice.below(3_800_000)),
            // One for the lock, some for plans, two for each partition.
            _ => Moment::Committed(dice.below(15) as u32),
        };
        Broken {
            is_there: true,
            ..Broken::at(moment, what, phase, dice)
        }
    }

    fn at(moment: Moment, what: &'static str, phase: &'static str, dice: &mut Dice) -> Broken {
        let damage = match what {
            "cut" => Damage::Cut,
            "reset" => Damage::Reset,
            "stall" => Damage::Stall,
            "slow" => Damage::Slow(Duration::from_millis(1000)),
            _ => Damage::Length(dice.pick(&[
                0,
                3,
                4,
                5,
                6,
                40,
                300,
                70_000,
                0x0010_0000,
                0x7fff_ffff,
                0x8000_0000,
                u32::MAX,
            ])),
        };
        let everywhere = matches!(what, "cut" | "stall") && dice.below(2) == 0;
        Broken {
            what,
            phase,
            mishap: Mishap {
                moment,
                damage,
                everywhere,
            },
            is_there: false,
        }
    }

    fn proxy<'a>(&self, bench: &'a Bench) -> &'a Proxy {
        match &bench.there {
            Some(there) if self.is_there => &there.proxy,
            _ => &bench.proxy,
        }
    }
}

impl Fault for Broken {
    fn name(&self) -> String {
        let between = if self.is_there { "network to it" } else { "network" };
        format!("{between}: {}, {}", self.what, self.phase)
    }

    fn before(&mut self, bench: &mut Bench) {
        self.proxy(bench).arm(self.mishap);
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        match self.mishap.damage {
            Damage::Length(_) if !call.until(PATIENCE) => cancel(call),
            // A target elsewhere keeps what a lost session has locked until it notices, which takes it half a minute.
            _ if (self.mishap.everywhere || self.is_there) && !call.until(OUTAGE) => self.proxy(bench).heal(),
            _ => {}
        }
    }

    fn after(&mut self, bench: &mut Bench) {
        self.proxy(bench).heal();
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            outcome: if self.what == "slow" {
                Outcome::Succeeds
            } else {
                Outcome::Any
            },
            ..Leeway::default()
        }
    }
}

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
