//! What was measured, as tables in Markdown.

use crate::meter::{Usage, median};
use crate::readers::{EDGES, KINDS, Phase, Readers, kind_name};
use crate::targets;
use crate::ways::Way;

const MIB: f64 = 1024.0 * 1024.0;

/// What a way took in every round, or why it failed.
pub struct Outcome {
    pub way: Way,
    pub usages: Vec<Usage>,
    pub error: Option<String>,
}

/// A data set and its ways.
pub struct SetResult {
    pub name: &'static str,
    pub what: &'static str,
    pub rows: u64,
    pub partitions: usize,
    /// on the source, indexes included
    pub bytes: f64,
    pub has_indexes: bool,
    pub outcomes: Vec<Outcome>,
}

/// Everything.
#[derive(Default)]
pub struct Results {
    pub machine: String,
    pub sets: Vec<SetResult>,
    /// seconds of a call that has nothing new but the last partition
    pub second_call: Option<f64>,
    /// a plan of so many partitions, and its seconds
    pub plan: Option<(usize, f64)>,
    pub readers: Option<Readers>,
}

impl Outcome {
    /// Median of a figure; none if the way failed.
    pub fn median(&self, figure: impl Fn(&Usage) -> f64) -> Option<f64> {
        match self.error {
            Some(_) => None,
            None => median(self.usages.iter().map(figure)),
        }
    }

    fn most(&self, figure: impl Fn(&Usage) -> u64) -> f64 {
        self.usages.iter().map(figure).max().unwrap_or(0) as f64 / 1024.0
    }

    /// MiB of the largest worker in any round.
    pub fn worker(&self) -> f64 {
        self.most(|usage| usage.worker)
    }
}

impl SetResult {
    /// Median of a figure of one way.
    pub fn median(&self, way: Way, figure: impl Fn(&Usage) -> f64) -> Option<f64> {
        self.outcomes.iter().find(|outcome| outcome.way == way)?.median(figure)
    }

    /// Its table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "### {}\n\n{}: {} rows, {} partition{}, {:.0} MiB on the source\n\n",
            self.name,
            self.what,
            self.rows,
            self.partitions,
            if self.partitions == 1 { "" } else { "s" },
            self.bytes / MIB
        );
        text += "| way | wall s (least, most) | CPU s | largest process MiB | worker MiB | WAL MiB | wall ratio |";
        text += " CPU ratio | CPU s of source, target |\n";
        text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for outcome in &self.outcomes {
            text += &self.line(outcome);
        }
        text + &self.relays() + "\n"
    }

    /// A line about the server that has the extension, where it is not the target.
    fn relays(&self) -> String {
        let ours = self.outcomes.iter().filter(|outcome| outcome.way.is_ours());
        let relays = ours.filter_map(|outcome| {
            let seconds = outcome.median(|usage| usage.relay).filter(|seconds| *seconds > 0.0)?;
            let share = outcome.median(|usage| usage.relay / usage.cpu)?;
            Some(format!("{}: {seconds:.2} ({share:.2})", outcome.way.label()))
        });
        match relays.collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => none,
            list => format!("\nCPU s of the server that relays, and its share of all: {list}.\n"),
        }
    }

    fn line(&self, outcome: &Outcome) -> String {
        let label = outcome.way.label();
        if let Some(error) = &outcome.error {
            let error: String = error.replace(['\n', '|'], " ").chars().take(200).collect();
            return format!("| {label} | failed: {error} | | | | | | | |\n");
        }
        let (wall, cpu) = (|usage: &Usage| usage.wall, |usage: &Usage| usage.cpu);
        let of = |figure: fn(&Usage) -> f64| {
            let ours = self.median(Way::Cgpsync, figure)?;
            outcome
                .median(figure)
                .filter(|_| ours > 0.0)
                .map(|theirs| format!("{:.2}", theirs / ours))
        };
        let walls = outcome.usages.iter().map(wall);
        let worker = match outcome.way.is_ours() {
            true => format!("{:.0}", outcome.worker()),
            false => String::new(),
        };
        format!(
            "| {label} | {:.2} ({:.2}, {:.2}) | {:.2} | {:.0} | {worker} | {:.0} | {} | {} | {:.2}, {:.2} |\n",
            outcome.median(wall).unwrap_or(0.0),
            walls.clone().fold(f64::INFINITY, f64::min),
            walls.fold(0.0, f64::max),
            outcome.median(cpu).unwrap_or(0.0),
            outcome.most(|usage| usage.largest),
            outcome.median(|usage| usage.wal).unwrap_or(0.0) / MIB,
            of(wall).unwrap_or_default(),
            of(cpu).unwrap_or_default(),
            outcome.median(|usage| usage.source).unwrap_or(0.0),
            outcome.median(|usage| usage.target).unwrap_or(0.0),
        )
    }
}

