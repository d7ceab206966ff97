//! What is refused or warned about: sizes, counts, likely secrets, and what cannot travel.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;
use super::Repo;
use super::capture::{Note, Options};
use super::private::write_if_new;
use crate::rel_path::{RelPath, escape};

/// Looks at the untracked files that would travel for the first time: the ones git does not ignore. Tracked
/// files are the user's considered choice; untracked ones are where a forgotten folder or a key slips in.
pub fn untracked(repo: &Repo, fresh: &[Vec<u8>], options: &Options) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    let mut sizes: Vec<(u64, &[u8])> = Vec::new();
    for path in fresh {
        let meta = repo.top().join(OsStr::from_bytes(path)).symlink_metadata();
        sizes.push((meta.map_or(0, |m| m.len()), path));
        if let Ok(path) = RelPath::parse(path)
            && looks_secret(path.file_name())
        {
            notes.push(Note::LooksSecret(path));
        }
    }
    let total: u64 = sizes.iter().map(|(size, _)| size).sum();
    if total > options.max_size || sizes.len() as u64 > options.max_files {
        return Err(too_large(sizes, total, options));
    }
    Ok(notes)
}

fn too_large(mut sizes: Vec<(u64, &[u8])>, total: u64, options: &Options) -> Error {
    const SHOWN: usize = 5;
    if total > options.max_size {
        sizes.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        let shown = sizes.iter().take(SHOWN);
        let top = shown.map(|(size, path)| format!("`{}` ({} KiB)", escape(path), size / 1024));
        let why = format!(
            "untracked files that git does not ignore come to {} MiB, more than `--max-size` allows",
            total >> 20
        );
        return Error::TooLarge { why, top: top.collect() };
    }
    // Where they lie says more than which they are.
    let mut folders: BTreeMap<&[u8], u64> = BTreeMap::new();
    for (_, path) in &sizes {
        let folder = memchr::memrchr(b'/', path).map_or(&b"."[..], |cut| &path[..cut]);
        *folders.entry(folder).or_default() += 1;
    }
    let mut folders: Vec<_> = folders.into_iter().collect();
    folders.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown = folders.iter().take(SHOWN);
    let top = shown.map(|(folder, count)| format!("`{}` ({count} files)", escape(folder)));
    let why = format!(
        "{} untracked files that git does not ignore are more than `--max-files` allows",
        sizes.len()
    );
    Error::TooLarge { why, top: top.collect() }
}

/// The folders in which pipes, sockets and devices are looked for: git does not list such things.
///
/// They are those that hold something git knows, kept between captures, so that neither every folder of every
/// ignored tree is entered nor a tree has to be read.
#[derive(Debug, Default)]
pub struct Folders {
    known: BTreeSet<Vec<u8>>,
    kept: BTreeSet<Vec<u8>>,
}

impl Folders {
    /// Those of the last capture; without one, those that hold any of `tracked`.
    pub fn load(
        file: &Path,
        tracked: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Self, Error> {
        let mut folders = Self::default();
        match std::fs::read(file) {
            Ok(text) => folders.kept = names(&text).map(<[u8]>::to_vec).collect(),
            Err(_) => folders.add(names(&tracked()?)),
        }
        folders.known.extend(folders.kept.iter().cloned());
        Ok(folders)
    }

    /// Adds the folders above `paths`.
    pub fn add<'p>(&mut self, paths: impl Iterator<Item = &'p [u8]>) {
        for path in paths {
            for cut in memchr::memrchr_iter(b'/', path) {
                if !self.known.insert(path[..cut].to_vec()) {
                    break;
                }
            }
        }
    }

    /// Remembers them.
    pub fn save(&self, file: &Path) -> Result<(), Error> {
        if self.known == self.kept && file.exists() {
            return Ok(());
        }
        let text: Vec<u8> = self.known.iter().flat_map(|f| [f, &b"\0"[..]].concat()).collect();
        write_if_new(file, &text)
    }

    /// What lies in them that is no file, folder or link. Folders that are gone, or beyond a link, are forgotten.
    pub fn special(&mut self, top: &Path) -> Vec<RelPath> {
        let mut found = Vec::new();
        look_into(top, b"", &mut found);
        let mut there = BTreeSet::new();
        // A folder sorts before what it holds.
        for folder in std::mem::take(&mut self.known) {
            let above = memchr::memrchr(b'/', &folder).map(|cut| &folder[..cut]);
            let is_folder = || {
                let meta = top.join(OsStr::from_bytes(&folder)).symlink_metadata();
                meta.is_ok_and(|meta| meta.is_dir())
            };
            if above.is_none_or(|above| there.contains(above)) && is_folder() {
                look_into(top, &folder, &mut found);
                there.insert(folder);
            }
        }
        self.known = there;
        found
    }
}

fn names(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == 0).filter(|name| !name.is_empty())
}

fn look_into(top: &Path, folder: &[u8], found: &mut Vec<RelPath>) {
    let Ok(entries) = std::fs::read_dir(top.join(OsStr::from_bytes(folder))) else { return };
    for entry in entries.flatten() {
        let special =
            entry.file_type().is_ok_and(|t| !t.is_file() && !t.is_dir() && !t.is_symlink());
        let name = entry.file_name();
        let name = if folder.is_empty() {
            name.as_bytes().to_vec()
        } else {
            [folder, b"/", name.as_bytes()].concat()
        };
        if special && let Ok(path) = RelPath::parse(&name) {
            found.push(path);
        }
    }
}

/// What git is in the middle of: the files on the disk may hold conflict markers.
pub fn unfinished(repo: &Repo) -> Option<&'static str> {
    let marks = [
        ("MERGE_HEAD", "merge"),
        ("rebase-merge", "rebase"),
        ("rebase-apply", "rebase"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
        ("REVERT_HEAD", "revert"),
    ];
    marks.into_iter().find(|(file, _)| repo.git_dir().join(file).exists()).map(|(_, what)| what)
}

/// Names under which keys and passwords usually lie.
fn looks_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |tail: &[u8]| name.ends_with(tail);
    matches!(
        &name[..],
        b".env"
            | b".npmrc"
            | b".netrc"
            | b".pypirc"
            | b"credentials"
            | b"credentials.json"
            | b"id_rsa"
            | b"id_ed25519"
            | b"id_ecdsa"
            | b"secrets.json"
            | b"secrets.yaml"
            | b"secrets.yml"
    ) || (name.starts_with(b".env.")
        && !ends(b".example")
        && !ends(b".sample")
        && !ends(b".template"))
        || [&b".pem"[..], b".p12", b".pfx", b".keystore", b".jks", b".kdbx"].iter().any(|t| ends(t))
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn keys_are_noticed_and_examples_are_not() {
        for name in [".env", ".env.local", "server.pem", "ID_RSA", "credentials.json"] {
            assert!(looks_secret(name.as_bytes()), "{name}");
        }
        for name in [".env.example", "environment.ts", "keys.md", "token.rs"] {
            assert!(!looks_secret(name.as_bytes()), "{name}");
        }
    }
}
