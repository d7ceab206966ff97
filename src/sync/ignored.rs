//! Files that stay in a sandbox because its agent has them ignored.

use super::Error;
use crate::rel_path::RelPath;
use crate::tree::{Mode, Oid, Tree};
use crate::worktree::ignores::{is_rules, which};
use crate::worktree::{Repo, Store};

/// Ignore files beyond this number, or larger than a megabyte, are not followed.
pub(super) const RULES_MAX: usize = 1000;
pub(super) const RULE_SIZE_MAX: u64 = 1 << 20;
/// Bytes of names that a sandbox tells.
pub(super) const NAMES_MAX: usize = 32 * 1024;

/// What an edited ignore file keeps in the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Files, and folders with a `/` at the end.
    pub names: Vec<Vec<u8>>,
    /// There are more.
    pub cut: bool,
}

impl Ignored {
    /// Reads a list of names, each ended by a NUL, as `git ls-files --directory` tells them.
    pub fn read(list: &[u8]) -> Self {
        let cut = list.len() >= NAMES_MAX;
        let end = memchr::memrchr(0, list).map_or(0, |end| end + 1);
        let all: Vec<&[u8]> = list[..end].split(|b| *b == 0).filter(|n| is_name(n)).collect();
        // Of a folder in which only the files are ignored the files are told, too.
        let told = |n: usize, name: &[u8]| {
            name.ends_with(b"/") && all.get(n + 1).is_some_and(|next| next.starts_with(name))
        };
        let names = all.iter().enumerate().filter(|(n, name)| !told(*n, name));
        Self { names: names.map(|(_, name)| name.to_vec()).collect(), cut }
    }

    /// Leaves those that were not ignored by the base's own rules: what was ignored before is no news.
    pub fn since(self, repo: &Repo, store: &Store, base: &Tree) -> Result<Self, Error> {
        if self.names.is_empty() {
            return Ok(self);
        }
        let rules = rules(store, rule_files(base))?;
        let before = which(repo, &rules, self.names.iter().map(Vec::as_slice))?;
        let names = self.names.into_iter().filter(|name| !before.contains(name)).collect();
        Ok(Self { names, cut: self.cut })
    }
}

/// Whether a name may be asked about: a plain path that is none of ours.
fn is_name(name: &[u8]) -> bool {
    RelPath::parse(name.strip_suffix(b"/").unwrap_or(name))
        .is_ok_and(|path| path.components().next() != Some(b".sandbox-coder"))
}

/// The ignore files of a tree.
pub(super) fn rule_files(tree: &Tree) -> impl Iterator<Item = (RelPath, Oid)> + '_ {
    let is_file = |mode| matches!(mode, Mode::File | Mode::Exec);
    tree.iter()
        .filter(move |(path, entry)| is_rules(path.as_bytes()) && is_file(entry.mode))
        .map(|(path, entry)| (path.clone(), entry.id))
}

/// The contents of ignore files, as far as they are followed.
pub(super) fn rules(
    store: &Store,
    files: impl IntoIterator<Item = (RelPath, Oid)>,
) -> Result<Vec<(RelPath, Vec<u8>)>, Error> {
    let mut rules = Vec::new();
    for (path, id) in files.into_iter().take(RULES_MAX) {
        if store.blob_size(id)?.is_some_and(|size| size <= RULE_SIZE_MAX) {
            rules.push((path, store.read_blob(id)?));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_far_as_they_are_names() {
        let read = |list: &[u8]| Ignored::read(list).names;
        assert_eq!(read(b"a\0build/\0d/\0d/x\0"), [&b"a"[..], b"build/", b"d/x"]);
        assert_eq!(read(b"../x\0/etc/\0.git/x\0.sandbox-coder/\0a//\0cut of"), [&b""[..]; 0]);
        assert_eq!(read(b""), [&b""[..]; 0]);
        let long = [b"x".repeat(NAMES_MAX - 1), b"\0".to_vec()].concat();
        assert!(Ignored::read(&long).cut && !Ignored::read(b"a\0").cut);
    }
}
