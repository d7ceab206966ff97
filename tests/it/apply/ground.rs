//! A worktree with a guard around it, an object store, and a few ways to look at both.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox_coder::rel_path::RelPath;
use sandbox_coder::tree::{Change, Entry, Mode, Oid, Tree, changes};
use sandbox_coder::worktree::apply::{self, Applied, Error, Objects, Plan, Site};

pub fn p(name: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(name.as_ref()).unwrap()
}

/// What a path holds, as a test writes it down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    File(Vec<u8>),
    Exec(Vec<u8>),
    Link(Vec<u8>),
}

/// Short: a failed comparison of whole worktrees has to be readable.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, bytes) = match self {
            Node::File(b) => ("file", b),
            Node::Exec(b) => ("exec", b),
            Node::Link(b) => ("link", b),
        };
        let head = sandbox_coder::rel_path::escape(&bytes[..bytes.len().min(20)]);
        write!(f, "{kind} of {} {head:?}", bytes.len())
    }
}

/// Fails with the paths that differ, and only those.
#[track_caller]
pub fn assert_same(now: &Files, wanted: &Files, words: &str) {
    let paths: std::collections::BTreeSet<_> = now.keys().chain(wanted.keys()).collect();
    let odd: Vec<_> = paths.into_iter().filter(|p| now.get(p) != wanted.get(p)).collect();
    let told: Vec<_> = odd.iter().take(8).map(|p| (p, now.get(p), wanted.get(p))).collect();
    assert!(odd.is_empty(), "{words}: {} paths differ (path, is, should be): {told:#?}", odd.len());
}

pub fn f(text: &str) -> Node {
    Node::File(text.into())
}

pub type Files = BTreeMap<RelPath, Node>;

pub fn files<'a>(list: impl IntoIterator<Item = (&'a str, Node)>) -> Files {
    list.into_iter().map(|(path, node)| (p(path), node)).collect()
}

pub struct Store(git2::Repository);

impl Store {
    pub fn entry(&self, node: &Node) -> Entry {
        let (mode, bytes) = match node {
            Node::File(b) => (Mode::File, b),
            Node::Exec(b) => (Mode::Exec, b),
            Node::Link(b) => (Mode::Link, b),
        };
        Entry { mode, id: self.save(bytes).unwrap() }
    }

    pub fn tree(&self, files: &Files) -> Tree {
        files.iter().map(|(path, node)| (path.clone(), self.entry(node))).collect()
    }
}

fn git(id: &Oid) -> git2::Oid {
    git2::Oid::from_bytes(&id.0).unwrap()
}

impl Objects for Store {
    fn size(&self, id: &Oid) -> io::Result<Option<u64>> {
        match self.0.odb().map_err(io::Error::other)?.read_header(git(id)) {
            Ok((size, _)) => Ok(Some(size as u64)),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(e) => Err(io::Error::other(e)),
        }
    }

    fn copy(&self, id: &Oid, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.0.find_blob(git(id)).map_err(io::Error::other)?.content())
    }

    fn save(&self, bytes: &[u8]) -> io::Result<Oid> {
        let id = self.0.blob(bytes).map_err(io::Error::other)?;
        Ok(Oid(id.as_bytes().try_into().unwrap()))
    }

    fn pin(&self, _run: &str, tree: &Tree) -> io::Result<()> {
        assert!(tree.values().all(|e| e.mode != Mode::Gitlink));
        Ok(())
    }

    fn unpin(&self, _run: &str) -> io::Result<()> {
        Ok(())
    }

    fn again(&self) -> io::Result<Box<dyn Objects + Send + '_>> {
        Ok(Box::new(Store(git2::Repository::open_bare(self.0.path()).map_err(io::Error::other)?)))
    }
}

pub struct Ground {
    dir: Option<tempfile::TempDir>,
    root: PathBuf,
    pub store: Store,
}

impl Ground {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// A ground in a folder of the caller's choice.
    pub fn within(dir: tempfile::TempDir) -> Self {
        let root = dir.path().to_owned();
        for folder in ["work/.git/hooks", "state", "guard"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("work/.git/config"), "[core]\n").unwrap();
        std::fs::write(root.join("work/.git/index"), "index").unwrap();
        std::fs::write(root.join("guard/secret"), "untouched").unwrap();
        git2::Repository::init_bare(root.join("objects.git")).unwrap();
        let mut ground = Self::at(&root);
        ground.dir = Some(dir);
        ground
    }

