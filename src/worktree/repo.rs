//! The user's repository: where it lies and what it says, asked through the git command line.
//!
//! Nothing here writes into the user's index, refs, config, hooks or objects.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::Error;
use super::git::{git_command, output};
use crate::rel_path::RelPath;

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
    /// Whether this command has already seen to the private repository.
    pub(super) prepared: Arc<AtomicBool>,
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
        let prepared = Arc::default();
        Ok(Self { git_dir, common_dir, top, prefix, format, id, private, prepared })
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

    /// The settings ours have to follow, by their names in small letters; of several the last counts. One
    /// process instead of one for each.
    pub(super) fn core_settings(&self) -> Result<BTreeMap<String, Option<String>>, Error> {
        let keys = r"^core\.(filemode|symlinks|ignorecase|excludesfile)$";
        let out = output(self.git().args(["config", "-z", "--get-regexp", keys]))?;
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let pair = |pair: &[u8]| match memchr::memchr(b'\n', pair) {
            Some(cut) => (text(&pair[..cut]), Some(text(&pair[cut + 1..]))),
            None => (text(pair), None),
        };
        Ok(out.stdout.split(|&b| b == 0).filter(|pair| !pair.is_empty()).map(pair).collect())
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

pub(super) fn host_name() -> String {
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
}
