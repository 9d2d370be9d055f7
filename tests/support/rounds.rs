//! Rounds of faults: a call, something that goes wrong in the middle of it, and what must be true afterwards all the same.
//!
//! Two tables of the source, `events_0` and `events_1`, have the same rows but for one column. Every round replaces the one's rows, which
//! the target holds, by the other's. So each partition's content is known before and after, and anything else is wrong.
//!
//! The target may be a third server's. What is done there is recorded here only after its commit, so a partition may be new and not known as done.

use super::Pair;
use super::call::{Call, Failure};
use super::cluster::{Cluster, Side};
use super::events::{PARTITIONS, contents, fill, table};
use super::proxy::Proxy;
use postgres::Client;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What sync_table says before a round and after a call that succeeded.
const BEFORE: &str = "-5";
const AFTER: &str = "100";
/// A call that takes longer hangs.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a login may take. The first one of a run is not tried again, so a machine that is held up must not use it up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long processes may take to go after the call's end.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// How the call itself must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Any,
    Succeeds,
    /// with this SQLSTATE
    Fails(&'static str),
}

/// What a fault excuses.
#[derive(Debug, Clone, Copy)]
pub struct Leeway {
    /// the run's processes die before they can write: its row is closed by the next call
    pub open_run: bool,
    /// this partition is touched by the fault itself
    pub exempt: Option<usize>,
    /// what the first call finished may be copied again
    pub copies_again: bool,
    /// the table has another name when the run ends
    pub renamed: bool,
    pub outcome: Outcome,
}

impl Default for Leeway {
    fn default() -> Leeway {
        Leeway {
            open_run: false,
            exempt: None,
            copies_again: false,
            renamed: false,
            outcome: Outcome::Any,
        }
    }
}

/// Something that goes wrong.
pub trait Fault {
    /// The table's line.
    fn name(&self) -> String;
    /// Before the call.
    fn before(&mut self, _: &mut Bench) {}
    /// While it runs.
    fn during(&mut self, _: &mut Bench, _: &Call) {}
    /// When it has ended: everything works again.
    fn after(&mut self, _: &mut Bench) {}
    fn leeway(&self) -> Leeway {
        Leeway::default()
    }
}

/// What a round found; each list is empty if all is well.
#[derive(Debug, Default)]
struct Verdict {
    lost: Vec<String>,
    hung: Vec<String>,
    wrong: Vec<String>,
    call_failed: bool,
}

impl Verdict {
    fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.hung.is_empty() && self.wrong.is_empty()
    }
}

#[derive(Debug, Default, Clone)]
struct Tally {
    rounds: usize,
    lost: usize,
    hung: usize,
    wrong: usize,
    calls_failed: usize,
}

/// A target elsewhere: its cluster, and the network between that and the server with the extension.
pub struct There {
    pub cluster: Cluster,
    pub proxy: Proxy,
}

