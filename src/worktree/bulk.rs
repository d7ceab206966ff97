//! Many contents at once become one pack instead of a file each.
//!
//! The format is git's own (`gitformat-pack`, index version 2), of the plainest kind: whole blobs, not compressed,
//! no deltas. Nobody can see a pack before all of it is on the disk: the index that git looks for comes last.
//! Written here and not by `git index-pack` or the library's pack writer: they want to know the number of contents
//! before the first, and read all of it once more, which for 1,000 contents of 5 kB takes 45 ms where this takes 5.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use git2::ObjectType;
use sha1::{Digest, Sha1};
use tempfile::NamedTempFile;

use super::store::oid;
use super::{Error, Store};
use crate::tree::Oid;

/// Fewer contents than this lie by themselves: many small packs are slow to search.
const MANY: usize = 64;
/// A larger content lies by itself: it is streamed in and out, never whole in memory.
const SMALL: u64 = 1 << 20;
/// A pack that has grown to this many bytes is finished and another begun: offsets in the index have 31 bits.
const FULL: u64 = 1 << 30;

/// Stores contents that come in great numbers. What is in a pack is there after [`Bulk::finish`].
pub struct Bulk<'s> {
    store: &'s Store,
    pack: Option<Pack>,
}

impl<'s> Bulk<'s> {
    /// For about so many contents.
    pub(super) fn new(store: &'s Store, contents: usize) -> Result<Self, Error> {
        let dir = store.pack_dir();
        let pack = if contents < MANY { None } else { Some(Pack::new(dir)?) };
        Ok(Self { store, pack })
    }

    /// Stores exactly `size` bytes of `from` as a blob, with bounded memory, and returns the id they have.
    pub fn write_blob_from(&mut self, from: &mut dyn Read, size: u64) -> Result<Oid, Error> {
        let Some(pack) = self.pack.as_mut().filter(|_| size <= SMALL) else {
            return self.store.write_blob_from(from, size);
        };
        let mut bytes = Vec::with_capacity(size as usize);
        from.take(size).read_to_end(&mut bytes).map_err(|e| Error::io(&pack.dir, e))?;
        if bytes.len() as u64 != size {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than announced");
            return Err(Error::io(&pack.dir, source));
        }
        // The library's hash knows the known collisions and refuses them.
        let id = oid(git2::Oid::hash_object(ObjectType::Blob, &bytes)?);
        pack.add(id, &bytes)?;
        if pack.at >= FULL {
            let next = Pack::new(self.store.pack_dir())?;
            std::mem::replace(pack, next).finish()?;
        }
        Ok(id)
    }

    /// Puts the pack in place. Returns when it is on the disk.
    pub fn finish(self) -> Result<(), Error> {
        self.pack.map_or(Ok(()), Pack::finish)
    }
}

/// A pack that is being written, under a name nobody looks for; dropped, it is gone.
struct Pack {
    dir: PathBuf,
    out: BufWriter<NamedTempFile>,
    /// Bytes so far.
    at: u64,
    entries: BTreeMap<Oid, Packed>,
}

/// Where an entry begins in the pack, and the checksum of its bytes there.
struct Packed {
    at: u32,
    crc: u32,
}

impl Pack {
    fn new(dir: PathBuf) -> Result<Self, Error> {
        let file = temporary(&dir).map_err(|e| Error::io(&dir, e))?;
        let out = BufWriter::with_capacity(1 << 16, file);
        let mut pack = Self { dir, out, at: 0, entries: BTreeMap::new() };
        pack.write(&header(0))?;
        Ok(pack)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::io(&self.dir, e))
    }

    fn add(&mut self, id: Oid, bytes: &[u8]) -> Result<(), Error> {
        if self.entries.contains_key(&id) {
            return Ok(());
        }
        let at = u32::try_from(self.at).expect("a full pack is finished");
        let entry = entry(bytes);
        let mut crc = Crc::new();
        crc.update(&entry);
        self.write(&entry)?;
        self.entries.insert(id, Packed { at, crc: crc.sum() });
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let dir = self.dir.clone();
        self.put_in_place().map_err(|e| Error::io(&dir, e))
    }

    fn put_in_place(self) -> io::Result<()> {
        let Self { dir, out, entries, .. } = self;
        let mut pack = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let count = u32::try_from(entries.len()).expect("each takes more than one byte of 31 bits");
        pack.rewind()?;
        pack.write_all(&header(count))?;
        pack.rewind()?;
        let mut hash = Sha1::new();
        io::copy(&mut pack, &mut hash)?;
        let checksum: [u8; 20] = hash.finalize().into();
        pack.seek(SeekFrom::End(0))?;
        pack.write_all(&checksum)?;
        pack.as_file().sync_all()?;

        let mut index = temporary(&dir)?;
        index.write_all(&index_of(&entries, checksum))?;
        index.as_file().sync_all()?;
        let place = |end| dir.join(format!("pack-{}.{end}", hex::encode(checksum)));
        // The same contents in the same order are the same pack.
        pack.persist(place("pack"))?;
        index.persist(place("idx"))?;
        std::fs::File::open(&dir)?.sync_all()
    }
}

/// Git takes such names in a folder of packs for what an interrupted command left.
fn temporary(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix("tmp_pack_").tempfile_in(dir)
}

fn header(count: u32) -> [u8; 12] {
    let mut header = *b"PACK\0\0\0\x02\0\0\0\0";
    header[8..].copy_from_slice(&count.to_be_bytes());
    header
}

