//! Rows of a binary COPY become tuples, and tuples become pages of a heap, as COPY with FREEZE leaves them. No server calls here: `pg/pages.rs`
//! makes a table's storage of the pages.
//!
//! What is read here is what is plain: a value that is not, or a type that has no reader, is left to the type's own receive function, whose
//! answer or error is the one that COPY would have.

pub mod binary;
pub mod block;
pub mod layout;
pub mod numeric;
pub mod plain;
pub mod range;
pub mod tuple;
