//! Rounds of faults: processes killed at random moments, on either side. A killed process of a server makes its postmaster throw
//! everybody out and recover, as after a crash.

use crate::support::call::Call;
use crate::support::cluster::try_kill;
use crate::support::dice::{Dice, rounds};
use crate::support::rounds::{Bench, Fault, Leeway};
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
