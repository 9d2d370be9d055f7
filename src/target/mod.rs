//! This database: what the table looks like, and how the rows of one unit are replaced.

pub mod catalog;
pub mod create;
pub mod defaults;
pub mod define;
pub mod load;
pub mod swap;
pub mod trust;
pub mod values;
