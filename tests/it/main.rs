//! The real binary against the real server, one module per area.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot unwrap has failed, and one that skips says so"
)]

mod acceptance;
mod agents;
mod apply;
mod architecture;
mod cli;
mod jail;
mod journeys;
mod lent;
mod recordings;
mod runs;
mod server;
mod support;
mod sync;
mod toolbox;
