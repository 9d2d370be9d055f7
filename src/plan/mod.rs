//! Decides; touches neither server. Given what the two catalogs say, which units a run takes, from which source relation,
//! with which columns, in which order. Plain `cargo test` runs it; tests/selection.rs compares it with PostgreSQL's answers.

pub mod bound;
pub mod checksum;
pub mod collation;
pub mod columns;
pub mod constant;
pub mod constraint;
pub mod copy_sql;
pub mod create_table;
pub mod end;
pub mod missing;
pub mod pieces;
pub mod reading;
pub mod region;
pub mod replace;
pub mod retry;
pub mod select;
#[cfg(test)]
pub mod sketch;
pub mod space;
pub mod translate;
pub mod tree;
pub mod twins;
pub mod types;
pub mod units;
pub mod vanished;
