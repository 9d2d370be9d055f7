//! THE FENCE. All `unsafe` lives here; every name outward is safe. Each block carries the rule of the server that makes it sound.
//! A change that needs `unsafe` elsewhere is missing a wrapper here.
#![allow(unsafe_code)]

pub mod analyze;
pub mod aside;
pub mod backend;
pub mod background;
pub mod board;
pub mod copy;
pub mod entry;
mod error_context;
pub mod exit;
pub mod filling;
pub mod foreign;
pub mod handoff;
pub mod helper;
pub mod left_out;
pub mod lock;
pub mod openssl;
pub mod pages;
pub mod partition;
pub mod procedure;
pub mod relation;
pub mod report;
pub mod resolver;
pub mod spi;
pub mod value;
pub mod wait;
pub mod xact;
