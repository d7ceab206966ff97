//! Writing a file so that a reader sees the old content or the new one, nothing between.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::go_words;
use super::paths::shown;

/// How many links in a row are followed to a file that does not exist yet.
const MOST_LINKS: usize = 40;

/// A file being written.
#[derive(Debug)]
pub(super) enum Staged {
    /// Beside its destination, to be renamed over it: the normal case.
    Beside(Box<NamedTempFile>, PathBuf),
    /// The destination itself, where replacing it would change more than the content: it has several
    /// names or another owner, or its directory takes no new files.
    InPlace(File),
}

/// What failed, in Daytona's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum StagingError {
    #[error("mkdir {0}: mkdir {0}: {why}", why = go_words(.1))]
    Parents(String, #[source] io::Error),
    #[error("create: open {0}: {why}", why = go_words(.1))]
    Create(String, #[source] io::Error),
    #[error("write: {why}", why = go_words(.0))]
    Write(#[source] io::Error),
}

impl StagingError {
    /// The system's error.
    pub(super) fn io(&self) -> &io::Error {
        match self {
            Self::Parents(_, err) | Self::Create(_, err) | Self::Write(err) => err,
        }
    }
}

impl Staged {
    /// Opens a destination, through links also dangling ones, with its missing parents of this mode. An
    /// existing file keeps its mode.
    pub(super) fn open(path: &Path, parents: u32) -> Result<Self, StagingError> {
        let create = |err| StagingError::Create(shown(path), err);
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // A directory that may not be looked at may still take the file.
            let made = is_directory(parent)
                .and_then(|()| DirBuilder::new().recursive(true).mode(parents).create(parent));
            if let Err(err) = made {
                return Err(StagingError::Parents(shown(parent), err));
            }
        }
        match std::fs::metadata(path) {
            Ok(meta) => Self::over(path, &meta).map_err(create),
            Err(err) if err.kind() == ErrorKind::NotFound => {
                let target = through_links(path).map_err(create)?;
                Self::beside(target, 0o666).map_err(create)
            }
            Err(err) => Err(create(err)),
        }
    }

    fn over(path: &Path, meta: &Metadata) -> io::Result<Self> {
        if meta.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !meta.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
        let ours = meta.uid() == rustix::process::geteuid().as_raw();
        if ours && meta.nlink() == 1 {
            let staged = Self::beside(std::fs::canonicalize(path)?, 0o600);
            if let Ok(Self::Beside(file, _)) = &staged {
                file.as_file().set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
            }
            if staged.is_ok() {
                return staged;
            }
        }
        // Not blocking, should the file have become a pipe meanwhile.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file =
            OpenOptions::new().write(true).truncate(true).custom_flags(nonblocking).open(path)?;
        Ok(Self::InPlace(file))
    }

    fn beside(target: PathBuf, mode: u32) -> io::Result<Self> {
        let directory = target.parent().unwrap_or(Path::new("/"));
        let file = tempfile::Builder::new()
            .prefix(".upload-")
            .suffix(".part")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)?;
        Ok(Self::Beside(Box::new(file), target))
    }

    /// The handle to write to.
    pub(super) fn file(&mut self) -> &mut File {
        match self {
            Self::Beside(file, _) => file.as_file_mut(),
            Self::InPlace(file) => file,
        }
    }

    /// Puts the content in its place.
    pub(super) fn commit(self) -> Result<(), StagingError> {
        match self {
            Self::Beside(file, target) => {
                file.persist(&target)
                    .map_err(|err| StagingError::Create(shown(&target), err.error))?;
                Ok(())
            }
            Self::InPlace(_) => Ok(()),
        }
    }
}

/// Replaces a file's whole content.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), StagingError> {
    let mut staged = Staged::open(path, 0o755)?;
    staged.file().write_all(content).map_err(StagingError::Write)?;
    staged.commit()
}

fn is_directory(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Err(ErrorKind::NotADirectory.into()),
        _ => Ok(()),
    }
}

/// Where a name leads that leads to nothing yet.
fn through_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn content_changes_and_the_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let mut staged = Staged::open(&path, 0o755).unwrap();
        staged.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        staged.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staged::open(&dir.path().join("new"), 0o755).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("real"), "x").unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        replace(&at("link"), b"1").unwrap();
        replace(&at("dangling"), b"2").unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(fs::read(at("real")).unwrap(), b"1");
        assert_eq!(fs::read(at("nowhere")).unwrap(), b"2");
        assert!(replace(&at("loop"), b"3").is_err());
    }

    #[test]
    fn other_names_of_a_file_see_the_change() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "x").unwrap();
        fs::hard_link(&one, &two).unwrap();
        replace(&one, b"both").unwrap();
        assert_eq!(fs::read(&two).unwrap(), b"both");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let err = replace(dir.path(), b"").unwrap_err();
        assert!(err.to_string().ends_with("is a directory"), "{err}");
        assert!(replace(Path::new("/dev/null"), b"").is_err());
        fs::write(dir.path().join("f"), "").unwrap();
        let err = replace(&dir.path().join("f/x"), b"").unwrap_err();
        assert!(err.to_string().ends_with("not a directory"), "{err}");
    }
}
