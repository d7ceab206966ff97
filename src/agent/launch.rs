//! From a request to the shell text, environment and files that start an agent without a human.

use super::{Error, Kind, claude, codex, command, gemini, install, opencode, qwen, sh};

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
    /// the script's standard input. Its exit status is the agent's, or one of [`install::EXIT_MISSING`],
    /// [`install::EXIT_FAILED`], [`EXIT_NO_WORKSPACE`].
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

/// An agent has a terminal, and nobody turns the pages of what it looks at there.
const NO_PAGER: [(&str, &str); 2] = [("PAGER", "cat"), ("GIT_PAGER", "cat")];

/// How to start the agent; fails only where the request makes no sense for it.
pub fn launch(request: &LaunchRequest) -> Result<Launch, Error> {
    let mut launch = match request.kind {
        Kind::Command => command::launch(request)?,
        _ => of_a_known_agent(request)?,
    };
    launch.env.extend(NO_PAGER.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(launch)
}

fn of_a_known_agent(request: &LaunchRequest) -> Result<Launch, Error> {
    if let Some(session) = &request.session {
        check_session(request.kind, session)?;
    }
    if let Some(model) = &request.model {
        check_model(request.kind, model)?;
    }
    let Invocation { mut args, env } = match request.kind {
        Kind::Opencode => opencode::invocation(request),
        Kind::Claude => claude::invocation(request),
        Kind::Codex => codex::invocation(request),
        Kind::Gemini => gemini::invocation(request),
        Kind::Qwen | Kind::Command => qwen::invocation(request),
    };
    // codex reads its prompt from `-`, which has to stay last
    let last = args.pop_if(|a| a == "-");
    args.extend(request.extra.iter().cloned());
    args.extend(last);
    let script = format!(
        "{find}{enter}{agent}",
        find = install::ensure(request.kind, request.version.as_deref()),
        enter = enter(&request.workspace),
        agent = and_remove(&format!("\"$sbx_agent\" {}", sh::join(&args)), &request.remove),
    );
    Ok(Launch {
        script,
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        files: Vec::new(),
        cleanup: request.remove.clone(),
        json_output: true,
    })
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

/// Ids come from the agents and are passed back as arguments: letters, digits, `-` and `_` only.
fn check_session(agent: Kind, session: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadSession { agent, session: session.to_owned(), why });
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if session.is_empty()
        || session.len() > 128
        || !session.chars().all(plain)
        || session.starts_with('-')
    {
        return bad("ids are made of letters, digits, `-` and `_`");
    }
    match agent {
        Kind::Opencode if !session.starts_with("ses_") => bad("its ids begin with `ses_`"),
        // codex starts a new thread, silently, for what is no uuid; gemini takes `latest` and numbers
        Kind::Claude | Kind::Codex | Kind::Gemini | Kind::Qwen
            if uuid::Uuid::try_parse(session).is_err() =>
        {
            bad("its ids are uuids")
        }
        _ => Ok(()),
    }
}

fn check_model(agent: Kind, model: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadModel { agent, model: model.to_owned(), why });
    if model.is_empty() || model.starts_with('-') || model.chars().any(char::is_control) {
        return bad("it is empty, begins with `-` or holds control characters");
    }
    match agent {
        Kind::Opencode if !model.contains('/') => bad("it wants `provider/model`"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Kind) -> LaunchRequest {
        LaunchRequest::new(kind, "/home/d/work space", "/home/d/prompt")
    }

    /// The last line of the script: the agent's own command line.
    fn command(request: &LaunchRequest) -> String {
        launch(request).unwrap().script.lines().last().unwrap().to_owned()
    }

    #[test]
    fn each_agent_is_started_without_a_human() {
        let lines: Vec<String> = Kind::ALL
            .into_iter()
            .flat_map(|kind| {
                let session = match kind {
                    Kind::Opencode => "ses_1",
                    _ => "00000000-0000-4000-8000-000000000000",
                };
                let plain =
                    LaunchRequest { agent_command: Some("cat 'x y'".into()), ..request(kind) };
                let model = Some("some/model".to_owned());
                let session = (kind != Kind::Command).then(|| session.to_owned());
                let full = LaunchRequest {
                    model,
                    session,
                    extra: vec!["--x".into(), "a b".into()],
                    ..plain.clone()
                };
                [command(&plain), command(&full)]
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused() {
        let bad = |kind, session: Option<&str>, model: Option<&str>| {
            let session = session.map(str::to_owned);
            launch(&LaunchRequest { session, model: model.map(str::to_owned), ..request(kind) })
                .unwrap_err()
                .to_string()
        };
        let refusals = [
            bad(Kind::Opencode, Some("--help"), None),
            bad(Kind::Opencode, Some("abc"), None),
            bad(Kind::Codex, Some("nonsense"), None),
            bad(Kind::Claude, Some("a title"), None),
            bad(Kind::Gemini, Some("latest"), None),
            bad(Kind::Qwen, Some("1"), None),
            bad(Kind::Opencode, None, Some("gpt-5")),
            bad(Kind::Codex, None, Some("-x")),
            bad(Kind::Command, None, None),
        ];
        insta::assert_snapshot!(refusals.join("\n"));
    }

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
