//! What a snapshot leaves out of an earlier one although nobody removed it: files that are ignored or excluded
//! since, that lie in a repository of their own now, or that a sparse checkout took off the disk.

use std::collections::HashSet;
use std::io;

use rustix::fs::FileType;

use super::confined::{Root, is_no_folder};
use super::found::Found;
use super::git::must;
use super::{Error, Repo};
use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode, Tree};

/// Why a file is in no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// It lies on the disk, and git or the caller does not want it looked at.
    Ignored,
    /// It lies on the disk, in a repository inside.
    Inside,
    /// It is not on the disk, and git does not miss it there.
    Sparse,
}

/// The files and links of `base` that `local`, a snapshot of this worktree, leaves out and that are not deleted.
pub fn hidden(repo: &Repo, base: &Tree, local: &Tree) -> Result<Vec<(RelPath, Hidden)>, Error> {
    let missing = base.iter().filter(|(path, entry)| {
        entry.mode != Mode::Gitlink
            && !local.contains_key(*path)
            && !path.ancestors().any(|above| local.contains_key(&above))
    });
    let missing: Vec<&RelPath> = missing.map(|(path, _)| path).collect();
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    let root = Root::open(repo.top()).map_err(|e| Error::io(repo.top(), e))?;
    for path in missing {
        let at = || repo.top().join(path.as_path());
        match kind(&root, path).map_err(|e| Error::io(&at(), e))? {
            Some(FileType::RegularFile | FileType::Symlink) => {
                found.push((path.clone(), on_disk(&root, path)));
            }
            Some(_) => {}
            None => absent.push(path),
        }
    }
    if !found.is_empty() {
        // On a disk that folds names a file that was only renamed is found under its old one.
        let names: HashSet<Vec<u8>> =
            local.keys().map(|path| path.as_bytes().to_ascii_lowercase()).collect();
        found.retain(|(path, _)| !names.contains(&path.as_bytes().to_ascii_lowercase()));
    }
    if !absent.is_empty() {
        let skipped = skipped(repo)?;
        let sparse = absent.into_iter().filter(|path| skipped.contains(path.as_bytes()));
        found.extend(sparse.map(|path| (path.clone(), Hidden::Sparse)));
    }
    Ok(found)
}

/// What lies at the path, by its kind alone: it need not be readable. Where nobody may look it counts as a file, for
/// nobody removed it.
fn kind(root: &Root, path: &RelPath) -> io::Result<Option<FileType>> {
    let stat = match root.dir(path.parent().as_ref()) {
        Ok(dir) => dir.stat(path.file_name()),
        Err(e) if is_no_folder(&e) => Ok(None),
        Err(e) => Err(e),
    };
    match stat {
        Ok(stat) => Ok(stat.map(|stat| FileType::from_raw_mode(stat.st_mode))),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Some(FileType::RegularFile)),
        Err(e) => Err(e),
    }
}

/// Whether exactly this lies at the path; what cannot be read is something else.
pub fn lies_there(repo: &Repo, path: &RelPath, entry: Entry) -> Result<bool, Error> {
    let io = |e| Error::io(&repo.top().join(path.as_path()), e);
    let there = match Root::open(repo.top()).and_then(|root| root.look(path)) {
        Ok(Found::Entry(there, _)) => there,
        Ok(_) => return Ok(false),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(e) => return Err(io(e)),
    };
    let modes = there.mode == entry.mode
        || !repo.file_mode() && there.mode.is_regular() && entry.mode.is_regular();
    Ok(there.id == entry.id && modes)
}

fn on_disk(root: &Root, path: &RelPath) -> Hidden {
    let repository = |dir: RelPath| match root.dir(Some(&dir)) {
        Ok(dir) => !matches!(dir.stat(b".git"), Ok(None)),
        Err(e) => !is_no_folder(&e),
    };
    if path.ancestors().any(repository) { Hidden::Inside } else { Hidden::Ignored }
}

/// What git does not expect on the disk.
fn skipped(repo: &Repo) -> Result<HashSet<Vec<u8>>, Error> {
    if !repo.git_dir().join("index").exists() {
        return Ok(HashSet::new());
    }
    let list = must("ls-files", repo.git().args(["ls-files", "-z", "-t"]))?;
    let names = list.split(|b| *b == 0).filter_map(|line| line.strip_prefix(b"S "));
    Ok(names.map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Oid;

    #[test]
    fn what_is_hidden_is_told_from_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.current_dir(dir.path()).env("HOME", dir.path()).args(args);
            assert!(git.output().unwrap().status.success(), "{args:?}");
        };
        git(&["init", "-q"]);
        for name in ["kept", "away", "skipped", "ignored", "inner/f", "Case", "became/x", "gone"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "1").unwrap();
        }
        git(&["add", "-A"]);
        git(&["update-index", "--skip-worktree", "skipped", "kept"]);
        for name in ["skipped", "away", "gone", "Case"] {
            std::fs::remove_file(at(name)).unwrap();
        }
        std::fs::remove_dir_all(at("became")).unwrap();
        std::fs::write(at("became"), "a file").unwrap();
        std::fs::create_dir(at("gone")).unwrap();
        std::fs::create_dir(at("inner/.git")).unwrap();
        let entry = Entry { mode: Mode::File, id: Oid([1; 20]) };
        let tree = |names: &[&str]| -> Tree {
            names.iter().map(|n| (RelPath::parse(n.as_bytes()).unwrap(), entry)).collect()
        };
        let base =
            tree(&["Case", "away", "became/x", "gone", "ignored", "inner/f", "kept", "skipped"]);
        let local = tree(&["became", "case", "kept"]);
        let repo = Repo::discover(dir.path()).unwrap();
        let found = hidden(&repo, &base, &local).unwrap();
        let found: Vec<_> = found.iter().map(|(path, why)| (path.to_string(), *why)).collect();
        let wanted = [
            ("ignored", Hidden::Ignored),
            ("inner/f", Hidden::Inside),
            ("skipped", Hidden::Sparse),
        ];
        assert_eq!(found, wanted.map(|(path, why)| (path.to_owned(), why)));
        let path = RelPath::parse(b"ignored").unwrap();
        let same = Entry { mode: Mode::File, id: super::super::found::blob_id(b"1") };
        assert!(lies_there(&repo, &path, same).unwrap());
        assert!(!lies_there(&repo, &path, entry).unwrap());
    }
}
