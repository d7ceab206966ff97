//! What an agent's start is made of: the request, each agent's share in it, and the result.

use super::{Kind, sh};

/// What shall be started, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Which agent.
    pub kind: Kind,
    /// The version that must run; `None` takes any that is recent enough.
    pub version: Option<String>,
    /// The model, as the agent spells it.
    pub model: Option<String>,
    /// The conversation to continue.
    pub session: Option<String>,
    /// Absolute path of the workspace over there.
    pub workspace: String,
    /// Absolute path of the prompt over there. The same text has to be on the script's standard input:
    /// one argument ends at 128 KiB, and agents parse or quote arguments of their own accord.
    pub prompt_file: String,
    /// The shell command of [`Kind::Command`].
    pub agent_command: Option<String>,
    /// Further arguments for the agent's own command line.
    pub extra: Vec<String>,
    /// The sandbox reaches nothing but its model: leave out look-ups that would wait for a time-out.
    pub offline: bool,
    /// Paths below HOME to remove as soon as the agent has ended, credentials first of all: so they go
    /// even if nobody is there any more who could do it.
    pub remove: Vec<String>,
}

impl LaunchRequest {
    /// A request with nothing but the places.
    pub fn new(kind: Kind, workspace: impl Into<String>, prompt_file: impl Into<String>) -> Self {
        Self {
            kind,
            version: None,
            model: None,
            session: None,
            workspace: workspace.into(),
            prompt_file: prompt_file.into(),
            agent_command: None,
            extra: Vec::new(),
            offline: false,
            remove: Vec::new(),
        }
    }
}

/// How an agent is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// POSIX shell text that changes into the workspace, finds or installs the agent, and runs it with
    /// the script's standard input. Its exit status is the agent's, or one of
    /// [`EXIT_MISSING`](super::install::EXIT_MISSING), [`EXIT_FAILED`](super::install::EXIT_FAILED) and 97 where the
    /// workspace is not there.
    pub script: String,
    /// The environment to add; values given by the user go before these.
    pub env: Vec<(String, String)>,
    /// Files to write below HOME before the start.
    pub files: Vec<HomeFile>,
    /// Paths below HOME to remove after the run. The script does so itself unless it is killed.
    pub cleanup: Vec<String>,
    /// The agent speaks JSON, one object a line; else its output is plain text for people.
    pub json_output: bool,
}

/// The script's exit status when the workspace is not there.
pub const EXIT_NO_WORKSPACE: i32 = 97;

/// A file below HOME.
#[derive(Clone, PartialEq, Eq)]
pub struct HomeFile {
    /// Where, relative to HOME.
    pub path: String,
    /// What.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for HomeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HomeFile({} {:o}, {} bytes)", self.path, self.mode, self.bytes.len())
    }
}

/// What one agent's own file contributes.
pub(super) struct Invocation {
    /// Arguments after the program.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(&'static str, String)>,
}

/// Shell text that runs a command as the last thing, and removes files when it ends, also by a signal to
/// the whole group: the shell then waits for the command and goes after it.
pub(super) fn and_remove(command: &str, remove: &[String]) -> String {
    if remove.is_empty() {
        return format!("exec {command}\n");
    }
    let paths: Vec<String> =
        remove.iter().map(|path| format!("\"$HOME\"/{}", sh::quote(path))).collect();
    format!(
        "trap : HUP INT TERM\n{command}\nsbx_exit=$?\nrm -f {}\nexit $sbx_exit\n",
        paths.join(" ")
    )
}

/// Shell text that changes into the workspace.
pub(super) fn enter(workspace: &str) -> String {
    format!(
        "cd {} || {{ echo 'SBX1 agent no-workspace'; exit {EXIT_NO_WORKSPACE}; }}\n",
        sh::quote(workspace)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_removed_after_the_command_and_its_status_stays() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a b");
        for (command, status) in [("exit 3", 3), ("kill -TERM 0; exit 4", 143)] {
            std::fs::write(&file, "secret").unwrap();
            let text = and_remove(&format!("sh -c {}", sh::quote(command)), &["a b".to_owned()]);
            let mut run = std::process::Command::new("setsid");
            let ended =
                run.args(["-w", "sh", "-c", &text]).env("HOME", home.path()).status().unwrap();
            assert_eq!((ended.code(), file.exists()), (Some(status), false), "{command}");
        }
    }
}
