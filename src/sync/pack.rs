//! A delta as a tar.gz: control lists below `c/`, contents below `f/`. Memory does not grow with the files.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use tar::{Builder, EntryType, Header};

use super::counted::Counted;
use super::delta::Delta;
use super::gzip::{Gzip, shrinks};
use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode, Oid};
use crate::worktree::Store;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the archive.
    pub size: u64,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    /// Bytes of the files in it.
    pub content: u64,
}

/// What lies between here and the sandbox. It decides what a byte costs against what a second costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// This machine: compression is all that takes time.
    Near,
    /// A network: a byte saved is time saved below some 100 Mbit/s, and above that little is lost.
    Far,
}

impl Link {
    /// Level 1 takes less than half of level 4's time for a third more bytes.
    fn level(self) -> u32 {
        match self {
            Link::Near => 1,
            Link::Far => 4,
        }
    }
}

/// The beginning of a large file by which compression is tried; smaller files are compressed untried.
const PROBE: usize = 64 * 1024;
/// Objects up to this size are read whole.
const WHOLE: u64 = 1 << 20;

/// Writes the archive. Content comes from the store's objects, so it is what the snapshot's id names, no
/// matter what happens to the files meanwhile. Contents that are `carried` by other means stay out of it.
pub fn pack(
    delta: &Delta,
    carried: &BTreeSet<Oid>,
    store: &Store,
    link: Link,
    out: &mut dyn Write,
) -> anyhow::Result<Packed> {
    let counted = Counted::new(out);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let mut packer =
        Packer { tar: Builder::new(Gzip::new(counted, link.level())?), now, content: 0 };
    packer.lists(delta, carried)?;
    for (path, entry) in delta.writes.iter().filter(|(_, e)| !carried.contains(&e.id)) {
        packer.file(path, *entry, store)?;
    }
    let content = packer.content;
    let (size, sha256) = packer.tar.into_inner()?.finish()?.end();
    Ok(Packed { size, sha256, content })
}

struct Packer<'o> {
    tar: Builder<Gzip<Counted<&'o mut dyn Write>>>,
    now: u64,
    content: u64,
}

impl Packer<'_> {
    fn lists(&mut self, delta: &Delta, carried: &BTreeSet<Oid>) -> io::Result<()> {
        let nul = |paths: &[RelPath]| {
            paths.iter().flat_map(|p| p.as_bytes().iter().copied().chain([0])).collect::<Vec<u8>>()
        };
        let written = |which: &dyn Fn(&Entry) -> bool| -> Vec<RelPath> {
            let those = delta.writes.iter().filter(|(_, entry)| which(entry));
            those.map(|(path, _)| path.clone()).collect()
        };
        let links = written(&|entry| entry.mode == Mode::Link);
        self.list("f", &nul(&written(&|_| true)))?;
        self.list("h", &nul(&written(&|entry| carried.contains(&entry.id))))?;
        self.list("a", &nul(&delta.added))?;
        self.list("d", &nul(&delta.deletes))?;
        self.list("r", &nul(&delta.replaced))?;
        self.list("e", &nul(&delta.emptied))?;
        self.list("w", &nul(&delta.touched))?;
        self.list("l", &nul(&links))?;
        self.list("i", &index_info(delta))
    }

    fn list(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = self.header(EntryType::Regular, 0o600, content.len() as u64);
        self.tar.append_data(&mut header, format!("c/{name}"), content)
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        // The time of the sync, never a constant: make and cargo would miss a change.
        header.set_mtime(self.now);
        header
    }

    fn file(&mut self, path: &RelPath, entry: Entry, store: &Store) -> anyhow::Result<()> {
        let name = [b"f/", path.as_bytes()].concat();
        let name = std::path::Path::new(std::ffi::OsStr::from_bytes(&name));
        match entry.mode {
            Mode::Gitlink => {}
            Mode::Link => {
                let target = store.read_blob(entry.id)?;
                let mut header = self.header(EntryType::Symlink, 0o777, 0);
                let target = std::path::Path::new(std::ffi::OsStr::from_bytes(&target));
                self.tar.append_link(&mut header, name, target)?;
            }
            Mode::File | Mode::Exec => {
                let size = store.blob_size(entry.id)?.unwrap_or(0);
                let mode = if entry.mode == Mode::Exec { 0o755 } else { 0o644 };
                let mut header = self.header(EntryType::Regular, mode, size);
                self.content += size;
                self.append(&mut header, name, entry, size, store)?;
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        header: &mut Header,
        name: &std::path::Path,
        entry: Entry,
        size: u64,
        store: &Store,
    ) -> anyhow::Result<()> {
        if size <= WHOLE {
            let bytes = store.read_blob(entry.id)?;
            return Ok(self.member(header, name, &bytes, io::empty())?);
        }
        // Large objects are read on a thread of their own, through a pipe.
        let (mut reader, mut writer) = io::pipe()?;
        let beside = store.reopen();
        std::thread::scope(|scope| {
            let copying = scope.spawn(move || beside.copy_blob(entry.id, &mut writer));
            let mut start = vec![0; PROBE];
            let appended = reader
                .read_exact(&mut start)
                .and_then(|()| self.member(header, name, &start, reader.take(size - PROBE as u64)));
            let copied = copying
                .join()
                .map_err(|_| anyhow::anyhow!("reading object {} failed", entry.id))?;
            // One failure makes the other: a reader that leaves breaks the pipe, a writer that leaves cuts it.
            match appended {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
                appended => {
                    copied?;
                    Ok(appended?)
                }
            }
        })
    }

    /// One member: what `start` holds, then `rest`. It is stored when its beginning does not shrink.
    fn member(
        &mut self,
        header: &mut Header,
        name: &std::path::Path,
        start: &[u8],
        rest: impl Read,
    ) -> io::Result<()> {
        let stored = start.len() >= PROBE && !shrinks(&start[..PROBE]);
        if stored {
            self.tar.get_mut().set_stored(true)?;
        }
        let content = io::BufReader::with_capacity(PROBE, start.chain(rest));
        self.tar.append_data(header, name, content)?;
        if stored {
            self.tar.get_mut().set_stored(false)?;
        }
        Ok(())
    }
}

/// What `git update-index -z --index-info` reads: one line for each path that changes.
fn index_info(delta: &Delta) -> Vec<u8> {
    let mut lines = Vec::new();
    for path in &delta.deletes {
        lines.extend_from_slice(b"0 0000000000000000000000000000000000000000\t");
        lines.extend_from_slice(path.as_bytes());
        lines.push(0);
    }
    for (path, entry) in &delta.writes {
        lines.extend_from_slice(format!("{} {}\t", entry.mode.as_git(), entry.id).as_bytes());
        lines.extend_from_slice(path.as_bytes());
        lines.push(0);
    }
    lines
}
