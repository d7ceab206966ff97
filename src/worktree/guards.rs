//! What is refused or warned about: sizes, counts, likely secrets, and what cannot travel.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;
use super::Repo;
use super::capture::{Note, Options};
use super::private::write_if_new;
use super::secrets;
use crate::rel_path::{RelPath, escape};

/// Looks at the untracked files that would travel for the first time: the ones git does not ignore. Tracked
/// files are the user's considered choice; untracked ones are where a forgotten folder or a key slips in.
pub fn untracked(repo: &Repo, fresh: &[Vec<u8>], options: &Options) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    let mut sizes: Vec<(u64, &[u8])> = Vec::new();
    let mut look = secrets::Look::default();
    for path in fresh {
        let disk = repo.top().join(OsStr::from_bytes(path));
        let size = disk.symlink_metadata().map_or(0, |m| m.len());
        sizes.push((size, path));
        if let Ok(path) = RelPath::parse(path)
            && look.finds(&disk, path.file_name(), size)
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

/// The folders that ever held something git knows, kept between captures: pipes, sockets and devices are looked
/// for in them also when that is gone. Git does not list such things.
#[derive(Debug, Default)]
pub(super) struct Folders(BTreeSet<Vec<u8>>);

impl Folders {
    /// Those of the last capture.
    pub(super) fn load(file: &Path) -> Self {
        let text = std::fs::read(file).unwrap_or_default();
        Self(text.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// The same.
    pub(super) fn known(&self) -> &BTreeSet<Vec<u8>> {
        &self.0
    }

    /// Those that were there a moment ago, and the ones that hold `fresh` files; the latter are looked
    /// into. Remembers all, and returns what is special in those looked into.
    pub(super) fn settle(
        self,
        file: &Path,
        top: &Path,
        there: &[Vec<u8>],
        fresh: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut now: BTreeSet<_> =
            there.iter().filter(|folder| !folder.is_empty()).cloned().collect();
        let mut special = Vec::new();
        for path in fresh {
            for cut in memchr::memrchr_iter(b'/', path) {
                if !now.insert(path[..cut].to_vec()) {
                    break;
                }
                look_into(top, &path[..cut], &mut special);
            }
        }
        if now != self.0 {
            let text: Vec<u8> = now.iter().flat_map(|f| [f, &b"\0"[..]].concat()).collect();
            write_if_new(file, &text)?;
        }
        Ok(special)
    }
}

fn look_into(top: &Path, folder: &[u8], special: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(top.join(OsStr::from_bytes(folder))) else { return };
    for entry in entries.flatten() {
        let is_special = |t: FileType| !t.is_file() && !t.is_dir() && !t.is_symlink();
        if entry.file_type().is_ok_and(is_special) {
            special.push([folder, b"/", entry.file_name().as_bytes()].concat());
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
