//! THE FENCE. All `unsafe` lives here; every name outward is safe. Each block carries the rule of the server that makes it sound.
//! A change that needs `unsafe` elsewhere is missing a wrapper here.
#![allow(unsafe_code)]

pub mod aside;
pub mod background;
pub mod board;
pub mod copy;
pub mod defaults;
pub mod entry;
pub mod exit;
pub mod foreign;
pub mod handoff;
pub mod lock;
pub mod openssl;
pub mod partition;
pub mod progress;
pub mod report;
pub mod resolver;
pub mod session;
pub mod spi;
pub mod storage;
pub mod team;
pub mod value;
pub mod wait;
pub mod xact;
