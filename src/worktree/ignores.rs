//! Which new files git would ignore, by the ignore files of another tree than the one on this disk.

use std::collections::BTreeSet;
use std::path::Path;

use super::git::{git_command, output_of};
use super::{Error, Repo};
use crate::rel_path::RelPath;

/// Those of `paths` that git ignores in a worktree with these ignore files (each with its content) and nothing
/// else. The ignore files are laid down in a folder of ours that goes away.
pub fn ignored(
    repo: &Repo,
    rules: &[(RelPath, Vec<u8>)],
    paths: &[RelPath],
) -> Result<BTreeSet<RelPath>, Error> {
    let names = which(repo, rules, paths.iter().map(RelPath::as_bytes))?;
    Ok(names.iter().filter_map(|name| RelPath::parse(name).ok()).collect())
}

/// The same for names that are plain paths, those of folders with a `/` at the end.
pub fn which<'n>(
    repo: &Repo,
    rules: &[(RelPath, Vec<u8>)],
    names: impl Iterator<Item = &'n [u8]>,
) -> Result<BTreeSet<Vec<u8>>, Error> {
    let state = repo.state_dir();
    let place = tempfile::tempdir_in(&state).map_err(|e| Error::io(&state, e))?;
    let (top, git_dir) = (place.path().join("top"), place.path().join("git"));
    let put = |at: &Path, content: &[u8]| {
        let write = || {
            std::fs::create_dir_all(at.parent().unwrap_or(&top))?;
            std::fs::write(at, content)
        };
        write().map_err(|e| Error::io(at, e))
    };
    for dir in [&top, &git_dir.join("objects"), &git_dir.join("refs")] {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    }
    put(&git_dir.join("HEAD"), b"ref: refs/heads/none\n")?;
    for (path, content) in rules {
        put(&top.join(path.as_path()), content)?;
    }
    let list: Vec<u8> = names.flat_map(|name| [name, b"\0"].concat()).collect();
    let mut git = git_command(&top);
    git.env("GIT_DIR", &git_dir).env("GIT_WORK_TREE", &top);
    git.args(["-c", "core.excludesFile=/dev/null"]);
    let out = output_of(git.args(["check-ignore", "-z", "--stdin", "--no-index"]), &list)?;
    // It ends with 1 when nothing is ignored.
    if !out.ok && !out.stderr.is_empty() {
        return Err(Error::Git { what: "check-ignore", words: out.words() });
    }
    Ok(out.stdout.split(|b| *b == 0).map(<[u8]>::to_vec).collect())
}

/// Whether a name is that of an ignore file.
pub fn is_rules(name: &[u8]) -> bool {
    name.rsplit(|b| *b == b'/').next() == Some(b".gitignore")
}