    /// The same ground, seen from another process.
    pub fn at(root: &Path) -> Self {
        let store = Store(git2::Repository::open_bare(root.join("objects.git")).unwrap());
        Self { dir: None, root: root.to_owned(), store }
    }

    pub fn with(files: &Files) -> Self {
        let ground = Self::new();
        ground.write(files);
        ground
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn top(&self) -> PathBuf {
        self.root.join("work")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top().join(name)
    }

    pub fn write(&self, files: &Files) {
        for (path, node) in files {
            self.write_one(path, node);
        }
    }

    pub fn write_one(&self, path: &RelPath, node: &Node) {
        let at = self.top().join(path.as_path());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        match node {
            Node::File(bytes) | Node::Exec(bytes) => {
                std::fs::write(&at, bytes).unwrap();
                let bits = if matches!(node, Node::Exec(_)) { 0o755 } else { 0o644 };
                std::fs::set_permissions(&at, std::fs::Permissions::from_mode(bits)).unwrap();
            }
            Node::Link(target) => symlink(std::ffi::OsStr::from_bytes(target), &at).unwrap(),
        }
    }

    /// Everything below `folder` (of the ground), links not followed.
    pub fn list(&self, folder: &str) -> Files {
        let top = self.root.join(folder);
        let mut out = Files::new();
        let mut todo = vec![top.clone()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let name = path.strip_prefix(&top).unwrap().as_os_str().as_bytes().to_vec();
                if meta.is_dir() {
                    if name != b".git" {
                        todo.push(path);
                    }
                    continue;
                }
                let node = if meta.is_symlink() {
                    Node::Link(
                        std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                    )
                } else if meta.permissions().mode() & 0o100 != 0 {
                    Node::Exec(std::fs::read(&path).unwrap())
                } else {
                    Node::File(std::fs::read(&path).unwrap())
                };
                out.insert(p(name), node);
            }
        }
        out
    }

    /// The worktree's files, without what was put aside.
    pub fn files(&self) -> Files {
        let mut all = self.list("work");
        all.retain(|path, _| !path.as_bytes().starts_with(b".sandbox-coder/"));
        all
    }

    /// What was put aside, by its path below the run's folder.
    pub fn asides(&self, run: &str) -> Files {
        let prefix = format!(".sandbox-coder/conflicts/{run}/");
        let cut = |path: &RelPath| path.as_bytes().strip_prefix(prefix.as_bytes()).map(p);
        self.list("work").into_iter().filter_map(|(path, node)| Some((cut(&path)?, node))).collect()
    }

    pub fn site(&self) -> (PathBuf, PathBuf) {
        (self.top(), self.root.join("state"))
    }

    pub fn steps(&self, from: &Files, to: &Files) -> Vec<Change> {
        changes(&self.store.tree(from), &self.store.tree(to))
    }

    pub fn plan(&self, run: &str, from: &Files, to: &Files) -> Plan {
        Plan { run: run.into(), steps: self.steps(from, to), ..Plan::default() }
    }

    pub fn in_site<T>(&self, act: impl FnOnce(&Site<'_>) -> T) -> T {
        let (top, state) = self.site();
        act(&Site { top: &top, state: &state, objects: &self.store, file_mode: true })
    }

    pub fn apply(&self, plan: &Plan) -> Result<Applied, Error> {
        self.in_site(|site| apply::apply(site, plan))
    }

    pub fn resume(&self) -> Result<Vec<Applied>, Error> {
        self.in_site(apply::resume)
    }

    pub fn undo(&self, run: Option<&str>, new: &str) -> Result<Applied, Error> {
        self.in_site(|site| sandbox_coder::worktree::undo::undo(site, run, new))
    }

    /// Whatever happened, these are as they were.
    pub fn assert_guarded(&self) {
        assert_eq!(self.list("guard"), files([("secret", f("untouched"))]));
        assert_eq!(
            self.list("work/.git"),
            files([("config", f("[core]\n")), ("index", f("index"))]),
            "the repository's own folder changed"
        );
        assert_eq!(
            std::fs::read_dir(&self.root).unwrap().count(),
            4,
            "something lies beside the worktree"
        );
    }

    /// No staged file stays behind.
    pub fn assert_clean(&self) {
        let left: Vec<_> =
            self.list("work").into_keys().filter(|p| p.file_name().starts_with(b".sbx-")).collect();
        assert!(left.is_empty(), "{left:?}");
        self.assert_guarded();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Folders a test made read-only would keep the temporary folder alive.
        if self.dir.is_some() {
            let _ =
                std::process::Command::new("chmod").arg("-R").arg("u+rwX").arg(&self.root).status();
        }
    }
}
