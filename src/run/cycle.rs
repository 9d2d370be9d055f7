//! Finds out whether a run waits for the session that waits for the run, be it by way of others: the server's own detection of deadlocks sees
//! locks only, and no lock tells that a session waits for a run.

use super::state::Store;
use super::state::rows::Wait;
use crate::error::{Error, Result, sqlstate};
use crate::pg::backend;
use std::time::{Duration, Instant};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks now and then.
#[derive(Default)]
pub struct SelfCheck {
    last: Option<Instant>,
    /// what was seen then: a wait that is over at the next look was none to tell of
    seen: Vec<Wait>,
}

impl SelfCheck {
    /// An error if `coordinator`, or a worker of the run where that is known already, waits for this transaction.
    pub fn run(&mut self, coordinator: i32, run: Option<(&Store, i64)>) -> Result<()> {
        let now = Instant::now();
        if now - *self.last.get_or_insert(now) < INTERVAL {
            return Ok(());
        }
        self.last = Some(now);
        let store = match run {
            Some((store, _)) => store.clone(),
            None => Store::open()?,
        };
        let waits = store.waits(coordinator, run.map(|(_, id)| id))?;
        let chain: Vec<Wait> = chain(&waits, backend::pid()).into_iter().flatten().cloned().collect();
        if !chain.is_empty() && chain == self.seen {
            return Err(waited_for(&chain));
        }
        self.seen = chain;
        Ok(())
    }
}

/// The shortest chain of waits from a process of the run to process `me`.
fn chain(waits: &[Wait], me: i32) -> Option<Vec<&Wait>> {
    // Backwards from the end; each wait is entered once, with the one that follows it.
    let mut entered: Vec<(&Wait, Option<usize>)> = Vec::new();
    let mut wanted = vec![(me, None)];
    while let Some((holder, next)) = wanted.pop() {
        for wait in waits.iter().filter(|wait| wait.holder == holder) {
            if entered.iter().any(|(known, _)| known.waiter == wait.waiter) {
                continue;
            }
            entered.push((wait, next));
            let at = entered.len() - 1;
            if wait.is_ours {
                let links = std::iter::successors(Some(at), |at| entered[*at].1);
                return Some(links.map(|at| entered[at].0).collect());
            }
            wanted.insert(0, (wait.waiter, Some(at)));
        }
    }
    None
}

fn waited_for(chain: &[Wait]) -> Error {
    let is_last = |at: usize| at + 1 == chain.len();
    let mut detail = String::new();
    for (at, wait) in chain.iter().enumerate() {
        detail += &match at {
            0 => format!("Process {} needs ", wait.waiter),
            _ => ", which needs ".to_owned(),
        };
        detail += &format!("{} on {}, held by ", wait.mode, wait.what);
        detail += &match is_last(at) {
            true => "this session.".to_owned(),
            false => format!("process {}", wait.holder),
        };
    }
    let is_for_snapshot = chain.last().is_some_and(|wait| wait.what == "virtualxid");
    let (message, hint) = match (is_for_snapshot, chain.len()) {
        (true, _) => (
            "the run waits for a process that waits for the calling statement to end",
            "Use CALL cgpsync(...), which holds no snapshot while it waits, or cgpsync_start().",
        ),
        (false, 1) => (
            "the calling transaction holds a lock that the run needs",
            "Commit first: workers are sessions of their own and cannot share this transaction's locks.",
        ),
        (false, _) => (
            "the calling transaction holds a lock that a process needs for which the run waits",
            "Commit first: workers are sessions of their own and cannot share this transaction's locks.",
        ),
    };
    Error::new(sqlstate::OBJECT_IN_USE, message).detail(detail).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(waiter: i32, holder: i32, is_ours: bool) -> Wait {
        Wait {
            waiter,
            holder,
            what: format!("t{holder}"),
            mode: "ShareLock".to_owned(),
            is_ours,
        }
    }

    #[test]
    fn the_shortest_way_from_the_run_to_the_caller_is_told() {
        let waits = [
            wait(1, 10, true),
            wait(10, 11, false),
            wait(11, 10, false),
            wait(11, 12, false),
            wait(12, 99, false),
            wait(2, 12, true),
            wait(3, 50, true),
        ];
        let found: Vec<Wait> = chain(&waits, 99).expect("a cycle").into_iter().cloned().collect();
        let pids: Vec<i32> = found.iter().map(|wait| wait.waiter).collect();
        assert_eq!(pids, [2, 12]);
        let detail = waited_for(&found).detail.unwrap_or_default();
        assert_eq!(
            detail,
            "Process 2 needs ShareLock on t12, held by process 12, which needs ShareLock on t99, held by this session."
        );
        assert!(chain(&waits[..4], 99).is_none(), "nobody waits for the caller");
        assert!(
            chain(&waits[4..5], 99).is_none(),
            "and the run does not wait for that one"
        );
    }
}
