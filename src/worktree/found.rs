//! What lies at a path: told as git would, hashed from what the confined handles of [`super::confined`] open.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};
use sha1::{Digest, Sha1};

use super::confined::{Dir, Root, is_no_folder};
use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode, Oid};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file or link, as git would record it, and its permission bits.
    Entry(Entry, u32),
    /// A folder.
    Folder,
    /// A socket, device or fifo.
    Special,
    /// There is no such folder on the way, or it is a link or a file.
    NoFolder,
}

/// What tells a file that was written to from one that was not, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    place: (u64, u64),
    size: i64,
    mode: u32,
    written: (i64, u64),
    changed: (i64, u64),
}

impl Stamp {
    #[expect(clippy::unnecessary_cast, reason = "the types of `stat` differ between platforms")]
    fn of(stat: &Stat) -> Self {
        Self {
            place: (stat.st_dev as u64, stat.st_ino as u64),
            size: stat.st_size,
            mode: stat.st_mode as u32,
            written: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Whether a write at `now` or later would give another stamp. Kernels count time in steps of up to 10 ms,
    /// some disks in 2 s; a time in the future says nothing.
    pub fn at_rest(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.changed.max(self.written);
        let step = if nanos == 0 { Duration::from_secs(3) } else { Duration::from_millis(100) };
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds) + Duration::from_nanos(nanos) + step)
            .is_some_and(|safe| safe <= now)
    }
}

impl Found {
    /// The entry, if it is one.
    pub fn entry(self) -> Option<Entry> {
        match self {
            Found::Entry(entry, _) => Some(entry),
            _ => None,
        }
    }
}

impl Root {
    /// What lies at `path`, hashed.
    pub fn look(&self, path: &RelPath) -> io::Result<Found> {
        match self.dir(path.parent().as_ref()) {
            Ok(dir) => dir.look(path.file_name()),
            Err(e) if is_no_folder(&e) => Ok(Found::NoFolder),
            Err(e) => Err(e),
        }
    }
}

impl Dir {
    /// When and where it was last written, links not followed; `None` if nothing is there.
    pub fn stamp(&self, name: &[u8]) -> io::Result<Option<Stamp>> {
        Ok(self.stat(name)?.as_ref().map(Stamp::of))
    }

    /// What lies there, hashed.
    pub fn look(&self, name: &[u8]) -> io::Result<Found> {
        Ok(self.look_stamped(name)?.0)
    }

    /// The same with a file's stamp, taken before its bytes were read: a write in between spoils the stamp.
    pub fn look_stamped(&self, name: &[u8]) -> io::Result<(Found, Option<Stamp>)> {
        let Some(stat) = self.stat(name)? else { return Ok((Found::Nothing, None)) };
        let found = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Folder,
            FileType::Symlink => match self.read_link(name) {
                Ok(target) => Found::Entry(Entry { mode: Mode::Link, id: blob_id(&target) }, 0o777),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Nothing,
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => Found::Special,
                Err(e) => return Err(e),
            },
            FileType::RegularFile => match self.open(name) {
                Ok(file) => return look_at(file),
                // It changed its kind since the call before; whatever it is now is not what anybody expects.
                Err(e) if is_no_folder(&e) => Found::Special,
                Err(e) => return Err(e),
            },
            _ => Found::Special,
        };
        Ok((found, None))
    }

    /// What lies there, hashed, where a moment ago a file lay: it is opened without asking first what it is.
    pub fn look_again(&self, name: &[u8]) -> io::Result<Found> {
        match self.open(name) {
            Ok(file) => Ok(look_at(file)?.0),
            Err(_) => self.look(name),
        }
    }
}

fn look_at(mut file: File) -> io::Result<(Found, Option<Stamp>)> {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok((Found::Special, None));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let id = stream_id(&mut file, size)?;
    let entry = Entry { mode: mode_of(stat.st_mode), id };
    Ok((Found::Entry(entry, stat.st_mode & 0o7777), Some(Stamp::of(&stat))))
}

/// A file's mode as git would record it.
fn mode_of(bits: u32) -> Mode {
    if bits & 0o100 != 0 { Mode::Exec } else { Mode::File }
}

/// Git's id of a file's bytes, read in pieces, by the processor's own SHA-1 where it has one.
///
/// This hash knows no collisions, and need not: what is looked at here is compared with a version of the store, and
/// each of those passed a hash that refuses a content made to collide, without having seen its twin (git's when it
/// was captured, the library's when it came from a sandbox or was saved). So of no pair one half is in the store.
///
///  A file that changes its size meanwhile gets an id of
/// no content at all, and so equals nothing.
fn stream_id(file: &mut File, size: u64) -> io::Result<Oid> {
    let mut hash = Sha1::new();
    hash.update(format!("blob {size}\0"));
    // One byte more than it has: a read that comes back short was the last, and nothing has to be asked again.
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).clamp(1, 1 << 16) + 1];
    let mut seen = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(n) => {
                hash.update(&buffer[..n]);
                seen += n as u64;
                if n == 0 || seen == size && n < buffer.len() {
                    return Ok(Oid(hash.finalize().into()));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Git's id of these bytes.
pub fn blob_id(bytes: &[u8]) -> Oid {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    Oid(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn p(s: &str) -> RelPath {
        RelPath::parse(s.as_bytes()).unwrap()
    }

    #[test]
    fn what_lies_there_is_told_as_git_would() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "hello\n").unwrap();
        symlink("/nowhere", dir.path().join("l")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let id = "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap();
        assert_eq!(root.look(&p("f")).unwrap().entry(), Some(Entry { mode: Mode::File, id }));
        assert_eq!(
            root.look(&p("l")).unwrap().entry(),
            Some(Entry { mode: Mode::Link, id: blob_id(b"/nowhere") })
        );
        assert_eq!(root.look(&p("f/x")).unwrap(), Found::NoFolder);
        assert_eq!(root.look(&p("n")).unwrap(), Found::Nothing);
    }

    #[test]
    fn a_stamp_counts_only_when_the_clock_has_moved_on() {
        let stamp = |nanos| Stamp {
            place: (1, 2),
            size: 3,
            mode: 4,
            written: (5, 0),
            changed: (100, nanos),
        };
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert!(!stamp(5_000_000).at_rest(at(100_104)) && stamp(5_000_000).at_rest(at(100_105)));
        assert!(!stamp(0).at_rest(at(102_999)) && stamp(0).at_rest(at(103_000)));
        assert!(!stamp(5_000_000).at_rest(at(99_000)), "a clock that was set back says nothing");
    }
}
