//! The real binary against the real server, one module per area.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot unwrap has failed, and one that skips says so"
)]

mod acceptance;
mod agents;
mod apply;
mod architecture;
mod cli;
mod conversations;
mod fuzzed;
mod jail;
mod journeys;
mod lent;
mod piped;
mod recordings;
mod runs;
mod server;
#[cfg(target_os = "linux")]
#[path = "../soak/parts/mod.rs"]
mod soak;
mod support;
mod sync;
mod toolbox;
mod upkeep;

/// The parts of the soak run at small counts here.
const FULL: bool = false;
