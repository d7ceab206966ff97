//! The tools of this machine's user work in a sandbox: rustup's cargo, nvm's npm, pyenv's pytest.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends where its assumption does")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::context::TestContext;
use crate::support::jail::namespaces_work;

/// A program on this test's own `PATH`.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let hit = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    if hit.is_none() {
        println!("skipped: no `{program}` on this machine");
    }
    hit
}

/// The root of a version manager: its variable, or its usual place in the home of who runs the tests.
fn root(variable: &str, usual: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| format!("{}/{usual}", std::env::var("HOME").unwrap_or_default()))
}

#[test]
fn cargo_test_works_inside() {
    if !namespaces_work() {
        return;
    }
    let mut cx = TestContext::new(&[
        ("Cargo.toml", "[package]\nname = \"sum\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"),
        ("Cargo.lock", "version = 3\n[[package]]\nname = \"sum\"\nversion = \"1.0.0\"\n"),
        ("src/lib.rs", "#[test]\nfn adds_up() { assert_eq!(1 + 1, 2); }\n"),
        (".gitignore", "/target\n"),
    ]);
    cx.set("RUSTUP_HOME", &root("RUSTUP_HOME", ".rustup"));
    cx.set("CARGO_HOME", &root("CARGO_HOME", ".cargo"));
    let ran = cx.run(["exec", "--", "cargo", "test", "--offline"]).exits(0);
    assert!(ran.stdout.contains("test adds_up ... ok"), "{}", ran.stdout);
    // What it built is ignored, so nothing of it came home.
    assert!(!cx.work().join("target").exists());
}

/// Node as nvm installs it: the program itself and npm below one version's directory.
fn nvm(root: &Path, node: &Path) -> PathBuf {
    let version = root.join("versions/node/v20.0.0");
    let (bin, modules) = (version.join("bin"), version.join("lib/node_modules"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::copy(node, bin.join("node")).unwrap();
    let npm = node.parent().unwrap().join("../lib/node_modules/npm");
    let npm = [npm, "/usr/share/nodejs/npm".into()].into_iter().find(|dir| dir.is_dir()).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-rL")
        .args([&npm, &modules.join("npm")])
        .status()
        .unwrap();
    assert!(copied.success());
    symlink("../lib/node_modules/npm/bin/npm-cli.js", bin.join("npm")).unwrap();
    bin
}

#[test]
fn npm_test_works_inside_with_node_from_nvm() {
    if !namespaces_work() {
        return;
    }
    let Some(node) = found("node") else { return };
    let mut cx = TestContext::new(&[
        ("package.json", r#"{"name":"x","version":"1.0.0","scripts":{"test":"node test.js"}}"#),
        (
            "test.js",
            "require('assert').equal(1 + 1, 2); console.log('adds up on ' + process.execPath)",
        ),
    ]);
    let nvm_dir = cx.root().join("home/.nvm");
    let bin = nvm(&nvm_dir, &node.canonicalize().unwrap());
    std::fs::write(nvm_dir.join(".npmrc"), "//registry.example/:_authToken=hidden").unwrap();
    cx.set("NVM_DIR", nvm_dir.to_str().unwrap());
    cx.set("PATH", &format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let ran = cx.run(["exec", "--", "npm", "test"]).exits(0);
    let inside = format!("adds up on {}", bin.join("node").display());
    assert!(ran.stdout.contains(&inside), "{}", ran.stdout);
    let ran = cx.run(["exec", "--", "cat", nvm_dir.join(".npmrc").to_str().unwrap()]);
    assert!(!ran.stdout.contains("hidden"), "{}", ran.stdout);
}

#[test]
fn pytest_works_inside_with_the_python_on_the_path() {
    if !namespaces_work() {
        return;
    }
    let (Some(_), Some(python)) = (found("pytest"), found("python3")) else { return };
    let mut cx = TestContext::new(&[("test_sum.py", "def test_sum():\n    assert 1 + 1 == 2\n")]);
    cx.set("PYENV_ROOT", &root("PYENV_ROOT", ".pyenv"));
    println!("python3 is {}", python.display());
    let ran = cx.run(["exec", "--", "pytest", "-q", "-p", "no:cacheprovider"]).exits(0);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
}
