//! The tables that rounds of faults are played with.

use super::cluster::Cluster;
use std::collections::BTreeMap;

/// Partitions of the table: the first begins at 0, each takes ten values of the key.
pub const PARTITIONS: usize = 6;
const ROWS: usize = 5000;

/// Content of the partitions of `table` that have rows, by the number at the end of their names.
pub fn contents(cluster: &Cluster, table: &str) -> BTreeMap<String, String> {
    let sql = format!(
        "SELECT substring(tableoid::regclass::text, '\\d+$') || ' ' || count(*) || ' ' ||
                sum(hashtextextended(ROW(id, k, version, note)::text, 0)::numeric)
         FROM {table} GROUP BY tableoid"
    );
    let rows = cluster.list(&sql);
    let pairs = rows.iter().filter_map(|row| row.split_once(' '));
    pairs.map(|(part, hash)| (part.to_owned(), hash.to_owned())).collect()
}

/// DDL for a table of this suite.
pub fn table(name: &str) -> String {
    let mut sql =
        format!("CREATE TABLE {name} (id int NOT NULL, k int, version int, note text) PARTITION BY RANGE (k);");
    for number in 0..PARTITIONS {
        sql += &partition(name, number);
    }
    sql
}

/// DDL for one partition.
pub fn partition(table: &str, number: usize) -> String {
    let from = number * 10;
    format!(
        "CREATE TABLE {table}_{number} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({});",
        from + 10
    )
}

/// The statement that fills `table` with `version`, where `filter` holds.
pub fn fill(table: &str, version: usize, filter: &str) -> String {
    let all = ROWS * PARTITIONS;
    format!(
        "INSERT INTO {table} SELECT * FROM (SELECT g, g % {} AS k, {version}, 'note ' || g || repeat('x', 100) FROM generate_series(1, {all}) g) r
         WHERE {filter};",
        PARTITIONS * 10
    )
}