/// A blob as it lies in a pack: its kind and size, then its bytes as zlib has them.
fn entry(bytes: &[u8]) -> Vec<u8> {
    const BLOB: u8 = 3 << 4;
    let mut entry = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 32);
    let mut rest = bytes.len();
    let mut byte = BLOB | (rest & 0x0f) as u8;
    rest >>= 4;
    while rest > 0 {
        entry.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    entry.push(byte);
    let mut zlib = ZlibEncoder::new(entry, Compression::none());
    zlib.write_all(bytes).and_then(|()| zlib.finish()).expect("memory takes what is written")
}

fn index_of(entries: &BTreeMap<Oid, Packed>, checksum: [u8; 20]) -> Vec<u8> {
    let mut below = [0_u32; 256];
    entries.keys().for_each(|id| below[usize::from(id.0[0])] += 1);
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    let mut sum = 0;
    for count in below {
        sum += count;
        index.extend_from_slice(&sum.to_be_bytes());
    }
    entries.keys().for_each(|id| index.extend_from_slice(&id.0));
    entries.values().for_each(|packed| index.extend_from_slice(&packed.crc.to_be_bytes()));
    entries.values().for_each(|packed| index.extend_from_slice(&packed.at.to_be_bytes()));
    index.extend_from_slice(&checksum);
    let own: [u8; 20] = Sha1::digest(&index).into();
    index.extend_from_slice(&own);
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::Repo;
    use crate::worktree::git::{must, output};
    use crate::worktree::store::blob_id;

    fn store(dir: &Path) -> (Repo, Store) {
        must("init", crate::worktree::git::git_command(dir).args(["init", "-q", "."])).unwrap();
        let repo = Repo::discover(dir).unwrap();
        let store = Store::open(&repo).unwrap();
        (repo, store)
    }

    fn files(store: &Store) -> Vec<String> {
        let names = std::fs::read_dir(store.pack_dir()).unwrap();
        let mut names: Vec<_> =
            names.map(|n| n.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Of every length that a header spells differently, and one too large for a pack.
    fn contents() -> Vec<Vec<u8>> {
        let mut contents: Vec<_> = (0..70).map(|n: usize| vec![n as u8; n]).collect();
        for size in [2047, 2048, 65_535, 65_536, 300_000, SMALL as usize, SMALL as usize + 1] {
            contents.push((0..size).map(|n| (n % 251) as u8).collect());
        }
        contents.push(b"twice".to_vec());
        contents.push(b"twice".to_vec());
        contents
    }

    #[test]
    fn many_contents_are_one_pack_that_git_finds_sound() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, store) = store(dir.path());
        let contents = contents();
        for _ in 0..2 {
            let mut bulk = store.bulk(contents.len()).unwrap();
            for bytes in &contents {
                let id = bulk.write_blob_from(&mut &bytes[..], bytes.len() as u64).unwrap();
                assert_eq!(id, blob_id(bytes));
            }
            bulk.finish().unwrap();
            let files = files(&store);
            assert_eq!(files.len(), 2, "one pack, and the same again is the same: {files:?}");
        }
        for bytes in &contents {
            assert_eq!(store.read_blob(blob_id(bytes)).unwrap(), *bytes);
        }
        let mut check = repo.private_git();
        let index = store.pack_dir().join(&files(&store)[0]);
        let listed = must("verify-pack", check.args(["verify-pack", "-v"]).arg(index)).unwrap();
        let blobs = listed.split(|b| *b == b'\n').filter(|line| line.get(41..45) == Some(b"blob"));
        assert_eq!(blobs.count(), contents.len() - 2, "one is too large and one came twice");
        assert!(output(repo.private_git().args(["fsck", "--full", "--strict"])).unwrap().ok);
    }

    #[test]
    fn an_object_under_a_wrong_name_is_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, store) = store(dir.path());
        let packed = blob_id(b"packed");
        let mut pack = Pack::new(store.pack_dir()).unwrap();
        pack.add(packed, b"forged").unwrap();
        pack.finish().unwrap();
        assert!(store.has(packed) && store.read_blob(packed).is_err());
        assert!(store.copy_blob(packed, &mut io::sink()).is_err());
        for (kind, byte) in [("blob", 1), ("tree", 2)] {
            let id = Oid([byte; 20]);
            let name = id.to_string();
            let folder = repo.private_dir().join("objects").join(&name[..2]);
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::none());
            write!(zlib, "{kind} 0\0").unwrap();
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(&name[2..]), zlib.finish().unwrap()).unwrap();
            assert!(store.has(id));
            assert!(store.read_blob(id).is_err() && store.read_tree(id).is_err(), "{kind}");
            assert!(store.copy_blob(id, &mut io::sink()).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_is_not_finished_or_not_much_leaves_no_pack() {
        let dir = tempfile::tempdir().unwrap();
        let (_, store) = store(dir.path());
        let few = |count, finish: bool| {
            let mut bulk = store.bulk(count).unwrap();
            let id = bulk.write_blob_from(&mut &b"text"[..], 4).unwrap();
            assert!(bulk.write_blob_from(&mut &b"short"[..], 6).is_err());
            if finish {
                bulk.finish().unwrap();
            }
            store.has(id)
        };
        assert!(!few(MANY, false));
        assert!(few(MANY - 1, true));
        store.bulk(MANY).unwrap().finish().unwrap();
        assert!(files(&store).is_empty());
    }
}
