//! How a big relation can be read in pieces at the same time.

use super::server::Product;
use super::table::text;
use crate::error::{Error, Result, tame};
use crate::plan::copy_sql::quote_literal;
use crate::plan::pieces::{self, Cut, Shares};
use crate::source::{Session, TextRow};

/// Conditions that split the rows of `relation` among a run's workers; none when it is read as a whole: it is small, or not one table whose
/// parts can be told apart without reading all of it.
pub fn pieces(session: &mut Session, relation: &str, shares: Shares) -> Result<Vec<String>> {
    match session.described().product {
        Product::PostgreSql if session.version() >= 140_000 => blocks(session, relation, shares),
        Product::Greenplum(6.., ..) | Product::Cloudberry => segments(session, relation, shares),
        _ => Ok(Vec::new()),
    }
}

/// Conditions that split a slice by its key, likewise.
pub fn cut(session: &mut Session, cut: &Cut, shares: Shares) -> Result<Vec<String>> {
    let count = pieces::count(cut.bytes, shares);
    if count == 1 {
        return Ok(Vec::new());
    }
    let rows = session.query(&cut.points_sql(count))?;
    let points = rows
        .iter()
        .take(count as usize)
        .map(|row| text(row, 0))
        .collect::<Result<Vec<String>>>()?;
    match points.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(cut.conditions(&points)),
    }
}

/// By blocks of a heap: before 14 a condition on ctid reads the whole table.
fn blocks(session: &mut Session, relation: &str, shares: Shares) -> Result<Vec<String>> {
    let rows = session.query(&format!(
        "SELECT pg_relation_size(c.oid) / CAST(current_setting('block_size') AS bigint), pg_relation_size(c.oid)
         FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE c.oid = CAST({} AS regclass) AND c.relkind IN ('r', 'm') AND a.amname = 'heap'",
        quote_literal(relation)
    ))?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let (blocks, bytes) = (number(row, 0)?, number(row, 1)?);
    match pieces::count(bytes, shares) {
        1 => Ok(Vec::new()),
        count => Ok(pieces::by_blocks(blocks.max(0) as u64, count)),
    }
}

/// By segments, unless every one of them has all rows. A segment sends its own rows only for the pieces that name it, but looks at its part of
/// the table for every piece: so there are no more pieces than processes.
fn segments(session: &mut Session, relation: &str, shares: Shares) -> Result<Vec<String>> {
    let name = quote_literal(relation);
    let sizes = session.query(&format!("SELECT pg_relation_size(CAST({name} AS regclass))"))?;
    let bytes = sizes.first().map_or(Ok(0), |row| number(row, 0))?;
    if pieces::count(bytes, shares) == 1 {
        return Ok(Vec::new());
    }
    let rows = session.query(&format!(
        "SELECT s.content FROM gp_segment_configuration s, gp_distribution_policy p
         WHERE s.content >= 0 AND s.role = 'p' AND p.localoid = CAST({name} AS regclass) AND p.policytype = 'p' ORDER BY 1"
    ))?;
    let segments = rows.iter().map(|row| number(row, 0).map(|n| n as i32));
    let segments = segments.collect::<Result<Vec<i32>>>()?;
    match segments.len() {
        0 | 1 => Ok(Vec::new()),
        _ => Ok(pieces::by_segments(&segments, shares.processes)),
    }
}

fn number(row: &TextRow, at: usize) -> Result<i64> {
    let value = text(row, at)?;
    value
        .parse()
        .map_err(|_| Error::protocol(format!("the source sent {} where a number was to be", tame(&value))))
}
