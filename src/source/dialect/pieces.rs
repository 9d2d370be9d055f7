//! How a big relation can be read in pieces at the same time.

use super::server::Product;
use super::table::text;
use crate::error::Result;
use crate::plan::copy_sql::quote_literal;
use crate::plan::pieces::{self, Cut};
use crate::source::Session;

/// Conditions that split the rows of `relation` among `processes`; none when it is read as a whole: it is small, or not one table whose
/// parts can be told apart without reading all of it.
pub fn pieces(session: &mut Session, relation: &str, processes: u32) -> Result<Vec<String>> {
    match session.described().product {
        Product::PostgreSql if session.version() >= 140_000 => blocks(session, relation, processes),
        Product::Greenplum(6.., ..) | Product::Cloudberry => segments(session, relation, processes),
        _ => Ok(Vec::new()),
    }
}

/// Conditions that split a slice by its key among `processes`, likewise.
pub fn cut(session: &mut Session, cut: &Cut, processes: u32) -> Result<Vec<String>> {
    let count = pieces::count(cut.bytes, processes);
    if count == 1 {
        return Ok(Vec::new());
    }
    let rows = session.query(&cut.points_sql(count))?;
    let points = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<String>>>()?;
    match points.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(cut.conditions(&points)),
    }
}

/// By blocks of a heap: before 14 a condition on ctid reads the whole table.
fn blocks(session: &mut Session, relation: &str, processes: u32) -> Result<Vec<String>> {
    let rows = session.query(&format!(
        "SELECT pg_relation_size(c.oid) / CAST(current_setting('block_size') AS bigint), pg_relation_size(c.oid)
         FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE c.oid = CAST({} AS regclass) AND c.relkind IN ('r', 'm') AND a.amname = 'heap'",
        quote_literal(relation)
    ))?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let number = |at| text(row, at).map(|n| n.parse::<i64>().unwrap_or(0));
    let (blocks, bytes) = (number(0)?, number(1)?);
    Ok(split(bytes, processes, |count| {
        pieces::by_blocks(blocks.max(0) as u64, count)
    }))
}

/// By segments, unless every one of them has all rows: each of them reads its own rows only for the pieces that name it, but looks at its part of the table for every piece. So there are
/// no more pieces than processes.
fn segments(session: &mut Session, relation: &str, processes: u32) -> Result<Vec<String>> {
    let name = quote_literal(relation);
    let rows = session.query(&format!(
        "SELECT s.content, pg_relation_size(CAST({name} AS regclass)) FROM gp_segment_configuration s
         WHERE s.content >= 0 AND s.role = 'p' AND EXISTS (
           SELECT 1 FROM gp_distribution_policy p WHERE p.localoid = CAST({name} AS regclass) AND p.policytype = 'p')
         ORDER BY 1"
    ))?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let bytes = text(row, 1)?.parse().unwrap_or(0);
    let numbers = rows.iter().map(|row| text(row, 0).map(|n| n.parse().unwrap_or(0)));
    let numbers = numbers.collect::<Result<Vec<i32>>>()?;
    Ok(split(bytes, processes, |_| pieces::by_segments(&numbers, processes)))
}

fn split(bytes: i64, processes: u32, conditions: impl FnOnce(u32) -> Vec<String>) -> Vec<String> {
    match pieces::count(bytes, processes) {
        1 => Vec::new(),
        count => conditions(count),
    }
}
