//! The modules of sandbox-coder that read what a sandbox sends, under the name the oracles know them by.
//!
//! They are taken as source: the rest of the client, TLS and servers included, would make an instrumented
//! build ten times as long, and none of it is fuzzed.

#![allow(dead_code, reason = "not all of it is fuzzed")]

#[path = "../../../src/agent/mod.rs"]
pub mod agent;
#[path = "../../../src/event.rs"]
pub mod event;
#[path = "../../../src/exit.rs"]
pub mod exit;
#[path = "../../../src/rel_path.rs"]
pub mod rel_path;
#[path = "../../../src/secret.rs"]
pub mod secret;
#[path = "../../../src/tree.rs"]
pub mod tree;

/// Of it, only what reads and judges.
#[path = "../../../src/sync"]
pub mod sync {
    pub mod records;
    pub mod threats;
}
