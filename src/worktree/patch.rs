//! The differences between two snapshots as text: a patch `git apply` takes, or lines to read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use crate::tree::Oid;

/// Lines that name the file, the change and every byte of it, binary files included.
const PATCH: [&str; 2] = ["--binary", "--full-index"];

/// How a difference is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Complete, for `git apply`.
    Patch,
    /// For people; binary files are only named.
    Text {
        /// With colours.
        color: bool,
    },
}

/// Writes what leads from one tree to the other. `git` is a git command on the private repository.
/// Repositories inside the repository are left out.
pub fn write(
    mut git: Command,
    from: Oid,
    to: Oid,
    form: Form,
    out: &mut dyn Write,
) -> io::Result<()> {
    // Nothing of the user's or the sandbox's settings may change the form or start a program.
    git.args([
        "-c",
        "core.quotePath=true",
        "-c",
        "diff.noprefix=false",
        "-c",
        "diff.mnemonicPrefix=false",
        "diff",
    ]);
    git.args([
        "--no-ext-diff",
        "--no-textconv",
        "--no-renames",
        "--ignore-submodules=all",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    ]);
    match form {
        Form::Patch => git.args(PATCH).arg("--no-color"),
        Form::Text { color: true } => git.arg("--color=always"),
        Form::Text { color: false } => git.arg("--no-color"),
    };
    git.args([from.to_string(), to.to_string()]).arg("--");
    let mut child =
        git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut text = child.stdout.take().expect("stdout was piped");
    let copied = io::copy(&mut text, out);
    drop(text);
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.by_ref().take(4096).read_to_string(&mut words)?;
    }
    let status = child.wait()?;
    copied?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("git diff: {}", words.trim())))
    }
}

/// Writes a patch file, whole or not at all. The name is the user's own choice.
pub fn write_file(git: Command, from: Oid, to: Oid, path: &std::path::Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    write(git, from, to, Form::Patch, file.as_file_mut())?;
    let kept: File = file.persist(path).map_err(|e| e.error)?;
    kept.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn git(dir: &Path) -> Command {
        let mut git = Command::new("git");
        git.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        git.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C");
        git
    }

    fn run(dir: &Path, args: &[&str]) -> String {
        let out = git(dir).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn snapshot(dir: &Path) -> Oid {
        run(dir, &["add", "-A"]);
        run(dir, &["write-tree"]).parse().unwrap()
    }

    #[test]
    fn git_takes_the_patch() {
        let dir = tempfile::tempdir().unwrap();
        let top = &dir.path().join("work");
        std::fs::create_dir(top).unwrap();
        run(top, &["init", "-q"]);
        // Settings that would spoil a patch.
        run(top, &["config", "diff.noprefix", "true"]);
        run(top, &["config", "color.ui", "always"]);
        run(top, &["config", "diff.external", "false"]);
        std::fs::write(top.join("text"), "1\n2\n3\n").unwrap();
        std::fs::write(top.join("odd \n\"name"), "x").unwrap();
        std::fs::write(top.join("binary"), (0..=255).collect::<Vec<u8>>()).unwrap();
        std::fs::write(top.join("gone"), "gone\n").unwrap();
        let from = snapshot(top);
        std::fs::write(top.join("text"), "1\r\ntwo\n3").unwrap();
        std::fs::write(top.join("odd \n\"name"), "y").unwrap();
        std::fs::write(top.join("binary"), (0..=255).rev().collect::<Vec<u8>>()).unwrap();
        std::fs::remove_file(top.join("gone")).unwrap();
        std::os::unix::fs::symlink("text", top.join("link")).unwrap();
        let to = snapshot(top);
        let patch = dir.path().join("patch");
        write_file(git(top), from, to, &patch).unwrap();
        run(top, &["read-tree", "-u", "--reset", &from.to_string()]);
        run(top, &["apply", "--index", "--whitespace=nowarn", patch.to_str().unwrap()]);
        assert_eq!(snapshot(top), to);
        let mut text = Vec::new();
        write(git(top), from, to, Form::Text { color: false }, &mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("+two"));
    }
}
