//! One local sandbox, driven through its toolbox, gone when dropped.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sandbox_coder::jail::probe::{Refusal, probe};
use sandbox_coder::jail::spec::{Bind, Limits, Network};
use sandbox_coder::jail::toolchains::Toolchains;
use sandbox_coder::server::backend::{Backend, StartOrder, StartedSandbox};
use serde_json::json;
use tempfile::TempDir;

use super::context::BIN;
use super::unix_http::UnixHttp;

/// Whether sandboxes by namespaces work here. Where they must, a refusal is a failure.
pub fn namespaces_work() -> bool {
    static PROBED: OnceLock<Result<(), Refusal>> = OnceLock::new();
    match PROBED.get_or_init(|| probe(Path::new(BIN))) {
        Ok(()) => true,
        Err(refusal) => {
            let must =
                std::env::var_os("SANDBOX_CODER_REQUIRE_NAMESPACES").is_some_and(|v| v == "1");
            assert!(!must, "no namespaces: {}; {}", refusal.what, refusal.hint);
            println!("skipped: {}; {}", refusal.what, refusal.hint);
            false
        }
    }
}

/// A sandbox.
pub struct Jail {
    pub backend: Backend,
    pub order: StartOrder,
    pub started: StartedSandbox,
    dir: TempDir,
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i64,
    pub text: String,
}

impl Jail {
    /// An isolated one with the host's network.
    pub async fn start() -> Self {
        Self::start_as(Backend::Namespaces, |_| {}).await
    }

    /// One that differs from the usual.
    pub async fn start_as(backend: Backend, change: impl FnOnce(&mut StartOrder)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut order = StartOrder {
            id: dir.path().file_name().unwrap().to_string_lossy().into_owned(),
            dir: dir.path().join("s"),
            binary: BIN.into(),
            hostname: "box".into(),
            env: Default::default(),
            toolchains: Toolchains::default(),
            network: Network::Host,
            limits: Limits::default(),
        };
        change(&mut order);
        let started = backend.start(order.clone()).await.unwrap();
        Jail { backend, order, started, dir }
    }

    /// One in which this test binary can be run as the attacker.
    pub async fn with_attacker() -> Self {
        Self::start_as(Backend::Namespaces, |order| {
            order.toolchains.binds.push(Bind::same(std::env::current_exe().unwrap()));
        })
        .await
    }

    /// Runs a shell command inside.
    pub async fn run(&self, command: &str) -> Said {
        let http = UnixHttp::new(&self.started.socket);
        let answer =
            http.post("/process/execute", json!({ "command": command, "timeout": 300 })).await;
        assert_eq!(answer.status, 200, "{command}: {}", answer.text());
        let body = answer.json();
        Said {
            code: body["exitCode"].as_i64().unwrap(),
            text: body["result"].as_str().unwrap().trim_end().to_owned(),
        }
    }

    /// Runs a command that has to succeed, and returns what it said.
    pub async fn ok(&self, command: &str) -> String {
        let said = self.run(command).await;
        assert_eq!(said.code, 0, "{command}: {}", said.text);
        said.text
    }

    /// Insists that each of these fails.
    pub async fn refuses(&self, commands: &[&str]) {
        for command in commands {
            let said = self.run(command).await;
            assert_ne!(said.code, 0, "`{command}` succeeded: {}", said.text);
        }
    }

    /// A directory of the host beside the sandbox's own.
    pub fn host_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The sandbox's home as the host sees it.
    pub fn home(&self) -> PathBuf {
        self.order.dir.join("home")
    }

    /// Waits for an end that comes by itself.
    pub fn ends(&self) -> bool {
        until(|| sandbox_coder::jail::life::find(&self.order.dir).unwrap().is_none())
    }

    /// Copies a project into the home, readable and writable for the sandbox's user.
    pub async fn put(&self, name: &str, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = format!("{name}/{path}");
            let parent = Path::new(&path).parent().unwrap().display().to_string();
            let text = text.replace('\'', r"'\''");
            self.ok(&format!("mkdir -p {parent} && printf %s '{text}' > {path}")).await;
        }
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        let _ = sandbox_coder::jail::life::destroy(&self.order.dir);
    }
}

/// A file of the host that everyone may read, below a directory everyone may enter.
pub fn open_secret(dir: &Path) -> PathBuf {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let secret = dir.join("secret");
    std::fs::write(&secret, "host secret").unwrap();
    secret
}

/// A number of seconds that no other process of this machine sleeps for.
pub fn mark(number: u32) -> String {
    format!("600.{:08}{number}", std::process::id())
}

/// The pids of this machine whose command line holds `mark`.
pub fn running(mark: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && memchr::memmem::find(&line, mark.as_bytes()).is_some()
    })
    .collect()
}

/// Waits until no process with `mark` is left; a dead one may still be listed for a moment.
pub fn gone(mark: &str) -> bool {
    until(|| running(mark).is_empty())
}

fn until(done: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while std::time::Instant::now() < deadline {
        if done() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}
