//! Our private repository beside the user's: made, configured, locked, and its refs.
//!
//! All that is ours lies in `<common dir>/sandbox-coder/`: one bare repository, one lock file and one state
//! folder for each worktree.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::repo::{ObjectFormat, Repo, host_name};
use super::{Error, upkeep};
use crate::tree::Oid;

/// Attributes that outrank every `.gitattributes`: bytes are taken as they lie on the disk.
pub(crate) const RAW_ATTRIBUTES: &str = "* -text -eol -filter -ident -working-tree-encoding\n";

/// A blob above this many bytes is streamed, never held in memory.
pub(crate) const BIG_FILE: u64 = 8 << 20;

/// What git passes over where an ignore file begins with it.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A git that has its index locked for longer was killed.
const GIT: Duration = Duration::from_secs(60);

/// Who holds a worktree. It informs; the kernel's lock decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id on `host`.
    pub pid: u32,
    /// The host's name.
    pub host: String,
    /// Unix seconds when it began.
    pub since: u64,
    /// What it does, e.g. `run` or `pull`.
    pub command: String,
}

/// The exclusive lock of one worktree, held until dropped. The kernel releases it when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Repo {
    /// Makes the private repository if it is missing and brings its settings up to date.
    pub fn prepare(&self) -> Result<(), Error> {
        // Once for each command is enough, unless somebody took it away meanwhile.
        if self.prepared.load(Ordering::Acquire) && self.private_dir().join("HEAD").exists() {
            return Ok(());
        }
        let home = self.common_dir().join("sandbox-coder");
        make_private(&home)?;
        if !self.private_dir().join("HEAD").exists() {
            // Made aside and renamed: a killed attempt never looks like a repository.
            let fresh = home.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
            for dir in
                ["", "objects", "objects/info", "objects/pack", "refs", "info", "sandbox-coder"]
            {
                make_private(&fresh.join(dir))?;
            }
            write(&fresh.join("HEAD"), b"ref: refs/heads/none\n")?;
            match std::fs::rename(&fresh, self.private_dir()) {
                Ok(()) => {}
                Err(_) if self.private_dir().join("HEAD").exists() => {
                    let _ = std::fs::remove_dir_all(&fresh);
                }
                Err(e) => return Err(Error::io(self.private_dir(), e)),
            }
        }
        make_private(&self.state_dir())?;
        super::torn::remove(self.private_dir()).map_err(|e| Error::io(self.private_dir(), e))?;
        self.configure()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    fn configure(&self) -> Result<(), Error> {
        let mut config = String::from(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tautocrlf = false\n\tsafecrlf = false\n\tfsmonitor = false\n\
             \tsplitIndex = false\n\thooksPath = /dev/null\n\tcompression = 0\n\tbigFileThreshold = 8m\n\tlogAllRefUpdates = false\n\
             \tsparseCheckout = false\n\texcludesFile = /dev/null\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[index]\n\tsparse = false\n\tversion = 2\n\
             [advice]\n\taddEmbeddedRepo = false\n[status]\n\tsubmoduleSummary = false\n",
        );
        let settings = self.settings();
        for name in ["filemode", "symlinks", "ignorecase"] {
            if let Some(value) = settings.truth(&format!("core.{name}")) {
                config.push_str(&format!("[core]\n\t{name} = {value}\n"));
            }
        }
        write_if_new(&self.private_dir().join("config"), config.as_bytes())?;
        // Whose this is, should the worktree be gone one day.
        let of = self.git_dir().as_os_str().as_bytes();
        write_if_new(&self.private_dir().join("worktree"), of)?;
        write_if_new(&self.private_dir().join("info/attributes"), RAW_ATTRIBUTES.as_bytes())?;
        write_if_new(&self.private_dir().join("info/exclude"), &self.excluded()?)?;
        if self.object_format() == ObjectFormat::Sha1 {
            let line = alternates_line(&self.common_dir().join("objects"));
            write_if_new(&self.private_dir().join("objects/info/alternates"), &line)?;
        }
        Ok(())
    }

    /// What this machine's user ignores, everywhere and in this repository, and what we do. One text, so that one
    /// file shows whether any of it changed.
    fn excluded(&self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let own = self.common_dir().join("info/exclude");
        // What comes later outranks what came before, as it does where git reads several files.
        for file in self.excludes_file()?.into_iter().chain([own.clone()]) {
            match std::fs::read(&file) {
                Ok(text) => all.extend_from_slice(text.strip_prefix(BOM).unwrap_or(&text)),
                Err(e) if is_no_file(&e) => continue,
                // As git does: with another one's HOME nothing in it can be read.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && file != own => continue,
                Err(e) => return Err(Error::io(&file, e)),
            }
            all.push(b'\n');
        }
        all.extend_from_slice(b"/.sandbox-coder/conflicts/\n");
        Ok(all)
    }

    /// The patterns of what this machine's user ignores beside the ignore files of the worktree, a line each.
    pub fn excludes(&self) -> Result<Vec<u8>, Error> {
        self.prepare()?;
        let file = self.private_dir().join("info/exclude");
        let text = std::fs::read(&file).map_err(|e| Error::io(&file, e))?;
        let counts = |line: &&[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
        let lines = text.split(|b| *b == b'\n').filter(counts);
        Ok(lines.flat_map(|line| [line, b"\n"].concat()).collect())
    }

    /// The file of what the user ignores everywhere: `core.excludesFile`, or where git looks without it.
    fn excludes_file(&self) -> Result<Option<PathBuf>, Error> {
        if self.settings().has("core.excludesfile") {
            let file = self.config(&["--type=path"], "core.excludesFile")?;
            return Ok(file.map(|file| self.top().join(file)));
        }
        let set =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        Ok(config.map(|config| config.join("git/ignore")))
    }

    /// Takes the worktree's exclusive lock. A `wait` of zero refuses at once with the holder's name.
    pub fn lock(&self, command: &str, wait: Duration) -> Result<Lock, Error> {
        self.prepare()?;
        let path = self.private_dir().join("lock");
        let began = Instant::now();
        let mut file = loop {
            let mut file = open_lock(&path)?;
            if take(&file).map_err(|e| Error::io(&path, e))? {
                // The folder of a worktree that was gone may have been removed while we waited.
                if is_the_same(&file, &path) {
                    break file;
                }
                self.prepared.store(false, Ordering::Release);
                self.prepare()?;
                continue;
            }
            let holder = read_holder(&mut file);
            let tidying = holder.as_ref().is_some_and(|h| h.command == upkeep::HOLDER);
            if began.elapsed() >= if tidying { wait.max(2 * upkeep::LIMIT) } else { wait } {
                return Err(Error::Busy { holder });
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        self.wait_for_index()?;
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map(|d| d.as_secs())
            .unwrap_or(0);
        let holder = Holder {
            pid: std::process::id(),
            host: host_name(),
            since,
            command: command.to_owned(),
        };
        let text = serde_json::to_vec(&holder).expect("a holder is plain data");
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&text)
        };
        write(&mut file).map_err(|e| Error::io(&path, e))?;
        Ok(Lock { _file: file })
    }

    /// Waits until no git of a killed command writes the private index any more. One that was killed itself has
    /// left its lock.
    fn wait_for_index(&self) -> Result<(), Error> {
        let (lock, began) = (self.private_dir().join("index.lock"), Instant::now());
        while let Ok(written) = lock.symlink_metadata().and_then(|meta| meta.modified()) {
            let age = SystemTime::now().duration_since(written).unwrap_or_default();
            if age < GIT && began.elapsed() < GIT {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            match std::fs::remove_file(&lock) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(&lock, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a ref of the private repository that points at a tree.
    pub fn read_ref(&self, name: &str) -> Result<Option<Oid>, Error> {
        let path = self.private_dir().join(ref_name(name)?);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim_end().parse().ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, e)),
        }
    }

    /// Points a ref of the private repository at a tree, atomically and durably.
    pub fn write_ref(&self, name: &str, id: Oid) -> Result<(), Error> {
        let path = self.private_dir().join(ref_name(name)?);
        let dir = path.parent().expect("a ref lies in a folder");
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let fresh = self.private_dir().join(format!(".ref-{}", uuid::Uuid::new_v4().simple()));
        let put = || {
            let mut file = File::create_new(&fresh)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        put().map_err(|e| Error::io(&path, e))
    }

    /// Removes a ref of the private repository; one that is not there is fine.
    pub fn delete_ref(&self, name: &str) -> Result<(), Error> {
        let path = self.private_dir().join(ref_name(name)?);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, e)),
            _ => Ok(()),
        }
    }

    /// The last tree this side agreed on with a sandbox.
    pub fn base(&self, sandbox: &str) -> Result<Option<Oid>, Error> {
        self.read_ref(&format!("refs/base/{sandbox}"))
    }

    /// Moves the base of a sandbox.
    pub fn set_base(&self, sandbox: &str, tree: Oid) -> Result<(), Error> {
        self.write_ref(&format!("refs/base/{sandbox}"), tree)
    }
}

