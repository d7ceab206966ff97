//! The worktree as a directory handle: what cannot be named from it cannot be reached.
//!
//! A folder is opened beneath the root without following a single link; from there on every call
//! takes that handle and one component. No path string is ever checked first and used later, so
//! a folder swapped for a link in between has no effect.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode as Bits, OFlags, Stat};
use rustix::io::Errno;

use crate::rel_path::RelPath;

/// Handles that only name a folder need no right to list it.
#[cfg(target_os = "linux")]
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The top of the worktree.
pub struct Root {
    fd: OwnedFd,
    /// Walk component by component, as where the kernel has no `openat2`.
    walk: bool,
}

impl Root {
    /// Opens the worktree's top folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self {
            fd: rustix::fs::open(path, flags, Bits::empty())?,
            walk: cfg!(not(target_os = "linux")),
        })
    }

    /// The same without the kernel's help, as on older kernels.
    pub fn walking(self) -> Self {
        Self { walk: true, ..self }
    }

    /// A handle of the folder; the root for `None`. Fails with `ENOENT`, or `ENOTDIR`/`ELOOP` where a
    /// component is no folder.
    pub fn dir(&self, path: Option<&RelPath>) -> io::Result<Dir> {
        let Some(path) = path else {
            let fd = rustix::fs::openat(&self.fd, ".", FOLDER, Bits::empty())?;
            return Ok(Dir::of(fd));
        };
        #[cfg(target_os = "linux")]
        if !self.walk {
            use rustix::fs::ResolveFlags;
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.fd, path.as_path(), FOLDER, Bits::empty(), resolve) {
                Ok(fd) => return Ok(Dir::of(fd)),
                // Unknown to the kernel, forbidden by a filter, or disturbed by a rename: walk instead.
                Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let mut dir = self.dir(None)?;
        for component in path.components() {
            dir = dir.dir(component)?;
        }
        Ok(dir)
    }

    /// A handle of the folder, made with its parents where they are missing.
    pub fn make_dir(&self, path: Option<&RelPath>) -> io::Result<Dir> {
        match self.dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut dir = self.dir(None)?;
        for component in path.into_iter().flat_map(RelPath::components) {
            match rustix::fs::mkdirat(
                &dir.fd,
                OsStr::from_bytes(component),
                Bits::from_raw_mode(0o777),
            ) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            dir = dir.dir(component)?;
        }
        Ok(dir)
    }

    /// Bytes free for this user on the worktree's disk; `None` where it cannot be said.
    pub fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.fd).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// The disk it lies on.
    pub fn device(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_dev as u64)
    }

    /// Waits until everything written to the disk so far is on it.
    pub fn sync_all(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.fd)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }
}

/// Whether a folder is missing, or is something else.
pub fn is_no_folder(e: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV]
        .iter()
        .any(|n| e.raw_os_error() == Some(n.raw_os_error()))
}

/// A folder inside the worktree. Names are single components.
pub struct Dir {
    fd: OwnedFd,
    /// Bits that a new file here was given as they were asked for.
    exact: Cell<Option<u32>>,
}

impl Dir {
    fn of(fd: OwnedFd) -> Self {
        Self { fd, exact: Cell::default() }
    }

    fn dir(&self, name: &[u8]) -> io::Result<Dir> {
        Ok(Self::of(rustix::fs::openat(&self.fd, one(name), FOLDER, Bits::empty())?))
    }

