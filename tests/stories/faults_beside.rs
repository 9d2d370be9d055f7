//! Rounds of faults: what others do beside a run, with locks that it needs, on either side.

use crate::support::call::Call;
use crate::support::cluster::Cluster;
use crate::support::dice::{Dice, rounds};
use crate::support::rounds::{Bench, Fault};
use std::time::Duration;

/// The partition that a fault is about.
const TOUCHED: usize = 3;
/// How long a transaction that nobody ends keeps its locks.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// Maintenance here, which must come to its end however the call does.
struct Maintenance {
    statement: String,
    undo: &'static str,
    moment: u64,
}

impl Maintenance {
    fn new(number: usize, moment: u64) -> Maintenance {
        let unit = format!("events_{TOUCHED}");
        let (statement, undo) = match number % 8 {
            0 => (
                format!("CREATE INDEX CONCURRENTLY beside ON {unit} (id)"),
                "DROP INDEX beside",
            ),
            1 => (format!("REINDEX TABLE CONCURRENTLY {unit}"), ""),
            2 => (format!("VACUUM FULL {unit}"), ""),
            3 => ("VACUUM FULL pg_class".to_owned(), ""),
            4 => ("VACUUM FULL cgpsync_run_partition".to_owned(), ""),
            5 => ("REINDEX TABLE cgpsync_run".to_owned(), ""),
            6 => ("REINDEX TABLE pg_attribute".to_owned(), ""),
            _ => ("VACUUM FULL pg_statistic".to_owned(), ""),
        };
        Maintenance {
            statement,
            undo,
            moment,
        }
    }
}

impl Fault for Maintenance {
    fn name(&self) -> String {
        format!("beside: {}", self.statement)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let done = bench.change_at(&bench.pair.target, call, self.moment, &self.statement);
        done.expect("it is nobody's victim");
    }

    fn after(&mut self, bench: &mut Bench) {
        bench.pair.target.sql(self.undo);
    }
}

/// A source's partition is rewritten.
struct Rewrite {
    moment: u64,
}

impl Fault for Rewrite {
    fn name(&self) -> String {
        "beside: VACUUM FULL on the source".to_owned()
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let statement = format!("VACUUM FULL {}", bench.source_partition(TOUCHED));
        let done = bench.change_at(&bench.pair.source, call, self.moment, &statement);
        done.expect("it is nobody's victim");
    }
}

/// Somebody prepares a transaction that has a partition locked, and ends it a while later.
struct Prepared {
    on_source: bool,
    mode: &'static str,
    moment: u64,
}

impl Prepared {
    fn cluster<'a>(&self, bench: &'a Bench) -> &'a Cluster {
        match self.on_source {
            true => &bench.pair.source,
            false => &bench.pair.target,
        }
    }
}

impl Fault for Prepared {
    fn name(&self) -> String {
        let side = if self.on_source { "source" } else { "target" };
        format!("beside: a prepared transaction on the {side} ({})", self.mode)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let table = match self.on_source {
            true => bench.source_partition(TOUCHED),
            false => format!("events_{TOUCHED}"),
        };
        let lock = format!(
            "BEGIN; LOCK TABLE {table} IN {} MODE; PREPARE TRANSACTION 'beside'",
            self.mode
        );
        let prepared = bench.change_at(self.cluster(bench), call, self.moment, &lock);
        prepared.expect("it is nobody's victim");
        call.until(call.begun.elapsed() + FORGOTTEN);
        self.cluster(bench).sql("ROLLBACK PREPARED 'beside'");
    }
}

#[test]
fn whatever_is_done_beside_a_run_comes_to_its_end_and_leaves_every_partition_old_or_new() {
    let mut bench = Bench::new();
    let mut dice = Dice::new(41);
    for number in 0..rounds("FAULTS_ROUNDS", 8) {
        bench.round(&mut Maintenance::new(number, 10 + dice.below(80)));
    }
    for _ in 0..rounds("FAULTS_ROUNDS", 1) {
        bench.round(&mut Rewrite {
            moment: 10 + dice.below(80),
        });
    }
    for number in 0..rounds("FAULTS_ROUNDS", 3) {
        bench.round(&mut Prepared {
            on_source: number % 3 == 2,
            mode: ["ACCESS SHARE", "ROW EXCLUSIVE", "ACCESS EXCLUSIVE"][number % 3],
            moment: dice.below(60),
        });
    }
    bench.finish();
}
