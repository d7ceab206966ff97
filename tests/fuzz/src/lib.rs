//! The modules of sandbox-coder that read what a sandbox sends, under the name the oracles know them by.
//!
//! They are taken as source: the rest of the client, TLS and servers included, would make an instrumented
//! build ten times as long, and none of it is fuzzed.

#![allow(dead_code, reason = "not all of it is fuzzed")]

#[path = "../../../src"]
mod source {
    pub mod agent;
    pub mod event;
    pub mod exit;
    pub mod rel_path;
    pub mod secret;
    pub mod tree;

    /// Of it, only what reads and judges.
    pub mod sync {
        pub mod records;
        pub mod plain {
            pub mod reading;
        }
        pub mod threats;
    }
}

pub use source::*;
