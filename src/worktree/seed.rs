//! The private index at its beginning: what can be believed of the user's.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;
use super::git::{feed, joined, must, output};
use super::index::Index;
use super::repo::{ObjectFormat, Repo};
use crate::tree::{Change, Oid};

/// Makes the private index out of the user's.
pub(super) fn seed(repo: &Repo) -> Result<(), Error> {
    let (theirs, ours) = (repo.git_dir().join("index"), repo.private_dir().join("index"));
    match std::fs::remove_file(&ours) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(&ours, e)),
        _ => {}
    }
    if !theirs.exists() {
        return Ok(());
    }
    let listing = must("ls-files", repo.git().args(["ls-files", "-z", "-s", "-v"]))?;
    let entries = || listing.split(|b| *b == 0).filter_map(listed);
    let plain = repo.object_format() == ObjectFormat::Sha1 && !converts(repo)?;
    // Of the private repository, which keeps SHA-1 whatever the user's does.
    let empty_blob = Oid::EMPTY_BLOB.to_string();
    let odd = entries().any(|entry| entry.tag != b'H' || entry.stage != b"0");
    if plain && !odd && copy_index(repo)? {
        // Empty files may be a mere intent to add, which a tree would leave out: git is to find them anew.
        let out = entries().filter(|e| e.mode == b"160000" || e.id == empty_blob.as_bytes());
        let out: Vec<Vec<u8>> = out.map(|e| e.path.to_vec()).collect();
        let mut remove = repo.private_git();
        remove.args(["update-index", "-z", "--force-remove", "--stdin"]);
        return if out.is_empty() {
            Ok(())
        } else {
            feed("update-index", &mut remove, &joined(&out))
        };
    }
    // Stat data of converted content, hidden changes or foreign hashes must not be believed: every entry keeps
    // its mode, and the bytes are read. Entries that a sparse checkout keeps off the disk stay out.
    let mut lines = Vec::new();
    for entry in entries().filter(|e| e.mode != b"160000") {
        if repo.top().join(OsStr::from_bytes(entry.path)).symlink_metadata().is_ok() {
            let id = if plain { entry.id } else { empty_blob.as_bytes() };
            lines.extend_from_slice(&[entry.mode, b" ", id, b" 0\t", entry.path, b"\0"].concat());
        }
    }
    // An id that is not believed still has to name something.
    feed("hash-object", repo.private_git().args(["hash-object", "-w", "--stdin"]), b"")?;
    let mut add = repo.private_git();
    add.args(["update-index", "-z", "--index-info"]);
    feed("update-index", &mut add, &lines)?;
    let mut refresh = repo.private_git();
    output(refresh.args(["update-index", "-q", "--refresh"])).map(drop)
}

/// Where the disk has no executable bits only an index knows them: ours takes over those of what was written.
pub fn keep_modes<'c>(repo: &Repo, written: impl Iterator<Item = &'c Change>) -> Result<(), Error> {
    if repo.file_mode() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for (path, after) in written.filter_map(|step| Some((&step.path, step.after?))) {
        let head = format!("{} {} 0\t", after.mode.as_git(), after.id);
        lines.extend_from_slice(&[head.as_bytes(), path.as_bytes(), b"\0"].concat());
    }
    if lines.is_empty() {
        return Ok(());
    }
    // What lies there is read anew; the mode stays.
    let mut add = repo.private_git();
    feed("update-index", add.args(["update-index", "-z", "--replace", "--index-info"]), &lines)
}

/// One line of `ls-files -s -v`.
pub(super) struct Listed<'l> {
    tag: u8,
    mode: &'l [u8],
    pub(super) id: &'l [u8],
    stage: &'l [u8],
    pub(super) path: &'l [u8],
}

pub(super) fn listed(line: &[u8]) -> Option<Listed<'_>> {
    let (head, path) = line.split_at(memchr::memchr(b'\t', line)?);
    let mut words = head.split(|b| *b == b' ');
    let tag = *words.next()?.first()?;
    Some(Listed {
        tag,
        mode: words.next()?,
        id: words.next()?,
        stage: words.next()?,
        path: &path[1..],
    })
}

/// A plain copy would hide an edit of the same size made in the same tick of the clock: git compares a
/// file's time with the index's own, so the copy keeps that.
fn copy_index(repo: &Repo) -> Result<bool, Error> {
    let (from, to) = (repo.git_dir().join("index"), repo.private_dir().join("index"));
    let io = |e| Error::io(&from, e);
    let meta = std::fs::metadata(&from).map_err(io)?;
    let temp = repo.private_dir().join("index.seed");
    std::fs::copy(&from, &temp).map_err(io)?;
    let file = std::fs::File::options().write(true).open(&temp).map_err(io)?;
    file.set_modified(meta.modified().map_err(io)?).map_err(io)?;
    std::fs::rename(&temp, &to).map_err(io)?;
    // There are shorter forms that are not read here; git knows how to turn them into this one.
    let readable = || Index::read(&to).is_ok_and(|index| index.entries().is_some());
    if !readable() {
        output(repo.private_git().args(["update-index", "--index-version", "2"]))?;
    }
    // An extension of the user's index may not suit this repository; then it is built from the paths.
    let list = ["ls-files", "-z", "-s", "-v"];
    let fine = readable()
        && output(repo.private_git().args(list))?.stdout == output(repo.git().args(list))?.stdout;
    if !fine {
        std::fs::remove_file(&to).map_err(io)?;
    }
    Ok(fine)
}

/// Whether git may store other bytes than those on disk.
fn converts(repo: &Repo) -> Result<bool, Error> {
    if repo.config(&[], "core.autocrlf")?.is_some_and(|v| v != "false")
        || repo.config(&[], "core.attributesFile")?.is_some()
        || repo.common_dir().join("info/attributes").exists()
        || Path::new("/etc/gitattributes").exists()
    {
        return Ok(true);
    }
    let attributes = [":(top,glob)**/.gitattributes", ":(top).gitattributes"];
    let found =
        must("ls-files", repo.git().args(["ls-files", "-z", "-c", "-o", "--"]).args(attributes))?;
    let global = std::env::var_os("XDG_CONFIG_HOME").map(std::path::PathBuf::from);
    let global = global
        .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    Ok(!found.is_empty() || global.is_some_and(|g| g.join("git/attributes").exists()))
}
