//! Objects of the private repository: blobs and trees, never commits.

use std::borrow::Borrow;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use flate2::read::ZlibDecoder;
use git2::{ObjectType, Odb, OdbObject, Repository};
use sha1::{Digest, Sha1};

use super::bulk::Bulk;
use super::git::{git_command, no_git};
use super::private::BIG_FILE;
use super::repo::Repo;
use super::{Error, apply};
use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode, Oid, Tree};

/// The private repository's objects, and through its alternates the user's (read only).
///
/// Cheap to open. Not shared between threads: each thread opens its own.
pub struct Store {
    /// Opened when it is first needed: a thread's own store may never need it.
    repo: OnceCell<Repository>,
    dir: PathBuf,
    /// Trees read or written through this handle: they are there and need not be written.
    trees: RefCell<HashSet<git2::Oid>>,
}

impl Store {
    /// Opens the store of a worktree, making it first if it is missing.
    pub fn open(repo: &Repo) -> Result<Self, Error> {
        repo.prepare()?;
        let dir = repo.private_dir().to_owned();
        let store = Self::at(dir);
        store.repo()?;
        Ok(store)
    }

    fn at(dir: PathBuf) -> Self {
        Self { repo: OnceCell::new(), dir, trees: RefCell::default() }
    }

    /// The same store once more, for another thread.
    pub fn reopen(&self) -> Self {
        Self::at(self.dir.clone())
    }

    fn repo(&self) -> Result<&Repository, Error> {
        if let Some(repo) = self.repo.get() {
            return Ok(repo);
        }
        // What is read is checked here, by a hash that takes a fifth of the time.
        git2::opts::strict_hash_verification(false);
        let repo = Repository::open_bare(&self.dir)?;
        Ok(self.repo.get_or_init(|| repo))
    }

