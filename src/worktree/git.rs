//! The git command line: a cleaned environment, one way to run it, one way to tell its complaints.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;

/// What a finished git process left.
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl From<std::process::Output> for Output {
    fn from(out: std::process::Output) -> Self {
        Self { ok: out.status.success(), stdout: out.stdout, stderr: out.stderr }
    }
}

impl Output {
    /// What git said, without the word `fatal` or `error`.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        crate::rel_path::escape(
            text.trim().trim_start_matches("fatal: ").trim_start_matches("error: ").as_bytes(),
        )
        .replace("\\n", "; ")
    }

    /// What it printed, if it succeeded.
    fn printed(self, what: &'static str) -> Result<Vec<u8>, Error> {
        if self.ok { Ok(self.stdout) } else { Err(Error::Git { what, words: self.words() }) }
    }
}

/// Runs git to its end.
pub(crate) fn output(command: &mut Command) -> Result<Output, Error> {
    let out = command.stdin(Stdio::null()).output();
    let out = out.map_err(|e| no_git(command.get_current_dir(), e))?;
    Ok(out.into())
}

/// Runs two gits to their ends at the same time. What the second prints has to be short: it is heard when the
/// first has ended.
pub(crate) fn outputs(
    first: &mut Command,
    second: &mut Command,
) -> Result<(Output, Output), Error> {
    let piped = second.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().map_err(|e| no_git(second.get_current_dir(), e))?;
    let first = output(first);
    let second = child.wait_with_output().map_err(|e| no_git(second.get_current_dir(), e))?;
    Ok((first?, second.into()))
}

/// Runs git to its end with `input` on its standard input.
pub(crate) fn output_of(command: &mut Command, input: &[u8]) -> Result<Output, Error> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|e| no_git(command.get_current_dir(), e))?;
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let out = std::thread::scope(|scope| {
        // Beside the reading: git may answer before it has heard everything. A git that ended says why itself.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    });
    let out = out.map_err(|e| no_git(command.get_current_dir(), e))?;
    Ok(out.into())
}

/// Runs a git command that must succeed and returns what it printed.
pub(crate) fn must(what: &'static str, command: &mut Command) -> Result<Vec<u8>, Error> {
    output(command)?.printed(what)
}

/// Runs a git command that must succeed with `input` on its standard input.
pub(crate) fn feed(what: &'static str, command: &mut Command, input: &[u8]) -> Result<(), Error> {
    output_of(command, input)?.printed(what).map(drop)
}

/// Paths as git reads them from a list.
pub(crate) fn joined(paths: &[Vec<u8>]) -> Vec<u8> {
    paths.iter().flat_map(|p| p.iter().copied().chain([0])).collect()
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
    // Git takes a quarter of a megabyte for each object it writes; glibc would give it back to the kernel each time.
    git.env("MALLOC_TRIM_THRESHOLD_", "67108864").env("MALLOC_TOP_PAD_", "1048576");
    git.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    git
}
