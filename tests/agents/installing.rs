//! The start script installs an agent that is not there, once.

use std::process::Command;

use sandbox_coder::agent::{Kind, install};

#[test]
fn codex_is_installed_once_and_found_again() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let pinned = install::package(Kind::Codex).unwrap().pinned;
    let script = install::ensure(Kind::Codex, Some(pinned)) + "\"$sbx_agent\" --version\n";
    let run = || {
        let mut sh = Command::new("sh");
        sh.args(["-c", &script]).env("HOME", home.path());
        // how npm reaches its registry stays as it is on this machine
        let npmrc = std::env::home_dir().unwrap().join(".npmrc");
        sh.env("NPM_CONFIG_USERCONFIG", npmrc);
        let output = sh.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let own =
        home.path().join(format!(".sandbox-coder/agents/codex-{pinned}/node_modules/.bin/codex"));
    let found = format!("SBX1 agent found {pinned} {}\ncodex-cli {pinned}\n", own.display());
    assert_eq!(run(), format!("SBX1 agent installing codex {pinned}\n{found}"));
    assert_eq!(run(), found);
}
