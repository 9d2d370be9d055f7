//! What cgpsync_verify says.

use super::Pair;
use postgres::{Client, error::DbError};

/// Partition, matches, source's and target's rows.
pub type Row = (String, bool, i64, i64);

/// Partition, matches, and why nothing could be compared.
pub type Said = (Option<String>, Option<bool>, Option<String>);

/// The rows of a comparison that must succeed, though some of its units may not.
pub fn said(client: &mut Client, arguments: &str) -> Vec<Said> {
    let sql = format!("SELECT partition, matches, error FROM cgpsync_verify({arguments})");
    let rows = client.query(&sql, &[]).expect("a comparison");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Runs a comparison: its rows, or its error.
pub fn try_verify(client: &mut Client, arguments: &str) -> Result<Vec<Row>, Box<DbError>> {
    let sql = format!("SELECT partition::text, matches, source_rows, target_rows FROM cgpsync_verify({arguments})");
    match client.query(&sql, &[]) {
        Ok(rows) => Ok(rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect()),
        Err(error) => Err(Box::new(error.as_db_error().expect("an error of the server").clone())),
    }
}

/// The rows of a comparison that must succeed.
pub fn verify(pair: &Pair, arguments: &str) -> Vec<Row> {
    try_verify(&mut pair.target.connect(), arguments).expect("the comparison succeeds")
}
