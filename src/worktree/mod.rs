//! Our side: the git worktree, how it is read and how it is written.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::ErrorCode;
use crate::rel_path::PathError;
use crate::tree::Oid;

pub mod apply;
pub mod bulk;
pub mod capture;
pub mod confined;
pub mod found;
pub(crate) mod git;
pub mod guards;
pub mod hidden;
pub mod ignores;
mod index;
pub mod journal;
mod look;
pub mod moved;
pub mod patch;
pub mod private;
pub mod repo;
mod secrets;
pub mod seed;
mod settings;
pub mod store;
pub mod strangers;
mod torn;
pub mod undo;
pub mod upkeep;

pub use repo::Repo;
pub use store::Store;

/// Why a worktree could not be found, read or remembered.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("`{}` is not inside a git repository", dir.display())]
    NotARepository { dir: PathBuf },
    #[error("`{}` is a bare repository: it has no files to work on", dir.display())]
    Bare { dir: PathBuf },
    #[error("`{}` is inside a repository's own folder, not in a worktree", dir.display())]
    InsideGitDir { dir: PathBuf },
    #[error("git refuses `{}`: {words}", dir.display())]
    Refused { dir: PathBuf, words: String },
    #[error("the worktree `{}` was removed or moved", top.display())]
    Gone { top: PathBuf },
    #[error("the program `git` was not found")]
    GitMissing,
    #[error("`{version}` is too old")]
    GitTooOld { version: String },
    #[error("this worktree is in use{}", held_by(holder))]
    Busy { holder: Option<private::Holder> },
    #[error("`git {what}` failed: {words}")]
    Git { what: &'static str, words: String },
    #[error("files change faster than they can be read: {words}")]
    Moving { words: String },
    #[error("{why}; the largest: {}", top.join(", "))]
    TooLarge { why: String, top: Vec<String> },
    #[error("the pattern `{glob}` cannot be read: {source}")]
    BadGlob { glob: String, source: globset::Error },
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("object {id} is not a file's content")]
    NotABlob { id: Oid },
    #[error("object {id} is missing")]
    Missing { id: Oid },
    #[error("`{name}` cannot be used as a path: {why}")]
    BadName { name: String, why: PathError },
    #[error("`{name}` cannot be used as a ref")]
    BadRef { name: String },
    #[error("the private repository: {0}")]
    Store(#[from] git2::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// The code that names this error to other programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotARepository { .. } => ErrorCode::WorktreeNone,
            Self::Bare { .. } => ErrorCode::WorktreeBare,
            Self::InsideGitDir { .. } => ErrorCode::WorktreeInsideGit,
            Self::Refused { .. } => ErrorCode::WorktreeRefused,
            Self::Gone { .. } => ErrorCode::WorktreeGone,
            Self::GitMissing | Self::GitTooOld { .. } => ErrorCode::GitMissing,
            Self::Busy { .. } => ErrorCode::WorktreeBusy,
            Self::Moving { .. } => ErrorCode::SyncSourceMoving,
            Self::TooLarge { .. } => ErrorCode::SyncTooLarge,
            Self::BadGlob { .. } => ErrorCode::Usage,
            Self::Io { .. } | Self::Git { .. } | Self::Store(_) | Self::Missing { .. } => {
                ErrorCode::HostIo
            }
            Self::BadName { .. } => ErrorCode::PathUnsafe,
            Self::NotABlob { .. } | Self::BadRef { .. } => ErrorCode::Internal,
        }
    }
}

fn held_by(holder: &Option<private::Holder>) -> String {
    match holder {
        Some(h) => format!(" by `{}` (process {} on {})", h.command, h.pid, h.host),
        None => String::new(),
    }
}
