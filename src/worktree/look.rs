//! One look at the disk before git is asked: which files are surely as the index has them, and what else lies
//! beside them.
//!
//! In a worktree where little has changed nearly every file is vouched for by its stat data, and git has to do
//! with the rest alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FileType;

use super::Error;
use super::confined::{Dir, Root, is_no_folder};
use super::index::{Entry, Index, changed_at};
use crate::rel_path::RelPath;

/// Below this many files one thread is faster than several.
const FEW: usize = 2000;

/// What the index does not vouch for. Paths are in no order.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// It has them, and they may have changed.
    pub(super) doubtful: Vec<Vec<u8>>,
    /// Seconds of the latest change among them.
    pub(super) latest: i64,
    /// It has them, and no file or link lies there; perhaps a link does above it.
    pub(super) gone: Vec<Vec<u8>>,
    /// What it does not have: files, links, and folders as one.
    pub(super) unknown: Vec<Vec<u8>>,
    /// Pipes, sockets and devices: git does not list such things.
    pub(super) special: Vec<Vec<u8>>,
    /// The folders that were looked into.
    pub(super) folders: Vec<Vec<u8>>,
    /// The first thing that could not be looked at. What cannot be seen is not gone.
    unreadable: Option<(Vec<u8>, io::Error)>,
}

/// Looks into the folders that hold what the index has. In `others`, that hold nothing of it, only for what
/// is special.
pub(super) fn look(
    top: &Path,
    index: &Index,
    entries: &[Entry<'_>],
    others: &BTreeSet<Vec<u8>>,
    file_mode: bool,
) -> Result<Look, Error> {
    let root = Root::open(top).map_err(|e| Error::io(top, e))?;
    let held = by_folder(entries);
    let others = others.iter().filter(|other| !held.contains_key(&other[..]));
    let folders = held.iter().map(|(folder, files)| (*folder, Some(files)));
    let folders: Vec<_> = folders.chain(others.map(|other| (&other[..], None))).collect();
    let looker = Looker { root, index, held: &held, file_mode };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut look = Look::default();
        while let Some((folder, files)) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
            looker.look_into(folder, files.map(Vec::as_slice), &mut look);
        }
        look
    };
    let look = if entries.len() < FEW { work() } else { by_several(&work) };
    match look.unreadable {
        Some((path, e)) => Err(Error::io(&top.join(OsStr::from_bytes(&path)), e)),
        None => Ok(look),
    }
}

fn by_several(work: &(impl Fn() -> Look + Sync)) -> Look {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.add(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    })
}

/// The files of each folder, sorted by name; folders that hold only folders are there, too.
fn by_folder<'e>(entries: &'e [Entry<'e>]) -> BTreeMap<&'e [u8], Vec<&'e Entry<'e>>> {
    let mut held: BTreeMap<&[u8], Vec<&Entry<'_>>> = BTreeMap::from([(&b""[..], Vec::new())]);
    // Neighbours mostly share their folder.
    for run in entries.chunk_by(|a, b| parent(a.path) == parent(b.path)) {
        let folder = parent(run[0].path);
        for cut in memchr::memrchr_iter(b'/', folder) {
            held.entry(&folder[..cut]).or_default();
        }
        held.entry(folder).or_default().extend(run);
    }
    held
}

fn parent(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(b"", |cut| &path[..cut])
}

struct Looker<'l> {
    root: Root,
    index: &'l Index,
    held: &'l BTreeMap<&'l [u8], Vec<&'l Entry<'l>>>,
    file_mode: bool,
}

impl Looker<'_> {
    fn look_into(&self, folder: &[u8], files: Option<&[&Entry<'_>]>, look: &mut Look) {
        let dir = match self.open(folder) {
            Ok(dir) => dir,
            // What lies there instead is seen from the folder above.
            Err(e) if is_no_folder(&e) => {
                look.gone.extend(files.into_iter().flatten().map(|file| file.path.to_vec()));
                return;
            }
            Err(_) if files.is_none() => {
                look.unknown.push(folder.to_vec());
                return;
            }
            Err(e) => {
                look.unreadable.get_or_insert((folder.to_vec(), e));
                return;
            }
        };
        for file in files.into_iter().flatten() {
            match dir.stat(name(file.path)) {
                Ok(Some(now)) if self.index.vouches(file, &now, self.file_mode) => {}
                Ok(Some(now)) if is_entry(FileType::from_raw_mode(now.st_mode)) => {
                    look.latest = look.latest.max(changed_at(&now));
                    look.doubtful.push(file.path.to_vec());
                }
                Err(e) if !is_no_folder(&e) => {
                    look.unreadable.get_or_insert((file.path.to_vec(), e));
                }
                _ => look.gone.push(file.path.to_vec()),
            }
        }
        let listed = dir.list(|name, kind| {
            if !is_entry(kind) && kind != FileType::Directory {
                look.special.push(join(folder, name));
            } else if files.is_some_and(|files| !self.knows(files, folder, name, kind)) {
                look.unknown.push(join(folder, name));
            }
        });
        match listed {
            Ok(()) => {}
            Err(_) if files.is_none() => look.unknown.push(folder.to_vec()),
            Err(e) => {
                look.unreadable.get_or_insert((folder.to_vec(), e));
            }
        }
        look.folders.push(folder.to_vec());
    }

    fn open(&self, folder: &[u8]) -> io::Result<Dir> {
        let path = match folder {
            b"" => None,
            folder => Some(RelPath::parse(folder).map_err(io::Error::other)?),
        };
        self.root.dir(path.as_ref())
    }

    /// Whether the index has this name in the folder, or something below it. Git's own folder is none of ours.
    fn knows(&self, files: &[&Entry<'_>], folder: &[u8], entry: &[u8], kind: FileType) -> bool {
        entry == b".git"
            || match kind {
                FileType::Directory => self.held.contains_key(&join(folder, entry)[..]),
                _ => files.binary_search_by(|file| name(file.path).cmp(entry)).is_ok(),
            }
    }
}

impl Look {
    fn add(&mut self, other: Look) {
        self.doubtful.extend(other.doubtful);
        self.latest = self.latest.max(other.latest);
        self.gone.extend(other.gone);
        self.unknown.extend(other.unknown);
        self.special.extend(other.special);
        self.folders.extend(other.folders);
        self.unreadable = self.unreadable.take().or(other.unreadable);
    }
}

fn is_entry(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Symlink)
}

