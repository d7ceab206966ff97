//! What must hold for any input whatever: each module has a `check` that panics where it does not.
//!
//! Used twice: by the fuzz targets, and by the test that replays the inputs kept from fuzzing.

#![allow(dead_code, reason = "each fuzz target uses one of these")]
#![allow(clippy::unwrap_used, reason = "an oracle that cannot unwrap has found something")]

pub mod agent;
pub mod bytes;
pub mod manifest;
pub mod modules;
pub mod names;
pub mod plain;
pub mod records;
pub mod review;
pub mod stream;