/// Whether there is no such file, which git takes for an empty one.
fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn make_private(dir: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Error::io(dir, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

/// Writes by rename, and only what differs: another process may be reading it.
pub(crate) fn write_if_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let dir = path.parent().expect("a file lies in a folder");
    let put = || {
        let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
        fresh.write_all(bytes)?;
        fresh.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
        fresh.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    put().map_err(|e: io::Error| Error::io(path, e))
}

pub(crate) fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io(path, e))
}

/// Takes a lock that nobody holds; false if somebody does.
pub(crate) fn take(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn is_the_same(file: &File, path: &Path) -> bool {
    let place = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let there = path.symlink_metadata().map(place).ok();
    there.is_some() && file.metadata().map(place).ok() == there
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a word can be a part of a ref's name.
pub(super) fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !part.ends_with(".lock")
}

fn ref_name(name: &str) -> Result<&str, Error> {
    if name.starts_with("refs/") && name.split('/').all(is_plain) {
        Ok(name)
    } else {
        Err(Error::BadRef { name: name.to_owned() })
    }
}

/// The line of `objects/info/alternates` that borrows the objects of a folder.
pub(crate) fn alternates_line(objects: &Path) -> Vec<u8> {
    let mut line = objects.as_os_str().as_bytes().to_vec();
    // Git reads a line that starts with a quote as C-quoted text, one that starts with `#` as a comment.
    if line.contains(&b'\n') {
        line = c_quoted(&line);
    }
    line.push(b'\n');
    line
}

fn c_quoted(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &b in raw {
        match b {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            b => out.push(b),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_a_plain_name() {
        for name in ["refs/base/0b1c-2", "refs/undo/a.b_c"] {
            assert!(ref_name(name).is_ok(), "{name}");
        }
        for name in
            ["HEAD", "refs/../config", "refs/base/", "refs//x", "refs/base/x.lock", "refs/b a"]
        {
            assert!(ref_name(name).is_err(), "{name}");
        }
    }
}
