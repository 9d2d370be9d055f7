//! The live figures of a run, for cgpsync_progress.

use super::record::Store;
use crate::error::Result;
use crate::pg::board::{Board, Figures, UnitFigures};

/// What the run's board shows: the run and its units in their order. None when the run is over, not yet planned, or another role's.
pub fn figures(run_id: i64) -> Result<Option<(Figures, Vec<UnitFigures>)>> {
    let rows = Store::open()?.select_latest(
        "SELECT board FROM @.cgpsync_run WHERE run_id = $1::pg_catalog.int8 AND status = 'running'",
        &[Some(&run_id.to_string())],
    )?;
    let Some(handle) = rows.first().map(|row| row.get(0)).transpose()?.flatten() else {
        return Ok(None);
    };
    let Some(board) = Board::attach(handle, run_id) else {
        return Ok(None);
    };
    let figures = (board.figures(), board.unit_figures().collect());
    board.detach();
    Ok(Some(figures))
}
