//! The client of the Daytona API: no printing, no policy.
//!
//! Two generations of the service exist, see [`crate::wire`]; both are understood. Every call passes
//! through one `send` in [`client`], which owns headers, timeouts and the one retry rule of [`retry`]:
//! `call` goes out, `incoming` comes back, `failure` says what went wrong.
//! [`sandboxes`] and [`snapshots`] speak to the control plane, [`files`], [`process`] and [`pty`] to the
//! toolbox inside one sandbox.

mod address;
mod call;
pub mod client;
pub mod error;
mod failure;
pub mod files;
mod incoming;
pub mod preview;
pub mod process;
pub mod pty;
pub mod refusal;
pub mod retry;
pub mod sandboxes;
pub mod script;
pub mod snapshots;
pub mod toolbox;
mod upgrade;

pub use client::{Client, Credential, Endpoint, Limits};
pub use error::Error;
pub(crate) use failure::plain;
pub use process::{Command, Patience};
pub use sandboxes::Creation;
pub use toolbox::Toolbox;
