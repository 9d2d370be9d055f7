//! The live figures of a run, for cgpsync_progress.

use super::record::Store;
use crate::error::Result;
use crate::pg::board::{Board, Figures, UnitFigures};
use crate::pg::session;

/// What the run's board shows: the run and its units in their order. None when the run is over, not yet planned, or another role's.
pub fn figures(run_id: i64) -> Result<Option<(Figures, Vec<UnitFigures>)>> {
    // As the policies on cgpsync_run have it.
    let rows = Store::open()?.read_latest(
        "SELECT r.board FROM @.cgpsync_run r JOIN pg_catalog.pg_roles o ON o.oid = $2::pg_catalog.oid
         JOIN pg_catalog.pg_class c ON c.oid = r.tableoid
         WHERE r.run_id = $1::pg_catalog.int8 AND r.status = 'running'
           AND (r.role_name = o.rolname OR o.rolbypassrls OR pg_catalog.pg_has_role(o.oid, 'pg_monitor', 'USAGE')
                OR pg_catalog.pg_has_role(o.oid, c.relowner, 'USAGE'))",
        &[Some(&run_id.to_string()), Some(&session::current_role().to_string())],
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
