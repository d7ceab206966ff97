//! A sandbox's unix socket, wherever its directory is.
//!
//! A socket address holds a path of at most 107 bytes, and the directories of people pass that easily.
//! So the directory is opened first, and the socket is named below the open directory: that name is
//! always short.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The name of a socket for as long as this value lives.
#[derive(Debug)]
pub struct Address {
    dir: OwnedFd,
    name: PathBuf,
}

impl Address {
    /// The address of the socket at `path`, whose directory must exist; the socket itself need not.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self { dir, name: name.into() })
    }

    /// What fits into a socket address.
    pub fn path(&self) -> PathBuf {
        let dir = format!("/proc/self/fd/{}", self.dir.as_raw_fd());
        Path::new(&dir).join(&self.name)
    }
}

/// Listens at `path`, in place of whatever socket an earlier life left there.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(Address::of(path)?.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn any_directory_will_do() {
        let root = tempfile::tempdir().unwrap();
        for length in [1, 60, 107, 250] {
            let dir = root.path().join("d".repeat(length)).join("run");
            std::fs::create_dir_all(&dir).unwrap();
            let path = dir.join("toolbox.sock");
            for _ in 0..2 {
                let listener = listen(&path).unwrap();
                let mut here = UnixStream::connect(Address::of(&path).unwrap().path()).unwrap();
                let (mut there, _) = listener.accept().unwrap();
                here.write_all(b"x").unwrap();
                let mut byte = [0];
                there.read_exact(&mut byte).unwrap();
            }
        }
        assert!(Address::of(&root.path().join("gone/toolbox.sock")).is_err());
    }
}
