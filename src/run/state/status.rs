//! States of runs and units, as their rows have them.

use crate::error::{Error, Result};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// its coordinator reads both catalogs
    Planning,
    /// its units are copied
    Running,
    /// every unit is done
    Done,
    /// ended by an error, of a unit or of its own
    Failed,
    /// ended by a cancel or termination
    Cancelled,
}

/// How a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitState {
    /// not begun, or put back to be tried again
    Pending,
    /// in a worker's hands
    Copying,
    /// replaced, or dropped
    Done,
    /// ended by an error
    Failed,
    /// ended by a cancel or termination
    Cancelled,
    /// left by the run from the start
    Skipped,
}

impl RunState {
    /// As its row has it.
    pub const fn name(self) -> &'static str {
        match self {
            RunState::Planning => "planning",
            RunState::Running => "running",
            RunState::Done => "done",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
        }
    }

    /// From its row.
    pub fn parse(text: &str) -> Result<RunState> {
        use RunState::{Cancelled, Done, Failed, Planning, Running};
        let all = [Planning, Running, Done, Failed, Cancelled];
        let found = all.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| Error::internal(format!("a run has the state {text}")))
    }

    /// It came to its end with `error`.
    pub fn after(error: &Error) -> RunState {
        match error.is_cancel() {
            true => RunState::Cancelled,
            false => RunState::Failed,
        }
    }
}

impl UnitState {
    /// As its row has it.
    pub const fn name(self) -> &'static str {
        match self {
            UnitState::Pending => "pending",
            UnitState::Copying => "copying",
            UnitState::Done => "done",
            UnitState::Failed => "failed",
            UnitState::Cancelled => "cancelled",
            UnitState::Skipped => "skipped",
        }
    }

    /// From its row.
    pub fn parse(text: &str) -> Result<UnitState> {
        use UnitState::{Cancelled, Copying, Done, Failed, Pending, Skipped};
        let all = [Pending, Copying, Done, Failed, Cancelled, Skipped];
        let found = all.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| Error::internal(format!("a unit has the state {text}")))
    }

    /// It came to its end with `error`.
    pub fn after(error: &Error) -> UnitState {
        match error.is_cancel() {
            true => UnitState::Cancelled,
            false => UnitState::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for name in ["planning", "running", "done", "failed", "cancelled"] {
            assert_eq!(RunState::parse(name).expect("a state").name(), name);
        }
        for name in ["pending", "copying", "done", "failed", "cancelled", "skipped"] {
            assert_eq!(UnitState::parse(name).expect("a state").name(), name);
        }
        assert!(RunState::parse("pending").is_err() && UnitState::parse("planning").is_err());
        assert_eq!(RunState::after(&Error::new("57014", "")), RunState::Cancelled);
        assert_eq!(UnitState::after(&Error::new("23505", "")), UnitState::Failed);
    }
}