    fn odb(&self) -> Result<Odb<'_>, Error> {
        Ok(self.repo()?.odb()?)
    }

    fn git(&self) -> Command {
        let mut git = git_command(&self.dir);
        git.env("GIT_DIR", &self.dir);
        git
    }

    /// Waits until every object written so far is on the disk. What another side is told of has to survive here.
    pub fn sync_all(&self) -> Result<(), Error> {
        let all = super::confined::Root::open(&self.dir).and_then(|dir| dir.sync_all());
        all.map_err(|e| Error::io(&self.dir, e))
    }

    /// Whether an object is here.
    pub fn has(&self, id: Oid) -> bool {
        self.odb().is_ok_and(|odb| odb.exists(raw(id)))
    }

    fn loose_path(&self, id: Oid) -> PathBuf {
        let name = id.to_string();
        self.dir.join("objects").join(&name[..2]).join(&name[2..])
    }

    /// A blob that lies by itself in the private repository: its size and its bytes, streamed. What was fetched
    /// or captured a moment ago lies there; opening it here asks the disk once where the library asks five times.
    fn loose_blob(&self, id: Oid) -> Option<(u64, impl Read + use<>)> {
        let file = std::fs::File::open(self.loose_path(id)).ok()?;
        let packed = ZlibDecoder::new_with_buf(file, vec![0; 16 << 10]);
        let mut stream = BufReader::with_capacity(16 << 10, packed);
        let mut head = Vec::new();
        stream.by_ref().take(32).read_until(0, &mut head).ok()?;
        let size = std::str::from_utf8(head.strip_prefix(b"blob ")?.strip_suffix(b"\0")?).ok()?;
        Some((size.parse().ok()?, stream))
    }

    /// Waits until an object that lies here by itself is on the disk; the user's own are git's matter.
    fn sync(&self, id: Oid) -> io::Result<()> {
        match std::fs::File::open(self.loose_path(id)) {
            Ok(file) => file.sync_data(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A blob's size in bytes; `None` if it is not here.
    pub fn blob_size(&self, id: Oid) -> Result<Option<u64>, Error> {
        match self.loose_blob(id) {
            Some((size, _)) => Ok(Some(size)),
            None => self.packed_size(id),
        }
    }

    fn packed_size(&self, id: Oid) -> Result<Option<u64>, Error> {
        match self.odb()?.read_header(raw(id)) {
            Ok((size, ObjectType::Blob)) => Ok(Some(size as u64)),
            Ok(_) => Err(Error::NotABlob { id }),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A whole blob. For blobs that may be large use [`Store::copy_blob`].
    pub fn read_blob(&self, id: Oid) -> Result<Vec<u8>, Error> {
        Ok(checked(&self.odb()?, id, ObjectType::Blob)?.data().to_vec())
    }

    /// A blob's content, cut after `most` bytes: what is larger is never whole in memory.
    pub fn read_start(&self, id: Oid, most: u64) -> Result<Vec<u8>, Error> {
        if self.blob_size(id)?.ok_or(Error::Missing { id })? <= most {
            return self.read_blob(id);
        }
        let mut child = self.cat(id)?;
        let mut start = Vec::new();
        let stdout = child.stdout.take().expect("stdout was piped");
        let read = stdout.take(most).read_to_end(&mut start);
        // It has more to say than is wanted.
        let _ = child.kill();
        let _ = child.wait();
        match read {
            Ok(size) if size as u64 == most => Ok(start),
            Ok(_) => Err(Error::Missing { id }),
            Err(e) => Err(Error::io(&self.dir, e)),
        }
    }

    /// Git printing a blob: the library holds a packed object in memory whole, git streams it.
    fn cat(&self, id: Oid) -> Result<std::process::Child, Error> {
        self.git()
            .args(["cat-file", "blob", &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| no_git(None, e))
    }

    /// Writes a blob's bytes to `out` with memory bounded by 8 MiB; returns their number. What was written is
    /// what the id says, or it is an error.
    pub fn copy_blob(&self, id: Oid, out: &mut dyn Write) -> Result<u64, Error> {
        let write = |e| Error::io(&self.dir, e);
        if let Some((size, mut stream)) = self.loose_blob(id) {
            let mut out = Hashing::new(out, size);
            let copied = io::copy(&mut stream, &mut out).map_err(write)?;
            return if out.id() == id { Ok(copied) } else { Err(Error::Missing { id }) };
        }
        let size = self.packed_size(id)?.ok_or(Error::Missing { id })?;
        if size <= BIG_FILE {
            out.write_all(checked(&self.odb()?, id, ObjectType::Blob)?.data()).map_err(write)?;
            return Ok(size);
        }
        let mut child = self.cat(id)?;
        let mut stdout = child.stdout.take().expect("stdout was piped");
        let copied = io::copy(&mut stdout, out);
        drop(stdout);
        let status = child.wait().map_err(|e| no_git(None, e))?;
        let copied = copied.map_err(write)?;
        if !status.success() || copied != size {
            return Err(Error::Missing { id });
        }
        Ok(size)
    }

    /// Stores bytes as a blob.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Oid, Error> {
        Ok(oid(self.odb()?.write(ObjectType::Blob, bytes)?))
    }

    /// Stores exactly `size` bytes of `from` as a blob, with bounded memory.
    pub fn write_blob_from(&self, from: &mut dyn Read, size: u64) -> Result<Oid, Error> {
        let odb = self.odb()?;
        let mut writer = odb.writer(size as usize, ObjectType::Blob)?;
        let copied =
            io::copy(&mut from.take(size), &mut writer).map_err(|e| Error::io(&self.dir, e))?;
        if copied != size {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than announced");
            return Err(Error::io(&self.dir, source));
        }
        Ok(oid(writer.finalize()?))
    }

    /// Stores about so many contents.
    pub fn bulk(&self, contents: usize) -> Result<Bulk<'_>, Error> {
        Bulk::new(self, contents)
    }

    pub(super) fn pack_dir(&self) -> PathBuf {
        self.dir.join("objects/pack")
    }

    /// All entries of a tree, recursively. A name that is no [`RelPath`] is an error.
    pub fn read_tree(&self, id: Oid) -> Result<Tree, Error> {
        let mut all = Tree::new();
        let mut open = vec![(Vec::new(), raw(id))];
        if id == Oid::EMPTY_TREE {
            return Ok(all);
        }
        while let Some((prefix, id)) = open.pop() {
            checked(&self.odb()?, oid(id), ObjectType::Tree)?;
            let tree = self.repo()?.find_tree(id)?;
            self.trees.borrow_mut().insert(id);
            for entry in tree.iter() {
                let mut name = prefix.clone();
                name.extend_from_slice(entry.name_bytes());
                let mode = match entry.filemode_raw() {
                    0o040000 => {
                        name.push(b'/');
                        open.push((name, entry.id()));
                        continue;
                    }
                    0o120000 => Mode::Link,
                    0o160000 => Mode::Gitlink,
                    bits if bits & 0o111 != 0 => Mode::Exec,
                    _ => Mode::File,
                };
                let path = RelPath::parse(&name)
                    .map_err(|why| Error::BadName { name: crate::rel_path::escape(&name), why })?;
                all.insert(path, Entry { mode, id: oid(entry.id()) });
            }
        }
        Ok(all)
    }

    /// Adds to `found` all that the trees lead to, each object with a name it has there. Of a tree that is
    /// missing nothing can be known, or be used.
    pub fn reach(
        &self,
        trees: impl IntoIterator<Item = Oid>,
        found: &mut HashMap<Oid, Vec<u8>>,
    ) -> Result<(), Error> {
        let odb = self.odb()?;
        let mut open: Vec<(Oid, Vec<u8>)> = trees.into_iter().map(|id| (id, Vec::new())).collect();
        while let Some((id, name)) = open.pop() {
            if found.insert(id, name).is_some() || !odb.exists(raw(id)) {
                continue;
            }
            for entry in self.repo()?.find_tree(raw(id))?.iter() {
                let (id, name) = (oid(entry.id()), entry.name_bytes().to_vec());
                match entry.filemode_raw() {
                    0o040000 => open.push((id, name)),
                    0o160000 => {}
                    _ => drop(found.insert(id, name)),
                }
            }
        }
        Ok(())
    }

    /// Stores a tree and returns its id. Blobs it names need not be here.
    pub fn write_tree(&self, tree: &Tree) -> Result<Oid, Error> {
        let odb = self.odb()?;
        let entries: Vec<_> = tree.iter().map(|(path, entry)| (path.as_bytes(), *entry)).collect();
        build_tree(&entries, 0, &mut |bytes| {
            let id = git2::Oid::hash_object(ObjectType::Tree, bytes)?;
            if self.trees.borrow_mut().insert(id) {
                odb.write(ObjectType::Tree, bytes)?;
            }
            Ok(oid(id))
        })
    }
}

/// An object, if its bytes are what its id says.
fn checked<'o>(odb: &'o Odb<'_>, id: Oid, kind: ObjectType) -> Result<OdbObject<'o>, Error> {
    let object = odb.read(raw(id))?;
    // What is of another kind has another hash.
    let mut hash = Sha1::new_with_prefix(format!("{kind} {}\0", object.len()));
    hash.update(object.data());
    if id != Oid(hash.finalize().into()) {
        return Err(Error::Missing { id });
    }
    Ok(object)
}

/// Takes the id of what passes through.
struct Hashing<'o> {
    out: &'o mut dyn Write,
    hash: Sha1,
}

impl<'o> Hashing<'o> {
    fn new(out: &'o mut dyn Write, size: u64) -> Self {
        Self { out, hash: Sha1::new_with_prefix(format!("blob {size}\0")) }
    }

    fn id(self) -> Oid {
        Oid(self.hash.finalize().into())
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The id `tree` has, without storing anything.
pub fn tree_id(tree: &Tree) -> Oid {
    let entries: Vec<_> = tree.iter().map(|(path, entry)| (path.as_bytes(), *entry)).collect();
    let hash = |bytes: &[u8]| git2::Oid::hash_object(ObjectType::Tree, bytes).map(oid);
    build_tree(&entries, 0, &mut |bytes| Ok(hash(bytes)?)).expect("hashing in memory does not fail")
}

/// The id `bytes` have as a blob.
pub fn blob_id(bytes: &[u8]) -> Oid {
    git2::Oid::hash_object(ObjectType::Blob, bytes)
        .map(oid)
        .expect("hashing in memory does not fail")
}

/// Writes one level; `entries` are sorted by full path and share their first `skip` bytes.
fn build_tree(
    entries: &[(&[u8], Entry)],
    skip: usize,
    put: &mut dyn FnMut(&[u8]) -> Result<Oid, Error>,
) -> Result<Oid, Error> {
    // Git sorts a folder as if its name ended in `/`, which is not the order of full paths
    // when a file's name continues where the folder's ends.
    #[expect(
        clippy::type_complexity,
        reason = "mode, name and id of one entry, by the key git sorts by"
    )]
    let mut level: BTreeMap<Vec<u8>, (&'static [u8], &[u8], Oid)> = BTreeMap::new();
    let mut at = 0;
    while at < entries.len() {
        let (path, entry) = entries[at];
        let rest = &path[skip..];
        match memchr::memchr(b'/', rest) {
            None => {
                level.insert(rest.to_vec(), (entry.mode.as_git().as_bytes(), rest, entry.id));
                at += 1;
            }
            Some(cut) => {
                let prefix = &path[..skip + cut + 1];
                let end = at + entries[at..].partition_point(|(p, _)| p.starts_with(prefix));
                let id = build_tree(&entries[at..end], prefix.len(), put)?;
                level.insert(rest[..=cut].to_vec(), (b"40000", &rest[..cut], id));
                at = end;
            }
        }
    }
    let mut bytes = Vec::with_capacity(level.len() * 40);
    for (mode, name, id) in level.values() {
        bytes.extend_from_slice(mode);
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(&id.0);
    }
    put(&bytes)
}

pub(crate) fn raw(id: Oid) -> git2::Oid {
    git2::Oid::from_bytes(&id.0).expect("twenty bytes are an id")
}

pub(crate) fn oid(id: git2::Oid) -> Oid {
    Oid(id.as_bytes().try_into().expect("the private repository uses SHA-1"))
}

impl<S: Borrow<Store>> apply::Objects for (&Repo, S) {
    fn size(&self, id: &Oid) -> io::Result<Option<u64>> {
        self.1.borrow().blob_size(*id).map_err(io::Error::other)
    }

    fn copy(&self, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
        self.1.borrow().copy_blob(*id, out).map(drop).map_err(io::Error::other)
    }

    fn has(&self, id: &Oid) -> io::Result<bool> {
        Ok(self.1.borrow().has(*id))
    }

    fn sync(&self, id: &Oid) -> io::Result<()> {
        self.1.borrow().sync(*id)
    }

    fn save(&self, bytes: &[u8]) -> io::Result<Oid> {
        self.1.borrow().write_blob(bytes).map_err(io::Error::other)
    }

    fn pin(&self, run: &str, tree: &Tree) -> io::Result<()> {
        let id = self.1.borrow().write_tree(tree).map_err(io::Error::other)?;
        self.0.write_ref(&format!("refs/undo/{run}"), id).map_err(io::Error::other)
    }

    fn unpin(&self, run: &str) -> io::Result<()> {
        self.0.delete_ref(&format!("refs/undo/{run}")).map_err(io::Error::other)
    }

    fn again(&self) -> io::Result<Box<dyn apply::Objects + Send + '_>> {
        Ok(Box::new((self.0, self.1.borrow().reopen())))
    }
}
