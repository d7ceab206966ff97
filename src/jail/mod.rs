//! How a local sandbox starts: Linux namespaces, mounts, limits, system-call filter.
//!
//! The server never builds a sandbox itself: it has threads and secrets. It spawns our own binary as
//! `__sandbox-init` with an empty environment ([`life::launch`]); that process becomes the sandbox's
//! monitor (`start`), creates the namespaces and stays outside until the sandbox ends. Inside, pid 1
//! is a small reaper, and the toolbox is its child.

mod identity;
pub mod life;
mod limits;
mod mounts;
pub mod probe;
mod seccomp;
pub mod socket;
pub mod spec;
mod start;
mod sys;
pub mod toolchains;

pub use start::main;
