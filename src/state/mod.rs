//! What is remembered between runs: small versioned JSON files, written whole or not at all.
//!
//! Nothing here is the truth about a sandbox: the sandbox is. A lost record costs a look-up, not data.

pub mod record;
pub mod store;

pub use record::{RunKind, RunRecord, SandboxRecord, WorktreeRecord};
pub use store::Store;

use std::path::PathBuf;

use crate::exit::ErrorCode;

/// What went wrong with the memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{action} `{}`", path.display())]
    Io {
        /// `read`, `write`, `create`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of a newer version.
    #[error("`{}` was written by a newer sandbox-coder (format {found})", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl Error {
    /// The stable name of this failure.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::HostIo
    }
}
