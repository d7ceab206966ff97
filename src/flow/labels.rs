//! What a sandbox of ours is known by at its service.

/// The label by which our sandboxes are listed.
pub const OURS: &str = "sandbox-coder";
/// The label that says whose worktree it is.
pub const WORKTREE: &str = "sandbox-coder/worktree";
/// The label that says which branch was checked out at the beginning. For people.
pub const BRANCH: &str = "sandbox-coder/branch";
/// The label that says how a local sandbox is kept apart, for as long as it lives.
pub const ISOLATION: &str = "sandbox-coder/isolation";
/// The label that lists the directories of tools that a local sandbox was made with, separated like `PATH`.
pub const TOOL_DIRS: &str = "sandbox-coder/tool-dirs";
