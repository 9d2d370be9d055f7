//! How a big relation can be read in pieces at the same time.

use super::Database;
use super::server::{Product, Server};
use crate::error::Result;
use crate::plan::copy_sql::quote_literal;
use crate::plan::shares::{self, Cut, Shares};
use crate::row::Row;

/// Whether the pieces of a relation are told by [`blocks_sql`].
pub fn has_blocks(server: &Server) -> bool {
    // Before 14 a condition on ctid reads the whole table.
    server.product == Product::PostgreSql && server.version >= 140_000
}

/// Conditions that split the rows of `relation` among a run's workers; none when it is read as a whole: it is small, or not one table whose
/// parts can be told apart without reading all of it. Of servers that have no blocks.
pub fn pieces(db: &mut dyn Database, relation: &str, shares: Shares) -> Result<Vec<String>> {
    match db.server().product {
        Product::Greenplum(6.., _) | Product::Cloudberry => segments(db, relation, shares),
        _ => Ok(Vec::new()),
    }
}

/// Conditions that split a slice by its key, likewise.
pub fn cut(db: &mut dyn Database, cut: &Cut, shares: Shares) -> Result<Vec<String>> {
    let count = shares::count(cut.bytes, shares);
    if count == 1 {
        return Ok(Vec::new());
    }
    let rows = db.query(&cut.points_sql(count))?;
    let points = rows
        .iter()
        .take(count as usize)
        .map(|row| row.string(0))
        .collect::<Result<Vec<String>>>()?;
    match points.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(cut.conditions(&points)),
    }
}

/// How many blocks a heap has, and how many bytes it is with its long values, which may be nearly all of it. Catalogs do not tell: the pages of a
/// TOAST table are counted by VACUUM alone.
pub fn blocks_sql(relation: &str) -> String {
    format!(
        "SELECT pg_relation_size(c.oid) / CAST(current_setting('block_size') AS bigint),
                pg_relation_size(c.oid) + COALESCE(pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0)
         FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE c.oid = CAST({} AS regclass) AND c.relkind IN ('r', 'm') AND a.amname = 'heap'",
        quote_literal(relation)
    )
}

/// Conditions that split the rows among a run's workers by blocks, from the answer to [`blocks_sql`]; none when the relation is read as a whole.
pub fn by_blocks(answer: &[Row], shares: Shares) -> Result<Vec<String>> {
    let Some(row) = answer.first() else {
        return Ok(Vec::new());
    };
    let (blocks, bytes): (i64, i64) = (row.need(0)?, row.need(1)?);
    match shares::count(bytes, shares) {
        1 => Ok(Vec::new()),
        count => Ok(shares::by_blocks(blocks.max(0) as u64, count)),
    }
}

/// By segments, unless every one of them has all rows. A segment sends its own rows only for the pieces that name it, but looks at its part of
/// the table for every piece: so there are no more pieces than processes.
fn segments(db: &mut dyn Database, relation: &str, shares: Shares) -> Result<Vec<String>> {
    let name = quote_literal(relation);
    let sizes = db.query(&format!("SELECT pg_table_size(CAST({name} AS regclass))"))?;
    let bytes = sizes.first().map_or(Ok(0), |row| row.need(0))?;
    if shares::count(bytes, shares) == 1 {
        return Ok(Vec::new());
    }
    let rows = db.query(&format!(
        "SELECT s.content FROM gp_segment_configuration s, gp_distribution_policy p
         WHERE s.content >= 0 AND s.role = 'p' AND p.localoid = CAST({name} AS regclass) AND p.policytype = 'p' ORDER BY 1"
    ))?;
    let segments = rows.iter().map(|row| row.need(0));
    let segments = segments.collect::<Result<Vec<i32>>>()?;
    match segments.len() {
        0 | 1 => Ok(Vec::new()),
        _ => Ok(shares::by_segments(&segments, shares.processes)),
    }
}
