//! `sandbox-coder`: run a coding agent on a git worktree inside an isolated sandbox.
//!
//! The journey of one file, in the order of the modules:
//!
//! 1. [`worktree`] captures the worktree as a git tree id of raw bytes,
//! 2. [`sync`] decides what has to travel, packs it, and applies it over there,
//! 3. [`daytona`] carries it: one HTTP and WebSocket client for the hosted service and for our own server,
//! 4. [`agent`] knows how a coding agent is started and how its output is read,
//! 5. [`run`] keeps the agent's process alive over there and its output complete over here,
//! 6. [`sync`] asks what changed, verifies every byte, and merges three ways,
//! 7. [`worktree`] applies the checked plan, with a journal, inside the worktree and nowhere else.
//!
//! [`flow`] tells each command as a list of such steps. [`server`] is a local Daytona for those who
//! have no account; [`jail`] and [`toolbox`] are what runs inside its sandboxes. These three never
//! import the client's modules and so cannot share its mistakes: the two halves meet in [`wire`] only.

// --- leaves: values without I/O
pub mod event;
pub mod exit;
pub mod rel_path;
pub mod report;
pub mod secret;
pub mod tree;
pub mod wire;

// --- house one, the client, in the order of the journey
pub mod agent;
pub mod daytona;
pub mod flow;
pub mod run;
pub mod state;
pub mod sync;
pub mod worktree;

// --- house two, the local Daytona
#[cfg(target_os = "linux")]
pub mod server;

// --- house three, inside the sandbox
#[cfg(target_os = "linux")]
pub mod jail;
#[cfg(target_os = "linux")]
pub mod toolbox;

// --- the edge
pub mod cli;
pub mod config;
pub mod error;
pub mod ui;
