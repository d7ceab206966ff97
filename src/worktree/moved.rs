//! Where a repository lay before it was moved, as far as our own folders in it remember.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Repo, repo};

/// What this worktree was known as at another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its id there.
    pub id: String,
    /// Its git folder there, where there is none any more.
    pub git_dir: PathBuf,
}

/// Where this worktree was before. A copy is not a move: its original is still there.
///
/// # Errors
/// Our folders cannot be listed.
pub fn formers(repo: &Repo) -> io::Result<Vec<Former>> {
    let entries = match std::fs::read_dir(repo.common_dir().join("sandbox-coder")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let inner = repo.git_dir().strip_prefix(repo.common_dir()).unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let dir = entry.path();
        let Some(id) = dir.file_name().and_then(|n| n.to_str()?.strip_suffix(".git")) else {
            continue;
        };
        let Ok(of) = std::fs::read(dir.join("worktree")) else { continue };
        let of = Path::new(OsStr::from_bytes(&of));
        let elsewhere = !of.starts_with(repo.common_dir()) && repo::id_of(of) == id;
        if elsewhere && is_same_part(of, inner) && !of.exists() {
            found.push(Former { id: id.to_owned(), git_dir: of.to_owned() });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Whether a git folder of some repository stands where `inner` says: empty for the main worktree's,
/// `worktrees/<name>` for a linked one's.
fn is_same_part(git_dir: &Path, inner: &Path) -> bool {
    let linked = git_dir.parent().is_some_and(|dir| dir.ends_with("worktrees"));
    if inner.as_os_str().is_empty() { !linked } else { git_dir.ends_with(inner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worktree_of_a_moved_repository_knows_its_own_past() {
        let is = |git_dir: &str, inner: &str| is_same_part(Path::new(git_dir), Path::new(inner));
        assert!(is("/old/p/.git", "") && is("/old/p/.git/worktrees/w", "worktrees/w"));
        assert!(!is("/old/p/.git/worktrees/w", "") && !is("/old/p/.git", "worktrees/w"));
        assert!(!is("/old/p/.git/worktrees/v", "worktrees/w"));
    }
}
