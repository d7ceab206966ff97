//! Throwaway git repositories with odd content.

#![allow(dead_code, reason = "each area uses its own part")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A git repository in a temporary folder that goes away with it. Every step returns the builder.
pub struct RepoBuilder {
    _home: TempDir,
    path: PathBuf,
}

impl RepoBuilder {
    /// An empty repository on the branch `main`, with an author but no commit.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The same with more arguments for `git init`.
    pub fn with(init: &[&str]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), init)
    }

    /// The same in a folder of the caller's choice.
    pub fn within(home: TempDir, init: &[&str]) -> Self {
        let path = home.path().canonicalize().unwrap().join("work");
        std::fs::create_dir(&path).unwrap();
        let repo = Self { _home: home, path };
        repo.git(&[&["init", "-q", "-b", "main"], init].concat());
        repo.git(&["config", "user.name", "Tester"]);
        repo.git(&["config", "user.email", "tester@example.org"]);
        repo
    }

    /// The worktree's top folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beside the worktree, not below it, that goes away with it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap().join(name)
    }

    /// The absolute path of a name, which may be any bytes.
    pub fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.as_ref()))
    }

    /// Writes a file, making the folders above it.
    pub fn file(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Writes a file that may be executed.
    pub fn exec(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> &Self {
        self.file(name.as_ref(), content);
        std::fs::set_permissions(self.at(name), PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    /// Makes a symbolic link.
    pub fn link(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &Self {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(OsStr::from_bytes(target.as_ref()), path).unwrap();
        self
    }

    /// Removes a file, link or whole folder.
    pub fn remove(&self, name: impl AsRef<[u8]>) -> &Self {
        let path = self.at(name);
        if path.symlink_metadata().unwrap().is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        self
    }

    /// Stages everything and commits it.
    pub fn commit(&self) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "more"]);
        self
    }

    /// Names no tool likes: spaces, quotes, newline, leading dash, not UTF-8; links, an empty file, an executable.
    pub fn odd(&self) -> &Self {
        self.file("a b/c d.txt", "spaces")
            .file("quote'\"$x`y`.txt", "quotes")
            .file("new\nline", "newline")
            .file("-rf", "dash")
            .file("--/-x", "dashes")
            .file(b"latin-\xff\xfe", "bytes")
            .file("back\\slash", "backslash")
            .file(" lead", "space first")
            .file("*", "star")
            .file("empty", "")
            .file("crlf.txt", "a\r\nb\r\n")
            .file("zeros.bin", [0; 4096])
            .file("deep/er/and/deeper/f", "deep")
            .exec("tool.sh", "#!/bin/sh\n")
            .link("link", "a b/c d.txt")
            .link("dangling", "../nowhere")
            .link("sub/up", "../tool.sh")
    }

    /// Runs git and returns what it printed; a failure ends the test.
    pub fn git(&self, args: &[&str]) -> String {
        let out = self.try_git(args);
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Runs git, whatever comes.
    pub fn try_git(&self, args: &[&str]) -> Output {
        git_in(&self.path).args(args).output().unwrap()
    }
}

/// `git` that knows nothing of the machine's settings.
pub fn git_in(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir).env_clear().stdin(Stdio::null());
    git.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir.parent().unwrap_or(dir));
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    git
}

/// Every path below `top` but the root's `.git`: what it is and what it holds, for comparing two folders whole.
pub fn listing(top: &Path) -> Vec<(Vec<u8>, char, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(top.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let rel = dir.join(entry.file_name());
            if rel == Path::new(".git") {
                continue;
            }
            let meta = entry.metadata().unwrap();
            let name = rel.as_os_str().as_bytes().to_vec();
            if meta.is_dir() {
                open.push(rel);
            } else if meta.is_symlink() {
                let target = std::fs::read_link(entry.path()).unwrap();
                all.push((name, 'l', target.as_os_str().as_bytes().to_vec()));
            } else {
                let kind = if meta.permissions().mode() & 0o100 != 0 { 'x' } else { 'f' };
                all.push((name, kind, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    all.sort();
    all
}
