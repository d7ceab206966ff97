//! Our side: the git worktree, how it is read and how it is written.

pub mod apply;
pub mod confined;
pub mod journal;
pub mod patch;
pub mod strangers;
pub mod undo;
