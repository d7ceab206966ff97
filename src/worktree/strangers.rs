//! What lies in the worktree although no snapshot knows it: ignored files, sockets, other repositories.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use rustix::fs::FileType;

use super::confined::{Dir, Root, is_no_folder};
use crate::rel_path::RelPath;
use crate::tree::Tree;

/// What lies at a path on the disk that the local snapshot does not account for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisk {
    /// Nothing in the way: the path is free, or its folder holds only what the snapshot knows.
    Free,
    /// Something the snapshot does not know lies at the path.
    Stranger,
    /// On the way to the path lies something the snapshot does not know that is no folder, or a repository.
    Above,
    /// The path is a folder holding something the snapshot does not know.
    Below,
}

/// Answers for one snapshot of one worktree.
pub struct Strangers<'a> {
    root: Root,
    local: &'a Tree,
    /// Whether a folder is in the way, asked once.
    folders: RefCell<HashMap<RelPath, bool>>,
}

impl<'a> Strangers<'a> {
    /// Compares the worktree at `top` with `local`.
    pub fn new(top: &Path, local: &'a Tree) -> io::Result<Self> {
        Ok(Self { root: Root::open(top)?, local, folders: RefCell::default() })
    }

    /// What is in the way of a new file at `path`.
    pub fn at(&self, path: &RelPath) -> io::Result<OnDisk> {
        if let Some(parent) = path.parent()
            && self.blocks(&parent)?
        {
            return Ok(OnDisk::Above);
        }
        let dir = match self.root.dir(path.parent().as_ref()) {
            Ok(dir) => dir,
            Err(e) if is_no_folder(&e) => return Ok(OnDisk::Free),
            Err(e) => return Err(e),
        };
        let Some(stat) = dir.stat(path.file_name())? else { return Ok(OnDisk::Free) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(if self.local.contains_key(path) { OnDisk::Free } else { OnDisk::Stranger });
        }
        let folder = self.root.dir(Some(path))?;
        let free = folder.names()?.is_empty() || self.knows_all(&folder, path)?;
        Ok(if free { OnDisk::Free } else { OnDisk::Below })
    }

    /// Whether `folder` cannot be entered or made: something unknown that is no folder, or a repository of its own.
    fn blocks(&self, folder: &RelPath) -> io::Result<bool> {
        if let Some(known) = self.folders.borrow().get(folder) {
            return Ok(*known);
        }
        let above = match folder.parent() {
            Some(parent) => self.blocks(&parent)?,
            None => false,
        };
        let blocks = above || self.blocks_itself(folder)?;
        self.folders.borrow_mut().insert(folder.clone(), blocks);
        Ok(blocks)
    }

    fn blocks_itself(&self, folder: &RelPath) -> io::Result<bool> {
        match self.root.dir(Some(folder)) {
            Ok(dir) => Ok(dir.stat(b".git")?.is_some()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) if is_no_folder(&e) => Ok(!self.accounts_for(folder)),
            Err(e) => Err(e),
        }
    }

    /// Whether the snapshot has the path, or what stands in its place above it.
    fn accounts_for(&self, path: &RelPath) -> bool {
        std::iter::once(path.clone()).chain(path.ancestors()).any(|p| self.local.contains_key(&p))
    }

    /// Whether everything in a folder is in the snapshot. Empty folders are not, and so count.
    fn knows_all(&self, folder: &Dir, path: &RelPath) -> io::Result<bool> {
        let names = folder.names()?;
        if names.is_empty() {
            return Ok(false);
        }
        for name in names {
            let Ok(below) = RelPath::parse(&[path.as_bytes(), b"/", &name[..]].concat()) else {
                return Ok(false);
            };
            if self.local.contains_key(&below) {
                continue;
            }
            match self.root.dir(Some(&below)) {
                Ok(dir) if self.knows_all(&dir, &below)? => {}
                Ok(_) => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if is_no_folder(&e) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Mode, Oid};

    #[test]
    fn only_what_the_snapshot_does_not_know_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["known/deep", "mixed", "hollow/empty", "empty", "nested/.git", "a"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in
            ["known/deep/f", "mixed/f", "mixed/.env", "hollow/f", "nested/f", ".env", "tracked"]
        {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        let entry = Entry { mode: Mode::File, id: Oid([1; 20]) };
        let p = |s: &str| RelPath::parse(s.as_bytes()).unwrap();
        let local: Tree = ["known/deep/f", "mixed/f", "hollow/f", "tracked"]
            .iter()
            .map(|s| (p(s), entry))
            .collect();
        let strangers = Strangers::new(dir.path(), &local).unwrap();
        for (path, wanted) in [
            ("new", OnDisk::Free),
            ("new/deep/er", OnDisk::Free),
            ("a/new", OnDisk::Free),
            ("empty", OnDisk::Free),
            ("known", OnDisk::Free),
            ("known/deep", OnDisk::Free),
            ("tracked/x", OnDisk::Free),
            (".env", OnDisk::Stranger),
            ("out", OnDisk::Stranger),
            (".env/x", OnDisk::Above),
            ("out/passwd", OnDisk::Above),
            ("out/a/b", OnDisk::Above),
            ("nested/new", OnDisk::Above),
            ("nested/a/new", OnDisk::Above),
            ("mixed", OnDisk::Below),
            ("hollow", OnDisk::Below),
            ("nested", OnDisk::Below),
        ] {
            assert_eq!(strangers.at(&p(path)).unwrap(), wanted, "{path}");
        }
    }
}