/// Two clusters with the tables, a network between them, and the tally of what happened to them.
pub struct Bench {
    pub pair: Pair,
    pub proxy: Proxy,
    /// None: the table is that of `pair.target`
    pub there: Option<There>,
    /// how long an undisturbed call takes
    pub span: Duration,
    environment: Vec<(String, String)>,
    /// which of the two the target holds
    here: usize,
    /// content of each partition in each of the two
    known: [BTreeMap<String, String>; 2],
    tally: BTreeMap<String, Tally>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::in_environment(Vec::new())
    }

    /// The target's processes find `environment` in theirs.
    pub fn in_environment(environment: Vec<(String, String)>) -> Bench {
        Bench::build(environment, false)
    }

    /// The target is a third server's.
    pub fn elsewhere() -> Bench {
        Bench::build(Vec::new(), true)
    }

    fn build(environment: Vec<(String, String)>, is_elsewhere: bool) -> Bench {
        // Retries, where they exist, soon and few.
        let retries = "cgpsync.max_retries = 3\ncgpsync.retry_delay = '50ms'\ncgpsync.max_retry_delay = '500ms'\nmax_prepared_transactions = 5";
        let pair = Pair {
            source: Cluster::source("wal_retrieve_retry_interval = '100ms'\nmax_prepared_transactions = 5"),
            target: Cluster::start_in(Side::Target, retries, environment.clone()),
        };
        pair.target.sql("CREATE EXTENSION cgpsync");
        let proxy = network(&pair, "src", &pair.source, "2000");
        let there = is_elsewhere.then(|| {
            let cluster = Cluster::source("");
            cluster.sql(&table("events"));
            // One that takes nothing for a while is no dead one yet.
            let proxy = network(&pair, "dr", &cluster, "5000");
            pair.target.sql("SELECT cgpsync_attach('events', 'dr')");
            There { cluster, proxy }
        });
        if there.is_none() {
            pair.target.sql(&table("events"));
        }
        for version in [0, 1] {
            let name = format!("events_{version}");
            // Names of the target's partitions end in the same numbers, but are others.
            pair.source
                .sql(&table(&name).replace("events_0_", "zero_").replace("events_1_", "one_"));
            pair.source.sql(&fill(&name, version, "true"));
        }
        pair.source.sql("ANALYZE");
        let known = [contents(&pair.source, "events_0"), contents(&pair.source, "events_1")];
        let mut bench = Bench {
            pair,
            proxy,
            there,
            span: Duration::MAX,
            environment,
            here: 1,
            known,
            tally: BTreeMap::new(),
        };
        for _ in 0..2 {
            bench.reset();
            let call = Call::start(&bench.pair.target, &bench.arguments());
            let begun = call.begun;
            let units = call.join(CALL_LIMIT).expect("an undisturbed call ends");
            assert_eq!(units.expect("an undisturbed call succeeds").len(), PARTITIONS);
            // The shorter one: the first fills caches.
            bench.span = bench.span.min(begun.elapsed());
            bench.here = 1 - bench.here;
        }
        bench
    }

    /// The cluster whose table is written.
    fn written(&self) -> &Cluster {
        self.there.as_ref().map_or(&self.pair.target, |there| &there.cluster)
    }

    /// The table's line of a fault.
    fn line(&self, fault: &dyn Fault) -> String {
        match self.there {
            Some(_) => format!("elsewhere: {}", fault.name()),
            None => fault.name(),
        }
    }

    /// The version that this round's call brings.
    pub fn coming(&self) -> usize {
        1 - self.here
    }

    /// The source table that this round's call reads.
    pub fn source_table(&self) -> String {
        format!("events_{}", self.coming())
    }

    /// Its partition.
    pub fn source_partition(&self, number: usize) -> String {
        format!("{}_{number}", ["zero", "one"][self.coming()])
    }

    fn arguments(&self) -> String {
        format!(
            "'events', '{AFTER}', 2, source => 'src', source_table => '{}'",
            self.source_table()
        )
    }

    fn reset(&self) {
        self.pair.target.sql(&format!(
            "DELETE FROM sync_table; DELETE FROM cgpsync_run; INSERT INTO sync_table VALUES ('events', '{BEFORE}')"
        ));
    }

    /// Waits for a moment of the call: `part` of its usual time, in percent. False when it has ended before.
    pub fn until_moment(&self, call: &Call, percent: u64) -> bool {
        !call.until(self.span.mul_f64(percent as f64 / 100.0))
    }

    /// Changes tables of `cluster` at that moment of the call, by waiting for whoever has them locked, which must not take long.
    pub fn change_at(&self, cluster: &Cluster, call: &Call, percent: u64, change: &str) -> Result<(), postgres::Error> {
        let mut client = cluster.connect();
        client.batch_execute("SET lock_timeout = '20s'").expect("a setting");
        self.until_moment(call, percent);
        let begun = Instant::now();
        let changed = client.batch_execute(change);
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "waited in vain until the change was done: {changed:?}"
        );
        changed
    }

    /// Waits until the server has thrown everybody out, `witness` included, and accepts connections again. A process that was ending by
    /// itself when it was killed is no reason for that: then nothing happens.
    pub fn until_recovered(cluster: &Cluster, witness: &mut Client) {
        let begun = Instant::now();
        while witness.simple_query("SELECT 1").is_ok() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        cluster.until_up();
    }

    /// One round; nothing it finds ends the story.
    pub fn round(&mut self, fault: &mut dyn Fault) {
        let begun = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| self.play(fault)));
        let verdict = played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.unwrap_or_else(|| "a panic without words".to_owned());
            let mut verdict = Verdict::default();
            if text.contains("waited in vain") {
                verdict.hung.push(text);
            } else {
                verdict.wrong.push(text);
            }
            verdict
        });
        let line = self.line(fault);
        let tally = self.tally.entry(line.clone()).or_default();
        tally.rounds += 1;
        tally.lost += usize::from(!verdict.lost.is_empty());
        tally.hung += usize::from(!verdict.hung.is_empty());
        tally.wrong += usize::from(!verdict.wrong.is_empty());
        tally.calls_failed += usize::from(verdict.call_failed);
        if std::env::var_os("FAULTS_VERBOSE").is_some() {
            eprintln!("{line}: {:?} {verdict:?}", begun.elapsed());
        }
        if !verdict.is_clean() {
            self.replace_broken(&line, &verdict);
        }
    }

    /// Says what a round has found, and begins anew on fresh clusters.
    fn replace_broken(&mut self, name: &str, verdict: &Verdict) {
        eprintln!("{name}: {verdict:#?}");
        let elsewhere = self.there.as_ref().map(|there| ("target elsewhere", &there.cluster));
        let pair = [("target", &self.pair.target), ("source", &self.pair.source)];
        for (side, cluster) in pair.into_iter().chain(elsewhere) {
            let log = cluster.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("log of the {side}:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        let tally = std::mem::take(&mut self.tally);
        *self = Bench::build(self.environment.clone(), self.there.is_some());
        self.tally = tally;
    }

    fn play(&mut self, fault: &mut dyn Fault) -> Verdict {
        let mut verdict = Verdict::default();
        self.reset();
        fault.before(self);
        let call = Call::start(&self.pair.target, &self.arguments());
        fault.during(self, &call);
        let begun = call.begun;
        let Some(outcome) = call.join(CALL_LIMIT) else {
            verdict.hung.push(format!("the call: {:?}", self.processes()));
            return verdict;
        };
        if outcome.is_ok() {
            // The moment came too late, perhaps because the machine has less to do now.
            self.span = self.span.min((self.span + begun.elapsed()) / 2);
        }
        fault.after(self);
        let leeway = fault.leeway();
        verdict.call_failed = outcome.is_err();
        match (&outcome, leeway.outcome) {
            (_, Outcome::Any) | (Ok(_), Outcome::Succeeds) => {}
            (Err((code, _)), Outcome::Fails(expected)) if code == expected => {}
            (outcome, expected) => verdict.wrong.push(format!("{expected:?} expected: {outcome:?}")),
        }
        let left = Instant::now();
        while !self.processes().is_empty() && left.elapsed() < LEAVE_LIMIT {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let processes = self.processes();
        if !processes.is_empty() {
            verdict.hung.push(format!("left behind: {processes:?}"));
            return verdict;
        }
        self.nothing_left(&mut verdict);
        let done = self.examine(&outcome, leeway, &mut verdict);
        if leeway.exempt.is_some() {
            // Rows that came back after a run that did not find them are new rows behind the point.
            self.pair
                .target
                .sql(&format!("UPDATE sync_table SET end_tm = '{BEFORE}'"));
        }
        self.again(done, leeway, &mut verdict);
        verdict
    }

    /// Processes of runs, here and there.
    fn processes(&self) -> Vec<String> {
        let here = "SELECT pid || ' ' || backend_type || ' ' || query FROM pg_stat_activity WHERE backend_type LIKE 'cgpsync%'";
        let there = "SELECT pid || ' ' || application_name || ' ' || state || ' ' || query FROM pg_stat_activity
                     WHERE application_name LIKE 'cgpsync%'";
        let mut all = self.pair.target.list(here);
        all.extend(self.pair.source.list(there));
        if let Some(elsewhere) = &self.there {
            all.extend(elsewhere.cluster.list(there));
        }
        all
    }

    /// What would outlive its session on a target elsewhere: tables of ours, and locks.
    fn nothing_left(&self, verdict: &mut Verdict) {
        let Some(there) = &self.there else { return };
        let left = there.cluster.list(
            "SELECT relname FROM pg_class WHERE relname LIKE '%cgpsync%'
             UNION ALL SELECT 'lock ' || l::text FROM pg_locks l WHERE locktype = 'advisory'
             UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE conname LIKE '%cgpsync%'",
        );
        if !left.is_empty() {
            verdict.wrong.push(format!("left over there: {left:?}"));
        }
    }

    /// After the first call: rows, sync_table and history agree with each other and with what the call said. Gives the partitions that
    /// were finished, unless the run was.
    fn examine(
        &self,
        outcome: &Result<Vec<(String, String)>, Failure>,
        leeway: Leeway,
        verdict: &mut Verdict,
    ) -> Option<Vec<String>> {
        let target = &self.pair.target;
        let now = contents(self.written(), "events");
        let (old, new) = (&self.known[self.here], &self.known[self.coming()]);
        let done = target
            .list("SELECT substring(partition, '\\d+$') FROM cgpsync_run_partition WHERE status = 'done' ORDER BY 1");
        for number in (0..PARTITIONS).filter(|n| leeway.exempt != Some(*n)) {
            let part = number.to_string();
            let (is_old, is_new) = (now.get(&part) == old.get(&part), now.get(&part) == new.get(&part));
            if !is_old && !is_new {
                verdict
                    .wrong
                    .push(format!("partition {part} holds {:?}", now.get(&part)));
            }
            let is_known = done.contains(&part);
            if is_known != is_new && (is_known || self.there.is_none()) {
                verdict
                    .lost
                    .push(format!("partition {part}: new is {is_new}, done are {done:?}"));
            }
        }
        let runs = target.list("SELECT status FROM cgpsync_run");
        let is_done = runs.first().is_some_and(|status| status == "done");
        let ended = matches!(
            runs.first().map(String::as_str),
            None | Some("done" | "failed" | "cancelled")
        );
        if runs.len() > 1 || !(ended || leeway.open_run) {
            verdict.wrong.push(format!("runs after the call: {runs:?}"));
        }
        let truthful = match outcome {
            Ok(units) => is_done && units.len() >= PARTITIONS - usize::from(leeway.exempt.is_some()),
            // An error of the run itself; not one of the call alone, such as a cancel that came too late for the run.
            Err((code, _)) => !is_done || code.is_empty() || code.starts_with("57"),
        };
        if !truthful {
            verdict
                .wrong
                .push(format!("the call said {outcome:?}, the run is {runs:?}"));
        }
        let all_new = (0..PARTITIONS).all(|n| leeway.exempt == Some(n) || done.contains(&n.to_string()));
        let remembered = target.text("SELECT string_agg(end_tm, ' ' ORDER BY table_name = 'events') FROM sync_table");
        // The point of a renamed table is written under its new name; the row of the old name stays as it was.
        let renamed = format!("{AFTER} {BEFORE}");
        let expected: &[&str] = match (is_done, leeway.renamed) {
            (true, true) => &[AFTER, &renamed],
            (true, false) => &[AFTER],
            (false, _) => &[BEFORE],
        };
        if !expected.contains(&remembered.as_str()) || (is_done && !all_new) {
            verdict.lost.push(format!(
                "sync_table says {remembered}, the run is {runs:?}, done are {done:?}"
            ));
        }
        (!is_done).then_some(done)
    }

    /// The same call again finishes the job, and copies nothing that the first one has finished.
    fn again(&mut self, done: Option<Vec<String>>, leeway: Leeway, verdict: &mut Verdict) {
        let call = Call::start(&self.pair.target, &self.arguments());
        let Some(outcome) = call.join(CALL_LIMIT) else {
            verdict.hung.push(format!("the call after it: {:?}", self.processes()));
            return;
        };
        let units = match outcome {
            Ok(units) => units,
            Err(error) => {
                verdict.wrong.push(format!("the call after it: {error:?}"));
                return;
            }
        };
        let skipped: Vec<&str> = units
            .iter()
            .filter(|u| u.1 == "skipped")
            .map(|u| u.0.as_str())
            .collect();
        if let Some(done) = done
            && !leeway.copies_again
            && done.iter().any(|part| !skipped.contains(&part.as_str()))
        {
            verdict
                .lost
                .push(format!("{done:?} were done, the next call skipped {skipped:?}"));
        }
        let target = &self.pair.target;
        let now = contents(self.written(), "events");
        if now != self.known[self.coming()] {
            verdict.wrong.push(format!("rows after it: {now:?}"));
        }
        let remembered = target.text("SELECT end_tm FROM sync_table WHERE table_name = 'events'");
        if remembered != AFTER {
            verdict.wrong.push(format!("sync_table after it: {remembered}"));
        }
        let open = target.list(
            "SELECT 'run ' || run_id || ' ' || status FROM cgpsync_run
             WHERE status IN ('planning', 'running') OR finished_at IS NULL OR (status = 'done') <> (error_code IS NULL)
             UNION ALL
             SELECT 'unit ' || run_id || '/' || unit || ' ' || status FROM cgpsync_run_partition WHERE status IN ('pending', 'copying')",
        );
        if !open.is_empty() {
            verdict.wrong.push(format!("history after it: {open:?}"));
        }
        self.here = self.coming();
    }

    /// Ends the story: writes the table's lines, and fails if anything but zeroes is in it.
    pub fn finish(self) {
        let mut lines = String::new();
        let mut clean = true;
        for (name, t) in &self.tally {
            lines += &format!(
                "{name}|{}|{}|{}|{}|{}\n",
                t.rounds, t.lost, t.hung, t.wrong, t.calls_failed
            );
            clean &= t.lost + t.hung + t.wrong == 0;
        }
        report(&lines);
        assert!(clean, "fault|rounds|lost|hung|wrong|calls failed\n{lines}");
    }
}

/// A network to `cluster`, and a server `name` behind it.
fn network(pair: &Pair, name: &str, cluster: &Cluster, user_timeout: &str) -> Proxy {
    let proxy = Proxy::start(cluster.port);
    pair.create_server(name, proxy.port);
    // A connection whose network is dead is given up after some seconds.
    pair.target.sql(&format!(
        "ALTER SERVER {name} OPTIONS (ADD connect_timeout '{}', ADD keepalives_idle '1', ADD keepalives_interval '1',
                                      ADD keepalives_count '2', ADD tcp_user_timeout '{user_timeout}')",
        CONNECT_TIMEOUT.as_secs()
    ));
    proxy
}

/// Adds lines to the table that `make faults` prints.
pub fn report(lines: &str) {
    print!("{lines}");
    if let Some(path) = std::env::var_os("FAULTS_TABLE") {
        let file = std::fs::File::options().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        written.expect("the table is written");
    }
}
