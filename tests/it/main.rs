//! The real binary against the real server, one module per area.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod agents;
mod apply;
mod architecture;
mod cli;
mod jail;
mod journeys;
mod recordings;
mod runs;
mod server;
mod support;
mod sync;
mod toolbox;