fn name(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |cut| &path[cut + 1..])
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::git::{git_command, must};
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    fn text(mut paths: Vec<Vec<u8>>) -> String {
        paths.sort();
        String::from_utf8(paths.join(&b' ')).unwrap()
    }

    #[test]
    fn only_what_git_has_to_judge_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        let git = |args: &[&str]| {
            let mut git = git_command(top);
            must("git", git.env("GIT_CONFIG_GLOBAL", "/dev/null").args(args)).unwrap()
        };
        git(&["init", "-q"]);
        let put = |name: &str| {
            let path = top.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        let files = "a a.b a-b/c.d a-b/c/d deep/er/est/x gone/x link/x moved/x old/x kept swap/x x";
        for name in files.split(' ') {
            put(name);
        }
        git(&["add", "."]);
        let index = std::fs::File::options().write(true).open(top.join(".git/index")).unwrap();
        // As if git had looked a while later: then nothing is in doubt for its time alone.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        index.set_modified(later).unwrap();
        let index = Index::read(&top.join(".git/index")).unwrap();
        let entries = index.entries().unwrap();
        let old = BTreeSet::from([b"emptied".to_vec(), b"ignored".to_vec(), b"none".to_vec()]);
        let look = || look(top, &index, &entries, &old, true).unwrap();

        let nothing = look();
        assert_eq!(text([nothing.doubtful, nothing.gone, nothing.unknown].concat()), "");
        assert_eq!(
            text(nothing.folders),
            " a-b a-b/c deep deep/er deep/er/est gone link moved old swap"
        );

        put("a-b/c/new");
        put("new/deep/x");
        put("deep/y");
        put("ignored/x");
        put("x");
        std::fs::remove_dir_all(top.join("gone")).unwrap();
        std::fs::rename(top.join("link"), top.join("linked")).unwrap();
        std::os::unix::fs::symlink("linked", top.join("link")).unwrap();
        std::fs::rename(top.join("moved/x"), top.join("moved/y")).unwrap();
        std::fs::remove_dir_all(top.join("swap")).unwrap();
        put("swap");
        std::fs::remove_file(top.join("kept")).unwrap();
        put("kept/x");
        std::fs::create_dir(top.join("emptied")).unwrap();
        for name in ["old/pipe", "emptied/pipe", "new/pipe", "a-b/c/d"] {
            let _ = std::fs::remove_file(top.join(name));
            assert!(
                std::process::Command::new("mkfifo")
                    .arg(top.join(name))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let found = look();
        assert_eq!(text(found.doubtful), "x");
        assert_eq!(text(found.gone), "a-b/c/d gone/x kept link/x moved/x swap/x");
        assert_eq!(
            text(found.unknown),
            "a-b/c/new deep/y emptied ignored kept link linked moved/y new swap"
        );
        assert_eq!(text(found.special), "a-b/c/d emptied/pipe old/pipe");
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        let git = |args: &[&str]| must("git", git_command(top).args(args)).unwrap();
        git(&["init", "-q"]);
        std::fs::create_dir(top.join("closed")).unwrap();
        std::fs::write(top.join("closed/x"), "x").unwrap();
        git(&["add", "."]);
        let index = Index::read(&top.join(".git/index")).unwrap();
        let entries = index.entries().unwrap();
        // No folder is closed to who may override all modes.
        let mine = capabilities(None).unwrap();
        let fewer = CapabilitySets { effective: CapabilitySet::empty(), ..mine };
        set_capabilities(None, fewer).unwrap();
        for mode in [0o000, 0o400, 0o300] {
            let set = |mode| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(top.join("closed"), mode).unwrap();
            };
            set(mode);
            let looked = look(top, &index, &entries, &BTreeSet::new(), true);
            set(0o700);
            assert!(
                matches!(&looked, Err(Error::Io { path, .. }) if path.starts_with(top.join("closed"))),
                "{mode:o}: {looked:?}"
            );
        }
    }
}
