//! Agents from npm, installed once and kept below `target/agents`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use sandbox_coder::agent::{Kind, install};

/// The directory that holds the agent's program at this version.
pub fn bin(kind: Kind, version: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let package = install::package(kind).unwrap();
    let dir = home().join(format!("{kind}-{version}"));
    let bin = dir.join("node_modules/.bin");
    if !bin.join(package.program).exists() {
        std::fs::create_dir_all(&dir).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix", "."]);
        npm.arg(format!("{}@{version}", package.npm)).current_dir(&dir);
        // A registry may be out of reach for a moment.
        let mut tries = std::iter::repeat_with(|| npm.output().expect("npm runs")).take(4);
        let installed = tries.find(|output| {
            output.status.success() || {
                eprintln!("npm could not install {kind} {version}: {output:?}");
                std::thread::sleep(std::time::Duration::from_secs(5));
                false
            }
        });
        assert!(installed.is_some(), "npm could not install {kind} {version}");
    }
    bin
}

/// The agent's own prefix with its programs in `bin`, as `--tool-dir` takes it.
pub fn prefix(kind: Kind, version: &str) -> PathBuf {
    let programs = bin(kind, version);
    let prefix = home().join(format!("{kind}-{version}"));
    // two tests may make the link at the same time
    let _ = std::os::unix::fs::symlink(&programs, prefix.join("bin"));
    prefix
}

/// A place of ours that outlives a test run.
pub fn home() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap().join("agents")
}
