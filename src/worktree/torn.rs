//! What a power cut left of the private repository's objects.
//!
//! Objects are on the disk when files are about to be replaced, not before: until then the worktree or the sandbox
//! has their bytes. A machine that stops earlier may keep their names alone, and git, which takes the name for the
//! object, would never write them again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::ZlibDecoder;
use sha1::{Digest, Sha1};

/// Names the time since the machine was started.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Objects this much older than the newest are on the disk: no system holds bytes back for so long.
const SETTLED: Duration = Duration::from_secs(120);

/// Removes damaged objects of a private repository, once after each start of the machine, and the index with
/// them: it says that they are there.
pub(super) fn remove(private: &Path) -> io::Result<()> {
    let Ok(boot) = std::fs::read(BOOT) else { return Ok(()) };
    let note = private.join("boot");
    if std::fs::read(&note).is_ok_and(|known| known == boot) {
        return Ok(());
    }
    let objects = loose(&private.join("objects"))?;
    let newest = objects.iter().map(|(_, at, _)| *at).max();
    let recent = |at: SystemTime| newest.is_some_and(|newest| newest <= at + SETTLED);
    for (path, _, _) in objects.iter().filter(|(path, at, _)| recent(*at) && !is_whole(path)) {
        match std::fs::remove_file(private.join("index")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => std::fs::remove_file(path)?,
        }
    }
    // Without the note they are looked at once more.
    let _ = std::fs::write(note, boot);
    Ok(())
}

/// The objects that lie by themselves, when they were written, and their bytes on the disk.
pub(super) fn loose(dir: &Path) -> io::Result<Vec<(PathBuf, SystemTime, u64)>> {
    let mut found = Vec::new();
    let is_hex = |name: &std::ffi::OsStr, digits: usize| {
        name.len() == digits && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
    };
    for folder in std::fs::read_dir(dir)?.flatten().filter(|f| is_hex(&f.file_name(), 2)) {
        for entry in std::fs::read_dir(folder.path())?.flatten() {
            if is_hex(&entry.file_name(), 38) {
                let meta = entry.metadata()?;
                found.push((entry.path(), meta.modified()?, meta.len()));
            }
        }
    }
    Ok(found)
}

/// Whether an object is what its name says. One that cannot be opened is not judged.
fn is_whole(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let mut hash = Sha1::new();
    let read = io::copy(&mut ZlibDecoder::new(file), &mut hash);
    let name: Vec<&[u8]> =
        path.components().rev().take(2).map(|c| c.as_os_str().as_encoded_bytes()).collect();
    read.is_ok() && hex::encode(hash.finalize()).as_bytes() == [name[1], name[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_and_other_bytes_goes_once_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path();
        let repo = git2::Repository::init_bare(private).unwrap();
        let path = |id: git2::Oid| {
            let name = id.to_string();
            private.join("objects").join(&name[..2]).join(&name[2..])
        };
        let [whole, empty, cut] =
            [&b"whole"[..], b"empty", b"cut"].map(|b| path(repo.blob(b).unwrap()));
        let tear = |path: &Path, keep: usize| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, &bytes[..keep.min(bytes.len())]).unwrap();
        };
        std::fs::write(private.join("index"), "of both").unwrap();
        if !Path::new(BOOT).exists() {
            return;
        }
        remove(private).unwrap();
        assert!(private.join("index").exists(), "nothing was damaged");
        for (path, keep) in [(&empty, 0), (&cut, 8)] {
            tear(path, keep);
        }
        remove(private).unwrap();
        assert!(empty.exists(), "not looked at twice");
        std::fs::write(private.join("boot"), "before").unwrap();
        remove(private).unwrap();
        let left = [&whole, &empty, &cut, &private.join("index")].map(|path| path.exists());
        assert_eq!(left, [true, false, false, false]);
    }
}
