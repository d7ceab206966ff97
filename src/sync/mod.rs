//! Between the two sides: what has to travel, how, and what may come back.
//!
//! [`delta`] and [`merge`] decide, pure functions over trees; [`pack`] and [`push`] send, and [`history`] beside
//! them; [`pull`] and [`records`] fetch and verify, [`plain`] where the sandbox has no git; [`ignored`] tells
//! what stays there, and [`excludes`] keeps there what the user ignores; [`threats`] judges what a sandbox claims. The scripts that run over there are in `scripts/`. State over there lies in `$HOME/.sandbox-coder/sync`, outside the workspace:
//! `base` (the agreed tree), `index` and `git` (to compute trees), `txn` (a push under way). Without git `plain`
//! says so, and `index` is a list. What begins with `history` belongs to the agent's repository, not to the sync.

mod counted;
pub mod delta;
pub mod excludes;
mod gzip;
pub mod history;
pub mod ignored;
pub mod merge;
pub mod pack;
pub mod plain;
pub mod pull;
pub mod push;
pub mod records;
pub mod threats;

use std::path::PathBuf;

use crate::exit::ErrorCode;

/// What every script of ours begins with.
const COMMON: &str =
    concat!(include_str!("scripts/plain.sh"), "\n", include_str!("scripts/common.sh"));

/// A status no script of ours uses, for answers that never came.
const SPARE_EXIT: i32 = -1;

/// What goes wrong between the sides.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service.
    #[error(transparent)]
    Daytona(#[from] crate::daytona::Error),
    /// Our side.
    #[error(transparent)]
    Worktree(#[from] crate::worktree::Error),
    /// A program the sandbox lacks.
    #[error("the sandbox has no `{0}`")]
    ToolMissing(String),
    /// The sandbox's disk.
    #[error("the sandbox's disk refuses: {0}")]
    Disk(String),
    /// What arrived is not what was sent.
    #[error("the sandbox could not verify what was sent")]
    Verify,
    /// More than is accepted.
    #[error("the result is too large: {0}")]
    TooMany(String),
    /// The script ended without an answer.
    #[error("the sandbox's shell answered: {0}")]
    Script(String),
    /// The result did not arrive whole.
    #[error("the result did not arrive whole: {got} of {announced} bytes")]
    Truncated {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// The result contradicts itself or us.
    #[error(transparent)]
    Refused(#[from] records::Refused),
    /// The differences do not fit the base.
    #[error("the result does not fit the agreed base")]
    Inconsistent,
    /// The archive could not be written or read here.
    #[error("use `{}` for the archive", dir.display())]
    Spool {
        /// Where.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Packing.
    #[error("pack the worktree: {0}")]
    Pack(#[from] anyhow::Error),
}

impl Error {
    /// The stable name of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Daytona(e) => e.code(),
            Error::Worktree(e) => e.code(),
            Error::ToolMissing(_) => ErrorCode::SyncToolMissing,
            Error::Disk(_) => ErrorCode::SyncDiskFull,
            Error::Verify | Error::Script(_) => ErrorCode::SyncVerifyFailed,
            Error::TooMany(_) | Error::Refused(records::Refused::TooLarge(_)) => {
                ErrorCode::SyncTooLarge
            }
            Error::Truncated { .. } => ErrorCode::SyncTruncated,
            Error::Refused(records::Refused::Io(_)) | Error::Spool { .. } | Error::Pack(_) => {
                ErrorCode::HostIo
            }
            Error::Refused(_) | Error::Inconsistent => ErrorCode::SyncBadResult,
        }
    }
}
