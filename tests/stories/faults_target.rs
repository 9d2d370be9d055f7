//! Rounds of faults: what happens to the target while it is written.

use crate::support::breaking::Restart;
use crate::support::call::Call;
use crate::support::cluster::story_dir;
use crate::support::dice::{Dice, rounds};
use crate::support::events::partition;
use crate::support::rounds::{Bench, Fault, Leeway, Outcome, report};
use crate::support::small_disk::SmallDisk;
use std::path::PathBuf;

/// The partition that a fault is about.
const TOUCHED: usize = 3;

/// Something here refuses a partition's rows.
struct Refusal {
    what: &'static str,
    sqlstate: &'static str,
    set_up: String,
    take_down: String,
}

impl Refusal {
    fn new(what: &'static str, bench: &Bench) -> Refusal {
        let part = format!("events_{TOUCHED}");
        let (sqlstate, set_up, take_down) = match what {
            "a CHECK that a row violates" => (
                "23514",
                format!(
                    "ALTER TABLE {part} ADD CONSTRAINT refuses CHECK (version <> {} OR id < 20000)",
                    bench.coming()
                ),
                format!("ALTER TABLE {part} DROP CONSTRAINT refuses"),
            ),
            "a NOT NULL that a row violates" => (
                "23502",
                // The source's column takes nulls: one gets one.
                format!("ALTER TABLE {part} ALTER note SET NOT NULL"),
                format!("ALTER TABLE {part} ALTER note DROP NOT NULL"),
            ),
            _ => (
                "P0001",
                format!(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                       $$ BEGIN IF NEW.id > 20000 THEN RAISE 'no'; END IF; RETURN NEW; END $$;
                     CREATE TRIGGER refuses BEFORE INSERT ON {part} FOR EACH ROW EXECUTE FUNCTION refuse()"
                ),
                format!("DROP TRIGGER refuses ON {part}; DROP FUNCTION refuse"),
            ),
        };
        Refusal {
            what,
            sqlstate,
            set_up,
            take_down,
        }
    }

    /// Makes a row of the source null, or as it was.
    fn null(bench: &Bench, is_null: bool) {
        let value = if is_null {
            "NULL"
        } else {
            "'note ' || id || repeat('x', 100)"
        };
        let part = bench.source_partition(TOUCHED);
        bench.pair.source.sql(&format!(
            "UPDATE {part} SET note = {value} WHERE id = (SELECT max(id) FROM {part})"
        ));
    }
}

impl Fault for Refusal {
    fn name(&self) -> String {
        format!("target: {}", self.what)
    }

    fn before(&mut self, bench: &mut Bench) {
        bench.pair.target.sql(&self.set_up);
        if self.sqlstate == "23502" {
            Refusal::null(bench, true);
        }
    }

    fn after(&mut self, bench: &mut Bench) {
        bench.pair.target.sql(&self.take_down);
        if self.sqlstate == "23502" {
            Refusal::null(bench, false);
        }
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            outcome: Outcome::Fails(self.sqlstate),
            ..Leeway::default()
        }
    }
}

/// The disk is full in the middle of a partition.
struct FullDisk<'a> {
    disk: &'a SmallDisk,
}

