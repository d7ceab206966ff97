//! Our side: the git worktree, how it is read and how it is written.
