//! The user's repository, asked through the git command line, and our private one beside it.
//!
//! Nothing here writes into the user's index, refs, config, hooks or objects. All that is ours lies
//! in `<common dir>/sandbox-coder/`: one bare repository, one lock file and one state folder for
//! each worktree.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::rel_path::RelPath;
use crate::tree::Oid;

/// Attributes that outrank every `.gitattributes`: bytes are taken as they lie on the disk.
pub(crate) const RAW_ATTRIBUTES: &str = "* -text -eol -filter -ident -working-tree-encoding\n";

/// A blob above this many bytes is streamed, never held in memory.
pub(crate) const BIG_FILE: u64 = 8 << 20;

/// What names the hash an object database uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFormat {
    /// Forty digits; its objects can be shared with our private repository.
    Sha1,
    /// Sixty-four digits; our private repository keeps copies of its own.
    Sha256,
}

/// Where `HEAD` stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit, in the repository's own format; `None` while the branch is unborn.
    pub id: Option<String>,
    /// The branch without `refs/heads/`; `None` when detached.
    pub branch: Option<String>,
}

/// A git worktree and our private repository for it.
#[derive(Debug, Clone)]
pub struct Repo {
    git_dir: PathBuf,
    common_dir: PathBuf,
    top: PathBuf,
    prefix: Option<RelPath>,
    format: ObjectFormat,
    id: String,
    private: PathBuf,
}

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
    /// Finds the worktree that holds `cwd`.
    pub fn discover(cwd: &Path) -> Result<Self, Error> {
        let out = output(git_command(cwd).args([
            "rev-parse",
            "--is-bare-repository",
            "--is-inside-git-dir",
            "--is-inside-work-tree",
            "--show-object-format",
            "--absolute-git-dir",
        ]))?;
        if !out.ok {
            return Err(refusal(cwd, &out.words()));
        }
        // The path comes last: it may hold newlines, the words before it cannot.
        let mut lines = out.stdout.splitn(5, |&b| b == b'\n');
        let mut word = || lines.next().map(<[u8]>::to_vec).unwrap_or_default();
        let (bare, inside, worktree, format) = (word(), word(), word(), word());
        let git_dir = path_line(&word());
        // In a bare repository git answers yes to both: that it has no files is the reason that helps.
        if bare == b"true" && worktree != b"true" {
            return Err(Error::Bare { dir: git_dir });
        }
        if inside == b"true" || worktree != b"true" {
            return Err(Error::InsideGitDir { dir: git_dir });
        }
        let format = match format.as_slice() {
            b"sha1" => ObjectFormat::Sha1,
            b"sha256" => ObjectFormat::Sha256,
            // Git before 2.25 repeats the option.
            _ => return Err(Error::GitTooOld { version: version()? }),
        };
        let out = output(git_command(cwd).args(["rev-parse", "--show-toplevel"]))?;
        if !out.ok {
            return Err(refusal(cwd, &out.words()));
        }
        let top = path_line(&out.stdout);
        let common_dir = common_dir(&git_dir)?;
        let cwd = cwd.canonicalize().map_err(|source| Error::io(cwd, source))?;
        let prefix = cwd
            .strip_prefix(&top)
            .ok()
            .and_then(|inner| RelPath::parse(inner.as_os_str().as_bytes()).ok());
        let id = short_hash(&[git_dir.as_os_str().as_bytes()]);
        let private = common_dir.join("sandbox-coder").join(format!("{id}.git"));
        Ok(Self { git_dir, common_dir, top, prefix, format, id, private })
    }

    /// The worktree's own git dir, absolute.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The git dir shared by all worktrees of the repository, absolute.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The top folder of the worktree, absolute.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Where inside the worktree the caller stood; `None` at the top.
    pub fn prefix(&self) -> Option<&RelPath> {
        self.prefix.as_ref()
    }

    /// The hash the user's repository uses. Ours always uses SHA-1.
    pub fn object_format(&self) -> ObjectFormat {
        self.format
    }

    /// A name for this worktree on this host: hash of the absolute git dir.
    pub fn worktree_id(&self) -> &str {
        &self.id
    }

    /// Our private repository's folder. It exists after [`Repo::prepare`].
    pub fn private_dir(&self) -> &Path {
        &self.private
    }

    /// A folder for journals and fetched results of this worktree. It exists after [`Repo::prepare`].
    pub fn state_dir(&self) -> PathBuf {
        self.private.join("sandbox-coder")
    }

    /// `git` in the user's worktree: no inherited `GIT_*`, no optional locks, no shell.
    pub fn git(&self) -> Command {
        git_command(&self.top)
    }

    /// `git` on our private repository with the user's files as its worktree.
    pub fn private_git(&self) -> Command {
        let mut git = git_command(&self.top);
        git.env("GIT_DIR", &self.private).env("GIT_WORK_TREE", &self.top);
        git
    }

    /// Where `HEAD` stands now.
    pub fn head(&self) -> Result<Head, Error> {
        let id = output(self.git().args(["rev-parse", "-q", "--verify", "HEAD^{commit}"]))?;
        let branch = output(self.git().args(["symbolic-ref", "-q", "HEAD"]))?;
        let id = id.ok.then(|| String::from_utf8_lossy(&id.stdout).trim_end().to_owned());
        let branch = branch.ok.then(|| {
            let name = String::from_utf8_lossy(&branch.stdout).trim_end().to_owned();
            name.strip_prefix("refs/heads/").map(str::to_owned).unwrap_or(name)
        });
        Ok(Head { id, branch })
    }

    /// How refs are kept: `files` or `reftable`. Git before 2.44 knows files only.
    pub fn ref_format(&self) -> Result<String, Error> {
        let out = output(self.git().args(["config", "--get", "extensions.refStorage"]))?;
        let name = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        Ok(if name.is_empty() { "files".into() } else { name })
    }

    /// One value of the user's configuration as git resolves it.
    pub(crate) fn config(&self, kind: &[&str], key: &str) -> Result<Option<OsString>, Error> {
        let out = output(self.git().arg("config").args(kind).args(["-z", "--get", key]))?;
        let value = out.stdout.strip_suffix(b"\0").unwrap_or(&out.stdout);
        Ok(out.ok.then(|| OsString::from_vec(value.to_vec())))
    }

    /// Whether the executable bit counts here.
    pub fn file_mode(&self) -> Result<bool, Error> {
        Ok(self.config(&["--type=bool"], "core.fileMode")?.is_none_or(|v| v != "false"))
    }

    /// The folder of hooks that git runs here, if the configuration names one.
    pub fn hooks_path(&self) -> Result<Option<PathBuf>, Error> {
        let path = self.config(&["--type=path"], "core.hooksPath")?;
        Ok(path.map(|p| self.top.join(p)))
    }

    /// Checks that this is still the worktree it was: git would otherwise answer for a parent repository.
    pub fn still_there(&self) -> Result<(), Error> {
        let gone = || Error::Gone { top: self.top.clone() };
        let now = Self::discover(&self.top).map_err(|_| gone())?;
        if now.git_dir == self.git_dir && now.top == self.top { Ok(()) } else { Err(gone()) }
    }

    /// Makes the private repository if it is missing and brings its settings up to date.
    pub fn prepare(&self) -> Result<(), Error> {
        let home = self.common_dir.join("sandbox-coder");
        make_private(&home)?;
        if !self.private.join("HEAD").exists() {
            // Made aside and renamed: a killed attempt never looks like a repository.
            let fresh = home.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
            for dir in
                ["", "objects", "objects/info", "objects/pack", "refs", "info", "sandbox-coder"]
            {
                make_private(&fresh.join(dir))?;
            }
            write(&fresh.join("HEAD"), b"ref: refs/heads/none\n")?;
            match std::fs::rename(&fresh, &self.private) {
                Ok(()) => {}
                Err(_) if self.private.join("HEAD").exists() => {
                    let _ = std::fs::remove_dir_all(&fresh);
                }
                Err(e) => return Err(Error::io(&self.private, e)),
            }
        }
        make_private(&self.state_dir())?;
        self.configure()
    }

    fn configure(&self) -> Result<(), Error> {
        let mut config = String::from(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tautocrlf = false\n\tsafecrlf = false\n\tfsmonitor = false\n\
             \tsplitIndex = false\n\thooksPath = /dev/null\n\tcompression = 0\n\tbigFileThreshold = 8m\n\tlogAllRefUpdates = false\n\
             \tsparseCheckout = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[index]\n\tsparse = false\n\
             [advice]\n\taddEmbeddedRepo = false\n[status]\n\tsubmoduleSummary = false\n",
        );
        for (key, name) in [
            ("core.fileMode", "fileMode"),
            ("core.symlinks", "symlinks"),
            ("core.ignoreCase", "ignoreCase"),
        ] {
            if let Some(value) = self.config(&["--type=bool"], key)? {
                config.push_str(&format!("[core]\n\t{name} = {}\n", value.to_string_lossy()));
            }
        }
        if let Some(file) = self.config(&["--type=path"], "core.excludesFile")?
            && let Some(file) = file.to_str()
            && !file.contains('\n')
        {
            let quoted = file.replace('\\', "\\\\").replace('"', "\\\"");
            config.push_str(&format!("[core]\n\texcludesFile = \"{quoted}\"\n"));
        }
        write_if_new(&self.private.join("config"), config.as_bytes())?;
        write_if_new(&self.private.join("info/attributes"), RAW_ATTRIBUTES.as_bytes())?;
        let mut exclude = match std::fs::read(self.common_dir.join("info/exclude")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io(&self.common_dir.join("info/exclude"), e)),
        };
        exclude.extend_from_slice(b"\n/.sandbox-coder/conflicts/\n");
        write_if_new(&self.private.join("info/exclude"), &exclude)?;
        if self.format == ObjectFormat::Sha1 {
            let mut line = self.common_dir.join("objects").into_os_string().into_vec();
            // Git reads a line that starts with a quote as C-quoted text, one that starts with `#` as a comment.
            if line.contains(&b'\n') {
                line = c_quoted(&line);
            }
            line.push(b'\n');
            write_if_new(&self.private.join("objects/info/alternates"), &line)?;
        }
        Ok(())
    }

    /// Takes the worktree's exclusive lock. A `wait` of zero refuses at once with the holder's name.
    pub fn lock(&self, command: &str, wait: Duration) -> Result<Lock, Error> {
        self.prepare()?;
        let path = self.private.join("lock");
        let mut file = open_lock(&path)?;
        let until = std::time::Instant::now() + wait;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    if std::time::Instant::now() >= until {
                        return Err(Error::Busy { holder: read_holder(&mut file) });
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(e) => return Err(Error::io(&path, e.into())),
            }
        }
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
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

    /// Reads a ref of the private repository that points at a tree.
    pub fn read_ref(&self, name: &str) -> Result<Option<Oid>, Error> {
        let path = self.private.join(ref_name(name)?);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim_end().parse().ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, e)),
        }
    }

    /// Points a ref of the private repository at a tree, atomically and durably.
    pub fn write_ref(&self, name: &str, id: Oid) -> Result<(), Error> {
        let path = self.private.join(ref_name(name)?);
        let dir = path.parent().expect("a ref lies in a folder");
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let fresh = self.private.join(format!(".ref-{}", uuid::Uuid::new_v4().simple()));
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
        let path = self.private.join(ref_name(name)?);
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

/// The root of the worktree that holds `dir`, without any complaint.
pub fn toplevel_of(dir: &Path) -> Option<PathBuf> {
    let out = output(git_command(dir).args(["rev-parse", "--show-toplevel"])).ok()?;
    out.ok.then(|| path_line(&out.stdout))
}

/// A name for this machine that survives reboots and renames where the system has one.
pub fn host_id() -> String {
    for file in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        if let Ok(text) = std::fs::read_to_string(file)
            && !text.trim().is_empty()
        {
            // Hashed: the machine id itself is meant to stay on the machine.
            return short_hash(&[b"sandbox-coder", text.trim().as_bytes()]);
        }
    }
    short_hash(&[b"sandbox-coder host", host_name().as_bytes()])
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

/// What a finished git process left.
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// What git said, without the word `fatal`.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        crate::rel_path::escape(text.trim().trim_start_matches("fatal: ").as_bytes())
            .replace("\\n", "; ")
    }
}