impl Fault for FullDisk<'_> {
    fn name(&self) -> String {
        "target: disk full".to_owned()
    }

    fn before(&mut self, bench: &mut Bench) {
        let target = &bench.pair.target;
        target.sql(&format!(
            "CREATE TABLESPACE small LOCATION '{}'",
            self.disk.dir.display()
        ));
        target.sql(&format!("ALTER TABLE events_{TOUCHED} SET TABLESPACE small"));
    }

    fn after(&mut self, bench: &mut Bench) {
        let target = &bench.pair.target;
        target.sql(&format!("ALTER TABLE events_{TOUCHED} SET TABLESPACE pg_default"));
        target.sql("DROP TABLESPACE small");
    }

    fn leeway(&self) -> Leeway {
        Leeway {
            outcome: Outcome::Fails("53100"),
            ..Leeway::default()
        }
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
    fn new(what: &'static str, moment: u64) -> Ddl {
        let (change, undo) = match what {
            "column added" => (
                "ALTER TABLE events ADD COLUMN extra int".to_owned(),
                "ALTER TABLE events DROP COLUMN extra".to_owned(),
            ),
            "partition dropped" => (format!("DROP TABLE events_{TOUCHED}"), partition("events", TOUCHED)),
            _ => (
                "ALTER TABLE events RENAME TO away".to_owned(),
                "ALTER TABLE away RENAME TO events".to_owned(),
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
        format!("target: {}", self.what)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        let changed = bench.change_at(&bench.pair.target, call, self.moment, &self.change);
        changed.expect("the change is nobody's victim");
    }

    fn after(&mut self, bench: &mut Bench) {
        let target = &bench.pair.target;
        // A run that began after the change has created the partition anew, with the source's name.
        let created = bench.source_partition(TOUCHED);
        if target.text(&format!("SELECT to_regclass('{created}') IS NULL")) == "f" {
            target.sql(&format!("ALTER TABLE {created} RENAME TO events_{TOUCHED}"));
        } else {
            target.sql(&self.undo);
        }
    }

    fn leeway(&self) -> Leeway {
        let partition = self.what == "partition dropped";
        let renamed = self.what == "table renamed";
        Leeway {
            exempt: partition.then_some(TOUCHED),
            copies_again: partition || renamed,
            renamed,
            ..Leeway::default()
        }
    }
}

/// The clock jumps.
struct Clock {
    file: PathBuf,
    by: &'static str,
    moment: u64,
}

impl Fault for Clock {
    fn name(&self) -> String {
        format!("target: the clock jumps by {}", self.by)
    }

    fn during(&mut self, bench: &mut Bench, call: &Call) {
        bench.until_moment(call, self.moment);
        std::fs::write(&self.file, self.by).expect("the clock is set");
        let now = bench
            .pair
            .target
            .text("SELECT extract(epoch FROM clock_timestamp())::bigint");
        let really = std::time::UNIX_EPOCH.elapsed().expect("a time").as_secs();
        let jump = now.parse::<u64>().expect("a time").abs_diff(really);
        assert!(jump > 80_000, "the server's clock has jumped by {jump} s");
        // Something to be retried after that, where there are retries.
        let workers =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'cgpsync run %: %'";
        let mut client = bench.pair.source.connect();
        while client.query(workers, &[]).expect("processes").is_empty() && !call.is_finished() {}
    }

    fn after(&mut self, _: &mut Bench) {
        std::fs::write(&self.file, "+0").expect("the clock is set");
    }
}

#[test]
fn a_target_that_stops_refuses_or_changes_in_the_middle_leaves_every_partition_old_or_new() {
    let mut bench = Bench::new();
    let mut dice = Dice::new(31);
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Restart {
            mode: ["fast", "immediate"][number % 2],
            signal: ["INT", "QUIT"][number % 2],
            moment: 10 + dice.below(60),
        });
    }
    let kinds = [
        "a CHECK that a row violates",
        "a NOT NULL that a row violates",
        "a trigger that raises an error",
    ];
    for number in 0..rounds("FAULTS_ROUNDS", kinds.len()) {
        let mut refusal = Refusal::new(kinds[number % kinds.len()], &bench);
        bench.round(&mut refusal);
    }
    let changes = ["column added", "partition dropped", "table renamed"];
    for number in 0..rounds("FAULTS_ROUNDS", changes.len()) {
        bench.round(&mut Ddl::new(changes[number % changes.len()], 10 + dice.below(60)));
    }
    bench.finish();
}

#[test]
fn a_full_disk_leaves_every_partition_old_or_new() {
    let mut bench = Bench::new();
    let dir = bench.pair.target.dir.with_extension("small");
    let disk = match SmallDisk::mount(dir) {
        Ok(disk) => disk,
        Err(reason) => {
            return skip(
                "target: disk full",
                &format!("no small file system can be mounted: {reason}"),
            );
        }
    };
    for _ in 0..rounds("FAULTS_ROUNDS", 1) {
        bench.round(&mut FullDisk { disk: &disk });
    }
    bench.finish();
}

#[test]
fn a_clock_that_jumps_leaves_every_partition_old_or_new() {
    let Some(library) = faketime() else {
        return skip("target: clock", "libfaketime is not installed");
    };
    let file = story_dir().join("clock");
    std::fs::write(&file, "+0").expect("the clock is set");
    let variables = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // No clock jumps that is meant for measuring.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    let mut bench = Bench::in_environment(variables.map(|(name, value)| (name.to_owned(), value)).into());
    let mut dice = Dice::new(35);
    for number in 0..rounds("FAULTS_ROUNDS", 2) {
        bench.round(&mut Clock {
            file: file.clone(),
            by: ["-1d", "+1d"][number % 2],
            moment: 10 + dice.below(60),
        });
    }
    bench.finish();
}

/// Debian's libfaketime.
fn faketime() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = dirs.map(|dir| dir.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists())
}

/// Says in the table that a fault was left out, and why.
fn skip(name: &str, reason: &str) {
    eprintln!("skipped: {name}: {reason}");
    report(&format!("{name} (skipped: {reason})|0|0|0|0|0\n"));
}
