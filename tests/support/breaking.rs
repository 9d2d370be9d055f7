//! Faults that rounds of several stories play: processes that are killed, servers that restart, networks that break.

use super::call::{Call, cancel};
use super::cluster::try_kill;
use super::dice::Dice;
use super::proxy::{Damage, Mishap, Moment, Proxy};
use super::rounds::{Bench, CONNECT_TIMEOUT, Fault, Leeway, Outcome};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Worker,
    Coordinator,
    Caller,
    TargetPostmaster,
    SourcePostmaster,
}

pub const VICTIMS: [Victim; 5] = [
    Victim::Worker,
    Victim::Coordinator,
    Victim::Caller,
    Victim::TargetPostmaster,
    Victim::SourcePostmaster,
];

pub struct Kill {
    pub victim: Victim,
    pub signal: &'static str,
    /// percent of the call's usual time
    pub moment: u64,
    /// which of several
    pub choice: u64,
}

impl Kill {
    /// Kills a process of the target with a signal that makes the postmaster restart all of them.
    fn kill_here(&self, bench: &Bench, call: &Call) {
        let mut witness = bench.pair.target.connect();
        bench.until_moment(call, self.moment);
        loop {
            let pid = match self.victim {
                Victim::Caller => Some(call.pid),
                victim => {
                    let kind = if victim == Victim::Worker {
                        "worker"
                    } else {
                        "coordinator"
                    };
                    let sql = format!(
                        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'cgpsync {kind}' ORDER BY pid OFFSET {}",
                        self.choice
                    );
                    // Of several where there are as many, else the only one.
                    let first = sql.replace(&format!("OFFSET {}", self.choice), "");
                    let pids = [sql, first].map(|sql| witness.query(&sql, &[]).expect("processes"));
                    pids.iter().flatten().next().map(|row| row.get::<_, i32>(0) as u32)
                }
            };
            if pid.is_some_and(|pid| try_kill(self.signal, pid)) {
                return Bench::until_recovered(&bench.pair.target, &mut witness);
            }
            if call.is_finished() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Fault for Kill {
    fn name(&self) -> String {
        format!("kill -{} of {:?}", self.signal, self.victim)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let notices_at_once = Duration::from_secs(5);
        let stubborn = match self.victim {
            Victim::TargetPostmaster => {
                bench.until_moment(call, self.moment);
                let stubborn = bench.pair.target.kill_postmaster(notices_at_once);
                bench.pair.target.boot();
                stubborn
            }
            Victim::SourcePostmaster => {
                bench.until_moment(call, self.moment);
                // Whoever sends rows there notices only when it has sent them: the source's processes are no business of ours.
                bench.pair.source.kill_postmaster(notices_at_once);
                bench.pair.source.boot();
                0
            }
            _ => {
                self.kill_here(bench, call);
                0
            }
        };
        assert_eq!(
            stubborn, 0,
            "waited in vain until every process without its postmaster was gone"
        );
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            open_run: self.victim != Victim::SourcePostmaster,
            ..Leeway::default()
        }
    }
}

/// The server stops and starts again.
pub struct Restart {
    pub mode: &'static str,
    pub signal: &'static str,
    pub moment: u64,
}

impl Fault for Restart {
    fn name(&self) -> String {
        format!("target: {} restart", self.mode)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        bench.pair.target.stop(self.signal);
        bench.pair.target.boot();
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            open_run: true,
            ..Leeway::default()
        }
    }
}

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
