//! What a piece of work costs: wall clock, CPU of the servers and the tools, memory, WAL.

use crate::ground::{Ground, text};
use crate::support::cluster::Cluster;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// What one run of a way took.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// seconds
    pub wall: f64,
    /// seconds of user and system time: the servers, all their processes, and the tools
    pub cpu: f64,
    /// of that, seconds of the source
    pub source: f64,
    /// of the target
    pub target: f64,
    /// of the server with the extension, where it is not the target
    pub relay: f64,
    /// most private memory of any process, kB
    pub largest: u64,
    /// most private memory of a worker of cgpsync, or of a server's parallel worker, kB
    pub worker: u64,
    /// bytes written to the target's WAL
    pub wal: f64,
}

/// A line of /proc/PID/stat: parent, own ticks, ticks of children that have ended and were waited for.
struct Stat {
    parent: u32,
    own: u64,
    reaped: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything; the state comes first after it.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        parent: number(1)? as u32,
        own: number(11)? + number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

fn processes() -> HashMap<u32, Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn postmaster(cluster: &Cluster) -> Result<u32, String> {
    let file = std::fs::read_to_string(cluster.dir.join("postmaster.pid")).map_err(|e| e.to_string())?;
    let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
    pid.ok_or_else(|| "postmaster.pid has no pid".to_owned())
}

/// Ticks of a server so far: the postmaster, its children that have ended (it waits for them), and the living ones.
fn server_ticks(cluster: &Cluster) -> Result<u64, String> {
    let pid = postmaster(cluster)?;
    let own = || stat(pid).ok_or_else(|| "the server has gone".to_owned());
    loop {
        let before = own()?;
        let children = processes();
        let living: u64 = children
            .values()
            .filter(|child| child.parent == pid)
            .map(|child| child.own + child.reaped)
            .sum();
        // A child that ended in between would be counted twice or not at all.
        if own()?.reaped == before.reaped {
            return Ok(before.own + before.reaped + living);
        }
    }
}

/// Seconds of everything that works: the servers, and every tool that has ended.
#[derive(Clone, Copy)]
struct Cpu {
    source: f64,
    target: f64,
    /// the server beside the target
    relay: f64,
    tools: f64,
}

fn cpu(ground: &Ground) -> Result<Cpu, String> {
    // USER_HZ is 100 wherever Linux shows its times to programs.
    let seconds = |ticks: u64| ticks as f64 / 100.0;
    Ok(Cpu {
        source: seconds(server_ticks(&ground.source)?),
        target: seconds(server_ticks(&ground.target)?),
        relay: seconds(ground.beside.as_ref().map_or(Ok(0), server_ticks)?),
        tools: seconds(stat(std::process::id()).map_or(0, |own| own.reaped)),
    })
}

fn wal(ground: &Ground) -> Result<f64, String> {
    let at = text(
        &ground.target,
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')",
    )?;
    at.parse().map_err(|_| format!("\"{at}\" is no position in the WAL"))
}

/// Private memory in kB; none if the process has gone.
fn private(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn is_worker(pid: u32) -> bool {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let title = String::from_utf8_lossy(&title);
    title.contains("cgpsync worker") || title.contains("parallel worker")
}

/// Looks at every process below this one, servers and tools, until told to stop; kB of the largest, and of the largest
/// worker.
fn watch(stop: &AtomicBool) -> (u64, u64) {
    let own = std::process::id();
    let (mut largest, mut worker) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let all = processes();
        for pid in all.keys() {
            let mut ancestor = all.get(pid).map_or(0, |stat| stat.parent);
            while ancestor > 1 && ancestor != own {
                ancestor = all.get(&ancestor).map_or(0, |stat| stat.parent);
            }
            if ancestor != own {
                continue;
            }
            let memory = private(*pid).unwrap_or(0);
            largest = largest.max(memory);
            if memory > worker && is_worker(*pid) {
                worker = memory;
            }
        }
        std::thread::park_timeout(SAMPLE);
    }
    (largest, worker)
}

/// Does the work and tells what it took.
pub fn measure(ground: &Ground, work: impl FnOnce() -> Result<(), String>) -> Result<Usage, String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&stop));
        let measured = (|| {
            let (before, wal_before) = (cpu(ground)?, wal(ground)?);
            let begun = Instant::now();
            work()?;
            let wall = begun.elapsed().as_secs_f64();
            let after = cpu(ground)?;
            let took = |of: fn(&Cpu) -> f64| of(&after) - of(&before);
            Ok(Usage {
                wall,
                cpu: took(|cpu| cpu.source + cpu.target + cpu.relay + cpu.tools),
                source: took(|cpu| cpu.source),
                target: took(|cpu| cpu.target),
                relay: took(|cpu| cpu.relay),
                wal: wal(ground)? - wal_before,
                ..Usage::default()
            })
        })();
        stop.store(true, Ordering::SeqCst);
        watcher.thread().unpark();
        let (largest, worker) = watcher.join().map_err(|_| "memory cannot be watched".to_owned())?;
        measured.map(|usage| Usage {
            largest,
            worker,
            ..usage
        })
    })
}

/// The one in the middle; of an even number, the mean of the two.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}