/// Runs git to its end.
pub(crate) fn output(command: &mut Command) -> Result<Output, Error> {
    let out = command.stdin(Stdio::null()).output();
    let out = out.map_err(|e| no_git(command.get_current_dir(), e))?;
    Ok(Output { ok: out.status.success(), stdout: out.stdout, stderr: out.stderr })
}

/// The error for a git that could not be started in `dir`: the system says the same when the folder is gone.
pub(crate) fn no_git(dir: Option<&Path>, source: io::Error) -> Error {
    match (source.kind(), dir) {
        (io::ErrorKind::NotFound, Some(dir)) if !dir.exists() => {
            Error::Gone { top: dir.to_owned() }
        }
        (io::ErrorKind::NotFound, _) => Error::GitMissing,
        _ => Error::io(Path::new("git"), source),
    }
}

/// `git` with a cleaned environment.
pub(crate) fn git_command(cwd: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(cwd);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            git.env_remove(name);
        }
    }
    git.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    git
}

fn version() -> Result<String, Error> {
    let out = output(git_command(Path::new("/")).arg("version"))?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn refusal(cwd: &Path, words: &str) -> Error {
    if words.contains("not a git repository") && !words.contains("dubious") {
        return Error::NotARepository { dir: cwd.to_owned() };
    }
    if words.contains("must be run in a work tree") {
        return Error::InsideGitDir { dir: cwd.to_owned() };
    }
    Error::Refused { dir: cwd.to_owned(), words: words.to_owned() }
}

fn path_line(line: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(line.strip_suffix(b"\n").unwrap_or(line)))
}