    /// What lies there, without following it; `None` if nothing.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, one(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Names all that lies in the folder, each with its kind.
    pub fn list(&self, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Bits::empty())?;
        for entry in rustix::fs::Dir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let kind = match entry.file_type() {
                // Not every file system tells.
                FileType::Unknown => match self.stat(name)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                kind => kind,
            };
            if name != b"." && name != b".." {
                each(name, kind);
            }
        }
        Ok(())
    }

    /// Opens a file for reading; a link or a fifo is never followed or waited for.
    pub fn open(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, one(name), flags, Bits::empty())?))
    }

    /// Creates a file that was not there. `bits` are narrowed by the umask.
    pub fn create(&self, name: &[u8], bits: u32) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, one(name), flags, Bits::from_raw_mode(bits))?))
    }

    /// Creates a file that was not there, with exactly these bits whatever the umask and the folder's own rules say.
    pub fn create_exact(&self, name: &[u8], bits: u32) -> io::Result<File> {
        let file = self.create(name, bits)?;
        if self.exact.get() == Some(bits) {
            return Ok(file);
        }
        if rustix::fs::fstat(&file)?.st_mode & 0o7777 == bits {
            self.exact.set(Some(bits));
        } else {
            rustix::fs::fchmod(&file, Bits::from_raw_mode(bits))?;
        }
        Ok(file)
    }

    /// A file without a name, to be given one by [`Dir::name`]; `Unsupported` where that does not exist.
    #[cfg(target_os = "linux")]
    pub fn create_nameless(&self, bits: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, ".", flags, Bits::from_raw_mode(bits)) {
            Ok(fd) => Ok(File::from(fd)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// As where the kernel has none.
    #[cfg(not(target_os = "linux"))]
    pub fn create_nameless(&self, _bits: u32) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a nameless file its name; fails with `AlreadyExists` if that is taken.
    pub fn name(&self, file: &File, name: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::linkat(file, "", &self.fd, one(name), AtFlags::EMPTY_PATH) {
            Ok(()) => return Ok(()),
            // Before Linux 6.10 a privilege; after it, the way that is not walked through another file system.
            Err(Errno::NOENT | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(rustix::fs::CWD, own, &self.fd, one(name), AtFlags::SYMLINK_FOLLOW)
        {
            Ok(()) => Ok(()),
            Err(Errno::NOENT | Errno::XDEV) => Err(io::ErrorKind::Unsupported.into()),
            Err(e) => Err(e.into()),
        }
    }

    /// Creates a link that was not there.
    pub fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), &self.fd, one(name))?)
    }

    /// A link's target.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, one(name), Vec::new())?.into_bytes())
    }

    /// Removes a file or link; nothing there is fine.
    pub fn unlink(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, one(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes an empty folder; `false` if something is in it or it is none.
    pub fn remove_empty(&self, name: &[u8]) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, one(name), AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::NOENT | Errno::BUSY) => {
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Swaps two names in one step; `Unsupported` where the file system cannot.
    pub fn exchange(&self, a: &[u8], b: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return match rustix::fs::renameat_with(
            &self.fd,
            one(a),
            &self.fd,
            one(b),
            rustix::fs::RenameFlags::EXCHANGE,
        ) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            Err(e) => Err(e.into()),
        };
        #[cfg(not(target_os = "linux"))]
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames within the folder, replacing what is there.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, one(from), &self.fd, one(to))?)
    }

    /// Renames within the folder; fails with `AlreadyExists` if the new name is taken.
    pub fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.move_new(from, self, to)
    }

    /// Moves into another folder; fails with `AlreadyExists` if the name there is taken.
    pub fn move_new(&self, from: &[u8], into: &Dir, to: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::renameat_with(
            &self.fd,
            one(from),
            &into.fd,
            one(to),
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Ok(()) => return Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
        if into.stat(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(rustix::fs::renameat(&self.fd, one(from), &into.fd, one(to))?)
    }

    /// Whether entries may be made and removed in it.
    pub fn check_writable(&self) -> io::Result<()> {
        Ok(rustix::fs::accessat(
            &self.fd,
            ".",
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        )?)
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Bits::empty())?;
        for entry in rustix::fs::Dir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Waits until the folder's names are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Bits::empty())?;
        Ok(rustix::fs::fsync(fd)?)
    }
}

/// A single component; the proof that no call of this module takes more.
fn one(name: &[u8]) -> &OsStr {
    assert!(!name.is_empty() && !name.contains(&b'/') && name != b"..", "a single component");
    OsStr::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn p(s: &str) -> RelPath {
        RelPath::parse(s.as_bytes()).unwrap()
    }

    fn both(top: &Path) -> [Root; 2] {
        [Root::open(top).unwrap(), Root::open(top).unwrap().walking()]
    }

    #[test]
    fn no_link_is_followed_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink(outside.path(), dir.path().join("a/out")).unwrap();
        symlink("a", dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        for root in both(dir.path()) {
            assert!(root.dir(Some(&p("a/b"))).is_ok());
            for bad in ["a/out", "a/out/x", "in", "in/b", "file", "file/x", "missing"] {
                let e = root.dir(Some(&p(bad))).err().unwrap_or_else(|| panic!("{bad} was opened"));
                assert!(is_no_folder(&e), "{bad}: {e}");
            }
            for bad in ["a/out/x", "in/new", "file/x"] {
                assert!(root.make_dir(Some(&p(bad))).is_err(), "{bad}");
            }
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    #[should_panic(expected = "a single component")]
    fn more_than_one_component_cannot_be_named() {
        let dir = tempfile::tempdir().unwrap();
        let _ = Root::open(dir.path()).unwrap().dir(None).unwrap().open(b"a/b");
    }
}
