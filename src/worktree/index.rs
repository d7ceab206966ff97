//! Git's index, read for what git took down of each file when it last looked at it.
//!
//! Whoever finds a file exactly so need not ask git about it again. Everything else is git's to judge. Format:
//! `gitformat-index(5)`, versions 2 and 3 with SHA-1 ids. Not read by the library: for 10,000 files it takes 3.4 ms
//! where this takes 0.3, of the 23 ms of a whole capture.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::tree::Oid;

/// Header, one entry up to its flags, and the checksum at the end, in bytes.
const HEADER: usize = 12;
const FIXED: usize = 62;
const CHECKSUM: usize = 20;
/// Flags that make an entry a special case: assumed valid, more flags behind, a stage of a merge.
const ODD: u16 = 0xf000;

/// The bytes of an index and when they were written.
#[derive(Debug, Default)]
pub(super) struct Index {
    bytes: Vec<u8>,
    written: i64,
}

/// One file of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'i> {
    pub(super) path: &'i [u8],
    mode: u32,
    seen: Seen,
    /// No flag says that it needs a closer look.
    plain: bool,
}

/// What tells a file that was written to from one that was not; numbers are cut to 32 bits, as git stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    changed: [u32; 2],
    written: [u32; 2],
    place: u32,
    owner: [u32; 2],
    size: u32,
}

impl Index {
    /// Whether there is an index, of a kind that is read here.
    pub(super) fn is_known(path: &Path) -> bool {
        let mut head = [0; HEADER];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
        read.is_ok() && count(&head).is_some()
    }

    /// Reads an index; one that is not there is empty.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.read_to_end(&mut bytes)?;
        Ok(Self { bytes, written: meta.mtime() })
    }

    /// Its files, sorted by path; `None` if it is of a kind that is not read here.
    pub(super) fn entries(&self) -> Option<Vec<Entry<'_>>> {
        if self.bytes.is_empty() {
            return Some(Vec::new());
        }
        let count = count(&self.bytes)?;
        let end = self.bytes.len().checked_sub(CHECKSUM)?;
        let mut entries = Vec::with_capacity(count.min(end / FIXED));
        let mut at = HEADER;
        for _ in 0..count {
            let (entry, next) = entry_at(&self.bytes[..end], at)?;
            entries.push(entry);
            at = next;
        }
        // What follows may be left aside, unless its name begins with a small letter.
        while at < end {
            if self.bytes[at].is_ascii_lowercase() {
                return None;
            }
            at = at.checked_add(8)?.checked_add(word(&self.bytes, at + 4)? as usize)?;
        }
        Some(entries)
    }

    /// Whether a file is surely as the index has it. One written in the second of the index or later may have
    /// been written once more since git looked, and show the same.
    pub(super) fn vouches(&self, entry: &Entry<'_>, now: &Stat, file_mode: bool) -> bool {
        entry.plain
            && i64::from(entry.seen.written[0]) < self.written
            && entry.seen == Seen::of(now)
            && entry.has_kind(now.st_mode, file_mode)
    }
}

impl Entry<'_> {
    fn has_kind(&self, mode: u32, file_mode: bool) -> bool {
        match FileType::from_raw_mode(mode) {
            FileType::Symlink => self.mode == 0o120000,
            FileType::RegularFile if file_mode => {
                self.mode == if mode & 0o100 == 0 { 0o100644 } else { 0o100755 }
            }
            FileType::RegularFile => matches!(self.mode, 0o100644 | 0o100755),
            _ => false,
        }
    }
}

impl Seen {
    fn of(stat: &Stat) -> Self {
        Self {
            changed: [stat.st_ctime as u32, stat.st_ctime_nsec as u32],
            written: [stat.st_mtime as u32, stat.st_mtime_nsec as u32],
            place: stat.st_ino as u32,
            owner: [stat.st_uid, stat.st_gid],
            size: stat.st_size as u32,
        }
    }
}

/// Seconds of the latest change of a file or of what is known of it.
#[expect(clippy::unnecessary_cast, reason = "the types of `stat` differ between platforms")]
pub(super) fn changed_at(stat: &Stat) -> i64 {
    (stat.st_mtime as i64).max(stat.st_ctime as i64)
}

/// The number of entries a header tells; `None` if it is none that is known here.
fn count(head: &[u8]) -> Option<usize> {
    match (head.get(..4)?, word(head, 4)?) {
        (b"DIRC", 2 | 3) => Some(word(head, 8)? as usize),
        _ => None,
    }
}

