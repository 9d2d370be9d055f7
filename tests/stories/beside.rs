//! Statements that lock catalogs, the table or what cgpsync keeps, each begun while a run stands at a gate: who waits, who fails, and that all end.
//!
//! The run is one of a SELECT, of a CALL, which commits while it waits, or of nobody's. The table in tests/README.md is made of what is expected here.

mod cell;
mod scene;
mod statements;

use crate::support::swapped::major;
use scene::{Call, Gate, Scene};
use statements::{STATEMENTS, Statement};

/// The version whose table it is: others lock otherwise here and there, and are held to the rules alone.
const VERSION: u32 = 15;

/// Every statement at one gate, beside one kind of call.
fn beside(gate: Gate, call: Call) {
    let mut scene = Scene::new(gate, call);
    let version = major(&scene.pair.target);
    let (mut wrong, mut others) = (Vec::new(), Vec::new());
    for statement in statements_of(call, version) {
        let outcome = cell::play(&mut scene, call, statement);
        println!("| {} | {} |", statement.shown, outcome.code);
        let told = outcome.wrong.iter().map(|what| format!("{}: {what}", statement.shown));
        wrong.extend(told);
        let expected = statement.expected(gate, call);
        if !expected.split('|').any(|code| code == outcome.code) {
            others.push(format!("{}: {} instead of {expected}", statement.shown, outcome.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(version != VERSION || others.is_empty(), "{}", others.join("\n"));
}

/// Those that the version knows. A run of nobody's meets what that of a CALL does, so beside it some are enough unless all are wanted.
fn statements_of(call: Call, version: u32) -> impl Iterator<Item = &'static Statement> {
    let only = std::env::var("BESIDE_ONLY").unwrap_or_default();
    let is_all = call != Call::Start || !only.is_empty() || std::env::var_os("BESIDE_ALL").is_some();
    let known = STATEMENTS.iter().filter(move |statement| statement.since <= version);
    known
        .enumerate()
        .filter(move |(number, statement)| (is_all || number % 4 == 0) && statement.shown.contains(&only))
        .map(|(_, statement)| statement)
}

#[test]
fn a_select_that_plans() {
    beside(Gate::Planning, Call::Sync);
}

#[test]
fn a_call_that_plans() {
    beside(Gate::Planning, Call::Procedure);
}

#[test]
fn a_started_run_that_plans() {
    beside(Gate::Planning, Call::Start);
}

#[test]
fn a_select_that_loads() {
    beside(Gate::Load, Call::Sync);
}

#[test]
fn a_call_that_loads() {
    beside(Gate::Load, Call::Procedure);
}

#[test]
fn a_started_run_that_loads() {
    beside(Gate::Load, Call::Start);
}

#[test]
fn a_select_at_its_last_lock() {
    beside(Gate::LastLock, Call::Sync);
}

#[test]
fn a_call_at_its_last_lock() {
    beside(Gate::LastLock, Call::Procedure);
}

#[test]
fn a_started_run_at_its_last_lock() {
    beside(Gate::LastLock, Call::Start);
}

#[test]
fn a_select_that_analyzes() {
    beside(Gate::Analyze, Call::Sync);
}

#[test]
fn a_call_that_analyzes() {
    beside(Gate::Analyze, Call::Procedure);
}

#[test]
fn a_started_run_that_analyzes() {
    beside(Gate::Analyze, Call::Start);
}

#[test]
fn the_readme_of_the_tests_shows_the_table() {
    let table = statements::markdown();
    println!("{table}");
    assert!(
        include_str!("../README.md").contains(&table),
        "tests/README.md has another one"
    );
}
