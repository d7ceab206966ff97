//! Long runs under trouble: `make soak`, or `cargo test --test soak PART`. Plain `cargo test` runs a few of
//! each from the integration tests. Counts are variables, see [`parts`].

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and what was measured is printed"
)]

mod parts;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

/// Whether the parts run at their full counts.
pub const FULL: bool = true;