/// A histogram for each phase and kind of reader.
fn histograms(readers: &Readers) -> String {
    let mut text = format!(
        "### readers\n\nA partition of {} rows, {} without its primary key and two indexes, is replaced while eight \
         sessions read ranges of 20 rows, 2 ms apart:\ntwo each with simple and prepared statements (generic plan), from the \
         partition and from its parent. Numbers of queries by how long they took.\n\n",
        readers.rows, readers.heap
    );
    text += "| while | reader | queries ";
    let edges = EDGES.iter().map(|edge| match *edge {
        edge if edge >= 1000.0 => format!("| <{} s ", edge / 1000.0),
        edge => format!("| <{edge} ms "),
    });
    text += &edges.collect::<String>();
    text += "| ≥1 s | longest ms | errors | wrong |\n";
    text += &format!("{}|\n", "| --- ".repeat(3 + EDGES.len() + 4));
    for phase in &readers.phases {
        for (kind, histogram) in KINDS.iter().zip(&phase.kinds) {
            let counts = histogram.counts.iter().map(|count| format!("| {count} "));
            text += &format!(
                "| {} | {} | {} {}| {:.1} | {} | {} |\n",
                phase.name,
                kind_name(*kind),
                histogram.queries,
                counts.collect::<String>(),
                histogram.longest,
                histogram.errors,
                histogram.wrong
            );
        }
    }
    text += "\nSeconds of each replacement under these readers: ";
    let seconds = |phase: &Phase| {
        let list = phase.seconds.iter().map(|s| format!("{s:.1}")).collect::<Vec<_>>();
        format!("{}: {}", phase.name, list.join(", "))
    };
    text += &readers.phases.iter().map(seconds).collect::<Vec<_>>().join("; ");
    text + ".\n\n"
}

impl Results {
    /// One data set, if it was measured.
    pub fn set(&self, name: &str) -> Option<&SetResult> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// What does not belong to a data set.
    pub fn rest(&self) -> String {
        let mut text = String::new();
        let mut figures = String::new();
        if let Some(overhead) = targets::overhead(self, Way::Unanalyzed) {
            figures += &format!(
                "- many: a partition takes cgpsync {overhead:.2} ms more than the bare transaction (wall clock of the \
                 whole, divided by the partitions)\n"
            );
        }
        if let Some(seconds) = self.second_call {
            figures += &format!("- many: a second call, which copies the last partition alone: {seconds:.3} s\n");
        }
        if let Some((partitions, seconds)) = self.plan {
            figures += &format!("- plan: `cgpsync_plan` of {partitions} partitions: {seconds:.3} s\n");
        }
        if !figures.is_empty() {
            text += &format!("### Besides the rows\n\n{figures}\n");
        }
        if let Some(readers) = &self.readers {
            text += &histograms(readers);
        }
        text + &targets::table(self)
    }

    /// A file of it all.
    pub fn document(&self) -> String {
        let tables: String = self.sets.iter().map(|set| set.table()).collect();
        format!(
            "# Results\n\nWritten by `make bench`; tests/README.md says how to run it, and what is measured how. Memory is \
             the most of all rounds, everything else\nthe median; ratios are the way's figure divided by cgpsync's.\n\n\
             ## Where\n\n{}\n## Ways\n\n{tables}{}",
            self.machine,
            self.rest()
        )
    }
}
