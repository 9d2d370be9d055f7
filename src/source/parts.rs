//! Whether a partition of openGauss is still what was planned. Partitions there are rows of pg_partition, and no tables. If no transaction has replaced or
//! deleted such a row (xmax) of the snapshot, names are looked up in that very row now. VACUUM and ANALYZE write their figures in place, which leaves xmax
//! alone. No change can be under way: it would hold a lock that conflicts with the COPY's, which is still held.

use crate::plan::copy_sql::quote_literal;
use crate::plan::gauss::{Part, table_of};

/// The partitions p that `relation` is or has, with all of the table `oid`, an expression, that are to be looked at.
fn of_relation(relation: &str, oid: &str) -> String {
    let top = format!("SELECT t.oid FROM pg_partition t WHERE t.parentid = {oid} AND t.parttype = 'p'");
    let named = |alias: &str, part: &Part| format!(" AND {alias}.relname = {}", quote_literal(&part.name));
    match Part::parse(relation) {
        None => format!("(p.parentid = {oid} AND p.parttype = 'p') OR (p.parttype = 's' AND p.parentid IN ({top}))"),
        Some(part) if part.is_sub => format!("p.parttype = 's' AND p.parentid IN ({top}){}", named("p", &part)),
        Some(part) => format!(
            "(p.parentid = {oid} AND p.parttype = 'p'{}) OR (p.parttype = 's' AND p.parentid IN ({top}{}))",
            named("p", &part),
            named("t", &part)
        ),
    }
}

fn list(columns: &[String]) -> String {
    let names: Vec<String> = columns.iter().map(|column| quote_literal(column)).collect();
    if names.is_empty() {
        "NULL".to_owned()
    } else {
        names.join(", ")
    }
}

/// Whether `relation` is what the snapshot has, and its state in the snapshot if that is asked for. One row, none if the table is gone. `facts`: a
/// condition on its table c, in schema n.
/// `tells_ends`: the server has pgxc_is_committed, which tells a change from one that was rolled back and has left its mark.
pub fn sql(relation: &str, facts: &str, columns: &[String], (tells_ends, with_state): (bool, bool)) -> String {
    let name = quote_literal(&table_of(relation));
    let partitions = of_relation(relation, "c.oid");
    let is_there = match Part::parse(relation) {
        Some(_) => format!("EXISTS (SELECT 1 FROM pg_partition p WHERE {partitions})"),
        None => "true".to_owned(),
    };
    let is_replaced = |row: &str| match tells_ends {
        true => format!("(CAST({row}.xmax AS text) <> '0' AND (SELECT pgxc_is_committed({row}.xmax)) IS NOT FALSE)"),
        false => format!("CAST({row}.xmax AS text) <> '0'"),
    };
    let (of_part, of_column) = (is_replaced("p"), is_replaced("a"));
    let state = match with_state {
        true => state_sql(relation, columns),
        false => "CAST(NULL AS text)".to_owned(),
    };
    format!(
        "SELECT {facts} AND {is_there}
           AND NOT EXISTS (SELECT 1 FROM pg_partition p WHERE {of_part} AND ({partitions}))
           AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND {of_column} AND a.attname IN ({})),
           {state}
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = CAST({name} AS regclass)",
        list(columns)
    )
}

/// What the snapshot's catalogs say of `relation`, as an expression: of a partition that it is what it was, with its bounds; the columns that are read. Of a table as a
/// whole its partitions do not count: what is read of it is told by conditions, and a row may add one at any moment.
pub fn state_sql(relation: &str, columns: &[String]) -> String {
    let oid = format!("CAST({} AS regclass)", quote_literal(&table_of(relation)));
    let partitions = match Part::parse(relation) {
        Some(_) => of_relation(relation, &oid),
        None => "false".to_owned(),
    };
    format!(
        "md5(COALESCE((SELECT string_agg(concat_ws(':', p.oid, p.relname, array_to_string(p.boundaries, ',', 'null')), ';' ORDER BY p.oid)
              FROM pg_partition p WHERE {partitions}), 'none')
          || COALESCE((SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid), ',' ORDER BY a.attnum)
              FROM pg_attribute a WHERE a.attrelid = {oid} AND NOT a.attisdropped AND a.attname IN ({})), 'none'))",
        list(columns)
    )
}
