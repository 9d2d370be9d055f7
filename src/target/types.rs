//! The types of a table's columns, as a comparison needs them. Under a search_path of pg_catalog, like `catalog`.

use crate::error::Result;
use crate::pg::spi;
use crate::plan::checksum::ColumnType;
use std::collections::HashMap;

/// The columns' types by column name; a domain's is the one below it.
pub fn column_types(table: u32) -> Result<HashMap<String, ColumnType>> {
    let rows = spi::execute(
        "WITH RECURSIVE types AS (
           SELECT a.attname, a.atttypid AS oid, a.atttypmod AS typmod
           FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
           UNION ALL
           SELECT d.attname, t.typbasetype, t.typtypmod FROM types d JOIN pg_type t ON t.oid = d.oid AND t.typtype = 'd')
         SELECT d.attname, t.oid, t.typname, format_type(t.oid, d.typmod), e.typname,
                t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace, t.typlen > 0, p.proname
         FROM types d
         JOIN pg_type t ON t.oid = d.oid AND t.typtype <> 'd'
         LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
         LEFT JOIN pg_proc p ON p.oid = t.typsend",
        &[Some(&table.to_string())],
    )?;
    rows.iter()
        .map(|row| {
            let column_type = ColumnType {
                oid: row.need(1)?,
                name: row.string(2)?,
                sql: row.string(3)?,
                element: row.text(4).map(str::to_owned),
                builtin: row.is(5),
                fixed_length: row.is(6),
                send: row.text(7).map(str::to_owned),
            };
            Ok((row.string(0)?, column_type))
        })
        .collect()
}
