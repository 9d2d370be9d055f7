//! Rounds of faults: what happens to a source while it is read.

use crate::support::call::Call;
use crate::support::cluster::{Cluster, try_kill};
use crate::support::dice::{Dice, rounds};
use crate::support::events::{fill, partition};
use crate::support::rounds::{Bench, Fault, Leeway, Outcome};
use std::time::Duration;

/// The partition that DDL is about.
const TOUCHED: usize = 3;

/// Limits that the source's administrator has set for the role: the longest statement, the longest idleness in a transaction.
#[derive(Default)]
struct RoleLimits {
    /// of before them
    client: Option<postgres::Client>,
}

impl Fault for RoleLimits {
    fn name(&self) -> String {
        "source: statement_timeout of the role".to_owned()
    }

    fn before(&mut self, bench: &mut Bench) {
        let client = self.client.insert(bench.pair.source.connect());
        client
            .batch_execute(
                "ALTER ROLE postgres SET statement_timeout = '1s'; ALTER ROLE postgres SET idle_in_transaction_session_timeout = '1s'",
            )
            .expect("settings");
    }

    /// Holds a COPY up for longer than allowed.
    fn during(&mut self, _: &mut Bench, call: &Call) {
        let client = self.client.as_mut().expect("a session");
        while !call.is_finished() {
            let sql = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' LIMIT 1";
            if let Some(row) = client.query(sql, &[]).expect("processes").first() {
                let pid = row.get::<_, i32>(0) as u32;
                try_kill("STOP", pid);
                call.until(call.begun.elapsed() + Duration::from_secs(2));
                try_kill("CONT", pid);
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn after(&mut self, _: &mut Bench) {
        if let Some(mut client) = self.client.take() {
            client.batch_execute("ALTER ROLE postgres RESET ALL").expect("settings");
        }
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            outcome: Outcome::Succeeds,
            ..Leeway::default()
        }
    }
}

/// Sessions of the run end, or their statements do.
struct Signalled {
    function: &'static str,
    everyone: bool,
    moment: u64,
}

impl Fault for Signalled {
    fn name(&self) -> String {
        format!("source: {}", self.function)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let sql = format!(
            "SELECT {}(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync%' AND state = 'active' {}",
            self.function,
            if self.everyone { "" } else { "LIMIT 1" }
        );
        let mut client = bench.pair.source.connect();
        bench.until_moment(call, self.moment);
        while client.query(&sql, &[]).expect("processes").is_empty() && !call.is_finished() {}
    }
}

/// The server stops and starts again.
struct Restart {
    mode: &'static str,
    signal: &'static str,
    moment: u64,
}

impl Fault for Restart {
    fn name(&self) -> String {
        format!("source: {} restart", self.mode)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        bench.pair.source.stop(self.signal);
        bench.pair.source.boot();
    }
}

/// The primary stops, its standby takes over behind the same address.
struct Failover {
    standby: Option<Cluster>,
    moment: u64,
}

impl Fault for Failover {
    fn name(&self) -> String {
        "source: failover to a standby".to_owned()
    }

    fn before(&mut self, bench: &mut Bench) {
        self.standby = Some(bench.pair.source.standby());
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        let Some(standby) = self.standby.take() else { return };
        bench.pair.source.stop("QUIT");
        standby.sql("SELECT pg_promote()");
        bench.proxy.point_at(standby.port);
        bench.pair.source = standby;
    }
}

/// Somebody changes the tables: `change` during the run, `undo` after it.
struct Ddl {
    what: &'static str,
    change: String,
    undo: String,
    moment: u64,
}

impl Ddl {
    fn new(what: &'static str, bench: &Bench, moment: u64) -> Ddl {
        let table = bench.source_table();
        let part = bench.source_partition(TOUCHED);
        let (change, undo) = match what {
            "column added" => (
                format!("ALTER TABLE {table} ADD COLUMN extra int"),
                format!("ALTER TABLE {table} DROP COLUMN extra"),
            ),
            "partition dropped" => {
                let again = partition(&table, TOUCHED).replace(&format!("{table}_{TOUCHED}"), &part);
                let rows = fill(&table, bench.coming(), &format!("k / 10 = {TOUCHED}"));
                (format!("DROP TABLE {part}"), again + &rows)
            }
            _ => (
                format!("ALTER TABLE {table} RENAME TO away"),
                format!("ALTER TABLE away RENAME TO {table}"),
            ),
        };
        Ddl {
            what,
            change,
            undo,
            moment,
        }
    }
}

impl Fault for Ddl {
    fn name(&self) -> String {
        format!("source: {}", self.what)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        // It waits for the run's sessions; if one of them waits for it, one of the two is a deadlock's victim.
        let changed = bench.change_at(&bench.pair.source, call, self.moment, &self.change);
        if changed.is_err() {
            self.undo.clear();
        }
    }

    fn after(&mut self, bench: &mut Bench) {
        bench.pair.source.sql(&self.undo);
    }

    fn leeway(&self) -> Leeway {
        let partition = self.what == "partition dropped";
        Leeway {
            exempt: partition.then_some(TOUCHED),
            copies_again: partition,
            ..Leeway::default()
        }
    }
}

#[test]
fn a_source_that_stops_or_changes_in_the_middle_leaves_every_partition_old_or_new() {
    let mut bench = Bench::new();
    let mut dice = Dice::new(21);
    for number in 0..rounds("FAULTS_ROUNDS", 6) {
        let moment = 10 + dice.below(60);
        match number % 6 {
            0 => bench.round(&mut RoleLimits::default()),
            kind @ (1 | 2) => bench.round(&mut Signalled {
                function: ["pg_terminate_backend", "pg_cancel_backend"][kind - 1],
                everyone: dice.below(2) == 0,
                moment,
            }),
            kind @ (3 | 4) => bench.round(&mut Restart {
                mode: ["fast", "immediate"][kind - 3],
                signal: ["INT", "QUIT"][kind - 3],
                moment,
            }),
            _ => bench.round(&mut Failover { standby: None, moment }),
        }
    }
    let changes = ["column added", "partition dropped", "table renamed"];
    for number in 0..rounds("FAULTS_ROUNDS", 3) {
        let mut ddl = Ddl::new(changes[number % 3], &bench, 10 + dice.below(60));
        bench.round(&mut ddl);
    }
    bench.finish();
}
