//! The user's repository: where it lies and what it says, asked through the git command line.
//!
//! Nothing here writes into the user's index, refs, config, hooks or objects.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::Error;
use super::git::{Output, git_command, must, output, outputs};
use super::settings::Settings;
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
    settings: Arc<Settings>,
    /// Whether this command has already seen to the private repository.
    pub(super) prepared: Arc<AtomicBool>,
}

impl Repo {
    /// Finds the worktree that holds `cwd`.
    pub fn discover(cwd: &Path) -> Result<Self, Error> {
        let (place, settings) = outputs(&mut Place::question(cwd), &mut Settings::question(cwd))?;
        let Place { git_dir, top, format } = Place::heard(cwd, &place)?;
        let common_dir = common_dir(&git_dir)?;
        let cwd = cwd.canonicalize().map_err(|source| Error::io(cwd, source))?;
        let prefix = cwd
            .strip_prefix(&top)
            .ok()
            .and_then(|inner| RelPath::parse(inner.as_os_str().as_bytes()).ok());
        let id = id_of(&git_dir);
        let private = common_dir.join("sandbox-coder").join(format!("{id}.git"));
        let settings = Arc::new(Settings::heard(&settings.stdout));
        let prepared = Arc::default();
        Ok(Self { git_dir, common_dir, top, prefix, format, id, private, settings, prepared })
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
        self.born_head().map_or_else(|| self.asked_head(), Ok)
    }

    fn asked_head(&self) -> Result<Head, Error> {
        let id = output(self.git().args(["rev-parse", "-q", "--verify", "HEAD^{commit}"]))?;
        let branch = output(self.git().args(["symbolic-ref", "-q", "HEAD"]))?;
        let id = id.ok.then(|| String::from_utf8_lossy(&id.stdout).trim_end().to_owned());
        let branch =
            branch.ok.then(|| branch_name(String::from_utf8_lossy(&branch.stdout).trim_end()));
        Ok(Head { id, branch })
    }

    /// The same, read by the library: it saves two processes, and gives up where only git knows its way.
    fn born_head(&self) -> Option<Head> {
        let repo = git2::Repository::open(&self.git_dir).ok()?;
        let head = repo.find_reference("HEAD").ok()?;
        let branch = head.symbolic_target().ok()?.map(branch_name);
        Some(Head { id: Some(head.peel_to_commit().ok()?.id().to_string()), branch })
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

    /// The settings ours have to follow, as they were when the worktree was found.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the executable bit counts here.
    pub fn file_mode(&self) -> bool {
        self.settings.truth("core.filemode").unwrap_or(true)
    }

    /// The folder of hooks that git runs here, if the configuration names one.
    pub fn hooks_path(&self) -> Result<Option<PathBuf>, Error> {
        let path = self.config(&["--type=path"], "core.hooksPath")?;
        Ok(path.map(|p| self.top.join(p)))
    }

    /// Checks that this is still the worktree it was: git would otherwise answer for a parent repository.
    pub fn still_there(&self) -> Result<(), Error> {
        let gone = || Error::Gone { top: self.top.clone() };
        let answer = output(&mut Place::question(&self.top)).map_err(|_| gone())?;
        let now = Place::heard(&self.top, &answer).map_err(|_| gone())?;
        if now.git_dir == self.git_dir && now.top == self.top { Ok(()) } else { Err(gone()) }
    }
}

/// Where a worktree lies.
struct Place {
    git_dir: PathBuf,
    top: PathBuf,
    format: ObjectFormat,
}

impl Place {
    /// The question to git, for whoever stands in `cwd`.
    fn question(cwd: &Path) -> Command {
        let mut git = git_command(cwd);
        git.args([
            "rev-parse",
            "--is-bare-repository",
            "--is-inside-git-dir",
            "--is-inside-work-tree",
            "--show-object-format",
            "--absolute-git-dir",
            "--show-toplevel",
        ]);
        git
    }

    /// What git answers to it.
    fn heard(cwd: &Path, answer: &Output) -> Result<Self, Error> {
        // The paths come last: they may hold newlines, the words before them cannot.
        let mut lines = answer.stdout.splitn(5, |&b| b == b'\n');
        let mut word = || lines.next().unwrap_or_default();
        let (bare, inside, worktree, format, paths) = (word(), word(), word(), word(), word());
        // Outside a worktree git fails at the last question, and has answered the others.
        let dir = || path_line(paths);
        // In a bare repository git answers yes to both: that it has no files is the reason that helps.
        if bare == b"true" && worktree != b"true" {
            return Err(Error::Bare { dir: dir() });
        }
        if inside == b"true" {
            return Err(Error::InsideGitDir { dir: dir() });
        }
        if !answer.ok {
            return Err(refusal(cwd, &answer.words()));
        }
        if worktree != b"true" {
            return Err(Error::InsideGitDir { dir: dir() });
        }
        let format = match format {
            b"sha1" => ObjectFormat::Sha1,
            b"sha256" => ObjectFormat::Sha256,
            // Git before 2.25 repeats the option.
            _ => return Err(Error::GitTooOld { version: version()? }),
        };
        // With a newline in a path nobody can tell where the first ends.
        let top = match memchr::memchr_iter(b'\n', paths).collect::<Vec<_>>()[..] {
            [cut, _] => paths[cut + 1..].to_vec(),
            _ => must("rev-parse", git_command(cwd).args(["rev-parse", "--show-toplevel"]))?,
        };
        let git_dir = paths.strip_suffix(&top[..]).unwrap_or(paths);
        Ok(Self { git_dir: path_line(git_dir), top: path_line(&top), format })
    }
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

/// The name of the worktree with this git dir on this host.
pub(super) fn id_of(git_dir: &Path) -> String {
    short_hash(&[git_dir.as_os_str().as_bytes()])
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

fn branch_name(name: &str) -> String {
    name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()
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
    fn names_with_newlines_do_not_run_together() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "--separate-git-dir", "git\ndir", "top\nfolder"]);
        let top = dir.path().canonicalize().unwrap().join("top\nfolder");
        let found = Repo::discover(&top).unwrap();
        assert_eq!(found.top(), top);
        assert_eq!(found.git_dir(), top.with_file_name("git\ndir"));
    }

    #[test]
    fn the_library_and_git_agree_where_head_stands() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let who = ["-c", "user.name=n", "-c", "user.email=e"];
        git(dir.path(), &["init", "-q", "-b", "main", "plain"]);
        let unborn = Repo::discover(&at("plain")).unwrap();
        assert_eq!(unborn.head().unwrap(), Head { id: None, branch: Some("main".into()) });
        git(&at("plain"), &[&who[..], &["commit", "-q", "--allow-empty", "-m", "1"]].concat());
        git(&at("plain"), &["worktree", "add", "-q", "-b", "a/b", "../linked"]);
        git(&at("plain"), &["worktree", "add", "-q", "--detach", "../detached"]);
        git(&at("plain"), &["pack-refs", "--all"]);
        for place in ["plain", "linked", "detached"] {
            let repo = Repo::discover(&at(place)).unwrap();
            let head = repo.born_head().unwrap();
            assert!(head.id.is_some() && head.branch.is_some() == (place != "detached"));
            assert_eq!(head, repo.asked_head().unwrap(), "{place}");
        }
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
