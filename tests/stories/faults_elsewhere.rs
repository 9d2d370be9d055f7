//! Rounds of faults with a target on another server: processes and servers that die, sessions that are ended and networks that break, here, over there
//! and on the source.

use crate::support::breaking::Restart;
use crate::support::breaking::{Broken, PHASES};
use crate::support::breaking::{Kill, Victim};
use crate::support::call::{Call, cancel};
use crate::support::cluster::Cluster;
use crate::support::dice::{Dice, rounds};
use crate::support::proxy::Proxy;
use crate::support::rounds::{Bench, Fault, Leeway, Outcome, There};
use std::time::Duration;

/// Longer than anything here waits without looking.
const A_WHILE: Duration = Duration::from_millis(1500);
/// A network that is silent cannot be told from a server that takes its time: the user ends that call.
const PATIENCE: Duration = Duration::from_secs(3);

fn there(bench: &mut Bench) -> &mut There {
    bench.there.as_mut().expect("a target elsewhere")
}

/// Somebody ends a session or a process of the run.
struct Ended {
    what: &'static str,
    /// which sessions of pg_stat_activity
    filter: &'static str,
    cluster: fn(&Bench) -> &Cluster,
    moment: u64,
}

/// The session that holds the run's lock over there. Those of workers have other names while they do.
const HOLDER: &str =
    "application_name ~ '^cgpsync run \\d+$' AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";

impl Ended {
    fn here(number: usize, moment: u64) -> Ended {
        let (what, filter) = [
            ("the worker is terminated", "backend_type = 'cgpsync worker'"),
            ("the coordinator is terminated", "backend_type = 'cgpsync coordinator'"),
            (
                "the caller is terminated",
                "query LIKE '%cgpsync_sync(%' AND pid <> pg_backend_pid()",
            ),
        ][number % 3];
        Ended {
            what,
            filter,
            cluster: |bench| &bench.pair.target,
            moment,
        }
    }

    fn elsewhere(number: usize, moment: u64) -> Ended {
        let workers = "application_name LIKE 'cgpsync run %: %'";
        let of_target: fn(&Bench) -> &Cluster = |bench| &bench.there.as_ref().expect("a target elsewhere").cluster;
        let (what, filter, cluster): (_, _, fn(&Bench) -> &Cluster) = match number % 4 {
            0 => ("a worker's session there is ended", workers, of_target),
            1 => ("the session that holds the lock is ended", HOLDER, of_target),
            2 => (
                "every session there is ended",
                "application_name LIKE 'cgpsync%'",
                of_target,
            ),
            _ => (
                "every session on the source is ended",
                "application_name LIKE 'cgpsync%'",
                |bench| &bench.pair.source,
            ),
        };
        Ended {
            what,
            filter,
            cluster,
            moment,
        }
    }
}

impl Fault for Ended {
    fn name(&self) -> String {
        self.what.to_owned()
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {}",
            self.filter
        );
        let mut client = (self.cluster)(bench).connect();
        bench.until_moment(call, self.moment);
        while client.query(&sql, &[]).expect("processes").is_empty() && !call.is_finished() {}
    }
}

/// The target's server dies or stops, and comes back.
struct Down {
    how: &'static str,
    moment: u64,
}

impl Fault for Down {
    fn name(&self) -> String {
        format!("its server: {}", self.how)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        let cluster = &mut there(bench).cluster;
        match self.how {
            "kill -9 of all" => assert_eq!(cluster.kill_all(), 0, "waited in vain until every process was gone"),
            "fast restart" => cluster.stop("INT"),
            _ => cluster.stop("QUIT"),
        }
        cluster.boot();
    }
}

/// Nothing moves on a network any more, for a while or until the user ends the call. Whoever is beyond it is not told.
struct Frozen {
    to_source: bool,
    for_good: bool,
    moment: u64,
}

impl Frozen {
    fn proxy<'a>(&self, bench: &'a mut Bench) -> &'a Proxy {
        match self.to_source {
            true => &bench.proxy,
            false => &there(bench).proxy,
        }
    }
}

impl Fault for Frozen {
    fn name(&self) -> String {
        let network = if self.to_source { "network" } else { "network to it" };
        let how = if self.for_good {
            "frozen until a cancel"
        } else {
            "frozen for a while"
        };
        format!("{network}: {how}")
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        self.proxy(bench).freeze();
        if !self.for_good {
            call.until(call.begun.elapsed() + A_WHILE);
            self.proxy(bench).heal();
        } else if !call.until(call.begun.elapsed() + PATIENCE) {
            cancel(call);
            let cancelled = call.begun.elapsed();
            let has_ended = call.until(cancelled + Duration::from_secs(3));
            assert!(has_ended, "waited in vain until the cancelled call ended");
        }
    }

    fn after(&mut self, bench: &mut Bench) {
        self.proxy(bench).heal();
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            outcome: match self.for_good {
                true => Outcome::Any,
                false => Outcome::Succeeds,
            },
            ..Leeway::default()
        }
    }
}

#[test]
fn whoever_dies_here_leaves_every_partition_there_old_or_new() {
    let mut bench = Bench::elsewhere();
    let mut dice = Dice::new(51);
    let victims = [
        Victim::Worker,
        Victim::Coordinator,
        Victim::Caller,
        Victim::TargetPostmaster,
    ];
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Kill {
            victim: victims[number % victims.len()],
            signal: "KILL",
            moment: dice.below(95),
            choice: dice.below(2),
        });
    }
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Ended::here(number, dice.below(95)));
    }
    for _ in 0..rounds("FAULTS_ROUNDS", 1) {
        bench.round(&mut Restart {
            mode: "immediate",
            signal: "QUIT",
            moment: 10 + dice.below(80),
        });
    }
    bench.finish();
}

#[test]
fn whoever_dies_there_leaves_every_partition_old_or_new() {
    let mut bench = Bench::elsewhere();
    let mut dice = Dice::new(52);
    for number in 0..rounds("FAULTS_ROUNDS", 3) {
        bench.round(&mut Ended::elsewhere(number, dice.below(95)));
    }
    let ways = ["kill -9 of all", "immediate restart", "fast restart"];
    for number in 0..rounds("FAULTS_ROUNDS", 1) {
        bench.round(&mut Down {
            how: ways[number % ways.len()],
            moment: dice.below(95),
        });
    }
    bench.finish();
}

#[test]
fn broken_networks_on_either_side_leave_every_partition_there_old_or_new() {
    let mut bench = Bench::elsewhere();
    let mut dice = Dice::new(53);
    let kinds = ["cut", "slow", "stall", "reset"];
    let phases = ["written", "committed", "catalog", "connect", "startup"];
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        let phase = phases[number / kinds.len() % phases.len()];
        bench.round(&mut Broken::there(kinds[number % kinds.len()], phase, &mut dice));
    }
    for number in 0..rounds("FAULTS_ROUNDS", 1) {
        let phase = PHASES[(4 + number / kinds.len()) % PHASES.len()];
        bench.round(&mut Broken::new(kinds[number % kinds.len()], phase, &mut dice));
    }
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Frozen {
            to_source: number % 4 == 3,
            for_good: number % 2 == 0,
            moment: dice.below(90),
        });
    }
    bench.finish();
}
