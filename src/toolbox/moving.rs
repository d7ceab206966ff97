//! Moving a file or a directory without ever losing it.

use std::ffi::OsString;
use std::fs::{DirBuilder, FileTimes};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::{Problem, go_words};
use super::paths::shown;

/// How a move ended.
#[derive(Debug, PartialEq)]
pub(super) enum Moved {
    /// Source gone, destination there.
    Whole,
    /// Copied, but the source could not be deleted, for this reason.
    SourceStays(String),
}

/// Moves a file, link or directory. An existing destination is refused, except a link that leads nowhere,
/// which is replaced. Across file systems it is a copy under a temporary name, a rename, and only then
/// the deletion of the source; what fails on the way leaves the source untouched and no half copy.
pub(super) fn relocate(source: &Path, destination: &Path) -> Result<Moved, Problem> {
    std::fs::symlink_metadata(source).map_err(|err| Problem::writing(&shown(source), &err))?;
    if std::fs::metadata(destination).is_ok() {
        let what = format!("destination already exists: {}", shown(destination));
        return Err(Problem::conflict(what));
    }
    let parent = destination.parent().unwrap_or(Path::new("/"));
    let refused = |err: io::Error| Problem::writing(&shown(destination), &err);
    let inside = std::fs::canonicalize(parent).map_err(refused)?;
    let is_directory = std::fs::symlink_metadata(source).is_ok_and(|meta| meta.is_dir());
    if is_directory && std::fs::canonicalize(source).is_ok_and(|own| inside.starts_with(own)) {
        let what = format!("cannot move {} into itself", shown(source));
        return Err(Problem::invalid_path(what));
    }
    match rename(source, destination) {
        Ok(()) => Ok(Moved::Whole),
        Err(Errno::EXIST) => Err(Problem::conflict(format_args!(
            "destination already exists: {}",
            shown(destination)
        ))),
        // Another file system, or not ours to take away: a copy may still be possible.
        Err(Errno::XDEV | Errno::PERM | Errno::ACCESS) => copy_over(source, destination),
        Err(errno) => Err(refused(errno.into())),
    }
}

/// Renames without replacing anything but a link that leads nowhere.
fn rename(source: &Path, destination: &Path) -> Result<(), Errno> {
    if std::fs::symlink_metadata(destination).is_ok_and(|meta| meta.is_symlink()) {
        return rustix::fs::rename(source, destination);
    }
    match renameat_with(CWD, source, CWD, destination, RenameFlags::NOREPLACE) {
        // A file system without the flag; the look before has to do.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::rename(source, destination)
        }
        done => done,
    }
}

fn copy_over(source: &Path, destination: &Path) -> Result<Moved, Problem> {
    let refused = |err: io::Error| Problem::writing(&shown(destination), &err);
    let mut name = OsString::from(".move-");
    name.push(uuid::Uuid::new_v4().simple().to_string());
    let staged = destination.with_file_name(name);
    let copied = copy(source, &staged).and_then(|()| Ok(rename(&staged, destination)?));
    if let Err(err) = copied {
        // Nothing of it was there before.
        let _ = remove(&staged);
        return Err(match err.kind() {
            ErrorKind::AlreadyExists => Problem::conflict(shown(destination)),
            _ => refused(err),
        });
    }
    Ok(match remove(source) {
        Ok(()) => Moved::Whole,
        Err(err) => Moved::SourceStays(format!("unlinkat {}: {}", shown(source), go_words(&err))),
    })
}

fn remove(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

/// Copies what is there: links as links, modes and times kept.
fn copy(source: &Path, destination: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(source)?;
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(std::fs::read_link(source)?, destination);
    }
    if meta.is_dir() {
        DirBuilder::new().mode(0o700).create(destination)?;
        for entry in std::fs::read_dir(source)? {
            let name = entry?.file_name();
            copy(&source.join(&name), &destination.join(&name))?;
        }
        return std::fs::set_permissions(destination, meta.permissions());
    }
    if !meta.is_file() {
        let kind = rustix::fs::FileType::from_raw_mode(meta.mode());
        if kind == rustix::fs::FileType::Fifo {
            let mode = rustix::fs::Mode::from_raw_mode(meta.permissions().mode());
            return Ok(rustix::fs::mknodat(CWD, destination, kind, mode, 0)?);
        }
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    std::fs::copy(source, destination)?;
    let times = FileTimes::new().set_modified(meta.modified()?).set_accessed(meta.accessed()?);
    std::fs::File::open(destination)?.set_times(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use std::fs;

    #[test]
    fn never_into_itself() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("d");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("f"), "kept").unwrap();
        for to in ["d/in", "d/../d/in"] {
            let problem = relocate(&source, &dir.path().join(to)).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
        }
        assert_eq!(fs::read(source.join("f")).unwrap(), b"kept");
    }

    #[test]
    fn nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        assert_eq!(relocate(&at("a"), &at("b")).unwrap_err().status(), StatusCode::CONFLICT);
        assert_eq!(relocate(&at("x"), &at("y")).unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(relocate(&at("a"), &at("no/x")).unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(relocate(&at("a"), &at("c")).unwrap(), Moved::Whole);
        assert_eq!(fs::read(at("c")).unwrap(), b"a");
    }

    #[test]
    fn copies_are_faithful() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("s")).unwrap();
        fs::write(at("s/run"), "x").unwrap();
        fs::set_permissions(at("s/run"), fs::Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::symlink("nowhere", at("s/link")).unwrap();
        assert_eq!(copy_over(&at("s"), &at("d")).unwrap(), Moved::Whole);
        assert!(!at("s").exists());
        assert_eq!(fs::metadata(at("d/run")).unwrap().mode() & 0o777, 0o751);
        assert_eq!(fs::read_link(at("d/link")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
