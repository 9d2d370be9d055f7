//! One statement beside one run: what comes of both, and what must not.

use super::scene::{Call, End, Failure, NEW, OLD, Run, Scene, comes};
use super::statements::Statement;
use crate::support::SOON;
use crate::support::clock::Clock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A wait of this time is one for the run; shorter ones are for its attempts to lock the unit, and for others' looks.
const LONG_WAIT: Duration = Duration::from_millis(120);
/// Within this time a call that would wait for ever says so.
const CYCLE: Duration = Duration::from_secs(5);

/// What came of a cell.
pub struct Outcome {
    /// as the table shows it
    pub code: String,
    /// what must not be
    pub wrong: Vec<String>,
}

/// What takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// How often it is played, as the unit is to be the run's first one.
const TIMES: usize = 6;

/// Plays it.
pub fn play(scene: &mut Scene, call: Call, statement: &Statement) -> Outcome {
    for _ in 1..TIMES {
        if let Some(outcome) = play_once(scene, call, statement) {
            return outcome;
        }
    }
    play_once(scene, call, statement).expect("the unit is the first one")
}

/// None if another unit came first.
fn play_once(scene: &mut Scene, call: Call, statement: &Statement) -> Option<Outcome> {
    scene.renew();
    let run = scene.run_to_gate();
    let beside = scene.begin(statement);
    let waited = !has_ended_or_waits(scene, &beside);
    scene.open_gate();
    let opened = Clock::start();
    let mut call_took = None;
    let all_end = comes(SOON, || {
        let is_over = run.has_returned() && !(call == Call::Start && scene.has_processes());
        if is_over {
            call_took.get_or_insert_with(|| opened.elapsed());
        }
        is_over && beside.is_finished()
    });
    let took = opened.elapsed();
    if took > SLOW {
        println!("    {}: all took {took:?}", statement.shown);
    }
    let mut wrong = Vec::new();
    if !all_end {
        wrong.push(format!(
            "does not end (the statement has: {}, the call has: {}):\n    {}",
            beside.is_finished(),
            run.has_returned(),
            scene.end_all()
        ));
    }
    // What a call has left goes by itself; the next cell must not meet it.
    assert!(comes(SOON, || !scene.has_processes()), "processes of the run stay");
    let units = [run.unit, run.next];
    if all_end && scene.has_begun_with_next(&run) {
        return None;
    }
    let (statement_end, call_end) = ends(scene, beside, run);
    if all_end {
        let took = call_took.unwrap_or_default();
        wrong.extend(wrong_of_statement(statement, call, &statement_end));
        wrong.extend(wrong_of_call(statement, call, &call_end, took));
        wrong.extend(wrong_rows(
            statement,
            units.map(|unit| scene.rows_of(unit)),
            call_end.is_none(),
        ));
    }
    let code = match all_end {
        true => code(waited, &statement_end, &call_end),
        false => "hangs".to_owned(),
    };
    for (who, end) in [("the statement", &statement_end), ("the call", &call_end)] {
        if let Some(Failure { code, text }) = end {
            println!("    {}: {who}: {code} {text}", statement.shown);
        }
    }
    Some(Outcome { code, wrong })
}

/// True when it has ended, false when it waits for the run.
fn has_ended_or_waits(scene: &mut Scene, beside: &JoinHandle<End>) -> bool {
    let mut since: Option<Instant> = None;
    comes(SOON, || {
        if beside.is_finished() {
            return true;
        }
        since = scene.waits().then(|| since.unwrap_or_else(Instant::now));
        since.is_some_and(|since| since.elapsed() > LONG_WAIT)
    });
    beside.is_finished()
}

fn ends(scene: &Scene, beside: JoinHandle<End>, run: Run) -> (End, End) {
    let statement_end = beside.join().expect("the statement's thread ends");
    (statement_end, scene.end_of(run))
}

/// `.` has ended at once, `w` waited; then SQLSTATE of the statement, and after a stroke that of the call.
fn code(waited: bool, statement: &End, call: &End) -> String {
    let mut code = match (waited, statement) {
        (false, Some(failure)) => failure.code.clone(),
        (true, Some(failure)) => format!("w{}", failure.code),
        (false, None) => ".".to_owned(),
        (true, None) => "w".to_owned(),
    };
    if let Some(failure) = call {
        code += &format!("/{}", failure.code);
    }
    code
}

fn wrong_of_statement(statement: &Statement, call: Call, end: &End) -> Option<String> {
    let failure = end.as_ref()?;
    // Where the call keeps a snapshot, somebody has to give way.
    let may = statement.fails.contains(&failure.code.as_str()) || (call == Call::Sync && failure.code == "40P01");
    (!may).then(|| format!("the statement failed: {} {}", failure.code, failure.text))
}

fn wrong_of_call(statement: &Statement, call: Call, end: &End, took: Duration) -> Option<String> {
    let failure = end.as_ref()?;
    if statement.breaks.contains(&failure.code.as_str()) {
        return None;
    }
    let is_cycle = call == Call::Sync && failure.code == "55006" && failure.text.contains("rocess ");
    if !is_cycle {
        return Some(format!("the run failed: {} {}", failure.code, failure.text));
    }
    (took > CYCLE).then(|| format!("the call took {took:?} to find out: {}", failure.text))
}

/// Each of the run's units has its old rows or the new ones.
fn wrong_rows(statement: &Statement, [first, next]: [String; 2], is_done: bool) -> Vec<String> {
    let is_right = first == NEW || (first == OLD && !is_done) || statement.leaves.contains(&first.as_str());
    let is_next_right = ["0:1", "1:1", "", "dropped"].contains(&next.as_str());
    let wrong = [(is_right, "unit", first), (is_next_right, "next unit", next)].into_iter();
    wrong
        .filter(|(is_right, ..)| !is_right)
        .map(|(_, which, rows)| format!("the {which} holds {rows}"))
        .collect()
}
