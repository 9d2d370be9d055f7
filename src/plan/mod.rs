//! Decides; touches neither server. Given what the two catalogs say, which units a run takes, from which source relation,
//! with which columns, in which order. Plain `cargo test` runs it; tests/selection.rs compares it with PostgreSQL's answers.

pub mod bound;
pub mod checksum;
pub mod classic;
pub mod collation;
pub mod columns;
pub mod constant;
pub mod constraint;
pub mod copy_sql;
pub mod counterparts;
pub mod creation;
pub mod distribution;
pub mod end;
pub mod exchange;
pub mod gauss;
pub mod global_indexes;
pub mod hash;
pub mod holders;
pub mod key;
pub mod missing;
pub mod naming;
pub mod new_table;
pub mod reading;
pub mod region;
pub mod replace;
pub mod retry;
pub mod segments;
pub mod select;
pub mod shares;
#[cfg(test)]
pub mod sketch;
pub mod space;
pub mod tables;
pub mod translate;
pub mod tree;
pub mod twins;
pub mod typed_bounds;
pub mod types;
pub mod vanished;
