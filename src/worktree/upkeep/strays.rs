//! What commands that were killed left, and folders of worktrees that are gone.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::rules::GRACE;
use super::{Done, age, modified};
use crate::worktree::journal::Shelf;
use crate::worktree::private::{open_lock, take};
use crate::worktree::{Error, Repo, repo};

/// Removes what was being written under a temporary name a day ago and longer.
pub(super) fn remove(private: &Path, now: SystemTime) -> io::Result<()> {
    let objects = private.join("objects");
    let mut places = vec![
        (private.to_owned(), &[".ref-", ".tmp", "index.seed"][..]),
        (private.join("info"), &[".tmp"]),
        (objects.join("info"), &[".tmp"]),
        (objects.join("pack"), &["tmp_", ".tmp"]),
        (objects.clone(), &["tmp_"]),
    ];
    places.extend((0..=255).map(|n| (objects.join(format!("{n:02x}")), &["tmp_"][..])));
    let is = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    for (dir, starts) in places {
        remove_old(&dir, now, |name| is(name, starts))?;
    }
    remove_old(&private.join("sandbox-coder/journal"), now, |name| name.ends_with(".new"))?;
    // A pack comes before its index: without one it was never finished.
    let pack = objects.join("pack");
    remove_old(&pack, now, |name| {
        let path = pack.join(name);
        path.extension() == Some(OsStr::new("pack")) && !path.with_extension("idx").exists()
    })
}

fn remove_old(dir: &Path, now: SystemTime, is: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten() {
        let old = modified(&entry.path()).is_some_and(|at| age(at, now) > GRACE);
        if !(old && is(&entry.file_name().to_string_lossy())) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    Ok(())
}

/// A private folder whose worktree is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The worktree's id.
    pub id: String,
    /// The folder.
    pub dir: PathBuf,
}

/// The folders beside this worktree's own that belong to no worktree of the repository. Only those whose
/// worktree's own git folder is known to have lain in this repository as it lies now: after a repository was
/// moved, none is.
pub fn orphans(repo: &Repo) -> io::Result<Vec<Orphan>> {
    let living = living(repo)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home(repo))?.flatten() {
        let dir = entry.path();
        let Some(id) = dir.file_name().and_then(|n| n.to_str()?.strip_suffix(".git")) else {
            continue;
        };
        let Ok(of) = std::fs::read(dir.join("worktree")) else { continue };
        let of = Path::new(OsStr::from_bytes(&of));
        let was_here = of.starts_with(repo.common_dir().join("worktrees"));
        if was_here && !of.exists() && !living.contains(id) && repo::id_of(of) == id {
            found.push(Orphan { id: id.to_owned(), dir });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// The ids of all worktrees that git knows of here.
fn living(repo: &Repo) -> io::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::from([repo::id_of(repo.common_dir()), repo.worktree_id().to_owned()]);
    match std::fs::read_dir(repo.common_dir().join("worktrees")) {
        Ok(entries) => ids.extend(entries.flatten().map(|entry| repo::id_of(&entry.path()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(ids)
}

fn home(repo: &Repo) -> PathBuf {
    repo.common_dir().join("sandbox-coder")
}

/// Removes the folders of worktrees that are gone, if `nothing_waits` for their ids and no apply is unfinished.
pub(super) fn remove_orphans(
    repo: &Repo,
    now: SystemTime,
    nothing_waits: &dyn Fn(&str) -> bool,
    done: &mut Done,
) -> Result<(), Error> {
    let io = |e| Error::io(&home(repo), e);
    remove_old(&home(repo), now, |name| name.starts_with(".new-") || name.starts_with(".gone-"))
        .map_err(io)?;
    for orphan in orphans(repo).map_err(io)? {
        let used = modified(&orphan.dir.join("lock")).is_none_or(|at| age(at, now) <= GRACE);
        let open = Shelf::at(&orphan.dir.join("sandbox-coder")).has_unfinished().map_err(io)?;
        if used || open || !nothing_waits(&orphan.id) {
            continue;
        }
        let lock = open_lock(&orphan.dir.join("lock"))?;
        if take(&lock).map_err(io)? {
            // Made again meanwhile, it would have taken the lock.
            let aside = home(repo).join(format!(".gone-{}", uuid::Uuid::new_v4().simple()));
            std::fs::rename(&orphan.dir, &aside).map_err(io)?;
            std::fs::remove_dir_all(&aside).map_err(io)?;
            done.folders += 1;
        }
    }
    Ok(())
}

/// Bytes of the files below a folder; what cannot be read counts nothing.
pub fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.len()),
    };
    entries.flatten().map(size).sum()
}