/// A linked worktree names the shared git dir in the file `commondir`, relative to its own.
fn common_dir(git_dir: &Path) -> Result<PathBuf, Error> {
    match std::fs::read(git_dir.join("commondir")) {
        Ok(text) => {
            let dir = git_dir.join(path_line(&text));
            dir.canonicalize().map_err(|e| Error::io(&dir, e))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(git_dir.to_owned()),
        Err(e) => Err(Error::io(git_dir, e)),
    }
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

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn ref_name(name: &str) -> Result<&str, Error> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !part.ends_with(".lock")
    };
    if name.starts_with("refs/") && name.split('/').all(plain) {
        Ok(name)
    } else {
        Err(Error::BadRef { name: name.to_owned() })
    }
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

    fn git(dir: &Path, args: &[&str]) {
        let mut git = git_command(dir);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").args(args);
        let out = output(&mut git).unwrap();
        assert!(out.ok, "git {args:?}: {}", out.words());
    }

    #[test]
    fn each_place_without_files_is_named_for_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        git(dir.path(), &["init", "-q", "--bare", "bare"]);
        git(dir.path(), &["init", "-q", "plain"]);
        std::fs::create_dir_all(at("plain/sub/deep")).unwrap();
        std::fs::create_dir(at("none")).unwrap();
        assert!(matches!(Repo::discover(&at("bare")), Err(Error::Bare { .. })));
        assert!(matches!(Repo::discover(&at("bare/objects")), Err(Error::Bare { .. })));
        assert!(matches!(Repo::discover(&at("plain/.git")), Err(Error::InsideGitDir { .. })));
        assert!(matches!(Repo::discover(&at("plain/.git/refs")), Err(Error::InsideGitDir { .. })));
        assert!(matches!(Repo::discover(&at("none")), Err(Error::NotARepository { .. })));
        let found = Repo::discover(&at("plain/sub/deep")).unwrap();
        assert_eq!(found.prefix().unwrap().as_bytes(), b"sub/deep");
        assert_eq!(Repo::discover(&at("plain")).unwrap().prefix(), None);
    }

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
