//! The real binary against the real server, one module per area.

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
