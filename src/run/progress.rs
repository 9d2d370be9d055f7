//! The live figures of a run, for cgpsync_progress.

use super::state::Store;
use crate::error::Result;
use crate::pg::backend;
use crate::pg::board::{Board, Figures, UnitFigures};

/// What the run's board shows: the run and its units in their order. None when the run is over, not yet planned, or another role's.
pub fn figures(run_id: i64) -> Result<Option<(Figures, Vec<UnitFigures>)>> {
    let Some(handle) = Store::open()?.board_of(run_id, backend::current_role())? else {
        return Ok(None);
    };
    let Some(board) = Board::attach(handle, run_id) else {
        return Ok(None);
    };
    let figures = (board.figures(), board.unit_figures().collect());
    board.detach();
    Ok(Some(figures))
}
