//! One user with one worktree and a server of their own, cleaned up at the end.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The binary under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_sandbox-coder");

/// The binary under test, or another one that somebody wants tested.
pub fn bin() -> std::ffi::OsString {
    std::env::var_os("SANDBOX_CODER_TEST_BIN").unwrap_or_else(|| BIN.into())
}

/// A home, a state directory, a linked worktree of a repository, and nothing else of the caller's environment.
pub struct TestContext {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Insists on an exit code, with everything that was printed as the explanation.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The NDJSON events.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The events of one type.
    pub fn of_type(&self, name: &str) -> Vec<serde_json::Value> {
        self.events().into_iter().filter(|e| e["type"] == name).collect()
    }
}

impl TestContext {
    /// A worktree with one commit made of `files`.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let cx = Self::without_repo();
        let main = cx.dir.path().join("project");
        std::fs::create_dir_all(&main).unwrap();
        cx.git_in(&main, &["init", "-q", "-b", "main"]);
        for (name, content) in files {
            write(&main.join(name), content.as_bytes());
        }
        cx.git_in(&main, &["add", "-A"]);
        cx.git_in(&main, &["commit", "-q", "--allow-empty", "-m", "start"]);
        let work = cx.work();
        cx.git_in(&main, &["worktree", "add", "-q", "-b", "work", work.to_str().unwrap()]);
        cx
    }

    /// A home and a state directory; no repository.
    pub fn without_repo() -> Self {
        let dir = tempfile::Builder::new().prefix("sbx").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        Self { dir, variables: Vec::new() }
    }

    /// The linked worktree.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Sets a variable for all commands that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A command of ours in the worktree.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let work = self.work();
        let mut command = Command::new(bin());
        command.args(args).current_dir(if work.exists() {
            work
        } else {
            self.dir.path().join("empty")
        });
        self.dress(&mut command);
        command
    }

    /// Runs a command of ours in the worktree. Look at how it ended with [`Ran::exits`].
    #[must_use]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        ran(&mut self.command(args))
    }

    /// Runs the main job with a shell script as the agent.
    #[must_use]
    pub fn agent(&self, script: &str, more: &[&str]) -> Ran {
        let mut args = vec!["run", "--agent-command", script];
        args.extend_from_slice(more);
        args.push("do it");
        self.run(args)
    }

    /// Runs git in the worktree and returns what it prints.
    pub fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.work(), args)
    }

    /// Runs git somewhere.
    #[track_caller]
    pub fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(args).current_dir(dir);
        self.dress(&mut command);
        let ran = ran(&mut command);
        assert_eq!(ran.code, 0, "git {args:?}: {}", ran.stderr);
        ran.stdout
    }

    fn dress(&self, command: &mut Command) {
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("HOME", self.dir.path().join("home"))
            .env("SANDBOX_CODER_STATE_DIR", self.dir.path().join("state"));
        for (name, value) in
            [("NAME", "t"), ("EMAIL", "t@example.invalid"), ("DATE", "2026-01-01T00:00:00Z")]
        {
            command
                .env(format!("GIT_AUTHOR_{name}"), value)
                .env(format!("GIT_COMMITTER_{name}"), value);
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
    }

    /// Writes a file of the worktree.
    pub fn write(&self, name: &str, content: &str) {
        write(&self.work().join(name), content.as_bytes());
    }

    /// Reads a file of the worktree.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.work().join(name);
        String::from_utf8_lossy(
            &std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        )
        .into_owned()
    }

    /// The worktree's files, without `.git`, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.work(), &self.work(), &mut found);
        found.sort();
        found
    }
}

impl Drop for TestContext {
    fn drop(&mut self) {
        let server = self.dir.path().join("state/local/server.json");
        let Ok(text) = std::fs::read_to_string(server) else { return };
        let pid =
            serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v["pid"].as_i64());
        // Sandboxes outlive a server on purpose, so they are removed by name first.
        if self.work().exists() {
            let _ = self
                .command(["rm", "--force", "--quiet"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        if let Some(pid) = pid.and_then(|p| rustix::process::Pid::from_raw(p as i32)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let out = command.output().unwrap();
    Ran {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

/// Writes a file with its folders.
pub fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            found.push(sandbox_coder::rel_path::escape(name));
        }
    }
}