/// The entry at `at`, and where the next one begins.
fn entry_at(bytes: &[u8], at: usize) -> Option<(Entry<'_>, usize)> {
    let field = |n: usize| word(bytes, at + 4 * n);
    let seen = Seen {
        changed: [field(0)?, field(1)?],
        written: [field(2)?, field(3)?],
        place: field(5)?,
        owner: [field(7)?, field(8)?],
        size: field(9)?,
    };
    let id = bytes.get(at + 40..at + 60)?;
    let flags = u16::from_be_bytes(bytes.get(at + 60..at + FIXED)?.try_into().ok()?);
    let name = at + FIXED + if flags & 0x4000 == 0 { 0 } else { 2 };
    let path = &bytes[name..name + memchr::memchr(0, bytes.get(name..)?)?];
    // Git writes a size of zero for a file whose content it could not vouch for.
    let doubtful = seen.size == 0 && id != Oid::EMPTY_BLOB.0;
    let plain = flags & ODD == 0 && !doubtful;
    // One to eight zeros fill up a multiple of eight.
    let next = at + ((name + path.len() - at) / 8 + 1) * 8;
    Some((Entry { path, mode: field(6)?, seen, plain }, next))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    struct Ground {
        dir: tempfile::TempDir,
    }

    impl Ground {
        /// A repository with files last written and indexed a minute ago.
        fn new(names: &[&str]) -> Self {
            let ground = Self { dir: tempfile::tempdir().unwrap() };
            ground.git(&["init", "-q"]);
            for name in names {
                let path = ground.dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, name).unwrap();
                let minute_ago = SystemTime::now() - Duration::from_secs(60);
                File::options().write(true).open(&path).unwrap().set_modified(minute_ago).unwrap();
            }
            ground.git(&["add", "."]);
            ground
        }

        fn git(&self, args: &[&str]) -> Vec<u8> {
            let mut git = super::super::git::git_command(self.dir.path());
            git.env("GIT_CONFIG_GLOBAL", "/dev/null").args(args);
            super::super::git::must("git", &mut git).unwrap()
        }

        fn index(&self) -> Index {
            Index::read(&self.dir.path().join(".git/index")).unwrap()
        }

        fn stat(&self, name: &str) -> Stat {
            rustix::fs::lstat(self.dir.path().join(name)).unwrap()
        }
    }

    #[test]
    fn files_are_read_as_git_lists_them() {
        let long = "d/".repeat(40) + &"n".repeat(200);
        let ground = Ground::new(&["a", "b/c", "b.txt", "b/dd", "bb/eee", &long]);
        let listed = |ground: &Ground, index: &Index| {
            let names = ground.git(&["ls-files", "-z"]);
            let read: Vec<u8> =
                index.entries().unwrap().iter().flat_map(|e| [e.path, b"\0"].concat()).collect();
            assert_eq!(names, read);
        };
        listed(&ground, &ground.index());
        std::fs::write(ground.dir.path().join("intended"), "").unwrap();
        ground.git(&["add", "-N", "intended"]);
        let index = ground.index();
        listed(&ground, &index);
        let plain = |entry: &Entry<'_>| entry.plain == (entry.path != b"intended");
        assert!(index.entries().unwrap().iter().all(plain));
        for kind in [&["--index-version", "4"][..], &["--split-index"]] {
            ground.git(&[&["update-index"], kind].concat());
            assert_eq!(ground.index().entries(), None, "{kind:?}");
        }
        assert_eq!(
            Index::read(&ground.dir.path().join("none")).unwrap().entries(),
            Some(Vec::new())
        );
    }

    #[test]
    fn only_what_is_surely_untouched_is_vouched_for() {
        let vouched = |change: &dyn Fn(&Path)| {
            let ground = Ground::new(&["a"]);
            change(&ground.dir.path().join("a"));
            let index = ground.index();
            index.vouches(&index.entries().unwrap()[0], &ground.stat("a"), true)
        };
        assert!(vouched(&|_| {}));
        assert!(!vouched(&|a| std::fs::write(a, "b").unwrap()));
        assert!(!vouched(&|a| std::fs::write(a, "").unwrap()));
        let bits = std::os::unix::fs::PermissionsExt::from_mode;
        assert!(!vouched(&|a| std::fs::set_permissions(a, bits(0o755)).unwrap()));
        assert!(!vouched(&|a| {
            let time = std::fs::metadata(a).unwrap().modified().unwrap();
            std::fs::write(a, "b").unwrap();
            File::options().write(true).open(a).unwrap().set_modified(time).unwrap();
        }));
        assert!(!vouched(&|a| {
            std::fs::remove_file(a).unwrap();
            std::os::unix::fs::symlink("a", a).unwrap();
        }));
    }

    #[test]
    fn what_was_written_in_the_second_of_the_index_is_not_vouched_for() {
        let ground = Ground::new(&["a"]);
        let stat = ground.stat("a");
        let mut index = ground.index();
        for (written, sure) in
            [(stat.st_mtime + 1, true), (stat.st_mtime, false), (stat.st_mtime - 1, false)]
        {
            index.written = written;
            assert_eq!(index.vouches(&index.entries().unwrap()[0], &stat, true), sure);
        }
    }

    #[test]
    fn modes_count_only_where_the_disk_has_them() {
        let entry = |mode| {
            let bytes =
                [[0; 40].to_vec(), Oid::EMPTY_BLOB.0.to_vec(), b"\0\x01a\0".to_vec()].concat();
            let entry = entry_at(&bytes, 0).unwrap().0;
            Entry { mode, path: b"a", ..entry }
        };
        assert!(
            entry(0o100644).has_kind(0o100664, true) && !entry(0o100644).has_kind(0o100744, true)
        );
        assert!(
            entry(0o100755).has_kind(0o100644, false) && entry(0o120000).has_kind(0o120777, true)
        );
        for mode in [0o040755, 0o010644, 0o140755] {
            assert!(
                !entry(0o100644).has_kind(mode, false) && !entry(0o100755).has_kind(mode, true)
            );
        }
        assert!(
            !entry(0o160000).has_kind(0o040755, true) && !entry(0o120000).has_kind(0o100644, false)
        );
    }

    #[test]
    fn a_damaged_index_is_refused_or_read_and_never_a_panic() {
        let whole = Ground::new(&["a", "b/c"]).index().bytes;
        let entries = |bytes: Vec<u8>| Index { bytes, written: 0 }.entries().map(|e| e.len());
        assert_eq!(entries(whole.clone()), Some(2));
        for at in 0..whole.len() {
            let short = (1..HEADER + 2 * FIXED + CHECKSUM).contains(&at);
            assert!(!short || entries(whole[..at].to_vec()).is_none(), "cut at {at}");
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let _ = entries(bytes);
            }
        }
    }
}
